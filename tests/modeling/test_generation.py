# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`generate()` gives the same tokens with and without a cache, and in a batch and for each sentence alone."""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, set_seed
from transformers.generation import GenerationMixin

from locant.modeling.generation import LocantGenerationMixin, SourceCache

from .conftest import REFUSED

SOURCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2]]
PROMPTS = [[1, 21, 20, 19], [1, 17], [1, 15, 14]]

GREEDY = {"max_new_tokens": 6}
BEAM = {"max_new_tokens": 6, "num_beams": 4, "num_return_sequences": 2}
SAMPLING = {"max_new_tokens": 6, "do_sample": True, "top_k": 8}
BEAM_SAMPLING = {"max_new_tokens": 6, "do_sample": True, "num_beams": 3}
ONE_LAYER = {"encoder_layers": 1, "decoder_layers": 1, "decoder_key_value_heads": 2}
MODES = pytest.mark.parametrize(
    "mode", [GREEDY, BEAM, SAMPLING, BEAM_SAMPLING], ids=["greedy", "beam", "sampling", "beam sampling"]
)


def generate(model, ids, mask, **options):
    set_seed(3)
    return model.generate(
        input_ids=ids,
        attention_mask=mask,
        return_dict_in_generate=True,
        output_scores=True,
        **{"max_new_tokens": 10, "no_repeat_ngram_size": 2, **options},  # random models are fond of one token
    )


def assert_same(one, other):
    assert one.sequences.tolist() == other.sequences.tolist()
    assert len(one.scores) == len(other.scores)
    for step, (scores, expected) in enumerate(zip(one.scores, other.scores, strict=True)):
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4, msg=lambda m, s=step: f"step {s}: {m}")
    if "sequences_scores" in other:
        torch.testing.assert_close(one.sequences_scores, other.sequences_scores, atol=1e-5, rtol=1e-5)


@pytest.fixture(params=["nothing", "prompts"])
def prompts(request, make_batch):
    """The decoder's inputs: none, which begins with the start token, or prompts of different lengths."""
    if request.param == "nothing":
        return {}
    return dict(zip(("decoder_input_ids", "decoder_attention_mask"), make_batch(PROMPTS, "left"), strict=True))


class TestCache:
    @pytest.mark.pairwise
    @MODES
    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    def test_gives_what_decoding_without_one_gives(self, shared_model, make_batch, encoding, mode, kind, prompts):
        backend = "blockwise" if encoding == "shaw" else "sdpa"
        model = shared_model(backend, position_encoding=encoding, **ONE_LAYER)
        ids, mask = make_batch(SOURCES, "left")
        expected = generate(model, ids, mask, use_cache=False, **prompts, **mode)
        assert_same(generate(model, ids, mask, cache_implementation=kind, **prompts, **mode), expected)

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize(("mode", "window"), [(GREEDY, 3), (BEAM, None)], ids=["greedy, window", "beam"])
    def test_with_every_backend(self, shared_model, make_batch, no_grad, served, mode, window):
        """Generation after prompts, with a dynamic cache and with a static one."""
        encoding, backend = served
        fields = {"position_encoding": encoding, "sliding_window": window, **ONE_LAYER}
        ids, mask = make_batch(SOURCES, "left")
        names = ("decoder_input_ids", "decoder_attention_mask")
        prompts = dict(zip(names, make_batch(PROMPTS, "left"), strict=True))
        options = {**prompts, **mode, "max_new_tokens": 4}
        expected = generate(shared_model("eager", **fields), ids, mask, use_cache=False, **options)
        model = shared_model(backend, **fields)
        for kind in ("dynamic", "static"):
            assert_same(generate(model, ids, mask, cache_implementation=kind, **options), expected)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("mode", [GREEDY, BEAM], ids=["greedy", "beam"])
    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    def test_with_windows(self, shared_model, make_batch, mode, kind, side):
        for types in (None, ["sliding_attention", "full_attention"], ["full_attention", "sliding_attention"]):
            fields = {"position_encoding": "alibi", "sliding_window": 3, "decoder_layer_types": types}
            model, batch = shared_model("sdpa", **fields), make_batch(SOURCES, side)
            expected = generate(model, *batch, use_cache=False, **mode)
            assert_same(generate(model, *batch, cache_implementation=kind, **mode), expected)

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("mode", [GREEDY, BEAM], ids=["greedy", "beam"])
    def test_with_pre_norm(self, shared_model, make_batch, mode, encoding):
        model = shared_model("eager", position_encoding=encoding, norm_position="pre", **ONE_LAYER)
        ids, mask = make_batch(SOURCES)
        assert_same(generate(model, ids, mask, **mode), generate(model, ids, mask, use_cache=False, **mode))


class TestBatch:
    @pytest.mark.pairwise
    @pytest.mark.parametrize("mode", [GREEDY, BEAM], ids=["greedy", "beam"])
    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    def test_gives_what_each_sentence_gets_alone(self, shared_model, make_batch, encoding, mode, kind, side, prompts):
        model = shared_model("eager", position_encoding=encoding, **ONE_LAYER)
        options = {"cache_implementation": kind, **mode}
        batch = generate(model, *make_batch(SOURCES, side), **prompts, **options)
        rows = batch.sequences.view(len(SOURCES), -1, batch.sequences.shape[1])
        for row, source in enumerate(SOURCES):
            prompt = {"decoder_input_ids": torch.tensor([PROMPTS[row]])} if prompts else {}
            alone = generate(model, *make_batch([source]), **prompt, **options)
            assert self.new_tokens(rows[row], prompts) == self.new_tokens(alone.sequences, prompt)
            if "sequences_scores" in batch:
                scores = batch.sequences_scores.view(len(SOURCES), -1)[row]
                torch.testing.assert_close(scores, alone.sequences_scores, atol=1e-5, rtol=1e-5)

    def new_tokens(self, sequences, prompt):
        """The new tokens of each sentence, up to its end."""
        start = prompt["decoder_input_ids"].shape[1] if prompt else 1
        return [[*row[start:].tolist(), 2][: [*row[start:].tolist(), 2].index(2)] for row in sequences]


CROSS = ["none", "shaw", "transformer_xl", "t5", "alibi", "rotary"]
SHARING = pytest.mark.parametrize(
    "mode",
    [BEAM, {**SAMPLING, "num_return_sequences": 3}, BEAM_SAMPLING],
    ids=["beam", "sampling", "beam sampling"],
)


class TestSource:
    """The source of a sentence is held once, whatever the number of sequences that are generated from it."""

    @pytest.fixture
    def repeated(self, monkeypatch):
        """The function `generate`, but with the source repeated for each sequence, as in transformers."""

        def call(*args, **options):
            name = "_expand_inputs_for_generation"
            with monkeypatch.context() as patch:
                patch.setattr(LocantGenerationMixin, name, getattr(GenerationMixin, name))
                return generate(*args, **options)

        return call

    @pytest.mark.sampled(3)
    @SHARING
    @pytest.mark.parametrize("cross", CROSS)
    def test_gives_what_a_repeated_source_gives(self, shared_model, make_batch, repeated, cross, backend, mode):
        if (cross, backend) in REFUSED:
            pytest.skip("this backend cannot add the bias of this position encoding")
        model = shared_model(backend, position_encoding="rotary", cross_position_encoding=cross, **ONE_LAYER)
        ids, mask = make_batch(SOURCES)
        names = ("decoder_input_ids", "decoder_attention_mask")
        prompts = dict(zip(names, make_batch(PROMPTS, "left"), strict=True))
        for cache in ({"use_cache": False}, {}, {"cache_implementation": "static"}):
            options = {**prompts, **cache, **mode, "max_new_tokens": 3}
            assert_same(generate(model, ids, mask, **options), repeated(model, ids, mask, **options))

    @SHARING
    def test_weights_of_cross_attention_have_a_row_for_each_sequence(self, shared_model, make_batch, repeated, mode):
        model = shared_model("eager", **ONE_LAYER)
        options = {**mode, "output_attentions": True, "decoder_input_ids": torch.tensor([[1, 9]] * 3)}
        outputs, expected = (call(model, *make_batch(SOURCES), **options) for call in (generate, repeated))
        for step, of_step in zip(outputs.cross_attentions, expected.cross_attentions, strict=True):
            for weights, of_layer in zip(step, of_step, strict=True):
                torch.testing.assert_close(weights, of_layer, atol=1e-5, rtol=1e-5)

    def test_masks_of_four_dimensions(self, shared_model, make_batch, repeated):
        model, (ids, mask) = shared_model("sdpa", **ONE_LAYER), make_batch(SOURCES)
        custom = {"cross_attention_mask": mask[:, None, None].repeat(1, 4, 1, 1) * (torch.rand(3, 4, 1, 7) < 0.8)}
        custom["cross_attention_mask"][..., 0] = 1
        assert_same(generate(model, ids, mask, **custom, **BEAM), repeated(model, ids, mask, **custom, **BEAM))

    @pytest.mark.parametrize("queries", [1, 3])
    @pytest.mark.parametrize("heads", [1, 4])
    def test_rows_that_share_it_have_masks_of_their_own(self, shared_model, make_batch, queries, heads, no_grad):
        model, (ids, mask) = shared_model("sdpa", **ONE_LAYER), make_batch(SOURCES)
        states = model.get_encoder()(ids, mask).last_hidden_state
        custom = torch.rand(6, heads, queries, 7, generator=torch.Generator().manual_seed(0)) < 0.7
        custom[..., 0] = True
        inputs = {"decoder_input_ids": torch.arange(3, 21).view(6, 3), "cross_attention_mask": custom}
        shared = model(encoder_outputs=(states,), attention_mask=mask, **inputs).logits
        repeated = [given.repeat_interleave(2, 0) for given in (states, mask)]
        expected = model(encoder_outputs=(repeated[0],), attention_mask=repeated[1], **inputs).logits
        torch.testing.assert_close(shared, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    def test_the_cache_holds_it_once(self, shared_model, make_batch, kind):
        outputs = generate(shared_model(**ONE_LAYER), *make_batch(SOURCES), cache_implementation=kind, **BEAM)
        cache = outputs.past_key_values
        assert cache.cross_attention_cache.layers[0].keys.shape[0] == 3
        assert cache.self_attention_cache.layers[0].keys.shape[0] == 12

    def test_goes_on_from_a_returned_cache(self, shared_model, make_batch):
        model, (ids, mask) = shared_model(**ONE_LAYER), make_batch(SOURCES)
        sampling = {**SAMPLING, "num_return_sequences": 2, "no_repeat_ngram_size": 0}
        first = generate(model, ids, mask, **sampling)
        expected = generate(model, ids, mask, **sampling, decoder_input_ids=first.sequences[::2])
        cache = generate(model, ids, mask, **{**sampling, "max_new_tokens": 6}).past_key_values
        assert isinstance(cache, SourceCache)
        assert cache.source_rows == 3
        rows = torch.arange(0, 6, 2).repeat_interleave(2)
        cache.reorder_cache(rows)
        assert cache.source_rows == 3
        going_on = {"decoder_input_ids": first.sequences[::2], "decoder_attention_mask": torch.ones(3, 7)}
        assert_same(generate(model, ids, mask, **sampling, **going_on, past_key_values=cache), expected)

    def test_goes_on_from_each_sequence_alone(self, shared_model, make_batch):
        model, (ids, mask) = shared_model(**ONE_LAYER), make_batch(SOURCES)
        options = {"do_sample": True, "num_return_sequences": 2, "max_new_tokens": 3, "min_new_tokens": 3}
        first = generate(model, ids, mask, **options)
        repeated = ids.repeat_interleave(2, 0), mask.repeat_interleave(2, 0)
        given = {"decoder_input_ids": first.sequences, "decoder_attention_mask": torch.ones_like(first.sequences)}
        expected = generate(model, *repeated, **given, do_sample=False)
        found = generate(model, *repeated, **given, do_sample=False, past_key_values=first.past_key_values)
        assert_same(found, expected)

    def test_is_repeated_for_a_given_cache(self, shared_model, make_batch):
        """Search loops, also those of other packages, reorder a cache of transformers as a whole."""
        model, cache = shared_model(**ONE_LAYER), EncoderDecoderCache(DynamicCache(), DynamicCache())
        expected = generate(model, *make_batch(SOURCES), **BEAM)
        assert_same(generate(model, *make_batch(SOURCES), **BEAM, past_key_values=cache), expected)
        assert cache.cross_attention_cache.layers[0].keys.shape[0] == 12

    def test_a_backend_set_between_two_steps_gets_a_mask_of_its_own(self, make_model, make_batch, no_grad):
        model, (ids, mask) = make_model(attn_implementation="sdpa"), make_batch(SOURCES)
        inputs = {"encoder_outputs": model.get_encoder()(ids, attention_mask=mask), "attention_mask": mask}
        target = torch.randint(3, 20, (len(ids), 4))
        expected = model(**inputs, decoder_input_ids=target).logits
        cache, steps = SourceCache(DynamicCache(), DynamicCache()), []
        for step, backend in enumerate(["sdpa", "sdpa", "eager", "sdpa"]):
            model.set_attn_implementation(backend)
            token = target[:, step : step + 1]
            steps.append(model(**inputs, decoder_input_ids=token, past_key_values=cache).logits)
        torch.testing.assert_close(torch.cat(steps, 1), expected, atol=2e-5, rtol=1e-5)

    def test_rows_that_no_source_belongs_to(self, shared_model, make_batch):
        model, (ids, mask) = shared_model(**ONE_LAYER), make_batch(SOURCES)
        with pytest.raises(ValueError, match=r"^The batch size of the decoder is 4, and .* is 3: give the decoder"):
            model(ids, mask, torch.ones(4, 2).long())


class TestAssisted:
    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("mode", [GREEDY, {"decoder_input_ids": torch.tensor([PROMPTS[0]])}], ids=["", "prompt"])
    def test_a_smaller_model_changes_nothing(self, make_model, make_batch, encoding, mode):
        model = make_model(position_encoding=encoding, **ONE_LAYER)
        assistant = make_model(position_encoding=encoding, decoder_layers=1, d_model=16, seed=8)
        ids, mask = make_batch(SOURCES[:1])
        expected = generate(model, ids, mask, **mode)
        assert_same(generate(model, ids, mask, assistant_model=assistant, **mode), expected)

    @pytest.mark.sampled(2)
    def test_a_perfect_assistant_changes_nothing(self, make_model, make_batch, encoding):
        model = make_model(position_encoding=encoding, **ONE_LAYER)
        ids, mask = make_batch(SOURCES[:1])
        assert_same(generate(model, ids, mask, assistant_model=model), generate(model, ids, mask))


class TestScores:
    @pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 1.3])
    def test_of_a_sequence_are_its_log_probability_over_its_length(self, make_model, make_batch, length_penalty):
        model = make_model(vocab_size=6)  # few words, so that some sequences end early
        sources = [[3, 4, 5, 4, 2], [5, 3, 2], [4, 2]]
        options = {"num_beams": 4, "num_return_sequences": 4, "length_penalty": length_penalty}
        outputs = generate(model, *make_batch(sources), no_repeat_ngram_size=None, **options)
        lengths = set()
        for row, (sequence, score) in enumerate(zip(outputs.sequences, outputs.sequences_scores, strict=True)):
            tokens = sequence[1:].tolist()
            tokens = tokens[: tokens.index(2) + 1] if 2 in tokens else tokens
            source, target = torch.tensor([sources[row // 4]]), torch.tensor([[1, *tokens]])
            with torch.no_grad():
                logits = model(input_ids=source, decoder_input_ids=target[:, :-1]).logits[0]
            total = logits.log_softmax(-1)[range(len(tokens)), tokens].sum()
            torch.testing.assert_close(score, total / len(tokens) ** length_penalty, atol=1e-4, rtol=1e-4)
            lengths.add(len(tokens))
        assert len(lengths) > 1

    def test_of_tokens_are_log_probabilities(self, make_model, make_batch):
        model = make_model()
        ids, mask = make_batch(SOURCES[:1])
        outputs = generate(model, ids, mask, no_repeat_ngram_size=None)
        scores = model.compute_transition_scores(outputs.sequences, outputs.scores, normalize_logits=True)[0]
        with torch.no_grad():
            logits = model(input_ids=ids, decoder_input_ids=outputs.sequences[:, :-1]).logits[0]
        expected = logits.log_softmax(-1).gather(1, outputs.sequences[0, 1:, None])[:, 0]
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)

    def test_a_wide_beam_finds_the_best_sequence(self, make_model):
        """The best of all 8 + 64 + 512 sequences of up to three tokens, which the test scores itself."""
        model = make_model(vocab_size=8)
        source = torch.tensor([[5, 6, 7, 2]])
        best, best_score = None, -float("inf")
        sequences = torch.cartesian_prod(*[torch.arange(8)] * 3)
        with torch.no_grad():
            targets = torch.cat([torch.ones(512, 1, dtype=torch.long), sequences], 1)
            logits = model(input_ids=source.expand(512, 4), decoder_input_ids=targets[:, :-1]).logits
        steps = logits.log_softmax(-1).gather(2, sequences[..., None])[..., 0]
        for tokens, scores in zip(sequences.tolist(), steps, strict=True):
            length = tokens.index(2) + 1 if 2 in tokens else 3
            score = scores[:length].sum() / length
            if score > best_score:
                best, best_score = tokens[:length], score
        outputs = generate(
            model, source, torch.ones_like(source), num_beams=64, max_new_tokens=3, no_repeat_ngram_size=None
        )
        assert outputs.sequences[0, 1:].tolist()[: len(best)] == best
        torch.testing.assert_close(outputs.sequences_scores[0], best_score, atol=1e-5, rtol=1e-5)


class TestModel:
    def test_start_and_end_tokens_are_the_configurations(self, make_model, make_batch):
        batch = make_batch([[3, 4, 5, 2], [5, 3, 2]])
        outputs = generate(make_model(vocab_size=6), *batch, do_sample=True, num_return_sequences=4)
        assert outputs.sequences[:, 0].tolist() == [1] * 8
        rests = [tokens[tokens.index(2) + 1 :] for tokens in outputs.sequences.tolist() if 2 in tokens]
        assert any(rests)
        assert all(set(rest) <= {0} for rest in rests)

    def test_generation_beyond_the_sinusoidal_table(self, make_model, make_batch):
        small, large = (make_model(position_encoding="sinusoidal", max_position_embeddings=size) for size in (4, 64))
        options = {"min_new_tokens": 20, "max_new_tokens": 20}
        expected = generate(large, *make_batch(SOURCES), **options)
        for kind in ("dynamic", "static"):
            assert_same(generate(small, *make_batch(SOURCES), cache_implementation=kind, **options), expected)
            small = make_model(position_encoding="sinusoidal", max_position_embeddings=4)
