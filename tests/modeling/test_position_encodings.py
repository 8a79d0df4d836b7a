# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What holds for all encodings: order, position ids, names, and terms of pairs, blocks and whole sequences alike."""

import pytest
import torch

from locant.modeling.masks import build_position_ids
from locant.modeling.positions import (
    AlibiEncoding,
    LearnedEncoding,
    NoPosition,
    PositionEncoding,
    PositionLayer,
    PositionSpan,
    RotaryEncoding,
    ShawEncoding,
    SinusoidalEncoding,
    Span,
    T5Encoding,
    TransformerXLEncoding,
    build_position_encoding,
    register_position_encoding,
)

SPANS = {
    "at once": Span(5, 5),
    "more keys": Span(3, 7),
    "more queries": Span(7, 3),
    "a step": Span(1, 6, query_offset=5),
    "steps": Span(4, 9, query_offset=5),
    "steps with a static cache": Span(3, 9, torch.tensor(4)),
    "keys dropped": Span(2, 5, query_offset=8, key_offset=5),
    "two sequences": PositionSpan(
        torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]), torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3]]), 5, 6
    ),
}


def blocks_of(span):
    """Queries and keys of four blocks that make up the whole, or of two."""
    middle, key = (span.queries + 1) // 2, span.keys // 3
    parts = [slice(0, middle), slice(middle, span.queries)][: 1 if span.queries == 1 else 2]
    return [(queries, keys) for queries in parts for keys in (slice(0, key), slice(key, span.keys))]


class TestOrder:
    """A permuted source gives a permuted output where there is no encoding, and only there."""

    def test_permuted_source(self, make_model, encoding, norm_position):
        encoder = make_model(position_encoding=encoding, norm_position=norm_position).get_encoder()
        ids, order = torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([3, 0, 4, 1, 2])
        with torch.no_grad():
            straight, permuted = encoder(ids).last_hidden_state, encoder(ids[:, order]).last_hidden_state
        difference = (permuted - straight[:, order]).abs().max()
        assert difference < 1e-5 if encoding == "none" else difference > 1e-2

    def test_decoder_tells_order_without_an_encoding(self, make_model):
        model = make_model(position_encoding="none")
        source = torch.tensor([[5, 6]])
        with torch.no_grad():
            one, other = (
                model(input_ids=source, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
                for ids in ([1, 7, 8, 9], [1, 8, 7, 9])
            )
        assert (one - other).abs().max() > 1e-3

    def test_stacks_may_differ_in_their_encoding(self, make_model):
        model = make_model(position_encoding="none", decoder_position_encoding="rotary")
        assert type(model.model.encoder.position) is NoPosition
        assert type(model.model.decoder.position) is RotaryEncoding


class TestPositionIds:
    @pytest.mark.parametrize(
        ("mask", "expected"),
        [
            ([[1, 1, 1, 0]], [[0, 1, 2, 2]]),
            ([[0, 0, 1, 1]], [[0, 0, 0, 1]]),
            ([[0, 1, 1, 1], [1, 1, 1, 1]], [[0, 0, 1, 2], [0, 1, 2, 3]]),
        ],
    )
    def test_count_the_real_tokens(self, mask, expected):
        assert build_position_ids(torch.tensor(mask), 0, 4, torch.device("cpu")).tolist() == expected

    def test_of_a_step_after_a_cache(self):
        mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
        assert build_position_ids(mask, 3, 2, torch.device("cpu")).tolist() == [[2, 3], [3, 4]]
        assert build_position_ids(None, torch.tensor(3), 2, torch.device("cpu")).tolist() == [[3, 4]]

    def test_count_the_tokens_of_each_document(self):
        documents = torch.tensor([[0, 0, 0, 1, 1], [4, 4, 2, 2, 2]])
        ids = build_position_ids(None, 0, 5, torch.device("cpu"), documents)
        assert ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
        mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 0]])
        ids = build_position_ids(mask, 2, 3, torch.device("cpu"), documents)
        assert ids.tolist() == [[2, 0, 1], [0, 1, 1]]


class TestRegistry:
    def test_names_build_their_classes(self, make_config):
        classes = {
            "none": NoPosition,
            "sinusoidal": SinusoidalEncoding,
            "learned": LearnedEncoding,
            "shaw": ShawEncoding,
            "transformer_xl": TransformerXLEncoding,
            "t5": T5Encoding,
            "alibi": AlibiEncoding,
            "rotary": RotaryEncoding,
        }
        for name, cls in classes.items():
            config = make_config(position_encoding=name, decoder_position_encoding="none")
            assert type(build_position_encoding(config, "encoder")) is cls
            assert type(build_position_encoding(config, "decoder")) is NoPosition

    def test_a_name_is_taken_once(self):
        with pytest.raises(ValueError, match="'rotary' exists already"):
            register_position_encoding("rotary", NoPosition)


class TestSpan:
    def test_distance_is_key_slot_minus_query_slot(self):
        assert Span(5, 5).distance(0, 3, 1) == -2
        assert Span(1, 8, query_offset=7).distance(0, 0, 2) == -5
        assert Span(2, 5, query_offset=7, key_offset=4).distance(0, 1, 0) == -4

    def test_offsets_may_be_tensors(self):
        span = Span(2, 3, torch.tensor(7))
        distances = span.distance(0, torch.arange(2).view(-1, 1), torch.arange(3).view(1, -1))
        assert distances.tolist() == [[-7, -6, -5], [-8, -7, -6]]

    def test_of_positions_tells_their_difference(self):
        span = PositionSpan(torch.tensor([[0, 0, 1], [0, 1, 2]]), torch.tensor([[0, 1], [0, 0]]), 3, 2)
        assert (span.queries, span.keys) == (3, 2)
        distances = span.distance(torch.arange(2)[:, None, None], torch.arange(3)[:, None], torch.arange(2))
        assert distances.tolist() == [[[0, 1], [0, 1], [-1, 0]], [[0, 0], [-1, -1], [-2, -2]]]

    @pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
    def test_each_pairs_place_is_that_of_its_distance(self, span):
        batch, query, key = torch.arange(2)[:, None, None], torch.arange(span.queries)[:, None], torch.arange(span.keys)
        places = span.place(batch, query, key)
        distances = span.distances(torch.device("cpu"))
        assert torch.equal(distances[places], span.distance(batch, query, key).expand(places.shape))

    @pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
    def test_blocks_keep_distances_and_places(self, span):
        for queries, keys in blocks_of(span):
            block = span.block(queries, keys)
            assert (block.queries, block.keys) == (queries.stop - queries.start, keys.stop - keys.start)
            for n in range(block.queries):
                for m in range(block.keys):
                    whole = 1, queries.start + n, keys.start + m
                    assert block.distance(1, n, m) == span.distance(*whole)
                    assert block.first_place + block.place(1, n, m) == span.place(*whole)

    def test_a_block_of_a_block_is_a_block(self):
        span = Span(9, 12, query_offset=3)
        assert span.block(slice(1, 7), slice(2, 9)).block(slice(1, 3), slice(1, 4)) == span.block(
            slice(2, 4), slice(3, 6)
        )


class TestTerm:
    """A term of the scores is the same for pairs, for a block of them, and for all at once, and so is its gradient."""

    @pytest.fixture(params=["shaw", "transformer_xl", "t5", "alibi"])
    def encoding(self, request, make_config, spread):
        options = {"shaw": {"max_distance": 3}, "t5": {"num_buckets": 8, "max_distance": 6}}
        config = make_config(position_encoding=request.param, position_parameters=options)
        encoding = build_position_encoding(config, "decoder")
        encoding.own = encoding.layer(0)
        spread(encoding, 3)
        return encoding

    @pytest.fixture
    def compute(self, encoding):
        """Dense terms and gradients by a function of the layer, the queries, and what was prepared."""

        def compute(function, span, weight):
            layer, query = encoding.own, torch.randn(2, 4, span.queries, 8, generator=torch.Generator().manual_seed(1))
            prepared = layer.project(span, encoding.prepare(query, torch.arange(span.queries)[None]))
            query.requires_grad_()
            term = function(layer, query, prepared).expand(2, 4, span.queries, span.keys)
            parameters = [query, *encoding.parameters()]
            if not term.requires_grad:
                return term, [None]
            return term, torch.autograd.grad((term * weight).sum(), parameters, allow_unused=True)

        return compute

    @pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
    def test_all_at_once_or_in_blocks_is_pair_by_pair(self, compute, span):
        def dense(layer, query, prepared, span=span):
            return layer.dense(layer.rows(query, span, prepared), 2, 4, span, prepared, query.device)

        def in_blocks(layer, query, prepared):
            term = query.new_zeros(2, 4, span.queries, span.keys)
            for queries, keys in blocks_of(span):
                term[:, :, queries, keys] = dense(layer, query[:, :, queries], prepared, span.block(queries, keys))
            return term

        def pointwise(layer, query, prepared):
            rows = layer.rows(query, span, prepared)
            return PositionLayer.dense(layer, rows, 2, 4, span, prepared, query.device)

        weight = torch.randn(2, 4, span.queries, span.keys)
        expected, gradients = compute(pointwise, span, weight)
        assert expected.std() > 0.1 or expected.numel() < 100
        for function in (dense, in_blocks):
            term, others = compute(function, span, weight)
            torch.testing.assert_close(term, expected, atol=1e-5, rtol=1e-5)
            for gradient, other in zip(gradients, others, strict=True):
                torch.testing.assert_close(other, gradient, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
    def test_of_scalars_is_that_of_the_pair(self, compute, span):
        def one_by_one(layer, query, prepared):
            rows, term = layer.rows(query, span, prepared), []
            for index in torch.cartesian_prod(*map(torch.arange, (2, 4, span.queries, span.keys))):
                term.append(layer.score(rows, *index.unbind(), span, prepared))
            assert all(pair.ndim == 0 for pair in term)
            return torch.stack(term).view(2, 4, span.queries, span.keys)

        def pointwise(layer, query, prepared):
            rows = layer.rows(query, span, prepared)
            return PositionLayer.dense(layer, rows, 2, 4, span, prepared, query.device)

        with torch.no_grad():
            term, expected = (compute(function, span, None)[0] for function in (one_by_one, pointwise))
        torch.testing.assert_close(term, expected, atol=1e-6, rtol=1e-6)

    @pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
    def test_values_of_shaw_are_summed_pair_by_pair(self, make_config, spread, span):
        config = make_config(position_encoding="shaw", position_parameters={"shaw": {"max_distance": 3}})
        layer = ShawEncoding(config, "decoder").layer(0)
        spread(layer, 4)
        for queries, keys in [(slice(0, span.queries), slice(0, span.keys)), *blocks_of(span)]:
            block = span.block(queries, keys)
            weights = torch.rand(2, 4, block.queries, block.keys, requires_grad=True)
            expected = torch.zeros(2, 4, block.queries, 8)
            for b, n, m in torch.cartesian_prod(*map(torch.arange, (2, block.queries, block.keys))).tolist():
                vector = layer.vectors[max(-3, min(3, int(block.distance(b, n, m)))) + 3]
                expected[b, :, n] = expected[b, :, n] + weights[b, :, n, m, None] * vector
            output, seed = layer.values(weights, block), torch.randn(expected.shape)
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
            gradients = [
                torch.autograd.grad((states * seed).sum(), [weights, layer.vectors]) for states in (expected, output)
            ]
            for gradient, other in zip(*gradients, strict=True):
                torch.testing.assert_close(other, gradient, atol=1e-5, rtol=1e-5)


class TestDefaults:
    def test_an_encoding_without_overrides_changes_nothing(self, make_config):
        encoding, states = PositionEncoding(make_config()), torch.randn(1, 2, 32)
        assert encoding.embed(states, torch.zeros(1, 2), 2) is states
        assert encoding.prepare(states, torch.zeros(1, 2)) is None
        assert encoding.limit is None
        layer = encoding.layer(0)
        assert type(layer) is PositionLayer
        assert layer.query(states, None) is states
        assert layer.key(states, None) is states
        assert not any((layer.has_score, layer.has_values, layer.is_per_pair, layer.in_slopes))
