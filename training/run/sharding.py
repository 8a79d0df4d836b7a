# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Training with weights, gradients and optimiser state sharded over the processes (FSDP2; Zhao et al. 2023).

transformers shards a model by a `DistributedConfig`, but its Trainer neither saves the optimiser's state of a sharded
model nor loads weights into a sharded model. The functions of this module do both, in the format of an ordinary
checkpoint, which has whole tensors, and identifies the parameters in the optimiser's state by number. So a checkpoint
does not depend on whether the weights were sharded.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.optim import Optimizer
from transformers import PreTrainedModel
from transformers.distributed import DistributedConfig


def shard_model(model: PreTrainedModel, processes: int) -> None:
    """Shard the weights of a model over all processes, as `from_pretrained(distributed_config=...)` does.

    Args:
        model: the whole model, the same in each process; it is changed in place.
        processes: the number of processes.
    """
    # FSDP2 warns against changing a layer's output in place; Locant's encoders and decoders never do this
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    whole_class = type(model)
    config, _, mesh = model.prepare_distribute_model(DistributedConfig(fsdp_size=processes))
    model.maybe_distribute_model(model, config, mesh)
    # FSDP2 derives a class from the model's class, but a saved model has to name the class that it is loaded with
    type(model).__name__, type(model).__module__ = whole_class.__name__, whole_class.__module__
    if model.can_generate():
        # `generate` also calls parts of the model, such as the encoder, outside of the model's `forward`
        register_fsdp_forward_method(cast(Any, model), "generate")


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy whole tensors into a model, which may be sharded; `weights` needs a tied weight under one name only."""
    options = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, cast(Any, dict(weights)), options=options)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a saved model, which may be divided among several files."""
    return {name: weight for path in sorted(folder.glob("*.safetensors")) for name, weight in load_file(path).items()}


def optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return the state that `optimizer.state_dict()` would return for unsharded weights, with all tensors on the CPU.

    All processes must call this function; it returns an empty dictionary in all processes but the main process.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    by_name: Any = get_optimizer_state_dict(model, optimizer, options=options)
    if not by_name:
        return {}
    names = [name for group in by_name["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in by_name["param_groups"]]
    return {"state": {numbers[name]: state for name, state in by_name["state"].items()}, "param_groups": groups}


def load_optimizer_state(model: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load `state`, a result of `optimizer_state` or of an unsharded optimiser's `state_dict`, into `optimizer`."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    ordered = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    by_name = {
        "state": {ordered[number]: values for number, values in state["state"].items()},
        "param_groups": [
            {**group, "params": [ordered[number] for number in group["params"]]} for group in state["param_groups"]
        ],
    }
    set_optimizer_state_dict(model, optimizer, cast(Any, by_name), options=StateDictOptions(full_state_dict=True))
