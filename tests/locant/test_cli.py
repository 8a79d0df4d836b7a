# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The command line: which command runs, how it ends, and what it writes."""

import importlib
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import types

import pytest
import torch

import locant
import locant_command
from locant import cli
from locant.training import inference
from locant.training.errors import InputError, Terminated

SOURCES = ["the cat sees the dog", "", "the dog sees the cat"]
TARGETS = ["le chat voit le chien", "", "le chien voit le chat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small untrained model under `model` and two parallel files."""
    folder = tmp_path_factory.mktemp("cli")
    tokenizer = locant.train_tokenizer(iter(SOURCES + TARGETS), vocab_size=280)
    config = locant.LocantConfig.from_preset("tiny", vocab_size=len(tokenizer), d_model=16, encoder_ffn_dim=16)
    torch.manual_seed(0)  # other weights may write line breaks, which `locant translate` replaces by spaces
    model = locant.LocantForConditionalGeneration(config)
    model.generation_config.update(num_beams=2, max_new_tokens=6)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "a.en").write_text("\n".join(SOURCES) + "\n")
    (folder / "a.fr").write_text("\n".join(TARGETS) + "\n")
    return folder


@pytest.fixture
def run(folder, monkeypatch, capfd):
    """Run a command line in the folder, with the given standard input: (exit status, output, errors)."""
    monkeypatch.chdir(folder)

    def run(*arguments: str, stdin: bytes = b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = cli.main(list(arguments))
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def command(monkeypatch):
    """Put a command named `broken` in the table that does what it is given."""

    def command(run):
        monkeypatch.setitem(sys.modules, "broken_command", types.SimpleNamespace(run=run))
        monkeypatch.setitem(cli.COMMANDS, "broken", ("broken_command", ""))

    return command


def translations_of(folder, **options):
    model, tokenizer = inference.load(folder / "model", "cpu")
    return inference.translate(model, tokenizer, SOURCES, show_progress=False, **options)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_the_commands(run, option):
    status, output, _ = run(option)
    assert status == 0
    assert all(f"\n  {name} " in output for name in cli.COMMANDS)


def test_version(run):
    assert run("--version") == (0, f"locant {locant.__version__}\n", "")


@pytest.mark.end_to_end
def test_a_text_with_characters_that_the_output_lacks_ends_no_run(tmp_path):
    rows = "".join(f"καλό {i}\t{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    command = [sys.executable, "-m", "locant", "train", "--task", "sequence_classification", "--preset", "tiny"]
    command += ["--train_file", "t.tsv", "--tokenizer_vocab_size", "300", "--use_cpu", "--dry_run"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert process.returncode == 0, process.stderr
    assert rb"\u03ba\u03b1\u03bb\u03cc" in process.stdout


class TestProgram:
    """What the console script answers without importing the package."""

    def answer(self, arguments, monkeypatch, capfd):
        monkeypatch.setattr(sys, "argv", ["locant", *arguments])
        monkeypatch.setitem(sys.modules, "locant.cli", types.SimpleNamespace(main=lambda given: ("handed on", given)))
        return locant_command.main(), *capfd.readouterr()

    def test_its_version(self, monkeypatch, capfd):
        assert self.answer(["--version"], monkeypatch, capfd) == (0, f"locant {locant.__version__}\n", "")

    @pytest.mark.parametrize("name", ["train", "search"])
    def test_a_missing_file_as_the_command_does(self, monkeypatch, capfd, name):
        found = self.answer([name, "nowhere.yaml", "--seed", "1"], monkeypatch, capfd)
        with pytest.raises(InputError) as error:
            importlib.import_module(cli.COMMANDS[name][0]).run(["nowhere.yaml", "--seed", "1"])
        assert found == (2, "", f"locant {name}: error: {error.value}\n")

    def test_the_yaml_file_of_the_nearest_name(self, monkeypatch, capfd, tmp_path):
        (tmp_path / "my.yaml").touch()
        status, _, errors = self.answer(["train", str(tmp_path / "my.yml")], monkeypatch, capfd)
        assert status == 2 and errors.endswith(f"No such file or directory; did you mean {tmp_path / 'my.yaml'}?\n")

    @pytest.mark.parametrize(
        ("arguments", "status", "text"),
        [(["--help"], 0, "usage: locant"), ([], 2, "usage: locant"), (["trian"], 2, "did you mean train?")],
    )
    def test_usage_and_an_unknown_command(self, monkeypatch, capfd, arguments, status, text):
        found, output, errors = self.answer(arguments, monkeypatch, capfd)
        assert found == status and text in (errors if status else output)

    def test_everything_else_is_handed_on(self, monkeypatch, capfd, tmp_path):
        (tmp_path / "a.yaml").touch()
        for arguments in (
            ["train"],
            ["train", "--seed", "1"],
            ["train", str(tmp_path / "a.yaml")],
            ["push", "x.yaml"],
        ):
            assert self.answer(arguments, monkeypatch, capfd) == (("handed on", arguments), "", "")

    def test_an_interrupt_while_it_loads_is_status_130(self, monkeypatch, capfd):
        class Interrupted:
            def find_spec(self, name, *args):
                if name == "locant.cli":
                    raise KeyboardInterrupt

        monkeypatch.setattr(sys, "argv", ["locant", "train"])
        monkeypatch.delitem(sys.modules, "locant.cli")
        monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
        assert locant_command.main() == 130
        assert capfd.readouterr().err == "locant: interrupted\n"

    def test_it_is_what_is_installed_and_imports_no_package(self):
        [entry] = [
            entry for entry in importlib.metadata.entry_points(group="console_scripts") if entry.name == "locant"
        ]
        assert entry.value == "locant_command:main"
        code = "import locant_command, sys; print([name for name in sys.modules if name.split('.')[0] == 'locant'])"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(("arguments", "message"), [([], "usage: locant"), (["trian"], "did you mean train?")])
def test_a_command_that_does_not_exist_is_an_error(run, arguments, message):
    status, output, errors = run(*arguments)
    assert (status, output) == (2, "")
    assert message in errors


def test_input_errors_are_one_sentence_and_status_2(run, command):
    def broken(arguments):
        raise InputError(f"{arguments[0]} is wrong.")

    command(broken)
    assert run("broken", "x") == (2, "", "locant broken: error: x is wrong.\n")


def test_an_interrupt_is_status_130(run, command):
    def interrupted(arguments):
        raise KeyboardInterrupt

    command(interrupted)
    assert run("broken")[0] == 130


def test_sigterm_is_status_143_and_one_sentence(run, command):
    def terminated(arguments):
        raise Terminated("go on.")

    command(terminated)
    assert run("broken") == (143, "", "locant broken: terminated: go on.\n")


def test_a_fault_of_ours_keeps_its_traceback(run, command):
    command(lambda arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("broken")


def test_train_hands_the_parsed_run_to_the_recipe(run, monkeypatch):
    runs = []
    training_run = types.SimpleNamespace(train=lambda run, write_card: runs.append(run))
    monkeypatch.setitem(sys.modules, "locant.training.run.training_run", training_run)
    assert run("train", "--train_file", "a.en", "a.fr", "--seed", "3")[0] == 0
    assert (runs[0].data.train_file, runs[0].training.seed) == (["a.en", "a.fr"], 3)


@pytest.mark.slow
def test_train_refuses_bad_options_before_anything_is_written(folder):
    process = subprocess.run(
        [sys.executable, "-m", "locant", "train", "--train_file", "a.en", "a.fr", "--learning_rat", "1"],
        **{"cwd": folder, "capture_output": True, "text": True, "check": False},
    )
    assert process.returncode == 2
    assert process.stderr.endswith(
        "locant train: error: --learning_rat is not an option: did you mean --learning_rate?\n"
    )
    assert "Traceback" not in process.stderr
    assert not (folder / "runs").exists()


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "locant", "translate", "model", "a.en", "--no_progress", "--device", "cpu"],
        **{"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
    )
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(), b"Traceback" in errors) == (141, False)


def test_translate_reads_standard_input_and_writes_standard_output(run, folder):
    status, output, _ = run("translate", "model", "--device", "cpu", stdin="\n".join(SOURCES).encode())
    assert status == 0
    assert output.split("\n") == [*(best.text for (best,) in translations_of(folder)), ""]


def test_translate_writes_scores_of_several_translations_to_a_file(run, folder):
    options = ("--num_beams", "3", "--num_return_sequences", "2", "--scores", "--output", "out/b.txt")
    status, output, _ = run("translate", "model", "a.en", "--device", "cpu", *options)
    assert (status, output) == (0, "")
    expected = translations_of(folder, num_beams=3, num_return_sequences=2)
    lines = [
        f"{number}\t{found.score:.4f}\t{found.text}\n"
        for number, alternatives in enumerate(expected, start=1)
        for found in alternatives
    ]
    assert (folder / "out" / "b.txt").read_text() == "".join(lines)


def test_an_output_file_is_replaced_only_when_complete(run, folder):
    kept = folder / "kept.txt"
    kept.write_text("kept")
    status, _, errors = run("translate", "model", "--device", "cpu", "--output", "kept.txt", stdin=b"the cat\n\xff\n")
    assert status == 2
    assert "standard input, line 2: byte 1 (0xff) is not UTF-8" in errors
    assert kept.read_text() == "kept"
    assert list(folder.glob(".kept*")) == []


def test_translate_puts_the_prefix_of_the_run_before_each_source(run, folder):
    prefixed = run("translate", "model", "a.en", "--device", "cpu", "--scores", "--source_prefix", "sees ")[1]
    plain = run("translate", "model", "a.en", "--device", "cpu", "--scores")[1]
    (folder / "model" / "run_config.yaml").write_text("data: {train_file: a.tsv, source_prefix: 'sees '}")
    try:
        assert run("translate", "model", "a.en", "--device", "cpu", "--scores")[1] == prefixed != plain
    finally:
        (folder / "model" / "run_config.yaml").unlink()


def test_score_by_sentence_and_by_token(run, folder):
    arguments = ("score", "model", "--source", "a.en", "--target", "a.fr", "--device", "cpu")
    sentences = [float(line) for line in run(*arguments)[1].splitlines()]
    tokens = [json.loads(line) for line in run(*arguments, "--tokens")[1].splitlines()]
    assert len(sentences) == len(tokens) == 3
    for score, by_token in zip(sentences, tokens, strict=True):
        assert score == pytest.approx(sum(by_token["token_log_probabilities"]), abs=1e-4)
        assert by_token["tokens"][-1] == "</s>"


def test_evaluate_prints_the_metrics_and_writes_the_translations(run, folder):
    arguments = ("--source", "a.fr", "--reference", "a.fr", "--output", "out.tsv", "--num_beams", "1")
    status, output, _ = run("evaluate", "model", *arguments, "--device", "cpu")
    assert status == 0
    names = [line[:18].rstrip() for line in output.splitlines()]
    assert names == ["BLEU", "chrF", "mean sentence BLEU", "loss", "perplexity", "sentences"]
    assert "nrefs:1|case:mixed" in output
    rows = (folder / "out.tsv").read_text().split("\n")
    assert rows[0] == "source\treference\ttranslation\tsentence_bleu"
    assert rows[1].startswith(f"{TARGETS[0]}\t{TARGETS[0]}\t")


def test_evaluate_finds_the_splits_of_the_run(run, folder):
    kept = folder / "model" / "run_config.yaml"
    kept.write_text("data: {train_file: [a.en, a.fr], validation_file: [a.en, a.fr], test_file: [a.en, a.fr]}")
    try:
        by_split = run("evaluate", "model", "--device", "cpu")[1]
        by_file = run("evaluate", "model", "--source", "a.en", "--reference", "a.fr", "--device", "cpu")[1]
        assert by_split == by_file
    finally:
        kept.unlink()


def test_a_sentence_in_the_place_of_a_file_is_refused_with_the_command_for_it(run):
    status, output, errors = run("translate", "model", "It's a cat.")
    assert (status, output) == (2, "")
    assert errors.endswith("""as in echo 'It'"'"'s a cat.' | locant translate model\n""")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate model", "model has no run_config.yaml"),
        ("evaluate model --source a.en --reference short.fr", "a.en has 3, short.fr has 1"),
        ("score model --source a.en --target nowhere.fr", "nowhere.fr does not exist"),
        ("translate ./nowhere a.en", "There is no folder ./nowhere"),
        ("translate a.en", "a.en is a file: give the folder that a model was saved to"),
        ("translate . a.en", ". has no config.json, so it holds no model: did you mean model?"),
        ("translate outer a.en", "outer has no config.json, so it holds no model: did you mean outer/near/inner?"),
        ("translate model/empty a.en", "model/empty has no config.json, so it holds no model: give the folder"),
        ("predict", "the following arguments are required: MODEL; see locant predict --help."),
        ("translate model --num_beams two", "--num_beams: 'two' is not a whole number above 0; see"),
        ("translate model nowhere.en", "nowhere.en does not exist"),
        ("translate model a.en --device cpu --num_return_sequences 9", "9 translations"),
        ("translate model a.en --device cpu --output a.en/b", "a.en/b cannot be written"),
        ("translate model a.en --device cpu --output model", "model is a folder: give the path of a file."),
    ],
)
def test_commands_refuse_what_they_cannot_use(run, folder, arguments, message):
    (folder / "short.fr").write_text("un\n")
    (folder / "model" / "empty").mkdir(exist_ok=True)
    (folder / "outer" / "near" / "inner").mkdir(parents=True, exist_ok=True)
    (folder / "outer" / "near" / "inner" / "config.json").touch()
    status, output, errors = run(*arguments.split())
    assert (status, output) == (2, "")
    assert message in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate model --source a.en", "--source and --reference belong together"),
        ("translate model --num_beams 0", "argument --num_beams: "),
        ("score model", "give --source and --target for a translator"),
        ("translate", "the following arguments are required: MODEL; see locant translate --help."),
        ("translate model a.en --num_bemas 5", "--num_bemas is not an argument of locant translate: did you mean"),
        ("translate model a.en --num_beam 5", "--num_beam is not an argument of locant translate: did you mean"),
        ("serve model --prot=1", "--prot is not an argument of locant serve: did you mean --port?"),
        ("push runs me/model again", "again is not an argument of locant push: see locant push --help."),
    ],
)
def test_wrong_options_are_one_sentence(run, arguments, message):
    status, output, errors = run(*arguments.split())
    assert (status, output) == (2, "")
    assert message in errors and errors.count("\n") == 1
