# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Weights that accelerate keeps on disk or in another memory (`device_map`)."""

from contextlib import AbstractContextManager, ExitStack, nullcontext

from torch import nn
from torch.compiler import is_compiling
from transformers.utils import is_accelerate_available


def at_hand(module: nn.Module) -> AbstractContextManager[object]:
    """While it lasts, the module's weights can be read.

    accelerate brings them for the `forward` of the module that owns them, which a position encoding has none of.
    """
    if is_compiling() or not any(hasattr(part, "_hf_hook") for part in module.modules()):
        return nullcontext()
    stack = ExitStack()
    if is_accelerate_available():  # as it is where there are hooks; transformers asks for what is imported outside
        from accelerate.utils import align_module_device

        for part in module.modules():
            stack.enter_context(align_module_device(part))
    return stack
