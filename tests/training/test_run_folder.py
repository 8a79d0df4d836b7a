# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Which run an output folder belongs to, how far the run got, and that these checks do not change the folder."""

import json
import os
import shutil
import time

import pytest

from locant.training.errors import InputError
from locant.training.options.run_config import parse_run_config
from locant.training.run import ownership
from locant.training.run.run_folder import RunFolder, explain_unfinished, holds_unfinished_run, mark_extra
from locant.utils.run_files import RUN_CONFIG_FILE


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def run_config(folder, *options):
    return parse_run_config(["--output_dir", str(folder), "--train_file", "a.en", "a.fr", *options])


def claimed(folder, *options):
    run_folder = RunFolder(run_config(folder, *options))
    folder.mkdir(exist_ok=True)
    run_folder.claim({"train": "a", "validation": "b"})
    return run_folder


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def make_checkpoint(folder, step, state="{}"):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


class TestWhoseItIs:
    def test_a_new_or_empty_folder_is_anyones(self, folder):
        RunFolder(run_config(folder))
        assert not folder.exists()
        folder.mkdir()
        assert not RunFolder(run_config(folder)).is_finished()
        assert list(folder.iterdir()) == []

    def test_the_folder_of_the_model_that_is_fine_tuned_is_refused(self, folder):
        claimed(folder)
        with pytest.raises(InputError, match=r"is the folder of the model that is to be fine-tuned: give"):
            RunFolder(run_config(folder, "--model_name_or_path", str(folder)))

    def test_a_checkpoint_of_another_number_of_processes_is_refused(self, folder):
        run_folder = claimed(folder)
        run_folder.write_metrics({"processes": 2})
        run_folder.check_processes(1)
        checkpoint = make_checkpoint(folder, 3)
        run_folder.check_processes(2)
        with pytest.raises(InputError, match="is a checkpoint of 2 processes, but this command has 1: use the same"):
            run_folder.check_processes(1)
        assert checkpoint.is_dir()

    def test_a_folder_with_other_things_is_refused(self, folder):
        folder.mkdir()
        (folder / "thesis.txt").write_text("years of work")
        before = contents(folder)
        with pytest.raises(
            InputError, match=r"is not empty, and has no run_config\.yaml, .*: give another output_dir\.$"
        ):
            RunFolder(run_config(folder))
        assert contents(folder) == before

    def test_a_file_is_refused(self, folder):
        folder.write_text("text")
        with pytest.raises(InputError, match="is a file: give another output_dir"):
            RunFolder(run_config(folder))
        assert folder.read_text() == "text"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--learning_rate", "0.1"], r"learning_rate 0\.0005 and not 0\.1"),
            (["--seed", "1"], "seed 42 and not 1"),
            (["--d_model", "64"], "d_model .* and not 64"),
            (["--train_file", "b.en", "b.fr"], r"train_file \['a.en', 'a.fr'\] and not \['b.en', 'b.fr'\]"),
            (["--validation_split", "0.1"], r"validation_split 0\.05 and not 0\.1"),
            (["--bpe_dropout", "0.1"], r"bpe_dropout 0\.0 and not 0\.1"),
            (["--per_device_train_batch_size", "4"], "per_device_train_batch_size 32 and not 4"),
        ],
    )
    def test_a_different_run_is_refused(self, folder, options, message):
        claimed(folder)
        before = contents(folder)
        with pytest.raises(InputError, match=f"holds a different run, with {message}: give another output_dir"):
            RunFolder(run_config(folder, *options))
        assert contents(folder) == before

    def test_an_option_that_is_left_out_now_is_a_difference_too(self, folder):
        claimed(folder, "--weight_decay", "0.01")
        with pytest.raises(InputError, match=r"with weight_decay 0\.01 and not 0\.0: give"):
            RunFolder(run_config(folder))

    def test_an_option_that_is_given_now_as_its_default_is_none(self, folder):
        claimed(folder)
        RunFolder(run_config(folder, "--learning_rate", "5e-4", "--bpe_dropout", "0", "--seed", "42"))

    def test_the_default_of_a_field_is_a_difference_where_a_preset_sets_it(self, folder):
        claimed(folder, "--preset", "tiny")
        with pytest.raises(InputError, match=r"holds a different run, with d_model .* and not 512"):
            RunFolder(run_config(folder, "--preset", "tiny", "--d_model", "512"))

    @pytest.mark.parametrize(
        "options",
        [
            ["--num_train_epochs", "20"],
            ["--max_steps", "20"],
            ["--early_stopping_patience", "3"],
            ["--average_checkpoints", "4"],
            ["--num_beams", "2"],
            ["--test_file", "t.en", "t.fr"],
            ["--logging_steps", "7"],
            ["--save_total_limit", "9"],
            ["--per_device_eval_batch_size", "1"],
            ["--dry_run"],
        ],
        ids=lambda options: options[0].lstrip("-"),
    )
    def test_what_makes_no_other_weights_may_change(self, folder, options):
        claimed(folder)
        before = contents(folder)
        RunFolder(run_config(folder, *options))
        assert contents(folder) == before

    @pytest.mark.parametrize("split", ["train", "validation"])
    def test_other_data_under_the_same_names_are_refused(self, folder, split):
        run_folder, data = claimed(folder), {"train": "a", "validation": "b"}
        run_folder.check_data(data)
        with pytest.raises(InputError, match=f"holds a run whose {split} data have changed since"):
            run_folder.check_data({**data, split: "c"})

    def test_a_folder_that_was_moved_is_still_the_runs(self, folder, tmp_path):
        claimed(folder)
        folder.rename(tmp_path / "moved")
        RunFolder(run_config(tmp_path / "moved"))

    def test_a_kill_while_it_was_claimed_leaves_it_free(self, folder):
        folder.mkdir()
        (folder / f".123.{RUN_CONFIG_FILE}").write_text("model")
        RunFolder(run_config(folder))

    def test_no_access_token_is_kept(self, folder):
        claimed(folder, "--hub_token", "hf_secret")
        assert "hf_secret" not in (folder / RUN_CONFIG_FILE).read_text()
        RunFolder(run_config(folder, "--hub_token", "hf_other"))


class TestFinished:
    def test_only_when_the_metrics_say_so(self, folder):
        run_folder = claimed(folder)
        assert not run_folder.is_finished()
        run_folder.write_metrics({"finished": False})
        assert not run_folder.is_finished()
        run_folder.write_metrics({"finished": True, "epochs": [1.5]})
        assert run_folder.is_finished()
        assert RunFolder(run_config(folder)).is_finished()
        assert run_folder.metrics() == {"finished": True, "epochs": [1.5]}

    def test_a_longer_run_is_not(self, folder):
        claimed(folder).write_metrics({"finished": True})
        assert not RunFolder(run_config(folder, "--num_train_epochs", "20")).is_finished()

    def test_a_longer_run_that_was_claimed_is_not_until_it_says_so(self, folder):
        claimed(folder).write_metrics({"finished": True, "epochs": [1.5]})
        longer = claimed(folder, "--num_train_epochs", "20")
        assert not longer.is_finished()
        assert longer.metrics()["epochs"] == [1.5]


class TestCheckpoints:
    def test_complete_ones_in_the_order_of_their_steps(self, folder):
        run_folder = RunFolder(run_config(folder))
        assert run_folder.checkpoints() == []
        assert run_folder.last_checkpoint() is None
        paths = {step: make_checkpoint(folder, step) for step in (100, 20, 3)}
        assert run_folder.checkpoints() == [paths[3], paths[20], paths[100]]
        assert run_folder.last_checkpoint() == paths[100]

    def test_a_given_one_of_another_run_is_only_for_the_beginning(self, folder, tmp_path):
        given = make_checkpoint(tmp_path / "other", 50)
        run_folder = RunFolder(run_config(folder, "--resume_from_checkpoint", str(given)))
        assert run_folder.last_checkpoint() == given
        own = make_checkpoint(folder, 40)
        assert run_folder.last_checkpoint() == own

    def test_a_given_one_that_is_not_the_last_of_the_run_is_refused(self, folder):
        claimed(folder)
        first, last = (make_checkpoint(folder, step) for step in (10, 20))
        assert RunFolder(run_config(folder, "--resume_from_checkpoint", str(last))).last_checkpoint() == last
        with pytest.raises(InputError, match=r"checkpoint-10 is older than .*checkpoint-20 of the same run"):
            RunFolder(run_config(folder, "--resume_from_checkpoint", str(first)))

    @pytest.mark.parametrize("state", [None, "", '{"global_step": 12, "log_hi', "\x00\x00\x00", "[1, 2]", '{"x": 1}'])
    def test_half_written_ones_are_passed_over(self, folder, state):
        run_folder = RunFolder(run_config(folder))
        complete = make_checkpoint(folder, 10)
        make_checkpoint(folder, 20, state)
        assert run_folder.last_checkpoint() == complete
        shutil.rmtree(complete)
        assert run_folder.last_checkpoint() is None

    def test_regular_ones_leave_out_those_of_sigterm(self, folder):
        run_folder = RunFolder(run_config(folder))
        regular, extra = make_checkpoint(folder, 10), make_checkpoint(folder, 15)
        mark_extra(extra, True)
        assert run_folder.regular_checkpoints() == [regular]
        assert run_folder.last_checkpoint() == extra
        mark_extra(extra, False)
        assert run_folder.regular_checkpoints() == [regular, extra]


class TestUnfinished:
    def test_a_run_without_a_model_is_unfinished(self, folder):
        assert not holds_unfinished_run(folder)
        claimed(folder)
        assert holds_unfinished_run(folder)
        (folder / "config.json").write_text("{}")
        assert not holds_unfinished_run(folder)

    def test_without_a_checkpoint_it_begins_again(self, folder):
        claimed(folder)
        assert explain_unfinished(folder) == (
            f"{folder} holds an unfinished run without a checkpoint: repeat the command of the run to start it again."
        )

    @pytest.mark.parametrize(("best", "usable"), [(1000, "-1000 (the best so far)"), (7, "-2000 (the last one)")])
    def test_with_checkpoints_it_names_the_one_to_use(self, folder, best, usable):
        claimed(folder)
        for step in (1000, 2000):
            make_checkpoint(folder, step, json.dumps({"best_global_step": best, "max_steps": 10_000}))
        explanation = explain_unfinished(folder)
        assert explanation.startswith(
            f"{folder} holds an unfinished run, whose last checkpoint is at step 2,000 of 10,000: repeat the command "
        )
        assert explanation.endswith(f"{usable} can be used as a model.")


class TestLock:
    def test_a_second_process_is_refused_while_the_first_trains(self, folder):
        with (
            RunFolder(run_config(folder)).locked(),
            pytest.raises(InputError, match="is in use by another process: wait for it"),
            RunFolder(run_config(folder)).locked(),
        ):
            pass

    def test_the_lock_goes_with_its_holder(self, folder):
        with RunFolder(run_config(folder)).locked():
            pass
        assert contents(folder) == {}
        with RunFolder(run_config(folder)).locked():
            pass

    def test_a_run_that_was_trained_meanwhile_is_not_overwritten(self, folder):
        first, second = (RunFolder(run_config(folder, "--seed", seed)) for seed in ("1", "2"))
        with first.locked():
            first.claim({"train": "a", "validation": "b"})
        before = contents(folder)
        with pytest.raises(InputError, match="holds a different run, with seed 1 and not 2"), second.locked():
            pass
        assert contents(folder) == before


class TestOwner:
    """Another machine that trains in the same folder of a shared disk, where the lock does not reach."""

    @staticmethod
    def write_owner(folder, seconds_ago, host="node-7"):
        folder.mkdir()
        file = folder / ".owner.json"
        file.write_text(json.dumps({"host": host, "pid": 123}))
        os.utime(file, (time.time() - seconds_ago,) * 2)
        return file

    def test_another_machine_that_was_alive_is_refused_by_its_name(self, folder):
        file = self.write_owner(folder, 90)
        before = file.read_text(), file.stat().st_mtime
        with (
            pytest.raises(
                InputError, match=rf"in use by process 123 on node-7, which was last heard of 9\d s.* delete {file} if"
            ),
            RunFolder(run_config(folder)).locked(),
        ):
            pass
        assert (file.read_text(), file.stat().st_mtime) == before

    @pytest.mark.parametrize(("seconds_ago", "host"), [(601, "node-7"), (5, ownership.socket.gethostname())])
    def test_a_stale_owner_or_one_on_this_machine_is_replaced(self, folder, seconds_ago, host):
        file = self.write_owner(folder, seconds_ago, host)
        with RunFolder(run_config(folder)).locked():
            assert json.loads(file.read_text())["pid"] == os.getpid()
        assert contents(folder) == {}

    @pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
    def test_a_file_that_names_no_owner_is_replaced(self, folder, text):
        self.write_owner(folder, 5).write_text(text)
        with RunFolder(run_config(folder)).locked():
            pass

    def test_a_run_says_again_and_again_that_it_is_alive(self, folder, monkeypatch):
        monkeypatch.setattr(ownership, "_SECONDS_BETWEEN_SIGNS", 0.01)
        with RunFolder(run_config(folder)).locked():
            file = folder / ".owner.json"
            os.utime(file, (0, 0))
            deadline = time.monotonic() + 10
            while not file.stat().st_mtime and time.monotonic() < deadline:
                time.sleep(0.01)
            assert file.stat().st_mtime > 0
