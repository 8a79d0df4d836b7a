# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The recipe of language modelling: documents packed into blocks, each token predicted from those before it."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
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

from .batching import TrainingRows
from .config_parser import RunConfig
from .documents import (
    Cutter,
    DocumentRecipe,
    alone,
    block_lengths,
    by_document,
    counted_documents,
    measure_rows,
    pack,
)
from .errors import InputError
from .inference import SentenceScore, position_limit
from .language_modeling_arguments import LanguageModelingData
from .metrics import perplexity
from .recipe import Line, Measured, Prepared, TrainerInputs
from .trainer import ROW, RecipeTrainer, Tensors, by_length, mean_loss

IGNORED = -100


class DocumentLoss(NamedTuple):
    """What one document costs a model: nats a token, and bits a byte of its UTF-8; nothing where it has no text."""

    text: str
    tokens: int
    loss: float
    bits_per_byte: float


@dataclass(frozen=True)
class OverlappingPieces:
    """Cuts documents into pieces of at most `size` tokens, each of which begins with the last token before it.

    A document is its tokens between a start and an end token. But for the first, every one of them is predicted once,
    in the piece that it is not the first of. The start is the tokenizer's own, or else the end token (as in GPT-2).
    """

    tokenizer: PreTrainedTokenizerBase
    size: int

    def __call__(self, texts: list[str]) -> list[list[list[int]]]:
        """The pieces of each text."""
        end: Any = self.tokenizer.eos_token_id
        start: Any = end if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        encoded = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return [self._cut([start, *ids, end]) for ids in encoded["input_ids"]]

    def _cut(self, ids: list[int]) -> list[list[int]]:
        return [ids[place : place + self.size] for place in range(0, len(ids) - 1, self.size - 1)]


@dataclass
class BlockCollator:
    """Makes tensors of blocks, padded on the right: `input_ids`, `labels`, and who sees whom.

    A label is -100 at padding and at the first token of a piece, which is predicted from nothing. With
    `with_documents` there are `document_ids`, by which a piece sees itself only; else blocks are of one piece, and
    there is an `attention_mask`.
    """

    pad_token_id: int
    with_documents: bool

    def __call__(self, blocks: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch `(blocks, tokens)`, and the numbers of the rows where they have such."""
        ids, labels, documents = [], [], []
        for pieces in (block["pieces"] for block in blocks):
            ids.append(torch.tensor(list(chain.from_iterable(pieces))))
            labels.append(torch.tensor([label for piece in pieces for label in (IGNORED, *piece[1:])]))
            lengths = torch.tensor([len(piece) for piece in pieces])
            documents.append(torch.arange(len(pieces)).repeat_interleave(lengths))
        batch = {"input_ids": _pad(ids, self.pad_token_id), "labels": _pad(labels, IGNORED)}
        document_ids = _pad(documents, -1)  # padding sees itself
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
    """A trainer of decoders: loss per token."""

    def predict_batch(self, model: torch.nn.Module, inputs: dict[str, Any], with_predictions: bool) -> Tensors:
        """Summed loss and number of predicted tokens of each row."""
        with self.compute_loss_context_manager():
            return summed_losses(model, inputs)


def summed_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> Tensors:
    """Summed loss and number of predicted tokens of each row of a `BlockCollator`'s batch."""
    return batch_losses(model, batch).sum(dim=1), (next_tokens(batch["labels"]) != IGNORED).sum(dim=1)


def batch_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss of each next token in a batch of `BlockCollator`, `(rows, tokens)`; 0 where the label is -100."""
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    return token_losses(model(**inputs, use_cache=False).logits, next_tokens(batch["labels"]))


def loss_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """The Trainer's `compute_metrics`: loss and perplexity per token."""
    losses, counts = tuple(prediction.predictions)
    loss = mean_loss(losses, counts)
    return {"loss": loss, "perplexity": perplexity(loss)}


class LanguageModeling(DocumentRecipe):
    """Decoders: each token of a document from those before it."""

    auto_class = AutoModelForCausalLM
    trainer_class = CausalTrainer
    predictions_name = "losses"
    purpose = "causal_lm"

    data: LanguageModelingData

    def cutter(self, tokenizer: PreTrainedTokenizerBase) -> Cutter:
        """Pieces of at most `block_size` tokens."""
        if tokenizer.eos_token_id is None:
            raise InputError(f"The tokenizer {tokenizer.name_or_path} has no eos_token to end a document with.")
        return OverlappingPieces(tokenizer, self.data.block_size)

    def learned(self, ids: np.ndarray, first: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
        """All but the first of a piece."""
        return ~first

    def adapt(self, model: Any, run: RunConfig) -> None:
        """Set `max_new_tokens` of the generation config; a fine-tuned model keeps its own unless it is given."""
        if run.model.model_name_or_path is None or "max_new_tokens" in run.given:
            training: Any = run.training
            number, limit = training.max_new_tokens, position_limit(model, "target")
            if limit is not None and "max_new_tokens" not in run.given:
                number = min(number, max(1, limit // 2))  # which leaves half of the positions to the prompt
            model.generation_config.max_new_tokens = number

    def check(self, model: PreTrainedModel, prepared: Prepared) -> None:
        """A block goes not beyond the positions that there are."""
        limit = position_limit(model, "target")
        if limit is not None and self.data.block_size > limit:
            raise InputError(
                f"block_size is {self.data.block_size}, but the learned positions end at {limit}: lower it, raise "
                "max_position_embeddings, or choose a position encoding without a table (sinusoidal, rotary)."
            )

    def trainer_inputs(self, run: RunConfig, prepared: Prepared, model: PreTrainedModel) -> TrainerInputs:
        """Blocks, packed where the model can keep documents apart, and the pieces of the validation set."""
        packs = keeps_documents_apart(model)
        train, validation = prepared.encoded["train"], alone(prepared.encoded["validation"])
        blocks = pack(train, self.data.block_size) if packs else alone(train)
        return TrainerInputs(
            train_dataset=TrainingRows(blocks, seed=run.training.seed),
            train_lengths=block_lengths(blocks),
            eval_dataset=by_length(validation, block_lengths(validation)),
            data_collator=BlockCollator(_padding_id(prepared.processor), with_documents=packs),
            compute_metrics=loss_metrics,
        )

    def measure(
        self,
        model: PreTrainedModel,
        processor: PreTrainedTokenizerBase,
        rows: Dataset,
        *,
        batch_size: int,
        show_progress: bool,
        **search: Any,
    ) -> Measured:
        """Loss per token in nats, perplexity, bits per byte, and the loss of a unigram model; each document's too.

        Documents are measured alone, longer ones in pieces of `block_size` tokens, as they are trained on: the first
        tokens of a further piece have only few before them. Every token counts once, the end of a document included.
        Bits per byte are those of a document and its end for each byte of its UTF-8, comparable whatever the tokens
        are (as long as none is unknown).
        """
        pieces = self.cut(rows, processor)
        blocks = alone(pieces)
        collate = BlockCollator(_padding_id(processor), with_documents=False)

        def measure(batch: list[dict[str, Any]]) -> Tensors:
            return summed_losses(model, {name: values.to(model.device) for name, values in collate(batch).items()})

        found = measure_rows(blocks, block_lengths(blocks), measure, batch_size=batch_size, show_progress=show_progress)
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
        return Measured(metrics, [DocumentLoss(*row) for row in columns])

    def lines(self, metrics: Mapping[str, Any]) -> list[Line]:
        """The loss, the perplexity and the bits per byte, with those of a unigram model if the metrics have them."""
        has_unigram = "unigram_loss" in metrics
        perplexity, bits = (
            f"unigram {metrics[name]:{form}}" if has_unigram else ""
            for name, form in (("unigram_perplexity", ".2f"), ("unigram_bits_per_byte", ".4f"))
        )
        lines = [Line("loss", f"{metrics['loss']:.4f}", "nats a token")]
        if has_unigram:
            note = "of the frequencies of the training tokens"
            lines.append(Line("unigram loss", f"{metrics['unigram_loss']:.4f}", note))
        return [
            *lines,
            Line("perplexity", f"{metrics['perplexity']:.2f}", perplexity),
            Line("bits per byte", f"{metrics['bits_per_byte']:.4f}", bits),
            Line("tokens", f"{metrics['tokens']:,}", f"in {counted_documents(metrics['documents'])}"),
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
    """The log-probability of each text as a document, its end included.

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
    """Whether the model and its attention backend take `document_ids`."""
    takes = "document_ids" in inspect.signature(model.forward).parameters
    return takes and not is_flash(model.config._attn_implementation or "")


def _padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Any id will do: padding is neither seen nor predicted."""
    found: Any = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return found


__all__ = ["BlockCollator", "CausalTrainer", "DocumentLoss", "LanguageModeling", "OverlappingPieces"]
