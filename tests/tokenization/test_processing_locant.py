# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The processor of an image-to-text model: prompts, labels, decoding, saving, and the image-text-to-text pipeline."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, pipeline

import locant
from locant.tokenization import LocantImageProcessor, LocantProcessor, train_tokenizer

CAPTIONS = ["a seven above a three", "an eight left of a one and a nine", "a two above a zero"]
BOS, EOS = 1, 2
IMAGES = [Image.fromarray(image) for image in np.random.default_rng(0).integers(0, 256, (2, 8, 8), dtype=np.uint8)]


@pytest.fixture(scope="module")
def processor():
    tokenizer = train_tokenizer(iter(CAPTIONS * 2), kind="word", vocab_size=40, show_progress=False)
    return LocantProcessor(LocantImageProcessor(num_channels=1, size=8), tokenizer)


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(2)
    config = locant.LocantConfig(
        vocab_size=len(processor.tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_input="patches",
        image_size=8,
        patch_size=4,
        num_channels=1,
        initializer="normal",
        initializer_range=1.0,
    )
    return locant.LocantForConditionalGeneration(config).eval()


def words(processor, text):
    return processor.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_images_are_the_image_processors(processor):
    got = processor(images=IMAGES, return_tensors="pt")
    assert list(got) == ["pixel_values"]
    torch.testing.assert_close(
        got["pixel_values"], processor.image_processor(IMAGES, return_tensors="pt")["pixel_values"]
    )


def test_options_reach_the_image_processor(processor):
    assert processor(images=IMAGES, size={"height": 4, "width": 6}, return_tensors="pt")["pixel_values"].shape[2:] == (
        4,
        6,
    )


def test_a_prompt_is_what_the_decoder_starts_with(processor):
    got = processor(images=IMAGES[0], text="a seven", return_tensors="pt")
    assert got["decoder_input_ids"].tolist() == [[BOS, *words(processor, "a seven")]]
    assert got["decoder_attention_mask"].tolist() == [[1, 1, 1]]
    assert processor(images=IMAGES[0], text="", return_tensors="pt")["decoder_input_ids"].tolist() == [[BOS]]


def test_prompts_are_padded_on_the_left(processor):
    got = processor(images=IMAGES, text=["", "a seven"], padding=True, return_tensors="pt")
    assert got["decoder_input_ids"].tolist() == [[0, 0, BOS], [BOS, *words(processor, "a seven")]]
    assert got["decoder_attention_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]


def test_prompts_are_cut_with_their_start_token(processor):
    options = {"truncation": True, "padding": "max_length", "max_length": 3, "return_tensors": "pt"}
    got = processor(images=IMAGES, text=["a seven a seven", "a"], **options)
    assert got["decoder_input_ids"].tolist() == [[BOS, *words(processor, "a seven")], [0, BOS, *words(processor, "a")]]


def test_prompts_are_cut_to_the_limit_of_the_tokenizer(processor, monkeypatch):
    monkeypatch.setattr(processor.tokenizer, "model_max_length", 3)
    got = processor(images=IMAGES[:1], text=["a seven a seven"], truncation=True)
    assert got["decoder_input_ids"] == [[BOS, *words(processor, "a seven")]]


def test_targets_are_labels_with_an_end_and_ignored_padding(processor):
    got = processor(images=IMAGES, text_target=CAPTIONS[:2], padding=True, return_tensors="pt")
    first, second = (words(processor, caption) for caption in CAPTIONS[:2])
    assert got["labels"].tolist() == [[*first, EOS] + [-100] * (len(second) - len(first)), [*second, EOS]]
    assert set(got) == {"pixel_values", "labels"}


def test_targets_are_cut_where_asked(processor):
    got = processor(text_target=CAPTIONS, truncation=True, max_length=4)
    assert got["labels"] == [[*words(processor, caption)[:3], EOS] for caption in CAPTIONS]


def test_labels_decode_to_the_caption(processor):
    labels = processor(text_target=CAPTIONS)["labels"]
    assert processor.batch_decode(labels, skip_special_tokens=True) == CAPTIONS
    assert processor.decode(labels[1], skip_special_tokens=True) == CAPTIONS[1]


def test_wrong_use_is_one_sentence(processor):
    with pytest.raises(ValueError, match="given nothing: give images, text or text_target"):
        processor()
    with pytest.raises(ValueError, match="2 pixel_values, 3 labels: give the same number of images"):
        processor(images=IMAGES, text_target=CAPTIONS)
    tokenizer = train_tokenizer(iter(CAPTIONS), kind="word", vocab_size=40, show_progress=False)
    tokenizer.bos_token = None
    with pytest.raises(ValueError, match="no token to start a text with"):
        LocantProcessor(processor.image_processor, tokenizer)(text="a")


def without_code(settings):
    """Saving enters where the code is."""
    return {
        name: without_code(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name != "auto_map"
    }


def test_auto_classes_load_it_and_its_halves(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is LocantProcessor
    assert without_code(loaded.to_dict()) == without_code(processor.to_dict())
    options = {
        "images": IMAGES,
        "text": ["a", "a two"],
        "text_target": CAPTIONS[:2],
        "padding": True,
        "return_tensors": "pt",
    }
    torch.testing.assert_close(dict(loaded(**options)), dict(processor(**options)))
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is LocantImageProcessor
    assert AutoTokenizer.from_pretrained(tmp_path)(CAPTIONS[0]) == processor.tokenizer(CAPTIONS[0])


def test_a_text_model_has_no_processor_but_its_tokenizer(tmp_path):
    tokenizer = train_tokenizer(iter(CAPTIONS), kind="word", vocab_size=40, show_progress=False)
    tokenizer.save_pretrained(tmp_path)
    locant.LocantConfig(vocab_size=len(tokenizer)).save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path)(CAPTIONS[0]) == tokenizer(CAPTIONS[0])


def caption(processor, model, image, prompt):
    """The words that a plain loop finds likeliest, one after the other."""
    ids = [BOS, *words(processor, prompt)]
    pixel_values = processor(images=image, return_tensors="pt")["pixel_values"]
    for _ in range(5):
        logits = model(pixel_values=pixel_values, decoder_input_ids=torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] == EOS:
            break
    return processor.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("prompt", ["", "a", "a seven above"])
def test_the_pipeline_goes_on_from_a_prompt(processor, model, tmp_path, prompt):
    processor.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    pipe = pipeline("image-text-to-text", model=str(tmp_path))
    expected = caption(processor, model, IMAGES[0], prompt)
    assert len(expected) > len(prompt)
    assert pipe(images=IMAGES[0], text=prompt, max_new_tokens=5) == [{"input_text": prompt, "generated_text": expected}]


def test_the_pipeline_without_a_text_asks_for_one(processor, model, tmp_path):
    IMAGES[0].save(tmp_path / "image.png")
    pipe = pipeline("image-text-to-text", model=model, processor=processor)
    with pytest.raises(ValueError, match="needs a text together with the images, such as text=''"):
        pipe(images=str(tmp_path / "image.png"), max_new_tokens=5)


def test_the_pipeline_takes_prompts_of_several_lengths_at_once(processor, model):
    pipe = pipeline("image-text-to-text", model=model, processor=processor)
    got = pipe(images=IMAGES, text=["", "a seven above"], max_new_tokens=5)
    expected = [
        caption(processor, model, image, text) for image, text in zip(IMAGES, ["", "a seven above"], strict=True)
    ]
    assert [result["generated_text"] for result in got] == expected


def test_the_pipeline_streams_over_a_generator(processor, model):
    pipe = pipeline("image-text-to-text", model=model, processor=processor)
    stream = ({"images": image, "text": "a"} for image in IMAGES)
    got = [result[0]["generated_text"] for result in pipe(stream, max_new_tokens=5, batch_size=2)]
    assert got == [caption(processor, model, image, "a") for image in IMAGES]
