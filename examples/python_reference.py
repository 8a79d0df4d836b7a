# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Write Python's language reference, as `help()` shows it, as text to train language models on.

    python examples/python_reference.py --output_dir examples/data/python_reference

Every Python has the topics of its reference in `pydoc_data.topics`, some 600,000 characters of English text with code.
Many paragraphs are in several topics ("if" is a part of "compound"). Only the longest topic keeps such a paragraph, so
that no paragraph is in two splits, and a topic that keeps few characters is left out. Whole topics go to train,
validation or test; each split is a JSON lines file with the columns `topic` and `text`.

The same Python and seed give the same files; other versions of Python have other texts.
"""

import argparse
import json
import platform
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

HELD_OUT = ("test", "validation")
LEAST = 200  # a topic with fewer characters of its own is left out


class Topic(NamedTuple):
    """A topic of the reference, and its text."""

    topic: str
    text: str


def read_topics(texts: dict[str, str]) -> list[Topic]:
    """The topics, longest first, each without paragraphs that are in a previous topic or earlier in the same topic."""
    seen: set[str] = set()
    found = []
    for name in sorted(texts, key=lambda name: (-len(texts[name]), name)):
        own = []
        for paragraph in re.split(r"\n[ \t]*\n", texts[name].strip("\n")):
            words = paragraph_key(paragraph)
            if words and words not in seen:
                own.append(paragraph)
            seen.add(words)
        text = "\n\n".join(own)
        if len(text) >= LEAST:
            found.append(Topic(name, text))
    return found


def paragraph_key(paragraph: str) -> str:
    """The words of a paragraph in lower case; equal for paragraphs that differ only in punctuation or layout."""
    return " ".join(re.findall(r"\w+", paragraph)).lower()


def split_topics(found: list[Topic], share: float, seed: int) -> dict[str, list[Topic]]:
    """Whole topics by split: in test and validation at most `share` of all characters each, the others in train."""
    shuffled = sorted(found)
    random.Random(seed).shuffle(shuffled)
    room = dict.fromkeys(HELD_OUT, share * sum(len(topic.text) for topic in found))
    splits: dict[str, list[Topic]] = {"train": [], **{name: [] for name in HELD_OUT}}
    for topic in shuffled:
        split = next((name for name in HELD_OUT if len(topic.text) <= room[name]), "train")
        if split != "train":
            room[split] -= len(topic.text)
        splits[split].append(topic)
    return {name: sorted(part) for name, part in splits.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Write the topics of Python's language reference as JSON lines (train, validation, test), each "
        "paragraph in one split only. The same Python, share and seed give the same files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output_dir", type=Path, default=Path("examples/data/python_reference"), help="their folder")
    parser.add_argument("--share", type=float, default=0.1, help="of the characters in test, and in validation")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random split")
    options = parser.parse_args(arguments)
    splits = split_topics(read_topics(topics), options.share, options.seed)
    try:
        if not all(splits.values()):
            raise ValueError(f"--share {options.share} leaves a split without a topic: give one near 0.1.")
        options.output_dir.mkdir(parents=True, exist_ok=True)
        for name, part in splits.items():
            with open(options.output_dir / f"{name}.jsonl", "w", encoding="utf-8", newline="\n") as file:
                for topic in part:
                    print(json.dumps(topic._asdict(), ensure_ascii=False), file=file)
    except (ValueError, OSError) as error:
        print(f"python_reference: {error}", file=sys.stderr)
        return 2
    sizes = (f"{sum(len(t.text) for t in part):,} characters {name}" for name, part in splits.items())
    print(f"{options.output_dir}: {', '.join(sizes)} (Python {platform.python_version()})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
