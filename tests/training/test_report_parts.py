# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What the reports share: figures with their deviation, tables, and pictures where they can be drawn."""

import math
import statistics
import sys

import numpy as np
import pytest

from locant.training import report_parts
from locant.training.report_parts import markdown_table, mean_and_deviation, with_deviation, write_pictures


@pytest.mark.parametrize("values", [[1.0, 2.0, 6.0], [50.0, 50.0]])
def test_the_deviation_is_that_of_a_sample(values):
    mean, deviation = mean_and_deviation(values)
    assert mean == pytest.approx(statistics.mean(values))
    assert deviation == pytest.approx(np.std(values, ddof=1))


def test_one_value_has_no_deviation():
    mean, deviation = mean_and_deviation([3.0])
    assert mean == 3.0
    assert math.isnan(deviation)


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [([1.0, 2.0, 6.0], 1, "3.0 ± 2.6"), ([1.0, 2.0, 6.0], 2, "3.00 ± 2.65"), ([3.14159], 2, "3.14")],
)
def test_figures_are_written_with_their_deviation_if_they_have_one(values, digits, expected):
    assert with_deviation(values, digits) == expected


def test_a_table_has_names_on_the_left_and_figures_on_the_right():
    rows = [["none", "1", "2"], ["rotary", "3", "4"]]
    assert markdown_table(["encoding", "a", "b"], iter(rows)).splitlines() == [
        "| encoding | a | b |",
        "| --- | --: | --: |",
        "| none | 1 | 2 |",
        "| rotary | 3 | 4 |",
    ]


def test_each_drawing_has_a_picture_of_its_own(tmp_path):
    pytest.importorskip("matplotlib")
    figures = {}
    drawings = {name: lambda figure, name=name: figures.update({name: figure}) for name in ("one", "other")}
    assert write_pictures(tmp_path, drawings, "unused")
    assert figures["one"] is not figures["other"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "other.png"]
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_without_matplotlib_nothing_is_drawn_and_a_sentence_says_how_to_mend_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = []
    monkeypatch.setattr(report_parts.logger, "warning_once", said.append)
    assert not write_pictures(tmp_path, {"one": pytest.fail}, "The curve is not drawn")
    assert said == ["The curve is not drawn, as matplotlib is not installed: pip install 'locant[plots]' to see it."]
    assert not list(tmp_path.iterdir())
