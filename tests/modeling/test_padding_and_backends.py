# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Backends agree, padding changes nothing, and decoding in steps is decoding at once."""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

SOURCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2]]
TARGETS = [[1, 21, 20, 19, 18, 17], [1, 17, 16], [1, 15, 14, 13]]


@pytest.fixture
def batch(make_batch):
    def make(side, decoder_side):
        names = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask")
        tensors = (*make_batch(SOURCES, side), *make_batch(TARGETS, decoder_side))
        return dict(zip(names, tensors, strict=True))

    return make


@torch.no_grad()
def logits_of(model, **inputs):
    return model(**inputs).logits


def one_by_one(model):
    return [
        logits_of(model, input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target]))[0]
        for source, target in zip(SOURCES, TARGETS, strict=True)
    ]


@pytest.fixture(params=[None, 2], ids=["all heads", "grouped heads"])
def key_value_heads(request):
    return {"encoder_key_value_heads": request.param, "decoder_key_value_heads": request.param}


class TestBackends:
    def test_a_padded_batch_is_its_sentences_alone_in_eager(
        self, make_model, encoding, norm_position, backend, batch, side, key_value_heads
    ):
        model = make_model(position_encoding=encoding, norm_position=norm_position, **key_value_heads)
        model.set_attn_implementation("eager")
        expected = one_by_one(model)
        model.set_attn_implementation(backend)
        inputs = batch(side, side)
        logits = logits_of(model, **inputs)
        for row, alone in enumerate(expected):
            real = inputs["decoder_attention_mask"][row].bool()
            torch.testing.assert_close(logits[row][real], alone, atol=2e-5, rtol=1e-5)

    @pytest.mark.parametrize("backend", ["eager", "sdpa"])
    def test_gradients_agree(self, make_model, encoding, batch, backend):
        def gradients(implementation, side):
            model = make_model(position_encoding=encoding)
            model.set_attn_implementation(implementation)
            inputs = batch(side, side)
            labels = inputs["decoder_input_ids"].masked_fill(inputs["decoder_attention_mask"] == 0, -100)
            model(**inputs, labels=labels).loss.backward()
            return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

        expected, others = gradients("eager", "right"), gradients(backend, "left")
        assert len(expected) > 40
        for name, gradient in expected.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")

    @pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
    def test_masks_of_four_dimensions_are_used_as_they_are(self, make_model, backend, dtype, no_grad):
        model = make_model(position_encoding="rotary")
        model.set_attn_implementation(backend)
        ids, target = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[1, 9, 10]])
        sees = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1]]).bool()  # whom in the source each target sees

        def own(mask):
            additive = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
            return (additive if dtype.is_floating_point else mask.to(dtype))[None, None]

        encoded = model.get_encoder()(ids, attention_mask=own(sees[0].expand(4, 4))).last_hidden_state
        expected = model.get_encoder()(ids, attention_mask=sees[0][None].long()).last_hidden_state
        torch.testing.assert_close(encoded[:, :3], expected[:, :3], atol=1e-5, rtol=1e-5)

        inputs = {"decoder_input_ids": target, "encoder_outputs": (encoded,)}
        causal = own(torch.ones(3, 3).tril().bool())
        logits = logits_of(model, attention_mask=own(sees), decoder_attention_mask=causal, **inputs)
        for place, row in enumerate(sees.long()):
            expected = logits_of(model, attention_mask=row[None], **inputs)[0, place]
            if place == 0:  # later places have looked at earlier ones, which saw something else
                torch.testing.assert_close(logits[0, place], expected, atol=1e-5, rtol=1e-5)
            else:
                assert (logits[0, place] - expected).abs().max() > 1e-3

    def test_a_decoder_works_without_a_source(self, make_model, encoding, no_grad):
        decoder = make_model(position_encoding=encoding).get_decoder()
        ids = torch.tensor([[1, 9, 10]])
        whole, start = decoder(ids).last_hidden_state, decoder(ids[:, :2]).last_hidden_state
        torch.testing.assert_close(whole[:, :2], start, atol=1e-5, rtol=1e-5)


class TestSteps:
    # flex_attention with a static cache: transformers' masks count its length while it grows, in every model
    @pytest.mark.parametrize(
        ("backend", "kind"),
        [
            ("eager", "dynamic"),
            ("eager", "static"),
            ("sdpa", "dynamic"),
            ("sdpa", "static"),
            ("flex_attention", "dynamic"),
        ],
    )
    def test_decoding_in_steps_is_decoding_at_once(
        self, make_model, encoding, norm_position, batch, side, kind, backend, uncompiled_flex
    ):
        model = make_model(position_encoding=encoding, norm_position=norm_position, decoder_key_value_heads=2)
        model.set_attn_implementation(backend)
        inputs = batch(side, "left")
        expected = logits_of(model, **inputs)
        if kind == "static":
            caches = StaticCache(model.config, max_cache_len=9), StaticCache(model.config, max_cache_len=7)
        else:
            caches = DynamicCache(), DynamicCache()
        past, steps = EncoderDecoderCache(*caches), []
        decoder_ids, decoder_mask = inputs.pop("decoder_input_ids"), inputs.pop("decoder_attention_mask")
        for start, end in ((0, 3), (3, 4), (4, 6)):
            part = {
                "decoder_input_ids": decoder_ids[:, start:end],
                "decoder_attention_mask": decoder_mask[:, :end],
                "past_key_values": past,
            }
            steps.append(logits_of(model, **inputs, **part))
        real = decoder_mask.bool()
        torch.testing.assert_close(torch.cat(steps, 1)[real], expected[real], atol=2e-5, rtol=1e-5)

    def test_a_cache_comes_when_asked_for(self, make_model, batch):
        model, inputs = make_model(), batch("right", "right")
        with torch.no_grad():
            assert isinstance(model(**inputs).past_key_values, EncoderDecoderCache)
            assert model(**inputs, use_cache=False).past_key_values is None
            assert model(**inputs, labels=inputs["decoder_input_ids"]).past_key_values is None

    def test_encoder_outputs_stand_for_a_source(self, make_model, batch):
        model, inputs = make_model(), batch("right", "right")
        expected = logits_of(model, **inputs)
        with torch.no_grad():
            encoded = model.get_encoder()(inputs.pop("input_ids"), attention_mask=inputs["attention_mask"])
        assert torch.equal(logits_of(model, encoder_outputs=encoded, **inputs), expected)
        assert torch.equal(logits_of(model, encoder_outputs=(encoded[0],), **inputs), expected)

    def test_embeddings_stand_for_ids(self, make_model, batch):
        model, inputs = make_model(), batch("right", "right")
        expected = logits_of(model, **inputs)
        table = model.get_input_embeddings()
        ids, decoder_ids = inputs.pop("input_ids"), inputs.pop("decoder_input_ids")
        embedded = {"inputs_embeds": table(ids), "decoder_inputs_embeds": table(decoder_ids)}
        assert torch.equal(logits_of(model, **embedded, **inputs), expected)
        with pytest.raises(ValueError, match="either token ids or embeddings, and not both"):
            model(input_ids=ids, decoder_input_ids=decoder_ids, **embedded)
        with pytest.raises(ValueError, match="either token ids or embeddings, and not both"):
            model(decoder_input_ids=decoder_ids)

    @pytest.mark.parametrize("encoding", ["sinusoidal", "learned", "rotary"])
    def test_positions_may_be_given(self, make_model, encoding):
        model = make_model(position_encoding=encoding)
        ids, target = torch.tensor([[5, 6, 7]]), torch.tensor([[1, 8, 9]])
        counted = torch.arange(3)[None]
        expected = logits_of(model, input_ids=ids, decoder_input_ids=target)
        given = {"position_ids": counted, "decoder_position_ids": counted}
        assert torch.equal(logits_of(model, input_ids=ids, decoder_input_ids=target, **given), expected)
        for name in given:
            moved = {**given, name: torch.tensor([[0, 2, 1]])}
            other = logits_of(model, input_ids=ids, decoder_input_ids=target, **moved)
            assert (other - expected).abs().max() > 1e-3
