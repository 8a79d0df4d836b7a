# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Compare Locant with other packages on lines of work, which both sides run in turns: `make bench`.

A run without options writes its results to benchmarks/results/, and writes the page docs/benchmarks.md from them. A run
with options only prints its results, unless --output_dir names a folder for them. With --base, the peer is an older
commit of Locant itself. Nothing else may run on the machine meanwhile.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bench_report
import generation_lines
import memory_lines
import ted
import torch
import training_lines
import translation_lines
from lines import Line, Setting
from measuring import machine
from rounds import WorkerError, measure, preload
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
LINES = [*training_lines.LINES, *generation_lines.LINES, *translation_lines.LINES, *memory_lines.LINES]
_OF_TED = ("Training loop", "Translation")
PASSES = 3


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="TEXT", help="the lines whose name contains this text; --list shows all")
    parser.add_argument("--list", action="store_true", help="print the names of all lines, and measure nothing")
    parser.add_argument("--base", metavar="COMMIT", help="compare the working tree with this commit of Locant")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="one device (default: all that are there)")
    parser.add_argument("--threads", type=int, choices=(1, 2), help="one number of threads (default: 2, then 1)")
    parser.add_argument("--rounds", type=int, help="rounds of each line (default: 6 or 9, of memory 1 or 3)")
    parser.add_argument("--quick", action="store_true", help="tiny models: shows that all runs, its times mean nothing")
    parser.add_argument("--output_dir", type=Path, help="where results and page go, instead of their places")
    return parser.parse_args(arguments)


def settings(line: Line, options: argparse.Namespace) -> list[Setting]:
    """The settings in which a line is measured: on CPU, the line's threads and precisions; on CUDA, only bfloat16."""
    devices = [options.device] if options.device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    found = [Setting("cuda", 1, "bfloat16", options.quick)] if "cuda" in devices else []
    if "cpu" in devices:
        precisions = [name for name in line.precisions if name != "bfloat16" or has_bfloat16_products()]
        threads = [number for number in line.threads if options.threads in (None, number)]
        found += [Setting("cpu", n, precision, options.quick) for precision in precisions for n in threads]
    return found


def has_bfloat16_products() -> bool:
    """Whether oneDNN multiplies bfloat16 matrices on this CPU; if not, a product takes a hundred times longer."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


@contextmanager
def source_trees(commit: str | None) -> Iterator[dict[str, Path]]:
    """Folders from which the working tree and `commit` can be imported, by name; none without a commit.

    Raises:
        SystemExit: there is no such commit.
    """
    if commit is None:
        yield {}
        return
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        sys.exit(f"make bench: there is no commit {commit} ({archive.stderr.decode().strip()}).")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(base, filter="data")
        trees = {"working tree": ROOT, commit: base}
        yield {name: _importable(tree, Path(folder, name, "package")) for name, tree in trees.items()}


def _importable(tree: Path, folder: Path) -> Path:
    """Fill `folder` with links to the source tree, laid out as an installed package, and return `folder`."""
    package = folder / "locant"
    package.mkdir(parents=True)
    for file in (tree / "locant").iterdir():
        (package / file.name).symlink_to(file)
    rooms = ("checkpoints", "configuration", "modeling", "tokenization", "training", "studies", "visualization", "hub")
    for room in (*rooms, "serving", "utils"):
        if (tree / room).is_dir():  # an older commit may lack one
            (package / room).symlink_to(tree / room)
    return folder


def _results(lines: Sequence[Line], options: argparse.Namespace, trees: dict[str, Path]) -> list[dict[str, Any]]:
    """Measure all lines in several passes, so that each line has rounds early and late in the run."""
    cases = [(line, setting) for line in lines for setting in settings(line, options)]
    results = [_description(line, setting, trees) for line, setting in cases]
    turns = [(number, *case) for number in range(PASSES) for case in zip(cases, results, strict=True)]
    for number, (line, setting), result in (bar := tqdm(turns, desc="lines of work", dynamic_ncols=True)):
        bar.set_postfix_str(f"{line.name}, {setting.precision}, {setting.threads} threads")
        numbers = range(number, options.rounds or line.rounds, PASSES)
        if numbers and "error" not in result:
            _add_rounds(result, line, setting, numbers, trees)
    return results


def _description(line: Line, setting: Setting, trees: dict[str, Path]) -> dict[str, Any]:
    return {
        "section": line.section,
        "work": line.work,
        "peer": list(trees)[-1] if trees else line.peer,
        "unit": line.unit,
        "device": setting.device,
        "threads": setting.threads,
        "precision": setting.precision,
    }


def _add_rounds(
    result: dict[str, Any], line: Line, setting: Setting, numbers: Sequence[int], trees: dict[str, Path]
) -> None:
    """Measure these rounds of a line, and add their costs to its result; the first rounds also measure the bound."""
    try:
        found = measure(line, setting, numbers, trees, with_bound="costs" not in result)
    except WorkerError as error:
        result["error"] = str(error)
        tqdm.write(f"{line.name} failed:\n{error}", file=sys.stderr)
        return
    if "costs" not in result:
        result |= found
    else:
        for side, costs in found["costs"].items():
            result["costs"][side] += costs


def _chosen(options: argparse.Namespace) -> list[Line]:
    chosen = [line for line in LINES if options.only is None or options.only.lower() in line.name.lower()]
    if not chosen:
        sys.exit(f"make bench: no line's name contains {options.only!r}; --list shows all names.")
    if not ted.is_there():
        print("Lines on TED talks are left out: `make bench` trains their translator where the data are.")
        chosen = [line for line in chosen if line.section not in _OF_TED]
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Measure the lines that the arguments select, print and write the results; return 1 if a line failed, else 0."""
    options = _parse(arguments)
    if options.list:
        print("\n".join(line.name for line in LINES))
        return 0
    if options.base is None:
        preload("locant.hub.conversion.conversion", "locant.training.run.training_run")
    with source_trees(options.base) as trees:
        results = {
            "command": " ".join(["python benchmarks/bench.py", *arguments]),
            "machine": machine(threads=None),
            "lines": _results(_chosen(options), options, trees),
        }
    print(bench_report.tables(results["lines"]))
    import page  # not above: `page` imports Locant, and the workers import this module before they set Locant's folder

    is_whole = not (options.only or options.device or options.threads or options.rounds or options.quick)
    if options.output_dir is not None or (is_whole and options.base is None):
        folder = options.output_dir or ROOT / "benchmarks" / "results"
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(results, indent=1, ensure_ascii=False)
        (folder / "bench.json").write_text(f"{text}\n", encoding="utf-8")
        page.write(folder, (options.output_dir or ROOT / "docs") / "benchmarks.md")
    return int(any("error" in line for line in results["lines"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
