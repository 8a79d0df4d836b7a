# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Every Auto class gives Locant's class of its kind, and PEFT knows what to adapt, whichever is imported first."""

import importlib.util
import subprocess
import sys

import pytest
import transformers
from transformers import AutoConfig, AutoModel

import locant
from locant.hub.sharing.auto_map import CAPTIONER, DECODER, IMAGE_ENCODER, TEXT_ENCODER, TRANSLATOR

CLASSES = {
    "AutoModelForSeq2SeqLM": locant.LocantForConditionalGeneration,
    "AutoModelForImageTextToText": locant.LocantForConditionalGeneration,
    "AutoModelForCausalLM": locant.LocantForCausalLM,
    "AutoModelForMaskedLM": locant.LocantForMaskedLM,
    "AutoModelForSequenceClassification": locant.LocantForSequenceClassification,
    "AutoModelForTokenClassification": locant.LocantForTokenClassification,
    "AutoModelForQuestionAnswering": locant.LocantForQuestionAnswering,
    "AutoModelForTextEncoding": locant.LocantEncoderModel,
    "AutoModelForImageClassification": locant.LocantForImageClassification,
}
TOPOLOGIES = {
    "encoder and decoder": ({}, locant.LocantModel),
    "images to text": ({"encoder_input": "patches"}, locant.LocantModel),
    "encoder": ({"is_encoder_decoder": False}, locant.LocantEncoderModel),
    "image encoder": ({"is_encoder_decoder": False, "encoder_input": "patches"}, locant.LocantEncoderModel),
    "decoder": ({"is_decoder": True}, locant.LocantDecoderModel),
}
SHAPE = {
    "vocab_size": 12,
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
    "image_size": 4,
    "patch_size": 2,
}


@pytest.fixture
def config():
    return lambda **fields: AutoConfig.for_model("locant", **{**SHAPE, **fields})


def test_none_is_left_out():
    models = {**TRANSLATOR, **CAPTIONER, **DECODER, **TEXT_ENCODER, **IMAGE_ENCODER}
    assert {auto_class.__name__ for auto_class in models} - {"AutoModel"} == set(CLASSES)
    with_heads = {getattr(locant, name) for name in locant.__all__ if name.startswith("LocantFor")}
    assert with_heads == set(CLASSES.values()) - {locant.LocantEncoderModel}


@pytest.mark.parametrize("name", CLASSES)
def test_an_auto_class_gives_the_class_of_its_kind(name, config, tmp_path):
    auto_class = getattr(transformers, name)
    model = auto_class.from_config(config())
    assert type(model) is CLASSES[name]
    model.save_pretrained(tmp_path)
    loaded = auto_class.from_pretrained(tmp_path)
    assert type(loaded) is CLASSES[name]
    weights = loaded.state_dict()
    assert all(value.equal(weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_auto_model_is_the_model_without_a_head(topology, config, tmp_path):
    fields, expected = TOPOLOGIES[topology]
    model = AutoModel.from_config(config(**fields))
    assert type(model) is expected
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is expected
    weights = loaded.state_dict()
    assert all(value.equal(weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["LocantForCausalLM", "LocantForMaskedLM", "LocantForImageClassification"])
def test_auto_model_takes_the_body_of_a_model_with_a_head(name, config, tmp_path):
    model = getattr(locant, name)(config())
    model.save_pretrained(tmp_path)
    body, weights = AutoModel.from_pretrained(tmp_path), model.state_dict()
    assert type(body) in (locant.LocantDecoderModel, locant.LocantEncoderModel)
    stack = "decoder" if name == "LocantForCausalLM" else "encoder"
    own = {key: value for key, value in body.state_dict().items() if key.startswith(f"{stack}.")}
    assert own and all(value.equal(weights[f"model.{key}"]) for key, value in own.items())


TARGETS = """
from peft.utils import constants

assert constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING["locant"] == ["q_proj", "v_proj"]
assert constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING["locant"] == ["k_proj", "v_proj", "down_proj"]
assert constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING["locant"] == ["down_proj"]
"""


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="PEFT is not installed")
@pytest.mark.parametrize("first", ["import locant", "import peft, locant"])
def test_peft_knows_what_to_adapt(first):
    check = "import sys; assert 'peft' not in sys.modules" if first == "import locant" else ""
    subprocess.run([sys.executable, "-c", f"{first}\n{check}\n{TARGETS}"], check=True)


PRETENDED = """
import sys

import locant

finders = list(sys.meta_path)
locant.auto_classes.register()
assert sys.meta_path == finders  # once is enough
from peft.utils import constants

assert constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING == {"llama": ["q"], "locant": ["q"]}
assert constants.TRANSFORMERS_MODELS_TO_OLD_TARGET_MODULES_MAPPING == {"t5": ["q"]}
assert len(sys.meta_path) == len(finders) - 1
assert "transformers.trainer" not in sys.modules  # it is watched for too
"""


@pytest.mark.slow
def test_a_peft_that_is_imported_later_learns_it(tmp_path):
    """One made of its tables alone, so that this is tested where PEFT is not installed too."""
    (tmp_path / "peft" / "utils").mkdir(parents=True)
    (tmp_path / "peft" / "__init__.py").touch()
    (tmp_path / "peft" / "utils" / "__init__.py").touch()
    (tmp_path / "peft" / "utils" / "constants.py").write_text(
        "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING = {'llama': ['q']}\n"
        "TRANSFORMERS_MODELS_TO_OLD_TARGET_MODULES_MAPPING = {'t5': ['q']}\n"
    )
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PRETENDED}"
    subprocess.run([sys.executable, "-c", script], check=True)
