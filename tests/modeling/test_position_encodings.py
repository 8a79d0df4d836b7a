# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What the built-in encodings compute, alone and in a model."""

import numpy as np
import pytest
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

from locant.modeling.masks import build_position_ids
from locant.modeling.modeling_locant import LocantModel
from locant.modeling.positions import (
    LearnedEncoding,
    NoPosition,
    RotaryEncoding,
    SinusoidalEncoding,
    build_position_encoding,
    register_position_encoding,
)
from locant.modeling.positions.rotary import rotate
from locant.modeling.positions.sinusoidal import sinusoidal_table


class TestSinusoidalTable:
    def test_position_0_is_0_and_1_in_turn(self):
        assert sinusoidal_table(1, 8).tolist() == [[0, 1, 0, 1, 0, 1, 0, 1]]

    def test_position_1_at_the_width_of_the_paper(self):
        first = sinusoidal_table(2, 512)[1, :4]
        assert [round(value, 4) for value in first.tolist()] == [0.8415, 0.5403, 0.8219, 0.5697]

    @pytest.mark.parametrize("width", [8, 100, 512])
    def test_concatenated_is_marians(self, width):
        marian = MarianSinusoidalPositionalEmbedding(50, width).create_weight()
        torch.testing.assert_close(sinusoidal_table(50, width, "concatenated"), marian, atol=1e-6, rtol=0)

    def test_layouts_hold_the_same_columns_in_another_order(self):
        interleaved, concatenated = sinusoidal_table(9, 10), sinusoidal_table(9, 10, "concatenated")
        assert torch.equal(interleaved[:, 0::2], concatenated[:, :5])
        assert torch.equal(interleaved[:, 1::2], concatenated[:, 5:])

    @pytest.mark.parametrize("layout", ["interleaved", "concatenated"])
    def test_odd_widths_lack_the_last_cosine(self, layout):
        table = sinusoidal_table(6, 7, layout)
        angles = np.outer(np.arange(6), 10000.0 ** (-np.arange(0, 7, 2) / 7))
        sines, cosines = (table[:, 0::2], table[:, 1::2]) if layout == "interleaved" else table.split([4, 3], dim=1)
        np.testing.assert_allclose(sines, np.sin(angles), atol=1e-6)
        np.testing.assert_allclose(cosines, np.cos(angles[:, :3]), atol=1e-6)

    def test_far_positions_are_exact(self):
        angles = 100_000 / 10000.0 ** (np.arange(0, 64, 2) / 64)
        row = sinusoidal_table(100_001, 64)[100_000].numpy()
        np.testing.assert_array_equal(row[0::2], np.sin(angles).astype(np.float32))
        np.testing.assert_array_equal(row[1::2], np.cos(angles).astype(np.float32))

    def test_is_made_on_the_cpu_whatever_the_default_device(self):
        with torch.device("meta"):
            assert sinusoidal_table(2, 4).device.type == "cpu"


class TestSinusoidalEncoding:
    @pytest.fixture
    def encoding(self, make_config):
        return SinusoidalEncoding(make_config(max_position_embeddings=8))

    def added(self, encoding, length, dtype=torch.float32):
        return encoding.embed(torch.zeros(1, length, 32, dtype=dtype), torch.arange(length)[None], length)[0]

    def test_adds_the_row_of_each_position(self, encoding):
        hidden_states, ids = torch.randn(2, 3, 32), torch.tensor([[0, 0, 1], [5, 2, 7]])
        expected = hidden_states + sinusoidal_table(8, 32)[ids]
        assert torch.equal(encoding.embed(hidden_states, ids, 8), expected)

    def test_layout_is_an_option(self, make_config):
        config = make_config(position_parameters={"sinusoidal": {"layout": "concatenated"}})
        assert torch.equal(self.added(SinusoidalEncoding(config), 5), sinusoidal_table(5, 32, "concatenated"))

    def test_is_computed_once(self, encoding):
        table = encoding.table
        for length in (8, 3, 8):
            self.added(encoding, length)
        assert encoding.table is table

    def test_grows_to_the_rows_of_a_table_made_at_once(self, encoding):
        assert torch.equal(self.added(encoding, 9), sinusoidal_table(9, 32))
        assert torch.equal(self.added(encoding, 50), sinusoidal_table(50, 32))

    def test_grows_seldom_token_by_token(self, encoding):
        tables = []
        for length in range(1, 65):
            self.added(encoding, length)
            if not any(encoding.table is table for table in tables):
                tables.append(encoding.table)
        assert len(tables) == 4  # 8, 16, 32, 64 rows

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_grows_in_half_precision(self, encoding, dtype):
        encoding.to(dtype)
        grown = self.added(encoding, 20, dtype)
        assert grown.dtype == encoding.table.dtype == dtype
        assert torch.equal(grown, sinusoidal_table(20, 32).to(dtype))

    def test_is_not_saved(self, encoding):
        assert encoding.state_dict() == {}

    def test_grows_inside_a_model(self, make_model):
        ids = torch.arange(40)[None] % 24
        fields = {"cls": LocantModel, "position_encoding": "sinusoidal"}
        small, large = (make_model(max_position_embeddings=size, **fields) for size in (8, 64))
        with torch.no_grad():
            expected = large(input_ids=ids, decoder_input_ids=ids).last_hidden_state
            assert torch.equal(small(input_ids=ids, decoder_input_ids=ids).last_hidden_state, expected)


class TestLearnedEncoding:
    @pytest.fixture
    def encoding(self, make_config):
        return LearnedEncoding(make_config(max_position_embeddings=8))

    def test_adds_the_row_of_each_position(self, encoding):
        ids = torch.tensor([[0, 7, 3]])
        expected = 1 + encoding.embeddings.weight[ids]
        assert torch.equal(encoding.embed(torch.ones(1, 3, 32), ids, 8), expected)

    def test_says_where_it_ends(self, encoding):
        with pytest.raises(ValueError) as error:
            encoding.embed(torch.zeros(1, 9, 32), torch.arange(9)[None], 9)
        assert str(error.value) == (
            "A sequence of 9 tokens is longer than the learned table of 8 positions: "
            "shorten it, or choose a larger max_position_embeddings before training."
        )

    @pytest.mark.parametrize("where", ["source", "target", "given positions", "generate"])
    def test_a_model_says_where_it_ends(self, make_model, where):
        model = make_model(position_encoding="learned", max_position_embeddings=8)
        short, long = torch.full((1, 4), 5), torch.full((1, 9), 5)
        with pytest.raises(ValueError, match=r"9 tokens is longer than the learned table of 8 positions"):
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


class TestRotate:
    def test_turns_pairs_by_their_angle(self):
        angles = torch.tensor([0.3, 1.1])
        turned = rotate(
            torch.tensor([1.0, 0.0, 0.0, 2.0]).view(1, 1, 1, 4), angles.cos().repeat(2), angles.sin().repeat(2)
        )
        expected = [np.cos(0.3), -2 * np.sin(1.1), np.sin(0.3), 2 * np.cos(1.1)]
        np.testing.assert_allclose(turned.flatten(), expected, rtol=1e-6)

    def test_is_llamas(self):
        query, key = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
        angles = torch.randn(2, 5, 8)
        expected = apply_rotary_pos_emb(query, key, angles.cos(), angles.sin())
        for states, other in zip((query, key), expected, strict=True):
            assert torch.equal(rotate(states, angles.cos()[:, None], angles.sin()[:, None]), other)

    def test_leaves_the_rest_of_a_head(self):
        states, angles = torch.randn(1, 2, 3, 8), torch.randn(1, 1, 3, 4)
        turned = rotate(states, angles.cos(), angles.sin())
        assert torch.equal(turned[..., 4:], states[..., 4:])
        assert torch.equal(turned[..., :4], rotate(states[..., :4], angles.cos(), angles.sin()))

    def test_scores_depend_on_distance_alone(self, make_config):
        encoding = RotaryEncoding(make_config(position_encoding="rotary"))
        query, key = torch.randn(2, 1, 1, 1, 8)

        def score(query_position, key_position):
            layer = encoding.layer(0)
            turned_query = layer.query(query, encoding.prepare(query, torch.tensor([[query_position]])))
            turned_key = layer.key(key, encoding.prepare(key, torch.tensor([[key_position]])))
            return (turned_query * turned_key).sum()

        torch.testing.assert_close(score(3, 1), score(25, 23), atol=1e-5, rtol=1e-5)
        assert abs(score(3, 1) - score(3, 2)) > 1e-3


class TestRotaryEncoding:
    def test_frequencies_are_those_of_the_paper(self, make_config):
        encoding = RotaryEncoding(make_config(position_encoding="rotary"))
        expected = 10000.0 ** (-np.arange(0, 8, 2) / 8)
        np.testing.assert_allclose(encoding.inv_freq, expected, rtol=1e-6)

    def test_stacks_may_differ_in_their_heads(self, make_config):
        config = make_config(position_encoding="rotary", encoder_attention_heads=2)
        assert [len(RotaryEncoding(config, stack).inv_freq) for stack in ("encoder", "decoder")] == [8, 4]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_angles_stay_exact_in_half_precision(self, make_config, dtype):
        config = make_config(position_encoding="rotary", d_model=128)
        ids = torch.tensor([[0, 1, 1000, 4000]])
        exact, cast = RotaryEncoding(config), RotaryEncoding(config).to(dtype)
        for expected, other in zip(exact.prepare(torch.zeros(1), ids), cast.prepare(torch.zeros(1), ids), strict=True):
            torch.testing.assert_close(other, expected, atol=1e-6, rtol=0)
        assert cast.prepare(torch.zeros(1, dtype=dtype), ids)[0].dtype == dtype

    def test_is_not_saved(self, make_config):
        assert RotaryEncoding(make_config(position_encoding="rotary")).state_dict() == {}


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


class TestRegistry:
    def test_names_build_their_classes(self, make_config):
        classes = {
            name: type(build_position_encoding(make_config(position_encoding=name), "encoder"))
            for name in ("none", "sinusoidal", "learned", "rotary")
        }
        assert classes == {
            "none": NoPosition,
            "sinusoidal": SinusoidalEncoding,
            "learned": LearnedEncoding,
            "rotary": RotaryEncoding,
        }

    def test_a_name_is_taken_once(self):
        with pytest.raises(ValueError, match="'rotary' exists already"):
            register_position_encoding("rotary", NoPosition)
