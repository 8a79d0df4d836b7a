# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What all Locant models have in common: configuration, initialisation, what they support."""

from typing import Any, get_args

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import Place

from .attention_backends import can_serve, check_backend
from .layers import TransformerLayer
from .positions.base import PositionEncoding, PositionLayer
from .positions.registry import position_encoding_class


class LocantPreTrainedModel(PreTrainedModel):
    """Base class of all Locant models."""

    config_class = LocantConfig
    config: LocantConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = [TransformerLayer.__name__]  # noqa: RUF012 (the base class's own declaration)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (PositionEncoding, PositionLayer)):
            module.init_weights()
        elif self.config.initializer == "normal":
            super()._init_weights(module)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
        else:
            super()._init_weights(module)

    def _check_and_adjust_attn_implementation(self, attn_implementation: str | None, *args: Any, **kwargs: Any) -> str:
        """The backend to use: refused where it cannot serve an encoding, and one that can where none is asked for."""
        layers = {
            self.config.position_encoding_at(place): position_encoding_class(self.config, place).layer_class(
                self.config
            )
            for place in get_args(Place)
        }
        backend = super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs)
        if attn_implementation is None and not all(can_serve(backend, layer) for layer in layers.values()):
            return "blockwise"
        for name, layer in layers.items():
            check_backend(backend, layer, f"the position encoding {name!r}")
        return backend

    def _resize_token_embeddings(
        self, new_num_tokens: int, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        # transformers resizes one table; a decoder that has its own must follow
        decoder = getattr(self.base_model, "decoder", None)
        if decoder is not None and not self.config.share_encoder_decoder_embeddings:
            decoder.embed_tokens = self._get_resized_embeddings(
                decoder.embed_tokens, new_num_tokens, pad_to_multiple_of, mean_resizing
            )
        return super()._resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """A smallest batch, for tools that trace the model."""
        ids = torch.tensor([[5, 6, 7, 2], [5, 6, 2, 0]], device=self.device) % self.config.vocab_size
        return {"input_ids": ids, "attention_mask": ids.ne(0).long(), "decoder_input_ids": ids}
