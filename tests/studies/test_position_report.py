# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The study's report: its tables hold the figures of the CSV, and its pictures show them."""

import sys

import numpy as np
import pytest

from locant.studies import position_report
from locant.studies.position_report import collect, first_seeds, load_attention, write_report
from locant.studies.position_tasks import LetterTask
from locant.training.run import pictures

SIZE = {"order_steps": 300, "length_steps": 1200, "train_length": 16}
ACCURACY = {"rotary": (0.9, 1.0), "none": (0.5, 0.375), "fancy": (0.25, 0.25)}  # of each seed


def rows_of(encoding):
    for seed, accuracy in enumerate(ACCURACY[encoding]):
        known = {"encoding": encoding, "seed": seed, "seconds": 30.0}
        for measure, factor in (("sentence", 1), ("pair", 0.5)):
            yield {**known, "part": "word_order", "length": 4, "measure": measure, "accuracy": factor * accuracy}
        for length in (16, 32, 64, 128):
            for measure, factor in (("before", 16 / length), ("nearest", 8 / length)):
                yield {**known, "part": "length", "length": length, "measure": measure, "accuracy": factor * accuracy}


ROWS = [row for encoding in ACCURACY for row in rows_of(encoding)]


@pytest.fixture
def folder(tmp_path):
    """A study's folder, whose second seeds attend to nothing but the first place."""
    (tmp_path / "attention").mkdir()
    for number, encoding in enumerate(ACCURACY):
        attention = np.stack([np.roll(np.eye(16), number + head, axis=1) for head in range(4)])
        np.save(tmp_path / "attention" / f"{encoding}-0.npy", attention)
        np.save(tmp_path / "attention" / f"{encoding}-1.npy", np.eye(16)[[0] * 16][None].repeat(4, 0))
    return tmp_path


@pytest.fixture
def figure():
    """An empty figure to draw on."""
    return pytest.importorskip("matplotlib.figure").Figure(layout="constrained")


def test_figures_are_collected_in_percent_and_in_the_package_s_order():
    scores = collect(ROWS)
    assert list(scores["before"]) == ["none", "rotary", "fancy"]  # the last is not registered
    assert scores["nearest"]["rotary"] == {16: [45.0, 50.0], 32: [22.5, 25.0], 64: [11.25, 12.5], 128: [5.625, 6.25]}


def test_the_tables_hold_mean_and_deviation(folder):
    lines = write_report(folder, SIZE, ROWS, LetterTask()).read_text(encoding="utf-8").splitlines()
    start = lines.index("| encoding | sentences right | both of a pair right |")
    assert lines[start + 2 : start + 5] == [
        "| none | 43.8 ± 8.8 | 21.9 ± 4.4 |",
        "| rotary | 95.0 ± 7.1 | 47.5 ± 3.5 |",
        "| fancy | 25.0 ± 0.0 | 12.5 ± 0.0 |",
    ]
    start = lines.index("| *before* | 16 (trained) | 32 | 64 | 128 |")
    assert lines[start + 3] == "| rotary | 95.0 ± 7.1 | 47.5 ± 3.5 | 23.8 ± 1.8 | 11.9 ± 0.9 |"
    start = lines.index("| *nearest* | 16 (trained) | 32 | 64 | 128 |")
    assert lines[start + 2] == "| none | 21.9 ± 4.4 | 10.9 ± 2.2 | 5.5 ± 1.1 | 2.7 ± 0.6 |"


def test_the_text_says_how_it_was_made(folder):
    text = write_report(folder, SIZE, ROWS, LetterTask()).read_text(encoding="utf-8")
    assert "the seeds 0, 1. 300 steps for word order, 1,200 for length" in text
    assert "12 trainings, 6.0 minutes of one core in all" in text
    assert "stands 4 places before" in text
    assert "sequences of 8 to 16 letters" in text


def test_seeds_that_differ_between_encodings_are_listed_for_each_encoding(folder):
    rows = [row for row in ROWS if row["seed"] == 0 or row["encoding"] != "none"]
    text = write_report(folder, SIZE, rows, LetterTask()).read_text(encoding="utf-8")
    assert "over the seeds of each encoding (none: 0; rotary: 0, 1; fancy: 0, 1). 300 steps" in text


def test_pictures_are_written_and_shown_in_the_report(folder):
    pytest.importorskip("matplotlib")
    text = write_report(folder, SIZE, ROWS, LetterTask()).read_text(encoding="utf-8")
    for name in ("length.png", "attention.png", "attention_heads.png"):
        assert f"]({name})" in text
        assert (folder / name).read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ({"rotary": {0, 1}, "none": {0}, "fancy": {0}}, "(seed 0)"),
        ({"rotary": {0, 1}, "none": {0, 1}, "fancy": {1}}, "(seed 0 of none, rotary; seed 1 of fancy)"),
        ({"rotary": {1}, "none": {1}}, "(seed 1)"),
    ],
)
def test_the_caption_names_the_seeds_whose_attention_is_drawn(folder, monkeypatch, seeds, expected):
    drawn = {}
    monkeypatch.setattr(position_report, "draw_attention", lambda figure, attention: drawn.update(attention))
    pytest.importorskip("matplotlib")
    rows = [row for row in ROWS if row["seed"] in seeds.get(row["encoding"], ())]
    # word order alone draws no attention, so that its seeds do not count
    rows += [{**row, "seed": -1} for row in ROWS if row["part"] == "word_order" and row["encoding"] in seeds]
    text = write_report(folder, SIZE, rows, LetterTask()).read_text(encoding="utf-8")
    assert f"the models of *Length* {expected} on 16 times" in text
    for name, weights in drawn.items():
        np.testing.assert_array_equal(weights, np.load(folder / "attention" / f"{name}-{min(seeds[name])}.npy"))
    assert drawn.keys() == seeds.keys()


def test_without_matplotlib_the_tables_are_written_and_a_sentence_says_what_is_missing(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = []
    monkeypatch.setattr(pictures.logger, "warning_once", said.append)
    text = write_report(folder, SIZE, ROWS, LetterTask()).read_text(encoding="utf-8")
    assert "| rotary | 95.0 ± 7.1 | 47.5 ± 3.5 |" in text
    assert ".png" not in text
    assert said == [
        "The report has no pictures, as matplotlib is not installed: pip install 'locant[plots]' and run the same "
        "command to get them."
    ]
    assert not list(folder.glob("*.png"))


def test_each_encoding_has_a_panel_with_a_curve_for_each_question(figure):
    panels = position_report.draw_length(figure, collect(ROWS)).axes
    assert [panel.get_title() for panel in panels] == ["none", "rotary", "fancy"]
    before, nearest = panels[1].lines
    assert list(before.get_xdata()) == [16, 32, 64, 128]
    assert list(before.get_ydata()) == pytest.approx([95, 47.5, 23.75, 11.875])
    assert list(nearest.get_ydata()) == pytest.approx([47.5, 23.75, 11.875, 5.9375])
    assert before.get_linestyle() != nearest.get_linestyle()


def test_a_band_shows_the_deviation_over_the_seeds(figure):
    panel = position_report.draw_length(figure, collect(ROWS)).axes[1]
    deviation = 10 / 2**0.5  # of 90 and 100
    for band, length, factor in zip(panel.collections, (16, 128), (1, 1 / 16), strict=True):
        heights = [y for x, y in band.get_paths()[0].vertices if x == length]
        assert min(heights) == pytest.approx(factor * (95 - deviation))
        assert max(heights) == pytest.approx(factor * (95 + deviation))


def test_curves_of_one_seed_are_drawn_without_a_band(figure):
    panels = position_report.draw_length(figure, collect([row for row in ROWS if row["seed"] == 0])).axes
    assert list(panels[1].lines[0].get_ydata()) == pytest.approx([90, 45, 22.5, 11.25])
    assert [path for band in panels[1].collections for path in band.get_paths()] == []


def test_attention_is_the_mean_of_the_heads_of_the_first_seed(figure, folder):
    *panels, bar = position_report.draw_attention(figure, load_attention(folder, first_seeds(ROWS))).axes
    assert [panel.get_title() for panel in panels] == ["none", "rotary", "fancy"]
    (image,) = panels[1].images
    expected = sum(np.roll(np.eye(16), head, axis=1) for head in range(4)) / 4
    np.testing.assert_allclose(image.get_array(), expected)
    assert bar.get_ylabel() == "attention"
    assert {panel.images[0].norm.vmax for panel in panels} == {0.25}


def test_each_head_has_a_panel(figure, folder):
    *panels, _ = position_report.draw_heads(figure, load_attention(folder, first_seeds(ROWS))).axes
    assert len(panels) == 3 * 4
    assert [panel.get_ylabel() for panel in panels[::4]] == ["none", "rotary", "fancy"]
    np.testing.assert_allclose(panels[4 + 3].images[0].get_array(), np.roll(np.eye(16), 3, axis=1))
