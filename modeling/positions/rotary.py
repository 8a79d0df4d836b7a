# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Queries and keys turned by an angle that grows with position (Su et al. 2021, RoFormer, equation 34).

Patches have two positions, row and column: half of the turned pairs follow the one, half the other, each with the
frequencies of a head of half the size (Heo et al. 2024, RoPE-ViT, section 3.2, axial).
"""

import copy

import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .base import PositionEncoding, PositionLayer
from .registry import built_in

CosSin = tuple[torch.Tensor, torch.Tensor]


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, pairing: str = "halves") -> torch.Tensor:
    """Turn pairs of the first R entries of each head; the rest of a head stays.

    Args:
        states: `(batch, heads, length, head_dim)`.
        cos, sin: `(batch or 1, 1, length, R / 2)`, the angle of each pair; R is at most `head_dim`.
        pairing: `halves` pairs k with k + R/2 (GPT-NeoX, Llama), `interleaved` 2k with 2k + 1 (RoFormer, GPT-J).
    """
    turned, still = states.split([2 * cos.shape[-1], states.shape[-1] - 2 * cos.shape[-1]], dim=-1)
    if pairing == "interleaved":
        first, second = turned[..., 0::2], turned[..., 1::2]
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1).flatten(-2)
    else:
        first, second = turned.chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return torch.cat((turned, still), dim=-1) if still.shape[-1] else turned


class RotaryLayer(PositionLayer):
    """Has no parameters: every layer turns by the same angles.

    Args:
        pairing: which entries of a head make a pair, as in `rotate`.
    """

    def __init__(self, pairing: str = "halves"):
        super().__init__()
        self.pairing = pairing

    def query(self, query: torch.Tensor, prepared: CosSin) -> torch.Tensor:
        """Turn the queries by the prepared angles."""
        if prepared is None:
            raise ValueError("Rotary attention needs Positions, with what RotaryEncoding.prepare returns.")
        return rotate(query, *prepared, self.pairing)

    def key(self, key: torch.Tensor, prepared: CosSin) -> torch.Tensor:
        """Turn the keys by the prepared angles."""
        return rotate(key, *prepared, self.pairing)


@built_in("rotary")
class RotaryEncoding(PositionEncoding):
    """Angles from transformers' rope types, by `config.rope_parameters`.

    Args:
        config: uses `rope_parameters`, `max_position_embeddings`, the head size and the option `pairing`.
        place: encoder, decoder, or cross-attention, where each side turns by its own positions.
    """

    inv_freq: torch.Tensor
    original_inv_freq: torch.Tensor

    def __init__(self, config: LocantConfig, place: Place = "encoder"):
        super().__init__(config, place)
        # the names from here on are those that `dynamic_rope_update` expects
        self.config = copy.copy(config)
        self.config.head_dim = config.head_dim_at(place) // config.axes_at(place)
        assert self.config.rope_parameters is not None  # LocantConfig has completed them
        self.rope_parameters = self.config.rope_parameters
        self.rope_type = self.rope_parameters["rope_type"]
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        self.attention_scaling = self._frequencies()[1]
        self.register_fixed()

    def _frequencies(self) -> tuple[torch.Tensor, float]:
        """Inverse frequencies of one axis, `(R / 2,)` or `(R / 4,)` of two, and the factor on cosine and sine."""
        if self.rope_type != "default":
            with torch.device("cpu"):  # they make tensors before they look at the device that they are given
                try:
                    return ROPE_INIT_FUNCTIONS[self.rope_type](self.config, torch.device("cpu"))
                except RuntimeError as error:  # a list of factors that is too long or too short
                    raise ValueError(f"rope_parameters do not fit heads of {self.config.head_dim}: {error}.") from error
        rotated = int(self.config.head_dim * self.rope_parameters.get("partial_rotary_factor", 1.0))
        exponents = torch.arange(0, rotated, 2, dtype=torch.float32, device="cpu") / rotated
        return 1.0 / self.rope_parameters["rope_theta"] ** exponents, 1.0

    def fixed(self) -> dict[str, torch.Tensor]:
        """The frequencies, and once more for the rope types that change them with the length."""
        frequencies, _ = self._frequencies()
        return {"inv_freq": frequencies, "original_inv_freq": frequencies.clone()}

    def prepare(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> CosSin:
        """Cosines and sines of all positions, each `(batch or 1, 1, length, R / 2)`."""
        return self._cos_sin(hidden_states, position_ids)

    @torch.no_grad()
    @dynamic_rope_update
    def _cos_sin(self, x: torch.Tensor, position_ids: torch.Tensor) -> CosSin:
        axes = position_ids if position_ids.ndim == 3 else position_ids.unsqueeze(-1)
        angles = (axes[:, None, :, :, None].float() * self.inv_freq).flatten(-2)
        cos, sin = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        return cos.to(x.dtype), sin.to(x.dtype)

    @classmethod
    def build_layer(cls, config: LocantConfig, place: Place, layer_idx: int) -> PositionLayer:
        """The same turn in every layer."""
        return RotaryLayer(config.position_options("rotary")["pairing"])
