# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Computes the norms of the two vectors that are added at the input of a stack: token embedding and position vector."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from .positions import position_table
from .recording import Recording


@dataclass(frozen=True, eq=False)
class InputNorms:
    """The Euclidean norms of the vectors that are added at the input of a stack.

    Args:
        name: the name of the picture: `encoder_input` or `decoder_input`; in a model with one stack, `input`.
        tokens: the tokens or patches that the stack reads.
        embeddings: the norm of the embedding of each token, times the factor by which the model scales embeddings.
        positions: the norm of the position vector of each token; None if no position vectors were found.
    """

    name: str
    tokens: list[str]
    embeddings: np.ndarray
    positions: np.ndarray | None

    @property
    def title(self) -> str:
        """The heading of the picture."""
        return f"Norms at the {self.name.replace('_', ' ')}"

    @property
    def caption(self) -> str:
        """One or two sentences that explain the bars."""
        first = "The Euclidean norm of the embedding of each token, times the model's scale of embeddings"
        if self.positions is None:
            return f"{first}. No position vectors were found that the model adds to the embeddings."
        return f"{first} (first bar), and of the vector of its position (second bar): the two vectors are added."


@torch.no_grad()
def input_norms(model: PreTrainedModel, recording: Recording) -> list[InputNorms]:
    """Compute the norms of embeddings and position vectors at the input of each stack, for the tokens of a recording.

    The embedding of a patch is the projection of its pixels; tokens without a patch, such as a class token, are left
    out.
    """
    whole: Any = model
    if not recording.decoder_tokens:
        stacks = (module for module in model.modules() if isinstance(module, PreTrainedModel))
        stack = next((part for part in stacks if hasattr(part, "embed_scale") or hasattr(part, "embed_patches")), model)
        return [_norms("input", stack, recording)]
    ids = recording.decoder_ids
    decoder = _norms_of_tokens("decoder_input", whole.get_decoder(), recording.decoder_tokens, ids)
    return [_norms("encoder_input", whole.get_encoder(), recording), decoder]


def _norms(name: str, stack: Any, recording: Recording) -> InputNorms:
    source = recording.source
    if source.patches is None:
        return _norms_of_tokens(name, stack, source.tokens, source.ids)
    count = math.prod(source.patches)
    embed = getattr(stack, "embed_patches", None) or stack.get_input_embeddings()
    pixel_values: Any = recording.pixel_values
    embedded = embed(pixel_values.to(next(embed.parameters()).dtype))
    if embedded.ndim == 4:  # the output of a convolution, as in CLIP: (1, width, rows, columns)
        embedded = embedded.flatten(2).transpose(1, 2)
    vectors = _array(embedded)[0, -count:]
    table = position_table(stack, len(source.tokens), source.patches)
    positions = None if table is None or len(table) < count else np.linalg.norm(table[-count:], axis=-1)
    return InputNorms(name, source.tokens[-count:], np.linalg.norm(vectors, axis=-1), positions)


def _norms_of_tokens(name: str, stack: Any, tokens: list[str], ids: list[int]) -> InputNorms:
    embed = stack.get_input_embeddings()
    # an embedding module with an attribute `embed_scale` has already multiplied its output by this scale
    scale = 1.0 if hasattr(embed, "embed_scale") else getattr(stack, "embed_scale", 1.0)
    vectors = _array(embed(torch.tensor(ids, device=embed.weight.device))) * scale
    table = position_table(stack, len(ids))
    positions = None if table is None else np.linalg.norm(table[: len(ids)], axis=-1)
    return InputNorms(name, tokens, np.linalg.norm(vectors, axis=-1), positions)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
