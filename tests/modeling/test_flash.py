# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Flash attention, with plain functions that replace its kernels, which need a GPU.

The functions do what flash-attn 2 documents: causality, windows and slopes are aligned to the bottom right, that is to
the last query and the last key.
"""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache
from transformers import modeling_flash_attention_utils as flash_utils

SOURCES = [[*range(3, 15), 2], [11, 12, 13, 14, 15, 16, 17, 2], [14, 2]]
TARGETS = [[1, *range(20, 9, -1)], [1, 17, 16, 5, 6, 7], [1, 15]]
ONE_LAYER = {"encoder_layers": 1, "decoder_layers": 1}
WINDOW = 3

applied = []  # the dropout probability of each call of a kernel in the test that runs


def flash_attn_func(
    q,
    k,
    v,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    alibi_slopes=None,
    deterministic=False,
):
    """Attention of tensors `(batch, length, heads, head_dim)`; queries and keys may have different lengths."""
    applied.append(dropout_p)
    k, v = (states.repeat_interleave(q.shape[2] // k.shape[2], dim=2) for states in (k, v))
    distance = torch.arange(k.shape[1]) - torch.arange(q.shape[1])[:, None] - (k.shape[1] - q.shape[1])
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * softmax_scale
    if alibi_slopes is not None:
        assert alibi_slopes.dtype == torch.float32
        scores = scores - alibi_slopes[:, None, None] * distance.abs()
    left, right = window_size[0], 0 if causal else window_size[1]
    unseen = (distance > right) & (right >= 0) | (distance < -left) & (left >= 0)
    weights = scores.masked_fill(unseen, -torch.inf).softmax(-1).nan_to_num()
    return torch.einsum("bhqk,bkhd->bqhd", weights, v)


def flash_attn_varlen_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    alibi_slopes=None,
    deterministic=False,
):
    """Attention of tensors `(tokens, heads, head_dim)` that hold sequences one after the other."""
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert isinstance(max_seqlen_q, int)
    assert isinstance(max_seqlen_k, int)
    lengths = cu_seqlens_q.diff(), cu_seqlens_k.diff()
    assert (int(lengths[0].max()), int(lengths[1].max())) == (max_seqlen_q, max_seqlen_k)
    parts = [states.split(length.tolist()) for states, length in zip((q, k, v), (*lengths, lengths[1]), strict=True)]
    options = (dropout_p, softmax_scale, causal, window_size, alibi_slopes)
    return torch.cat([flash_attn_func(*(s[None] for s in states), *options)[0] for states in zip(*parts, strict=True)])


@pytest.fixture(autouse=True)
def kernels(monkeypatch, no_grad):
    """Make Locant's and transformers' flash attention call the plain functions as kernels."""
    applied.clear()
    functions = (flash_attn_func, flash_attn_varlen_func, None, flash_utils._pad_input, flash_utils._unpad_input)
    process = flash_utils._lazy_define_process_function(flash_attn_varlen_func)
    for module in ("locant.modeling.attention_backends", "transformers.modeling_flash_attention_utils"):
        monkeypatch.setattr(f"{module}.lazy_import_flash_attention", lambda *_: (functions, (process, dict)))


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Make transformers accept flash attention on a machine without its package."""
    path = "transformers.modeling_utils.PreTrainedModel._check_and_adjust_attn_implementation"
    monkeypatch.setattr(path, lambda model, backend, *args, **kwargs: backend or "sdpa")


@pytest.fixture
def flash_model(shared_model):
    return lambda **fields: shared_model("flash_attention_2", **fields)


@pytest.fixture(params=["none", "sinusoidal", "learned", "alibi", "rotary"])
def encoding(request):
    return request.param


@pytest.fixture
def batch(make_batch, side):
    sources, targets = make_batch(SOURCES, side), make_batch(TARGETS, side)
    names = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask")
    return dict(zip(names, (*sources, *targets), strict=True))


@pytest.fixture(params=[None, WINDOW], ids=["all", "window"])
def fields(request, encoding):
    return {**ONE_LAYER, "position_encoding": encoding, "sliding_window": request.param, "decoder_key_value_heads": 2}


def assert_same(logits, expected, mask):
    real = mask.bool()
    torch.testing.assert_close(logits[real], expected[real], atol=2e-5, rtol=1e-5)


class TestForward:
    @pytest.mark.pairwise
    def test_of_a_padded_batch(self, shared_model, flash_model, batch, fields):
        expected = shared_model("eager", **fields)(**batch).logits
        logits = flash_model(**fields)(**batch).logits
        assert_same(logits, expected, batch["decoder_attention_mask"])

    def test_without_padding(self, shared_model, flash_model, make_batch, fields):
        ids, target = torch.tensor([SOURCES[0]] * 2), torch.tensor([TARGETS[0]] * 2)
        expected = shared_model("eager", **fields)(ids, decoder_input_ids=target).logits
        logits = flash_model(**fields)(ids, decoder_input_ids=target).logits
        torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-5)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("masked", [True, False], ids=["mask", "no mask"])
    @pytest.mark.parametrize("kind", ["dynamic", "sliding", "static"])
    def test_in_steps(self, shared_model, flash_model, batch, fields, kind, masked):
        decoder_ids, decoder_mask = batch.pop("decoder_input_ids"), batch.pop("decoder_attention_mask")
        real = decoder_mask if masked else torch.ones_like(decoder_mask)
        target = {"decoder_input_ids": decoder_ids, "decoder_attention_mask": decoder_mask if masked else None}
        expected = shared_model("eager", **fields)(**batch, **target).logits
        model, logits = flash_model(**fields), []
        past = {
            "dynamic": lambda: (DynamicCache(), DynamicCache()),
            "sliding": lambda: (DynamicCache(config=model.config), DynamicCache()),
            "static": lambda: (StaticCache(model.config, max_cache_len=15), StaticCache(model.config, 13)),
        }[kind]()
        past = EncoderDecoderCache(*past)
        for start, end in ((0, 5), (5, 6), (6, 12)):
            step = {"decoder_input_ids": decoder_ids[:, start:end]}
            if masked:
                step["decoder_attention_mask"] = decoder_mask[:, :end]
            logits.append(model(**batch, **step, past_key_values=past).logits)
        assert_same(torch.cat(logits, 1), expected, real)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}], ids=str)
    def test_generation(self, shared_model, flash_model, batch, fields, options):
        options = {"max_new_tokens": 5, "no_repeat_ngram_size": 2, "input_ids": batch["input_ids"], **options}
        options["attention_mask"] = batch["attention_mask"]
        expected = shared_model("eager", **fields).generate(**options)
        assert flash_model(**fields).generate(**options).tolist() == expected.tolist()

    def test_generation_with_a_static_cache_of_full_and_sliding_layers(self, shared_model, flash_model, batch):
        layer_types = ["full_attention", "sliding_attention"]
        fields = {
            "encoder_layers": 1,
            "decoder_layers": 2,
            "decoder_layer_types": layer_types,
            "sliding_window": WINDOW,
        }
        options = {"max_new_tokens": 3 * WINDOW, "min_new_tokens": 3 * WINDOW, "cache_implementation": "static"}
        options |= {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        start = torch.tensor([[1, 5], [1, 6], [1, 7]])
        options |= {"decoder_input_ids": start, "decoder_attention_mask": torch.ones_like(start)}
        options |= {"return_dict_in_generate": True, "output_logits": True}
        expected = shared_model("eager", **fields).generate(**options).logits
        torch.testing.assert_close(flash_model(**fields).generate(**options).logits, expected, atol=2e-5, rtol=1e-5)


class TestDropout:
    @pytest.mark.parametrize("position_encoding", ["rotary", "alibi"])
    def test_of_attention_weights_is_applied_in_training_only(self, make_model, position_encoding):
        fields = {**ONE_LAYER, "position_encoding": position_encoding, "attention_dropout": 0.3}
        model = make_model(**fields, attn_implementation="flash_attention_2")
        ids = torch.tensor([TARGETS[0]])
        for training, dropout in ((True, 0.3), (False, 0.0)):
            applied.clear()
            model.train(training)(ids, decoder_input_ids=ids)
            assert applied == [dropout] * 3  # of the encoder, of the decoder, of cross-attention


class TestRefused:
    @pytest.mark.parametrize("place", ["attention_mask", "decoder_attention_mask", "cross_attention_mask"])
    def test_masks_of_the_callers(self, flash_model, place):
        ids = torch.tensor([TARGETS[0]])
        mask = torch.eye(ids.shape[1]).bool()[None, None]
        with pytest.raises(ValueError, match=r"flash_attention_2 takes .* got a mask of four dimensions: set attn_imp"):
            flash_model(**ONE_LAYER)(ids, decoder_input_ids=ids, **{place: mask})

    def test_documents(self, flash_model):
        ids = torch.tensor([TARGETS[0]])
        documents = {"document_ids": torch.zeros_like(ids), "decoder_document_ids": torch.zeros_like(ids)}
        with pytest.raises(
            ValueError, match=r"flash_attention_2 takes .* got document ids: set attn_implementation to"
        ):
            flash_model(**ONE_LAYER)(ids, decoder_input_ids=ids, **documents)

    def test_given_positions_with_slopes(self, flash_model):
        ids = torch.tensor([TARGETS[0]])
        positions = torch.arange(ids.shape[1])[None] * 2
        flash_model(**ONE_LAYER, position_encoding="rotary")(ids, decoder_input_ids=ids, position_ids=positions)
        with pytest.raises(ValueError, match=r"flash attention compute distances .*: leave out position_ids, or"):
            flash_model(**ONE_LAYER, position_encoding="alibi")(ids, decoder_input_ids=ids, position_ids=positions)

    @pytest.mark.parametrize(
        "fields",
        [
            {"position_encoding": "shaw"},
            {"position_encoding": "transformer_xl"},
            {"position_encoding": "t5"},
            {"cross_position_encoding": "t5"},
            {"cross_position_encoding": "alibi"},  # distances of positions, not of slots
        ],
        ids=str,
    )
    def test_terms_other_than_slopes(self, make_model, fields):
        message = r"^flash_attention_2 cannot add the bias .*: set attn_implementation to .* or .*\.$"
        with pytest.raises(ValueError, match=message):
            make_model(**fields, attn_implementation="flash_attention_2")
        with pytest.raises(ValueError, match=message):
            make_model(**fields).set_attn_implementation("flash_attention_2")
