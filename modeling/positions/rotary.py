# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Rotary encoding: queries and keys are rotated by angles that grow with position (Su et al. 2021, RoFormer, eq. 34).

The position of a patch is a row and a column: half of the rotated pairs depend on the row, the other half on the
column, each with the frequencies of a head of half the size (Heo et al. 2024, RoPE-ViT, section 3.2, axial).
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .base import PositionBias, PositionEncoding, PositionInputs, PositionLayer, register_built_in

CosSin = tuple[torch.Tensor, torch.Tensor]


def cos_sin_of_entries(angles: torch.Tensor, pairing: str = "halves") -> CosSin:
    """Compute the factors by which `rotate` multiplies each entry of a head (cosine) and its partner in a pair (sine).

    Args:
        angles: the rotation angle of each pair, `(…, R / 2)`; R is the number of entries of a head that are rotated.
        pairing: as in `rotate`.

    Returns:
        Two tensors `(…, R)`; the sine is negated at the first entry of each pair.
    """
    cos, sin = angles.cos(), angles.sin()
    if pairing == "interleaved":
        return torch.stack((cos, cos), dim=-1).flatten(-2), torch.stack((-sin, sin), dim=-1).flatten(-2)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, pairing: str = "halves") -> torch.Tensor:
    """Rotate pairs of the first R entries of each head; the other entries stay unchanged.

    Args:
        states: `(batch, heads, length, head_dim)`.
        cos, sin: `(batch or 1, 1, length, R)`, made by `cos_sin_of_entries`; R is at most `head_dim`.
        pairing: `halves` pairs entry k with entry k + R/2 (GPT-NeoX, Llama), `interleaved` pairs entry 2k with entry
            2k + 1 (RoFormer, GPT-J).
    """
    width = cos.shape[-1]
    if width < states.shape[-1]:
        return torch.cat((rotate(states[..., :width], cos, sin, pairing), states[..., width:]), dim=-1)
    if pairing == "interleaved":
        partners = states.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    else:
        partners = states.roll(width // 2, -1)
    return states * cos + partners * sin


class RotaryLayer(PositionLayer):
    """Rotates queries and keys of a layer by the angles that `RotaryEncoding` computed; it has no parameters.

    Args:
        pairing: which entries of a head make a pair, as in `rotate`.
    """

    def __init__(self, pairing: str = "halves"):
        super().__init__()
        self.pairing = pairing

    def forward(
        self, query: torch.Tensor, key: torch.Tensor | None, inputs: PositionInputs
    ) -> tuple[torch.Tensor, torch.Tensor | None, PositionBias | None]:
        """Rotate queries and keys by the angles of their positions; there is no bias."""
        cos, sin = inputs.query_tensors
        query = rotate(query, cos, sin, self.pairing)
        if key is not None:
            cos, sin = inputs.key_tensors
            key = rotate(key, cos, sin, self.pairing)
        return query, key, None


@register_built_in("rotary")
class RotaryEncoding(PositionEncoding):
    """Computes rotation angles with the rope type of transformers that `config.rope_parameters` names.

    Args:
        config: the config of the model, with the fields `rope_parameters` and `max_position_embeddings`, the size of a
            head and the option `pairing`.
        kind: `encoder`, `decoder`, or `cross`; in cross-attention, queries are rotated by target positions, and keys by
            source positions.
    """

    inv_freq: torch.Tensor
    original_inv_freq: torch.Tensor

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        # `dynamic_rope_update` of transformers reads or sets the attributes `config`, `attention_scaling`, and those
        # whose names begin with `rope_type`, `max_seq_len`, `original`, `inv_freq` or `long_inv_freq`
        self.config = copy.copy(config)
        self.config.head_dim = config.head_dim_at(kind) // config.axes_at(kind)
        assert self.config.rope_parameters is not None  # the config has filled in the defaults
        self.rope_parameters = self.config.rope_parameters
        self.rope_type = self.rope_parameters["rope_type"]
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        self.attention_scaling = self._frequencies()[1]
        self.pairing: str = config.position_options("rotary")["pairing"]
        self.register_computed_buffers()

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "PositionEncoding":
        super()._apply(fn, recurse)
        self.max_seq_len_cached = self.original_max_seq_len  # the base class has computed the frequencies anew
        return self

    def _frequencies(self) -> tuple[torch.Tensor, float]:
        """Return the inverse frequencies of one axis, and the factor by which cosines and sines are multiplied.

        An axis is a coordinate of a position: a token has one axis, an image patch has two, row and column. Each axis
        rotates an equal share of a head, `self.config.head_dim` entries or a part of them; the axes have the same
        frequencies. If R entries of a head are rotated in all, the frequencies are `(R / 2,)` with one axis, and
        `(R / 4,)` with two.
        """
        if self.rope_type != "default":
            with torch.device("cpu"):  # these functions create some tensors on the default device
                try:
                    return ROPE_INIT_FUNCTIONS[self.rope_type](self.config, torch.device("cpu"))
                except RuntimeError as error:  # raised for a list of factors of the wrong length
                    raise ValueError(
                        f"rope_parameters do not fit heads of size {self.config.head_dim} ({error}): give a factor for "
                        "each rotated pair of entries."
                    ) from error
        rotated = int(self.config.head_dim * self.rope_parameters.get("partial_rotary_factor", 1.0))
        exponents = torch.arange(0, rotated, 2, dtype=torch.float32, device="cpu") / rotated
        return 1.0 / self.rope_parameters["rope_theta"] ** exponents, 1.0

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        """Return the inverse frequencies of the rotations, and a copy of them.

        Some rope types replace the inverse frequencies for long sequences, and restore them from the copy for short
        sequences.
        """
        frequencies, _ = self._frequencies()
        return {"inv_freq": frequencies, "original_inv_freq": frequencies.clone()}

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, CosSin]:
        """Return the embeddings unchanged, and cosines and sines for all positions.

        Cosines and sines are `(batch or 1, 1, length, R)` each; R is the number of entries of a head that are rotated.
        """
        return hidden_states, self._cos_sin(hidden_states, position_ids)

    @torch.no_grad()
    @dynamic_rope_update
    def _cos_sin(self, x: torch.Tensor, position_ids: torch.Tensor) -> CosSin:
        axes = position_ids if position_ids.ndim == 3 else position_ids.unsqueeze(-1)
        angles = (axes[:, None, :, :, None].float() * self.inv_freq).flatten(-2)
        cos, sin = cos_sin_of_entries(angles, self.pairing)
        return (cos * self.attention_scaling).to(x.dtype), (sin * self.attention_scaling).to(x.dtype)

    def build_layer(self, layer_idx: int) -> RotaryLayer:
        """Build a layer that rotates queries and keys; all layers are the same."""
        return RotaryLayer(self.pairing)
