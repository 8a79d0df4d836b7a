# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A trained vector for each position, added to the embeddings (Gehring et al. 2017)."""

import torch
from torch import nn
from torch.compiler import is_compiling

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import PositionEncoding


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
