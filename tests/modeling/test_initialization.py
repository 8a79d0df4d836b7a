# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The distributions of a new model's weights, tied weights, and equal weights after saving and loading."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.modeling_locant import LocantForConditionalGeneration, LocantModel

TYING = [
    {"share_encoder_decoder_embeddings": share, "tie_word_embeddings": tie}
    for share in (True, False)
    for tie in (True, False)
]
tying = pytest.mark.parametrize(
    "tying", TYING, ids=["shared, tied", "shared, untied", "unshared, tied", "unshared, untied"]
)


class TestInitialization:
    @pytest.fixture
    def wide(self, make_config):
        """A function that makes a model wide enough to measure the standard deviation of its weights."""
        return lambda **fields: LocantForConditionalGeneration(
            make_config(vocab_size=200, d_model=96, encoder_ffn_dim=200, position_encoding="learned", **fields)
        )

    def test_xavier(self, wide):
        linear = [module for module in wide().modules() if isinstance(module, nn.Linear) and module.out_features != 200]
        assert len(linear) > 20
        for module in linear:
            bound = (6 / (module.in_features + module.out_features)) ** 0.5
            assert 0.95 * bound < module.weight.abs().max() <= bound
            assert abs(module.weight.std() / (bound / 3**0.5) - 1) < 0.05
            assert module.bias.abs().max() == 0

    def test_embeddings_with_xavier(self, wide):
        model = wide(tie_word_embeddings=False, share_encoder_decoder_embeddings=False)
        tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        assert len(tables) == 4  # tokens and positions of both stacks
        for table in tables:
            assert abs(table.weight.std() / 96**-0.5 - 1) < 0.1
        bound = (6 / (96 + 200)) ** 0.5
        assert 0.95 * bound < model.lm_head.weight.abs().max() <= bound

    def test_normal(self, wide):
        model = wide(initializer="normal", initializer_range=0.05, tie_word_embeddings=False)
        modules = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)]
        assert len(modules) > 20
        for module in modules:
            assert abs(module.weight.std() / 0.05 - 1) < 0.1
            assert module.weight.abs().max() > 0.12
            if getattr(module, "bias", None) is not None:
                assert module.bias.abs().max() == 0

    @pytest.mark.parametrize("initializer", ["xavier", "normal"])
    @pytest.mark.parametrize("norm_type", ["layernorm", "rmsnorm"])
    def test_norms_begin_as_the_identity(self, wide, initializer, norm_type):
        model = wide(initializer=initializer, norm_type=norm_type, norm_position="pre")
        norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
        assert len(norms) == 2 * 2 + 2 * 3 + 2
        for norm in norms:
            assert (norm.weight == 1).all()
            assert getattr(norm, "bias", None) is None or (norm.bias == 0).all()

    def test_the_seed_decides(self, make_config):
        def weights(seed):
            torch.manual_seed(seed)
            return LocantForConditionalGeneration(make_config()).state_dict()

        one, same, other = weights(1), weights(1), weights(2)
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not torch.equal(one["model.encoder.embed_tokens.weight"], other["model.encoder.embed_tokens.weight"])


@pytest.mark.parametrize("encoding", ["sinusoidal", "alibi", "rotary"])
def test_a_model_whose_memory_is_filled_later_computes_its_buffers(make_model, make_config, encoding, no_grad):
    whole = make_model(position_encoding=encoding)
    with torch.device("meta"):
        new = LocantForConditionalGeneration(make_config(position_encoding=encoding)).eval()
    new.to_empty(device="cpu")
    new.load_state_dict(whole.state_dict())
    new.tie_weights()
    ids = torch.arange(3, 9)[None]
    expected = whole(input_ids=ids, decoder_input_ids=ids).logits
    torch.testing.assert_close(new(input_ids=ids, decoder_input_ids=ids).logits, expected)


class TestTying:
    @tying
    def test_which_tables_are_one(self, make_model, tying):
        model = make_model(**tying)
        encoder, decoder = model.get_encoder().embed_tokens.weight, model.get_decoder().embed_tokens.weight
        assert (encoder is decoder) == tying["share_encoder_decoder_embeddings"]
        assert (decoder is model.lm_head.weight) == tying["tie_word_embeddings"]
        copies = 3 - tying["share_encoder_decoder_embeddings"] - tying["tie_word_embeddings"]
        tables = [p for p in model.parameters() if p.shape == (24, 32)]
        assert len(tables) == copies

    @tying
    def test_saved_once_and_loaded_as_it_was(self, make_model, tying, tmp_path):
        model = make_model(**tying)
        model.save_pretrained(tmp_path)
        shapes = [tuple(tensor.shape) for tensor in load_file(tmp_path / "model.safetensors").values()]
        assert shapes.count((24, 32)) == sum(p.shape == (24, 32) for p in model.parameters())
        loaded, info = LocantForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values())
        assert_same_state(model, loaded)
        self.test_which_tables_are_one(lambda **_: loaded, tying)

    @tying
    def test_of_a_model_without_head(self, make_model, tying, tmp_path):
        model = make_model(LocantModel, **tying)
        assert (model.encoder.embed_tokens.weight is model.decoder.embed_tokens.weight) == tying[
            "share_encoder_decoder_embeddings"
        ]
        model.save_pretrained(tmp_path)
        loaded, info = LocantModel.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values())
        assert_same_state(model, loaded)

    @tying
    def test_body_and_whole_load_each_other(self, make_model, tying, tmp_path):
        whole = make_model(**tying)
        whole.save_pretrained(tmp_path / "whole")
        body = LocantModel.from_pretrained(tmp_path / "whole")
        assert_same_state(whole.model, body)
        body.save_pretrained(tmp_path / "body")
        again, info = LocantForConditionalGeneration.from_pretrained(tmp_path / "body", output_loading_info=True)
        assert_same_state(again.model, body)
        assert set(info["missing_keys"]) == (set() if tying["tie_word_embeddings"] else {"lm_head.weight"})

    @tying
    def test_resizing_reaches_every_table(self, make_model, tying, tmp_path):
        model = make_model(**tying)
        ids = torch.tensor([[5, 6, 23]])
        with torch.no_grad():
            before = model(input_ids=ids, decoder_input_ids=ids).logits
            model.resize_token_embeddings(30)
            assert model.config.vocab_size == 30
            after = model(input_ids=ids, decoder_input_ids=ids).logits
            torch.testing.assert_close(after[..., :24], before)
            assert model(input_ids=ids + 6, decoder_input_ids=ids + 6).logits.shape == (1, 3, 30)
        self.check_sizes(model, tying, 30)
        model.save_pretrained(tmp_path)
        assert_same_state(model, LocantForConditionalGeneration.from_pretrained(tmp_path))
        model.resize_token_embeddings(20)
        self.check_sizes(model, tying, 20)

    @tying
    def test_resizing_leaves_tables_tied_and_frozen_as_they_were(self, make_model, tying):
        model = make_model(**tying, lm_head_bias=True)
        tables = model.get_encoder().embed_tokens, model.get_decoder().embed_tokens, model.lm_head
        tables[1].weight.requires_grad_(False)
        before = [(table.weight is other.weight, table.weight.requires_grad) for table in tables for other in tables]
        model.resize_token_embeddings(29, pad_to_multiple_of=8)
        tables = model.get_encoder().embed_tokens, model.get_decoder().embed_tokens, model.lm_head
        after = [(table.weight is other.weight, table.weight.requires_grad) for table in tables for other in tables]
        assert after == before
        assert model.lm_head.bias.shape == (32,)
        assert model.config.vocab_size == 32
        self.check_sizes(model, tying, 32)
        assert model.resize_token_embeddings() is model.get_input_embeddings()
        self.check_sizes(model, tying, 32)

    def check_sizes(self, model, tying, size):
        tables = model.get_encoder().embed_tokens, model.get_decoder().embed_tokens, model.lm_head
        assert {table.weight.shape for table in tables} == {(size, 32)}
        assert {table.num_embeddings for table in tables[:2]} == {model.lm_head.out_features} == {size}
        assert (tables[0].weight is tables[1].weight) == tying["share_encoder_decoder_embeddings"]
        assert (tables[1].weight is tables[2].weight) == tying["tie_word_embeddings"]

    @tying
    def test_replacing_the_input_embeddings(self, make_model, tying):
        model, table = make_model(**tying), nn.Embedding(24, 32)
        model.set_input_embeddings(table)
        assert model.get_input_embeddings() is table
        assert model.get_encoder().embed_tokens is table
        assert (model.get_decoder().embed_tokens is table) == tying["share_encoder_decoder_embeddings"]


def assert_same_state(model, loaded):
    expected, state = model.state_dict(), loaded.state_dict()
    assert expected.keys() == state.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    buffers = dict(loaded.named_buffers())
    for name, buffer in model.named_buffers():
        assert torch.equal(buffers[name], buffer), name


# What another process does with a saved model
READER = """
import json, sys
import locant
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

for folder in json.loads(sys.argv[1]):
    assert type(AutoConfig.from_pretrained(folder)) is locant.LocantConfig
    assert type(AutoModel.from_pretrained(folder)) is locant.LocantModel
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert type(model) is locant.LocantForConditionalGeneration
    inputs = load_file(f"{folder}/inputs.safetensors")
    tokens = model.generate(**inputs).contiguous()
    with torch.no_grad():
        logits = model(**inputs, decoder_input_ids=tokens).logits
    state = {f"state.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    buffers = {f"buffer.{name}": tensor.clone() for name, tensor in model.named_buffers()}
    save_file({"tokens": tokens, "logits": logits, **state, **buffers}, f"{folder}/outputs.safetensors")
"""

SAVED = {
    "sinusoidal": {"position_encoding": "sinusoidal"},
    "concatenated": {"position_parameters": {"sinusoidal": {"layout": "concatenated"}}},
    "rotary": {"position_encoding": "rotary", "rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}},
    "yarn": {
        "position_encoding": "rotary",
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0},
    },
    "learned": {"position_encoding": "learned", "norm_type": "rmsnorm", "norm_position": "pre", "gated_ffn": True},
    "shaw": {"position_encoding": "shaw"},
    "transformer_xl": {"position_encoding": "transformer_xl", "cross_position_encoding": "t5"},
    "t5": {"position_encoding": "t5", "sliding_window": 4},
    "alibi": {"position_encoding": "alibi", "cross_position_encoding": "shaw"},
    "none": {"position_encoding": "none", "decoder_position_encoding": "rotary", "decoder_key_value_heads": 2},
    **{f"tying {number}": tying for number, tying in enumerate(TYING)},
}


@pytest.mark.slow
def test_another_process_gets_the_same_bits_and_the_same_translations(make_model, make_batch, tmp_path):
    ids, mask = make_batch([[5, 6, 7, 8, 2], [9, 2]])
    inputs, expected = {"input_ids": ids, "attention_mask": mask}, {}
    for name, fields in SAVED.items():
        folder = tmp_path / name
        model = make_model(**fields)
        model.generation_config.update(num_beams=3, length_penalty=0.7, max_new_tokens=9)
        model.save_pretrained(folder)
        save_file(inputs, folder / "inputs.safetensors")
        tokens = model.generate(**inputs).contiguous()
        with torch.no_grad():
            logits = model(**inputs, decoder_input_ids=tokens).logits
        state = {f"state.{name}": tensor for name, tensor in model.state_dict().items()}
        buffers = {f"buffer.{name}": tensor for name, tensor in model.named_buffers()}
        expected[folder] = {"tokens": tokens, "logits": logits, **state, **buffers}
    folders = json.dumps([str(folder) for folder in expected])
    subprocess.run([sys.executable, "-c", READER, folders], check=True, cwd=tmp_path)
    for folder, tensors in expected.items():
        read = load_file(folder / "outputs.safetensors")
        assert read.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(read[name], tensor), (folder.name, name)
        assert tensors["tokens"].shape[1] > 2


@pytest.mark.parametrize("rope_type", ["linear", "dynamic", "yarn", "llama3", "longrope", "proportional"])
def test_every_rope_type_is_saved_and_loaded(make_model, rope_type, tmp_path):
    options = {
        "llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
        "longrope": {
            "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [2.0, 2.1, 2.2, 2.3],
            "original_max_position_embeddings": 16,
        },
    }.get(rope_type, {})
    rope_parameters = {"rope_type": rope_type, "rope_theta": 10000.0, "factor": 2.0, **options}
    model = make_model(position_encoding="rotary", rope_parameters=rope_parameters)
    model.save_pretrained(tmp_path)
    loaded = LocantForConditionalGeneration.from_pretrained(tmp_path)
    assert_same_state(model, loaded)
    assert loaded.config.rope_parameters == model.config.rope_parameters
    ids = torch.arange(64)[None] % 24  # longer than max_position_embeddings, where some rope types change frequencies
    with torch.no_grad():
        assert torch.equal(loaded(ids, decoder_input_ids=ids).logits, model(ids, decoder_input_ids=ids).logits)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loading_in_half_precision_rounds_the_weights_alone(make_model, encoding, dtype, tmp_path):
    model = make_model(position_encoding=encoding)
    model.save_pretrained(tmp_path)
    loaded = LocantForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.to(dtype))
    buffers = dict(loaded.named_buffers())
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffers[name].to(dtype), buffer.to(dtype), atol=0, rtol=0)


def test_generation_options_are_saved(make_model, tmp_path):
    model = make_model()
    model.generation_config.update(num_beams=5, length_penalty=0.6, max_new_tokens=77)
    model.save_pretrained(tmp_path)
    saved = LocantForConditionalGeneration.from_pretrained(tmp_path).generation_config
    assert (saved.num_beams, saved.length_penalty, saved.max_new_tokens) == (5, 0.6, 77)
    assert (saved.pad_token_id, saved.bos_token_id, saved.eos_token_id, saved.decoder_start_token_id) == (0, 1, 2, 1)


def test_configuration_is_saved(make_model, tmp_path):
    model = make_model(position_encoding="rotary", label_smoothing=0.1)
    model.save_pretrained(tmp_path)
    assert LocantConfig.from_pretrained(tmp_path).to_dict() == {
        **model.config.to_dict(),
        "architectures": ["LocantForConditionalGeneration"],
        "dtype": "float32",
    }
