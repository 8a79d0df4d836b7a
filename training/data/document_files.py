# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`split_documents`, which divides a text file into the documents that a language model is trained on."""

from collections.abc import Iterable, Iterator
from itertools import groupby

FILE, BLANK_LINE, EACH_LINE = "file", "blank_line", "line"


def split_documents(lines: Iterable[str], separator: str) -> Iterator[str]:
    """Divide a text file into documents.

    Args:
        lines: the lines of the file, without their line feeds.
        separator: `file` if the whole file is one document; `blank_line` if blank lines separate the documents; `line`
            if each line is a document; or the text that separates two documents, such as `<|endoftext|>` (in this case,
            line feeds at the start and end of each document are removed).

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
