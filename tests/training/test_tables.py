# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Rows of other shapes than pairs of texts: what each kind of column is read as, and how a bad cell is named.

What all tables share is tested on pairs, in test_text_data.py.
"""

import gzip
import json
import os
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from PIL import Image

from locant.training.data.tables import (
    IMAGE,
    LABEL,
    NUMBER,
    TEXT,
    Column,
    Layout,
    labels,
    load_files,
    place_of,
    table_of,
)
from locant.training.errors import InputError

from ..tables import load_splits


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def layout(kind, **label):
    return Layout((Column("text"), Column("label", kind, **label)))


def load(tmp_path, name, content, kind, **label):
    """The rows of a table with the columns text and label."""
    path = tmp_path / name
    if name.endswith(".parquet"):
        content.to_parquet(path)
    else:
        path.write_text(content, encoding="utf-8")
    return load_splits(layout(kind, **label), train_file=path, validation_file=path)["train"]


TABLES = {
    "t.tsv": "text\tlabel\na\tx\nb\t 3\nc\tx",
    "t.csv": 'label,text\nx,a\n"3",b\nx,c\n',
    "t.jsonl": '{"text": "a", "label": "x"}\n{"label": 3, "text": "b"}\n{"text": "c", "label": "x"}',
}


class TestKinds:
    @pytest.mark.parametrize("name", TABLES)
    def test_labels_are_texts_or_whole_numbers_without_space_around(self, tmp_path, name):
        rows = load(tmp_path, name, TABLES[name], LABEL)
        assert rows["label"][:] == ["x", "3", "x"]
        assert rows["text"][:] == ["a", "b", "c"]

    def test_labels_of_a_dataset_with_named_classes_are_the_names(self, tmp_path):
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        )
        data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, 1]}, features=features)
        assert load(tmp_path, "t.parquet", data, LABEL)["label"][:] == ["yes", "no", "yes"]

    def test_lists_of_named_classes_are_lists_of_names(self, tmp_path):
        classes = datasets.List(datasets.ClassLabel(names=["no", "yes"]))
        features = datasets.Features({"text": datasets.Value("string"), "label": classes})
        data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [[1, 0], []]}, features=features)
        assert load(tmp_path, "t.parquet", data, labels(";"))["label"][:] == [["yes", "no"], []]

    def test_rows_without_a_label_are_refused(self, tmp_path):
        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no"])})
        data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, -1]}, features=features)
        with pytest.raises(
            InputError, match=r"t\.parquet, row 2: 'label' is -1, which stands for no label: give a split"
        ):
            load(tmp_path, "t.parquet", data, LABEL)

    @pytest.mark.parametrize("written", ["t.tsv", "t.jsonl", "t.parquet"])
    def test_numbers(self, tmp_path, written):
        values = [1.5, -100.0, 2.0]
        content = {
            "t.tsv": "text\tlabel\n" + "".join(f"a\t{value}\n" for value in values),
            "t.jsonl": "".join(json.dumps({"text": "a", "label": value}) + "\n" for value in values),
            "t.parquet": datasets.Dataset.from_dict({"text": ["a"] * 3, "label": np.array(values, np.float32)}),
        }[written]
        rows = load(tmp_path, written, content, NUMBER)
        assert rows["label"][:] == values
        assert rows.features["label"] == datasets.Value("float64")

    def test_several_labels_stand_in_a_text_or_a_list(self, tmp_path):
        expected = [["x", "y z"], [], ["x"]]
        assert load(tmp_path, "t.tsv", "text\tlabel\na\tx; y z\nb\t\nc\tx;", labels(";"))["label"][:] == expected
        content = "".join(json.dumps({"text": "a", "label": label}) + "\n" for label in expected)
        assert load(tmp_path, "t.jsonl", content, labels(";"))["label"][:] == expected
        data = datasets.Dataset.from_dict({"text": ["a"] * 3, "label": expected})
        assert load(tmp_path, "t.parquet", data, labels(";"))["label"][:] == expected

    def test_images_are_found_beside_the_table(self, tmp_path):
        (tmp_path / "images").mkdir()
        for name, grey in (("a", 10), ("b", 200)):
            Image.new("L", (2, 3), grey).save(tmp_path / "images" / f"{name}.png")
        path = tmp_path / "t.csv"
        path.write_text("image,label\nimages/a.png,x\nimages/b.png,y\n")
        columns = Layout((Column("image", IMAGE), Column("label", LABEL)), row="image")
        rows = load_splits(columns, train_file=path, validation_split=1)
        found = {row["label"]: row["image"] for split in rows.values() for row in split}
        assert {label: (image.size, image.getpixel((0, 0))) for label, image in found.items()} == {
            "x": ((2, 3), 10),
            "y": ((2, 3), 200),
        }
        images = datasets.Dataset.from_dict({"image": [str(tmp_path / "images" / "a.png")] * 2, "label": ["x", "y"]})
        images.cast_column("image", datasets.Image()).to_parquet(tmp_path / "t.parquet")
        rows = load_splits(columns, train_file=tmp_path / "t.parquet", validation_split=1)["train"]
        assert rows[0]["image"].getpixel((0, 0)) == 10


class TestColumns:
    def test_a_chosen_column_goes_before_the_usual_ones(self, tmp_path):
        text = "text\tlabel\tkind\tclass\na\tx\ty\tz"
        for chosen, usual, expected in ((None, (), "x"), (None, ("kind",), "y"), ("class", ("kind",), "z")):
            rows = load(tmp_path, "t.tsv", text, LABEL, chosen=chosen, usual=usual)
            assert rows["label"][:] == [expected]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_csv_may_have_other_delimiters(self, tmp_path, delimiter):
        lines = ["text,label", '"a,b;c|d",x', "e,y"]
        text = "\n".join(
            line.replace(",", delimiter, 1) if number != 1 else f'"a,b;c|d"{delimiter}x'
            for number, line in enumerate(lines)
        )
        rows = load(tmp_path, "t.csv", text, LABEL)
        assert (rows["text"][:], rows["label"][:]) == (["a,b;c|d", "e"], ["x", "y"])

    @pytest.mark.parametrize("header", ['"a;b;c",text,label', "text,label,note (a|b|c|d)"])
    def test_delimiters_in_names_of_columns_do_not_count(self, tmp_path, header):
        rows = load(tmp_path, "t.csv", f"{header}\na,a,a\n", LABEL)
        assert (rows["text"][:], rows["label"][:]) == (["a"], ["a"])

    @pytest.mark.parametrize("name", ["t.tsv.gz", "T.CSV.GZ", "t.jsonl.gz"])
    def test_packed_tables_are_unpacked(self, tmp_path, name):
        text = '{"text": "l\'été", "label": "x"}\n' if "jsonl" in name else "text\tlabel\nl'été\tx\n"
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        rows = load_splits(layout(LABEL), train_file=tmp_path / name, validation_file=tmp_path / name)["train"]
        assert rows[:] == {"text": ["l'été"], "label": ["x"]}

    def test_packed_parallel_files_are_unpacked(self, tmp_path):
        for name, text in (("texts.gz", "a\nb\n"), ("labels.gz", "1\n2.5\n")):
            (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        files = [tmp_path / "texts.gz", tmp_path / "labels.gz"]
        rows = load_splits(layout(NUMBER), train_file=files, validation_file=files)["train"]
        assert rows[:] == {"text": ["a", "b"], "label": [1.0, 2.5]}

    def test_as_many_parallel_files_as_columns_stand_for_a_table(self, tmp_path):
        (tmp_path / "texts").write_text("a\nb\n")
        (tmp_path / "labels").write_text("1\n2.5\n")
        files = [tmp_path / "texts", tmp_path / "labels"]
        rows = load_splits(layout(NUMBER), train_file=files, validation_file=files)["train"]
        assert rows[:] == {"text": ["a", "b"], "label": [1.0, 2.5]}

    def test_one_column_is_one_text_file_or_a_table(self, tmp_path):
        one = Layout((Column("text", TEXT),))
        (tmp_path / "a.txt").write_text("a\n\nb\tc\n")
        (tmp_path / "a.tsv").write_text("id\ttext\n1\ta\n")
        rows = load_splits(one, train_file=tmp_path / "a.txt", validation_file=tmp_path / "a.tsv")
        assert rows["train"]["text"][:] == ["a", "", "b\tc"]
        assert rows["validation"]["text"][:] == ["a"]

    def test_a_blank_line_of_one_column_is_an_empty_text(self, tmp_path):
        (tmp_path / "a.tsv").write_text("text\na\n\nb\n")
        rows = load_splits(Layout((Column("text", TEXT),)), train_file=tmp_path / "a.tsv", validation_split=1)
        assert sorted(text for split in rows.values() for text in split["text"]) == ["", "a", "b"]

    def test_the_kind_of_a_column_is_part_of_what_is_cached(self, tmp_path):
        assert load(tmp_path, "t.tsv", "text\tlabel\na\t1", LABEL)["label"][:] == ["1"]
        assert load(tmp_path, "t.tsv", "text\tlabel\na\t1", NUMBER)["label"][:] == [1.0]

    def test_copies_with_several_labels_stay_together(self, tmp_path):
        lines = "".join(f"t{i % 10}\tx,y{i % 10}\n" for i in range(30))
        (tmp_path / "t.tsv").write_text("text\tlabel\n" + lines)
        rows = load_splits(layout(labels(",")), train_file=tmp_path / "t.tsv", validation_split=0.5)
        assert len(rows["validation"]) == 15
        assert not {*rows["train"]["text"]} & {*rows["validation"]["text"]}


class TestParquet:
    ROWS = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})

    def test_brackets_in_a_path_are_no_pattern(self, tmp_path):
        datasets.Dataset.from_dict({"text": ["other"], "label": ["y"]}).to_parquet(tmp_path / "te.parquet")
        assert load(tmp_path, "t[en].parquet", self.ROWS, LABEL)["text"][:] == ["a", "b"]

    def test_the_modification_time_does_not_change_the_fingerprint(self, tmp_path):
        before = load(tmp_path, "t.parquet", self.ROWS, LABEL)._fingerprint
        os.utime(tmp_path / "t.parquet", (1, 1))
        again = load_files(tmp_path / "t.parquet", "train", layout(LABEL))
        assert again._fingerprint == before
        self.ROWS.select([1, 0]).to_parquet(tmp_path / "t.parquet")
        changed = load_files(tmp_path / "t.parquet", "train", layout(LABEL))
        assert changed._fingerprint != before
        assert changed["text"][:] == ["b", "a"]

    @pytest.mark.parametrize("name", ["t.tsv", "t.parquet"])
    def test_a_column_may_be_chosen_twice(self, tmp_path, name):
        rows = datasets.Dataset.from_dict({"text": ["a", "b"]})
        rows.to_parquet(tmp_path / name) if name.endswith(".parquet") else rows.to_csv(tmp_path / name, sep="\t")
        twice = Layout((Column("source", chosen="text"), Column("target", chosen="text")))
        assert load_files(tmp_path / name, "train", twice)[:] == {"source": ["a", "b"], "target": ["a", "b"]}


class TestDatasets:
    FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})

    @pytest.fixture
    def dataset_name(self, tmp_path):
        (tmp_path / "set").mkdir()
        for split, numbers in (("train", [0, 1]), ("validation", [1, 0]), ("test", [-1, -1])):
            columns = {"text": [f"{split} a", f"{split} b"], "label": numbers}
            data = datasets.Dataset.from_dict(columns, features=self.FEATURES)
            data.to_parquet(tmp_path / "set" / f"{split}.parquet")
        return str(tmp_path / "set")

    def test_a_test_split_without_labels_is_left_out(self, dataset_name, capsys):
        splits = load_splits(layout(LABEL), dataset_name=dataset_name)
        assert set(splits) == {"train", "validation"}
        assert f"The split 'test' of {dataset_name} is left out, as its rows have no labels." in capsys.readouterr().out

    def test_a_split_that_a_file_replaces_may_have_no_labels(self, dataset_name, tmp_path, capsys):
        (tmp_path / "own.tsv").write_text("text\tlabel\na\tno\n")
        splits = load_splits(layout(LABEL), dataset_name=dataset_name, test_file=tmp_path / "own.tsv")
        assert splits["test"]["text"][:] == ["a"]
        assert "left out" not in capsys.readouterr().out


class TestEncodings:
    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.tsv", "text\tlabel\na\tx\n".encode("utf-16"), "a.tsv is UTF-16: convert it to UTF-8, with iconv"),
            ("a.tsv", gzip.compress(b"text"), "a.tsv is packed with gzip: let its name end with .gz, or unpack it."),
            ("a.tsv.gz", b"text\tlabel\na\tx\n", "a.tsv.gz cannot be unpacked (Not a gzipped file"),
            ("a.tsv.gz", gzip.compress(b"text\tlabel\na\tx\n")[:-9], "a.tsv.gz cannot be unpacked (Compressed file"),
        ],
        ids=["utf-16", "gzip-without-suffix", "no-gzip", "gzip-cut-off"],
    )
    def test_a_file_that_is_no_text_says_what_it_is(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as error:
            load_splits(layout(LABEL), train_file=tmp_path / name, validation_split=1)
        assert message in str(error.value)


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "text", "kind", "message"),
        [
            (
                "t.tsv",
                "text\tlabel\na\tx\nb\t \n",
                LABEL,
                "t.tsv, line 3: 'label' is ' ', where the name of a class is",
            ),
            ("t.jsonl", '{"text": "a", "label": 1.5}', LABEL, "line 1: 'label' is 1.5, where the name of a class"),
            ("t.tsv", "text\tlabel\na\t1\nb\tx\n", NUMBER, "line 3: 'label' is 'x', where a number is expected: cor"),
            ("t.tsv", "text\tlabel\na\tnan\n", NUMBER, "line 2: 'label' is 'nan', where a number"),
            ("t.jsonl", '{"text": "a", "label": true}', NUMBER, "line 1: 'label' is True, where a number"),
            ("t.jsonl", '{"text": "a", "label": 4}', labels("|"), "as a list or with '|' between them is expected: "),
            (
                "t.tsv",
                "text\tkind\na\tx\n",
                LABEL,
                "has no column 'label'; it has 'text', 'kind': say with label_column",
            ),
            ("t.tsv", "text\tlabel\n", LABEL, "t.tsv holds no row: give a file with at least one row."),
            ("t.jsonl", '{"text": "a", "label": "\\ud83d"}', LABEL, "line 1: 'label' holds '\\ud83d', which is one"),
            ("t.jsonl", '{"text": "a", "label": ["x", "\\ud83d"]}', labels(","), "'label' holds '\\ud83d', which is"),
            (
                "t.tsv",
                "text\tlabel\na\tno.png",
                IMAGE,
                "no.png, which the column 'label' names: correct the path, or remove the row.",
            ),
            ("t.jsonl", '{"label": null, "text": "a"}', IMAGE, "line 1: 'label' is None, where the path of an image"),
            ("t.jsonl", '{"label": 5, "text": "a"}', IMAGE, "line 1: 'label' is 5, where the path of an image"),
            ("t.tsv", "text\tlabel\na\t" + "x" * 300, IMAGE, "line 2: there is no file"),
            ("t.csv", "text,label,text\na,x,b\n", LABEL, "has several columns named 'text': give each column a name"),
            ("t.tsv", "text\tlabel\ttext\na\tx\tb\n", LABEL, "has several columns named 'text'"),
        ],
    )
    def test_a_bad_cell_is_named(self, tmp_path, name, text, kind, message):
        with pytest.raises(InputError) as error:
            load(tmp_path, name, text, kind)
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_carriage_returns_alone_end_no_line_of_a_csv_file(self, tmp_path):
        (tmp_path / "t.csv").write_bytes(b"text,label\ra,x\rb,y\r")
        with pytest.raises(InputError, match=r"t\.csv, line 1, is not CSV"):
            load_files(tmp_path / "t.csv", "train", layout(LABEL))

    @pytest.mark.parametrize(
        ("values", "kind", "message"),
        [
            (["1", "x"], NUMBER, "row 2: 'label' is 'x', where a number is expected: correct the value, or choose "),
            (["x", None], LABEL, "row 2: 'label' is null, where the name of a class is expected: give a value, or "),
            ([["x"], [None]], labels(","), "row 2: 'label' is [None], where names of classes"),
        ],
    )
    def test_a_bad_cell_of_a_parquet_file_is_named_by_its_row(self, tmp_path, values, kind, message):
        data = datasets.Dataset.from_dict({"text": ["a"] * len(values), "label": values})
        with pytest.raises(InputError) as error:
            load(tmp_path, "t.parquet", data, kind)
        assert str(error.value).startswith(f"{Path(tmp_path) / 't.parquet'}, {message}")


class TestPlaces:
    def test_a_table_is_named_by_its_file_or_data_set(self):
        files = {"train_file": "a.csv", "validation_file": None, "test_file": "b.csv", "dataset_name": None}
        data = SimpleNamespace(**files)
        assert [table_of(data, split) for split in ("train", "validation", "test")] == ["a.csv", "a.csv", "b.csv"]
        data = SimpleNamespace(**files | {"train_file": None, "dataset_name": "org/set"})
        assert [table_of(data, split) for split in ("train", "test")] == ["org/set (train)", "b.csv"]

    @pytest.mark.parametrize(
        ("name", "text", "places"),
        [
            ("t.tsv", "text\nx\ny\n", ["line 2", "line 3"]),
            ("t.csv", 'text\n"x\n…"\n\ny\n', ["line 3", "line 5"]),  # where the record ends, as the reader says it
            ("t.jsonl", '\n{"text": "x"}\n{"text": "y"}\n', ["line 2", "line 3"]),
            ("t.json", '[{"text": "x"}, {"text": "y"}]', ["item 1", "item 2"]),
            ("t.txt", "x\ny\n", None),
        ],
    )
    def test_a_row_is_found_again_in_its_file(self, tmp_path, name, text, places):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        expected = [f"{path}, {place}" for place in places or ["row 1", "row 2"]]
        assert [place_of(str(path), row) for row in (1, 2)] == expected

    def test_a_row_of_a_data_set_has_its_number(self):
        assert place_of("org/set (train)", 3) == "org/set (train), row 3"
