# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Exports an encoder as an ONNX graph, and compares the outputs of onnxruntime with those of the model."""

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim
from torch.onnx import OnnxExporterError
from transformers import AutoImageProcessor, AutoTokenizer

import locant.modeling as models
from locant.configuration import LocantConfig
from locant.modeling.positions.sinusoidal import SinusoidalEncoding
from locant.utils.errors import first_line

from ..errors import SharingError
from .requirements import needs
from .source_model import load_weights, write_config

GRAPH_FILE = "model.onnx"
SECTION = "onnx"
"""The field of `config.json` that describes the export."""
TOLERANCE = 1e-4
"""The largest difference allowed between outputs of onnxruntime and of the model, relative to the largest absolute
value of the model's output, or to 1 if the largest absolute value is smaller than 1."""

_OUTPUTS = {
    "LocantEncoderModel": ("last_hidden_state", "pooler_output"),
    "LocantForMaskedLM": ("logits",),
    "LocantForSequenceClassification": ("logits",),
    "LocantForTokenClassification": ("logits",),
    "LocantForQuestionAnswering": ("start_logits", "end_logits"),
    "LocantForImageClassification": ("logits",),
}
_PER_TOKEN = ("LocantForMaskedLM", "LocantForTokenClassification", "LocantForQuestionAnswering")
# The least number of positions in an exported table of sinusoids
_LONGEST_TABLE = 2048
# Weights of more than this number of bytes are written to a second file, because a protobuf file has at most 2 GiB
_EXTERNAL_FROM = 1_800_000_000


class Graph(nn.Module):
    """Wraps a model in a module that takes its inputs as positional arguments, and returns a tuple of tensors."""

    def __init__(self, model: Any, inputs: list[str], outputs: tuple[str, ...]):
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the model on `values`, in the order of `self.inputs`; return the outputs named in `self.outputs`."""
        found = self.model(**dict(zip(self.inputs, values, strict=True)))
        return tuple(found[name] for name in self.outputs)


def export_onnx(model_path: str | os.PathLike[str], config: LocantConfig, folder: Path) -> None:
    """Write the encoder in `model_path`, with its head if it has one, to the empty `folder` as an ONNX graph.

    The field `onnx` of `config.json` names the inputs and outputs of the graph.

    Raises:
        SharingError: the model has a decoder, or a class or rope type that cannot be exported; it does not load, lacks
            weights, or cannot be traced; onnxruntime cannot run the graph, or its outputs differ from those of the
            model; or a package is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        needs(package)
    name = _check_config(config)
    model = load_weights(getattr(models, name), model_path, dtype=torch.float32)
    longest = _prepare(model)
    inputs = ["pixel_values"] if config.encoder_input == "patches" else ["input_ids", "attention_mask"]
    if "input_ids" in inputs and config.type_vocab_size:
        inputs.append("token_type_ids")
    graph = Graph(model, inputs, _OUTPUTS[name]).eval()
    _write(graph, next(_batches(config, inputs, longest)), longest, folder / GRAPH_FILE)
    difference = _check(graph, config, longest, folder / GRAPH_FILE, per_token=name in _PER_TOKEN)
    settings = {"inputs": inputs, "outputs": list(graph.outputs), "largest_difference": difference}
    write_config(config, folder, {SECTION: settings})
    _save_processor(model_path, config, folder)


def _check_config(config: LocantConfig) -> str:
    """Check that a model of this config can be exported, and return the name of its class.

    Raises:
        SharingError: the model has a decoder, or its class or its rope type cannot be exported.
    """
    if config.is_encoder_decoder or config.is_decoder:
        raise SharingError(
            f"{'is_encoder_decoder' if config.is_encoder_decoder else 'is_decoder'} is true: a model that generates "
            "text needs a cache and a search around the graph, so only encoders and their heads are exported to ONNX"
            + (", and encoder–decoders to CTranslate2." if config.is_encoder_decoder else ".")
        )
    name = (config.architectures or ["LocantEncoderModel"])[0]
    if name not in _OUTPUTS:
        raise SharingError(
            f"architectures names {name}, which cannot be exported to ONNX: only {', '.join(_OUTPUTS)} can be exported."
        )
    rope_type = (config.rope_parameters or {}).get("rope_type")
    if config.position_encoding_at("encoder") == "rotary" and rope_type in ("dynamic", "longrope"):
        raise SharingError(
            f"rope_parameters: an ONNX graph cannot compute rope_type={rope_type!r}, whose angles change with the "
            "length: use a rope type with fixed angles, such as default, linear, llama3 or yarn."
        )
    return name


def _prepare(model: Any) -> int | None:
    """Set the attention backend, and extend the table of sinusoids, if there is one, to at least `_LONGEST_TABLE` rows.

    Returns:
        The largest number of positions; None if it is unlimited.
    """
    try:
        model.set_attn_implementation("sdpa")
    except ValueError:  # sdpa does not support encodings that add vectors to the values, as shaw may do
        model.set_attn_implementation("eager")
    encoder = model.get_submodule("encoder" if hasattr(model, "encoder") else "model.encoder")
    position = encoder.position
    if isinstance(position, SinusoidalEncoding):
        position.rows = max(position.rows, _LONGEST_TABLE)
        position.table = position.computed_buffers()["table"]
        return position.rows
    return position.limit


def _batches(config: LocantConfig, inputs: list[str], longest: int | None) -> Iterator[dict[str, torch.Tensor]]:
    """Yield random batches of different sizes; batches of tokens are padded right, left or not at all.

    The model is traced with the first batch.
    """
    generator = torch.Generator().manual_seed(0)
    if inputs == ["pixel_values"]:
        sides = [cells * patch for cells, patch in zip(config.patch_grid, config.patch_shape, strict=True)]
        for size in (2, 3, 1):
            yield {"pixel_values": torch.randn(size, config.num_channels, *sides, generator=generator)}
        return
    ends = {"right": slice(-2, None), "left": slice(0, 2), "none": slice(0, 0)}
    for size, length, padded in ((2, 8, "right"), (3, 13, "right"), (4, 21, "left"), (1, 2, "none"), (1, 40, "none")):
        length = min(length, longest or length)
        attention_mask = torch.ones(size, length, dtype=torch.long)
        attention_mask[-1, ends[padded]] = 0
        numbers = {"input_ids": config.vocab_size, "token_type_ids": config.type_vocab_size}
        drawn = {
            name: torch.randint(0, high, (size, length), generator=generator)
            for name, high in numbers.items()
            if name in inputs
        }
        yield {name: (drawn | {"attention_mask": attention_mask})[name] for name in inputs}


def _write(graph: Graph, batch: dict[str, torch.Tensor], longest: int | None, file: Path) -> None:
    """Trace the model with `batch`, and write its graph to `file`.

    Raises:
        SharingError: the model cannot be traced.
    """
    size, length = Dim("batch", min=1), Dim("length", min=2, max=longest)
    shapes = {0: size} if "pixel_values" in batch else {0: size, 1: length}
    weights = sum(parameter.numel() * parameter.element_size() for parameter in graph.parameters())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # messages below ERROR are about the exporter's internals
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            torch.onnx.export(
                graph,
                tuple(batch.values()),
                file,
                dynamo=True,
                input_names=graph.inputs,
                output_names=list(graph.outputs),
                dynamic_shapes=(tuple(shapes for _ in batch),),
                external_data=weights > _EXTERNAL_FROM,
                verbose=False,
            )
    except OnnxExporterError as error:  # for example if the model has an encoding from outside of Locant
        reason = first_line(error.__cause__ or error)
        raise SharingError(
            f"The model cannot be exported as an ONNX graph for batches of any size and length ({reason})."
        ) from error


def _check(graph: Graph, config: LocantConfig, longest: int | None, file: Path, per_token: bool) -> float:
    """Compare the outputs of onnxruntime and of the model on batches of several sizes; return the largest difference.

    The difference is relative to the largest absolute value of the model's output, or to 1 if this value is below 1.
    Outputs at padding tokens are not compared.

    Raises:
        SharingError: the difference is above `TOLERANCE` or NaN, or onnxruntime cannot run the graph.
    """
    session = needs("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in _batches(config, graph.inputs, longest):
        try:
            found = session.run(None, {name: values.numpy() for name, values in batch.items()})
        except Exception as error:  # the error classes of onnxruntime have no base class of their own
            sizes = ", ".join(f"{name} {tuple(values.shape)}" for name, values in batch.items())
            raise SharingError(f"onnxruntime cannot run the graph on inputs of shape {sizes} ({error}).") from error
        with torch.no_grad():
            expected = graph(*batch.values())
        seen = batch.get("attention_mask")
        for name, ours, theirs in zip(graph.outputs, expected, map(torch.from_numpy, found), strict=True):
            if seen is not None and (per_token or name == "last_hidden_state"):
                ours, theirs = ours[seen.bool()], theirs[seen.bool()]
            difference = ((ours - theirs).abs().max() / ours.abs().max().clamp(min=1)).item()
            if not difference <= TOLERANCE:
                raise SharingError(
                    f"The outputs of onnxruntime and of the model differ: {name} of the shape {tuple(theirs.shape)} "
                    f"has a relative difference of {difference:.1e}, but at most {TOLERANCE:.0e} is allowed."
                )
            largest = max(largest, difference)
    return largest


def _save_processor(model_path: str | os.PathLike[str], config: LocantConfig, folder: Path) -> None:
    """Save the model's tokenizer or, if the encoder reads images, its image processor to `folder`, if it loads."""
    try:
        reads_images = config.encoder_input == "patches"
        processor = (AutoImageProcessor if reads_images else AutoTokenizer).from_pretrained(model_path)
    except (ImportError, OSError, ValueError, KeyError):
        return
    processor.save_pretrained(folder)
