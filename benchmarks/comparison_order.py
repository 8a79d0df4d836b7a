# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Word order: an LSTM with attention, and a Transformer with and without position encoding.

The sentences are those of the study of position encodings: each pair has two sentences of the same words, such as
"cat sees dog" and "dog sees cat", with different translations. The Transformers are trained as in that study.
"""

from collections.abc import Callable
from typing import Any

import torch
from lstm import LSTMConfig, LSTMForConditionalGeneration
from tqdm.auto import tqdm

from locant.studies.position_study import StudySize, Training, train, train_on_word_order
from locant.studies.position_tasks import BEGIN, END, ORDER_VOCABULARY_SIZE, PAD
from locant.studies.report_parts import with_deviation
from locant.utils.markdown import markdown_table

NAMES = {
    "lstm": "LSTM with attention",
    "rotary": "Transformer, rotary",
    "none": "Transformer, no positions",
}
SEEDS = (0, 1)


def measure(seeds: tuple[int, ...] = SEEDS, size: StudySize | None = None) -> dict[str, Any]:
    """The share of test sentences and of test pairs that each model translates without a wrong word."""
    size = size or StudySize()
    runs = [(name, seed) for seed in seeds for name in NAMES]
    results = []
    for name, seed in tqdm(runs, desc="word order"):
        if name == "lstm":
            measured = _lstm(seed, size.order_steps)
        else:
            rows = train(Training("word_order", name, seed), size).rows
            measured = {row["measure"]: row["accuracy"] for row in rows}
        results.append({"model": name, "seed": seed, **measured})
    return {"steps": size.order_steps, "runs": results}


def _lstm(seed: int, steps: int) -> dict[str, float]:
    torch.manual_seed(seed)
    config = LSTMConfig(
        vocab_size=ORDER_VOCABULARY_SIZE,
        d_model=72,  # as many parameters as the Transformers, within 3 %
        num_layers=2,
        dropout=0.0,
        pad_token_id=PAD,
        bos_token_id=BEGIN,
        eos_token_id=END,
        decoder_start_token_id=BEGIN,
    )
    return train_on_word_order(LSTMForConditionalGeneration(config), seed, steps)


def table(results: dict[str, Any]) -> str:
    """The shares in percent, with the standard deviation over the seeds."""
    rows = []
    for name, title in NAMES.items():
        runs = [run for run in results["runs"] if run["model"] == name]
        rows.append([title, *(with_deviation([100 * run[part] for run in runs], 1) for part in ("sentence", "pair"))])
    return markdown_table(["model", "sentences right (%)", "pairs right (%)"], rows)


def drawings(results: dict[str, Any]) -> dict[str, Callable[[Any], None]]:
    """No drawing: the table has six figures."""
    return {}
