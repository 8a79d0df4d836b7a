# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Fixed sines and cosines added to the embeddings (Vaswani et al. 2017, section 3.5)."""

from typing import Any

import torch

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .base import PositionEncoding, register_built_in


def sinusoids(positions: torch.Tensor, width: int, layout: str = "interleaved") -> torch.Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i/width)), PE(pos, 2i+1) = cos of the same angle.

    Args:
        positions: `(length,)`, whole or not, of the type to compute in.
        width: number of columns; may be odd.
        layout: `interleaved`, the paper's: sin, cos, sin, cos, …; `concatenated`: all sines, then all cosines
            (tensor2tensor, Marian).

    Returns:
        `(length, width)` in float32; from positions in float64, far ones stay exact.
    """
    exponents = torch.arange(0, width, 2, dtype=positions.dtype, device=positions.device) / width
    angles = torch.outer(positions, 10000.0**-exponents)
    if layout == "concatenated":
        table = torch.cat([angles.sin(), angles.cos()], dim=-1)
    else:
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return table[:, :width].float()


def sinusoidal_table(length: int, width: int, layout: str = "interleaved") -> torch.Tensor:
    """`sinusoids` of the positions 0 to `length` - 1."""
    return sinusoids(torch.arange(length, dtype=torch.float64, device="cpu"), width, layout)


class SinusoidalGridEncoding(PositionEncoding):
    """For patches: half of the width for the row, half for the column (He et al. 2022, MAE).

    Args:
        config: uses `d_model`, the grid of patches and the option `layout`.
        kind: the encoder.
    """

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        self.layout = config.position_options("sinusoidal")["layout"]

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, None]:
        """Embeddings plus the sinusoids of their rows and columns; `position_ids` is `(1, length, 2)`."""
        width = hidden_states.shape[-1] // 2
        axes = position_ids[0].unbind(-1)
        table = torch.cat([sinusoids(positions, width, self.layout) for positions in axes], dim=-1)
        return hidden_states + table.to(hidden_states), None


_INITIAL_ELEMENTS = 2**22  # at most, of a table before it grows


@register_built_in("sinusoidal")
class SinusoidalEncoding(PositionEncoding):
    """A table that is computed once and grows when a longer sequence comes: there is no last position.

    Args:
        config: uses `d_model`, `max_position_embeddings` (the number of rows at first, up to a table of 16 MiB) and the
            option `layout`.
        kind: encoder or decoder.
    """

    grid_class = SinusoidalGridEncoding
    needs_position_bound = True
    table: torch.Tensor

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        self.layout = config.position_options("sinusoidal")["layout"]
        self.rows = min(config.max_position_embeddings, max(_INITIAL_ELEMENTS // config.d_model, 1))
        self.register_computed_buffers()

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        """The table, `(rows, d_model)`."""
        return {"table": sinusoidal_table(self.rows, self.config.d_model, self.layout)}

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: int
    ) -> tuple[torch.Tensor, None]:
        """Embeddings plus the rows of their positions."""
        if position_bound > self.rows:
            self.rows = max(position_bound, 2 * self.rows)
            self.table = self.computed_buffers()["table"].to(self.table.device)
        return hidden_states + self.table[position_ids].to(hidden_states), None
