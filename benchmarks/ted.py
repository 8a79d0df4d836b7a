# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Paths of the TED talks that some lines of work need, and of the translator that was trained on them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRANSLATOR = ROOT / "runs" / "bench-translator"
"""The run of `benchmarks/translator.yaml`."""

_FOLDER = ROOT.parent / "shared" / "data" / "ted-en-fr"


def data_files(split: str) -> list[Path]:
    """The English and the French file of a split: `train`, `dev` or `test`."""
    return [_FOLDER / f"{split}.{language}" for language in ("en", "fr")]


def is_there() -> bool:
    """Whether the test data and the weights of the translator exist."""
    return data_files("test")[0].exists() and (TRANSLATOR / "model.safetensors").exists()
