# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
import csv
import json
import sys
from types import SimpleNamespace

import pytest

from locant.training.run import history
from locant.training.run.history import EarlyStopping, HistoryWriter, draw_curve, epoch_records, write_curve

MEASURES = ("bleu", "loss", "perplexity")
LOG = [
    {"step": 3, "epoch": 0.3, "loss": 5.0, "learning_rate": 0.1},
    {"step": 10, "epoch": 1.0, "loss": 4.0, "learning_rate": 0.1},
    {"step": 10, "epoch": 1.0, "eval_loss": 3.5, "eval_perplexity": 33.1, "eval_bleu": 1.5, "eval_runtime": 9.0},
    {"step": 20, "epoch": 2.0, "loss": 3.0},
    {"step": 20, "epoch": 2.0, "eval_loss": 2.5, "eval_perplexity": 12.2, "eval_bleu": 7.0},
]
RECORDS = [
    {
        "epoch": 1.0,
        "step": 10,
        "train_loss": pytest.approx((3 * 5.0 + 7 * 4.0) / 10),
        "validation_loss": 3.5,
        "validation_perplexity": 33.1,
        "validation_bleu": 1.5,
    },
    {
        "epoch": 2.0,
        "step": 20,
        "train_loss": 3.0,
        "validation_loss": 2.5,
        "validation_perplexity": 12.2,
        "validation_bleu": 7.0,
    },
]


class Folder:
    """A run's folder, as far as the history needs one."""

    def __init__(self, path):
        self.path = path
        self.kept = {}

    def metrics(self):
        return dict(self.kept)

    def write_metrics(self, metrics):
        self.kept = json.loads(json.dumps(metrics))


def test_training_loss_is_the_mean_over_the_steps_of_the_epoch():
    assert epoch_records(LOG) == RECORDS


def test_an_evaluation_without_a_logged_step_before_it_has_no_training_loss():
    assert epoch_records([LOG[2]])[0]["train_loss"] is None


def test_without_translations_there_is_no_bleu():
    record = epoch_records([{"step": 1, "epoch": 1.0, "eval_loss": 2.0, "eval_perplexity": 7.4}])[0]
    assert record == {
        "epoch": 1.0,
        "step": 1,
        "train_loss": None,
        "validation_loss": 2.0,
        "validation_perplexity": 7.4,
    }


def test_table_and_picture_show_the_records(tmp_path):
    pytest.importorskip("matplotlib")
    write_curve(tmp_path, epoch_records(LOG), MEASURES)
    draw_curve(tmp_path, epoch_records(LOG), MEASURES)
    with open(tmp_path / "loss_curve.csv", newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == RECORDS
    assert (tmp_path / "loss_curve.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss_curve.csv", "loss_curve.png"]


def test_picture_draws_losses_as_lines_and_bleu_on_its_own_axis(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    from locant.training.run.history import _draw

    losses, bleu = _draw(figure, epoch_records(LOG), MEASURES).axes
    assert [list(line.get_ydata()) for line in losses.lines] == [[pytest.approx(4.3), 3.0], [3.5, 2.5]]
    assert [list(line.get_xdata()) for line in losses.lines] == [[1.0, 2.0], [1.0, 2.0]]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == [
        "training (mean since the last evaluation)",
        "validation",
    ]
    assert list(bleu.lines[0].get_ydata()) == [1.5, 7.0]


@pytest.mark.parametrize("missing", ["train_loss", "validation_bleu"])
def test_records_that_lack_a_value_are_still_written(tmp_path, missing):
    records = [{**record} for record in epoch_records(LOG)]
    for record in records:
        record["train_loss"] = None
        if missing == "validation_bleu":
            del record["validation_bleu"]
    write_curve(tmp_path, records, MEASURES)
    draw_curve(tmp_path, records, MEASURES)
    with open(tmp_path / "loss_curve.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["train_loss"] for row in rows] == ["", ""]
    assert [row["validation_bleu"] for row in rows] == (["1.5", "7.0"] if missing == "train_loss" else ["", ""])


def test_without_matplotlib_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    draw_curve(tmp_path, epoch_records(LOG), MEASURES)
    assert not list(tmp_path.iterdir())


def test_pictures_are_drawn_every_ten_seconds_and_at_the_end(tmp_path, monkeypatch):
    seconds, drawn = [0.0], []
    monkeypatch.setattr(history.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(history, "draw_curve", lambda folder, records, measures: drawn.append(len(records)))
    writer = HistoryWriter(Folder(tmp_path), MEASURES)
    for seconds[0], end in ((3.0, 3), (11.0, 3), (12.0, 5)):
        state = SimpleNamespace(is_world_process_zero=True, log_history=LOG[:end])
        writer.on_evaluate(None, state, None)
    assert drawn == [1]
    writer.on_train_end(None, state, None)
    assert drawn == [1, 2]


def test_a_resumed_run_draws_the_evaluations_before_its_checkpoint(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(history, "draw_curve", lambda folder, records, measures: drawn.append(len(records)))
    for is_main in (False, True):
        writer = HistoryWriter(Folder(tmp_path), MEASURES)
        state = SimpleNamespace(
            is_world_process_zero=is_main, log_history=LOG, max_steps=9, compute_steps=lambda args, max_steps: None
        )
        writer.on_train_begin(None, state, None)
        writer.on_train_end(None, state, None)
    assert drawn == [2]


def test_each_evaluation_brings_the_metrics_up_to_date(tmp_path):
    folder = Folder(tmp_path)
    folder.kept = {"finished": True, "training_seconds": 100.0, "test": {"bleu": 1.0}}
    writer = HistoryWriter(folder, MEASURES)
    for end in (3, 5):
        state = SimpleNamespace(is_world_process_zero=True, log_history=LOG[:end])
        writer.on_evaluate(None, state, None)
        assert folder.kept["epochs"] == RECORDS[: end // 2]
    assert folder.kept["finished"] is False
    assert 100.0 <= folder.kept["training_seconds"] < 160.0


def test_other_processes_write_nothing(tmp_path):
    folder = Folder(tmp_path)
    state = SimpleNamespace(is_world_process_zero=False, log_history=LOG)
    HistoryWriter(folder, MEASURES).on_evaluate(None, state, None)
    assert folder.kept == {}
    assert list(tmp_path.iterdir()) == []


STOPPING_ARGS = SimpleNamespace(
    load_best_model_at_end=True, metric_for_best_model="loss", greater_is_better=False, eval_strategy="steps"
)


def test_early_stopping_goes_on_counting_from_the_best_evaluation():
    stopping = EarlyStopping(5)
    log = [{"step": step, name: 1.0} for step in (10, 20, 30, 40) for name in ("loss", "eval_loss")]
    control = SimpleNamespace(should_training_stop=None)
    state = SimpleNamespace(best_global_step=20, best_metric=1.0, log_history=log)
    stopping.on_train_begin(STOPPING_ARGS, state, control)
    assert stopping.early_stopping_patience_counter == 2
    assert control.should_training_stop is False


def test_early_stopping_counts_as_an_uninterrupted_run_if_the_best_evaluation_has_no_checkpoint():
    losses = {5: 0.9, 10: 0.8, 15: 0.7, 20: 0.85, 25: 0.9, 30: 0.79}  # with a checkpoint every 10 steps
    whole, control = EarlyStopping(5), SimpleNamespace(should_training_stop=None)
    state = SimpleNamespace(best_global_step=None, best_metric=None, log_history=[])
    for step, loss in losses.items():
        whole.on_evaluate(STOPPING_ARGS, state, control, {"eval_loss": loss})
        state.log_history.append({"step": step, "eval_loss": loss})
        if step % 10 == 0:  # as `RecipeTrainer._determine_best_metric` does
            if state.best_metric is None or loss < state.best_metric:
                state.best_global_step, state.best_metric = step, loss
            resumed = EarlyStopping(5)
            resumed.on_train_begin(STOPPING_ARGS, state, control)
            assert resumed.early_stopping_patience_counter == whole.early_stopping_patience_counter
            assert whole.early_stopping_patience_counter == {10: 0, 20: 1, 30: 0}[step]
