# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Peak memory of a forward and backward pass of an encoder, by length of the input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from attention_models import T5, T5_LAYER, Shape, build_locant
from measuring import in_fresh_process, peak_memory
from tqdm.auto import tqdm

from locant.utils.markdown import markdown_table

LENGTHS = (1024, 2048, 4096, 8192)
QUADRATIC_LIMIT = 4096  # beyond it, a matrix of all pairs needs more memory than a small machine has


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        library: `Locant` or `transformers`; the only model of transformers is T5.
        encoding: the position encoding.
        backend: the attention implementation.
        is_linear: memory grows linearly with the length, so that every length can be measured.
    """

    library: str
    encoding: str
    backend: str
    is_linear: bool = False


CASES = {
    "cpu": [
        Case("Locant", "t5", "blockwise", is_linear=True),
        Case("Locant", "transformer_xl", "blockwise", is_linear=True),
        Case("Locant", "t5", "sdpa"),
        Case("Locant", "transformer_xl", "sdpa"),
        Case("transformers", "t5", "sdpa"),
        Case("transformers", "t5", "eager"),
    ],
    "cuda": [
        Case("Locant", "t5", "flex_attention", is_linear=True),
        Case("Locant", "t5", "blockwise", is_linear=True),
        Case("Locant", "transformer_xl", "blockwise", is_linear=True),
        Case("Locant", "t5", "sdpa"),
        Case("Locant", "transformer_xl", "sdpa"),
        Case("transformers", "t5", "sdpa"),
        Case("transformers", "t5", "eager"),
    ],
}


def peak_of_training_step(case: Case, shape: Shape, length: int, device: str, threads: int) -> int:
    """Peak bytes of a forward and backward pass of `length` tokens, without the weights and their gradients."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if case.library == "transformers":
        model = T5.build(shape, length, case.backend)
    else:
        model = build_locant(shape, length, case.backend, case.encoding, **T5_LAYER)
    model.to(device).train()

    def step(length: int) -> None:
        ids = torch.randint(4, shape.vocabulary, (1, length), device=device)
        model(input_ids=ids).last_hidden_state.mean().backward()

    # The first step starts threads and allocates buffers of the libraries and gradients of the weights. On CPU, 16
    # tokens suffice, and leave no freed memory that the second step could use again. On CUDA, kernels are compiled for
    # the length.
    step(length if device == "cuda" else 16)
    return peak_memory(lambda: step(length), device)


def measure(
    shape: Shape,
    lengths: Sequence[int] = LENGTHS,
    encodings: Sequence[str] | None = None,
    device: str = "cpu",
    threads: int = 2,
) -> list[dict[str, Any]]:
    """Measure all cases: a row for each, with its library, encoding, backend, device, and peaks in bytes by length.

    Args:
        shape: sizes of the encoders.
        lengths: lengths of the inputs, in tokens.
        encodings: the position encodings to measure; all by default.
        device: `cpu` or `cuda`.
        threads: number of CPU threads of torch.
    """
    cases = [case for case in CASES[device] if encodings is None or case.encoding in encodings]
    pairs = [(case, length) for case in cases for length in lengths if case.is_linear or length <= QUADRATIC_LIMIT]
    peaks: dict[Case, dict[str, int]] = {case: {} for case in cases}
    for case, length in (bar := tqdm(pairs, desc="memory", dynamic_ncols=True)):
        bar.set_postfix_str(f"{case.library} {case.encoding} {case.backend}, {length:,} tokens")
        peaks[case][str(length)] = in_fresh_process(peak_of_training_step, case, shape, length, device, threads)
    return [
        {"model": case.library, "encoding": case.encoding, "backend": case.backend, "device": device, "peaks": own}
        for case, own in peaks.items()
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table of peaks in GB, with the growth of the peak at the last doubling of the length."""
    lengths = sorted({int(length) for row in rows for length in row["peaks"]})
    head = ["model", "encoding", "backend", *(f"{length:,}" for length in lengths), "last doubling"]
    lines = []
    for row in rows:
        peaks = [row["peaks"].get(str(length)) for length in lengths]
        cells = ["–" if peak is None else f"{peak / 1e9:.3f}" for peak in peaks]
        lines.append([row["model"], f"`{row['encoding']}`", f"`{row['backend']}`", *cells, _growth(row["peaks"])])
    return markdown_table(head, lines, names=3)


def _growth(peaks: dict[str, int]) -> str:
    lengths = sorted(map(int, peaks))
    if len(lengths) < 2 or lengths[-1] != 2 * lengths[-2]:
        return "–"
    last, before = peaks[str(lengths[-1])], peaks[str(lengths[-2])]
    return f"× {last / before:.1f}" if before else "–"
