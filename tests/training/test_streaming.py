# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Streamed training data: the rows of each block, the order of the blocks, and runs that go on within a block."""

import gzip
import itertools
import json
import os
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
from datasets import Dataset
from pyarrow import parquet
from safetensors.torch import load_file

from locant.cli import main
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
from locant.training.data.tables import load_files
from locant.training.data.text_data import parallel_layout
from locant.training.errors import InputError
from locant.training.options.run_config import make_run_config
from locant.training.run.trainer import GenerationTrainer
from locant.training.tasks.translation import Translation
from locant.training.tasks.translation_arguments import TranslationData

LAYOUT = parallel_layout()
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
        layout = parallel_layout(source_lang="en", target_lang="fr") if nested else LAYOUT
        self.check(write_parquet(tmp_path, "a.parquet", nested), rows_of_block, layout, 8)

    @staticmethod
    def check(files, rows_of_block, layout, count):
        whole = load_files(files, "train", layout)
        for rows in (3, 4, 100):
            rows_of_block(rows)
            [file] = open_blocks(files, layout)
            blocks = {number: file.read(number) for number in reversed(range(len(file)))}
            found = [row for number in range(len(file)) for row in blocks[number]]
            assert found == list(whole)
            assert max(map(len, blocks.values())) <= rows
            assert file.rows >= len(whole)
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
            (str(tmp_path / "c.tsv.gz"), "c.tsv.gz is compressed, but streaming reads any part"),
            ([table, texts[0]], "but streaming takes tables only, or 2 parallel text files."),
            (texts, "Parallel files must have the same number of lines: "),
        ):
            with pytest.raises(InputError, match=error):
                open_blocks(files, LAYOUT)


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
        ("options", "steps"), [({}, 1000), ({"max_steps": 30}, 30), ({"eval_steps": 20, "max_steps": 30}, 20)]
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
def uninterrupted(toy, streamed, tmp_path_factory):
    """The folder of a streamed run that nothing interrupted, for reading only."""
    folder = tmp_path_factory.mktemp("streamed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "BLOCK_ROWS", 70)
        assert toy.train(folder, streamed) == 0
    return folder


def terminate_in(monkeypatch, step):
    """Send SIGTERM before the forward pass of a step of the next run."""
    calls, original = itertools.count(1), GenerationTrainer.training_step

    def training_step(*args, **kwargs):
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    monkeypatch.setattr(GenerationTrainer, "training_step", training_step)


def outcome(folder):
    """The weights, the metrics without times, and the log of a run."""
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["training_seconds"]
    weights = {name: weight.numpy().tobytes() for name, weight in load_file(folder / "model.safetensors").items()}
    return weights, metrics, (folder / "loss_curve.csv").read_text()


class TestRuns:
    """`locant train` with `streaming`."""

    def resume(self, toy, streamed, folder, monkeypatch, steps, **options):
        """Train, terminated in the given step of each start, and at last to the end."""
        for step in steps:
            with monkeypatch.context() as patch:
                terminate_in(patch, step)
                assert toy.train(folder, streamed, **options) == 143
        assert toy.train(folder, streamed, **options) == 0

    def test_a_run_that_goes_on_within_a_block_ends_with_the_same_bits(
        self, toy, streamed, uninterrupted, tmp_path, rows_of_block, monkeypatch, capsys
    ):
        rows_of_block(70)
        self.resume(toy, streamed, tmp_path / "run", monkeypatch, (14, 2))
        assert outcome(tmp_path / "run") == outcome(uninterrupted)
        printed = capsys.readouterr().out
        assert "Resuming training from" in printed
        assert "checkpoint-16" in printed
        assert "train: 320 pairs, " in printed
        assert "streaming: 5 blocks of training rows (" in printed
        assert "dropped from the blocks of train that were read: 0 empty, 0 long" in printed
        records = outcome(uninterrupted)[1]["epochs"]
        assert [record["step"] for record in records] == [10, 20, 30]
        assert records[0]["epoch"] < records[1]["epoch"] < records[2]["epoch"] < 2

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("accumulation", [1, 3])
    def test_with_workers_too(self, toy, streamed, tmp_path, rows_of_block, monkeypatch, workers, accumulation):
        rows_of_block(70)
        options = {"gradient_accumulation_steps": accumulation}
        assert toy.train(tmp_path / "whole", streamed, **options) == 0
        accumulated = [accumulation * step for step in (7, 2)]
        self.resume(
            toy, streamed, tmp_path / "run", monkeypatch, accumulated, **options, dataloader_num_workers=workers
        )
        # the number of workers is an option, but no hyperparameter
        assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")

    @pytest.mark.slow
    def test_two_processes_go_on_where_they_stopped(self, toy, streamed, tmp_path):
        def launch(folder, **options):
            script = tmp_path / "train.py"
            script.write_text(
                "import sys\nfrom locant.training.data import streaming\nstreaming.BLOCK_ROWS = 70\n"
                "from locant.cli import main\nsys.exit(main(sys.argv[1:]))\n"
            )
            command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
            command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script)]
            command += toy.arguments(folder, streamed, use_cpu="true", **options)
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
    def test_tables_with_weights(self, toy, streamed, tmp_path, rows_of_block):
        rows_of_block(20)
        tables = []
        for number in range(3):
            lines = ["source\ttarget", *map("\t".join, toy.pairs["train"][number::3])]
            tables.append(write_text(tmp_path / f"{number}.tsv", lines))
        assert toy.train(tmp_path / "run", streamed, train_file=tables, train_weights=[2, 1, 0.5]) == 0
        assert outcome(tmp_path / "run")[1]["data"]["train"]["pairs"] == 320

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"max_steps": -1}, "streaming data have no epochs, and max_steps is not given: give max_steps."),
            ({"validation_file": "null"}, "streaming cuts no validation rows from the training data, and no"),
            ({"train_file": "null", "dataset_name": "x"}, "streaming reads files, but dataset_name is given"),
            ({"train_weights": [1, 2]}, "train_weights has 2 weights, but train_file has 1 tables (parallel text"),
            ({"train_weights": [0, 1]}, "train_weights is [0.0, 1.0], but each weight must be above 0."),
            ({"streaming": "false", "train_weights": [1, 1]}, "train_weights is given without streaming"),
        ],
    )
    def test_options_that_do_not_fit(self, toy, streamed, tmp_path, capsys, options, error):
        assert toy.train(tmp_path / "run", streamed, **options) == 2
        assert error in capsys.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("task", ["language_modeling", "sequence_classification", "captioning"])
    def test_other_tasks_have_no_such_option(self, tmp_path, capsys, task):
        assert main(["train", "--task", task, "--train_file", "x", "--streaming", "true"]) == 2
        error = f"--streaming is not an option of {task}, but of translation: leave it out."
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
        begin, seconds, original = time.monotonic(), [], GenerationTrainer.training_step

        def training_step(*args, **kwargs):
            seconds.append(time.monotonic() - begin)
            return original(*args, **kwargs)

        monkeypatch.setattr(GenerationTrainer, "training_step", training_step)
        assert toy.train(tmp_path / "run", streamed, **{**options, "max_steps": 11}) == 0
        assert seconds[0] < 30
