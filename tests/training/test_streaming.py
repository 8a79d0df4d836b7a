# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Streamed training data: the rows of each block, the order of the blocks, and runs that go on within a block."""

import gzip
import itertools
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial

import numpy as np
import pyarrow
import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, Features, Value
from pyarrow import parquet
from safetensors.torch import load_file
from transformers import DataCollatorForTokenClassification

from locant.cli import main
from locant.tokenization import train_tokenizer
from locant.training.data import streaming
from locant.training.data.batching import TrainingRows
from locant.training.data.streaming import (
    BlockBatches,
    BlockOrder,
    Blocks,
    EncodedBlock,
    Place,
    StreamLoader,
    divide_block,
    open_blocks,
)
from locant.training.data.tables import LABEL, Column, Layout, load_files, numbered
from locant.training.errors import InputError
from locant.training.options.run_config import make_run_config
from locant.training.run.trainer import RecipeTrainer
from locant.training.tasks.documents import encode_block
from locant.training.tasks.language_modeling import OverlappingPieces, training_blocks
from locant.training.tasks.masked_language_modeling import Masking, SeparatePieces, masked_rows
from locant.training.tasks.sequence_classification import SequenceClassification
from locant.training.tasks.sequence_classification_arguments import SequenceClassificationData
from locant.training.tasks.translation import Translation
from locant.training.tasks.translation_arguments import TranslationData

LAYOUT = Layout((Column("source"), Column("target")), row="pair")
PAIRS = [(f"source {number}", f"target {number}") for number in range(8)]


@pytest.fixture
def rows_of_block(monkeypatch):
    """A function that sets the number of rows of a block; files are scanned in chunks of a few bytes."""
    monkeypatch.setattr(streaming, "_CHUNK", 7)
    return partial(monkeypatch.setattr, streaming, "BLOCK_ROWS")


def write_text(path, lines, end="\n"):
    path.write_bytes(end.join(lines).encode() if end else b"")
    return str(path)


def write_parallel(folder, end, last):
    sides = zip(*PAIRS, strict=True)
    names = ("a.en", "a.fr")
    return [
        write_text(folder / name, [*side[:4], "", *side[5:], last], end)
        for name, side in zip(names, sides, strict=True)
    ]


def write_table(folder, name, to_line, end, last, header=("source", "target")):
    lines = [to_line(pair) for pair in PAIRS]
    lines[4:4] = ["", "  "]
    return write_text(folder / name, [*([to_line(header)] if header else []), *lines, last], end)


def to_json(pair):
    return json.dumps({"translation": {"source": pair[0]}, "source": pair[0], "target": pair[1]})


def write_parquet(folder, name, nested):
    sources, targets = map(list, zip(*PAIRS, strict=True))
    columns = {"number": list(range(8)), "source": sources, "target": targets}
    if nested:
        columns = {"translation": [{"xx": "", "en": source, "fr": target} for source, target in PAIRS]}
    parquet.write_table(pyarrow.table(columns), folder / name, row_group_size=2)
    return str(folder / name)


class TestReading:
    """Each block has the rows that the whole file has at its place."""

    @pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
    @pytest.mark.parametrize("last", ["", "x\ty,z"], ids=["line end", "no line end"])
    @pytest.mark.parametrize("form", ["parallel", "tsv", "csv", "jsonl"])
    def test_text_files(self, toy, tmp_path, rows_of_block, form, end, last):
        files = {
            "parallel": lambda: write_parallel(tmp_path, end, last),
            "tsv": lambda: write_table(tmp_path, "a.tsv", "\t".join, end, last and "x\ty"),
            "csv": lambda: write_table(tmp_path, "a.csv", lambda pair: f'"{pair[0]}",{pair[1]}', end, last and "x,y"),
            "jsonl": lambda: write_table(tmp_path, "a.jsonl", to_json, end, last and to_json("xy"), header=()),
        }[form]()
        self.check(files, rows_of_block, LAYOUT, 9 if last and form != "parallel" else None)

    @pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
    def test_parquet(self, toy, tmp_path, rows_of_block, nested):
        languages = {"source_lang": "en", "target_lang": "fr"} if nested else {}
        layout = Translation(TranslationData(train_file="unused", **languages), 0).layout
        self.check(write_parquet(tmp_path, "a.parquet", nested), rows_of_block, layout, 8)

    def test_labels_of_parquet(self, toy, tmp_path, rows_of_block):
        numbers = pyarrow.array([number % 3 for number in range(8)])
        classes = Features({"text": Value("string"), "label": ClassLabel(names=["cat", "dog", "cow"])})
        rows = Dataset(pyarrow.table({"text": [source for source, _ in PAIRS], "label": numbers}))
        rows.cast(classes).to_parquet(str(tmp_path / "a.parquet"))
        self.check(str(tmp_path / "a.parquet"), rows_of_block, Layout((Column("text"), Column("label", LABEL))), 8)

    @pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
    @pytest.mark.parametrize("separator", ["line", "blank_line", "<|end|>"])
    def test_documents(self, toy, tmp_path, rows_of_block, separator, end):
        lines = ["<|end|>", " ", "a", "b<|end|>c", "", "blank_line", "d <|end|>", "", " \t", *"efghijklm", "n<|end|>"]
        lines += ["", "o", "p", "q<|end|><|end|>r<|end|>s", "", "t", "u", "<|end|>", ""]
        files = write_text(tmp_path / "a.txt", lines, end)
        self.check(files, rows_of_block, Layout((Column("text"),), "document", separator))

    def test_documents_of_a_line_are_counted(self, toy, tmp_path, rows_of_block):
        rows_of_block(4)
        layout = Layout((Column("text"),), "document", "blank_line")
        files = [write_text(tmp_path / f"{name}.txt", [name, ""] * 10) for name in "ab"]
        assert [file.rows for file in open_blocks(files, layout)] == [10, 10]

    @staticmethod
    def check(files, rows_of_block, layout, count=None):
        whole = load_files(files, "train", layout)
        for rows in (3, 4, 100):
            rows_of_block(rows)
            [file] = open_blocks(files, layout)
            blocks = {number: file.read(number) for number in reversed(range(len(file)))}
            found = [row for number in range(len(file)) for row in blocks[number]]
            assert found == list(whole)
            assert max(map(len, blocks.values())) <= rows
            assert file.rows >= len(whole) or layout.document_separator is not None
        assert count is None or len(whole) == count

    @pytest.mark.parametrize(
        ("name", "text", "error"),
        [
            ("a.tsv", "source\ttarget\na\tb\n\nc\n", "a.tsv, line 4, has 1 columns, but the first line names 2"),
            ("a.csv", 'source,target\na,b\n"c\nd",e\n', "a.csv, line 3, is not CSV"),
            ("b.csv", 'source,target\na,b\n"c\nd",e\n', "b.csv, line 4: a cell holds a line break, which a streamed"),
            (
                "a.jsonl",
                '{"source": "a", "target": "b"}\n\n\n{"source": 1, "target": "b"}\n',
                "a.jsonl, line 4: 'sourc",
            ),
            ("a.json", '[{"source": "a", "target": "b"}]\n', "a.json, line 1, begins a list, which cannot be streamed"),
            ("b.tsv", b"source\ttarget\na\tb\nc\td\ne\t\xff\n", "b.tsv, line 4: byte 3 (0xff) is not UTF-8"),
            ("c.tsv", "source\tother\na\tb\n", "c.tsv has no column 'target'"),
            ("d.tsv", "source\ttarget\n", "d.tsv holds no pair in its first"),
        ],
    )
    def test_errors_name_the_line_in_the_file(self, tmp_path, rows_of_block, name, text, error):
        rows_of_block(3 if name != "b.csv" else 4)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InputError) as caught:
            [file] = open_blocks(str(tmp_path / name), LAYOUT)
            list(map(file.read, range(len(file))))
        assert str(caught.value).startswith(f"{tmp_path}/{error}")

    def test_files_that_cannot_be_streamed(self, tmp_path):
        table = write_text(tmp_path / "a.tsv", ["source\ttarget", "a\tb"])
        texts = [write_text(tmp_path / "b.en", ["a", "b"]), write_text(tmp_path / "b.fr", ["a"])]
        (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(b"source\ttarget\na\tb\n"))
        for files, error in (
            (str(tmp_path / "c.tsv.gz"), "c.tsv.gz is compressed, but streaming begins to read in the middle"),
            ([table, texts[0]], "but streaming takes either tables only or 2 parallel text files: change train_file."),
            (texts, "Parallel files must have the same number of lines: "),
        ):
            with pytest.raises(InputError, match=error):
                open_blocks(files, LAYOUT)

    @pytest.mark.parametrize(
        ("separator", "error"),
        [
            ("file", "document_separator is file, so .*a.txt is a single document, but streaming reads the documents"),
            ("blank_line", "document_separator is 'blank_line', but separates no documents in the first 3 lines of"),
            ("<|e|>", r"document_separator is '<\|e\|>', but separates no documents in the first 3 lines of"),
            ("b\nc", r"document_separator is 'b\\nc', but streaming looks for it in single lines: set it to"),
        ],
    )
    def test_documents_that_cannot_be_streamed(self, tmp_path, rows_of_block, separator, error):
        rows_of_block(3)
        files = write_text(tmp_path / "a.txt", [*"abc", "", "<|e|>", ""])
        with pytest.raises(InputError, match=error):
            open_blocks(files, Layout((Column("text"),), "document", separator))

    def test_files_with_other_types_of_texts_give_one_sample(self, tmp_path):
        table = write_text(tmp_path / "a.jsonl", ['{"text": "a"}'])
        texts = pyarrow.table({"text": pyarrow.array(["b", "c"], pyarrow.large_string())})
        parquet.write_table(texts, tmp_path / "b.parquet")
        files = open_blocks([table, str(tmp_path / "b.parquet")], Layout((Column("text"),), "text"))
        assert sorted(Blocks(files, None, 0).sample()["text"][:]) == ["a", "b", "c"]

    def test_a_file_of_one_block_may_hold_one_document(self, tmp_path, rows_of_block):
        rows_of_block(3)
        files = [write_text(tmp_path / "a.txt", ["a", "", "b"]), write_text(tmp_path / "b.txt", ["c"])]
        opened = open_blocks(list(map(str, files)), Layout((Column("text"),), "document", "blank_line"))
        assert [file.read(0)["text"][:] for file in opened] == [["a", "b"], ["c"]]
        assert [file.rows for file in opened] == [2, 1]

    @pytest.mark.parametrize("separator", ["blank_line", "line"])
    def test_an_empty_file_of_documents_is_refused(self, tmp_path, separator):
        (tmp_path / "a.txt").write_bytes(b"")
        with pytest.raises(InputError, match=r"a\.txt"):
            open_blocks(str(tmp_path / "a.txt"), Layout((Column("text"),), "document", separator))

    def test_tables_and_texts_of_documents_are_not_mixed(self, tmp_path):
        files = [write_text(tmp_path / name, ["text", "a"]) for name in ("a.tsv", "a.txt")]
        with pytest.raises(InputError, match=r"but streaming takes either tables only or text files only: change"):
            open_blocks(files, Layout((Column("text"),), "document", "line"))


class TestOrder:
    """The order of the blocks of files with 5, 3 and 8 blocks."""

    COUNTS = (5, 3, 8)

    def take(self, number, start=0, weights=(1, 1, 1), seed=1):
        order = BlockOrder(self.COUNTS, weights, seed)
        return [order.block_at(position) for position in range(start, start + number)]

    def test_a_pass_has_each_block_once_in_an_order_of_its_own(self):
        passes = [self.take(16, start) for start in (0, 16, 32)]
        every = [(file, block) for file, count in enumerate(self.COUNTS) for block in range(count)]
        assert [sorted(found) for found in passes] == [every] * 3
        assert len(set(map(tuple, [*passes, every]))) == 4
        assert self.take(16) == passes[0] != self.take(16, seed=2)

    def test_a_weight_says_how_often_the_blocks_of_a_file_come(self):
        weights = (2, 0.5, 0.25)  # a pass has 10 blocks, 1 or 2 blocks, and 2 blocks
        taken = self.take(10 + 1 + 2, weights=weights)
        counts = Counter(taken)
        assert [counts[0, block] for block in range(5)] == [2] * 5
        assert [sum(number for (file, _), number in counts.items() if file == chosen) for chosen in (1, 2)] == [1, 2]
        # four passes: 54 blocks
        counts = Counter(self.take(40 + 6 + 8, weights=weights))
        assert {counts[key] for key in counts if key[0] == 1} == {2}
        assert {counts[key] for key in counts if key[0] == 2} == {1}
        assert len(counts) == 16

    def test_rounded_weights_lose_no_block(self):
        counts = Counter(self.take(48, weights=(0.3, 0.3, 0.3)))  # ten passes, in which 0.1 has no exact value
        assert set(counts.values()) == {3}

    def test_files_are_read_as_often_as_their_weights_say(self, tmp_path, rows_of_block):
        rows_of_block(1)
        files = [write_text(tmp_path / f"{name}.txt", [name] * 4) for name in "abc"]
        blocks = Blocks(open_blocks(files, Layout((Column("text"),), "document", "line")), [2, 1, 0.5], seed=1)
        assert Counter(blocks.read(position)["text"][0] for position in range(14)) == {"a": 8, "b": 4, "c": 2}


@pytest.fixture(scope="module")
def texts():
    """Documents of 0 to 8 parts, of 0 to 24 words."""
    return [" ".join(["the fox sees", "a dog"][number % 2] for _ in range(number % 9)) for number in range(40)]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return train_tokenizer(iter(texts), vocab_size=300, purpose="masked_lm", show_progress=False)


@pytest.fixture
def numbers(tmp_path, rows_of_block):
    """`Blocks` of 20 rows; the 205 rows of the file have the numbers from 0 on as sources."""
    rows_of_block(20)
    lines = ["source\ttarget", *(f"{number}\t{'x' * (number % 7)}" for number in range(205))]
    return Blocks(open_blocks(write_text(tmp_path / "numbers.tsv", lines), LAYOUT), None, seed=3)


def encode_numbers(rows):
    """Drop the rows without a target; the length of a row is that of its target."""
    kept = [(int(source), len(target)) for source, target in zip(rows["source"], rows["target"], strict=True) if target]
    dataset = Dataset.from_dict({"number": [number for number, _ in kept]})
    lengths = np.array([[length] for _, length in kept]).reshape(-1, 1)
    return EncodedBlock(TrainingRows(dataset), lengths, {"empty": len(rows) - len(kept)})


def collate_numbers(rows):
    return {"numbers": torch.tensor([row["number"] for row in rows])}


def loader_of(blocks, **options):
    divide = partial(divide_block, max_tokens=24, batch_size=None, seed=5)
    return StreamLoader(BlockBatches(blocks, encode_numbers, divide, collate_numbers), **options)


def take(loader, number):
    return [batch["numbers"].tolist() for batch in itertools.islice(loader, number)]


def take_pass(loader, blocks):
    """The batches of the process from the blocks of the first pass."""
    batches = []
    for batch in loader:
        if loader.place.position >= blocks:
            return batches
        batches.append(batch["numbers"].tolist())


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


KEPT = [number for number in range(205) if number % 7]


class TestLoader:
    """The sequence of batches of each process."""

    def test_workers_change_nothing(self, numbers):
        alone = take(loader_of(numbers), 120)
        assert take(loader_of(numbers, num_workers=2), 120) == alone

    def test_a_pass_has_each_usable_row_once(self, numbers):
        rows = flat(take_pass(loader_of(numbers), len(numbers)))
        assert sorted(rows) == KEPT != rows

    def test_processes_share_a_pass(self, numbers):
        shares = [flat(take_pass(loader_of(numbers, num_replicas=2, rank=rank), len(numbers))) for rank in range(2)]
        assert sorted(shares[0] + shares[1]) == KEPT
        assert min(map(len, shares)) > 60

    def test_it_goes_on_from_any_place(self, numbers):
        whole = take(loader_of(numbers, num_replicas=2, rank=1), 60)
        for number in (1, 4, 13):
            loader = loader_of(numbers, num_replicas=2, rank=1)
            take(loader, number)
            for _ in range(2):  # a run may be resumed twice
                place = Place(**json.loads(json.dumps(loader.place._asdict())))
                loader = loader_of(numbers, num_replicas=2, rank=1)
                loader.place = place
                assert take(loader, 20) == whole[number : number + 20]
                number += 20

    def test_dropped_rows_are_counted_once(self, numbers):
        loader = loader_of(numbers)
        take(loader, 2)
        for _ in range(20):  # it is resumed in each step
            resumed = loader_of(numbers)
            resumed.place = loader.place
            take(resumed, 1)
            loader = resumed
        rows = sum(len(numbers.read(position)) for position in range(loader.place.position))
        kept = sum(len(encode_numbers(numbers.read(position)).rows) for position in range(loader.place.position))
        assert loader.place.position > 2
        assert loader.place.dropped == {"empty": rows - kept}

    def test_blocks_without_rows_keep_the_counts(self, tmp_path, rows_of_block):
        rows_of_block(5)
        lines = ["source\ttarget", *("" if number // 10 % 2 else f"{number}\t" for number in range(60)), "1\tx"]
        blocks = Blocks(open_blocks(write_text(tmp_path / "blank.tsv", lines), LAYOUT), None, seed=3)
        loader = loader_of(blocks)
        next(batch for batch in loader if loader.place.position >= 2 * len(blocks))
        assert loader.place.dropped == {"empty": 2 * 30 + sum(map(self.empty_of, self.begun(blocks, loader)))}

    @staticmethod
    def begun(blocks, loader):
        """The blocks that were read after two passes, without the block of the next batch."""
        return map(blocks.read, range(2 * len(blocks), loader.place.position))

    @staticmethod
    def empty_of(rows):
        return sum(not target for target in rows["target"])

    def test_an_error_in_a_worker_is_one_sentence(self, tmp_path, rows_of_block):
        rows_of_block(20)
        lines = ["source\ttarget", *(f"{number}\tx" for number in range(50)), "x"]
        blocks = Blocks(open_blocks(write_text(tmp_path / "bad.tsv", lines), LAYOUT), None, seed=3)
        with pytest.raises(InputError, match=r"bad.tsv, line 52, has 1 columns[^\n]*$"):
            take(loader_of(blocks, num_workers=1), 100)

    def test_a_block_without_usable_rows_is_skipped(self, tmp_path, rows_of_block):
        rows_of_block(5)
        lines = ["source\ttarget", *(f"{number}\t{'x' if number < 7 else ''}" for number in range(25))]
        blocks = Blocks(open_blocks(write_text(tmp_path / "empty.tsv", lines), LAYOUT), None, seed=3)
        rows = flat(take_pass(loader_of(blocks), len(blocks)))
        assert sorted(rows) == list(range(7))


class TestTasks:
    """The training rows that the tasks make of a block."""

    @pytest.fixture
    def documents(self, tmp_path, rows_of_block, texts):
        rows_of_block(100)
        layout = Layout((Column("text"),), "document", "line")
        return Blocks(open_blocks(write_text(tmp_path / "texts.txt", texts), layout), None, seed=1)

    def encoder(self, task, tokenizer):
        if task == "language_modeling":
            cut, training_rows = OverlappingPieces(tokenizer, 16), partial(training_blocks, size=16)
        else:
            cut = SeparatePieces(tokenizer, 16)
            training_rows = partial(masked_rows, masking=Masking(tokenizer, 0.3), seed=1)
        return partial(encode_block, cut=cut, training_rows=training_rows)

    @pytest.mark.parametrize(("task", "shared"), [("language_modeling", 1), ("masked_language_modeling", 2)])
    def test_a_block_has_all_tokens_of_its_documents(self, documents, texts, tokenizer, task, shared):
        rows, lengths, dropped = self.encoder(task, tokenizer)(documents.read(0))
        assert dropped == {"empty": 5} == {"empty": sum(not text for text in texts)}
        tokens = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts if text]
        pieces = [max(1, -(-(count + 2 - shared) // (16 - shared))) for count in tokens]
        assert lengths.sum() == sum(tokens) + 2 * len(tokens) + shared * (sum(pieces) - len(tokens))
        assert (len(rows), 1) == lengths.shape
        assert len(rows) < sum(pieces) if task == "language_modeling" else len(rows) == sum(pieces)

    def test_tokens_are_masked_anew_in_each_pass(self, documents, tokenizer):
        encode, divide = self.encoder("masked_language_modeling", tokenizer), partial(divide_block, max_tokens=64)
        divide = partial(divide, batch_size=None, seed=1)
        batches = BlockBatches(documents, encode, divide, DataCollatorForTokenClassification(tokenizer))

        def masked(position):
            """The masked tokens of the block, which is the only one."""
            batches_of_pass = batches[position].batches
            return sorted(tuple(label[label >= 0]) for batch in batches_of_pass for label in batch["labels"])

        assert masked(0) == masked(0) != masked(1)

    @pytest.mark.parametrize(
        ("problem", "labels"),
        [
            ("single_label_classification", ["cat", "dog", "cow"]),
            ("multi_label_classification", [["cat"], [], ["dog", "cow"]]),
            ("regression", [0.5, -1, -100]),
        ],
    )
    def test_blocks_have_the_rows_of_a_run_without_streaming(
        self, toy, tmp_path, rows_of_block, texts, tokenizer, problem, labels
    ):
        rows_of_block(7)
        records = [json.dumps({"text": text, "label": labels[len(text) % 3]}) for text in texts]
        files = dict.fromkeys(["train_file", "validation_file"], write_text(tmp_path / "a.jsonl", records))
        found = []
        for is_streamed in (True, False):
            data = SequenceClassificationData(streaming=is_streamed, problem_type=problem, max_length=9, **files)
            recipe = SequenceClassification(data, seed=1)
            rows = {split: numbered(dataset) for split, dataset in recipe.load().items()}
            inputs = recipe.trainer_inputs(None, recipe.encode(rows, tokenizer), None)
            if is_streamed:  # a copy, as in a worker that is not forked
                stream = pickle.loads(pickle.dumps(inputs.stream))
                blocks = [stream.encode(stream.blocks.files[0].read(number)) for number in range(6)]
                found.append([row for block in blocks for row in block.rows.dataset])
            else:
                found.append(list(inputs.train_dataset.dataset))
        assert found[0] == found[1]
        assert len(found[0]) == 40

    @pytest.mark.parametrize("form", ["tsv", "parallel"])
    def test_labels_are_those_of_all_rows(self, toy, tmp_path, rows_of_block, tokenizer, form):
        rows_of_block(5)
        labels, files = {"train": ["cat", "dog"] * 20 + ["rare", "zebra"], "validation": ["dog"]}, {}
        for split, names in labels.items():
            columns = {"text": [f"a {name}" for name in names], "label": names}
            lines = map("\t".join, zip(*columns.values(), strict=True))
            files[f"{split}_file"] = write_text(tmp_path / f"{split}.tsv", ["\t".join(columns), *lines])
            if form == "parallel":
                files[f"{split}_file"] = [write_text(tmp_path / f"{split}.{name}", columns[name]) for name in columns]
        found = []
        for streaming_or_not in (True, False):
            recipe = SequenceClassification(SequenceClassificationData(streaming=streaming_or_not, **files), 1)
            rows = {split: numbered(dataset) for split, dataset in recipe.load().items()}
            prepared = recipe.encode(rows, tokenizer)
            found.append((prepared.classes, prepared.summary["labels"]))
        assert found[0] == found[1] == (["cat", "dog", "rare", "zebra"], {"cat": 20, "dog": 20, "rare": 1, "zebra": 1})


class TestDivision:
    """The batches of one block."""

    LENGTHS = np.random.default_rng(1).integers(1, 60, (3000, 1)) + np.random.default_rng(2).integers(0, 9, (3000, 2))

    def batches(self, position=1, **limit):
        return divide_block(self.LENGTHS, position, **{"max_tokens": None, "batch_size": None, **limit}, seed=1)

    def test_each_row_comes_once_within_the_budget(self):
        batches = self.batches(max_tokens=1024)
        assert sorted(flat(batches)) == list(range(3000))
        sizes = np.array([len(batch) * self.LENGTHS[batch].max(axis=0).sum() for batch in batches])
        assert sizes.max() <= 1024
        assert self.LENGTHS.sum() / sizes.sum() > 0.9
        assert sizes.mean() > 0.9 * 1024

    def test_batches_have_equally_many_rows(self):
        assert Counter(map(len, self.batches(batch_size=64))) == {64: 46, 56: 1}

    def test_a_row_beyond_the_budget_is_a_batch(self):
        batches = divide_block(np.array([[3], [99], [4]]), 0, max_tokens=10, batch_size=None, seed=1)
        assert sorted(map(sorted, batches)) == [[0, 2], [1]]

    def test_the_position_changes_batches_and_their_order(self):
        first, again, other = (self.batches(position, max_tokens=1024) for position in (1, 1, 2))
        assert first == again
        assert len(set(map(frozenset, first)) & set(map(frozenset, other))) < len(first) / 2
        longest = [self.LENGTHS[batch].sum(axis=1).max() for batch in first]
        assert abs(np.corrcoef(longest[1:], longest[:-1])[0, 1]) < 0.3


class TestOptions:
    """What the options of a streamed run mean."""

    GIVEN = {"train_file": ["a", "b"], "validation_file": ["c", "d"], "streaming": True, "use_cpu": True}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("options", "steps"),
        [({}, 1000), ({"max_steps": 30}, 30), ({"eval_steps": 20, "max_steps": 30}, 20), ({"eval_steps": 0.05}, 0.05)],
    )
    def test_an_epoch_is_a_number_of_steps(self, options, steps):
        training = make_run_config({**self.GIVEN, "max_steps": 5000, **options}).training
        assert (training.eval_strategy, training.eval_steps) == ("steps", steps)
        assert (training.save_strategy, training.save_steps) == ("steps", steps)

    def test_other_strategies_stay(self):
        options = {"eval_strategy": "no", "save_strategy": "steps", "save_steps": 7, "load_best_model_at_end": False}
        training = make_run_config({**self.GIVEN, "max_steps": 50, **options}).training
        assert (training.eval_strategy, training.save_strategy, training.save_steps) == ("no", "steps", 7)

    def test_validation_and_test_are_read_without_the_training_files(self, toy):
        files = {f"{split}_file": toy.files[split] for split in ("validation", "test")}
        recipe = Translation(TranslationData(train_file="nowhere.tsv", streaming=True, **files), seed=1)
        for split in ("validation", "test"):
            assert list(recipe.load_split(split)["source"]) == [source for source, _ in toy.pairs[split]]


STEPS = 30
TASKS = {
    "translation": ("train: 320 pairs, ", "0 empty, 0 long"),
    "language_modeling": ("train: 320 documents, .* 56 characters .median., ", "0 empty"),
    "masked_language_modeling": ("train: 315 documents, .* 28 characters .median., ", "2 empty"),
    "sequence_classification": ("train: 320 texts, ", "none"),
}
"""For each task, what a streamed run prints about its training data, and about the rows that were dropped."""


@pytest.fixture(scope="module")
def streamed(toy):
    """The YAML file of a streamed run of 30 steps on 5 blocks of at most 70 rows, with BPE dropout."""
    sections = toy.sections()
    sections["data"] |= {"streaming": True, "bpe_dropout": 0.1}
    sections["data"]["validation_file"] = toy.write("streamed-validation", toy.pairs["validation"][:8])
    del sections["data"]["test_file"], sections["training"]["num_train_epochs"]
    sections["training"] |= {"max_steps": STEPS, "predict_with_generate": False, "num_beams": 1, "max_new_tokens": 4}
    sections["training"] |= {"eval_steps": 10, "logging_steps": 3, "max_tokens_per_batch": 128}
    return toy.write_config("streamed", sections)


@pytest.fixture(scope="module")
def configs(toy, streamed):
    """The YAML file of a streamed run for each task, with 30 steps on blocks of at most 70 lines."""
    sources = {split: [source for source, _ in toy.pairs[split]] for split in ("train", "validation")}
    files = {}
    for split, texts in sources.items():
        lines = {
            "language_modeling": [line for text in texts for line in (text, text, "")],
            "masked_language_modeling": ["  ", *texts[1:]],
            "sequence_classification": ["text\tlabel", *(f"{text}\t{text.split()[-1]}" for text in texts)],
        }
        for task, written in lines.items():
            name = f"{task}-{split}.{'tsv' if task == 'sequence_classification' else 'txt'}"
            files[task, split] = write_text(toy.folder / name, written)
    own = {
        "language_modeling": {"document_separator": "blank_line", "block_size": 24},
        "masked_language_modeling": {"document_separator": "line", "max_length": 12},
        "sequence_classification": {"max_length": 12},
    }
    found = {"translation": streamed}
    for task, data in own.items():
        sections = yaml.safe_load(streamed.read_text())
        other_stack = "encoder" if task == "language_modeling" else "decoder"
        left_out = (other_stack, "label_smoothing", "bpe_dropout", "predict_with_generate", "num_beams", "max_new")
        for section in sections.values():
            for name in [name for name in section if name.startswith(left_out)]:
                del section[name]
        sections["data"] |= {**data, **{f"{split}_file": files[task, split] for split in sources}}
        found[task] = toy.write_config(f"streamed-{task}", {"task": task, **sections})
    return found


def terminate_in(monkeypatch, step):
    """Send SIGTERM before the forward pass of a step of the next run."""
    calls, original = itertools.count(1), RecipeTrainer.training_step

    def training_step(*args, **kwargs):
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    monkeypatch.setattr(RecipeTrainer, "training_step", training_step)


def outcome(folder):
    """The weights, the metrics without times, and the log of a run."""
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["training_seconds"]
    weights = {name: weight.numpy().tobytes() for name, weight in load_file(folder / "model.safetensors").items()}
    return weights, metrics, (folder / "loss_curve.csv").read_text()


@pytest.mark.end_to_end
class TestRuns:
    """`locant train` with `streaming`."""

    def resume(self, toy, streamed, folder, monkeypatch, steps, **options):
        """Train, terminated in the given step of each start, and at last to the end."""
        for step in steps:
            with monkeypatch.context() as patch:
                terminate_in(patch, step)
                assert toy.train(folder, streamed, **options) == 143
        assert toy.train(folder, streamed, **options) == 0

    @pytest.mark.parametrize("task", TASKS)
    def test_a_run_that_goes_on_within_a_block_ends_with_the_same_bits(
        self, toy, configs, tmp_path, rows_of_block, monkeypatch, capsys, task
    ):
        rows_of_block(70)
        assert toy.train(tmp_path / "whole", configs[task]) == 0
        capsys.readouterr()
        self.resume(toy, configs[task], tmp_path / "run", monkeypatch, (14,))
        assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
        printed = capsys.readouterr().out
        rows, dropped = TASKS[task]
        assert "Resuming training from" in printed
        assert "checkpoint-14" in printed
        assert re.search(rows, printed)
        assert " blocks of training rows (" in printed
        assert f"dropped from the blocks of train that were read: {dropped}\n" in printed
        records = outcome(tmp_path / "whole")[1]["epochs"]
        assert [record["step"] for record in records] == [10, 20, 30]
        assert records[0]["epoch"] < records[1]["epoch"] < records[2]["epoch"]

    @pytest.mark.slow
    @pytest.mark.parametrize(("workers", "accumulation"), [(1, 1), (2, 3)])
    @pytest.mark.parametrize("task", TASKS)
    def test_with_workers_too(self, toy, configs, tmp_path, rows_of_block, monkeypatch, task, workers, accumulation):
        rows_of_block(70)
        config, options = configs[task], {"gradient_accumulation_steps": accumulation}
        assert toy.train(tmp_path / "whole", config, **options) == 0
        accumulated = [accumulation * step for step in (7, 2)]
        self.resume(toy, config, tmp_path / "run", monkeypatch, accumulated, **options, dataloader_num_workers=workers)
        # the number of workers is an option, but no hyperparameter
        assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")

    @pytest.mark.slow
    @pytest.mark.parametrize("task", TASKS)
    def test_two_processes_go_on_where_they_stopped(self, toy, configs, tmp_path, task):
        def launch(folder, **options):
            script = tmp_path / "train.py"
            script.write_text(
                "import sys\nfrom locant.training.data import streaming\nstreaming.BLOCK_ROWS = 70\n"
                "from locant.cli import main\nsys.exit(main(sys.argv[1:]))\n"
            )
            command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
            command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script)]
            command += toy.arguments(folder, configs[task], use_cpu="true", **options)
            done = subprocess.run(command, env=toy.environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr

        launch(tmp_path / "whole", warmup_steps=10)
        launch(tmp_path / "run", warmup_steps=10, max_steps=10)
        assert {path.name for path in (tmp_path / "run" / "checkpoint-10").glob("stream_place_*")} == {
            "stream_place_0.json",
            "stream_place_1.json",
        }
        launch(tmp_path / "run", warmup_steps=10, dataloader_num_workers=2)
        weights = [load_file(tmp_path / name / "model.safetensors") for name in ("run", "whole")]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])

    def test_a_dry_run_reports_the_steps(self, toy, streamed, tmp_path, rows_of_block, capsys):
        rows_of_block(70)
        assert toy.train(tmp_path / "run", streamed, dry_run="true") == 0
        printed = capsys.readouterr().out
        assert "\nbatches a block " in printed
        assert f"\nsteps                  {STEPS}\n" in printed
        assert not (tmp_path / "run").exists()

    @pytest.mark.slow
    @pytest.mark.parametrize(("task", "rows"), [("translation", "pairs"), ("masked_language_modeling", "documents")])
    def test_files_with_weights(self, toy, configs, tmp_path, rows_of_block, task, rows):
        rows_of_block(20)
        files = []
        for number in range(3):
            pairs = toy.pairs["train"][number::3]
            if task == "translation":
                lines = ["source\ttarget", *map("\t".join, pairs)]
                files.append(write_text(tmp_path / f"{number}.tsv", lines))
            else:
                files.append(write_text(tmp_path / f"{number}.txt", [source for source, _ in pairs]))
        assert toy.train(tmp_path / "run", configs[task], train_file=files, train_weights=[2, 1, 0.5]) == 0
        assert outcome(tmp_path / "run")[1]["data"]["train"][rows] == 320

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"max_steps": -1}, "streaming data have no epochs, and max_steps is not given: give max_steps."),
            ({"validation_file": "null"}, "streaming cuts no validation rows from the training data, and no"),
            ({"train_file": "null", "dataset_name": "x"}, "streaming reads files, but dataset_name is given"),
            ({"train_weights": [1, 2]}, "train_weights has 2 weights, but train_file has 1 files (parallel text"),
            (
                {"train_weights": [0, 1]},
                "train_weights is [0.0, 1.0], but each weight must be a finite number above 0.",
            ),
            ({"streaming": "false", "train_weights": [1, 1]}, "train_weights is given without streaming"),
        ],
    )
    def test_options_that_do_not_fit(self, toy, streamed, tmp_path, capsys, options, error):
        assert toy.train(tmp_path / "run", streamed, **options) == 2
        assert error in capsys.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("task", ["image_classification", "captioning"])
    def test_tasks_with_images_have_no_such_option(self, tmp_path, capsys, task):
        assert main(["train", "--task", task, "--train_file", "x", "--streaming", "true"]) == 2
        error = f"--streaming is not an option of {task}, but of {', '.join(TASKS)}: leave it out."
        assert error in capsys.readouterr().err

    @pytest.mark.parametrize("length", [17, "null"])
    def test_texts_that_may_be_longer_than_the_learned_positions(self, toy, configs, tmp_path, capsys, length):
        options = {"position_encoding": "learned", "max_position_embeddings": 16, "max_length": length}
        assert toy.train(tmp_path / "run", configs["sequence_classification"], **options) == 2
        given = "not given" if length == "null" else length
        error = f"max_length is {given}, but the learned positions end at 16, and a streamed text may be longer: "
        assert error in capsys.readouterr().err

    def test_files_that_changed_since_the_run_began(self, toy, streamed, tmp_path, rows_of_block, capsys, monkeypatch):
        rows_of_block(70)
        files = toy.write("changing", toy.pairs["train"][:150])
        with monkeypatch.context() as patch:
            terminate_in(patch, 2)
            assert toy.train(tmp_path / "run", streamed, train_file=files) == 143
        toy.write("changing", toy.pairs["train"][:151])
        assert toy.train(tmp_path / "run", streamed, train_file=files) == 2
        assert "holds a run whose train data have changed since the run was started" in capsys.readouterr().err

    @pytest.mark.slow
    def test_a_run_goes_on_within_30_seconds_after_a_million_pairs(self, toy, streamed, tmp_path, monkeypatch, capsys):
        pairs = toy.pairs["train"]
        lines = (f"{pairs[number % 320][0]} {number}\t{pairs[number % 320][1]}" for number in range(1_000_000))
        options = {"train_file": write_text(tmp_path / "million.tsv", ["source\ttarget", *lines]), "max_steps": 10}
        assert toy.train(tmp_path / "run", streamed, **options) == 0
        file = tmp_path / "run" / "checkpoint-10" / "stream_place_0.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"position": 99}))
        begin, seconds, original = time.monotonic(), [], RecipeTrainer.training_step

        def training_step(*args, **kwargs):
            seconds.append(time.monotonic() - begin)
            return original(*args, **kwargs)

        monkeypatch.setattr(RecipeTrainer, "training_step", training_step)
        assert toy.train(tmp_path / "run", streamed, **{**options, "max_steps": 11}) == 0
        assert seconds[0] < 30
