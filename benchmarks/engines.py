# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Compare a translator in torch with its exports to CTranslate2: equal translations, BLEU, size, time.

    python benchmarks/engines.py RUN --source FILE --reference FILE [--sentences N]

prints a table for greedy search and for beam search with the beams of the run. The exports have weights in float32 and
int8. Loading and exporting are not timed. The model in torch, in float32, runs first; all engines have the same number
of threads and the same batches.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers.utils import SAFE_WEIGHTS_NAME

from locant.hub.engines.ctranslate2_model import WEIGHTS_FILE, CTranslate2Model
from locant.hub.engines.exporting import export
from locant.training.data.tables import read_lines
from locant.training.inference import load, one_line, translate
from locant.training.tasks.translation_metrics import translation_metrics

QUANTIZATIONS = ("float32", "int8")
HEADER = """| engine | weights | search | same as the model | BLEU | size, MB | seconds |
| --- | --- | --- | --: | --: | --: | --: |"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="A translator in CTranslate2 beside itself.")
    parser.add_argument("run", help="folder of the translator")
    parser.add_argument("--source", required=True, metavar="FILE", help="sentences to translate")
    parser.add_argument("--reference", required=True, metavar="FILE", help="their translations")
    parser.add_argument("--sentences", type=int, metavar="N", help="the first N alone")
    parser.add_argument("--batch_size", type=int, default=32, metavar="N", help="sentences at a time (32)")
    parsed = parser.parse_args()
    sources, references = (read_lines(file)[: parsed.sentences] for file in (parsed.source, parsed.reference))
    source_bytes = Path(parsed.run, SAFE_WEIGHTS_NAME).stat().st_size
    with TemporaryDirectory() as scratch:
        folders = {name: export(parsed.run, Path(scratch) / name, quantization=name) for name in QUANTIZATIONS}
        model, tokenizer = load(parsed.run, "cpu")
        engines: list[tuple[str, str, Any, int]] = [("torch", "float32", model.float(), source_bytes)]
        for name, folder in folders.items():
            size = (folder / WEIGHTS_FILE).stat().st_size
            engines.append(("ctranslate2", name, CTranslate2Model(folder, "cpu"), size))
        prefix = engines[1][2].source_prefix
        print(f"{len(sources)} sentences, {torch.get_num_threads()} thread(s), batches of {parsed.batch_size}.\n")
        print(HEADER)
        for search in _searches(model):
            first: list[str] = []
            for engine, weights, runner, size in engines:
                start = time.perf_counter()
                found = translate(
                    runner,
                    tokenizer,
                    sources,
                    batch_size=parsed.batch_size,
                    source_prefix=prefix,
                    with_scores=False,
                    show_progress=sys.stderr.isatty(),
                    **search,
                )
                seconds = time.perf_counter() - start
                texts = [one_line(best.text) for best, *_ in found]
                first = first or texts
                same = sum(one == other for one, other in zip(first, texts, strict=True)) / len(texts)
                bleu = translation_metrics(texts, references)["bleu"]
                name = ", ".join(f"{key}={value}" for key, value in search.items())
                row = (engine, weights, name, f"{same:.1%}", f"{bleu:.2f}", f"{size / 1e6:.1f}", f"{seconds:.1f}")
                print("|", " | ".join(row), "|", flush=True)


def _searches(model: Any) -> list[dict[str, Any]]:
    """Options of greedy search, of beam search as saved, and of beam search that ends as CTranslate2's does."""
    beams = model.generation_config.num_beams or 1
    if beams == 1:
        beams = 4
    return [{"num_beams": 1}, {"num_beams": beams}, {"num_beams": beams, "early_stopping": True}]


if __name__ == "__main__":
    main()
