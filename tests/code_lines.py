# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Count lines of code, without docstrings (also those of attributes and constants), comments and blank lines.

    python -I tests/code_lines.py  # -I: `tests/locant` is not the package `locant`

counts the lines of each room (top-level folder) of the package, of the code that is saved with a translator with rotary
positions, and of the modelling and configuration files of seven families in the installed transformers. It also lists
the long functions of the rooms `modeling`, `checkpoints` and `configuration`.
"""

import ast
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

import transformers

from locant import LocantConfig, LocantForConditionalGeneration
from locant.hub.sharing.bundle import collect_code

ROOT = Path(__file__).resolve().parents[1]
MODEL = ("modeling", "checkpoints", "configuration")
ROOMS = (*MODEL, "tokenization", "training", "studies", "visualization", "hub", "serving", "utils", "locant")
FAMILIES = ("marian", "bart", "t5", "bert", "gpt2", "llama", "vit")
LONG = 60
"""A function with more lines of code than this is listed."""

Functions = ast.FunctionDef | ast.AsyncFunctionDef
_NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for token in tokens if token.type not in _NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= {*range(node.lineno, (node.end_lineno or 0) + 1)}
    return lines


def long_functions(source: str) -> list[tuple[str, int]]:
    """The functions with more than `LONG` lines of code, and how many each has."""
    lines = code_lines(source)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, Functions)]
    counts = [(node.name, len(lines & {*range(node.lineno, (node.end_lineno or 0) + 1)})) for node in functions]
    return [(name, count) for name, count in counts if count > LONG]


def count(paths: Iterable[Path]) -> int:
    """The lines of code of these files."""
    return sum(len(code_lines(path.read_text("utf-8"))) for path in paths)


def row(name: str, *cells: int | str) -> None:
    """Print one row of a table; a name that begins with a new line begins another table."""
    width = 48 + name.count("\n")
    print(f"{name:<{width}}", *(f"{cell:>14,}" if isinstance(cell, int) else f"{cell:>14}" for cell in cells))


def main() -> None:
    """Print the tables."""
    paths = {room: sorted((ROOT / room).rglob("*.py")) for room in ROOMS if (ROOT / room).is_dir()}
    model = [path for room in MODEL for path in paths.get(room, [])]
    row("room", "files", "lines")
    for room, found in paths.items():
        row(room, len(found), count(found))
    row(" + ".join(room for room in MODEL if room in paths), len(model), count(model))

    files, _ = collect_code(LocantForConditionalGeneration, LocantConfig(position_encoding="rotary"))
    row("\ncode that goes along with a model", "files", "lines")
    row("a translator with rotary positions", len(files), sum(len(code_lines(source)) for source in files.values()))

    row(f"\ntransformers {transformers.__version__}", "modeling", "configuration", "both")
    folder, totals = Path(transformers.__file__).parent / "models", [0, 0]
    for family in FAMILIES:
        counts = [count([folder / family / f"{kind}_{family}.py"]) for kind in ("modeling", "configuration")]
        row(family, *counts, sum(counts))
        totals = [total + lines for total, lines in zip(totals, counts, strict=True)]
    row("all seven", *totals, sum(totals))

    row(f"\nfunctions of the model above {LONG} lines", "forward", "lines")
    for path in model:
        for name, lines in long_functions(path.read_text("utf-8")):
            row(f"{path.relative_to(ROOT)}: {name}", "yes" if name == "forward" else "no", lines)


if __name__ == "__main__":
    main()
