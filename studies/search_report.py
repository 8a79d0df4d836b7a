# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes the report of a hyperparameter search: ranked trials with train–dev gaps, and effects of hyperparameters."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from locant.training.run.pictures import write_pictures
from locant.utils.files import write_csv, write_text
from locant.utils.markdown import markdown_table

from .report_parts import mean_and_deviation, with_deviation
from .search_config import Search
from .search_effects import Effect, main_effects, pair_effects
from .search_plots import draw_main_effects, draw_pairs, draw_scores
from .search_results import TrialResult, folder_name, ranked, repeats_of_cell, show_value

REPORT_FILE, TABLE_FILE = "report.md", "trials.csv"
_PICTURES = {
    "main_effects": "Scores by the value of each hyperparameter",
    "pairs": "Mean scores by the values of two hyperparameters",
    "scores": "Scores by the number of parameters and the time of training",
}


def write_report(search: Search, results: Sequence[TrialResult], with_pictures: bool = False) -> Path:
    """Write `report.md` and `trials.csv` to the folder of the search.

    Args:
        search: the search.
        results: the results of all trials, including trials that have not ended.
        with_pictures: whether to draw the pictures; if not, the report shows the pictures that the folder already has.

    Returns:
        The path of `report.md`.
    """
    order = ranked(results, search.higher_is_better)
    design = [result for result in results if result.state == "complete" and result.seed is None]
    repeats = repeats_of_cell(results)
    deviation = mean_and_deviation([_score(result) for result in repeats])[1] if len(repeats) > 1 else math.nan
    effects = main_effects(search.space, design, deviation)
    if with_pictures and design:
        drawings = {
            "main_effects": partial(draw_main_effects, search=search, design=design),
            "pairs": partial(draw_pairs, search=search, design=design),
            "scores": partial(draw_scores, search=search, results=results),
        }
        lists = [hyperparameter for hyperparameter in search.space if hyperparameter.values]
        if len(lists) < 2:
            del drawings["pairs"]
        write_pictures(search.folder, drawings, "The report has no pictures", "and repeat the command to get them")
    _write_table(search, order)
    parts = [
        f"# Search by {search.label}",
        _introduction(search, results),
        "## Trials, best first",
        _trial_table(search, order),
        *_failures(order),
        *_effects_of_one(search, design, effects, repeats),
        *_effects_of_pairs(search, pair_effects(search.space, design, deviation), design),
        *(_picture(search.folder, "scores")),
    ]
    write_text(search.folder / REPORT_FILE, "\n\n".join(parts) + "\n")
    return search.folder / REPORT_FILE


def _write_table(search: Search, order: Sequence[TrialResult]) -> None:
    columns = ("score", "train_loss", "validation_loss", "gap", "best_step", "parameters", "seconds", "error")
    names = [hyperparameter.name for hyperparameter in search.space]
    header = ["trial", "state", *names, "seed", search.metric, *columns[1:]]
    rows = [
        [
            folder_name(result.number),
            result.state,
            *(result.values.get(name) for name in names),
            result.seed,
            *(getattr(result, name) for name in columns),
        ]
        for result in order
    ]
    write_csv(search.folder / TABLE_FILE, header, rows)


def _introduction(search: Search, results: Sequence[TrialResult]) -> str:
    counts = {state: sum(result.state == state for result in results) for state in ("complete", "pruned", "failed")}
    kinds = {"grid": "each cell once", "random": "values drawn at random", "tpe": "values drawn by TPE"}
    direction = "higher" if search.higher_is_better else "lower"
    others = "".join(f", {number} {state}" for state, number in counts.items() if number and state != "complete")
    return (
        f"{counts['complete']} of {len(results)} trials are complete{others} ({kinds[search.sampler]}). The score is "
        f"the {search.label} of the finished model on the validation data; {direction} is better. The train–dev gap "
        "is the validation loss of the best evaluation minus the mean training loss since the evaluation before. The "
        "training loss includes dropout and label smoothing, so the gap may be negative, and can be compared between "
        "trials with the same dropout and label smoothing only. "
        "The folder `trials/N` holds the run of trial N."
    )


def _trial_table(search: Search, order: Sequence[TrialResult]) -> str:
    names = [hyperparameter.name for hyperparameter in search.space]
    has_seeds = any(result.seed is not None for result in order)
    header = ["trial", *names, *(["seed"] if has_seeds else []), search.label]
    header += ["train loss", "validation loss", "gap", "parameters", "minutes"]
    show = _shower(order)
    rows = []
    for result in order:
        if result.state not in ("complete", "pruned"):
            continue
        score = f"{show(_score(result))}{' (pruned)' if result.state == 'pruned' else ''}"
        losses = ["–" if loss is None else f"{loss:.3f}" for loss in (result.train_loss, result.validation_loss)]
        rows.append(
            [
                folder_name(result.number),
                *(show_value(result.values[name]) for name in names),
                *(["" if result.seed is None else str(result.seed)] if has_seeds else []),
                score,
                *losses,
                "–" if result.gap is None else f"{result.gap:+.3f}".replace("-", "−"),
                "–" if result.parameters is None else f"{result.parameters:,}",
                "–" if result.seconds is None else f"{result.seconds / 60:.1f}",
            ]
        )
    return markdown_table(header, rows)


def _failures(order: Sequence[TrialResult]) -> list[str]:
    failed = [result for result in order if result.state == "failed"]
    lines = [f"- Trial {folder_name(result.number)}: {result.error}" for result in failed]
    return ["## Failed trials", "\n".join(lines)] if failed else []


def _effects_of_one(
    search: Search, design: Sequence[TrialResult], effects: Sequence[Effect], repeats: Sequence[TrialResult]
) -> list[str]:
    """Return the section on the main effects, or a section that says that the trials are too few to estimate them."""
    if not effects:
        return ["## Effect of each hyperparameter", "The complete trials are too few to tell the effects apart."]
    show = _shower(design)
    rows, has_ranges = [], any(not hyperparameter.values for hyperparameter in search.space)
    for effect in effects:
        [name], [(old, new)] = effect.names, effect.steps
        is_listed = any(h.values for h in search.space if h.name == name)
        means = ["–" if not is_listed else show(_mean_at(design, name, value)) for value in (old, new)]
        rows.append([name, f"{show_value(old)} → {show_value(new)}", *means, *_numbers(effect, show)])
    header = ["hyperparameter", "change", "mean before", "mean after", "difference", "± from trials", "± from seeds"]
    noise = "No cell is repeated with other seeds, so the noise of the seeds is not known."
    if len(repeats) > 1:
        scores = [_score(result) for result in repeats]
        noise = (
            f"{len(repeats)} seeds of one cell (trials {', '.join(folder_name(r.number) for r in repeats)}) have the "
            f"{search.label} {with_deviation(scores, _digits(design))} (mean ± sample standard deviation)."
        )
    return [
        "## Effect of each hyperparameter",
        f"The difference is by how much the {search.label} grows with the change, all others equal (least squares "
        f"over {len(design)} complete trials; if cells are missing, it is not the difference of the means). Its "
        "standard error is given twice: from the scores that these effects leave unexplained, interactions included, "
        f"and from the noise of the seeds alone. {noise}"
        + (" The difference of a range is that of a straight line through the scores." if has_ranges else ""),
        markdown_table(header, rows, names=2),
        *_picture(search.folder, "main_effects"),
    ]


def _effects_of_pairs(search: Search, effects: Sequence[Effect], design: Sequence[TrialResult]) -> list[str]:
    if not effects:
        return []
    show = _shower(design)
    rows = [
        [f"{name} {show_value(old)} → {show_value(new)}" for name, (old, new) in zip(e.names, e.steps, strict=True)]
        + _numbers(e, show)
        for e in effects
    ]
    return [
        "## Interaction of each pair",
        "The difference is by how much the effect of the second change grows if the first change is made too; without "
        "an interaction it is 0. The two standard errors are made as in the section above.",
        markdown_table(["first change", "second change", "difference", "± from trials", "± from seeds"], rows, names=2),
        *_picture(search.folder, "pairs"),
    ]


def _numbers(effect: Effect, show: Any) -> list[str]:
    errors = ["–" if math.isnan(error) else show(error) for error in (effect.spread, effect.noise)]
    return [f"{'+' if effect.difference >= 0 else '−'}{show(abs(effect.difference))}", *errors]


def _mean_at(design: Sequence[TrialResult], name: str, value: Any) -> float:
    return mean(_score(result) for result in design if result.values[name] == value)


def _score(result: TrialResult) -> float:
    return math.nan if result.score is None else result.score


def _digits(results: Sequence[TrialResult]) -> int:
    """Return the number of digits after the point: two if a score is 10 or more, as for BLEU, and else four."""
    return 2 if max((abs(_score(result)) for result in results if result.score is not None), default=0) >= 10 else 4


def _shower(results: Sequence[TrialResult]) -> Any:
    digits = _digits(results)
    return lambda number: f"{number:.{digits}f}"


def _picture(folder: Path, name: str) -> list[str]:
    return [f"![{_PICTURES[name]}]({name}.png)"] if (folder / f"{name}.png").exists() else []
