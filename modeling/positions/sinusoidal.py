# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Fixed sines and cosines added to the embeddings (Vaswani et al. 2017, section 3.5)."""

from typing import Any

import torch

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .base import PositionEncoding, register_built_in


def sinusoids(positions: torch.Tensor, width: int, layout: str = "interleaved") -> torch.Tensor:
    """Compute PE(pos, 2i) = sin(pos / 10000^(2i/width)) and PE(pos, 2i+1) = cos of the same angle.

    Args:
        positions: `(length,)`, possibly fractional; the computation uses their dtype.
        width: the number of columns; may be odd.
        layout: `interleaved`, the layout of the paper, in which sines and cosines alternate; or `concatenated`, all
            sines, then all cosines (tensor2tensor, Marian).

    Returns:
        `(length, width)` in float32. If `positions` is float64, the values of large positions are accurate too.
    """
    exponents = torch.arange(0, width, 2, dtype=positions.dtype, device=positions.device) / width
    angles = torch.outer(positions, 10000.0**-exponents)
    if layout == "concatenated":
        table = torch.cat([angles.sin(), angles.cos()], dim=-1)
    else:
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return table[:, :width].float()


def sinusoidal_table(length: int, width: int, layout: str = "interleaved") -> torch.Tensor:
    """Compute `sinusoids` of the positions 0 to `length` - 1, `(length, width)`."""
    return sinusoids(torch.arange(length, dtype=torch.float64, device="cpu"), width, layout)


class SinusoidalGridEncoding(PositionEncoding):
    """Adds sinusoids to patches: half of the width is for the row, half for the column (He et al. 2022, MAE).

    Args:
        config: gives the option `layout`.
        kind: `encoder`.
    """

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        self.layout = config.position_options("sinusoidal")["layout"]

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, None]:
        """Add the sinusoids of rows and columns to the embeddings; `position_ids` is `(1, length, 2)`."""
        width = hidden_states.shape[-1] // 2
        axes = position_ids[0].unbind(-1)
        table = torch.cat([sinusoids(positions, width, self.layout) for positions in axes], dim=-1)
        return hidden_states + table.to(hidden_states), None


_INITIAL_ELEMENTS = 2**22  # the largest number of elements of a table before it is extended


@register_built_in("sinusoidal")
class SinusoidalEncoding(PositionEncoding):
    """Adds sinusoids from a table to the embeddings; the table is extended for longer sequences, without a limit.

    Args:
        config: gives `d_model`, `max_position_embeddings` (the number of rows at first, up to a table of 16 MiB) and
            the option `layout`.
        kind: `encoder` or `decoder`.
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
        """Return the table of sinusoidal vectors, `(rows, d_model)`."""
        return {"table": sinusoidal_table(self.rows, self.config.d_model, self.layout)}

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: int
    ) -> tuple[torch.Tensor, None]:
        """Add the rows of the table for the position ids to the embeddings.

        If the bound of the positions is beyond the table, first extend the table.
        """
        table = self.table  # another thread may replace it
        if position_bound > table.shape[0]:
            rows = max(position_bound, 2 * table.shape[0])
            table = sinusoidal_table(rows, self.config.d_model, self.layout).to(table.device)
            self.table, self.rows = table, rows
        return hidden_states + table[position_ids].to(hidden_states), None
