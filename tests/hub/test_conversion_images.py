# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""ViT and its image processor are converted to Locant and back, with equal results for images of every size."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, ViTConfig, ViTForImageClassification, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from locant import LocantConfig, LocantForImageClassification, LocantImageProcessor
from locant.hub.conversion.conversion import convert
from locant.hub.errors import SharingError

from .conversion_cases import (
    Case,
    assert_same,
    assert_same_weights,
    assert_there_and_back,
    load,
    parametrized,
    pickled,
    sharded,
    stored,
)

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
SIZES |= {"image_size": 12, "patch_size": 4}


def vit(name, cls=ViTForImageClassification, config=None, **options):
    return Case(f"ViT, {name}", cls, ViTConfig(**{**SIZES, **(config or {})}), "images", **options)


def by_new_names(model, folder):
    """With the names of the classes of today, which transformers does not write."""
    model.save_pretrained(folder)
    assert "vit.encoder.layer.0.attention.attention.query.weight" in stored(folder)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


CASES = [
    vit("encoder and pooler", ViTModel),
    vit("classifier", config={"num_labels": 5, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
    vit("wide", config={"image_size": [8, 20], "patch_size": [4, 4], "num_labels": 3}),
    vit("tall, flat patches, grey", ViTModel, {"image_size": [15, 8], "patch_size": [3, 4], "num_channels": 1}),
    vit("odd sizes", config={"hidden_size": 35, "num_attention_heads": 5, "intermediate_size": 17, "num_labels": 3}),
    vit("one patch", config={"patch_size": 12, "num_channels": 5, "hidden_act": "relu"}),
    vit("shards", ViTModel, save=sharded),
    vit("bin", save=pickled),
    vit("names of today", save=by_new_names),
]


@pytest.mark.sampled(2)
@parametrized(CASES)
def test_there_and_back(case, tmp_path):
    assert_there_and_back(case, tmp_path)
    theirs, back = (json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("theirs", "back"))
    assert {name: value for name, value in theirs.items() if back.get(name) != value} == {}
    if case.save is not by_new_names and case.save is not pickled:
        assert stored(tmp_path / "back").keys() == stored(tmp_path / "theirs").keys()


@torch.no_grad()
def test_images_of_other_sizes(tmp_path):
    theirs = vit("", ViTModel).model()
    theirs.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours")
    ours = load(tmp_path / "ours")
    for height, width in ((12, 12), (24, 16), (4, 20), (8, 8)):
        images = torch.randn(2, 3, height, width)
        expected, found = theirs(images, interpolate_pos_encoding=True), ours(pixel_values=images)
        for name in ("last_hidden_state", "pooler_output"):
            torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)


def test_a_bare_encoder_may_have_no_pooler(tmp_path):
    theirs = vit("", ViTModel, build=lambda cls, config: cls(config, add_pooling_layer=False)).model()
    theirs.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours")
    assert_same(load(tmp_path / "ours"), theirs, "images")
    convert(tmp_path / "ours", tmp_path / "back", to="vit")
    back = ViTModel.from_pretrained(tmp_path / "back", add_pooling_layer=False)
    assert_same_weights(theirs, back, is_exact=True)
    assert stored(tmp_path / "back").keys() == stored(tmp_path / "theirs").keys()


def test_a_pooler_in_the_files_of_a_classifier_is_left_out(tmp_path):
    theirs = vit("").model()
    theirs.save_pretrained(tmp_path / "theirs")
    pooler = {f"vit.pooler.dense.{name}": torch.zeros(size) for name, size in (("weight", (32, 32)), ("bias", (32,)))}
    file = tmp_path / "theirs" / "model.safetensors"
    save_file({**load_file(file), **pooler}, file, metadata={"format": "pt"})
    with pytest.raises(SharingError, match=r"vit\.pooler\.dense"):
        convert(tmp_path / "theirs", tmp_path / "ours")
    convert(tmp_path / "theirs", tmp_path / "ours", drop="vit.pooler.dense.*")
    assert_same(load(tmp_path / "ours"), theirs, "images")


def test_what_else_a_config_says(tmp_path):
    names = {"id2label": {0: "cat", 1: "dog", 2: "fox"}, "label2id": {"cat": 0, "dog": 1, "fox": 2}}
    dropout = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2, "initializer_range": 0.05}
    theirs = vit("", config={**names, **dropout, "problem_type": "multi_label_classification"}).model()
    theirs.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours")
    ours = load(tmp_path / "ours")
    assert (ours.config.dropout, ours.config.attention_dropout, ours.config.initializer_range) == (0.3, 0.2, 0.05)
    assert ours.dropout.p == 0.0  # ViT has none before its classifier
    assert (ours.config.id2label, ours.config.label2id) == (names["id2label"], names["label2id"])
    assert ours.config.problem_type == "multi_label_classification"


@pytest.mark.parametrize(
    "config, architecture, named",
    [
        ({"qkv_bias": False, "pooler_act": "gelu"}, "ViTModel", ["qkv_bias", "pooler_act"]),
        ({"pooler_output_size": 16}, "ViTModel", ["pooler_output_size"]),
        ({"image_size": [14, 12]}, "ViTModel", ["patch_size", "14", "image_size"]),
        ({}, "ViTForMaskedImageModeling", ["ViTForMaskedImageModeling", "ViTModel", "ViTForImageClassification"]),
    ],
)
def test_what_cannot_be_ours_is_refused(tmp_path, config, architecture, named):
    ViTConfig(**{**SIZES, **config}, architectures=[architecture]).save_pretrained(tmp_path / "theirs")
    assert_refused(tmp_path / "theirs", tmp_path / "ours", None, named)


@pytest.mark.parametrize(
    "fields, named",
    [
        (
            {"pooling": "mean", "position_encoding": "rotary", "gated_ffn": True, "attention_bias": False},
            ["pooling", "position_encoding", "gated_ffn", "attention_bias"],
        ),
        ({"pooler_projection": True, "norm_type": "rmsnorm", "ffn_bias": False}, ["pooler_proj", "norm_type", "ffn_b"]),
    ],
)
def test_what_cannot_be_theirs_is_refused(tmp_path, fields, named):
    fields = {"pooling": "first", "position_encoding": "learned", "norm_position": "pre", **fields}
    fields |= {"encoder_input": "patches", "is_encoder_decoder": False}
    LocantConfig(**fields, architectures=["LocantForImageClassification"]).save_pretrained(tmp_path / "ours")
    assert_refused(tmp_path / "ours", tmp_path / "theirs", "vit", named)


def assert_refused(source, target, to, named):
    with pytest.raises(SharingError) as error:
        convert(source, target, to=to)
    assert [name for name in named if name not in str(error.value)] == []
    assert not target.exists()


class TestImageProcessor:
    @pytest.fixture
    def pictures(self):
        rng = np.random.default_rng(0)
        return [Image.fromarray(np.uint8(rng.integers(0, 256, (*size, 3)))) for size in ((20, 9), (7, 30), (12, 12))]

    def test_goes_along(self, tmp_path, pictures):
        theirs = vit("").model()
        theirs.save_pretrained(tmp_path / "theirs")
        processor = ViTImageProcessorPil(size={"height": 12, "width": 12}, image_mean=[0.4, 0.5, 0.6], resample=3)
        processor.save_pretrained(tmp_path / "theirs")
        convert(tmp_path / "theirs", tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "back", to="vit")
        expected = processor(pictures, return_tensors="pt").pixel_values
        for folder in ("ours", "back"):
            found = AutoImageProcessor.from_pretrained(tmp_path / folder)
            assert isinstance(found, ViTImageProcessorPil)
            assert torch.equal(found(pictures, return_tensors="pt").pixel_values, expected)

    @pytest.mark.parametrize("channels, mean", [(3, 0.3), (3, [0.1, 0.2, 0.3]), (1, 0.3)])
    def test_ours_becomes_theirs(self, tmp_path, pictures, random_model, channels, mean):
        fields = {"pooling": "first", "position_encoding": "learned", "norm_position": "pre", "num_channels": channels}
        random_model(LocantForImageClassification, **fields).save_pretrained(tmp_path / "ours")
        processor = LocantImageProcessor(num_channels=channels, size={"height": 8, "width": 8}, image_mean=mean)
        processor.save_pretrained(tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "theirs", to="vit")
        saved = json.loads((tmp_path / "theirs" / "preprocessor_config.json").read_text())
        assert saved["image_processor_type"] == "ViTImageProcessor"
        assert not [name for name, value in saved.items() if "ocant" in f"{name}{value}"]
        found = AutoImageProcessor.from_pretrained(tmp_path / "theirs")
        if channels == 1:  # theirs does not take colours out
            pictures = [picture.convert("L") for picture in pictures]
        else:
            pictures.append(pictures[0].convert("P"))
        inputs = found(pictures, return_tensors="pt")
        assert torch.equal(inputs.pixel_values, processor(pictures, return_tensors="pt").pixel_values)
        with torch.no_grad():
            expected = load(tmp_path / "ours")(**inputs).logits
            torch.testing.assert_close(load(tmp_path / "theirs")(**inputs).logits, expected, atol=1e-5, rtol=1e-5)
