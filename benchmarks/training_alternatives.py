# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Time of two alternatives to how Locant trains: several pairs in a row, and fused projections in self-attention.

    python benchmarks/training_alternatives.py [--threads 2] [--device cpu]

The batch is that of the training step of `make bench`: 64 pairs of 14 to 28 tokens a side. Both sides of a packed row
hold at most `--row_lengths` tokens, and no pair attends to another. The fused projection is one product with the three
weights of query, key and value, on as many rows as the batch has real source tokens.
"""

import argparse
import statistics
from collections.abc import Callable

import peers
import torch
from measuring import interleaved_times
from torch import nn
from training_lines import LONGEST, SHAPE, batch_of_pairs

SENTENCES = 64


def packed_rows(batch: dict[str, torch.Tensor], row_length: int) -> dict[str, torch.Tensor]:
    """Put the pairs of a padded batch into rows of at most `row_length` source tokens and as many target tokens.

    Pairs are taken in order of length, and a new row begins when the next pair does not fit.
    """
    sources = [ids[mask.bool()] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    targets = [labels[labels != -100] for labels in batch["labels"]]
    rows: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[]]
    for pair in sorted(zip(sources, targets, strict=True), key=lambda pair: -len(pair[0])):
        sizes = [sum(map(len, side)) + len(new) for side, new in zip(zip(*rows[-1], strict=True), pair, strict=False)]
        if rows[-1] and max(sizes) > row_length:
            rows.append([])
        rows[-1].append(pair)
    source_rows, target_rows = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    return {
        "input_ids": _padded(source_rows, peers.PAD),
        "attention_mask": (_documents(source_rows) >= 0).long(),
        "labels": _padded(target_rows, -100),
        "decoder_input_ids": _padded(target_rows, peers.PAD),
        "decoder_attention_mask": (_documents(target_rows) >= 0).long(),
        "document_ids": _documents(source_rows),
        "decoder_document_ids": _documents(target_rows),
    }


def _padded(rows: list[list[torch.Tensor]], value: int) -> torch.Tensor:
    return nn.utils.rnn.pad_sequence([torch.cat(row) for row in rows], batch_first=True, padding_value=value)


def _documents(rows: list[list[torch.Tensor]]) -> torch.Tensor:
    return _padded([[torch.full_like(pair, number) for number, pair in enumerate(row)] for row in rows], -1)


def step_of(model: nn.Module, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """A training step of the model: forward pass, loss and backward pass."""

    def step() -> None:
        model.zero_grad()
        model(**batch, skip_logits=True).loss.backward()

    return step


def measure_packing(row_lengths: list[int], backends: list[str], device: str, rounds: int) -> None:
    """Print, for each backend, the median time of a step with one pair in a row and with packed rows."""
    from locant import LocantConfig, LocantForConditionalGeneration

    sizes = {"d_model": SHAPE.width, "vocab_size": SHAPE.vocabulary, "dropout": SHAPE.dropout}
    for stack in ("encoder", "decoder"):
        own = {"layers": SHAPE.layers, "attention_heads": SHAPE.heads, "ffn_dim": SHAPE.ffn}
        sizes |= {f"{stack}_{name}": value for name, value in own.items()}
    padded = batch_of_pairs(SHAPE, SENTENCES, LONGEST, shortest=LONGEST // 2)
    batches = [padded, *(packed_rows(padded, length) for length in row_lengths)]
    batches = [{name: tensor.to(device) for name, tensor in batch.items()} for batch in batches]
    shapes = ["{} x {}".format(*batch["input_ids"].shape) for batch in batches]
    for backend in backends:
        torch.manual_seed(0)
        model = LocantForConditionalGeneration(LocantConfig(**sizes)).to(device).train()
        model.set_attn_implementation(backend)
        steps = [step_of(model, batch) for batch in batches]
        interleaved_times(steps, 1, device=device)
        times = [statistics.median(own) * 1e3 for own in interleaved_times(steps, rounds, device=device)]
        print(f"{backend}:", ", ".join(f"{shape} {ms:.1f} ms" for shape, ms in zip(shapes, times, strict=True)))


def measure_projections(device: str, rounds: int) -> None:
    """Print the median time of the projections of query, key and value, forward and backward, apart and fused."""
    rows = int(batch_of_pairs(SHAPE, SENTENCES, LONGEST, shortest=LONGEST // 2)["attention_mask"].sum())
    states = torch.randn(rows, SHAPE.width, device=device, requires_grad=True)
    apart = nn.ModuleList(nn.Linear(SHAPE.width, SHAPE.width) for _ in range(3)).to(device)
    fused = nn.Linear(SHAPE.width, 3 * SHAPE.width).to(device)

    def project_apart() -> None:
        torch.stack([layer(states).sum() for layer in apart]).sum().backward()

    def project_fused() -> None:
        torch.stack([part.sum() for part in fused(states).chunk(3, dim=-1)]).sum().backward()

    ways = [project_apart, project_fused]
    interleaved_times(ways, 3, device=device)
    apart_ms, fused_ms = (statistics.median(own) * 1e3 for own in interleaved_times(ways, 10 * rounds, device=device))
    print(f"projections of {rows} rows: {apart_ms:.2f} ms apart, {fused_ms:.2f} ms fused")


def main() -> None:
    """Print a line for each backend, and one for the projections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--row_lengths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--backends", nargs="+", default=["eager", "sdpa", "blockwise"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measure_packing(options.row_lengths, options.backends, options.device, options.rounds)
    measure_projections(options.device, options.rounds)


if __name__ == "__main__":
    main()
