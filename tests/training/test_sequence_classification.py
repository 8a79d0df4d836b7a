# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Classifiers of texts by `locant train --task sequence_classification`, on sounds that animals make.

What every task does alike (folder, resuming, dry run) is tested on translation; here it is tried once more.
"""

import json
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from locant import LocantForCausalLM
from locant.cli import main
from locant.training.tasks import sequence_classification
from locant.training.tasks.classification import ClassificationTrainer
from locant.training.tasks.sequence_classification import SequenceClassification
from locant.training.tasks.sequence_classification_arguments import SequenceClassificationData

from ..tables import assert_same_table

SOUNDS = {"cat": ["purrs", "meows"], "dog": ["barks", "growls"], "cow": ["moos", "chews"]}
SIZES = {"train": 160, "validation": 30, "test": 30}
PROBLEMS = ["single_label_classification", "multi_label_classification", "regression"]
STEPS = 16  # in an epoch


def make_rows(split):
    """Texts, with what each kind of problem asks about them."""
    rng, rows = random.Random(split), []
    for _ in range(SIZES[split]):
        animal, mood = rng.choice(list(SOUNDS)), rng.choice(["sad", "old", "red"])
        text = f"the {mood} one {rng.choice(SOUNDS[animal])} at {rng.choice(['me', 'you'])}" + " again" * rng.randrange(
            4
        )
        rows.append((text, animal, [animal, mood], float(len(text.split()))))
    return rows


ROWS = {split: make_rows(split) for split in SIZES}


class Animals:
    """The files of each kind of problem, and ways to train on them."""

    def __init__(self, folder):
        self.folder = folder
        for split, rows in ROWS.items():
            for column, problem in enumerate(PROBLEMS, start=1):
                records = [{"text": row[0], "label": row[column]} for row in rows]
                path = folder / f"{problem}-{split}.jsonl"
                path.write_text("".join(json.dumps(record) + "\n" for record in records))

    def arguments(self, output_dir, problem=PROBLEMS[0], **options):
        model = {"d_model": 32, "norm_position": "pre", "dropout": 0.1, "encoder_layers": 1}
        model |= {"encoder_attention_heads": 2, "encoder_ffn_dim": 64}
        files = {f"{split}_file": str(self.folder / f"{problem}-{split}.jsonl") for split in SIZES}
        training = {"num_train_epochs": 3, "learning_rate": 0.01, "per_device_train_batch_size": 10, "seed": 1}
        training |= {"output_dir": str(output_dir), "disable_tqdm": True, "report_to": "none", "use_cpu": True}
        data = {**files, "tokenizer_vocab_size": 300, "problem_type": problem}
        config = self.folder / "config.yaml"
        sections = {"model": model, "data": data, "training": training}
        config.write_text(yaml.safe_dump({"task": "sequence_classification", **sections}))
        arguments = ["train", str(config)]
        for name, value in options.items():
            arguments += [f"--{name}", str(value)]
        return arguments

    def train(self, output_dir, problem=PROBLEMS[0], **options):
        return main(self.arguments(output_dir, problem, **options))


@pytest.fixture(scope="module")
def animals(toy, tmp_path_factory):  # toy: for its cache of datasets
    return Animals(tmp_path_factory.mktemp("animals"))


def test_the_order_in_which_labels_are_given_makes_no_prediction_wrong():
    data = SequenceClassificationData(train_file="x.tsv", problem_type="multi_label_classification")
    recipe = SequenceClassification(data, 0)
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [["red", "fruit", "red"], ["red"]]})
    found = recipe._predictions(rows, np.array([[1.0, 1.0], [1.0, 1.0]]), {0: "fruit", 1: "red"})
    assert [(row.label, row.prediction) for row in found] == [("fruit,red", "fruit,red"), ("red", "fruit,red")]


@pytest.fixture(scope="module")
def runs(animals, tmp_path_factory):
    """The folder of a finished run of each problem: for reading only."""
    folder = tmp_path_factory.mktemp("classifiers")
    for problem in PROBLEMS:
        assert animals.train(folder / problem, problem) == 0
    return {problem: folder / problem for problem in PROBLEMS}


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def same_bits(one, other):
    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def predictions(folder, split="test"):
    header, *rows = (folder / f"{split}_predictions.tsv").read_text("utf-8").splitlines()
    assert header == "text\tlabel\tprediction"
    return [tuple(row.split("\t")) for row in rows]


def one_by_one(folder, texts):
    """The logits of each text alone."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])


class TestMeasuring:
    def test_one_label_is_counted_as_by_hand(self, runs):
        folder, rows = runs[PROBLEMS[0]], ROWS["test"]
        logits = one_by_one(folder, [text for text, *_ in rows])
        names = AutoModelForSequenceClassification.from_pretrained(folder).config.id2label
        assert names == {0: "cat", 1: "cow", 2: "dog"}
        found, expected = [names[i] for i in logits.argmax(-1).tolist()], [animal for _, animal, *_ in rows]
        measured = metrics(folder)["test"]
        assert predictions(folder) == [(row[0], row[1], name) for row, name in zip(rows, found, strict=True)]
        assert measured["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(found, expected, strict=True)]))
        assert measured["macro_f1"] == pytest.approx(f1_score(expected, found, average="macro"))
        numbers = {name: number for number, name in names.items()}
        chosen = logits.log_softmax(-1)[range(30), [numbers[animal] for animal in expected]]
        assert measured["loss"] == pytest.approx(-chosen.mean().item(), rel=1e-4)
        assert measured["texts"] == 30
        assert measured["accuracy"] > 0.8

    def test_several_labels_are_those_above_a_half(self, runs):
        folder, rows = runs[PROBLEMS[1]], ROWS["test"]
        names = AutoModelForSequenceClassification.from_pretrained(folder).config.id2label
        assert [*names.values()] == ["cat", "cow", "dog", "old", "red", "sad"]
        above = one_by_one(folder, [text for text, *_ in rows]).sigmoid() > 0.5
        found = [",".join(names[int(i)] for i in row.nonzero()) for row in above]
        assert predictions(folder) == [(row[0], ",".join(row[2]), name) for row, name in zip(rows, found, strict=True)]
        right = [{*row[2]} == {*name.split(",")} for row, name in zip(rows, found, strict=True)]
        assert metrics(folder)["test"]["accuracy"] == pytest.approx(np.mean(right))
        assert metrics(folder)["test"]["macro_f1"] > 0.8

    def test_numbers_have_an_error_and_a_correlation(self, runs):
        folder, rows = runs[PROBLEMS[2]], ROWS["test"]
        values = one_by_one(folder, [text for text, *_ in rows])[:, 0].double().numpy()
        expected = np.array([row[3] for row in rows])
        measured = metrics(folder)["test"]
        assert measured["mse"] == pytest.approx(((values - expected) ** 2).mean(), rel=1e-4)
        assert measured["loss"] == pytest.approx(measured["mse"], rel=1e-6)
        assert measured["pearson"] == pytest.approx(np.corrcoef(values, expected)[0, 1], rel=1e-4)
        assert measured["pearson"] > 0.8
        assert [float(row[2]) for row in predictions(folder)] == pytest.approx(values.tolist(), abs=1e-4)

    @pytest.mark.parametrize(
        ("problem", "best", "scores"),
        [*zip(PROBLEMS, ["accuracy", "macro_f1", "mse"], [["macro_f1"], ["accuracy"], ["pearson"]], strict=True)],
    )
    def test_the_finished_model_is_the_best_epochs(self, runs, problem, best, scores):
        found = metrics(runs[problem])
        choose = min if best == "mse" else max
        epoch = choose(found["epochs"], key=lambda record: record[f"validation_{best}"])
        assert found["best_step"] == epoch["step"]
        for name in (best, "loss", *scores):
            assert found["validation"][name] == pytest.approx(epoch[f"validation_{name}"], rel=1e-4)

    @pytest.mark.parametrize("problem", PROBLEMS)
    def test_evaluate_prints_what_the_run_wrote_down(self, runs, tmp_path, capsys, problem):
        capsys.readouterr()
        assert main(["evaluate", str(runs[problem]), "--output", str(tmp_path / "rows.tsv"), "--batch_size", "7"]) == 0
        printed = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
        names = {"accuracy": "accuracy", "macro F1": "macro_f1", "mean squared error": "mse", "correlation": "pearson"}
        expected = metrics(runs[problem])["test"]
        for name, key in {**names, "loss": "loss"}.items():
            assert (name in printed) == (key in expected)
            if key in expected:
                assert float(printed[name]) == pytest.approx(expected[key], abs=1e-4)
        assert_same_table(tmp_path / "rows.tsv", runs[problem] / "test_predictions.tsv")

    def test_evaluate_takes_validation_and_refuses_what_is_for_others(self, runs, capsys):
        folder = str(runs[PROBLEMS[0]])
        assert main(["evaluate", folder, "--split", "validation"]) == 0
        assert (
            f"accuracy              {metrics(runs[PROBLEMS[0]])['validation']['accuracy']:.4f}"
            in capsys.readouterr().out
        )
        for options, message in (
            (["--num_beams", "2"], "--num_beams is for models that generate text, not for sequence_classification"),
            (["--source_prefix", "x"], "--source_prefix is for translators, not for sequence_classification"),
            (["--source", "a", "--reference", "b"], "--source and --reference are for translators, but "),
        ):
            assert main(["evaluate", folder, *options]) == 2
            assert message in capsys.readouterr().err

    def test_scores_of_each_class_stand_in_the_metrics_and_a_confusion_matrix_is_drawn(self, runs, capsys):
        rows = predictions(runs[PROBLEMS[0]])
        found = metrics(runs[PROBLEMS[0]])["test"]
        classes = sorted(SOUNDS)
        assert found["confusion_matrix"] == [
            [sum(row[1:] == (label, prediction) for row in rows) for prediction in classes] for label in classes
        ]
        assert list(found["by_class"]) == classes
        assert (runs[PROBLEMS[0]] / "test_confusion_matrix.png").is_file()
        assert not list(runs["regression"].glob("*confusion*"))
        capsys.readouterr()
        assert main(["evaluate", str(runs[PROBLEMS[0]])]) == 0
        out = capsys.readouterr().out
        assert all(f"F1 of {name} " in out for name in classes)

    def test_other_test_data_are_measured_by_the_options_of_data(self, animals, runs, tmp_path, capsys):
        rows = "".join(f"{row[1]};{row[0]}\n" for row in ROWS["test"])
        (tmp_path / "new.csv").write_text(f"animal;text\n{rows}")
        folder, capture = str(runs[PROBLEMS[0]]), capsys.readouterr
        capture()
        assert main(["evaluate", folder]) == 0
        expected = capture().out
        command = ["evaluate", folder, "--test_file", str(tmp_path / "new.csv"), "--label_column", "animal"]
        assert main(command) == 0
        assert capture().out == expected

    def test_a_label_that_training_does_not_have_is_named_with_file_and_line(self, runs, tmp_path, capsys):
        (tmp_path / "new.csv").write_text("text,label\na,cat\nb,fox\n")
        capsys.readouterr()
        assert main(["evaluate", str(runs[PROBLEMS[0]]), "--test_file", str(tmp_path / "new.csv")]) == 2
        assert f"{tmp_path / 'new.csv'}, line 3: the label 'fox' is not one of the 3 labels" in capsys.readouterr().err

    def test_the_builtin_pipeline_says_the_same(self, runs):
        folder = str(runs[PROBLEMS[0]])
        classify = pipeline("text-classification", model=folder)
        found = [answer["label"] for answer in classify([row[0] for row in predictions(runs[PROBLEMS[0]])])]
        assert found == [row[2] for row in predictions(runs[PROBLEMS[0]])]


class TestTraining:
    @pytest.mark.slow
    def test_the_same_command_gives_the_same_bits(self, animals, runs, tmp_path):
        assert animals.train(tmp_path / "again") == 0
        assert same_bits(tmp_path / "again", runs[PROBLEMS[0]])

    @pytest.mark.slow
    @pytest.mark.parametrize("problem", PROBLEMS)
    def test_stopped_and_started_again_it_ends_as_if_nothing_had_happened(
        self, animals, runs, tmp_path, monkeypatch, problem
    ):
        class Stopped(BaseException):
            pass

        steps, original = [], ClassificationTrainer.training_step

        def training_step(self, *args, **kwargs):
            steps.append(self.state.global_step)
            if len(steps) == STEPS + 5:
                raise Stopped
            return original(self, *args, **kwargs)

        monkeypatch.setattr(ClassificationTrainer, "training_step", training_step)
        with pytest.raises(Stopped):
            animals.train(tmp_path / "run", problem)
        steps.clear()
        steps.extend([-1] * (STEPS + 5))
        assert animals.train(tmp_path / "run", problem) == 0
        assert steps[STEPS + 5 :] == list(range(STEPS, 3 * STEPS))
        assert same_bits(tmp_path / "run", runs[problem])
        here, there = metrics(tmp_path / "run"), metrics(runs[problem])
        del here["training_seconds"], there["training_seconds"]
        assert here == there

    @pytest.mark.slow
    @pytest.mark.parametrize("problem", PROBLEMS)
    def test_accumulated_batches_are_one_batch(self, animals, tmp_path, problem):
        """16 texts in batches of 5 and 6: the step is the gradient of the mean over all of them."""
        rows = [json.loads(line) for line in (animals.folder / f"{problem}-train.jsonl").read_text().splitlines()[:16]]
        rows[0]["label"] = -100 if problem == "regression" else rows[0]["label"]  # which no code may take for "none"
        (tmp_path / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = {
            "train_file": tmp_path / "few.jsonl",
            "dropout": 0,
            "optim": "sgd",
            "learning_rate": 0.1,
            "max_steps": 1,
        }
        options |= {"lr_scheduler_type": "constant", "warmup_steps": 0, "max_grad_norm": 0, "logging_steps": 1}
        whole, parts = {"per_device_train_batch_size": 16}, {"per_device_train_batch_size": 6}
        assert animals.train(tmp_path / "whole", problem, **options, **whole) == 0
        assert animals.train(tmp_path / "parts", problem, **options, **parts, gradient_accumulation_steps=3) == 0
        one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
        for name in one:
            torch.testing.assert_close(
                other[name], one[name], rtol=1e-4, atol=1e-5 if problem != "regression" else 1e-3, msg=name
            )
        losses = [metrics(tmp_path / name)["epochs"][0]["train_loss"] for name in ("whole", "parts")]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)

    @pytest.mark.slow
    def test_texts_are_cut_and_counted_in_every_split(self, animals, tmp_path, capsys):
        assert (
            animals.train(
                tmp_path / "run", max_length=6, max_steps=2, position_encoding="learned", max_position_embeddings=6
            )
            == 0
        )
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
        for split, rows in ROWS.items():
            lengths = [len(tokenizer(text).input_ids) for text, *_ in rows]
            expected = {
                "texts": len(rows),
                "tokens": sum(min(length, 6) for length in lengths),
                "cut": sum(length > 6 for length in lengths),
            }
            assert metrics(tmp_path / "run")["data"][split] == expected
            assert expected["cut"] > 0
        assert re.search(r"train: 160 texts, \d+ tokens, [1-9]\d* cut to the maximum length\n", capsys.readouterr().out)
        assert len(predictions(tmp_path / "run")) == 30
        assert json.loads((tmp_path / "run" / "tokenizer.json").read_text("utf-8"))["truncation"] is None

    def test_labels_are_counted_and_so_is_what_stands_in_train_and_test(self, animals, runs, capsys):
        found = metrics(runs[PROBLEMS[0]])["data"]
        counts = {name: sum(animal == name for _, animal, *_ in ROWS["train"]) for name in SOUNDS}
        assert found["labels"] == counts
        train = {text: animal for text, animal, *_ in ROWS["train"]}
        known = [text in train for text, *_ in ROWS["test"]]
        assert found["test_in_train"] == {"texts": sum(known), "with_label": sum(known)}
        assert "labels" not in metrics(runs[PROBLEMS[2]])["data"]

    def test_a_dry_run_reports_and_writes_nothing(self, animals, tmp_path, capsys):
        assert animals.train(tmp_path / "run", dry_run="true", max_tokens_per_batch=100) == 0
        assert not (tmp_path / "run").exists()
        out = capsys.readouterr().out
        assert re.search(r"padding +\d", out)
        assert "Dry run: nothing was trained or written." in out


class TestFineTuning:
    @pytest.mark.slow
    def test_a_classifier_learns_other_labels_with_a_new_head(self, animals, runs, tmp_path, capsys):
        start = {"model_name_or_path": runs[PROBLEMS[0]], "learning_rate": 1e-9, "max_steps": 1}
        assert self.train(animals, tmp_path / "run", PROBLEMS[1], **start) == 0
        reason = f"as {runs[PROBLEMS[0]]} lacks them or has them in another shape: classifier.bias, classifier.weight"
        assert f"weights are initialised, {reason}" in capsys.readouterr().out
        before, after = (load_file(folder / "model.safetensors") for folder in (runs[PROBLEMS[0]], tmp_path / "run"))
        assert after["classifier.weight"].shape == (6, 32)
        for name in before.keys() - {"classifier.weight", "classifier.bias"}:
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6, msg=name)
        config = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").config
        assert (config.problem_type, config.num_labels) == (PROBLEMS[1], 6)

    @pytest.mark.slow
    def test_goes_on_with_the_same_labels(self, animals, runs, tmp_path, capsys):
        start = {"model_name_or_path": runs[PROBLEMS[0]], "learning_rate": 1e-9, "max_steps": 1}
        assert self.train(animals, tmp_path / "run", **start) == 0
        assert "New weights" not in capsys.readouterr().out
        assert metrics(tmp_path / "run")["test"]["loss"] == pytest.approx(
            metrics(runs[PROBLEMS[0]])["test"]["loss"], rel=1e-3
        )

    @pytest.mark.slow
    def test_starts_from_the_encoder_of_a_translator(self, animals, trained_run, tmp_path, capsys):
        start = {"model_name_or_path": trained_run, "learning_rate": 1e-9, "max_steps": 1}
        assert self.train(animals, tmp_path / "run", **start) == 0
        out = capsys.readouterr().out
        assert (
            f"New weights are initialised, as {trained_run} lacks them or has them in another shape: "
            "classifier.bias, classifier.weight" in out
        )
        before, after = (load_file(folder / "model.safetensors") for folder in (trained_run, tmp_path / "run"))
        for name in after.keys() - {"classifier.weight", "classifier.bias"}:
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6, msg=name)

    def test_refuses_a_model_without_an_encoder(self, animals, trained_run, tmp_path, capsys):
        config = AutoModelForSequenceClassification.from_pretrained(trained_run).config
        LocantForCausalLM(config).save_pretrained(tmp_path / "decoder")
        AutoTokenizer.from_pretrained(trained_run).save_pretrained(tmp_path / "decoder")
        assert self.train(animals, tmp_path / "run", model_name_or_path=tmp_path / "decoder") == 2
        message = f"{tmp_path}/decoder does not contain most weights of a model for sequence_classification, as it is"
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

    def test_refuses_a_tokenizer_without_padding(self, animals, runs, tmp_path, capsys):
        shutil.copytree(runs[PROBLEMS[0]], tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoint-*", "*.yaml"))
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bare")
        tokenizer.pad_token = None
        tokenizer.save_pretrained(tmp_path / "bare")
        assert self.train(animals, tmp_path / "run", model_name_or_path=tmp_path / "bare") == 2
        assert f"The tokenizer {tmp_path}/bare has no pad_token" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

    @staticmethod
    def train(animals, folder, problem=PROBLEMS[0], **options):
        arguments = animals.arguments(folder, problem, **options)
        config = yaml.safe_load((animals.folder / "config.yaml").read_text())
        config["model"] = {}
        del config["data"]["tokenizer_vocab_size"]
        (animals.folder / "config.yaml").write_text(yaml.safe_dump(config))
        return main(arguments)


class TestBadInput:
    @pytest.mark.parametrize(
        ("rows", "options", "message"),
        [
            (
                [("a", "x"), ("b", "cat")],
                {},
                "validation.jsonl, line 1: the label 'cow' is not one of the 2 labels of the training data",
            ),
            ([("a", "x"), ("b", "x")], {}, "have 1 different labels (x), but a classifier needs two or more: "),
            ([("a", "x"), ("b", "")], {}, "line 2: 'label' is '', where the name of a class is expected: correct"),
            (
                [("a", 1), ("b", "x")],
                {"problem_type": "regression"},
                "line 2: 'label' is 'x', where a number is expected",
            ),
            ([("a", 1.5), ("b", 2)], {}, "line 1: 'label' is 1.5, where the name of a class is expected"),
            ([("a", "x"), ("b", "y")], {"label_column": "class"}, "has no column 'class'; it has 'text', 'label'"),
            (None, {"problem_type": "ranking"}, "problem_type is 'ranking' (command line), but must be one of single"),
            (None, {"metric_for_best_model": "mse"}, "mse, but the metrics of this run are accuracy, macro_f1, loss"),
            (None, {"label_smoothing": 0.1}, "--label_smoothing is not an option: the loss of a classifier is not"),
            (None, {"decoder_layers": 2}, "--decoder_layers is not an option: the model of this task has no decoder"),
            (None, {"num_beams": 2}, "--num_beams is not an option of sequence_classification, but of translation"),
            (None, {"label_separator": ""}, "label_separator is empty"),
            (
                None,
                {"position_encoding": "learned", "max_position_embeddings": 6},
                "tokens, but the learned positions end at 6",
            ),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
    )
    def test_is_one_sentence_and_nothing_is_written(self, animals, tmp_path, capsys, rows, options, message):
        if rows is not None:
            records = [{"text": text, "label": label} for text, label in rows]
            (tmp_path / "bad.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
            options = {**options, "train_file": tmp_path / "bad.jsonl"}
        assert animals.train(tmp_path / "run", **options) == 2
        errors = capsys.readouterr().err
        assert message in errors.splitlines()[-1]
        assert "Traceback" not in errors
        assert not (tmp_path / "run").exists()

    def test_another_task_in_the_same_folder_is_refused(self, toy, runs, capsys):
        assert toy.train(runs[PROBLEMS[0]]) == 2
        message = "holds a different run, with task 'sequence_classification' and not 'translation': give another"
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_two_processes_do_what_one_does_with_larger_batches(toy, animals, tmp_path, problem):
    """All texts are one batch, shared out or not: the same steps, and the same measures over rows that are padded."""
    options = {"dropout": 0, "num_train_epochs": 2, "optim": "sgd", "max_grad_norm": 0, "learning_rate": 0.01}
    options |= {"warmup_steps": 0, "load_best_model_at_end": "false", "per_device_eval_batch_size": 7}
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2"]
    two = animals.arguments(tmp_path / "two", problem, **options | {"per_device_train_batch_size": 80})
    process = subprocess.run([*command, "-m", "locant", *two], env=toy.environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert animals.train(tmp_path / "one", problem, **options | {"per_device_train_batch_size": 160}) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(other[name], one[name], msg=name)
    for here, there in zip(*(metrics(tmp_path / name)["epochs"] for name in ("one", "two")), strict=True):
        assert here == pytest.approx(there, rel=1e-3)


def test_targets_of_several_labels_are_in_the_order_of_the_class_numbers():
    numbers = {"cat": 2, "dog": 0, "cow": 1}
    assert sequence_classification._target(["cat", "dog"], numbers, PROBLEMS[1], "t.tsv", 0) == [1.0, 0.0, 1.0]
