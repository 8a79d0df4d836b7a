# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant predict`, beside transformers' pipelines."""

import argparse
import copy
import io
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import locant
from locant.cli import main
from locant.commands.predict import _texts, predict_inputs
from locant.training.data.images import open_image
from locant.training.errors import InputError

TEXTS = ["the red cat sees the dog.", "", "the dog hears the fox."]


PROBLEMS = {
    "single_label_classification": {"id2label": {0: "cat", 1: "dog", 2: "cow"}},
    "multi_label_classification": {"id2label": {0: "sad", 1: "old", 2: "red"}},
    "regression": {"num_labels": 1},
}
IMAGE_TASKS = ("image_classification", "captioning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, image_folder):
    """Folders of models with random weights, by problem or task."""
    folder = tmp_path_factory.mktemp("models")
    tokenizers = {
        purpose: locant.train_tokenizer(iter(TEXTS * 3), vocab_size=300, show_progress=False, purpose=purpose)
        for purpose in ("seq2seq", "masked_lm", "causal_lm")
    }
    images = locant.LocantImageProcessor(size={"height": 8, "width": 8})
    captions = locant.LocantProcessor(images, copy.deepcopy(tokenizers["seq2seq"]))

    def save(name, model_class, companion, **fields):
        torch.manual_seed(1)
        shape = {"d_model": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        shape |= {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
        model = model_class(locant.LocantConfig(vocab_size=300, image_size=8, patch_size=4, **shape, **fields))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(5)
            if fields.get("problem_type") == "multi_label_classification":
                model.classifier.bias.copy_(torch.tensor([20.0, -20.0, 20.0]))
        model.save_pretrained(folder / name)
        companion.save_pretrained(folder / name)

    for problem, fields in PROBLEMS.items():
        save(problem, locant.LocantForSequenceClassification, tokenizers["seq2seq"], problem_type=problem, **fields)
    learned = {"position_encoding": "learned", "max_position_embeddings": 24}
    save("learned", locant.LocantForSequenceClassification, tokenizers["seq2seq"], **learned)
    save("learned_language_model", locant.LocantForCausalLM, tokenizers["causal_lm"], **learned)
    save("masked_language_modeling", locant.LocantForMaskedLM, tokenizers["masked_lm"])
    save("tagger", locant.LocantForTokenClassification, tokenizers["masked_lm"], num_labels=3)
    save("language_modeling", locant.LocantForCausalLM, tokenizers["causal_lm"])
    save("image_classification", locant.LocantForImageClassification, images, num_labels=3)
    save("captioning", locant.LocantForConditionalGeneration, captions, encoder_input="patches")
    save("bare", locant.LocantEncoderModel, tokenizers["seq2seq"])
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def predict(capsys):
    """Run `locant predict` with arguments, and return the lines of its output, or of its errors."""

    def run(*arguments, status=0):
        capsys.readouterr()
        assert main(["predict", *map(str, arguments)]) == status
        printed = capsys.readouterr()
        return (printed.out if status == 0 else printed.err).splitlines()

    return run


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


class TestTextClassifiers:
    def test_give_a_label_with_its_probability_and_nothing_for_blank_lines(self, predict, folders, lines):
        folder = folders["single_label_classification"]
        classify = transformers.pipeline("text-classification", model=str(folder))
        expected = [classify(text)[0] if text else None for text in TEXTS]
        found = predict(folder, lines)
        assert found == [f"{one['label']}\t{one['score']:.4f}" if one else "" for one in expected]

    def test_give_the_best_labels(self, predict, folders, lines):
        [first, *_] = predict(folders["single_label_classification"], lines, "--top_k", 2)
        labels, scores = first.split("\t")[::2], [float(score) for score in first.split("\t")[1::2]]
        assert len(set(labels)) == 2
        assert scores == sorted(scores, reverse=True)

    def test_of_several_labels_give_those_from_one_half_on(self, predict, folders, lines):
        folder = folders["multi_label_classification"]
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        with torch.no_grad():
            logits = model(**tokenizer(TEXTS[0], return_tensors="pt")).logits[0]
        expected = {model.config.id2label[int(number)] for number in (logits >= 0).nonzero()}
        assert expected == {"sad", "red"}
        assert set(predict(folder, lines)[0].split("\t")[::2]) - {""} == expected

    def test_of_numbers_give_the_number(self, predict, folders, lines):
        folder = folders["regression"]
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        with torch.no_grad():
            value = model(**tokenizer(TEXTS[0], return_tensors="pt")).logits.item()
        assert float(predict(folder, lines)[0]) == pytest.approx(value, abs=1e-4)


def test_json_has_inputs_and_whole_outputs(predict, folders, lines):
    found = [json.loads(line) for line in predict(folders["single_label_classification"], lines, "--json")]
    assert [row["input"] for row in found] == TEXTS
    assert found[0]["output"][0].keys() == {"label", "score"}
    assert found[1]["output"] == []


def test_token_classifiers_write_tokens_as_in_the_text(predict, folders, tmp_path):
    text = "the été 猫"
    (tmp_path / "text").write_text(text, encoding="utf-8")
    expected = transformers.pipeline("token-classification", model=str(folders["tagger"]))(text)
    [line] = predict(folders["tagger"], tmp_path / "text")
    words, labels, scores = (line.split("\t")[start::3] for start in range(3))
    assert words == ["the", "Ġ", "é", "é", "t", "é", "é", "Ġ", "猫", "猫", "猫"]  # Ġ: a token that is a space alone
    assert labels == [token["entity"] for token in expected]
    assert scores == [f"{token['score']:.4f}" for token in expected]
    [line] = predict(folders["tagger"], tmp_path / "text", "--json")
    output = json.loads(line)["output"]
    assert [token["entity"] for token in output] == labels
    assert [token["score"] for token in output] == pytest.approx([token["score"] for token in expected])


def test_a_text_that_is_too_long_for_a_model_of_another_family_is_refused(folders):
    tokenizer = AutoTokenizer.from_pretrained(folders["masked_language_modeling"])
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=16, **shape)
    pipe = transformers.pipeline("fill-mask", model=transformers.BertForMaskedLM(config), tokenizer=tokenizer)
    options = argparse.Namespace(batch_size=1, top_k=None, do_sample=False, max_new_tokens=None)
    with pytest.raises(InputError, match="more tokens than the model has positions"):
        list(predict_inputs(pipe, ["the cat " * 40 + tokenizer.mask_token], options, None))


def test_masked_language_models_fill_masks(predict, folders, tmp_path):
    folder = folders["masked_language_modeling"]
    (tmp_path / "masks").write_text("the <mask> sees the cat.\nthe <mask> sees the <mask>.\n")
    fill = transformers.pipeline("fill-mask", model=str(folder))
    one, two = predict(folder, tmp_path / "masks")
    best = fill("the <mask> sees the cat.", top_k=1)[0]
    assert one == f"{best['token_str']}\t{best['score']:.4f}"
    assert len(two.split("\t")) == 4
    (tmp_path / "mask").write_text("the <mask> sees the cat.\n")
    [alone] = predict(folder, tmp_path / "mask", "--top_k", 2)
    assert alone.startswith(f"{one}\t")


def test_a_text_without_a_mask_is_refused_in_a_sentence(predict, folders, lines):
    [error] = predict(folders["masked_language_modeling"], lines, status=2)
    text = lines.read_text().splitlines()[0]
    assert f"Input 1, {text!r}, has no <mask>: write it in place of the word" in error


def test_language_models_go_on_with_a_text(predict, folders, lines):
    folder = folders["language_modeling"]
    write = transformers.pipeline("text-generation", model=str(folder))
    expected = write(TEXTS[0], max_new_tokens=5, return_full_text=False, do_sample=False)[0]["generated_text"]
    assert predict(folder, lines, "--max_new_tokens", 5)[0] == " ".join(expected.splitlines())


def test_language_models_without_a_padding_token_go_on_with_several_texts(predict, folders, lines, tmp_path):
    folder = tmp_path / "without"
    shutil.copytree(folders["language_modeling"], folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    found = [predict(path, lines, "--max_new_tokens", 5) for path in (folder, folders["language_modeling"])]
    assert found[0] == found[1]


def test_texts_are_cut_at_learned_positions_by_classifiers_and_refused_by_others(predict, folders, tmp_path, capsys):
    (tmp_path / "long").write_text(" ".join(["the cat sees the dog."] * 20))
    (tmp_path / "longer").write_text(" ".join(["the cat sees the dog."] * 25))
    (tmp_path / "short").write_text("the cat sees the dog.")
    found = [predict(folders["learned"], tmp_path / name, "--json")[0] for name in ("long", "longer")]
    assert json.loads(found[0])["output"] == json.loads(found[1])["output"]
    assert main(["predict", str(folders["learned"]), str(tmp_path / "long"), str(tmp_path / "short")]) == 0
    assert "Cut 1 of 2 texts to 24 tokens, the limit of the model or of its training." in capsys.readouterr().err
    [error] = predict(folders["learned_language_model"], tmp_path / "long", status=2)
    assert "\n" not in error and "position" in error


@pytest.mark.parametrize("sizes", [(1, 4), (2, 4)])
def test_captions_do_not_depend_on_the_batch(predict, folders, image_folder, sizes):
    found = [predict(folders["captioning"], image_folder, "--batch_size", n, "--max_new_tokens", 4) for n in sizes]
    assert found[0] == found[1]


def test_the_source_prefix_of_the_run_stands_before_every_text(predict, toy, tmp_path):
    assert toy.train(tmp_path / "run", max_steps=30, source_prefix="loyal ") == 0
    source = toy.files["test"][0]
    assert main(["translate", str(tmp_path / "run"), source, "--output", str(tmp_path / "expected")]) == 0
    assert predict(tmp_path / "run", source) == (tmp_path / "expected").read_text("utf-8").splitlines()


def test_continuations_are_drawn_at_random_on_request_by_seed(predict, folders, lines):
    command = (folders["language_modeling"], lines, "--max_new_tokens", 8)
    assert predict(*command) == predict(*command)
    drawn = [predict(*command, "--do_sample", "--seed", seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_texts_may_be_a_column_of_a_table(predict, folders, lines, tmp_path):
    folder = folders["single_label_classification"]
    (tmp_path / "table.csv").write_text("label,text\n" + "".join(f'x,"{text}"\n' for text in TEXTS))
    assert predict(folder, tmp_path / "table.csv") == predict(folder, lines)


def test_the_column_of_a_table_is_the_one_that_a_translator_was_trained_on(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"translation": {"en": "the cat", "fr": "le chat"}}\n')
    assert list(_texts(str(tmp_path / "a.jsonl"), SimpleNamespace(source_lang="en"))) == ["the cat"]
    (tmp_path / "a.tsv").write_text("text\tsource\ttarget\nnumber 1\tthe dog\tle chien\n")
    assert list(_texts(str(tmp_path / "a.tsv"), SimpleNamespace(source_lang=None))) == ["the dog"]
    assert list(_texts(str(tmp_path / "a.tsv"), None)) == ["number 1"]


@pytest.mark.parametrize("command", ["predict", "serve", "demo"])
def test_commands_for_texts_need_no_pillow(command):
    """Pillow is in the extras for images only."""
    script = f"import sys; sys.modules['PIL'] = None; import locant.commands.{command}"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_translators_translate(predict, toy, trained_run):
    found = predict(trained_run, toy.files["test"][0], "--batch_size", 4)
    translate = locant.pipeline(model=trained_run)
    assert found[:3] == [translate(source)[0]["translation_text"] for source, _ in toy.pairs["test"][:3]]


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_images_are_files_or_folders(predict, folders, image_folder, task):
    images = sorted(image_folder.glob("*.png"))
    options = ["--max_new_tokens", 4] if task == "captioning" else []
    found = predict(folders[task], *images, *options)
    assert [line.split("\t")[0] for line in found] == [str(path) for path in images]
    assert predict(folders[task], image_folder, *options) == found


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_images_are_read_as_in_training(predict, folders, tmp_path, task):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation: to be turned by a quarter
    stored, opaque = tmp_path / "stored.png", tmp_path / "opaque.png"
    Image.fromarray(pixels, "RGBA").save(stored, exif=exif)
    open_image(stored).save(opaque)

    processor = locant.LocantImageProcessor(size=8)
    in_training = datasets.Image().decode_example({"path": str(stored), "bytes": None})
    assert (in_training.size, in_training.mode) == ((4, 8), "RGBA")
    found, expected = (processor(image)["pixel_values"][0] for image in (Image.open(opaque), in_training))
    np.testing.assert_array_equal(found, expected)

    outputs = [json.loads(predict(folders[task], path, "--json")[0])["output"] for path in (stored, opaque)]
    assert outputs[0] == outputs[1]


def test_standard_input_and_output_files(predict, folders, lines, tmp_path, monkeypatch):
    folder = folders["single_label_classification"]
    expected = predict(folder, lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.read_bytes())))
    assert predict(folder, "--output", tmp_path / "found.tsv") == []
    assert (tmp_path / "found.tsv").read_text().splitlines() == expected


class TestRefusals:
    def test_a_seed_below_zero(self, predict, folders, lines):
        error = predict(folders["language_modeling"], lines, "--do_sample", "--seed", "-1", status=2)[-1]
        assert "'-1' is not a whole number from 0 to 2**32 - 1" in error

    def test_an_image_with_too_many_pixels(self, predict, folders, image_folder, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
        error = predict(folders["image_classification"], image_folder, status=2)[-1]
        assert "cannot be read as an image" in error

    def test_images_that_are_not_there(self, predict, folders):
        [error] = predict(folders["image_classification"], "no.png", status=2)
        assert (
            error == "locant predict: error: There is no image at no.png: give image files, or folders that directly "
            "contain image files."
        )

    def test_folders_without_images_and_broken_ones(self, predict, folders, tmp_path):
        [error] = predict(folders["image_classification"], tmp_path, status=2)
        assert error.endswith(
            f"There is no image in {tmp_path}: give image files, or folders that directly contain image files."
        )
        (tmp_path / "a.png").write_text("no image")
        *_, error = predict(folders["image_classification"], tmp_path, status=2)
        assert f"{tmp_path / 'a.png'} cannot be read as an image" in error

    def test_a_device_that_is_not_there(self, predict, folders, lines):
        *_, error = predict(folders["regression"], lines, "--device", "abacus", status=2)
        assert "Device abacus cannot be used here" in error

    def test_top_k_of_a_text(self, predict, folders, lines):
        [error] = predict(folders["language_modeling"], lines, "--top_k", 3, status=2)
        assert error.endswith(
            "--top_k is for classifiers and masked language models, not for text-generation: leave it out."
        )

    @pytest.mark.parametrize(
        ("model", "options", "message"),
        [
            ("multi_label_classification", ["--top_k", 1], "this model may choose several labels: leave it out."),
            ("masked_language_modeling", ["--do_sample"], "--do_sample is for language models, not for fill-mask:"),
            ("regression", ["--max_new_tokens", 5], "--max_new_tokens is for models that generate text, not for text-"),
        ],
    )
    def test_options_of_other_models(self, predict, folders, lines, model, options, message):
        [error] = predict(folders[model], lines, *options, status=2)
        assert message in error

    def test_no_images(self, predict, folders):
        [error] = predict(folders["image_classification"], status=2)
        assert error.endswith("reads images: give image files, or folders of them.")

    def test_a_folder_with_a_mistyped_name(self, predict, folders, lines):
        folder = folders["single_label_classification"]
        [error] = predict(f"{folder}x", lines, status=2)
        assert error == f"locant predict: error: There is no folder {folder}x: did you mean {folder}?"

    def test_a_model_without_a_head(self, predict, folders, lines):
        [error] = predict(folders["bare"], lines, status=2)
        assert "is for feature-extraction, whose results do not fit on one line: call locant.pipeline" in error

    def test_a_folder_that_holds_no_model(self, predict, lines, tmp_path):
        [error] = predict(tmp_path, lines, status=2)
        assert error.endswith(
            f"{tmp_path} has no config.json, so it holds no model: give the folder that a model was saved to."
        )


@pytest.mark.parametrize(
    ("task", "run"),
    [
        ("translation", "trained_run"),
        ("text-generation", "language_modeling"),
        ("fill-mask", "masked_language_modeling"),
        ("text-classification", "regression"),
        ("image-classification", "image_classification"),
        ("image-text-to-text", "captioning"),
    ],
)
def test_the_pipeline_of_a_model_follows_from_its_config(trained_run, folders, task, run):
    assert locant.pipeline(model={**folders, "trained_run": trained_run}[run]).task == task
