# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant train` from its command line to the folder that it leaves, on the toy language of `tests/conftest.py`."""

import csv
import itertools
import json
import math
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianConfig, MarianMTModel, TrainerCallback
from transformers.integrations import integration_utils

from locant import LocantForConditionalGeneration
from locant.cli import main
from locant.training.data import preprocessing
from locant.training.run import trainer as trainer_module
from locant.training.run import training_run
from locant.training.run.dry_run import peak_of_step
from locant.training.run.run_folder import RunFolder
from locant.training.run.trainer import GenerationTrainer
from locant.training.tasks import translation

from .batches_of_two_processes import BatchesOfTwoProcesses

STEPS = 40  # in an epoch of the toy run
WITHOUT_BLEU = {"predict_with_generate": "false"}
SHORT = {"num_train_epochs": 1, **WITHOUT_BLEU}
FEW_TOKENS = {"max_new_tokens": 4}  # a model that has hardly been trained does not end its translations by itself
WITHOUT_EVALUATION = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": "false"}


def weights(folder):
    return load_file(folder / "model.safetensors")


def same_bits(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def last_saved_step(folder):
    states = folder.glob("checkpoint-*/trainer_state.json")
    return max((json.loads(path.read_text())["global_step"] for path in states), default=0)


class Stopped(BaseException):
    """Stands for a kill, where a process of its own would take too long: nothing in Locant catches it."""


@pytest.fixture
def stop_at(monkeypatch):
    """Run something that is stopped where it calls `owner.name` for the `call`th time."""

    def run(action, owner, name, call):
        calls, original = [], getattr(owner, name)

        def stop(*args, **kwargs):
            calls.append(name)
            if len(calls) == call:
                raise Stopped
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            with pytest.raises(Stopped):
                action()

    return run


@pytest.fixture
def training_steps(monkeypatch):
    """(global step, batch, loss) of every training step, as they come."""
    steps, original = [], GenerationTrainer.training_step

    def training_step(self, model, inputs, *args, **kwargs):
        step = self.state.global_step
        loss = original(self, model, inputs, *args, **kwargs)
        steps.append((step, inputs, loss.item()))
        return loss

    monkeypatch.setattr(GenerationTrainer, "training_step", training_step)
    return steps


@pytest.fixture
def rising_losses(monkeypatch):
    """Make the validation loss rise by 100 from one evaluation to the next."""
    original, penalties = GenerationTrainer.evaluation_loop, itertools.count(step=100)

    def evaluation_loop(*args, **kwargs):
        output = original(*args, **kwargs)
        output.metrics["eval_loss"] += next(penalties)
        return output

    monkeypatch.setattr(GenerationTrainer, "evaluation_loop", evaluation_loop)


@pytest.mark.end_to_end
class TestSameCommand:
    def test_gives_the_same_bits_and_numbers(self, toy, trained_run, tmp_path):
        assert toy.train(tmp_path / "again") == 0
        assert same_bits(tmp_path / "again", trained_run)
        first, again = metrics(trained_run), metrics(tmp_path / "again")
        del first["training_seconds"], again["training_seconds"]
        assert first == again

    @pytest.mark.slow
    def test_with_another_seed_gives_others(self, toy, tmp_path):
        for seed in (1, 2):
            assert toy.train(tmp_path / str(seed), **SHORT, seed=seed) == 0
        one, other = weights(tmp_path / "1"), weights(tmp_path / "2")
        assert one.keys() == other.keys()
        assert not torch.allclose(
            one["model.encoder.embed_tokens.weight"], other["model.encoder.embed_tokens.weight"], atol=0.01
        )

    @pytest.mark.slow
    def test_with_bpe_dropout_gives_the_same_bits_and_others_than_without(self, toy, tmp_path):
        for name, share in (("one", 0.3), ("same", 0.3), ("without", 0)):
            assert toy.train(tmp_path / name, **SHORT, bpe_dropout=share) == 0
        assert same_bits(tmp_path / "one", tmp_path / "same")
        assert not same_bits(tmp_path / "one", tmp_path / "without")

    def test_on_a_finished_run_trains_nothing_and_changes_nothing(self, toy, trained_run, training_steps, capsys):
        before = contents(trained_run)
        assert toy.train(trained_run) == 0
        assert training_steps == []
        assert contents(trained_run) == before
        out = capsys.readouterr().out
        assert f"The run in {trained_run} is already finished: to train further, give a larger value" in out
        assert f"test: BLEU {metrics(trained_run)['test']['bleu']:.2f}" in out

    def test_on_a_longer_run_changes_nothing(self, toy, trained_run, training_steps, capsys):
        before = contents(trained_run)
        assert toy.train(trained_run, num_train_epochs=1) == 0
        assert training_steps == []
        assert contents(trained_run) == before
        assert f"{trained_run} is already finished" in capsys.readouterr().out

    def test_never_trains_beyond_max_steps(self, toy, tmp_path, training_steps, capsys):
        limits = {**SHORT, **FEW_TOKENS, "max_steps": 3}
        for epochs, beams in ((1, 1), (1, 2), (50, 3), (50, 3)):  # with other beams, it is measured again
            assert toy.train(tmp_path / "run", **{**limits, "num_train_epochs": epochs, "num_beams": beams}) == 0
            assert [step for step, *_ in training_steps] == [0, 1, 2]
            assert metrics(tmp_path / "run")["finished"]
            assert metrics(tmp_path / "run")["steps"] == 3
        assert "is already finished: to train further, give a larger value" in capsys.readouterr().out


MOMENTS = {  # where a run is stopped: in which function, at which of its calls
    "before the folder is claimed": (RunFolder, "claim", 1),
    "in the first epoch": (GenerationTrainer, "training_step", 11),
    "in the second epoch": (GenerationTrainer, "training_step", STEPS + 20),
    "in an evaluation": (GenerationTrainer, "prediction_step", 2),
    "before the weights are in the second checkpoint": (GenerationTrainer, "_save", 2),
    "before the optimiser is in the second checkpoint": (GenerationTrainer, "_save_optimizer_and_scheduler", 2),
    "before the state is in the last checkpoint": (GenerationTrainer, "_save_rng_state", 3),
    "when the best weights are loaded": (GenerationTrainer, "_load_best_model", 1),
    "when the model is saved": (GenerationTrainer, "_save", 4),
    "when the model is measured": (translation, "evaluate_split", 2),
    "before it is finished": (RunFolder, "write_metrics", 4),
}


@pytest.mark.end_to_end
class TestKilled:
    """Started again with the same command, a run ends as if nothing had happened to it."""

    @pytest.mark.slow
    @pytest.mark.parametrize(("owner", "name", "call"), MOMENTS.values(), ids=MOMENTS)
    def test_at_any_moment(self, toy, trained_run, tmp_path, stop_at, training_steps, owner, name, call):
        folder = tmp_path / "run"
        stop_at(lambda: toy.train(folder), owner, name, call)
        saved = last_saved_step(folder)
        training_steps.clear()
        assert toy.train(folder) == 0
        assert [step for step, *_ in training_steps] == list(range(saved, 3 * STEPS))
        self.check_ends_like(folder, trained_run)

    @pytest.mark.slow
    def test_within_an_epoch_between_two_checkpoints(self, toy, tmp_path, stop_at, training_steps):
        options = {**SHORT, "bpe_dropout": 0.1, "gradient_accumulation_steps": 2}
        options |= {f"{kind}_strategy": "steps" for kind in ("save", "eval")}
        options |= {f"{kind}_steps": 6 for kind in ("save", "eval")}
        assert toy.train(tmp_path / "whole", **options) == 0
        stop_at(lambda: toy.train(tmp_path / "run", **options), GenerationTrainer, "training_step", 30)
        training_steps.clear()
        assert toy.train(tmp_path / "run", **options) == 0
        assert training_steps[0][0] == 12
        self.check_ends_like(tmp_path / "run", tmp_path / "whole")

    @pytest.mark.slow
    def test_by_the_system(self, toy, trained_run, tmp_path):
        folder, delay = tmp_path / "run", random.uniform(0, 0.3)
        command = [sys.executable, "-m", "locant", *toy.arguments(folder)]
        with open(tmp_path / "log", "w") as log:
            process = subprocess.Popen(command, env=toy.environment, stdout=log, stderr=log, cwd=tmp_path)
            while not last_saved_step(folder) and process.poll() is None:
                time.sleep(0.01)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        log = (tmp_path / "log").read_text()
        assert process.wait() == -signal.SIGKILL, f"after {delay} s: {log}"
        assert not metrics(folder)["finished"]
        assert toy.train(folder) == 0
        self.check_ends_like(folder, trained_run)

    @pytest.mark.slow
    def test_by_the_system_again_and_again(self, toy, trained_run, tmp_path):
        folder, rng, kills = tmp_path / "run", random.Random(3), 0
        command = [sys.executable, "-m", "locant", *toy.arguments(folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        for _ in range(8):
            with subprocess.Popen(command, env=toy.environment, cwd=tmp_path, **pipes) as process:
                for line in process.stdout:
                    if line.startswith("vocabulary"):
                        break
                time.sleep(rng.uniform(0, 1.5))
                process.kill()
            kills += process.returncode == -signal.SIGKILL
        assert kills > 1
        assert toy.train(folder) == 0
        self.check_ends_like(folder, trained_run)

    def test_is_not_evaluated_again_before_it_goes_on(self, toy, tmp_path, stop_at, monkeypatch):
        folder, options, evaluated = tmp_path / "run", {**SHORT, "eval_on_start": "true"}, []
        original = GenerationTrainer.evaluate

        def evaluate(self, *args, **kwargs):
            evaluated.append(self.state.global_step)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(GenerationTrainer, "evaluate", evaluate)
        stop_at(lambda: toy.train(folder, **options), GenerationTrainer, "_load_best_model", 1)
        assert toy.train(folder, **options) == 0
        assert evaluated == [0, STEPS]

    def test_keeps_the_tokenizer_that_it_began_with(self, toy, tmp_path, stop_at, monkeypatch):
        folder = tmp_path / "run"
        stop_at(lambda: toy.train(folder, **SHORT), GenerationTrainer, "_load_best_model", 1)
        monkeypatch.delattr(preprocessing, "train_tokenizer")
        stop_at(lambda: toy.train(folder, **SHORT), RunFolder, "claim", 1)

    def test_by_ctrl_c_says_where_it_stands_and_so_does_who_uses_it(self, toy, tmp_path, monkeypatch, capsys):
        folder = tmp_path / "run"

        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(GenerationTrainer, "_load_best_model", interrupt)
            assert toy.train(folder, **SHORT) == 130
        explanation = (
            f"{folder} holds an unfinished run, whose last checkpoint is at step 40 of 40: repeat the command of the "
            f"run to resume from this checkpoint; until then, {folder / 'checkpoint-40'} (the best so far) can be used "
            "as a model."
        )
        assert capsys.readouterr().err.splitlines()[-1] == f"locant train: interrupted: {explanation}"
        for command in (["translate", str(folder), toy.files["test"][0]], ["evaluate", str(folder)]):
            assert main(command) == 2
            assert capsys.readouterr().err.splitlines()[-1] == f"locant {command[0]}: error: {explanation}"
        assert main(["translate", str(folder / "checkpoint-40"), toy.files["test"][0]]) == 0
        capsys.readouterr()
        for command in ("export", "convert"):
            assert main([command, str(folder), str(tmp_path / "other")]) == 2
            assert capsys.readouterr().err == f"locant {command}: error: {explanation}\n"

    @staticmethod
    def check_ends_like(folder, uninterrupted):
        assert same_bits(folder, uninterrupted)
        here, there = metrics(folder), metrics(uninterrupted)
        del here["training_seconds"], there["training_seconds"]
        assert here == there


class TestLongerRun:
    @pytest.mark.slow
    def test_goes_on_and_keeps_the_history(self, toy, trained_run, tmp_path, training_steps):
        folder = tmp_path / "run"
        assert toy.train(folder, num_train_epochs=2) == 0
        shorter = metrics(folder)
        training_steps.clear()
        assert toy.train(folder) == 0
        assert [step for step, *_ in training_steps] == list(range(2 * STEPS, 3 * STEPS))
        assert metrics(folder)["epochs"][:2] == shorter["epochs"]
        TestKilled.check_ends_like(folder, trained_run)

    @pytest.mark.slow
    def test_killed_before_its_first_evaluation_goes_on_too(self, toy, trained_run, tmp_path, stop_at):
        folder = tmp_path / "run"
        assert toy.train(folder, num_train_epochs=2) == 0
        stop_at(lambda: toy.train(folder), GenerationTrainer, "training_step", 3)
        assert toy.train(folder) == 0
        TestKilled.check_ends_like(folder, trained_run)


class TestBadInput:
    """One sentence and status 2, before anything was written."""

    @staticmethod
    def sentence(toy, capsys, output_dir, config=None, **options):
        before = contents(output_dir)
        existed = output_dir.exists()
        assert toy.train(output_dir, config, **options) == 2
        assert contents(output_dir) == before
        assert output_dir.exists() == existed
        errors = capsys.readouterr().err
        assert "Traceback" not in errors
        *bars, error = [line for line in re.split(r"[\r\n]+", errors) if line]
        assert not [line for line in bars if "error" in line]
        return error.removeprefix("locant train: error: ")

    def test_a_checkpoint_to_go_on_from_must_be_one(self, toy, tmp_path, capsys):
        error = self.sentence(toy, capsys, tmp_path / "run", resume_from_checkpoint=tmp_path / "checkpoint-9")
        assert "checkpoint-9 is not the folder of a complete checkpoint: give such a folder, or" in error

    def test_parallel_files_of_different_length(self, toy, tmp_path, capsys):
        english = toy.files["train"][0]
        shorter = tmp_path / "shorter.fr"
        shorter.write_text("".join(f"{target}\n" for _, target in toy.pairs["train"][:-1]))
        assert self.sentence(toy, capsys, tmp_path / "run", train_file=[english, shorter]) == (
            f"Parallel files must have the same number of lines: {english} has 320, {shorter} has 319; correct them, "
            "so that line N of each file belongs to row N."
        )

    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    def test_a_missing_file(self, toy, tmp_path, capsys, split):
        english, french = toy.files[split]
        error = self.sentence(toy, capsys, tmp_path / "run", **{f"{split}_file": [english, f"{french}x"]})
        assert error == f"{french}x does not exist: correct the path; the nearest name in its folder is {split}.fr."

    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    def test_an_empty_file(self, toy, tmp_path, capsys, split):
        (tmp_path / "empty").touch()
        files = [toy.files[split][0], tmp_path / "empty"]
        error = self.sentence(toy, capsys, tmp_path / "run", **{f"{split}_file": files})
        assert error == f"{tmp_path}/empty is empty: give a file that is not empty."

    def test_text_that_is_not_utf8(self, toy, tmp_path, capsys):
        (tmp_path / "latin1.fr").write_bytes("un\ndeux\nl'été\n".encode("latin-1"))
        error = self.sentence(toy, capsys, tmp_path / "run", test_file=[toy.files["test"][0], tmp_path / "latin1.fr"])
        assert error == f"{tmp_path}/latin1.fr, line 3: byte 3 (0xe9) is not UTF-8; convert the text to UTF-8."

    def test_an_option_that_does_not_exist(self, toy, tmp_path, capsys):
        error = self.sentence(toy, capsys, tmp_path / "run", learning_rat=0.1)
        assert error == "--learning_rat is not an option: did you mean --learning_rate?"
        sections = toy.sections()
        sections["model"]["encoder_layer"] = 3
        config = toy.write_config("misspelt", sections)
        error = self.sentence(toy, capsys, tmp_path / "run", config)
        assert re.fullmatch(
            rf"encoder_layer is not an option \({config}, line \d+\): did you mean encoder_layers\?", error
        )

    @pytest.mark.parametrize(
        ("options", "part"),
        [
            ({"position_encoding": "rope"}, "the name of 'rope' in Locant is \"rotary\""),
            ({"d_model": 33}, "33"),
            ({"dropout": -0.1}, "dropout: must be at least 0 and below 1, got -0.1."),
            ({"num_train_epochs": 0}, "num_train_epochs is 0.0, but must be above 0."),
            ({"learning_rate": "fast"}, "learning_rate is 'fast' (command line), but must be a number."),
            ({"tokenizer_vocab_size": 3}, "vocab_size is 3, but a tokenizer of kind 'bpe' needs at least 260"),
            ({"tokenizer_kind": "words"}, "did you mean word?"),
            ({"bpe_dropout": 0.1, "tokenizer_kind": "unigram"}, "BPE dropout needs a byte-level BPE tokenizer"),
            ({"model_name_or_path": "./nowhere", "tokenizer_vocab_size": "null"}, "./nowhere"),
            ({"tokenizer_name": "./nowhere", "tokenizer_vocab_size": "null"}, "./nowhere"),
            ({"metric_for_best_model": "blue"}, "metric_for_best_model is blue, but"),
            ({"metric_for_best_model": "bleu", "predict_with_generate": "false"}, "predict_with_generate"),
            (WITHOUT_EVALUATION | {"early_stopping_patience": 2}, "early_stopping_patience needs evaluations"),
            (WITHOUT_EVALUATION | {"average_checkpoints": 2}, "average_checkpoints needs checkpoints"),
            ({"lr_scheduler_type": "cosin"}, "did you mean cosine?"),
            ({"lr_scheduler_type": "cosine_with_min_lr"}, "schedule cannot be used: One of min_lr or min_lr_rate"),
            ({"lr_scheduler_type": "warmup_stable_decay"}, "num_decay_steps"),
            (
                {"num_beams": 1, "length_penalty": 0.6},
                "could not be saved with num_beams, length_penalty, max_new_tokens as given: `length_penalty`: `num_be",
            ),
            ({"optim": "adm"}, "optim"),
            ({"max_source_length": 1}, "No training pair is left"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else "refused",
    )
    def test_values_that_cannot_be_used(self, toy, tmp_path, capsys, options, part):
        assert part in self.sentence(toy, capsys, tmp_path / "run", **options)

    def test_the_folder_of_a_different_run(self, toy, trained_run, capsys):
        error = self.sentence(toy, capsys, trained_run, learning_rate=0.5)
        assert error == (
            f"output_dir {trained_run} holds a different run, with learning_rate 0.01 and not 0.5: give another "
            "output_dir, or the same learning_rate."
        )

    def test_a_folder_with_other_things(self, toy, tmp_path, capsys):
        (tmp_path / "notes.txt").write_text("mine")
        error = self.sentence(toy, capsys, tmp_path)
        assert error.startswith(f"output_dir {tmp_path} is not empty, and has no run_config.yaml")

    @pytest.mark.parametrize(("side", "option"), [(0, "position_encoding"), (1, "decoder_position_encoding")])
    def test_a_sentence_beyond_the_learned_table(self, toy, tmp_path, capsys, side, option):
        pairs = [("", "rien"), *toy.pairs["train"]]
        pairs[7] = tuple(" ".join([text] * (5 if i == side else 1)) for i, text in enumerate(pairs[7]))
        files = toy.write("long", pairs)
        error = self.sentence(
            toy, capsys, tmp_path / "run", train_file=files, max_position_embeddings=16, **{option: "learned"}
        )
        assert re.match(
            rf"train {('source', 'target')[side]}, row 8, has \d\d tokens, but the learned positions end at 16:", error
        )

    @pytest.mark.slow
    def test_seen_from_outside(self, toy, tmp_path):
        command = [sys.executable, "-m", "locant", *toy.arguments(tmp_path / "run", learning_rat=1)]
        process = subprocess.run(command, env=toy.environment, capture_output=True, text=True, cwd=tmp_path)
        assert process.returncode == 2
        assert process.stdout == ""
        assert process.stderr == "locant train: error: --learning_rat is not an option: did you mean --learning_rate?\n"
        assert not (tmp_path / "run").exists()


@pytest.mark.end_to_end
class TestReporters:
    def test_get_the_scores_of_the_finished_model(self, toy, tmp_path, monkeypatch):
        logged = []

        class Reporter(TrainerCallback):
            def on_log(self, args, state, control, logs=None, **kwargs):
                logged.append(logs)

        monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Reporter)
        assert toy.train(tmp_path / "run", **SHORT, **FEW_TOKENS, report_to="tensorboard") == 0
        for logs, split in zip(logged[-2:], ("validation", "test"), strict=True):
            measured = metrics(tmp_path / "run")[split]
            assert {name: logs[f"{split}_{name}"] for name in ("bleu", "loss")} == {
                name: measured[name] for name in ("bleu", "loss")
            }
            assert f"{split}_bleu_signature" not in logs


@pytest.mark.end_to_end
class TestFineTuning:
    @pytest.fixture
    def config(self, toy, trained_run):
        sections = toy.sections()
        sections["model"] = {"model_name_or_path": str(trained_run)}
        del sections["data"]["tokenizer_vocab_size"]
        return toy.write_config("fine_tune", sections)

    def test_starts_from_the_weights_and_keeps_the_tokenizer(self, toy, trained_run, tmp_path, config, training_steps):
        assert toy.train(tmp_path / "run", config, **SHORT, learning_rate=1e-9) == 0
        assert [step for step, *_ in training_steps] == list(range(STEPS))
        before, after = weights(trained_run), weights(tmp_path / "run")
        assert before.keys() == after.keys()
        for name, weight in before.items():
            torch.testing.assert_close(after[name], weight, rtol=0, atol=1e-6, msg=name)
        assert (tmp_path / "run" / "tokenizer.json").read_bytes() == (trained_run / "tokenizer.json").read_bytes()
        assert metrics(tmp_path / "run")["test"]["bleu"] == metrics(trained_run)["test"]["bleu"]

    @pytest.mark.parametrize(("dtype", "bf16"), [(torch.float16, False), (torch.bfloat16, True)])
    def test_a_model_in_half_precision_is_trained_in_float32(self, toy, trained_run, tmp_path, config, dtype, bf16):
        ignored = shutil.ignore_patterns("checkpoint-*", "metrics.json", "run_config.yaml")
        shutil.copytree(trained_run, tmp_path / "half", ignore=ignored)
        AutoModelForSeq2SeqLM.from_pretrained(trained_run).to(dtype).save_pretrained(tmp_path / "half")
        options = {"model_name_or_path": tmp_path / "half", "max_steps": 1, "bf16": bf16, **SHORT, **FEW_TOKENS}
        assert toy.train(tmp_path / "run", config, **options) == 0
        assert {weight.dtype for weight in weights(tmp_path / "run").values()} == {torch.float32}
        assert json.loads((tmp_path / "run" / "config.json").read_text())["dtype"] == "float32"

    @pytest.mark.slow
    def test_learns_on(self, toy, trained_run, tmp_path, config):
        assert toy.train(tmp_path / "run", config, **SHORT) == 0
        assert metrics(tmp_path / "run")["test"]["loss"] < metrics(trained_run)["test"]["loss"]

    @pytest.mark.slow
    def test_may_change_what_leaves_the_weights_as_they_are(self, toy, tmp_path, config):
        options = {"dropout": 0.3, "label_smoothing": 0.2}
        assert toy.train(tmp_path / "run", config, **SHORT, **options) == 0
        model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
        assert {name: getattr(model.config, name) for name in options} == options

    def test_may_not_change_the_shape(self, toy, trained_run, tmp_path, config, capsys):
        trained = AutoModelForSeq2SeqLM.from_pretrained(trained_run).config
        options = {"d_model": 2 * trained.d_model, "encoder_layers": trained.encoder_layers, "ffn_bias": False}
        error = TestBadInput.sentence(toy, capsys, tmp_path / "run", config, **options)
        assert error.startswith(
            "d_model, ffn_bias cannot be given with model_name_or_path, as the trained model has d_model"
        )
        assert "--d_model null --ffn_bias null" in error

    @pytest.mark.slow
    def test_may_repeat_the_shape(self, toy, trained_run, tmp_path, config):
        trained = AutoModelForSeq2SeqLM.from_pretrained(trained_run).config
        shape = {name: getattr(trained, name) for name in ("d_model", "encoder_layers", "position_encoding")}
        assert toy.train(tmp_path / "run", config, **SHORT, **shape, max_steps=1) == 0

    def test_refuses_a_value_out_of_range(self, toy, tmp_path, config, capsys):
        error = TestBadInput.sentence(toy, capsys, tmp_path / "run", config, dropout=2)
        assert error.startswith("dropout")

    @pytest.fixture
    def marian(self, toy, trained_run):
        """The configuration of a run that fine-tunes a model of another family."""
        tokenizer = AutoTokenizer.from_pretrained(trained_run)
        shape = {"d_model": 32, "vocab_size": len(tokenizer), "max_position_embeddings": 64}
        for stack in ("encoder", "decoder"):
            shape |= {f"{stack}_layers": 1, f"{stack}_attention_heads": 2, f"{stack}_ffn_dim": 64}
        ids = {"pad_token_id": 0, "bos_token_id": 1, "decoder_start_token_id": 1, "eos_token_id": 2}
        folder = toy.folder / "marian"
        MarianMTModel(MarianConfig(**shape, **ids, forced_eos_token_id=None)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        sections = toy.sections()
        sections["model"] = {"model_name_or_path": str(folder)}
        del sections["data"]["tokenizer_vocab_size"]
        return toy.write_config("marian", sections)

    @pytest.mark.slow
    def test_takes_models_of_other_families(self, toy, tmp_path, marian):
        assert toy.train(tmp_path / "run", marian, num_train_epochs=2, dropout=0.0) == 0
        first, second = metrics(tmp_path / "run")["epochs"]
        assert second["validation_loss"] < first["validation_loss"]
        model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
        assert (type(model), model.config.dropout, model.generation_config.num_beams) == (MarianMTModel, 0.0, 2)

    @pytest.mark.end_to_end
    def test_the_loss_of_another_family_does_not_depend_on_the_division_of_a_step(self, toy, tmp_path, marian):
        found = {}
        for size, parts in ((16, 1), (4, 4)):
            options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": parts, "max_steps": 1}
            assert toy.train(tmp_path / str(parts), marian, **SHORT, **FEW_TOKENS, **options, dropout=0.0) == 0
            found[parts] = metrics(tmp_path / str(parts))["epochs"][0]["train_loss"]
        assert found[4] == pytest.approx(found[1], rel=0.1)  # of other rows

    def test_refuses_what_another_family_has_not(self, toy, tmp_path, marian, capsys):
        error = TestBadInput.sentence(toy, capsys, tmp_path / "run", marian, label_smoothing=0.1)
        assert error.startswith("label_smoothing")


class TestMetrics:
    def test_tell_of_every_epoch(self, trained_run):
        epochs = metrics(trained_run)["epochs"]
        assert [(record["epoch"], record["step"]) for record in epochs] == [(1, 40), (2, 80), (3, 120)]
        losses = [record["validation_loss"] for record in epochs]
        assert losses == sorted(losses, reverse=True)
        for record in epochs:
            assert record["validation_perplexity"] == pytest.approx(math.exp(record["validation_loss"]))
        assert [record["validation_bleu"] for record in epochs][-1] > 10

    @pytest.mark.slow
    def test_have_the_mean_of_the_training_losses(self, toy, tmp_path, training_steps):
        assert toy.train(tmp_path / "run", **{**SHORT, "num_train_epochs": 2}, logging_steps=30) == 0
        losses = [loss for *_, loss in training_steps]
        for record, of_epoch in zip(metrics(tmp_path / "run")["epochs"], (losses[:STEPS], losses[STEPS:]), strict=True):
            assert record["train_loss"] == pytest.approx(sum(of_epoch) / STEPS, rel=1e-4)

    def test_of_the_finished_model_are_those_of_the_best_epoch(self, trained_run):
        found = metrics(trained_run)
        best = max(found["epochs"], key=lambda record: record["validation_bleu"])
        assert found["best_step"] == best["step"]
        assert found["validation"]["loss"] == pytest.approx(best["validation_loss"], rel=1e-5)
        assert found["validation"]["perplexity"] == pytest.approx(math.exp(found["validation"]["loss"]))
        assert found["test"]["sentences"] == 40
        assert found["test"]["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")

    def test_say_how_large_everything_is(self, toy, trained_run):
        found = metrics(trained_run)
        tokenizer = AutoTokenizer.from_pretrained(trained_run)
        assert found["data"]["vocabulary"] == len(tokenizer)
        assert found["parameters"] == sum(weight.numel() for weight in weights(trained_run).values())
        for split, pairs in toy.pairs.items():
            sources, targets = zip(*pairs, strict=True)
            assert found["data"][split] == {
                "pairs": len(pairs),
                "source_tokens": sum(map(len, tokenizer(list(sources)).input_ids)),
                "target_tokens": sum(map(len, tokenizer(text_target=list(targets)).input_ids)),
            }

    def test_agree_with_the_loss_curve(self, trained_run):
        with open(trained_run / "loss_curve.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        shown = [{name: str(value) for name, value in record.items()} for record in metrics(trained_run)["epochs"]]
        assert rows == shown
        pytest.importorskip("matplotlib")
        assert (trained_run / "loss_curve.png").read_bytes().startswith(b"\x89PNG")

    def test_count_what_was_dropped_and_what_stands_in_train_and_test(self, toy, tmp_path, capsys):
        train, test = toy.pairs["train"], toy.pairs["test"]
        pairs = [*train, ("", "rien"), *test[:2], (" ".join([test[0][0]] * 9), "trop long"), (test[3][0], "autre")]
        options = {**SHORT, **FEW_TOKENS, "max_steps": 1, "max_source_length": 20}
        assert toy.train(tmp_path / "run", **options, train_file=toy.write("mixed", pairs)) == 0
        found = metrics(tmp_path / "run")["data"]
        assert found["dropped"] == {"empty": 1, "long": 1}
        assert found["train"]["pairs"] == 323
        assert found["test_in_train"] == {"sources": 3, "pairs": 2}
        out = capsys.readouterr().out
        assert "dropped from train: 1 empty, 1 long" in out
        assert "data of test that is also in train: 3 sources, 2 pairs" in out


@pytest.mark.end_to_end
class TestSavedModel:
    script = """
import hashlib, sys, locant
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianConfig, MarianMTModel

model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
weights = b"".join(weight.numpy().tobytes() for _, weight in sorted(model.state_dict().items()))
print(hashlib.sha256(weights).hexdigest())
generated = model.generate(**tokenizer(sys.argv[2:], padding=True, return_tensors="pt"))
print(*tokenizer.batch_decode(generated, skip_special_tokens=True), sep="\\n")
"""

    @pytest.mark.slow
    def test_gives_the_same_bits_and_translations_in_another_process(
        self, toy, trained_run, tmp_path, monkeypatch, capsys
    ):
        arguments = [str(trained_run), *(source for source, _ in toy.pairs["test"][:8])]
        monkeypatch.setattr(sys, "argv", ["-c", *arguments])
        exec(self.script, {})
        here = capsys.readouterr().out
        command = [sys.executable, "-c", self.script, *arguments]
        process = subprocess.run(command, env=toy.environment, capture_output=True, text=True, cwd=tmp_path)
        assert process.stdout == here
        assert len({*here.splitlines()}) > 5

    def test_carries_its_search(self, trained_run):
        saved = json.loads((trained_run / "generation_config.json").read_text())
        assert {name: saved[name] for name in ("num_beams", "length_penalty", "max_new_tokens")} == {
            "num_beams": 2,
            "length_penalty": 1.0,
            "max_new_tokens": 16,
        }
        assert {name: saved[f"{name}_token_id"] for name in ("pad", "decoder_start", "eos")} == {
            "pad": 0,
            "decoder_start": 1,
            "eos": 2,
        }

    def test_stands_with_the_configuration_that_trains_it_again(self, toy, trained_run):
        kept = yaml.safe_load((trained_run / "run_config.yaml").read_text("utf-8"))
        expected = toy.sections()
        expected["training"]["output_dir"] = str(trained_run)
        assert kept == {"task": "translation", **expected}

    def test_can_be_the_mean_of_the_last_checkpoints(self, toy, tmp_path):
        folder = tmp_path / "run"
        assert toy.train(folder, **WITHOUT_BLEU, average_checkpoints=2) == 0
        second, last = weights(folder / "checkpoint-80"), weights(folder / "checkpoint-120")
        for name, weight in weights(folder).items():
            torch.testing.assert_close(weight, (second[name] + last[name]) / 2, rtol=1e-6, atol=1e-7, msg=name)
        losses = [record["validation_loss"] for record in metrics(folder)["epochs"]]
        assert metrics(folder)["validation"]["loss"] not in losses
        assert metrics(folder)["weights_of_steps"] == [80, 120]
        assert "the mean of the last 2 checkpoints, steps 80 to 120" in (folder / "README.md").read_text("utf-8")

    @pytest.mark.slow
    def test_is_the_best_checkpoint_by_loss_where_nothing_is_translated(self, toy, tmp_path, rising_losses):
        assert toy.train(tmp_path / "run", predict_with_generate="false") == 0
        found = metrics(tmp_path / "run")
        assert [record["validation_loss"] // 100 for record in found["epochs"]] == [0, 1, 2]
        assert found["best_step"] == STEPS
        assert found["weights_of_steps"] == [STEPS]
        assert same_bits(tmp_path / "run", tmp_path / "run" / f"checkpoint-{STEPS}")

    def test_is_the_best_of_the_evaluations_with_a_checkpoint(self, toy, tmp_path, rising_losses):
        options = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 5, "save_steps": 10}
        assert toy.train(tmp_path / "run", **WITHOUT_BLEU, **FEW_TOKENS, **options, max_steps=20) == 0
        found = metrics(tmp_path / "run")
        assert [record["step"] for record in found["epochs"]] == [5, 10, 15, 20]
        assert (found["best_step"], found["weights_of_steps"]) == (10, [10])
        assert same_bits(tmp_path / "run", tmp_path / "run" / "checkpoint-10")

    def test_is_the_last_step_where_the_best_is_not_loaded(self, toy, tmp_path):
        options = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 10, "save_steps": 10}
        options["load_best_model_at_end"] = "false"
        assert toy.train(tmp_path / "run", **SHORT, **FEW_TOKENS, **options, max_steps=15, learning_rate=1.0) == 0
        assert metrics(tmp_path / "run")["weights_of_steps"] == [15]


@pytest.mark.end_to_end
class TestOptions:
    @pytest.mark.slow
    def test_early_stopping_stops(self, toy, tmp_path, training_steps, capsys):
        options = {"learning_rate": 1e-9, "early_stopping_patience": 2, "num_train_epochs": 9}
        assert toy.train(tmp_path / "run", **options) == 0
        assert len(metrics(tmp_path / "run")["epochs"]) == 3
        assert len(training_steps) == 3 * STEPS
        assert toy.train(tmp_path / "run", **options) == 0
        assert "(num_train_epochs, max_steps or early_stopping_patience)" in capsys.readouterr().out

    @pytest.mark.slow
    def test_early_stopping_keeps_its_patience_through_a_kill(self, toy, tmp_path, stop_at):
        options = {"learning_rate": 1e-9, "early_stopping_patience": 2, "num_train_epochs": 9}
        stop_at(lambda: toy.train(tmp_path / "run", **options), GenerationTrainer, "training_step", 2 * STEPS + 5)
        assert toy.train(tmp_path / "run", **options) == 0
        assert len(metrics(tmp_path / "run")["epochs"]) == 3

    def test_a_run_that_stopped_early_trains_no_more(self, toy, tmp_path, training_steps, stop_at, capsys):
        options = {"learning_rate": 1e-9, "early_stopping_patience": 2, "num_train_epochs": 9, **FEW_TOKENS}
        stop_at(lambda: toy.train(tmp_path / "run", **options), training_run, "measure", 1)
        assert len(training_steps) == 3 * STEPS
        early = f"Training ended early, at step {3 * STEPS} of {9 * STEPS}: the last 2 evaluations had no better "
        assert early in capsys.readouterr().out
        for changed in ({}, {"num_beams": 1}):
            assert toy.train(tmp_path / "run", **options, **changed) == 0
            assert len(metrics(tmp_path / "run")["epochs"]) == 3
        assert len(training_steps) == 3 * STEPS

    @pytest.mark.slow
    def test_figures_of_a_split_that_is_left_out_later_go(self, toy, tmp_path):
        assert toy.train(tmp_path / "run", **SHORT) == 0
        assert "test" in metrics(tmp_path / "run")
        assert toy.train(tmp_path / "run", **SHORT, test_file="null") == 0
        assert "test" not in metrics(tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").glob("*_translations.tsv")] == ["validation_translations.tsv"]

    @pytest.mark.slow
    def test_a_run_that_goes_on_logs_as_often_as_asked(self, toy, tmp_path):
        for steps, every in ((4, 4), (8, 1)):
            saving = {**WITHOUT_EVALUATION, "save_strategy": "steps", "save_steps": 4}
            options = {**WITHOUT_BLEU, **saving, "max_steps": steps, "logging_steps": every}
            assert toy.train(tmp_path / "run", **options) == 0
        state = json.loads((tmp_path / "run" / "checkpoint-8" / "trainer_state.json").read_text())
        assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == [4, 5, 6, 7, 8]

    @pytest.mark.slow
    def test_without_translations_there_are_losses_alone_and_bleu_at_the_end(self, toy, tmp_path):
        assert toy.train(tmp_path / "run", **SHORT) == 0
        found = metrics(tmp_path / "run")
        assert "validation_bleu" not in found["epochs"][0]
        assert found["test"]["bleu"] >= 0

    @pytest.mark.slow
    @pytest.mark.parametrize(("budget", "bpe_dropout"), [(150, 0), (400, 0.3)])
    def test_token_budget_fills_batches_by_their_tokens(self, toy, tmp_path, training_steps, budget, bpe_dropout):
        options = {"max_tokens_per_batch": budget, "bpe_dropout": bpe_dropout}
        assert toy.train(tmp_path / "run", **SHORT, **options) == 0
        batches = [batch for _, batch, _ in training_steps]
        slots = [batch["input_ids"].numel() + batch["labels"].numel() for batch in batches]
        assert max(slots) <= budget
        assert sum(slots) / len(slots) > budget * 2 / 3
        assert sum(len(batch["labels"]) for batch in batches) == 320

    @pytest.mark.slow
    def test_bf16_trains_and_saves_float32(self, toy, trained_run, tmp_path):
        assert toy.train(tmp_path / "run", **WITHOUT_BLEU, bf16="true") == 0
        assert {weight.dtype for weight in weights(tmp_path / "run").values()} == {torch.float32}
        assert not same_bits(tmp_path / "run", trained_run)
        assert metrics(tmp_path / "run")["test"]["loss"] == pytest.approx(metrics(trained_run)["test"]["loss"], rel=0.3)

    def test_validation_pairs_can_be_cut_from_train(self, toy, tmp_path, capsys):
        options = {**SHORT, **FEW_TOKENS, "max_steps": 1, "validation_file": "null", "validation_split": 30}
        assert toy.train(tmp_path / "run", **options) == 0
        found = metrics(tmp_path / "run")["data"]
        assert (found["train"]["pairs"], found["validation"]["pairs"]) == (290, 30)
        assert "Cut 30 of 320 pairs from train for validation (seed 42)." in capsys.readouterr().out

    @pytest.mark.slow
    def test_a_named_tokenizer_is_used_as_it_is(self, toy, trained_run, tmp_path):
        options = {**SHORT, "max_steps": 1, "tokenizer_vocab_size": "null", "tokenizer_name": trained_run}
        pairs = [("wholly other words", "de tout autres mots")] * 40
        assert toy.train(tmp_path / "run", **options, train_file=toy.write("other", pairs)) == 0
        assert (tmp_path / "run" / "tokenizer.json").read_bytes() == (trained_run / "tokenizer.json").read_bytes()

    @pytest.mark.slow
    def test_languages_and_licence_are_kept_with_the_run(self, toy, tmp_path):
        declared = {"source_lang": "en", "target_lang": "fr", "license": "cc0-1.0", "source_prefix": "fr: "}
        assert toy.train(tmp_path / "run", **SHORT, max_steps=1, **declared) == 0
        kept = yaml.safe_load((tmp_path / "run" / "run_config.yaml").read_text())["data"]
        assert {name: kept[name] for name in declared} == declared

    @pytest.mark.slow
    def test_source_prefix_stands_before_every_source(self, toy, tmp_path, training_steps):
        assert toy.train(tmp_path / "run", **SHORT, max_steps=2, source_prefix="loyal ") == 0
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
        for _, batch, _ in training_steps:
            for text in tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True):
                assert text.startswith("loyal the ")

    @pytest.mark.slow
    @pytest.mark.parametrize("bpe_dropout", [0, 0.5])
    def test_a_learned_table_that_just_holds_the_text_is_never_left(self, toy, tmp_path, bpe_dropout):
        options = {"position_encoding": "learned", "max_position_embeddings": 12, "learning_rate": 1e-9}
        assert toy.train(tmp_path / "run", **options, num_train_epochs=1, bpe_dropout=bpe_dropout) == 0


@pytest.mark.end_to_end
class TestDryRun:
    @staticmethod
    def rows(text):
        rows = dict(re.split(r"  +", line, maxsplit=1) for line in text.splitlines() if re.search(r"\w  +", line))
        return {name.strip(): value for name, value in rows.items()}

    def test_reports_and_writes_nothing(self, toy, trained_run, tmp_path, training_steps, capsys):
        assert toy.train(tmp_path / "run", dry_run="true") == 0
        assert not (tmp_path / "run").exists()
        assert training_steps == []
        out = capsys.readouterr().out
        found, rows = metrics(trained_run), self.rows(out)
        assert f"\nparameters: {found['parameters']:,}, " in out
        assert rows["batches an epoch"].startswith("40 ")
        assert rows["steps"] == "120"
        assert 0 < float(re.match(r"([\d.]+)% ", rows["padding"])[1]) < 20
        assert rows["memory of the model"] == f"{4 * found['parameters'] / 2**20:.0f} MiB for the weights"
        assert re.match(r"[\d,]+ MiB above the model at its peak: ", rows["memory of training"])
        assert float(rows["largest batch"].split()[2]) > 10
        tokens = (train_tokens := found["data"]["train"])["source_tokens"] + train_tokens["target_tokens"]
        flop = 6 * found["parameters"] * tokens * 3
        assert flop < float(rows["computation"].split()[0]) < 1.2 * flop
        assert re.match(r"0:0\d:\d\d on this device", rows["time of training"])
        train = found["data"]["train"]
        source_tokens, target_tokens = train["source_tokens"], train["target_tokens"]
        assert f"train: 320 pairs, {source_tokens:,} source tokens, {target_tokens:,} target tokens\n" in out
        assert "Dry run: nothing was trained or written." in out

    def test_leaves_a_run_as_it_is(self, toy, trained_run, capsys):
        before = contents(trained_run)
        assert toy.train(trained_run, dry_run="true") == 0
        assert contents(trained_run) == before
        out = capsys.readouterr().out
        assert "steps" in self.rows(out)
        assert f"The run in {trained_run} is already finished" in out
        assert toy.train(trained_run, dry_run="false") == 0
        assert contents(trained_run) == before
        assert toy.train(trained_run, num_train_epochs=9, dry_run="true") == 0
        assert f"The run would resume from {trained_run / 'checkpoint-'}" in capsys.readouterr().out
        assert contents(trained_run) == before

    def test_measures_a_batch(self, trained_run):
        """Twice the pairs keep twice the memory, and logits are not among it, as training makes none."""
        model = AutoModelForSeq2SeqLM.from_pretrained(trained_run)

        def batch(pairs):
            sides = {"input_ids": 5, "attention_mask": 5, "labels": 7}
            return {name: torch.ones(pairs, length, dtype=torch.long) for name, length in sides.items()}

        gradients = 4 * model.num_parameters()
        small, large = (peak_of_step(model, batch(pairs)) - gradients for pairs in (600, 1200))
        assert large == pytest.approx(2 * small, rel=0.1)
        vocabulary = model.config.vocab_size
        model.resize_token_embeddings(10_000)
        gradients = 2 * 4 * model.num_parameters()  # the gradient of the embeddings is added to that of the logits
        assert peak_of_step(model, batch(600)) - gradients - small < 4 * 600 * 7 * (10_000 - vocabulary) / 2

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "options",
        [{"gradient_accumulation_steps": 3}, {"num_train_epochs": 0.33}, {"max_tokens_per_batch": 150}],
        ids=str,
    )
    def test_tells_the_steps_that_training_takes(self, toy, tmp_path, capsys, options):
        options = {**SHORT, **options}
        assert toy.train(tmp_path / "run", **options, dry_run="true") == 0
        told = self.rows(capsys.readouterr().out)["steps"]
        assert toy.train(tmp_path / "run", **options) == 0
        assert told == str(metrics(tmp_path / "run")["steps"])


NOTES = """
import os, sys

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and os.environ["RUN"] in arguments[0]:
        if arguments[2] & (os.O_WRONLY | os.O_RDWR):
            with open(os.environ["NOTES"] + os.environ["RANK"], "a") as notes:
                print(arguments[0], file=notes)

if "RANK" in os.environ:
    sys.addaudithook(note)
"""


def launch(toy, folder, output_dir, **options):
    """`accelerate launch` of two processes, after its end; the notes of rank N are in `folder / "notes-N"`."""
    (folder / "sitecustomize.py").write_text(NOTES)
    environment = {
        **toy.environment,
        "PYTHONPATH": str(folder),
        "RUN": str(output_dir),
        "NOTES": str(folder / "notes-"),
    }
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--cpu", "--num_processes", "2", "-m", "locant", *toy.arguments(output_dir, **options)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["copies", "sharded"])
def test_two_processes_do_what_one_does_with_their_batches(toy, tmp_path, monkeypatch, sharded):
    options = {"dropout": 0, "num_train_epochs": 2, "logging_steps": 1, "adam_epsilon": 1e-4}
    process = launch(toy, tmp_path, tmp_path / "two", **options, fsdp=str(sharded).lower())
    assert process.returncode == 0, process.stderr
    assert ("The weights are sharded over 2 processes" in process.stdout) is sharded

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "LengthBatchSampler", BatchesOfTwoProcesses)
        assert toy.train(tmp_path / "one", **options, gradient_accumulation_steps=2) == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, msg=name)
    losses = [logged_losses(tmp_path / name) for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert metrics(tmp_path / "two")["steps"] == STEPS == len(losses[0])
    for part in ("validation", "test"):
        of_one, of_two = metrics(tmp_path / "one")[part], metrics(tmp_path / "two")[part]
        assert of_two["loss"] == pytest.approx(of_one["loss"], rel=1e-5)
        assert of_two["bleu"] == pytest.approx(of_one["bleu"])
    assert process.stdout.count("test: BLEU") == process.stdout.count("vocabulary:") == 1
    assert "metrics.json" in (tmp_path / "notes-0").read_text()
    others = (tmp_path / "notes-1").read_text().splitlines() if (tmp_path / "notes-1").exists() else []
    assert [path for path in others if not path.endswith(("rng_state_1.pth", "unlogged_loss_1.json"))] == []


@pytest.mark.slow
def test_two_processes_end_where_one_has_bad_input(toy, tmp_path):
    process = launch(toy, tmp_path, tmp_path / "run", tokenizer_name="./nowhere", tokenizer_vocab_size="null")
    assert process.returncode != 0
    assert "locant train: error: No tokenizer loads from ./nowhere" in process.stderr
    assert not (tmp_path / "run").exists()


def logged_losses(folder):
    """The loss of each step, from the state of the last checkpoint."""
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    state = json.loads((last / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", ["false", "true"], ids=["copies", "sharded"])
def test_two_processes_go_on_where_they_stopped(toy, tmp_path, fsdp, capsys):
    """Bit for bit, dropout included."""
    options = {"fsdp": fsdp, "average_checkpoints": 2, "activation_checkpointing": "true"}
    assert launch(toy, tmp_path, tmp_path / "whole", **options).returncode == 0
    assert launch(toy, tmp_path, tmp_path / "run", **options, num_train_epochs=1).returncode == 0
    assert launch(toy, tmp_path, tmp_path / "run", **options).returncode == 0
    assert same_bits(tmp_path / "run", tmp_path / "whole")
    assert metrics(tmp_path / "run")["epochs"] == metrics(tmp_path / "whole")["epochs"]
    one = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
    assert type(one) is LocantForConditionalGeneration
    assert toy.train(tmp_path / "run", num_train_epochs=4, fsdp=fsdp, activation_checkpointing="true") == 2
    assert "is a checkpoint of 2 processes, but this command has 1: " in capsys.readouterr().err
