# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Counts the parameters of a model from its config, and checks that they fit into memory before the model is built."""

import copy
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.modeling_utils import PreTrainedModel

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling import LocantDecoderModel, LocantEncoderModel, LocantModel, LocantPreTrainedModel

_MOST_PARAMETERS = 10**13  # more than any known model has, so that a larger number is a mistake in the config


def check_size(model: PreTrainedModel) -> None:
    """Raise `ValueError`, before weights are allocated, if a model is too large for this machine, or for any machine.

    `LocantPreTrainedModel.build_hooks` holds this function. A model with a head is not checked, because it builds a
    model without a head, which is checked. Under DeepSpeed ZeRO-3, which shards the weights, no model is checked.

    Args:
        model: a model that has its config, but no modules yet.

    Raises:
        ValueError: the model would have more than 10¹³ parameters, in which case the message names the largest size in
            its config; or its parameters would need more memory than the machine, the container or the GPU has.
    """
    config: Any = model.config
    is_counted = getattr(config, "built_for", None) is parameter_count
    if not isinstance(model, body_class(config)) or is_counted or is_deepspeed_zero3_enabled():  # ZeRO-3 shards weights
        return
    count = parameter_count(config)
    if count > _MOST_PARAMETERS:
        raise ValueError(
            f"A model with the sizes in this config has {count:.1e} parameters, and more than {_MOST_PARAMETERS:.0e} "
            f"are refused: the largest of the sizes is {_largest_size(config)}; choose smaller sizes."
        )
    check_memory(count)


def body_class(config: LocantConfig) -> type[LocantPreTrainedModel]:
    """Return the class of the model without a head that has the stacks of `config`."""
    return LocantModel if config.is_encoder_decoder else LocantDecoderModel if config.is_decoder else LocantEncoderModel


def parameter_count(config: LocantConfig) -> int | float:
    """Compute the number of parameters of the model without a head that `config` describes.

    A model with one layer per stack is built on the meta device, and the parameters of its layers are multiplied by the
    number of layers. Shared embeddings count once.

    Returns:
        The number of parameters; infinity if a tensor would have more elements than torch can count.
    """
    small = copy.copy(config)
    small.encoder_layers = small.decoder_layers = 1
    small.encoder_layer_types = small.decoder_layer_types = None
    small.built_for = parameter_count  # tells `check_size` to skip this model; a config from JSON cannot set it
    try:
        with torch.device("meta"):
            model = body_class(config)(small)
    except RuntimeError:
        return math.inf
    depths = {f"{stack}.layers": getattr(config, f"{stack}_layers") for stack in ("encoder", "decoder")}
    weights = ((name.split("."), weight.numel()) for name, weight in model.named_parameters())
    return sum(numbers * depths.get(".".join(path[:2]), 1) for path, numbers in weights)


def check_memory(parameters: int | float) -> None:
    """Check that the default device has enough memory for a model with `parameters` parameters of the default dtype.

    Nothing is checked if new parameters take no memory: on the meta device, or if they are fake tensors.

    Raises:
        ValueError: the parameters take more memory than the machine, the container or the GPU has.
    """
    probe = nn.LayerNorm(1).weight  # has the default device and dtype, and needs no random numbers
    if probe.is_meta or type(probe.data) is not torch.Tensor:
        return
    needed = parameters * probe.element_size()
    limit = Path("/sys/fs/cgroup/memory.max")  # the file with the memory limit of a container
    memory = torch.cuda.mem_get_info(probe.device)[1] if probe.is_cuda else psutil.virtual_memory().total
    if not probe.is_cuda and limit.is_file() and (text := limit.read_text().strip()).isdigit():
        memory = min(memory, int(text))
    if needed > memory:
        raise ValueError(
            f"This model has {parameters:,} parameters, which take {needed / 1e9:,.1f} GB, and there are "
            f"{memory / 1e9:,.1f} GB of memory on {probe.device}: choose smaller sizes in the config."
        )


def _largest_size(config: LocantConfig) -> str:
    """Return the largest integer in the config's fields and the options of its position encodings, as `name=value`."""
    sizes = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    for encoding in map(config.position_encoding_at, config.attention_kinds):
        options = config.position_options(encoding)
        sizes |= {f"position_parameters[{encoding!r}][{name!r}]": value for name, value in options.items()}
    largest = max((name for name in sizes if isinstance(sizes[name], int)), key=lambda name: sizes[name])
    return f"{largest}={sizes[largest]}"
