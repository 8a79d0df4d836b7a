# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Classifiers of images by `locant train --task image_classification`, on the pictures of `conftest.py`.

What every task does alike (folder, resuming, dry run) is tested on translation; here it is tried once more.
"""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    pipeline,
)

from locant import LocantImageProcessor
from locant.cli import main
from locant.training.tasks.classification import ClassificationTrainer

from ..tables import assert_same_table

TASK = "image_classification"
STEPS = 10  # in an epoch
NAMES = ["dark", "grey", "light"]


@pytest.fixture(scope="module")
def folder(picture_runs):
    return picture_runs[TASK]


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def same_bits(one, other):
    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def predictions(folder, split="test"):
    with open(folder / f"{split}_predictions.tsv", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def one_by_one(folder, paths):
    """The logits of each image alone."""
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        return torch.cat([model(**processor(Image.open(path), return_tensors="pt")).logits for path in paths])


class TestMeasuring:
    def test_images_are_counted_as_by_hand(self, pictures, folder):
        rows = pictures.rows["test"]
        logits = one_by_one(folder, [pictures.folder / path for path, *_ in rows])
        assert AutoModelForImageClassification.from_pretrained(folder).config.id2label == dict(enumerate(NAMES))
        probabilities, numbers = logits.softmax(-1).max(-1)
        found, expected = [NAMES[i] for i in numbers], [label for _, label, _ in rows]
        written = predictions(folder)
        assert [row["row"] for row in written] == [str(i) for i in range(1, 25)]
        assert [(row["label"], row["prediction"]) for row in written] == list(zip(expected, found, strict=True))
        assert [float(row["probability"]) for row in written] == pytest.approx(probabilities.tolist(), abs=1e-4)
        measured = metrics(folder)["test"]
        assert measured["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(found, expected, strict=True)]))
        assert measured["macro_f1"] == pytest.approx(f1_score(expected, found, average="macro"))
        chosen = logits.log_softmax(-1)[range(24), [NAMES.index(label) for label in expected]]
        assert measured["loss"] == pytest.approx(-chosen.mean().item(), rel=1e-4)
        assert measured["images"] == 24
        assert measured["accuracy"] > 0.6

    def test_the_finished_model_is_the_best_epochs(self, folder):
        found = metrics(folder)
        best = max(found["epochs"], key=lambda record: record["validation_accuracy"])
        assert found["best_step"] == best["step"]
        for name in ("accuracy", "macro_f1", "loss"):
            assert found["validation"][name] == pytest.approx(best[f"validation_{name}"], rel=1e-4)

    def test_evaluate_prints_what_the_run_wrote_down(self, folder, tmp_path, capsys):
        capsys.readouterr()
        assert main(["evaluate", str(folder), "--output", str(tmp_path / "rows.tsv"), "--batch_size", "7"]) == 0
        printed = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
        expected = metrics(folder)["test"]
        for name, key in {"accuracy": "accuracy", "macro F1": "macro_f1", "loss": "loss", "images": "images"}.items():
            assert float(printed[name]) == pytest.approx(expected[key], abs=1e-4)
        assert_same_table(tmp_path / "rows.tsv", folder / "test_predictions.tsv")

    def test_the_builtin_pipeline_says_the_same(self, pictures, folder):
        paths = [str(pictures.folder / path) for path, *_ in pictures.rows["test"]]
        answers = pipeline("image-classification", model=str(folder))(paths, batch_size=5)
        for (best, *_), row in zip(answers, predictions(folder), strict=True):
            assert best["label"] == row["prediction"]
            assert best["score"] == pytest.approx(float(row["probability"]), abs=1e-4)


class TestTraining:
    @pytest.mark.slow
    def test_the_same_command_gives_the_same_bits_and_other_shifts_others(self, pictures, folder, tmp_path):
        assert pictures.train(TASK, tmp_path / "again") == 0
        assert same_bits(tmp_path / "again", folder)
        assert pictures.train(TASK, tmp_path / "other", random_shift=0) == 0
        assert not same_bits(tmp_path / "other", folder)

    @pytest.mark.slow
    def test_worker_processes_change_nothing(self, pictures, folder, tmp_path):
        assert pictures.train(TASK, tmp_path / "run", dataloader_num_workers=2) == 0
        assert same_bits(tmp_path / "run", folder)

    @pytest.mark.slow
    def test_stopped_and_started_again_it_ends_as_if_nothing_had_happened(
        self, pictures, folder, tmp_path, monkeypatch
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
            pictures.train(TASK, tmp_path / "run")
        steps.clear()
        steps.extend([-1] * (STEPS + 5))
        assert pictures.train(TASK, tmp_path / "run") == 0
        assert steps[STEPS + 5 :] == list(range(STEPS, 3 * STEPS))
        assert same_bits(tmp_path / "run", folder)
        here, there = metrics(tmp_path / "run"), metrics(folder)
        del here["training_seconds"], there["training_seconds"]
        assert here == there

    @pytest.mark.slow
    def test_labels_are_counted_and_so_is_what_stands_in_train_and_test(self, pictures, folder, tmp_path, capsys):
        labels = [label for _, label, _ in pictures.rows["train"]]
        assert metrics(folder)["data"]["labels"] == {name: labels.count(name) for name in NAMES}
        assert metrics(folder)["data"]["test_in_train"] == {"images": 0, "with_label": 0}
        for number, (path, *_) in enumerate(pictures.rows["train"][:3]):
            Image.open(pictures.folder / path).save(pictures.folder / f"copy-{number}.png")  # another name
        copies = [(f"copy-{number}.png", labels[number], "") for number in range(3)]
        copies[0] = (copies[0][0], next(name for name in NAMES if name != labels[0]), "")
        table = pictures.write("copies.csv", [*copies, *pictures.rows["test"][:2]])
        capsys.readouterr()
        assert pictures.train(TASK, tmp_path / "run", test_file=str(table), max_steps=1) == 0
        assert metrics(tmp_path / "run")["data"]["test_in_train"] == {"images": 3, "with_label": 2}
        assert "data of test that is also in train: 3 images, 2 with the same label" in capsys.readouterr().out

    @pytest.mark.slow
    def test_validation_is_cut_from_the_training_images(self, pictures, tmp_path, capsys):
        options = {"validation_file": None, "validation_split": 0.25, "max_steps": 1}
        assert pictures.train(TASK, tmp_path / "run", **options) == 0
        assert "Cut 20 of 80 images from train for validation" in capsys.readouterr().out
        data = metrics(tmp_path / "run")["data"]
        assert (data["train"]["images"], data["validation"]["images"]) == (60, 20)

    def test_a_dry_run_reports_and_writes_nothing(self, pictures, tmp_path, capsys):
        assert pictures.train(TASK, tmp_path / "run", dry_run="true") == 0
        assert not (tmp_path / "run").exists()
        out = capsys.readouterr().out
        assert re.search(r"batches an epoch +10 ", out)
        assert not re.search("^(padding|computation)", out, re.MULTILINE)
        assert "Dry run: nothing was trained or written." in out


class TestSources:
    @pytest.mark.slow
    def test_colour_images_of_any_size_come_from_a_parquet_file(self, pictures, tmp_path):
        rng = np.random.default_rng(0)
        images = [Image.fromarray(rng.integers(0, 256, (10 + i, 20, 3), dtype=np.uint8)) for i in range(8)]
        table = Dataset.from_dict({"photo": images, "kind": [0, 1] * 4}).cast_column("photo", ImageFeature())
        table.to_parquet(tmp_path / "photos.parquet")
        files = {f"{split}_file": str(tmp_path / "photos.parquet") for split in ("train", "validation", "test")}
        shape = {"num_channels": 3, "image_size": [8, 12], "image_mean": 0.4, "image_std": 0.3, "max_steps": 2}
        columns = {"image_column": "photo", "label_column": "kind"}
        assert pictures.train(TASK, tmp_path / "run", **files, **columns, **shape, random_crop=0.7) == 0
        processor = AutoImageProcessor.from_pretrained(tmp_path / "run")
        assert processor(images, return_tensors="pt")["pixel_values"].shape == (8, 3, 8, 12)
        assert (processor.image_mean, processor.image_std) == (0.4, 0.3)
        (tmp_path / "files").mkdir()
        paths = [tmp_path / "files" / f"{i}.png" for i in range(8)]
        for image, path in zip(images, paths, strict=True):
            image.save(path)
        logits = one_by_one(tmp_path / "run", paths)
        assert [row["prediction"] for row in predictions(tmp_path / "run")] == [str(int(i)) for i in logits.argmax(-1)]

    @pytest.mark.slow
    def test_a_folder_of_images_by_class_is_a_data_set(self, pictures, tmp_path):
        for split in ("train", "test"):
            for number, (path, label, _) in enumerate(pictures.rows[split]):
                place = tmp_path / "set" / split / label
                place.mkdir(parents=True, exist_ok=True)
                Image.open(pictures.folder / path).save(place / f"{number}.png")
        options = {"dataset_name": str(tmp_path / "set"), "train_file": None, "test_file": None}
        assert pictures.train(TASK, tmp_path / "run", **options) == 0
        assert metrics(tmp_path / "run")["test"]["accuracy"] > 0.6
        assert {row["label"] for row in predictions(tmp_path / "run")} == {*NAMES}


class TestFineTuning:
    @pytest.mark.end_to_end
    def test_a_model_of_another_family_ends_with_the_weights_of_its_checkpoints(self, pictures, tmp_path):
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        config = ViTConfig(**sizes, image_size=8, patch_size=4, num_channels=1)
        ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
        LocantImageProcessor(num_channels=1, size={"height": 8, "width": 8}).save_pretrained(tmp_path / "vit")
        start = {"model_name_or_path": str(tmp_path / "vit"), "num_train_epochs": 2, "average_checkpoints": 2}
        assert pictures.train(TASK, tmp_path / "run", **start) == 0
        folders = [tmp_path / "run", *(tmp_path / "run").glob("checkpoint-*")]
        mean, *parts = (AutoModelForImageClassification.from_pretrained(folder).state_dict() for folder in folders)
        assert len(parts) == 2 and any(not torch.equal(parts[0][name], parts[1][name]) for name in mean)
        for name, weight in mean.items():
            torch.testing.assert_close(weight, (parts[0][name] + parts[1][name]) / 2, msg=name)
        before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "vit", folders[0]))
        assert before.keys() == after.keys()

    def test_other_labels_get_a_new_head(self, pictures, folder, tmp_path, capsys):
        renamed = [
            (path, f"{label} or so" if label == "dark" else "another", "") for path, label, _ in pictures.rows["train"]
        ]
        table = str(pictures.write("renamed.csv", renamed))
        files = {f"{split}_file": table for split in ("train", "validation", "test")}
        start = {"model_name_or_path": str(folder), "learning_rate": 1e-9, "max_steps": 1}
        assert pictures.train(TASK, tmp_path / "run", **files, **start) == 0
        assert (
            f"New weights are initialised, as {folder} lacks them or has them in another shape: "
            "classifier.bias, classifier.weight" in capsys.readouterr().out
        )
        before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "run"))
        assert after["classifier.weight"].shape == (2, 32)
        for name in before.keys() - {"classifier.weight", "classifier.bias"}:
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6, msg=name)

    @pytest.mark.slow
    def test_goes_on_with_the_processor_that_it_had(self, pictures, folder, tmp_path, capsys):
        start = {"model_name_or_path": str(folder), "learning_rate": 1e-9, "max_steps": 1}
        assert pictures.train(TASK, tmp_path / "run", **start) == 0
        assert metrics(tmp_path / "run")["test"]["loss"] == pytest.approx(metrics(folder)["test"]["loss"], rel=1e-3)
        assert pictures.train(TASK, tmp_path / "other", **start, image_mean=0.2) == 2
        message = "but model_name_or_path names a model with its own image processor: leave image_mean out."
        assert message in capsys.readouterr().err


class TestBadInput:
    @pytest.mark.parametrize(
        ("rows", "options", "message"),
        [
            ([("images/train-0.png", "x"), ("bad.png", "dark")], {}, "bad.csv, line 3: the image "),
            (
                [("images/train-0.png", "x"), ("bad.png", "dark")],
                {},
                "bad.png cannot be read: cannot identify image file",
            ),
            (
                [("images/train-0.png", "x"), ("no.png", "dark")],
                {},
                "no.png, which the column 'image' names: correct the path",
            ),
            (
                [("images/train-0.png", "x"), ("images/train-1.png", "")],
                {},
                "line 3: 'label' is '', where the name of a",
            ),
            (
                [("images/train-0.png", "x"), ("images/train-1.png", "x")],
                {},
                "have 1 different labels (x), but a classifier ",
            ),
            (
                [("images/train-0.png", "x"), ("images/train-1.png", "y")],
                {},
                "validation.csv, line 2: the label 'light' is not one of the 2 labels of the training data (x, y): ",
            ),
            (None, {"image_column": "photo"}, "has no column 'photo'; it has 'image', 'label', 'caption'"),
            (None, {"patch_size": 3}, "patch_size 3 does not divide the height 8 of image_size"),
            (None, {"random_shift": -1}, "random_shift is -1, but must be 0 or more pixels."),
            (None, {"random_crop": 0}, "random_crop is 0.0, but must be above 0 and at most 1."),
            (None, {"image_std": 0}, "image_std is 0.0, but must be above 0."),
            (None, {"max_tokens_per_batch": 99}, "images are all of one size, so set per_device_train_batch_size"),
            (None, {"decoder_layers": 2}, "the model of this task has no decoder"),
            (None, {"metric_for_best_model": "exact"}, "the metrics of this run are accuracy, macro_f1, loss"),
        ],
    )
    def test_is_one_sentence_and_nothing_is_written(self, pictures, tmp_path, capsys, rows, options, message):
        if rows is not None:
            (pictures.folder / "bad.png").write_text("no image")
            options = {**options, "train_file": str(pictures.write("bad.csv", [(*row, "") for row in rows]))}
        assert pictures.train(TASK, tmp_path / "run", **options) == 2
        errors = capsys.readouterr().err
        assert message in errors.splitlines()[-1]
        assert "Traceback" not in errors
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_larger_batches(toy, pictures, tmp_path):
    """All images are one batch, shared out or not: the same steps, and the same measures over rows that are padded."""
    options = {"dropout": 0, "num_train_epochs": 2, "optim": "sgd", "max_grad_norm": 0, "learning_rate": 0.1}
    options |= {"warmup_steps": 0, "load_best_model_at_end": "false", "per_device_eval_batch_size": 7}
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2"]
    two = pictures.arguments(TASK, tmp_path / "two", **options, per_device_train_batch_size=40)
    process = subprocess.run([*command, "-m", "locant", *two], env=toy.environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert pictures.train(TASK, tmp_path / "one", **options, per_device_train_batch_size=80) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(other[name], one[name], msg=name)
    for here, there in zip(*(metrics(tmp_path / name)["epochs"] for name in ("one", "two")), strict=True):
        assert here == pytest.approx(there, rel=1e-3)
