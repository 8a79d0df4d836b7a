# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""sentence-transformers over Locant's text encoder."""

import pytest
import torch
from datasets import Dataset
from heads import SHAPE, difference
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling

from locant import LocantConfig, LocantEncoderModel

LIBRARIES = ("sentence-transformers",)
MODES = {"mean": "mean", "first": "cls"}


@pytest.fixture(params=MODES)
def encoder(request, tokenizer, saved):
    """Locant's encoder, its tokenizer, and the folder of both."""
    words = tokenizer("masked_lm")
    fields = {**SHAPE, "vocab_size": len(words), "position_encoding": "rotary", "pooling": request.param}
    model = LocantEncoderModel(LocantConfig(**fields)).eval()
    return model, words, saved(model, words)


def built(path, pooling):
    transformer = Transformer(path)
    pooler = Pooling(transformer.get_embedding_dimension(), MODES[pooling])
    return SentenceTransformer(modules=[transformer, pooler], device="cpu")


def encode(model, texts):
    return model.encode(texts, convert_to_tensor=True, show_progress_bar=False)


def test_embeddings(encoder, texts, record_property):
    """`modules=[Transformer(path), Pooling(…)]`: embeddings are `pooler_output`, for mean and first"""
    model, words, path = encoder
    with torch.no_grad():
        expected = model(**words(texts, padding=True, return_tensors="pt")).pooler_output
    found = encode(built(path, model.config.pooling), texts)
    record_property("embedding − pooler_output", difference(found, expected))
    assert difference(found, expected) < 1e-6


@pytest.mark.parametrize("encoder", ["mean"], indirect=True)
def test_folder_alone(encoder, texts, record_property):
    """`SentenceTransformer(path)` of a model's folder pools by the mean; a text alone embeds as in a batch"""
    model, words, path = encoder
    with torch.no_grad():
        expected = model(**words(texts, padding=True, return_tensors="pt")).pooler_output
    sentences = SentenceTransformer(path, device="cpu")
    alone = torch.stack([encode(sentences, [text])[0] for text in texts])
    found = max(difference(encode(sentences, texts), expected), difference(alone, expected))
    record_property("embedding − pooler_output", found)
    assert found < 1e-6


def test_training(encoder, texts, tmp_path, record_property):
    """Trains with MultipleNegativesRankingLoss, saves, loads"""
    model, _, path = encoder
    sentences = built(path, model.config.pooling)
    pairs = Dataset.from_dict({"anchor": texts[:2], "positive": texts[2:]})
    loss = MultipleNegativesRankingLoss(sentences)
    args = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=12, per_device_train_batch_size=2, learning_rate=1e-3
    )
    args.set_logging(steps=1, report_to=[])
    trainer = SentenceTransformerTrainer(sentences, args, train_dataset=pairs, loss=loss)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    record_property("loss, last / first", losses[-1] / losses[0])
    expected = encode(sentences, texts)
    sentences.save_pretrained(str(tmp_path / "saved"))
    loaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert torch.equal(encode(loaded, texts), expected)
