# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Count the errors in captions of digits: wrong digits, and wrong words for their arrangement.

    python examples/caption_errors.py runs/captions/test_captions.tsv

`locant train examples/captions.yaml` or `locant evaluate runs/captions --output FILE` writes the file. The script
prints one line of JSON: how many captions are exactly right, have only wrong digits (other digits, or another order),
have only wrong words between the digits, have both, or have only wrong articles; and the share of right digits in
captions whose words between the digits are right.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def parts(caption: str) -> tuple[list[str], list[str]]:
    """The digits of a caption, and its other words without the articles, which depend only on the digits."""
    words = caption.split()
    return [word for word in words if word in DIGITS], [word for word in words if word not in (*DIGITS, "a", "an")]


def kind_of(caption: str, prediction: str) -> str:
    """`exact`, or the kind of error: `digits`, `relations` (words between the digits), `both`, or only `articles`."""
    if caption == prediction:
        return "exact"
    (digits, relations), (own_digits, own_relations) = parts(caption), parts(prediction)
    if digits == own_digits:
        return "articles" if relations == own_relations else "relations"
    return "digits" if relations == own_relations else "both"


def count_errors(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The number of captions of each kind, and the share of right digits where the words between them are right."""
    pairs = list(pairs)
    kinds = Counter(kind_of(*pair) for pair in pairs)
    right = [
        one == other
        for caption, prediction in pairs
        if kind_of(caption, prediction) in ("exact", "digits", "articles")
        for one, other in zip(parts(caption)[0], parts(prediction)[0], strict=False)
    ]
    counts = {kind: kinds[kind] for kind in ("exact", "digits", "relations", "both", "articles")}
    return {"captions": len(pairs), **counts, "digits_right": round(sum(right) / max(1, len(right)), 4)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Count what is wrong in captions of digits.")
    parser.add_argument("file", type=Path, help="table with the columns caption and prediction")
    options = parser.parse_args(arguments)
    try:
        with open(options.file, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        print(json.dumps(count_errors((row["caption"], row["prediction"]) for row in rows)))
    except OSError as error:
        print(f"caption_errors: {error}: train with examples/captions.yaml first.", file=sys.stderr)
        return 2
    except KeyError as error:
        print(f"caption_errors: {options.file} has no column {error}: give a captioner's predictions.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
