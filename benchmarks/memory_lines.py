# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Lines of work whose cost is the peak of memory, above the model with its gradients."""

from dataclasses import replace
from functools import partial

import peers
import torch
from generation_lines import NEW_TOKENS
from lines import Cost, Line, Repetition, Setting
from measuring import peak_memory
from peers import Shape
from torch import nn
from training_lines import as_trained, batch_of_pairs

SHAPE = Shape(vocabulary=32000)
SENTENCES, LENGTH = 256, 32
ENCODER = Shape(layers=2, width=512, heads=8, ffn=2048, dropout=0.0)
LENGTHS = (1024, 2048, 4096, 8192)
SEARCHER = Shape(layers=6, width=512, heads=8, ffn=2048)
SOURCES, SOURCE_LENGTH, BEAMS = 32, 200, 4


def _peak(model: nn.Module, setting: Setting, small: dict[str, torch.Tensor], large: dict[str, torch.Tensor]) -> Cost:
    """The memory peak of a step on `large`, after a step on `small` that starts threads and allocates gradients."""

    def step(batch: dict[str, torch.Tensor]) -> None:
        batch = {name: tensor.to(setting.device) for name, tensor in batch.items()}
        with setting.autocast():
            output = model(**(as_trained(batch, model) if "labels" in batch else batch))
        (output.loss if "labels" in batch else output.last_hidden_state.mean()).backward()

    model.to(setting.device).train()
    step(small)
    return Cost(peak_memory(lambda: step(large), setting.device))


def training_step(is_twin: bool, setting: Setting) -> Repetition:
    """Forward and backward pass of one batch without padding."""
    shape = SHAPE.tiny() if setting.quick else SHAPE
    model = peers.marian(shape)
    if is_twin:
        model = peers.with_the_weights_of(model)
    small, large = (batch_of_pairs(shape, size, LENGTH, shortest=LENGTH) for size in (2, SENTENCES))
    return lambda number: _peak(model, setting, small, large)


def t5_encoder(length: int, backend: str, is_twin: bool, setting: Setting) -> Repetition:
    """Forward and backward pass of one sequence through an encoder with T5's bias."""
    shape = replace(ENCODER.tiny() if setting.quick else ENCODER, length=length)
    model = peers.t5(shape)
    if is_twin:
        model = peers.with_the_weights_of(model)
    encoder = model.get_encoder()
    encoder.set_attn_implementation(backend)
    small, large = ({"input_ids": torch.randint(4, shape.vocabulary, (1, size))} for size in (16, length))
    return lambda number: _peak(encoder, setting, small, large)


def beam_search(is_twin: bool, setting: Setting) -> Repetition:
    """`generate()` with 4 beams of exactly 40 tokens from 32 sources of 200 tokens."""
    shape = SEARCHER.tiny() if setting.quick else SEARCHER
    model = peers.marian(shape)
    if is_twin:
        model = peers.with_the_weights_of(model)
    model = model.to(setting.device).eval()
    model.generation_config.eos_token_id = None  # so that all sequences have the same length

    def search(sources: int, length: int) -> None:
        ids = torch.randint(4, shape.vocabulary, (sources, length)).to(setting.device)
        limits = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "num_beams": BEAMS}
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **limits)

    def repetition(number: int) -> Cost:
        search(1, 8)  # so that threads and caches of the libraries exist before the measurement
        return Cost(peak_memory(lambda: search(SOURCES, SOURCE_LENGTH), setting.device))

    return repetition


_MEMORY = {"unit": "bytes", "threads": (2,), "has_bound": False, "fresh": True, "rounds": 1}


def _t5_line(length: int) -> Line:
    return Line(
        "Peak memory",
        f"T5 encoder, forward and backward, 2 layers, width 512, {length:,} tokens",
        {"Locant, blockwise": partial(t5_encoder, length, "blockwise", True)},
        "T5, eager",
        partial(t5_encoder, length, "eager", False),
        **_MEMORY,
    )


LINES = [
    Line(
        "Peak memory",
        f"training step, 3+3 layers, width 256, vocabulary 32,000, batch {SENTENCES} × {LENGTH}",
        {"Locant": partial(training_step, True)},
        "Marian",
        partial(training_step, False),
        **_MEMORY,
    ),
    *map(_t5_line, LENGTHS),
    Line(
        "Peak memory",
        f"beam search, {BEAMS} beams, 6+6 layers, width 512, vocabulary 8,000, batch {SOURCES}, source {SOURCE_LENGTH}",
        {"Locant": partial(beam_search, True)},
        "Marian",
        partial(beam_search, False),
        **{**_MEMORY, "rounds": 3},
    ),
]
