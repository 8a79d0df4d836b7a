# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Inputs that replace ids, the cache that a model returns, and errors about inputs."""

import pytest
import torch
from transformers import EncoderDecoderCache, StaticCache
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    BaseModelOutputWithPooling,
)
from transformers.utils import output_capturing

from locant.modeling.stack_inputs import StackInputs

from .conftest import TRAINED

SOURCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2]]
TARGETS = [[1, 21, 20, 19, 18, 17], [1, 17, 16], [1, 15, 14, 13]]


@pytest.fixture
def batch(make_batch):
    names = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask")
    return dict(zip(names, (*make_batch(SOURCES), *make_batch(TARGETS)), strict=True))


@torch.no_grad()
def logits_of(model, **inputs):
    return model(**inputs).logits


def test_a_cache_comes_when_asked_for(make_model, batch):
    model = make_model()
    with torch.no_grad():
        assert isinstance(model(**batch).past_key_values, EncoderDecoderCache)
        assert model(**batch, use_cache=False).past_key_values is None
        assert model(**batch, labels=batch["decoder_input_ids"]).past_key_values is None


@pytest.mark.parametrize("window", [None, 3])
def test_a_static_cache_may_be_longer_than_the_source(make_model, batch, window, no_grad):
    model = make_model(sliding_window=window)
    caches = [StaticCache(model.config, max_cache_len=16) for _ in ("self", "cross")]
    del batch["attention_mask"]  # without it, no mask would hide the empty slots behind the source
    found = model(**batch, past_key_values=EncoderDecoderCache(*caches)).logits
    torch.testing.assert_close(found, model(**batch).logits, atol=1e-5, rtol=1e-5)


ENCODER_OUTPUTS = {
    "as the encoder returns it": BaseModelOutput,
    "with a pooled vector": lambda states: BaseModelOutputWithPooling(states, states[:, 0]),
    "of a decoder": BaseModelOutputWithPastAndCrossAttentions,
    "a tuple": lambda states: (states,),
    "a list": lambda states: [states],
    "a tuple with a pooled vector": lambda states: (states, states[:, 0]),
}


@pytest.mark.parametrize("form", ENCODER_OUTPUTS.values(), ids=ENCODER_OUTPUTS)
class TestEncoderOutputs:
    """`encoder_outputs` replaces the source, whatever its type."""

    def test_in_forward(self, make_model, batch, no_grad, form):
        model = make_model()
        expected = model(**batch)
        states = model.get_encoder()(batch.pop("input_ids"), attention_mask=batch["attention_mask"])[0]
        outputs = model(encoder_outputs=form(states), **batch)
        assert torch.equal(outputs.logits, expected.logits)
        assert torch.equal(outputs.encoder_last_hidden_state, states)
        assert outputs.encoder_hidden_states is None

    @pytest.mark.parametrize("options", [{}, {"num_beams": 3, "num_return_sequences": 2}])
    def test_in_generate(self, make_model, batch, no_grad, form, options):
        model, mask = make_model(), batch["attention_mask"]
        expected = model.generate(batch["input_ids"], attention_mask=mask, max_new_tokens=4, **options)
        states = model.get_encoder()(batch["input_ids"], attention_mask=mask)[0]
        given = model.generate(encoder_outputs=form(states), attention_mask=mask, max_new_tokens=4, **options)
        assert torch.equal(given, expected)


def test_encoder_outputs_keep_the_states_of_layers(make_model, batch, no_grad):
    model = make_model(attn_implementation="eager")
    wanted = {"output_hidden_states": True, "output_attentions": True}
    expected = model(**batch, **wanted)
    encoded = model.get_encoder()(batch.pop("input_ids"), attention_mask=batch["attention_mask"], **wanted)
    for form in (encoded, encoded.to_tuple()):
        outputs = model(encoder_outputs=form, **batch)
        for name in ("encoder_hidden_states", "encoder_attentions"):
            for given, own in zip(outputs[name], expected[name], strict=True):
                assert torch.equal(given, own)


@pytest.mark.skipif(
    not hasattr(output_capturing, "resolve_hidden_states_indices"),
    reason="transformers 5.20 counts the layers of output_hidden_states otherwise, and not from the end",
)
@pytest.mark.parametrize(("encoder_layers", "decoder_layers"), [(1, 3), (3, 1)])
def test_hidden_states_of_single_layers(make_model, batch, no_grad, encoder_layers, decoder_layers):
    model = make_model(encoder_layers=encoder_layers, decoder_layers=decoder_layers)
    every = model(**batch, output_hidden_states=True)
    last = model(**batch, output_hidden_states=[-1])
    for name in ("encoder_hidden_states", "decoder_hidden_states"):
        assert len(last[name]) == len(every[name])
        assert [number for number, states in enumerate(last[name]) if states is not None] == [len(every[name]) - 1]
        assert torch.equal(last[name][-1], every[name][-1])


@pytest.mark.parametrize("given", [torch.zeros(1, 3, 32), {"last_hidden_state": torch.zeros(1, 3, 32)}])
def test_encoder_outputs_of_another_kind_are_refused(make_model, given):
    message = f"^encoder_outputs is a {type(given).__name__}: give the output of an encoder, or a tuple or list that"
    for run in (make_model().generate, make_model()):
        with pytest.raises(ValueError, match=message):
            run(encoder_outputs=given)


def test_embeddings_stand_for_ids(make_model, batch):
    model = make_model()
    expected = logits_of(model, **batch)
    table = model.get_input_embeddings()
    ids, decoder_ids = batch.pop("input_ids"), batch.pop("decoder_input_ids")
    embedded = {"inputs_embeds": table(ids), "decoder_inputs_embeds": table(decoder_ids)}
    assert torch.equal(logits_of(model, **embedded, **batch), expected)
    with pytest.raises(ValueError, match=r"^input_ids and inputs_embeds are both given: leave one of them out"):
        model(input_ids=ids, decoder_input_ids=decoder_ids, **embedded)
    with pytest.raises(ValueError, match=r"^There are no input_ids: give them, or inputs_embeds"):
        model(decoder_input_ids=decoder_ids)


def test_embeddings_get_the_type_of_the_layers(make_model, batch, no_grad):
    """`inputs_embeds` are cast even if the embedding table has another dtype, and in a replica of DataParallel.

    Such a replica has no parameters.
    """
    model = make_model().bfloat16()
    model.model.encoder.embed_tokens.float()
    encoder = model.model.encoder
    encoder.parameters = lambda *args: iter(())
    states = torch.randn(3, 7, 32)
    expected = encoder(inputs_embeds=states.bfloat16()).last_hidden_state
    assert expected.dtype == torch.bfloat16
    assert torch.equal(encoder(inputs_embeds=states).last_hidden_state, expected)


@pytest.mark.parametrize(("encoding", "backend"), TRAINED)
def test_an_empty_batch_has_an_empty_output(make_model, encoding, backend, no_grad):
    model = make_model(position_encoding=encoding)
    model.set_attn_implementation(backend)
    ids = torch.zeros(0, 5, dtype=torch.long)
    assert model(ids, decoder_input_ids=ids[:, :3]).logits.shape == (0, 3, 24)


class TestMessages:
    """An error about an input is true, and names the argument."""

    def test_labels_that_the_trainer_took_away(self, make_model):
        message = r"^There are no decoder_input_ids: give them, or decoder_inputs_embeds, or labels, .*model=model"
        with pytest.raises(ValueError, match=message):
            make_model()(input_ids=torch.tensor([[5, 6]]))

    def test_decoder_inputs_given_twice(self, make_model):
        ids, embeddings = torch.tensor([[5]]), torch.zeros(1, 1, 32)
        with pytest.raises(ValueError, match=r"^decoder_input_ids and decoder_inputs_embeds are both given"):
            make_model()(ids, decoder_input_ids=ids, decoder_inputs_embeds=embeddings)

    @pytest.mark.parametrize("prefix", ["", "decoder_"])
    def test_of_one_dimension(self, make_model, prefix):
        ids, embeddings = torch.tensor([5, 6]), torch.zeros(2, 32)
        whole = {"input_ids": ids[None], "decoder_input_ids": ids[None]}
        with pytest.raises(ValueError, match=rf"^{prefix}input_ids has the shape \(2,\): give \(batch, length\)\.$"):
            make_model()(**{**whole, f"{prefix}input_ids": ids})
        del whole[f"{prefix}input_ids"]
        with pytest.raises(
            ValueError, match=rf"^{prefix}inputs_embeds has the shape \(2, 32\): give \(batch, length, d"
        ):
            make_model()(**whole, **{f"{prefix}inputs_embeds": embeddings})

    @pytest.mark.parametrize("prefix", ["", "decoder_"])
    @pytest.mark.parametrize("wrong", [-1, 24])
    def test_beyond_the_vocabulary(self, make_model, prefix, wrong):
        ids = {"input_ids": torch.tensor([[5, 6]]), "decoder_input_ids": torch.tensor([[5, 6]])}
        ids[f"{prefix}input_ids"] = torch.tensor([[5, wrong]])
        low, high = sorted((5, wrong))
        message = f"^{prefix}input_ids must be from 0 to 23, as vocab_size is 24, but are from {low} to {high}"
        with pytest.raises(IndexError, match=message):
            make_model()(**ids)


@pytest.mark.parametrize("encoding", ["sinusoidal", "learned", "rotary"])
def test_positions_may_be_given(make_model, encoding):
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


@pytest.mark.parametrize("mask_type", [torch.bool, torch.uint8, torch.float32])
def test_any_number_but_0_marks_a_real_token(make_model, batch, encoding, mask_type, no_grad):
    model = make_model(position_encoding=encoding)
    expected = model(**batch).logits
    mask = 255 * batch["attention_mask"]
    assert torch.equal(model(**{**batch, "attention_mask": mask.to(mask_type)}).logits, expected)


@pytest.mark.parametrize("encoding", ["shaw", "transformer_xl", "t5", "alibi", "rotary"])
@pytest.mark.parametrize("name", ["position_ids", "decoder_position_ids"])
def test_given_positions_reach_cross_attention(make_model, no_grad, encoding, name):
    """Cross-attention uses distances of positions: it does not change if both sequences are shifted alike."""
    model = make_model(position_encoding="none", cross_position_encoding=encoding)
    ids, target = torch.tensor([[5, 6, 7]]), torch.tensor([[1, 8, 9]])
    inputs, counted = {"input_ids": ids, "decoder_input_ids": target}, torch.arange(3)[None]
    expected = model(**inputs).logits
    both = model(**inputs, position_ids=counted + 4, decoder_position_ids=counted + 4).logits
    torch.testing.assert_close(both, expected, atol=2e-5, rtol=1e-5)
    given = {"position_ids": counted, "decoder_position_ids": counted, name: counted * 2}
    assert (model(**inputs, **given).logits - expected).abs().max() > 1e-3


def test_a_decoder_works_without_a_source(make_model, encoding, no_grad):
    decoder = make_model(position_encoding=encoding).get_decoder()
    ids = torch.tensor([[1, 9, 10]])
    whole, start = decoder(ids).last_hidden_state, decoder(ids[:, :2]).last_hidden_state
    torch.testing.assert_close(whole[:, :2], start, atol=1e-5, rtol=1e-5)


def test_masks_and_positions_follow_the_hidden_states_to_another_device():
    given = torch.ones(2, 5)
    moved = StackInputs(given, given, None, given, 5, given).on(torch.device("meta"))
    assert moved.hidden_states is given
    assert moved.attention_mask.is_meta
    assert moved.position_ids.is_meta
    assert moved.given_position_ids.is_meta
    assert moved.document_ids is None
