# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1, figures: str = "---:") -> str:
    """A table in Markdown; the first `names` columns hold names, and `figures` is the alignment of all others."""
    rule = ["---"] * names + [figures] * (len(header) - names)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))
