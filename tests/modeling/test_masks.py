# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Which tokens see which: masks of the caller, windows, documents, and all of them together.

The tests find the tokens that a token sees from a model of one layer: the output of a token changes if and only if the
token itself or a token that it sees changes.
"""

from itertools import chain

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

ONE_LAYER = {"encoder_layers": 1, "decoder_layers": 1, "position_encoding": "alibi"}
LENGTH, WINDOW = 20, 4
IDS = torch.arange(3, 3 + LENGTH)[None]


@pytest.fixture(autouse=True)
def inference(no_grad):
    pass


def random_mask(*shape, seed=0):
    """Half of all pairs, and each token itself, so that no row is empty."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    return mask | torch.eye(*shape[-2:], dtype=torch.bool)


def as_type(mask, dtype):
    if not dtype.is_floating_point:
        return mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


def band(queries, keys, window, is_causal, first=0):
    """The mask of a window, for queries from slot `first` on."""
    distance = torch.arange(keys) - torch.arange(first, first + queries)[:, None]
    return (distance <= 0) & (distance > -window) if is_causal else distance.abs() <= window


def seen(stack, **inputs):
    """Which tokens each token of `IDS` sees in one layer of a stack, always itself included, `(LENGTH, LENGTH)`."""
    ids = IDS.repeat(LENGTH + 1, 1)
    ids[range(LENGTH), range(LENGTH)] = 1  # row j changes token j, the last none
    states = stack(ids, **inputs).last_hidden_state
    return ((states[:-1] - states[-1]).abs().amax(-1) > 1e-5).T


def seen_across(model, **inputs):
    """Which states of the encoder each target token sees in one layer, `(LENGTH, LENGTH)`."""
    torch.manual_seed(0)
    source = torch.randn(1, LENGTH, 32).repeat(LENGTH + 1, 1, 1)
    source[range(LENGTH), range(LENGTH)] += 1
    ids = IDS.expand(LENGTH + 1, -1)
    states = model.get_decoder()(ids, encoder_hidden_states=source, use_cache=False, **inputs).last_hidden_state
    return ((states[:-1] - states[-1]).abs().amax(-1) > 1e-5).T


ITSELF = torch.eye(LENGTH, dtype=torch.bool)
CAUSAL = torch.ones(LENGTH, LENGTH).tril().bool()
FORMS = pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32], ids=["bool", "int", "added"])


class TestOwnMasks:
    @FORMS
    def test_say_whom_the_encoder_sees(self, shared_model, backend, dtype):
        mask = random_mask(LENGTH, LENGTH)
        model = shared_model(backend, **ONE_LAYER)
        assert torch.equal(seen(model.get_encoder(), attention_mask=as_type(mask, dtype)[None, None]), mask)

    @FORMS
    def test_hold_with_causality_in_the_decoder(self, shared_model, backend, dtype):
        mask = random_mask(LENGTH, LENGTH)
        decoder = shared_model(backend, **ONE_LAYER).get_decoder()
        found = seen(decoder, attention_mask=as_type(mask, dtype)[None, None], use_cache=False)
        assert torch.equal(found, mask & CAUSAL)

    @pytest.mark.pairwise
    @FORMS
    @pytest.mark.parametrize("queries", [1, LENGTH])
    def test_say_whom_of_the_encoder_the_decoder_sees(self, shared_model, backend, dtype, queries):
        mask = random_mask(LENGTH, LENGTH)[:queries]
        model = shared_model(backend, **ONE_LAYER)
        found = seen_across(model, encoder_attention_mask=as_type(mask, dtype)[None, None])
        assert torch.equal(found, mask.expand(LENGTH, -1))

    def test_may_differ_by_head(self, shared_model, backend):
        masks = random_mask(4, LENGTH, LENGTH, seed=4)  # whoever is seen has an effect far above rounding
        model = shared_model(backend, **ONE_LAYER)
        assert torch.equal(seen(model.get_encoder(), attention_mask=masks[None]), masks.any(0))
        eager = shared_model("eager", **ONE_LAYER).get_encoder()
        expected = eager(IDS, attention_mask=masks[None], output_attentions=True)
        assert torch.equal(expected.attentions[0][0] > 0, masks)
        states = shared_model(backend, **ONE_LAYER).get_encoder()(IDS, attention_mask=masks[None]).last_hidden_state
        torch.testing.assert_close(states, expected.last_hidden_state, atol=2e-5, rtol=1e-5)

    def test_added_numbers_are_added(self, shared_model, served):
        encoding, backend = served
        fields = {**ONE_LAYER, "position_encoding": encoding}
        torch.manual_seed(1)
        added = torch.randn(2, 4, LENGTH, LENGTH)
        added[0, :, :, 15:] = -torch.inf
        inputs = {"input_ids": IDS.repeat(2, 1), "decoder_input_ids": IDS.repeat(2, 1)}
        masks = {"attention_mask": added, "decoder_attention_mask": added.flip(0) / 2}
        masks["decoder_attention_mask"][:, :, :, 0] = 0  # so that each sees one
        expected = shared_model("eager", **fields)(**inputs, **masks).logits
        without = shared_model("eager", **fields)(**inputs).logits
        assert (expected - without).abs().mean() > 0.05
        logits = shared_model(backend, **fields)(**inputs, **masks).logits
        torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-5)

    def test_of_the_encoder_hide_from_the_decoder_what_no_source_token_sees(self, shared_model, backend):
        model = shared_model(backend, **ONE_LAYER)
        mask = random_mask(LENGTH, LENGTH)
        mask[:, 12:] = False
        padding = torch.tensor([[1] * 12 + [0] * 8])
        inputs = {"input_ids": IDS, "decoder_input_ids": IDS}
        for form in (mask, as_type(mask, torch.float32)):
            given = model(**inputs, attention_mask=form[None, None]).logits
            named = model(**inputs, attention_mask=form[None, None], cross_attention_mask=padding).logits
            assert torch.equal(given, named)
        everything = model(**inputs, attention_mask=mask[None, None], cross_attention_mask=torch.ones_like(padding))
        assert (everything.logits - given).abs().max() > 1e-3

    @pytest.mark.sampled(2)
    def test_with_padding_in_them_are_padding(self, shared_model, make_batch, served, side):
        encoding, backend = served
        model = shared_model(backend, **{**ONE_LAYER, "position_encoding": encoding})
        sources, padding = make_batch([IDS[0].tolist(), [5, 6, 7], [8] * 9], side)
        targets, decoder_padding = make_batch([[1, 9, 10], [1, 20, 19, 18, 17], [1]], side)
        inputs = {"input_ids": sources, "decoder_input_ids": targets}
        # positions are counted from masks of two dimensions alone
        positions = [(mask.cumsum(1) - 1).clamp(min=0) for mask in (padding, decoder_padding)]
        inputs |= dict(zip(("position_ids", "decoder_position_ids"), positions, strict=True))
        expected = model(**inputs, attention_mask=padding, decoder_attention_mask=decoder_padding).logits
        own = [mask[:, None, None].bool().expand(-1, -1, mask.shape[1], -1) for mask in (padding, decoder_padding)]
        logits = model(**inputs, attention_mask=own[0], decoder_attention_mask=own[1]).logits
        real = decoder_padding.bool()
        torch.testing.assert_close(logits[real], expected[real], atol=2e-5, rtol=1e-5)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("window", [None, WINDOW], ids=["all", "window"])
    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    def test_in_steps(self, shared_model, backend, kind, window):
        fields = {**ONE_LAYER, "sliding_window": window}
        masks = random_mask(1, 4, LENGTH, LENGTH)
        expected = shared_model("eager", **fields).get_decoder()(IDS, attention_mask=masks).last_hidden_state
        decoder, steps = shared_model(backend, **fields).get_decoder(), []
        cache = cache_of(decoder.config, kind)
        for start, end in ((0, 7), (7, 8), (8, 14), (14, LENGTH)):
            mask = masks[:, :, start:end, :end]
            steps.append(decoder(IDS[:, start:end], attention_mask=mask, past_key_values=cache).last_hidden_state)
        torch.testing.assert_close(torch.cat(steps, 1), expected, atol=2e-5, rtol=1e-5)


def cache_of(config, kind, source_length=LENGTH):
    if kind == "dynamic":
        return EncoderDecoderCache(DynamicCache(config=config), DynamicCache())
    return EncoderDecoderCache(StaticCache(config, max_cache_len=22), StaticCache(config, max_cache_len=source_length))


class TestWindows:
    def test_of_the_encoder_are_two_sided(self, shared_model, backend):
        encoder = shared_model(backend, **ONE_LAYER, sliding_window=WINDOW).get_encoder()
        assert torch.equal(seen(encoder), band(LENGTH, LENGTH, WINDOW, False))

    def test_of_the_decoder_count_the_token_itself(self, shared_model, backend):
        decoder = shared_model(backend, **ONE_LAYER, sliding_window=WINDOW).get_decoder()
        assert torch.equal(seen(decoder), band(LENGTH, LENGTH, WINDOW, True))

    def test_are_not_for_cross_attention(self, shared_model, backend):
        model = shared_model(backend, **ONE_LAYER, sliding_window=WINDOW)
        assert seen_across(model).all()

    @FORMS
    def test_hold_with_a_mask_of_the_callers(self, shared_model, backend, dtype):
        mask = random_mask(LENGTH, LENGTH)
        model = shared_model(backend, **ONE_LAYER, sliding_window=WINDOW)
        given = as_type(mask, dtype)[None, None]
        assert torch.equal(seen(model.get_encoder(), attention_mask=given), mask & band(LENGTH, LENGTH, WINDOW, False))
        assert torch.equal(seen(model.get_decoder(), attention_mask=given), mask & band(LENGTH, LENGTH, WINDOW, True))

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("types", [("sliding", "full"), ("full", "sliding"), ("full", "full")], ids="-".join)
    @pytest.mark.parametrize("kind", ["none", "dynamic", "static"])
    def test_by_layer(self, make_model, shared_model, backend, types, kind, make_batch):
        """Sliding and full layers in one stack, compared with a model whose layers get the window as a mask."""
        fields = {"position_encoding": "alibi", "sliding_window": WINDOW}
        patterns = {f"{stack}_layer_types": [f"{name}_attention" for name in types] for stack in ("encoder", "decoder")}
        model, plain = shared_model(backend, **fields, **patterns), make_model(position_encoding="alibi")
        for stack, is_causal in ((plain.get_encoder(), False), (plain.get_decoder(), True)):
            for layer, name in zip(stack.layers, types, strict=True):
                if name == "sliding":
                    layer.self_attn.register_forward_pre_hook(in_band(is_causal))
        sources, mask = make_batch([IDS[0].tolist(), [5] * 9], "left")
        inputs = {"input_ids": sources, "attention_mask": mask}
        expected = plain(**inputs, decoder_input_ids=sources, decoder_attention_mask=mask).logits
        cache = None if kind == "none" else cache_of(model.config, kind)
        logits = []
        for start, end in ((0, LENGTH),) if kind == "none" else ((0, 7), (7, 8), (8, 9), (9, 15), (15, LENGTH)):
            step = {"decoder_input_ids": sources[:, start:end], "decoder_attention_mask": mask[:, :end]}
            logits.append(model(**inputs, **step, past_key_values=cache).logits)
        torch.testing.assert_close(torch.cat(logits, 1)[mask.bool()], expected[mask.bool()], atol=5e-5, rtol=1e-5)

    def test_keep_in_the_cache_what_is_needed(self, shared_model):
        fields = {"position_encoding": "alibi", "sliding_window": WINDOW}
        types = ["sliding_attention", "full_attention"]
        model = shared_model(**fields, decoder_layer_types=types)
        cache = model(IDS, decoder_input_ids=IDS).past_key_values
        assert [layer.keys.shape[2] for layer in cache.self_attention_cache.layers] == [WINDOW - 1, LENGTH]
        assert [layer.keys.shape[2] for layer in cache.cross_attention_cache.layers] == [LENGTH, LENGTH]


def in_band(is_causal):
    def hook(module, inputs):
        states, given, *others = inputs
        near = band(LENGTH, LENGTH, WINDOW, is_causal)
        mask = given.mask.masked_fill(~near, torch.finfo(states.dtype).min)
        return (states, given._replace(mask=mask), *others)

    return hook


# three sentences in one row, two in another, and the documents of each token
SENTENCES = [[[5, 6, 7, 8, 2], [9, 10, 11, 2], [12, 13, 14, 15, 16, 17, 2]], [[18, 19, 2], [20, 21, 22, 23, 5, 6, 2]]]
TRANSLATIONS = [[[1, 20, 19], [1, 18, 17, 16, 15, 14], [1, 13]], [[1, 12, 11, 10, 9, 8, 7], [1, 6, 5]]]


@pytest.fixture
def packed(make_batch):
    """A function that packs sentences into rows, and returns ids, mask, and the number of each token's sentence."""

    def pack(sentences, side):
        ids, mask = make_batch([list(chain(*row)) for row in sentences], side)
        numbers = [[n for n, sentence in enumerate(row) for _ in sentence] for row in sentences]
        documents, _ = make_batch(numbers, side)
        return ids, mask, documents

    return pack


@pytest.fixture(scope="module")
def alone(shared_model):
    """The logits of each sentence by itself in eager, in the order of the rows."""
    known = {}

    @torch.no_grad()
    def get(**fields):
        key = repr(sorted(fields.items()))
        if key not in known:
            model = shared_model(**fields)
            pairs = zip(chain(*SENTENCES), chain(*TRANSLATIONS), strict=True)
            ids = [(torch.tensor([source]), torch.tensor([target])) for source, target in pairs]
            logits = [model(source, decoder_input_ids=target).logits[0] for source, target in ids]
            known[key] = torch.cat(logits)
        return known[key]

    return get


class TestDocuments:
    @pytest.fixture(params=["self", "cross", "window"])
    def fields(self, request, served):
        """Fields with the encoding in self-attention, also in cross-attention if it can be there, or with a window."""
        encoding = served[0]
        fields = {**ONE_LAYER, "position_encoding": encoding}
        if request.param == "cross":
            cross = encoding if encoding not in ("sinusoidal", "learned") else "none"
            return {**fields, "cross_position_encoding": cross}
        return {**fields, "sliding_window": 3} if request.param == "window" else fields

    @pytest.mark.pairwise
    @pytest.mark.parametrize("kind", ["default", "none", "dynamic", "static"])
    def test_a_packed_row_is_its_sentences_alone(self, shared_model, alone, packed, served, fields, side, kind):
        model = shared_model(served[1], **fields)
        sources, mask, documents = packed(SENTENCES, side)
        targets, decoder_mask, decoder_documents = packed(TRANSLATIONS, side)
        inputs = {"input_ids": sources, "attention_mask": mask, "document_ids": documents}
        options = {"use_cache": False} if kind == "none" else {}
        steps = ((0, targets.shape[1]),)
        if kind in ("dynamic", "static"):
            options = {"past_key_values": cache_of(model.config, kind, source_length=16)}
            steps = ((0, 5), (5, 6), (6, targets.shape[1]))
        logits = [
            model(
                **inputs,
                decoder_input_ids=targets[:, start:end],
                decoder_attention_mask=decoder_mask[:, :end],
                decoder_document_ids=decoder_documents[:, :end],
                **options,
            ).logits
            for start, end in steps
        ]
        real = decoder_mask.bool()
        torch.testing.assert_close(torch.cat(logits, 1)[real], alone(**fields), atol=5e-5, rtol=1e-5)

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("mask", ["none", "ones"])
    def test_without_padding(self, shared_model, packed, served, mask):
        encoding, backend = served
        fields = {**ONE_LAYER, "position_encoding": encoding}
        expected = []
        for source, target in zip(SENTENCES[0], TRANSLATIONS[0], strict=True):
            ids = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([target])}
            expected.append(shared_model("eager", **fields)(**ids).logits[0])
        sources, ones, documents = packed(SENTENCES[:1], "right")
        targets, decoder_ones, decoder_documents = packed(TRANSLATIONS[:1], "right")
        inputs = {"document_ids": documents, "decoder_document_ids": decoder_documents}
        if mask == "ones":
            inputs |= {"attention_mask": ones, "decoder_attention_mask": decoder_ones}
        logits = shared_model(backend, **fields)(sources, decoder_input_ids=targets, **inputs).logits[0]
        torch.testing.assert_close(logits, torch.cat(expected), atol=5e-5, rtol=1e-5)

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("skip_logits", [False, True])
    @pytest.mark.parametrize("cross", [False, True])
    def test_packed_pairs_have_the_loss_and_gradients_of_each_alone(
        self, shared_model, packed, trained, cross, skip_logits
    ):
        encoding, backend = trained
        if cross and encoding in ("sinusoidal", "learned"):
            pytest.skip("an encoding of the embeddings is not one of cross-attention")
        encodings = {"position_encoding": encoding, "cross_position_encoding": encoding if cross else "none"}
        model = shared_model(backend, **{**ONE_LAYER, **encodings})
        parameters = list(model.parameters())

        def loss_and_gradients(sources, targets, side="right"):
            ids, mask, documents = packed(sources, side)
            decoder_ids, decoder_mask, decoder_documents = packed(targets, side)
            several = {"document_ids": documents, "decoder_document_ids": decoder_documents}
            with torch.enable_grad():
                loss = model(
                    ids,
                    attention_mask=mask,
                    decoder_input_ids=decoder_ids,
                    decoder_attention_mask=decoder_mask,
                    labels=((7 * decoder_ids + 1) % 24).masked_fill(decoder_mask == 0, -100),
                    num_items_in_batch=sum(map(len, chain(*TRANSLATIONS))),
                    skip_logits=skip_logits,
                    **(several if len(sources[0]) > 1 else {}),
                ).loss
            return [loss.detach(), *torch.autograd.grad(loss, parameters)]

        of_each = [
            loss_and_gradients([[source]], [[target]])
            for source, target in zip(chain(*SENTENCES), chain(*TRANSLATIONS), strict=True)
        ]
        expected = [sum(values) for values in zip(*of_each, strict=True)]
        torch.testing.assert_close(loss_and_gradients(SENTENCES, TRANSLATIONS), expected, atol=1e-5, rtol=1e-5)

    @FORMS
    def test_hold_with_a_mask_of_the_callers_and_a_window(self, shared_model, backend, dtype):
        mask = random_mask(LENGTH, LENGTH)
        documents = (torch.arange(LENGTH) >= 11).long()[None].repeat(LENGTH + 1, 1)
        same = documents[0][:, None] == documents[0]
        model = shared_model(backend, **ONE_LAYER, sliding_window=WINDOW)
        inputs = {"attention_mask": as_type(mask, dtype)[None, None], "document_ids": documents}
        found = seen(model.get_encoder(), **inputs)
        assert torch.equal(found, mask & same & band(LENGTH, LENGTH, WINDOW, False))
        found = seen(model.get_decoder(), use_cache=False, **inputs)
        assert torch.equal(found, mask & same & band(LENGTH, LENGTH, WINDOW, True))

    @pytest.mark.parametrize("given", ["document_ids", "decoder_document_ids"])
    def test_of_one_side_alone_are_refused(self, shared_model, given):
        with pytest.raises(ValueError, match=r"tokens only: give .* too"):
            shared_model(**ONE_LAYER)(IDS, decoder_input_ids=IDS, **{given: torch.zeros_like(IDS)})

    @pytest.mark.parametrize("given", ["document_ids", "decoder_document_ids"])
    @pytest.mark.parametrize("shape", [(LENGTH,), (3, LENGTH)])
    def test_with_another_number_of_rows_are_refused(self, shared_model, given, shape):
        documents = {"document_ids": torch.zeros_like(IDS), "decoder_document_ids": torch.zeros_like(IDS)}
        documents[given] = torch.zeros(shape, dtype=torch.long)
        with pytest.raises(ValueError, match=r"document_ids has the shape .*, but there are 2 sequences: give a row"):
            shared_model(**ONE_LAYER)(IDS.repeat(2, 1), decoder_input_ids=IDS.repeat(2, 1), **documents)

    @pytest.mark.parametrize("given", ["document_ids", "decoder_document_ids"])
    def test_too_short_are_refused(self, shared_model, given):
        documents = {"document_ids": torch.zeros_like(IDS), "decoder_document_ids": torch.zeros_like(IDS)}
        documents[given] = documents[given][:, 1:]
        with pytest.raises(ValueError, match=r"document_ids has 19 ids for each sequence, .* has 20 tokens, .*: give"):
            shared_model(**ONE_LAYER)(IDS, decoder_input_ids=IDS, **documents)


class TestOwnMasksAtTheirLimits:
    @pytest.mark.pairwise
    @pytest.mark.parametrize("lowest", [torch.finfo(torch.float32).min, float("-inf")])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
    def test_a_row_that_sees_nothing_spoils_no_other(
        self, make_model, backend, dtype, lowest, no_grad, assert_close_in_half
    ):
        model = make_model(position_encoding="rotary").to(dtype).float()
        ids = torch.tensor([[5, 6, 7, 8]])
        own = torch.zeros(1, 1, 4, 4)
        own[..., 3], own[:, :, 3] = lowest, lowest  # the last token is padding
        alone = model.get_encoder()(ids[:, :3]).last_hidden_state
        model.to(dtype).set_attn_implementation(backend)
        states = model.get_encoder()(ids, attention_mask=own).last_hidden_state[:, :3]
        if dtype == torch.float32:
            torch.testing.assert_close(states, alone, atol=1e-5, rtol=1e-5)
        else:
            assert_close_in_half(states, alone)

    @pytest.mark.parametrize("shape", [(1, 1, 3, 3), (1, 1, 2, 5)])
    def test_one_that_is_not_for_these_queries_and_keys_is_refused(self, make_model, shape, no_grad):
        model = make_model()
        inputs = {"input_ids": torch.tensor([[5, 6]]), "decoder_input_ids": torch.tensor([[1, 9]])}
        past = model(**inputs, use_cache=True).past_key_values
        inputs["decoder_input_ids"] = torch.tensor([[7, 8, 9]])
        with pytest.raises(
            ValueError, match=r"is for \d queries and \d keys, but there are 3 queries and 5 keys, incl"
        ):
            model(**inputs, past_key_values=past, decoder_attention_mask=torch.ones(shape).bool())

    def test_three_dimensions_are_refused(self, make_model):
        with pytest.raises(ValueError, match=r"attention_mask has the shape \(1, 2, 2\)"):
            make_model().get_encoder()(torch.tensor([[5, 6]]), attention_mask=torch.ones(1, 2, 2))

    @pytest.mark.parametrize("encoding", ["t5", "rotary", "alibi", "shaw", "transformer_xl"])
    def test_what_cross_attention_sees_does_not_move_the_source(self, make_model, encoding, no_grad):
        model = make_model(position_encoding="none", cross_position_encoding=encoding)
        ids, mask = torch.tensor([[0, 0, 5, 6, 7]]), torch.tensor([[0, 0, 1, 1, 1]])
        inputs = {"input_ids": ids, "decoder_input_ids": torch.tensor([[1, 9, 10]])}
        expected = model(**inputs, attention_mask=mask).logits
        as_four = mask.bool()[:, None, None].expand(1, 1, 3, 5)
        logits = model(**inputs, attention_mask=mask, cross_attention_mask=as_four).logits
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        # hiding a token in the middle hides it, and the others stay where they are
        hidden = torch.tensor([[0, 0, 1, 0, 1]])
        states = model.get_encoder()(ids, attention_mask=mask)
        logits = model(**inputs, encoder_outputs=states, attention_mask=mask, cross_attention_mask=hidden).logits
        positions = torch.tensor([[0, 0, 0, 1, 2]])
        inputs["decoder_position_ids"] = torch.arange(3)[None]
        given = model(**inputs, encoder_outputs=states, attention_mask=hidden, position_ids=positions).logits
        torch.testing.assert_close(logits, given, atol=1e-5, rtol=1e-5)

    def test_one_mask_of_four_dimensions_serves_a_batch(self, make_model, backend, no_grad):
        model, ids = make_model(attn_implementation=backend), torch.tensor([[5, 6, 7], [8, 9, 10]])
        mask = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0]])[None, None]
        inputs = {"input_ids": ids, "decoder_input_ids": ids}
        expected = model(**inputs, attention_mask=mask.expand(2, -1, -1, -1)).logits
        assert torch.equal(model(**inputs, attention_mask=mask).logits, expected)
        assert (model(**inputs).logits - expected).abs().max() > 1e-3

    def test_one_row_of_documents_serves_a_batch(self, make_model, no_grad):
        encoder, ids = make_model().get_encoder(), torch.tensor([[5, 6, 7], [8, 9, 10]])
        documents = torch.tensor([[0, 0, 1]])
        states = [encoder(ids, document_ids=d).last_hidden_state for d in (documents, documents.expand(2, -1))]
        assert torch.equal(*states)

    @pytest.mark.parametrize("shape", [(2, 3), (1, 2)])
    def test_a_padding_mask_of_another_size_is_refused(self, make_model, shape):
        with pytest.raises(ValueError, match=r"attention_mask has the shape .*, but there are 1 sequences of 3 tokens"):
            make_model().get_encoder()(torch.tensor([[5, 6, 7]]), attention_mask=torch.ones(shape))


class TestRowsOfOneSource:
    """Neighbouring rows of the decoder share a source, which is then given once."""

    SOURCES, ROWS, KEYS, QUERIES = 3, 2, 9, 6

    @pytest.fixture
    def same(self, shared_model, backend):
        """A function that checks that the decoder returns the same as with one source for each row."""

        def check(cross="none", in_steps=False, **inputs):
            fields = {**ONE_LAYER, "position_encoding": "rotary", "cross_position_encoding": cross}
            decoder = shared_model(backend, **fields).get_decoder()
            torch.manual_seed(2)
            ids = torch.randint(3, 20, (self.SOURCES * self.ROWS, self.QUERIES))
            source = torch.randn(self.SOURCES, self.KEYS, 32)
            outputs = self.decode(decoder, ids, source, in_steps, inputs)
            of_source = {name for name in inputs if name.startswith("encoder_") and len(inputs[name]) > 1}
            repeated = {n: v.repeat_interleave(self.ROWS, 0) if n in of_source else v for n, v in inputs.items()}
            expected = self.decode(decoder, ids, source.repeat_interleave(self.ROWS, 0), in_steps, repeated)
            torch.testing.assert_close(outputs, expected, atol=2e-5, rtol=1e-5)
            others = self.decode(decoder, ids, source, in_steps, {})
            assert not inputs or (outputs - others).abs().max() > 1e-3

        return check

    def decode(self, decoder, ids, source, in_steps, inputs):
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        states = []
        for start, end in ((0, 4), (4, 5), (5, 6)) if in_steps else ((0, 6),):
            part = dict(inputs)
            if "document_ids" in inputs:
                part["document_ids"] = inputs["document_ids"][:, :end]
            outputs = decoder(ids[:, start:end], encoder_hidden_states=source, past_key_values=cache, **part)
            states.append(outputs.last_hidden_state)
        return torch.cat(states, 1)

    @pytest.mark.parametrize("in_steps", [False, True])
    def test_padding(self, same, in_steps):
        same(in_steps=in_steps)
        same(in_steps=in_steps, encoder_attention_mask=(torch.arange(9) < torch.tensor([[9], [4], [7]])).long())

    @FORMS
    def test_masks_of_four_dimensions(self, same, dtype):
        for shape in ((3, 1, 1, 9), (3, 4, 6, 9), (1, 1, 6, 9), (1, 4, 1, 9)):
            mask = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5) | (torch.arange(9) == 0)
            same(encoder_attention_mask=as_type(mask, dtype))

    @pytest.mark.parametrize("in_steps", [False, True])
    def test_documents(self, same, in_steps):
        sources = torch.tensor([[0] * 3 + [1] * 3 + [2] * 3, [0] * 6 + [1] * 3, [0] * 2 + [1] * 7])
        targets = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]] * 3)
        same(in_steps=in_steps, encoder_document_ids=sources, document_ids=targets)

    @pytest.mark.parametrize("cross", ["t5", "alibi", "rotary"])
    def test_positions_of_each_row(self, same, cross):
        same(cross, position_ids=torch.arange(6) + torch.arange(0, 18, 3)[:, None])
        same(cross, encoder_position_ids=torch.arange(9).flip(0)[None])
