# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Pick docstrings, comments and messages of the package at random, for a reader to judge whether they are clear.

    python tests/pick_texts.py [--number 40] [--seed 0]

A message is the text of a raised exception, of a warning, or of the help of an option.
"""

import argparse
import ast
import random
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    *("configuration", "modeling", "checkpoints", "tokenization", "training", "studies", "visualization", "hub"),
    *("serving", "utils", "locant"),
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_LEAST_WORDS = 4  # of a message or a comment: shorter texts are labels


class Text(NamedTuple):
    """A text with its place, `file:line`, and its kind: docstring, comment or message."""

    place: str
    kind: str
    text: str


def texts_of(path: Path) -> Iterator[Text]:
    """All docstrings, comments and messages of a file."""
    place = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node)):
            yield Text(f"{place}:{getattr(node, 'lineno', 1)}", "docstring", docstring)
        if isinstance(node, ast.Call) and (message := _message(node)):
            yield Text(f"{place}:{node.lineno}", "message", message)
    yield from _comments(path, place)


def _message(call: ast.Call) -> str | None:
    """The first long text among the arguments of a call, with `{…}` in place of the values in it."""
    for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            text = argument.value
        elif isinstance(argument, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{…}" for part in argument.values)
        else:
            continue
        if len(text.split()) >= _LEAST_WORDS:
            return text
    return None


def _comments(path: Path, place: str) -> Iterator[Text]:
    """The comments of a file; the lines of one comment are joined, and notes for tools are left out."""
    lines: list[str] = []
    first = last = 0
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type != tokenize.COMMENT or token.string.startswith(("# type:", "# noqa", "# Copyright")):
                continue
            is_trailing = not token.line.lstrip().startswith("#")
            if lines and (token.start[0] != last + 1 or is_trailing):
                yield Text(f"{place}:{first}", "comment", " ".join(lines))
                lines = []
            first = first if lines else token.start[0]
            last = token.start[0]
            lines.append(token.string.removeprefix("#").strip())
    if lines:
        yield Text(f"{place}:{first}", "comment", " ".join(lines))


def pick(number: int, seed: int) -> list[Text]:
    """Pick texts at random, each of all texts with the same probability."""
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    texts = [text for path in files for text in texts_of(path) if len(text.text.split()) >= _LEAST_WORDS]
    return random.Random(seed).sample(texts, min(number, len(texts)))


def main() -> None:
    """Print the picked texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=40, help="number of texts (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice (default: 0)")
    options = parser.parse_args()
    for number, text in enumerate(pick(options.number, options.seed), start=1):
        print(f"{number}. {text.place} ({text.kind})\n{text.text}\n")


if __name__ == "__main__":
    main()
