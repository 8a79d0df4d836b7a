# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The recipe of masked language modelling: some tokens of a text are masked, and predicted from all other tokens."""

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForTokenClassification,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from locant.modeling.loss import token_losses

from ..data.batching import TrainingRows
from ..data.preprocessing import token_lengths
from ..errors import InputError
from ..options.run_config import RunConfig
from ..run.trainer import RecipeTrainer, Tensors, by_length, mean_loss, mean_token_loss
from .documents import IDS, Cutter, DocumentRecipe, by_document, counted_documents
from .masked_language_modeling_arguments import MaskedLanguageModelingData
from .recipe import MetricLine, PreparedData, ReportTable, TrainerInputs, measure_rows, report_rows
from .translation_metrics import perplexity

LABELS = "labels"
IGNORED = -100


class GuessedDocument(NamedTuple):
    """A document, the number of its masked tokens, how many are predicted correctly, and their mean loss in nats."""

    text: str
    masked: int
    right: int
    loss: float


@dataclass(frozen=True)
class SeparatePieces:
    """Cuts documents into pieces of at most `size` tokens, each with the special tokens that the tokenizer adds."""

    tokenizer: PreTrainedTokenizerBase
    size: int

    def __call__(self, texts: list[str]) -> list[list[list[int]]]:
        """Cut each text into pieces, which are lists of token ids."""
        if not self.tokenizer.is_fast:
            return self._cut_by_slow_tokenizer(texts)
        tokenizer = copy.deepcopy(self.tokenizer)  # a fast tokenizer keeps `max_length`, and would be saved with it
        encoded = tokenizer(
            texts,
            truncation=True,
            max_length=self.size,
            return_overflowing_tokens=True,
            split_special_tokens=True,
            verbose=False,
        )
        pieces: list[list[list[int]]] = [[] for _ in texts]
        for text, ids in zip(encoded["overflow_to_sample_mapping"], encoded[IDS], strict=True):
            pieces[text].append(ids)
        return pieces

    def _cut_by_slow_tokenizer(self, texts: list[str]) -> list[list[list[int]]]:
        """Cut each text as `__call__` does; a slow tokenizer returns no overflowing pieces of a batch."""
        tokenizer: Any = self.tokenizer
        size = self.size - tokenizer.num_special_tokens_to_add()
        encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)[IDS]
        return [
            [
                tokenizer.build_inputs_with_special_tokens(ids[place : place + size])
                for place in range(0, len(ids), size)
            ]
            for ids in encoded
        ]


class Masking:
    """Masks tokens of a row (Devlin et al. 2019, section 3.1), anew in each epoch (Liu et al. 2019, section 4.1).

    The tokens to be predicted are chosen at random from the tokens that are not special tokens: at least one, if there
    is any. A token to be predicted is replaced by the mask token with a probability of 80 %, and by a random token
    with a probability of 10 %; otherwise it is not replaced.

    Args:
        tokenizer: the tokenizer of the rows; `InputError` is raised if it has no mask token.
        probability: the mean share of the tokens that are to be predicted.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, probability: float):
        if tokenizer.mask_token_id is None:
            raise InputError(
                f"The tokenizer {tokenizer.name_or_path} has no mask_token: choose the tokenizer of a masked language "
                "model."
            )
        self.mask = tokenizer.mask_token_id
        self.probability = probability
        self.special = frozenset(tokenizer.all_special_ids)
        self.ordinary = [token for token in range(len(tokenizer)) if token not in self.special]

    def __call__(self, row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        """Mask tokens of a row: ``labels`` has the id of each token to be predicted, and -100 for each other token."""
        ids = list(row[IDS])
        labels = [IGNORED] * len(ids)
        places = [place for place, token in enumerate(ids) if token not in self.special]
        wanted = int(self.probability * len(places) + rng.random())  # stochastic rounding: the mean of many is exact
        for place in rng.sample(places, min(max(1, wanted), len(places))):
            labels[place] = ids[place]
            chance = rng.random()
            if chance < 0.8:
                ids[place] = self.mask
            elif chance < 0.9:
                ids[place] = rng.choice(self.ordinary)
        return {IDS: ids, LABELS: labels}


def masked_rows(pieces: Dataset, masking: Masking, seed: int) -> tuple[TrainingRows, np.ndarray]:
    """Make training rows, and their lengths `(pieces, 1)`; `seed` decides which tokens are masked in each epoch."""
    return TrainingRows(pieces.select_columns([IDS]), masking, seed=seed), token_lengths(pieces, [IDS])


class MaskedTrainer(RecipeTrainer):
    """The Trainer for encoders, which evaluates loss and accuracy over the masked tokens."""

    replaced_loss = staticmethod(mean_token_loss)

    def predict_batch(self, model: torch.nn.Module, inputs: dict[str, Any], with_predictions: bool) -> Tensors:
        """Return for each row the summed loss, the number of masked tokens and the number of correct predictions."""
        with self.compute_loss_context_manager():
            return guesses(model, inputs)


def guesses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> Tensors:
    """Compute for each row the summed loss, the number of masked tokens, and how many are predicted correctly."""
    inputs = {name: values for name, values in batch.items() if name != LABELS}
    labels = batch[LABELS]
    logits = model(**inputs).logits
    right = (logits.argmax(dim=-1) == labels).sum(dim=1)
    return token_losses(logits, labels).sum(dim=1), (labels != IGNORED).sum(dim=1), right


def guess_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Compute loss and accuracy over the masked tokens; the Trainer gets this function as its `compute_metrics`."""
    losses, counts, right = tuple(prediction.predictions)
    return {"loss": mean_loss(losses, counts), "accuracy": float(right.sum() / counts.sum())}


class MaskedLanguageModeling(DocumentRecipe):
    """The recipe for encoders, which predict the masked tokens of a text from all other tokens."""

    auto_class = AutoModelForMaskedLM
    trainer_class = MaskedTrainer
    purpose = "masked_lm"
    size_option = ("max_length", "source")

    data: MaskedLanguageModelingData

    def cutter(self, tokenizer: PreTrainedTokenizerBase) -> Cutter:
        """Return a `SeparatePieces` with the size `max_length`."""
        return SeparatePieces(tokenizer, self.data.max_length)

    def learned(self, ids: np.ndarray, first: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
        """Return an array with True for every token that is not a special token."""
        return ~np.isin(ids, tokenizer.all_special_ids)

    def hide(self, pieces: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Mask tokens in the pieces of a split for evaluation; the same seed always gives the same masks."""
        masking, seed = Masking(tokenizer, self.data.mlm_probability), self.seed

        def hide(row: dict[str, Any], number: int) -> dict[str, Any]:
            return masking(row, random.Random(f"{seed} {number}"))

        features = Features({**pieces.features, LABELS: List(Value("int32"))})
        return pieces.map(hide, with_indices=True, features=features, desc="Masking")

    def trainer_inputs(self, run: RunConfig, prepared: PreparedData, model: PreTrainedModel) -> TrainerInputs:
        """Return the training and validation pieces, the data collator and the metrics for the Trainer.

        Tokens of the training pieces are masked anew in each epoch; the validation pieces have fixed masks.
        """
        tokenizer = prepared.processor
        validation = self.hide(prepared.encoded["validation"], tokenizer)
        masking = Masking(tokenizer, self.data.mlm_probability)
        masked = partial(masked_rows, masking=masking, seed=run.training.seed)
        train_dataset, train_lengths = masked(prepared.encoded["train"])
        return TrainerInputs(
            train_dataset=train_dataset,
            train_lengths=train_lengths,
            eval_dataset=by_length(validation.select_columns([IDS, LABELS]), token_lengths(validation, [IDS])),
            data_collator=DataCollatorForTokenClassification(tokenizer),
            compute_metrics=guess_metrics,
            stream=self.stream_pieces(tokenizer, masked),
        )

    def measure(
        self, model: PreTrainedModel, processor: PreTrainedTokenizerBase, rows: Dataset, **options: Any
    ) -> tuple[dict[str, Any], list[GuessedDocument]]:
        """Measure loss in nats, perplexity and accuracy over masked tokens; also loss and accuracy of a unigram model.

        The predictions are a `GuessedDocument` for each document. The masks of a piece are drawn by a generator that is
        seeded by the recipe's `seed` and the number of the piece, so a split always has the same masks. The unigram
        model is the model of `unigram_losses`, and always predicts the most frequent token; it is left out if the
        training data cannot be read.
        """
        pieces = self.hide(self.cut(rows, processor), processor)
        collate = DataCollatorForTokenClassification(processor)

        def measure(batch: list[dict[str, Any]]) -> Tensors:
            return guesses(model, collate(batch).to(model.device))

        inputs, lengths = pieces.select_columns([IDS, LABELS]), token_lengths(pieces, [IDS])
        found = measure_rows(inputs, lengths, measure, **options)
        losses, counts, right = (by_document(values, pieces, len(rows)) for values in found)
        labels = np.concatenate(pieces[LABELS][:])
        labels = labels[labels != IGNORED]
        loss = float(losses.sum() / counts.sum())
        metrics = {
            "loss": loss,
            "perplexity": perplexity(loss),
            "accuracy": float(right.sum() / counts.sum()),
            "documents": int((counts > 0).sum()),
            "masked_tokens": int(counts.sum()),
        }
        if (unigram_losses := self.unigram_losses(processor)) is not None:
            metrics["unigram_loss"] = float(unigram_losses[labels].mean())
            metrics["unigram_accuracy"] = float((labels == unigram_losses.argmin()).mean())
        means = losses / np.maximum(counts, 1)
        columns = (rows["text"][:], counts.astype(int).tolist(), right.astype(int).tolist(), means.tolist())
        return metrics, [GuessedDocument(*row) for row in zip(*columns, strict=True)]

    def report_tables(self, rows: Sequence[GuessedDocument]) -> list[ReportTable]:
        """Make a table of the documents with the highest loss."""
        return [report_rows("Highest loss", sorted(rows, key=lambda row: -row.loss))]

    def lines(self, metrics: Mapping[str, Any]) -> list[MetricLine]:
        """Return lines with the loss, the accuracy, the perplexity, and the number of masked tokens.

        If `metrics` has the metrics of a unigram model, the lines have them too.
        """
        lines = [
            MetricLine("loss", f"{metrics['loss']:.4f}", "nats per masked token"),
            MetricLine("accuracy", f"{metrics['accuracy']:.2%}"),
            MetricLine("perplexity", f"{metrics['perplexity']:.2f}"),
            MetricLine(
                "masked tokens", f"{metrics['masked_tokens']:,}", f"in {counted_documents(metrics['documents'])}"
            ),
        ]
        if "unigram_loss" in metrics:
            note = "of the frequencies of the training tokens"
            lines.insert(1, MetricLine("unigram loss", f"{metrics['unigram_loss']:.4f}", note))
            accuracy = f"{metrics['unigram_accuracy']:.2%}"
            lines.insert(3, MetricLine("unigram accuracy", accuracy, "always the most frequent token"))
        return lines
