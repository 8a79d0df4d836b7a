# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The functions behind the page of `locant demo`, beside `locant translate` and `locant predict`."""

import json

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, set_seed

pytest.importorskip("gradio", reason="Gradio is missing: pip install 'locant[demo]'")

from locant.cli import main
from locant.commands.demo import _parser, load_form
from locant.serving import demo_functions
from locant.serving.demo_functions import (
    LONGEST_TEXT,
    caption,
    classify_image,
    classify_text,
    fill_masks,
    generate,
    translate,
)
from locant.training.errors import InputError
from locant.training.inference import one_line


def model_of(folder):
    """What the page of a model calls: the served model, or a function that predicts."""
    return load_form(_parser().parse_args([folder, "--device", "cpu"])).args[0]


@pytest.fixture
def command(tmp_path, capsys):
    """Run a command on a text or a file, and return the first line of its output."""

    def run(name, folder, given, *options, is_file=False):
        if not is_file:
            (tmp_path / "text.txt").write_text(f"{given}\n", encoding="utf-8")
            given = tmp_path / "text.txt"
        capsys.readouterr()
        assert main([name, folder, str(given), "--device", "cpu", *map(str, options)]) == 0
        return capsys.readouterr().out.splitlines()

    return run


class TestTranslation:
    def test_is_that_of_the_command(self, translator, texts, command):
        served = model_of(translator)
        for text in texts[:2]:
            found, alignment = translate(served, text, 4, 3)
            rows = [f"1\t{translation.score:.4f}\t{translation.text}" for translation in found]
            options = ("--num_beams", 4, "--num_return_sequences", 3)
            assert rows == command("translate", translator, text, "--scores", *options)
            assert alignment.source == text.split()
            assert alignment.target == found[0].text.split()

    def test_has_the_attention_of_the_model(self, word_translator, texts):
        found, alignment = translate(model_of(word_translator), texts[1], 2, 1)
        assert min(len(alignment.source), len(set(alignment.target))) > 1
        assert torch.tensor(alignment.weights) == pytest.approx(word_weights(word_translator, texts[1], found[0].text))

    def test_has_the_prefix_of_the_run(self, translator, texts):
        served = model_of(translator)
        expected, _ = translate(served, f"red {texts[0]}", 2, 2)
        served.source_prefix = "red "
        found, alignment = translate(served, texts[0], 2, 2)
        assert found == expected
        assert alignment.source == ["red", *texts[0].split()]

    def test_reads_line_breaks_as_spaces(self, translator):
        served = model_of(translator)
        assert translate(served, "the red\ncat", 2, 2)[0] == translate(served, "the red cat", 2, 2)[0]

    def test_has_no_attention_if_the_model_returns_none(self, translator, texts, monkeypatch):
        def refuse(*args, **kwargs):
            raise InputError("The model returns no cross-attention.")

        served = model_of(translator)
        expected, _ = translate(served, texts[0], 2, 1)
        monkeypatch.setattr(demo_functions, "align", refuse)
        assert translate(served, texts[0], 2, 1) == (expected, None)

    def test_of_more_translations_than_beams_is_refused(self, translator):
        with pytest.raises(InputError, match="3 translations of a sentence cannot come from a search with num_beams 2"):
            translate(model_of(translator), "the cat", 2, 3)


def word_weights(folder, source, target):
    """The cross-attention of each target word to each source word, from `output_attentions`."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs, labels = tokenizer(source, return_tensors="pt"), tokenizer(text_target=target, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs, labels=labels["input_ids"], output_attentions=True)
    attention = torch.stack(outputs.cross_attentions).mean(dim=(0, 1, 2))
    rows = torch.stack([attention[tokens].mean(dim=0) for tokens in tokens_of_words(labels, target)])
    return torch.stack([rows[:, tokens].sum(dim=1) for tokens in tokens_of_words(inputs, source)], dim=1)


def tokens_of_words(encoding, text):
    """The indices of the tokens of each word."""
    spans = {token: encoding.token_to_chars(token) for token in range(encoding["input_ids"].shape[1])}
    words = {token: len(text[: span.end].split()) - 1 for token, span in spans.items() if span is not None}
    return [[token for token, of in words.items() if of == word] for word in range(len(text.split()))]


class TestClassification:
    def test_of_a_text_is_that_of_the_command(self, classifier, texts, command):
        served = model_of(classifier)
        for text in texts[:3]:
            [line] = command("predict", classifier, text, "--top_k", 3, "--json")
            expected = {label["label"]: pytest.approx(label["score"]) for label in json.loads(line)["output"]}
            assert classify_text(served, text) == (expected, False)

    def test_of_a_long_text_is_that_of_its_beginning(self, classifier, command):
        text = "the red cat sees a young dog " * 20
        [line] = command("predict", classifier, text, "--top_k", 3, "--json")
        expected = {label["label"]: pytest.approx(label["score"]) for label in json.loads(line)["output"]}
        assert classify_text(model_of(classifier), text) == (expected, True)

    def test_by_a_number_is_that_of_the_command(self, regression_model, texts, command):
        [line] = command("predict", regression_model, texts[0])
        assert classify_text(model_of(regression_model), texts[0]) == (line, False)

    def test_of_an_image_is_that_of_the_command(self, image_classifier, image, command):
        [line] = command("predict", image_classifier, image, "--top_k", 3, "--json", is_file=True)
        expected = {label["label"]: pytest.approx(label["score"]) for label in json.loads(line)["output"]}
        assert len(expected) == 3
        assert classify_image(model_of(image_classifier), 3, image) == expected


class TestFillMask:
    def test_of_one_mask_is_that_of_the_command(self, masked_language_model, command):
        text = "the <mask> cat sees"
        [line] = command("predict", masked_language_model, text, "--top_k", 4, "--json")
        expected = [(1, token["token_str"], pytest.approx(token["score"])) for token in json.loads(line)["output"]]
        assert fill_masks(model_of(masked_language_model), "<mask>", text, 4) == expected

    def test_of_two_masks_numbers_them(self, masked_language_model, command):
        text = "<mask> cat sees a <mask>"
        [line] = command("predict", masked_language_model, text, "--top_k", 2, "--json")
        expected = [
            (number, token["token_str"], pytest.approx(token["score"]))
            for number, tokens in enumerate(json.loads(line)["output"], start=1)
            for token in tokens
        ]
        assert [number for number, *_ in expected] == [1, 1, 2, 2]
        assert fill_masks(model_of(masked_language_model), "<mask>", text, 2) == expected


class TestGeneration:
    def test_is_that_of_the_command(self, language_model, command):
        expected = command("predict", language_model, "the red cat", "--max_new_tokens", 7)
        assert [one_line(generate(model_of(language_model), "the red cat", 7, False))] == expected

    def test_at_random_is_that_of_the_command_with_the_same_seed(self, language_model, command):
        predict = model_of(language_model)
        options = ("--max_new_tokens", 7, "--do_sample", "--seed", 3)
        expected = command("predict", language_model, "the red cat", *options)
        set_seed(3)
        assert [one_line(generate(predict, "the red cat", 7, True))] == expected
        assert [one_line(generate(predict, "the red cat", 7, False))] != expected

    def test_of_a_caption_is_that_of_the_command(self, captioner, image, command):
        [line] = command("predict", captioner, image, is_file=True)
        assert caption(model_of(captioner), image) == line.split("\t")[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: translate(None, " \n", 1, 1), "The text is empty: type a text."),
        (lambda: classify_text(None, ""), "The text is empty: type a text."),
        (lambda: generate(None, "", 5, False), "The text is empty: type a text."),
        (
            lambda: translate(None, "é" * (LONGEST_TEXT + 1), 1, 1),
            "The text has 2,001 characters, but this page takes at most 2,000: shorten the text.",
        ),
        (
            lambda: fill_masks(None, "<mask>", "the cat", 3),
            "The text has no <mask>: write it in place of the word that is to be predicted.",
        ),
        (lambda: classify_image(None, 3, None), "There is no image: choose an image file."),
        (lambda: caption(None, None), "There is no image: choose an image file."),
    ],
)
def test_an_input_that_cannot_be_used_is_refused_in_a_sentence(call, message):
    with pytest.raises(InputError) as refusal:
        call()
    assert str(refusal.value) == message


def test_unpaired_surrogates_are_replaced(classifier):
    served = model_of(classifier)
    assert classify_text(served, "the \ud800 cat") == classify_text(served, "the ? cat")
