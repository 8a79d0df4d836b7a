# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Compares the memory of training that the dry run predicts with the peak that training reaches on a CPU (Linux).

Each number is measured in a process of its own. Run from the repository: `python benchmarks/memory_prediction.py`.
"""

import argparse
from typing import Any

import torch
from measuring import in_fresh_process, peak_memory

from locant import LocantConfig, LocantForCausalLM, LocantForConditionalGeneration
from locant.training.run.dry_run import MIB, enable_checkpointing, peak_of_step
from locant.training.run.trial_steps import seconds_of_round

COMMON = {"position_encoding": "rotary", "norm_position": "pre", "dropout": 0.1}
MODELS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "3 + 3 layers, width 256, vocabulary 8,000": (
        {"num_hidden_layers": 3, "d_model": 256, "num_attention_heads": 4, "vocab_size": 8000},
        (64, 32),
    ),
    "6 + 6 layers, width 512, vocabulary 32,000": (
        {"num_hidden_layers": 6, "d_model": 512, "num_attention_heads": 8, "vocab_size": 32000},
        (64, 32),
    ),
    "language model, 12 layers, width 768, vocabulary 32,000, activation checkpointing": (
        {"decoder_layers": 12, "d_model": 768, "num_attention_heads": 12, "vocab_size": 32000},
        (4, 256),
    ),
}
"""For each model, the fields of its config, and the number of rows and the length of its batch."""


def build(name: str) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The model, a small batch that warms it up, and its batch."""
    fields, (rows, length) = MODELS[name]
    width = fields["d_model"]
    fields = {**COMMON, **fields, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width}
    torch.manual_seed(0)
    if "decoder_layers" in fields:
        model: Any = LocantForCausalLM(LocantConfig(**fields, is_encoder_decoder=False, is_decoder=True))
        enable_checkpointing(model)
    else:
        model = LocantForConditionalGeneration(LocantConfig(**fields))
    batches = []
    for shape in ((2, 8), (rows, length)):
        ids = torch.randint(4, fields["vocab_size"], shape)
        batches.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids})
    return model, batches[0], batches[1]


def predicted(name: str) -> float:
    """The memory above the model that the dry run predicts, in MiB: the step, and the moments of Adam."""
    model, small, large = build(name)
    seconds_of_round(model, [small], bf16=False)
    return (peak_of_step(model, large) + 8 * model.num_parameters()) / MIB


def measured(name: str) -> float:
    """The peak of resident memory above the loaded model in two steps with AdamW, in MiB."""
    model, small, large = build(name)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    seconds_of_round(model, [small], bf16=False)

    def train() -> None:
        for _ in range(2):
            model(**large, skip_logits=True).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return peak_memory(train) / MIB


def main() -> None:
    """Print a table with a row for each model."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| model | batch, sequences × tokens | predicted, MiB | measured, MiB | predicted / measured |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, (_, (rows, length)) in MODELS.items():
        guess, peak = in_fresh_process(predicted, name), in_fresh_process(measured, name)
        print(f"| {name} | {rows} × {length} | {guess:,.0f} | {peak:,.0f} | {guess / peak:.3f} |", flush=True)


if __name__ == "__main__":
    main()
