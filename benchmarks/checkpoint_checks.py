# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Measure the time that the checks add to the loading of a model, and print the tables of docs/safety.md.

OMP_NUM_THREADS=1 python benchmarks/checkpoint_checks.py [--rounds 7]
"""

import argparse
import gc
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedModel
from transformers.utils import logging

from locant import LocantConfig, LocantForConditionalGeneration, LocantPreTrainedModel

MODELS = [("big", torch.float32), ("big", torch.bfloat16), ("big", torch.float16), ("tiny", torch.float32)]
TOKENS = 16  # length of the source and of the target of the first forward pass


def seconds(model_class: type[PreTrainedModel], folder: str, checked: bool) -> tuple[float, float]:
    """The seconds of one `from_pretrained`, and of `from_pretrained` with the first forward pass."""
    ids = torch.arange(4, 4 + TOKENS)[None]
    with ExitStack() as without, torch.no_grad():
        for hooks in () if checked else ("build_hooks", "load_hooks", "fault_hooks"):
            without.enter_context(mock.patch.object(LocantPreTrainedModel, hooks, []))
        start = time.perf_counter()
        model = model_class.from_pretrained(folder)
        loaded = time.perf_counter() - start
        model(input_ids=ids, decoder_input_ids=ids)
        return loaded, time.perf_counter() - start


def row(preset: str, dtype: torch.dtype, rounds: int) -> str:
    """A table row: the median seconds of loading with and without the checks, with the file in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        model = LocantForConditionalGeneration(LocantConfig.from_preset(preset)).to(dtype)
        size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        model.save_pretrained(folder)
        del model
        times = [
            [seconds(LocantForConditionalGeneration, folder, checked)[0] for checked in (True, False)]
            for _ in range(rounds)
        ]
    checked, plain = (statistics.median(column) for column in zip(*times, strict=True))
    name = str(dtype).removeprefix("torch.")
    return f"| `{preset}`, {name}, {size / 1e6:.0f} MB | {checked:.3f} s | {plain:.3f} s | {checked - plain:.3f} s |"


def first_passes(rounds: int) -> list[str]:
    """Table rows of the preset `big` and of BART of that shape: seconds of loading, and with the first forward pass."""
    config = LocantConfig.from_preset("big")
    bart = BartConfig(
        vocab_size=config.vocab_size,
        d_model=config.d_model,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        encoder_attention_heads=config.encoder_attention_heads,
        decoder_attention_heads=config.decoder_attention_heads,
        encoder_ffn_dim=config.encoder_ffn_dim,
        decoder_ffn_dim=config.decoder_ffn_dim,
        pad_token_id=0,
        decoder_start_token_id=1,
    )
    kinds = {
        "Locant with the checks": (LocantForConditionalGeneration, config, True),
        "Locant without": (LocantForConditionalGeneration, config, False),
        "transformers' BART": (BartForConditionalGeneration, bart, False),
    }
    with tempfile.TemporaryDirectory() as root:
        folders = {name: Path(root, kinds[name][0].__name__) for name in kinds}
        for name, (model_class, shape, _) in kinds.items():
            if not folders[name].exists():
                model_class(shape).save_pretrained(folders[name])
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
        for turn in range(rounds):
            for name in sorted(kinds, reverse=turn % 2 == 1):
                gc.collect()
                times[name].append(seconds(kinds[name][0], str(folders[name]), kinds[name][2]))
    medians = {
        name: [statistics.median(column) for column in zip(*pairs, strict=True)] for name, pairs in times.items()
    }
    ours = medians["Locant with the checks"][1]
    return [f"| {name} | {load:.3f} s | {both:.3f} s | {ours / both:.2f} |" for name, (load, both) in medians.items()]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="loads of each kind, in turns")
    rounds = parser.parse_args().rounds
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print("| model | loading with the checks | loading without | time of the checks |\n| --- | --- | --- | --- |")
    for preset, dtype in MODELS:
        print(row(preset, dtype, rounds))
    print("\n| `big`, float32 | loading | loading and first forward pass | Locant with the checks / this row |")
    print("| --- | --- | --- | --- |")
    print("\n".join(first_passes(rounds)))


if __name__ == "__main__":
    main()
