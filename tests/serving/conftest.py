# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Small models with random weights whose outputs differ from text to text."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

import locant
from locant.training.inference import load

WORDS = [
    "the",
    "a",
    "red",
    "sad",
    "young",
    "cat",
    "dog",
    "king",
    "boy",
    "fox",
    "bear",
    "sees",
    "hears",
    "likes",
    "today",
]
SHAPE = {"d_model": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
SHAPE |= {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}


@pytest.fixture(scope="session")
def texts():
    """Different sentences of 1 to 12 words."""
    rng = random.Random(3)
    return list(dict.fromkeys(" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(80)))[:64]


def save(folder, model_class, texts, purpose="seq2seq", image_processor=None, **fields):
    companion = locant.train_tokenizer(iter(texts), vocab_size=320, show_progress=False, purpose=purpose)
    torch.manual_seed(2)
    model = model_class(locant.LocantConfig(vocab_size=len(companion), **SHAPE, **fields))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(16 if "cross_attn" in name else 2)
    if image_processor is not None:
        companion = locant.LocantProcessor(image_processor, companion) if model.can_generate() else image_processor
    if model.can_generate():
        model.generation_config.update(num_beams=2, max_new_tokens=12)
    model.save_pretrained(folder)
    companion.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def translator(texts, tmp_path_factory):
    return save(tmp_path_factory.mktemp("translator"), locant.LocantForConditionalGeneration, texts)


@pytest.fixture(scope="session")
def word_translator(translator, tmp_path_factory):
    """A translator whose translations consist of `WORDS`."""
    model, tokenizer = load(translator, "cpu")
    texts = {number: tokenizer.decode([number]).strip() for number in range(len(tokenizer))}
    kept = {model.config.eos_token_id, *(number for number, text in texts.items() if text in WORDS)}
    model.generation_config.suppress_tokens = sorted(texts.keys() - kept)
    folder = tmp_path_factory.mktemp("word_translator")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def classifier(texts, tmp_path_factory):
    labels = {"id2label": {0: "cat", 1: "dog", 2: "cow"}, "position_encoding": "learned", "max_position_embeddings": 24}
    return save(tmp_path_factory.mktemp("classifier"), locant.LocantForSequenceClassification, texts, **labels)


@pytest.fixture(scope="session")
def regression_model(texts, tmp_path_factory):
    fields = {"num_labels": 1, "problem_type": "regression"}
    return save(tmp_path_factory.mktemp("regression"), locant.LocantForSequenceClassification, texts, **fields)


@pytest.fixture(scope="session")
def masked_language_model(texts, tmp_path_factory):
    return save(tmp_path_factory.mktemp("masked"), locant.LocantForMaskedLM, texts, "masked_lm")


@pytest.fixture(scope="session")
def language_model(texts, tmp_path_factory):
    return save(tmp_path_factory.mktemp("language_model"), locant.LocantForCausalLM, texts, "causal_lm")


@pytest.fixture(scope="session")
def image_classifier(texts, tmp_path_factory):
    fields = {"image_size": 8, "patch_size": 4, "id2label": {0: "cat", 1: "dog", 2: "cow"}}
    processor = locant.LocantImageProcessor(size={"height": 8, "width": 8})
    folder = tmp_path_factory.mktemp("image_classifier")
    return save(folder, locant.LocantForImageClassification, texts, image_processor=processor, **fields)


@pytest.fixture(scope="session")
def captioner(texts, tmp_path_factory):
    fields = {"image_size": 8, "patch_size": 4, "encoder_input": "patches"}
    processor = locant.LocantImageProcessor(size={"height": 8, "width": 8})
    folder = tmp_path_factory.mktemp("captioner")
    return save(folder, locant.LocantForConditionalGeneration, texts, image_processor=processor, **fields)


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """The path of an image."""
    path = tmp_path_factory.mktemp("images") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return str(path)
