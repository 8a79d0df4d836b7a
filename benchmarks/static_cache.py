# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Time of a new token in greedy `generate()`: with a dynamic cache, and compiled with a static cache.

    python benchmarks/static_cache.py [--threads 2]

On a GPU, `generate(cache_implementation="static")` compiles the decoding step by itself; on a CPU, it does so only with
the private option of transformers that this script sets. Each model of transformers is compared with a Locant model
that has its weights.
"""

import argparse
import statistics
import time

import peers
import torch
from generation_lines import LANGUAGE_MODEL, LARGE, NEW_TOKENS, SOURCE
from measuring import interleaved_times
from transformers import CompileConfig, PreTrainedModel

WORK = {
    "Llama, 12 layers, width 768, batch 1": (peers.llama, LANGUAGE_MODEL, 1),
    "Marian, 6+6 layers, width 512, batch 1": (peers.marian, LARGE, 1),
    "Marian, 6+6 layers, width 512, batch 32": (peers.marian, LARGE, 32),
}


def measure(model: PreTrainedModel, batch: int, rounds: int) -> tuple[float, float, float]:
    """Median milliseconds of a new token with a dynamic cache and with a compiled step, and seconds of compilation.

    Raises:
        AssertionError: the compiled step generates other tokens.
    """
    model.eval().generation_config.eos_token_id = None  # with random weights, sequences would end at random
    ids = torch.randint(4, model.config.vocab_size, (batch, SOURCE), generator=torch.Generator().manual_seed(0))
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": NEW_TOKENS, "do_sample": False}
    compilation = CompileConfig(mode="default", fullgraph=True)
    compilation._compile_all_devices = True
    static = {"cache_implementation": "static", "compile_config": compilation}

    start = time.perf_counter()
    compiled_tokens = model.generate(ids, **options, **static)
    seconds = time.perf_counter() - start
    assert torch.equal(compiled_tokens, model.generate(ids, **options)), "the compiled step chose other tokens"
    ways = [lambda: model.generate(ids, **options), lambda: model.generate(ids, **options, **static)]
    first, second = (statistics.median(times) / NEW_TOKENS * 1e3 for times in interleaved_times(ways, rounds))
    return first, second, seconds


def main() -> None:
    """Print a line for each model of transformers, and one for the Locant model with its weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for work, (build, shape, batch) in WORK.items():
        peer = build(shape)
        for name, model in (("Locant", peers.with_the_weights_of(peer)), ("transformers", peer)):
            dynamic, compiled, seconds = measure(model, batch, options.rounds)
            torch._dynamo.reset()
            print(
                f"{work}, {name}: {dynamic:.2f} ms a token with a dynamic cache, {compiled:.2f} ms compiled with a "
                f"static cache, {seconds:.0f} s for the first call with its compilation",
                flush=True,
            )


if __name__ == "__main__":
    main()
