# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What `generate()` needs beyond transformers' own mixin."""

from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin


class LocantGenerationMixin(GenerationMixin):
    """Leaves masks to the model, which makes them for every kind of layer and counts positions by them."""

    def create_masks_for_generate(
        self, attention_mask: torch.Tensor | None, past_key_values: Cache, **kwargs: Any
    ) -> torch.Tensor | None:
        """The decoder's mask for a static cache: as long as the cache, so that a compiled step sees one shape."""
        if attention_mask is None:
            return None
        # where all layers slide, the cache is as long as a window, and shorter than the mask at last
        missing = max(0, past_key_values.get_max_length() - attention_mask.shape[1])
        return torch.nn.functional.pad(attention_mask, (0, missing))
