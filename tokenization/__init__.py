# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Training tokenizers from text, and BPE dropout."""

from .bpe_dropout import BPEDropout
from .text_tokenizer import train_tokenizer

__all__ = ["BPEDropout", "train_tokenizer"]
