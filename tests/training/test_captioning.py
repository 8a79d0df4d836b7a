# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Captioners by `locant train --task captioning`, on the pictures of `conftest.py`.

What every task does alike (folder, resuming, dry run) is tested on translation; here it is tried once more.
"""

import csv
import json
import math
import re
import subprocess
import sys

import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from sacrebleu.metrics import BLEU, CHRF
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, pipeline

from locant.cli import main
from locant.tokenization import LocantImageProcessor
from locant.training.run.trainer import GenerationTrainer
from locant.training.run.training_run import describe_data
from locant.training.tasks.captioning import CaptionCollator, exact_share

TASK = "captioning"
STEPS = 10  # in an epoch


@pytest.fixture(scope="module")
def folder(picture_runs):
    return picture_runs[TASK]


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def processor(folder):
    return AutoProcessor.from_pretrained(folder)


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def same_bits(one, other):
    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def predictions(folder, split="test"):
    with open(folder / f"{split}_captions.tsv", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


class TestMeasuring:
    def test_captions_are_those_of_each_image_alone(self, pictures, folder, model, processor):
        for (path, _, caption), row in zip(pictures.rows["test"], predictions(folder), strict=True):
            inputs = processor(images=Image.open(pictures.folder / path), return_tensors="pt")
            (tokens,) = model.generate(**inputs)
            assert row["prediction"] == processor.tokenizer.decode(tokens, skip_special_tokens=True)
            assert row["caption"] == caption
        assert [row["row"] for row in predictions(folder)] == [str(i) for i in range(1, 25)]

    @torch.no_grad()
    def test_the_loss_is_that_of_every_token_alone(self, pictures, folder, model, processor):
        total, count = 0.0, 0
        for path, _, caption in pictures.rows["test"]:
            inputs = processor(images=Image.open(pictures.folder / path), text_target=caption, return_tensors="pt")
            (labels,) = inputs.pop("labels")
            for i, label in enumerate(labels):
                prefix = torch.cat([torch.tensor([model.config.decoder_start_token_id]), labels[:i]])
                logits = model(**inputs, decoder_input_ids=prefix[None]).logits
                total += cross_entropy(logits[0, -1], label).item()
                count += 1
        measured = metrics(folder)["test"]
        assert measured["loss"] == pytest.approx(total / count, rel=1e-4)
        assert measured["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
        assert metrics(folder)["data"]["test"] == {"images": 24, "tokens": count}

    def test_scores_are_those_of_the_file(self, folder):
        rows, measured = predictions(folder), metrics(folder)["test"]
        found, captions = [row["prediction"] for row in rows], [row["caption"] for row in rows]
        assert measured["exact"] == pytest.approx(sum(a == b for a, b in zip(found, captions, strict=True)) / 24)
        assert measured["bleu"] == pytest.approx(BLEU(max_ngram_order=3).corpus_score(found, [captions]).score)  # words
        assert measured["chrf"] == pytest.approx(CHRF().corpus_score(found, [captions]).score)
        assert measured["images"] == 24
        assert measured["exact"] > 0.2  # of nine captions

    def test_white_space_around_a_caption_does_not_count_and_all_else_does(self):
        assert exact_share(["a b", " a b\n", "a\nb", "a  b", "A b"], ["a b"] * 5) == 0.6

    def test_padding_of_captions_has_no_label(self):
        image = {"pixels": bytes(4), "shape": [1, 2, 2]}
        rows = [{**image, "labels": labels} for labels in ([5, 6, 2], [7, 2])]
        batch = CaptionCollator(LocantImageProcessor(num_channels=1))(rows)
        assert batch["labels"].tolist() == [[5, 6, 2], [7, 2, -100]]

    def test_the_finished_model_is_the_best_epochs(self, folder):
        found = metrics(folder)
        best = max(found["epochs"], key=lambda record: record["validation_exact"])
        assert found["best_step"] == best["step"]
        for name in ("loss", "perplexity"):
            assert found["validation"][name] == pytest.approx(best[f"validation_{name}"], rel=1e-4)

    def test_what_training_measures_greedily_is_what_evaluate_does(self, folder, capsys):
        capsys.readouterr()
        assert main(["evaluate", str(folder), "--split", "validation", "--num_beams", "1"]) == 0
        printed = dict(re.split(r"  +", line)[:2] for line in capsys.readouterr().out.splitlines())
        best = max(metrics(folder)["epochs"], key=lambda record: record["validation_exact"])
        assert float(printed["exactly right"]) == pytest.approx(best["validation_exact"], abs=1e-4)
        assert float(printed["BLEU"]) == pytest.approx(best["validation_bleu"], abs=0.01)

    def test_evaluate_prints_what_the_run_wrote_down(self, folder, tmp_path, capsys):
        capsys.readouterr()
        assert main(["evaluate", str(folder), "--output", str(tmp_path / "rows.tsv"), "--batch_size", "7"]) == 0
        printed = dict(re.split(r"  +", line)[:2] for line in capsys.readouterr().out.splitlines())
        names = {"exactly right": "exact", "BLEU": "bleu", "chrF": "chrf", "loss": "loss", "perplexity": "perplexity"}
        for name, key in names.items():
            assert float(printed[name]) == pytest.approx(metrics(folder)["test"][key], abs=0.006)
        assert printed["images"] == "24"
        assert (tmp_path / "rows.tsv").read_bytes() == (folder / "test_captions.tsv").read_bytes()

    def test_the_builtin_pipeline_says_the_same(self, pictures, folder):
        caption = pipeline("image-text-to-text", model=str(folder))
        for (path, *_), row in list(zip(pictures.rows["test"], predictions(folder), strict=True))[:6]:
            (answer,) = caption(images=str(pictures.folder / path), text="")
            assert answer["generated_text"].strip() == row["prediction"]


class TestTraining:
    @pytest.mark.slow
    def test_the_same_command_gives_the_same_bits(self, pictures, folder, tmp_path):
        assert pictures.train(TASK, tmp_path / "again") == 0
        assert same_bits(tmp_path / "again", folder)

    @pytest.mark.slow
    def test_stopped_and_started_again_it_ends_as_if_nothing_had_happened(
        self, pictures, folder, tmp_path, monkeypatch
    ):
        class Stopped(BaseException):
            pass

        steps, original = [], GenerationTrainer.training_step

        def training_step(self, *args, **kwargs):
            steps.append(self.state.global_step)
            if len(steps) == STEPS + 5:
                raise Stopped
            return original(self, *args, **kwargs)

        monkeypatch.setattr(GenerationTrainer, "training_step", training_step)
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

    def test_the_saved_model_searches_as_asked(self, folder, model):
        assert (model.generation_config.num_beams, model.generation_config.max_new_tokens) == (2, 8)
        assert model.generation_config.decoder_start_token_id == AutoTokenizer.from_pretrained(folder).bos_token_id

    @pytest.mark.slow
    def test_empty_and_long_captions_are_dropped_from_train_only(self, pictures, tmp_path, capsys):
        rows = [
            (path, label, "" if i < 2 else f"{caption} it is" if i < 5 else caption)
            for i, (path, label, caption) in enumerate(pictures.rows["train"])
        ]
        table = str(pictures.write("odd.csv", rows))
        files = {"train_file": table, "validation_file": table, "max_length": 5, "max_steps": 1}
        assert pictures.train(TASK, tmp_path / "run", **files) == 0
        data = metrics(tmp_path / "run")["data"]
        assert data["dropped"] == {"empty": 2, "long": 3}
        assert (data["train"]["images"], data["validation"]["images"]) == (75, 80)
        assert "dropped from train: 2 empty, 3 long" in capsys.readouterr().out

    def test_what_of_test_stands_in_train_is_counted(self, pictures, folder):
        captions = {caption for *_, caption in pictures.rows["train"]}
        known = sum(caption in captions for *_, caption in pictures.rows["test"])
        assert metrics(folder)["data"]["test_in_train"] == {"images": 0, "captions": known}

    def test_no_line_says_that_nothing_of_test_is_in_train(self):
        split = {"images": 2, "tokens": 9}
        summary = {"train": split, "test": split, "vocabulary": 9, "dropped": {"empty": 0, "long": 0}}
        for overlap, is_told in ({"images": 0, "captions": 0}, False), ({"images": 0, "captions": 1}, True):
            lines = describe_data(summary | {"test_in_train": overlap})
            assert any("data of test that is also in train" in line for line in lines) is is_told

    def test_images_and_several_captions_of_each_come_from_a_parquet_file(self, pictures, tmp_path):
        images = [Image.open(pictures.folder / path) for path, *_ in pictures.rows["train"] for _ in range(2)]
        captions = [text for *_, caption in pictures.rows["train"] for text in (caption, f"it is {caption}")]
        table = Dataset.from_dict({"image": images, "text": captions}).cast_column("image", ImageFeature())
        table.to_parquet(tmp_path / "t.parquet")
        files = {f"{split}_file": str(tmp_path / "t.parquet") for split in ("train", "validation", "test")}
        assert pictures.train(TASK, tmp_path / "run", **files, caption_column="text", max_steps=1) == 0
        assert metrics(tmp_path / "run")["data"]["test_in_train"] == {"images": 160, "captions": 160}

    def test_a_dry_run_reports_and_writes_nothing(self, pictures, tmp_path, capsys):
        assert pictures.train(TASK, tmp_path / "run", dry_run="true") == 0
        assert not (tmp_path / "run").exists()
        assert "Dry run: nothing was trained or written." in capsys.readouterr().out


class TestBegin:
    def test_a_trained_captioner_keeps_its_weights_tokens_and_search(self, pictures, folder, tmp_path):
        start = {"model_name_or_path": str(folder), "learning_rate": 1e-9, "max_steps": 1, "num_beams": None}
        assert pictures.train(TASK, tmp_path / "run", **start, max_new_tokens=6) == 0
        before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "run"))
        for name in before:
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6, msg=name)
        search = AutoModelForImageTextToText.from_pretrained(tmp_path / "run").generation_config
        assert (search.num_beams, search.max_new_tokens) == (2, 6)
        assert metrics(tmp_path / "run")["test"]["loss"] == pytest.approx(metrics(folder)["test"]["loss"], rel=1e-3)

    @pytest.mark.slow
    def test_a_tokenizer_of_another_model_is_taken(self, pictures, trained_run, tmp_path):
        names = {"tokenizer_name": str(trained_run), "tokenizer_kind": None, "tokenizer_vocab_size": None}
        assert pictures.train(TASK, tmp_path / "run", **names, max_position_embeddings=64, max_steps=1) == 0
        tokenizer = AutoTokenizer.from_pretrained(trained_run)
        assert AutoProcessor.from_pretrained(tmp_path / "run").tokenizer.get_vocab() == tokenizer.get_vocab()
        assert AutoModelForImageTextToText.from_pretrained(tmp_path / "run").config.vocab_size == len(tokenizer)


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"caption_column": "text"}, "has no column 'text'; it has 'image', 'label', 'caption'"),
            ({"train_file": "unreadable.csv"}, "bad.png cannot be read: cannot identify image file"),
            (
                {"max_length": 2},
                "No training image is left, as 0 have an empty text, and 80 have a text longer than max_length 2:",
            ),
            ({"max_length": 0}, "max_length is 0, but must be above 0."),
            ({"max_position_embeddings": 3}, "caption, row 1, has 4 tokens, but the learned positions end at 3"),
            (
                {"metric_for_best_model": "exact", "predict_with_generate": "false"},
                "set predict_with_generate, or choose",
            ),
            ({"source_lang": "en"}, "--source_lang is not an option: a captioner does not translate."),
            ({"random_flip": "true"}, "--random_flip is not an option of captioning, but of image_classification"),
            ({"tokenizer_name": "nowhere"}, "tokenizer_name already decides the tokenizer: leave"),
            ({"model_name_or_path": "./nowhere"}, "There is no folder ./nowhere"),
        ],
    )
    def test_is_one_sentence_and_nothing_is_written(self, pictures, tmp_path, capsys, options, message):
        (pictures.folder / "bad.png").write_text("no image")
        if "train_file" in options:
            options = {"train_file": str(pictures.write(options["train_file"], [("bad.png", "dark", "a")]))}
        assert pictures.train(TASK, tmp_path / "run", **options) == 2
        errors = capsys.readouterr().err
        assert message in errors.splitlines()[-1]
        assert "Traceback" not in errors
        assert not (tmp_path / "run").exists()

    def test_a_model_of_another_kind_has_no_processor(self, pictures, trained_run, tmp_path, capsys):
        assert pictures.train(TASK, tmp_path / "run", model_name_or_path=str(trained_run)) == 2
        assert f"No image processor loads from {trained_run}" in capsys.readouterr().err
        options = {"model_name_or_path": str(trained_run), "image_std": 0.1}
        assert pictures.train(TASK, tmp_path / "run", **options) == 2
        assert "image_std is given, but model_name_or_path" in capsys.readouterr().err


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
