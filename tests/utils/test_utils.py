# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Small functions that several subpackages use."""

import json
import os
from pathlib import Path

import pytest
from huggingface_hub.errors import StrictDataclassError

from locant import LocantConfig
from locant.utils.counts import describe_counts, list_labels
from locant.utils.errors import first_line, reason_of, sentence
from locant.utils.files import atomic_write
from locant.utils.markdown import markdown_table
from locant.utils.paths import looks_like_path


def test_counts_are_put_into_words():
    counts = {"texts": 1234, "source_tokens": 5, "with_label": 0, "median_characters": 56}
    assert describe_counts(counts) == "1,234 texts, 5 source tokens, 0 with the same label, 56 characters (median)"


def test_labels_beyond_the_twentieth_are_left_out():
    labels = {f"label{number}": 1000 + number for number in range(21)}
    assert list_labels(dict([*labels.items()][:2])) == "label0 1,000, label1 1,001"
    assert list_labels(labels).endswith("label19 1,019, …")


class TestAtomicWrite:
    def test_replaces_the_file_only_at_the_end(self, tmp_path):
        file = tmp_path / "metrics.json"
        file.write_text("old")
        with atomic_write(file) as path:
            path.write_text("new")
            assert file.read_text() == "old"
            assert path.suffix == ".json"
        assert file.read_text() == "new"
        assert list(tmp_path.iterdir()) == [file]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
    def test_a_pipe_is_written_to_and_stays_a_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        with atomic_write(tmp_path / "pipe") as path:
            path.write_text("new")
        assert os.read(reader, 10) == b"new"
        os.close(reader)
        assert (tmp_path / "pipe").is_fifo()

    @pytest.mark.skipif(os.name != "posix", reason="files have other permissions on this system")
    def test_the_permissions_stay(self, tmp_path):
        file = tmp_path / "private"
        file.write_text("old")
        file.chmod(0o600)
        with atomic_write(file) as path:
            path.write_text("new")
            assert path.stat().st_mode & 0o077 == 0
        assert file.stat().st_mode & 0o777 == 0o600

    def test_an_error_leaves_the_old_file_and_nothing_else(self, tmp_path):
        file = tmp_path / "metrics.json"
        file.write_text("old")

        def fail():
            with atomic_write(file) as path:
                path.write_text("half")
                json.loads("{")

        with pytest.raises(ValueError, match="Expecting property name"):
            fail()
        assert file.read_text() == "old"
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("No file.\nGive one."), "No file"),
        (OSError("  no end"), "no end"),
        (KeyError(), "KeyError"),
        (RuntimeError("\n"), "RuntimeError"),
    ],
)
def test_first_line_has_no_full_stop_and_is_never_empty(error, line):
    assert first_line(error) == line


def test_reason_of_a_config_error_names_the_field_and_its_fault():
    with pytest.raises(StrictDataclassError) as error:
        LocantConfig(dropout=3.0)
    assert reason_of(error.value) == "dropout: must be at least 0 and below 1, got 3.0"
    assert reason_of(ValueError("No file.\nGive one.")) == "No file"


@pytest.mark.parametrize(("text", "expected"), [("a", "a."), ("a.", "a."), ("a?", "a?"), ("a!", "a!")])
def test_a_sentence_ends_with_one_mark(text, expected):
    assert sentence(text) == expected


class TestPaths:
    @pytest.mark.parametrize("name", ["model", "owner/model", "owner/model.v1"])
    def test_names_of_repositories(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        assert not looks_like_path(name)

    @pytest.mark.parametrize("name", ["./model", "../m", "~/m", "/m", "a/b/c", r"runs\m", Path("model")])
    def test_names_that_no_repository_has(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        assert looks_like_path(name)

    def test_folders_that_exist(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "owner" / "model").mkdir(parents=True)
        assert looks_like_path("owner")
        assert looks_like_path("owner/model")
        assert not looks_like_path("owner/other")


def test_a_table_has_names_on_the_left_and_figures_on_the_right():
    rows = [["none", "1", "2"], ["rotary", "3", "4"]]
    assert markdown_table(["encoding", "a", "b"], iter(rows)).splitlines() == [
        "| encoding | a | b |",
        "| --- | ---: | ---: |",
        "| none | 1 | 2 |",
        "| rotary | 3 | 4 |",
    ]
