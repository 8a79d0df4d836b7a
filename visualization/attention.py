# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The attention weights of a recording as heatmaps, with tokens or patches on the axes."""

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


def attention_heatmaps(recording: Recording) -> list[Heatmaps]:
    """The attention weights of each kind of attention, layer and head: a row is a query, a column a key.

    The queries of cross-attention have the names of the tokens that they predict, and those of the decoder's
    self-attention the names of the tokens that they read.
    """
    source = recording.source
    found = []
    for kind, weights in recording.attention.items():
        queries = keys = source.tokens
        reader = "token" if source.patches is None else "patch"
        caption = f"A row is the {reader} that attends, a column the {reader} to which it attends; a row sums to 1."
        if kind == CROSS:
            assert recording.target is not None
            queries = recording.target.tokens
            caption = (
                "A row is the target token that is predicted, a column the source token or patch to which the decoder "
                "attends when it predicts that token; a row sums to 1."
            )
        elif kind == DECODER:
            queries = keys = recording.decoder_tokens
        patches = None if kind == DECODER else source.patches
        found.append(
            Heatmaps(
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
        )
    return found
