# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Small models with random weights whose outputs differ from text to text."""

import random

import pytest
import torch

import locant

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


def save(folder, model_class, texts, **fields):
    tokenizer = locant.train_tokenizer(iter(texts), vocab_size=320, show_progress=False)
    torch.manual_seed(2)
    model = model_class(locant.LocantConfig(vocab_size=len(tokenizer), **SHAPE, **fields))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(16 if "cross_attn" in name else 2)
    if model.can_generate():
        model.generation_config.update(num_beams=2, max_new_tokens=12)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def translator(texts, tmp_path_factory):
    return save(tmp_path_factory.mktemp("translator"), locant.LocantForConditionalGeneration, texts)


@pytest.fixture(scope="session")
def classifier(texts, tmp_path_factory):
    labels = {"id2label": {0: "cat", 1: "dog", 2: "cow"}, "position_encoding": "learned", "max_position_embeddings": 24}
    return save(tmp_path_factory.mktemp("classifier"), locant.LocantForSequenceClassification, texts, **labels)
