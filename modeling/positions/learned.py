# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A trained vector for each position, added to the embeddings (Gehring et al. 2017)."""

from typing import Any

import torch
from torch import nn
from torch.compiler import is_compiling

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .base import PositionEncoding, register_built_in


class LearnedGridEncoding(PositionEncoding):
    """Adds a trained vector to the embedding of each patch, and of the class token if there is one.

    There is a vector for each patch of an image of `config.image_size`. For images of another size, the grid of vectors
    is interpolated bicubically (Dosovitskiy et al. 2021, ViT, section 3.2).

    Args:
        config: gives `d_model`, the grid of patches, and whether there is a class token.
        kind: `encoder`.
    """

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        self.grid, self.before = config.patch_grid, int(config.has_class_token)
        self.embeddings = nn.Embedding(self.before + self.grid[0] * self.grid[1], config.d_model)

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, None]:
        """Add the vectors to the embeddings; `position_bound` holds the numbers of rows and columns of patches."""
        # call the module instead of reading its weight, so that accelerate's hook loads an offloaded table
        table = self.embeddings(torch.arange(self.embeddings.num_embeddings, device=hidden_states.device))
        if position_bound != self.grid:
            grid = table[self.before :].view(1, *self.grid, -1).permute(0, 3, 1, 2)
            resized = nn.functional.interpolate(grid, size=position_bound, mode="bicubic", align_corners=False)
            table = torch.cat([table[: self.before], resized.flatten(2).transpose(1, 2)[0]])
        return hidden_states + table, None


@register_built_in("learned")
class LearnedEncoding(PositionEncoding):
    """Adds to each embedding the row of a trained table for its position; a position beyond the table is an error.

    Args:
        config: gives `d_model`, `max_position_embeddings` and the option `offset`: the number of rows before the row of
            position 0 (BART has 2).
        kind: `encoder` or `decoder`.
    """

    grid_class = LearnedGridEncoding

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        self.offset = config.position_options("learned")["offset"]
        self.embeddings = nn.Embedding(config.max_position_embeddings + self.offset, config.d_model)

    @property
    def limit(self) -> int:
        """The number of positions in the table."""
        return self.embeddings.num_embeddings - self.offset

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, None]:
        """Add the table's rows for the position ids to the embeddings.

        Raises:
            ValueError: a position is beyond the table. Compiled code does not check this.
        """
        # position_bound also counts padding: if it exceeds the limit, the largest position id decides
        may_exceed = position_bound is None or position_bound > self.limit
        if may_exceed and not is_compiling() and int(position_ids.max()) >= self.limit:
            raise ValueError(
                f"A sequence needs {int(position_ids.max()) + 1} positions, but the learned table has {self.limit}: "
                "shorten the sequence (or give smaller position_ids), or choose a larger max_position_embeddings "
                "before training."
            )
        return hidden_states + self.embeddings(position_ids + self.offset), None
