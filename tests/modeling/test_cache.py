# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Locant's caches of `generate()` hold the same keys and values as those of transformers."""

import copy

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

from locant.modeling.cache import GrowingLayer, make_room
from locant.modeling.generation import SourceCache


def states(rows, tokens, width=4):
    return torch.randn(rows, 2, tokens, width), torch.randn(rows, 2, tokens, width + 1)


class TestGrowingLayer:
    @torch.no_grad()
    def test_holds_what_a_dynamic_layer_holds(self):
        """After each of many operations, in random order, both layers hold equal keys and values."""
        generator = torch.Generator().manual_seed(0)
        ours, theirs, done = GrowingLayer(), DynamicLayer(), set()
        for _ in range(300):
            rows = 3 if theirs.keys is None else theirs.keys.shape[0]
            choice = int(torch.randint(9, (), generator=generator))
            if choice < 4 or theirs.get_seq_length() < 3:
                new = states(rows, 1 + 20 * (choice == 0))
                for one, other in zip(ours.update(*new), theirs.update(*new), strict=True):
                    assert torch.equal(one, other)
            elif choice == 4:
                self.both(ours, theirs, "crop", -2)
            elif choice == 5:
                self.both(ours, theirs, "batch_select_indices", torch.randint(rows, (rows,), generator=generator))
            elif choice == 6:
                self.both(ours, theirs, "reorder_cache", torch.randint(rows, (rows,), generator=generator))
            elif choice == 7:
                self.both(ours, theirs, "reorder_cache", torch.randint(rows, (2 + rows % 3,), generator=generator))
            elif theirs.get_seq_length() > 60:
                self.both(ours, theirs, "reset")
            done.add(choice)
            if theirs.keys is not None:
                assert torch.equal(ours.keys, theirs.keys)
                assert torch.equal(ours.values, theirs.values)
        assert done == set(range(9))

    def both(self, ours, theirs, name, *args):
        for layer in (ours, theirs):
            getattr(layer, name)(*args)

    def test_goes_on_from_a_cache_that_inference_mode_filled(self):
        ours, theirs, steps = GrowingLayer(), DynamicLayer(), [states(2, 5), states(2, 1), states(2, 1)]
        for step, mode in zip(steps, (torch.inference_mode, torch.no_grad, torch.inference_mode), strict=True):
            with mode():
                for one, other in zip(ours.update(*step), theirs.update(*step), strict=True):
                    assert torch.equal(one, other)

    @torch.no_grad()
    def test_a_step_copies_no_earlier_keys(self):
        cache = DynamicCache()
        cache.layers = [DynamicLayer(), DynamicLayer()]
        make_room(cache)
        for layer in (0, 1):
            cache.update(*states(3, 5), layer)
            place = cache.layers[layer].keys.data_ptr()
            for _ in range(10):
                cache.update(*states(3, 1), layer)
            assert cache.layers[layer].keys.data_ptr() == place

    @torch.no_grad()
    def test_room_grows_with_the_number_of_tokens(self):
        """There is room for a quarter of the tokens, so that all steps together copy few times as many tokens."""
        layer = GrowingLayer()
        layer.update(*states(1, 1000))
        place = layer.keys.data_ptr()
        for _ in range(250):
            layer.update(*states(1, 1))
            assert layer.keys.data_ptr() == place
        layer.update(*states(1, 1))
        assert layer.room[0].shape[2] == 1251 + 312

    @torch.no_grad()
    def test_layers_share_the_spare_memory(self):
        ours, theirs = DynamicCache(), DynamicCache()
        for cache in (ours, theirs):
            cache.layers = [DynamicLayer() for _ in range(3)]
        make_room(ours)
        places = []
        for _ in range(6):
            for layer in range(3):
                new = torch.randn(2, 3, 2, 1, 4)
                for cache in (ours, theirs):
                    cache.update(*new, layer)
            for cache in (ours, theirs):
                cache.reorder_cache(torch.tensor([0, 0, 1]))
            for one, other in zip(ours.layers, theirs.layers, strict=True):
                assert torch.equal(one.keys, other.keys)
                assert torch.equal(one.values, other.values)
                places += [one.keys.data_ptr(), one.values.data_ptr()]
        assert len(set(places)) == 7

    @torch.no_grad()
    def test_a_copy_goes_its_own_way(self):
        layer = GrowingLayer()
        layer.update(*states(2, 3))
        other, before = copy.deepcopy(layer), layer.keys.clone()
        other.update(*states(2, 1))
        layer.update(*states(2, 1))
        assert torch.equal(layer.keys[:, :, :3], before)
        assert torch.equal(other.keys[:, :, :3], before)
        assert not torch.equal(layer.keys, other.keys)

    @torch.no_grad()
    def test_layers_may_differ(self):
        """Layers may differ in the dtype and the number of their keys and values, as layers on several devices may."""
        cache = DynamicCache()
        cache.layers = [DynamicLayer() for _ in range(4)]
        make_room(cache)
        expected = []
        for layer, (rows, dtype) in enumerate([(3, torch.float32), (3, torch.bfloat16), (3, torch.float64)]):
            new = [state.to(dtype) for state in states(rows, 2 + 40 * layer)]
            cache.update(*new, layer)
            expected += [state[[2, 0, 0]] for state in new]
        cache.reorder_cache(torch.tensor([2, 0, 0]))
        for layer, (keys, values) in zip(cache.layers, zip(expected[::2], expected[1::2], strict=True), strict=False):
            assert torch.equal(layer.keys, keys)
            assert torch.equal(layer.values, values)
        cache.reset()
        cache.reorder_cache(torch.tensor([2, 0, 0]))  # there is nothing in it

    def test_gradients(self):
        layer, new = GrowingLayer(), [state.requires_grad_() for state in states(2, 3)]
        with torch.no_grad():
            layer.update(*states(2, 4))
        keys, _ = layer.update(*new)
        loss = keys.square().sum()
        layer.update(*states(2, 1))
        loss.backward()
        torch.testing.assert_close(new[0].grad, 2 * new[0])

    def test_offloaded_layers_stay(self):
        cache = DynamicCache(offloading=True)
        cache.layers = [DynamicLayer()]
        make_room(cache)
        assert type(cache.layers[0]) is DynamicLayer


class TestSourceCache:
    @pytest.fixture
    def cache(self):
        def make(sources):
            parts = DynamicCache(), DynamicCache()
            parts[0].update(*states(4, 3), 0)
            parts[1].update(*states(sources, 5), 0)
            return SourceCache(*parts), EncoderDecoderCache(*copy.deepcopy(parts))

        return make

    def test_moves_a_source_that_each_row_has(self, cache):
        ours, theirs = cache(4)
        for each in (ours, theirs):
            each.reorder_cache(torch.tensor([1, 1, 3, 0]))
        for name in ("self_attention_cache", "cross_attention_cache"):
            assert torch.equal(getattr(ours, name).layers[0].keys, getattr(theirs, name).layers[0].keys)

    def test_leaves_sources_that_rows_share(self, cache):
        ours, before = cache(2)
        ours.reorder_cache(torch.tensor([1, 1, 3, 2]))
        source, own = before.cross_attention_cache.layers[0].keys, before.self_attention_cache.layers[0].keys
        assert torch.equal(ours.cross_attention_cache.layers[0].keys, source)
        assert torch.equal(ours.self_attention_cache.layers[0].keys, own[[1, 1, 3, 2]])

    def test_drops_results_of_another_source(self):
        cache, one, other = SourceCache(DynamicCache(), DynamicCache()), object(), object()
        assert cache.made_once("source", (one,), lambda: 1) == 1
        assert cache.made_once("mask", (one,), lambda: 2) == 2
        assert cache.made_once("source", (one,), lambda: 3) == 1
        assert cache.made_once("source", (other,), lambda: 4) == 4
        assert list(cache._made) == ["source"]
