# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The recipe of translation: train an encoder–decoder on parallel text, and evaluate its translations."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import (
    AutoModelForSeq2SeqLM,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from locant.tokenization import BPEDropout

from ..data.batching import TrainingRows
from ..data.preprocessing import (
    SOURCE,
    TARGET,
    Resegmentation,
    Side,
    build_tokenizer,
    check_lengths,
    drop_unusable,
    encode_pairs,
    pair_lengths,
    select_usable,
    tokenize_pairs,
)
from ..data.row_checks import count_overlap, pair_warnings
from ..data.streaming import EncodedBlock
from ..data.tables import Column, Layout
from ..errors import InputError
from ..inference import EvaluationRow, evaluate_split, position_limit, smallest
from ..options.run_config import RunConfig
from ..run.trainer import GenerationTrainer, by_length
from .bleu_by_length import bleu_by_length
from .generation import GenerationMetrics, set_search_options
from .recipe import MetricLine, PreparedData, Recipe, ReportTable, TrainerInputs, report_rows, tokenizer_fields
from .translation_arguments import TranslationData


def training_pairs(pairs: Dataset, resegment: Resegmentation | None, seed: int) -> tuple[TrainingRows, np.ndarray]:
    """Convert tokenised pairs to training rows, and return them and their lengths `(pairs, 2)`.

    Args:
        pairs: the pairs, with their texts and token ids.
        resegment: the random segmentation of BPE dropout; None without BPE dropout. If `resegment.growth` is set, the
            lengths are upper bounds of the lengths that the segmentations may have.
        seed: the seed of the segmentations.
    """
    columns, lengths = [SOURCE.ids, TARGET.ids], pair_lengths(pairs)
    if resegment is not None:
        columns = [*columns, SOURCE.text, TARGET.text]
        if resegment.growth:  # `measure_growth` was called, as batches have a budget of tokens
            bounds = [resegment.longest(side, lengths[:, i]) for i, side in enumerate((SOURCE, TARGET))]
            lengths = np.stack(bounds, axis=1).astype(np.int64)
    return TrainingRows(pairs.select_columns(columns), resegment, seed=seed), lengths


class Translation(Recipe):
    """The recipe for encoder–decoders that generate a text from a text."""

    auto_class = AutoModelForSeq2SeqLM
    trainer_class = GenerationTrainer
    predictions_name = "translations"

    data: TranslationData

    @property
    def layout(self) -> Layout:
        """The columns of a row: a source and a target.

        In a table, the column of the source is `source_column` if given, else the first of the columns
        ``translation.<source_lang>``, ``<source_lang>`` and ``source`` that the table has. The column of the target is
        found in the same way.
        """
        source = _text_column("source", self.data.source_column, self.data.source_lang)
        target = _text_column("target", self.data.target_column, self.data.target_lang)
        return Layout((source, target), row="pair")

    def warnings(self, rows: DatasetDict) -> list[str]:
        """Return the warnings of the base class, and warnings if pairs do not look like texts with translations."""
        return [*super().warnings(rows), *pair_warnings(rows)]

    def build_processor(self, run: RunConfig, train: Dataset, name: str | None) -> PreTrainedTokenizerBase:
        """Load the tokenizer `name`; if `name` is None, train a new tokenizer on the texts of both languages."""
        texts = (text for row in train for text in (row["source"], row["target"]))
        return build_tokenizer(self.data, texts, name, show_progress=not run.training.disable_tqdm)

    def encode(self, rows: DatasetDict, processor: PreTrainedTokenizerBase) -> PreparedData:
        """Tokenise the pairs of every split, and drop the training pairs in which a text is empty or too long."""
        prefix, num_proc = self.data.source_prefix or "", self.data.preprocessing_num_workers
        encoded = DatasetDict()
        for split, pairs in rows.items():
            encoded[split] = tokenize_pairs(
                pairs, processor, source_prefix=prefix, num_proc=num_proc, desc=f"Tokenising {split}"
            )
        limits = {SOURCE: self.data.max_source_length, TARGET: self.data.max_target_length}
        encoded["train"], dropped = drop_unusable(encoded["train"], limits, row="pair")
        summary: dict[str, Any] = {"vocabulary": len(processor), "dropped": dropped}
        for split, pairs in encoded.items():
            source, target = pair_lengths(pairs).sum(axis=0).tolist()
            summary[split] = {"pairs": len(pairs), "source_tokens": source, "target_tokens": target}
        if "test" in rows:
            compared = {"sources": ["source"], "pairs": ["source", "target"]}
            summary["test_in_train"] = count_overlap(rows["train"], rows["test"], compared)
        return PreparedData(rows, encoded, processor, summary)

    def config_fields(self, prepared: PreparedData) -> dict[str, Any]:
        """Return the size of the vocabulary and the ids of special tokens; the decoder starts with the `bos_token`."""
        tokenizer = prepared.processor
        return {**tokenizer_fields(tokenizer), "decoder_start_token_id": tokenizer.bos_token_id}

    def adapt(self, model: Any, run: RunConfig) -> None:
        """Copy the languages to the config, and options of the search, such as `num_beams`, to the generation config.

        Languages that are not given are not copied. In fine-tuning, options of the search are copied only if given.
        """
        for name in ("source_lang", "target_lang"):
            if getattr(self.data, name) is not None:
                setattr(model.config, name, getattr(self.data, name))
        set_search_options(model, run)

    def check(self, model: PreTrainedModel, prepared: PreparedData) -> None:
        """Raise `InputError` if a source has more tokens than the encoder has learned positions.

        Also raise it if a target has more tokens than the decoder has learned positions.
        """
        for side in (SOURCE, TARGET):
            for split, pairs in prepared.encoded.items():
                check_lengths(pairs, position_limit(model, side.text), split, side)

    def trainer_inputs(self, run: RunConfig, prepared: PreparedData, model: PreTrainedModel) -> TrainerInputs:
        """Return datasets of pairs of token ids, the data collator and the metrics for the Trainer.

        With BPE dropout, the training texts are segmented anew in each epoch.
        """
        train, validation = prepared.encoded["train"], prepared.encoded["validation"]
        resegment = self._resegmentation(prepared.processor, model) if self.data.bpe_dropout else None
        if resegment is not None and run.training.max_tokens_per_batch is not None:
            resegment.measure_growth(train, run.training.seed)
        pairs = prepared.rows["validation"]
        options: dict[str, Any] = {"resegment": resegment, "seed": run.training.seed}
        encode = partial(self._encode_block, tokenizer=prepared.processor, limits=self._limits(model), **options)
        train_dataset, lengths = training_pairs(train, **options)
        return TrainerInputs(
            train_dataset=train_dataset,
            train_lengths=lengths,
            eval_dataset=by_length(validation.select_columns([SOURCE.ids, TARGET.ids]), pair_lengths(validation)),
            data_collator=DataCollatorForSeq2Seq(prepared.processor, label_pad_token_id=-100),
            compute_metrics=GenerationMetrics(prepared.processor, pairs["target"][:], pairs["source"][:]),
            stream=self.stream(encode),
        )

    def _encode_block(
        self, pairs: Dataset, tokenizer: PreTrainedTokenizerBase, limits: dict[Side, int | None], **options: Any
    ) -> EncodedBlock:
        """Tokenise the pairs of a streamed block, and drop pairs in which a text is blank or exceeds its limit.

        `options` are arguments of `training_pairs`.
        """
        columns = pairs[:]
        encoded = Dataset.from_dict({**columns, **encode_pairs(columns, tokenizer, self.data.source_prefix or "")})
        kept, dropped = select_usable(encoded, limits)
        return EncodedBlock(*training_pairs(kept, **options), dropped)

    def _limits(self, model: PreTrainedModel) -> dict[Side, int | None]:
        return {
            SOURCE: smallest(self.data.max_source_length, position_limit(model, "source")),
            TARGET: smallest(self.data.max_target_length, position_limit(model, "target")),
        }

    def _resegmentation(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Resegmentation:
        dropout, prefix = self.data.bpe_dropout, self.data.source_prefix or ""
        try:
            return Resegmentation(BPEDropout(tokenizer, dropout), self._limits(model), prefix)
        except ValueError as error:
            raise InputError(str(error)) from error

    def measure(
        self, model: PreTrainedModel, processor: PreTrainedTokenizerBase, rows: Dataset, **options: Any
    ) -> tuple[dict[str, Any], list[EvaluationRow]]:
        """Measure BLEU, chrF, mean sentence BLEU, loss and perplexity; the predictions are `EvaluationRow`s."""
        prefix = self.data.source_prefix or ""
        return evaluate_split(model, processor, rows["source"][:], rows["target"][:], source_prefix=prefix, **options)

    def lines(self, metrics: Mapping[str, Any]) -> list[MetricLine]:
        """Return lines with BLEU, chrF and mean sentence BLEU, loss, perplexity, and the number of sentences."""
        return translation_lines(metrics)

    def report_tables(self, rows: Sequence[EvaluationRow]) -> list[ReportTable]:
        """Make a table of BLEU by number of words in the source, and a table of the sentences with the lowest BLEU."""
        lengths = [[words, f"{number:,}", f"{bleu:.2f}"] for words, (number, bleu) in bleu_by_length(rows).items()]
        worst = sorted((row for row in rows if row.sentence_bleu < 100), key=lambda row: row.sentence_bleu)
        return [
            ReportTable("BLEU by the number of words in the source", ["words", "sentences", "BLEU"], lengths),
            report_rows("Lowest sentence BLEU", worst),
        ]


def translation_lines(metrics: Mapping[str, Any]) -> list[MetricLine]:
    """Return the lines that are printed for the metrics of `evaluate_split`."""
    return [
        MetricLine("BLEU", f"{metrics['bleu']:.2f}", metrics["bleu_signature"]),
        MetricLine("chrF", f"{metrics['chrf']:.2f}", metrics["chrf_signature"]),
        MetricLine("mean sentence BLEU", f"{metrics['sentence_bleu']:.2f}", metrics["sentence_bleu_signature"]),
        MetricLine("loss", f"{metrics['loss']:.4f}", "nats per token"),
        MetricLine("perplexity", f"{metrics['perplexity']:.2f}"),
        MetricLine("sentences", f"{metrics['sentences']:,}"),
    ]


def _text_column(name: str, chosen: str | None, lang: str | None) -> Column:
    return Column(name, chosen=chosen, usual=() if lang is None else (f"translation.{lang}", lang))
