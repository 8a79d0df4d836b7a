# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Lines of work in generation: beam search, greedy search, a language model, and loading with the first token."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import peers
import torch
import transformers
from lines import Line, Repetition, Setting
from peers import Shape
from transformers import PreTrainedModel

SOURCE, NEW_TOKENS = 28, 40

SMALL = Shape()
LARGE = Shape(layers=6, width=512, heads=8, ffn=2048)
LANGUAGE_MODEL = Shape(layers=12, width=768, heads=12, ffn=2048, vocabulary=32000)

Build = Callable[[Shape], PreTrainedModel]


def generation(build: Build, shape: Shape, batch: int, beams: int, is_twin: bool, setting: Setting) -> Repetition:
    """`generate()` of exactly 40 new tokens from sources, or prompts, of 28 tokens.

    Args:
        build: makes the peer.
        shape: sizes of the model.
        batch: number of sources.
        beams: number of beams of the search; 1 is greedy search.
        is_twin: whether the model is Locant's with the peer's weights, and not the peer itself.
        setting: device and precision.
    """
    model = build(shape.tiny() if setting.quick else shape)
    if is_twin:
        model = peers.with_the_weights_of(model)
    model = model.to(setting.device, torch.bfloat16 if setting.precision == "bfloat16" else torch.float32).eval()
    model.generation_config.eos_token_id = None  # with random weights, sequences would end at random
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, model.config.vocab_size, (batch, SOURCE), generator=generator).to(setting.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    length = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "num_beams": beams}
    return lambda number: setting.timed(lambda: model.generate(**inputs, **length))


def first_token(is_twin: bool, setting: Setting) -> Repetition:
    """`from_pretrained` of a folder, and the first token that the model generates for one source."""
    folder = tempfile.mkdtemp()
    peer = peers.marian(SMALL.tiny() if setting.quick else SMALL)
    (peers.with_the_weights_of(peer) if is_twin else peer).save_pretrained(folder)
    ids = torch.arange(4, 4 + SOURCE)[None].to(setting.device)

    def load() -> None:
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(Path(folder)).to(setting.device)
        model.generate(input_ids=ids, max_new_tokens=1, num_beams=1)

    return lambda number: setting.timed(load)


def _line(
    section: str, work: str, peer: str, build: Build, shape: Shape, batch: int, beams: int = 1, rounds: int = 9
) -> Line:
    locant, stock = (partial(generation, build, shape, batch, beams, is_twin) for is_twin in (True, False))
    return Line(section, work, {"Locant": locant}, peer, stock, rounds=rounds)


_SMALL = "3+3 layers, width 256, vocabulary 8,000"
_LARGE = "6+6 layers, width 512, vocabulary 8,000"
_DECODER = "12 layers, width 768, vocabulary 32,000"

LINES = [
    _line("Beam search, 4 beams", f"{_SMALL}, batch 32", "Marian", peers.marian, SMALL, 32, beams=4),
    _line("Beam search, 4 beams", f"{_LARGE}, batch 32", "Marian", peers.marian, LARGE, 32, beams=4, rounds=6),
    _line("Greedy search", f"{_LARGE}, batch 1", "Marian", peers.marian, LARGE, 1),
    _line("Greedy search", f"{_LARGE}, batch 32", "Marian", peers.marian, LARGE, 32),
    _line("Greedy search", f"language model, {_DECODER}, batch 1", "Llama", peers.llama, LANGUAGE_MODEL, 1),
    Line(
        "Loading",
        f"from_pretrained and the first token, {_SMALL}",
        {"Locant": partial(first_token, True)},
        "Marian",
        partial(first_token, False),
        rounds=9,
        has_bound=False,
    ),
]
