# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What may be given to a model instead of ids, and which cache comes back."""

import pytest
import torch
from transformers import EncoderDecoderCache

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


def test_encoder_outputs_stand_for_a_source(make_model, batch):
    model = make_model()
    expected = logits_of(model, **batch)
    with torch.no_grad():
        encoded = model.get_encoder()(batch.pop("input_ids"), attention_mask=batch["attention_mask"])
    assert torch.equal(logits_of(model, encoder_outputs=encoded, **batch), expected)
    assert torch.equal(logits_of(model, encoder_outputs=(encoded[0],), **batch), expected)


def test_embeddings_stand_for_ids(make_model, batch):
    model = make_model()
    expected = logits_of(model, **batch)
    table = model.get_input_embeddings()
    ids, decoder_ids = batch.pop("input_ids"), batch.pop("decoder_input_ids")
    embedded = {"inputs_embeds": table(ids), "decoder_inputs_embeds": table(decoder_ids)}
    assert torch.equal(logits_of(model, **embedded, **batch), expected)
    with pytest.raises(ValueError, match="either token ids or embeddings, and not both"):
        model(input_ids=ids, decoder_input_ids=decoder_ids, **embedded)
    with pytest.raises(ValueError, match="either token ids or embeddings, and not both"):
        model(decoder_input_ids=decoder_ids)


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


@pytest.mark.parametrize("encoding", ["shaw", "transformer_xl", "t5", "alibi", "rotary"])
@pytest.mark.parametrize("name", ["position_ids", "decoder_position_ids"])
def test_given_positions_reach_cross_attention(make_model, no_grad, encoding, name):
    """Distances there are of positions: what moves both sequences alike moves nothing, one alone does."""
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
