# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reading parallel text: what comes out of each format, and what each kind of broken input is answered with."""

import json
import os

import datasets
import pytest

from locant.training.data.tables import read_lines
from locant.training.errors import InputError
from locant.training.tasks.translation import Translation
from locant.training.tasks.translation_arguments import TranslationData

from ..tables import load_splits

ENGLISH = ["The cat sleeps.", "I see her.", "", 'A "quoted" word, and more']
FRENCH = ["Le chat dort.", "Je la vois\u00a0!", "", "Un mot «\u00a0cité\u00a0», et plus"]
PAIRS = list(zip(ENGLISH, FRENCH, strict=True))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return str(path)


def parallel(folder, name, pairs):
    return [
        write(folder / f"{name}.en", "\n".join(source for source, _ in pairs) + "\n"),
        write(folder / f"{name}.fr", "\n".join(target for _, target in pairs) + "\n"),
    ]


def numbered(count, name="pair"):
    return [(f"{name} {i}", f"paire {i}") for i in range(count)]


def load_pairs(*, seed=0, **options):
    columns = {name: options.pop(name) for name in [*options] if name.endswith(("_column", "_lang"))}
    layout = Translation(TranslationData(train_file="unused", **columns), seed).layout
    return load_splits(layout, **options, seed=seed)


def pairs_of(dataset):
    return [(row["source"], row["target"]) for row in dataset]


def json_lines(records):
    return "\n".join(json.dumps(record) for record in records)


class TestLines:
    def test_only_line_feeds_end_a_line(self, tmp_path):
        lines = ["a\u2028b", "c\u0085d\x0ce", "f\u00a0g\x1ch\vi", "no\rend", ""]
        path = write(tmp_path / "text", "\n".join(lines) + "\n")
        assert read_lines(path) == lines

    @pytest.mark.parametrize("text", ["a\nb", "a\nb\n", "a\r\nb\r\n", "\ufeffa\nb\n"])
    def test_final_line_feed_carriage_returns_and_byte_order_mark_do_not_matter(self, tmp_path, text):
        assert read_lines(write(tmp_path / "text", text)) == ["a", "b"]

    def test_invalid_utf8_is_named_by_line(self, tmp_path):
        path = write(tmp_path / "latin1.fr", b"un\ndeux\nt\xe9l\xe9\n")
        with pytest.raises(InputError) as error:
            read_lines(path)
        assert str(error.value) == f"{path}, line 3: byte 2 (0xe9) is not UTF-8; convert the text to UTF-8."


class TestFormats:
    def test_parallel_files(self, tmp_path):
        data = load_pairs(
            train_file=parallel(tmp_path, "train", PAIRS),
            validation_file=parallel(tmp_path, "dev", PAIRS[:2]),
            test_file=parallel(tmp_path, "test", PAIRS[1:2]),
        )
        assert {split: pairs_of(data[split]) for split in data} == {
            "train": PAIRS,
            "validation": PAIRS[:2],
            "test": PAIRS[1:2],
        }
        assert data["train"].column_names == ["source", "target"]

    def table(self, tmp_path, name, text, **columns):
        path = write(tmp_path / name, text)
        dev = parallel(tmp_path, "dev", PAIRS)
        return pairs_of(load_pairs(train_file=path, validation_file=dev, **columns)["train"])

    def test_tsv_has_no_quoting(self, tmp_path):
        text = "id\ten\tfr\n" + "\n".join(f"{i}\t{en}\t{fr}" for i, (en, fr) in enumerate(PAIRS))
        assert self.table(tmp_path, "t.tsv", text, source_lang="en", target_lang="fr") == PAIRS

    def test_csv_has_quoting_and_lines_within(self, tmp_path):
        text = 'source,target\r\n"one, two","un\u2028\r\ndeux"\r\n"say ""hi""",dire\r\n\r\n'
        assert self.table(tmp_path, "t.csv", text) == [("one, two", "un\u2028\ndeux"), ('say "hi"', "dire")]

    @pytest.mark.parametrize("blank", ["", "  ", "\r"])
    def test_blank_lines_of_a_tsv_are_skipped(self, tmp_path, blank):
        text = f"{blank}\nsource\ttarget\n{blank}\na\tb\n{blank}\n\t\n{blank}\n"
        assert self.table(tmp_path, "t.tsv", text) == [("a", "b"), ("", "")]

    def test_a_field_of_a_csv_may_be_long(self, tmp_path):
        long = "a" * 200_000
        assert self.table(tmp_path, "t.csv", f"source,target\n{long},b\n") == [(long, "b")]

    def test_a_surrogate_pair_in_json_is_a_character(self, tmp_path):
        assert self.table(tmp_path, "t.jsonl", '{"source": "\\ud83d\\ude42", "target": "b"}') == [("\U0001f642", "b")]

    @pytest.mark.parametrize("suffix", ["json", "jsonl"])
    def test_json_lines(self, tmp_path, suffix):
        text = json_lines({"fr": fr, "en": en} for en, fr in PAIRS).replace("\n", "\n\n")
        assert self.table(tmp_path, f"t.{suffix}", text, source_column="en", target_column="fr") == PAIRS

    @pytest.mark.parametrize("indent", [None, 2])
    def test_json_list_of_translations(self, tmp_path, indent):
        text = json.dumps([{"translation": {"en": en, "fr": fr}} for en, fr in PAIRS], indent=indent)
        assert self.table(tmp_path, "t.json", text, source_lang="en", target_lang="fr") == PAIRS

    @pytest.mark.parametrize("nested", [False, True])
    def test_parquet(self, tmp_path, nested):
        rows = [{"en": en, "fr": fr} for en, fr in PAIRS]
        dataset = datasets.Dataset.from_list([{"translation": row} for row in rows] if nested else rows)
        dataset.to_parquet(tmp_path / "t.parquet")
        data = load_pairs(train_file=tmp_path / "t.parquet", validation_split=1, source_lang="en", target_lang="fr")
        assert sorted(pairs_of(data["train"]) + pairs_of(data["validation"])) == sorted(PAIRS)

    @pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
    def test_nested_columns(self, tmp_path, name):
        rows = [{"id": {"n": n}, "of": {"pair": {"en": en, "fr": fr}}} for n, (en, fr) in enumerate(PAIRS)]
        if name == "t.parquet":
            datasets.Dataset.from_list(rows).to_parquet(tmp_path / name)
        else:
            (tmp_path / name).write_text(json_lines(rows), encoding="utf-8")
        columns = {"source_column": "of.pair.en", "target_column": "of.pair.fr"}
        data = load_pairs(train_file=tmp_path / name, validation_split=1, **columns)
        assert sorted(pairs_of(data["train"]) + pairs_of(data["validation"])) == sorted(PAIRS)

    def test_dataset_by_name_with_its_splits(self, tmp_path):
        features = datasets.Features({"translation": datasets.Translation(languages=("en", "fr"))})
        for split, pairs in (("train", numbered(5)), ("validation", numbered(2)), ("test", numbered(3))):
            rows = [{"translation": {"en": en, "fr": fr}} for en, fr in pairs]
            folder = tmp_path / "corpus"
            folder.mkdir(exist_ok=True)
            datasets.Dataset.from_list(rows, features=features).to_parquet(folder / f"{split}.parquet")
        data = load_pairs(
            dataset_name=str(tmp_path / "corpus"),
            source_lang="fr",
            target_lang="en",
            test_file=parallel(tmp_path, "own", numbered(1, "own")),
        )
        assert pairs_of(data["train"]) == [(fr, en) for en, fr in numbered(5)]
        assert pairs_of(data["validation"]) == [(fr, en) for en, fr in numbered(2)]
        assert pairs_of(data["test"]) == numbered(1, "own")


class TestValidationCut:
    @pytest.mark.parametrize(("size", "cut"), [(0.05, 10), (7, 7), (0.001, 1)])
    def test_cut_is_seeded_printed_and_keeps_the_order(self, tmp_path, capsys, size, cut):
        files = parallel(tmp_path, "train", numbered(200))

        def split(seed):
            data = load_pairs(train_file=files, validation_split=size, seed=seed)
            return pairs_of(data["train"]), pairs_of(data["validation"])

        train, validation = split(3)
        assert capsys.readouterr().out == f"Cut {cut} of 200 pairs from train for validation (seed 3).\n"
        assert len(validation) == cut
        assert [pair for pair in numbered(200) if pair in set(validation)] == validation
        assert [pair for pair in numbered(200) if pair not in set(validation)] == train
        assert split(3) == (train, validation)
        assert split(4) != (train, validation)

    def test_copies_of_a_pair_stay_together(self, tmp_path):
        pairs = numbered(20) * 3 + numbered(20, "other")
        data = load_pairs(train_file=parallel(tmp_path, "train", pairs), validation_split=0.5)
        train, validation = pairs_of(data["train"]), pairs_of(data["validation"])
        assert len(validation) == 40
        assert not set(train) & set(validation)
        assert sorted(train + validation) == sorted(pairs)

    @pytest.mark.parametrize(("size", "cut"), [(0, "0"), (4, "4")])
    def test_nothing_left_on_one_side(self, tmp_path, size, cut):
        with pytest.raises(InputError, match=rf"validation_split {size} cuts {cut} of 4 training pairs"):
            load_pairs(train_file=parallel(tmp_path, "train", numbered(4)), validation_split=size)

    def test_only_the_first_process_prints(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        load_pairs(train_file=parallel(tmp_path, "train", numbered(4)), validation_split=1)
        assert capsys.readouterr().out == ""


def test_changed_content_is_read_anew_and_the_same_is_not(tmp_path):
    files = parallel(tmp_path, "train", numbered(3))
    before = load_pairs(train_file=files, validation_split=1)["train"]
    parallel(tmp_path, "train", numbered(3, "other"))
    after = load_pairs(train_file=files, validation_split=1)["train"]
    again = load_pairs(train_file=files, validation_split=1)["train"]
    assert {source.split()[0] for source in before["source"]} == {"pair"}
    assert {source.split()[0] for source in after["source"]} == {"other"}
    assert again.cache_files == after.cache_files != before.cache_files


class TestErrors:
    def message(self, **arguments):
        with pytest.raises(InputError) as error:
            load_pairs(**arguments)
        message = str(error.value)
        assert "\n" not in message
        return message

    def test_files_of_different_length(self, tmp_path):
        source = write(tmp_path / "a.en", "1\n2\n3\n")
        target = write(tmp_path / "a.fr", "1\n2\n3\n4\n5")
        expected = (
            f"Parallel files must have the same number of lines: {source} has 3, {target} has 5; correct them, so that "
            "line N of each file belongs to row N."
        )
        assert self.message(train_file=[source, target]) == expected

    def test_missing_file_names_the_nearest(self, tmp_path):
        parallel(tmp_path, "train", PAIRS)
        missing = tmp_path / "trian.en"
        expected = f"{missing} does not exist: correct the path; the nearest name in its folder is train.en."
        assert self.message(train_file=[missing, tmp_path / "train.fr"]) == expected
        unlike = self.message(train_file=[tmp_path / "zzz", tmp_path / "train.fr"])
        assert unlike.endswith("zzz does not exist: correct the path; no name in its folder is similar.")

    def test_missing_folder(self, tmp_path):
        missing = tmp_path / "nowhere" / "train.tsv"
        assert self.message(train_file=missing) == (
            f"{missing} does not exist, and its folder {missing.parent} is missing too: correct the path."
        )

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
    def test_a_pipe_in_place_of_a_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert self.message(train_file=tmp_path / "pipe").startswith(f"{tmp_path / 'pipe'} is a pipe or a device")

    def test_a_file_without_permission(self, tmp_path, monkeypatch):
        path = write(tmp_path / "a.tsv", "source\ttarget\na\tb\n")
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read every file
        assert self.message(train_file=path) == (f"{path} cannot be read (Permission denied): make the file readable.")

    def test_a_text_in_place_of_a_file(self, tmp_path):
        assert "does not exist" in self.message(train_file=tmp_path / ("the cat sees the dog " * 20))

    def test_folder_in_place_of_a_file(self, tmp_path):
        assert self.message(train_file=tmp_path).startswith(f"{tmp_path} is a folder, where a file is expected: give")

    @pytest.mark.parametrize("side", [0, 1])
    def test_empty_file(self, tmp_path, side):
        files = parallel(tmp_path, "train", PAIRS)
        write(tmp_path / f"train.{('en', 'fr')[side]}", "")
        assert self.message(train_file=files) == f"{files[side]} is empty: give a file that is not empty."

    @pytest.mark.parametrize(("name", "text"), [("t.tsv", "source\ttarget\n"), ("t.jsonl", "\n"), ("t.csv", "\ufeff")])
    def test_table_without_pairs(self, tmp_path, name, text):
        path = write(tmp_path / name, text)
        assert self.message(train_file=path) == f"{path} holds no pair: give a file with at least one pair."

    def test_invalid_utf8_in_a_split(self, tmp_path):
        source, target = parallel(tmp_path, "train", numbered(3))
        write(tmp_path / "train.fr", b"1\n\xff\n3\n")
        assert self.message(train_file=[source, target]).startswith(f"{target}, line 2: byte 1 (0xff) is not UTF-8")

    def test_missing_column_lists_those_there_are(self, tmp_path):
        path = write(tmp_path / "t.tsv", "english\tfr\na\tb\n")
        expected = (
            f"{path} has no column 'translation.en' or 'en' or 'source'; it has 'english', 'fr': "
            "say with source_column which column holds the source (TSV and CSV files name their columns in the first "
            "line)."
        )
        assert self.message(train_file=path, source_lang="en", target_lang="fr") == expected

    def test_both_columns_are_named_if_both_are_missing(self, tmp_path):
        path = write(tmp_path / "t.tsv", "en\tfr\na\tb\n")
        assert self.message(train_file=path) == (
            f"{path} has no column 'source' and no column 'target'; it has 'en', 'fr': say with source_column and "
            "target_column which columns hold them (TSV and CSV files name their columns in the first line)."
        )

    def test_missing_column_in_parquet(self, tmp_path):
        path = tmp_path / "t.parquet"
        datasets.Dataset.from_dict({"source": ["a"], "fr": ["b"]}).to_parquet(path)
        assert self.message(train_file=path).startswith(f"{path} has no column 'target'; it has 'source', 'fr': ")

    def test_unknown_extension(self, tmp_path):
        path = write(tmp_path / "train.txt", "a\n")
        expected = (
            f"{path} must hold source and target, but is not a table (.tsv, .csv, .json, .jsonl, .parquet): "
            "give a table, or parallel text as 2 files, [source, target]."
        )
        assert self.message(train_file=path) == expected

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("t.tsv", "source\ttarget\na\tb\na\tb\tc\n", "line 3, has 3 columns, but the first line names 2 "),
            (
                "t.tsv",
                'source\ttarget\na\tb\n"a\tc"\td\n',
                "line 3, has 3 columns, but the first line names 2 ('source', 'target'): give each row one cell for "
                "each name. Quotes are ordinary ",
            ),
            ("t.tsv", "source\ttarget\na\tb\na\n", "line 3, has 1 columns, but the first line names 2 "),
            ("t.csv", 'source,target\na,b\n"a"x,b\n', "line 3, is not CSV ("),
            ("t.csv", 'source,target\na,"b\n', "line 2, is not CSV ("),
            ("t.jsonl", '{"source": "a", "target": "b"}\n{"source": \n', "line 2, is not JSON ("),
            ("t.jsonl", '{"source": "a", "target": "b"}\n"a"\n', "line 2, is of type str, but must be an object "),
            ("t.jsonl", '{"source": "a", "target": "b"}\n{"source": "a"}\n', "line 2: 'target' is None, where text"),
            ("t.json", '[{"source": "a", "target": "b"},\n{"source": 7, "target": "b"}]', "item 2: 'source' is 7, "),
            ("t.jsonl", '{"source": "a", "target": "b\\ud83d"}', "line 1: 'target' holds '\\ud83d', which is one"),
        ],
    )
    def test_malformed_row_is_named(self, tmp_path, name, text, expected):
        path = write(tmp_path / name, text)
        assert self.message(train_file=path).startswith(f"{path}, {expected}")

    def test_null_and_number_in_parquet(self, tmp_path):
        path = tmp_path / "t.parquet"
        datasets.Dataset.from_dict({"source": ["a", "b"], "target": ["A", None]}).to_parquet(path)
        assert self.message(train_file=path) == (
            f"{path}, row 2: 'target' is null, where text is expected: give a value, or remove the row."
        )
        datasets.Dataset.from_dict({"source": ["a", "b"], "target": [1, 2]}).to_parquet(path)
        assert self.message(train_file=path).startswith(f"{path}: column 'target' holds Value('int64')")

    def test_broken_parquet(self, tmp_path):
        path = write(tmp_path / "t.parquet", "not parquet at all")
        assert self.message(train_file=path).startswith(f"{path} cannot be read as Parquet: ")

    def test_dataset_that_is_not_there(self, tmp_path, monkeypatch):
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        message = self.message(dataset_name=str(tmp_path / "corpus"))
        assert message.startswith(f"The dataset '{tmp_path / 'corpus'}' cannot be loaded: ")

    def test_dataset_that_is_a_script(self, tmp_path):
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "old.py").write_text("import datasets\n")
        message = self.message(dataset_name=str(tmp_path / "old"))
        assert "cannot be loaded: Dataset scripts are no longer supported" in message

    def test_dataset_without_training_split(self, tmp_path):
        (tmp_path / "corpus").mkdir()
        datasets.Dataset.from_dict({"source": ["a"]}).to_parquet(tmp_path / "corpus" / "test.parquet")
        name = str(tmp_path / "corpus")
        assert self.message(dataset_name=name) == (
            f"The dataset {name!r} has no split 'train'; it has 'test': give a dataset with a split 'train', or give "
            "the training data as train_file."
        )
