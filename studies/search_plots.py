# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Draws the pictures of a hyperparameter search: scores by one and two hyperparameters, by model size and by time."""

import itertools
import math
from collections.abc import Sequence
from statistics import mean
from typing import Any

from .report_parts import panels
from .search_config import Search
from .search_results import TrialResult, folder_name, ranked, show_value
from .search_space import Hyperparameter

# Okabe and Ito's colours, which colour-blind readers can tell apart; in a greyscale print, the curves differ by line
# style and marker
_STYLES = (("#0072B2", "o-"), ("#D55E00", "s--"), ("#009E73", "^:"), ("#CC79A7", "D-."), ("#555555", "v-"))


def draw_main_effects(figure: Any, search: Search, design: Sequence[TrialResult]) -> None:
    """Draw scores against each hyperparameter: a dot for each trial and, for listed values, a line of mean scores."""
    axes = panels(figure, len(search.space), 2.7, 2.6)
    for panel, h in zip(axes, search.space, strict=True):
        scores = [result.score for result in design]
        if h.values:
            places = [h.values.index(result.values[h.name]) for result in design]
            panel.plot(places, scores, ".", color="0.6", markersize=5)
            _draw_means(panel, h, design, *_STYLES[0])
        else:
            panel.plot([result.values[h.name] for result in design], scores, ".", color=_STYLES[0][0], markersize=7)
            panel.set_xscale("log" if h.log else "linear")
        panel.set_xlabel(_label(h), fontsize=9)
    figure.supylabel(f"{search.label} on the validation data", fontsize=9)


def draw_pairs(figure: Any, search: Search, design: Sequence[TrialResult]) -> None:
    """Draw mean scores in a panel for each pair of hyperparameters that have lists of values.

    The horizontal axis has the values of the first hyperparameter; each value of the second hyperparameter has a line.
    """
    pairs = list(itertools.combinations([h for h in search.space if h.values], 2))
    axes = panels(figure, len(pairs), 2.7, 3.2)
    for panel, (one, other) in zip(axes, pairs, strict=True):
        for value, style in zip(other.values, itertools.cycle(_STYLES), strict=False):
            rows = [result for result in design if result.values[other.name] == value]
            _draw_means(panel, one, rows, *style, label=show_value(value))
        panel.set_xlabel(_label(one), fontsize=9)
        above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": min(len(other.values), 4)}
        panel.legend(title=_label(other), fontsize=8, title_fontsize=9, frameon=False, **above)
    figure.supylabel(f"mean {search.label} on the validation data", fontsize=9)


def draw_scores(figure: Any, search: Search, results: Sequence[TrialResult]) -> None:
    """Draw scores of complete trials against the number of parameters and the training time; label the best trial."""
    complete = [result for result in results if result.state == "complete"]
    best = ranked(complete, search.higher_is_better)[0]
    axes = panels(figure, 2, 4, 3.4)
    for panel, label, size in (
        (axes[0], "parameters (millions)", lambda result: (result.parameters or math.nan) / 1e6),
        (axes[1], "minutes of training", lambda result: (result.seconds or math.nan) / 60),
    ):
        for is_repeat, (colour, line), name in zip(
            (False, True), _STYLES, ("trials", "one cell with other seeds"), strict=False
        ):
            rows = [result for result in complete if (result.seed is not None) == is_repeat]
            if rows:
                panel.plot(
                    [size(r) for r in rows], [r.score for r in rows], line[0], color=colour, label=name, markersize=5
                )
        panel.annotate(
            f"best: {folder_name(best.number)}",
            (size(best), best.score),
            textcoords="offset points",
            xytext=(0, 7 if search.higher_is_better else -13),
            ha="center",
            fontsize=8,
        )
        panel.margins(x=0.12, y=0.12)
        panel.set_xlabel(label, fontsize=9)
    figure.supylabel(f"{search.label} on the validation data", fontsize=9)
    if any(result.seed is not None for result in complete):
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)


def _draw_means(
    panel: Any, h: Hyperparameter, rows: Sequence[TrialResult], colour: str, line: str, label: str | None = None
) -> None:
    """Draw the mean score at each value of a listed hyperparameter, and name the values below the axis."""
    scores = [[r.score for r in rows if r.values[h.name] == value and r.score is not None] for value in h.values]
    places = [place for place, found in enumerate(scores) if found]
    panel.plot(places, [mean(scores[place]) for place in places], line, color=colour, label=label, markersize=5)
    panel.set_xticks(range(len(h.values)), [show_value(value) for value in h.values])
    panel.set_xlim(-0.4, len(h.values) - 0.6)


def _label(hyperparameter: Hyperparameter) -> str:
    """Return the name of a hyperparameter, with each of its options on a separate line."""
    return hyperparameter.name.replace(" = ", " =\n")
