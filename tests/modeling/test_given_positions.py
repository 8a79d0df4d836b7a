# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Every encoding uses the positions that the caller gives: shared prefixes, reordered tokens, gaps."""

import pytest
import torch
from transformers import StaticCache

from locant.modeling.modeling_locant_decoder import LocantForCausalLM
from locant.modeling.modeling_locant_encoder import LocantEncoderModel

from .conftest import SERVED, STEEP

WITH_POSITION = [pair for pair in SERVED if pair[0] != "none"]
BY_DISTANCE = ["shaw", "transformer_xl", "t5", "alibi"]
PREFIX, ONE, OTHER = [[5, 6, 7]], [[8, 9]], [[10, 11]]
TREE = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])
TREE_POSITIONS = torch.tensor([[0, 1, 2, 3, 4, 3, 4]])


def tree_mask():
    """The mask of a prefix and two branches: causal, and the second branch does not see the first."""
    mask = torch.ones(1, 1, 7, 7, dtype=torch.bool).tril()
    mask[..., 5:, 3:5] = False
    return mask


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=1e-4)


@pytest.fixture(params=WITH_POSITION, ids="-".join)
def served(request, uncompiled_flex, small_blocks):
    return request.param


@pytest.fixture
def build(make_model):
    def build(encoding, backend="eager", cls=LocantForCausalLM, **fields):
        fields |= {"position_encoding": encoding, "position_parameters": STEEP, "attn_implementation": backend}
        return make_model(cls, **fields)

    return build


@pytest.fixture
def branches(build, no_grad):
    """A model, and the logits of both branches, each after the prefix alone."""

    def make(*served):
        model = build(*served)
        rows = [model(torch.tensor([[*PREFIX[0], *branch[0]]])).logits[:, 3:] for branch in (ONE, OTHER)]
        return model, torch.cat(rows, dim=1)

    return make


class TestADecoder:
    def test_branches_share_a_prefix(self, branches, served):
        model, expected = branches(*served)
        logits = model(TREE, attention_mask=tree_mask(), position_ids=TREE_POSITIONS).logits[:, 3:]
        close(logits, expected)
        by_slots = model(TREE, attention_mask=tree_mask()).logits[:, 3:]
        assert (by_slots - expected)[:, 2:].abs().max() > 1e-3  # the second branch would be two positions further

    @pytest.mark.sampled(2)
    def test_branches_share_a_cached_prefix(self, branches, served):
        model, expected = branches(*served)
        cache = model(torch.tensor(PREFIX), use_cache=True).past_key_values
        inputs = {"attention_mask": tree_mask()[:, :, 3:], "position_ids": TREE_POSITIONS}
        close(model(TREE[:, 3:], past_key_values=cache, **inputs).logits, expected)

    @pytest.mark.sampled(2)
    def test_branches_share_a_prefix_in_a_static_cache(self, branches, served):
        model, expected = branches(*served)
        cache = StaticCache(config=model.config, max_cache_len=9)
        model(torch.tensor(PREFIX), past_key_values=cache, position_ids=TREE_POSITIONS[:, :3])
        inputs = {"attention_mask": tree_mask()[:, :, 3:], "position_ids": TREE_POSITIONS}
        close(model(TREE[:, 3:], past_key_values=cache, **inputs).logits, expected)

    def test_each_sequence_has_its_own(self, build, served, no_grad):
        model = build(*served)
        ids, positions = torch.tensor([[5, 6, 7], [5, 6, 7]]), torch.tensor([[0, 1, 2], [0, 3, 9]])
        rows = [model(ids[:1], position_ids=row[None]).logits for row in positions]
        close(model(ids, position_ids=positions).logits, torch.cat(rows))
        assert (rows[0] - rows[1]).abs().max() > 1e-3

    def test_sliding_layers_drop_the_oldest_with_their_positions(self, build, served, no_grad):
        model = build(*served, sliding_window=3, decoder_layer_types=["sliding_attention", "full_attention"])
        ids, positions = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]]), torch.tensor([[0, 1, 4, 5, 7, 9, 10, 12]])
        expected = model(ids, position_ids=positions).logits
        cache = model(ids[:, :5], position_ids=positions[:, :5], use_cache=True).past_key_values
        for last in (6, 7, 8):
            step = model(ids[:, last - 1 : last], position_ids=positions[:, :last], past_key_values=cache).logits
            close(step, expected[:, last - 1 : last])

    @pytest.mark.parametrize("encoding", BY_DISTANCE)
    def test_those_that_are_counted_may_be_given_for_new_tokens_alone(self, build, encoding, make_batch, no_grad):
        model = build(encoding)
        ids, mask = make_batch([[5, 6, 7, 8], [9, 10]], "left")
        expected = model(ids, mask).logits[:, 2:]
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)  # of the slots 1 to 3, one is padding
        cache = model(ids[:, :1], mask[:, :1], position_ids=positions[:, :1], use_cache=True).past_key_values
        given = model(ids[:, 1:], mask, position_ids=positions[:, 1:], past_key_values=cache).logits
        close(given[:, 1:], expected)

    @pytest.mark.parametrize("encoding", BY_DISTANCE)
    @pytest.mark.parametrize("static", [False, True])
    def test_others_have_to_be_given_for_the_tokens_in_the_cache_too(self, build, encoding, static, no_grad):
        model = build(encoding)
        cache = StaticCache(config=model.config, max_cache_len=8) if static else None
        cache = model(torch.tensor(PREFIX), past_key_values=cache, use_cache=True).past_key_values
        with pytest.raises(
            ValueError, match=r"^position_ids are given for the 2 new tokens only, .*\(batch, past \+ 2\)"
        ):
            model(torch.tensor(ONE), position_ids=torch.tensor([[5, 6]]), past_key_values=cache)

    @pytest.mark.parametrize("encoding", BY_DISTANCE)
    def test_an_emptied_static_cache_holds_no_earlier_tokens(self, build, encoding, no_grad):
        model = build(encoding)
        inputs = {"input_ids": torch.tensor(PREFIX), "position_ids": torch.tensor([[0, 4, 5]])}
        fresh, used = (StaticCache(config=model.config, max_cache_len=8) for _ in range(2))
        model(torch.tensor(ONE), past_key_values=used)
        used.reset()
        close(model(**inputs, past_key_values=used).logits, model(**inputs, past_key_values=fresh).logits)

    @pytest.mark.parametrize("encoding", [*BY_DISTANCE, "rotary", "sinusoidal", "learned"])
    def test_generate_goes_on_from_them(self, build, encoding, no_grad):
        model = build(encoding)
        options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "output_logits": True}
        prompt, gap = torch.tensor(PREFIX), torch.tensor([[0, 4, 5]])
        generated = model.generate(prompt, position_ids=gap, return_dict_in_generate=True, **options)
        positions = torch.tensor([[0, 4, 5, 6, 7, 8, 9]])
        expected = model(generated.sequences[:, :7], position_ids=positions).logits[:, 2:]
        close(torch.stack(generated.logits, dim=1), expected)
        assert (model(generated.sequences[:, :7]).logits[:, 2:] - expected).abs().max() > 1e-3

    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    @pytest.mark.parametrize("encoding", [*BY_DISTANCE, "rotary", "sinusoidal", "learned"])
    def test_generate_goes_on_from_a_cache_with_those_of_the_new_tokens(self, build, encoding, kind, no_grad):
        model = build(encoding)
        options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "output_logits": True}
        expected = model.generate(torch.tensor([[*PREFIX[0], *ONE[0]]]), return_dict_in_generate=True, **options)
        cache = StaticCache(config=model.config, max_cache_len=9) if kind == "static" else None
        cache = model(torch.tensor(PREFIX), past_key_values=cache, use_cache=True).past_key_values
        options |= {"attention_mask": torch.ones(1, 5, dtype=torch.long), "position_ids": torch.tensor([[3, 4]])}
        found = model.generate(torch.tensor(ONE), past_key_values=cache, return_dict_in_generate=True, **options)
        close(torch.stack(found.logits), torch.stack(expected.logits))

    @pytest.mark.parametrize("shape", [(1, 2), (3, 3), (3,)])
    def test_another_number_of_them_is_refused(self, build, shape):
        with pytest.raises(ValueError, match=r"^position_ids have the shape .*: give a position for each.* \(1, 3\)"):
            build("rotary")(torch.tensor(PREFIX), position_ids=torch.zeros(shape, dtype=torch.long))


class TestAnEncoder:
    def test_reordered_tokens_are_the_same_tokens(self, build, served, no_grad):
        model = build(*served, cls=LocantEncoderModel)
        ids, order = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]), torch.tensor([3, 0, 4, 2, 1])
        expected = model(ids).last_hidden_state[:, order]
        close(model(ids[:, order], position_ids=order[None]).last_hidden_state, expected)

    @pytest.mark.parametrize("encoding", BY_DISTANCE)
    def test_gradients_are_those_of_counted_positions(self, build, encoding):
        """Given positions equal to the counted ones use other code for the same distances, and give equal gradients."""
        model = build(encoding, cls=LocantEncoderModel)
        ids = torch.tensor([[5, 6, 7, 8, 9]])
        parameters = dict(model.named_parameters())

        def loss(positions):
            return model(ids, position_ids=positions)[0].pow(2)[..., ::2].sum()

        counted, given = (
            torch.autograd.grad(loss(positions), parameters.values(), allow_unused=True)
            for positions in (None, torch.arange(5)[None])
        )
        for name, one, other in zip(parameters, counted, given, strict=True):
            assert (one is None) == (other is None), name
            if one is not None:
                torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", BY_DISTANCE)
def test_compiled_code_takes_them(build, encoding, no_grad):
    model = build(encoding, "eager")
    expected = model(TREE, attention_mask=tree_mask(), position_ids=TREE_POSITIONS).logits
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    close(compiled(TREE, attention_mask=tree_mask(), position_ids=TREE_POSITIONS).logits, expected)


def test_the_decoder_of_a_translator_goes_by_them(make_model, no_grad):
    model = make_model(position_encoding="t5", attn_implementation="eager")
    source = torch.tensor([[5, 6]])
    rows = [model(source, decoder_input_ids=torch.tensor([[*PREFIX[0], *b[0]]])).logits[:, 3:] for b in (ONE, OTHER)]
    tree = {"decoder_input_ids": TREE, "decoder_attention_mask": tree_mask(), "decoder_position_ids": TREE_POSITIONS}
    close(model(source, **tree).logits[:, 3:], torch.cat(rows, dim=1))


@pytest.mark.parametrize("encoding", [*BY_DISTANCE, "rotary", "sinusoidal", "learned"])
def test_generate_of_a_translator_goes_on_from_them(make_model, encoding, no_grad):
    model = make_model(position_encoding=encoding, position_parameters=STEEP, attn_implementation="eager")
    source, prompt, gap = torch.tensor([[5, 6]]), torch.tensor([[1, 6, 7]]), torch.tensor([[0, 4, 5]])
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "output_logits": True}
    given = {"decoder_input_ids": prompt, "decoder_position_ids": gap}
    generated = model.generate(source, **given, return_dict_in_generate=True, **options)
    ids, positions = generated.sequences[:, :7], torch.tensor([[0, 4, 5, 6, 7, 8, 9]])
    expected = model(source, decoder_input_ids=ids, decoder_position_ids=positions).logits[:, 2:]
    close(torch.stack(generated.logits, dim=1), expected)
    assert (model(source, decoder_input_ids=ids).logits[:, 2:] - expected).abs().max() > 1e-3
