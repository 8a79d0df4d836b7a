# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Pictures are saved if matplotlib is installed."""

import sys

import pytest

from locant.training.run import pictures
from locant.training.run.pictures import write_pictures


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
    monkeypatch.setattr(pictures.logger, "warning_once", said.append)
    assert not write_pictures(tmp_path, {"one": pytest.fail}, "The curve is not drawn")
    assert said == ["The curve is not drawn, as matplotlib is not installed: pip install 'locant[plots]' to see it."]
    assert not list(tmp_path.iterdir())
