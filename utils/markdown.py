# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Formats tables in Markdown."""

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1, figures: str = "---:") -> str:
    """Format a table in Markdown.

    Args:
        header: the title of each column.
        rows: the cells of each row, already escaped.
        names: the number of columns on the left that hold names; they have Markdown's default alignment.
        figures: the alignment of the columns that hold figures, in the syntax of Markdown; `---:` aligns to the right.
    """
    rule = ["---"] * names + [figures] * (len(header) - names)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))
