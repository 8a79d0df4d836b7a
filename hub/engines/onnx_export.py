# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The folder of an encoder as an ONNX graph, checked with onnxruntime before it counts."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim
from torch.onnx import OnnxExporterError
from transformers import AutoImageProcessor, AutoTokenizer

import locant.modeling as models
from locant.configuration import LocantConfig
from locant.hub.errors import SharingError
from locant.modeling.positions.sinusoidal import SinusoidalEncoding

from .exporting import load_weights, write_config
from .requirements import needs

GRAPH_FILE = "model.onnx"
SECTION = "onnx"
"""What `config.json` says of the export."""
TOLERANCE = 1e-4
"""How much any number of onnxruntime's may differ from the model's, relative to the largest of its tensor."""

_OUTPUTS = {
    "LocantEncoderModel": ("last_hidden_state", "pooler_output"),
    "LocantForMaskedLM": ("logits",),
    "LocantForSequenceClassification": ("logits",),
    "LocantForTokenClassification": ("logits",),
    "LocantForQuestionAnswering": ("start_logits", "end_logits"),
    "LocantForImageClassification": ("logits",),
}
_PER_TOKEN = ("LocantForMaskedLM", "LocantForTokenClassification", "LocantForQuestionAnswering")
_LONGEST_TABLE = 2048  # positions of sinusoids, at least
_EXTERNAL_FROM = 1_800_000_000  # bytes; a file of protobuf ends at 2 GiB


class Graph(nn.Module):
    """The model with tensors in and a tuple of tensors out."""

    def __init__(self, model: Any, inputs: list[str], outputs: tuple[str, ...]):
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors called `inputs` to those called `outputs`."""
        found = self.model(**dict(zip(self.inputs, values, strict=True)))
        return tuple(found[name] for name in self.outputs)


def export_onnx(model_path: str | os.PathLike[str], config: LocantConfig, folder: Path) -> None:
    """Write the encoder in `model_path` to the empty `folder`; `config.json` says what the graph takes and gives.

    Raises:
        SharingError: it is no encoder; its positions cannot be traced; onnxruntime finds other numbers.
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
    """The name of the model's class."""
    if config.is_encoder_decoder or config.is_decoder:
        raise SharingError(
            f"{'is_encoder_decoder' if config.is_encoder_decoder else 'is_decoder'} is true: what generates needs a "
            "cache and a search around the graph, so ONNX is for encoders and their heads"
            + (", and an encoder–decoder's engine is CTranslate2." if config.is_encoder_decoder else ".")
        )
    name = (config.architectures or ["LocantEncoderModel"])[0]
    if name not in _OUTPUTS:
        raise SharingError(f"architectures names {name}, which cannot be exported to ONNX: {', '.join(_OUTPUTS)} can.")
    rope_type = (config.rope_parameters or {}).get("rope_type")
    if config.position_encoding_at("encoder") == "rotary" and rope_type in ("dynamic", "longrope"):
        raise SharingError(
            f"rope_parameters: a graph cannot follow rope_type={rope_type!r}, whose angles change with the length: use "
            "a fixed one, such as default, linear, llama3 or yarn."
        )
    return name


def _prepare(model: Any) -> int | None:
    """Set the backend, make tables as long as they will ever be, and return how many positions there are then."""
    try:
        model.set_attn_implementation("sdpa")
    except ValueError:  # shaw and transformer_xl
        model.set_attn_implementation("eager")
    encoder = model.get_submodule("encoder" if hasattr(model, "encoder") else "model.encoder")
    position = encoder.position
    if isinstance(position, SinusoidalEncoding):
        position.rows = max(position.rows, _LONGEST_TABLE)
        position.table = position.computed_buffers()["table"]
        return position.rows
    return position.limit


def _batches(config: LocantConfig, inputs: list[str], longest: int | None) -> Iterator[dict[str, torch.Tensor]]:
    """Random inputs, first those to trace with, then those of other sizes, padded on either side and not at all."""
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
    """Trace the model.

    Raises:
        SharingError: it cannot be traced.
    """
    size, length = Dim("batch", min=1), Dim("length", min=2, max=longest)
    shapes = {0: size} if "pixel_values" in batch else {0: size, 1: length}
    weights = sum(parameter.numel() * parameter.element_size() for parameter in graph.parameters())
    try:
        with _quiet(), torch.no_grad():
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
    except OnnxExporterError as error:  # an encoding from outside, say
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise SharingError(f"The model cannot be made a graph for any batch and length ({reason}).") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter says about its own inside to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _check(graph: Graph, config: LocantConfig, longest: int | None, file: Path, per_token: bool) -> float:
    """The largest difference on batches of several sizes; what padding puts out does not count.

    Raises:
        SharingError: it is above `TOLERANCE`, or onnxruntime has no difference to show.
    """
    session = needs("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in _batches(config, graph.inputs, longest):
        try:
            found = session.run(None, {name: values.numpy() for name, values in batch.items()})
        except Exception as error:  # its own, with no class in common
            sizes = ", ".join(f"{name} {tuple(values.shape)}" for name, values in batch.items())
            raise SharingError(f"onnxruntime cannot run the graph on {sizes} ({error}).") from error
        with torch.no_grad():
            expected = graph(*batch.values())
        seen = batch.get("attention_mask")
        for name, ours, theirs in zip(graph.outputs, expected, map(torch.from_numpy, found), strict=True):
            if seen is not None and (per_token or name == "last_hidden_state"):
                ours, theirs = ours[seen.bool()], theirs[seen.bool()]
            difference = ((ours - theirs).abs().max() / ours.abs().max().clamp(min=1)).item()
            if not difference <= TOLERANCE:
                raise SharingError(
                    f"onnxruntime finds other numbers than the model: {name} of a batch {tuple(theirs.shape)} differs "
                    f"by {difference:.1e}, and {TOLERANCE:.0e} is allowed."
                )
            largest = max(largest, difference)
    return largest


def _save_processor(model_path: str | os.PathLike[str], config: LocantConfig, folder: Path) -> None:
    """What makes inputs of text or of images, if the model was saved with it."""
    try:
        reads_images = config.encoder_input == "patches"
        processor = (AutoImageProcessor if reads_images else AutoTokenizer).from_pretrained(model_path)
    except (OSError, ValueError, KeyError):
        return
    processor.save_pretrained(folder)
