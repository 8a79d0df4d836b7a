# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What is streamed is what decoding all tokens gives."""

from functools import cache

import pytest
import torch

from locant.tokenization import LocantTextIteratorStreamer, LocantTextStreamer, train_tokenizer

TEXT = "le chat\n dort\n\n  ici \n la\nnuit \n"
TEXTS = [
    TEXT,
    "\n le",
    " \n \n le chat",
    "le\n",
    "la  nuit\n</s>\n dort",
    "\u5929\u6c17\n \u5929 \U0001f642\n \U0001f642",
]
KINDS = ("bpe", "unigram", "wordpiece", "word")


@cache
def trained(purpose, kind):
    return train_tokenizer(iter(TEXTS * 3), kind=kind, vocab_size=300, purpose=purpose, show_progress=False)


def streamed(streamer, prompt, ids):
    streamer.put(torch.tensor([prompt]))
    for token in ids:
        streamer.put(torch.tensor([token]))
    streamer.end()


@pytest.mark.pairwise
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("purpose", ["seq2seq", "causal_lm", "masked_lm"])
@pytest.mark.parametrize("skip_special_tokens", [False, True])
@pytest.mark.parametrize("skip_prompt", [False, True])
def test_streamed_text_is_the_decoded_text(capsys, purpose, kind, skip_special_tokens, skip_prompt):
    tokenizer = trained(purpose, kind)
    for text in TEXTS:
        ids = [*tokenizer(text).input_ids, 2]
        options = {"skip_prompt": skip_prompt, "skip_special_tokens": skip_special_tokens}
        expected = tokenizer.decode(ids if skip_prompt else [1, *ids], skip_special_tokens=skip_special_tokens)
        streamed(LocantTextStreamer(tokenizer, **options), [1], ids)
        assert capsys.readouterr().out == expected + "\n"  # print ends the stream with a line break
        iterator = LocantTextIteratorStreamer(tokenizer, **options)
        for _ in range(2):  # a streamer serves one generation after another
            streamed(iterator, [1], ids)
            assert "".join(iterator) == expected


def test_a_line_is_streamed_as_soon_as_it_ends():
    tokenizer = trained("seq2seq", "bpe")
    streamer = LocantTextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    ids, parts, lines = tokenizer(TEXT).input_ids, [], []
    streamer.put(torch.tensor([[1]]))
    for count, token in enumerate(ids, start=1):
        streamer.put(torch.tensor([token]))
        while not streamer.text_queue.empty():
            parts.append(streamer.text_queue.get())
        decoded = tokenizer.decode(ids[:count], skip_special_tokens=True)
        if decoded.endswith("\n"):
            assert "".join(parts) == decoded
            lines.append(decoded)
    assert len(lines) >= 5
