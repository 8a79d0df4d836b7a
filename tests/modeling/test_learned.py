# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A trained vector for each position, and the error for positions beyond the table."""

import pytest
import torch
from torch import nn
from transformers import BartConfig, BartModel, BertConfig, BertModel, GPT2Config, GPT2Model

from locant.modeling.positions import LearnedEncoding
from locant.modeling.stacks import LocantEncoder


class TestLearnedEncoding:
    @pytest.fixture
    def encoding(self, make_config):
        return LearnedEncoding(make_config(max_position_embeddings=8))

    def test_adds_the_row_of_each_position(self, encoding):
        ids = torch.tensor([[0, 7, 3]])
        expected = 1 + encoding.embeddings.weight[ids]
        assert torch.equal(encoding(torch.ones(1, 3, 32), ids, 8)[0], expected)

    def test_says_where_it_ends(self, encoding):
        with pytest.raises(ValueError) as error:
            encoding(torch.zeros(1, 9, 32), torch.arange(9)[None], 9)
        assert str(error.value) == (
            "A sequence needs 9 positions, but the learned table has 8: "
            "shorten the sequence (or give smaller position_ids), or choose a larger max_position_embeddings before "
            "training."
        )

    @pytest.mark.parametrize("where", ["source", "target", "given positions", "generate"])
    def test_a_model_says_where_it_ends(self, make_model, where):
        model = make_model(position_encoding="learned", max_position_embeddings=8)
        short, long = torch.full((1, 4), 5), torch.full((1, 9), 5)
        with pytest.raises(ValueError, match=r"needs 9 positions, but the learned table has 8:"):
            if where == "source":
                model(input_ids=long, decoder_input_ids=short)
            elif where == "target":
                model(input_ids=short, decoder_input_ids=long)
            elif where == "given positions":
                model(input_ids=short, decoder_input_ids=short, position_ids=torch.tensor([[0, 1, 2, 8]]))
            else:
                model.generate(short, min_new_tokens=20, max_new_tokens=20)

    @pytest.mark.parametrize("cache", ["dynamic", "static"])
    def test_generates_up_to_its_end(self, make_model, cache):
        model = make_model(position_encoding="learned", max_position_embeddings=8)
        tokens = model.generate(torch.full((1, 4), 5), min_new_tokens=8, max_new_tokens=8, cache_implementation=cache)
        assert tokens.shape == (1, 9)

    def test_padding_takes_no_positions(self, make_model, make_batch, side):
        model = make_model(position_encoding="learned", max_position_embeddings=4)
        sentences = [[5, 6, 7], [8, 9, 10, 2]]
        ids, mask = make_batch(sentences, side)
        padding = (0, 6) if side == "right" else (6, 0)
        ids, mask = (torch.nn.functional.pad(tensor, padding) for tensor in (ids, mask))
        assert ids.shape[1] > model.config.max_position_embeddings
        with torch.no_grad():
            states = model.get_encoder()(ids, attention_mask=mask).last_hidden_state
            for row, sentence in enumerate(sentences):
                alone = model.get_encoder()(torch.tensor([sentence])).last_hidden_state[0]
                torch.testing.assert_close(states[row][mask[row].bool()], alone, atol=1e-5, rtol=1e-5)


LENGTH, WIDTH, ROWS = 6, 32, 12


def bart_embeddings():
    """BART's encoder without layers and norm only adds positions; its table has two rows before position 0."""
    theirs = BartModel(BartConfig(vocab_size=24, d_model=WIDTH, encoder_layers=0, max_position_embeddings=ROWS)).encoder
    theirs.layernorm_embedding = nn.Identity()
    return theirs, theirs.embed_tokens.weight, theirs.embed_positions.weight, 2


def gpt2_embeddings():
    theirs = GPT2Model(GPT2Config(vocab_size=24, n_embd=WIDTH, n_layer=0, n_head=4, n_positions=ROWS))
    theirs.ln_f = nn.Identity()
    return theirs, theirs.wte.weight, theirs.wpe.weight, 0


def bert_embeddings():
    """BERT's embeddings without the norm; the table of token types, which BERT adds too, is set to 0."""
    config = BertConfig(
        vocab_size=24, hidden_size=WIDTH, num_hidden_layers=0, num_attention_heads=4, max_position_embeddings=ROWS
    )
    theirs = BertModel(config, add_pooling_layer=False)
    theirs.embeddings.LayerNorm = nn.Identity()
    theirs.embeddings.token_type_embeddings.weight.data.zero_()
    return theirs, theirs.embeddings.word_embeddings.weight, theirs.embeddings.position_embeddings.weight, 0


class TestAgainstOthers:
    """The input of our stack's first layer, with the tables of another model, equals that of the other model."""

    @pytest.fixture(params=[bart_embeddings, gpt2_embeddings, bert_embeddings], ids=["BART", "GPT-2", "BERT"])
    def pair(self, request, make_config):
        theirs, words, table, offset = request.param()
        table.data.normal_()
        fields = {"scale_embedding": False, "position_parameters": {"learned": {"offset": offset}}}
        ours = LocantEncoder(make_config(position_encoding="learned", max_position_embeddings=ROWS, **fields)).eval()
        ours.embed_tokens.weight.data.copy_(words)
        ours.position.embeddings.load_state_dict({"weight": table.detach()})
        return theirs.eval(), ours

    @pytest.mark.parametrize("length", [1, LENGTH, ROWS])
    def test_embeddings(self, pair, length):
        theirs, ours = pair
        ids = torch.randint(3, 24, (2, length))
        with torch.no_grad():
            states = before_the_layers(ours, ids)
            torch.testing.assert_close(states, theirs(ids).last_hidden_state, atol=1e-5, rtol=0)

    def test_gradients(self, pair):
        theirs, ours = pair
        ids, weight = torch.randint(3, 24, (2, LENGTH)), torch.randn(2, LENGTH, WIDTH)
        (theirs(ids).last_hidden_state * weight).sum().backward()
        (before_the_layers(ours, ids) * weight).sum().backward()
        expected = [p.grad for p in theirs.parameters() if p.grad is not None and p.shape == table_of(ours).shape]
        assert len(expected) == 1
        torch.testing.assert_close(table_of(ours).grad, expected[0], atol=1e-5, rtol=0)


def before_the_layers(stack, ids):
    return stack(ids, output_hidden_states=True).hidden_states[0]


def table_of(ours):
    return ours.position.embeddings.weight
