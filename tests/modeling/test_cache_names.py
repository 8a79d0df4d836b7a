# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The cache has the name of the installed transformers in outputs; as an argument, it has both names."""

import inspect
from types import MethodType

import pytest
import torch
from accelerate.utils import convert_outputs_to_fp32, extract_model_from_parallel
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin, LlamaConfig, LlamaForCausalLM
from transformers.utils import generic

from locant import LocantDecoderModel, LocantForCausalLM, LocantForConditionalGeneration, LocantModel
from locant.modeling.cache_names import CACHE

IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])
NAMES = pytest.mark.parametrize("name", ["cache", "past_key_values"])
DECODERS, PAIRS = (LocantForCausalLM, LocantDecoderModel), (LocantForConditionalGeneration, LocantModel)
CLASSES = pytest.mark.parametrize("cls", [*DECODERS, *PAIRS])


def inputs_of(cls, ids):
    return {"input_ids": ids} if cls in DECODERS else {"input_ids": IDS, "decoder_input_ids": ids}


def new_cache(cls):
    return DynamicCache() if cls in DECODERS else EncoderDecoderCache(DynamicCache(), DynamicCache())


def test_the_name_is_that_of_llama(no_grad):
    sizes = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    assert CACHE in list(LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=1))(IDS))


class TestForward:
    @NAMES
    @CLASSES
    def test_continues_from_the_cache(self, make_model, no_grad, cls, name):
        model, cache = make_model(cls, position_encoding="rotary"), new_cache(cls)
        expected = model(**inputs_of(cls, IDS), use_cache=False)[0]
        steps = [model(**inputs_of(cls, part), **{name: cache})[0] for part in IDS.split([4, 1, 1], 1)]
        torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)
        assert cache.get_seq_length() == 6

    @NAMES
    def test_of_the_decoder_of_a_pair_continues_from_the_cache(self, make_model, no_grad, name):
        decoder, cache = make_model().model.decoder, new_cache(LocantModel)
        source = {"encoder_hidden_states": torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))}
        expected = decoder(IDS, use_cache=False, **source).last_hidden_state
        steps = [decoder(part, **source, **{name: cache}).last_hidden_state for part in IDS.split([4, 2], 1)]
        torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)

    @NAMES
    @CLASSES
    def test_continues_from_the_cache_after_accelerate_unwrapped_the_model(self, make_model, no_grad, cls, name):
        model, cache = make_model(cls), new_cache(cls)
        model._original_forward = model.forward  # as `Accelerator.prepare_model` does for mixed precision
        model.forward = MethodType(convert_outputs_to_fp32(model.forward.__func__), model)
        model = extract_model_from_parallel(model, keep_fp32_wrapper=False)
        model(**inputs_of(cls, IDS), **{name: cache})
        assert cache.get_seq_length() == 6

    @CLASSES
    def test_refuses_two_caches(self, make_model, cls):
        two = {"cache": new_cache(cls), "past_key_values": new_cache(cls)}
        with pytest.raises(ValueError, match=r"^cache and past_key_values are both given, but they are two names of"):
            make_model(cls)(**inputs_of(cls, IDS), **two)

    @CLASSES
    def test_takes_none_under_both_names(self, make_model, no_grad, cls):
        model = make_model(cls)
        output = model(**inputs_of(cls, IDS), cache=None, past_key_values=None, use_cache=True)
        assert output[CACHE].get_seq_length() == 6

    @CLASSES
    def test_returns_the_cache_under_the_name_of_transformers(self, make_model, no_grad, monkeypatch, cls):
        told = []
        monkeypatch.setattr(generic.logger, "warning_once", lambda message, *_: told.append(message))
        output, cache = make_model(cls)(**inputs_of(cls, IDS)), new_cache(cls)
        assert CACHE in list(output)
        assert make_model(cls)(**inputs_of(cls, IDS), **{CACHE: cache})[CACHE] is cache
        assert not told  # the code of the models does not use the deprecated name
        assert output.past_key_values is output[CACHE]

    def test_checkpointed_layers_get_no_cache(self, make_model):
        """The backward pass computes a layer again, which would append the same keys a second time."""
        model, cache = make_model(LocantForCausalLM).train(), DynamicCache()
        model.gradient_checkpointing_enable()
        model(IDS, labels=IDS, past_key_values=cache).loss.backward()
        assert cache.get_seq_length() == 0


class TestGenerate:
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}  # noqa: RUF012

    @NAMES
    @pytest.mark.parametrize("cls", [LocantForCausalLM, LocantForConditionalGeneration])
    def test_fills_the_given_cache_a_token_at_a_time(self, make_model, cls, name):
        model, cache, lengths = make_model(cls, position_encoding="rotary"), new_cache(cls), []
        expected = model.generate(IDS, use_cache=False, **self.options)
        decoder = model.model.decoder
        decoder.embed_tokens.register_forward_hook(lambda _, inputs, output: lengths.append(inputs[0].shape[1]))
        assert torch.equal(model.generate(IDS, **{name: cache}, **self.options), expected)
        assert lengths[-5:] == [1] * 5
        assert cache.get_seq_length() == expected.shape[1] - 1

    def test_refuses_two_caches(self, make_model):
        two = {"cache": DynamicCache(), "past_key_values": DynamicCache()}
        with pytest.raises(ValueError, match="both given"):
            make_model(LocantForCausalLM).generate(IDS, **two, **self.options)

    @NAMES
    def test_prepares_whole_position_ids_beside_a_cache(self, make_model, no_grad, name):
        model, cache = make_model(LocantForCausalLM), DynamicCache()
        model(IDS[:, :4], past_key_values=cache)
        positions = torch.arange(6)[None]
        inputs = model.prepare_inputs_for_generation(
            IDS, next_sequence_length=2, position_ids=positions, **{name: cache}
        )
        assert inputs["position_ids"] is positions
        assert inputs[CACHE] is cache
        assert model.prepare_inputs_for_generation(IDS, 2, cache, position_ids=positions)[CACHE] is cache


@pytest.mark.parametrize("model_class", [LocantForCausalLM, LocantForConditionalGeneration])
def test_help_on_generate_shows_the_arguments_and_the_docstring_of_transformers(model_class):
    assert inspect.signature(model_class.generate) == inspect.signature(GenerationMixin.generate)
    assert model_class.generate.__doc__ == GenerationMixin.generate.__doc__
