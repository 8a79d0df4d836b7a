# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The recipe of causal language modelling: documents are packed into blocks, and the model predicts each next token."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from locant.modeling.attention_inputs import is_flash
from locant.modeling.loss import token_losses
from locant.modeling.modeling_locant_decoder import next_tokens

from ..data.batching import TrainingRows
from ..errors import InputError
from ..inference import SentenceScore, position_limit
from ..options.run_config import RunConfig
from ..run.trainer import ROW, RecipeTrainer, Tensors, by_length, mean_loss
from .documents import Cutter, DocumentRecipe, alone, block_lengths, by_document, counted_documents, pack
from .language_modeling_arguments import LanguageModelingData
from .recipe import MetricLine, PreparedData, ReportTable, TrainerInputs, measure_rows, report_rows
from .translation_metrics import perplexity

IGNORED = -100


class DocumentLoss(NamedTuple):
    """The loss of a document: mean nats per token, and bits per byte of UTF-8; both are 0 for a blank document."""

    text: str
    tokens: int
    loss: float
    bits_per_byte: float


@dataclass(frozen=True)
class OverlappingPieces:
    """Cuts documents into pieces of at most `size` tokens; a piece begins with the last token of the piece before it.

    A document is encoded as a start token, the tokens of its text, and an end token. Every token but the start token
    is predicted once: a token that two pieces share is predicted in the earlier piece. The start token is the
    tokenizer's `bos_token`, or its `eos_token` if the tokenizer has no `bos_token`.
    """

    tokenizer: PreTrainedTokenizerBase
    size: int

    def __call__(self, texts: list[str]) -> list[list[list[int]]]:
        """Cut each text into pieces, which are lists of token ids."""
        end: Any = self.tokenizer.eos_token_id
        start: Any = end if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        encoded = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return [self._cut([start, *ids, end]) for ids in encoded["input_ids"]]

    def _cut(self, ids: list[int]) -> list[list[int]]:
        return [ids[place : place + self.size] for place in range(0, len(ids) - 1, self.size - 1)]


@dataclass
class BlockCollator:
    """Makes a batch of blocks, padded on the right: `input_ids`, `labels`, and `document_ids` or `attention_mask`.

    The label is -100 for padding, and for the first token of a piece, as the piece has no token to predict it from. If
    `with_documents` is True, `document_ids` restrict attention to the tokens of the same piece. If `with_documents` is
    False, each block must hold a single piece, and the batch has an `attention_mask`.
    """

    pad_token_id: int
    with_documents: bool

    def __call__(self, blocks: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make tensors `(blocks, tokens)`; a column `row` with the indices of the blocks also becomes a tensor."""
        ids, labels, documents = [], [], []
        for pieces in (block["pieces"] for block in blocks):
            ids.append(torch.tensor(list(chain.from_iterable(pieces))))
            labels.append(torch.tensor([label for piece in pieces for label in (IGNORED, *piece[1:])]))
            lengths = torch.tensor([len(piece) for piece in pieces])
            documents.append(torch.arange(len(pieces)).repeat_interleave(lengths))
        batch = {"input_ids": _pad(ids, self.pad_token_id), "labels": _pad(labels, IGNORED)}
        document_ids = _pad(documents, -1)  # padding attends to padding only
        if self.with_documents:
            batch["document_ids"] = document_ids
        else:
            batch["attention_mask"] = (document_ids >= 0).long()
        if ROW in blocks[0]:
            batch[ROW] = torch.tensor([block[ROW] for block in blocks])
        return batch


def _pad(sequences: list[torch.Tensor], value: int) -> torch.Tensor:
    return pad_sequence(sequences, batch_first=True, padding_value=value)


class CausalTrainer(RecipeTrainer):
    """The Trainer for decoders, which evaluates the loss per token."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute the Trainer's loss without a cache, which models of other families would fill in each step."""
        return super().compute_loss(model, {**inputs, "use_cache": False}, *args, **kwargs)

    def predict_batch(self, model: torch.nn.Module, inputs: dict[str, Any], with_predictions: bool) -> Tensors:
        """Return the summed loss and the number of predicted tokens of each row."""
        with self.compute_loss_context_manager():
            return summed_losses(model, inputs)


def summed_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> Tensors:
    """Compute the summed loss and the number of predicted tokens of each row in a batch of `BlockCollator`."""
    return batch_losses(model, batch).sum(dim=1), (next_tokens(batch["labels"]) != IGNORED).sum(dim=1)


def batch_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Compute the loss of the token after each token of a batch, `(rows, tokens)`; 0 if the next label is -100."""
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    return token_losses(model(**inputs, use_cache=False).logits, next_tokens(batch["labels"]))


def loss_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Compute the loss per token and the perplexity; the Trainer gets this function as its `compute_metrics`."""
    losses, counts = tuple(prediction.predictions)
    loss = mean_loss(losses, counts)
    return {"loss": loss, "perplexity": perplexity(loss)}


def training_blocks(pieces: Dataset, size: int | None) -> tuple[TrainingRows, np.ndarray]:
    """Make training rows, each of which is a block of pieces, and their lengths `(rows, 1)`.

    The pieces are packed into blocks of at most `size` tokens; if `size` is None, each block is one piece.
    """
    blocks = alone(pieces) if size is None else pack(pieces, size)
    return TrainingRows(blocks), block_lengths(blocks)


class LanguageModeling(DocumentRecipe):
    """The recipe for decoders, which predict each token of a document from the tokens before it."""

    auto_class = AutoModelForCausalLM
    trainer_class = CausalTrainer
    predictions_name = "losses"
    purpose = "causal_lm"
    size_option = ("block_size", "target")

    data: LanguageModelingData

    def cutter(self, tokenizer: PreTrainedTokenizerBase) -> Cutter:
        """Return an `OverlappingPieces` with the size `block_size`; raise `InputError` without an `eos_token`."""
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"The tokenizer {tokenizer.name_or_path} has no eos_token to end a document with: choose a tokenizer "
                "that has an eos_token."
            )
        return OverlappingPieces(tokenizer, self.data.block_size)

    def learned(self, ids: np.ndarray, first: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
        """Return an array with True for every token but the first token of each piece."""
        return ~first

    def adapt(self, model: Any, run: RunConfig) -> None:
        """Set `max_new_tokens` in the generation config; in fine-tuning, only if the option is given.

        If the option is not given, a new model gets the default, or half of the number of learned positions if this is
        less.
        """
        if run.model.model_name_or_path is None or "max_new_tokens" in run.given:
            training: Any = run.training
            number, limit = training.max_new_tokens, position_limit(model, "target")
            if limit is not None and "max_new_tokens" not in run.given:
                number = min(number, max(1, limit // 2))  # half of the positions are left for the prompt
            model.generation_config.max_new_tokens = number

    def trainer_inputs(self, run: RunConfig, prepared: PreparedData, model: PreTrainedModel) -> TrainerInputs:
        """Return training and validation blocks, the data collator and the metrics for the Trainer.

        A validation block is one piece. A training block may have several pieces if `keeps_documents_apart(model)` is
        true; if it is false, a training block is one piece too.
        """
        packs = keeps_documents_apart(model)
        in_blocks = partial(training_blocks, size=self.data.block_size if packs else None)
        train_dataset, train_lengths = in_blocks(prepared.encoded["train"])
        validation = alone(prepared.encoded["validation"])
        return TrainerInputs(
            train_dataset=train_dataset,
            train_lengths=train_lengths,
            eval_dataset=by_length(validation, block_lengths(validation)),
            data_collator=BlockCollator(_padding_id(prepared.processor), with_documents=packs),
            compute_metrics=loss_metrics,
            stream=self.stream_pieces(prepared.processor, in_blocks),
        )

    def measure(
        self, model: PreTrainedModel, processor: PreTrainedTokenizerBase, rows: Dataset, **options: Any
    ) -> tuple[dict[str, Any], list[DocumentLoss]]:
        """Measure loss per token in nats, perplexity and bits per byte, of the model and of a unigram model.

        The predictions are a `DocumentLoss` for each document. No token attends to another document. As in training, a
        long document is cut into pieces of `block_size` tokens, so the first tokens of a later piece are predicted from
        few tokens. Every token counts once, including the end token of a document. Bits per byte are the loss of the
        tokens of a document and of its end token in bits, divided by the number of bytes of the document in UTF-8. They
        can be compared between tokenizers, if no token is unknown. The unigram model is left out if the training data
        cannot be read.
        """
        pieces = self.cut(rows, processor)
        blocks = alone(pieces)
        collate = BlockCollator(_padding_id(processor), with_documents=False)

        def measure(batch: list[dict[str, Any]]) -> Tensors:
            return summed_losses(model, {name: values.to(model.device) for name, values in collate(batch).items()})

        found = measure_rows(blocks, block_lengths(blocks), measure, **options)
        losses, counts = (by_document(values, pieces, len(rows)) for values in found)
        texts = rows["text"][:]
        sizes = np.array([len(text.encode()) for text in texts]) * (counts > 0)
        bits = losses / math.log(2)
        loss = float(losses.sum() / counts.sum())
        metrics = {"loss": loss, "perplexity": perplexity(loss), "bits_per_byte": float(bits.sum() / sizes.sum())}
        if (unigram_losses := self.unigram_losses(processor)) is not None:
            unigram_loss = float(unigram_losses[self.learned_tokens(pieces, processor)].mean())
            metrics |= {
                "unigram_loss": unigram_loss,
                "unigram_perplexity": perplexity(unigram_loss),
                "unigram_bits_per_byte": unigram_loss / math.log(2) * float(counts.sum() / sizes.sum()),
            }
        metrics |= {
            "documents": int((counts > 0).sum()),
            "tokens": int(counts.sum()),
            "bytes": int(sizes.sum()),
        }
        means, rates = losses / np.maximum(counts, 1), bits / np.maximum(sizes, 1)
        columns = zip(texts, counts.astype(int).tolist(), means.tolist(), rates.tolist(), strict=True)
        return metrics, [DocumentLoss(*row) for row in columns]

    def report_tables(self, rows: Sequence[DocumentLoss]) -> list[ReportTable]:
        """Make a table of the documents with the highest loss."""
        return [report_rows("Highest loss", sorted(rows, key=lambda row: -row.loss))]

    def lines(self, metrics: Mapping[str, Any]) -> list[MetricLine]:
        """Return lines with the loss, the perplexity, the bits per byte, and the number of tokens.

        If `metrics` has the metrics of a unigram model, the lines have them too.
        """
        has_unigram = "unigram_loss" in metrics
        perplexity, bits = (
            f"unigram {metrics[name]:{form}}" if has_unigram else ""
            for name, form in (("unigram_perplexity", ".2f"), ("unigram_bits_per_byte", ".4f"))
        )
        lines = [MetricLine("loss", f"{metrics['loss']:.4f}", "nats per token")]
        if has_unigram:
            note = "of the frequencies of the training tokens"
            lines.append(MetricLine("unigram loss", f"{metrics['unigram_loss']:.4f}", note))
        return [
            *lines,
            MetricLine("perplexity", f"{metrics['perplexity']:.2f}", perplexity),
            MetricLine("bits per byte", f"{metrics['bits_per_byte']:.4f}", bits),
            MetricLine("tokens", f"{metrics['tokens']:,}", f"in {counted_documents(metrics['documents'])}"),
        ]


def score_documents(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    *,
    block_size: int,
    batch_size: int,
    show_progress: bool,
) -> list[SentenceScore]:
    """Compute the log-probability of each text as a document, including its end token.

    A document longer than `block_size` tokens is scored in pieces, as `LanguageModeling.measure` does. A text of white
    space only has log-probability 0 and no tokens.
    """
    cut = OverlappingPieces(tokenizer, block_size)
    filled = [number for number, text in enumerate(texts) if text.strip()]
    documents = cut([texts[number] for number in filled]) if filled else []
    rows = [(number, piece) for number, pieces in zip(filled, documents, strict=True) for piece in pieces]
    collate = BlockCollator(_padding_id(tokenizer), with_documents=False)
    scores = [SentenceScore(0.0, [], []) for _ in texts]
    with torch.no_grad():
        for start in tqdm(range(0, len(rows), batch_size), "scoring", unit=" batches", disable=not show_progress):
            batch = rows[start : start + batch_size]
            inputs = collate([{"pieces": [piece]} for _, piece in batch]).items()
            losses = batch_losses(model, {name: values.to(model.device) for name, values in inputs})
            for (number, piece), row in zip(batch, losses, strict=True):
                scores[number].tokens.extend(tokenizer.convert_ids_to_tokens(piece[1:]))
                scores[number].token_log_probabilities.extend((-row[: len(piece) - 1]).tolist())
    return [replace(score, log_probability=math.fsum(score.token_log_probabilities)) for score in scores]


def keeps_documents_apart(model: PreTrainedModel) -> bool:
    """Whether the model and its attention backend take `document_ids`, so that a block may hold several documents."""
    takes = "document_ids" in inspect.signature(model.forward).parameters
    return takes and not is_flash(model.config._attn_implementation or "")


def _padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of padding tokens; any id will do, as no token of a text attends to padding or predicts it."""
    found: Any = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return found
