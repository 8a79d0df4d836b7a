# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Compare the tokens that Locant generates for the TED test set with those of transformers' Marian with its weights.

    python benchmarks/ted_tokens.py [--beams 1 4 5] [--sentences 1305]

The model is the translator of `make bench`, in float32. Sentences are sorted by length, in batches of 32. If the tokens
of a sentence differ, the script prints the log-probabilities per token of both sequences under Marian: if these are
equal, the sequences are a tie that rounding decides.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from ted import TRANSLATOR, data_files
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianMTModel, PreTrainedModel

import locant

BATCH = 32


def generated(model: PreTrainedModel, batches: list[dict[str, torch.Tensor]], beams: int) -> Iterator[list[int]]:
    """The tokens of each sentence without padding, in the order of the batches."""
    for batch in batches:
        for row in model.generate(**batch, num_beams=beams, max_new_tokens=100, do_sample=False):
            yield [token for token in row.tolist() if token != model.config.pad_token_id]


@torch.no_grad()
def log_probability(model: PreTrainedModel, inputs: dict[str, torch.Tensor], tokens: list[int]) -> float:
    """The log-probability of `tokens` after the first one, divided by their number, as beam search scores them."""
    ids = torch.tensor([tokens])
    scores = model(**inputs, decoder_input_ids=ids[:, :-1]).logits.log_softmax(-1)
    return scores.gather(2, ids[:, 1:, None]).mean().item()


def main() -> None:
    """Print, for each number of beams, how many sentences have the same tokens, and the differences of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4, 5])
    parser.add_argument("--sentences", type=int, default=1305)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(TRANSLATOR)
    sources = data_files("test")[0].read_text(encoding="utf-8").splitlines()[: options.sentences]
    sources.sort(key=len)
    batches = [
        dict(tokenizer(sources[start : start + BATCH], return_tensors="pt", padding=True, truncation=True))
        for start in range(0, len(sources), BATCH)
    ]
    with tempfile.TemporaryDirectory() as folder:
        locant.convert(TRANSLATOR, Path(folder, "marian"), to="marian")
        marian = MarianMTModel.from_pretrained(Path(folder, "marian")).eval()
    ours = AutoModelForSeq2SeqLM.from_pretrained(TRANSLATOR).eval()
    for beams in options.beams:
        pairs = zip(generated(ours, batches, beams), generated(marian, batches, beams), strict=True)
        differing = [(number, own, other) for number, (own, other) in enumerate(pairs) if own != other]
        print(f"{beams} beams: {len(sources) - len(differing):,} of {len(sources):,} sentences have the same tokens")
        for number, own, other in differing:
            inputs = dict(tokenizer(sources[number], return_tensors="pt"))
            first, second = (log_probability(marian, inputs, tokens) for tokens in (own, other))
            print(f"  {sources[number]!r}: Locant {first:.6f}, Marian {second:.6f}", flush=True)


if __name__ == "__main__":
    main()
