# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant study translation` on the toy language of `tests/conftest.py`, and its report on numbers made up for it."""

import csv
import json
import re
import sys
from statistics import mean, stdev

import pytest
import sacrebleu
import yaml

from locant.cli import main
from locant.studies import run_process, translation_study
from locant.studies.run_process import RunProcess
from locant.studies.translation_report import RunResult, write_report
from locant.studies.translation_study import parse_study, read_tsv
from locant.training.inference import EvaluationRow, write_tsv
from locant.training.tasks.bleu_by_length import bleu_by_length

pytestmark = pytest.mark.end_to_end

ENCODINGS, SEEDS = ["rotary", "none"], [3, 1]
NAMES = ["rotary-seed3", "none-seed3", "rotary-seed1", "none-seed1"]
SHORT = ["--num_train_epochs", "1", "--predict_with_generate", "false", "--num_beams", "1", "--max_new_tokens", "12"]
STUDY = {"position_encoding": ENCODINGS, "seed": SEEDS}


@pytest.fixture(scope="module")
def write_config(toy):
    """Write the YAML file of a study on the toy language: of `section`, and with changes to the other sections."""

    def write(section, name="study", **changes):
        sections = toy.sections()
        for where, options in changes.items():
            sections[where] |= options
        return toy.write_config(name, sections | ({} if section is None else {"study": section}))

    return write


@pytest.fixture(scope="module")
def study(write_config, tmp_path_factory):
    """The folder of a finished study, and the names of the runs that it trained, in their order: for reading only."""
    folder = tmp_path_factory.mktemp("study") / "positions"
    trained = []

    class Recorded(RunProcess):
        def __init__(self, config, threads):
            super().__init__(config, threads)
            trained.append(self.folder.path.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translation_study, "RunProcess", Recorded)
        command = ["study", "translation", str(write_config(STUDY)), "--workers", "2", "--output_dir", str(folder)]
        assert main([*command, *SHORT]) == 0
    return folder, trained


def run_config(folder):
    sections = yaml.safe_load((folder / "run_config.yaml").read_text("utf-8"))
    assert sections.pop("task") == "translation"
    return {name: value for section in sections.values() for name, value in section.items()}


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(report, head):
    """The cells of the table in `report` whose first row begins with `head`, by their row's first cell."""
    block = next(block for block in report.split("\n\n") if block.startswith(f"| {head} |"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    return {first: cells for first, *cells in rows if first != "---"}


class TestRuns:
    def test_are_trained_seed_by_seed(self, study):
        assert study[1] == NAMES

    def test_differ_in_encoding_and_seed_alone(self, study):
        folder, _ = study
        configs = [run_config(folder / name) for name in NAMES]
        own = [(config.pop("position_encoding"), config.pop("seed"), config.pop("output_dir")) for config in configs]
        expected = [(encoding, seed) for seed in SEEDS for encoding in ENCODINGS]
        assert own == [(*pair, str(folder / name)) for pair, name in zip(expected, NAMES, strict=True)]
        assert configs == [configs[0]] * 4
        assert configs[0]["num_train_epochs"] == 1 and configs[0]["d_model"] == 32
        models = [json.loads((folder / name / "config.json").read_text())["position_encoding"] for name in NAMES]
        assert models == ENCODINGS * 2

    @pytest.mark.slow
    def test_are_what_locant_train_gives(self, study, toy, tmp_path):
        folder, _ = study
        options = dict(zip((name.removeprefix("--") for name in SHORT[::2]), SHORT[1::2], strict=True))
        options |= {"position_encoding": "rotary", "seed": 3}
        assert toy.train(tmp_path / "alone", **options) == 0
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            assert (folder / "rotary-seed3" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
        assert metrics(folder / "rotary-seed3")["test"] == metrics(tmp_path / "alone")["test"]

    def test_keep_their_test_translations(self, study, toy):
        folder, _ = study
        for name in NAMES:
            rows = read_tsv(folder / name / "test_translations.tsv")
            assert [(row.source, row.reference) for row in rows] == toy.pairs["test"]
            bleu = sacrebleu.corpus_bleu([row.translation for row in rows], [[row.reference for row in rows]])
            assert bleu.score == pytest.approx(metrics(folder / name)["test"]["bleu"])

    def test_that_are_finished_are_not_trained_again(self, study, write_config, monkeypatch, capsys):
        folder, _ = study
        monkeypatch.setattr(translation_study, "RunProcess", lambda *_: pytest.fail("trained"))
        before = (folder / "report.md").read_text("utf-8")
        (folder / "report.md").unlink()
        assert main(["study", "translation", str(write_config(STUDY)), "--output_dir", str(folder), *SHORT]) == 0
        assert (folder / "report.md").read_text("utf-8") == before
        assert f"4 of 4 runs are in {folder / 'report.md'}" in capsys.readouterr().out

    def test_without_their_translations_are_named(self, study, write_config, capsys):
        folder, _ = study
        file = folder / NAMES[0] / "test_translations.tsv"
        kept = file.rename(file.with_suffix(".kept"))
        try:
            assert main(["study", "translation", str(write_config(STUDY)), "--output_dir", str(folder), *SHORT]) == 2
        finally:
            kept.rename(file)
        assert f"{file} is missing: write it with locant evaluate" in capsys.readouterr().err


class Killed(BaseException):
    """Stands for a kill: nothing in Locant catches it."""


class TestStopped:
    @pytest.mark.slow
    def test_goes_on_with_the_run_where_it_was(self, study, write_config, tmp_path, monkeypatch, capsys):
        command = ["study", "translation", str(write_config(STUDY)), "--output_dir", str(tmp_path), *SHORT]
        started = []

        class KilledAtThird(RunProcess):
            def __init__(self, config, threads):
                started.append(config)
                if len(started) == 3:
                    raise Killed
                super().__init__(config, threads)

        with monkeypatch.context() as patch:
            patch.setattr(translation_study, "RunProcess", KilledAtThird)
            with pytest.raises(Killed):
                main(command)
        report = (tmp_path / "report.md").read_text("utf-8")
        assert "2 of 4 runs are in this report" in report
        assert {row[0] for row in table(report, "position encoding").values()} == {"runs", "1"}
        printed = capsys.readouterr().out
        assert re.findall(r"Run \d of 4: [\w-]+", printed) == [f"Run {i + 1} of 4: {NAMES[i]}" for i in range(2)]
        assert len(re.findall(r"Run 2 of 4: .*, about [\d:]+ left for all runs", printed)) == 1
        assert main(command) == 0
        printed = capsys.readouterr().out
        assert re.findall(r"Run \d of 4: [\w-]+", printed) == [f"Run {i + 1} of 4: {NAMES[i]}" for i in (2, 3)]
        times = re.compile(r"[\d.]+ min")
        whole = [(path / "report.md").read_text("utf-8") for path in (tmp_path, study[0])]
        assert times.sub("", whole[0]) == times.sub("", whole[1])

    @pytest.mark.slow
    def test_and_made_longer_does_not_keep_old_translations(self, write_config, tmp_path):
        one = {"position_encoding": ["rotary"], "seed": [3]}
        command = ["study", "translation", str(write_config(one, "one")), "--output_dir", str(tmp_path)]
        for epochs in ("1", "2"):
            assert main([*command, "--num_train_epochs", epochs]) == 0
        rows = read_tsv(tmp_path / "rotary-seed3" / "test_translations.tsv")
        bleu = sacrebleu.corpus_bleu([row.translation for row in rows], [[row.reference for row in rows]]).score
        assert metrics(tmp_path / "rotary-seed3")["test"]["bleu"] == pytest.approx(bleu)


# Stands in for a run of `locant train`: the run with rotary waits for SIGTERM, the other run ends as ENDING says
STAND_IN = """
import os, pathlib, signal, sys, time

folder = pathlib.Path(sys.argv[1])
if "rotary" in folder.name:
    signal.signal(signal.SIGTERM, lambda *_: (folder.joinpath("saved").touch(), os._exit(143)))
    folder.joinpath("ready").touch()
    time.sleep(60)
while not folder.with_name("rotary-seed3").joinpath("ready").exists():
    time.sleep(0.01)
ENDING
"""


class TestWorkers:
    @pytest.fixture
    def stopped_study(self, write_config, tmp_path, monkeypatch, capsys):
        """Run two runs at a time, of which one ends with the lines `ending`; return exit status, errors and folder."""

        def run(ending):
            script = tmp_path / "stand_in.py"
            script.write_text(STAND_IN.replace("ENDING", ending))
            monkeypatch.setattr(run_process, "COMMAND", [sys.executable, str(script)])
            monkeypatch.setattr(translation_study, "_try_out", lambda runs: None)
            section = {"position_encoding": ENCODINGS, "seed": [3]}
            command = ["study", "translation", str(write_config(section, "two")), "--workers", "2"]
            return main([*command, "--output_dir", str(tmp_path / "out")]), capsys.readouterr().err, tmp_path / "out"

        return run

    def test_a_run_that_fails_ends_the_study_after_the_others_have_saved(self, stopped_study):
        status, errors, folder = stopped_study("print('locant train: error: the loss is nan.'); sys.exit(2)")
        assert status == 2
        assert "The run none-seed3 ended: the loss is nan." in errors
        assert (folder / "rotary-seed3" / "saved").exists()

    def test_sigterm_lets_the_runs_save(self, stopped_study):
        status, errors, folder = stopped_study("os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)")
        assert status == 143
        assert "0 of 2 runs are finished: repeat the command" in errors
        assert (folder / "rotary-seed3" / "saved").exists()

    def test_below_one_are_refused(self, tmp_path, capsys):
        assert main(["study", "translation", "study.yaml", "--workers", "0"]) == 2
        assert "--workers is 0, but must be at least 1." in capsys.readouterr().err


class TestReport:
    def test_gives_mean_and_deviation_of_the_runs(self, study):
        folder, _ = study
        found = table((folder / "report.md").read_text("utf-8"), "position encoding")
        assert list(found) == ["position encoding", *ENCODINGS]
        for encoding in ENCODINGS:
            runs = [metrics(folder / f"{encoding}-seed{seed}") for seed in SEEDS]
            values = [[run["test"][name] for run in runs] for name in ("bleu", "chrf", "perplexity")]
            expected = [f"{mean(value):.2f} ± {stdev(value):.2f}" for value in values]
            assert found[encoding][:5] == ["2", *expected, f"{runs[0]['parameters']:,}"]

    def test_has_a_row_a_run_in_a_csv_file(self, study):
        folder, _ = study
        rows = read_csv(folder / "runs.csv")
        assert [f"{row['position_encoding']}-seed{row['seed']}" for row in rows] == NAMES
        for row in rows:
            expected = metrics(folder / f"{row['position_encoding']}-seed{row['seed']}")
            for name in ("bleu", "chrf", "perplexity"):
                assert float(row[name]) == pytest.approx(expected["test"][name], abs=1e-4)
            assert int(row["steps"]) == expected["steps"] == 40

    def test_says_how_many_runs_it_has_and_draws_them(self, study):
        folder, _ = study
        report = (folder / "report.md").read_text("utf-8")
        assert "4 of 4 runs are in this report, with the seeds 1, 3." in report
        assert "![BLEU by source length](bleu_by_length.png)" in report
        assert (folder / "bleu_by_length.png").read_bytes().startswith(b"\x89PNG")

    def test_is_whole_with_one_run_and_with_encodings_of_unequal_numbers(self, tmp_path):
        test = dict.fromkeys(("bleu", "chrf", "perplexity"), 10.0) | {"sentences": 5}
        test |= {"bleu_signature": "b", "chrf_signature": "c"}
        data = {"train": {"pairs": 9}, "vocabulary": 50}
        numbers = {"test": test, "data": data, "steps": 7, "parameters": 3, "training_seconds": 90}
        results = [
            RunResult("t5", 1, numbers, {"1–10": (4, 12.0), "over 40": (1, 2.0)}),
            RunResult("none", 1, numbers, {"1–10": (4, 6.0), "over 40": (1, 1.0)}),
            RunResult("t5", 2, numbers, {"1–10": (4, 14.0), "over 40": (1, 4.0)}),
        ]
        report = write_report(tmp_path, results[:1], planned=4).read_text("utf-8")
        assert "1 of 4 runs" in report and "±" not in report.partition("| position encoding")[2]
        report = write_report(tmp_path, results, planned=4).read_text("utf-8")
        assert table(report, "words") == {
            "words": ["1–10", "over 40"],
            "sentences": ["4", "1"],
            "t5": ["13.00 ± 1.41", "3.00 ± 1.41"],
            "none": ["6.00", "1.00"],
        }
        assert table(report, "position encoding")["t5"] == ["2", *["10.00 ± 0.00"] * 3, "3", "1.5 min"]
        assert [row["bleu"] for row in read_csv(tmp_path / "bleu_by_length.csv")] == [
            *("12.0000", "2.0000", "6.0000", "1.0000", "14.0000", "4.0000")
        ]

    def test_is_written_without_matplotlib_too(self, study, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        result = RunResult("none", 1, metrics(study[0] / "none-seed1"), {"1–10": (4, 6.0)})
        assert "![" not in write_report(tmp_path, [result], planned=1).read_text("utf-8")
        assert not (tmp_path / "bleu_by_length.png").exists()


class TestBleuByLength:
    def test_is_corpus_bleu_of_the_sentences_between_two_lengths(self):
        rows = [
            EvaluationRow(" ".join(["w"] * words), "a b c d e f g h", "a b c d " + "x y z".replace("x", right), 0.0)
            for words, right in ((0, "e"), (1, "x"), (10, "e"), (11, "x"), (20, "e"), (41, "e"), (99, "x"))
        ]
        found = bleu_by_length(rows)
        expected = {"1–10": rows[:3], "11–20": rows[3:5], "over 40": rows[5:]}
        assert list(found) == list(expected)
        for bucket, inside in expected.items():
            pairs = [row.translation for row in inside], [[row.reference for row in inside]]
            assert found[bucket] == (len(inside), pytest.approx(sacrebleu.corpus_bleu(*pairs).score))
        assert len({bleu for _, bleu in found.values()}) == 2

    def test_rows_come_back_from_their_file(self, tmp_path):
        rows = [EvaluationRow("a «b»\xa0!", "", 'c "d\x85', 12.5), EvaluationRow("", "#", "", 0.0)]
        write_tsv(tmp_path / "rows.tsv", rows)
        assert read_tsv(tmp_path / "rows.tsv") == [rows[0]._replace(translation='c "d'), rows[1]]


class TestWhatCannotBe:
    """Each is one sentence on standard error, exit status 2, and nothing written."""

    @pytest.mark.parametrize(
        ("section", "expected"),
        [
            (None, "has no list of position_encoding under study:"),
            ({}, "has no list of position_encoding under study:"),
            ({"position_encoding": ["none"]}, "has no list of seed under study:"),
            (STUDY | {"position_encoding": []}, r"position_encoding is \[\] .*line \d+.*must be a list"),
            (STUDY | {"position_encoding": "rotary"}, "position_encoding is 'rotary' .*must be a list"),
            (STUDY | {"position_encoding": ["none", "rotery"]}, 'rotery.*did you mean "rotary"'),
            (STUDY | {"position_encoding": ["none", None]}, "position_encoding has null"),
            (STUDY | {"position_encoding": ["none", "none"]}, "position_encoding has a value twice"),
            (STUDY | {"seed": [1, "two"]}, "seed is 'two' .*must be a whole number"),
            (STUDY | {"learning_rate": [0.1]}, "learning_rate is not an option that a study varies"),
        ],
    )
    def test_section(self, write_config, tmp_path, capsys, section, expected):
        self.check(["study", "translation", str(write_config(section, "wrong"))], tmp_path, capsys, expected)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--seed", "7"], "seed is given as 7, but the study has a list"),
            (["--position_encoding", "none"], "position_encoding is given as 'none', but the study has a list"),
            (["--num_train_epocs", "7"], "did you mean --num_train_epochs"),
            (["--learning_rate", "-1"], "learning_rate is -1.0"),
            (["--test_file", "null"], "of the test data, but there is no test data"),
            (["--max_position_embeddings", "4"], "learned positions end at 4"),
            (["--push_to_hub"], "push_to_hub cannot be given for a study, because it would apply to each run"),
            (["--resume_from_checkpoint", "x"], "resume_from_checkpoint cannot be given for a study"),
        ],
    )
    def test_command_line(self, write_config, tmp_path, capsys, arguments, expected):
        file = write_config({"position_encoding": ["none", "learned"], "seed": [1]}, "right")
        self.check(["study", "translation", str(file), *arguments], tmp_path, capsys, expected)

    def test_without_a_file(self, tmp_path, capsys):
        self.check(["study", "translation"], tmp_path, capsys, "No FILE.yaml is given")

    def test_section_study_in_a_plain_run(self, write_config, tmp_path, capsys):
        self.check(["train", str(write_config(STUDY))], tmp_path, capsys, "study: .* is a section for locant study")

    def test_another_run_in_one_of_the_folders(self, study, write_config, capsys):
        folder, _ = study
        before = (folder / "report.md").stat().st_mtime_ns
        arguments = ["study", "translation", str(write_config(STUDY)), *SHORT, "--learning_rate", "0.1"]
        assert main([*arguments, "--output_dir", str(folder)]) == 2
        assert "holds a different run, with learning_rate 0.01 and not 0.1" in capsys.readouterr().err
        assert (folder / "report.md").stat().st_mtime_ns == before

    @staticmethod
    def check(arguments, folder, capsys, expected):
        assert main([*arguments, "--output_dir", str(folder / "out")]) == 2
        printed = capsys.readouterr().err
        error = [line for line in printed.splitlines() if "error:" in line]
        assert len(error) == 1 and re.search(expected, error[0])
        assert "Traceback" not in printed and not (folder / "out").exists()


def test_runs_share_their_place_in_the_order_of_the_lists(write_config):
    study = parse_study([str(write_config(STUDY)), "--output_dir", "somewhere"])
    assert [run.name for run in study.runs] == NAMES
    assert [run.config.training.seed for run in study.runs] == [3, 3, 1, 1]
    assert str(study.folder) == "somewhere"


def test_a_dry_run_tries_each_encoding_out_and_writes_nothing(write_config, tmp_path, capsys):
    file = str(write_config(STUDY))
    assert main(["study", "translation", file, "--output_dir", str(tmp_path / "out"), "--dry_run"]) == 0
    assert re.findall("Dry run with (.*)", capsys.readouterr().out) == ENCODINGS
    assert not (tmp_path / "out").exists()
