# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BERT, GPT-2 and Llama are converted to Locant and back, with equal results; errors name what cannot be converted."""

import json

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    LlamaTokenizer,
)

from locant import LocantConfig, LocantEncoderModel, LocantForMaskedLM
from locant.cli import main
from locant.hub.conversion.conversion import convert
from locant.hub.errors import SharingError

from .conversion_cases import (
    SENTENCES,
    Case,
    assert_same,
    assert_same_weights,
    assert_there_and_back,
    batch,
    load,
    parametrized,
    pickled,
    pickled_shards,
    sharded,
    stored,
)

SIZES = {"vocab_size": 24, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
SIZES |= {"max_position_embeddings": 24, "pad_token_id": 0}
GPT2 = {"vocab_size": 24, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NAMES = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}}
FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.5, 2.0, 3.0, 4.0]}
ROPES = {
    "default": {"rope_theta": 500.0},
    "default, with a part that Llama ignores": {"partial_rotary_factor": 0.5},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 6},
    "yarn, with all its options": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 6,
        "beta_fast": 20,
        "beta_slow": 2,
        "mscale": 0.7,
        "mscale_all_dim": 0.5,
        "truncate": False,
    },
    "longrope": {"rope_type": "longrope", "factor": 2.0, "original_max_position_embeddings": 12, **FACTORS},
    "longrope by lengths": {"rope_type": "longrope", "original_max_position_embeddings": 12, **FACTORS},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 12,
    },
    "proportional": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0},
}


def bert(name, cls=BertModel, config=None, **options):
    return Case(f"BERT, {name}", cls, BertConfig(**{**SIZES, **(config or {})}), **options)


def gpt2(name, cls=GPT2LMHeadModel, config=None, **options):
    return Case(f"GPT-2, {name}", cls, GPT2Config(**{**GPT2, **TOKENS, **(config or {})}), **options)


def llama(name, cls=LlamaForCausalLM, config=None, **options):
    return Case(f"Llama, {name}", cls, LlamaConfig(**{**SIZES, **TOKENS, **(config or {})}), **options)


def one_output_bias(model):
    """Without ties, nothing reads the first of BERT's two, and so its numbers do not come back."""
    head = model.cls.predictions
    head.bias.copy_(head.decoder.bias)


def resaved(model, folder, rename, **others):
    """As `.bin`, with the names and buffers that files of old have."""
    pickled(model, folder)
    weights = {rename(name): weight for name, weight in model.state_dict().items()}
    torch.save({**weights, **others}, folder / "pytorch_model.bin")


def bert_of_old(model, folder):
    def rename(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    resaved(model, folder, rename, **{"bert.embeddings.position_ids": torch.arange(24)[None]})


def gpt2_of_old(model, folder):
    """As the Hub has it: without the prefix, with the causal mask, and the output layer left out."""
    buffers = {f"h.{layer}.attn.bias": torch.ones(1, 1, 24, 24).tril() for layer in range(2)}
    buffers |= {f"h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(2)}
    resaved(model, folder, lambda name: name.removeprefix("transformer."), **buffers)


def llama_of_old(model, folder):
    """With saved frequencies, and what `rope_parameters` was once."""
    frequencies = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)}
    resaved(model, folder, lambda name: name, **frequencies)
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "linear", "factor": rope["factor"]}}
    (folder / "config.json").write_text(json.dumps(config))


BERTS = [
    bert("encoder and pooler", config={"hidden_act": "relu", "type_vocab_size": 3}),
    bert("odd sizes", config={"hidden_size": 35, "num_attention_heads": 5, "intermediate_size": 17, "vocab_size": 29}),
    bert("masked", BertForMaskedLM, {"hidden_act": "gelu_new"}),
    bert("masked, untied", BertForMaskedLM, {"tie_word_embeddings": False}, prepare=one_output_bias),
    bert("masked, shards", BertForMaskedLM, save=sharded),
    bert("sequences", BertForSequenceClassification, {"num_labels": 3, "layer_norm_eps": 1e-3}),
    bert("sequences, old bin", BertForSequenceClassification, {"type_vocab_size": 1}, save=bert_of_old),
    bert("tokens", BertForTokenClassification, {"num_labels": 5, "hidden_act": "swish"}),
    bert("questions", BertForQuestionAnswering),
]
LANGUAGE_MODELS = [
    gpt2("tied"),
    gpt2("untied", config={"tie_word_embeddings": False, "n_inner": 20, "activation_function": "relu"}),
    gpt2("odd sizes", config={"n_embd": 35, "n_head": 5, "vocab_size": 29, "layer_norm_epsilon": 1e-3}),
    gpt2("shards", save=sharded),
    gpt2("old bin", save=gpt2_of_old),
    llama("tied", config={"tie_word_embeddings": True, "num_key_value_heads": 2}),
    llama("biases", config={"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1}),
    llama("head size", config={"head_dim": 6, "hidden_act": "gelu", "rms_norm_eps": 1e-3, "num_key_value_heads": 2}),
    llama("bin shards", save=pickled_shards),
    llama("old bin", config={"rope_parameters": ROPES["linear"]}, save=llama_of_old),
    *(llama(f"rope {name}", config={"rope_parameters": {"rope_theta": 100.0, **ROPES[name]}}) for name in ROPES),
]
OTHERS = [gpt2("without head", GPT2Model), llama("without head", LlamaModel, {"num_key_value_heads": 2})]


@parametrized([*BERTS, *LANGUAGE_MODELS, *OTHERS])
def test_there_and_back(case, tmp_path):
    assert_there_and_back(case, tmp_path)
    theirs, back = (AutoConfig.from_pretrained(tmp_path / folder).to_dict() for folder in ("theirs", "back"))
    changed = {name for name, value in theirs.items() if name not in back or back[name] != value}
    assert changed <= {"_name_or_path", "n_inner", "rope_parameters"}
    if "rope_parameters" in theirs:
        rope = {name: value for name, value in theirs["rope_parameters"].items() if name != "type"}
        if rope["rope_type"] != "proportional":
            rope.pop("partial_rotary_factor", None)  # which Llama ignores
        assert back["rope_parameters"] == rope
    assert not {"auto_map", "locant_code"} & back.keys()
    assert not list((tmp_path / "back").glob("*.py"))


@torch.no_grad()
def left_padded(model, sequences, **positions):
    """Logits of real tokens of a batch that is padded on the left."""
    ids, mask = (tensor.flip(1) for tensor in batch([sequence[::-1] for sequence in sequences]))
    if positions:
        positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    return model(ids, attention_mask=mask, **positions).logits[mask.bool()]


@torch.no_grad()
def generated(model, **options):
    ids, mask = (tensor.flip(1) for tensor in batch([sequence[::-1] for sequence in SENTENCES]))
    options = {"max_new_tokens": 10, "no_repeat_ngram_size": 2, "suppress_tokens": [0], **options}
    return model.generate(ids, attention_mask=mask, do_sample=False, **options).tolist()


@pytest.fixture
def pair(request, tmp_path):
    """A model of theirs, and ours that it was converted to."""
    theirs = request.param.model()
    request.param.save(theirs, tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours")
    return theirs, load(tmp_path / "ours")


def pairs(cases):
    return pytest.mark.parametrize("pair", [pytest.param(case, id=case.name) for case in cases], indirect=True)


@pytest.mark.sampled(2)
@pairs([case for case in LANGUAGE_MODELS if "bin" not in case.name])
def test_batches_padded_on_the_left(pair):
    """Prompts of several lengths, which grow beyond the length that rope types scale from."""
    theirs, ours = pair
    expected = left_padded(theirs, SENTENCES, positions=True)
    torch.testing.assert_close(left_padded(ours, SENTENCES), expected, atol=1e-5, rtol=1e-5)
    for options in ({"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 2}):
        expected = generated(theirs, **options)
        assert generated(ours, **options) == expected
        assert len({tuple(row[-10:]) for row in expected}) > 1


@pytest.mark.sampled(2)
@pairs([case for case in LANGUAGE_MODELS if "rope" in case.name])
@torch.no_grad()
def test_lengths_beyond_the_original_one_and_back(pair):
    theirs, ours = pair
    near, far = torch.randint(3, 24, (2, 5)), torch.randint(3, 24, (2, 40))
    for ids in (near, far, near, far[:, :23], far[:, :30]):
        expected = theirs(ids).logits
        torch.testing.assert_close(ours(ids).logits, expected, atol=1e-5, rtol=1e-5)
        assert expected.std() > 0.1
    # dynamic and longrope turn with the longest seen: what was near is no longer what it was among far ones
    if "dynamic" in ours.config.rope_parameters["rope_type"] or "longrope" in ours.config.rope_parameters["rope_type"]:
        assert not torch.allclose(theirs(far).logits[:, :5], theirs(far[:, :5]).logits, atol=1e-3)


class TestBert:
    def test_a_bare_encoder_may_have_no_pooler(self, tmp_path):
        case = bert("bare", build=lambda cls, config: cls(config, add_pooling_layer=False))
        theirs = case.model()
        theirs.save_pretrained(tmp_path / "theirs")
        convert(tmp_path / "theirs", tmp_path / "ours")
        ours = load(tmp_path / "ours")
        assert isinstance(ours, LocantEncoderModel)
        assert_same(ours, theirs, "text")
        assert torch.equal(
            ours(torch.tensor([SENTENCES[0]])).pooler_output, ours(torch.tensor([SENTENCES[0]]))[0][:, 0]
        )
        convert(tmp_path / "ours", tmp_path / "back", to="bert")
        back = BertModel.from_pretrained(tmp_path / "back", add_pooling_layer=False)
        assert_same_weights(theirs, back, is_exact=True)
        assert stored(tmp_path / "back").keys() == stored(tmp_path / "theirs").keys()

    def test_the_head_for_pairs_of_sentences_is_left_behind_when_told(self, tmp_path):
        theirs = bert("two heads", BertForPreTraining).model()
        theirs.save_pretrained(tmp_path / "theirs")
        with pytest.raises(SharingError) as error:
            convert(tmp_path / "theirs", tmp_path / "ours")
        assert "cls.seq_relationship.weight" in str(error.value) and "bert.pooler.dense.bias" in str(error.value)
        [command] = str(error.value).split("--drop ")[1:]
        convert(tmp_path / "theirs", tmp_path / "ours", drop=command.split())
        ids, mask = batch(SENTENCES)
        with torch.no_grad():
            expected = theirs(ids, attention_mask=mask).prediction_logits[mask.bool()]
            logits = load(tmp_path / "ours")(ids, attention_mask=mask).logits[mask.bool()]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        convert(tmp_path / "ours", tmp_path / "back", to="bert")
        back, left = stored(tmp_path / "back"), stored(tmp_path / "theirs")
        assert {name for name in left if name not in back} == {
            f"{name}.{kind}" for name in ("cls.seq_relationship", "bert.pooler.dense") for kind in ("weight", "bias")
        }
        assert all(torch.equal(left[name], weight) for name, weight in back.items())

    def test_token_types(self, tmp_path):
        theirs = bert("types", config={"type_vocab_size": 3}).model()
        theirs.save_pretrained(tmp_path / "theirs")
        convert(tmp_path / "theirs", tmp_path / "ours")
        inputs = {"input_ids": torch.tensor([[5, 6, 7, 8]]), "token_type_ids": torch.tensor([[0, 1, 2, 1]])}
        with torch.no_grad():
            expected, states = theirs(**inputs)[0], load(tmp_path / "ours")(**inputs)[0]
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)

    def test_ours_without_an_output_bias_gets_one_of_zeros(self, tmp_path, random_model, tokenizer):
        fields = {"norm_eps": 1e-12, "embedding_norm": True, "type_vocab_size": 2, "position_encoding": "learned"}
        ours = random_model(LocantForMaskedLM, **fields, scale_embedding=False, max_position_embeddings=32)
        ours.save_pretrained(tmp_path / "ours")
        tokenizer.save_pretrained(tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "theirs", to="bert")
        theirs = load(tmp_path / "theirs")
        assert isinstance(theirs, BertForMaskedLM)
        assert "ocant" not in (tmp_path / "theirs" / "tokenizer_config.json").read_text()
        text = "the fox sees the king"
        assert AutoTokenizer.from_pretrained(tmp_path / "theirs")(text).data == tokenizer(text).data
        assert not theirs.cls.predictions.decoder.bias.any()
        assert_same(ours, theirs, "text")


class TestWhatElseAConfigSays:
    def test_of_bert(self, tmp_path):
        config = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.4}
        config |= {"initializer_range": 0.05, "problem_type": "single_label_classification", **NAMES, "eos_token_id": 7}
        ours = self.converted(bert("labels", BertForSequenceClassification, config), tmp_path)
        assert (ours.dropout, ours.attention_dropout, ours.classifier_dropout) == (0.3, 0.2, 0.4)
        assert (ours.initializer, ours.initializer_range) == ("normal", 0.05)
        assert (ours.id2label, ours.label2id) == (NAMES["id2label"], NAMES["label2id"])
        assert (ours.problem_type, ours.eos_token_id) == ("single_label_classification", 7)

    def test_of_gpt2(self, tmp_path):
        config = {"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.2, "initializer_range": 0.05}
        ours = self.converted(gpt2("dropout", config={**config, "eos_token_id": 9}), tmp_path)
        assert (ours.dropout, ours.attention_dropout, ours.initializer_range) == (0.3, 0.2, 0.05)
        assert (ours.pad_token_id, ours.bos_token_id, ours.eos_token_id) == (0, 1, 9)

    def test_of_llama(self, tmp_path):
        config = {"attention_dropout": 0.2, "initializer_range": 0.05, "eos_token_id": [7, 9], "pad_token_id": None}
        ours = self.converted(llama("tokens", config=config), tmp_path)
        assert (ours.dropout, ours.attention_dropout, ours.initializer_range) == (0.0, 0.2, 0.05)
        assert (ours.pad_token_id, ours.bos_token_id, ours.eos_token_id) == (None, 1, [7, 9])

    def converted(self, case, tmp_path):
        """Our config, which comes back as it was."""
        theirs = case.model()
        theirs.save_pretrained(tmp_path / "theirs")
        convert(tmp_path / "theirs", tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "back", to=theirs.config.model_type)
        back = AutoConfig.from_pretrained(tmp_path / "back").to_dict()
        for name, value in theirs.config.to_dict().items():
            if name not in ("_name_or_path", "n_inner"):
                assert back.get(name) == value, name
        return load(tmp_path / "ours").config

    def test_generation_config(self, tmp_path):
        theirs = gpt2("generation").model()
        theirs.generation_config.update(max_new_tokens=7, repetition_penalty=1.3)
        theirs.save_pretrained(tmp_path / "theirs")
        convert(tmp_path / "theirs", tmp_path / "ours")
        found = load(tmp_path / "ours").generation_config
        assert (found.max_new_tokens, found.repetition_penalty, found.eos_token_id) == (7, 1.3, 2)


class TestRefusals:
    """Before weights are looked for: there are none in these folders."""

    @pytest.mark.parametrize(
        "config, architecture, named",
        [
            (BertConfig(**SIZES, is_decoder=True, add_cross_attention=True), "BertModel", ["is_decoder", "add_cross_"]),
            (BertConfig(**SIZES), "BertLMHeadModel", ["BertLMHeadModel", "BertForMaskedLM", "BertModel"]),
            (BertConfig(**SIZES, position_embedding_type="relative_key"), "BertModel", ["position_embedding_type"]),
            (BertConfig(**{**SIZES, "type_vocab_size": 0}), "BertModel", ["type_vocab_size"]),
            (BertConfig(**SIZES, num_labels=3), "BertForQuestionAnswering", ["num_labels=3"]),
            (
                GPT2Config(
                    **GPT2,
                    scale_attn_by_inverse_layer_idx=True,
                    reorder_and_upcast_attn=True,
                    add_cross_attention=True,
                    scale_attn_weights=False,
                ),
                "GPT2LMHeadModel",
                ["scale_attn_by_inverse", "reorder_and_upcast", "add_cross_attention", "scale_attn_weights"],
            ),
            (GPT2Config(**GPT2), "GPT2DoubleHeadsModel", ["GPT2DoubleHeadsModel", "GPT2LMHeadModel", "GPT2Model"]),
            (LlamaConfig(**SIZES), "LlamaForSequenceClassification", ["LlamaForSequenceCl", "LlamaForCausalLM"]),
            (
                LlamaConfig(**SIZES, rope_parameters={**ROPES["linear"], "partial_rotary_factor": 0.5}),
                "LlamaForCausalLM",
                ["partial_rotary_factor=0.5", "linear"],
            ),
        ],
    )
    def test_of_theirs(self, tmp_path, config, architecture, named):
        config.architectures = [architecture]
        config.save_pretrained(tmp_path / "theirs")
        self.assert_refused(tmp_path, tmp_path / "theirs", None, named)

    def test_of_a_rope_type_that_llama_has_not(self, tmp_path):
        config = LlamaConfig(**SIZES, architectures=["LlamaForCausalLM"]).to_dict()
        (tmp_path / "theirs").mkdir()
        config["rope_parameters"] = {"rope_type": "axial", "rope_theta": 100.0}
        (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
        self.assert_refused(tmp_path, tmp_path / "theirs", None, ["axial"])

    @pytest.mark.parametrize(
        "family, fields, architecture, named",
        [
            (
                "bert",
                {"norm_type": "rmsnorm", "norm_position": "pre", "position_encoding": "rotary", "gated_ffn": True},
                "LocantForMaskedLM",
                ["norm_type", "norm_position", "position_encoding", "gated_ffn", "embedding_norm", "type_vocab_size"],
            ),
            (
                "bert",
                {"pooling": "mean", "sliding_window": 4, "encoder_key_value_heads": 2, "attention_bias": False},
                "LocantEncoderModel",
                ["pooling", "sliding_window", "encoder_key_value_heads", "attention_bias", "scale_embedding"],
            ),
            ("bert", {"num_labels": 5}, "LocantForQuestionAnswering", ["num_labels=5"]),
            ("bert", {}, "LocantForCausalLM", ["LocantForCausalLM", "LocantForMaskedLM"]),
            (
                "gpt2",
                {"position_encoding": "alibi", "norm_position": "post", "ffn_bias": False, "lm_head_bias": True},
                "LocantForCausalLM",
                ["position_encoding", "norm_position", "ffn_bias", "lm_head_bias", "scale_embedding"],
            ),
            (
                "gpt2",
                {"position_encoding": "learned", "position_parameters": {"learned": {"offset": 2}}, "head_dim": 6},
                "LocantDecoderModel",
                ["position_parameters", "head_dim"],
            ),
            (
                "llama",
                {"position_encoding": "rotary", "position_parameters": {"rotary": {"pairing": "interleaved"}}},
                "LocantForCausalLM",
                ["position_parameters", "norm_type", "norm_position", "gated_ffn", "scale_embedding"],
            ),
            (
                "llama",
                {"position_encoding": "rotary", "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
                "LocantForCausalLM",
                ["rope_parameters"],
            ),
        ],
    )
    def test_of_ours(self, tmp_path, family, fields, architecture, named):
        stacks = {"is_encoder_decoder": False, "is_decoder": family != "bert"}
        sizes = {"vocab_size": 24, "d_model": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
        LocantConfig(**sizes, **stacks, **fields, architectures=[architecture]).save_pretrained(tmp_path / "ours")
        self.assert_refused(tmp_path, tmp_path / "ours", family, named)

    def assert_refused(self, tmp_path, source, to, named):
        with pytest.raises(SharingError) as error:
            convert(source, tmp_path / "target", to=to)
        assert [name for name in named if name not in str(error.value)] == []
        assert not (tmp_path / "target").exists()


TEXTS = ["the cat sees the dog.", "the king hears an unaffable fox!", "Größe, naïve café", "1, 2, 42 and 1999"] * 3


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=80, special_tokens=special, show_progress=False)
    )
    return BertTokenizer(vocab=tokenizer.get_vocab(), model_max_length=24)


def byte_level():
    return GPT2Tokenizer().train_new_from_iterator(TEXTS, vocab_size=300)


def byte_fallback():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False)
    )
    model = json.loads(tokenizer.to_str())["model"]
    return LlamaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])


@pytest.mark.parametrize(
    "case, make",
    [(bert("", BertForMaskedLM), wordpiece), (gpt2(""), byte_level), (llama(""), byte_fallback)],
    ids=["BERT", "GPT-2", "Llama"],
)
def test_tokenizers_go_along(tmp_path, case, make):
    tokenizer, theirs = make(), case.model()
    theirs.resize_token_embeddings(len(tokenizer))
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back", to=theirs.config.model_type)
    texts = [*TEXTS[:4], "an unseen ☃ ox"]
    for folder in ("ours", "back"):
        found = AutoTokenizer.from_pretrained(tmp_path / folder)
        assert type(found) is type(tokenizer)
        assert found(texts).data == tokenizer(texts).data
        assert [found.decode(ids) for ids in found(texts).input_ids] == tokenizer.batch_decode(
            tokenizer(texts).input_ids
        )
        assert found.special_tokens_map == tokenizer.special_tokens_map
    assert len(set(map(tuple, tokenizer(texts).input_ids))) == 5


@pytest.mark.slow
def test_a_converted_model_is_trained_on_and_comes_back(tmp_path, toy):  # toy: for its cache of datasets
    tokenizer = wordpiece()
    theirs = bert("", BertForMaskedLM, {"vocab_size": len(tokenizer), "hidden_dropout_prob": 0.0}).model()
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours")
    rows = [{"text": f"the {noun} sees the fox.", "label": noun} for noun in ("cat", "dog", "king")] * 8
    for split in ("train", "validation", "test"):
        lines = [json.dumps(row) + "\n" for row in (rows if split == "train" else rows[:3])]
        (tmp_path / f"{split}.jsonl").write_text("".join(lines))
    training = {"num_train_epochs": 12, "per_device_train_batch_size": 8, "learning_rate": 0.003, "use_cpu": True}
    sections = {
        "task": "sequence_classification",
        "model": {"model_name_or_path": str(tmp_path / "ours")},
        "data": {f"{split}_file": str(tmp_path / f"{split}.jsonl") for split in ("train", "validation", "test")},
        "training": {**training, "disable_tqdm": True, "report_to": "none", "output_dir": str(tmp_path / "run")},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(sections))
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]["accuracy"] == 1.0
    convert(tmp_path / "run", tmp_path / "back", to="bert")
    back = load(tmp_path / "back")
    assert isinstance(back, BertForSequenceClassification)
    texts = tokenizer([row["text"] for row in rows[:3]], padding=True, return_tensors="pt")
    labels = [back.config.id2label[row] for row in back(**texts).logits.argmax(-1).tolist()]
    assert labels == ["cat", "dog", "king"]
