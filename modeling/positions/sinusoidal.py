# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Fixed sines and cosines added to the embeddings (Vaswani et al. 2017, section 3.5)."""

import torch

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import PositionEncoding
from .registry import built_in


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


_FIRST_NUMBERS = 2**22  # of a table to begin with, whatever the config says


@built_in("sinusoidal")
class SinusoidalEncoding(PositionEncoding):
    """The table is computed once, reused, and grown when a longer sequence comes: there is no last position.

    Args:
        config: uses `d_model`, `max_position_embeddings` (rows to begin with, up to some megabytes of them) and the
            option `layout`.
        place: encoder or decoder.
    """

    table: torch.Tensor

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__(config, place)
        self.layout = config.position_options("sinusoidal")["layout"]
        self.rows = min(config.max_position_embeddings, max(_FIRST_NUMBERS // config.d_model, 1))
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


@built_in("sinusoidal", on_grid=True)
class SinusoidalGridEncoding(PositionEncoding):
    """For patches: half of the width for the row, half for the column (He et al. 2022, MAE).

    Args:
        config: uses `d_model`, the grid of patches and the option `layout`.
        place: the encoder.
    """

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__(config, place)
        self.layout = config.position_options("sinusoidal")["layout"]

    def embed(self, hidden_states: torch.Tensor, position_ids: torch.Tensor, length: int) -> torch.Tensor:
        """Embeddings plus the sinusoids of their rows and columns; `position_ids` is `(1, length, 2)`."""
        width = hidden_states.shape[-1] // 2
        axes = position_ids[0].unbind(-1)
        table = torch.cat([sinusoids(positions, width, self.layout) for positions in axes], dim=-1)
        return hidden_states + table.to(hidden_states)
