# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant search`, mostly with trials that a small script stands in for; some tests train on the toy language."""

import csv
import io
import itertools
import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import psutil
import pytest
import yaml
from optuna.storages.journal import JournalFileBackend

from locant.cli import main
from locant.commands import child_run
from locant.studies import run_process, search, search_report
from locant.studies.search_config import parse_search
from locant.studies.search_results import results_of
from locant.studies.search_storage import JOURNAL_FILE, open_study

pytestmark = pytest.mark.end_to_end

SPACE = {"d_model": [16, 32], "dropout": [0.0, 0.2]}
CELLS = [(16, 0.0), (16, 0.2), (32, 0.0), (32, 0.2)]

# Stands in for `locant.commands.child_run`: three evaluations, each after a pause; a second start continues the first
STAND_IN = """
import fcntl, json, os, signal, sys, threading, time
import yaml

folder = sys.argv[1]
sections = yaml.safe_load(open(f"{folder}/run_config.yaml"))
options = {name: value for section in sections.values() if isinstance(section, dict) for name, value in section.items()}
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
threading.Thread(target=lambda: (os.read(0, 1), os._exit(143)), daemon=True).start()
lock = open(f"{folder}/.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with open(f"{folder}/starts", "a") as file:
    file.write(os.environ["OMP_NUM_THREADS"] + chr(10))


def write(metrics):
    with open(f"{folder}/.metrics", "w") as file:
        json.dump(metrics, file)
    os.replace(f"{folder}/.metrics", f"{folder}/metrics.json")


def score(evaluation):
    return 100 * options.get("dropout", 0) + options.get("d_model", 0) + options.get("seed", 0) + evaluation


pause = 0.02
BEHAVIOUR
metrics = json.load(open(f"{folder}/metrics.json")) if os.path.exists(f"{folder}/metrics.json") else {"epochs": []}
for number in range(len(metrics["epochs"]) + 1, 4):
    time.sleep(pause)
    losses = {"train_loss": 3 / number, "validation_loss": 4 / number}
    metrics["epochs"].append({"epoch": number, "step": 10 * number, **losses, "validation_bleu": score(number)})
    write(metrics)
validation = {"bleu": score(3)}
# one atomic write says that the trial is finished, and how often: a kill cannot come between the two
metrics["finishes"] = metrics.get("finishes", 0) + 1
write({**metrics, "validation": validation, "best_step": 30, "parameters": options.get("d_model", 1), "finished": True})
"""


def replace_trials(patch, folder, behaviour=""):
    """Replace the processes of trials by `STAND_IN`, with lines of Python in the place of BEHAVIOUR."""
    script = folder / "stand_in.py"
    script.write_text(STAND_IN.replace("BEHAVIOUR", behaviour))
    patch.setattr(run_process, "COMMAND", [sys.executable, str(script)])
    patch.setattr(search, "SECONDS_BETWEEN_LOOKS", 0.01)
    patch.setattr(search, "try_out", lambda run: None)


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """`replace_trials` with a behaviour, and without pictures, which take seconds."""
    monkeypatch.setattr(search_report, "write_pictures", lambda *_: False)
    return lambda behaviour="": replace_trials(monkeypatch, tmp_path, behaviour)


@pytest.fixture(scope="module")
def write_search(toy):
    """Write the YAML file of a search on the toy language: of the section `search:`, with the options of the space."""

    def write(name="search", **section):
        sections = toy.sections()
        section = {"space": SPACE} | section
        for option in (part for key in section["space"] or {} for part in key.split(" = ")):
            for options in sections.values():
                options.pop(option, None)
        return str(toy.write_config(name, {**sections, "search": section}))

    return write


def results(file, folder):
    """The results in the folder of a search, by the number of the trial."""
    return results_of(open_study(parse_search([file, "--output_dir", str(folder)])))


def lines_of(folder, name):
    """The lines of a file in the folder of each trial, by the name of the folder; an empty list for a missing file."""
    trials = sorted(path for path in (folder / "trials").iterdir() if path.is_dir())
    return {t.name: (t / name).read_text().splitlines() if (t / name).exists() else [] for t in trials}


def start(file, folder, *options):
    """Run the search in a fork of this process, which has imported everything, and return the fork."""
    arguments = ["search", file, "--output_dir", str(folder), *options]

    def run():
        os.setsid()  # so that signals to the group reach no other process
        os._exit(main(arguments))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def searched(write_search, tmp_path_factory):
    """The file, the folder and the output of a finished search."""
    folder = tmp_path_factory.mktemp("grid")
    file = write_search("grid", repeat_cell=[32, 0.0], repeat_seeds=[7, 9], workers=2)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        replace_trials(patch, folder)
        assert main(["search", file, "--output_dir", str(folder / "out")]) == 0
    return file, folder / "out", printed.getvalue()


class TestGrid:
    def test_runs_each_cell_once_as_a_run_of_locant_train(self, searched, toy):
        file, folder, printed = searched
        found = results(file, folder)
        assert [tuple(r.values.values()) for r in found] == [(32, 0.0), (32, 0.0), *CELLS]
        assert [r.seed for r in found] == [7, 9] + [None] * 4
        assert {name: len(starts) for name, starts in lines_of(folder, "starts").items()} == {
            f"00{number}": 1 for number in range(6)
        }
        for result in found:
            written = yaml.safe_load((folder / f"trials/{result.number:03d}/run_config.yaml").read_text())
            assert {name: written["model"][name] for name in SPACE} == result.values
            assert written["training"]["output_dir"] == str(folder / f"trials/{result.number:03d}")
            assert written["training"].get("seed") == result.seed
            assert written["data"]["train_file"] == toy.files["train"]
        assert printed.count(" of 6 trials: trial 00") == 6
        assert f"The report is {folder / 'report.md'}" in printed

    def test_the_scores_of_finished_models_are_ranked(self, searched):
        file, folder, _ = searched
        assert [r.score for r in results(file, folder)] == [42, 44, 19, 39, 35, 55]
        with open(folder / "trials.csv", newline="") as table:
            rows = list(csv.DictReader(table))
        assert [row["trial"] for row in rows] == ["005", "001", "000", "003", "004", "002"]
        assert [float(row["bleu"]) for row in rows] == [55, 44, 42, 39, 35, 19]
        assert [float(row["gap"]) for row in rows] == [pytest.approx(4 / 3 - 1)] * 6
        report = (folder / "report.md").read_text("utf-8")
        assert "6 of 6 trials are complete" in report
        assert "| 005 | 32 | 0.2 |  | 55.00 | 1.000 | 1.333 | +0.333 | 32 |" in report
        assert (
            "| d_model | 16 → 32 | 29.00 | 45.00 | +16.00 | 0.00 | 4.73 |" in report
        )  # 4.73 = deviation of 35, 42, 44
        assert "| d_model 16 → 32 | dropout 0 → 0.2 | +0.00 | – | 9.45 |" in report
        assert "3 seeds of one cell (trials 000, 001, 004) have the BLEU 40.33 ± 4.73" in report
        for name in ("main_effects", "pairs", "scores"):
            assert f"]({name}.png)" in report
            assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def test_a_finished_search_starts_nothing_and_writes_the_report_again(self, searched, stand_in):
        file, folder, _ = searched
        before = (folder / "report.md").read_text("utf-8")
        (folder / "report.md").unlink()
        stand_in("sys.exit('this process was started')")
        assert main(["search", file, "--output_dir", str(folder)]) == 0
        assert (folder / "report.md").read_text("utf-8") == before
        assert set(map(len, lines_of(folder, "starts").values())) == {1}


def test_workers_run_at_a_time_and_share_the_threads(stand_in, write_search, tmp_path, monkeypatch):
    # each trial waits until another one has started too
    stand_in(
        "import glob\n"
        "while len(glob.glob(f'{folder}/../*/starts')) < 2: time.sleep(0.01)\n"
        "open(f'{folder}/together', 'w').write('x')\n"
    )
    monkeypatch.setattr(search.torch, "get_num_threads", lambda: 7)
    assert main(["search", write_search(), "--output_dir", str(tmp_path / "out"), "--workers", "2"]) == 0
    assert set(map(tuple, lines_of(tmp_path / "out", "starts").values())) == {("3",)}


def test_options_joined_by_an_equals_sign_get_one_value(write_search, tmp_path):
    found = parse_search([write_search(space={"encoder_layers = decoder_layers": [1, 3]})])
    run = found.config_of({"encoder_layers = decoder_layers": 3}, None, tmp_path / "run")
    assert (run.given["encoder_layers"], run.given["decoder_layers"]) == (3, 3)


def has_ended(pid):
    """Whether a process has ended, also if nothing has asked for its exit status yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TestKilled:
    def check_complete(self, file, folder):
        found = results(file, folder)
        assert [tuple(r.values.values()) for r in found] == CELLS
        assert [r.state for r in found] == ["complete"] * 4
        assert [r.score for r in found] == [19, 39, 35, 55]
        # a trial that is finished is never trained again, whenever the search was killed
        metrics = [json.loads(path.read_text()) for path in (folder / "trials").glob("*/metrics.json")]
        assert [finished["finishes"] for finished in metrics] == [1] * 4
        assert all(len(set(lines)) == 1 for lines in lines_of(folder, "starts").values())

    @pytest.mark.parametrize(
        ("half", "between"), [(False, 4), (True, 4), pytest.param(False, 1, marks=pytest.mark.slow)]
    )
    def test_before_or_in_a_write_of_the_study_loses_no_trial(
        self, stand_in, write_search, tmp_path, monkeypatch, half, between
    ):
        """The search is killed at its first write, is started again and killed at a later write, and so on."""
        stand_in()
        file, folder = write_search(workers=2), tmp_path / "out"
        append = JournalFileBackend.append_logs
        for last in itertools.count(1, between):
            count = itertools.count(1)

            def kill(self, logs, last=last, count=count):
                if next(count) == last:
                    if half:
                        with open(self._file_path, "ab") as journal:
                            journal.write(json.dumps(logs[0]).encode()[:20])
                    os.kill(os.getpid(), signal.SIGKILL)
                append(self, logs)

            with monkeypatch.context() as patch:
                patch.setattr(JournalFileBackend, "append_logs", kill)
                process = start(file, folder)
                process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
        assert last > 8  # it was killed at least twice
        self.check_complete(file, folder)

    def test_in_trials_goes_on_with_them(self, stand_in, write_search, tmp_path):
        stand_in(
            "record = {'epoch': 1, 'step': 10, 'train_loss': 3, 'validation_loss': 4, 'validation_bleu': score(1)}\n"
            "write({'epochs': [record]})\ntime.sleep(60)"
        )
        file, folder = write_search(workers=2), tmp_path / "out"
        process = start(file, folder)
        wait_until(lambda: all((folder / f"trials/00{number}/metrics.json").exists() for number in (0, 1)))
        process.kill()
        process.join()
        assert [r.state for r in results(file, folder)] == ["left"] * 4
        stand_in()
        process = start(file, folder)
        process.join()
        assert process.exitcode == 0
        self.check_complete(file, folder)
        assert [len(starts) for starts in lines_of(folder, "starts").values()] == [2, 2, 1, 1]

    def test_the_processes_of_trials_end_with_the_search(self, stand_in, write_search, tmp_path):
        stand_in("open(f'{folder}/pid', 'w').write(str(os.getpid()))\npause = 30")
        file, folder = write_search(), tmp_path / "out"
        process = start(file, folder)
        wait_until(lambda: (folder / "trials/000/pid").exists() and (folder / "trials/000/pid").read_text())
        process.kill()
        process.join()
        pid = int((folder / "trials/000/pid").read_text())
        wait_until(lambda: has_ended(pid))

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_a_signal_lets_the_trials_save(self, stand_in, write_search, tmp_path, capfd, number, status):
        stand_in(
            "def save(*_):\n    time.sleep(0.2)\n    open(f'{folder}/saved', 'w').write('x')\n    os._exit(143)\n"
            "signal.signal(signal.SIGTERM, save)\nsignal.signal(signal.SIGINT, lambda *_: os._exit(130))\n"
            "open(f'{folder}/ready', 'w').close()\npause = 30"
        )
        file, folder = write_search(workers=2), tmp_path / "out"
        process = start(file, folder)
        wait_until(lambda: all((folder / f"trials/00{n}/ready").exists() for n in (0, 1)))
        os.killpg(process.pid, number)
        process.join()
        assert process.exitcode == status
        assert "0 of 4 trials have ended: repeat the command of the search" in capfd.readouterr().err
        assert [lines for lines in lines_of(folder, "saved").values()] == [["x"], ["x"]]
        stand_in()
        assert main(["search", file, "--output_dir", str(folder)]) == 0
        self.check_complete(file, folder)


class TestTrials:
    def test_that_fail_are_recorded_and_the_search_goes_on(self, stand_in, write_search, tmp_path, capsys):
        stand_in(
            "if options['d_model'] == 32:\n"
            "    print('locant train: error: the loss is nan: give a smaller learning_rate.')\n    sys.exit(2)\n"
            "if options['d_model'] == 64:\n    sys.exit('RuntimeError: no kernel')\n"
        )
        # the width of 15 cannot be divided among two heads
        file, folder = write_search(space={"d_model": [16, 32, 64, 15, 128]}), tmp_path / "out"
        assert main(["search", file, "--output_dir", str(folder)]) == 0
        found = results(file, folder)
        assert [r.state for r in found] == ["complete", "failed", "failed", "failed", "complete"]
        assert found[1].error == "the loss is nan: give a smaller learning_rate."
        assert found[2].error == "exit status 1, RuntimeError: no kernel"
        assert "15" in found[3].error
        report = (folder / "report.md").read_text("utf-8")
        assert "2 of 5 trials are complete, 3 failed" in report
        assert "- Trial 001: the loss is nan: give a smaller learning_rate." in report
        assert "5 of 5 trials: trial 004" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("behaviour", "reason"),
        [
            ("os.kill(os.getpid(), signal.SIGKILL)", "the process was killed by SIGKILL"),
            (
                "print('locant train: error: Access to x failed (No space left): free some space, and repeat the "
                "command of the run to start it again.')\n    sys.exit(2)",
                "Access to x failed",
            ),
            (
                "print('locant train: error: output_dir x is in use by process 3 on another machine: wait for it.')\n"
                "    sys.exit(2)",
                "output_dir x is in use by process 3",
            ),
        ],
    )
    def test_that_are_stopped_from_outside_are_resumed(
        self, stand_in, write_search, tmp_path, capsys, behaviour, reason
    ):
        stand_in(f"if options['d_model'] == 16:\n    {behaviour}")
        file, folder = write_search(space={"d_model": [16, 32]}), tmp_path / "out"
        assert main(["search", file, "--output_dir", str(folder)]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"locant search: error: 1 of 2 trials have ended; trial 000 was stopped ({reason}")
        assert [r.state for r in results(file, folder)] == ["left", "complete"]
        stand_in()
        assert main(["search", file, "--output_dir", str(folder)]) == 0
        assert [r.state for r in results(file, folder)] == ["complete", "complete"]

    def test_that_are_stopped_go_on_in_a_folder_that_was_moved(self, stand_in, write_search, tmp_path):
        file, folder, moved = write_search(space={"d_model": [16]}), tmp_path / "out", tmp_path / "moved"
        stand_in("os.kill(os.getpid(), signal.SIGKILL)")
        assert main(["search", file, "--output_dir", str(folder)]) == 2
        folder.rename(moved)
        stand_in()
        assert main(["search", file, "--output_dir", str(moved)]) == 0
        assert not folder.exists()
        assert [r.state for r in results(file, moved)] == ["complete"]

    def test_that_fail_after_they_were_stopped_have_failed(self, stand_in, write_search, tmp_path):
        file, folder = write_search(space={"d_model": [16]}), tmp_path / "out"
        stand_in("print('locant train: error: repeat the command of the run')\nsys.exit(2)")
        assert main(["search", file, "--output_dir", str(folder)]) == 2
        stand_in("sys.exit(3)")
        assert main(["search", file, "--output_dir", str(folder)]) == 0
        assert [r.state for r in results(file, folder)] == ["failed"]

    def test_that_are_worse_than_the_median_are_pruned(self, stand_in, write_search, tmp_path):
        # the stand-in of the bad trial writes one evaluation, and would then wait
        stand_in(
            "if options['dropout'] == 0:\n"
            "    record = {'epoch': 1, 'step': 10, 'train_loss': 3, 'validation_loss': 4, 'validation_bleu': 1.5}\n"
            "    write({'epochs': [record]})\n    time.sleep(20)\n"
        )
        rates = [0.1, 0.2, 0.3, 0.4, 0.5, 0.0]
        file, folder = write_search(space={"dropout": rates}, pruning=True), tmp_path / "out"
        assert main(["search", file, "--output_dir", str(folder)]) == 0
        found = results(file, folder)
        assert [r.state for r in found] == ["complete"] * 5 + ["pruned"]
        assert found[5].score == 1.5
        report = (folder / "report.md").read_text("utf-8")
        assert "5 of 6 trials are complete, 1 pruned" in report and "1.50 (pruned)" in report
        assert "| dropout | 0.1 → 0.5 |" in report and "→ 0 |" not in report
        assert main(["search", file, "--output_dir", str(folder)]) == 0
        assert [len(starts) for starts in lines_of(folder, "starts").values()] == [1] * 6


class TestSamplers:
    SPACE = {"learning_rate": {"low": 0.0001, "high": 0.01, "log": True}, "d_model": [16, 32, 64]}  # noqa: RUF012

    @pytest.mark.parametrize("sampler", ["random", pytest.param("tpe", marks=pytest.mark.slow)])
    def test_draw_within_the_space_and_anew_when_the_search_is_resumed(self, stand_in, write_search, tmp_path, sampler):
        stand_in()
        values = {}
        for name, counts in (("whole", [4]), ("resumed", [2, 4])):
            for trials in counts:
                file = write_search(space=self.SPACE, sampler=sampler, trials=trials)
                assert main(["search", file, "--output_dir", str(tmp_path / name)]) == 0
            values[name] = [r.values for r in results(file, tmp_path / name)]
        assert values["whole"] == values["resumed"]
        assert len({drawn["learning_rate"] for drawn in values["whole"]}) == 4
        assert all(0.0001 <= drawn["learning_rate"] <= 0.01 for drawn in values["whole"])
        assert all(drawn["d_model"] in (16, 32, 64) for drawn in values["whole"])

    def test_cannot_take_trials_back(self, stand_in, write_search, tmp_path, capsys):
        stand_in()
        for trials, status in ((2, 0), (1, 2)):
            file = write_search(space=self.SPACE, sampler="random", trials=trials)
            assert main(["search", file, "--output_dir", str(tmp_path / "out")]) == status
        assert "holds a search of 2 trials, but this search has 1" in capsys.readouterr().err


class TestFolder:
    def test_of_another_search_is_refused(self, stand_in, write_search, tmp_path, capsys):
        stand_in()
        folder = str(tmp_path / "out")
        assert main(["search", write_search(), "--output_dir", folder]) == 0
        assert main(["search", write_search(), "--output_dir", folder, "--learning_rate", "0.5"]) == 2
        assert "holds a different search, with learning_rate 0.01 and not 0.5" in capsys.readouterr().err
        other = write_search(space=SPACE | {"dropout": [0.0, 0.3]})
        assert main(["search", other, "--output_dir", folder]) == 2
        assert "holds a different search, with search." in capsys.readouterr().err

    def test_of_other_files_is_refused(self, write_search, tmp_path, capsys):
        (tmp_path / "letter.txt").write_text("x")
        assert main(["search", write_search(), "--output_dir", str(tmp_path)]) == 2
        assert "is not empty, and has no study.journal" in capsys.readouterr().err

    def test_of_a_running_search_is_refused(self, stand_in, write_search, tmp_path, capsys):
        stand_in("pause = 30")
        file, folder = write_search(), tmp_path / "out"
        process = start(file, folder)
        wait_until(lambda: (folder / "trials/000/starts").exists())
        assert main(["search", file, "--output_dir", str(folder)]) == 2
        assert "is in use by another search" in capsys.readouterr().err
        process.terminate()
        process.join()


class TestWhatCannotBe:
    """Each is one sentence on standard error, exit status 2, and nothing written."""

    @pytest.mark.parametrize(
        ("section", "expected"),
        [
            ({"space": None}, "space is None"),
            ({"space": {"d_modell": [1]}}, "did you mean d_model"),
            ({"space": {"d_model": 16}}, "must be a list of values"),
            ({"space": {"d_model": [16, "x"]}}, "d_model is 'x' .*must be a whole number"),
            ({"space": {"d_model": [16, 16]}}, "d_model in space has a value twice"),
            ({"space": {"d_model": [None]}}, "has no value, or the value null"),
            ({"space": {"output_dir": ["a"]}}, "no search can vary"),
            ({"space": {"d_model": [16], "d_model = encoder_layers": [1]}}, "space has d_model twice"),
            ({"space": {"dropout": {"low": 0.2, "high": 0.1}}}, "low < high"),
            ({"space": {"dropout": {"low": 0.1, "max": 0.2}}}, "max is not a key of the range"),
            ({"space": {"dropout": {"low": 0.1, "high": 0.2}}}, "dropout in space is a range .*set sampler to random"),
            ({"sampler": "gird"}, "sampler is 'gird' .*one of grid, random, tpe"),
            ({"sampler": "random"}, "trials is None .*whole number"),
            ({"trials": 5}, "trials is given .*number of trials of a grid follows from its cells"),
            ({"cells": [[16, 0.5]]}, "cells has 0.5 for dropout"),
            ({"cells": [[16]]}, "a cell must be a list of 2 values"),
            ({"cells": [[16, 0.0], [16, 0.0]]}, "twice"),
            ({"repeat_seeds": [1]}, "without repeat_cell"),
            ({"repeat_cell": [16, 0.0], "repeat_seeds": ["a"]}, "a seed must be a whole number"),
            ({"repeat_cell": [16, 0.0], "repeat_seeds": [7, 8, 7]}, "repeat_seeds has 7 twice"),
            ({"repeat_cell": [16, 0.0], "repeat_seeds": [42]}, "repeat_seeds has 42 .*the seed of all other trials"),
            ({"metric": ["bleu"]}, "metric is .'bleu'. .*bleu, loss, perplexity"),
            ({"metric": "blue"}, "metric is 'blue' .*bleu, loss, perplexity"),
            ({"workers": 0}, "workers is 0 .*at least 1"),
            ({"pruning": "yes"}, "pruning is 'yes' .*one of false, true"),
            ({"trails": 5}, "trails is not a key of search:"),
        ],
    )
    def test_section(self, write_search, tmp_path, capsys, section, expected):
        file = write_search("wrong", **section)
        assert main(["search", file, "--output_dir", str(tmp_path / "out")]) == 2
        printed = capsys.readouterr().err
        assert len(printed.splitlines()) == 1
        assert re.search(f"^locant search: error: .*{expected}", printed)
        assert not (tmp_path / "out").exists()

    def test_an_option_that_is_given_and_searched(self, write_search, capsys):
        assert main(["search", write_search(), "--d_model", "64"]) == 2
        assert "d_model is given as 64, but the search has values for it" in capsys.readouterr().err

    def test_an_option_of_a_single_run(self, write_search, capsys):
        assert main(["search", write_search(), "--push_to_hub", "true"]) == 2
        assert (
            "push_to_hub cannot be given for a search, because it would apply to each trial: leave it out, and push"
            in capsys.readouterr().err
        )

    def test_section_search_in_a_plain_run(self, write_search, capsys):
        assert main(["train", write_search()]) == 2
        assert "is a section for locant search: run this command" in capsys.readouterr().err

    def test_an_error_of_the_dry_run_ends_the_search(self, write_search, tmp_path, capsys, monkeypatch):
        def fail(command, **options):
            assert yaml.safe_load(Path(command[-2]).read_text())["model"]["d_model"] == 16
            return subprocess.CompletedProcess(command, 2, stderr="locant train: error: a.en cannot be read.\n")

        monkeypatch.setattr(subprocess, "run", fail)
        assert main(["search", write_search(), "--output_dir", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err == "locant search: error: a.en cannot be read.\n"
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_data_that_are_missing_are_found_before_the_first_trial(self, write_search, tmp_path, capsys):
        files = ["--train_file", "none.en", "none.fr"]
        assert main(["search", write_search(), "--output_dir", str(tmp_path / "out"), *files]) == 2
        assert re.fullmatch("locant search: error: .*none.en.*\n", capsys.readouterr().err)
        assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def examples():
    folder = Path(__file__).parents[2] / "examples"
    return {name: parse_search([str(folder / f"{name}.yaml")]) for name in ("ted_search", "ted_search_half")}


class TestExamples:
    def test_the_grid_has_32_cells_and_the_half_16_of_them(self, examples):
        whole, half = ([p.values for p in found.planned if p.seed is None] for found in examples.values())
        assert len(whole) == 32 and len(half) == 16
        assert all(cell in whole for cell in half)
        given = [dict(found.given, output_dir=None) for found in examples.values()]
        assert given[0] == given[1]

    def test_the_reported_best_cell_is_in_both_and_has_three_seeds(self, examples):
        for found in examples.values():
            best = [p.seed for p in found.planned if list(p.values.values()) == [1, 2, 256, 8, 0.1]]
            assert best == [43, 44, None]

    def test_the_half_is_of_resolution_v(self, examples):
        """Main effects and interactions of two are 15 contrasts of 16 cells, of which no two are mixed up."""
        found = examples["ted_search_half"]
        cells = [p.values for p in found.planned if p.seed is None]
        signs = [[1 if cell[h.name] == h.values[1] else -1 for cell in cells] for h in found.space]
        contrasts = signs + [[a * b for a, b in zip(*pair, strict=True)] for pair in itertools.combinations(signs, 2)]
        assert len(contrasts) == 15
        assert all(sum(contrast) == 0 for contrast in contrasts)
        for one, other in itertools.combinations(contrasts, 2):
            assert sum(a * b for a, b in zip(one, other, strict=True)) == 0


class TestProcessOfATrial:
    """`locant.commands.child_run`, in a fork, with a function in the place of `locant train`."""

    def start(self, monkeypatch, folder, train):
        reading, writing = os.pipe()

        def run():
            os.dup2(reading, 0)
            os.close(writing)
            sys.stdin = os.fdopen(0)
            os._exit(child_run.main(folder))

        monkeypatch.setattr("locant.cli.main", train)
        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
        os.close(reading)
        return process, writing

    def test_gets_sigterm_when_the_search_ends(self, monkeypatch, tmp_path):
        process, pipe = self.start(monkeypatch, tmp_path, lambda arguments: time.sleep(20))
        time.sleep(0.2)
        assert process.is_alive()
        os.close(pipe)
        process.join()
        assert process.exitcode == -signal.SIGTERM

    def test_waits_for_the_process_of_a_killed_search(self, monkeypatch, tmp_path):
        def train(arguments):
            for event in ("begin", "end"):
                with open(tmp_path / "events", "a") as events:
                    print(event, *arguments, file=events)
                time.sleep(0.3)
            return 7

        started = [self.start(monkeypatch, tmp_path, train) for _ in range(2)]
        for process, pipe in started:
            process.join()
            assert process.exitcode == 7
            os.close(pipe)
        arguments = f"train {tmp_path / 'run_config.yaml'}"
        assert (tmp_path / "events").read_text().splitlines() == [f"begin {arguments}", f"end {arguments}"] * 2


@pytest.mark.slow
def test_a_search_that_is_killed_again_and_again_ends_like_one_that_is_not(write_search, toy, tmp_path):
    """Trials are trained; the search gets SIGKILL at random moments, and every second time its trials get it too."""
    file = write_search(space={"d_model": [16, 32], "learning_rate": [0.01, 0.001]}, workers=2)
    environment = toy.environment | {"OMP_NUM_THREADS": "1"}
    folders = {name: tmp_path / name for name in ("killed", "whole")}

    def command(name):
        return [sys.executable, "-P", "-m", "locant", "search", file, "--output_dir", str(folders[name])]

    draw = random.Random(5)
    for turn in range(4):
        process = subprocess.Popen(command("killed"), env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)
        wait_until((folders["killed"] / JOURNAL_FILE).exists, 300)
        time.sleep(draw.uniform(2, 30))
        trials = psutil.Process(process.pid).children() if turn % 2 else []
        process.kill()
        for child in trials:
            child.kill()
        process.wait()
    for name in folders:
        subprocess.run(command(name), env=environment, cwd=tmp_path, check=True, timeout=900)
    killed, whole = (results(file, folder) for folder in folders.values())
    assert [(r.state, r.values, r.score) for r in killed] == [(r.state, r.values, r.score) for r in whole]
    assert not any(math.isnan(r.score) for r in killed)
    for number in range(4):
        weights = [(folder / f"trials/00{number}/model.safetensors").read_bytes() for folder in folders.values()]
        assert weights[0] == weights[1]
