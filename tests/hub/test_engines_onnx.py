# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
import copy
import json

import numpy
import pytest
import torch
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer

from locant import (
    LocantConfig,
    LocantEncoderModel,
    LocantForCausalLM,
    LocantForImageClassification,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
    LocantImageProcessor,
)
from locant.cli import main
from locant.hub.engines import onnx_export
from locant.hub.engines.exporting import export
from locant.hub.errors import SharingError

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.end_to_end

SHAPE = {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "max_position_embeddings": 64,
    "num_labels": 3,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {
    "rope_type": "longrope",
    "factor": 2.0,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 32,
}
TEXT = {
    "none": (LocantForMaskedLM, {"position_encoding": "none", "sliding_window": 3}),
    "sinusoidal": (LocantForQuestionAnswering, {"position_encoding": "sinusoidal", "embedding_norm": True}),
    "learned": (LocantEncoderModel, {"position_encoding": "learned", "type_vocab_size": 2, "pooling": "first"}),
    "shaw": (LocantForTokenClassification, {"position_encoding": "shaw", "norm_position": "pre"}),
    "transformer_xl": (LocantEncoderModel, {"position_encoding": "transformer_xl"}),
    "t5": (LocantForSequenceClassification, {"position_encoding": "t5", "pooler_projection": True}),
    "alibi": (LocantForTokenClassification, {"position_encoding": "alibi", "gated_ffn": True}),
    "rotary": (
        LocantForSequenceClassification,
        {"position_encoding": "rotary", "rope_parameters": YARN, "encoder_key_value_heads": 1},
    ),
}
IMAGES = {
    "learned": (LocantForImageClassification, {"position_encoding": "learned", "pooling": "first"}),
    "rotary": (LocantEncoderModel, {"position_encoding": "rotary"}),
}


def run(folder, **inputs):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    assert {value.name for value in session.get_inputs()} == set(inputs)
    names = [value.name for value in session.get_outputs()]
    found = session.run(names, {name: numpy.asarray(values) for name, values in inputs.items()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


def close(found, model, seen=None, **inputs):
    with torch.no_grad():
        expected = model(**inputs)
    for name, values in found.items():
        ours = expected[name]
        if seen is not None and values.shape[:2] == seen.shape:
            ours, values = ours[seen], values[seen]
        torch.testing.assert_close(values, ours, atol=1e-5 * max(1.0, ours.abs().max().item()), rtol=1e-5)
    return set(found)


@pytest.mark.sampled(8)
@pytest.mark.parametrize(("model_class", "fields"), TEXT.values(), ids=TEXT.keys())
def test_text_of_any_size_and_padding(model_class, fields, random_model, tokenizer, tmp_path):
    model = random_model(model_class, **{**SHAPE, **fields})
    model.save_pretrained(tmp_path / "run")
    tokenizer.save_pretrained(tmp_path / "run")
    folder = export(tmp_path / "run", tmp_path / "engine", "onnx")
    shortest = 2 if fields["position_encoding"] == "transformer_xl" else 1
    for size, length, side in ((5, 17, "right"), (2, 33, "left"), (1, shortest, None)):
        mask = torch.ones(size, length, dtype=torch.long)
        if side is not None:
            mask[-1, slice(-3, None) if side == "right" else slice(0, 3)] = 0
        inputs = {"input_ids": torch.randint(5, 300, (size, length)), "attention_mask": mask}
        if model.config.type_vocab_size:
            inputs["token_type_ids"] = torch.randint(0, 2, (size, length))
        names = close(run(folder, **inputs), model, mask.bool(), **inputs)
        named = json.loads((folder / "config.json").read_text())["onnx"]
        assert names == set(named["outputs"]) and list(inputs) == named["inputs"]
        assert named["largest_difference"] < 5e-5
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()


def test_sinusoids_reach_beyond_max_position_embeddings(random_model, tmp_path):
    model = random_model(LocantForTokenClassification, **SHAPE, position_encoding="sinusoidal")
    model.save_pretrained(tmp_path / "run")
    folder = export(tmp_path / "run", tmp_path / "engine", "onnx")
    inputs = {"input_ids": torch.randint(5, 300, (1, 2048)), "attention_mask": torch.ones(1, 2048, dtype=torch.long)}
    close(run(folder, **inputs), model, **inputs)


@pytest.mark.slow
@pytest.mark.parametrize(("model_class", "fields"), IMAGES.values(), ids=IMAGES.keys())
def test_any_number_of_images(model_class, fields, random_model, tmp_path):
    model = random_model(model_class, **{**SHAPE, **fields, "encoder_input": "patches"})
    model.save_pretrained(tmp_path / "run")
    LocantImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "run")
    folder = export(tmp_path / "run", tmp_path / "engine", "onnx")
    for size in (1, 4):
        images = torch.randn(size, 1, 8, 8)
        close(run(folder, pixel_values=images), model, pixel_values=images)
    assert AutoImageProcessor.from_pretrained(folder).size == {"height": 8, "width": 8}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"is_encoder_decoder": True}, "is_encoder_decoder is true.*CTranslate2"),
        ({"is_decoder": True}, "is_decoder is true"),
        (
            {"position_encoding": "rotary", "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
            "rope_type='dynamic'",
        ),
        ({"position_encoding": "rotary", "rope_parameters": LONGROPE}, "rope_type='longrope'"),
        ({"architectures": ["LocantForCausalLM"]}, "architectures names LocantForCausalLM"),
    ],
)
def test_what_is_no_graph_is_refused_before_anything_is_read(fields, names, tmp_path):
    LocantConfig(**{"is_encoder_decoder": False, **SHAPE, **fields}).save_pretrained(tmp_path / "run")
    with pytest.raises(SharingError, match=names):
        export(tmp_path / "run", tmp_path / "engine", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_language_model_is_refused(random_model, tmp_path, capsys):
    random_model(LocantForCausalLM).save_pretrained(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "engine"), "--format", "onnx"]) == 2
    assert "is_decoder is true" in capsys.readouterr().err


class Longer(nn.Module):
    """Adds to the output of a layer by how many tokens the batch is longer than the one that the graph is made from."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, states):
        return self.layer(states) + (states.shape[1] - 8)


def with_another_bias(model):
    nn.init.constant_(model.classifier.bias, 0.1)


def with_other_numbers_for_other_lengths(model):
    model.classifier = Longer(model.classifier)


@pytest.mark.parametrize("change", [with_another_bias, with_other_numbers_for_other_lengths])
def test_a_graph_with_other_numbers_does_not_count(random_model, tmp_path, monkeypatch, change):
    random_model(LocantForTokenClassification, **SHAPE).save_pretrained(tmp_path / "run")
    write = onnx_export._write

    def write_another(graph, *arguments):
        graph = copy.deepcopy(graph)
        change(graph.model)
        write(graph, *arguments)

    monkeypatch.setattr(onnx_export, "_write", write_another)
    with pytest.raises(SharingError, match="outputs of onnxruntime and of the model differ: logits"):
        export(tmp_path / "run", tmp_path / "engine", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_quantization_is_refused(tmp_path):
    with pytest.raises(SharingError, match="quantization='int8' is for CTranslate2"):
        export(tmp_path, tmp_path / "engine", "onnx", quantization="int8")


@pytest.mark.slow
def test_large_weights_stand_beside_the_graph(random_model, tmp_path, monkeypatch):
    model = random_model(LocantForImageClassification, **SHAPE, encoder_input="patches")
    model.save_pretrained(tmp_path / "run")
    monkeypatch.setattr(onnx_export, "_EXTERNAL_FROM", 1000)
    folder = export(tmp_path / "run", tmp_path / "engine", "onnx")
    assert (folder / "model.onnx.data").is_file()
    images = torch.randn(2, 1, 8, 8)
    close(run(folder, pixel_values=images), model, pixel_values=images)


@pytest.mark.slow
def test_command_says_how_far_the_numbers_are_apart(random_model, tmp_path, capsys):
    random_model(LocantForImageClassification, **SHAPE, encoder_input="patches").save_pretrained(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "engine"), "--format", "onnx"]) == 0
    assert "differ from the outputs of the model by at most" in capsys.readouterr().out
