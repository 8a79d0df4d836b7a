# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The parts of the recipes of translation and captioning that concern the generated texts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from transformers import EvalPrediction, PreTrainedTokenizerBase

from locant.utils.errors import first_line, sentence

from ..errors import InputError
from ..options.run_config import RunConfig
from ..run.progress import Sample, take_samples
from ..run.trainer import mean_loss
from .translation_metrics import corpus_bleu, perplexity

Scores = Callable[[list[str], list[str]], dict[str, float]]
"""A function that computes metrics from generated texts and their references."""


def bleu(texts: list[str], references: list[str]) -> dict[str, float]:
    """Compute the corpus BLEU of the texts."""
    return {"bleu": corpus_bleu(texts, references)["bleu"]}


class GenerationMetrics:
    """Computes the loss per token, the perplexity, and metrics of the generated texts.

    The Trainer gets this object as its `compute_metrics`.

    Args:
        tokenizer: decodes the generated tokens.
        references: the reference text of each row.
        sources: the source text of each row, or a name for its image; if sources are given, `samples` has some of the
            texts that were generated in the last evaluation.
        scores: computes the metrics of the generated texts.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        references: list[str],
        sources: Sequence[str] = (),
        scores: Scores = bleu,
    ):
        self.tokenizer = tokenizer
        self.references = references
        self.sources = sources
        self.scores = scores
        self.samples: list[Sample] = []

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Compute the metrics from the tensors that `GenerationTrainer.predict_batch` returned for all rows."""
        losses, counts, *tokens = tuple(prediction.predictions)
        loss = mean_loss(losses, counts)
        metrics = {"loss": loss, "perplexity": perplexity(loss)}
        if tokens:
            ids = np.where(tokens[0] < 0, self.tokenizer.pad_token_id, tokens[0])
            texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
            outputs = dict(zip(map(int, prediction.label_ids), texts, strict=True))
            self.samples = take_samples(self.sources, self.references, outputs)
            metrics |= self.scores(texts, [self.references[row] for row in prediction.label_ids])
        return metrics


def set_search_options(model: Any, run: RunConfig) -> None:
    """Copy `num_beams`, `length_penalty` and `max_new_tokens` from `run.training` to the model's generation config.

    In fine-tuning, only the options that are given are copied.

    Raises:
        InputError: transformers would refuse to save the generation config, as an option does not fit another option,
            or does not fit the generation config of the trained model.
    """
    search = {name: getattr(run.training, name) for name in ("num_beams", "length_penalty", "max_new_tokens")}
    is_new = run.model.model_name_or_path is None
    copied = {name: value for name, value in search.items() if is_new or name in run.given}
    if not copied:  # transformers saves an unchanged generation config even if its options contradict each other
        return
    model.generation_config.update(**copied)
    try:
        model.generation_config.validate(strict=True)
    except ValueError as error:
        lines = [line.removeprefix("- ") for line in str(error).splitlines() if line.startswith("- ")]
        reason = sentence(" ".join(lines) or first_line(error))
        raise InputError(f"The model could not be saved with {', '.join(copied)} as given: {reason}") from error
