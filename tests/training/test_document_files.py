# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Documents in text files, and runs of language models on plain text."""

import pytest

from locant.training.data.document_files import split_documents
from locant.training.data.tables import Column, Layout, load_files
from locant.training.errors import InputError

from ..tables import load_splits

LINES = ["A title", "", "First line,", "  indented.", " ", "", "<|end|>", "Second", ""]


@pytest.mark.parametrize(
    ("separator", "documents"),
    [
        ("file", ["A title\n\nFirst line,\n  indented.\n \n\n<|end|>\nSecond\n"]),
        ("line", LINES),
        ("blank_line", ["A title", "First line,\n  indented.", "<|end|>\nSecond"]),
        ("<|end|>", ["A title\n\nFirst line,\n  indented.\n ", "Second"]),
    ],
)
def test_what_separates_documents(separator, documents):
    assert list(split_documents(iter(LINES), separator)) == documents


def layout(separator="file"):
    return Layout((Column("text"),), row="document", document_separator=separator)


def test_several_files_are_so_many_documents(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"{name} one\n{name} two\n")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert load_files(files, "train", layout())["text"][:] == ["a one\na two", "b one\nb two"]
    assert load_files(files, "train", layout("line"))["text"][:] == ["a one", "a two", "b one", "b two"]


def test_another_separator_is_not_read_from_the_cache(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    for separator, number in (("file", 1), ("blank_line", 2), ("line", 3), ("e", 2)):
        assert len(load_files(tmp_path / "a.txt", "train", layout(separator))) == number


def test_a_separator_that_ends_a_file_makes_no_empty_document(tmp_path):
    (tmp_path / "a.txt").write_text("one\n<|end|>\ntwo\n<|end|>\n")
    assert load_files(tmp_path / "a.txt", "train", layout("<|end|>"))["text"][:] == ["one", "two"]


def test_a_separator_that_stands_nowhere_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    with pytest.raises(
        InputError, match=r"^document_separator is 'lines', but this text does not occur in .*a\.txt: set it to file,"
    ):
        load_files(tmp_path / "a.txt", "train", layout("lines"))


def test_a_table_among_text_files_is_refused(tmp_path):
    for name in ("a.txt", "b.tsv"):
        (tmp_path / name).write_text("text\none\n")
    with pytest.raises(InputError, match=r"b\.tsv is a table among several files: give one table"):
        load_files([tmp_path / "a.txt", tmp_path / "b.tsv"], "train", layout())


class TestOneDocument:
    @pytest.mark.parametrize(
        ("text", "train", "validation"),
        [
            ("one two\n" * 10, "one two\n" * 9, "one two\n" * 1),
            ("one two " * 10, "one two " * 9, "one two "),
            ("x" * 20, "x" * 18, "xx"),
        ],
        ids=["at-a-line", "at-a-word", "anywhere"],
    )
    def test_gives_its_end_to_validation(self, tmp_path, capsys, text, train, validation):
        (tmp_path / "a.txt").write_text(text)
        rows = load_splits(layout(), train_file=tmp_path / "a.txt", validation_split=0.1)
        [kept], [cut] = rows["train"]["text"], rows["validation"]["text"]
        assert kept + cut == text.removesuffix("\n")
        assert (kept.strip(), cut.strip()) == (train.strip(), validation.strip())
        assert "Cut the last 10% of each document from train for validation." in capsys.readouterr().out

    def test_and_so_do_several_that_are_few(self, tmp_path):
        for name in "ab":
            (tmp_path / f"{name}.txt").write_text(f"{name} line\n" * 10)
        rows = load_splits(layout(), train_file=[tmp_path / "a.txt", tmp_path / "b.txt"], validation_split=0.1)
        assert rows["validation"]["text"][:] == ["a line", "b line"]
        assert [text.count("line") for text in rows["train"]["text"]] == [9, 9]

    def test_too_short_for_a_share_is_refused(self, tmp_path):
        (tmp_path / "a.txt").write_text("x\n")
        with pytest.raises(
            InputError, match="leaves no text for training or for validation in the 1 training documents"
        ):
            load_splits(layout(), train_file=tmp_path / "a.txt", validation_split=0.1)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("task", ["language_modeling", "masked_language_modeling"])
def test_a_run_on_one_plain_text_file(writings, tmp_path, capsys, task):
    text = "\n\n".join(f"Chapter {number}\n    {' '.join(writings.texts['train'][number:])}" for number in (0, 80))
    (tmp_path / "book.txt").write_text(text)
    files = {"train_file": tmp_path / "book.txt", "validation_file": "null", "test_file": "null"}
    assert writings.train(task, tmp_path / "run", **files, document_separator="file", max_steps=2) == 0
    out = capsys.readouterr().out
    data = writings.metrics(tmp_path / "run")["data"]
    train = f"train: 1 documents, 0 empty, {data['train']['pieces']:,} pieces, "
    assert f"{train}{data['train']['median_characters']:,} characters (median), " in out
    assert data["train"]["bytes"] + data["validation"]["bytes"] == len(text.encode())


def test_blank_lines_among_lines_that_are_documents_are_told(writings, tmp_path, capsys):
    (tmp_path / "book.txt").write_text("the cat sees.\n\nthe dog hears.\n\n" * 20)
    assert writings.train("language_modeling", tmp_path / "run", train_file=tmp_path / "book.txt", dry_run="true") == 0
    assert "each line is a document, and 50% of the documents are blank: if blank" in capsys.readouterr().out


def test_an_empty_separator_is_refused(writings, tmp_path, capsys):
    assert writings.train("language_modeling", tmp_path / "run", document_separator="") == 2
    assert "document_separator is empty, but must be file, blank_line, line, or a text" in capsys.readouterr().err
