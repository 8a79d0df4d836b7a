# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""In a virtual environment without Locant, saved models give the same results to the bit, and can be saved again."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

import locant
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.configuration.supported_transformers import SUPPORTED
from locant.modeling.positions.base import _CLASSES

from .. import environments
from ..hub_server.loopback import SERVER
from . import elsewhere

pytestmark = pytest.mark.end_to_end

ELSEWHERE = Path(elsewhere.__file__)
EXAMPLES = ELSEWHERE.parents[2] / "examples"
TRANSFORMERS = ("transformers[torch]", "torch")


@pytest.fixture(scope="module")
def kerple():
    sys.path.insert(0, str(EXAMPLES))
    import kerple

    yield kerple
    sys.path.remove(str(EXAMPLES))
    del sys.modules["kerple"], _CLASSES["kerple"], POSITION_ENCODINGS["kerple"]


@pytest.fixture(scope="module")
def home(tmp_path_factory, random_model, trained_tokenizer, texts, processor, kerple):
    """Saved models of all kinds, inputs for them, and what they give here."""
    folder = tmp_path_factory.mktemp("home")
    tokenizers = {
        purpose: locant.train_tokenizer(iter(texts * 3), vocab_size=300, show_progress=False, purpose=purpose)
        for purpose in ("masked_lm", "causal_lm")
    }
    tokenizers["seq2seq"] = trained_tokenizer
    translator = {"position_encoding": "rotary", "decoder_position_encoding": "t5", "source_lang": "en"}
    images = {"position_encoding": "learned", "pooling": "first"}
    models = {
        "translator": (locant.LocantForConditionalGeneration, {**translator, "target_lang": "fr"}, "seq2seq"),
        "translator with kerple": (
            locant.LocantForConditionalGeneration,
            {"position_encoding": "kerple", "cross_position_encoding": "shaw"},
            "seq2seq",
        ),
        "captioner": (locant.LocantForConditionalGeneration, {"encoder_input": "patches"}, "images"),
        "language model": (locant.LocantForCausalLM, {"position_encoding": "alibi"}, "causal_lm"),
        "masked language model": (locant.LocantForMaskedLM, {"position_encoding": "transformer_xl"}, "masked_lm"),
        "classifier": (locant.LocantForSequenceClassification, {"num_labels": 3}, "seq2seq"),
        "image classifier": (locant.LocantForImageClassification, {**images, "num_labels": 3}, "images"),
        "image encoder": (locant.LocantEncoderModel, {"encoder_input": "patches"}, "images"),
    }
    batches = {}
    for name, (model_class, fields, reads) in models.items():
        random_model(model_class, dropout=0.0, **fields).save_pretrained(folder / name)
        if reads == "images":
            processor.save_pretrained(folder / name)
            batches[name] = {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))}
        else:
            tokenizers[reads].save_pretrained(folder / name)
            batches[name] = dict(tokenizers[reads](texts[:2], return_tensors="pt", padding=True))
            batches[name].pop("token_type_ids", None)
        ids = torch.tensor([[5, 6, 7, 2], [8, 9, 2, -100]])
        if model_class is locant.LocantForConditionalGeneration:
            batches[name]["labels"] = ids
        elif model_class in (locant.LocantForCausalLM, locant.LocantForMaskedLM):
            batches[name]["labels"] = batches[name]["input_ids"].clone()
    torch.save(batches, folder / "inputs.pt")
    elsewhere.main(str(folder), str(folder / "results.pt"))
    return folder


@pytest.fixture(scope="module")
def abroad(tmp_path_factory):
    """Where there is transformers, torch, and what the Trainer needs."""
    environment = environments.Environment(tmp_path_factory.mktemp("abroad"), TRANSFORMERS, without=["pillow"])
    missing = "import importlib.util as i; print([n for n in ('locant', 'datasets', 'PIL') if i.find_spec(n)])"
    assert environment.run(missing).strip() == "[]"
    return environment


@pytest.fixture(scope="module")
def results(home, abroad, tmp_path_factory):
    """What comes out there; and the folder with the models that were saved there again."""
    folder = tmp_path_factory.mktemp("abroad")
    abroad.run(ELSEWHERE.read_text(), home, folder / "results.pt", folder / "again")
    shutil.copy(home / "inputs.pt", folder / "again")
    return folder


def load(path):
    return torch.load(path, weights_only=True)


def assert_same_bits(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if isinstance(value, dict):
            assert_same_bits(value, theirs[name])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, theirs[name]), name
        else:
            assert value == theirs[name], name


@pytest.mark.parametrize("kind", elsewhere.KINDS)
def test_logits_generation_pipelines_and_fine_tuning_are_those_of_home(kind, home, results):
    ours, theirs = load(home / "results.pt")[kind], load(results / "results.pt")[kind]
    assert_same_bits(ours, theirs)
    assert ours["output"].std() > 0.01
    if "fine-tuned" in ours:
        assert ours["fine-tuned"]["losses"][0] != ours["fine-tuned"]["losses"][1]


@pytest.mark.parametrize("kind", elsewhere.KINDS)
def test_what_is_saved_there_has_the_same_code(kind, home, results):
    def code(folder):
        return {path.name: path.read_bytes() for path in folder.glob("*.py")}

    config = json.loads((home / kind / "config.json").read_text())
    trained = results / "results.pt.trained" / kind / "checkpoint-2"
    for folder in (results / "again" / kind, *([trained] if trained.parent.exists() else [])):
        saved = code(home / kind)
        for name in ("image_processing_locant.py", "processing_locant.py"):
            saved.pop(name, None)  # of the processor, which was not saved there
        assert code(folder) == saved
        again = json.loads((folder / "config.json").read_text())
        for field in ("auto_map", "custom_pipelines", "locant_code"):
            assert again.get(field) == config.get(field)


@pytest.mark.slow
def test_what_is_saved_there_is_loaded_there_and_at_home(home, abroad, results):
    abroad.run(ELSEWHERE.read_text(), results / "again", results / "second.pt", "", "no training")
    elsewhere.main(str(results / "again"), str(results / "home.pt"), train="no training")
    for file in ("second.pt", "home.pt"):
        for kind, result in load(results / file).items():
            expected = load(home / "results.pt")[kind]
            expected.pop("fine-tuned", None)
            assert_same_bits(expected, result)


@pytest.mark.slow
def test_folders_of_one_name_have_each_its_own_code(abroad, random_model, tmp_path):
    for encoding in ("rotary", "t5"):
        model = random_model(locant.LocantForCausalLM, position_encoding=encoding)
        model.save_pretrained(tmp_path / encoding / "checkpoint-5")
    script = """
import sys
import transformers
for encoding in ("rotary", "t5", "rotary"):
    folder = f"{sys.argv[1]}/{encoding}/checkpoint-5"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    print(type(model.base_model.decoder.position).__module__.split(".")[-1])
"""
    expected = [f"modeling_locant_{name}" for name in ("rotary", "t5", "rotary")]
    assert abroad.run(script, tmp_path).split() == expected


PUSH = """
import sys
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True).push_to_hub("me/abroad")
AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True).push_to_hub("me/abroad")
"""
PULL = """
from transformers import pipeline
translate = pipeline("translation_en_to_fr", model="me/abroad", device="cpu", trust_remote_code=True)
print(repr(translate("the fox sees the king", max_new_tokens=8)))
"""


@pytest.mark.slow
def test_what_is_pushed_from_there_is_loaded_by_its_name(hub, home, abroad):
    online = {"HF_ENDPOINT": SERVER.url, "HF_TOKEN": "hf_me", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    abroad.run(PUSH, home / "translator", **online)
    pushed = hub.repositories["me/abroad"].resolve("main").files.keys()
    assert {path.name for path in (home / "translator").glob("*.py")} <= pushed
    assert abroad.run(PULL, **online).splitlines()[-1] == load(home / "results.pt")["translator"]["pipeline"]


PROCESSORS = """
import sys
import numpy as np
import torch
from transformers import AutoImageProcessor, AutoProcessor, pipeline
folder, image = sys.argv[1], np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
for auto in (AutoProcessor, AutoImageProcessor):
    processor = auto.from_pretrained(folder, trust_remote_code=True)
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    print(type(processor).__module__.split(".")[0], pixels.sum().item())
    processor.save_pretrained(sys.argv[2])
    again = auto.from_pretrained(sys.argv[2], trust_remote_code=True)
    pixels = again(images=image, return_tensors="pt")["pixel_values"]
    print(type(again).__name__, pixels.sum().item())
"""


@pytest.mark.slow
def test_processors_go_along_where_there_is_pillow(home, processor, tmp_path):
    environment = environments.Environment(tmp_path, (*TRANSFORMERS, "pillow"))
    lines = environment.run(PROCESSORS, home / "captioner", tmp_path / "again").splitlines()
    image = torch.arange(300, dtype=torch.uint8).reshape(10, 10, 3).numpy()
    total = processor(images=image, return_tensors="pt")["pixel_values"].sum().item()
    assert lines == [
        f"transformers_modules {total}",
        f"LocantProcessor {total}",
        f"transformers_modules {total}",
        f"LocantImageProcessor {total}",
    ]


@pytest.mark.slow
def test_another_version_of_transformers_is_told_in_one_sentence(home, abroad):
    script = """
import sys
import transformers
transformers.__version__ = "4.57.6"
try:
    transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
except ImportError as error:
    print(error)
"""
    said = abroad.run(script, home / "language model")
    assert said.strip() == (
        f"Locant's code works with transformers {SUPPORTED}, but 4.57.6 is installed: "
        f"pip install 'transformers{SUPPORTED}'."
    )


LOST = """
import os
import sys
import transformers
for name in sys.argv[2:]:
    os.rename(f"{sys.argv[1]}/{name}", f"{sys.argv[1]}/away")
    try:
        transformers.AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True)
    except OSError as error:
        print(str(error).replace("\\n", " "))
    os.rename(f"{sys.argv[1]}/away", f"{sys.argv[1]}/{name}")
model = transformers.AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True)
os.remove(f"{sys.argv[1]}/modeling_locant_stacks.py")
model.save_pretrained(sys.argv[1])
print(os.path.exists(f"{sys.argv[1]}/modeling_locant_stacks.py"))
loaded = os.path.dirname(sys.modules[type(model).__module__].__file__)
os.remove(f"{loaded}/modeling_locant_stacks.py")
try:
    model.save_pretrained(sys.argv[1])
except OSError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_file_that_is_lost_is_named_there_and_saving_brings_it_back(home, abroad, tmp_path):
    shutil.copytree(home / "translator", tmp_path / "lost")
    names = ["configuration_locant.py", "modeling_locant.py", "modeling_locant_stacks.py"]
    *loading, is_back, saving = abroad.run(LOST, tmp_path / "lost", *names).splitlines()
    assert len(loading) == len(names)
    for said, name in zip(loading, names, strict=True):
        assert name in said
    assert is_back == "True"
    assert "modeling_locant_stacks.py" in saving


@pytest.mark.slow
def test_code_runs_only_where_it_is_trusted(home, abroad):
    script = """
import sys
import transformers
try:
    transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=False)
except ValueError as error:
    print(error)
"""
    assert "trust_remote_code=True" in abroad.run(script, home / "language model")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["5.20.0", "4.57.6", "5.24.0"])
def test_other_versions_of_transformers(version, home, tmp_path):
    """The oldest and the newest supported give the same; an older one says what it needs. All are downloaded."""
    environment = environments.Environment(
        tmp_path, ["torch", "accelerate"], without=["huggingface-hub", "safetensors"]
    )
    environment.install(f"transformers=={version}")
    assert environment.run("import transformers; print(transformers.__version__)").strip() == version
    if version.startswith("4."):
        with pytest.raises(AssertionError, match=rf"works with transformers {SUPPORTED}, but {version} is installed"):
            environment.run(ELSEWHERE.read_text(), home, tmp_path / "results.pt")
        return
    environment.run(ELSEWHERE.read_text(), home, tmp_path / "results.pt", tmp_path / "again")
    ours, theirs = load(home / "results.pt"), load(tmp_path / "results.pt")
    for kind in elsewhere.KINDS:
        assert_same_bits(ours[kind], theirs[kind])
        assert {path.name for path in (tmp_path / "again" / kind).glob("*.py")} >= {"configuration_locant.py"}
    assert os.listdir(tmp_path / "again")
