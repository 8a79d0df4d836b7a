# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Fixed sines and cosines added to the embeddings (Vaswani et al. 2017, section 3.5)."""

import torch

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import PositionEncoding


def sinusoidal_table(length: int, width: int, layout: str = "interleaved") -> torch.Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i/width)), PE(pos, 2i+1) = cos of the same angle.

    Args:
        length: number of positions.
        width: number of columns; may be odd.
        layout: `interleaved`, the paper's: sin, cos, sin, cos, …; `concatenated`: all sines, then all cosines
            (tensor2tensor, Marian).

    Returns:
        `(length, width)` in float32, from angles in float64: far positions stay exact.
    """
    exponents = torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width
    positions = torch.arange(length, dtype=torch.float64, device="cpu")
    angles = torch.outer(positions, 10000.0**-exponents)
    if layout == "concatenated":
        table = torch.cat([angles.sin(), angles.cos()], dim=-1)
    else:
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return table[:, :width].float()


class SinusoidalEncoding(PositionEncoding):
    """The table is computed once, reused, and grown when a longer sequence comes: there is no last position.

    Args:
        config: uses `d_model`, `max_position_embeddings` (rows to begin with) and the option `layout`.
        place: encoder or decoder.
    """

    table: torch.Tensor

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__(config, place)
        self.layout = config.position_options("sinusoidal")["layout"]
        self.rows = config.max_position_embeddings
        self.register_fixed()

    def fixed(self) -> dict[str, torch.Tensor]:
        """The table, `(rows, d_model)`."""
        return {"table": sinusoidal_table(self.rows, self.config.d_model, self.layout)}

    def embed(self, hidden_states: torch.Tensor, position_ids: torch.Tensor, length: int) -> torch.Tensor:
        """Embeddings plus the rows of their positions."""
        if length > self.rows:
            self.rows = max(length, 2 * self.rows)
            self.table = self.fixed()["table"].to(self.table.device)
        return hidden_states + self.table[position_ids].to(hidden_states)
