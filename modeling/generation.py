# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What `generate()` needs of an encoder–decoder beyond transformers' own mixin."""

from typing import Any

import torch
from transformers.generation import GenerationMixin

from .masks import build_position_ids


class LocantGenerationMixin(GenerationMixin):
    """Keeps the positions of decoder prompts that are padded on the left.

    With a static cache, `generate()` turns the decoder's mask into four dimensions before the model sees it, and
    which tokens are padding can no longer be told from it; so the positions are counted here.
    """

    def prepare_inputs_for_generation(self, input_ids: torch.LongTensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The inputs of one step."""
        mask = kwargs.get("decoder_attention_mask")
        if mask is not None and mask.ndim == 2 and kwargs.get("decoder_position_ids") is None:
            kwargs["decoder_position_ids"] = build_position_ids(mask, 0, mask.shape[1], mask.device)
        # typed for the whole model that this is mixed into
        return super().prepare_inputs_for_generation(input_ids, *args, **kwargs)  # type: ignore[misc]
