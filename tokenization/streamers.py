# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Streamers whose text is the decoded text, also of tokenizers that take the space off the start of a text."""

from typing import cast

import torch
from transformers import TextIteratorStreamer, TextStreamer


class _KeepsLineBreak(TextStreamer):
    """Lets a new line be decoded after the line break before it, so that it is not taken for the start of a text."""

    def put(self, value: torch.Tensor) -> None:
        """Take the ids of the prompt (1, length) or of one token (1,); raise ValueError for a larger batch."""
        line = self.token_cache
        super().put(value)
        if self.token_cache is line:
            return
        start = len(line) - 1  # the line ended, and its last tokens may be skipped ones
        while not self._text(line[start:]).endswith("\n"):
            start -= 1
        self.token_cache = line[start:]
        self.print_len = len(self._text(self.token_cache))

    def _text(self, ids: list[int]) -> str:
        return cast(str, self.tokenizer.decode(ids, **self.decode_kwargs))


class LocantTextStreamer(_KeepsLineBreak, TextStreamer):
    """Prints a text while it is generated, as `TextStreamer` does, with the space that begins a line."""


class LocantTextIteratorStreamer(_KeepsLineBreak, TextIteratorStreamer):
    """Yields a text while it is generated, as `TextIteratorStreamer` does, with the space that begins a line."""
