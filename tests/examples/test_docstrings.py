# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The texts that a classifier of documentation trains on: which paragraphs they are, and no file in two splits."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "docstrings.py"
spec = importlib.util.spec_from_file_location("docstrings", SCRIPT)
docstrings = sys.modules["docstrings"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docstrings)

SIZES = {"train": 6, "dev": 2, "test": 3}
PROSE = "This paragraph has{} words enough to be taken for some prose."


@pytest.fixture
def site_packages(tmp_path):
    """Ten files of two paragraphs for each package, and one that has to be left alone."""
    for kind, package in zip("abcdef", docstrings.PACKAGES.values(), strict=True):
        (tmp_path / package / "tests").mkdir(parents=True)
        (tmp_path / package / "tests" / "test_x.py").write_text(f'"""{PROSE.format(" tested")}"""')
        for number in range(10):
            own = [PROSE.format(f" {kind}{number} {part}") for part in ("one", "two")]
            text = f'"""{own[0]}"""\ndef f():\n    """{own[1]}\n\n    {PROSE.format(" shared")}\n    """\n'
            (tmp_path / package / f"m{number}.py").write_text(text)
    return tmp_path


def test_paragraphs_are_prose_that_names_no_package(tmp_path):
    file = tmp_path / "module.py"
    kept = [
        "The first paragraph of this docstring is over\n    two lines of it.",
        "Another one has (x, y) and 8 words in it, even more.",
    ]
    left_out = [
        "Too short to be taken.",
        "No full stop at the end of a paragraph that is otherwise long enough",
        "It names NumPy, which would tell what it belongs to, so it is left out.",
        ">>> print('A session has words enough but is of no kind of prose.')",
        "Parameters\n    ----------\n    x : that which is given to the function, whatever it may be.",
    ]
    body = "\n\n    ".join(text for pair in zip(left_out, [*kept, "", "", ""], strict=True) for text in pair)
    file.write_text(f'class A:\n    """{body}\n    """\n')
    assert list(docstrings.paragraphs(file)) == [" ".join(text.split()) for text in kept]


def test_each_package_has_its_share_and_no_text_stands_twice(site_packages):
    corpus = docstrings.make_corpus(SIZES, 1, site_packages)
    for split, size in SIZES.items():
        labels = [label for _, label in corpus[split]]
        assert {label: labels.count(label) for label in labels} == dict.fromkeys(docstrings.PACKAGES, size)
    texts = [text for rows in corpus.values() for text, _ in rows]
    assert len(set(texts)) == len(texts)
    assert not any("tested" in text for text in texts)


def test_no_file_gives_to_two_splits_and_the_seed_decides(site_packages):
    corpus = docstrings.make_corpus(SIZES, 1, site_packages)
    files = {split: {text.split(" one")[0].split(" two")[0] for text, _ in rows} for split, rows in corpus.items()}
    own = {split: {name for name in names if "shared" not in name} for split, names in files.items()}
    assert not own["train"] & own["test"]
    assert not own["train"] & own["dev"]
    assert not own["dev"] & own["test"]
    assert docstrings.make_corpus(SIZES, 1, site_packages) == corpus
    assert docstrings.make_corpus(SIZES, 2, site_packages) != corpus


def test_the_command_writes_tables_or_says_what_is_missing(site_packages, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(site_packages))
    arguments = [
        "--output_dir",
        str(tmp_path / "data"),
        *(part for split, size in SIZES.items() for part in (f"--{split}", str(size))),
    ]
    assert docstrings.main(arguments) == 0
    lines = (tmp_path / "data" / "test.tsv").read_text("utf-8").splitlines()
    assert lines[0] == "text\tlabel"
    assert len(lines) == 1 + 3 * len(docstrings.PACKAGES)
    assert docstrings.main([*arguments, "--train", "100"]) == 2
    assert "pandas has too few paragraphs for its 100 in train: ask for fewer." in capsys.readouterr().err
