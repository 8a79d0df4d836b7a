# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The causal language model: Llama's, Mistral's, GPT-2's numbers, and generation with every cache, batched or not."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    QuantizedCache,
    StaticCache,
    cache_utils,
    set_seed,
)

from locant import LocantConfig, LocantDecoderModel, LocantForCausalLM
from locant.modeling.modeling_locant_decoder import next_tokens

from .conftest import STEEP

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15], [16, 17]]
WINDOW = 3

GREEDY = {}
BEAM = {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.7}
SAMPLING = {"do_sample": True, "top_k": 8, "temperature": 1.5}
BEAM_SAMPLING = {"do_sample": True, "num_beams": 3}
MODES = pytest.mark.parametrize(
    "mode", [GREEDY, BEAM, SAMPLING, BEAM_SAMPLING], ids=["greedy", "beam", "sampling", "beam sampling"]
)
SEARCHES = pytest.mark.parametrize("mode", [GREEDY, BEAM], ids=["greedy", "beam"])


def generate(model, ids, mask, **options):
    set_seed(3)
    return model.generate(
        ids,
        attention_mask=mask,
        return_dict_in_generate=True,
        output_scores=True,
        # random models are fond of one token; and padding before a prompt would count among its bigrams
        **{"max_new_tokens": 8, "no_repeat_ngram_size": 2, "suppress_tokens": [0], **options},
    )


def assert_same(one, other):
    assert one.sequences.tolist() == other.sequences.tolist()
    for scores, expected in zip(one.scores, other.scores, strict=True):
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)
    if "sequences_scores" in other:
        torch.testing.assert_close(one.sequences_scores, other.sequences_scores, atol=1e-5, rtol=1e-5)


def new_tokens(outputs, prompt_length):
    """The new tokens of each sequence, up to its end."""
    rows = [[*row, 2] for row in outputs.sequences[:, prompt_length:].tolist()]
    return [row[: row.index(2)] for row in rows]


# Families

SIZES = {"vocab_size": 24, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
SIZES |= {"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {
    "activation_function": "silu",
    "gated_ffn": True,
    "norm_type": "rmsnorm",
    "norm_position": "pre",
    "norm_eps": 1e-6,
    "attention_bias": False,
    "ffn_bias": False,
    "position_encoding": "rotary",
    "decoder_key_value_heads": 2,
    "scale_embedding": False,
}
LLAMA_NAMES = {
    r"^model\.": "model.decoder.",
    r"mlp": "ffn",
    r"input_layernorm": "self_attn_residual.norm",
    r"post_attention_layernorm": "ffn_residual.norm",
    r"decoder\.norm": "decoder.final_norm",
}


def llama(tied=False):
    theirs = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=tied))
    return theirs, {**LLAMA, "tie_word_embeddings": tied}, llama_weights


def llama_tied():
    return llama(tied=True)


def mistral():
    config = MistralConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=False, sliding_window=WINDOW)
    return MistralForCausalLM(config), {**LLAMA, "tie_word_embeddings": False, "sliding_window": WINDOW}, llama_weights


def llama_weights(theirs, other_implementations):
    return other_implementations.renamed(theirs.state_dict(), LLAMA_NAMES)


def gpt2():
    sizes = {"vocab_size": 24, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 40, "n_positions": 64}
    theirs = GPT2LMHeadModel(GPT2Config(**sizes, pad_token_id=0, bos_token_id=1, eos_token_id=2))
    fields = {"activation_function": "gelu_new", "norm_position": "pre", "position_encoding": "learned"}
    return theirs, {**fields, "scale_embedding": False}, gpt2_weights


def gpt2_weights(theirs, other_implementations):
    weights = other_implementations.gpt2_weights(theirs.transformer)
    weights = {f"model.decoder.{name}": weight for name, weight in weights.items()}
    return {**weights, "lm_head.weight": theirs.lm_head.weight}


class TestFamilies:
    @pytest.fixture(params=[llama, llama_tied, mistral, gpt2], ids=lambda family: family.__name__)
    def family(self, request, make_config, spread, other_implementations):
        """A model of transformers, ours with its weights, and a function that returns its weights under our names."""
        theirs, fields, weights = request.param()
        spread(theirs.eval(), 5)
        for module in theirs.modules():  # whose names do not all say that they are norms
            if isinstance(module, torch.nn.LayerNorm):
                torch.nn.init.normal_(module.weight, 1.0, 0.2)
        config = make_config(**{"decoder_ffn_dim": 40, "max_position_embeddings": 64, **fields})
        ours = LocantForCausalLM(config).eval()
        ours.load_state_dict(weights(theirs, other_implementations), strict=True)
        return theirs, ours, lambda: weights(theirs, other_implementations)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
    def test_logits(self, family, make_batch, side, backend, no_grad, other_implementations):
        theirs, ours, _ = family
        ours.set_attn_implementation(backend)
        ids, mask = make_batch([list(range(3, 23)), *PROMPTS], side)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        expected = theirs(ids, attention_mask=mask, position_ids=positions).logits
        other_implementations.assert_same(ours(ids, mask).logits[mask.bool()], expected[mask.bool()])

    @pytest.mark.pairwise
    @pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
    @pytest.mark.parametrize("items", [None, 50, torch.tensor(50)])
    def test_loss_and_gradients(self, family, make_batch, backend, items):
        theirs, ours, weights = family
        ours.set_attn_implementation(backend)
        ids, mask = make_batch([list(range(3, 23)), *PROMPTS])
        labels = ids.masked_fill((mask == 0) | (ids % 7 == 0), -100)
        inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        inputs |= {"num_items_in_batch": items} if items is not None else {}
        expected, loss = theirs(**inputs).loss, ours(**inputs).loss
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
        expected.backward()
        loss.backward()
        for parameter in theirs.parameters():
            parameter.data = parameter.grad
        gradients = weights()
        for name, parameter in ours.named_parameters():
            rows = slice(1, None) if "embed_tokens" in name else slice(None)  # not that of padding
            torch.testing.assert_close(
                parameter.grad[rows], gradients[name][rows], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )
            if parameter.ndim == 2:
                assert gradients[name].abs().max() > 1e-4, name

    def test_targets_that_are_shifted_already(self, family, make_batch, no_grad):
        theirs, ours, _ = family
        ids, mask = make_batch(PROMPTS)
        targets = torch.randint(3, 24, ids.shape).masked_fill(mask == 0, -100)
        inputs = {"input_ids": ids, "attention_mask": mask, "labels": ids, "shift_labels": targets}
        expected = theirs(**inputs).loss
        torch.testing.assert_close(ours(**inputs).loss, expected, atol=1e-5, rtol=1e-5)
        del inputs["labels"]
        torch.testing.assert_close(ours(**inputs).loss, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.sampled(2)
    @MODES
    def test_generation(self, family, make_batch, mode):
        theirs, ours, _ = family
        batch = make_batch(PROMPTS, "left")
        expected, outputs = (generate(model, *batch, **mode) for model in (theirs, ours))
        assert_same(outputs, expected)
        assert len(set(expected.sequences[:, 7:].flatten().tolist())) >= 5

    def test_logits_to_keep(self, family, make_batch, no_grad):
        theirs, ours, _ = family
        ids, mask = make_batch(PROMPTS)
        whole = ours(ids, mask).logits
        for kept in (0, 1, 3, torch.tensor([0, 2, 5])):
            expected = theirs(ids, attention_mask=mask, logits_to_keep=kept).logits
            logits = ours(ids, mask, logits_to_keep=kept).logits
            real = mask[:, kept if isinstance(kept, torch.Tensor) else slice(-kept, None)].bool()
            torch.testing.assert_close(logits[real], expected[real], atol=1e-5, rtol=1e-5)
            expected = whole[:, kept if isinstance(kept, torch.Tensor) else slice(-kept, None)]
            torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-6)


# Generation

GROUPED = {"decoder_key_value_heads": 2}
MIXED = {"sliding_window": WINDOW, "decoder_layer_types": ["sliding_attention", "full_attention"]}
SLIDING = {"sliding_window": WINDOW}
CACHES = {
    "dynamic": ({}, "dynamic"),
    "static": ({}, "static"),
    "dynamic, sliding": (SLIDING, "dynamic"),
    "static, sliding": (SLIDING, "static"),
    "dynamic, mixed": (MIXED, "dynamic"),
    "static, mixed": (MIXED, "static"),
}


@pytest.fixture
def language_model(make_model):
    def make(encoding, **fields):
        return make_model(LocantForCausalLM, position_encoding=encoding, **{**GROUPED, **fields})

    return make


class TestBatch:
    @pytest.mark.sampled(5)
    @SEARCHES
    @pytest.mark.parametrize("cache", ["none", "dynamic", "static", "dynamic, mixed", "static, mixed"])
    def test_gives_what_each_prompt_gets_alone(self, language_model, make_batch, encoding, mode, cache):
        """The batch is generated with or without a cache, and each prompt alone without a cache."""
        fields, kind = CACHES.get(cache, (MIXED, None))
        model = language_model(encoding, **fields)
        options = {"use_cache": False} if kind is None else {"cache_implementation": kind}
        batch = generate(model, *make_batch(PROMPTS, "left"), **mode, **options)
        rows, count = new_tokens(batch, 7), mode.get("num_return_sequences", 1)
        for row, prompt in enumerate(PROMPTS):
            alone = generate(model, *make_batch([prompt]), use_cache=False, **mode)
            assert rows[row * count : (row + 1) * count] == new_tokens(alone, len(prompt))
            if mode:
                scores = batch.sequences_scores[row * count : (row + 1) * count]
                torch.testing.assert_close(scores, alone.sequences_scores, atol=1e-5, rtol=1e-5)
        assert len({tuple(tokens) for tokens in rows}) > 1

    @pytest.mark.sampled(2)
    @MODES
    @pytest.mark.parametrize("cache", CACHES)
    def test_every_mode_gives_what_it_gives_without_a_cache(self, language_model, make_batch, mode, cache):
        fields, kind = CACHES[cache]
        model, batch = language_model("rotary", **fields), make_batch(PROMPTS, "left")
        expected = generate(model, *batch, use_cache=False, **mode)
        assert_same(generate(model, *batch, cache_implementation=kind, **mode), expected)

    @pytest.mark.sampled(3)
    def test_with_every_backend(self, language_model, make_batch, served, no_grad):
        encoding, backend = served
        model, batch = language_model(encoding, **MIXED), make_batch(PROMPTS, "left")
        model.set_attn_implementation("eager")
        expected = generate(model, *batch, use_cache=False, max_new_tokens=4)
        model.set_attn_implementation(backend)
        for kind in ("dynamic", "static"):
            assert_same(generate(model, *batch, cache_implementation=kind, max_new_tokens=4), expected)


class TestCache:
    @pytest.mark.pairwise
    @pytest.mark.parametrize("steps", [(7,), (4, 1, 2), (1,) * 7])
    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    @pytest.mark.parametrize("fields", [{}, SLIDING, MIXED], ids=["full", "sliding", "mixed"])
    def test_steps_give_what_the_whole_gives(self, language_model, make_batch, encoding, kind, fields, steps, no_grad):
        model = language_model(encoding, **fields)
        ids, mask = make_batch(PROMPTS, "left")
        cache = DynamicCache(config=model.config) if kind == "dynamic" else StaticCache(model.config, max_cache_len=9)
        logits, end = [], 0
        for part in ids.split(steps, 1):
            end += part.shape[1]
            logits.append(model(part, mask[:, :end], past_key_values=cache).logits)
        expected = model(ids, mask, use_cache=False).logits
        real = mask.bool()
        torch.testing.assert_close(torch.cat(logits, 1)[real], expected[real], atol=2e-5, rtol=1e-5)

    def test_has_the_key_value_heads_alone(self, language_model):
        cache = language_model("rotary")(torch.tensor([[5, 6, 7]])).past_key_values
        assert [layer.keys.shape for layer in cache.layers] == [(1, 2, 3, 8)] * 2

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("prompt_lengths", [(3, 2), (1, 1), (4, 3)])
    def test_goes_on_where_it_ended(self, language_model, encoding, prompt_lengths):
        """A conversation: the cache keeps the earlier prompts and answers."""
        model, ids = language_model(encoding), torch.arange(3, 12)[None]
        cache, said = DynamicCache(config=model.config), ids[:, :0]
        for length in prompt_lengths:
            said = torch.cat([said, ids[:, :length]], 1)
            expected = generate(model, said, torch.ones_like(said), use_cache=False, max_new_tokens=3)
            outputs = generate(model, said, torch.ones_like(said), past_key_values=cache, max_new_tokens=3)
            assert_same(outputs, expected)
            said = outputs.sequences

    @pytest.mark.sampled(4)
    @SEARCHES
    @pytest.mark.parametrize("chunk", [1, 3])
    def test_prompts_taken_in_chunks(self, language_model, make_batch, encoding, mode, chunk):
        model, batch = language_model(encoding, **MIXED), make_batch(PROMPTS, "left")
        expected = generate(model, *batch, **mode)
        for kind in ("dynamic", "static"):
            outputs = generate(model, *batch, prefill_chunk_size=chunk, cache_implementation=kind, **mode)
            assert_same(outputs, expected)

    @pytest.mark.sampled(2)
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        "options",
        [{"backend": "fp8"}, {"backend": "quanto", "q_group_size": 16, "residual_length": 4}],
        ids=["fp8", "quanto"],
    )
    def test_quantised(self, language_model, make_batch, encoding, options, no_grad):
        if options["backend"] == "quanto":
            pytest.importorskip("optimum.quanto")
        elif not hasattr(cache_utils, "Fp8QuantizedLayer"):
            pytest.skip("transformers 5.20 has no cache in fp8")
        model = language_model(encoding, d_model=64, position_parameters=STEEP)
        ids, mask = make_batch(PROMPTS, "left")
        cache, logits = QuantizedCache(config=model.config, **options), []
        for start, end in ((0, 4), (4, 5), (5, 6), (6, 7)):
            logits.append(model(ids[:, start:end], mask[:, :end], past_key_values=cache).logits)
        expected = model(ids, mask, use_cache=False).logits
        logits, real = torch.cat(logits, 1), mask.bool()
        torch.testing.assert_close(logits[:, :4][real[:, :4]], expected[:, :4][real[:, :4]], atol=2e-5, rtol=1e-5)
        difference = (logits - expected)[real].abs().mean() / expected.std()
        assert 0 < difference < 0.06
        generated = generate(model, ids, mask, cache_implementation="quantized", cache_config=options)
        unquantised = generate(model, ids, mask)
        assert generated.sequences[:, :8].tolist() == unquantised.sequences[:, :8].tolist()


class TestHelpers:
    """Methods of `generate()` that propose several tokens at once do not change the result."""

    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("fields", [{}, SLIDING], ids=["full", "sliding"])
    def test_a_smaller_model(self, language_model, make_batch, encoding, fields):
        model, batch = language_model(encoding, **fields), make_batch(PROMPTS[:1])
        assistant = language_model(encoding, decoder_layers=1, d_model=16, seed=8)
        expected = generate(model, *batch, max_new_tokens=12)
        assert_same(generate(model, *batch, max_new_tokens=12, assistant_model=assistant), expected)

    @pytest.mark.sampled(2)
    def test_a_perfect_one(self, language_model, make_batch, encoding):
        model, batch = language_model(encoding), make_batch(PROMPTS[:1])
        assert_same(generate(model, *batch, assistant_model=model), generate(model, *batch))

    def test_prompt_lookup(self, language_model, encoding):
        model, ids = language_model(encoding), torch.tensor([[5, 6, 7, 8, 5, 6, 7, 9, 5, 6]])
        options = {"max_new_tokens": 12, "no_repeat_ngram_size": None}
        expected = generate(model, ids, torch.ones_like(ids), **options)
        assert_same(generate(model, ids, torch.ones_like(ids), prompt_lookup_num_tokens=3, **options), expected)

    @pytest.mark.sampled(2)
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("fields", [{}, MIXED], ids=["full", "mixed"])
    def test_the_first_layer_alone(self, language_model, make_batch, encoding, fields):
        model, batch = language_model(encoding, **fields), make_batch(PROMPTS[:1])
        expected = generate(model, *batch)
        calls = []
        for number, layer in enumerate(model.model.decoder.layers):
            layer.register_forward_hook(lambda *_, n=number: calls.append(n))
        assert_same(generate(model, *batch, assistant_early_exit=1), expected)
        assert calls.count(0) > calls.count(1) > 0
        assert model.config.num_hidden_layers == 2


class TestInputs:
    @pytest.mark.sampled(4)
    @SEARCHES
    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    def test_embeddings_as_a_prompt(self, language_model, make_batch, encoding, mode, kind):
        model, (ids, mask) = language_model(encoding), make_batch(PROMPTS, "left")
        expected = generate(model, ids, mask, cache_implementation=kind, **mode)
        embeddings = model.get_input_embeddings()(ids)
        assert_same(generate(model, ids, mask, inputs_embeds=embeddings, cache_implementation=kind, **mode), expected)
        # alone, they have no tokens whose bigrams could be avoided
        options = {"no_repeat_ngram_size": None, "cache_implementation": kind, **mode}
        expected = generate(model, ids, mask, **options).sequences[:, 7:]
        outputs = generate(model, None, mask, inputs_embeds=embeddings, **options)
        assert outputs.sequences.tolist() == expected.tolist()

    def test_embeddings_and_a_loss(self, language_model, make_batch, no_grad):
        model, (ids, mask) = language_model("rotary"), make_batch(PROMPTS)
        embeddings = model.get_input_embeddings()(ids)
        expected, outputs = (
            model(ids, mask, labels=ids),
            model(inputs_embeds=embeddings, attention_mask=mask, labels=ids),
        )
        assert torch.equal(outputs.loss, expected.loss)
        assert torch.equal(outputs.logits, expected.logits)

    def test_an_encoders_inputs_are_refused(self, language_model):
        ids = torch.tensor([[5, 6]])
        with pytest.raises(ValueError, match=r"^This decoder has no cross-attention for encoder_hidden_states"):
            language_model("rotary")(ids, encoder_hidden_states=torch.zeros(1, 2, 32))
        with pytest.raises(ValueError, match=r"^input_ids and inputs_embeds are both given: leave one"):
            language_model("rotary")(ids, inputs_embeds=torch.zeros(1, 2, 32))


class TestDocuments:
    @pytest.fixture
    def packed(self):
        """All prompts in one row, with the number of each token's prompt as document id."""
        tokens = [(word, number) for number, prompt in enumerate(PROMPTS) for word in prompt]
        ids, documents = torch.tensor(tokens).T
        return {"input_ids": ids[None], "document_ids": documents[None]}

    @pytest.mark.pairwise
    @pytest.mark.parametrize("use_cache", [True, False])
    @pytest.mark.parametrize("fields", [{}, MIXED], ids=["full", "mixed"])
    def test_logits_are_those_of_each_alone(self, language_model, packed, encoding, fields, use_cache, no_grad):
        model = language_model(encoding, **fields)
        logits = model(**packed, use_cache=use_cache).logits
        alone = torch.cat([model(torch.tensor([prompt])).logits for prompt in PROMPTS], dim=1)
        torch.testing.assert_close(logits, alone, atol=2e-5, rtol=1e-5)
        everywhere = torch.ones_like(packed["input_ids"])
        torch.testing.assert_close(model(**packed, attention_mask=everywhere).logits, alone, atol=2e-5, rtol=1e-5)

    def test_loss_and_gradients_are_those_of_each_alone(self, language_model, packed, trained):
        """No token is predicted from a token of another document."""
        encoding, backend = trained
        model = language_model(encoding)
        model.set_attn_implementation(backend)
        count = sum(len(prompt) - 1 for prompt in PROMPTS)
        model(**packed, labels=packed["input_ids"]).loss.backward()
        gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
        model.zero_grad()
        total = 0
        for prompt in PROMPTS:
            ids = torch.tensor([prompt])
            loss = model(ids, labels=ids, num_items_in_batch=count).loss
            loss.backward()
            total = total + loss.detach()
        torch.testing.assert_close(model(**packed, labels=packed["input_ids"]).loss.detach(), total)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, atol=2e-5, rtol=1e-4)

    def test_a_loss_after_cached_tokens(self, language_model, packed, no_grad):
        model = language_model("rotary")
        ids, documents = packed["input_ids"], packed["document_ids"]
        cache = model(ids[:, :5], document_ids=documents[:, :5], use_cache=True).past_key_values
        found = model(ids[:, 5:], document_ids=documents, labels=ids[:, 5:], past_key_values=cache).loss
        labels = next_tokens(ids, documents).index_fill(1, torch.arange(5), -100)
        torch.testing.assert_close(found, model(**packed, shift_labels=labels).loss)

    def test_documents_are_the_rows_own(self, language_model, no_grad):
        """Two rows of a batch have different documents, one row with padding behind them."""
        model = language_model("rotary")
        ids = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 0, 0]])
        documents = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 0, 0, 1, -1, -1]])
        labels = ids.masked_fill(ids == 0, -100)
        mask = ids.ne(0).long()
        outputs = model(ids, mask, labels=labels, document_ids=documents)
        parts = [(0, 0, 2), (0, 2, 5), (0, 5, 6), (1, 0, 3), (1, 3, 4)]
        total = 0
        for row, start, end in parts:
            part = ids[row : row + 1, start:end]
            logits = model(part).logits[0]
            torch.testing.assert_close(outputs.logits[row, start:end], logits, atol=1e-5, rtol=1e-5)
            total += cross_entropy(logits[:-1], part[0, 1:], reduction="sum")
        torch.testing.assert_close(outputs.loss, total / 5)


class TestLoss:
    @pytest.mark.parametrize("items", [None, 37])
    def test_is_smoothed_in_training_alone(self, language_model, make_batch, items):
        model = language_model("rotary", label_smoothing=0.1)
        ids, mask = make_batch(PROMPTS)
        labels = ids.masked_fill(mask == 0, -100)
        for training in (True, False):
            outputs = model.train(training)(ids, mask, labels=labels, num_items_in_batch=items)
            smoothing = 0.1 if training else 0.0
            targets = labels[:, 1:].flatten()
            logits = outputs.logits[:, :-1].flatten(0, 1)
            total = cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
            torch.testing.assert_close(outputs.loss, total / (items or (targets != -100).sum()))

    def test_needs_all_logits(self, language_model):
        model, ids = language_model("rotary"), torch.tensor([[5, 6, 7]])
        message = r"^labels have the shape \(1, 3\), but the tokens that .* the shape \(1, 1\): give a label"
        with pytest.raises(ValueError, match=message):
            model(ids, labels=ids, logits_to_keep=1)

    def test_needs_no_cache(self, language_model):
        model, ids = language_model("rotary"), torch.tensor([[5, 6, 7]])
        assert model(ids).past_key_values is not None
        assert model(ids, labels=ids).past_key_values is None
        assert model(ids, labels=ids, use_cache=True).past_key_values is not None


class TestSaving:
    @pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
    def test_auto_classes_load_the_same_bits(self, language_model, make_batch, tie, tmp_path, no_grad):
        model = language_model("rotary", tie_word_embeddings=tie, lm_head_bias=True)
        assert (model.lm_head.weight is model.get_input_embeddings().weight) == tie
        model.save_pretrained(tmp_path)
        loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is LocantForCausalLM
        assert not any(info.values())
        assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) == tie
        batch = make_batch(PROMPTS, "left")
        assert torch.equal(loaded(*batch).logits, model(*batch).logits)
        assert_same(generate(loaded, *batch), generate(model, *batch))
        body = AutoModel.from_pretrained(tmp_path)
        assert type(body) is LocantDecoderModel
        assert torch.equal(body(*batch).last_hidden_state, model.model(*batch).last_hidden_state)
        assert (loaded.config.is_encoder_decoder, loaded.config.is_decoder) == (False, True)

    @pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
    def test_resizing(self, language_model, tie, tmp_path, no_grad):
        model, ids = language_model("alibi", tie_word_embeddings=tie, lm_head_bias=True), torch.tensor([[5, 6, 23]])
        before = model(ids).logits
        model.resize_token_embeddings(30)
        assert model.config.vocab_size == model.lm_head.out_features == 30
        assert model.get_input_embeddings().weight.shape == model.lm_head.weight.shape == (30, 32)
        assert (model.lm_head.weight is model.get_input_embeddings().weight) == tie
        torch.testing.assert_close(model(ids).logits[..., :24], before, atol=1e-6, rtol=1e-6)
        assert model(ids + 6).logits.shape == (1, 3, 30)
        model.save_pretrained(tmp_path)
        loaded = LocantForCausalLM.from_pretrained(tmp_path)
        assert torch.equal(loaded(ids).logits, model(ids).logits)

    def test_a_config_is_left_as_it_was(self, make_config):
        config = make_config()
        before = config.to_dict()
        model = LocantForCausalLM(config)
        assert config.to_dict() == before
        assert model.config.num_hidden_layers == config.decoder_layers
        assert isinstance(model.config, LocantConfig)


class TestPositionsThatBeginAnew:
    """Texts as collators without padding pack them: no mask, and positions that begin at 0 in each text."""

    @pytest.mark.parametrize("use_cache", [False, True])
    def test_part_the_texts_of_a_row(self, make_model, no_grad, encoding, use_cache):
        model = make_model(LocantForCausalLM, position_encoding=encoding)
        texts = [torch.arange(3, 8)[None], torch.tensor([[8]]), torch.arange(9, 16)[None]]
        positions = torch.cat([torch.arange(text.shape[1]) for text in texts])[None]
        packed = model(torch.cat(texts, dim=1), position_ids=positions, use_cache=use_cache).logits
        alone = torch.cat([model(text).logits for text in texts], dim=1)
        torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("skip_logits", [False, True])
    def test_part_the_labels_too(self, make_model, no_grad, skip_logits):
        model, ids = make_model(LocantForCausalLM), torch.arange(3, 11)[None]
        inputs = {"input_ids": ids, "labels": ids, "skip_logits": skip_logits}
        loss = model(**inputs, position_ids=torch.arange(8)[None] % 4).loss
        torch.testing.assert_close(loss, model(**inputs, document_ids=torch.arange(8)[None] // 4).loss)

    def test_of_one_row_serve_a_batch(self, make_model, no_grad, encoding):
        model, ids = make_model(LocantForCausalLM, position_encoding=encoding), torch.arange(3, 15).view(2, 6)
        positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
        expected = model(ids, position_ids=positions.expand(2, -1)).logits
        torch.testing.assert_close(model(ids, position_ids=positions).logits, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("positions", [[0, 1, 2, 5, 6], [0, 2, 4, 6, 8]])
    def test_that_leave_some_out_part_nothing(self, make_model, no_grad, positions):
        model = make_model(LocantForCausalLM, position_encoding="rotary")
        inputs = {"input_ids": torch.arange(3, 8)[None], "position_ids": torch.tensor([positions])}
        seen = model(**inputs, attention_mask=torch.ones(1, 5)).logits
        torch.testing.assert_close(model(**inputs).logits, seen, atol=1e-5, rtol=1e-5)
