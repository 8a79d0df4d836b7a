# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Write paragraphs from docstrings of installed packages, each labelled with its package, to train a classifier on.

    python examples/docstrings.py --output_dir examples/data/docstrings

Docstrings are read from the source files, nothing is imported or downloaded. A paragraph is prose of 8 to 80 words that
names none of the packages. No file gives paragraphs to two splits, no paragraph is written twice, and all packages have
the same number of paragraphs. The same versions of the packages, counts and seed give the same files.
"""

import argparse
import ast
import random
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = {
    "pandas": "pandas",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "sympy": "sympy",
    "torch": "torch",
    "transformers": "transformers",
}
"""Label, and the folder that the package is installed in."""

NAMES = re.compile(r"\b(np|pd|\w*torch|numpy|pandas|scikit\w*|sklearn|scipy|sympy|transformers|hugging ?face)\b")
NO_PROSE = re.compile(r">>>|\.\. |^[-=~*]{3,}$|^\s*:\w+|::$", re.MULTILINE)


def paragraphs(file: Path) -> Iterator[str]:
    """The paragraphs of prose in the docstrings of a source file, each on one line."""
    with warnings.catch_warnings(action="ignore"):  # about invalid escapes in strings
        tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                text = " ".join(paragraph.split())
                words = re.findall(r"\b[A-Za-z]+\b", text)
                is_prose = text[:1].isupper() and text.endswith(".") and not NO_PROSE.search(paragraph)
                if is_prose and 8 <= len(words) <= 80 and not NAMES.search(text.lower()):
                    yield text


def make_corpus(sizes: dict[str, int], seed: int, site_packages: Path) -> dict[str, list[tuple[str, str]]]:
    """The texts and labels of each split, `sizes[split]` texts of each package."""
    corpus: dict[str, list[tuple[str, str]]] = {split: [] for split in sizes}
    written: set[str] = set()
    for label, package in PACKAGES.items():
        folder = site_packages / package
        files = sorted(path for path in folder.rglob("*.py") if "tests" not in path.relative_to(folder).parts)
        random.Random(f"{seed} {label}").shuffle(files)
        remaining = iter(files)
        for split in sorted(sizes, key=sizes.__getitem__):  # small splits first, and train from the remaining files
            found: list[str] = []
            while len(found) < sizes[split]:
                file = next(remaining, None)
                if file is None:
                    raise ValueError(
                        f"{label} has too few paragraphs for its {sizes[split]} in {split}: ask for fewer."
                    )
                new = [text for text in dict.fromkeys(paragraphs(file)) if text not in written]
                written.update(new)
                found += new[:50]  # at most 50 from a file, so that no file fills a split
            corpus[split] += [(text, label) for text in found[: sizes[split]]]
    for split, rows in corpus.items():
        random.Random(f"{seed} {split}").shuffle(rows)
    return corpus


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Write paragraphs of the docstrings of installed packages as {train,dev,test}.tsv: text and label.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    folder = Path("examples/data/docstrings")
    parser.add_argument("--output_dir", type=Path, default=folder, help="folder for the three files")
    parser.add_argument("--train", type=int, default=2000, help="paragraphs of each package to train on")
    parser.add_argument("--dev", type=int, default=200, help="to choose a checkpoint by")
    parser.add_argument("--test", type=int, default=300, help="to measure the classifier on")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random draws")
    options = parser.parse_args(arguments)
    sizes = {"train": options.train, "dev": options.dev, "test": options.test}
    try:
        corpus = make_corpus(sizes, options.seed, Path(sysconfig.get_path("purelib")))
        options.output_dir.mkdir(parents=True, exist_ok=True)
        for split, rows in corpus.items():
            lines = ["text\tlabel", *(f"{text}\t{label}" for text, label in rows)]
            (options.output_dir / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"docstrings: {error}", file=sys.stderr)
        return 2
    counts = ", ".join(f"{len(rows):,} {split}" for split, rows in corpus.items())
    print(f"{options.output_dir}: {counts} paragraphs of {', '.join(PACKAGES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
