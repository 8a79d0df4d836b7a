# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The rows that are printed before training, and the warnings that files may be the wrong ones."""

import json
import random

import pytest
from datasets import Dataset, DatasetDict

from locant.training.data import row_checks
from locant.training.data.row_checks import (
    copy_warnings,
    count_overlap,
    describe_rows,
    label_warnings,
    pair_warnings,
    quote_warnings,
    tokenizer_warning,
)

ENGLISH = "the cat sees a dog while old king hears how young bear follows this red fox near her house"
FRENCH = "le chat voit un chien quand vieux roi entend comment jeune ours suit ce renard rouge près de sa maison"
GERMAN = "der hund sieht eine katze wenn alter könig hört wie junger bär dem roten fuchs folgt"


def pairs(seed, number=200):
    """Sentences of 3 to 20 words and as many words of the other language, less or more two."""
    rng = random.Random(seed)
    sizes = [rng.randint(3, 20) for _ in range(number)]
    sources = [" ".join(rng.choices(ENGLISH.split(), k=size)) for size in sizes]
    targets = [" ".join(rng.choices(FRENCH.split(), k=size + rng.randint(-2, 2))) for size in sizes]
    return {"source": sources, "target": targets}


def found(train, validation=None):
    validation = pairs(1) if validation is None else validation
    return pair_warnings(DatasetDict(train=Dataset.from_dict(train), validation=Dataset.from_dict(validation)))


def swapped(rows):
    return {"source": rows["target"], "target": rows["source"]}


def shifted(rows):
    return {"source": rows["source"], "target": rows["target"][1:] + rows["target"][:1]}


class TestPairs:
    def test_that_belong_together_give_no_warning(self):
        assert found(pairs(0)) == []
        assert found(pairs(0), pairs(1, number=10)) == []

    def test_of_one_file_given_twice(self):
        rows = pairs(0)
        [warning, *_] = found({"source": rows["source"], "target": rows["source"]})
        assert warning == "Warning: in 100% of the train pairs the target equals the source: is one file given twice?"

    def test_some_that_are_copies_give_no_warning(self):
        rows = pairs(0)
        assert found({"source": rows["source"], "target": rows["source"][:60] + rows["target"][60:]}) == []

    @pytest.mark.parametrize("split", ["train", "validation"])
    def test_of_shifted_files(self, split):
        rows = {"train": pairs(0), "validation": pairs(1)}
        rows[split] = shifted(rows[split])
        [warning] = found(rows["train"], rows["validation"])
        other = {"train": "validation", "validation": "train"}[split]
        assert warning.startswith("Warning: the correlation between the lengths of sources and targets is ")
        assert f" in {split} (0.9" in warning
        assert warning.endswith(f" in {other}): do the lines of its files belong together, or is one file shifted?")

    def test_shifted_from_some_line_on(self):
        rows, late = pairs(0, 1000), shifted(pairs(0, 1000))
        mixed = {"source": rows["source"], "target": rows["target"][:300] + late["target"][300:]}
        [warning] = found(mixed)
        assert "the correlation between the lengths of sources and targets is" in warning
        [warning, _] = found(mixed, mixed)
        assert warning.startswith(
            "Warning: after about 30% of the train pairs, the lengths of sources and targets do not correlate any more"
        )

    def test_shifted_in_all_splits(self):
        warnings = found(shifted(pairs(0)), shifted(pairs(1)))
        assert [" in train (" in warnings[0], " in validation (" in warnings[1]] == [True, True]

    @pytest.mark.parametrize("split", ["train", "validation"])
    def test_of_swapped_files(self, split):
        rows = {"train": pairs(0), "validation": pairs(1)}
        rows[split] = swapped(rows[split])
        [warning] = found(rows["train"], rows["validation"])
        assert warning == (
            "Warning: the sources of train look like the targets of validation, and the targets of train like the "
            "sources of that split: are the files of one of the two splits swapped?"
        )

    def test_of_another_language_on_one_side(self):
        rng, validation = random.Random(3), pairs(1)
        lines = [" ".join(rng.choices(GERMAN.split(), k=len(line.split()))) for line in validation["target"]]
        [warning] = found(pairs(0), {**validation, "target": lines})
        assert warning.startswith("Warning: the targets of train and of validation look like different languages")

    def test_of_strings_at_random_give_no_warning(self):
        def strings(seed):
            rng = random.Random(seed)
            texts = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(5, 30))) for _ in range(200)]
            return {"source": texts, "target": [text[::-1] for text in texts]}

        assert found(strings(0), strings(1)) == []


def test_rows_of_train_in_another_split_are_told():
    train = Dataset.from_dict({"text": ["a", "b", "c"], "line": [1, 2, 3]})
    other = Dataset.from_dict({"text": ["a", "b", "d"], "line": [1, 2, 3]})
    assert copy_warnings(DatasetDict(train=train, validation=other), ["text"]) == [
        "Warning: 67% of the rows of validation are rows of train too, so the metrics on validation do not show how "
        "good the model is on new rows."
    ]
    assert copy_warnings(DatasetDict(train=train, test=other.select([0, 2])), ["text"]) == []


def test_quoted_cells_of_a_csv_file_are_told():
    def found(*texts):
        return quote_warnings(Dataset.from_dict({"text": texts, "label": [0] * len(texts)}), ["text", "label"])

    [warning] = found("plain", '"a\tb"', '"an ""old"" king"')
    assert warning.startswith(
        'Warning: 2 texts of train look like quoted cells of a CSV file, such as "an ""old"" king". Quotes are '
    )
    assert found("plain", '"quoted"') == []
    assert found('"an ""old"" king"', 'He said "yes".') == []
    assert found('"No.""Yes."', '"half') == []


def test_labels_that_are_as_many_as_rows_are_told():
    [warning] = label_warnings([f"text {number}" for number in range(60)], "image")
    assert "the 60 training images have 60 different labels: does label_column name" in warning
    assert label_warnings(["a", "b"] * 30, "image") == []
    assert label_warnings(["a", "b", "c"], "image") == []


def test_rows_are_shown_first_middle_and_last_and_long_texts_are_cut():
    rows = Dataset.from_dict({"text": ["one", "two\nlines", "x" * 500], "label": [["a", "b"], [], ["c"]]})
    assert describe_rows(rows, ["text", "label"]) == [
        "train, row 1:",
        "  text:  one",
        "  label: a, b",
        "train, row 2:",
        "  text:  two lines",
        "  label: ",
        "train, row 3:",
        f"  text:  {'x' * 119}…",
        "  label: c",
    ]


class TestTokenizers:
    def write(self, folder, **counts):
        (folder / "metrics.json").write_text(json.dumps({"data": {"train": counts}}))
        return folder

    def test_that_cut_the_new_text_into_many_tokens_are_told(self, tmp_path):
        folder = self.write(tmp_path, pairs=10, source_tokens=100, target_tokens=50)
        [warning] = tokenizer_warning(folder, {"train": {"pairs": 2, "source_tokens": 48, "target_tokens": 50}})
        assert "makes 49.0 tokens from a row of the training data, but 15.0 from a row of the data that it" in warning
        assert tokenizer_warning(folder, {"train": {"pairs": 2, "source_tokens": 30, "target_tokens": 20}}) == []

    def test_are_compared_by_bytes_where_these_are_known(self, tmp_path):
        folder = self.write(tmp_path, documents=1, tokens=1000, bytes=4000)
        [warning] = tokenizer_warning(folder, {"train": {"documents": 50, "tokens": 900, "bytes": 1000}})
        assert "makes 90.0 tokens from 100 bytes of the training data, but 25.0 from 100 bytes" in warning

    def test_of_no_run_are_not_compared(self, tmp_path):
        assert tokenizer_warning(tmp_path, {"train": {"pairs": 2, "source_tokens": 48}}) == []


@pytest.mark.parametrize("options", [{}, {"dry_run": "true"}], ids=["run", "dry-run"])
def test_a_run_shows_three_pairs_and_its_size_before_training(toy, tmp_path, capsys, options):
    assert toy.train(tmp_path / "run", max_steps=1, **options) == 0
    out = capsys.readouterr().out
    source, target = toy.pairs["train"][0]
    assert f"train, row 1:\n  source: {source}\n  target: {target}\n" in out
    assert [f"train, row {number}:" in out for number in (1, 161, 320)] == [True] * 3
    assert "for each training token" in out
    assert "may overfit" not in out


def test_a_run_on_swapped_files_is_warned(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(row_checks, "FEWEST_CHARACTERS", 500)
    swapped_files = list(reversed(toy.files["train"]))
    assert toy.train(tmp_path / "run", max_steps=1, dry_run="true", train_file=swapped_files) == 0
    source, _ = toy.pairs["train"][0]
    out = capsys.readouterr().out
    assert f"  target: {source}\n" in out
    assert "are the files of one of the two splits swapped?" in out


def test_a_large_model_for_few_tokens_is_warned_of(toy, tmp_path, capsys):
    options = {"d_model": 256, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048}
    assert toy.train(tmp_path / "run", dry_run="true", **options) == 0
    assert "a model of more than 50 parameters for each training token may overfit" in capsys.readouterr().out


def test_overlap_counts_sources_and_whole_pairs():
    train = Dataset.from_dict({"source": ["a", "b", "c"], "target": ["A", "B", "C"]})
    test = Dataset.from_dict({"source": ["a", "a", "b", "d"], "target": ["A", "other", "B", "D"]})
    compared = {"sources": ["source"], "pairs": ["source", "target"]}
    assert count_overlap(train, test, compared) == {"sources": 3, "pairs": 2}
    assert count_overlap(test, train, compared) == {"sources": 2, "pairs": 2}
