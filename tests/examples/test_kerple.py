# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""KERPLE, which lives outside of the package, is its formula, works wherever the package's own do, and learns order."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn.attention import flex_attention as torch_flex

from locant import LocantConfig, LocantForConditionalGeneration
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.modeling.attention_backends import can_serve, check_backend
from locant.modeling.positions import PositionIndex, SlotIndex
from locant.modeling.positions.base import _CLASSES, pair_indices

SCRIPT = Path(__file__).parents[2] / "examples" / "kerple.py"
HEADS = 3
SOURCE = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 2], [5, 4, 3, 2] + [0] * 16])
TARGET = torch.tensor([[7, 6, 5, 4, 3, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 12, 11, 2], [8, 2] + [-100] * 16])


@pytest.fixture(scope="module", autouse=True)
def kerple():
    """The example's module; the encoding is gone after these tests."""
    spec = importlib.util.spec_from_file_location("kerple", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del POSITION_ENCODINGS["kerple"], _CLASSES["kerple"]


@pytest.fixture
def config():
    """Small, with KERPLE everywhere, different numbers of heads in the stacks, and shared key–value heads."""
    return LocantConfig(
        vocab_size=20,
        d_model=24,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=4,
        decoder_key_value_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        dropout=0.0,
        position_encoding="kerple",
        cross_position_encoding="kerple",
    )


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return LocantForConditionalGeneration(config).eval()


def loss_of(model):
    return model(input_ids=SOURCE, attention_mask=SOURCE.ne(0).long(), labels=TARGET)


INDICES = {
    "at once": SlotIndex(5, 5),
    "from a cache": SlotIndex(2, 7, q_offset=5),
    "from a cache that has slid": SlotIndex(1, 4, q_offset=9, kv_offset=6),
    "across": PositionIndex(torch.tensor([[0, 1, 2], [0, 0, 1]]), torch.tensor([[0, 1, 2, 3], [0, 1, 1, 1]]), 3, 4),
}


class TestBias:
    @pytest.mark.parametrize("power", [1.0, 0.5, 2])
    @pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
    def test_it_is_the_formula_pair_by_pair(self, kerple, index, power):
        r1, r2 = [2.0, 0.01, 1.3], [1.0, 0.7, 0.01]
        expected = torch.zeros(2, HEADS, index.q_length, index.kv_length)
        for batch, head, i, j in torch.cartesian_prod(*map(torch.arange, expected.shape)).tolist():
            distance = abs(int(index.distance(batch, i, j)))
            expected[batch, head, i, j] = -r1[head] * math.log(1 + r2[head] * distance**power)
        bias = kerple.KerpleBias(index, torch.tensor([r1, r2]), power)
        pointwise = bias.pointwise(*pair_indices(2, HEADS, index, torch.device("cpu")))
        matrix = bias.matrix(2, HEADS, torch.device("cpu"))
        torch.testing.assert_close(pointwise.expand_as(expected), expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(matrix.expand_as(expected), expected, atol=1e-6, rtol=1e-6)

    def test_far_distances_differ_in_half_precision(self, kerple, config):
        encoding = kerple.KerpleEncoding(config).to(torch.bfloat16)
        encoding.init_weights()
        _, factors = encoding(torch.zeros(1, 1, 24, dtype=torch.bfloat16), torch.zeros(1, 1), 1)
        bias = kerple.KerpleBias(SlotIndex(1, 1), factors, 1.0).of_distance(0, torch.arange(-300, 0))
        assert (bias.diff() > 0).all()


class TestParameters:
    def test_each_stack_has_two_a_head_and_no_layer_has_any(self, model):
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if "position" in name}
        assert shapes == {
            "model.encoder.position.free": (2, HEADS),
            "model.decoder.position.free": (2, 4),
            "model.decoder.cross_position.free": (2, 4),
        }

    def test_they_start_where_the_authors_do(self, kerple, config):
        torch.manual_seed(0)
        config.encoder_attention_heads, config.head_dim = 1000, 8
        encoding = kerple.KerpleEncoding(config)
        encoding.init_weights()
        for numbers, largest in zip(encoding(None, None, None)[1], (2.0, 1.0), strict=True):
            assert 0.0099 < numbers.min() < 0.02
            assert 0.99 * largest < numbers.max() < 1.0001 * largest
            assert abs(numbers.mean() - largest / 2) < 0.05 * largest

    def test_however_far_they_are_pushed_they_stay_above_0_and_have_a_gradient(self, kerple, config):
        encoding = kerple.KerpleEncoding(config)
        encoding.free.data.fill_(-30.0)
        prepared = encoding(None, None, None)[1]
        prepared.log().sum().backward()
        assert (prepared > 0).all()
        torch.testing.assert_close(encoding.free.grad, torch.ones(2, HEADS))

    @pytest.mark.parametrize("power", [0, -1.0, 2.5, "1", True])
    def test_a_power_that_the_theory_does_not_know_is_refused(self, power):
        with pytest.raises(
            StrictDataclassError, match=r"position_parameters\['kerple'\]: power must be a number above 0"
        ):
            LocantConfig(position_encoding="kerple", position_parameters={"kerple": {"power": power}})

    def test_the_power_of_the_config_reaches_the_layers(self, config):
        config.position_parameters = {"kerple": {"power": 0.5}}
        model = LocantForConditionalGeneration(config)
        encoding = model.model.encoder.position
        assert encoding.shared_bias(encoding(None, None, None)[1], SlotIndex(1, 1)).power == 0.5


class TestBackends:
    @pytest.mark.parametrize("backend", ["sdpa", "blockwise"])
    def test_numbers_and_gradients_are_those_of_eager(self, model, backend, monkeypatch):
        monkeypatch.setattr("locant.modeling.blockwise._BLOCK_ELEMENTS", 1)  # blocks of 16 queries
        results = []
        for choice in ("eager", backend):
            model.set_attn_implementation(choice)
            model.zero_grad()
            output = loss_of(model)
            output.loss.backward()
            results.append([output.logits, *(p.grad for p in model.parameters())])
        own = [p.grad for name, p in model.named_parameters() if "position" in name]
        assert all((grad.abs() > 1e-7).all() for grad in own)
        for expected, actual in zip(*results, strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)

    @pytest.mark.slow
    def test_flex_attention_computes_the_same_forward(self, model, monkeypatch):
        monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
        path = "locant.modeling.attention_backends.compile_friendly_flex_attention"
        monkeypatch.setattr(path, lambda *args, training=False, **kwargs: torch_flex.flex_attention(*args, **kwargs))
        logits = []
        with torch.no_grad():
            for backend in ("eager", "flex_attention"):
                model.set_attn_implementation(backend)
                logits.append(loss_of(model).logits)
        real = TARGET >= 0
        torch.testing.assert_close(logits[1][real], logits[0][real], atol=1e-5, rtol=1e-5)

    def test_flash_attention_cannot_serve_it(self, kerple):
        config = LocantConfig(position_encoding="kerple")
        assert not can_serve("flash_attention_2", config, "encoder")
        with pytest.raises(
            ValueError, match=r"^flash_attention_2 cannot add .* eager, sdpa, blockwise or flex_attention\.$"
        ):
            check_backend("flash_attention_2", config, "encoder")

    @pytest.mark.parametrize("cache", ["dynamic", "static"])
    def test_generates_with_a_cache_what_it_generates_without(self, model, cache):
        options = {"attention_mask": SOURCE.ne(0).long(), "max_new_tokens": 8, "no_repeat_ngram_size": 2}
        with_cache = model.generate(SOURCE, cache_implementation=cache, **options)
        assert with_cache.tolist() == model.generate(SOURCE, use_cache=False, **options).tolist()


class TestTraining:
    def test_it_trains_saves_and_loads(self, kerple, tmp_path):
        torch.manual_seed(0)
        model = kerple.train("kerple", length=5, steps=30)
        untrained = kerple.train("kerple", length=5, steps=0)
        source, target = kerple.draw(64, 5)
        with torch.no_grad():
            losses = [float(a_model(input_ids=source, labels=target).loss) for a_model in (untrained, model)]
        assert losses[1] < 0.8 * losses[0]
        moved = model.model.encoder.position.free - untrained.model.encoder.position.free
        assert moved.abs().min() > 1e-3
        model.save_pretrained(tmp_path)
        loaded = LocantForConditionalGeneration.from_pretrained(tmp_path).eval()
        with torch.no_grad():
            pair = [a_model(input_ids=source, labels=target).logits for a_model in (model, loaded)]
        assert torch.equal(*pair)

    def test_a_model_without_position_gets_it_by_name(self, kerple):
        model = kerple.train("none", steps=0).with_position_encoding("kerple")
        assert isinstance(model.model.encoder.position, kerple.KerpleEncoding)
        assert model.model.encoder.position(None, None, None)[1].min() > 0

    @pytest.mark.slow
    def test_the_script_shows_that_it_learned_order(self):
        output = subprocess.run([sys.executable, SCRIPT], check=True, capture_output=True, text=True).stdout
        right = {line.split()[0]: line.replace("%", "").split() for line in output.splitlines()}
        short, long = ({name: int(words[place]) for name, words in right.items()} for place in (3, 6))
        assert short["kerple"] > 90
        assert short["none"] < 10
        assert long["kerple"] > 50
