# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Every encoding × place × backend × norm × padding side × cache × dtype gives the logits of each sentence alone.

The expected logits come from the plainest computation: eager attention in float32, one sentence, no padding, no cache,
and windows given as masks. Pairs of encoding and backend that are missing here are refused, see
`test_backends.py`.

`TestCanFail` proves that the comparisons can fail: without the encoding, a mask or a part of the cache, the tested
model has an error of at least twice the tolerance. Its fast cases use eager, as the other backends are compared with it
anyway.
"""

from typing import NamedTuple

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from locant.modeling.attention_inputs import build_mask

from .conftest import ENCODINGS, SERVED, STEEP, TRAINED, slow_except

FIELDS = {
    "encoder_layers": 1,
    "decoder_layers": 1,
    "decoder_key_value_heads": 2,
    # smooth: at the kink of relu, the rounding of half precision switches a unit on or off
    "activation_function": "silu",
    "position_parameters": STEEP,
}
# with blocks of 16 queries, both have two
SOURCES = [[*range(3, 21), 2], [11, 12, 13, 14, 15, 16, 17, 2], [14, 2]]
TARGETS = [[1, *range(20, 3, -1)], [1, 17, 16, 5, 6, 7, 8, 9, 10], [1, 15, 14]]
WINDOW = 5
# longer than the window at once, one token, longer than the window from a cache that has slid
STEPS = [(0, 8), (8, 9), (9, 18)]

IN_CROSS_ATTENTION = ["none", "shaw", "transformer_xl", "t5", "alibi", "rotary"]
FIELD_OF = {
    "encoder": "position_encoding",
    "decoder": "decoder_position_encoding",
    "cross": "cross_position_encoding",
}
WHERE = ["encoder", "decoder", "both"]
# `window` has a cache as well, but decodes at once
CACHES = ["none", "dynamic", "static", "sliding", "static sliding", "window"]
STEPWISE = ["dynamic", "static", "sliding", "static sliding"]


def slides(cache):
    return cache in ("sliding", "static sliding", "window")


MASKS_AND_CACHES = [
    (mask, cache)
    for mask in ("padding", "causality", "window")
    for cache in CACHES
    if mask != "window" or slides(cache)
]
TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Where the encoding is, and the type: half precision only where all attentions have it
PLACES_AND_TYPES = [
    ("encoder", "float32"),
    ("decoder", "float32"),
    ("both", "float32"),
    ("both", "bf16"),
    ("both", "fp16"),
]

# Of the mean error of a token's logits, in standard deviations of the sentence's logits. The largest error of correct
# code is 0.037 in bf16 and 0.003 in fp16; without the encoding in one attention of three, the smallest is 0.21.
HALF_TOLERANCE = {torch.bfloat16: 0.08, torch.float16: 0.01}
# Of the error of a parameter's gradient in bf16, relative to its norm plus 0.1. The largest error of correct code is
# 0.043; without the encoding in one attention of three, the smallest is 0.4.
GRADIENT_TOLERANCE = 0.1


def attentions(encoding, where):
    """The attentions of a model that has `encoding` in one stack, or wherever it can be."""
    if where != "both":
        return [where]
    return ["encoder", "decoder", *(["cross"] if encoding in IN_CROSS_ATTENTION else [])]


def places(encoding, where):
    """The fields of a model that has `encoding` in `attentions(encoding, where)`, and no encoding elsewhere."""
    return {field: encoding if name in attentions(encoding, where) else "none" for name, field in FIELD_OF.items()}


@pytest.fixture(params=WHERE)
def where(request):
    return request.param


@pytest.fixture(params=CACHES)
def cache(request):
    return request.param


def caches(kind, model):
    if kind == "dynamic":
        return EncoderDecoderCache(DynamicCache(), DynamicCache())
    if kind == "sliding":
        return EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache())
    return EncoderDecoderCache(StaticCache(model.config, max_cache_len=20), StaticCache(model.config, max_cache_len=19))


@pytest.fixture(scope="module")
def expected(shared_model):
    """Logits of each sentence alone in float32, with the weights of the tested type, computed once for each model."""
    known = {}

    @torch.no_grad()
    def get(window, dtype, **fields):
        key = window, dtype, repr(sorted(fields.items()))
        if key not in known:
            model, known[key] = shared_model(weights_dtype=TYPES[dtype], **fields), []
            for source, target in zip(SOURCES, TARGETS, strict=True):
                masks = {}
                if window:
                    slots, later = torch.arange(len(source)), torch.arange(len(target))
                    near = (slots[:, None] - slots).abs() <= WINDOW
                    recent = (later <= later[:, None]) & (later > later[:, None] - WINDOW)
                    masks = {"attention_mask": near[None, None], "decoder_attention_mask": recent[None, None]}
                ids = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([target])}
                known[key].append(model(**ids, **masks).logits[0])
        return known[key]

    return get


@torch.no_grad()
def decode(model, cache, sources, targets, later_model=None, damage=None):
    """Logits of the batch, decoded at once or in steps.

    All steps but the first are those of `later_model`, and `damage` may change the cache before the last.
    """
    ids, mask = targets
    source = {"input_ids": sources[0], "attention_mask": sources[1]}
    if cache in ("none", "window"):
        return model(**source, decoder_input_ids=ids, decoder_attention_mask=mask).logits
    past, steps = caches(cache, model), []
    for start, end in STEPS:
        if damage is not None and end == STEPS[-1][1]:
            damage(past)
        step = {"decoder_input_ids": ids[:, start:end], "decoder_attention_mask": mask[:, :end]}
        steps.append(model(**source, **step, past_key_values=past).logits)
        model = later_model or model
    return torch.cat(steps, 1)


def error_of(logits, alone):
    """The error of one sentence's logits, in multiples of the tolerance."""
    difference = (logits.float() - alone).abs()
    if logits.dtype == torch.float32:
        return (difference / (5e-5 + 1e-5 * alone.abs())).max()
    return difference.mean(-1).max() / (HALF_TOLERANCE[logits.dtype] * alone.std())


class Case(NamedTuple):
    encoding: str
    backend: str
    norm_position: str
    side: str
    cache: str
    where: str
    dtype: str


@pytest.fixture
def error(shared_model, expected, make_batch):
    """The largest error in a padded batch, in multiples of the tolerance.

    To break the tested model, `without` names the attentions from which the encoding is taken, `later_without` those
    from which it is taken in all steps but the first, and `damage` changes the cache before the last step.
    """

    def error(case, without=(), later_without=(), damage=None):
        fields = {**FIELDS, **places(case.encoding, case.where), "norm_position": case.norm_position}
        window = {"sliding_window": WINDOW} if slides(case.cache) else {}

        def model(removed):
            bare = {**fields, **{FIELD_OF[attention]: "none" for attention in removed}}
            return shared_model(
                case.backend, TYPES[case.dtype], weights_of=fields if removed else None, **bare, **window
            )

        targets, mask = make_batch(TARGETS, case.side)
        batch = make_batch(SOURCES, case.side), (targets, mask)
        later_model = model(later_without) if later_without else None
        logits = decode(model(without), case.cache, *batch, later_model, damage)
        assert logits.dtype == TYPES[case.dtype]
        alone = expected(slides(case.cache), case.dtype, **fields)
        pairs = zip(logits, mask.bool(), alone, strict=True)
        return torch.stack([error_of(row[real], sentence) for row, real, sentence in pairs]).max().item()

    return error


@pytest.mark.pairwise
def test_float32_is_exact(error, served, norm_position, side, cache, where):
    assert error(Case(*served, norm_position, side, cache, where, "float32")) < 1


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", slow_except(["bf16"], ["bf16", "fp16"]))
def test_half_precision_is_close(error, served, norm_position, side, cache, dtype):
    assert error(Case(*served, norm_position, side, cache, "both", dtype)) < 1


def gradients(model, sources, targets):
    ids, mask = targets
    labels = ids.masked_fill(mask == 0, -100)
    model.zero_grad()
    source = {"input_ids": sources[0], "attention_mask": sources[1]}
    model(**source, decoder_input_ids=ids, decoder_attention_mask=mask, labels=labels).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def error_of_gradient(gradient, expected):
    """The error of a gradient, in multiples of the tolerance."""
    difference = gradient.float() - expected
    if gradient.dtype == torch.float32:
        return (difference.abs() / (2e-5 + 1e-4 * expected.abs())).max().item()
    return (difference.norm() / (GRADIENT_TOLERANCE * (expected.norm() + 0.1))).item()


@pytest.fixture(scope="module")
def known_gradients():
    """The expected gradients of the models for which they are computed already."""
    return {}


@pytest.fixture
def gradient_errors(shared_model, make_batch, known_gradients):
    """The error of each parameter's gradient, in multiples of the tolerance; `without` is as in `error`."""

    def errors(encoding, backend, norm_position, side, where, window, dtype, without=()):
        fields = {**FIELDS, **places(encoding, where), "norm_position": norm_position, "sliding_window": window}
        bare = {**fields, **{FIELD_OF[attention]: "none" for attention in without}}
        key = dtype, repr(sorted(fields.items()))
        if key not in known_gradients:
            exact = shared_model(weights_dtype=TYPES[dtype], **fields)
            known_gradients[key] = gradients(exact, make_batch(SOURCES, "right"), make_batch(TARGETS, "right"))
        expected = known_gradients[key]
        tested = shared_model(backend, TYPES[dtype], weights_of=fields if without else None, **bare)
        others = gradients(tested, make_batch(SOURCES, side), make_batch(TARGETS, side))
        assert len(others) > 30
        assert without or others.keys() == expected.keys()
        return {name: error_of_gradient(gradient, expected[name]) for name, gradient in others.items()}

    return errors


windows = pytest.mark.parametrize("window", [None, WINDOW], ids=["all", "window"])


@pytest.mark.pairwise
@windows
def test_gradients_agree(gradient_errors, trained, norm_position, side, where, window):
    errors = gradient_errors(*trained, norm_position, side, where, window, "float32")
    assert not {name: error for name, error in errors.items() if not error < 1}


@pytest.mark.sampled(2)
def test_half_precision_has_gradients(gradient_errors, trained, norm_position, side):
    """In bf16, in which most models are trained, with the encoding in all attentions that can have it."""
    errors = gradient_errors(*trained, norm_position, side, "both", None, "bf16")
    assert not {name: error for name, error in errors.items() if not error < 1}


ENCODED = [name for name in ENCODINGS if name != "none"]


def slow_but_in_eager(pairs):
    """The pairs whose encoding is not `none`; the pairs whose backend is not eager are marked as slow."""
    pairs = [pair for pair in pairs if pair[0] != "none"]
    return slow_except([pair for pair in pairs if pair[1] == "eager"], pairs)


class TestCanFail:
    @pytest.fixture(params=slow_except(["left"], ["left", "right"]))
    def side(self, request):
        return request.param

    @pytest.fixture(params=slow_but_in_eager(SERVED), ids="-".join)
    def served(self, request, uncompiled_flex, small_blocks):
        return request.param

    @pytest.fixture(params=slow_but_in_eager(TRAINED), ids="-".join)
    def trained(self, request, small_blocks):
        return request.param

    @pytest.mark.pairwise
    @pytest.mark.parametrize(("where", "dtype"), PLACES_AND_TYPES)
    def test_fails_without_the_encoding(self, error, served, norm_position, side, cache, where, dtype):
        """The cases are those of `test_float32_is_exact` and `test_half_precision_is_close`."""
        case = Case(*served, norm_position, side, cache, where, dtype)
        assert error(case, without=attentions(case.encoding, where)) > 2

    @pytest.mark.pairwise
    @pytest.mark.parametrize("encoding", ENCODED)
    @pytest.mark.parametrize("cache", slow_except(["none", "sliding"], CACHES))
    @pytest.mark.parametrize("dtype", slow_except(["float32", "bf16"], TYPES))
    def test_fails_without_the_encoding_in_one_attention(self, error, encoding, norm_position, side, cache, dtype):
        case = Case(encoding, "eager", norm_position, side, cache, "both", dtype)
        for attention in attentions(encoding, "both"):
            assert error(case, without=[attention]) > 2, attention

    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("encoding", ENCODED)
    @pytest.mark.parametrize("cache", STEPWISE)
    @pytest.mark.parametrize("dtype", slow_except(["bf16"], TYPES))
    def test_fails_without_the_encoding_after_the_first_step(self, error, encoding, norm_position, side, cache, dtype):
        case = Case(encoding, "eager", norm_position, side, cache, "both", dtype)
        for attention in attentions(encoding, "both")[1:]:
            assert error(case, later_without=[attention]) > 2, attention

    @pytest.mark.pairwise
    @pytest.mark.parametrize(("mask", "cache"), MASKS_AND_CACHES)
    @pytest.mark.parametrize("dtype", slow_except(["bf16"], TYPES))
    def test_fails_without_a_mask(self, error, encoding, norm_position, side, cache, dtype, mask, monkeypatch):
        removed = {"padding": {"attention_mask": None}, "causality": {"kind": "encoder"}, "window": {"window": None}}

        def build(config, hidden_states, index, attention_mask=None, **options):
            options = {"attention_mask": attention_mask, **options, **removed[mask]}
            return build_mask(config, hidden_states, index, **options)

        case = Case(encoding, "eager", norm_position, side, cache, "both", dtype)
        assert error(case) < 1  # so that the expected logits are computed with all masks
        monkeypatch.setattr("locant.modeling.attention_inputs.build_mask", build)
        assert error(case) > 2

    @pytest.mark.pairwise
    @pytest.mark.parametrize("cache", STEPWISE)
    @pytest.mark.parametrize("dtype", slow_except(["fp16"], ["float32", "fp16"]))
    def test_fails_without_one_cached_token(self, error, encoding, norm_position, side, cache, dtype):
        """bf16 is left out, because its rounding makes errors of nearly the same size."""
        slot = STEPS[1][0] if cache == "static" else -1  # of the step of one token; a sliding cache has it at its end

        def lose(past):
            for layer in past.self_attention_cache.layers:
                layer.keys[:, :, slot], layer.values[:, :, slot] = 0, 0

        assert error(Case(encoding, "eager", norm_position, side, cache, "both", dtype), damage=lose) > 2

    @pytest.mark.pairwise
    @pytest.mark.parametrize("cache", STEPWISE)
    @pytest.mark.parametrize("dtype", slow_except(["bf16"], TYPES))
    @pytest.mark.parametrize("attention", ["self", "cross"])
    def test_fails_without_the_cache(self, error, encoding, norm_position, side, cache, dtype, attention):
        def lose(past):
            for layer in getattr(past, f"{attention}_attention_cache").layers:
                layer.keys[:], layer.values[:] = 0, 0

        assert error(Case(encoding, "eager", norm_position, side, cache, "both", dtype), damage=lose) > 2

    @pytest.mark.sampled(4)
    @windows
    def test_gradients_differ_without_the_encoding(self, gradient_errors, trained, norm_position, side, where, window):
        without = attentions(trained[0], where)
        errors = gradient_errors(*trained, norm_position, side, where, window, "float32", without=without)
        assert max(errors.values()) > 2

    @pytest.mark.sampled(2)
    def test_half_precision_gradients_differ_without_the_encoding(self, gradient_errors, trained, norm_position, side):
        everywhere = attentions(trained[0], "both")
        for without in (everywhere, *([attention] for attention in everywhere)):
            errors = gradient_errors(*trained, norm_position, side, "both", None, "bf16", without=without)
            assert max(errors.values()) > 2, without
