# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The time of a token by the length of the sequence, in training and in greedy decoding, on one core.

The models are those of the comparison on TED talks, with as many parameters. Source and target have the same length.
A training step has 2,048 tokens of each, so that the batch has fewer rows the longer they are; decoding has one row.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from comparison_translation import NAMES, TED, Size, new_model
from measuring import interleaved_times
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from locant.utils.markdown import markdown_table

LENGTHS = (32, 64, 128, 256, 512, 1024, 2048)
WORK = {"training": "training step", "decoding": "greedy decoding"}
_TOKENS = 2048  # of a training step
_ROUNDS = 3


def measure(lengths: tuple[int, ...] = LENGTHS, size: Size | None = None) -> dict[str, Any]:
    """Microseconds of processor time for each target token: the median, the least and the most of the rounds."""
    size = size or TED.size
    models = {name: new_model(name, size.vocabulary, size) for name in NAMES}
    found: dict[str, Any] = {"lengths": lengths, **{work: {name: [] for name in NAMES} for work in WORK}}
    for length in tqdm(lengths, desc="lengths"):
        for work, prepare in (("training", _training), ("decoding", _decoding)):
            tokens = max(length, _TOKENS) if work == "training" else length
            functions = [prepare(model, length) for model in models.values()]
            if length == lengths[0]:
                for function in functions:  # the first call of a process takes longer
                    function()
            times = interleaved_times(functions, _ROUNDS, clock=time.process_time)
            for name, seconds in zip(models, times, strict=True):
                micros = [1e6 * second / tokens for second in seconds]
                found[work][name].append([statistics.median(micros), min(micros), max(micros)])
    return found


def _training(model: PreTrainedModel, length: int) -> Callable[[], None]:
    ids = _ids(model, max(1, _TOKENS // length), length)
    return partial(_train, model, ids)


def _train(model: Any, ids: torch.Tensor) -> None:
    model.train()
    model(input_ids=ids, labels=ids, skip_logits=True).loss.backward()
    model.zero_grad()


def _decoding(model: PreTrainedModel, length: int) -> Callable[[], None]:
    ids = _ids(model, 1, length)
    return partial(_decode, model, ids)


def _decode(model: Any, ids: torch.Tensor) -> None:
    model.eval()
    length = ids.shape[1]
    generated = model.generate(input_ids=ids, min_new_tokens=length, max_new_tokens=length, do_sample=False)
    assert generated.shape[1] == length + 1


def _ids(model: PreTrainedModel, rows: int, length: int) -> torch.Tensor:
    return torch.randint(4, model.config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))


def table(results: dict[str, Any]) -> str:
    """The medians in microseconds."""
    rows = [
        [f"{name}, {WORK[work]}", *(f"{median:,.0f}" for median, _, _ in results[work][model])]
        for work in WORK
        for model, name in NAMES.items()
    ]
    return markdown_table(["µs a token at length", *(f"{length:,}" for length in results["lengths"])], rows)


def drawings(results: dict[str, Any]) -> dict[str, Callable[[Any], None]]:
    """The medians over the length, with the range of the rounds."""

    def draw(figure: Any) -> None:
        figure.set_size_inches(7, 3.6)
        for axes, (work, title) in zip(figure.subplots(1, 2), WORK.items(), strict=True):
            for model, colour in (("transformer", "C0"), ("lstm", "C1")):
                median, least, most = zip(*results[work][model], strict=True)
                axes.plot(results["lengths"], median, color=colour, marker="o", label=NAMES[model])
                axes.fill_between(results["lengths"], least, most, color=colour, alpha=0.25, linewidth=0)
            axes.set_xscale("log", base=2)
            axes.set_xticks(results["lengths"], labels=map(str, results["lengths"]), rotation=45)
            axes.set(title=title, xlabel="tokens of source and of target", ylim=(0, None))
        figure.axes[0].set_ylabel("µs a token")
        figure.axes[0].legend(frameon=False)

    return {"comparison-speed": draw}
