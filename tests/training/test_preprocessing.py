# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Tokenised pairs, what training drops of them, and lengths that a model cannot take."""

import os
import subprocess
import sys

import datasets
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from locant.training.data.preprocessing import (
    SOURCE,
    TARGET,
    build_tokenizer,
    check_lengths,
    drop_unusable,
    pair_lengths,
    tokenize_pairs,
)
from locant.training.errors import InputError
from locant.training.options.run_config import make_run_config
from locant.training.run.training_run import load_rows
from locant.training.tasks.recipe import recipe_of
from locant.training.tasks.registry import TASKS

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
WORDS = ["a", "b", "c", "A", "B", "C", ">>fr<<"]


@pytest.fixture
def tokenizer():
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def dataset(*pairs):
    return datasets.Dataset.from_dict({"source": [s for s, _ in pairs], "target": [t for _, t in pairs]})


def test_both_sides_end_in_eos_and_only_the_source_gets_the_prefix(tokenizer):
    tokenized = tokenize_pairs(dataset(("a b", "A"), ("", "C x")), tokenizer, source_prefix=">>fr<< ")
    assert tokenized.column_names == ["source", "target", "input_ids", "labels"]
    assert tokenized["input_ids"][:] == [[10, 4, 5, 2], [10, 2]]
    assert tokenized["labels"][:] == [[7, 2], [9, 3, 2]]


def test_text_is_kept(tokenizer):
    tokenized = tokenize_pairs(dataset(("a b", "A")), tokenizer)
    assert tokenized[0] == {"source": "a b", "target": "A", "input_ids": [4, 5, 2], "labels": [7, 2]}


def test_nothing_is_truncated_or_padded_whatever_the_tokenizer_did_before(tokenizer, capfd):
    tokenizer.model_max_length = 4
    tokenizer(["a a a a a", "a"], padding=True, truncation=True)
    tokenized = tokenize_pairs(dataset(("a " * 600, "B"), ("a", "B " * 700)), tokenizer)
    np.testing.assert_array_equal(pair_lengths(tokenized), [[601, 2], [2, 701]])


def test_several_processes_give_the_same(tokenizer):
    pairs = dataset(*[("a b c"[: 1 + i % 5], "A B C"[: 1 + i % 4]) for i in range(20)])
    assert tokenize_pairs(pairs, tokenizer, num_proc=2)[:] == tokenize_pairs(pairs, tokenizer)[:]


class TestWorkers:
    """`preprocessing_num_workers`, of each task."""

    @pytest.fixture
    def encoded(self, toy, pictures, tmp_path, monkeypatch):
        """A function that returns the encoded splits of a task, and the number of processes of each `Dataset.map`."""
        texts = toy.files["train"][0]
        labels = tmp_path / "labels.txt"
        labels.write_text("".join(f"{source.split()[-1]}\n" for source, _ in toy.pairs["train"]))
        of_documents = {"train_file": texts, "document_separator": "line"}
        of_images = {"train_file": str(pictures.folder / "train.csv"), "image_size": 8, "patch_size": 4}
        options = {
            "translation": {"train_file": toy.files["train"]},
            "language_modeling": {**of_documents, "block_size": 8},
            "masked_language_modeling": {**of_documents, "max_length": 8},
            "sequence_classification": {"train_file": [texts, str(labels)]},
            "image_classification": of_images,
            "captioning": {**of_images, "tokenizer_kind": "word"},
        }
        original, counts = datasets.Dataset.map, []

        def map_rows(self, *args, **kwargs):
            counts.append(kwargs.get("num_proc"))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(datasets.Dataset, "map", map_rows)

        def encode(task, **workers):
            counts.clear()
            # the rows that one process has stored would be found again
            monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / f"cache-{len(workers)}"))
            sizes = {} if task == "image_classification" else {"tokenizer_vocab_size": 300}
            run = make_run_config({"task": task, **options[task], **sizes, **workers, "use_cpu": True})
            recipe = recipe_of(TASKS[task])(run.data, seed=0)
            rows = load_rows(run, recipe)
            encoded = recipe.encode(rows, recipe.build_processor(run, rows["train"], None)).encoded
            return {split: rows[:] for split, rows in encoded.items()}, set(counts)

        return encode

    @pytest.mark.parametrize("task", TASKS)
    def test_encode_as_one_process_does(self, encoded, task):
        expected, alone = encoded(task)
        found, workers = encoded(task, preprocessing_num_workers=2)
        assert (alone, workers) == ({None}, {2})
        assert found == expected
        assert len(expected["train"]["labels" if "labels" in expected["train"] else "input_ids"]) > 70


class TestCache:
    script = """
import sys
from transformers import AutoTokenizer
from locant.training.data.preprocessing import tokenize_pairs
from locant.training.data.tables import Column, Layout, load_splits
from locant.training.options.arguments import DataArguments

table, tokenizer, prefix = sys.argv[1:]
layout = Layout((Column("source"), Column("target")))
train = load_splits(layout, DataArguments(train_file=table, validation_file=table), seed=0)["train"]
tokenizer = AutoTokenizer.from_pretrained(tokenizer)
tokenizer("a", padding=True)  # a tokenizer that was in use is still the same one
cache_file = tokenize_pairs(train, tokenizer, source_prefix=prefix).cache_files[0]["filename"]
"""

    @pytest.fixture
    def cache_file(self, tokenizer, tmp_path, monkeypatch):
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        (tmp_path / "t.tsv").write_text("source\ttarget\na\tA\nb\tB\n")

        def run(prefix=""):
            arguments = [str(tmp_path / "t.tsv"), str(tmp_path / "tokenizer"), prefix]
            monkeypatch.setattr(sys, "argv", ["-c", *arguments])
            names = {}
            exec(self.script, names)
            return names["cache_file"]

        return run

    def test_pairs_tokenizer_and_prefix_decide(self, cache_file, tmp_path):
        first = cache_file()
        assert cache_file() == first
        assert cache_file(">>fr<< ") != first
        with (tmp_path / "t.tsv").open("a") as table:
            table.write("c\tC\n")
        assert cache_file() != first

    @pytest.mark.slow
    def test_another_process_finds_it(self, cache_file, tmp_path):
        first = cache_file()
        files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")}
        result = subprocess.run(
            [sys.executable, "-c", self.script + "print(cache_file)", *sys.argv[1:]],
            env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")},
            check=True,
            capture_output=True,
            text=True,
        )
        assert result.stdout == f"{first}\n"
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")} == files


def drop_unusable_pairs(tokenized, source, target):
    return drop_unusable(tokenized, {SOURCE: source, TARGET: target}, row="pair")


class TestDropping:
    pairs = (("a", "A"), ("a b c", "A"), ("", "A"), ("a", " \u00a0\t"), ("a b", "A B"), (" ", "A B C"))

    @pytest.mark.parametrize(
        ("limits", "kept", "dropped"),
        [
            ((None, None), [0, 1, 4], (3, 0)),
            ((3, None), [0, 4], (3, 1)),
            ((None, 2), [0, 1], (3, 1)),
            ((2, 2), [0], (3, 2)),
        ],
    )
    def test_empty_and_long_pairs_are_dropped_and_counted_once(self, tokenizer, limits, kept, dropped):
        tokenized = tokenize_pairs(dataset(*self.pairs), tokenizer)
        left, counts = drop_unusable_pairs(tokenized, *limits)
        assert list(zip(left["source"], left["target"], strict=True)) == [self.pairs[i] for i in kept]
        assert (counts["empty"], counts["long"]) == dropped
        np.testing.assert_array_equal(pair_lengths(left), pair_lengths(tokenized)[kept])

    def test_an_empty_source_counts_as_empty_under_a_prefix(self, tokenizer):
        tokenized = tokenize_pairs(dataset(*self.pairs), tokenizer, source_prefix=">>fr<< ")
        assert drop_unusable_pairs(tokenized, None, None)[1] == {"empty": 3, "long": 0}

    def test_nothing_left_is_an_error(self, tokenizer):
        tokenized = tokenize_pairs(dataset(("a", ""), ("a b", "A")), tokenizer)
        with pytest.raises(InputError) as error:
            drop_unusable_pairs(tokenized, 2, 8)
        assert str(error.value) == (
            "No training pair is left, as 1 have an empty text, and 1 have a text longer than max_source_length 2 or "
            "max_target_length 8: check the data, or raise the limit."
        )


SIDES = {"source": SOURCE, "target": TARGET}


class TestLengthCheck:
    @pytest.fixture
    def tokenized(self, tokenizer):
        return tokenize_pairs(dataset(("a", "A B C"), ("a b c", "A"), ("a b c a", "A")), tokenizer)

    @pytest.mark.parametrize(("limit", "side"), [(5, "source"), (4, "target")])
    def test_lengths_up_to_the_limit_pass(self, tokenized, limit, side):
        check_lengths(tokenized, limit, "test", SIDES[side])

    @pytest.mark.parametrize(
        ("limit", "side", "where"),
        [
            (4, "source", "test source, row 3, has 5 tokens, but the learned positions end at 4: "),
            (
                3,
                "source",
                "test source, row 2, has 4 tokens, but the learned positions end at 3 (2 texts are too long): ",
            ),
            (3, "target", "test target, row 1, has 4 tokens, but the learned positions end at 3: "),
        ],
    )
    def test_first_row_that_is_too_long_is_named(self, tokenized, limit, side, where):
        with pytest.raises(InputError) as error:
            check_lengths(tokenized, limit, "test", SIDES[side])
        assert str(error.value) == (
            f"{where}raise max_position_embeddings, choose a position encoding without a table "
            "(sinusoidal, rotary), or shorten the text."
        )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ImportError("MarianTokenizer requires SentencePiece.\n"),
            "from some/model: MarianTokenizer requires SentenceP",
        ),
        (RuntimeError("could not parse ModelProto"), "from some/model: give the folder or Hub name of a tokenizer."),
    ],
)
def test_a_tokenizer_that_does_not_load_is_one_sentence(monkeypatch, error, message):
    def fail(name):
        raise error

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(InputError, match=message):
        build_tokenizer(None, [], "some/model", show_progress=False)
