# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Count the graphs that torch.compile makes of training steps on batches of TED, whose lengths differ.

    python benchmarks/recompilations.py [--steps 200]

runs forward and backward passes of the batches of `locant train`, on each attention backend, with a compiler backend
that returns the graphs uncompiled: the number of graphs is the same as with inductor, without the minutes that its
compilation takes.
"""

import argparse
import tempfile
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from ted import data_files
from torch import fx
from training_lines import locant_trainer

from locant.utils.markdown import markdown_table


def graphs_after(steps: int, backend: str) -> tuple[list[int], int]:
    """The step (counted from 1) at which each graph was compiled, and the number of different batch shapes."""
    options = {
        "output_dir": tempfile.mkdtemp(),
        "attn_implementation": backend,
        "preset": "tiny",
        "tokenizer_vocab_size": "1000",
        "max_tokens_per_batch": "1024",
        "max_source_length": "128",
        "max_target_length": "128",
    }
    arguments = ["--train_file", *map(str, data_files("train")), "--validation_file", *map(str, data_files("dev"))]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    trainer = locant_trainer([*arguments, "--use_cpu"])
    compiled_at: list[int] = []
    step = 0

    def count(graph: fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        compiled_at.append(step)
        return graph.forward

    torch._dynamo.reset()
    model: Any = torch.compile(trainer.model, backend=count)
    shapes = set()
    for batch in islice(trainer.get_train_dataloader(), steps):
        step += 1
        shapes.add((*batch["input_ids"].shape, *batch["labels"].shape))
        model(**batch, skip_logits=True).loss.backward()
    return compiled_at, len(shapes)


def main() -> None:
    """Print a table with a row for each attention backend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--backends", nargs="+", default=["eager", "sdpa", "blockwise"])
    options = parser.parse_args()
    steps, rows = options.steps, []
    for backend in options.backends:
        compiled_at, shapes = graphs_after(steps, backend)
        rows.append([f"`{backend}`", str(shapes), str(len(compiled_at)), ", ".join(map(str, sorted(set(compiled_at))))])
    print(markdown_table(["backend", f"shapes in {steps} batches", "graphs", "compiled at step"], rows, names=1))


if __name__ == "__main__":
    main()
