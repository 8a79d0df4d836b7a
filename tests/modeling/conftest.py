# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Small models with random numbers in all weights, and the values that the tests are parametrised over."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import ViTConfig, ViTModel

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.modeling.modeling_locant import LocantForConditionalGeneration
from locant.modeling.positions.base import _CLASSES, register_position_encoding
from locant.modeling.pretrained import LocantPreTrainedModel

SHAPE = {
    "vocab_size": 24,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 48,
    "dropout": 0.0,
    "max_position_embeddings": 32,
}


ENCODINGS = ["none", "sinusoidal", "learned", "shaw", "transformer_xl", "t5", "alibi", "rotary"]
BACKENDS = ["eager", "sdpa", "blockwise", "flex_attention"]
# sdpa and flex_attention cannot add Shaw's bias on the output; flex_attention cannot add Transformer-XL's matrix
REFUSED = [("shaw", "sdpa"), ("shaw", "flex_attention"), ("transformer_xl", "flex_attention")]
SERVED = [(encoding, backend) for encoding in ENCODINGS for backend in BACKENDS if (encoding, backend) not in REFUSED]


# Steep slopes: with the default ones, the attention scores of short sequences hardly depend on distance
STEEP = {"alibi": {"max_bias": 1.0}}
# flex_attention has no backward pass on CPU
TRAINED = [pair for pair in SERVED if pair[1] != "flex_attention"]


def slow_except(fast, values):
    """`values` as parameters of a test; the parameters that are not in `fast` are marked as slow."""
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values]


def _names(pair):
    return "-".join(pair)


@torch.no_grad()
def _spread(module: nn.Module, seed: int) -> None:
    """Set every parameter, biases and norms included, to random numbers, so that tests notice if one is not used."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            parameter.copy_(1 + 0.2 * noise)
        elif parameter.ndim == 1:
            parameter.copy_(0.2 * noise)
        else:
            gain = 1.0 if "embed" in name else 1.5
            parameter.copy_(noise * gain * parameter.shape[-1] ** -0.5)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def sizes_are_not_counted():
    """Leave out the check of a model's size: the models are small, and the check takes nearly half of their building.

    `tests/configuration/test_broken_configs.py` and `tests/checkpoints/test_parameter_count.py` test the check.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocantPreTrainedModel, "build_hooks", [])
        yield


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def make_config():
    """A function that makes a small config with the given fields."""
    return lambda **fields: LocantConfig(**{**SHAPE, **fields})


@pytest.fixture
def spread():
    return _spread


@pytest.fixture
def make_model(make_config):
    """A function that makes a small model in evaluation mode."""

    def make(cls=LocantForConditionalGeneration, seed=0, **fields):
        model = cls(make_config(**fields)).eval()
        _spread(model, seed)
        return model

    return make


@pytest.fixture(scope="session")
def shared_model():
    """A function that returns a small model, built once a session: for reading only, and on one backend at a time.

    Its weights are rounded to `weights_dtype` (by default `dtype`) first. With `weights_of`, the fields of another
    shared model, it has the weights of that model, except those for which it has no parameter.
    """
    models = {}

    def get(backend="eager", dtype=torch.float32, weights_dtype=None, weights_of=None, **fields):
        key = dtype, weights_dtype, repr([sorted(each.items()) for each in (fields, weights_of or {})])
        if key not in models:
            model = LocantForConditionalGeneration(LocantConfig(**{**SHAPE, **fields})).eval()
            if weights_of is None:
                _spread(model, 0)
            else:
                weights = get(dtype=dtype, weights_dtype=weights_dtype, **weights_of).state_dict()
                assert not model.load_state_dict(weights, strict=False).missing_keys
            models[key] = model.to(weights_dtype or dtype).to(dtype)
        models[key].set_attn_implementation(backend)
        return models[key]

    return get


@pytest.fixture
def assert_close_in_half():
    """Compares what a model computes in half precision with what it computes in float32 from the same rounded weights.

    The tolerance limits the mean error, in standard deviations. It is about three times the error that the rounding of
    activations makes, and less than half of the error that a missing position encoding makes.
    """

    def check(actual, expected):
        tolerance = {torch.bfloat16: 0.04, torch.float16: 0.005}[actual.dtype]
        assert (actual.float() - expected).abs().mean() < tolerance * expected.std()

    return check


@pytest.fixture
def make_batch():
    """A function that makes a padded batch and its mask from sequences of ids."""

    def make(sequences, side="right"):
        longest = max(map(len, sequences))
        ids, mask = torch.zeros(len(sequences), longest, dtype=torch.long), torch.zeros(len(sequences), longest).long()
        for row, sequence in enumerate(sequences):
            place = slice(longest - len(sequence), longest) if side == "left" else slice(len(sequence))
            ids[row, place] = torch.tensor(sequence)
            mask[row, place] = 1
        return ids, mask

    return make


@pytest.fixture(params=ENCODINGS)
def encoding(request):
    return request.param


@pytest.fixture(params=["left", "right"])
def side(request):
    return request.param


@pytest.fixture(params=["post", "pre"])
def norm_position(request):
    return request.param


def _one_block(mask_mod, B, H, Q_LEN, KV_LEN, device, _compile=False):
    """A flex_attention mask without the search for empty blocks, which only compiled code would use."""
    counts = torch.ones(B, 1, 1, dtype=torch.int32, device=device)
    indices = torch.zeros(B, 1, 1, 1, dtype=torch.int32, device=device)
    return BlockMask.from_kv_blocks(counts, indices, mask_mod=mask_mod, seq_lengths=(Q_LEN, KV_LEN))


@pytest.fixture
def uncompiled_flex(monkeypatch):
    """Run flex_attention without compiling it, which takes seconds, and without torch's warning about that."""
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    path = "locant.modeling.attention_backends.compile_friendly_flex_attention"
    monkeypatch.setattr(path, lambda *args, training=False, **kwargs: flex_attention(*args, **kwargs))
    monkeypatch.setattr("transformers.masking_utils.create_block_mask", _one_block)


@pytest.fixture
def small_blocks(monkeypatch):
    """Make blockwise attention use blocks of 16 queries, the smallest ones, so that short sequences have several."""
    monkeypatch.setattr("locant.modeling.blockwise._BLOCK_ELEMENTS", 1)


@pytest.fixture(params=BACKENDS)
def backend(request, uncompiled_flex, small_blocks):
    return request.param


@pytest.fixture(params=SERVED, ids=_names)
def served(request, uncompiled_flex, small_blocks):
    """An encoding, and a backend that serves it."""
    return request.param


@pytest.fixture(params=TRAINED, ids=_names)
def trained(request, small_blocks):
    """An encoding, and a backend that has its gradients on every device."""
    return request.param


@pytest.fixture(params=REFUSED, ids=_names)
def refused(request):
    """An encoding, and a backend that cannot serve it."""
    return request.param


@pytest.fixture
def register():
    """A function that registers an encoding for the duration of one test."""
    names = []

    def register(name, cls, **options):
        register_position_encoding(name, cls, **options)
        names.append(name)

    yield register
    for name in names:
        del POSITION_ENCODINGS[name], _CLASSES[name]


@pytest.fixture(scope="session")
def other_implementations():
    """The module `test_other_implementations.py`, which maps weight names of transformers to ours."""
    path = Path(__file__).with_name("test_other_implementations.py")
    spec = importlib.util.spec_from_file_location("other_implementations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_VIT_NAMES = {
    r"^embeddings.cls_token": "encoder.embed_patches.class_token",
    r"^embeddings.position_embeddings": "encoder.position.embeddings.weight",
    r"^embeddings.patch_embeddings": "encoder.embed_patches",
    r"^layers": "encoder.layers",
    r"\.attention\.": ".self_attn.",
    r"layernorm_before": "self_attn_residual.norm",
    r"layernorm_after": "ffn_residual.norm",
    r"mlp.fc1": "ffn.up_proj",
    r"mlp.fc2": "ffn.down_proj",
    r"^layernorm": "encoder.final_norm",
    r"^pooler.dense": "pooler.projection.0",
}


def _of_vit(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        for theirs, ours in _VIT_NAMES.items():
            name = re.sub(theirs, ours, name)
        if tensor.ndim > 2:  # the convolution is linear over each patch; other tensors have dimensions of size 1
            tensor = tensor.flatten(1) if tensor.ndim == 4 else tensor.flatten(0, -2)
        renamed[name] = tensor.squeeze(0) if name.endswith("class_token") else tensor
    return renamed


@pytest.fixture
def of_vit():
    """A function that gives tensors (weights, gradients) of a ViTModel the names and shapes of LocantEncoderModel."""
    return _of_vit


@pytest.fixture
def make_vit():
    """A function that makes a small ViT with random numbers in all weights."""

    def make(cls=ViTModel, **fields):
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
        vit = cls(ViTConfig(**{**sizes, "layer_norm_eps": 1e-5, **fields})).eval()
        _spread(vit, 7)
        for name, parameter in vit.named_parameters():
            if "patch_embeddings.projection.weight" in name:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            elif "cls_token" in name or "position_embeddings" in name:
                nn.init.normal_(parameter)
        return vit

    return make
