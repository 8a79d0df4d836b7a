# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes the section of docs/benchmarks.md on lines of work: costs, ratios with their spread, and bounds."""

import statistics
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rounds import ratios

_SECTION = """
## Beside other packages

Each row is a line of work that Locant and a peer do in turns, A B A B, in one process on the same batch; in a training
loop, on the same sentences, which each side divides into batches in its own way. A *round* is one turn of Locant and
one turn of the peer. The speed of the same work differs between processes and with time, so the rounds of a row are
divided among three processes, at three times of the run; those of the training step beside x-transformers, where
processes differ most, among nine. If the slower side takes less than a second, each side works
two or three times in its turn, and its shortest time counts. Beside models of transformers, Locant has the same weights
(`locant convert`); beside other packages, it has the same shape. The first round of a process is not counted; costs are
medians of the others. **Ratio** is the peer's cost divided by Locant's, the median over the rounds: above 1, Locant is
faster, or needs less memory. *Spread* is the smallest and the largest ratio of a round.

Two columns estimate lower bounds of the time of Locant's work; they were measured on the same machine with the same
threads, but only once. *Products* is the time of all its matrix products, those of attention included, each of them
made by itself. *Weights* is the time to read the weights, as often as the work reads them, at the rate at which a large
buffer is copied. No other operation is part of a bound.

{tables}

A training step has dropout 0.1, a forward pass, the loss and a backward pass, and no optimiser. Models of Locant are
trained with `skip_logits=True`, as `locant train` does. A turn of a training loop is one pass over 128 pairs, or over
the documents of 208 sentences, with data loading, clipping and the optimiser; tokens are counted without padding.
`locant train` puts pairs of similar length into a batch, and packs documents. Generation makes exactly 40 tokens from
28. Translation goes from a file to a file, loading included; both sides translate the same sentences in a round, and
other sentences in the next round. In the rows with int8, CTranslate2 computes in int8, and the peer in float32. Peak
memory is the high-water mark above the model with its gradients, each figure from a process of its own, in one round
(beam search: in three); memory of freed tensors goes back to the system at once, which the C library does not do by
default.
`bfloat16` is autocast. It is measured if oneDNN multiplies bfloat16 matrices on the CPU: {bfloat16} on this machine.

Made by `{command}`. {machine}.
"""

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def section(results: dict[str, Any]) -> str:
    """The section of the page, in Markdown."""
    machine = "; ".join(f"{name}: {value}" for name, value in results["machine"].items())
    has_bfloat16 = any(line["precision"] == "bfloat16" for line in results["lines"])
    return _SECTION.format(
        tables=tables(results["lines"]),
        command=results["command"],
        machine=machine,
        bfloat16="it does" if has_bfloat16 else "it does not",
    )


def tables(lines: Sequence[dict[str, Any]]) -> str:
    """The measured lines as Markdown tables, one table for each section and device."""
    parts = []
    for (name, device), own in groupby(lines, key=lambda line: (line["section"], line["device"])):
        head = ["work", "peer", "precision", "threads", "Locant", "peer's", "ratio", "spread", "products", "weights"]
        rows = [head, ["---"] * 3 + ["---:"] * (len(head) - 3)]
        rows += [row for line in own for row in _rows(line)]
        title = name if device == "cpu" else f"{name}, on a GPU"
        parts.append(f"### {title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts)


def _rows(line: dict[str, Any]) -> Iterator[list[str]]:
    """A table row for each of Locant's ways to do the work; the last side of the line is the peer."""
    if "error" in line:
        yield [line["work"], line["peer"], line["precision"], str(line["threads"]), "failed", *["–"] * 5]
        return
    *ours, peer = line["costs"]
    bound = line["bound"] or {}
    for number, side in enumerate(ours):
        costs, reference = line["costs"][side], line["costs"][peer]
        found = ratios(costs, reference)
        bounds = [_cost(bound.get(name), line["unit"]) if number == 0 else "–" for name in ("products", "weights")]
        work = line["work"] if side == "Locant" else f"{line['work']}: {side}"
        yield [
            *(work, line["peer"], line["precision"], str(line["threads"])),
            *(_cost(statistics.median(costs), line["unit"]), _cost(statistics.median(reference), line["unit"])),
            *(f"**{statistics.median(found):.2f}**", f"{found[0]:.2f}–{found[-1]:.2f}"),
            *bounds,
        ]


def _cost(value: float | None, unit: str) -> str:
    if not value:
        return "–"
    if unit == "bytes":
        return f"{value / 1e9:.3f} GB"
    size, name = next((pair for pair in _TIMES if value >= pair[0]), _TIMES[-1])
    return f"{value / size:.3g} {name}{unit.removeprefix('s')}"
