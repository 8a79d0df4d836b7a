# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Transformer layer, one class for encoder and decoder, with its norms, dropout and feed-forward sublayer."""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from locant.configuration.configuration_locant import LocantConfig, Stack

from .attention import CrossAttention, SelfAttention
from .attention_inputs import AttentionInputs
from .cache_names import takes_cache_as
from .linear import is_plain_on_cpu, project
from .positions.base import PositionLayer


class TransformerLayer(GradientCheckpointingLayer):
    """A layer of self-attention, cross-attention (in the decoder of an encoder–decoder) and feed-forward network.

    The norm of each sublayer is after the residual sum (`norm_position="post"`, Vaswani et al. 2017, section 3.1) or
    before the sublayer (`"pre"`, Xiong et al. 2020, table 1).

    Args:
        config: the model's configuration.
        stack: `encoder` or `decoder`.
        layer_idx: the layer's index in the stack, and in the cache.
        position: the part of the position encoding that the layer's self-attention owns.
        cross_position: the part of the position encoding that the layer's cross-attention owns; None without
            cross-attention.
    """

    def __init__(
        self,
        config: LocantConfig,
        stack: Stack,
        layer_idx: int,
        position: PositionLayer,
        cross_position: PositionLayer | None = None,
    ):
        super().__init__()
        self.is_pre_norm = config.norm_position == "pre"
        window = config.window_of(config.layer_types_of(stack)[layer_idx])
        self.self_attn = SelfAttention(config, stack, layer_idx, position, sliding_window=window)
        self.self_attn_residual = NormAndDropout(config)
        self.cross_attn: CrossAttention | None = None
        if cross_position is not None:
            self.cross_attn = CrossAttention(config, layer_idx, cross_position)
            self.cross_attn_residual = NormAndDropout(config)
        self.ffn = FeedForward(config, getattr(config, f"{stack}_ffn_dim"))
        self.ffn_residual = NormAndDropout(config)

    @takes_cache_as("past_key_values")
    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        *,
        self_inputs: AttentionInputs,
        cross_inputs: AttentionInputs | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Transform hidden states `(batch, length, d_model)`; tokens that `self_inputs.tokens` leaves out become 0.

        `hidden_states` and `encoder_hidden_states` are positional arguments, because gradient checkpointing with
        `use_reentrant=True` gives gradients to positional arguments only.
        """
        hidden_states = self_inputs.tokens.gather(hidden_states)
        norm, dropout = self.self_attn_residual.norm, self.self_attn_residual.dropout
        if self.is_pre_norm:
            output, _ = self.self_attn(norm(hidden_states), self_inputs, past_key_values, **kwargs)
            hidden_states = hidden_states + dropout(output)
        else:
            output, _ = self.self_attn(hidden_states, self_inputs, past_key_values, **kwargs)
            hidden_states = norm(hidden_states + dropout(output))

        if self.cross_attn is not None and encoder_hidden_states is not None and cross_inputs is not None:
            norm, dropout = self.cross_attn_residual.norm, self.cross_attn_residual.dropout
            if self.is_pre_norm:
                output, _ = self.cross_attn(
                    norm(hidden_states), encoder_hidden_states, cross_inputs, past_key_values, **kwargs
                )
                hidden_states = hidden_states + dropout(output)
            else:
                output, _ = self.cross_attn(
                    hidden_states, encoder_hidden_states, cross_inputs, past_key_values, **kwargs
                )
                hidden_states = norm(hidden_states + dropout(output))

        norm, dropout = self.ffn_residual.norm, self.ffn_residual.dropout
        if self.is_pre_norm:
            hidden_states = hidden_states + dropout(self.ffn(norm(hidden_states)))
        else:
            hidden_states = norm(hidden_states + dropout(self.ffn(hidden_states)))
        return self_inputs.tokens.scatter(hidden_states)


class NormAndDropout(nn.Module):
    """Holds the norm and the dropout of one sublayer; `TransformerLayer.forward` calls them."""

    def __init__(self, config: LocantConfig):
        super().__init__()
        self.norm = build_norm(config)
        self.dropout = Dropout(config.dropout)


class Dropout(nn.Dropout):
    """`nn.Dropout` that takes less time on a CPU, because it draws only 16 random bits for each element.

    The script benchmarks/dropout.py measures the time. The probability is rounded to a multiple of 2⁻¹⁶, and kept
    elements are divided by the rounded probability of being kept, so the expected value of the output is the input, up
    to the rounding of the dtype. `nn.Dropout` itself is used in compiled and traced code, in transforms of torch.func,
    with a dispatch mode of torch, on other devices, for subclasses of tensors, with `inplace=True`, and for
    probabilities that are rounded to 0 or 1.
    """

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """In training mode, set each element of `states` to 0 with probability p, else divide it by 1 - p.

        Here p is `self.p`, rounded to a multiple of 2⁻¹⁶ unless the method of `nn.Dropout` is called. In evaluation
        mode, return `states` unchanged.
        """
        dropped = round(self.p * 2**16)  # how many of the 2¹⁶ values of 16 random bits drop an element
        if not self.training or self.inplace or not 0 < dropped < 2**16 or not is_plain_on_cpu(states):
            return super().forward(states)
        draws = torch.empty(-(-states.numel() // 4), dtype=torch.int64, device=states.device)
        draws.random_(-(2**63), None)  # all 64 bits are random; without arguments, the sign bit would be 0
        bits = draws.view(torch.int16)[: states.numel()].view(states.shape)
        kept = (bits >= dropped - 2**15).to(states.dtype)  # the lowest value of int16 is -2¹⁵
        return states * kept.mul_(2**16 / (2**16 - dropped))


_NORMS = {"layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm}


def build_norm(config: LocantConfig) -> nn.Module:
    """Build a LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019) over the last dimension."""
    return _NORMS[config.norm_type](config.d_model, eps=config.norm_eps)


class FeedForward(nn.Module):
    """The feed-forward network W_down · dropout(f(W_up · x)) (Vaswani et al. 2017, equation 2).

    With `config.gated_ffn`, it is W_down · dropout(f(W_gate · x) * (W_up · x)) (Shazeer 2020, section 2).

    Args:
        config: gives `d_model`, `activation_function`, `activation_dropout`, `ffn_bias` and `gated_ffn`.
        inner_dim: the inner width of the network, d_ff in the paper.
    """

    tensor_parallel_plan: ClassVar[dict[str, str]] = {
        "up_proj": "colwise",
        "gate_proj": "colwise",
        "down_proj": "rowwise",
    }

    def __init__(self, config: LocantConfig, inner_dim: int):
        super().__init__()
        self.up_proj = nn.Linear(config.d_model, inner_dim, bias=config.ffn_bias)
        self.down_proj = nn.Linear(inner_dim, config.d_model, bias=config.ffn_bias)
        self.gate_proj = nn.Linear(config.d_model, inner_dim, bias=config.ffn_bias) if config.gated_ffn else None
        self.activation = ACT2FN[config.activation_function]
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Apply the network to each token of `(…, d_model)` separately; the shape stays the same."""
        if self.gate_proj is None:
            inner = self.activation(project(self.up_proj, hidden_states))
        else:
            inner = self.activation(project(self.gate_proj, hidden_states)) * project(self.up_proj, hidden_states)
        return project(self.down_proj, self.dropout(inner))
