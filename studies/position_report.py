# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes the report of the study of position encodings: tables in Markdown, and pictures."""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.training.run.pictures import write_pictures
from locant.utils.files import write_text
from locant.utils.markdown import markdown_table

from .position_tasks import LetterTask, sentence_pairs
from .report_parts import mean_and_deviation, panels, with_deviation

REPORT_FILE = "report.md"

Scores = dict[str, dict[str, dict[int, list[float]]]]  # measure -> encoding -> length -> accuracies in %, one per seed

# Okabe and Ito's blue and vermilion, which colour-blind readers can tell apart; in a greyscale print, the curves differ
# by line style and marker
_STYLES = {
    "before": ("#0072B2", "o-", "before: the letter at an exact distance, on one side"),
    "nearest": ("#D55E00", "s--", "nearest: the nearest marked letter, on either side"),
}

_cell = partial(with_deviation, digits=1)


def write_report(folder: Path, size: dict[str, int], rows: list[dict[str, Any]], task: LetterTask) -> Path:
    """Write `report.md` into the study's folder, and its pictures if matplotlib is installed.

    Args:
        folder: the study's folder, in which the files `attention/ENCODING-SEED.npy` hold the attention weights of the
            trainings of the part `length`.
        size: the size of the study, as a dict of the fields of `StudySize`.
        rows: the rows of `results.csv`.
        task: the task of the part `length` of the study.

    Returns:
        The report's path.
    """
    scores, seeds = collect(rows), first_seeds(rows)
    attention = load_attention(folder, seeds)
    drawings = {
        "length": partial(draw_length, scores=scores),
        "attention": partial(draw_attention, attention=attention),
        "attention_heads": partial(draw_heads, attention=attention),
    }
    remedy = "and run the same command to get them"
    has_pictures = write_pictures(folder, drawings, "The report has no pictures", remedy)
    sections = [
        _introduction(rows, size),
        _word_order(scores),
        _length(scores, size, task, has_pictures),
        _pictures(size, seeds) if has_pictures else "",
    ]
    write_text(folder / REPORT_FILE, "\n\n".join(filter(None, sections)) + "\n")
    return folder / REPORT_FILE


def collect(rows: list[dict[str, Any]]) -> Scores:
    """Group the accuracies, in %, by measure, encoding (in the order of `POSITION_ENCODINGS`) and length."""
    scores: Scores = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    order = _ordered({row["encoding"] for row in rows})
    for row in sorted(rows, key=lambda row: order.index(row["encoding"])):
        scores[row["measure"]][row["encoding"]][row["length"]].append(100 * row["accuracy"])
    return scores


def first_seeds(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return a dict from each encoding to the smallest seed of its trainings in the part `length`.

    The encodings are in the order of `POSITION_ENCODINGS`.
    """
    seeds: dict[str, int] = {}
    for row in rows:
        if row["part"] == "length":
            seeds[row["encoding"]] = min(row["seed"], seeds.get(row["encoding"], row["seed"]))
    return {name: seeds[name] for name in _ordered(seeds)}


def load_attention(folder: Path, seeds: dict[str, int]) -> dict[str, np.ndarray]:
    """Load the attention weights `(heads, length, length)` of one training of each encoding; `seeds` gives its seed."""
    return {name: np.load(folder / "attention" / f"{name}-{seed}.npy") for name, seed in seeds.items()}


def _introduction(rows: list[dict[str, Any]], size: dict[str, int]) -> str:
    by_encoding: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        by_encoding[row["encoding"]].add(row["seed"])
    listed = {name: ", ".join(map(str, sorted(by_encoding[name]))) for name in _ordered(by_encoding)}
    if len(set(listed.values())) == 1:
        seeds = f"the seeds {next(iter(listed.values()))}"
    else:
        seeds = "the seeds of each encoding (" + "; ".join(f"{name}: {given}" for name, given in listed.items()) + ")"
    seconds = {(row["part"], row["encoding"], row["seed"]): row["seconds"] for row in rows}
    return (
        "# Position encodings side by side\n\n"
        "Made by `locant study positions`. Every model has width 64, 2 layers, 4 heads and pre-norm, and differs from "
        "the others in nothing but the position encoding. Figures are accuracies in %, mean ± standard deviation over "
        f"{seeds}. {size['order_steps']:,} steps for word order, {size['length_steps']:,} for length; "
        f"{len(seconds)} trainings, {sum(seconds.values()) / 60:.1f} minutes of one core in all."
    )


def _word_order(scores: Scores) -> str:
    train, test = sentence_pairs()
    (one, other), (target, other_target) = test[0]
    cells = [
        [encoding, *(_cell(next(iter(scores[measure][encoding].values()))) for measure in ("sentence", "pair"))]
        for encoding in scores["sentence"]
    ]
    return (
        "## Word order\n\n"
        f'Pairs of sentences of the same words, "{one}" and "{other}", to be translated into "{target}" and '
        f'"{other_target}": {len(train):,} pairs to train on, {len(test):,} with other combinations of words to test. '
        "The model is an encoder–decoder whose decoder and cross-attention have no position encoding, so only the "
        "encoder's can tell the order of the source. Without one, both sentences of a pair look the same to the "
        "decoder, so that at most one of them comes out right: 50 %.\n\n"
        + markdown_table(["encoding", "sentences right", "both of a pair right"], cells)
    )


def _length(scores: Scores, size: dict[str, int], task: LetterTask, has_pictures: bool) -> str:
    trained = size["train_length"]
    parts = [
        "## Length\n\n"
        f"An encoder reads random letters, and says at each place, by two linear layers on the same states: *before*, "
        f"which letter stands {task.offset} places before; *nearest*, which letter of a marked kind (one in "
        f"{1 / task.marked_share:.0f}) is the nearest, on either side. It is trained on sequences of {trained // 2} to "
        f"{trained} letters, and tested at {trained} and beyond."
    ]
    if "learned" in scores["before"]:
        parts[0] += (
            " The table of `learned` is as long as the longest test, and its rows beyond the trained length are as "
            "they were initialised."
        )
    for question in task.questions:
        by_encoding = scores[question]
        lengths = sorted({length for by_length in by_encoding.values() for length in by_length})
        header = [f"*{question}*", *(f"{length} (trained)" if length == trained else str(length) for length in lengths)]
        cells = [[name, *(_cell(by_length[length]) for length in lengths)] for name, by_length in by_encoding.items()]
        parts.append(markdown_table(header, cells))
    if has_pictures:
        parts.append("![accuracy at 1, 2, 4 and 8 times the trained length](length.png)")
    return "\n\n".join(parts)


def _pictures(size: dict[str, int], seeds: dict[str, int]) -> str:
    by_seed: dict[int, list[str]] = defaultdict(list)
    for name, seed in seeds.items():
        by_seed[seed].append(name)
    said = "; ".join(
        f"seed {seed}" + (f" of {', '.join(names)}" if len(by_seed) > 1 else "")
        for seed, names in sorted(by_seed.items())
    )
    return (
        "## Position against position\n\n"
        f"Attention in the first layer of the models of *Length* ({said}) on "
        f"{size['train_length']} times the same letter, mean over the letters: all that differs between two places "
        "comes from position. A row is where attention comes from, a column where it goes. First the mean of the "
        "heads, then each head.\n\n"
        "![mean attention of each encoding](attention.png)\n\n"
        "![attention of each head](attention_heads.png)"
    )


def draw_length(figure: Any, scores: Scores) -> Any:
    """Draw accuracy against length, in a panel for each encoding.

    A panel has a curve for each question, with a band of ± one standard deviation over the seeds.
    """
    encodings = list(scores["before"])
    axes = panels(figure, len(encodings), 2.6, 2.3)
    for encoding, panel in zip(encodings, axes, strict=True):
        for question, (colour, line, label) in _STYLES.items():
            lengths = sorted(scores[question][encoding])
            figures = [mean_and_deviation(scores[question][encoding][length]) for length in lengths]
            means, deviations = (np.array(column) for column in zip(*figures, strict=True))
            panel.plot(lengths, means, line, color=colour, label=label, markersize=4)
            panel.fill_between(lengths, means - deviations, means + deviations, color=colour, alpha=0.2, linewidth=0)
        panel.set_title(encoding, fontsize=10)
        panel.set_xscale("log", base=2)
        panel.set_xticks(lengths, [f"{length}\ntrained" if length == lengths[0] else str(length) for length in lengths])
        panel.set(ylim=(0, 104), yticks=(0, 25, 50, 75, 100))
    figure.supxlabel("length of the sequences", fontsize=9)
    figure.supylabel("accuracy (%)", fontsize=9)
    columns = 2 if len(axes) > 2 else 1  # with these columns, the legend is about as wide as the panels
    handles_and_labels = panel.get_legend_handles_labels()
    figure.legend(*handles_and_labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
    return figure


def draw_attention(figure: Any, attention: dict[str, np.ndarray]) -> Any:
    """Draw the attention weights, averaged over the heads: a panel for each encoding, one colour scale for all."""
    axes = panels(figure, len(attention), 2.4, 2.5, grid=False)
    means = {name: weights.mean(0) for name, weights in attention.items()}
    scale = _scale(means)
    for (name, weights), panel in zip(means.items(), axes, strict=True):
        image = panel.imshow(weights, cmap="viridis", norm=scale)
        panel.set_title(name, fontsize=10)
    figure.supxlabel("attended place", fontsize=9)
    figure.supylabel("attending place", fontsize=9)
    _colour_bar(figure, image, axes)
    return figure


def draw_heads(figure: Any, attention: dict[str, np.ndarray]) -> Any:
    """Draw the attention weights of each head in a panel: a row for each encoding, a column for each head.

    All panels have the same colour scale.
    """
    heads = max(len(weights) for weights in attention.values())
    figure.set_size_inches(1.5 * heads + 1.5, 1.5 * len(attention) + 0.4)
    grid = figure.subplots(len(attention), heads, squeeze=False, sharex=True, sharey=True)
    scale = _scale(attention)
    for row, (name, weights) in zip(grid, attention.items(), strict=True):
        for panel, one_head in zip(row, weights, strict=False):
            image = panel.imshow(one_head, cmap="viridis", norm=scale)
            panel.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=9)
    for number, panel in enumerate(grid[0], start=1):
        panel.set_title(f"head {number}", fontsize=9)
    _colour_bar(figure, image, list(grid.flat))
    return figure


def _scale(attention: dict[str, np.ndarray]) -> Any:
    """Return a colour scale from 0 to the largest attention weight.

    The colour depends on the square root of a weight, because most weights are small.
    """
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0, vmax=max(float(weights.max()) for weights in attention.values()))


def _colour_bar(figure: Any, image: Any, panels: list[Any]) -> None:
    bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("attention", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _ordered(encodings: Iterable[str]) -> list[str]:
    """Sort registered encodings in the order of `POSITION_ENCODINGS`; unregistered encodings follow, sorted by name."""
    known = list(POSITION_ENCODINGS)
    return sorted(encodings, key=lambda name: (known.index(name) if name in known else len(known), name))
