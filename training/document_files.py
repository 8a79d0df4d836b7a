# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Splitting the lines of a text file into documents."""

from collections.abc import Iterable, Iterator
from itertools import groupby

FILE, BLANK_LINE, EACH_LINE = "file", "blank_line", "line"


def split_documents(lines: Iterable[str], separator: str) -> Iterator[str]:
    """The documents of one text file.

    Args:
        lines: of the file, without their line ends.
        separator: `file` for one document, `blank_line` or `line`, or a text that stands between two documents; line
            ends beside that text belong to no document.

    Returns:
        The documents; the lines in a document are separated by line feeds.
    """
    if separator == EACH_LINE:
        yield from lines
    elif separator == BLANK_LINE:
        for is_blank, block in groupby(lines, key=lambda line: not line.strip()):
            if not is_blank:
                yield "\n".join(block)
    elif separator == FILE:
        yield "\n".join(lines)
    else:
        yield from (document.strip("\n") for document in "\n".join(lines).split(separator))


__all__ = ["BLANK_LINE", "EACH_LINE", "FILE", "split_documents"]
