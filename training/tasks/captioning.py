# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The recipe of captioning: train an encoder–decoder on images with captions, and evaluate its captions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from tqdm.auto import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from locant.modeling.loss import token_losses
from locant.tokenization import LocantProcessor

from ..data.batching import TrainingRows
from ..data.images import DIGEST, PIXEL_COLUMNS, ImageCollator, build_image_processor, read_images, variation
from ..data.preprocessing import Side, build_tokenizer, check_lengths, drop_unusable, token_lengths
from ..data.row_checks import count_overlap
from ..data.tables import IMAGE, LINE, TEXT, Column, Layout, numbered, table_of
from ..errors import InputError
from ..inference import one_line, position_limit, smallest
from ..options.run_config import RunConfig
from ..run.trainer import GenerationTrainer, by_length
from .captioning_arguments import CaptioningData
from .generation import GenerationMetrics, bleu, set_search_options
from .recipe import MetricLine, PreparedData, Recipe, ReportTable, TrainerInputs, report_rows, tokenizer_fields
from .translation_metrics import perplexity, translation_metrics

CAPTION_SIDE = Side("caption", "labels", "max_length")
IGNORED = -100


class Prediction(NamedTuple):
    """A row of predictions: the number of the row in its file, the caption of the image, and the generated caption."""

    row: int
    caption: str
    prediction: str


def exact_share(predictions: Sequence[str], captions: Sequence[str]) -> float:
    """Return the share of predictions that are equal to their caption, as `is_exact` compares them."""
    return sum(map(is_exact, predictions, captions)) / len(captions)


def is_exact(prediction: str, caption: str) -> bool:
    """Whether the texts are equal; line breaks count as spaces, and white space at the ends does not count."""
    return one_line(prediction).strip() == one_line(caption).strip()


def caption_scores(texts: list[str], captions: list[str]) -> dict[str, float]:
    """Compute the share of exact captions, and corpus BLEU."""
    return {"exact": exact_share(texts, captions), **bleu(texts, captions)}


@dataclass
class CaptionCollator(ImageCollator):
    """An `ImageCollator` that also pads the `labels` of the rows, which are lists of token ids."""

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch of tensors from rows; -100 pads the labels."""
        longest = max(len(row["labels"]) for row in rows)
        padded = [row["labels"] + [IGNORED] * (longest - len(row["labels"])) for row in rows]
        return super().__call__([{**row, "labels": labels} for row, labels in zip(rows, padded, strict=True)])


class Captioning(Recipe):
    """The recipe of encoder–decoders that generate a caption for an image."""

    auto_class = AutoModelForImageTextToText
    processor_class = AutoProcessor
    trainer_class = GenerationTrainer
    predictions_name = "captions"

    data: CaptioningData

    @property
    def layout(self) -> Layout:
        """The columns of a row: an image and its caption."""
        image = Column("image", IMAGE, chosen=self.data.image_column)
        return Layout((image, Column("caption", TEXT, chosen=self.data.caption_column)), row="image")

    def build_processor(self, run: RunConfig, train: Dataset, name: str | None) -> LocantProcessor:
        """Load the processor of the captioner or checkpoint `name`, or make a new processor.

        If `name` is None, a new processor is made, whose tokenizer is trained on the captions of `train`. If `name` is
        the value of the option `tokenizer_name`, a new processor is made with this tokenizer.
        """
        if name is not None and name != self.data.tokenizer_name:
            return _load_processor(self.data, run, name)
        captions = (row["caption"] for row in train.select_columns(["caption"]))
        tokenizer = build_tokenizer(self.data, captions, name, show_progress=not run.training.disable_tqdm)
        return LocantProcessor(build_image_processor(self.data, run, None), tokenizer)

    def encode(self, rows: DatasetDict, processor: LocantProcessor) -> PreparedData:
        """Read the images and tokenise the captions of every split.

        Training rows whose caption is blank, or has more than `max_length` tokens, are dropped.
        """
        encoded = DatasetDict(
            {split: self._encode_split(images, processor, table_of(self.data, split)) for split, images in rows.items()}
        )
        encoded["train"], dropped = drop_unusable(encoded["train"], {CAPTION_SIDE: self.data.max_length}, row="image")
        summary: dict[str, Any] = {"vocabulary": len(processor.tokenizer), "dropped": dropped}
        for split, images in encoded.items():
            tokens = int(token_lengths(images, [CAPTION_SIDE.ids]).sum())
            summary[split] = {"images": len(images), "tokens": tokens}
        if "test" in rows:
            compared = {"images": [DIGEST], "captions": ["caption"]}
            summary["test_in_train"] = count_overlap(encoded["train"], encoded["test"], compared)
        return PreparedData(rows, encoded, processor, summary)

    def _encode_split(self, rows: Dataset, processor: LocantProcessor, table: str) -> Dataset:
        """Read the images, and add the token ids of their captions as `labels`."""
        num_proc, tokenizer = self.data.preprocessing_num_workers, processor.tokenizer
        images = read_images(rows, processor.image_processor, table, num_proc)

        def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
            return {"labels": tokenizer(text_target=batch["caption"], verbose=False)["input_ids"]}

        return images.map(encode, batched=True, num_proc=num_proc, desc="Tokenising captions")

    def config_fields(self, prepared: PreparedData) -> dict[str, Any]:
        """Return the config fields that the tokenizer determines: the vocabulary size and the ids of special tokens.

        The decoder begins with the BOS token, so `decoder_start_token_id` is `bos_token_id`.
        """
        tokenizer = prepared.processor.tokenizer
        return {**tokenizer_fields(tokenizer), "decoder_start_token_id": tokenizer.bos_token_id}

    def adapt(self, model: Any, run: RunConfig) -> None:
        """Copy `num_beams`, `length_penalty` and `max_new_tokens` from `run` to the model's generation config.

        In fine-tuning, only the options that are given are copied.
        """
        set_search_options(model, run)

    def check(self, model: PreTrainedModel, prepared: PreparedData) -> None:
        """Raise `InputError` if a caption has more tokens than the decoder has learned positions."""
        for split, images in prepared.encoded.items():
            check_lengths(images, position_limit(model, "target"), split, CAPTION_SIDE)

    def trainer_inputs(self, run: RunConfig, prepared: PreparedData, model: PreTrainedModel) -> TrainerInputs:
        """Return datasets of pixels and labels, the data collator and the metrics for the Trainer.

        With `random_shift` or `random_crop`, the training images are augmented anew in each epoch.
        """
        columns = [*PIXEL_COLUMNS, CAPTION_SIDE.ids]
        train, validation = (prepared.encoded[split].select_columns(columns) for split in ("train", "validation"))
        captions = prepared.rows["validation"].select_columns(["caption", LINE])
        lines = [f"image {line}" for line in captions[LINE]]
        return TrainerInputs(
            train_dataset=TrainingRows(train, variation(self.data), seed=run.training.seed),
            train_lengths=np.ones((len(train), 1), dtype=int),
            eval_dataset=by_length(validation, np.ones((len(validation), 1), dtype=int)),
            data_collator=CaptionCollator(prepared.processor.image_processor),
            compute_metrics=GenerationMetrics(
                prepared.processor.tokenizer, captions["caption"][:], lines, scores=caption_scores
            ),
        )

    def measure(
        self,
        model: PreTrainedModel,
        processor: LocantProcessor,
        rows: Dataset,
        *,
        batch_size: int,
        show_progress: bool,
        **search: Any,
    ) -> tuple[dict[str, Any], list[Prediction]]:
        """Measure the share of exact captions, BLEU, chrF, mean sentence BLEU, loss and perplexity.

        The predictions are `Prediction`s.
        """
        encoded = self._encode_split(numbered(rows), processor, self.table)
        images, collate = encoded.select_columns([*PIXEL_COLUMNS, "labels"]), CaptionCollator(processor.image_processor)
        losses: list[float] = []
        found: list[str] = []
        starts = tqdm(range(0, len(rows), batch_size), desc="captioning", unit=" batches", disable=not show_progress)
        for start in starts:
            batch = collate(images.select(range(start, min(start + batch_size, len(rows)))).to_list())
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            losses += _caption_losses(model, **batch)
            tokens = _generate(model, batch["pixel_values"], search)
            found += processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        found = [one_line(caption) for caption in found]
        captions = encoded["caption"][:]
        loss = math.fsum(losses) / int(token_lengths(encoded, ["labels"]).sum())
        metrics = {
            "exact": exact_share(found, captions),
            **translation_metrics(found, captions),
            "loss": loss,
            "perplexity": perplexity(loss),
            "images": len(rows),
        }
        return metrics, [Prediction(*row) for row in zip(encoded[LINE], captions, found, strict=True)]

    def report_tables(self, rows: Sequence[Prediction]) -> list[ReportTable]:
        """Make a table of the rows whose generated caption `is_exact` finds different from the caption of the image."""
        return [report_rows("Wrong captions", [row for row in rows if not is_exact(row.prediction, row.caption)])]

    def lines(self, metrics: Mapping[str, Any]) -> list[MetricLine]:
        """Return lines with the share of exact captions, BLEU and chrF, loss, perplexity, and the number of images."""
        return [
            MetricLine("exactly right", f"{metrics['exact']:.4f}"),
            MetricLine("BLEU", f"{metrics['bleu']:.2f}", metrics["bleu_signature"]),
            MetricLine("chrF", f"{metrics['chrf']:.2f}", metrics["chrf_signature"]),
            MetricLine("loss", f"{metrics['loss']:.4f}", "nats per token"),
            MetricLine("perplexity", f"{metrics['perplexity']:.2f}"),
            MetricLine("images", f"{metrics['images']:,}"),
        ]


def _load_processor(data: CaptioningData, run: RunConfig, name: str) -> LocantProcessor:
    """Load the processor of a trained captioner or of a checkpoint; raise `InputError` if it does not load."""
    build_image_processor(data, run, name)  # raises an InputError if image_mean or image_std would have no effect
    try:
        return AutoProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"No processor loads from {name}: give the folder or Hub name of a captioner.") from error


@torch.no_grad()
def _caption_losses(model: Any, pixel_values: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Compute the summed loss of the tokens of each caption."""
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels=labels)
    logits = model(pixel_values=pixel_values, decoder_input_ids=decoder_input_ids, use_cache=False).logits
    return token_losses(logits, labels).double().sum(dim=1).tolist()


@torch.no_grad()
def _generate(model: Any, pixel_values: torch.Tensor, search: Mapping[str, Any]) -> torch.Tensor:
    """Generate a caption for each image.

    A caption has at most `max_new_tokens` tokens, and not more tokens than the decoder has learned positions.
    """
    wanted = search.get("max_new_tokens", model.generation_config.max_new_tokens)
    limit = smallest(wanted, position_limit(model, "target"))
    return model.generate(pixel_values, **{**search, **({} if limit is None else {"max_new_tokens": limit})})
