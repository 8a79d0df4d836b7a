# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
import json
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from locant import LocantConfig, LocantForCausalLM, LocantForConditionalGeneration, LocantModel
from locant.cli import main
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.hub.conversion.conversion import convert
from locant.hub.engines.ctranslate2_export import vocabulary
from locant.hub.engines.ctranslate2_model import CTranslate2Model
from locant.hub.engines.ctranslate2_positions import write
from locant.hub.engines.exporting import export
from locant.hub.errors import SharingError
from locant.modeling.positions import (
    DistanceBias,
    PositionEncoding,
    SlotIndex,
    build_position_encoding,
    register_position_encoding,
)
from locant.modeling.positions.base import _CLASSES
from locant.modeling.positions.t5 import t5_bucket
from locant.training.inference import InputError, translate

ctranslate2 = pytest.importorskip("ctranslate2")

pytestmark = pytest.mark.end_to_end

# What tokens may look like: no ASCII, quotes, byte-level spaces, CTranslate2's own mark between features
ODD_TOKENS = ["Ġthe", "Ċ", "▁mot", "￨", "été", '"', "\\", "日本", "<unused_3>", "a￨b"]
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *ODD_TOKENS, *(f"w{number}" for number in range(40))]
SHAPE = {
    "vocab_size": 60,  # more rows than tokens
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 48,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12}
LONGROPE = {
    "rope_type": "longrope",
    "factor": 2.0,
    "short_factor": [1.0] * 3,
    "long_factor": [2.0] * 3,
    "original_max_position_embeddings": 24,
}
CASES = {
    "defaults": {},
    "sinusoidal, concatenated": {"position_parameters": {"sinusoidal": {"layout": "concatenated"}}},
    "learned": {"position_encoding": "learned", "position_parameters": {"learned": {"offset": 2}}},
    "none": {"position_encoding": "none"},
    "t5": {"position_encoding": "t5", "position_parameters": {"t5": {"num_buckets": 8, "max_distance": 10}}},
    "alibi": {"position_encoding": "alibi", "position_parameters": {"alibi": {"max_bias": 5.0}}},
    "alibi, 6 heads": {"position_encoding": "alibi", "encoder_attention_heads": 6, "decoder_attention_heads": 6},
    "shaw": {"position_encoding": "shaw", "position_parameters": {"shaw": {"max_distance": 5}}},
    "shaw, keys alone": {"position_encoding": "shaw", "position_parameters": {"shaw": {"values": False}}},
    "rotary": {"position_encoding": "rotary"},
    "rotary, interleaved": {
        "position_encoding": "rotary",
        "position_parameters": {"rotary": {"pairing": "interleaved"}},
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    },
    "rotary, linear": {"position_encoding": "rotary", "rope_parameters": {"rope_type": "linear", "factor": 3.0}},
    "rotary, llama3": {"position_encoding": "rotary", "rope_parameters": LLAMA3},
    "rotary, yarn, partial": {
        "position_encoding": "rotary",
        "head_dim": 8,
        "rope_parameters": {**YARN, "partial_rotary_factor": 0.5},
    },
    "rotary and alibi": {"position_encoding": "rotary", "decoder_position_encoding": "alibi"},
    "learned and shaw": {"position_encoding": "learned", "decoder_position_encoding": "shaw"},
    "none and rotary": {"position_encoding": "none", "decoder_position_encoding": "rotary"},
    "pre-norm, RMSNorm, gated, no biases": {
        "norm_position": "pre",
        "norm_type": "rmsnorm",
        "norm_eps": 1e-3,
        "gated_ffn": True,
        "activation_function": "silu",
        "attention_bias": False,
        "ffn_bias": False,
    },
    "grouped heads": {
        "position_encoding": "rotary",
        "encoder_key_value_heads": 2,
        "decoder_key_value_heads": 2,
        "norm_position": "pre",
    },
    "one key-value head": {"encoder_key_value_heads": 1, "decoder_key_value_heads": 1, "position_encoding": "shaw"},
    "stacks that differ": {
        "encoder_layers": 1,
        "decoder_layers": 3,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 6,
        "position_encoding": "t5",
    },
    "heads wider than the model": {"head_dim": 10, "attention_bias": False},
    "embedding_norm and types": {"embedding_norm": True, "type_vocab_size": 2, "scale_embedding": False},
    "types, scaled": {"type_vocab_size": 2},
    "nothing tied": {
        "share_encoder_decoder_embeddings": False,
        "tie_word_embeddings": False,
        "lm_head_bias": True,
    },
    **{
        name: {"activation_function": name, "norm_position": "pre"}
        for name in ("gelu", "gelu_new", "quick_gelu", "tanh", "sigmoid")
    },
}


@dataclass(frozen=True)
class LogBias(DistanceBias):
    slopes: torch.Tensor

    def of_distance(self, head, distance):
        return -self.slopes[head] * torch.log1p(distance.abs().float())


class LogEncoding(PositionEncoding):
    def __init__(self, config, kind="encoder"):
        super().__init__(config, kind)
        self.slopes = nn.Parameter(torch.ones(config.heads_at(kind)))

    @classmethod
    def bias_types(cls, config):
        return frozenset({"pointwise"})

    def forward(self, hidden_states, position_ids, position_bound):
        return hidden_states, self.slopes

    def shared_bias(self, position, index):
        return LogBias(index, position)


@pytest.fixture(scope="module")
def tokenizer():
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def random_translator(**fields):
    """Weights so large that what comes out depends on what goes in."""
    torch.manual_seed(11)
    model = LocantForConditionalGeneration(LocantConfig(**{**SHAPE, **fields})).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            is_norm = values.ndim == 1 and name.endswith("norm.weight")
            values.copy_(torch.randn(values.shape) * (0.3 if is_norm or values.ndim == 1 else 0.4) + float(is_norm))
    return model


@pytest.fixture
def save(tmp_path, tokenizer):
    def save_to(model, name="model", with_tokenizer=True):
        model.save_pretrained(tmp_path / name)
        if with_tokenizer:
            tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return save_to


def batch(length=11):
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(4, len(WORDS), (4, length), generator=generator)
    mask = torch.ones_like(ids)
    for row, end in enumerate((length, length - 1, length // 2, 3)):
        ids[row, end - 1], ids[row, end:], mask[row, end:] = 2, 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def expected(model, inputs, **options):
    """Sequences without padding at their ends, and their scores, as transformers finds them."""
    options |= {"return_dict_in_generate": True, "output_scores": True, "early_stopping": True}
    if options["num_beams"] == 1:
        del options["early_stopping"]
    found = model.generate(**inputs, **options)
    scores = found.get("sequences_scores")
    if scores is None:
        steps = model.compute_transition_scores(found.sequences, found.scores, normalize_logits=True)
        scores = steps.nan_to_num(neginf=0.0).sum(dim=1)
    return [row.tolist() for row in found.sequences], scores


def without_padding(rows):
    return [row[: row.index(2) + 1] if 2 in row else row for row in rows]


BEAMS = {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.7}
SEARCHES = (
    {"num_beams": 1, "forced_eos_token_id": 2},
    BEAMS,
    # the start token is one of transformers' n-grams and none of CTranslate2's: it must not come again
    {"num_beams": 2, "no_repeat_ngram_size": 2, "bad_words_ids": [[1]], "renormalize_logits": True},
)


def compare(model, engine, inputs, searches=(BEAMS,)):
    for options in searches:
        options = {**options, "max_new_tokens": 16}
        rows, scores = expected(model, inputs, **options)
        found = engine.generate(**inputs, **options, output_scores=True)
        assert without_padding([row.tolist() for row in found.sequences]) == without_padding(rows)
        if options["num_beams"] > 1:
            torch.testing.assert_close(found.sequences_scores, scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES.keys())
def test_searches_find_what_transformers_finds(fields, save, tmp_path):
    model = random_translator(**fields)
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    compare(model, engine, batch(), (BEAMS,) if fields else SEARCHES)  # all searches with the defaults


def test_workers_that_share_a_batch_find_what_one_worker_finds(save, tmp_path, monkeypatch):
    folder = export(save(random_translator()), tmp_path / "engine")
    options = {**batch(), "num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 16, "output_scores": True}
    one = CTranslate2Model(folder, device="cpu").generate(**options)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    engine = CTranslate2Model(folder, device="cpu")
    assert engine.translator.num_translators == 3
    batches, translate_batch = [], engine.translator.translate_batch
    engine.translator = SimpleNamespace(
        translate_batch=lambda *args, **search: batches.append(search) or translate_batch(*args, **search)
    )
    several = engine.generate(**options)
    assert [search["max_batch_size"] for search in batches] == [2]  # four sentences for three workers
    assert several.sequences.tolist() == one.sequences.tolist()
    torch.testing.assert_close(several.sequences_scores, one.sequences_scores)


def test_greedy_scores_are_sums_of_log_probabilities(save, tmp_path, tokenizer):
    model = random_translator(position_encoding="rotary")
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    sentences = ["w1 w2 w3 Ġthe", "", "été ￨ 日本 w7 w8 w9 w10", "w11"]
    ours = translate(model, tokenizer, sentences, max_new_tokens=9, show_progress=False)
    theirs = translate(engine, tokenizer, sentences, max_new_tokens=9, show_progress=False)
    assert [best.text for best, *_ in theirs] == [best.text for best, *_ in ours]
    assert [best.score for best, *_ in theirs] == pytest.approx([best.score for best, *_ in ours], abs=1e-4)


@pytest.mark.parametrize(
    "restriction",
    [
        {"min_new_tokens": 6},
        {"no_repeat_ngram_size": 1},
        {"bad_words_ids": [[number] for number in range(5, 30)]},
        {"forced_eos_token_id": 2},
        {"min_new_tokens": 9, "forced_eos_token_id": 2},
        {"min_new_tokens": 6, "renormalize_logits": True},
    ],
    ids="-".join,
)
@pytest.mark.parametrize("num_beams", [1, 3])
def test_scores_under_a_restriction_are_those_of_transformers(restricted, tokenizer, num_beams, restriction):
    model, engine = restricted
    options = {"num_beams": num_beams, "max_new_tokens": 9, "show_progress": False, **restriction}
    options |= {"early_stopping": True} if num_beams > 1 else {}
    sentences = ["w1 w2 w3 Ġthe", "w5", "été ￨ 日本 w7 w8 w9 w10", "w11"]
    pairs = [
        (best, other)
        for [best], [other] in zip(
            translate(model, tokenizer, sentences, **options),
            translate(engine, tokenizer, sentences, **options),
            strict=True,
        )
        if best.text == other.text  # beams are compared by the probabilities of what may be said
    ]
    assert len(pairs) >= (4 if num_beams == 1 else 3)
    assert [theirs.score for _, theirs in pairs] == pytest.approx([ours.score for ours, _ in pairs], abs=1e-4)


@pytest.fixture(scope="module")
def restricted(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("restricted")
    model = random_translator(position_encoding="rotary", lm_head_bias=True)
    with torch.no_grad():
        model.lm_head.bias[2] += 6  # so that a translation would often end at once
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return model, CTranslate2Model(export(folder / "model", folder / "engine"), device="cpu")


@pytest.mark.parametrize("ends", [True, False])
def test_a_translation_that_fills_the_learned_positions_is_scored(save, tmp_path, tokenizer, ends):
    model = random_translator(position_encoding="learned", max_position_embeddings=12)
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    options = {"min_new_tokens": 12, "max_new_tokens": 12, "show_progress": False}
    options |= {"forced_eos_token_id": 2} if ends else {}
    [[ours]], [[theirs]] = (translate(each, tokenizer, ["w1 w2 w3"], **options) for each in (model, engine))
    assert ours.text == theirs.text
    expected = ours.score
    if not ends:  # the score is that of CTranslate2's search, which excludes the end token before the softmax
        inputs = tokenizer(["w1 w2 w3"], return_tensors="pt")
        tokens = engine.generate(inputs["input_ids"], inputs["attention_mask"], max_new_tokens=12, min_new_tokens=12)
        targets = tokens.sequences
        with torch.no_grad():
            logits = model(**inputs, decoder_input_ids=targets[:, :-1]).logits
        logits[..., 2] = -torch.inf
        expected = logits.log_softmax(-1).gather(-1, targets[:, 1:, None]).sum().item()
    assert theirs.score == pytest.approx(expected, abs=1e-4)


def test_max_length_counts_the_start_token(save, tmp_path):
    model, inputs = random_translator(), batch()
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    limits = {"num_beams": 1, "max_length": 6}
    found, expected = engine.generate(**inputs, **limits).sequences, model.generate(**inputs, **limits)
    assert found.tolist() == expected.tolist()
    assert found.shape[1] == 6


@pytest.mark.sampled(3)
@pytest.mark.parametrize("encoding", ["alibi", "t5", "none", "shaw", "rotary", "sinusoidal"])
def test_far_distances(encoding, save, tmp_path):
    """Longer than max_position_embeddings, where the encoding has no end."""
    model = random_translator(position_encoding=encoding, norm_position="pre")
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    compare(model, engine, batch(150))


@pytest.mark.parametrize("place", ["encoder", "decoder"])
def test_distances_beyond_those_with_a_bias_of_their_own_are_in_the_bucket_of_their_bias(place):
    """By T5's buckets, which CTranslate2 has: the far ones hold several distances, and the bias of one of these."""
    encoding = build_position_encoding(LocantConfig(**SHAPE, position_encoding="alibi"), place)
    attention = SimpleNamespace()
    write(encoding, SimpleNamespace(layer=[SimpleNamespace(self_attention=attention)]), SimpleNamespace())
    distances = torch.arange(-8000, 1 if place == "decoder" else 8001)
    biases, farthest = attention.relative_attention_bias, int(attention.relative_attention_max_distance)
    found = biases[t5_bucket(distances, place == "decoder", len(biases), farthest)]
    bias = encoding.shared_bias(encoding.slopes, SlotIndex(1, 1))
    expected = bias.of_distance(torch.arange(4)[None], distances[:, None])
    torch.testing.assert_close(found, expected, atol=0, rtol=1e-3)


@pytest.fixture
def logarithm():
    register_position_encoding("logarithm", LogEncoding)
    yield
    del POSITION_ENCODINGS["logarithm"], _CLASSES["logarithm"]


@pytest.mark.usefixtures("logarithm")
def test_an_encoding_from_outside_that_depends_on_distance(save, tmp_path):
    model = random_translator(position_encoding="logarithm")
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    compare(model, engine, batch())


FAMILY = {"vocab_size": 60, "d_model": 24, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
STACKS = {f"{stack}_{part}": 2 for stack in ("encoder", "decoder") for part in ("layers", "attention_heads")}


@pytest.mark.parametrize(
    "model_class, config",
    [
        (MarianMTModel, MarianConfig(**FAMILY, **STACKS, encoder_ffn_dim=32, decoder_ffn_dim=32)),
        (BartForConditionalGeneration, BartConfig(**FAMILY, **STACKS, encoder_ffn_dim=32, decoder_ffn_dim=32)),
        (T5ForConditionalGeneration, T5Config(**FAMILY, d_kv=8, num_heads=2, d_ff=32, num_layers=2)),
    ],
    ids=["marian", "bart", "t5"],
)
def test_converted_models_find_what_they_found_before(model_class, config, save, tmp_path):
    torch.manual_seed(1)
    model = model_class(config).eval()
    model.generation_config.forced_eos_token_id = None  # which in transformers has a say in which beam is best
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.ndim > 1 and "embed_positions" not in name:
                values.copy_(torch.randn(values.shape) * 0.5)
    run = convert(save(model), tmp_path / "converted")
    compare(model, CTranslate2Model(export(run, tmp_path / "engine"), device="cpu"), batch())


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("quantization", "share", "difference"),
    [
        ("int8", 0.3, 1.0),
        ("int8_float32", 0.3, 1.0),
        ("int16", 0.52, 0.1),
        ("float16", 0.51, 0.02),
        ("bfloat16", 0.51, 0.15),
    ],
)
def test_quantized_weights_are_smaller_and_nearly_the_same(quantization, share, difference, save, tmp_path):
    model = random_translator(position_encoding="rotary", rope_parameters=LLAMA3, d_model=64, vocab_size=64)
    run = save(model)
    whole = export(run, tmp_path / "whole") / "model.bin"
    folder = export(run, tmp_path / "engine", quantization=quantization)
    assert (folder / "model.bin").stat().st_size / whole.stat().st_size == pytest.approx(share, abs=0.02)
    engine = CTranslate2Model(folder, device="cpu", compute_type="float32")
    rows, scores = expected(model, batch(), num_beams=1, max_new_tokens=1)
    found = engine.generate(**batch(), num_beams=1, max_new_tokens=1, output_scores=True)
    assert found.sequences.tolist() == rows
    torch.testing.assert_close(found.sequences_scores, scores, atol=difference, rtol=0)


def test_the_folder_stands_alone(save, tmp_path, tokenizer):
    model = random_translator(position_encoding="learned")
    model.generation_config.update(num_beams=3, max_new_tokens=7)
    run = save(model)
    (run / "run_config.yaml").write_text("task: translation\ndata:\n  source_prefix: 'w5 '\n  train_file: secret\n")
    folder = export(run, tmp_path / "engine", quantization="int8")
    engine = CTranslate2Model(folder, device="cpu")
    assert engine.source_prefix == "w5 "
    assert engine.generation_config.num_beams == 3
    assert engine.config.to_diff_dict()["position_encoding"] == "learned"
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()
    assert not any("secret" in path.read_text() for path in folder.glob("*.json"))
    names = json.loads((folder / "config.json").read_text())
    assert "auto_map" not in names and not list(folder.glob("*.py"))
    assert names["decoder_start_token"] == "<s>" and names["ctranslate2"]["quantization"] == "int8"


def test_rows_without_a_token_get_names_of_their_own(tokenizer):
    tokens = vocabulary(tokenizer, 60)
    assert len(set(tokens)) == 60
    assert tokens[: len(WORDS)] == WORDS
    with pytest.raises(SharingError, match=r"token ids up to 53, but vocab_size is 50"):
        vocabulary(tokenizer, 50)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"position_encoding": "transformer_xl"}, "position_encoding='transformer_xl'"),
        ({"decoder_position_encoding": "transformer_xl"}, "decoder_position_encoding='transformer_xl'"),
        ({"cross_position_encoding": "rotary"}, "cross_position_encoding='rotary'"),
        ({"activation_function": "mish"}, "activation_function='mish'"),
        ({"sliding_window": 4}, "encoder_layer_types has sliding layers"),
        (
            {"sliding_window": 4, "encoder_layer_types": ["full_attention"] * 2},
            "decoder_layer_types has sliding layers",
        ),
        (
            {"position_encoding": "rotary", "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
            "rope_type='dynamic'",
        ),
        ({"position_encoding": "rotary", "rope_parameters": LONGROPE}, "rope_type='longrope'"),
        ({"eos_token_id": None}, "eos_token_id is not set"),
        ({"encoder_input": "patches", "image_size": 8, "patch_size": 4}, "encoder_input='patches'"),
    ],
)
def test_what_the_engine_has_not_is_refused_before_anything_is_read(fields, names, tmp_path, tokenizer):
    LocantConfig(**{**SHAPE, **fields}).save_pretrained(tmp_path / "run")  # no weights
    tokenizer.save_pretrained(tmp_path / "run")
    with pytest.raises(SharingError, match=names) as error:
        export(tmp_path / "run", tmp_path / "engine")
    assert str(error.value).count("\n") == 0 and str(error.value).endswith(".")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_other_models_and_folders_are_refused(save, tmp_path):
    run = save(LocantForCausalLM(LocantConfig(**SHAPE)))
    with pytest.raises(SharingError, match="is_encoder_decoder is false"):
        export(run, tmp_path / "engine")
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(SharingError, match="type 'bert', not a Locant model: locant convert"):
        export(tmp_path / "bert", tmp_path / "engine")
    run = save(LocantModel(LocantConfig(**SHAPE)), name="headless")
    with pytest.raises(SharingError, match="has no language modelling head"):
        export(run, tmp_path / "engine")
    run = save(random_translator(), name="bare", with_tokenizer=False)
    with pytest.raises(SharingError, match="has no tokenizer"):
        export(run, tmp_path / "engine")
    with pytest.raises(SharingError, match=r"quantization='int4' is not a type of weights in CTranslate2"):
        export(run, tmp_path / "engine", quantization="int4")
    with pytest.raises(SharingError, match=r"format='tflite'"):
        export(run, tmp_path / "engine", "tflite")
    with pytest.raises(SharingError, match=r"holds no model\.bin"):
        CTranslate2Model(run)
    assert not (tmp_path / "engine").exists()


def test_a_target_that_is_not_empty_is_left_as_it_is(save, tmp_path):
    run = save(random_translator())
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "mine").touch()
    with pytest.raises(SharingError, match="is not empty"):
        export(run, tmp_path / "engine")
    assert [path.name for path in (tmp_path / "engine").iterdir()] == ["mine"]
    (tmp_path / "engine" / "mine").unlink()
    export(run, tmp_path / "engine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine", "model"]


def test_half_a_checkpoint_leaves_no_folder(save, tmp_path):
    run = save(random_translator())
    with open(run / "model.safetensors", "r+b") as file:
        file.truncate(5000)
    with pytest.raises(SharingError, match=r"model cannot be loaded \(.*truncated or damaged"):
        export(run, tmp_path / "engine")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_search_options_without_a_counterpart_are_refused(save, tmp_path):
    engine = CTranslate2Model(export(save(random_translator()), tmp_path / "engine"), device="cpu")
    for name, value in {"do_sample": True, "num_beam_groups": 2, "repetition_penalty": 1.3}.items():
        with pytest.raises(SharingError, match=f"search option {name} "):
            engine.generate(**batch(), **{name: value})
    engine.generate(**batch(), do_sample=False, max_length=5, repetition_penalty=1.0, num_beam_groups=1, top_k=50)


def test_a_length_penalty_of_0_leaves_scores_as_sums(save, tmp_path):
    model = random_translator()
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    compare(model, engine, batch(), ({**BEAMS, "length_penalty": 0.0},))


def test_end_tokens_may_be_given(save, tmp_path):
    model, inputs = random_translator(), batch()
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    options = {"num_beams": 1, "max_new_tokens": 16}
    whole = model.generate(**inputs, **options)
    third = whole[0, 3].item()
    for ends in (third, [2, third]):
        expected = model.generate(**inputs, **options, eos_token_id=ends)
        assert engine.generate(**inputs, **options, eos_token_id=ends).sequences.tolist() == expected.tolist()
        assert expected[0].tolist() != whole[0, : expected.shape[1]].tolist()


@pytest.mark.parametrize(("device", "kind", "index"), [("cuda:1", "cuda", 1), ("cuda", "cuda", 0), ("cpu", "cpu", 0)])
def test_one_gpu_of_several_may_be_chosen(tmp_path, monkeypatch, device, kind, index):
    calls = []

    def load(folder, **options):
        calls.append(options)
        raise RuntimeError("there is no such GPU")

    monkeypatch.setattr(ctranslate2, "Translator", load)
    (tmp_path / "model.bin").touch()
    with pytest.raises(SharingError, match="there is no such GPU"):
        CTranslate2Model(tmp_path, device=device)
    assert [(options["device"], options["device_index"]) for options in calls] == [(kind, index)]


def test_search_options_of_the_generation_config_are_checked_at_the_export(save, tmp_path):
    model = random_translator()
    model.generation_config.forced_bos_token_id = 3
    with pytest.raises(SharingError, match="search option forced_bos_token_id "):
        export(save(model), tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_the_start_token_is_that_of_the_generation_config(save, tmp_path):
    model = random_translator()
    model.generation_config.decoder_start_token_id = 5
    engine = CTranslate2Model(export(save(model), tmp_path / "engine"), device="cpu")
    compare(model, engine, batch())
    assert set(engine.generate(**batch(), max_new_tokens=4).sequences[:, 0].tolist()) == {5}
    with pytest.raises(SharingError, match="decoder_start_token_id=1, but the exported model always starts with 5"):
        engine.generate(**batch(), decoder_start_token_id=1)


def test_fields_of_ctranslate2_are_not_warned_of(save, tmp_path, caplog):
    model = random_translator(position_encoding="alibi")
    folder = export(save(model), tmp_path / "engine")
    caplog.clear()
    engine = CTranslate2Model(folder, device="cpu")
    AutoTokenizer.from_pretrained(folder)  # reads the config too
    assert [record.getMessage() for record in caplog.records] == []
    of_code = {"architectures", "auto_map", "custom_pipelines", "dtype", "locant_code", "transformers_version"}
    differing = {name for name, value in model.config.to_dict().items() if engine.config.to_dict().get(name) != value}
    assert differing <= of_code


def test_a_source_beyond_the_table_is_refused(save, tmp_path, tokenizer):
    engine = CTranslate2Model(
        export(save(random_translator(position_encoding="learned")), tmp_path / "engine"), device="cpu"
    )
    with pytest.raises(InputError, match="51 tokens, but the model's position table ends at 48"):
        translate(engine, tokenizer, ["w1 " * 50], show_progress=False)
    (short,) = translate(engine, tokenizer, ["w1 " * 40], show_progress=False)  # 90 tokens, but for the table
    assert len(short[0].text.split()) <= 48


def test_commands(save, tmp_path, capsys):
    run = save(random_translator(position_encoding="alibi", norm_position="pre"))
    (tmp_path / "text").write_text("w1 w2 w3 w4\n\nw5 w6\n", encoding="utf-8")
    text, search = str(tmp_path / "text"), ["--max_new_tokens", "6", "--scores", "--no_progress"]

    def translated(model, *options):
        assert main(["translate", str(model), text, *search, *options]) == 0
        return [line.split("\t") for line in capsys.readouterr().out.splitlines()]

    assert main(["export", str(run), str(tmp_path / "engine"), "--quantization", "float32"]) == 0
    assert "holds the model for ctranslate2" in capsys.readouterr().out
    ours = translated(run)
    for model in (run, tmp_path / "engine"):
        theirs = translated(model, "--engine", "ctranslate2")
        assert [line for _, line in theirs] == [line for _, line in ours]
        assert [float(score) for score, _ in theirs] == pytest.approx([float(score) for score, _ in ours], abs=2e-4)
    int8 = translated(tmp_path / "engine", "--engine", "ctranslate2", "--compute_type", "int8")
    assert len(int8) == len(ours) and int8 != ours

    # the folder says which engine it is for
    assert translated(tmp_path / "engine") == theirs
    assert translated(tmp_path / "engine", "--compute_type", "int8") == int8
    assert main(["translate", str(tmp_path / "engine"), text, "--engine", "torch"]) == 2
    assert capsys.readouterr().err == (
        f"locant translate: error: {tmp_path / 'engine'} was exported for CTranslate2 and has no weights for PyTorch: "
        "leave --engine torch out, or give the folder of the original model.\n"
    )

    assert main(["translate", str(run), text, "--compute_type", "int8"]) == 2
    assert "--compute_type int8 is for --engine ctranslate2" in capsys.readouterr().err
    assert main(["export", str(run), str(tmp_path / "engine")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("locant export: error: ") and error.count("\n") == 1


def test_commands_that_score_find_what_the_model_finds(save, tmp_path, capsys):
    run = save(random_translator(position_encoding="rotary"))
    (tmp_path / "a").write_text("w1 w2 w3 w4\n\nw5 w6\n", encoding="utf-8")
    (tmp_path / "b").write_text("w7 w8\nw9\n\n", encoding="utf-8")
    assert main(["export", str(run), str(tmp_path / "engine")]) == 0

    def found(command, target, model, *options):
        files = ["--source", str(tmp_path / "a"), target, str(tmp_path / "b")]
        assert main([command, str(model), *files, "--no_progress", *options]) == 0
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    capsys.readouterr()
    for command, target in (("score", "--target"), ("evaluate", "--reference")):
        ours = found(command, target, run)
        for model, options in ((tmp_path / "engine", ()), (run, ("--engine", "ctranslate2"))):
            for line, expected in zip(found(command, target, model, *options), ours, strict=True):
                for word, known in zip(line, expected, strict=True):
                    assert word == known or float(word) == pytest.approx(float(known), rel=1e-3)


def test_a_folder_for_onnx_is_refused_by_the_name_of_its_engine(tmp_path, capsys):
    (tmp_path / "model.onnx").write_bytes(b"")
    for command in (["translate"], ["evaluate"]):
        assert main([*command, str(tmp_path)]) == 2
        assert f"{tmp_path} was exported for ONNX, which no command of Locant can run" in capsys.readouterr().err


@pytest.mark.slow
def test_importing_locant_imports_no_engine():
    code = """
import sys
import locant, locant.hub.engines.exporting, locant.commands.translate
print({"ctranslate2", "onnx", "onnxscript", "onnxruntime"} & {*sys.modules})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"ctranslate2": {}}'),
        ("config.json", '{"ctranslate2": {"source_prefix": "", "positions": {}}, "d_model": "x"}'),
        ("shared_vocabulary.json", "{"),
        ("generation_config.json", "{"),
    ],
)
def test_a_damaged_file_of_an_export_is_one_sentence(save, tmp_path, name, content):
    engine = export(save(random_translator()), tmp_path / "engine")
    (engine / name).write_text(content)
    with pytest.raises(SharingError, match=r"give the folder that locant export wrote|CTranslate2 does not load"):
        CTranslate2Model(engine, device="cpu")


def test_a_damaged_run_config_is_named(save, tmp_path):
    run = save(random_translator())
    (run / "run_config.yaml").write_text("data: [b\n")
    with pytest.raises(SharingError, match=r"run_config\.yaml cannot be read"):
        export(run, tmp_path / "engine")
