# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Queries and keys turned by an angle that grows with position (Su et al. 2021, RoFormer, equation 34)."""

import copy
from collections.abc import Callable

import torch
from transformers import initialization as init
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

from locant.configuration.configuration_locant import LocantConfig

from .base import PositionEncoding, PositionLayer, Stack

CosSin = tuple[torch.Tensor, torch.Tensor]


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (k, k + R/2) of the first R entries of each head; the rest of a head stays.

    Args:
        states: `(batch, heads, length, head_dim)`.
        cos, sin: `(batch or 1, 1, length, R)`, R even and at most `head_dim`.
    """
    turned, still = states.split([cos.shape[-1], states.shape[-1] - cos.shape[-1]], dim=-1)
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
    return torch.cat((turned, still), dim=-1) if still.shape[-1] else turned


class RotaryLayer(PositionLayer):
    """Has no parameters: every layer turns by the same angles."""

    def query(self, query: torch.Tensor, prepared: CosSin) -> torch.Tensor:
        """Turn the queries by the prepared angles."""
        return rotate(query, *prepared)

    def key(self, key: torch.Tensor, prepared: CosSin) -> torch.Tensor:
        """Turn the keys by the prepared angles."""
        return rotate(key, *prepared)


class RotaryEncoding(PositionEncoding):
    """Angles from transformers' rope types, by `config.rope_parameters`.

    Args:
        config: uses `rope_parameters`, `max_position_embeddings` and the head size of the stack.
        stack: encoder or decoder.
    """

    inv_freq: torch.Tensor
    original_inv_freq: torch.Tensor

    def __init__(self, config: LocantConfig, stack: Stack = "encoder"):
        super().__init__(config, stack)
        # the names from here on are those that `dynamic_rope_update` expects
        self.config = copy.copy(config)
        self.config.head_dim = config.head_dim_of(stack)
        assert self.config.rope_parameters is not None  # LocantConfig has completed them
        self.rope_parameters = self.config.rope_parameters
        self.rope_type = self.rope_parameters["rope_type"]
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        frequencies, self.attention_scaling = self._frequencies()
        self.register_buffer("inv_freq", frequencies, persistent=False)
        self.register_buffer("original_inv_freq", frequencies.clone(), persistent=False)

    def _frequencies(self) -> tuple[torch.Tensor, float]:
        """Inverse frequencies `(R / 2,)`, and the factor on cosine and sine."""
        if self.rope_type != "default":
            with torch.device("cpu"):  # they make tensors before they look at the device that they are given
                return ROPE_INIT_FUNCTIONS[self.rope_type](self.config, torch.device("cpu"))
        rotated = int(self.config.head_dim * self.rope_parameters.get("partial_rotary_factor", 1.0))
        exponents = torch.arange(0, rotated, 2, dtype=torch.float32, device="cpu") / rotated
        return 1.0 / self.rope_parameters["rope_theta"] ** exponents, 1.0

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "RotaryEncoding":
        """Move to a device, but keep float32: rounded frequencies would turn far positions by another angle."""
        super()._apply(fn, recurse)
        if self.inv_freq.dtype != torch.float32 and not self.inv_freq.is_meta:
            frequencies = self._frequencies()[0].to(self.inv_freq.device)
            self.inv_freq, self.original_inv_freq = frequencies, frequencies.clone()
        return self

    def prepare(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> CosSin:
        """Cosines and sines of all positions, each `(batch or 1, 1, length, R)`."""
        return self._cos_sin(hidden_states, position_ids)

    @torch.no_grad()
    @dynamic_rope_update
    def _cos_sin(self, x: torch.Tensor, position_ids: torch.Tensor) -> CosSin:
        angles = position_ids[:, None, :, None].float() * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        return cos.to(x.dtype), sin.to(x.dtype)

    def layer(self, layer_idx: int) -> PositionLayer:
        """The same turn in every layer."""
        return RotaryLayer()

    def init_weights(self) -> None:
        """Fill the frequencies, which are not saved."""
        frequencies, _ = self._frequencies()
        init.copy_(self.inv_freq, frequencies)
        init.copy_(self.original_inv_freq, frequencies)
