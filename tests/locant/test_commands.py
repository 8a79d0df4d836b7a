# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant evaluate`, `translate` and `score` on a trained run."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import sacrebleu

from locant.cli import main
from locant.commands import evaluate
from locant.commands.model_options import run_config_file
from locant.commands.text_files import output
from locant.training.inference import load, score, translate
from locant.training.tasks import recipe


@pytest.fixture(scope="module")
def model_and_tokenizer(trained_run):
    return load(trained_run, device="cpu")


@pytest.fixture
def run(capsys):
    """Run `locant` with arguments, and return the lines of its output."""

    def run_command(*arguments, status=0):
        capsys.readouterr()
        assert main([*map(str, arguments)]) == status
        printed = capsys.readouterr()
        return (printed.out if status == 0 else printed.err).splitlines()

    return run_command


@pytest.fixture
def feed(monkeypatch):
    """Put bytes on standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def table(lines):
    """The name, number and note of each line that `locant evaluate` printed."""
    return {line[:18].strip(): line[18:].split(maxsplit=1) for line in lines}


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


class TestEvaluate:
    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_prints_what_the_run_wrote_down(self, run, trained_run, split):
        found, expected = table(run("evaluate", trained_run, "--split", split)), metrics(trained_run)[split]
        for name, key, digits in (
            ("BLEU", "bleu", 2),
            ("chrF", "chrf", 2),
            ("mean sentence BLEU", "sentence_bleu", 2),
            ("loss", "loss", 4),
            ("perplexity", "perplexity", 2),
        ):
            assert len(found[name][0].split(".")[1]) == digits
            assert float(found[name][0]) == pytest.approx(expected[key], abs=0.51 * 10.0**-digits)
        assert found["BLEU"][1] == expected["bleu_signature"]
        assert found["mean sentence BLEU"][1] == expected["sentence_bleu_signature"]
        assert found["sentences"] == ["40"]

    def test_takes_the_test_split_unless_told_otherwise(self, run, toy, trained_run):
        expected = run("evaluate", trained_run, "--split", "test")
        assert run("evaluate", trained_run) == expected
        source, reference = toy.files["test"]
        assert run("evaluate", trained_run, "--source", source, "--reference", reference) == expected

    def test_takes_checkpoints_too(self, run, trained_run):
        best = max(metrics(trained_run)["epochs"], key=lambda record: record["validation_bleu"])["step"]
        checkpoint = trained_run / f"checkpoint-{best}"
        assert run("evaluate", checkpoint) == run("evaluate", trained_run)

    def test_writes_a_row_a_sentence(self, run, toy, trained_run, tmp_path):
        printed = table(run("evaluate", trained_run, "--output", tmp_path / "rows.tsv"))
        header, *rows = (tmp_path / "rows.tsv").read_text("utf-8").splitlines()
        assert header == "source\treference\ttranslation\tsentence_bleu"
        rows = [row.split("\t") for row in rows]
        assert [tuple(row[:2]) for row in rows] == toy.pairs["test"]
        translations, references = [row[2] for row in rows], [row[1] for row in rows]
        assert printed["BLEU"][0] == f"{sacrebleu.corpus_bleu(translations, [references]).score:.2f}"
        for _, reference, translation, bleu in rows:
            assert bleu == f"{sacrebleu.sentence_bleu(translation, [reference]).score:.2f}"
        assert translations == run("translate", trained_run, toy.files["test"][0])

    def test_refuses_a_folder_as_output_before_it_measures(self, run, trained_run, tmp_path, monkeypatch):
        monkeypatch.setattr(evaluate, "_measure_split", lambda *arguments: pytest.fail("the split was measured"))
        [error] = run("evaluate", trained_run, "--output", tmp_path, status=2)
        assert f"{tmp_path} is a folder: give the path of a file." in error

    def test_searches_as_told(self, run, trained_run):
        assert run("evaluate", trained_run, "--max_new_tokens", "1") != run("evaluate", trained_run)

    def test_takes_other_test_data_with_the_options_of_data(self, run, toy, trained_run, tmp_path):
        expected = run("evaluate", trained_run)
        rows = "".join(f"{target};{source}\n" for source, target in toy.pairs["test"])
        (tmp_path / "new.csv").write_text(f"fr;en\n{rows}")
        columns = ("--source_column", "en", "--target_column", "fr")
        assert run("evaluate", trained_run, "--test_file", tmp_path / "new.csv", *columns) == expected
        assert run("evaluate", trained_run, "--test_file", *toy.files["test"]) == expected

    def test_reads_no_training_data_for_another_test_file(self, run, toy, trained_run, tmp_path, monkeypatch):
        monkeypatch.setattr(recipe, "load_splits", None)
        assert run("evaluate", trained_run, "--test_file", *toy.files["test"]) == run("evaluate", trained_run)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--test_fil", "x"), "--test_fil is not an option: did you mean --test_file?"),
            (("--learning_rate", "1"), "--learning_rate is no option of the section data:"),
            (("--test_file", "no.tsv"), "no.tsv does not exist"),
            (("--split", "validation", "--validation_file", "null", "--train_file", "no.tsv"), "no.tsv does not exist"),
        ],
    )
    def test_names_a_mistake_in_the_options_of_data(self, run, trained_run, arguments, message):
        (error,) = run("evaluate", trained_run, *arguments, status=2)
        assert message in error

    def test_needs_both_sides_of_the_same_length(self, run, toy, trained_run, tmp_path):
        source, reference = toy.files["test"][0], toy.files["train"][1]
        (error,) = run("evaluate", trained_run, "--source", source, "--reference", reference, status=2)
        assert error == (
            "locant evaluate: error: Parallel files must have the same number of lines: "
            f"{source} has 40, {reference} has 320."
        )

    def test_needs_files_where_the_model_is_of_no_run(self, run, model_and_tokenizer, tmp_path):
        for part in model_and_tokenizer:
            part.save_pretrained(tmp_path)
        (error,) = run("evaluate", tmp_path, status=2)
        assert error.endswith("the test data are read: give --source and --reference if the model is a translator.")


class TestTranslate:
    def test_keeps_order_and_empty_lines(self, run, toy, trained_run, tmp_path):
        sources = [source for source, _ in toy.pairs["test"]]
        expected = run("translate", trained_run, toy.files["test"][0])
        assert len(set(expected)) > 20
        order = [7, 3, None, 12, 3, None, None, 0]
        lines = ["" if i is None else sources[i] for i in order]
        (tmp_path / "text").write_text("\n".join(lines) + "\n")
        found = run("translate", trained_run, tmp_path / "text", "--batch_size", 2)
        assert found == ["" if i is None else expected[i] for i in order]

    def test_reads_standard_input_or_files_and_writes_to_a_file(self, run, toy, trained_run, tmp_path, feed):
        files = [toy.files["validation"][0], toy.files["test"][0]]
        expected = run("translate", trained_run, *files)
        assert len(expected) == 80
        feed(b"".join(Path(file).read_bytes() for file in files))
        assert run("translate", trained_run) == expected
        assert run("translate", trained_run, *files, "--output", tmp_path / "out" / "translations") == []
        assert (tmp_path / "out" / "translations").read_text("utf-8").splitlines() == expected

    def test_gives_alternatives_best_first_with_scores(self, run, toy, trained_run, tmp_path, model_and_tokenizer):
        (tmp_path / "text").write_text(f"{toy.pairs['test'][0][0]}\n\n{toy.pairs['test'][1][0]}\n")
        options = ("--num_return_sequences", 3, "--num_beams", 4, "--scores")
        found = [line.split("\t") for line in run("translate", trained_run, tmp_path / "text", *options)]
        assert [line.pop(0) for line in found] == [number for number in "123" for _ in range(3)]
        assert [len(line) for line in found] == [2] * 9
        assert found[3:6] == [["0.0000", ""]] * 3
        expected = translate(
            *model_and_tokenizer, [toy.pairs["test"][i][0] for i in (0, 1)], num_return_sequences=3, num_beams=4
        )
        assert [text for _, text in found[:3] + found[6:]] == [
            t.text for alternatives in expected for t in alternatives
        ]
        for lines in (found[:3], found[6:]):
            assert len({text for _, text in lines}) == 3
            assert [float(number) for number, _ in lines] == sorted((float(n) for n, _ in lines), reverse=True)

    def test_scores_of_greedy_search_are_log_probabilities(self, run, toy, trained_run, model_and_tokenizer):
        sources = [source for source, _ in toy.pairs["test"]]
        lines = run("translate", trained_run, toy.files["test"][0], "--num_beams", 1, "--scores")
        found = [line.split("\t") for line in lines]
        expected = score(*model_and_tokenizer, sources, [text for _, text in found])
        close = [abs(float(n) - s.log_probability) < 1e-3 for (n, _), s in zip(found, expected, strict=True)]
        assert sum(close) >= 35  # a text can be segmented otherwise than it was generated, or be cut at the end

    def test_asks_for_a_sentence_at_a_terminal_and_answers_at_once(
        self, run, toy, trained_run, tmp_path, capsys, monkeypatch
    ):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        sources = [source for source, _ in toy.pairs["test"][:2]]
        expected = run("translate", trained_run, toy.files["test"][0])[:2]
        monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{source}\n" for source in sources)))
        assert main(["translate", str(trained_run)]) == 0
        printed = capsys.readouterr()
        assert printed.out.splitlines() == expected
        assert printed.err == "Type a sentence and press Enter; press Ctrl-D at the end.\n> > > \n"

    def test_draws_no_bar_where_the_output_may_come_between(self, run, toy, trained_run, capsys, tmp_path, monkeypatch):
        bar, to_file = "translating", ["--output", str(tmp_path / "out")]
        capsys.readouterr()
        for is_terminal, option, is_drawn in ((True, [], False), (True, to_file, True), (False, to_file, False)):
            monkeypatch.setattr(sys.stderr, "isatty", lambda answer=is_terminal: answer)
            main(["translate", str(trained_run), toy.files["test"][0], *option])
            assert (bar in capsys.readouterr().err) == is_drawn

    def test_reads_crlf_and_ends_without_a_line_end(self, run, toy, trained_run, feed):
        first, second = (toy.pairs["test"][i][0] for i in (0, 1))
        feed(f"{first}\r\n{second}".encode())
        assert run("translate", trained_run) == run("translate", trained_run, toy.files["test"][0])[:2]

    def test_drops_a_byte_order_mark(self, run, toy, trained_run, tmp_path, feed):
        content = "\ufeff".encode() + Path(toy.files["test"][0]).read_bytes()
        expected = run("translate", trained_run, toy.files["test"][0], "--scores")
        feed(content)
        assert run("translate", trained_run, "--scores") == expected
        (tmp_path / "text").write_bytes(content)
        assert run("translate", trained_run, tmp_path / "text", "--scores") == expected

    def test_names_the_line_of_the_input_that_is_not_utf8(self, run, trained_run, feed):
        feed(b"the cat sees the dog\nl'\xe9t\xe9\n")
        errors = run("translate", trained_run, "--no_progress", status=2)
        assert errors == [
            "locant translate: error: standard input, line 2: byte 3 (0xe9) is not UTF-8; convert the text to UTF-8."
        ]

    def test_refuses_what_is_not_there(self, run, toy, trained_run, tmp_path):
        (error,) = run("translate", tmp_path / "no", toy.files["test"][0], status=2)
        assert error.startswith(f"locant translate: error: There is no folder {tmp_path / 'no'}: give")
        (error,) = run("translate", trained_run, tmp_path / "no.en", status=2)
        assert error.startswith(f"locant translate: error: {tmp_path / 'no.en'} does not exist")
        *_, error = run("translate", trained_run, toy.files["test"][0], "--device", "abacus", status=2)
        assert error.startswith("locant translate: error: Device abacus cannot be used here")


class TestScore:
    def test_gives_the_log_probability_of_each_sentence(self, run, toy, trained_run, model_and_tokenizer):
        sources, targets = zip(*toy.pairs["test"], strict=True)
        expected = score(*model_and_tokenizer, sources, targets)
        source, target = toy.files["test"]
        found = run("score", trained_run, "--source", source, "--target", target, "--batch_size", 7)
        assert [float(line) for line in found] == pytest.approx([s.log_probability for s in expected], abs=1e-3)
        tokens = sum(len(s.tokens) for s in expected)
        assert -sum(map(float, found)) / tokens == pytest.approx(metrics(trained_run)["test"]["loss"], rel=1e-4)

    def test_gives_the_part_of_each_token(self, run, toy, trained_run, model_and_tokenizer, tmp_path):
        source, target = toy.files["test"]
        arguments = ("--source", source, "--target", target, "--tokens", "--output", tmp_path / "scores")
        assert run("score", trained_run, *arguments) == []
        records = [json.loads(line) for line in (tmp_path / "scores").read_text("utf-8").splitlines()]
        _, tokenizer = model_and_tokenizer
        assert len(records) == 40
        for record, (_, text) in zip(records, toy.pairs["test"], strict=True):
            assert tokenizer.convert_tokens_to_string(record["tokens"][:-1]) == text
            assert record["tokens"][-1] == "</s>"
            assert sum(record["token_log_probabilities"]) == pytest.approx(record["log_probability"])

    def test_a_right_translation_is_more_probable_than_a_wrong_one(self, run, toy, trained_run, tmp_path):
        source, target = toy.files["test"]
        (tmp_path / "wrong").write_text("".join(reversed(Path(target).read_text().splitlines(keepends=True))))
        right = run("score", trained_run, "--source", source, "--target", target)
        wrong = run("score", trained_run, "--source", source, "--target", tmp_path / "wrong")
        assert sum(float(r) > float(w) for r, w in zip(right, wrong, strict=True)) >= 35


def test_source_prefix_of_the_run_stands_before_every_source(run, toy, trained_run, tmp_path):
    """As if the prefix stood in the files; another one, or none, can be given."""
    folder = tmp_path / "run"
    options = {"num_train_epochs": 1, "source_prefix": "loyal "}
    assert toy.train(folder, **options) == 0
    prefixed = tmp_path / "prefixed.en"
    prefixed.write_text("".join(f"loyal {source}\n" for source, _ in toy.pairs["test"]))
    source, target = toy.files["test"]
    scores = run("score", folder, "--source", source, "--target", target)
    assert scores == run("score", folder, "--source", prefixed, "--target", target, "--source_prefix", "")
    assert scores != run("score", folder, "--source", source, "--target", target, "--source_prefix", "")
    assert table(run("evaluate", folder))["BLEU"][0] == f"{metrics(folder)['test']['bleu']:.2f}"
    assert run("translate", folder, source) == run("translate", folder, prefixed, "--source_prefix", "")


def test_the_output_goes_to_the_file_that_a_link_names(tmp_path):
    (tmp_path / "link").symlink_to("real")
    with output(str(tmp_path / "link")) as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system has no links to open files")
def test_the_output_goes_to_a_pipe_that_a_link_names():
    reading, writing = os.pipe()
    with output(f"/dev/fd/{writing}") as file:
        file.write("new")
    os.close(writing)
    with open(reading) as pipe:
        assert pipe.read() == "new"


def test_the_run_of_a_checkpoint_is_found_from_inside(tmp_path, monkeypatch):
    (tmp_path / "run" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "run" / "run_config.yaml").touch()
    monkeypatch.chdir(tmp_path / "run" / "checkpoint-1")
    assert run_config_file(".").samefile(tmp_path / "run" / "run_config.yaml")
