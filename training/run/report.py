# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The report of a finished run, `report.md` and `report.html`.

A report has the scores, the loss curve, tables of the task's recipe, such as a table of wrong predictions, and, in
translation and captioning, sample outputs of some evaluations.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from locant.utils.files import write_text
from locant.utils.markdown import markdown_table
from locant.utils.run_files import CURVE_FILE

from ..inference import one_line
from ..tasks.recipe import Recipe, ReportTable
from .progress import SAMPLES_FILE, shorten

REPORT_FILES = ("report.md", "report.html")
_EPOCHS_WITH_SAMPLES = 5

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border-bottom: 1px solid #8888; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; min-width: 4rem; }
img { max-width: 100%; background: white; }
"""


def write_report(folder: Path, recipe: Recipe, metrics: Mapping[str, Any], rows: Mapping[str, Sequence[Any]]) -> None:
    """Write the report of a run, as Markdown and as one HTML file that loads no other files.

    Args:
        folder: the folder of the run; the loss curve and the samples are read from it, if it has them.
        recipe: the recipe of the run's task.
        metrics: the content of `metrics.json`.
        rows: a dict from each measured split to the predictions for its rows.
    """
    splits = [split for split in ("test", "validation") if split in rows]
    tables = [_scores(recipe, metrics, splits), _samples(folder / SAMPLES_FILE)]
    tables += recipe.report_tables(rows[splits[0]]) if splits else []
    tables = [table for table in tables if table.rows]
    curve = folder / CURVE_FILE
    write_text(folder / REPORT_FILES[0], as_markdown(folder.name, tables, CURVE_FILE if curve.exists() else None))
    picture = base64.b64encode(curve.read_bytes()).decode() if curve.exists() else None
    write_text(folder / REPORT_FILES[1], as_html(folder.name, tables, picture))


def as_markdown(name: str, tables: Sequence[ReportTable], picture: str | None) -> str:
    """Return the report in Markdown; `picture` is the path of the loss curve, or None if there is none."""
    parts = [f"# {name}"]
    for number, table in enumerate(tables):
        rows = [[one_line(cell).replace("|", "\\|") for cell in row] for row in table.rows]
        parts += [f"## {table.title}", markdown_table(table.columns, rows, names=len(table.columns))]
        if number == 0 and picture is not None:
            parts += ["## Loss", f"![The loss of each evaluation]({picture})"]
    return "\n\n".join(parts) + "\n"


def as_html(name: str, tables: Sequence[ReportTable], picture: str | None) -> str:
    """Return the report as an HTML page for light and dark themes.

    `picture` is the loss curve, a PNG image in base64, or None if there is none.
    """
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(name)}</title>',
        f"<style>{_STYLE}</style>\n<h1>{escape(name)}</h1>",
    ]
    for number, table in enumerate(tables):
        head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
        lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in table.rows)
        body = "\n".join(f"<tr>{line}</tr>" for line in lines)
        parts.append(f"<h2>{escape(table.title)}</h2>\n<table>\n<tr>{head}</tr>\n{body}\n</table>")
        if number == 0 and picture is not None:
            image = f'<img alt="The loss of each evaluation" src="data:image/png;base64,{picture}">'
            parts.append(f"<h2>Loss</h2>\n{image}")
    return "\n".join(parts) + "\n</html>\n"


def _scores(recipe: Recipe, metrics: Mapping[str, Any], splits: Sequence[str]) -> ReportTable:
    lines = {split: recipe.lines(metrics[split]) for split in splits}
    names = [line.name for line in lines[splits[0]]] if splits else []
    values = {split: {line.name: line.value for line in of_split} for split, of_split in lines.items()}
    rows = [[name, *(values[split].get(name, "") for split in splits)] for name in names]
    return ReportTable("Scores", ["", *splits], rows)


def _samples(file: Path) -> ReportTable:
    """Return a table with the samples of `_EPOCHS_WITH_SAMPLES` evaluations: the last, and others at equal distances.

    If the run has fewer evaluations, the table has the samples of all of them.
    """
    header, *rows = [line.split("\t") for line in file.read_text("utf-8").splitlines()] if file.exists() else [[]]
    steps = list(dict.fromkeys(row[1] for row in rows))
    distance = max(1, (len(steps) - 1) // (_EPOCHS_WITH_SAMPLES - 1))
    shown = {*steps[-1::-distance][:_EPOCHS_WITH_SAMPLES]}
    return ReportTable("Samples", header, [list(map(shorten, row)) for row in rows if row[1] in shown])
