# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Which backend serves which encoding: the refused pairs, when and how they are refused, and the default backend."""

import pytest
import torch
from transformers import AttentionInterface

from locant.modeling import attention
from locant.modeling.attention_backends import can_serve, check_backend, check_name
from locant.modeling.modeling_locant import LocantForConditionalGeneration, LocantModel
from locant.modeling.modeling_locant_decoder import LocantForCausalLM
from locant.modeling.stacks import LocantDecoder, LocantEncoder

from .conftest import slow_except

# who can, where the backend cannot
ABLE = {
    ("shaw", "sdpa"): "eager or blockwise",
    ("shaw", "flex_attention"): "eager or blockwise",
    ("transformer_xl", "flex_attention"): "eager, sdpa or blockwise",
}
ONE_LAYER = {"encoder_layers": 1, "decoder_layers": 1}


@pytest.fixture(params=["position_encoding", "decoder_position_encoding", "cross_position_encoding"])
def field(request):
    """The config field that gives one kind of attention the encoding, which is enough to refuse a backend."""
    return request.param


def only(field, encoding):
    return {"position_encoding": "none", "decoder_position_encoding": "none", field: encoding}


def in_its_place(encoding, field):
    """The encoding; in cross-attention, `none` for encodings of the embeddings, which the config refuses there."""
    is_absolute = field == "cross_position_encoding" and encoding in ("sinusoidal", "learned")
    return "none" if is_absolute else encoding


def sentence(encoding, backend):
    able = ABLE[encoding, backend]
    return rf"^{backend} cannot add the bias .*{encoding}.* of attention: set attn_implementation to {able}\.$"


class TestRefused:
    def test_at_construction(self, make_model, refused, field):
        encoding, backend = refused
        for cls in (LocantForConditionalGeneration, LocantModel):
            with pytest.raises(ValueError, match=sentence(*refused)):
                make_model(cls, attn_implementation=backend, **only(field, encoding))

    def test_when_set(self, make_model, refused, field):
        encoding, backend = refused
        model = make_model(**only(field, encoding))
        before = model.config._attn_implementation
        with pytest.raises(ValueError, match=sentence(*refused)):
            model.set_attn_implementation(backend)
        assert model.config._attn_implementation == before
        ids = torch.tensor([[5, 6, 7]])
        assert model(ids, decoder_input_ids=ids).logits.isfinite().all()

    def test_when_loaded(self, make_model, refused, field, tmp_path):
        encoding, backend = refused
        make_model(**only(field, encoding)).save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=sentence(*refused)):
            LocantForConditionalGeneration.from_pretrained(tmp_path, attn_implementation=backend)

    def test_one_that_makes_no_masks(self, make_model):
        def attention(*args, **kwargs):
            raise AssertionError

        AttentionInterface.register("without masks", attention)
        try:
            with pytest.raises(
                ValueError, match=r"^without masks has no mask function, .*: register a mask function with .* eager"
            ):
                make_model().set_attn_implementation("without masks")
        finally:
            del AttentionInterface._global_mapping["without masks"]


class TestServed:
    @pytest.mark.sampled(3)
    def test_at_construction_when_set_and_when_loaded(self, make_model, served, field, tmp_path):
        encoding, backend = served
        encoding = in_its_place(encoding, field)
        model = make_model(attn_implementation=backend, **ONE_LAYER, **only(field, encoding))
        model.save_pretrained(tmp_path)
        ids, logits = torch.tensor([[5, 6, 7]]), []
        models = [model, make_model(**ONE_LAYER, **only(field, encoding))]
        models.append(LocantForConditionalGeneration.from_pretrained(tmp_path, attn_implementation=backend))
        models[1].set_attn_implementation(backend)
        for served_model in models:
            assert served_model.config._attn_implementation == backend
            with torch.no_grad():
                logits.append(served_model(ids, decoder_input_ids=ids).logits)
        assert torch.equal(logits[0], logits[1])
        assert torch.equal(logits[0], logits[2])

    @pytest.mark.parametrize("backend", ["sdpa", "flex_attention"])
    def test_shaws_keys_without_his_values(self, make_model, uncompiled_flex, no_grad, backend):
        model = make_model(position_encoding="shaw", position_parameters={"shaw": {"values": False}})
        assert model.config._attn_implementation == "sdpa"
        ids = torch.arange(3, 20)[None]
        model.set_attn_implementation("eager")
        expected = model(ids, decoder_input_ids=ids).logits
        model.set_attn_implementation(backend)
        torch.testing.assert_close(model(ids, decoder_input_ids=ids).logits, expected, atol=2e-5, rtol=1e-5)


class TestDefault:
    @pytest.mark.sampled(2)
    def test_is_one_that_serves(self, make_model, encoding, field, tmp_path):
        encoding = in_its_place(encoding, field)
        model = make_model(**ONE_LAYER, **only(field, encoding)).train()
        default = "blockwise" if encoding == "shaw" else "sdpa"
        assert model.config._attn_implementation == default
        ids = torch.tensor([[5, 6, 7]])
        model(ids, labels=ids).loss.backward()
        model.set_attn_implementation("eager")
        model.save_pretrained(tmp_path)  # the backend is the machine's matter, not the weights'
        assert LocantForConditionalGeneration.from_pretrained(tmp_path).config._attn_implementation == default

    def test_of_one_stack_alone(self, make_model, encoding):
        for cls in (LocantEncoder, LocantDecoder):
            stack = make_model(cls, position_encoding=encoding)
            assert stack.config._attn_implementation == ("blockwise" if encoding == "shaw" else "sdpa")
            assert stack(torch.tensor([[5, 6, 7]])).last_hidden_state.isfinite().all()


class TestWeights:
    def test_eager_returns_them(self, shared_model, encoding, make_batch, no_grad):
        ids, mask = make_batch([[5, 6, 7, 8], [9, 10]], "left")
        model = shared_model("eager", position_encoding=encoding)
        outputs = model(
            ids, attention_mask=mask, decoder_input_ids=ids, decoder_attention_mask=mask, output_attentions=True
        )
        kinds = outputs.encoder_attentions, outputs.decoder_attentions, outputs.cross_attentions
        assert [len(weights) for weights in kinds] == [2, 2, 2]
        for weights in sum(kinds, ()):
            torch.testing.assert_close(weights[mask.bool().any(1)].sum(-1), torch.ones(2, 4, 4))
            assert (weights[1, :, 2:, :2] == 0).all()

    @pytest.mark.parametrize("backend", slow_except(["sdpa", "blockwise"], ["sdpa", "blockwise", "flex_attention"]))
    def test_others_say_that_they_have_none(self, shared_model, backend, monkeypatch, no_grad):
        told = []
        monkeypatch.setattr(attention.logger, "warning_once", told.append)
        ids = torch.tensor([[5, 6, 7]])
        model = shared_model(backend, position_encoding="sinusoidal")
        assert model(ids, decoder_input_ids=ids, output_attentions=True).decoder_attentions == ()
        assert set(told) == {
            f"The attention backend {backend} computes no attention weights, so output_attentions=True returns none: "
            'call model.set_attn_implementation("eager").'
        }
        told.clear()
        model(ids, decoder_input_ids=ids)
        assert told == []


class TestFlexCannotTrain:
    """The first training step with flex_attention raises an error on CPU, and with attention dropout."""

    @pytest.fixture
    def batch(self):
        ids = torch.tensor([[5, 6, 7]])
        return {"input_ids": ids, "labels": ids}

    @pytest.mark.slow
    def test_on_cpu(self, make_model, batch):
        model = make_model(attn_implementation="flex_attention").train()
        with pytest.raises(ValueError, match=r"^flex_attention has no backward pass on CPU: .* blockwise to train\.$"):
            model(**batch)

    def test_with_dropout(self, make_model, uncompiled_flex, no_grad, batch):
        model = make_model(attn_implementation="flex_attention", attention_dropout=0.1)
        expected = model(**batch).loss
        with pytest.raises(
            ValueError, match=r"^flex_attention has no dropout, .* attention_dropout=0\.1: .* blockwise\.$"
        ):
            model.train()(**batch)
        model.set_attn_implementation("blockwise")
        torch.testing.assert_close(model.eval()(**batch).loss, expected)


@pytest.mark.parametrize(
    ("backend", "adds_slopes"),
    [
        ("flash_attention_2", True),
        ("kernels-community/flash-attn2", True),
        ("flash_attention_3", False),
        ("kernels-community/flash-attn3", False),
    ],
)
def test_flash_attention_2_adds_the_slopes_of_alibi_and_other_versions_do_not(make_config, backend, adds_slopes):
    config = make_config(position_encoding="alibi", cross_position_encoding="alibi")
    kinds = ("encoder", "decoder", "cross")
    assert [can_serve(backend, config, kind) for kind in kinds] == [adds_slopes, adds_slopes, False]
    assert all(can_serve(backend, make_config(position_encoding="rotary"), kind) for kind in kinds)


def test_flash_attention_3_is_refused_for_alibi(make_config):
    able = "eager, sdpa, blockwise or flex_attention"
    with pytest.raises(ValueError, match=rf"^flash_attention_3 cannot add the bias .*'alibi'.* to {able}\.$"):
        check_backend("flash_attention_3", make_config(position_encoding="alibi"), "decoder")


@pytest.mark.parametrize("backend", ["kernels-community/flash-attn2", "somebody/attention"])
def test_the_name_of_a_kernel_on_the_hub_is_no_unknown_name(make_config, backend):
    check_name(backend, make_config(position_encoding="alibi"), ("encoder", "decoder"))


@pytest.mark.parametrize(
    ("encoding", "able"), [("rotary", "eager, sdpa, blockwise or flex_attention"), ("shaw", "eager or blockwise")]
)
def test_a_name_that_is_no_backend_is_refused_with_those_that_serve_the_model(make_config, encoding, able):
    message = rf'^Specified `attn_implementation="blokwise"` is not supported: set it to {able}\.$'
    with pytest.raises(ValueError, match=message):
        LocantForCausalLM(make_config(position_encoding=encoding, attn_implementation="blokwise"))
    with pytest.raises(ValueError, match=message):
        LocantForCausalLM(make_config(position_encoding=encoding)).set_attn_implementation("blokwise")
