# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Recall over a distance, and the norm of the gradient over it, of an LSTM and of Transformers of the same size.

A sequence begins with tokens that are each a pair of a key and a value, goes on with noise, and ends with one of the
keys: the answer is the value of this key (a form of the associative recall of Graves et al. 2014, arXiv:1410.5401,
section 4.3). The distance is the number of noise tokens.
"""

import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lstm import initialise
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from locant import LocantConfig
from locant.modeling.stacks import LocantEncoder
from locant.studies.position_study import optimise
from locant.studies.report_parts import mean_and_deviation, with_deviation
from locant.utils.markdown import markdown_table

KEYS = VALUES = NOISE = 8
_VOCABULARY = KEYS + KEYS * VALUES + NOISE
NAMES = {
    "lstm": "LSTM",
    "rotary": "Transformer, rotary",
    "none": "Transformer, no positions",
}


@dataclass(frozen=True)
class Size:
    """The size of the task, the models and the trainings.

    Args:
        pairs: the numbers of pairs in a sequence, with different keys; each number is a task of its own.
        width: the width of the models.
        steps: the optimiser steps of a training.
        batch: the number of sequences in a batch; all have the same distance.
        trained: the least and the largest distance in training; their logarithms are drawn evenly.
        distances: the distances of the tests.
        tests: the number of test sequences of each distance.
        seeds: each model is trained once with each seed.
    """

    pairs: tuple[int, ...] = (1, 4)
    width: int = 32
    steps: int = 800
    batch: int = 64
    trained: tuple[int, int] = (4, 32)
    distances: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256)
    tests: int = 128
    seeds: tuple[int, ...] = (0, 1, 2)


def draw(generator: torch.Generator, number: int, pairs: int, distance: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw sequences `(number, pairs + distance + 1)` and the values `(number,)` that are their answers.

    The first ids are the keys, then come the pairs of a key and a value, then noise. The keys of a sequence differ.
    """
    keys = torch.rand(number, KEYS, generator=generator).argsort(1)[:, :pairs]
    values = torch.randint(VALUES, (number, pairs), generator=generator)
    noise = torch.randint(_VOCABULARY - NOISE, _VOCABULARY, (number, distance), generator=generator)
    asked = torch.randint(pairs, (number, 1), generator=generator)
    begin = KEYS + VALUES * keys + values
    return torch.cat([begin, noise, keys.gather(1, asked)], dim=1), values.gather(1, asked)[:, 0]


class Reader(nn.Module):
    """Reads a sequence, and answers at its last token.

    Args:
        name: `lstm`, or the position encoding of a Transformer.
        width: the width.
    """

    def __init__(self, name: str, width: int):
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, width)
        self.stack = _Recurrent(width) if name == "lstm" else _Attending(name, width)
        self.head = nn.Linear(width, VALUES)

    def last_state(self, embedded: torch.Tensor) -> torch.Tensor:
        """The state `(batch, width)` at the last token, from embeddings `(batch, length, width)`."""
        return self.stack(embedded)[:, -1]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The logits of the values `(batch, values)`."""
        return self.head(self.last_state(self.embedding(ids)))


class _Recurrent(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        initialise(self.lstm)

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        return self.lstm(embedded)[0]


class _Attending(nn.Module):
    def __init__(self, position_encoding: str, width: int):
        super().__init__()
        config = LocantConfig(
            **{"d_model": width, "encoder_layers": 2, "encoder_ffn_dim": 2 * width},
            **{"encoder_attention_heads": 4, "decoder_attention_heads": 4},  # there is no decoder, but a check of both
            **{"position_encoding": position_encoding, "norm_position": "pre", "dropout": 0.0},
            **{"scale_embedding": False, "vocab_size": _VOCABULARY, "pad_token_id": None},
            **{"bos_token_id": None, "eos_token_id": None, "decoder_start_token_id": None},
        )
        self.encoder = LocantEncoder(config)
        del self.encoder.embed_tokens  # the reader has embeddings

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        return self.encoder(inputs_embeds=embedded).last_hidden_state


def measure(size: Size | None = None) -> dict[str, Any]:
    """Train every model with every seed for each number of pairs; measure accuracies and gradients at all distances."""
    size = size or Size()
    results = []
    for seed, pairs, name in tqdm(list(itertools.product(size.seeds, size.pairs, NAMES)), desc="recall"):
        torch.manual_seed(seed)
        model = Reader(name, size.width)
        fresh = gradient_norms(model, size, pairs)
        train(model, size, pairs, seed)
        results.append(
            {
                "model": name,
                "pairs": pairs,
                "seed": seed,
                "parameters": sum(weight.numel() for weight in model.parameters()),
                "accuracy": accuracies(model, size, pairs),
                "fresh": fresh,
                "trained": gradient_norms(model, size, pairs),
            }
        )
    return {"distances": size.distances, "trained": size.trained, "pairs": size.pairs, "runs": results}


def train(model: Reader, size: Size, pairs: int, seed: int) -> None:
    """Train on distances within `size.trained`."""
    generator = torch.Generator().manual_seed(seed)
    least, most = map(math.log, size.trained)

    def loss() -> torch.Tensor:
        distance = round(math.exp(least + (most - least) * torch.rand((), generator=generator).item()))
        ids, answers = draw(generator, size.batch, pairs, distance)
        return cross_entropy(model(ids), answers)

    optimise(model, loss, size.steps)


@torch.no_grad()
def accuracies(model: Reader, size: Size, pairs: int) -> list[float]:
    """The share of right answers at each distance, on the same sequences for every model."""
    found = []
    for distance in size.distances:
        ids, answers = draw(torch.Generator().manual_seed(10**6 + distance), size.tests, pairs, distance)
        best = torch.cat([model(part).argmax(-1) for part in ids.split(32)])
        found.append((best == answers).float().mean().item())
    return found


def gradient_norms(model: Reader, size: Size, pairs: int) -> list[float]:
    """The mean norm of the gradient that reaches the pairs from the last state, at each distance.

    The output is the product of the last state and a random unit vector; the norm is over the embeddings of all pairs.
    """
    found = []
    for distance in size.distances:
        generator = torch.Generator().manual_seed(10**7 + distance)
        ids, _ = draw(generator, 32, pairs, distance)
        embedded = model.embedding(ids).detach().requires_grad_()
        direction = nn.functional.normalize(torch.randn(len(ids), size.width, generator=generator), dim=1)
        (model.last_state(embedded) * direction).sum().backward()
        norms = embedded.grad[:, :pairs].flatten(1).double().norm(dim=1)
        found.append(norms.mean().item())
    return found


def table(results: dict[str, Any]) -> str:
    """The accuracies in percent at each distance, with the standard deviation over the seeds."""
    rows = []
    for pairs, (name, title) in itertools.product(results["pairs"], NAMES.items()):
        columns = _by_distance(results, name, pairs, "accuracy")
        cells = [with_deviation([100 * value for value in values], 0) for values in columns]
        rows.append([f"{pairs}", title, *cells])
    return markdown_table(["pairs", "model, accuracy (%) at", *map(str, results["distances"])], rows, names=2)


def drawings(results: dict[str, Any]) -> dict[str, Callable[[Any], None]]:
    """The accuracy, and the norm of the gradient, over the distance."""

    def draw_accuracy(figure: Any) -> None:
        figure.set_size_inches(7, 3.6)
        for axes, pairs in zip(_panels(figure, results, len(results["pairs"])), results["pairs"], strict=True):
            for name in NAMES:
                shares = [mean_and_deviation(values) for values in _by_distance(results, name, pairs, "accuracy")]
                means, deviations = ([100 * share for share in part] for part in zip(*shares, strict=True))
                axes.errorbar(results["distances"], means, deviations, label=NAMES[name], capsize=2, **_STYLES[name])
            axes.set(title=f"{pairs} pair{'s' * (pairs > 1)}", ylim=(0, 105))
        figure.axes[0].set_ylabel("right answers (%)")
        figure.axes[-1].legend(frameon=False, fontsize="small")

    def draw_gradient(figure: Any) -> None:
        figure.set_size_inches(7, 3.6)
        pairs = results["pairs"][0]
        titles = {"fresh": "before training", "trained": f"after training on {pairs} pair{'s' * (pairs > 1)}"}
        for axes, (state, title) in zip(_panels(figure, results, 2), titles.items(), strict=True):
            for name in NAMES:
                columns = _by_distance(results, name, pairs, state)
                means = [math.exp(statistics.mean(map(math.log, values))) for values in columns]
                axes.plot(results["distances"], means, label=NAMES[name], **_STYLES[name])
            axes.set(yscale="log", title=title)
        figure.axes[0].set_ylabel("norm of the gradient")
        figure.axes[0].legend(frameon=False, fontsize="small")

    return {"comparison-recall": draw_accuracy, "comparison-gradient": draw_gradient}


_STYLES: dict[str, dict[str, str]] = {
    "lstm": {"color": "C1", "marker": "o"},
    "rotary": {"color": "C0", "marker": "s"},
    "none": {"color": "C7", "marker": "D", "linestyle": "--"},
}


def _by_distance(results: dict[str, Any], model: str, pairs: int, measure: str) -> list[tuple[float, ...]]:
    """For each distance, the values of `measure` with all seeds."""
    runs = [run for run in results["runs"] if (run["model"], run["pairs"]) == (model, pairs)]
    return list(zip(*(run[measure] for run in runs), strict=True))


def _panels(figure: Any, results: dict[str, Any], number: int) -> Any:
    """Plots side by side over the distance, in which the distances of training are shaded."""
    panels = figure.subplots(1, number, sharey=True, squeeze=False)[0]
    for axes in panels:
        axes.axvspan(*results["trained"], color="0.93")
        axes.set_xscale("log", base=2)
        axes.set_xticks(results["distances"], labels=map(str, results["distances"]))
        axes.set_xlabel("distance (tokens of noise)")
    return panels
