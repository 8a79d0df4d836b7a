# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Aligns the words of sentences with the words of their translations, by the cross-attention of a translator.

Each target word is linked to the source word to which the decoder attends most when it predicts the tokens of the
target word. With a second translator, from the target language to the source language, the links of both directions
are symmetrised.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from locant.training.errors import InputError
from locant.utils.errors import first_line

from .alignment import Alignment, grow_diag_final_and, strongest_links, word_attention
from .recording import CROSS, Recording, decoder_ids, eager_attention
from .sequences import Sequence, read_text


class Translator(NamedTuple):
    """A translator and its tokenizer."""

    model: PreTrainedModel
    tokenizer: Any


def align(
    translator: Translator,
    sources: list[str],
    targets: list[str],
    *,
    layer: int | None = None,
    reverse: Translator | None = None,
    batch_size: int = 32,
    show_progress: bool = True,
) -> list[Alignment]:
    """Align the words of each source with the words of its target, in batches of pairs of similar length.

    Args:
        translator: the translator from the language of the sources to the language of the targets.
        sources, targets: the texts; a pair with a blank text has no links.
        layer: the decoder layer, counted from 1, whose cross-attention is used, with the mean over its heads; None for
            the mean over all layers and heads.
        reverse: a translator from the language of the targets to the language of the sources; the links of both
            directions are then symmetrised by grow-diag-final-and.
        batch_size: the number of pairs that are computed at a time.
        show_progress: whether to draw a progress bar.

    Raises:
        InputError: the decoder has no layer `layer`, a model returns no cross-attention, or a text is too long.
    """
    with tqdm(total=len(sources) * (1 + (reverse is not None)), desc="aligning", disable=not show_progress) as progress:
        forward = _weights(translator, sources, targets, layer, batch_size, progress)
        backward = None if reverse is None else _weights(reverse, targets, sources, layer, batch_size, progress)
    return [
        _alignment(source.split(), target.split(), forward[i], None if backward is None else backward[i])
        for i, (source, target) in enumerate(zip(sources, targets, strict=True))
    ]


def align_recording(recording: Recording, layer: int | None = None, reverse: Recording | None = None) -> Alignment:
    """Align the words of the source with the words of the target in the recording of a translator, as `align` does.

    Args:
        recording: the recording of the translator on the source and the target.
        layer: the decoder layer, counted from 1; None for the mean over all layers.
        reverse: the recording of a translator from the target language to the source language, whose source is the
            target of `recording`; None if the links are not symmetrised.

    Raises:
        InputError: the decoder has no layer `layer`.
    """

    def weights(recorded: Recording) -> np.ndarray:
        assert recorded.target is not None
        attention = _chosen(recorded.attention[CROSS], layer).mean(axis=(0, 1))
        return word_attention(attention, recorded.target, recorded.source)

    assert recording.target is not None
    words = recording.source.words, recording.target.words
    return _alignment(*words, weights(recording), None if reverse is None else weights(reverse))


def describe_alignment(layer: int | None, *, is_symmetrised: bool) -> str:
    """Return the caption of an alignment for the page: sentences that say how the alignment was made."""
    layers = "the mean over all layers and heads" if layer is None else f"the mean over the heads of layer {layer}"
    rule = "Framed: the source word to which each target word attends most"
    if is_symmetrised:
        rule = "Framed: the links of both directions, symmetrised by grow-diag-final-and"
    return f"The cross-attention of each target word (row) to each source word (column), {layers}. {rule}."


def _alignment(source: list[str], target: list[str], weights: np.ndarray, backward: np.ndarray | None) -> Alignment:
    """Link the words of a source with the words of its target.

    Args:
        source, target: the words of both texts.
        weights: the attention `(target words, source words)` of the translator.
        backward: the attention `(source words, target words)` of a translator from the target language to the source
            language; None if the links are not symmetrised.
    """
    links = strongest_links(weights)
    if backward is not None:
        links = grow_diag_final_and(links, frozenset((i, j) for j, i in strongest_links(backward)))
    return Alignment(source, target, weights, links)


def _weights(
    translator: Translator, sources: list[str], targets: list[str], layer: int | None, batch_size: int, progress: Any
) -> list[np.ndarray]:
    """Return the attention `(target words, source words)` of each pair of a source and a target."""
    model, tokenizer = translator
    pairs = [
        (read_text(tokenizer, source), read_text(tokenizer, target, is_target=True))
        for source, target in zip(sources, targets, strict=True)
    ]
    weights: list[np.ndarray] = [np.zeros((len(target.words), len(source.words))) for source, target in pairs]
    filled = [i for i, (source, target) in enumerate(pairs) if source.words and target.words]
    order = sorted(filled, key=lambda i: -len(pairs[i][0].ids) - len(pairs[i][1].ids))
    progress.update(len(pairs) - len(filled))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        for i, attention in zip(batch, _cross_attention(model, [pairs[i] for i in batch], layer), strict=True):
            source, target = pairs[i]
            weights[i] = word_attention(attention[: len(target.ids), : len(source.ids)], target, source)
        progress.update(len(batch))
    return weights


@torch.no_grad()
def _cross_attention(model: Any, pairs: list[tuple[Sequence, Sequence]], layer: int | None) -> np.ndarray:
    """Compute the cross-attention `(pairs, longest target, longest source)` of a batch of pairs.

    The cross-attention is the mean over the heads of `layer`, or over the heads of all layers if `layer` is None.
    """
    sources = [torch.tensor(source.ids) for source, _ in pairs]
    read = [torch.tensor(decoder_ids(model, target.ids)) for _, target in pairs]
    padding = model.config.pad_token_id or 0
    with eager_attention(model.eval()):
        try:
            outputs = model(
                input_ids=pad_sequence(sources, batch_first=True, padding_value=padding).to(model.device),
                attention_mask=pad_sequence(list(map(torch.ones_like, sources)), batch_first=True).to(model.device),
                decoder_input_ids=pad_sequence(read, batch_first=True, padding_value=padding).to(model.device),
                output_attentions=True,
                return_dict=True,
            )
        # a text is longer than the table of positions: Locant raises ValueError, other models index beyond the table
        except (IndexError, RuntimeError, ValueError) as error:
            raise InputError(f"A pair of texts cannot be aligned: {first_line(error)}.") from error
    if not outputs.get("cross_attentions"):
        raise InputError(f"{type(model).__name__} returns no cross-attention: give an encoder–decoder.")
    layers = np.stack([layer_weights.float().cpu().numpy() for layer_weights in outputs["cross_attentions"]])
    return _chosen(layers, layer).mean(axis=(0, 2))


def _chosen(attention: np.ndarray, layer: int | None) -> np.ndarray:
    """Select one layer, or all layers if `layer` is None, in the first dimension of `attention`."""
    if layer is None:
        return attention
    if not 1 <= layer <= len(attention):
        raise InputError(f"There is no layer {layer}: the layers of the decoder are 1 to {len(attention)}.")
    return attention[layer - 1 : layer]
