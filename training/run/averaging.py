# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The mean of the weights of several checkpoints (Vaswani et al. 2017, section 6.1)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from .sharding import load_weights, read_weights


def load_mean_weights(model: PreTrainedModel, checkpoints: Sequence[Path]) -> None:
    """Load the mean of the weights in the folders `checkpoints` into `model`; the mean is computed in float64."""
    total: dict[str, torch.Tensor] = {}
    for checkpoint in checkpoints:
        for name, weight in read_weights(checkpoint).items():
            total[name] = total[name] + weight.double() if name in total else weight.double()
    own = model.state_dict()
    mean = {name: (weight / len(checkpoints)).to(own[name].dtype) for name, weight in total.items()}
    load_weights(model, mean)
    model.tie_weights()
