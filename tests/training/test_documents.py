# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Cutting, packing and counting documents; and what `locant train` does alike for all tasks that learn from them."""

import random
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset, LargeList
from safetensors.torch import load_file

from locant.cli import main
from locant.training.run import trainer as trainer_module
from locant.training.run.trainer import RecipeTrainer
from locant.training.tasks.documents import alone, best_fit, block_lengths, by_document, pack
from locant.training.tasks.recipe import measure_rows

from ..tables import assert_same_table
from .batches_of_two_processes import BatchesOfTwoProcesses

TASKS = ("language_modeling", "masked_language_modeling")


def plain_best_fit(lengths, size):
    """How full each block is, by looking at every block for every piece."""
    fills = []
    for length in sorted(lengths, reverse=True):
        fitting = [number for number, fill in enumerate(fills) if fill + length <= size]
        if fitting:
            fills[max(fitting, key=lambda number: fills[number])] += length
        else:
            fills.append(length)
    return sorted(fills)


@pytest.mark.parametrize("seed", range(8))
def test_best_fit_fills_blocks_as_a_plain_loop_does(seed):
    rng = random.Random(seed)
    size = rng.choice((2, 7, 32, 100))
    lengths = [rng.randint(1, rng.choice((size, max(2, size // 5)))) for _ in range(rng.choice((1, 50, 400)))]
    blocks = best_fit(lengths, size)
    assert sorted(piece for block in blocks for piece in block) == list(range(len(lengths)))
    assert sorted(sum(lengths[piece] for piece in block) for block in blocks) == plain_best_fit(lengths, size)
    assert best_fit(lengths, size) == blocks


def test_offsets_of_blocks_may_exceed_int32():
    pieces = Dataset.from_dict({"input_ids": [[1, 2], [3]], "document": [0, 1]})
    assert isinstance(pack(pieces, 3).features["pieces"], LargeList)


def test_blocks_hold_the_pieces_whole():
    rng = random.Random(1)
    ids = [[rng.randrange(99) for _ in range(rng.randint(1, 9))] for _ in range(60)]
    pieces = Dataset.from_dict({"input_ids": ids, "document": range(60)})
    packed, single = pack(pieces, 12), alone(pieces)
    assert single["pieces"][:] == [[piece] for piece in ids]
    found = packed["pieces"][:]
    assert sorted(piece for block in found for piece in block) == sorted(ids)
    lengths = [sum(map(len, block)) for block in found]
    assert max(lengths) == 12
    assert block_lengths(packed).tolist() == [[length] for length in lengths]
    assert block_lengths(single).tolist() == [[len(piece)] for piece in ids]


def test_rows_are_measured_in_batches_and_come_in_their_order():
    rows = Dataset.from_dict({"value": [3, 1, 4, 1, 5]})
    sizes = []

    def measure(batch):
        sizes.append([row["value"] for row in batch])
        return torch.tensor([row["value"] ** 2 for row in batch]), torch.ones(len(batch))

    lengths = np.array(rows["value"][:])[:, None]
    squares, ones = measure_rows(rows, lengths, measure, batch_size=2, show_progress=False)
    assert squares.tolist() == [9, 1, 16, 1, 25]
    assert ones.tolist() == [1] * 5
    assert sizes == [[5, 4], [3, 1], [1]]


def test_sums_by_document():
    pieces = Dataset.from_dict({"document": [0, 0, 2]})
    assert by_document(np.array([1.0, 2.0, 4.0]), pieces, 4).tolist() == [3.0, 0.0, 4.0, 0.0]


def same_bits(one, other):
    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("task", TASKS)
class TestRun:
    @pytest.mark.slow
    def test_the_same_command_gives_the_same_bits_and_numbers(self, writings, document_runs, tmp_path, task):
        assert writings.train(task, tmp_path / "again") == 0
        assert same_bits(tmp_path / "again", document_runs[task])
        assert writings.metrics(tmp_path / "again") == writings.metrics(document_runs[task])

    @pytest.mark.slow
    def test_stopped_and_started_again_it_ends_alike(self, writings, document_runs, tmp_path, task, monkeypatch):
        class Stopped(BaseException):
            pass

        original, steps = RecipeTrainer.training_step, writings.metrics(document_runs[task])["steps"]

        def training_step(self, *args, **kwargs):
            if self.state.global_step == steps - 2:
                raise Stopped
            return original(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(RecipeTrainer, "training_step", training_step)
            with pytest.raises(Stopped):
                writings.train(task, tmp_path / "run")
        assert (tmp_path / "run" / f"checkpoint-{steps // 2}").is_dir()
        assert writings.train(task, tmp_path / "run") == 0
        assert same_bits(tmp_path / "run", document_runs[task])
        assert writings.metrics(tmp_path / "run") == writings.metrics(document_runs[task])

    def test_what_training_measured_is_what_the_finished_model_has(self, writings, document_runs, task):
        found = writings.metrics(document_runs[task])
        [best] = [record for record in found["epochs"] if record["step"] == found["best_step"]]
        measured = {name: value for name, value in best.items() if name.startswith("validation_")}
        assert len(measured) == 2
        for name, value in measured.items():
            assert found["validation"][name.removeprefix("validation_")] == pytest.approx(value, rel=1e-5)

    def test_it_beats_the_unigram_model(self, writings, document_runs, task):
        for split in ("validation", "test"):
            found = writings.metrics(document_runs[task])[split]
            assert found["loss"] < found["unigram_loss"] - (1.0 if task == "language_modeling" else 0.2)

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_evaluate_prints_what_the_run_measured(self, writings, document_runs, task, split, tmp_path, capsys):
        capsys.readouterr()
        output = tmp_path / "rows.tsv"
        command = ["evaluate", str(document_runs[task]), "--split", split, "--output", str(output), "--device", "cpu"]
        assert main([*command, "--batch_size", "16"]) == 0
        printed = dict(re.findall(r"^(\S+(?: \S+)*) {2,}(\S+)", capsys.readouterr().out, re.MULTILINE))
        found = writings.metrics(document_runs[task])[split]
        assert float(printed["loss"]) == pytest.approx(found["loss"], abs=1e-4)
        assert float(printed["unigram loss"]) == pytest.approx(found["unigram_loss"], abs=1e-4)
        [kept] = document_runs[task].glob(f"{split}_*.tsv")
        assert_same_table(output, kept)

    def test_the_predictions_have_a_row_for_each_document(self, writings, document_runs, task):
        [path] = document_runs[task].glob("test_*.tsv")
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
        assert [row[0] for row in rows] == writings.texts["test"]
        counted = {"language_modeling": "tokens", "masked_language_modeling": "masked_tokens"}[task]
        assert sum(int(row[1]) for row in rows) == writings.metrics(document_runs[task])["test"][counted]

    def test_it_says_how_much_there_is(self, writings, document_runs, task):
        found = writings.metrics(document_runs[task])["data"]
        assert (found["train"]["documents"], found["train"]["empty"]) == (159, 1)
        assert found["test"]["bytes"] == sum(len(text.encode()) for text in writings.texts["test"])
        train = set(writings.texts["train"])
        assert found["test_in_train"] == {"documents": sum(text in train for text in writings.texts["test"])}

    def test_a_dry_run_writes_nothing(self, writings, tmp_path, capsys, task):
        assert writings.train(task, tmp_path / "run", dry_run="true") == 0
        assert not (tmp_path / "run").exists()
        out = capsys.readouterr().out
        assert re.search(r"train: 159 documents, 1 empty, \d+ pieces, \d+ characters \(median\), [\d,]+ tokens, ", out)
        assert "Dry run: nothing was trained or written." in out

    @pytest.mark.slow
    def test_fine_tuning_goes_on_from_its_weights_and_tokenizer(self, writings, document_runs, tmp_path, task):
        options = {"model_name_or_path": document_runs[task], "num_train_epochs": 1}
        assert writings.train(task, tmp_path / "same", **options, learning_rate=1e-9) == 0
        before, after = (writings.metrics(folder)["test"] for folder in (document_runs[task], tmp_path / "same"))
        assert after["loss"] == pytest.approx(before["loss"], abs=1e-4)
        assert after["unigram_loss"] == before["unigram_loss"]
        assert writings.train(task, tmp_path / "on", **options) == 0
        scratch, tuned = (writings.metrics(folder)["epochs"][0] for folder in (document_runs[task], tmp_path / "on"))
        assert tuned["train_loss"] < scratch["train_loss"] - 1

    @pytest.mark.slow
    def test_tables_have_whole_texts_and_validation_is_cut(self, writings, tmp_path, capsys, task):
        texts = ["the cat\\nsees the dog.", "a\\n\\nb", *writings.texts["validation"]]
        lines = [f'{{"content": "{text}", "id": {number}}}\n' for number, text in enumerate(texts)]
        (tmp_path / "table.jsonl").write_text("".join(lines))
        options = {"text_column": "content", "train_file": tmp_path / "table.jsonl", "validation_file": "null"}
        assert writings.train(task, tmp_path / "run", **options, validation_split=7, max_steps=1) == 0
        assert "Cut 7 of 32 documents from train for validation (seed 42)." in capsys.readouterr().out
        found = writings.metrics(tmp_path / "run")["data"]
        assert (found["train"]["documents"], found["validation"]["documents"]) == (25, 7)

    @pytest.mark.parametrize(
        ("options", "part"),
        [
            ({"train_file": "table.jsonl"}, "table.jsonl has no column 'text'; it has 'content': say with text_column"),
            ({"train_file": "blank.txt"}, "train has 2 documents, and none of them holds any text: give documents"),
            ({"test_file": "blank.txt"}, "test has 2 documents, and none of them holds any text: give documents"),
            ({"test_file": "latin1.txt"}, "latin1.txt, line 2: byte 3 (0xe9) is not UTF-8"),
            ({"tokenizer_vocab_size": 99}, "vocab_size is 99, but a tokenizer of kind 'bpe' needs at least 26"),
            (
                {"position_encoding": "learned", "max_position_embeddings": 23},
                "24, but the learned positions end at 23",
            ),
            ({"metric_for_best_model": "bleu"}, "metric_for_best_model is bleu, but the metrics of this run are loss"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else "refused",
    )
    def test_bad_input_is_one_sentence(self, writings, tmp_path, capsys, monkeypatch, task, options, part):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "table.jsonl").write_text('{"content": "a cat"}\n')
        (tmp_path / "blank.txt").write_text(" \n\t\n")
        (tmp_path / "latin1.txt").write_bytes("un\nl'été\n".encode("latin-1"))
        assert writings.train(task, tmp_path / "run", **options) == 2
        errors = capsys.readouterr().err
        assert part in errors
        assert "Traceback" not in errors
        assert not (tmp_path / "run").exists()

    @pytest.mark.slow
    def test_two_processes_do_what_one_does_with_their_batches(self, writings, toy, tmp_path, monkeypatch, task):
        options = {"dropout": 0, "num_train_epochs": 1, "optim": "sgd", "max_grad_norm": 0, "learning_rate": 0.1}
        command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu"]
        command += ["--num_processes", "2", "-m", "locant"]
        command += writings.arguments(task, tmp_path / "two", **options)
        process = subprocess.run(command, env=toy.environment, capture_output=True, text=True, timeout=300)
        assert process.returncode == 0, process.stderr
        assert process.stdout.count("test: loss") == 1
        with monkeypatch.context() as patch:
            patch.setattr(trainer_module, "LengthBatchSampler", BatchesOfTwoProcesses)
            assert writings.train(task, tmp_path / "one", **options, gradient_accumulation_steps=2) == 0
        one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
        assert one.keys() == two.keys()
        for name, weight in one.items():
            torch.testing.assert_close(two[name], weight, msg=name)
        one, two = (writings.metrics(tmp_path / name) for name in ("one", "two"))
        assert two["data"] == one["data"]
        assert two["test"] == pytest.approx(one["test"], rel=1e-5)
        assert two["epochs"] == [pytest.approx(record, rel=1e-4) for record in one["epochs"]]
        assert two["epochs"][0]["validation_loss"] == pytest.approx(two["validation"]["loss"], rel=1e-5)
