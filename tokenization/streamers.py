# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Text streamers that keep a space at the start of a line, so that they yield exactly the decoded text."""

from typing import cast

import torch
from transformers import TextIteratorStreamer, TextStreamer


class _KeepsLineBreak(TextStreamer):
    """Keeps the tokens of a line break in the token cache, so that they are decoded together with the next line.

    `TextStreamer` empties its token cache after a line break. The next line is then decoded like a whole text, and a
    tokenizer that removes the first space of a decoded text removes the space at the start of that line.
    """

    def put(self, value: torch.Tensor) -> None:
        """Take the ids of the prompt, `(1, length)`, or one new id, `(1,)`; raise `ValueError` for larger batches."""
        line = self.token_cache
        super().put(value)
        if self.token_cache is line:
            return
        start = len(line) - 1  # tokens after the line break may be special tokens that decoding skips
        while not self._text(line[start:]).endswith("\n"):
            start -= 1
        self.token_cache = line[start:]
        self.print_len = len(self._text(self.token_cache))

    def _text(self, ids: list[int]) -> str:
        return cast(str, self.tokenizer.decode(ids, **self.decode_kwargs))


class LocantTextStreamer(_KeepsLineBreak, TextStreamer):
    """Prints a text while it is generated, like `TextStreamer`, and keeps a space at the start of a line."""


class LocantTextIteratorStreamer(_KeepsLineBreak, TextIteratorStreamer):
    """Yields a text while it is generated, like `TextIteratorStreamer`, and keeps a space at the start of a line."""
