# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Records the attention weights and the hidden states of a model on a text or an image."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from locant.training.errors import InputError
from locant.training.inference import translate
from locant.utils.errors import first_line

from .sequences import Sequence, image_sequence, read_text

ENCODER, DECODER, CROSS, SELF = "encoder_attention", "decoder_attention", "cross_attention", "self_attention"


@dataclass(frozen=True, eq=False)
class Recording:
    """The attention weights and the hidden states of one forward pass.

    The recording of a model with one stack, such as BERT, GPT-2 or ViT, has a `source` and no `target`. In an
    encoder–decoder, the decoder reads `decoder_tokens`: the start token and the target without its last token. The
    query of the decoder at `decoder_tokens[i]` predicts `target.tokens[i]`.

    Args:
        source: the tokens or the patches that the encoder or the only stack reads.
        target: the tokens of the target, with the end-of-sentence token; None in a model with one stack.
        decoder_tokens, decoder_ids: the tokens that the decoder reads, and their ids; empty in a model with one stack.
        attention: a dict from the kind of attention to its weights `(layers, heads, queries, keys)`, in float32. The
            kinds are `encoder_attention`, `decoder_attention` and `cross_attention`; in a model with one stack, the
            only kind is `self_attention`.
        hidden_states: the hidden states `(layers + 1, tokens, width)` of the encoder or the only stack, in float32,
            from the embeddings to the output of the last layer; empty if the model does not return them.
        pixel_values: the image as the model reads it, `(1, channels, height, width)`; None for a text.
        pixels: the same image from 0 to 1, with the normalisation undone, `(height, width, channels)`; None for a text.
    """

    source: Sequence
    target: Sequence | None
    decoder_tokens: list[str]
    decoder_ids: list[int]
    attention: dict[str, np.ndarray]
    hidden_states: np.ndarray
    pixel_values: torch.Tensor | None = None
    pixels: np.ndarray | None = None


@torch.no_grad()
def record(
    model: PreTrainedModel,
    tokenizer: Any = None,
    text: str | None = None,
    target: str | None = None,
    *,
    image: Any = None,
    image_processor: Any = None,
) -> Recording:
    """Run a forward pass with `output_attentions=True` and the attention implementation `eager`, and record it.

    Args:
        model: any model of transformers that returns attention weights.
        tokenizer: the tokenizer of the model; None if the model reads an image and writes no text.
        text: the input text: of the encoder, or of the single stack of a model that is no encoder–decoder.
        target: the target text of an encoder–decoder; None for the text that the model generates.
        image: an image for `image_processor`, instead of a text.
        image_processor: the image processor of the model, if it reads images.

    Raises:
        InputError: there is neither an image nor a text that is not blank, the model does not take the given inputs, or
            the model returns no attention weights.
    """
    model.eval()
    is_encoder_decoder = bool(model.config.is_encoder_decoder)
    if target is not None and not is_encoder_decoder:
        raise InputError(
            f"A target is given, but {type(model).__name__} is no encoder–decoder: put the text and the "
            "target into one text."
        )
    if tokenizer is None and (text is not None if image is None else is_encoder_decoder):
        raise InputError(f"{type(model).__name__} is given as an object without its tokenizer: give tokenizer.")
    if image is not None and image_processor is None:
        raise InputError(
            f"{type(model).__name__} is given as an object without its image processor: give image_processor."
        )
    pixels, source, inputs = None, None, {}
    if image is not None:
        inputs["pixel_values"] = image_processor(images=image, return_tensors="pt")["pixel_values"].to(model.device)
        pixels = _shown(inputs["pixel_values"][0], image_processor)
    elif text is not None and text.strip():
        source = read_text(tokenizer, text)
        inputs["input_ids"] = torch.tensor([source.ids], device=model.device)
    else:
        raise InputError("There is nothing to read: give a text that is not blank, or an image to a model for images.")

    found_target, decoder_tokens, read_ids = None, [], []
    if is_encoder_decoder:
        if target is None:
            target = _generated(model, tokenizer, text, inputs)
        found_target = read_text(tokenizer, target, is_target=True)
        read_ids = decoder_ids(model, found_target.ids)
        inputs["decoder_input_ids"] = torch.tensor([read_ids], device=model.device)
        decoder_tokens = [tokenizer.convert_ids_to_tokens(read_ids[0]), *found_target.tokens[:-1]]

    with eager_attention(model):
        outputs = _outputs(model, inputs)
    attention = _attention(model, outputs, is_encoder_decoder)
    if source is None:
        length = attention[ENCODER if is_encoder_decoder else SELF].shape[-1]
        source = image_sequence(_patch_grid(model.config, inputs["pixel_values"], length), length)
    states = outputs.get("encoder_hidden_states") if is_encoder_decoder else outputs.get("hidden_states")
    hidden_states = np.stack([_array(layer[0]) for layer in states]) if states else np.zeros((0, 0, 0), np.float32)
    pixel_values = inputs.get("pixel_values")
    return Recording(source, found_target, decoder_tokens, read_ids, attention, hidden_states, pixel_values, pixels)


@contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """Use the attention implementation `eager` in the `with` block, because `sdpa` and others return no weights."""
    implementation = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
        yield
    finally:
        model.set_attn_implementation(implementation)


def _outputs(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> Any:
    try:
        return model(**inputs, output_attentions=True, output_hidden_states=True, return_dict=True)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{type(model).__name__} cannot be run on the given input ({first_line(error)}): a model that reads text "
            "needs a text with at most as many tokens as the model has positions, and a model that reads images needs "
            "an image."
        ) from error


def _attention(model: PreTrainedModel, outputs: Any, is_encoder_decoder: bool) -> dict[str, np.ndarray]:
    """Return the attention weights in a model's outputs, `(layers, heads, queries, keys)` by kind of attention."""
    fields = {SELF: "attentions"}
    if is_encoder_decoder:
        fields = {ENCODER: "encoder_attentions", CROSS: "cross_attentions", DECODER: "decoder_attentions"}
    found = {}
    for kind, name in fields.items():
        layers = [layer for layer in outputs.get(name) or () if layer is not None]
        if not layers or len({layer.shape for layer in layers}) > 1 or layers[0].ndim != 4 or len(layers[0]) != 1:
            raise InputError(
                f"{type(model).__name__} returns no attention weights between all tokens in `{name}`: give a model "
                "whose layers all attend to the whole sequence, such as BERT, GPT-2, Marian or ViT."
            )
        found[kind] = np.stack([_array(layer[0]) for layer in layers])
    return found


def _generated(model: Any, tokenizer: Any, text: str | None, inputs: dict[str, torch.Tensor]) -> str:
    """Return the text that the model generates for a text or an image."""
    if not model.can_generate():
        raise InputError(f"{type(model).__name__} cannot generate a target: give a target.")
    if text is None:
        return tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True)
    return translate(model, tokenizer, [text], with_scores=False, show_progress=False)[0][0].text


def decoder_ids(model: Any, target_ids: list[int]) -> list[int]:
    """Return the ids that the decoder reads: the start token, and the target without its last token."""
    config = model.config.get_text_config(decoder=True)
    start = model.generation_config.decoder_start_token_id if model.generation_config else None
    for name in ("decoder_start_token_id", "bos_token_id"):
        start = getattr(model.config, name, getattr(config, name, None)) if start is None else start
    if start is None:
        raise InputError(f"The config of {type(model).__name__} has no decoder_start_token_id: set it.")
    return [start, *target_ids[:-1]]


def _patch_grid(config: Any, pixel_values: torch.Tensor, length: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of the patches of `pixel_values`, from the patch size in the config."""
    for part in (config, getattr(config, "encoder", None), getattr(config, "vision_config", None)):
        size = getattr(part, "patch_size", None)
        if size is not None:
            height, width = (size, size) if isinstance(size, int) else size
            grid = pixel_values.shape[-2] // height, pixel_values.shape[-1] // width
            if math.prod(grid) <= length:
                return grid
    raise InputError(
        f"The tokens of a model with a {type(config).__name__} are not the patches of one grid: give a model such as "
        "ViT, whose tokens are parts of the image of equal size."
    )


def _shown(pixel_values: torch.Tensor, image_processor: Any) -> np.ndarray:
    """Convert `pixel_values`, an input of the model, to pixels `(height, width, channels)` from 0 to 1.

    The normalisation of the image processor is undone.
    """
    pixels = _array(pixel_values).transpose(1, 2, 0)
    if getattr(image_processor, "do_normalize", False):
        pixels = pixels * np.asarray(image_processor.image_std) + np.asarray(image_processor.image_mean)
    return pixels.clip(0, 1)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
