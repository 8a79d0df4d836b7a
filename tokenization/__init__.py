# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers, their training and BPE dropout, streamers of generated text, and processors for images and prompts."""

from .bpe_dropout import BPEDropout
from .image_processing_locant import LocantImageProcessor
from .processing_locant import LocantProcessor
from .streamers import LocantTextIteratorStreamer, LocantTextStreamer
from .text_tokenizer import train_tokenizer
from .tokenization_locant import LocantTokenizer

__all__ = [
    "BPEDropout",
    "LocantImageProcessor",
    "LocantProcessor",
    "LocantTextIteratorStreamer",
    "LocantTextStreamer",
    "LocantTokenizer",
    "train_tokenizer",
]
