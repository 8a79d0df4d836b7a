# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Tests of all encodings: order, position ids, names, and equal biases for pairs, blocks and whole sequences."""

import pytest
import torch

from locant.modeling.positions import (
    AlibiEncoding,
    LearnedEncoding,
    PositionEncoding,
    PositionIndex,
    PositionInputs,
    PositionLayer,
    RotaryEncoding,
    ShawEncoding,
    SinusoidalEncoding,
    SlotIndex,
    T5Encoding,
    TransformerXLEncoding,
    build_position_encoding,
    register_position_encoding,
)
from locant.modeling.positions.transformer_xl import TransformerXLBias
from locant.modeling.stack_inputs import count_positions

CPU = torch.device("cpu")
INDICES = {
    "at once": SlotIndex(5, 5),
    "more keys": SlotIndex(3, 7),
    "more queries": SlotIndex(7, 3),
    "a step": SlotIndex(1, 6, q_offset=5),
    "steps": SlotIndex(4, 9, q_offset=5),
    "steps with a static cache": SlotIndex(3, 9, torch.tensor(4)),
    "keys dropped": SlotIndex(2, 5, q_offset=8, kv_offset=5),
    "two sequences": PositionIndex(
        torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]), torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3]]), 5, 6
    ),
}


def blocks_of(index):
    """Slices of queries and keys for four blocks that make up the whole, or two blocks if there is one query."""
    middle, key = (index.q_length + 1) // 2, index.kv_length // 3
    parts = [slice(0, middle), slice(middle, index.q_length)][: 1 if index.q_length == 1 else 2]
    return [(queries, keys) for queries in parts for keys in (slice(0, key), slice(key, index.kv_length))]


class TestOrder:
    """A permuted source gives an equally permuted output only without an encoding."""

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
        assert type(model.model.encoder.position) is PositionEncoding
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
        assert count_positions(torch.tensor(mask), 0, 4, torch.device("cpu")).tolist() == expected

    def test_of_a_step_after_a_cache(self):
        mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
        assert count_positions(mask, 3, 2, torch.device("cpu")).tolist() == [[2, 3], [3, 4]]
        assert count_positions(None, torch.tensor(3), 2, torch.device("cpu")).tolist() == [[3, 4]]

    def test_count_the_tokens_of_each_document(self):
        documents = torch.tensor([[0, 0, 0, 1, 1], [4, 4, 2, 2, 2]])
        ids = count_positions(None, 0, 5, torch.device("cpu"), documents)
        assert ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
        mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 0]])
        ids = count_positions(mask, 2, 3, torch.device("cpu"), documents)
        assert ids.tolist() == [[2, 0, 1], [0, 1, 1]]


class TestRegistry:
    def test_names_build_their_classes(self, make_config):
        classes = {
            "none": PositionEncoding,
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
            assert type(build_position_encoding(config, "decoder")) is PositionEncoding

    def test_a_name_is_taken_once(self):
        with pytest.raises(ValueError, match="'rotary' exists already"):
            register_position_encoding("rotary", PositionEncoding)


class TestIndex:
    def test_distance_is_key_slot_minus_query_slot(self):
        assert SlotIndex(5, 5).distance(0, 3, 1) == -2
        assert SlotIndex(1, 8, q_offset=7).distance(0, 0, 2) == -5
        assert SlotIndex(2, 5, q_offset=7, kv_offset=4).distance(0, 1, 0) == -4

    def test_offsets_may_be_tensors(self):
        index = SlotIndex(2, 3, torch.tensor(7))
        distances = index.distance(0, torch.arange(2).view(-1, 1), torch.arange(3).view(1, -1))
        assert distances.tolist() == [[-7, -6, -5], [-8, -7, -6]]

    def test_of_positions_tells_their_difference(self):
        index = PositionIndex(torch.tensor([[0, 0, 1], [0, 1, 2]]), torch.tensor([[0, 1], [0, 0]]), 3, 2)
        assert (index.q_length, index.kv_length) == (3, 2)
        distances = index.distance(torch.arange(2)[:, None, None], torch.arange(3)[:, None], torch.arange(2))
        assert distances.tolist() == [[[0, 1], [0, 1], [-1, 0]], [[0, 0], [-1, -1], [-2, -2]]]

    @pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
    def test_distance_index_is_the_index_of_the_distance(self, index):
        pair = torch.arange(2)[:, None, None], torch.arange(index.q_length)[:, None], torch.arange(index.kv_length)
        positions = index.distance_index(*pair)
        assert torch.equal(index.distances(CPU)[positions], index.distance(*pair).expand(positions.shape))

    @pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
    def test_blocks_keep_distances(self, index):
        for queries, keys in blocks_of(index):
            block = index.block(queries, keys)
            assert (block.q_length, block.kv_length) == (queries.stop - queries.start, keys.stop - keys.start)
            for n in range(block.q_length):
                for m in range(block.kv_length):
                    whole = 1, queries.start + n, keys.start + m
                    assert block.distance(1, n, m) == index.distance(*whole)

    def test_a_block_of_a_block_is_a_block(self):
        index = SlotIndex(9, 12, q_offset=3)
        assert index.block(slice(1, 7), slice(2, 9)).block(slice(1, 3), slice(1, 4)) == index.block(
            slice(2, 4), slice(3, 6)
        )


class TestBias:
    """A bias is the same for pairs, for a block of them, and for all at once, and so is its gradient."""

    @pytest.fixture(params=["shaw", "shaw, keys alone", "transformer_xl", "t5", "alibi"])
    def encoding(self, request, make_config, spread):
        name, _, alone = request.param.partition(", ")
        options = {"shaw": {"max_distance": 3, "values": not alone}, "t5": {"num_buckets": 8, "max_distance": 6}}
        encoding = build_position_encoding(make_config(position_encoding=name, position_parameters=options), "decoder")
        encoding.own = encoding.build_layer(0)
        spread(encoding, 3)
        return encoding

    @pytest.fixture
    def make_bias(self, encoding):
        """A function that returns the bias of an index, and the tensors that get a gradient from the bias."""

        def make(index):
            query = torch.randn(2, 4, index.q_length, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
            _, position = encoding(query, torch.arange(index.q_length)[None], index.q_length)
            inputs = PositionInputs(index, position, position, encoding.shared_bias(position, index))
            return encoding.own(query, query, inputs)[2], [query, *encoding.parameters()]

        return make

    def pair_by_pair(self, bias):
        """The bias of each pair: `pointwise`, or for Transformer-XL the query times the projected distance."""
        index, rows = bias.index, []
        for batch, head, q_idx, kv_idx in torch.cartesian_prod(
            *map(torch.arange, (2, 4, index.q_length, index.kv_length))
        ):
            if isinstance(bias, TransformerXLBias):
                projected = bias.projected[head, :, index.distance_index(batch, q_idx, kv_idx)]
                rows.append(bias.queries[batch, head, q_idx] @ projected)
            else:
                rows.append(bias.pointwise(batch, head, q_idx, kv_idx))
        assert all(pair.ndim == 0 for pair in rows)
        return torch.stack(rows).view(2, 4, index.q_length, index.kv_length)

    def in_blocks(self, bias):
        matrix = torch.zeros(2, 4, bias.index.q_length, bias.index.kv_length)
        for queries, keys in blocks_of(bias.index):
            matrix[:, :, queries, keys] = bias.block(queries, keys).matrix(2, 4, CPU)
        return matrix

    @pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
    def test_all_at_once_or_in_blocks_is_pair_by_pair(self, make_bias, index):
        weight, results = torch.randn(2, 4, index.q_length, index.kv_length), []
        for function in (self.pair_by_pair, lambda bias: bias.matrix(2, 4, CPU), self.in_blocks):
            bias, inputs = make_bias(index)
            matrix = function(bias).expand(2, 4, -1, -1)
            gradients = [None]
            if matrix.requires_grad:
                gradients = torch.autograd.grad((matrix * weight).sum(), inputs, allow_unused=True)
            results.append((matrix, gradients))
        expected, gradients = results[0]
        assert expected.std() > 0.1 or expected.numel() < 100
        for matrix, others in results[1:]:
            torch.testing.assert_close(matrix, expected, atol=1e-5, rtol=1e-5)
            for gradient, other in zip(gradients, others, strict=True):
                torch.testing.assert_close(other, gradient, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
    def test_output_of_shaw_is_summed_pair_by_pair(self, make_config, spread, index):
        config = make_config(position_encoding="shaw", position_parameters={"shaw": {"max_distance": 3}})
        layer = ShawEncoding(config, "decoder").build_layer(0)
        spread(layer, 4)
        query = torch.randn(2, 4, index.q_length, 8)
        whole = layer(query, query, PositionInputs(index))[2]
        for queries, keys in [(slice(0, index.q_length), slice(0, index.kv_length)), *blocks_of(index)]:
            bias = whole.block(queries, keys)
            block = bias.index
            weights = torch.rand(2, 4, block.q_length, block.kv_length, requires_grad=True)
            expected = torch.zeros(2, 4, block.q_length, 8)
            for b, n, m in torch.cartesian_prod(*map(torch.arange, (2, block.q_length, block.kv_length))).tolist():
                vector = layer.vectors[max(-3, min(3, int(block.distance(b, n, m)))) + 3]
                expected[b, :, n] = expected[b, :, n] + weights[b, :, n, m, None] * vector
            output, seed = bias.output(weights), torch.randn(expected.shape)
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
            gradients = [
                torch.autograd.grad((states * seed).sum(), [weights, layer.vectors]) for states in (expected, output)
            ]
            for gradient, other in zip(*gradients, strict=True):
                torch.testing.assert_close(other, gradient, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
    def test_moves_to_another_device_with_its_index(self, make_bias, index):
        moved = make_bias(index)[0].to("meta")
        assert {tensor.device.type for tensor in moved.tensors().values()} == {"meta"}
        assert {part.device.type for part in moved.index if isinstance(part, torch.Tensor)} <= {"meta"}


class TestDefaults:
    def test_an_encoding_without_overrides_changes_nothing(self, make_config):
        encoding, states = PositionEncoding(make_config()), torch.randn(1, 2, 32)
        assert encoding(states, torch.zeros(1, 2), 2) == (states, None)
        assert encoding.shared_bias(None, SlotIndex(2, 2)) is None
        assert encoding.limit is None
        assert not encoding.needs_position_bound
        assert encoding.bias_types(make_config()) == frozenset()
        layer = encoding.build_layer(0)
        assert type(layer) is PositionLayer
        assert layer(states, states, PositionInputs(SlotIndex(2, 2))) == (states, states, None)
