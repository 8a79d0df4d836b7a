# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Handwritten digits: the Transformer of examples/digits.yaml and a convolutional network of the same size."""

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ted import ROOT

import locant
from locant.studies.report_parts import with_deviation
from locant.utils.markdown import markdown_table

NAMES = {"transformer": "Transformer", "convolutions": "convolutional network"}
SEEDS = (1, 2, 3)
_DATA = ROOT / "examples" / "data" / "digits"


def measure(seeds: tuple[int, ...] = SEEDS, **options: Any) -> dict[str, Any]:
    """Test accuracy, parameters and seconds of processor time; `options` are those of `locant train`."""
    if not (_DATA / "test.csv").exists():
        command = [sys.executable, "examples/digits.py", "--output_dir", "examples/data"]
        subprocess.run(command, cwd=ROOT, check=True)
    results = []
    for seed in seeds:
        start = time.process_time()
        transformer = _transformer(seed, options)
        middle = time.process_time()
        convolutions = _convolutions(seed, transformer["parameters"])
        times = middle - start, time.process_time() - middle
        for name, measured, seconds in zip(NAMES, (transformer, convolutions), times, strict=True):
            results.append({"model": name, "seed": seed, **measured, "seconds": seconds})
    return {"runs": results}


def _transformer(seed: int, options: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = {f"{split}_file": str(_DATA / f"{split}.csv") for split in ("train", "validation", "test")}
        given = {**files, "output_dir": str(Path(folder, "run")), "seed": seed, **options}
        metrics = locant.train(ROOT / "examples" / "digits.yaml", **given)
    return {"accuracy": metrics["test"]["accuracy"], "parameters": metrics["parameters"]}


def _convolutions(seed: int, parameters: int) -> dict[str, Any]:
    """Train as `python examples/digits_cnn.py` does."""
    found = importlib.util.spec_from_file_location("digits_cnn", ROOT / "examples" / "digits_cnn.py")
    example: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(example)
    labels: dict[str, int] = {}
    data = {split: example.read_split(_DATA, split, labels) for split in ("train", "validation", "test")}
    torch.manual_seed(seed)
    network = example.train(data, example.make_network(parameters, len(labels)), epochs=30, seed=seed)
    accuracy = example.accuracy(network, *data["test"])
    return {"accuracy": accuracy, "parameters": sum(weight.numel() for weight in network.parameters())}


def table(results: dict[str, Any]) -> str:
    """Accuracy in percent and seconds, with the standard deviation over the seeds."""
    rows = []
    for name, title in NAMES.items():
        runs = [run for run in results["runs"] if run["model"] == name]
        accuracy = with_deviation([100 * run["accuracy"] for run in runs], 1)
        seconds = with_deviation([run["seconds"] for run in runs], 1)
        rows.append([title, f"{runs[0]['parameters']:,}", accuracy, seconds])
    return markdown_table(["model", "parameters", "accuracy (%)", "seconds of processor time"], rows)


def drawings(results: dict[str, Any]) -> dict[str, Callable[[Any], None]]:
    """No drawing: the table has four figures."""
    return {}
