# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The attention weights inside the page are those that the model returns, in every family."""

import numpy as np
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from locant.training.errors import InputError
from locant.visualization.heatmaps import Heatmaps
from locant.visualization.pictures import draw_heatmaps
from locant.visualization.recording import record
from locant.visualization.visualization import visualize

from .models import IMAGE_MODELS, MODELS, SENTENCES, build
from .page_data import part_named, values_of

KINDS = {"encoder_attention": "encoder_attentions", "cross_attention": "cross_attentions"}
KINDS |= {"decoder_attention": "decoder_attentions", "self_attention": "attentions"}


def assert_in_page(page, outputs):
    """Each kind of attention that the outputs have is in the page, within half of a level."""
    kinds = [kind for kind, name in KINDS.items() if outputs.get(name)]
    assert kinds
    for kind in kinds:
        expected = np.stack([layer[0].numpy() for layer in outputs[KINDS[kind]]])
        values, error = values_of(part_named(page, kind))
        assert values.shape == expected.shape
        assert (np.abs(values - expected) <= error + 1e-6).all()
        assert (error <= 0.5 / 255).all()


@pytest.mark.parametrize("name", MODELS)
def test_text_models(name, tokenizer):
    model = build(name)
    source, target = SENTENCES
    is_encoder_decoder = model.config.is_encoder_decoder
    page = visualize(model, source, target if is_encoder_decoder else None, tokenizer=tokenizer).html()
    inputs = {"input_ids": tokenizer(source, return_tensors="pt")["input_ids"]}
    if is_encoder_decoder:
        labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        assert_in_page(page, model(**inputs, output_attentions=True))


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_image_models(name, tokenizer, image_processor, image):
    model = build(name)
    is_captioner = model.config.is_encoder_decoder
    target = "the cat" if is_captioner else None
    found = visualize(
        model, target=target, image=image, image_processor=image_processor, tokenizer=is_captioner and tokenizer
    )
    inputs = {"pixel_values": image_processor(image, return_tensors="pt")["pixel_values"]}
    if is_captioner:
        labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        assert_in_page(found.html(), model(**inputs, output_attentions=True))
    part = part_named(found.html(), "cross_attention" if is_captioner else "self_attention")
    assert part["patches"] == [3, 3]
    assert part["columnsBeforePatches"] == (0 if is_captioner else 1)
    assert part["columns"][-1] == "patch 3, 3"
    assert np.abs(found.recording.pixels * 255 - image).max() < 1e-3  # the normalisation is undone


def test_cross_attention_with_as_many_tokens_as_patches_has_a_picture_for_each_token():
    tokens, patches = [f"token {number}" for number in range(4)], [f"patch {number}" for number in range(4)]
    heads = ["head 1", "head 2"]
    heatmaps = Heatmaps(
        *("cross_attention", "title", "caption", np.eye(4, dtype=np.float32)[None, None].repeat(2, 1)),
        *(tokens, patches, ["layer 1"], heads),
        patches=(2, 2),
    )
    figure = pytest.importorskip("matplotlib.figure").Figure()
    draw_heatmaps(figure, heatmaps, np.zeros((4, 4, 3)))
    assert [panel.get_title() for panel in figure.axes] == tokens


def test_the_model_keeps_its_attention_implementation(tokenizer):
    model = build("llama")
    assert model.config._attn_implementation == "sdpa"
    record(model, tokenizer, SENTENCES[0])
    assert model.config._attn_implementation == "sdpa"


def test_queries_of_cross_attention_are_the_predicted_tokens(tokenizer):
    found = record(build("locant translator"), tokenizer, "the cat", "le chat")
    assert found.target.tokens[-1] == "</s>"
    assert found.decoder_tokens == ["<s>", *found.target.tokens[:-1]]
    assert found.attention["cross_attention"].shape[-2] == len(found.target.tokens)


def test_without_a_target_the_generated_text_is_the_target(tokenizer):
    model = build("locant translator")
    model.generation_config.update(max_new_tokens=5, num_beams=1)
    ids = model.generate(**tokenizer(SENTENCES[0], return_tensors="pt"))
    generated = tokenizer.decode(ids[0], skip_special_tokens=True)
    found = record(model, tokenizer, SENTENCES[0])
    assert found.target.words == generated.split()


def test_tokens_are_readable_and_belong_to_words(tokenizer):
    found = record(build("bert"), tokenizer, "  the été   😀 שלום ").source
    assert found.words == ["the", "été", "😀", "שלום"]
    assert found.tokens[-1] == "</s>"
    assert found.word_of_token[-1] is None
    pairs = list(zip(found.tokens, found.word_of_token, strict=True))
    by_word = [[token for token, word in pairs if word == i] for i in range(4)]
    assert "".join(by_word[0]) == "the"
    assert all(by_word)
    assert all(token in word for word, tokens in zip(found.words, by_word, strict=True) for token in tokens)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("bert", {"text": "the cat", "target": "le chat"}, "no encoder–decoder"),
        ("bert", {"text": "  "}, "nothing to read"),
        ("bert", {}, "nothing to read"),
        ("locant translator", {"text": "the cat", "target": "le chat", "layer": 4}, "layers of the decoder are 1 to 3"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, arguments, message, tokenizer):
    with pytest.raises(InputError, match=message):
        visualize(build(name), **arguments, tokenizer=tokenizer)


def test_a_model_without_attention_is_refused_in_a_sentence(tokenizer):
    model = MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1, state_size=4))
    with pytest.raises(InputError, match="MambaForCausalLM") as refused:
        visualize(model, "the cat", tokenizer=tokenizer)
    assert len(str(refused.value).splitlines()) == 1


def test_an_image_model_in_bfloat16_has_norms(image_processor, image):
    assert visualize(build("vit").bfloat16(), image=image, image_processor=image_processor).norms


def test_a_model_object_without_its_tokenizer_is_refused(tokenizer):
    model, texts = build("locant translator"), ("the cat", "le chat")
    with pytest.raises(InputError, match="give tokenizer"):
        visualize(model, *texts)
    with pytest.raises(InputError, match="give reverse_tokenizer"):
        visualize(model, *texts, tokenizer=tokenizer, reverse_model=model)


def test_a_model_object_without_its_image_processor_is_refused(image):
    with pytest.raises(InputError, match="give image_processor"):
        visualize(build("vit"), image=image)
