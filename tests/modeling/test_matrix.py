# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Every encoding × where × backend × norm × padding side × cache × type gives what each sentence alone gives in eager.

What is expected comes from one plain way to compute: eager attention, one sentence, no padding, no cache, and windows
as masks written out. Pairs of encoding and backend that are missing here are refused, see `test_backends.py`.
"""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

ONE_LAYER = {"encoder_layers": 1, "decoder_layers": 1, "decoder_key_value_heads": 2}
# with blocks of 16 queries, both have two
SOURCES = [[*range(3, 21), 2], [11, 12, 13, 14, 15, 16, 17, 2], [14, 2]]
TARGETS = [[1, *range(20, 3, -1)], [1, 17, 16, 5, 6, 7, 8, 9, 10], [1, 15, 14]]
WINDOW = 5
# longer than the window at once, one token, longer than the window from a cache that has slid
STEPS = [(0, 8), (8, 9), (9, 18)]

IN_CROSS_ATTENTION = ["none", "shaw", "transformer_xl", "t5", "alibi", "rotary"]


def places(encoding, where):
    """The encodings of a model that has `encoding` in one stack, or wherever it can be."""
    if where == "both":
        cross = encoding if encoding in IN_CROSS_ATTENTION else "none"
        return {"position_encoding": encoding, "cross_position_encoding": cross}
    names = {"encoder": "none", "decoder": "none", where: encoding}
    return {"position_encoding": names["encoder"], "decoder_position_encoding": names["decoder"]}


@pytest.fixture(params=["encoder", "decoder", "both"])
def where(request):
    return request.param


@pytest.fixture(params=["none", "dynamic", "static", "sliding", "static sliding", "window"])
def cache(request):
    """Which cache; `window` has one as well, but decodes at once."""
    return request.param


def caches(kind, model):
    if kind == "dynamic":
        return EncoderDecoderCache(DynamicCache(), DynamicCache())
    if kind == "sliding":
        return EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache())
    return EncoderDecoderCache(StaticCache(model.config, max_cache_len=20), StaticCache(model.config, max_cache_len=19))


def slides(cache):
    return cache in ("sliding", "static sliding", "window")


@pytest.fixture(scope="module")
def expected(shared_model):
    """Logits of each sentence alone, computed once for each model."""
    known = {}

    @torch.no_grad()
    def get(window, **fields):
        key = window, repr(sorted(fields.items()))
        if key not in known:
            model, known[key] = shared_model(**fields), []
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
def decode(model, cache, sources, targets):
    """Logits of the batch, decoded at once or in steps."""
    ids, mask = targets
    source = {"input_ids": sources[0], "attention_mask": sources[1]}
    if cache in ("none", "window"):
        return model(**source, decoder_input_ids=ids, decoder_attention_mask=mask).logits
    past, steps = caches(cache, model), []
    for start, end in STEPS:
        step = {"decoder_input_ids": ids[:, start:end], "decoder_attention_mask": mask[:, :end]}
        steps.append(model(**source, **step, past_key_values=past).logits)
    return torch.cat(steps, 1)


@pytest.fixture
def compare(shared_model, expected, make_batch, served, norm_position, side, cache):
    """Each real token of a padded batch with the same sentence alone in eager."""

    def compare(where, dtype, check):
        encoding, backend = served
        fields = {**ONE_LAYER, **places(encoding, where), "norm_position": norm_position}
        window = {"sliding_window": WINDOW} if slides(cache) else {}
        targets, mask = make_batch(TARGETS, side)
        model = shared_model(backend, dtype, **fields, **window)
        logits = decode(model, cache, make_batch(SOURCES, side), (targets, mask))
        assert logits.dtype == dtype
        for row, alone in enumerate(expected(slides(cache), **fields)):
            check(logits[row][mask[row].bool()], alone)

    return compare


def test_float32_is_exact(compare, where):
    compare(where, torch.float32, lambda one, other: torch.testing.assert_close(one, other, atol=5e-5, rtol=1e-5))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.2), (torch.float16, 0.03)], ids=["bf16", "fp16"])
def test_half_precision_is_close(compare, dtype, tolerance):
    def check(logits, alone):
        assert (logits.float() - alone).abs().mean() < tolerance * alone.std()

    compare("both", dtype, check)


def gradients(model, sources, targets):
    ids, mask = targets
    labels = ids.masked_fill(mask == 0, -100)
    model.zero_grad()
    source = {"input_ids": sources[0], "attention_mask": sources[1]}
    model(**source, decoder_input_ids=ids, decoder_attention_mask=mask, labels=labels).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("window", [None, WINDOW], ids=["all", "window"])
def test_gradients_agree(shared_model, make_batch, trained, where, norm_position, side, window):
    encoding, backend = trained
    fields = {**ONE_LAYER, **places(encoding, where), "norm_position": norm_position, "sliding_window": window}
    expected = gradients(shared_model("eager", **fields), make_batch(SOURCES, "right"), make_batch(TARGETS, "right"))
    others = gradients(shared_model(backend, **fields), make_batch(SOURCES, side), make_batch(TARGETS, side))
    assert expected.keys() == others.keys()
    assert len(expected) > 30
    for name, gradient in expected.items():
        torch.testing.assert_close(others[name], gradient, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_half_precision_has_gradients(shared_model, make_batch, trained, side):
    """bf16, in which most are trained, wherever the encoding can be."""
    encoding, backend = trained
    fields = {**ONE_LAYER, **places(encoding, "both")}
    batch = make_batch(SOURCES, side), make_batch(TARGETS, side)
    expected = gradients(shared_model("eager", **fields), *batch)
    for name, gradient in gradients(shared_model(backend, torch.bfloat16, **fields), *batch).items():
        assert gradient.isfinite().all(), name
        assert (gradient.float() - expected[name]).norm() < 0.3 * expected[name].norm() + 1e-3, name
