# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`project` applies a linear layer; on a CPU with several threads, it calls oneDNN instead of MKL if that is faster."""

from typing import Any

import torch
from torch import nn
from torch.compiler import is_compiling

# With several threads, oneDNN is faster than MKL for layers of at least _LEAST_WEIGHTS weights, most of all for inputs
# of up to four rows, which MKL multiplies in one thread. Inputs of more than _MOST_ROWS rows are left to MKL, because
# oneDNN is hardly faster for so many rows and has to compile code for each new number of rows (benchmarks/few_rows.py)
_MOST_ROWS, _LEAST_WEIGHTS = 256, 2**18
_HAS_BOTH = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


def project(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """Compute `layer(states)`, from `(…, in_features)` to `(…, out_features)`.

    In eager code without gradients, on a CPU with several threads, oneDNN multiplies up to 256 rows by the float32
    weight of a plain `nn.Linear` of at least 2¹⁸ numbers, as in the steps of `generate()` and in evaluation. The result
    differs from the result of `nn.Linear` by rounding.
    """
    if not is_compiling() and not torch.is_grad_enabled() and _suits_onednn(layer, states):
        return torch.ops.mkldnn._linear_pointwise(states, layer.weight, layer.bias, "none", [], "")
    return layer(states)


def _suits_onednn(layer: Any, states: torch.Tensor) -> bool:
    """Whether oneDNN can compute the layer's output (float32 only), and is faster than `nn.Linear` for this size."""
    return (
        _HAS_BOTH
        and torch.get_num_threads() > 1
        and type(layer) is nn.Linear
        and layer.in_features * layer.out_features >= _LEAST_WEIGHTS
        and 0 < states.numel() <= _MOST_ROWS * layer.in_features
        and is_plain_on_cpu(states)
        and is_plain_linear(layer)
        and states.dtype == layer.weight.dtype == torch.float32
        and torch._C._get_mkldnn_enabled()
        and not torch.is_autocast_enabled("cpu")
        and torch.autograd.forward_ad._current_level < 0  # oneDNN's product has no forward-mode derivative
    )


def is_plain_on_cpu(states: torch.Tensor) -> bool:
    """Return whether `states` is a plain tensor on a CPU, in eager code without a transform or dispatch mode."""
    if is_compiling() or type(states) is not torch.Tensor or not states.is_cpu:
        return False
    is_transformed = torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack()
    return not is_transformed and not torch._C._get_tracing_state()


def is_plain_linear(layer: nn.Module) -> bool:
    """Whether a call of the layer is a linear map by its weight and bias, and nothing else.

    This is False for adapters and quantised layers, for weights of a tensor subclass, and if a library has attached
    hooks or replaced `forward`. It is also False under the transforms of torch.func, which support neither oneDNN's
    product nor the autograd function of the loss.
    """
    has_hooks = (
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    ) or torch.nn.modules.module._has_any_global_hook()
    return (
        type(layer) is nn.Linear
        and type(layer.weight) in (nn.Parameter, torch.Tensor)
        and not has_hooks
        and "forward" not in layer.__dict__
        and not torch._C._are_functorch_transforms_active()
    )
