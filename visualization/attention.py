# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Makes heatmaps of the attention weights of a recording, with tokens or patches on the axes."""

import math

import numpy as np

from .heatmaps import Heatmaps, numbered
from .recording import CROSS, DECODER, ENCODER, SELF, Recording

_TITLES = {
    ENCODER: "Encoder self-attention",
    CROSS: "Cross-attention",
    DECODER: "Decoder self-attention",
    SELF: "Self-attention",
}

_OF_TOKENS = "A row is the token that attends, a column the token to which it attends; a row sums to 1."
_OF_PREDICTIONS = (
    "A row is the target token that is predicted, a column the source token to which the decoder attends when it "
    "predicts the target token; a row sums to 1."
)
_OF_PATCHES = "The attention to each patch of the image, relative to the patch with the largest attention."


def attention_heatmaps(recording: Recording) -> list[Heatmaps]:
    """Make the heatmaps of each kind of attention, with a matrix for each layer and head.

    A row is a query, and a column is a key. In cross-attention, the label of a row is the token that the query
    predicts; in the decoder's self-attention, the label is the token that the decoder reads.
    """
    return [_heatmaps(kind, weights, recording) for kind, weights in recording.attention.items()]


def _heatmaps(kind: str, weights: np.ndarray, recording: Recording) -> Heatmaps:
    """Make the heatmaps of one kind of attention, from its weights `(layers, heads, queries, keys)`."""
    queries = keys = recording.source.tokens
    caption, patches = _OF_TOKENS, recording.source.patches
    if kind == DECODER:
        queries = keys = recording.decoder_tokens
        patches = None
    elif kind == CROSS:
        assert recording.target is not None
        queries, caption = recording.target.tokens, _OF_PREDICTIONS
    if patches is not None:
        caption = _OF_PATCHES
        if kind != CROSS:
            caption += " A click on a patch shows the attention from this patch."
    return Heatmaps(
        name=kind,
        title=_TITLES[kind],
        caption=caption,
        values=weights.astype(np.float32),
        row_labels=queries,
        column_labels=keys,
        grid_row_labels=numbered("layer", weights.shape[0]),
        grid_column_labels=numbered("head", weights.shape[1]),
        are_weights=True,
        patches=patches,
        columns_before_patches=0 if patches is None else len(keys) - math.prod(patches),
    )
