# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Locant's beam search gives the results of transformers' own loop, for all arguments that it supports."""

import pytest
import torch
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation import GenerationMixin

from locant import LocantForCausalLM, LocantForConditionalGeneration
from locant.modeling import beam_search
from locant.modeling.beam_search import best_continuations

SOURCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2], [6, 9, 14, 2], [20, 21, 2], [8, 17, 2]]
PROMPTS = [[1, 21, 20, 19], [1, 17], [1, 15, 14], [1, 9, 8, 7], [1, 5], [1, 6]]
WIDE = 700  # so many words that a step looks for the best in groups, with some words left over


@pytest.fixture
def searched(monkeypatch):
    """A list to which each call of Locant's beam search appends its result: sequences and scores."""
    found = []

    def recorded(*args, search=beam_search.beam_search):
        found.append(search(*args))
        return found[-1]

    monkeypatch.setattr(beam_search, "beam_search", recorded)
    return found


@pytest.fixture
def model(make_model):
    """A function that makes a model that ends sentences; with 60 words, it ends them at different steps."""

    def make(cls=LocantForConditionalGeneration, end=1.5, words=60, **fields):
        layers = {"encoder_layers": 1, "decoder_layers": 1}
        model = make_model(cls, **{"seed": 2, "vocab_size": words, "lm_head_bias": True, **layers, **fields})
        model.lm_head.weight.data *= 0.6
        model.lm_head.bias.data[2] += end
        return model

    return make


def theirs(model, **options):
    """The result of transformers' own loop, for which the model repeats the source for each beam."""
    return model.generate(**options, custom_generate=GenerationMixin._beam_search)


def steps(model):
    """A list to which each decoding step appends the number of rows that the decoder gets."""
    rows = []
    model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return rows


def assert_same(model, searched, **options):
    """Assert tokens and scores equal to those of transformers' loop; return the lengths of the new sequences."""
    count = len(searched)
    ours = model.generate(**options)
    assert len(searched) == count + 1
    expected = theirs(model, **options, return_dict_in_generate=True, output_scores=True)
    assert len(searched) == count + 1
    assert ours.tolist() == expected.sequences.tolist()
    torch.testing.assert_close(searched[-1][1], expected.sequences_scores, atol=1e-5, rtol=1e-5)
    return {(row != -1).sum().item() for row in expected.beam_indices}


@pytest.fixture
def batch(make_batch):
    return dict(zip(("input_ids", "attention_mask"), make_batch(SOURCES), strict=True))


@pytest.fixture
def prompts(make_batch):
    return dict(zip(("decoder_input_ids", "decoder_attention_mask"), make_batch(PROMPTS, "left"), strict=True))


class TestAsTransformers:
    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("early_stopping", [False, True, "never"])
    @pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 0.6, 2.0])
    @pytest.mark.parametrize("returned", [1, 3])
    def test_stopping_and_length_penalty(self, model, batch, searched, early_stopping, length_penalty, returned):
        options = {"early_stopping": early_stopping, "length_penalty": length_penalty, "max_new_tokens": 12}
        options |= {"num_beams": 3, "num_return_sequences": returned}
        for words, seed in ((24, 2), (WIDE, 1)):
            models = [model(words=words, seed=seed, end=end) for end in (0, 1, 2, 4)]
            lengths = [assert_same(each, searched, **batch, **options) for each in models]
            # all are as long as they may be where length counts that much
            assert (length_penalty == 2.0 and early_stopping == "never") or len(set().union(*lengths)) > 1

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("ends", [None, 2, [2, 7, 9, 11]])
    @pytest.mark.parametrize("beams", [2, 5])
    @pytest.mark.parametrize("pad", [0, 3])
    def test_ends(self, model, batch, searched, ends, beams, pad):
        lengths = set()
        for end in (0, 1, 1.5, 2):
            found = model(end=end)
            found.generation_config.eos_token_id = ends
            found.generation_config.pad_token_id = pad
            lengths |= assert_same(found, searched, **batch, num_beams=beams, max_new_tokens=10)
            if isinstance(ends, list):  # all ends likelier than most words, and beams that go on count
                found.lm_head.bias.data[ends] += 12.0
                long = {"length_penalty": 4.0, "early_stopping": "never", "max_new_tokens": 10}
                assert_same(found, searched, **batch, num_beams=beams, **long)
        assert lengths == {10} if ends is None else len(lengths) > 1

    @pytest.mark.parametrize(
        "options",
        [
            {"min_new_tokens": 5},
            {"min_length": 7},
            {"no_repeat_ngram_size": 1},
            {"bad_words_ids": [[4], [5, 6], [2, 2]]},
            {"forced_bos_token_id": 8},
            {"forced_eos_token_id": 2},
            {"suppress_tokens": [4, 8, 12]},
            {"begin_suppress_tokens": [2, 4]},
            {"min_new_tokens": 3, "no_repeat_ngram_size": 2, "forced_eos_token_id": 2, "suppress_tokens": [9]},
        ],
        ids=str,
    )
    def test_logits_processors(self, model, batch, searched, options):
        for words in (60, WIDE):
            assert_same(model(words=words), searched, **batch, num_beams=4, max_new_tokens=9, **options)

    @pytest.mark.parametrize("cache", [{"use_cache": False}, {}, {"cache_implementation": "static"}], ids=str)
    @pytest.mark.parametrize("window", [None, 3])
    def test_caches_and_prompts(self, model, batch, prompts, searched, cache, window):
        found = model(position_encoding="alibi", cross_position_encoding="t5", sliding_window=window)
        for given in ({}, prompts):
            assert_same(found, searched, **batch, **given, **cache, num_beams=3, max_new_tokens=9)

    def test_language_model(self, model, make_batch, searched):
        ids, mask = make_batch(PROMPTS, "left")
        options = {"input_ids": ids, "attention_mask": mask, "num_beams": 3, "num_return_sequences": 2}
        found = model(LocantForCausalLM, position_encoding="rotary")
        assert len(assert_same(found, searched, **options, max_new_tokens=9)) > 1
        static = {"cache_implementation": "static"}
        assert_same(found, searched, **options, **static, max_new_tokens=9)

    def test_captions(self, model, searched):
        fields = {"encoder_input": "patches", "image_size": [12, 8], "patch_size": [4, 2]}
        fields |= {"position_encoding": "rotary", "cross_position_encoding": "alibi"}
        pixels, options = torch.randn(5, 3, 12, 8), {"num_beams": 3, "length_penalty": 0.0}
        lengths = [assert_same(model(end=end, **fields), searched, pixel_values=pixels, **options) for end in (1, 2, 3)]
        assert len(set().union(*lengths)) > 1

    def test_given_sources(self, model, batch, searched):
        """The caller gives the encoder's output, positions, and a mask for cross-attention alone."""
        found = model(position_encoding="rotary", cross_position_encoding="rotary")
        encoded = found.get_encoder()(**batch)
        positions = torch.arange(7).expand(6, 7) * 2
        given = {"encoder_outputs": encoded, "attention_mask": batch["attention_mask"], "position_ids": positions}
        given["cross_attention_mask"] = (torch.rand(6, 7) < 0.7) | (torch.arange(7) == 0)
        for shared in (given, {**given, "position_ids": positions[:1]}):
            assert len(assert_same(found, searched, **shared, num_beams=3)) > 1
        wide = {**given, "cross_attention_mask": given["cross_attention_mask"][:, None, None]}
        assert_same(found, searched, **wide, num_beams=3)

    def test_half_precision(self, model, batch, searched):
        assert_same(model().bfloat16(), searched, **batch, num_beams=3, max_new_tokens=9)


class TestLeaving:
    """Finished sentences are removed from the batch."""

    OPTIONS = {"num_beams": 3, "max_new_tokens": 12, "length_penalty": 0.0}  # noqa: RUF012

    def test_rows_become_fewer(self, model, batch, searched):
        found = model()
        rows = steps(found)
        found.generate(**batch, **self.OPTIONS)
        assert rows[0] == 18
        assert rows[-1] < 18
        assert rows == sorted(rows, reverse=True)
        assert len(assert_same(found, searched, **batch, **self.OPTIONS)) > 2

    def test_none_leaves_before_enough_are_done(self, model, batch, searched, monkeypatch):
        monkeypatch.setattr("locant.modeling.beam_search._LEAST_DONE", 2.0)
        found = model()
        rows = steps(found)
        found.generate(**batch, **self.OPTIONS)
        assert set(rows) == {18}
        for end in (0.5, 1, 1.5, 2):  # what is done stays as it is
            for penalty in (0.0, 2.0):
                options = {**self.OPTIONS, "early_stopping": True, "length_penalty": penalty}
                assert_same(model(end=end), searched, **batch, **options)


class Nothing(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores


class Never(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        return torch.zeros(len(input_ids), dtype=torch.bool)


class TestLeftToTransformers:
    @pytest.mark.parametrize(
        "options",
        [
            {"do_sample": True},
            {"return_dict_in_generate": True},
            {"max_time": 100.0},
            {"repetition_penalty": 1.2},
            {"prefix_allowed_tokens_fn": lambda sentence, ids: list(range(sentence + 10))},
            {"logits_processor": LogitsProcessorList([Nothing()])},
            {"stopping_criteria": StoppingCriteriaList([Never()])},
            {"num_beams": 31},  # more continuations than words
            {"synced_gpus": True},
            {"past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache())},  # has to keep its rows
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_what_the_loop_does_not_know(self, model, batch, searched, monkeypatch, options):
        monkeypatch.setattr(GenerationMixin, "_has_unfinished_sequences", lambda self, over, *args, **kwargs: not over)
        found = model()
        found.generate(**batch, **{"num_beams": 3, "max_new_tokens": 4, **options})
        assert not searched

    def test_on_request(self, model, batch, searched):
        theirs(model(), **batch, num_beams=3)
        assert not searched

    def test_greedy_search(self, model, batch, searched):
        model().generate(**batch)
        assert not searched


class TestBestContinuations:
    @pytest.mark.parametrize("words", [20, 511, 512, 640, 700, 1023])
    @pytest.mark.parametrize("beams", [2, 4])
    def test_are_the_best_of_all(self, words, beams):
        log_probs, scores = torch.randn(3 * beams, words), torch.randn(3, beams)
        count = 8
        found, rows, tokens = best_continuations(log_probs, scores, count)
        everything = (log_probs.view(3, beams, words) + scores[..., None]).flatten(1)
        expected, index = everything.topk(count)
        assert torch.equal(found, expected)
        assert torch.equal(rows, index // words + torch.arange(3)[:, None] * beams)
        assert torch.equal(tokens, index % words)

    def test_of_one_group_and_behind_the_last(self):
        log_probs = torch.zeros(1, 700)
        best = [3, 13, 23, 33, 643, 653, 663, 699]  # of 10 groups, and behind them
        log_probs[0, best] = torch.arange(8.0, 0, -1)
        found, rows, tokens = best_continuations(log_probs, torch.zeros(1, 1), 8)
        assert (found.tolist(), rows.tolist(), tokens.tolist()) == ([[8.0, 7, 6, 5, 4, 3, 2, 1]], [[0] * 8], [best])
