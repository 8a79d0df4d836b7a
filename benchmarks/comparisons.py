# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Compare Transformers with recurrent and convolutional networks: `make comparisons`.

Each part writes its figures to benchmarks/results/comparison_PART.json and its plots to docs/images/, and prints its
table, which docs/comparisons.md shows. A part whose figures are there is not measured again without --again; the
trainings of translators are kept in runs/comparisons/, and are only repeated if their folder is deleted. Times are
processor times of one thread, from which the time of other processes on the same cores is left out.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comparison_images
import comparison_order
import comparison_recall
import comparison_speed
import comparison_translation
import torch
from measuring import machine
from ted import ROOT, data_files

from locant.training.run.pictures import write_pictures
from locant.utils.files import write_text

PARTS: dict[str, Any] = {
    "phrasebook": comparison_translation.PHRASEBOOK,
    "ted": comparison_translation.TED,
    "speed": comparison_speed,
    "recall": comparison_recall,
    "order": comparison_order,
    "images": comparison_images,
}


def results_of(part: str, folder: Path, again: bool = False) -> dict[str, Any]:
    """The figures of a part from its file in `folder`; without a file, or with `again`, they are measured first."""
    file = folder / f"comparison_{part}.json"
    if again or not file.exists():
        command = f"make comparisons ONLY={part}"
        figures = {"command": command, "machine": machine(threads=1), **PARTS[part].measure()}
        write_text(file, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    return json.loads(file.read_text(encoding="utf-8"))


def main(arguments: Sequence[str]) -> int:
    """Measure the parts that the arguments select, print their tables and draw their plots; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part (default: all)")
    parser.add_argument(
        "--again",
        action="store_true",
        help="measure parts whose figures are there, too; finished runs in runs/comparisons are not trained again",
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the figures")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images", help="folder of the plots")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for part in [options.only] if options.only else PARTS:
        is_measured = (options.results / f"comparison_{part}.json").exists() and not options.again
        if part == "ted" and not is_measured and not data_files("train")[0].exists():
            print(f"The part ted is left out, as {data_files('train')[0]} is not there.", file=sys.stderr)
            continue
        results = results_of(part, options.results, options.again)
        print(f"\n{part}\n\n{PARTS[part].table(results)}")
        write_pictures(options.images, PARTS[part].drawings(results), f"The plots of {part} are not drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
