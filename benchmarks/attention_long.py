# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Time per token and peak memory of an encoder on long inputs, for each position encoding and kind of attention."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from attention_models import Shape, build_locant
from attention_speed import DIRECTIONS
from measuring import in_fresh_process, peak_memory, seconds
from tqdm.auto import tqdm

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.modeling.positions.base import position_encoding_class
from locant.utils.markdown import markdown_table

LENGTHS = (512, 2048, 8192, 32768)
WINDOW = 512  # tokens that a token sees to either side
QUADRATIC_LIMIT = 8192  # beyond it, a matrix of all pairs for each head needs more memory than a small machine has
BUDGET = 3.0  # seconds of repeated passes; a pass that takes longer runs once


@dataclass(frozen=True)
class Attention:
    """A kind of attention: full attention on one backend, or attention in a window.

    Args:
        name: its name in the table.
        backend: the attention implementation.
        fields: fields of the config, such as the window.
        is_linear: whether its memory grows linearly with the length even if the encoding adds a bias.
    """

    name: str
    backend: str
    fields: tuple[tuple[str, Any], ...] = ()
    is_linear: bool = True


ATTENTIONS = (
    Attention("full, sdpa", "sdpa", is_linear=False),
    Attention("full, blockwise", "blockwise"),
    Attention("full, flex_attention", "flex_attention"),
    Attention(f"window of {WINDOW}, blockwise", "blockwise", (("sliding_window", WINDOW),)),
)


def measure_passes(
    encoding: str, attention: Attention, shape: Shape, length: int, direction: str, device: str, threads: int
) -> tuple[float, int] | str:
    """Seconds and peak bytes of a pass over one sequence, or the message if the backend refuses the encoding."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    try:
        model = build_locant(shape, length, attention.backend, encoding, **dict(attention.fields))
        model.to(device).train(direction == "training")
        run = partial(DIRECTIONS[direction], model)
        ids = torch.randint(4, shape.vocabulary, (1, length), device=device)
        # warm up: with all tokens if kernels are compiled for the length, else with 16 to start threads and the like
        run(ids if device == "cuda" or attention.backend == "flex_attention" else ids[:, :16])
    except ValueError as error:
        return str(error)
    times: list[float] = []
    peak = peak_memory(lambda: times.append(seconds(partial(run, ids), device)), device, returns_freed=False)
    if times[0] > BUDGET:  # too long for a second pass; this peak includes freed blocks that the C library keeps
        return times[0], peak
    while sum(times) < BUDGET and len(times) < 5:
        times.append(seconds(partial(run, ids), device))
    return statistics.median(times), peak_memory(partial(run, ids), device)


def _is_measured(encoding: str, attention: Attention, length: int) -> bool:
    """Whether the pass fits into the memory of a small machine: with sdpa, a bias is a matrix of all pairs per head."""
    if attention.is_linear or length <= QUADRATIC_LIMIT:
        return True
    config = LocantConfig(position_encoding=encoding)
    return not position_encoding_class(config, "encoder").bias_types(config)


def measure(
    shape: Shape,
    lengths: Sequence[int] = LENGTHS,
    encodings: Iterable[str] | None = None,
    device: str = "cpu",
    threads: int = 2,
) -> list[dict[str, Any]]:
    """Measure each encoding with each kind of attention, forward and in training.

    Args:
        shape: sizes of the encoders.
        lengths: lengths of the inputs, in tokens.
        encodings: the position encodings to measure; all by default.
        device: `cpu` or `cuda`.
        threads: number of CPU threads of torch.

    Returns:
        A dictionary for each combination of direction, encoding and kind of attention. It has `seconds` and `bytes` by
        length, and `refusal`, the error message, if the backend refuses the encoding.
    """
    rows: list[dict[str, Any]] = [
        {"encoding": encoding, "attention": kind.name, "direction": direction, "seconds": {}, "bytes": {}}
        for direction in DIRECTIONS
        for encoding in (POSITION_ENCODINGS if encodings is None else encodings)
        for kind in ATTENTIONS
    ]
    kinds = {kind.name: kind for kind in ATTENTIONS}
    for row in (bar := tqdm(rows, desc="long inputs", dynamic_ncols=True)):
        kind = kinds[row["attention"]]
        for length in lengths:
            if not _is_measured(row["encoding"], kind, length):
                continue
            bar.set_postfix_str(f"{row['encoding']}, {kind.name}, {length:,} tokens, {row['direction']}")
            found = in_fresh_process(
                measure_passes, row["encoding"], kind, shape, length, row["direction"], device, threads
            )
            if isinstance(found, str):
                row["refusal"] = found
                break
            row["seconds"][str(length)], row["bytes"][str(length)] = found
    return rows


def table(rows: Sequence[dict[str, Any]], direction: str) -> str:
    """A table in Markdown of the rows of one direction that have measurements."""
    rows = [row for row in rows if row["direction"] == direction and row["seconds"]]
    lengths = sorted({int(length) for row in rows for length in row["seconds"]})
    head = ["encoding", "attention", *(f"{length:,}" for length in lengths), "half"]
    lines = []
    for row in rows:
        cells = [_cell(row, str(length)) for length in lengths]
        lines.append([f"`{row['encoding']}`", row["attention"], *cells, _half(row["seconds"])])
    return markdown_table(head, lines, names=2)


def _cell(row: dict[str, Any], length: str) -> str:
    if length not in row["seconds"]:
        return "–"
    return f"{row['seconds'][length] / int(length) * 1e6:,.0f} µs, {row['bytes'][length] / 1e9:.2f} GB"


def _half(times: dict[str, float]) -> str:
    """The length at which the quadratic part of the time equals the rest, as a text.

    The time per token is assumed to be a + b · length, with a and b from the two longest inputs; the result is a / b.
    """
    lengths = sorted(map(int, times))
    if len(lengths) < 2:
        return "–"
    before, last = lengths[-2:]
    per_token = {length: times[str(length)] / length for length in (before, last)}
    slope = (per_token[last] - per_token[before]) / (last - before)
    constant = per_token[last] - slope * last
    if slope <= 0 or constant / slope > 10 * last:
        return "–"
    return f"{max(constant / slope, 0):,.0f}"


# The rows that the picture shows, by encoding and kind of attention, and their labels: one row for each way in which
# the cost grows with the length
_DRAWN = {
    ("rotary", "full, sdpa"): "rotary, sdpa: no bias",
    ("t5", "full, sdpa"): "T5, sdpa: the bias is a matrix",
    ("t5", "full, blockwise"): "T5, blockwise",
    ("shaw", "full, blockwise"): "Shaw, blockwise",
    ("t5", f"window of {WINDOW}, blockwise"): f"T5, window of {WINDOW}",
}


def draw(rows: Sequence[dict[str, Any]], figure: Any) -> None:
    """Draw time per token and peak memory of training over the length, on an empty figure of matplotlib."""
    figure.set_size_inches(10, 4)
    time, memory = figure.subplots(1, 2)
    for row in rows:
        label = _DRAWN.get((row["encoding"], row["attention"]))
        if label is None or row["direction"] != "training" or not row["seconds"]:
            continue
        lengths = sorted(map(int, row["seconds"]))
        time.plot(lengths, [row["seconds"][str(n)] / n * 1e6 for n in lengths], marker="o", label=label)
        memory.plot(lengths, [row["bytes"][str(n)] / 1e9 for n in lengths], marker="o", label=label)
    for panel, title in ((time, "µs per token"), (memory, "peak memory, GB")):
        panel.set(xscale="log", yscale="log", xlabel="tokens", title=f"forward and backward: {title}")
        panel.set_xticks(LENGTHS, [f"{length:,}" for length in LENGTHS])
        panel.grid(alpha=0.3)
    if time.lines:
        time.legend(fontsize=8)
