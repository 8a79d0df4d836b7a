# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Measure `locant train` with `streaming: true`.

    python benchmarks/streaming.py memory [--pairs 5000000] [--minutes 10]
    python benchmarks/streaming.py resume [--pairs 1000000]
    python benchmarks/streaming.py padding

`memory` trains a small model on generated pairs, with evaluations and checkpoints. It prints the growth of the memory
after the first minute, and the seconds to the first step when the run, which SIGTERM has stopped, is resumed. `resume`
prints the seconds from the command to the first step, of a new run and of one that goes on after nearly all pairs, with
0 and 2 workers, and 1 and 2 processes. `padding` prints the share of real tokens in the batches of a pass over TED,
with a budget of 4,096 tokens.
"""

import argparse
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from ted import data_files

from locant.training.data.streaming import BLOCK_ROWS

SMALL = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SMALL |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
FIXED = {"streaming": True, "report_to": "none", "max_tokens_per_batch": 4096, "tokenizer_vocab_size": 4000}
FIXED |= {"disable_tqdm": True, "predict_with_generate": False, "load_best_model_at_end": False}


def write_pairs(path: Path, pairs: int) -> None:
    """Write a TSV file of different generated pairs, whose sides have some 30 tokens, as the sentences of TED."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]
    texts = [rng.choices(words, k=rng.randint(2, 18)) for _ in range(20_000)]
    pools = [f"{' '.join(text)}\tne {' '.join(reversed(text))} pas" for text in texts]
    with path.open("w", encoding="utf-8") as file:
        file.write("source\ttarget\n")
        file.writelines(f"{number} {pools[number % len(pools)]} {number}\n" for number in range(pairs))


def command_line(options: dict[str, Any]) -> list[str]:
    """The arguments of `locant train`."""
    arguments = ["train"]
    for name, value in options.items():
        arguments += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return arguments


@contextlib.contextmanager
def running(options: dict[str, Any], processes: int = 1) -> Iterator[subprocess.Popen]:
    """A run of `locant train` with piped output, which is terminated at the end of the `with` block."""
    launcher = [sys.executable, "-m", "locant"]
    if processes > 1:
        port = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), *port]
        launcher += ["-m", "locant"]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    process = subprocess.Popen(
        [*launcher, *command_line(options)], stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate()


def wait_for_step(process: subprocess.Popen) -> None:
    """Read the output until the first training loss is logged."""
    assert process.stdout is not None
    for line in process.stdout:
        print(f"  {line}", end="")
        if " loss " in line:
            return
    raise SystemExit(f"the run has ended before its first step, with status {process.wait()}")


def measure_memory(folder: Path, pairs: int, minutes: float) -> None:
    """Print the memory of a run that trains for `minutes`, is stopped, and goes on."""
    options = run_options(folder, pairs) | {"logging_steps": 100, "eval_steps": 20, "save_steps": 20}
    options |= {"eval_strategy": "steps", "save_strategy": "steps", "max_steps": 10**6}
    values: list[tuple[float, float]] = []
    with running(options) as process:
        wait_for_step(process)
        own, begin = psutil.Process(process.pid), time.monotonic()
        while (passed := time.monotonic() - begin) < 60 * minutes:
            values.append((passed, own.memory_info().rss / 2**20))
            time.sleep(1)
        process.terminate()
        output, _ = process.communicate()
    entry = [line for line in output.splitlines() if " loss " in line][-1]
    for minute in range(int(minutes)):
        print(f"minute {minute + 1}: {max(value for passed, value in values if passed // 60 == minute):,.0f} MiB")
    step, epoch = re.findall(r"step ([\d,]+).* epoch ([\d.e-]+)", entry)[0]
    # single values vary by the block at hand, so the largest of a minute is compared
    base = max(value for passed, value in values if passed < 60)
    most = max(value for passed, value in values if passed >= 60)
    print(
        f"{pairs:,} pairs, {minutes:g} minutes, {step} steps, {float(epoch) * pairs:,.0f} pairs read: at most "
        f"{base:,.0f} MiB in the first minute and {most:,.0f} MiB after it: growth {most / base - 1:.1%}"
    )
    print(f"stopped with status {process.returncode}; the resumed run logs its first steps after")
    print(f"{seconds_to_step(options | {'logging_steps': 1}, processes=1):.1f} s")


def streamed_loader(options: dict[str, Any]) -> Any:
    """The loader from which a run of `locant train` with the options `options` takes its training batches."""
    from training_lines import locant_trainer

    return locant_trainer(command_line(options)[1:]).get_train_dataloader()


def measure_resume(folder: Path, pairs: int) -> None:
    """Print the seconds to the first step of new and of resumed runs."""
    common = run_options(folder, pairs) | {"logging_steps": 1, "eval_strategy": "no"}
    for processes in (2, 1):
        for workers in (0, 2):
            options = common | {"output_dir": str(folder / f"run-{processes}-{workers}"), "max_steps": 20}
            options |= {"save_strategy": "steps", "save_steps": 20, "dataloader_num_workers": workers}
            new = seconds_to_step(options, processes, to_the_end=True)
            move_to_the_last_blocks(Path(options["output_dir"]) / "checkpoint-20", pairs)
            resumed = seconds_to_step(options | {"max_steps": 10**6}, processes)
            print(
                f"{pairs:,} pairs, {processes} processes, {workers} workers: first step of a new run after "
                f"{new:.1f} s, of a resumed run after {resumed:.1f} s",
                flush=True,
            )


def seconds_to_step(options: dict[str, Any], processes: int, to_the_end: bool = False) -> float:
    """The seconds from the command to the first step."""
    begin = time.monotonic()
    with running(options, processes) as process:
        wait_for_step(process)
        seconds = time.monotonic() - begin
        if to_the_end:
            process.communicate()
    return seconds


def move_to_the_last_blocks(checkpoint: Path, pairs: int) -> None:
    """Set the position in the data that a checkpoint holds to the last blocks of a pass."""
    for file in checkpoint.glob("stream_place_*.json"):
        place = json.loads(file.read_text())
        file.write_text(json.dumps(place | {"position": place["position"] + (pairs // BLOCK_ROWS - 2) // 2 * 2}))


def run_options(folder: Path, pairs: int) -> dict[str, Any]:
    """Write files of generated pairs to `folder`; return `locant train` options for a small model and these files."""
    write_pairs(folder / "train.tsv", pairs)
    write_pairs(folder / "validation.tsv", 100)
    files = {f"{split}_file": str(folder / f"{split}.tsv") for split in ("train", "validation")}
    return {**SMALL, **FIXED, **files, "output_dir": str(folder / "run")}


def measure_padding(folder: Path) -> None:
    """Print the share of real tokens in the streamed batches of TED."""
    files = {
        f"{split}_file": list(map(str, data_files(name))) for split, name in (("train", "train"), ("validation", "dev"))
    }
    options = {**SMALL, **FIXED, **files, "output_dir": str(folder / "run"), "max_steps": 1}
    loader = streamed_loader(options)
    blocks = loader.dataset.blocks
    real = slots = batches = 0
    for batch in loader:
        if loader.place.position >= len(blocks):
            break
        labels = batch["labels"]
        real += int(batch["attention_mask"].sum() + (labels != -100).sum())
        slots += batch["attention_mask"].numel() + labels.numel()
        batches += 1
    print(
        f"TED, {blocks.rows:,} pairs in {len(blocks)} blocks, {batches:,} batches: {real / slots:.1%} real tokens, "
        f"{real / batches:,.0f} in a batch"
    )


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "resume", "padding"))
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.what == "memory":
            measure_memory(Path(name), arguments.pairs or 5_000_000, arguments.minutes)
        elif arguments.what == "resume":
            measure_resume(Path(name), arguments.pairs or 1_000_000)
        else:
            measure_padding(Path(name))


if __name__ == "__main__":
    main()
