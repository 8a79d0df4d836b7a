# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What is wrong in captions of digits, counted."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "caption_errors.py"
spec = importlib.util.spec_from_file_location("caption_errors", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

CASES = [
    ("a one above a nine", "a one above a nine", "exact"),
    ("a one above a nine", "a one above a seven", "digits"),
    ("a one above a nine", "a nine above a one", "digits"),
    ("a one above a nine", "a one above an eight", "digits"),
    ("a one above a nine", "a one left of a nine", "relations"),
    ("a one above a nine", "a one and a nine", "relations"),
    ("a one above a nine", "a one above a nine and a two", "both"),
    ("a one above a nine", "", "both"),
    ("an eight above a nine", "a eight above a nine", "articles"),
]


@pytest.mark.parametrize(("caption", "prediction", "kind"), CASES)
def test_what_is_wrong_is_told_apart(caption, prediction, kind):
    assert script.kind_of(caption, prediction) == kind


def test_the_file_of_a_run_is_counted(tmp_path, capsys):
    lines = [f"{number}\t{caption}\t{prediction}" for number, (caption, prediction, _) in enumerate(CASES, start=1)]
    path = tmp_path / "test_captions.tsv"
    path.write_text("\n".join(["row\tcaption\tprediction", *lines, ""]))
    assert script.main([str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "captions": 9,
        "exact": 1,
        "digits": 3,
        "relations": 2,
        "both": 2,
        "articles": 1,
        "digits_right": 0.6,  # 2 of 2, 1 of 2, 0 of 2, 1 of 2, and 2 of 2
    }


def test_another_file_is_one_sentence(tmp_path, capsys):
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    assert script.main([str(tmp_path / "other.tsv")]) == 2
    assert script.main([str(tmp_path / "none.tsv")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "has no column 'caption'" in lines[0]
    assert "examples/captions.yaml" in lines[1]
