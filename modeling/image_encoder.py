# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The encoder of images, and the embedding of patches."""

import math
from typing import Any, ClassVar, cast

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.output_capturing import capture_outputs

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .stack_inputs import StackInputs, check_tensors
from .stacks import ENCODERS, LocantStack, refuse_input

_OF_OTHERS = (
    *("input_ids", "inputs_embeds", "attention_mask", "position_ids", "token_type_ids", "document_ids"),
    "bool_masked_pos",  # an argument of transformers' ViT for masked image modelling
)


class LocantImageEncoder(LocantStack):
    """The encoder of images: every patch sees all patches, or the patches in its window."""

    # pretrained.py chooses the backend by these kinds
    attention_kinds: ClassVar[tuple[AttentionKind, ...]] = ("encoder",)

    def __init__(self, config: LocantConfig):
        super().__init__(config, "encoder")
        self.post_init()

    def add_embeddings(self, config: LocantConfig) -> None:
        """Add the embedding of patches."""
        self.embed_patches = PatchEmbedding(config)

    def get_input_embeddings(self) -> nn.Module:
        """The linear layer that projects flattened patches."""
        return self.embed_patches.projection

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the linear layer that projects flattened patches."""
        self.embed_patches.projection = value  # type: ignore[assignment]  # an adapter may be of another class

    @capture_outputs
    def forward(
        self, pixel_values: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutput:
        """Encode images.

        Args:
            pixel_values: `(batch, channels, height, width)`; height and width are multiples of the patch size.

        Returns:
            `last_hidden_state`, `(batch, tokens, d_model)`: the class token if there is one, then the patches row by
            row.

        Raises:
            ValueError: `pixel_values` is missing or has another shape; an argument is given that only other encoders
                take.
            TypeError: `pixel_values` is not a tensor.
        """
        cast(Any, kwargs).pop("use_cache", None)  # an encoder has no cache
        for name in _OF_OTHERS:
            refuse_input(name, kwargs, "an encoder of images, which takes pixel_values only: leave it out")
        if pixel_values is None:
            raise ValueError("An encoder of images needs pixel_values: give a tensor (batch, channels, height, width).")
        grid = self.embed_patches.grid(pixel_values)
        hidden_states = self.embed_patches(pixel_values)
        positions = self.embed_patches.positions(grid, hidden_states.device)
        inputs = StackInputs(hidden_states, None, None, positions, grid)
        return BaseModelOutput(last_hidden_state=self.run_layers(inputs, **kwargs))


ENCODERS["patches"] = LocantImageEncoder


class PatchEmbedding(nn.Module):
    """Projects flattened patches linearly, and puts a class token before them if the config has one.

    This is equation 1 of Dosovitskiy et al. (2021).

    Args:
        config: gives `d_model`, `num_channels`, `patch_size`, `image_size`, `pooling` and `initializer_range`.
    """

    def __init__(self, config: LocantConfig):
        super().__init__()
        self.patch_shape, self.num_channels = config.patch_shape, config.num_channels
        self.trained_grid = config.patch_grid
        self.projection = nn.Linear(config.num_channels * math.prod(self.patch_shape), config.d_model)
        self.class_token = nn.Parameter(torch.zeros(config.d_model)) if config.has_class_token else None
        self.class_token_std = config.initializer_range

    def init_weights(self) -> None:
        """Initialise the class token, if any. The projection is initialised like every other linear layer."""
        if self.class_token is not None:
            init.normal_(self.class_token, std=self.class_token_std)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed images `(batch, channels, height, width)` as `(batch, tokens, d_model)`.

        The tokens are the class token, if there is one, and then the patches row by row.

        Raises:
            ValueError: the shape is not `(batch, config.num_channels, height, width)`, or the patch size does not
                divide height and width.
            TypeError: `pixel_values` is not a tensor.
        """
        rows, columns = self.grid(pixel_values)
        height, width = self.patch_shape
        # shape of the patches: (batch, channels, rows, height, columns, width)
        patches = pixel_values.unflatten(2, (rows, height)).unflatten(4, (columns, width))
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        # convert to the dtype of the bias, as the weight may be quantised
        hidden_states = self.projection(patches.to(self.projection.bias.dtype))
        if self.class_token is None:
            return hidden_states
        return torch.cat([self.class_token.expand(hidden_states.shape[0], 1, -1), hidden_states], dim=1)

    def grid(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        """The numbers of rows and columns of patches in images `(batch, channels, height, width)`.

        Raises:
            ValueError, TypeError: as in `forward`.
        """
        check_tensors(pixel_values=pixel_values)
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.num_channels:
            raise ValueError(
                f"pixel_values have the shape {tuple(pixel_values.shape)}, but must be (batch, {self.num_channels}, "
                f"height, width): prepare images with the model's image processor."
            )
        sides, patch = pixel_values.shape[2:], self.patch_shape
        if sides[0] % patch[0] or sides[1] % patch[1]:
            raise ValueError(
                f"An image of {sides[0]} × {sides[1]} pixels has no whole number of {patch[0]} × {patch[1]} patches: "
                f"resize it."
            )
        return sides[0] // patch[0], sides[1] // patch[1]

    def positions(self, grid: tuple[int, int], device: torch.device) -> torch.Tensor:
        """Return the row and column of each token, `(1, tokens, 2)`, in the grid that the model was trained on.

        Rows and columns are counted from 0 in the grid of patches of an image of the config's `image_size`. For an
        image of another size, row and column tell where the centre of a patch is in this grid after the image is scaled
        to `image_size`, and may be fractions. The class token has row 0 and column 0.
        """
        dtype = torch.float32 if device.type == "mps" else torch.float64
        axes = [
            (torch.arange(own, dtype=dtype, device=device) + 0.5) * (trained / own) - 0.5
            for own, trained in zip(grid, self.trained_grid, strict=True)
        ]
        positions = torch.cartesian_prod(*axes)
        if self.class_token is not None:
            positions = torch.cat([torch.zeros_like(positions[:1]), positions])
        return positions.unsqueeze(0)
