# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A trained vector for each position, added to the embeddings (Gehring et al. 2017)."""

from typing import Any

import torch
from torch import nn
from torch.compiler import is_compiling

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import PositionEncoding
from .registry import built_in


@built_in("learned")
class LearnedEncoding(PositionEncoding):
    """A table of `max_position_embeddings` rows, which is where it ends.

    Args:
        config: uses `d_model`, `max_position_embeddings` and the option `offset`: how many rows stand before that of
            position 0 (BART has 2, whose first stood for padding once).
        place: encoder or decoder.
    """

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__(config, place)
        self.offset = config.position_options("learned")["offset"]
        self.embeddings = nn.Embedding(config.max_position_embeddings + self.offset, config.d_model)

    @property
    def limit(self) -> int:
        """The positions of the table."""
        return self.embeddings.num_embeddings - self.offset

    def embed(self, hidden_states: torch.Tensor, position_ids: torch.Tensor, length: int) -> torch.Tensor:
        """Embeddings plus the rows of their positions.

        Raises:
            ValueError: a position lies beyond the table.
        """
        limit = self.limit
        # `length` counts padding too: only where it is too large are the positions themselves looked at
        if length > limit and not is_compiling() and int(position_ids.max()) >= limit:
            raise ValueError(
                f"A sequence of {int(position_ids.max()) + 1} tokens is longer than the learned table of "
                f"{limit} positions: shorten it, or choose a larger max_position_embeddings before training."
            )
        return hidden_states + self.embeddings(position_ids + self.offset)


@built_in("learned", on_grid=True)
class LearnedGridEncoding(PositionEncoding):
    """For patches: a vector for each place of the grid trained on, and one for the class token if there is one.

    For images of another size the grid is stretched, bicubically (Dosovitskiy et al. 2021, ViT, section 3.2).

    Args:
        config: uses `d_model`, the grid of patches, and whether there is a class token.
        place: the encoder.
    """

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__(config, place)
        self.grid, self.before = config.patch_grid, int(config.has_class_token)
        self.embeddings = nn.Embedding(self.before + self.grid[0] * self.grid[1], config.d_model)

    def embed(self, hidden_states: torch.Tensor, position_ids: torch.Tensor, length: Any) -> torch.Tensor:
        """Embeddings plus their places; `length` is the image's own rows and columns of patches."""
        # by a call, which loads a table that is offloaded
        table = self.embeddings(torch.arange(self.embeddings.num_embeddings, device=hidden_states.device))
        if length != self.grid:
            grid = table[self.before :].view(1, *self.grid, -1).permute(0, 3, 1, 2)
            stretched = nn.functional.interpolate(grid, size=length, mode="bicubic", align_corners=False)
            table = torch.cat([table[: self.before], stretched.flatten(2).transpose(1, 2)[0]])
        return hidden_states + table
