# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""ViT (Dosovitskiy et al. 2021): pre-norm image encoders with a class token and learned positions."""

import math
from collections.abc import Collection
from typing import Any, ClassVar

from transformers import PreTrainedConfig
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from locant.configuration.configuration_locant import LocantConfig
from locant.tokenization.image_processing_locant import LocantImageProcessor

from .bert import Bert
from .family import Entry, Family, linear, reshape, under

_LAYER = [
    *linear("layernorm_before", "self_attn_residual.norm"),
    *linear("attention.q_proj", "self_attn.q_proj"),
    *linear("attention.k_proj", "self_attn.k_proj"),
    *linear("attention.v_proj", "self_attn.v_proj"),
    *linear("attention.o_proj", "self_attn.o_proj"),
    *linear("layernorm_after", "ffn_residual.norm"),
    *linear("mlp.fc1", "ffn.up_proj"),
    *linear("mlp.fc2", "ffn.down_proj"),
]


class ViT(Family):
    """Converts `ViTModel`, with or without pooler, and `ViTForImageClassification` to Locant's models and back."""

    name = "ViT"
    model_type = "vit"
    architectures: ClassVar = {
        "ViTModel": "LocantEncoderModel",
        "ViTForImageClassification": "LocantForImageClassification",
    }
    fields = Bert.fields
    free = frozenset({"encoder_stride"})

    def to_locant(self, theirs: Any, names: Collection[str]) -> dict[str, Any]:
        """Convert the fields of a ViT config to fields of the Locant config; the classifier of ViT has no dropout."""
        return {
            "encoder_input": "patches",
            "attention_bias": True,
            "norm_type": "layernorm",
            "norm_position": "pre",
            "classifier_dropout": 0.0,
            "pooling": "first",
            "pooler_projection": any(name.endswith("pooler.dense.weight") for name in names),
            "position_encoding": "learned",
            "initializer": "normal",
        }

    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """Return the table of weights of a ViT model, as a list of entries."""
        channels, width, patch, places = ours.num_channels, ours.d_model, ours.patch_shape, math.prod(ours.patch_grid)
        convolution = reshape((width, channels, *patch), (width, channels * math.prod(patch)))
        body = [
            Entry("embeddings.cls_token", "encoder.embed_patches.class_token", reshape((1, 1, width), (width,))),
            Entry(
                "embeddings.patch_embeddings.projection.weight", "encoder.embed_patches.projection.weight", convolution
            ),
            Entry("embeddings.patch_embeddings.projection.bias", "encoder.embed_patches.projection.bias"),
            Entry(
                "embeddings.position_embeddings",
                "encoder.position.embeddings.weight",
                reshape((1, 1 + places, width), (1 + places, width)),
            ),
            *linear("layernorm", "encoder.final_norm"),
        ]
        for idx in range(ours.encoder_layers):
            body += under(f"layers.{idx}.", f"encoder.layers.{idx}.", _LAYER)
        if architecture == "ViTModel":
            return body + (linear("pooler.dense", "pooler.projection.0") if ours.pooler_projection else [])
        return [*under("vit.", "model.", body), *linear("classifier", "classifier")]

    def convert_processor(self, processor: Any, to_locant: bool) -> Any:
        """Convert Locant's image processor to an image processor of ViT, in the conversion from Locant to ViT.

        Both image processors compute the same pixel values, but ViT's cannot convert colour images to grey. Other
        processors, and all processors in the conversion to Locant, are returned unchanged.
        """
        if to_locant or not isinstance(processor, LocantImageProcessor):
            return processor
        options = processor.to_dict()
        is_coloured = options.pop("num_channels") == 3
        for name in ("image_processor_type", "auto_map"):
            options.pop(name, None)
        return ViTImageProcessorPil(**{**options, "do_convert_rgb": is_coloured and processor.do_convert_rgb})
