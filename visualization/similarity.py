# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Computes the similarity of the contextual vectors of words in two sentences."""

import numpy as np

from .heatmaps import Heatmaps
from .recording import Recording
from .sequences import membership


def similarity_heatmaps(one: Recording, other: Recording) -> Heatmaps:
    """Compute the cosine between each word of one sentence and each word of another sentence.

    The vector of a word is the mean of the hidden states of its tokens. The embeddings, and the output of each layer,
    have a matrix of cosines each.

    Args:
        one, other: recordings of the same model on the two sentences.
    """
    vectors = [_unit_word_vectors(recording) for recording in (one, other)]
    cosines = vectors[0] @ vectors[1].transpose(0, 2, 1)
    layers = len(cosines) - 1
    return Heatmaps(
        name="similarity",
        title="Similarity of words in two sentences",
        caption="The cosine between the hidden states of a word of the first sentence (row) and a word of the second "
        "sentence (column), after each layer; a word of several tokens has the mean of their hidden states.",
        values=cosines[:, None].astype(np.float32),
        row_labels=one.source.words,
        column_labels=other.source.words,
        grid_row_labels=["embeddings", *(f"layer {layer}" for layer in range(1, layers + 1))],
        grid_column_labels=[""],
    )


def _unit_word_vectors(recording: Recording) -> np.ndarray:
    """Return a vector for each word, `(layers + 1, words, width)`: of norm 1, or zeros if the word has no tokens."""
    sums = membership(recording.source) @ recording.hidden_states  # the cosine is the same for sums and means
    norms = np.linalg.norm(sums, axis=-1, keepdims=True)
    return np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0)
