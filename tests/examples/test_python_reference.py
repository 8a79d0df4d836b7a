# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Python's reference as training text: what stands in which split."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from pydoc_data.topics import topics

import pytest

PATH = Path(__file__).parents[2] / "examples" / "python_reference.py"
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("python_reference", PATH)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(script, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "python_reference"
    assert script.main([f"--output_dir={path}"]) == 0
    return path


@pytest.fixture(scope="module")
def splits(folder):
    return {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()]
        for split in SPLITS
    }


def words_in_a_row(rows, number=12):
    for row in rows:
        words = re.findall(r"\w+", row["text"].lower())
        yield from zip(*(words[start:] for start in range(number)), strict=False)


def test_topics_are_the_references_own_each_in_one_split(splits):
    names = [row["topic"] for rows in splits.values() for row in rows]
    assert len(names) == len(set(names)) > 40
    for rows in splits.values():
        for row in rows:
            assert set(re.findall(r"\S+", row["text"])) <= set(re.findall(r"\S+", topics[row["topic"]]))
            assert len(row["text"]) >= 200


def test_sizes_are_the_shares(splits):
    sizes = {split: sum(len(row["text"]) for row in rows) for split, rows in splits.items()}
    total = sum(sizes.values())
    assert 0.05 < sizes["validation"] / total <= 0.1
    assert 0.05 < sizes["test"] / total <= 0.1
    assert total > 200_000


def test_nothing_of_what_is_measured_stands_in_train(splits):
    train = set(words_in_a_row(splits["train"]))
    for split in ("validation", "test"):
        found = list(words_in_a_row(splits[split]))
        assert sum(words in train for words in found) < 0.01 * len(found)


def test_paragraphs_stand_once_in_the_longest_topic(script):
    shared = "one and\n   the same paragraph " + "x" * 200
    texts = {"long": f"long\n\n{shared}\n\n" + "y" * 300, "short": "z" * 250 + "\n\n" + shared.upper(), "part": shared}
    assert script.read_topics(texts) == [("long", texts["long"]), ("short", "z" * 250)]


def test_the_same_seed_writes_the_same_files_and_another_does_not(script, folder, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        assert script.main([f"--output_dir={tmp_path / name}", f"--seed={seed}"]) == 0
    for split in SPLITS:
        content = (folder / f"{split}.jsonl").read_bytes()
        assert (tmp_path / "same" / f"{split}.jsonl").read_bytes() == content
        assert (tmp_path / "other" / f"{split}.jsonl").read_bytes() != content


def test_a_share_that_leaves_nothing_is_refused(script, tmp_path, capsys):
    assert script.main([f"--output_dir={tmp_path / 'out'}", "--share=0"]) == 2
    assert capsys.readouterr().err == (
        "python_reference: --share 0.0 leaves a split without a topic: give one near 0.1.\n"
    )
    assert not (tmp_path / "out").exists()
