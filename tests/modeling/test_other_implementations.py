# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""With their weights, Locant gives the numbers of the models that people already trust."""

import re

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DynamicCache,
    LlamaConfig,
    LlamaModel,
    MarianConfig,
    MarianMTModel,
    PegasusConfig,
    PegasusForConditionalGeneration,
    StableLmConfig,
    StableLmModel,
)

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.modeling_locant import LocantForConditionalGeneration
from locant.modeling.stacks import LocantDecoder

SEQ2SEQ = {
    "vocab_size": 24,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 48,
    "dropout": 0.1,
    "activation_function": "gelu",
    "scale_embedding": True,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}

# What stands for what; Marian, Pegasus and BART have the same names.
SEQ2SEQ_NAMES = {
    r"out_proj": "o_proj",
    r"encoder_attn_layer_norm": "cross_attn_residual.norm",
    r"encoder_attn": "cross_attn",
    r"self_attn_layer_norm": "self_attn_residual.norm",
    r"final_layer_norm": "ffn_residual.norm",
    r"coder\.layer_norm": "coder.final_norm",
    r"fc1": "ffn.up_proj",
    r"fc2": "ffn.down_proj",
    r"embed_positions": "position.embeddings",
}

CAUSAL_NAMES = {
    r"input_layernorm": "self_attn_residual.norm",
    r"post_attention_layernorm": "ffn_residual.norm",
    r"mlp": "ffn",
    r"^norm": "final_norm",
}


def renamed(weights, names):
    for theirs, ours in names.items():
        weights = {re.sub(theirs, ours, name): weight for name, weight in weights.items()}
    return weights


def with_weights_of(theirs, **fields):
    """Our model with the weights of `theirs`."""
    ours = LocantForConditionalGeneration(LocantConfig(**{**SEQ2SEQ, **fields})).eval()
    weights = renamed(theirs.state_dict(), SEQ2SEQ_NAMES)
    del weights["final_logits_bias"]
    for stack in ("encoder", "decoder"):
        table = weights.pop(f"model.{stack}.position.embeddings.weight")
        if fields["position_encoding"] == "learned":
            weights[f"model.{stack}.position.embeddings.weight"] = table[2:]  # BART leaves two rows unused
    ours.load_state_dict(weights, strict=True)
    return ours


def marian():
    theirs = MarianMTModel(MarianConfig(**SEQ2SEQ, forced_eos_token_id=None)).eval()
    return theirs, {
        "position_encoding": "sinusoidal",
        "position_parameters": {"sinusoidal": {"layout": "concatenated"}},
    }


def pegasus():
    theirs = PegasusForConditionalGeneration(PegasusConfig(**SEQ2SEQ, forced_eos_token_id=None)).eval()
    fields = marian()[1]
    return theirs, {**fields, "norm_position": "pre"}


def bart():
    theirs = BartForConditionalGeneration(BartConfig(**SEQ2SEQ, forced_eos_token_id=None)).eval()
    # BART alone normalises its embeddings
    theirs.model.encoder.layernorm_embedding = theirs.model.decoder.layernorm_embedding = torch.nn.Identity()
    return theirs, {"position_encoding": "learned"}


@pytest.fixture(params=[marian, pegasus, bart], ids=lambda family: family.__name__)
def pair(request, spread):
    """A model of transformers, and ours with its weights."""
    theirs, fields = request.param()
    tables = [stack.embed_positions.weight for stack in (theirs.model.encoder, theirs.model.decoder)]
    fixed = [table.clone() for table in tables if not table.requires_grad]
    spread(theirs, 1)
    for table, values in zip(tables, fixed, strict=False):
        table.data.copy_(values)
    return theirs, with_weights_of(theirs, **fields)


SOURCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2]]
TARGETS = [[0, 21, 20, 19, 18], [0, 17, 16], [0, 15, 14, 13]]


class TestSeq2Seq:
    @pytest.mark.parametrize("attention", ["eager", "sdpa"])
    def test_logits_of_the_whole_model(self, pair, make_batch, attention):
        inputs = dict(zip(("input_ids", "attention_mask"), make_batch(SOURCES), strict=True))
        decoder_ids, decoder_mask = make_batch(TARGETS)
        expected, ours = (
            self.forward(model, attention, decoder_input_ids=decoder_ids, decoder_attention_mask=decoder_mask, **inputs)
            for model in pair
        )
        real = decoder_mask.bool()
        torch.testing.assert_close(ours.logits[real], expected.logits[real], atol=1e-5, rtol=1e-5)
        assert expected.logits.std() > 0.5

    @torch.no_grad()
    def forward(self, model, attention, **inputs):
        model.set_attn_implementation(attention)
        return model(**inputs)

    def test_gradients_of_the_whole_model(self, pair, make_batch):
        ids, mask = make_batch(SOURCES)
        labels, _ = make_batch([target[1:] for target in TARGETS])
        labels = labels.masked_fill(labels == 0, -100)
        losses = [model(input_ids=ids, attention_mask=mask, labels=labels).loss for model in pair]
        torch.testing.assert_close(losses[1], losses[0])
        for loss in losses:
            loss.backward()
        # their padding is outside of the gradient
        expected, ours = (model.model.shared.weight.grad[1:] for model in pair)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize(
        "options",
        [{}, {"num_beams": 4, "num_return_sequences": 4}, {"num_beams": 4, "length_penalty": 2.0}],
        ids=["greedy", "beam", "beam with a length penalty"],
    )
    def test_generated_tokens_and_scores(self, pair, make_batch, options):
        ids, mask = make_batch(SOURCES)
        expected, ours = (
            model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=12,
                return_dict_in_generate=True,
                output_scores=True,
                no_repeat_ngram_size=2,  # random models are fond of one token
                **options,
            )
            for model in pair
        )
        assert ours.sequences.tolist() == expected.sequences.tolist()
        assert len(set(expected.sequences.flatten().tolist())) >= 5
        for step, expected_step in zip(ours.scores, expected.scores, strict=True):
            torch.testing.assert_close(step, expected_step, atol=1e-4, rtol=1e-4)
        if options:
            torch.testing.assert_close(ours.sequences_scores, expected.sequences_scores, atol=1e-5, rtol=1e-5)


CAUSAL = {
    "vocab_size": 24,
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}

ROPE_TYPES = {
    "default": {},
    "default of another base": {"rope_theta": 500.0},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 8},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
    },
    "longrope": {
        "short_factor": [1.0 + 0.1 * k for k in range(8)],
        "long_factor": [2.0 + 0.3 * k for k in range(8)],
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "proportional": {"factor": 2.0, "partial_rotary_factor": 0.5},
}


def rope_parameters(rope_type):
    return {"rope_theta": 10000.0, **ROPE_TYPES[rope_type], "rope_type": rope_type.split()[0]}


def decoder_with_weights_of(theirs, **fields):
    """Our decoder, which reads no source here, with the weights of a causal language model's body."""
    config = LocantConfig(
        vocab_size=24,
        d_model=64,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_key_value_heads=2,
        decoder_ffn_dim=80,
        gated_ffn=True,
        activation_function="silu",
        norm_position="pre",
        norm_eps=fields.pop("norm_eps"),
        attention_bias=False,
        ffn_bias=False,
        scale_embedding=False,
        position_encoding="rotary",
        rope_parameters=dict(theirs.config.rope_parameters),
        max_position_embeddings=16,
        **fields,
    )
    ours = LocantDecoder(config).eval()
    result = ours.load_state_dict(renamed(theirs.state_dict(), CAUSAL_NAMES), strict=False)
    assert not result.unexpected_keys
    assert all("cross_attn" in name for name in result.missing_keys)
    return ours


@torch.no_grad()
def hidden_states(model, length, mask=None):
    ids = (torch.arange(length)[None] * 7 + torch.tensor([[3], [4]])) % 24
    return model(input_ids=ids, attention_mask=mask).last_hidden_state


class TestCausal:
    @pytest.fixture(params=ROPE_TYPES)
    def llama(self, request, spread):
        theirs = LlamaModel(LlamaConfig(**CAUSAL, rope_parameters=rope_parameters(request.param))).eval()
        spread(theirs, 2)
        return theirs

    @pytest.mark.parametrize("lengths", [(12,), (40,), (40, 24, 12)], ids=["short", "long", "long, then shorter"])
    def test_decoder_is_llama(self, llama, lengths):
        ours = decoder_with_weights_of(llama, norm_type="rmsnorm", norm_eps=llama.config.rms_norm_eps)
        for length in lengths:
            expected = hidden_states(llama, length)
            torch.testing.assert_close(hidden_states(ours, length), expected, atol=1e-5, rtol=1e-4)

    def test_decoder_with_a_cache_is_llama(self, llama):
        ours = decoder_with_weights_of(llama, norm_type="rmsnorm", norm_eps=llama.config.rms_norm_eps)
        ids = torch.arange(14)[None] * 5 % 24
        steps = []
        for model in (llama, ours):
            cache = DynamicCache()
            with torch.no_grad():
                steps.append(
                    torch.cat([model(input_ids=part, past_key_values=cache)[0] for part in ids.split([9, 1, 4], 1)], 1)
                )
        torch.testing.assert_close(steps[1], steps[0], atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("rope_type", ["default", "linear", "dynamic", "yarn"])
    @pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
    def test_decoder_is_stablelm_which_turns_a_part_of_each_head(self, spread, rope_type, share):
        parameters = {**rope_parameters(rope_type), "partial_rotary_factor": share}
        theirs = StableLmModel(StableLmConfig(**CAUSAL, rope_parameters=parameters, layer_norm_eps=1e-5)).eval()
        spread(theirs, 3)
        ours = decoder_with_weights_of(theirs, norm_type="layernorm", norm_eps=1e-5)
        for length in (12, 30):
            expected = hidden_states(theirs, length)
            torch.testing.assert_close(hidden_states(ours, length), expected, atol=1e-5, rtol=1e-4)
