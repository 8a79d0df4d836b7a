# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A small model of every class with a head, with five position encodings in all, and batches for each model."""

from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from locant import (
    LocantConfig,
    LocantForCausalLM,
    LocantForConditionalGeneration,
    LocantForImageClassification,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
)

SHAPE = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "dropout": 0.0,
    "num_labels": 3,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
}


class Head(NamedTuple):
    """A model class, the fields of its config beyond `SHAPE`, the names of its inputs, and its labels."""

    model_class: type[PreTrainedModel]
    fields: dict[str, Any]
    inputs: tuple[str, ...]
    targets: dict[str, str]  # name of the argument → name of the value in `batch`

    def model(self, **fields: Any) -> PreTrainedModel:
        """A model in evaluation mode, the same at every call."""
        torch.manual_seed(0)
        return self.model_class(LocantConfig(**{**SHAPE, **self.fields, **fields})).eval()

    def batch(self, size: int = 4, length: int = 8, *, targets: bool = False) -> dict[str, torch.Tensor]:
        """`size` random images, or texts of `length` tokens, the last one padded; with `targets`, also the labels."""
        generator = torch.Generator().manual_seed(size)
        attention_mask = torch.ones(size, length, dtype=torch.long)
        attention_mask[-1, -2:] = 0

        def numbers(low: int, high: int, *shape: int) -> torch.Tensor:
            return torch.randint(low, high, (size, *shape), generator=generator)

        values = {
            "input_ids": numbers(3, SHAPE["vocab_size"], length),
            "attention_mask": attention_mask,
            "pixel_values": torch.randn(size, 1, SHAPE["image_size"], SHAPE["image_size"], generator=generator),
            "decoder_input_ids": numbers(3, SHAPE["vocab_size"], length),
            "tokens": numbers(3, SHAPE["vocab_size"], length),
            "token classes": numbers(0, SHAPE["num_labels"], length),
            "class": numbers(0, SHAPE["num_labels"]),
            "place": numbers(0, length),
        }
        if not targets:
            return {name: values[name] for name in self.inputs}
        given = {name: values[name] for name in self.inputs if name != "decoder_input_ids"}
        return given | {name: values[kind] for name, kind in self.targets.items()}


TEXT = ("input_ids", "attention_mask")
IMAGE = ("pixel_values",)
TARGET = ("decoder_input_ids",)

HEADS = {
    "translator": Head(
        LocantForConditionalGeneration,
        {"position_encoding": "rotary", "cross_position_encoding": "t5"},
        TEXT + TARGET,
        {"labels": "tokens"},
    ),
    "captioner": Head(
        LocantForConditionalGeneration,
        {"encoder_input": "patches", "position_encoding": "learned", "pooling": "first"},
        IMAGE + TARGET,
        {"labels": "tokens"},
    ),
    "language model": Head(
        LocantForCausalLM,
        {"position_encoding": "rotary", "decoder_key_value_heads": 2},
        TEXT,
        {"labels": "tokens"},
    ),
    "masked language model": Head(LocantForMaskedLM, {"position_encoding": "learned"}, TEXT, {"labels": "tokens"}),
    "sequence classifier": Head(
        LocantForSequenceClassification, {"position_encoding": "t5"}, TEXT, {"labels": "class"}
    ),
    "token classifier": Head(
        LocantForTokenClassification, {"position_encoding": "alibi"}, TEXT, {"labels": "token classes"}
    ),
    "question answerer": Head(
        LocantForQuestionAnswering,
        {"position_encoding": "sinusoidal"},
        TEXT,
        {"start_positions": "place", "end_positions": "place"},
    ),
    "image classifier": Head(LocantForImageClassification, {"position_encoding": "rotary"}, IMAGE, {"labels": "class"}),
}


def outputs(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits; for a question answerer, the start and end logits, stacked in the last dimension."""
    with torch.no_grad():
        found = model(**batch)
    return found.logits if "logits" in found else torch.stack([found.start_logits, found.end_logits], dim=-1)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest absolute difference of two elements."""
    assert one.shape == other.shape
    return (one - other).abs().max().item()
