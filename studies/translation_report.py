# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes the report of a translation study: metrics of each position encoding over the seeds, BLEU by source length.

Means are over the runs of an encoding, and come with the sample standard deviation (n − 1).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from locant.training.run.pictures import write_pictures
from locant.utils.files import write_csv, write_text
from locant.utils.markdown import markdown_table

from .report_parts import mean_and_deviation, with_deviation


@dataclass(frozen=True)
class RunResult:
    """One finished run: the content of its `metrics.json`, and the result of `bleu_by_length` for its test set."""

    position_encoding: str
    seed: int
    metrics: dict[str, Any]
    by_length: dict[str, tuple[int, float]]


def write_report(folder: Path, results: Sequence[RunResult], planned: int) -> Path:
    """Write `report.md`, its data as `runs.csv` and `bleu_by_length.csv`, and with matplotlib a plot of BLEU by length.

    Args:
        folder: the folder of the study.
        results: the results of the finished runs, of at least one run.
        planned: the number of runs of the study, including runs that are not finished.

    Returns:
        The path of `report.md`.
    """
    sentences = {bucket: number for bucket, (number, _) in results[0].by_length.items()}
    curves: dict[str, dict[str, list[float]]] = {}
    for result in results:
        curve = curves.setdefault(result.position_encoding, {bucket: [] for bucket in sentences})
        for bucket, (_, bleu) in result.by_length.items():
            curve[bucket].append(bleu)
    write_csv(folder / "runs.csv", _RUN_COLUMNS, map(_run_record, results))
    write_csv(folder / "bleu_by_length.csv", _LENGTH_COLUMNS, _length_records(results))
    plotted = write_pictures(folder, {"bleu_by_length": partial(_draw, curves=curves)}, "BLEU by length is not drawn")
    write_text(folder / "report.md", _markdown(results, planned, sentences, curves, plotted))
    return folder / "report.md"


_RUN_COLUMNS = ("position_encoding", "seed", "bleu", "chrf", "perplexity", "steps", "parameters", "training_seconds")
_LENGTH_COLUMNS = ("position_encoding", "seed", "source_words", "sentences", "bleu")


def _run_record(result: RunResult) -> tuple[Any, ...]:
    metrics = result.metrics
    measures = [f"{metrics['test'][name]:.4f}" for name in ("bleu", "chrf", "perplexity")]
    own = [metrics.get(name) for name in ("steps", "parameters", "training_seconds")]
    return result.position_encoding, result.seed, *measures, *own


def _length_records(results: Iterable[RunResult]) -> Iterator[tuple[Any, ...]]:
    for result in results:
        for bucket, (number, bleu) in result.by_length.items():
            yield result.position_encoding, result.seed, bucket, number, f"{bleu:.4f}"


def _markdown(
    results: Sequence[RunResult],
    planned: int,
    sentences: dict[str, int],
    curves: dict[str, dict[str, list[float]]],
    plotted: bool,
) -> str:
    test, data = results[0].metrics["test"], results[0].metrics["data"]
    seeds = sorted({result.seed for result in results})
    lengths = [
        ["sentences", *(f"{number:,}" for number in sentences.values())],
        *([encoding, *map(_cell, curve.values())] for encoding, curve in curves.items()),
    ]
    parts = [
        "# Position encodings, compared by translation",
        f"{len(results)} of {planned} runs are in this report, with the seeds {', '.join(map(str, seeds))}. They "
        f"differ in position encoding and seed alone: each trained for {_span(r.metrics['steps'] for r in results)} "
        f"steps on {data['train']['pairs']:,} pairs. Each figure is the mean ± the sample standard deviation over "
        "an encoding's runs, or of its one run.",
        f"## {test['sentences']:,} test sentences",
        markdown_table(
            ("position encoding", "runs", "BLEU", "chrF", "perplexity", "parameters", "training"), _rows(results)
        ),
        f"BLEU is `{test['bleu_signature']}`, chrF `{test['chrf_signature']}`; perplexity is that of the "
        f"references' tokens, from a vocabulary of {data['vocabulary']:,}. The time of training includes the "
        "evaluations in between, and not the last ones.",
        "## BLEU by source length",
        "Corpus BLEU of the test sentences whose source has so many words (between white space).",
        markdown_table(("words", *sentences), lengths),
        "![BLEU by source length](bleu_by_length.png)" if plotted else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(results: Sequence[RunResult]) -> list[list[str]]:
    """Return the cells of the main table, with a row for each encoding."""
    rows = []
    for encoding in dict.fromkeys(result.position_encoding for result in results):
        found = [result.metrics for result in results if result.position_encoding == encoding]
        measures = [[metrics["test"][name] for metrics in found] for name in ("bleu", "chrf", "perplexity")]
        minutes = mean(metrics.get("training_seconds", 0.0) for metrics in found) / 60
        size = _span(metrics["parameters"] for metrics in found)
        rows.append([encoding, str(len(found)), *map(_cell, measures), size, f"{minutes:.1f} min"])
    return rows


_cell = partial(with_deviation, digits=2)


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,}–{found[-1]:,}"


def _draw(figure: Any, curves: dict[str, dict[str, list[float]]]) -> None:
    """Draw BLEU by length: a curve for each encoding, with error bars of one standard deviation."""
    figure.set_size_inches(8, 4.5)
    axes = figure.add_subplot(xlabel="words of the source", ylabel="BLEU (bars: one standard deviation)")
    for number, (encoding, curve) in enumerate(curves.items()):
        shift = 0.03 * (number - (len(curves) - 1) / 2)  # so that no bar hides another
        means, deviations = zip(*map(mean_and_deviation, curve.values()), strict=True)
        places = [place + shift for place in range(len(curve))]
        axes.errorbar(places, means, deviations, label=encoding, marker="o", markersize=4, elinewidth=1)
    axes.set_xticks(range(len(next(iter(curves.values())))), list(next(iter(curves.values()))))
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
