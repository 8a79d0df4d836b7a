# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""An encoding written outside of the package, by the contract alone, works everywhere or is refused."""

import math

import pytest
import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, StaticCache, T5Config
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer
from transformers.models.t5.modeling_t5 import T5Attention

from locant.modeling.attention import Attention
from locant.modeling.modeling_locant import LocantForConditionalGeneration
from locant.modeling.positions import PositionEncoding, PositionLayer, Positions, Span


class AlibiLayer(PositionLayer):
    """Press et al. 2022: minus the distance times a slope of the head's own."""

    has_score = True

    def score(self, rows, batch, head, query_index, key_index, span, prepared):
        return -(2.0 ** -(head + 1.0)) * abs(span.distance(query_index, key_index))


class Alibi(PositionEncoding):
    def layer(self, layer_idx):
        return AlibiLayer()


class BucketLayer(PositionLayer):
    """Raffel et al. 2020: a trained number for each head and bucket of distances, here one table a layer."""

    has_score = True

    def __init__(self, heads, bidirectional, buckets=32, limit=128):
        super().__init__()
        self.bidirectional, self.buckets, self.limit = bidirectional, buckets, limit
        self.table = nn.Parameter(torch.zeros(buckets, heads))

    def init_weights(self):
        init.normal_(self.table, std=1.0)

    def score(self, rows, batch, head, query_index, key_index, span, prepared):
        distance = span.distance(query_index, key_index)
        buckets = self.buckets // 2 if self.bidirectional else self.buckets
        steps = distance.abs() if self.bidirectional else (-distance).clamp(min=0)
        near = buckets // 2
        share = (steps.clamp(min=1).float() / near).log() / math.log(self.limit / near)
        far = (near + (share * (buckets - near)).long()).clamp(max=buckets - 1)
        bucket = torch.where(steps < near, steps, far)
        if self.bidirectional:
            bucket = bucket + buckets * (distance > 0)
        return self.table[bucket, head]


class Buckets(PositionEncoding):
    def __init__(self, config, stack="encoder"):
        super().__init__(config, stack)
        self.heads, self.bidirectional = getattr(config, f"{stack}_attention_heads"), stack == "encoder"

    def layer(self, layer_idx):
        return BucketLayer(self.heads, self.bidirectional, buckets=8, limit=10)


class ShawKeysLayer(PositionLayer):
    """Shaw et al. 2018, equation 4: the query meets a trained vector of the clipped distance."""

    has_score = True
    reach = 3

    def __init__(self, head_dim):
        super().__init__()
        self.keys = nn.Parameter(torch.zeros(2 * self.reach + 1, head_dim))

    def init_weights(self):
        init.normal_(self.keys, std=1.0)

    def places(self, query_index, key_index, span):
        return span.distance(query_index, key_index).clamp(-self.reach, self.reach) + self.reach

    def rows(self, query, prepared):
        return query @ self.keys.T

    def score(self, rows, batch, head, query_index, key_index, span, prepared):
        return rows[batch, head, query_index, self.places(query_index, key_index, span)]


class ShawKeys(PositionEncoding):
    layer_class = ShawKeysLayer

    def __init__(self, config, stack="encoder"):
        super().__init__(config, stack)
        self.head_dim = config.head_dim_of(stack)

    def layer(self, layer_idx):
        return self.layer_class(self.head_dim)


class ShawLayer(ShawKeysLayer):
    """Equation 3 too: the output holds a trained vector of the clipped distance."""

    has_values = True

    def __init__(self, head_dim):
        super().__init__(head_dim)
        self.vectors = nn.Parameter(torch.zeros(2 * self.reach + 1, head_dim))

    def init_weights(self):
        super().init_weights()
        init.normal_(self.vectors, std=1.0)

    def values(self, weights, query_index, key_index, span):
        vectors = self.vectors[self.places(query_index, key_index, span)[0, 0]]
        return torch.einsum("bhqk,qkd->bhqd", weights, vectors)


class Shaw(ShawKeys):
    layer_class = ShawLayer


class XlLayer(ShawKeysLayer):
    """Dai et al. 2019, section 3.3: one bias on the query that meets the key, another on that which meets distance."""

    def __init__(self, head_dim, heads):
        super().__init__(head_dim)
        self.content_bias = nn.Parameter(torch.zeros(heads, 1, head_dim))
        self.distance_bias = nn.Parameter(torch.zeros(heads, 1, head_dim))

    def init_weights(self):
        super().init_weights()
        init.normal_(self.content_bias, std=1.0)
        init.normal_(self.distance_bias, std=1.0)

    def query(self, query, prepared):
        return query + self.content_bias

    def rows(self, query, prepared):
        return (query + self.distance_bias) @ self.keys.T


class Xl(PositionEncoding):
    def __init__(self, config, stack="encoder"):
        super().__init__(config, stack)
        self.shape = config.head_dim_of(stack), getattr(config, f"{stack}_attention_heads")

    def layer(self, layer_idx):
        return XlLayer(*self.shape)


ENCODINGS = {"alibi-like": Alibi, "t5-like": Buckets, "shaw-like keys": ShawKeys, "shaw-like": Shaw, "xl-like": Xl}


@pytest.fixture(params=ENCODINGS)
def outside(request, register):
    register(request.param, ENCODINGS[request.param])
    return request.param


@pytest.fixture
def from_outside(outside, make_model):
    model = make_model(position_encoding=outside, encoder_key_value_heads=2, decoder_key_value_heads=2)
    model.set_attn_implementation("eager")
    return model


SOURCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2]]
TARGETS = [[1, 21, 20, 19, 18], [1, 17, 16], [1, 15, 14, 13]]


@torch.no_grad()
def logits(model, **inputs):
    return model(**inputs).logits


class TestInAModel:
    def test_eager_and_sdpa_agree_or_sdpa_is_refused(self, from_outside, outside, make_batch, side):
        ids, mask = make_batch(SOURCES, side)
        inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": make_batch(TARGETS)[0]}
        expected = logits(from_outside, **inputs)
        from_outside.set_attn_implementation("sdpa")
        if outside == "shaw-like":
            with pytest.raises(ValueError, match=r"^sdpa cannot .* to the output of attention: .* eager\.$"):
                logits(from_outside, **inputs)
        else:
            torch.testing.assert_close(logits(from_outside, **inputs), expected, atol=1e-5, rtol=1e-5)

    def test_it_tells_order(self, from_outside):
        ids, order = torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([3, 0, 4, 1, 2])
        encoder = from_outside.get_encoder()
        with torch.no_grad():
            difference = encoder(ids[:, order]).last_hidden_state - encoder(ids).last_hidden_state[:, order]
        assert difference.abs().max() > 1e-2

    def test_padding_does_not_disturb_it(self, from_outside, make_batch, side):
        ids, mask = make_batch(SOURCES, side)
        decoder_ids, decoder_mask = make_batch(TARGETS, side)
        batch = logits(
            from_outside,
            input_ids=ids,
            attention_mask=mask,
            decoder_input_ids=decoder_ids,
            decoder_attention_mask=decoder_mask,
        )
        for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
            alone = logits(from_outside, input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target]))[0]
            torch.testing.assert_close(batch[row][decoder_mask[row].bool()], alone, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("cache", ["dynamic", "static"])
    def test_decoding_in_steps_is_decoding_at_once(self, from_outside, make_batch, cache):
        config = from_outside.config
        ids, mask = make_batch(SOURCES, "left")
        decoder_ids, decoder_mask = make_batch(TARGETS, "left")
        expected = logits(
            from_outside,
            input_ids=ids,
            attention_mask=mask,
            decoder_input_ids=decoder_ids,
            decoder_attention_mask=decoder_mask,
        )
        if cache == "static":
            caches = StaticCache(config, max_cache_len=9), StaticCache(config, max_cache_len=ids.shape[1])
        else:
            caches = DynamicCache(), DynamicCache()
        past, steps = EncoderDecoderCache(*caches), []
        for end, width in ((2, 2), (3, 1), (5, 2)):
            steps.append(
                logits(
                    from_outside,
                    input_ids=ids,
                    attention_mask=mask,
                    decoder_input_ids=decoder_ids[:, end - width : end],
                    decoder_attention_mask=decoder_mask[:, :end],
                    past_key_values=past,
                )
            )
        real = decoder_mask.bool()
        torch.testing.assert_close(torch.cat(steps, 1)[real], expected[real], atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("options", [{"cache_implementation": "dynamic"}, {"cache_implementation": "static"}])
    @pytest.mark.parametrize("beams", [1, 3])
    def test_generates_with_a_cache_what_it_generates_without(self, from_outside, make_batch, options, beams):
        ids, mask = make_batch(SOURCES, "left")
        decoder_ids, decoder_mask = make_batch([target[:3] for target in TARGETS], "left")
        with_cache, without = (
            from_outside.generate(
                input_ids=ids,
                attention_mask=mask,
                decoder_input_ids=decoder_ids,
                decoder_attention_mask=decoder_mask,
                max_new_tokens=8,
                num_beams=beams,
                no_repeat_ngram_size=2,
                **choice,
            )
            for choice in (options, {"use_cache": False})
        )
        assert with_cache.tolist() == without.tolist()

    def test_its_parameters_are_initialised_trained_and_saved(self, outside, make_config, tmp_path):
        config = make_config(position_encoding=outside, attn_implementation="eager")
        model = LocantForConditionalGeneration(config)
        own = {name: p for name, p in model.named_parameters() if ".position." in name}
        expected = {"alibi-like": 0, "t5-like": 4, "shaw-like keys": 4, "shaw-like": 8, "xl-like": 12}
        assert len(own) == expected[outside]
        model(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[8, 9, 2]])).loss.backward()
        for parameter in own.values():
            assert 0.5 < parameter.std() < 1.5
            assert parameter.grad.abs().max() > 1e-6
        model.save_pretrained(tmp_path)
        loaded = dict(LocantForConditionalGeneration.from_pretrained(tmp_path).named_parameters())
        assert all(torch.equal(loaded[name], parameter) for name, parameter in own.items())


class TestRefusal:
    @pytest.mark.parametrize("backend", ["flash_attention_2", "flash_attention_3", "a backend of the future"])
    @pytest.mark.parametrize("layer", [AlibiLayer(), ShawLayer(8)], ids=["score", "values"])
    def test_a_backend_that_cannot_add_the_term_is_refused_in_one_sentence(self, make_config, layer, backend):
        config = make_config()
        config._attn_implementation_internal = backend
        attention = Attention(config, num_heads=4, position=layer)
        with pytest.raises(ValueError) as error:
            attention(torch.randn(1, 3, 32))
        assert str(error.value).startswith(f"{backend} cannot add this position encoding's term to the scores of")
        assert str(error.value).endswith("set_attn_implementation to eager or sdpa.")


class TestOnPlainTensors:
    @pytest.mark.parametrize("bidirectional", [True, False])
    @pytest.mark.parametrize("past", [0, 40])
    def test_buckets_are_t5s(self, bidirectional, past):
        theirs = T5Attention(
            T5Config(num_heads=4, is_decoder=not bidirectional), has_relative_attention_bias=True, layer_idx=0
        )
        ours = BucketLayer(4, bidirectional)
        ours.table.data.copy_(theirs.relative_attention_bias.weight)
        query, key = torch.arange(200 - past).view(1, 1, -1, 1), torch.arange(200).view(1, 1, 1, -1)
        head = torch.arange(4).view(1, 4, 1, 1)
        term = ours.score(None, torch.zeros(1, 1, 1, 1), head, query, key, Span(past), None)
        expected = theirs.compute_bias(200 - past, 200, past_seen_tokens=past)
        assert torch.equal(term, expected)

    @pytest.mark.parametrize("backend", ["eager", "sdpa"])
    def test_attention_with_a_term_is_t5s(self, make_config, spread, backend):
        theirs = T5Attention(
            T5Config(num_heads=4, d_model=32, d_kv=8, attn_implementation=backend),
            has_relative_attention_bias=True,
            layer_idx=0,
        ).eval()
        spread(theirs, 5)
        config = make_config(attention_bias=False, attn_implementation=backend)
        ours = Attention(config, num_heads=4, position=BucketLayer(4, bidirectional=True)).eval()
        weights = {name: weight for name, weight in theirs.state_dict().items()}
        ours.load_state_dict(
            {
                "q_proj.weight": weights["q.weight"] / ours.scaling,  # T5 does not scale
                "k_proj.weight": weights["k.weight"],
                "v_proj.weight": weights["v.weight"],
                "o_proj.weight": weights["o.weight"],
                "position.table": weights["relative_attention_bias.weight"],
            }
        )
        states = torch.randn(2, 30, 32)
        with torch.no_grad():
            torch.testing.assert_close(ours(states)[0], theirs(states)[0], atol=1e-5, rtol=1e-5)

    def test_shaw_is_equations_3_and_4(self, make_config, spread):
        attention = Attention(make_config(attn_implementation="eager"), num_heads=4, position=ShawLayer(8)).eval()
        spread(attention, 6)
        states = torch.randn(2, 5, 32)
        with torch.no_grad():
            output, weights = attention(states, positions=Positions(query_offset=0))
            query, key, value = (
                projection(states).view(2, 5, 4, 8).transpose(1, 2)
                for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            expected_output, expected_weights = torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 5, 5)
            for i in range(5):
                places = [max(-3, min(3, j - i)) + 3 for j in range(5)]
                # the term comes after the scaling, so these vectors are as if divided by sqrt(head_dim) already
                keys = key / math.sqrt(8) + attention.position.keys[places]
                weights_of_i = (keys @ query[:, :, i, :, None]).squeeze(-1).softmax(-1)
                expected_weights[:, :, i] = weights_of_i
                expected_output[:, :, i] = (weights_of_i[..., None] * (value + attention.position.vectors[places])).sum(
                    2
                )
            expected_output = attention.o_proj(expected_output.transpose(1, 2).flatten(2))
        torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(output, expected_output, atol=1e-5, rtol=1e-5)

    def test_xl_is_its_equation(self, make_config, spread):
        attention = Attention(make_config(attn_implementation="eager"), num_heads=4, position=XlLayer(8, 4)).eval()
        spread(attention, 7)
        states, layer = torch.randn(2, 5, 32), attention.position
        with torch.no_grad():
            weights = attention(states)[1]
            query, key = (p(states).view(2, 5, 4, 8).transpose(1, 2) for p in (attention.q_proj, attention.k_proj))
            scores = (query + layer.content_bias) @ key.transpose(2, 3) / math.sqrt(8)
            for i in range(5):
                distances = layer.keys[[max(-3, min(3, j - i)) + 3 for j in range(5)]]
                scores[:, :, i] += (query + layer.distance_bias)[:, :, i] @ distances.T
        torch.testing.assert_close(weights, scores.softmax(-1), atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize("layer", [AlibiLayer(), ShawLayer(8)], ids=["alibi", "shaw"])
    def test_slots_of_a_cache_that_drops_the_oldest(self, make_config, spread, layer):
        attention = Attention(make_config(attn_implementation="eager"), num_heads=4, is_causal=True, position=layer)
        spread(attention.eval(), 8)
        states, window = torch.randn(1, 9, 32), 4
        seen = torch.ones(9, 9).tril().triu(1 - window).bool()
        cache = Cache(layers=[DynamicSlidingWindowLayer(sliding_window=window)])
        with torch.no_grad():
            expected = attention(states, torch.zeros(9, 9).masked_fill(~seen, -math.inf)[None, None])[0]
            steps = [
                attention(states[:, i : i + 1], positions=Positions(query_offset=i), past_key_values=cache)[0]
                for i in range(9)
            ]
        torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)


class TestSpan:
    def test_distance_is_key_slot_minus_query_slot(self):
        assert Span().distance(3, 1) == -2
        assert Span(query_offset=7).distance(0, 2) == -5
        assert Span(query_offset=7, key_offset=4).distance(1, 0) == -4

    def test_offsets_may_be_tensors(self):
        span = Span(torch.tensor(7), 0)
        distances = span.distance(torch.arange(2).view(-1, 1), torch.arange(3).view(1, -1))
        assert distances.tolist() == [[-7, -6, -5], [-8, -7, -6]]

    def test_an_encoding_without_overrides_changes_nothing(self, make_config):
        encoding, states = PositionEncoding(make_config()), torch.randn(1, 2, 32)
        assert encoding.embed(states, torch.zeros(1, 2), 2) is states
        assert encoding.prepare(states, torch.zeros(1, 2)) is None
        layer = encoding.layer(0)
        assert layer.query(states, None) is states
        assert layer.key(states, None) is states
        assert (layer.has_score, layer.has_values) == (False, False)
