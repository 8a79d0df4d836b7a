# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Time per token of each position encoding on each backend, and of built-in models with the same encoding."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from attention_models import COMPARISONS, Comparison, Shape, build_locant
from measuring import in_fresh_process, interleaved_times
from tqdm.auto import tqdm
from transformers import PreTrainedModel

LENGTHS = (512, 4096)
ROUNDS = 3  # at least
BUDGET = 8.0  # seconds within which a row gets more than ROUNDS rounds
BATCH_TOKENS = 2048  # short inputs come in batches of so many tokens
BACKENDS = ("eager", "sdpa", "blockwise", "flex_attention")
BUILT_IN_BACKENDS = ("eager", "sdpa")


def _forward(model: PreTrainedModel, ids: torch.Tensor) -> None:
    with torch.no_grad():
        model(input_ids=ids)


def _training(model: PreTrainedModel, ids: torch.Tensor) -> None:
    model.zero_grad()
    model(input_ids=ids).last_hidden_state.mean().backward()


DIRECTIONS: dict[str, Callable[[PreTrainedModel, torch.Tensor], None]] = {"forward": _forward, "training": _training}


def compare(
    comparison: Comparison,
    shape: Shape,
    length: int,
    direction: str,
    backends: Sequence[str],
    device: str,
    threads: int,
    rounds: int,
) -> dict[str, Any]:
    """Measure one row: microseconds per token in each round, and the errors of backends that refuse the encoding."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    ids = torch.randint(4, shape.vocabulary, (max(1, BATCH_TOKENS // length), length), device=device)
    runs: dict[tuple[str, str], Callable[[], None]] = {}
    refusals: dict[str, str] = {}

    def enter(name: str, backend: str, build: Callable[[], PreTrainedModel]) -> None:
        run = partial(DIRECTIONS[direction], build().to(device).train(direction == "training"))
        # the warm-up: the whole batch if kernels are compiled for its shape, else 16 tokens to start threads
        run(ids if device == "cuda" or backend == "flex_attention" else ids[:1, :16])
        runs[name, backend] = partial(run, ids)

    for backend in backends:
        build = partial(build_locant, shape, length, backend, comparison.encoding, comparison.stack)
        try:
            enter("Locant", backend, partial(build, **comparison.fields))
        except ValueError as error:
            refusals[backend] = str(error)
    for name, built_in in comparison.built_ins.items():
        for backend in BUILT_IN_BACKENDS:
            try:
                enter(name, backend, partial(built_in.build, shape, length, backend))
            except ValueError:
                continue  # the model does not support the backend
    times = _times(runs, rounds, device)
    microseconds = {key: [round(1e6 * time / ids.numel(), 2) for time in own] for key, own in times.items()}
    return {
        "encoding": comparison.encoding,
        "stack": comparison.stack,
        "length": length,
        "direction": direction,
        "device": device,
        "locant": {backend: own for (name, backend), own in microseconds.items() if name == "Locant"},
        "built_in": {f"{name}, {backend}": own for (name, backend), own in microseconds.items() if name != "Locant"},
        "refusals": refusals,
    }


def _times(runs: dict[tuple[str, str], Callable[[], None]], rounds: int, device: str) -> dict[Any, list[float]]:
    """Seconds of each round by name and backend, without built-in models that take twice as long as the fastest one."""
    first = interleaved_times(list(runs.values()), 1, device=device)
    times = dict(zip(runs, first, strict=True))
    fastest = min((own[0] for (name, _), own in times.items() if name != "Locant"), default=0.0)
    times = {key: own for key, own in times.items() if key[0] == "Locant" or own[0] < 2 * fastest}
    if rounds > 1:
        more = interleaved_times([runs[key] for key in times], rounds - 1, BUDGET, device)
        times = {key: own + later for (key, own), later in zip(times.items(), more, strict=True)}
    return times


def measure(
    shape: Shape,
    lengths: Sequence[int] = LENGTHS,
    encodings: Sequence[str] | None = None,
    backends: Sequence[str] = BACKENDS,
    device: str = "cpu",
    threads: int = 2,
    rounds: int = ROUNDS,
) -> list[dict[str, Any]]:
    """The rows of `compare` for each comparison, length and direction.

    Args:
        shape: sizes of all stacks.
        lengths: lengths of the inputs, in tokens.
        encodings: the position encodings to measure; all by default.
        backends: the backends of Locant to measure.
        device: `cpu` or `cuda`.
        threads: number of CPU threads of torch.
        rounds: the least number of rounds.
    """
    cases = [
        (comparison, length, direction)
        for comparison in COMPARISONS
        if encodings is None or comparison.encoding in encodings
        for length in lengths
        for direction in DIRECTIONS
    ]
    rows = []
    for comparison, length, direction in (bar := tqdm(cases, desc="speed", dynamic_ncols=True)):
        bar.set_postfix_str(f"{comparison.encoding} {comparison.stack}, {length:,} tokens, {direction}")
        rows.append(in_fresh_process(compare, comparison, shape, length, direction, backends, device, threads, rounds))
    return rows


def table(rows: Sequence[dict[str, Any]], direction: str, notes: list[str]) -> str:
    """The rows of a direction as a Markdown table of medians over the rounds; `notes` gets a footnote per refusal."""
    head = ["encoding", "stack", "tokens", *BACKENDS, "built-in", "Locant / built-in"]
    lines = [head, ["---"] * 2 + ["---:"] * (1 + len(BACKENDS)) + ["---", "---:"]]
    lines += [_line(row, notes) for row in rows if row["direction"] == direction]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(row: dict[str, Any], notes: list[str]) -> list[str]:
    ours = {backend: statistics.median(times) for backend, times in row["locant"].items()}
    best = min(ours.values())
    cells = [f"`{row['encoding']}`", row["stack"], f"{row['length']:,}"]
    for backend in BACKENDS:
        if backend in ours:
            cells.append(f"**{ours[backend]:.1f}**" if ours[backend] == best else f"{ours[backend]:.1f}")
        else:
            cells.append(_refusal(row, backend, notes))
    if not row["built_in"]:
        return [*cells, "–", "–"]
    theirs, name = min((statistics.median(times), name) for name, times in row["built_in"].items())
    return [*cells, f"{theirs:.1f} ({name})", f"{best / theirs:.2f}"]


def _refusal(row: dict[str, Any], backend: str, notes: list[str]) -> str:
    """A dash; if the backend refused the encoding, it has a footnote with the error message, which goes to `notes`."""
    if backend not in row["refusals"]:
        return "–"
    reasons = [note.partition(": ")[2] for note in notes]
    if row["refusals"][backend] not in reasons:
        reasons.append(row["refusals"][backend])
        notes.append(f"[^{row['device']}{len(reasons)}]: {reasons[-1]}")
    return f"–[^{row['device']}{reasons.index(row['refusals'][backend]) + 1}]"


def spread(rows: Sequence[dict[str, Any]]) -> str:
    """How much longer the slowest round takes than the fastest, as text: the median and the maximum of all figures."""
    figures = [times for row in rows for times in (*row["locant"].values(), *row["built_in"].values())]
    ratios = [max(times) / min(times) - 1 for times in figures]
    return f"{statistics.median(ratios):.0%} (median of all figures; at worst {max(ratios):.0%})"
