# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The report of a run: its tables, which rows it shows, and that its page loads nothing."""

import re

import pytest

from locant.training.inference import EvaluationRow
from locant.training.run.report import as_html, as_markdown
from locant.training.tasks.recipe import ReportTable
from locant.training.tasks.translation import Translation

TABLE = ReportTable("Scores & more", ["", "test"], [["a | b", "<script>"]])


def test_markdown_and_html_escape_texts():
    assert "| a \\| b | <script> |" in as_markdown("run", [TABLE], None)
    page = as_html("a<b", [TABLE], None)
    assert "<h1>a&lt;b</h1>" in page
    assert "<td>&lt;script&gt;</td>" in page
    assert "<script>" not in page


def test_line_breaks_do_not_break_a_table():
    table = ReportTable("Highest loss", ["text", "loss"], [["first\n\nsecond", "1.00"]])
    assert "| first  second | 1.00 |" in as_markdown("run", [table], None)


def test_the_page_holds_its_picture():
    page = as_html("run", [TABLE], "QUJD")
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:image/png;base64,QUJD"]
    assert "![The loss of each evaluation](loss_curve.png)" in as_markdown("run", [TABLE], "loss_curve.png")


def test_translations_are_grouped_by_length_and_the_worst_come_first(toy):
    scores = {"c d": 100.00000000000004, "c": 60.0, "x": 1.5}  # equal texts have this BLEU, and are not listed
    rows = [EvaluationRow("a b" if score > 2 else "e " * 12, "c d", text, score) for text, score in scores.items()]
    lengths, worst = Translation(None, 0).report_tables(rows)
    assert [row[:2] for row in lengths.rows] == [["1–10", "2"], ["11–20", "1"]]
    assert [row[3] for row in worst.rows] == ["1.50", "60.00"]
    assert list(worst.columns) == ["source", "reference", "translation", "sentence_bleu"]


def test_a_run_of_translation_is_reported(trained_run):
    report = (trained_run / "report.md").read_text("utf-8")
    titles = re.findall(r"^## (.*)$", report, re.MULTILINE)
    assert titles == ["Scores", "Loss", "Samples", "BLEU by the number of words in the source", "Lowest sentence BLEU"]
    samples = report.partition("## Samples")[2].partition("##")[0]
    assert len(re.findall(r"^\| \d", samples, re.MULTILINE)) == 9  # three evaluations of three rows
    assert (trained_run / "report.html").read_text("utf-8").count("<table>") == 4


@pytest.mark.parametrize("task", ["language_modeling", "masked_language_modeling"])
def test_documents_with_the_highest_loss_are_reported(document_runs, task):
    losses = [
        float(line.split(" | ")[-1 if task.startswith("masked") else 2].rstrip(" |"))
        for line in worst_rows(document_runs[task])
    ]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 20


def worst_rows(folder):
    table = (folder / "report.md").read_text("utf-8").partition("## Highest loss\n\n")[2]
    return table.strip().splitlines()[2:]
