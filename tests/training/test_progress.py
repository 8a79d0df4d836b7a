# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What is shown while a model trains."""

import re
import sys
from types import SimpleNamespace

import datasets
import pytest

from locant.training.options.arguments import TrainingArguments
from locant.training.run import progress
from locant.training.run.progress import (
    SAMPLES_FILE,
    ProgressFromStep,
    Sample,
    SampleWriter,
    ScheduleNotices,
    TimedPrinter,
    sample_rows,
    take_samples,
    warmup_warning,
)
from locant.training.run.trainer import GenerationTrainer


def state(step, epoch=None, main=True):
    return SimpleNamespace(global_step=step, epoch=epoch, max_steps=100, is_world_process_zero=main)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(progress.time, "strftime", lambda form: "12:34:56")
    return now


class TestSamples:
    @pytest.mark.parametrize(("number", "rows"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (40, [0, 20, 39])])
    def test_are_first_middle_and_last(self, number, rows):
        assert sample_rows(number) == rows

    def test_are_of_the_same_rows_whatever_their_order(self):
        outputs = {3: "D\nd", 1: "B", 2: "C", 0: "A"}
        found = take_samples(["a", "b", "c", "d"], ["1", "2", "3", "4"], outputs)
        assert found == [("a", "1", "A"), ("c", "3", "C"), ("d", "4", "D d")]
        assert take_samples([], ["1"], {0: "A"}) == []

    def test_are_printed_and_added_to_the_file(self, tmp_path, capsys):
        metrics = SimpleNamespace(samples=[])
        writer = SampleWriter(tmp_path, metrics)
        writer.on_evaluate(None, state(10, 1.0), None)
        assert list(tmp_path.iterdir()) == []
        for step, epoch, output in ((10, 1.0, "A\tB"), (20, 2.0, "C"), (20, 2.0, "D")):  # the last is repeated
            metrics.samples = [Sample("a", "b", output)]
            writer.on_evaluate(None, state(step, epoch), None)
        assert (tmp_path / SAMPLES_FILE).read_text("utf-8").splitlines() == [
            "epoch\tstep\tsource\treference\toutput",
            "1\t10\ta\tb\tA B",
            "2\t20\ta\tb\tD",
        ]
        printed = capsys.readouterr().out
        assert printed.startswith("source:    a\nreference: b\noutput:    A\tB\n")
        writer.on_evaluate(None, state(30, 3.0, main=False), None)
        assert capsys.readouterr().out == ""

    def test_of_a_run_are_translations_of_the_validation_set(self, toy, trained_run):
        header, *rows = (trained_run / SAMPLES_FILE).read_text("utf-8").splitlines()
        rows = [row.split("\t") for row in rows]
        assert header == "epoch\tstep\tsource\treference\toutput"
        assert [row[1] for row in rows] == [step for step in ("40", "80", "120") for _ in range(3)]
        assert [tuple(row[2:4]) for row in rows] == [toy.pairs["validation"][row] for row in (0, 20, 39)] * 3
        assert all(row[4].startswith("le ") for row in rows[-3:])

    def test_of_a_captioner_name_their_images(self, picture_runs):
        _, *rows = (picture_runs["captioning"] / SAMPLES_FILE).read_text("utf-8").splitlines()
        assert [row.split("\t")[2] for row in rows[:3]] == ["image 1", "image 13", "image 24"]


class TestSchedule:
    def told(self, capsys, **options):
        arguments = TrainingArguments(output_dir="unused", use_cpu=True, **options)
        ScheduleNotices(planned_steps=80).on_train_begin(arguments, state(40), None)
        return capsys.readouterr().out

    def test_another_number_of_steps_changes_a_warmup_that_is_a_share(self, capsys):
        assert self.told(capsys, warmup_steps=0.1) == (
            "The run was planned for 80 steps and now has 100, which changes the learning rate of the remaining steps; "
            "with warmup_steps 0.1 the warm-up now has 10 steps instead of 8.\n"
        )

    def test_and_a_schedule_that_ends_with_the_run(self, capsys):
        found = self.told(capsys, warmup_steps=5, lr_scheduler_type="cosine")
        assert found.endswith("which changes the learning rate of the remaining steps.\n")

    @pytest.mark.parametrize(
        ("schedule", "warmup_steps"), [("inverse_sqrt", 5), ("constant_with_warmup", 5), ("constant", 0.1)]
    )
    def test_but_no_other(self, capsys, schedule, warmup_steps):
        assert self.told(capsys, warmup_steps=warmup_steps, lr_scheduler_type=schedule) == ""

    @pytest.mark.parametrize(("schedule", "steps"), [("linear", 100), ("constant", 0)])
    def test_a_warmup_as_long_as_the_training_is_told(self, capsys, schedule, steps):
        for warmup_steps, warns in ((steps, steps > 0), (steps - 1, False), (0.1, False), (2 * steps, steps > 0)):
            arguments = TrainingArguments(
                output_dir="unused", use_cpu=True, warmup_steps=max(warmup_steps, 0), lr_scheduler_type=schedule
            )
            ScheduleNotices(planned_steps=None).on_train_begin(arguments, state(40), None)
            found = capsys.readouterr().out
            assert found.startswith(f"Warning: the warm-up has {warmup_steps:g} steps and the training 100") == warns
            assert bool(found) == warns

    def test_a_schedule_without_a_warmup_is_not_warned_of(self):
        arguments = TrainingArguments(output_dir="unused", use_cpu=True, warmup_steps=200, lr_scheduler_type="constant")
        assert warmup_warning(arguments, 100) is None
        arguments.lr_scheduler_type = "linear"
        assert warmup_warning(arguments, 100) is not None

    def test_the_same_number_changes_nothing(self, capsys):
        arguments = TrainingArguments(output_dir="unused", use_cpu=True, warmup_steps=0)
        ScheduleNotices(planned_steps=100).on_train_begin(arguments, state(40), None)
        assert capsys.readouterr().out == ""

    @pytest.mark.slow
    def test_a_run_that_is_taken_up_for_longer_says_so(self, toy, tmp_path, capsys):
        options = {"warmup_steps": 0.5, "num_train_epochs": 1}
        assert toy.train(tmp_path / "run", **options) == 0
        assert "The run was planned" not in capsys.readouterr().out
        assert toy.train(tmp_path / "run", **{**options, "num_train_epochs": 2}) == 0
        assert "The run was planned for 40 steps and now has 80" in capsys.readouterr().out


LOGGED = {
    "loss": 1.23456,
    "tokens_per_second": 8123.4,
    "steps_per_second": 0.41,
    "seconds_left": 70.2,
    "epoch": 1,
    "total_flos": 7.0,
}


def test_log_entries_are_lines_with_the_time_of_day(clock, capsys):
    args = SimpleNamespace(metric_for_best_model="bleu")
    bar = ProgressFromStep()
    bar.on_train_begin(args, state(0), None)
    bar.on_log(args, state(1), None, logs=LOGGED)
    bar.on_log(args, state(1), None, logs={"eval_loss": 2.0, "eval_bleu": 12.3})
    shown = bar.training_bar.postfix
    bar.on_train_end(args, state(1), None)
    line = (
        "12:34:56 step 1 of 100: loss 1.235, tokens_per_second 8,123, steps_per_second 0.41, epoch 1, time_left 01:10"
    )
    assert line in capsys.readouterr().out.splitlines()
    assert shown == "loss=1.235, tokens_per_second=8,123, eval_bleu=12.3"
    lines_only = SimpleNamespace(is_local_process_zero=True, global_step=1, max_steps=100)
    TimedPrinter().on_log(None, lines_only, None, logs=LOGGED)
    assert capsys.readouterr().out == f"{line}\n"


def test_disable_tqdm_hides_all_bars_and_afterwards_they_are_back(toy, tmp_path, capfd):
    datasets.enable_progress_bars()  # commands disable them for good
    assert toy.train(tmp_path / "run", max_steps=1, tokenizer_vocab_size=390) == 0  # other rows than in the cache
    assert "it/s]" not in capfd.readouterr().err
    assert not datasets.are_progress_bars_disabled()


def test_the_bar_begins_where_the_run_is_taken_up(capsys):
    bar = ProgressFromStep()
    bar.on_train_begin(None, state(90), None)
    bar.training_bar.start_t -= 10
    bar.on_step_end(None, state(92), None)
    assert bar.training_bar.format_dict["n"] == 92
    assert bar.training_bar.format_dict["initial"] == 90
    bar.training_bar.refresh()
    bar.on_train_end(None, state(92), None)
    rate = re.findall(r"92/100 .*, +([\d.]+)(s/it|it/s)", capsys.readouterr().err)[-1]
    assert rate[1] == "s/it" and float(rate[0]) > 1  # some 5 seconds a step, and not 9 steps a second


def test_a_run_draws_this_bar_and_ends_it_before_a_message(toy, tmp_path, monkeypatch, capsys):
    bars, begin = [], ProgressFromStep.on_train_begin

    def on_train_begin(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        bars.append(self.training_bar)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressFromStep, "on_train_begin", on_train_begin)
    monkeypatch.setattr(GenerationTrainer, "training_step", interrupt)
    assert toy.train(tmp_path / "run", disable_tqdm="false") == 130
    assert [bar.total for bar in bars] == [120]
    assert "\nlocant train: interrupted: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("is_terminal", "given", "hides_bars"), [(True, None, False), (False, None, True), (False, False, False)]
)
def test_bars_are_drawn_on_terminals_only_unless_asked_for(monkeypatch, tmp_path, is_terminal, given, hides_bars):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    assert TrainingArguments(output_dir=str(tmp_path), disable_tqdm=given).disable_tqdm == hides_bars
