# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Sines and cosines added to the embeddings."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

from locant.modeling.modeling_locant import LocantModel
from locant.modeling.positions import SinusoidalEncoding, sinusoidal
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
        np.testing.assert_allclose(row[0::2], np.sin(angles), atol=1e-7)
        np.testing.assert_allclose(row[1::2], np.cos(angles), atol=1e-7)

    def test_is_made_on_the_cpu_whatever_the_default_device(self):
        with torch.device("meta"):
            assert sinusoidal_table(2, 4).device.type == "cpu"


class TestSinusoidalEncoding:
    @pytest.fixture
    def encoding(self, make_config):
        return SinusoidalEncoding(make_config(max_position_embeddings=8))

    def added(self, encoding, length, dtype=torch.float32):
        return encoding(torch.zeros(1, length, 32, dtype=dtype), torch.arange(length)[None], length)[0][0]

    def test_adds_the_row_of_each_position(self, encoding):
        hidden_states, ids = torch.randn(2, 3, 32), torch.tensor([[0, 0, 1], [5, 2, 7]])
        expected = hidden_states + sinusoidal_table(8, 32)[ids]
        assert torch.equal(encoding(hidden_states, ids, 8)[0], expected)

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
        assert grown.dtype == dtype
        assert torch.equal(grown, sinusoidal_table(20, 32).to(dtype))
        assert torch.equal(self.added(encoding.float(), 20), sinusoidal_table(20, 32))  # nothing was rounded on the way

    def test_is_not_saved(self, encoding):
        assert encoding.state_dict() == {}

    def test_grows_inside_a_model(self, make_model):
        ids = torch.arange(40)[None] % 24
        fields = {"cls": LocantModel, "position_encoding": "sinusoidal"}
        small, large = (make_model(max_position_embeddings=size, **fields) for size in (8, 64))
        with torch.no_grad():
            expected = large(input_ids=ids, decoder_input_ids=ids).last_hidden_state
            assert torch.equal(small(input_ids=ids, decoder_input_ids=ids).last_hidden_state, expected)

    def test_grows_in_one_thread_while_another_reads(self, encoding, monkeypatch):
        begun, go_on = threading.Event(), threading.Event()

        def slow(*arguments):
            begun.set()
            assert go_on.wait(60)
            return sinusoidal_table(*arguments)

        monkeypatch.setattr(sinusoidal, "sinusoidal_table", slow)
        with ThreadPoolExecutor(1) as pool:
            growing = pool.submit(self.added, encoding, 50)
            assert begun.wait(60)
            try:
                assert torch.equal(self.added(encoding, 8), sinusoidal_table(8, 32))
                assert encoding.rows == encoding.table.shape[0]
            finally:
                go_on.set()
            assert torch.equal(growing.result(), sinusoidal_table(50, 32))
