# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The study of position encodings: what it measures, that it can be repeated, and that it goes on where it stopped."""

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.modeling.positions import DistanceBias, PositionEncoding, register_position_encoding
from locant.modeling.positions.base import _CLASSES
from locant.studies import position_report, position_study
from locant.studies.position_study import (
    Outcome,
    StudySize,
    Training,
    _mapped,
    _train_in_worker,
    optimise,
    run_study,
    train,
)
from locant.training.errors import InputError

SMALL = StudySize(order_steps=90, length_steps=60, train_length=16)
TINY = StudySize(order_steps=2, length_steps=2, train_length=16)


def accuracies(rows):
    return {(row["part"], row["encoding"], row["seed"], row["length"], row["measure"]): row["accuracy"] for row in rows}


def read(folder):
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def outcomes():
    """What a training of each part gives, for an encoding without position and one with it."""
    return {
        (part, encoding): train(Training(part, encoding, 0), SMALL)
        for part in position_study.PARTS
        for encoding in ("none", "shaw")
    }


@pytest.fixture
def trained(monkeypatch):
    """The trainings of a run in which nothing is computed or drawn; `trained.stop_at` is one that is interrupted."""

    class Trained(list):
        stop_at = None

        def __call__(self, training, size):
            if training == self.stop_at:
                raise KeyboardInterrupt
            self.append(training)
            known = {**training._asdict(), "seconds": 0.5}
            if training.part == "word_order":
                measures = [(4, "sentence"), (4, "pair")]
            else:
                measures = [(16 * factor, name) for factor in (1, 2, 4, 8) for name in ("before", "nearest")]
            rows = [{**known, "length": length, "measure": name, "accuracy": 0.25} for length, name in measures]
            return Outcome(rows, np.full((4, 16, 16), 1 / 16) if training.part == "length" else None)

    trained = Trained()
    monkeypatch.setattr(position_study, "train", trained)
    monkeypatch.setattr(position_report, "write_pictures", lambda *arguments: False)
    return trained


@pytest.mark.end_to_end
class TestTraining:
    def test_without_position_at_most_one_sentence_of_a_pair_is_right(self, outcomes):
        rows = {row["measure"]: row["accuracy"] for row in outcomes["word_order", "none"].rows}
        assert 0.2 < rows["sentence"] <= 0.5
        assert rows["pair"] == 0

    def test_with_position_both_are(self, outcomes):
        rows = {row["measure"]: row["accuracy"] for row in outcomes["word_order", "shaw"].rows}
        assert rows["sentence"] > 0.9
        assert rows["sentence"] >= rows["pair"] > 0.8

    def test_the_distance_is_learned_with_position_only(self, outcomes):
        found, guessed = (
            {row["length"]: row["accuracy"] for row in outcomes["length", name].rows if row["measure"] == "before"}
            for name in ("shaw", "none")
        )
        assert list(found) == [16, 32, 64, 128]
        assert found[16] > 2 * guessed[16]

    def test_attention_without_position_is_uniform(self, outcomes):
        np.testing.assert_allclose(outcomes["length", "none"].attention, np.full((4, 16, 16), 1 / 16), atol=1e-6)

    def test_attention_with_position_is_not_and_adds_up(self, outcomes):
        attention = outcomes["length", "shaw"].attention
        np.testing.assert_allclose(attention.sum(-1), np.ones((4, 16)), atol=1e-5)
        assert np.abs(attention - 1 / 16).max() > 0.005

    @pytest.mark.slow
    def test_the_seed_decides_and_nothing_outside_is_changed(self):
        torch.manual_seed(5)
        expected, threads = torch.rand(3), torch.get_num_threads()
        torch.manual_seed(5)
        first, again, other = (train(Training("length", "rotary", seed), TINY) for seed in (1, 1, 2))
        assert torch.equal(torch.rand(3), expected)
        assert torch.get_num_threads() == threads
        assert accuracies(first.rows) == accuracies(again.rows)
        np.testing.assert_array_equal(first.attention, again.attention)
        assert not np.array_equal(first.attention, other.attention)

    @pytest.mark.slow
    @pytest.mark.parametrize("encoding", POSITION_ENCODINGS)
    @pytest.mark.parametrize("part", position_study.PARTS)
    def test_every_encoding_is_measured(self, part, encoding):
        size = StudySize(order_steps=40, length_steps=2, train_length=16)  # so that some sentences are right
        one, other = ([row["accuracy"] for row in train(Training(part, encoding, n), size).rows] for n in (0, 1))
        assert len(one) == len(other) == {"word_order": 2, "length": 8}[part]
        assert all(0 <= accuracy <= 1 for accuracy in one)
        assert one[0] > 0
        assert one != other


class TestRun:
    def test_everything_is_trained_once_a_seed_and_written_down(self, trained, tmp_path):
        report = run_study(tmp_path / "study", seeds=[0, 1], size=TINY, show_progress=False)
        assert report == tmp_path / "study" / "report.md"
        assert len(trained) == len(set(trained)) == 2 * 2 * len(POSITION_ENCODINGS)
        assert {training.encoding for training in trained} == set(POSITION_ENCODINGS)
        assert [training.seed for training in trained] == sorted(training.seed for training in trained)
        rows = read(tmp_path / "study")
        assert len(rows) == 10 * 2 * len(POSITION_ENCODINGS)
        assert rows[0] == {
            **{"part": "word_order", "encoding": "none", "seed": "0", "length": "4", "measure": "sentence"},
            **{"accuracy": "0.25", "seconds": "0.5"},
        }

    def test_what_was_interrupted_goes_on_with_what_is_missing(self, trained, tmp_path):
        trained.stop_at = Training("word_order", "rotary", 0)
        with pytest.raises(KeyboardInterrupt):
            run_study(tmp_path, ["none", "rotary"], [0], TINY, show_progress=False)
        assert len(read(tmp_path)) == 10
        assert not (tmp_path / "report.md").exists()
        trained.clear()
        trained.stop_at = None
        run_study(tmp_path, ["none", "rotary"], [0], TINY, show_progress=False)
        assert trained == [Training("word_order", "rotary", 0), Training("length", "rotary", 0)]
        assert len(read(tmp_path)) == 20

    def test_a_finished_study_takes_further_encodings_and_seeds(self, trained, tmp_path):
        run_study(tmp_path, ["none"], [0], TINY, show_progress=False)
        run_study(tmp_path, ["t5"], [0, 3], TINY, show_progress=False)
        assert {(row["encoding"], row["seed"]) for row in read(tmp_path)} == {("none", "0"), ("t5", "0"), ("t5", "3")}
        report = (tmp_path / "report.md").read_text(encoding="utf-8")
        assert "| none | 25.0 | 25.0 |" in report
        assert "| t5 | 25.0 ± 0.0 | 25.0 ± 0.0 |" in report

    def test_a_study_of_another_size_is_left_alone(self, trained, tmp_path):
        run_study(tmp_path, ["none"], [0], TINY, show_progress=False)
        before = (tmp_path / "results.csv").read_bytes()
        message = r"holds a study with length_steps 2 and not 60: give another output_dir, or the same length_steps\.$"
        with pytest.raises(InputError, match=message):
            run_study(tmp_path, ["t5"], [0], StudySize(2, 60, 16), show_progress=False)
        assert (tmp_path / "results.csv").read_bytes() == before
        kept = json.loads((tmp_path / "study.json").read_text())
        assert kept == {"order_steps": 2, "length_steps": 2, "train_length": 16}

    def test_a_second_study_in_the_folder_is_refused(self, trained, tmp_path):
        run_study(tmp_path, ["none"], [0], TINY, show_progress=False)
        with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="is in use by another study"):
            run_study(tmp_path, ["none"], [1], TINY, show_progress=False)
        assert {row["seed"] for row in read(tmp_path)} == {"0"}

    def test_a_folder_of_something_else_is_left_alone(self, trained, tmp_path):
        (tmp_path / "thesis.tex").write_text("x")
        with pytest.raises(InputError, match=r"is not empty, and has no study\.json"):
            run_study(tmp_path, ["none"], [0], TINY)
        with pytest.raises(InputError, match="is a file"):
            run_study(tmp_path / "thesis.tex", ["none"], [0], TINY)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_an_unknown_encoding_is_an_error_that_names_the_right_one(self, tmp_path):
        with pytest.raises(InputError, match=r"'rope' is not a position encoding; .* is \"rotary\"\.$"):
            run_study(tmp_path / "study", ["none", "rope"])
        assert not (tmp_path / "study").exists()

    def test_too_short_a_length_is_an_error(self):
        with pytest.raises(InputError, match=r"^train_length is 8, .* give at least 16\.$"):
            StudySize(train_length=8)


class BackwardsBias(DistanceBias):
    """No token sees a later one."""

    def of_distance(self, head, distance):
        return torch.where(distance > 0, -1e4, 0.0)


class Backwards(PositionEncoding):
    @classmethod
    def bias_types(cls, config):
        return frozenset({"pointwise"})

    def shared_bias(self, position, index):
        return BackwardsBias(index)


@pytest.fixture
def backwards():
    register_position_encoding("backwards", Backwards)
    yield
    del POSITION_ENCODINGS["backwards"], _CLASSES["backwards"]


@pytest.mark.slow
def test_an_encoding_from_outside_takes_part(backwards, tmp_path):
    run_study(tmp_path, seeds=[0], encodings=["backwards"], size=TINY, show_progress=False)
    assert {row["encoding"] for row in read(tmp_path)} == {"backwards"}
    attention = np.load(tmp_path / "attention" / "backwards-0.npy")
    assert np.triu(attention[0], 1).max() == 0
    assert attention[0, 0, 0] == 1


def test_an_encoding_that_a_worker_does_not_know_is_an_error():
    with pytest.raises(InputError, match="backwards is not registered in the worker processes"):
        _train_in_worker(Training("length", "backwards", 0), TINY)


def end_at_seed_one(training, size):
    if training.seed == 1:
        Path(os.environ["KILLED"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return training


@pytest.mark.end_to_end
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_worker_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("KILLED", str(tmp_path / "killed"))
    monkeypatch.setattr(position_study, "_train_in_worker", end_at_seed_one)
    todo = [Training("length", "none", seed) for seed in range(3)]
    with pytest.raises(InputError, match="A worker process ended unexpectedly"), _mapped(todo, TINY, 2) as outcomes:
        list(outcomes)
    assert (tmp_path / "killed").exists()


def test_a_training_that_diverges_gives_no_result():
    model = torch.nn.Linear(2, 1)
    with pytest.raises(RuntimeError, match="non-finite"):
        optimise(model, lambda: model(torch.full((1, 2), torch.inf)).sum() * 0, 3)


@pytest.mark.slow
def test_workers_do_not_change_the_results(tmp_path):
    for workers in (1, 2):
        run_study(tmp_path / str(workers), ["none", "learned"], [0], TINY, workers, show_progress=False)
    one, two = ([{**row, "seconds": None} for row in read(tmp_path / str(workers))] for workers in (1, 2))
    assert one == two
