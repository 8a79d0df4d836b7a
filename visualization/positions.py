# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Makes pictures of position encodings: vectors by position, bias by distance, vectors by distance, and rotary angles.

In a Locant model, encodings that add vectors to the embeddings, or the same bias by distance in all layers, are called
through their interface (`locant.modeling.positions.base`), so an encoding of this kind that a user has written is drawn
too. The encodings of Shaw et al. and of Transformer-XL are found by the classes of their layers. Rotary frequencies are
found by the name of an attribute, and so are tables of positions and T5's bias in other models of transformers.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from locant.modeling.attention import Attention
from locant.modeling.positions.base import DistanceBias, PositionEncoding, PositionInputs, SlotIndex
from locant.modeling.positions.shaw import ShawLayer
from locant.modeling.positions.transformer_xl import TransformerXLLayer

from .heatmaps import Heatmaps, numbered
from .sequences import image_sequence

MIN_POSITIONS = 64
"""The number of positions that are drawn for a shorter sequence: fewer would not show how an encoding behaves."""

TABLE, BIAS, VECTORS, ANGLES = "vectors by position", "bias by distance", "vectors by distance", "rotary angles"
_CAPTIONS = {
    TABLE: "The vector that is added to the embedding at each position: a row is a position, a column a dimension.",
    BIAS: "The bias that is added to the attention scores before the softmax: a row is a head, a column the distance, "
    "which is the position of the key minus the position of the query.",
    VECTORS: "The vector that is added to the keys at each distance: a row is a distance, a column a dimension of the "
    "head.",
    ANGLES: "The angle, in radians from −π to π, by which a pair of entries of queries and keys is rotated: a row is a "
    "position, a column a pair.",
}
_TABLE_NAMES = ("wpe", "embed_positions", "position_embedding", "position_embeddings")


class _Picture(NamedTuple):
    """A picture of the position encoding in one module.

    Args:
        kind: a key of `_CAPTIONS`.
        values: the values of the picture, `(rows, columns)`.
        first: the position or distance of the first row, or of the first column if the columns are distances.
        may_be_patches: whether the rows may be the patches of an image.
    """

    kind: str
    values: np.ndarray
    first: int = 0
    may_be_patches: bool = False


@torch.no_grad()
def position_heatmaps(model: PreTrainedModel, length: int, patches: tuple[int, int] | None = None) -> list[Heatmaps]:
    """Make the pictures of all position encodings of a model. Stacks with equal encodings share a picture.

    Args:
        model: a Locant model, or another model of transformers.
        length: the number of positions to draw, which is raised to `MIN_POSITIONS` if it is smaller. If an encoding has
            a table with fewer positions, all positions of the table are drawn.
        patches: the numbers of rows and columns of the image patches that the encoder reads; None if it reads text.

    Returns:
        Heatmaps whose grid has a row for each layer, or one row if all layers have the same values.
    """
    by_place: dict[tuple[str, str], list[_Picture]] = defaultdict(list)  # (module name, kind) -> one picture per layer
    for name, module in model.named_modules():
        for picture in _pictures(name, module, max(length, MIN_POSITIONS), patches):
            by_place[re.sub(r"\.\d+\.", ".*.", name), picture.kind].append(picture)
    found: list[tuple[str, _Picture, np.ndarray]] = []
    for (name, kind), layers in by_place.items():
        same_in_all = all(np.array_equal(layers[0].values, layer.values) for layer in layers)
        values = np.stack([layer.values for layer in (layers[:1] if same_in_all else layers)])
        for i, (names, other, known) in enumerate(found):
            if other.kind == kind and np.array_equal(known, values):
                found[i] = (f"{names}, {name}", other, known)
                break
        else:
            found.append((name, layers[0], values))
    return [_heatmaps(number, *entry, patches) for number, entry in enumerate(found, start=1)]


@torch.no_grad()
def position_table(stack: nn.Module, length: int, patches: tuple[int, int] | None = None) -> np.ndarray | None:
    """Return the vectors `(positions, width)` that a stack adds to its embeddings at the first `length` positions.

    Returns None if no such vectors are found. `patches` are the numbers of rows and columns of the image patches that
    the stack reads, or None.
    """
    pictures = (entry for name, module in stack.named_modules() for entry in _pictures(name, module, length, patches))
    return next((entry.values for entry in pictures if entry.kind == TABLE), None)


def _pictures(name: str, module: Any, length: int, patches: tuple[int, int] | None) -> Iterator[_Picture]:
    """Yield the pictures of the position encoding in one module; most modules have none."""
    frequencies = getattr(module, "inv_freq", None)
    if isinstance(frequencies, torch.Tensor):
        if isinstance(module, PositionEncoding) and module.kind == "encoder" and patches is not None:
            yield _Picture(ANGLES, _patch_angles(frequencies, patches), may_be_patches=True)
        else:
            yield _Picture(ANGLES, rotary_angles(frequencies, length))
    elif isinstance(module, PositionEncoding):
        if (table := added_vectors(module, length, patches)) is not None:
            yield _Picture(TABLE, table)
        elif (bias := _shared_bias(module, length)) is not None:
            yield _bias_picture(bias, module.kind == "decoder")
    elif isinstance(module, Attention) and isinstance(module.position, ShawLayer):
        yield _Picture(VECTORS, _array(module.position.keys), first=-module.position.max_distance)
    elif isinstance(module, Attention) and isinstance(module.position, TransformerXLLayer):
        heads, width = module.position.position_bias.shape
        # with queries of zeros, the bias (q + v) (W R)ᵀ / √d is v (W R)ᵀ / √d, which depends on head and distance alone
        queries = module.position.position_bias.new_zeros(1, heads, length, width)
        _, _, bias = module.position(queries, None, PositionInputs(SlotIndex(length, length)))
        yield _bias_picture(bias.matrix(1, heads, queries.device)[0], module.is_causal)
    elif hasattr(module, "relative_attention_bias") and hasattr(module, "compute_bias"):  # T5 of transformers
        yield _bias_picture(module.compute_bias(length, length)[0], module.is_decoder)
    elif name.rpartition(".")[2] in _TABLE_NAMES and isinstance(module, nn.Embedding):
        # position 0 is the row `offset` of the table in BART, and the row after the row of the padding in RoBERTa
        offset = getattr(module, "offset", 0 if module.padding_idx is None else module.padding_idx + 1)
        yield _Picture(TABLE, _array(module.weight[offset : offset + length]))
    elif isinstance(table := getattr(module, "position_embeddings", None), nn.Parameter) and table.ndim == 3:
        yield _Picture(TABLE, _array(table[0]))  # ViT of transformers


def added_vectors(encoding: PositionEncoding, length: int, patches: tuple[int, int] | None = None) -> np.ndarray | None:
    """Return the vectors `(positions, d_model)` that an encoding of Locant adds to the embeddings; None if all are 0.

    Args:
        encoding: the position encoding of a stack.
        length: the number of vectors, except for an encoder that reads patches; fewer are returned if the table of the
            encoding has fewer positions.
        patches: the numbers of rows and columns of the image patches that the encoder reads; None if it reads text. For
            an encoder that reads patches, the result is the vector of the class token, if the table of the encoding has
            one, and the vectors of the patches.
    """
    device = _device(encoding)
    nothing = torch.zeros(1, 1, encoding.config.d_model, device=device)
    if encoding.kind == "encoder" and patches is not None:
        rows, columns = (torch.arange(side, dtype=torch.float32, device=device) for side in patches)
        added, _ = encoding(nothing, torch.cartesian_prod(rows, columns)[None], patches)
    else:
        length = min(length, encoding.limit or length)
        added, _ = encoding(nothing, torch.arange(length, device=device)[None], length)
    return _array(added[0]) if added.any() else None


def _shared_bias(encoding: PositionEncoding, length: int) -> torch.Tensor | None:
    """Return the bias by distance, `(heads, length, length)`, that all layers share; None if they share none."""
    device = _device(encoding)
    positions = torch.arange(length, device=device)[None]
    _, tensors = encoding(torch.zeros(1, length, encoding.config.d_model, device=device), positions, length)
    bias = encoding.shared_bias(tensors, SlotIndex(length, length))
    if not isinstance(bias, DistanceBias):
        return None
    return bias.matrix(1, encoding.config.heads_at(encoding.kind), device)[0]


def _bias_picture(matrix: torch.Tensor, is_causal: bool) -> _Picture:
    """Make the picture of a bias `(heads, length, length)` that depends on head and distance alone.

    The distances are from 1 − length to 0 if queries attend to no later keys (`is_causal`), else to length − 1.
    """
    earlier, later = matrix[:, -1], matrix[:, 0, 1:]
    values = earlier if is_causal else torch.cat([earlier, later], dim=-1)
    return _Picture(BIAS, _array(values), first=1 - matrix.shape[-1])


def rotary_angles(frequencies: torch.Tensor, length: int) -> np.ndarray:
    """Return the rotary angles `(length, frequencies)`, in radians from −π to π.

    An angle is the position times the frequency (Su et al. 2021, equation 15).
    """
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies.cpu().double())
    return _array(torch.remainder(angles + math.pi, 2 * math.pi) - math.pi)


def _patch_angles(frequencies: torch.Tensor, patches: tuple[int, int]) -> np.ndarray:
    """Return an array with a row for each patch: first the angles by the patch's row, then the angles by its column."""
    axes = [rotary_angles(frequencies, side) for side in patches]
    return np.concatenate([axes[0].repeat(patches[1], axis=0), np.tile(axes[1], (patches[0], 1))], axis=1)


def _heatmaps(
    number: int, name: str, picture: _Picture, values: np.ndarray, patches: tuple[int, int] | None
) -> Heatmaps:
    """Make the heatmaps of one position encoding.

    Args:
        number: the number of the encoding in the model, counted from 1.
        name: the names of the modules that have the encoding.
        picture: the picture of the first layer.
        values: the values of all layers, `(layers, rows, columns)`.
        patches: the numbers of rows and columns of the image patches that the encoder reads; None if it reads text.
    """
    layers, rows, columns = values.shape
    row_labels, column_labels = list(map(str, range(rows))), list(map(str, range(columns)))
    if picture.kind == BIAS:
        row_labels = numbered("head", rows)
        column_labels = [str(picture.first + column) for column in range(columns)]
    elif picture.kind == VECTORS:
        row_labels = [str(picture.first + row) for row in range(rows)]
    elif (
        (picture.kind == TABLE or picture.may_be_patches)
        and patches is not None
        and "decoder" not in name
        and rows - math.prod(patches) in (0, 1)
    ):
        row_labels = image_sequence(patches, rows).tokens
    stacks = [stack for stack in ("encoder", "decoder", "cross") if stack in name]
    return Heatmaps(
        name=f"position_{number}",
        title=f"Position encoding: {picture.kind}" + (f" ({', '.join(stacks)})" if stacks else ""),
        caption=f"{_CAPTIONS[picture.kind]} Modules: {name}.",
        values=values[:, None],
        row_labels=row_labels,
        column_labels=column_labels,
        grid_row_labels=["all layers"] if layers == 1 else numbered("layer", layers),
        grid_column_labels=[""],
    )


def _device(module: nn.Module) -> torch.device:
    return next((tensor.device for tensor in [*module.parameters(), *module.buffers()]), torch.device("cpu"))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
