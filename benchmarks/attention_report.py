# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes the sections of docs/benchmarks.md on memory, speed and long inputs from the stored results."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import attention_long
import attention_memory
import attention_speed

from locant.training.run.pictures import write_pictures

_MEMORY = """
## Memory of attention, {device}

The largest memory of one forward and backward pass of one sequence, in GB (10⁹ bytes), beyond the weights and their
gradients. The encoders have {shape}; all are pre-norm with RMSNorm and without biases, as T5 is.

{table}

The last column is the peak at the last length divided by the peak at half of this length: 2 is linear growth, 4
quadratic. Rows of this table that grow quadratically were not measured beyond {limit:,} tokens.

Each figure comes from a process of its own. {method}
"""

_DEVICES = {"cpu": "CPU", "cuda": "GPU"}

_METHODS = {
    "cpu": """It is the high-water mark of resident memory that the kernel keeps (`VmHWM`, reset just
before the pass), less what was resident before. Before the measured pass, a pass of 16 tokens starts the threads and
allocates the gradients.
Memory of freed tensors goes back to the system at once, which the C library does not do by default.""",
    "cuda": """It is `torch.cuda.max_memory_allocated` less what was allocated before. Before the measured
pass, a pass of the same length compiles the kernels and allocates the gradients.""",
}

_SPEED = """
## Speed of attention, {device}

Microseconds per token; the fastest backend of Locant is bold. All stacks have {shape}, no dropout and no padding in
their input. Short inputs come in batches of {batch_tokens:,} tokens. `forward` is without gradients, `training` forward
and backward. The last column is the time of Locant's fastest backend divided by that of the built-in model: below 1,
Locant is faster. A decoder has no encoder and is causal, as the built-in model in its row.

Locant's layers have the norms, the activation and the biases of the built-in model in the row, or those of Vaswani et
al. 2017 if the row has no built-in model. So the times of different encodings cannot be compared. Built-in models run
with eager and with sdpa, if they have both; the fastest is shown. SmolLM3 has its rotary encoding switched off in all
layers.

### Forward

{forward}

### Training

{training}

{notes}

transformers has no encoder without a position encoding, and none with ALiBi. In transformers, only speech models
(Wav2Vec2-BERT and similar models) have Shaw's vectors for keys, and their layers have convolutions and a second
feed-forward, so they cannot be compared.

Each row is measured in a process of its own. After a warm-up, each model of the row runs once in each round, in turns,
in at least {rounds} rounds; the figure is the median over the rounds. A built-in model that took twice as long as the
fastest of them in the first round was not measured further. The slowest round takes longer than the fastest by
{spread}.
"""

_LONG = """
## Long inputs, {device}

Microseconds per token, and the peak memory of one forward pass, or of one forward and backward pass, of one sequence,
above the weights and their gradients. The encoders have {shape}. With a window, a token sees {window} tokens to either
side. With sdpa, an encoding that adds a bias to the scores makes a matrix of all pairs for each head, and was not
measured beyond {limit:,} tokens. Without a bias, the memory of torch's kernel grows linearly, as the tensors of
`blockwise` and `flex_attention` do with every encoding. Larger figures of `blockwise` at the greatest length include
freed memory that the C library keeps (see below the tables).

*Half* is the number of tokens from which on the part of the time that grows quadratically is larger than the rest. The
time of a token is taken as a + b · length, through the two longest inputs, and a / b is shown. If the time of a token
grows faster than the length, a is below 0, and 0 is shown; if it does not grow, a dash is shown.

### Forward

{forward}

### Training

{training}

![Time per token and peak memory over the number of tokens](images/long-inputs-{device_name}.png)

Each figure comes from a process of its own. Time is the median of up to five passes, and memory is measured in another
pass, as in the section on memory. If a pass takes more than {budget:.0f} seconds, both are measured in one pass, and
memory includes the freed blocks that the C library keeps, which can be many times the rest.
`MALLOC_MMAP_THRESHOLD_=131072 python benchmarks/attention.py --only long --encodings t5 --lengths 32768` makes the C
library return them: on a CPU, blockwise attention with T5's bias then takes 0.40 GB instead of 4.82 GB forward and
0.70 GB instead of 14.81 GB in training, in 2,291 and 6,025 µs per token.
"""


def store(results: dict[str, Any], folder: Path, part: str) -> None:
    """Write the results of a part (`memory`, `speed` or `long`) on one device into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    _file(folder, part, results["device"]).write_text(f"{text}\n", encoding="utf-8")


def write_picture(results: dict[str, Any], folder: Path) -> None:
    """Draw the results on long inputs into `folder`, as the file to which the page links."""
    folder.mkdir(parents=True, exist_ok=True)
    drawing = {f"long-inputs-{results['device']}": partial(attention_long.draw, results["rows"])}
    write_pictures(folder, drawing, "The picture of long inputs was not drawn")


def sections(folder: Path) -> list[str]:
    """The sections of the page, in Markdown, from all results of attention in `folder`."""
    files = [(part, _file(folder, part, device)) for part in ("memory", "speed", "long") for device in ("cpu", "cuda")]
    return [section(part, json.loads(file.read_text(encoding="utf-8"))) for part, file in files if file.exists()]


def section(part: str, results: dict[str, Any]) -> str:
    """The section on a part, in Markdown."""
    text = {"memory": _memory, "speed": _speed, "long": _long}[part](results)
    machine = "; ".join(f"{name}: {value}" for name, value in results["machine"].items())
    return f"{text}\nMade by `{results['command']}`. {machine}.\n"


def _file(folder: Path, part: str, device: str) -> Path:
    return folder / f"attention_{part}_{device}.json"


def _memory(results: dict[str, Any]) -> str:
    return _MEMORY.format(
        device=_DEVICES[results["device"]],
        shape=results["shape"],
        table=attention_memory.table(results["rows"]),
        limit=attention_memory.QUADRATIC_LIMIT,
        method=_METHODS[results["device"]],
    )


def _long(results: dict[str, Any]) -> str:
    rows: list[dict[str, Any]] = results["rows"]
    return _LONG.format(
        device=_DEVICES[results["device"]],
        device_name=results["device"],
        shape=results["shape"],
        window=attention_long.WINDOW,
        limit=attention_long.QUADRATIC_LIMIT,
        budget=attention_long.BUDGET,
        **{direction: attention_long.table(rows, direction) for direction in attention_long.DIRECTIONS},
    )


def _speed(results: dict[str, Any]) -> str:
    rows: list[dict[str, Any]] = results["rows"]
    notes: list[str] = []
    tables = {direction: attention_speed.table(rows, direction, notes) for direction in attention_speed.DIRECTIONS}
    return _SPEED.format(
        device=_DEVICES[results["device"]],
        shape=results["shape"],
        batch_tokens=attention_speed.BATCH_TOKENS,
        rounds=results["rounds"],
        spread=attention_speed.spread(rows),
        notes="\n".join(notes),
        **tables,
    )
