# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A run that is killed, terminated or out of space, at any moment, ends with the bits of a run that never was."""

import errno
import importlib
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import datasets
import pyarrow
import pytest
import torch
import yaml
from pyarrow import parquet
from safetensors.torch import load_file

from locant.cli import main
from locant.training.data import preprocessing
from locant.training.run import training_run
from locant.training.run.interruption import survive_first_sigterm
from locant.training.run.pushing import PushingTrainer
from locant.training.run.run_folder import is_extra
from locant.training.run.trainer import GenerationTrainer

pytestmark = pytest.mark.end_to_end

STEPS = 10  # in an epoch of the short run


@pytest.fixture(scope="session")
def short(toy):
    """The YAML file of a run of three epochs, which averages its checkpoints and deletes the first of them."""
    sections = toy.sections()
    files = {
        split: toy.write(f"short-{split}", toy.pairs[split][:size])
        for split, size in (("train", 80), ("validation", 8))
    }
    sections["data"] = {f"{split}_file": paths for split, paths in files.items()} | {"tokenizer_vocab_size": 300}
    sections["training"] |= {"predict_with_generate": False, "num_beams": 1, "max_new_tokens": 4}
    sections["training"] |= {"eval_strategy": "steps", "eval_steps": 5, "save_strategy": "steps", "save_steps": 5}
    sections["training"] |= {"average_checkpoints": 2, "logging_steps": 3}
    return toy.write_config("short", sections)


@pytest.fixture(scope="session")
def uninterrupted(toy, short, tmp_path_factory):
    """The folder of a short run that nothing interrupted: for reading only."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert toy.train(folder, short) == 0
    return folder


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def steps_of_checkpoints(folder):
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*"))


def log_history(folder):
    """The Trainer's log of the last checkpoint, without times, memory, and padding, which a resumed run counts anew."""
    state = json.loads((folder / f"checkpoint-{steps_of_checkpoints(folder)[-1]}" / "trainer_state.json").read_text())
    timed = ("runtime", "per_second", "preparation_time", "seconds_left", "memory_gib", "padding")
    return [{name: v for name, v in entry.items() if not name.endswith(timed)} for entry in state["log_history"]]


def check_ends_like(folder, uninterrupted):
    here, there = (load_file(path / "model.safetensors") for path in (folder, uninterrupted))
    assert here.keys() == there.keys()
    assert [name for name in here if not torch.equal(here[name], there[name])] == []
    here, there = metrics(folder), metrics(uninterrupted)
    del here["training_seconds"], there["training_seconds"]
    assert here == there
    assert (folder / "loss_curve.csv").read_bytes() == (uninterrupted / "loss_curve.csv").read_bytes()
    assert steps_of_checkpoints(folder) == steps_of_checkpoints(uninterrupted)
    assert log_history(folder) == log_history(uninterrupted)
    assert {path.name for path in folder.iterdir()} == {path.name for path in uninterrupted.iterdir()}


WEIGHTS, OPTIMIZER = "transformers.modeling_utils:safe_save_file", "torch:save"
STATE = "transformers.trainer_callback:TrainerState.save_to_json"
TRAINER = "locant.training.run.trainer:GenerationTrainer"
RUN = "locant.training.run.training_run"

KILLS = {  # in the order in which one run suffers them: function, call, end of an argument, whether half is done
    "while the data are read": ("datasets.arrow_writer:ArrowWriter.finalize", 1),
    "while the tokenizer is trained": ("locant.training.data.preprocessing:train_tokenizer", 1),
    "while the rows are encoded": ("datasets.arrow_writer:ArrowWriter.finalize", 2),
    "while the folder is claimed": ("os:replace", 1, "run_config.yaml"),
    "in a step before the first checkpoint": (f"{TRAINER}.training_step", 3),
    "in the weights of the first checkpoint": (WEIGHTS, 1, "", True),
    "between weights and optimiser": (f"{TRAINER}._save_optimizer_and_scheduler", 1),
    "in the state of the optimiser": (OPTIMIZER, 1, "optimizer.pt", True),
    "before the random state": (f"{TRAINER}._save_rng_state", 1),
    "before the state file": (STATE, 1),
    "in the state file": (STATE, 1, "", True),
    "in an evaluation": (f"{TRAINER}.prediction_step", 1),
    "in a step after the first checkpoint": (f"{TRAINER}.training_step", 8),
    "while metrics.json is written": ("os:replace", 2, "metrics.json"),
    "while the loss curve is written": ("os:replace", 1, "loss_curve.csv"),
    "between weights and optimiser of a later checkpoint": (f"{TRAINER}._save_optimizer_and_scheduler", 2),
    "before old checkpoints are deleted": ("locant.training.run.trainer:rotate", 1),
    "when an old checkpoint is half deleted": ("shutil:rmtree", 1, "checkpoint-5", True),
    "when the next is half deleted": ("shutil:rmtree", 1, "checkpoint-10", True),
    "in the weights of the last checkpoint": (WEIGHTS, 1, "", True),
    "when the best weights are loaded": (f"{TRAINER}._load_best_model", 1),
    "while the checkpoints are averaged": ("locant.training.run.averaging:read_weights", 2),
    "in the weights of the finished model": (WEIGHTS, 1, "", True),
    "while the finished model takes its place": ("os:replace", 1, "run/model.safetensors"),
    "before the config of the finished model": ("os:replace", 1, "run/config.json"),
    "before the finished model is measured": (f"{RUN}:measure", 1),
    "while the predictions are written": ("os:replace", 1, "validation_translations.tsv"),
    "before metrics.json says that it is finished": ("os:replace", 2, "metrics.json"),
}


def kill_at(where, number, ending="", half=False):
    """Let this process kill itself at the call with this number of the function `where` (`module:name`).

    Args:
        ending: the end that one argument of a call must have for it to count.
        half: whether half of the work is done before: half of the bytes of the file that the function writes are
            written, or half of the files of the folder that it deletes, and the weights, are deleted.
    """
    owner, _, names = where.partition(":")
    owner = importlib.import_module(owner)
    *owners, name = names.split(".")
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []

    def killing(*args, **kwargs):
        paths = [Path(value) for value in (*args, *kwargs.values()) if isinstance(value, str | Path)]
        calls.extend([name] if any(str(path).endswith(ending) for path in paths) or not ending else [])
        if len(calls) < number:
            return original(*args, **kwargs)
        if half and name == "rmtree":
            files = sorted(path for path in paths[0].iterdir() if path.is_file())
            for file in {*files[: len(files) // 2], *paths[0].glob("*.safetensors")}:
                file.unlink()
        elif half:
            original(*args, **kwargs)
            path = next(path for path in paths if path.is_file())
            os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killing)


def run_in_fork(arguments, folder, kill=None):
    """The return code of `locant` in a fork of this process; its output and its cache of `datasets` are in `folder`."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        with open(folder / "log", "a") as log:
            sys.stdout = sys.stderr = log
            datasets.config.HF_DATASETS_CACHE = str(folder / "cache")
            if kill:
                kill_at(*kill)
            try:
                status = main(arguments)
            except Exception:
                traceback.print_exc()
    finally:
        os._exit(status)


@pytest.mark.skipif(
    torch.get_num_threads() > 1 or torch.accelerator.is_available(),
    reason="a fork cannot compute with the threads or the accelerator of its parent: set OMP_NUM_THREADS=1",
)
class TestKilled:
    """By SIGKILL."""

    @staticmethod
    def suffer(toy, short, tmp_path, uninterrupted, moments):
        folder, log = tmp_path / "run", tmp_path / "log"
        for moment in moments:
            status = run_in_fork(toy.arguments(folder, short), tmp_path, KILLS[moment])
            assert status == -signal.SIGKILL, f"{moment}: {log.read_text()}"
            if (folder / "config.json").exists():
                assert load_file(folder / "model.safetensors"), moment
        assert run_in_fork(toy.arguments(folder, short), tmp_path) == 0, log.read_text()
        check_ends_like(folder, uninterrupted)

    def test_three_times(self, toy, short, tmp_path, uninterrupted):
        moments = ("in the state of the optimiser", "when an old checkpoint is half deleted")
        self.suffer(toy, short, tmp_path, uninterrupted, (*moments, "while the finished model takes its place"))

    @pytest.mark.slow
    def test_at_every_moment_one_after_the_other(self, toy, short, tmp_path, uninterrupted):
        self.suffer(toy, short, tmp_path, uninterrupted, KILLS)

    @pytest.mark.slow
    def test_at_the_checkpoint_that_sigterm_asked_for(self, toy, short, tmp_path, uninterrupted, call_at):
        """And SIGKILL in the middle of it, as when a node gives a run too little time."""
        restore = call_at(GenerationTrainer, "training_step", 8, terminate)
        for kill in ((OPTIMIZER, 2, "optimizer.pt", True), (STATE, 2, "", True), None):
            status = run_in_fork(toy.arguments(tmp_path / "run", short), tmp_path, kill)
            assert status == (-signal.SIGKILL if kill else 143)
        restore()
        self.suffer(toy, short, tmp_path, uninterrupted, ())


@pytest.fixture
def call_at(monkeypatch):
    """Call a function before the `number`th call of `owner.name`."""

    def patch(owner, name, number, then):
        calls, original = itertools.count(1), getattr(owner, name)

        def calling(*args, **kwargs):
            if next(calls) == number:
                then()
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, calling)
        return lambda: monkeypatch.setattr(owner, name, original)

    return patch


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


class TestTerminated:
    """By SIGTERM: status 143, one sentence, a checkpoint at the end of the step, and no finished model."""

    @staticmethod
    def terminated(toy, config, folder, capsys, **options):
        assert toy.train(folder, config, **options) == 143
        assert not metrics(folder)["finished"]
        assert "validation" not in metrics(folder)
        assert not (folder / "config.json").exists()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        captured = capsys.readouterr()
        assert "Evaluating the model" not in captured.out
        return captured.err.splitlines()[-1]

    def test_within_an_epoch_it_goes_on_from_the_step(self, toy, short, tmp_path, uninterrupted, call_at, capsys):
        folder = tmp_path / "run"
        restore = call_at(GenerationTrainer, "training_step", 17, terminate)
        error = self.terminated(toy, short, folder, capsys)
        restore()
        assert error == (
            f"locant train: terminated: {folder} holds an unfinished run, whose last checkpoint is at step 17 of 30: "
            "repeat the command of the run to resume from this checkpoint; until then, "
            f"{folder / 'checkpoint-15'} (the best so far) can be used as a model."
        )
        assert steps_of_checkpoints(folder) == [5, 10, 15, 17]
        assert toy.train(folder, short) == 0
        assert f"Resuming training from {folder / 'checkpoint-17'}\n" in capsys.readouterr().out
        check_ends_like(folder, uninterrupted)

    def test_at_every_step_the_checkpoints_that_are_averaged_are_the_same(
        self, toy, short, tmp_path, uninterrupted, call_at, capsys
    ):
        folder = tmp_path / "run"
        for step in (26, 27):  # each run goes on from the step before and is terminated in its first step
            restore = call_at(GenerationTrainer, "training_step", step if step == 26 else 1, terminate)
            assert toy.train(folder, short) == 143
            restore()
            assert steps_of_checkpoints(folder) == [15, 20, 25, step]
        assert toy.train(folder, short) == 0
        check_ends_like(folder, uninterrupted)

    @pytest.mark.slow
    @pytest.mark.parametrize("strategy", ["epoch", "steps", "best", "no"])
    def test_with_any_strategy_it_ends_with_the_same_bits_and_history(
        self, toy, short, tmp_path, call_at, capsys, strategy
    ):
        options = {"save_strategy": strategy, "average_checkpoints": 0, "eval_strategy": "epoch"}
        if strategy == "steps":
            options["eval_strategy"] = "steps"
        if strategy == "no":
            options["load_best_model_at_end"] = False
        assert toy.train(tmp_path / "whole", short, **options) == 0
        for step in (1, 4, STEPS - 1, STEPS, STEPS + 1, 3 * STEPS - 1, 3 * STEPS):
            folder = tmp_path / f"run-{step}"
            restore = call_at(GenerationTrainer, "training_step", step, terminate)
            capsys.readouterr()
            self.terminated(toy, short, folder, capsys, **options)
            restore()
            assert toy.train(folder, short, **options) == 0
            here, there = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "whole"))
            assert all(torch.equal(here[name], there[name]) for name in there)
            here, there = metrics(folder), metrics(tmp_path / "whole")
            del here["training_seconds"], there["training_seconds"]
            assert here == there, step

    def test_in_an_evaluation_it_ends_after_it_with_its_checkpoint(self, toy, short, tmp_path, call_at, capsys):
        call_at(GenerationTrainer, "prediction_step", 2, terminate)
        self.terminated(toy, short, tmp_path / "run", capsys)
        assert [epoch["step"] for epoch in metrics(tmp_path / "run")["epochs"]] == [5, 10]
        assert steps_of_checkpoints(tmp_path / "run") == [5, 10]
        assert not is_extra(tmp_path / "run" / "checkpoint-10")

    def test_in_the_last_step_of_an_epoch_it_ends_after_the_evaluation(self, toy, short, tmp_path, call_at, capsys):
        call_at(GenerationTrainer, "training_step", STEPS, terminate)
        self.terminated(toy, short, tmp_path / "run", capsys, eval_strategy="epoch", save_strategy="epoch")
        assert [epoch["step"] for epoch in metrics(tmp_path / "run")["epochs"]] == [STEPS]
        assert steps_of_checkpoints(tmp_path / "run") == [STEPS]
        assert not is_extra(tmp_path / "run" / f"checkpoint-{STEPS}")

    def test_outside_of_training_it_ends_at_once(self, toy, short, tmp_path, call_at, capsys):
        restore = call_at(preprocessing, "train_tokenizer", 1, terminate)
        assert toy.train(tmp_path / "new", short) == 143
        restore()
        assert not (tmp_path / "new").exists()
        assert capsys.readouterr().err.splitlines()[-1] == (
            "locant train: terminated: the run had not begun to train: repeat the command of the run to start it again."
        )
        options = {"max_steps": 5}
        call_at(training_run, "measure", 1, terminate)
        assert toy.train(tmp_path / "run", short, **options) == 143
        assert not metrics(tmp_path / "run")["finished"]
        assert "whose last checkpoint is at step 5 of 5: repeat" in capsys.readouterr().err.splitlines()[-1]
        assert toy.train(tmp_path / "run", short, **options) == 0

    def test_its_extra_checkpoint_is_not_pushed(self, monkeypatch):
        pushed = []
        monkeypatch.setattr(PushingTrainer, "_push_from_checkpoint", lambda self, folder: pushed.append(folder))
        trainer = object.__new__(GenerationTrainer)
        for trainer.saves_extra_checkpoint in (False, True):
            trainer._push_from_checkpoint(f"extra: {trainer.saves_extra_checkpoint}")
        assert pushed == ["extra: False"]

    @pytest.mark.parametrize("trains", [False, True])
    def test_a_data_worker_survives_one_signal_while_the_main_process_trains(self, trains):
        is_training = torch.full((1,), float(trains)).share_memory_()
        fork = multiprocessing.get_context("fork")
        is_ready = fork.Event()

        def work():
            survive_first_sigterm(is_training, 0)
            is_ready.set()
            time.sleep(30)

        worker = fork.Process(target=work)
        worker.start()
        assert is_ready.wait(10)
        for _ in range(1 + trains):
            assert worker.is_alive()
            worker.terminate()
            worker.join(0.3 if trains and worker.exitcode is None else 10)
        worker.join(10)
        assert worker.exitcode in (143, -signal.SIGTERM)

    def test_where_data_workers_get_the_signal_too_the_checkpoint_is_saved(self, toy, short, tmp_path, call_at, capsys):
        def terminate_all():
            workers = [str(worker.pid) for worker in multiprocessing.active_children()]
            # by another process, as a worker that its parent terminates ends without an error
            subprocess.run(["kill", *workers], check=True)
            time.sleep(0.1)
            terminate()

        call_at(GenerationTrainer, "training_step", 7, terminate_all)
        error = self.terminated(toy, short, tmp_path / "run", capsys, dataloader_num_workers=1)
        assert "whose last checkpoint is at step 7 of 30" in error

    @pytest.mark.slow
    def test_two_processes_save_at_the_same_step(self, toy, short, tmp_path):
        def launch(name, **variables):
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
            command += ["-m", "locant", *toy.arguments(tmp_path / name, short)]
            environment = {**toy.environment, "PYTHONPATH": str(tmp_path), **variables}
            return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=300)

        (tmp_path / "sitecustomize.py").write_text(TERMINATION_OF_THE_LAUNCHER)
        process = launch("whole")
        assert process.returncode == 0, process.stderr
        process = launch("run", TERMINATE_AT="8")
        assert process.returncode != 0
        assert process.stderr.count("locant train: terminated: ") == 2, process.stderr
        step = steps_of_checkpoints(tmp_path / "run")[-1]
        assert step in (8, 9, 10)
        files = {path.name for path in (tmp_path / "run" / f"checkpoint-{step}").iterdir()}
        assert {"rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"} <= files
        assert launch("run").returncode == 0
        check_ends_like(tmp_path / "run", tmp_path / "whole")


TERMINATION_OF_THE_LAUNCHER = """
import os, signal, sys

def note(event, arguments):
    if event == "open" and "/checkpoint-5/" in str(arguments[0]):
        import locant.training.run.trainer as module

        original = module.GenerationTrainer.training_step

        def training_step(self, *args, **kwargs):
            if self.state.global_step + 1 == int(os.environ["TERMINATE_AT"]):
                os.kill(os.getppid(), signal.SIGTERM)
            return original(self, *args, **kwargs)

        module.GenerationTrainer.training_step = training_step

if os.environ.get("RANK") == "1" and "TERMINATE_AT" in os.environ:
    sys.addaudithook(note)
"""


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def mounted(tmp_path):
    """Mount a file system on a new folder, which is returned; skip the test where this is not permitted."""
    folders = []

    def make(*options):
        folder = tmp_path / "mounted"
        folder.mkdir()
        source = ["tmpfs"] if "tmpfs" in options else [folder]
        result = mount(*options, *source, folder)
        if result.returncode:
            pytest.skip(reason=f"mounting is not permitted here: {result.stderr.strip()}")
        folders.append(folder)
        return folder

    yield make
    for folder in folders:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class TestSystem:
    """An error of the system: status 2 and one sentence, and the run can go on from its last checkpoint."""

    @staticmethod
    def sentence(toy, config, folder, capsys, **options):
        capsys.readouterr()
        assert toy.train(folder, config, **options) == 2
        errors = capsys.readouterr().err
        assert "Traceback" not in errors
        return errors.splitlines()[-1].removeprefix("locant train: error: ")

    @pytest.mark.parametrize(
        ("kilobytes", "last"),
        [
            pytest.param(60, None, id="config", marks=pytest.mark.slow),
            pytest.param(150, None, id="weights of the first checkpoint", marks=pytest.mark.slow),
            pytest.param(620, None, id="optimiser of the first checkpoint", marks=pytest.mark.slow),
            pytest.param(1000, 5, id="weights", marks=pytest.mark.slow),
            pytest.param(1300, 5, id="optimiser"),
            pytest.param(2700, 15, id="third optimiser", marks=pytest.mark.slow),
        ],
    )
    def test_a_full_disk(self, toy, short, tmp_path, uninterrupted, mounted, capsys, kilobytes, last):
        disk = mounted("-t", "tmpfs", "-o", f"size={kilobytes}k")
        folder = disk / "run"
        error = self.sentence(toy, short, folder, capsys)
        reason, _, goes_on = error.partition(": free some space, and repeat the command of the run to ")
        assert reason == f"Access to {folder} failed (No space left on device)"
        if last is None:
            assert goes_on == f"start it again, as {folder} has no checkpoint yet."
        else:
            assert goes_on == f"resume from its last good checkpoint, {folder / f'checkpoint-{last}'} (step {last})."
        assert steps_of_checkpoints(folder) == ([] if last is None else list(range(5, last + 1, 5)))
        assert mount("-o", "remount,size=50m", disk).returncode == 0
        assert toy.train(folder, short) == 0
        check_ends_like(folder, uninterrupted)

    def test_a_folder_that_may_not_be_entered(self, toy, short, tmp_path, capsys, monkeypatch):
        original, folder = Path.exists, tmp_path / "run"

        def exists(path, **options):  # as for a user other than root
            if path == folder:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return original(path, **options)

        monkeypatch.setattr(Path, "exists", exists)
        error = self.sentence(toy, short, folder, capsys)
        assert error.startswith(f"Access to {folder} failed (Permission denied): make it readable")

    def test_a_full_disk_of_the_cache(self, toy, short, tmp_path, mounted, capsys, monkeypatch):
        cache = mounted("-t", "tmpfs", "-o", "size=20k")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
        error = self.sentence(toy, short, tmp_path / "run", capsys)
        assert error.startswith(f"Access to {cache} failed (No space left on device): free some space, and repeat the")
        assert not (tmp_path / "run").exists()

    @pytest.mark.slow
    def test_a_read_only_folder(self, toy, short, uninterrupted, mounted, call_at, capsys):
        disk = mounted("--bind")
        folder = disk / "run"
        restore = call_at(GenerationTrainer, "training_step", 7, terminate)
        assert toy.train(folder, short) == 143
        restore()
        assert mount("-o", "remount,ro,bind", disk).returncode == 0
        error = self.sentence(toy, short, folder, capsys)
        assert "failed (Read-only file system): make it readable, and writable" in error
        assert error.endswith(f"last good checkpoint, {folder / 'checkpoint-7'} (step 7).")
        assert f"Access to {disk / 'new'} failed (Read-only" in self.sentence(toy, short, disk / "new", capsys)
        assert mount("-o", "remount,rw,bind", disk).returncode == 0
        assert toy.train(folder, short) == 0
        check_ends_like(folder, uninterrupted)

    def test_a_data_worker_that_dies(self, toy, short, tmp_path, call_at, capsys):
        def kill_worker():
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

        call_at(GenerationTrainer, "training_step", 7, kill_worker)
        error = self.sentence(toy, short, tmp_path / "run", capsys, dataloader_num_workers=1)
        assert error.startswith("A process that loads data has died (")
        assert "): free some memory, or set dataloader_num_workers to 0, and repeat the command of the run to" in error
        assert error.endswith(f"last good checkpoint, {tmp_path / 'run' / 'checkpoint-5'} (step 5).")

    def test_a_truncated_shard_is_named(self, toy, short, tmp_path, capsys):
        folder = tmp_path / "shards"
        folder.mkdir()
        sources, targets = zip(*toy.pairs["train"], strict=True)
        for shard in ("train-00000.parquet", "train-00001.parquet"):
            parquet.write_table(pyarrow.table({"source": sources, "target": targets}), folder / shard)
        os.truncate(folder / "train-00001.parquet", 1000)
        sections = yaml.safe_load(short.read_text())
        sections["data"] = {"dataset_name": str(folder)}
        error = self.sentence(toy, toy.write_config("shards", sections), tmp_path / "run", capsys)
        assert error.startswith(f"{folder / 'train-00001.parquet'} cannot be read as Parquet: Parquet magic bytes not")
        assert not (tmp_path / "run").exists()
