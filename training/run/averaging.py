# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The mean of the weights of several checkpoints (Vaswani et al. 2017, section 6.1)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME


def load_mean_weights(model: PreTrainedModel, checkpoints: Sequence[Path]) -> None:
    """Give `model` the mean of the weights in `checkpoints`, folders that hold a `model.safetensors` each."""
    total: dict[str, torch.Tensor] = {}
    for checkpoint in checkpoints:
        for name, weight in load_file(checkpoint / SAFE_WEIGHTS_NAME).items():
            total[name] = total[name] + weight.double() if name in total else weight.double()
    own = model.state_dict()
    mean = {name: (weight / len(checkpoints)).to(own[name].dtype) for name, weight in total.items()}
    # strict=False, as a checkpoint contains a tied weight under only one of its names
    model.load_state_dict(mean, strict=False)
    model.tie_weights()
