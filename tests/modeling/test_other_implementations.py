# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""With the weights of models of transformers, Locant gives their numbers: whole models and stacks."""

import re

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    BloomConfig,
    BloomModel,
    DynamicCache,
    GPT2Config,
    GPT2Model,
    MarianConfig,
    MarianMTModel,
    MptConfig,
    MptModel,
    PegasusConfig,
    PegasusForConditionalGeneration,
    RoFormerConfig,
    RoFormerModel,
    T5Config,
    T5Model,
    XLNetConfig,
    XLNetModel,
)

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.modeling_locant import LocantForConditionalGeneration, LocantModel
from locant.modeling.stacks import LocantDecoder, LocantEncoder

SOURCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2]]
TARGETS = [[0, 21, 20, 19, 18], [0, 17, 16], [0, 15, 14, 13]]


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert theirs.std() > 0.1


def renamed(weights, names):
    for theirs, ours in names.items():
        weights = {re.sub(theirs, ours, name): weight for name, weight in weights.items()}
    return weights


# Marian, Pegasus, BART: models with a head, which generate

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
    r"layernorm_embedding": "embed_norm",
}


def with_weights_of(theirs, **fields):
    """Our model with the weights of `theirs`."""
    ours = LocantForConditionalGeneration(LocantConfig(**{**SEQ2SEQ, **fields}, lm_head_bias=True)).eval()
    weights = renamed(theirs.state_dict(), SEQ2SEQ_NAMES)
    weights["lm_head.bias"] = weights.pop("final_logits_bias")[0]
    del weights["model.shared.weight"]  # the stacks' own
    if fields["position_encoding"] == "sinusoidal":  # not saved, as it follows from the config
        for stack in ("encoder", "decoder"):
            del weights[f"model.{stack}.position.embeddings.weight"]
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
    fields = {"position_encoding": "learned", "position_parameters": {"learned": {"offset": 2}}}
    return theirs, {**fields, "embedding_norm": True}


@pytest.fixture(params=[marian, pegasus, bart], ids=lambda family: family.__name__)
def pair(request, spread):
    """A model of transformers, and ours with its weights."""
    theirs, fields = request.param()
    tables = [stack.embed_positions.weight for stack in (theirs.model.encoder, theirs.model.decoder)]
    fixed = [table.clone() for table in tables if not table.requires_grad]
    spread(theirs, 1)
    theirs.final_logits_bias.normal_()
    for table, values in zip(tables, fixed, strict=False):
        table.data.copy_(values)
    return theirs, with_weights_of(theirs, **fields)


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
        assert_same(ours.logits[real], expected.logits[real])

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
        expected, ours = (model.get_input_embeddings().weight.grad[1:] for model in pair)
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


# Stacks: encoders, and decoders that read no source

STACK = {
    "vocab_size": 24,
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 4 * 48,
    "decoder_ffn_dim": 4 * 48,
    "dropout": 0.0,
    "scale_embedding": False,
    "max_position_embeddings": 32,
    "is_encoder_decoder": False,
}


def bert_weights(theirs):
    """The weights of BERT or RoFormer under our names."""
    names = {
        r"^embeddings.position_embeddings": "position.embeddings",
        r"^embeddings.word_embeddings": "embed_tokens",
        r"^embeddings.token_type_embeddings": "embed_token_types",
        r"^embeddings.LayerNorm": "embed_norm",
        r"^encoder.layer": "layers",
        r"attention.self.(query|key|value)": lambda match: f"self_attn.{match[1][0]}_proj",
        r"attention.output.dense": "self_attn.o_proj",
        r"attention.output.LayerNorm": "self_attn_residual.norm",
        r"intermediate.dense": "ffn.up_proj",
        r"output.dense": "ffn.down_proj",
        r"output.LayerNorm": "ffn_residual.norm",
    }
    weights = renamed(theirs.state_dict(), names)
    weights.pop("encoder.embed_positions.weight", None)  # RoFormer's sines and cosines
    return weights


BERT = {
    "vocab_size": 24,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 4 * 48,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}


def bert():
    fields = {"activation_function": "gelu", "norm_eps": 1e-12, "position_encoding": "learned"}
    fields |= {"embedding_norm": True, "type_vocab_size": 2}
    return BertModel(BertConfig(**BERT), add_pooling_layer=False), LocantEncoder, fields, bert_weights


def roformer():
    fields = {"activation_function": "gelu", "norm_eps": 1e-12, "position_encoding": "rotary"}
    fields |= {"embedding_norm": True, "type_vocab_size": 2}
    fields["position_parameters"] = {"rotary": {"pairing": "interleaved"}}
    return RoFormerModel(RoFormerConfig(**BERT, embedding_size=48)), LocantEncoder, fields, bert_weights


def roformer_decoder():
    _, _, fields, _ = roformer()
    theirs = RoFormerModel(RoFormerConfig(**BERT, embedding_size=48, is_decoder=True))
    return theirs, LocantDecoder, fields, roformer_decoder_weights


def roformer_decoder_weights(theirs):
    """RoFormer's weights. Our decoder has no token types, so the vector of type 0 is added to each word's."""
    weights = bert_weights(theirs)
    weights["embed_tokens.weight"] = weights["embed_tokens.weight"] + weights.pop("embed_token_types.weight")[0]
    return weights


def xlnet_weights(theirs):
    """XLNet's weights under our names; XLNet's have separate dimensions for the heads and the size of a head."""
    weights = {}
    for name, weight in theirs.state_dict().items():
        last = name.split(".")[-1]
        if last in ("q", "k", "v", "r"):
            weights[f"{name}_proj.weight"] = weight.flatten(1).T
        elif last == "o":
            weights[f"{name}_proj.weight"] = weight.flatten(1)
        elif last not in ("mask_emb", "r_s_bias", "seg_embed"):  # of its second stream, and of segments
            weights[name] = weight
    return renamed(
        weights,
        {
            r"^word_embedding": "embed_tokens",
            r"^layer\.": "layers.",
            r"rel_attn.layer_norm": "self_attn_residual.norm",
            r"rel_attn.r_w_bias": "self_attn.position.content_bias",
            r"rel_attn.r_r_bias": "self_attn.position.position_bias",
            r"rel_attn.r_proj": "self_attn.position.r_proj",
            r"rel_attn": "self_attn",
            r"ff.layer_norm": "ffn_residual.norm",
            r"ff.layer_1": "ffn.up_proj",
            r"ff.layer_2": "ffn.down_proj",
        },
    )


def xlnet(attn_type="bi"):
    sizes = {"vocab_size": 24, "d_model": 48, "n_layer": 2, "n_head": 6, "d_inner": 4 * 48, "ff_activation": "gelu"}
    theirs = XLNetModel(XLNetConfig(**sizes, attn_type=attn_type, dropout=0.0))
    fields = {"activation_function": "gelu", "norm_eps": 1e-12, "position_encoding": "transformer_xl"}
    stack = LocantEncoder if attn_type == "bi" else LocantDecoder
    return theirs, stack, {**fields, "attention_bias": False}, xlnet_weights


def xlnet_decoder():
    return xlnet("uni")


def gpt2():
    sizes = {"vocab_size": 24, "n_embd": 48, "n_layer": 2, "n_head": 6, "n_positions": 32}
    fields = {"activation_function": "gelu_new", "norm_position": "pre", "position_encoding": "learned"}
    return GPT2Model(GPT2Config(**sizes)), LocantDecoder, fields, gpt2_weights


def gpt2_weights(theirs):
    """GPT-2's weights under our names; its projections are transposed, and one holds query, key and value."""
    weights = {}
    for name, weight in theirs.state_dict().items():
        turned = weight.T if weight.ndim == 2 and name.startswith("h.") else weight
        if "c_attn" in name:
            for letter, part in zip("qkv", turned.chunk(3), strict=True):
                weights[name.replace("attn.c_attn", f"self_attn.{letter}_proj")] = part
        else:
            weights[name] = turned
    return renamed(
        weights,
        {
            r"^wte": "embed_tokens",
            r"^wpe": "position.embeddings",
            r"^h\.": "layers.",
            r"\.attn.c_proj": ".self_attn.o_proj",
            r"mlp.c_fc": "ffn.up_proj",
            r"mlp.c_proj": "ffn.down_proj",
            r"ln_1": "self_attn_residual.norm",
            r"ln_2": "ffn_residual.norm",
            r"ln_f": "final_norm",
        },
    )


def bloom():
    theirs = BloomModel(BloomConfig(vocab_size=24, hidden_size=48, n_layer=2, n_head=6))
    fields = {"activation_function": "gelu_pytorch_tanh", "norm_position": "pre", "position_encoding": "alibi"}
    fields["embedding_norm"] = True
    return theirs, LocantDecoder, fields, bloom_weights


def bloom_weights(theirs):
    """Bloom's weights under our names; Bloom stores query, key and value head by head."""
    weights = {}
    for name, weight in theirs.state_dict().items():
        if "query_key_value" in name:
            for letter, part in zip("qkv", weight.unflatten(0, (6, 3, 8)).unbind(1), strict=True):
                weights[name.replace("self_attention.query_key_value", f"self_attn.{letter}_proj")] = part.flatten(0, 1)
        else:
            weights[name] = weight
    return renamed(
        weights,
        {
            r"^word_embeddings_layernorm": "embed_norm",
            r"^word_embeddings": "embed_tokens",
            r"^h\.": "layers.",
            r"self_attention.dense": "self_attn.o_proj",
            r"mlp.dense_h_to_4h": "ffn.up_proj",
            r"mlp.dense_4h_to_h": "ffn.down_proj",
            r"input_layernorm": "self_attn_residual.norm",
            r"post_attention_layernorm": "ffn_residual.norm",
            r"ln_f": "final_norm",
        },
    )


def mpt():
    theirs = MptModel(MptConfig(vocab_size=24, d_model=48, n_layers=2, n_heads=6, max_seq_len=32))
    fields = {"activation_function": "gelu", "norm_position": "pre", "position_encoding": "alibi"}
    return theirs, LocantDecoder, {**fields, "attention_bias": False, "ffn_bias": False}, mpt_weights


def mpt_weights(theirs):
    """MPT's weights under our names; MPT has no biases, so the biases of our norms are 0."""
    weights = {}
    for name, weight in theirs.state_dict().items():
        if "Wqkv" in name:
            for letter, part in zip("qkv", weight.chunk(3), strict=True):
                weights[name.replace("attn.Wqkv", f"self_attn.{letter}_proj")] = part
        else:
            weights[name] = weight
        if "norm" in name:
            weights[name.replace("weight", "bias")] = torch.zeros(48)
    return renamed(
        weights,
        {
            r"^wte": "embed_tokens",
            r"^blocks": "layers",
            r"\.attn.out_proj": ".self_attn.o_proj",
            r"norm_1": "self_attn_residual.norm",
            r"norm_2": "ffn_residual.norm",
            r"norm_f": "final_norm",
        },
    )


def named(family):
    return family.__name__


def served(*families):
    """Each family on each of our backends that serves its encoding: flex_attention cannot add XLNet's matrix."""
    return [
        pytest.param(family, attention, id=f"{named(family)}-{attention}")
        for family in families
        for attention in ("eager", "sdpa", "blockwise", "flex_attention")
        if attention != "flex_attention" or "xlnet" not in named(family)
    ]


def stacks_of(family, spread):
    """A stack of transformers, and ours with its weights."""
    theirs, cls, fields, weights = family()
    fixed = {name: p.clone() for name, p in theirs.named_parameters() if not p.requires_grad}
    spread(theirs.eval(), 4)
    for name, values in fixed.items():
        theirs.get_parameter(name).data.copy_(values)
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.2)
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == 3:  # XLNet's (width, heads, head size)
                parameter.data *= (parameter.shape[2] / parameter.shape[0]) ** 0.5
    ours = cls(LocantConfig(**{**STACK, **fields})).eval()
    ours.load_state_dict(weights(theirs), strict=True)
    return theirs, ours


def inputs_of(theirs, ids, mask):
    """Inputs of a model, with the positions of the real tokens if the model does not count them itself."""
    inputs = {"input_ids": ids, "attention_mask": mask}
    if isinstance(theirs, XLNetModel) and theirs.attn_type == "uni":
        del inputs["attention_mask"]  # which it fails on
    if isinstance(theirs, (BertModel, GPT2Model)):
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return inputs


class TestStacks:
    FAMILIES = (bert, roformer, roformer_decoder, xlnet, gpt2, bloom, mpt)

    @pytest.mark.pairwise
    @pytest.mark.parametrize(("family", "attention"), served(*FAMILIES))
    @pytest.mark.usefixtures("uncompiled_flex", "small_blocks")
    @torch.no_grad()
    def test_hidden_states_of_a_padded_batch(self, family, spread, make_batch, side, attention):
        theirs, ours = stacks_of(family, spread)
        ours.set_attn_implementation(attention)
        ids, mask = make_batch([[*range(3, 23)], *SOURCES], side)
        expected = theirs(**inputs_of(theirs, ids, mask)).last_hidden_state
        states = ours(input_ids=ids, attention_mask=mask).last_hidden_state
        assert_same(states[mask.bool()], expected[mask.bool()])

    @pytest.mark.parametrize(("family", "attention"), served(*FAMILIES, xlnet_decoder))
    @pytest.mark.usefixtures("uncompiled_flex", "small_blocks")
    @torch.no_grad()
    def test_hidden_states_without_masks(self, family, spread, attention):
        theirs, ours = stacks_of(family, spread)
        ours.set_attn_implementation(attention)
        ids = torch.randint(3, 24, (2, 20))
        assert_same(ours(input_ids=ids).last_hidden_state, theirs(input_ids=ids).last_hidden_state)

    @pytest.mark.parametrize("family", [*FAMILIES, xlnet_decoder], ids=named)
    def test_gradients(self, family, spread, make_batch):
        theirs, ours = stacks_of(family, spread)
        ids, mask = make_batch(SOURCES)
        weight = torch.randn(*ids.shape, 48) * mask[..., None] / mask.sum()
        for model in (theirs, ours):
            (model(**inputs_of(model, ids, mask)).last_hidden_state * weight).sum().backward()
        expected, own = (model.get_input_embeddings().weight.grad[1:] for model in (theirs, ours))
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-4)
        parameters = dict(ours.named_parameters())
        for name, gradient in gradients_of_positions(theirs).items():
            torch.testing.assert_close(parameters[name].grad, gradient, atol=1e-5, rtol=1e-4)
            assert gradient.abs().max() > 1e-3

    @pytest.mark.parametrize("family", [roformer_decoder, gpt2, bloom, mpt], ids=named)
    @torch.no_grad()
    def test_steps_with_a_cache(self, family, spread, make_batch):
        theirs, ours = stacks_of(family, spread)
        ids, mask = make_batch(SOURCES, "left")
        steps = []
        for model in (theirs, ours):
            cache, states = DynamicCache(), []
            for start, end in ((0, 4), (4, 5), (5, 7)):
                inputs = inputs_of(model, ids, mask)
                own = {name: tensor[:, start:end] for name, tensor in inputs.items()} | {
                    "attention_mask": mask[:, :end]
                }
                states.append(model(**own, past_key_values=cache, use_cache=True).last_hidden_state)
            steps.append(torch.cat(states, 1)[mask.bool()])
        assert_same(steps[1], steps[0])

    @torch.no_grad()
    def test_memories_of_xlnet_are_a_cache(self, spread):
        theirs, ours = stacks_of(xlnet_decoder, spread)
        ids, mems, cache, steps = torch.arange(3, 21).view(2, 9), None, DynamicCache(), ([], [])
        theirs.mem_len = 9
        for part in ids.split([4, 1, 1, 3], 1):
            outputs = theirs(part, mems=mems, use_mems=True)
            mems = outputs.mems
            steps[0].append(outputs.last_hidden_state)
            steps[1].append(ours(part, past_key_values=cache).last_hidden_state)
        assert_same(torch.cat(steps[1], 1), torch.cat(steps[0], 1))


def gradients_of_positions(theirs):
    """The gradients of the parameters of their position encoding, under our names."""
    if isinstance(theirs, BertModel):
        return {"position.embeddings.weight": theirs.embeddings.position_embeddings.weight.grad}
    if isinstance(theirs, GPT2Model):
        return {"position.embeddings.weight": theirs.wpe.weight.grad}
    gradients = {}
    if isinstance(theirs, XLNetModel):
        for idx, layer in enumerate(theirs.layer):
            prefix = f"layers.{idx}.self_attn.position"
            gradients[f"{prefix}.r_proj.weight"] = layer.rel_attn.r.grad.flatten(1).T
            gradients[f"{prefix}.content_bias"] = layer.rel_attn.r_w_bias.grad
            gradients[f"{prefix}.position_bias"] = layer.rel_attn.r_r_bias.grad
    return gradients


# T5: encoder and decoder

T5_NAMES = {
    r"(encoder|decoder).block.0.layer.0.SelfAttention.relative_attention_bias.weight": r"\1.position.table",
    r"block": "layers",
    r"layer.0.SelfAttention": "self_attn",
    r"layer.0.layer_norm": "self_attn_residual.norm",
    r"layer.1.EncDecAttention": "cross_attn",
    r"(decoder.layers.\d).layer.1.layer_norm": r"\1.cross_attn_residual.norm",
    r"layer.\d.DenseReluDense.wi_0": "ffn.gate_proj",
    r"layer.\d.DenseReluDense.wi_1": "ffn.up_proj",
    r"layer.\d.DenseReluDense.wi": "ffn.up_proj",
    r"layer.\d.DenseReluDense.wo": "ffn.down_proj",
    r"layer.[12].layer_norm": "ffn_residual.norm",
    r"_attn.([qkvo])\.": r"_attn.\1_proj.",
    r"final_layer_norm": "final_norm",
}


class TestT5:
    """T5 does not divide scores by the square root of the head size, so our query weights are multiplied by it."""

    @pytest.fixture(params=[(32, 128, "relu"), (8, 6, "gated-gelu")], ids=["32 to 128", "8 to 6, gated"])
    def pair(self, request, spread):
        buckets, reach, activation = request.param
        theirs = T5Model(
            T5Config(
                vocab_size=24,
                d_model=32,
                d_kv=6,  # heads that do not fill the width
                d_ff=40,
                num_layers=2,
                num_decoder_layers=3,
                num_heads=4,
                relative_attention_num_buckets=buckets,
                relative_attention_max_distance=reach,
                feed_forward_proj=activation,
            )
        )
        spread(theirs.eval(), 5)
        for name, parameter in theirs.named_parameters():
            if name.endswith("Attention.q.weight"):
                parameter.data *= 6**-0.5  # as scaled ones would be
            elif "DenseReluDense" in name:
                parameter.data *= 0.5
            elif "relative_attention_bias" in name:
                parameter.data.normal_()
        fields = {"activation_function": "relu"}
        if activation == "gated-gelu":
            fields = {"activation_function": "gelu_new", "gated_ffn": True}
        config = LocantConfig(
            vocab_size=24,
            d_model=32,
            head_dim=6,
            encoder_layers=2,
            decoder_layers=3,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=40,
            decoder_ffn_dim=40,
            norm_type="rmsnorm",
            norm_position="pre",
            norm_eps=1e-6,
            attention_bias=False,
            ffn_bias=False,
            scale_embedding=False,
            position_encoding="t5",
            position_parameters={"t5": {"num_buckets": buckets, "max_distance": reach}},
            **fields,
        )
        ours = LocantModel(config).eval()
        weights = renamed(theirs.state_dict(), T5_NAMES)
        weights = {name: weight * 6**0.5 if "q_proj" in name else weight for name, weight in weights.items()}
        del weights["shared.weight"]  # the stacks' own
        ours.load_state_dict(weights, strict=True)
        return theirs, ours

    @pytest.fixture
    def inputs(self, make_batch, side):
        generator = torch.Generator().manual_seed(0)
        source, target = (torch.randint(3, 24, (1, length), generator=generator)[0].tolist() for length in (150, 140))
        ids, mask = make_batch([source, *SOURCES], side)
        decoder_ids, decoder_mask = make_batch([target, *TARGETS], side)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "decoder_input_ids": decoder_ids,
            "decoder_attention_mask": decoder_mask,
        }

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("attention", ["eager", "sdpa", "blockwise", "flex_attention"])
    @pytest.mark.usefixtures("uncompiled_flex", "small_blocks")
    @torch.no_grad()
    def test_hidden_states(self, pair, inputs, attention):
        pair[1].set_attn_implementation(attention)
        expected, ours = (model(**inputs) for model in pair)
        source, target = inputs["attention_mask"].bool(), inputs["decoder_attention_mask"].bool()
        assert_same(ours.encoder_last_hidden_state[source], expected.encoder_last_hidden_state[source])
        assert_same(ours.last_hidden_state[target], expected.last_hidden_state[target])

    def test_gradients(self, pair, inputs):
        weight = torch.randn(4, 140, 32) * inputs["decoder_attention_mask"][..., None] / 140
        for model in pair:
            (model(**inputs).last_hidden_state * weight).sum().backward()
        theirs, ours = pair
        for stack in ("encoder", "decoder"):
            expected = theirs.get_submodule(stack).block[0].layer[0].SelfAttention.relative_attention_bias.weight.grad
            torch.testing.assert_close(ours.get_submodule(stack).position.table.grad, expected, atol=1e-5, rtol=1e-4)
            assert expected.abs().max() > 1e-3
        torch.testing.assert_close(
            ours.encoder.embed_tokens.weight.grad, theirs.shared.weight.grad, atol=1e-5, rtol=1e-4
        )

    @torch.no_grad()
    def test_steps_with_a_cache(self, pair, make_batch):
        ids, mask = make_batch(SOURCES, "left")
        decoder_ids, decoder_mask = make_batch([[0, *range(3, 15)], *TARGETS[1:]], "left")
        steps = []
        for model in pair:
            cache, states = None, []
            for start, end in ((0, 4), (4, 5), (5, 6), (6, 13)):
                outputs = model(
                    input_ids=ids,
                    attention_mask=mask,
                    decoder_input_ids=decoder_ids[:, start:end],
                    decoder_attention_mask=decoder_mask[:, :end],
                    past_key_values=cache,
                    use_cache=True,
                )
                cache = outputs.past_key_values
                states.append(outputs.last_hidden_state)
            steps.append(torch.cat(states, 1)[decoder_mask.bool()])
        assert_same(steps[1], steps[0])
