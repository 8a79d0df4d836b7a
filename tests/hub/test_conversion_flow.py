# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Around the weights of a conversion: tokenizers, generation, the Hub, the command line, training, memory, what is
refused, and that no incomplete folder is left."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
import torch
from huggingface_hub import HfApi, constants
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BartForSequenceClassification,
    BartTokenizer,
    GenerationConfig,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

import locant
from locant.checkpoints.checkpoint_files import CheckpointError
from locant.cli import main
from locant.hub.conversion.conversion import convert
from locant.hub.errors import SharingError

from .conversion_cases import assert_same, load, pickled, sharded, spread

SIZES = {"vocab_size": 24, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 32}
SIZES |= {f"{stack}_attention_heads": 2 for stack in ("encoder", "decoder")}
SIZES |= {f"{stack}_ffn_dim": 20 for stack in ("encoder", "decoder")}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
T5_SIZES = {"vocab_size": 24, "d_model": 16, "d_kv": 4, "d_ff": 20, "num_layers": 1, "num_heads": 2}
T5_SIZES |= {"decoder_start_token_id": 0}


def marian(**fields):
    model = MarianMTModel(MarianConfig(**{**SIZES, **TOKENS, **fields})).eval()
    spread(model)
    return model


def bart(**fields):
    model = BartForConditionalGeneration(BartConfig(**{**SIZES, **TOKENS, **fields})).eval()
    spread(model)
    return model


def t5(**fields):
    model = T5ForConditionalGeneration(T5Config(**{**T5_SIZES, **fields})).eval()
    spread(model)
    return model


@pytest.fixture
def theirs(tmp_path):
    """A saved Marian model."""
    marian().save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.fixture
def ours(theirs, tmp_path):
    """The same as a Locant model."""
    return convert(theirs, tmp_path / "ours")


def change_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def assert_refused(folder, *parts, error=SharingError, **options):
    """Converting `folder` says each of the parts in one sentence and leaves nothing behind."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(error) as caught:
        convert(folder, folder.parent / "target", **options)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(folder.parent.iterdir()) == before


class TestTokenizers:
    def sentencepiece_model(self, texts, **options):
        file = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts * 20),
            model_writer=file,
            vocab_size=80,
            hard_vocab_limit=False,
            minloglevel=2,
            **options,
        )
        return file.getvalue()

    def marian(self, texts, folder):
        for side in ("source", "target"):
            (folder / f"{side}.spm").write_bytes(self.sentencepiece_model(texts))
        pieces = sentencepiece.SentencePieceProcessor(str(folder / "source.spm"))
        names = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]
        names = ["</s>", "<unk>", *(name for name in names if name not in ("</s>", "<unk>", "<s>")), "<pad>"]
        (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
        files = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
        tokenizer = MarianTokenizer(*files, source_lang="en", target_lang="fr")
        ids = {"pad_token_id": len(names) - 1, "eos_token_id": 0, "decoder_start_token_id": len(names) - 1}
        return tokenizer, marian(vocab_size=len(names), bos_token_id=None, **ids)

    def bart(self, texts, folder):
        tokenizer = ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        tokenizer.train_from_iterator(texts, vocab_size=300, special_tokens=special, show_progress=False)
        tokenizer.save_model(str(folder))
        return BartTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")), bart(vocab_size=300)

    def t5(self, texts, folder):
        model = self.sentencepiece_model(texts, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
        (folder / "spiece.model").write_bytes(model)
        return T5Tokenizer.from_pretrained(folder, extra_ids=10), t5(vocab_size=128)

    @pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
    @pytest.mark.parametrize("family", ["marian", "bart", "t5"])
    def test_ids_are_the_same_on_all_sides(self, family, texts, tmp_path):
        (tmp_path / "files").mkdir()
        tokenizer, model = getattr(self, family)(texts, tmp_path / "files")
        for part in (model, tokenizer):
            part.save_pretrained(tmp_path / "theirs")
        expected = AutoTokenizer.from_pretrained(tmp_path / "theirs")
        convert(tmp_path / "theirs", tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "back", to=family)
        for folder in (tmp_path / "ours", tmp_path / "back"):
            found = AutoTokenizer.from_pretrained(folder)
            assert type(found) is type(expected)
            assert found(texts).input_ids == expected(texts).input_ids
            assert found(text_target=texts).input_ids == expected(text_target=texts).input_ids
            assert found.batch_decode(found(texts).input_ids, skip_special_tokens=True) == texts
        ids = expected(texts[0], return_tensors="pt").input_ids
        assert torch.equal(load(tmp_path / "ours").generate(ids), model.generate(ids))

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
    def test_a_missing_library_is_named(self, texts, tmp_path):
        (tmp_path / "files").mkdir()
        for part in self.marian(texts, tmp_path / "files"):
            part.save_pretrained(tmp_path / "theirs")
        script = """
import importlib.util, sys

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *others: None if name == "sentencepiece" else find_spec(name, *others)
sys.modules["sentencepiece"] = None
from locant.cli import main

sys.exit(main(["convert", sys.argv[1], sys.argv[2]]))
"""
        command = [sys.executable, "-c", script, str(tmp_path / "theirs"), str(tmp_path / "ours")]
        process = subprocess.run(command, capture_output=True, text=True)
        assert process.returncode == 2
        assert "sentencepiece, which is not installed: pip install" in process.stderr
        assert not (tmp_path / "ours").exists()

    def test_a_trained_tokenizer_goes_along(self, tokenizer, texts, ours, tmp_path):
        tokenizer.save_pretrained(ours)
        back = convert(ours, tmp_path / "back", to="marian")
        found = AutoTokenizer.from_pretrained(back)
        assert isinstance(found, PreTrainedTokenizerFast)
        assert found(texts).input_ids == tokenizer(texts).input_ids

    def test_added_special_tokens_leave_nothing_of_our_class(self, tokenizer, ours, tmp_path, caplog):
        tokenizer.add_special_tokens({"extra_special_tokens": ["<x>"]})
        tokenizer.save_pretrained(ours)
        back = convert(ours, tmp_path / "back", to="marian")
        assert "ocant" not in (back / "tokenizer_config.json").read_text()
        assert "does not skip the added special tokens <x>" in caplog.text


class TestGeneration:
    def test_its_config_goes_along(self, theirs, tmp_path):
        options = {"num_beams": 3, "bad_words_ids": [[5], [6, 7]], "forced_bos_token_id": 9, "max_length": 7}
        options |= {"decoder_start_token_id": 3, "forced_eos_token_id": 2, "no_repeat_ngram_size": 2}
        GenerationConfig(**options).save_pretrained(theirs)
        ours = convert(theirs, tmp_path / "ours")
        back = convert(ours, tmp_path / "back", to="marian")
        ids = torch.tensor([[5, 6, 7, 2]])
        expected = load(theirs).generate(ids)
        assert expected[0, :2].tolist() == [3, 9] and expected[0, -1] == 2
        for folder in (ours, back):
            model = load(folder)
            assert {name: getattr(model.generation_config, name) for name in options} == options
            assert torch.equal(model.generate(ids), expected)

    def test_what_a_model_config_says_of_it_goes_along(self, theirs, tmp_path):
        (theirs / "generation_config.json").unlink()
        change_config(theirs, forced_eos_token_id=7, num_beams=2, bad_words_ids=[[9]])  # as of old
        model = load(convert(theirs, tmp_path / "ours"))
        found = model.generation_config
        assert (found.forced_eos_token_id, found.num_beams, found.bad_words_ids) == (7, 2, [[9]])
        ids = torch.tensor([[5, 6, 7, 2]])
        assert model.generate(ids, max_new_tokens=3)[0, -1] in (2, 7)

    def test_settings_of_tasks_go_along(self, theirs, tmp_path):
        specific = {"summarization": {"prefix": "short: ", "num_beams": 2}}
        settings = {"task_specific_params": specific, "prefix": "text: "}
        change_config(theirs, **settings)
        ours = convert(theirs, tmp_path / "ours")
        for folder in (ours, convert(ours, tmp_path / "back", to="marian")):
            config = AutoConfig.from_pretrained(folder)
            assert {name: getattr(config, name) for name in settings} == settings

    def test_one_that_transformers_would_not_save(self, theirs):
        (theirs / "generation_config.json").write_text(json.dumps({"do_sample": False, "temperature": 0.5}))
        assert_refused(theirs, "generation_config.json", "is invalid")


class TestOptions:
    def test_dtype(self, theirs, tmp_path):
        ours = convert(theirs, tmp_path / "ours", dtype="bfloat16")
        assert load_file(ours / "model.safetensors")["lm_head.bias"].dtype == torch.bfloat16
        assert load(ours).dtype == torch.bfloat16
        with pytest.raises(SharingError, match="'int8' is not one of float32"):
            convert(theirs, tmp_path / "other", dtype="int8")

    @pytest.mark.parametrize("of_config, expected", [(None, torch.bfloat16), ("float16", torch.float16)])
    def test_without_a_dtype_that_of_the_config_or_the_files(self, theirs, tmp_path, of_config, expected):
        change_weights(theirs, lambda weights: weights.update({n: w.bfloat16() for n, w in weights.items()}))
        change_config(theirs, dtype=of_config)
        ours = convert(theirs, tmp_path / "ours")
        assert {weight.dtype for weight in load_file(ours / "model.safetensors").values()} == {expected}

    def test_max_shard_size(self, theirs, tmp_path):
        ours = convert(theirs, tmp_path / "ours", max_shard_size="2KB")
        assert len(list(ours.glob("*.safetensors"))) > 2
        assert_same(load(ours), load(theirs), "seq2seq")
        assert_refused(theirs, "'2 apples' is not a size", max_shard_size="2 apples")

    def test_drop(self, theirs, tmp_path):
        change_weights(theirs, lambda weights: weights.update({"extra.0.a": torch.ones(1), "other": torch.ones(1)}))
        assert_refused(theirs, "holds extra.0.a, other", "--drop extra.* other")
        assert_refused(theirs, "holds other,", drop="extra.*")
        assert_same(load(convert(theirs, tmp_path / "ours", drop=["extra.*", "other"])), marian(), "seq2seq")

    def test_a_pattern_that_drops_nothing(self, theirs):
        assert_refused(theirs, "No unused weight of the checkpoint matches fc3.*", drop="fc3.*")

    def test_what_is_needed_is_not_dropped(self, theirs):
        assert_refused(theirs, "No unused weight of the checkpoint matches lm_head*", drop="lm_head*")

    def test_tied_weights_are_stored_once(self, theirs, ours):
        names = load_file(ours / "model.safetensors").keys()
        assert [name for name in names if "embed_tokens" in name] == ["model.encoder.embed_tokens.weight"]
        assert "lm_head.weight" not in names

    def test_the_folder_carries_its_code(self, ours):
        assert "auto_map" in json.loads((ours / "config.json").read_text())
        assert (ours / "modeling_locant.py").exists()


class TestWeights:
    def test_missing_ones_are_named(self, theirs):
        names = ["model.encoder.layers.0.fc1.weight", "model.decoder.layers.0.encoder_attn.k_proj.bias"]
        change_weights(theirs, lambda weights: [weights.pop(name) for name in names])
        assert_refused(theirs, "lacks", *names, "MarianMTModel")

    def test_missing_embeddings_are_named(self, theirs):
        change_weights(theirs, lambda weights: weights.pop("model.shared.weight"))
        assert_refused(theirs, "lacks", "model.encoder.embed_tokens.weight")

    def test_reshaped_ones_are_named(self, theirs):
        change_config(theirs, encoder_ffn_dim=21)
        assert_refused(theirs, "model.encoder.layers.0.fc1.weight has the shape (20, 16) and not (21, 16)")

    def test_those_of_a_locant_model_too(self, ours):
        name = "model.decoder.layers.0.ffn.up_proj.weight"
        change_weights(
            ours, lambda weights: weights.update({name: weights[name].T.contiguous(), "more": weights[name]})
        )
        assert_refused(ours, "holds more", to="marian")
        assert_refused(ours, name, "(16, 20)", to="marian", drop="more")
        change_weights(ours, lambda weights: weights.pop(name))
        assert_refused(ours, name, "is missing", to="marian", error=CheckpointError)

    def test_nan_is_named(self, theirs):
        change_weights(theirs, lambda weights: weights["model.encoder.layers.0.fc1.bias"].fill_(float("nan")))
        assert_refused(theirs, "model.encoder.layers.0.fc1.bias", "NaN", error=CheckpointError)

    def test_no_weights(self, theirs):
        (theirs / "model.safetensors").unlink()
        assert_refused(theirs, "do not load", "no file named model.safetensors, or pytorch_model.bin")

    def test_a_damaged_file(self, theirs):
        file = theirs / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-10])
        assert_refused(theirs, "model.safetensors is truncated", error=CheckpointError)

    def test_positions_that_are_not_what_the_config_says(self, theirs):
        pickled(marian(), theirs)
        weights = torch.load(theirs / "pytorch_model.bin", weights_only=True)
        weights["model.encoder.embed_positions.weight"][3] += 1
        torch.save(weights, theirs / "pytorch_model.bin")
        assert_refused(theirs, "model.encoder.embed_positions.weight cannot be converted", "the stored numbers differ")

    def test_tied_ones_that_differ_become_two(self, theirs, tmp_path):
        table = torch.randn(24, 16)
        change_weights(theirs, lambda weights: weights.update({"model.encoder.embed_tokens.weight": table}))
        expected = MarianMTModel.from_pretrained(theirs).eval()
        ours = convert(theirs, tmp_path / "ours")
        assert not load(ours).config.share_encoder_decoder_embeddings
        for folder in (ours, convert(ours, tmp_path / "back", to="marian")):
            assert_same(load(folder), expected, "seq2seq")

    def test_without_its_bias_marian_has_none(self, theirs, tmp_path):
        change_weights(theirs, lambda weights: weights.pop("final_logits_bias"))
        ours = load(convert(theirs, tmp_path / "ours"))
        assert ours.lm_head.bias.abs().sum() == 0
        assert_same(ours, MarianMTModel.from_pretrained(theirs).eval(), "seq2seq")

    def test_an_output_layer_without_bias_becomes_one_of_zeros(self, random_model, tmp_path):
        fields = {"position_parameters": {"sinusoidal": {"layout": "concatenated"}}, "lm_head_bias": False}
        ours = random_model(locant.LocantForConditionalGeneration, **fields, pad_token_id=0, decoder_start_token_id=0)
        ours.save_pretrained(tmp_path / "ours")
        back = load(convert(tmp_path / "ours", tmp_path / "back", to="marian"))
        assert back.final_logits_bias.abs().sum() == 0
        assert_same(back, ours, "seq2seq")


class TestConfigs:
    @pytest.mark.parametrize(
        ("model", "fields", "parts"),
        [
            (marian, {"decoder_vocab_size": 30}, ["Marian", "decoder_vocab_size=30 (it would become 24)"]),
            (marian, {"is_decoder": True}, ["is_decoder=True"]),
            (marian, {"is_decoder": True, "decoder_vocab_size": 30}, ["is_decoder=True", "decoder_vocab_size=30"]),
            (marian, {"activation_function": "brand_new"}, ["Marian", "brand_new"]),
            (marian, {"encoder_attention_heads": 3}, ["encoder_attention_heads=3 does not divide d_model=16"]),
            (bart, {"is_decoder": True}, ["BART", "is_decoder=True"]),
            (t5, {"relative_attention_num_buckets": 30}, ["T5", "num_buckets must be a multiple of 4"]),
            (t5, {"relative_attention_max_distance": 16}, ["max_distance must be above half"]),
            (t5, {"feed_forward_proj": "gated-brand_new", "dense_act_fn": "brand_new"}, ["T5", "brand_new"]),
        ],
    )
    def test_of_theirs_that_cannot_be_expressed(self, model, fields, parts, tmp_path):
        model().save_pretrained(tmp_path / "theirs")
        change_config(tmp_path / "theirs", **fields)
        (tmp_path / "theirs" / "model.safetensors").write_bytes(b"never read")
        assert_refused(tmp_path / "theirs", *parts)

    @pytest.mark.parametrize(
        ("to", "fields", "parts"),
        [
            ("marian", {}, ["Marian", "position_parameters={'sinusoidal': {'layout': 'interleaved'}}"]),
            ("marian", {"norm_position": "pre", "gated_ffn": True}, ["norm_position='pre'", "gated_ffn=True"]),
            ("marian", {"position_encoding": "rotary"}, ["position_encoding='rotary' (it would become 'sinusoidal')"]),
            ("marian", {"encoder_key_value_heads": 1}, ["encoder_key_value_heads=1 (it would become 2)"]),
            ("marian", {"head_dim": 4, "norm_eps": 1e-6}, ["head_dim=4 (it would become 8)", "norm_eps=1e-06"]),
            ("marian", {"sliding_window": 4}, ["encoder_layer_types=['sliding_attention']", "sliding_window=4"]),
            ("marian", {"type_vocab_size": 2, "attention_bias": False}, ["type_vocab_size=2", "attention_bias=False"]),
            ("bart", {"position_encoding": "learned"}, ["BART", "embedding_norm=False", "'offset': 0"]),
            ("t5", {"position_encoding": "t5", "decoder_ffn_dim": 9}, ["T5", "decoder_ffn_dim=9", "norm_type='layer"]),
            (
                "t5",
                {"position_encoding": "t5", "cross_position_encoding": "alibi"},
                ["cross_position_encoding='alibi'"],
            ),
            ("t5", {"share_encoder_decoder_embeddings": False}, ["share_encoder_decoder_embeddings=False"]),
        ],
    )
    def test_of_ours_that_cannot_be_expressed(self, to, fields, parts, random_model, tmp_path):
        random_model(locant.LocantForConditionalGeneration, **fields).save_pretrained(tmp_path / "ours")
        (tmp_path / "ours" / "model.safetensors").write_bytes(b"never read")
        assert_refused(tmp_path / "ours", *parts, to=to)

    def test_an_adapter(self, tmp_path):
        BartForConditionalGeneration(BartConfig(**{**SIZES, **TOKENS})).save_pretrained(tmp_path / "theirs")
        (tmp_path / "theirs" / "adapter_config.json").write_text("{}")
        with pytest.raises(SharingError, match="holds an adapter: merge it into its model"):
            convert(tmp_path / "theirs", tmp_path / "ours")

    def test_all_fields_at_once(self, random_model, tmp_path):
        fields = {"norm_position": "pre", "gated_ffn": True, "ffn_bias": False, "position_encoding": "alibi"}
        random_model(locant.LocantForConditionalGeneration, **fields).save_pretrained(tmp_path / "ours")
        assert_refused(tmp_path / "ours", *fields, to="marian")

    def test_what_only_training_uses_is_no_obstacle(self, tmp_path, caplog):
        model = t5()
        model.save_pretrained(tmp_path / "theirs")
        ours = convert(tmp_path / "theirs", tmp_path / "ours")
        change_config(ours, attention_dropout=0.3, label_smoothing=0.1)
        back = convert(ours, tmp_path / "back", to="t5")
        assert "attention_dropout=0.3 (it would become 0.1)" in caplog.text
        assert "label_smoothing=0.1 (it would become 0.0)" in caplog.text
        assert_same(load(back), model, "seq2seq")

    def test_classes_without_a_counterpart(self, tmp_path, random_model):
        BartForSequenceClassification(BartConfig(**{**SIZES, **TOKENS})).save_pretrained(tmp_path / "theirs")
        assert_refused(tmp_path / "theirs", "BartForSequenceClassification", "BartModel")
        random_model(locant.LocantForCausalLM).save_pretrained(tmp_path / "ours")
        assert_refused(tmp_path / "ours", "LocantForCausalLM", "Marian", to="marian")

    def test_a_config_that_names_no_class(self, theirs):
        change_config(theirs, architectures=None)
        assert_refused(theirs, "names no class", '"architectures"')

    @pytest.mark.parametrize(
        ("fields", "parts"),
        [
            ({"model_type": "xlnet"}, ["'xlnet'", "marian"]),
            ({"model_type": None, "architectures": ["Strange"]}, ["None"]),
            ({"d_model": "wide"}, ["config.json", "d_model"]),
            ({"encoder_layers": 10**7}, ["encoder_layers"]),
            ({"d_model": 10**12}, ["d_model"]),
            ({"vocab_size": -5}, ["vocab_size"]),
            ({"num_labels": 10**9}, ["num_labels=1000000000"]),
        ],
    )
    def test_configs_that_are_none_of_ours(self, fields, parts, theirs):
        change_config(theirs, **fields)
        assert_refused(theirs, *parts)

    def test_the_family_is_recognised_by_the_class_alone(self, theirs, tmp_path):
        config = json.loads((theirs / "config.json").read_text())
        del config["model_type"]
        (theirs / "config.json").write_text(json.dumps(config))
        assert load(convert(theirs, tmp_path / "ours")).config.model_type == "locant"

    def test_a_broken_file(self, theirs):
        (theirs / "config.json").write_text("{")
        assert_refused(theirs, "config.json", error=CheckpointError)

    def test_no_config(self, theirs):
        (theirs / "config.json").unlink()
        assert_refused(theirs, "holds no config.json")

    def test_directions(self, theirs, ours):
        assert_refused(theirs, "leave out --to", to="bart")
        assert_refused(ours, "give the family to convert it to, with --to")
        assert_refused(ours, "cannot be converted to 'xlnet': choose", to="xlnet")


class TestTarget:
    def test_one_that_holds_something_is_not_touched(self, tmp_path):
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "mine").write_text("precious")
        with pytest.raises(SharingError, match="target is not empty"):  # before the source is looked at
            convert(tmp_path / "nowhere", tmp_path / "target")
        assert [path.name for path in (tmp_path / "target").iterdir()] == ["mine"]
        with pytest.raises(SharingError, match="mine is a file"):
            convert(tmp_path / "nowhere", tmp_path / "target" / "mine")

    def test_an_empty_one_is_filled(self, theirs, tmp_path):
        (tmp_path / "ours").mkdir()
        assert load(convert(theirs, tmp_path / "ours"))

    def test_folders_on_the_way_are_made(self, theirs, tmp_path):
        assert load(convert(theirs, tmp_path / "new" / "newer" / "ours"))

    @pytest.mark.parametrize("step", ["save_pretrained", "from_pretrained"])
    def test_nothing_stays_of_an_interrupted_conversion(self, step, theirs, tmp_path, monkeypatch, tokenizer):
        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        tokenizer.save_pretrained(theirs)
        monkeypatch.setattr(PreTrainedTokenizerFast, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert(theirs, tmp_path / "ours")
        assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


class TestCommandLine:
    def test_there_and_back(self, theirs, tmp_path, capsys):
        assert main(["convert", str(theirs), str(tmp_path / "ours"), "--max_shard_size", "3KB"]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'ours'}\n"
        assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back"), "--to", "marian"]) == 0
        assert_same(load(tmp_path / "back"), load(theirs), "seq2seq")

    def test_errors_are_one_sentence(self, theirs, tmp_path, capsys):
        change_weights(theirs, lambda weights: weights.update(a=torch.ones(1), b=torch.ones(1)))
        command = ["convert", str(theirs), str(tmp_path / "ours")]
        assert main(command) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("locant convert: error: The checkpoint holds a, b")
        assert main([*command, "--drop", "a", "--drop", "b"]) == 0

    def test_a_name_that_is_neither_a_folder_nor_on_the_hub(self, hub, tmp_path, capsys):
        parts = {"./nowhere": "There is no folder ./nowhere", "me/nothing": "me/nothing is neither a local folder"}
        for name, part in parts.items():
            assert main(["convert", name, str(tmp_path / "ours")]) == 2
            assert part in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.end_to_end
class TestHub:
    def upload(self, folder, repo="me/theirs", **options):
        HfApi().create_repo(repo, exist_ok=True, **options)
        HfApi().upload_folder(repo_id=repo, folder_path=folder)

    def test_only_what_is_needed_is_downloaded(self, hub, theirs, tmp_path, tokenizer):
        sharded(marian(), theirs)
        (theirs / "model.safetensors").unlink(missing_ok=True)
        tokenizer.save_pretrained(theirs)
        for name in ("pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "onnx/config.json"):
            (theirs / name).parent.mkdir(exist_ok=True)
            (theirs / name).write_bytes(b"unread")
        self.upload(theirs)
        ours = convert("me/theirs", tmp_path / "ours")
        assert_same(load(ours), marian(), "seq2seq")
        assert AutoTokenizer.from_pretrained(ours)("the fox").input_ids == tokenizer("the fox").input_ids
        asked = [request.path for request in hub.requests if "/resolve/" in request.path]
        assert not [path for path in asked if path.endswith((".bin", ".h5", ".onnx"))]

    def test_weights_of_what_is_refused_are_not_downloaded(self, hub, theirs, tmp_path):
        change_config(theirs, is_decoder=True)
        self.upload(theirs)
        with pytest.raises(SharingError, match="is_decoder=True"):
            convert("me/theirs", tmp_path / "ours")
        assert not [request for request in hub.requests if "safetensors" in request.path and request.method == "GET"]

    def test_private_ones_need_a_token(self, hub, theirs, tmp_path):
        self.upload(theirs, private=True)
        with pytest.raises(SharingError, match="me/theirs is neither"):
            convert("me/theirs", tmp_path / "ours", token="hf_somebody")
        assert load(convert("me/theirs", tmp_path / "ours", token="hf_me"))

    def test_a_revision(self, hub, theirs, tmp_path):
        self.upload(theirs)
        first = hub.repositories["me/theirs"].resolve("main").oid
        change_weights(theirs, lambda weights: weights["final_logits_bias"].fill_(9.0))
        self.upload(theirs)
        for revision, is_first in ((first, True), (None, False)):
            ours = load(convert("me/theirs", tmp_path / str(revision), revision=revision))
            assert (ours.lm_head.bias.max() < 9) == is_first

    @pytest.mark.parametrize("save", [sharded, pickled])
    def test_a_cached_repository_needs_no_hub(self, save, hub, theirs, tmp_path, monkeypatch):
        monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "1")  # transformers would ask a server for it
        (theirs / "model.safetensors").unlink()
        save(marian(), theirs)
        self.upload(theirs)
        convert("me/theirs", tmp_path / "first")  # fills the cache
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        hub.requests.clear()
        assert_same(load(convert("me/theirs", tmp_path / "second")), marian(), "seq2seq")
        assert not hub.requests


@pytest.mark.end_to_end
class TestTraining:
    @pytest.mark.sampled(3)
    @pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
    @pytest.mark.parametrize("family", ["marian", "bart", "t5"])
    def test_a_converted_folder_goes_straight_into_training(self, family, toy, tmp_path):
        (tmp_path / "files").mkdir()
        texts = [text for pair in toy.pairs["train"] for text in pair]
        tokenizer, model = getattr(TestTokenizers(), family)(texts, tmp_path / "files")
        for part in (model, tokenizer):
            part.save_pretrained(tmp_path / "theirs")
        convert(tmp_path / "theirs", tmp_path / "ours")
        sections = toy.sections()
        sections["model"] = {"model_name_or_path": str(tmp_path / "ours")}
        del sections["data"]["tokenizer_vocab_size"]
        config = toy.write_config(f"convert {family}", sections)
        assert toy.train(tmp_path / "run", config, max_steps=4) == 0
        trained = load(tmp_path / "run")
        assert trained.config.model_type == "locant"
        before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "run"))
        assert before.keys() == after.keys()
        assert not torch.equal(*(weights["model.decoder.layers.0.ffn.up_proj.weight"] for weights in (before, after)))
        assert type(AutoTokenizer.from_pretrained(tmp_path / "run")) is type(tokenizer)


MEMORY = """
import sys
from pathlib import Path

import psutil
from locant.hub.conversion.conversion import convert


def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


convert(sys.argv[1], sys.argv[3] + "-small")  # what is imported on the way
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
before = psutil.Process().memory_info().rss / 2**20
convert(sys.argv[2], sys.argv[3], max_shard_size="20MB")
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux counts it")
@pytest.mark.parametrize(
    "is_pickled", [pytest.param(False, id="safetensors"), pytest.param(True, id="bin", marks=pytest.mark.slow)]
)
def test_memory_is_the_models_and_a_shards(theirs, tmp_path, is_pickled):
    size = {"d_model": 1024, **{f"{stack}_ffn_dim": 4096 for stack in ("encoder", "decoder")}, "encoder_layers": 4}
    model = MarianMTModel(MarianConfig(**{**SIZES, **TOKENS, **size, "encoder_attention_heads": 16}))
    megabytes = sum(parameter.numel() for parameter in model.parameters()) * 4 / 2**20
    shard = 20
    if is_pickled:
        pickled(model, tmp_path / "large")
        shard = megabytes  # a file
    else:
        model.save_pretrained(tmp_path / "large", max_shard_size="20MB")
    assert megabytes > 200
    command = [sys.executable, "-c", MEMORY, *map(str, (theirs, tmp_path / "large", tmp_path / "target"))]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    taken = float(process.stdout)
    assert 0.9 * megabytes < taken < megabytes + shard + 60, (taken, megabytes)
