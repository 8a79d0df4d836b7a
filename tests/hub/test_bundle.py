# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The code in the folder of a saved model, where Locant is installed."""

import ast
import importlib
import json
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
import transformers
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSeq2SeqLM,
    AutoProcessor,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module, get_imports, get_relative_imports
from transformers.models.auto.video_processing_auto import AutoVideoProcessor

import locant
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.configuration.supported_transformers import SUPPORTED
from locant.hub.errors import SharingError
from locant.hub.sharing import flat_code
from locant.hub.sharing.auto_map import CAPTIONER, DECODER, IMAGE_ENCODER, TEXT_ENCODER, TRANSLATOR
from locant.hub.sharing.bundle import code_named_in, write_code
from locant.modeling.positions.base import _CLASSES
from locant.modeling.pretrained import LocantPreTrainedModel

PIPELINES = "modeling_locant_text_to_text_pipelines.py"
TASKS = {"translation", "summarization", "text2text-generation"}
ROOT = Path(__file__).resolve().parents[2]


def config_of(folder):
    return json.loads((Path(folder) / "config.json").read_text())


def code_in(folder):
    return {name for name in os.listdir(folder) if name.endswith(".py")}


def pipelines_of(folder):
    return config_of(folder).get("custom_pipelines")


def remove_prefix(folder):
    """Give the files of code the names that they had when only the models' began with `modeling_locant`."""
    stems = {name.removesuffix(".py") for name in code_in(folder)} - HEADS
    old = {stem: stem.removeprefix("modeling_locant_") for stem in stems}
    for name in code_in(folder):
        text = (folder / name).read_text()
        for stem in stems:
            text = re.sub(rf"from \.{stem} import", f"from .{old[stem]} import", text)
        (folder / name).unlink()
        stem = name.removesuffix(".py")
        (folder / f"{old.get(stem, stem)}.py").write_text(text)
    config = json.dumps(config_of(folder)).replace("modeling_locant_text_to_text_pipelines.", "text_to_text_pipelines.")
    (folder / "config.json").write_text(config)
    assert {"attention.py", "stacks.py", "supported_transformers.py"} <= code_in(folder)


@pytest.fixture(autouse=True)
def forget(tmp_path):
    """Remove the modules that the test imports from its folder, and the encodings that it registers."""
    encodings = {*_CLASSES}
    yield
    for name in {*_CLASSES} - encodings:
        del _CLASSES[name], POSITION_ENCODINGS[name]
    for name, module in [*sys.modules.items()]:
        if tmp_path in Path(getattr(module, "__file__", None) or "").parents:
            del sys.modules[name]


@pytest.fixture
def model(random_model):
    return random_model(locant.LocantForConditionalGeneration, source_lang="en", target_lang="fr")


@pytest.fixture
def saved(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    return str(tmp_path / "saved")


@pytest.fixture
def without_code():
    locant.disable_bundling()
    yield
    locant.enable_bundling()


HEADS = {"modeling_locant", "modeling_locant_decoder", "modeling_locant_encoder", "modeling_locant_image"}
MODELS = {
    "translator": (locant.LocantForConditionalGeneration, {}, TRANSLATOR, {"modeling_locant"}),
    "captioner": (locant.LocantForConditionalGeneration, {"encoder_input": "patches"}, CAPTIONER, {"modeling_locant"}),
    "language model": (locant.LocantForCausalLM, {}, DECODER, {"modeling_locant_decoder"}),
    "text encoder": (locant.LocantForMaskedLM, {}, TEXT_ENCODER, {"modeling_locant_encoder"}),
    "image encoder": (
        locant.LocantForImageClassification,
        {},
        IMAGE_ENCODER,
        {"modeling_locant_encoder", "modeling_locant_image"},
    ),
}


PIPELINE_TASKS = [
    ("translator", "translation"),
    ("captioner", "image-text-to-text"),
    ("language model", "text-generation"),
    ("text encoder", "feature-extraction"),
    ("image encoder", "image-classification"),
]


class TestCode:
    @pytest.mark.parametrize("name", MODELS)
    def test_is_that_of_the_model_and_of_no_other(self, name, random_model, tmp_path):
        model_class, fields, autos, modules = MODELS[name]
        random_model(model_class, **fields, position_encoding="rotary").save_pretrained(tmp_path)
        stems = {file.removesuffix(".py") for file in code_in(tmp_path)}
        assert stems & HEADS == modules
        encodings = {stem.removeprefix("modeling_locant_") for stem in stems} & _CLASSES.keys()
        assert encodings == {"rotary"}  # "none" is the base class
        assert ("modeling_locant_image_encoder" in stems) == (name in ("captioner", "image encoder"))
        assert "modeling_locant_blockwise" not in stems
        expected = {"AutoConfig": "configuration_locant.LocantConfig"}
        for auto, cls in autos.items():
            expected[auto.__name__] = f"{cls.__module__.split('.')[-1]}.{cls.__name__}"
        assert config_of(tmp_path)["auto_map"] == expected

    @pytest.mark.parametrize("name", MODELS)
    def test_stands_together_under_one_prefix(self, name, random_model, tmp_path):
        model_class, fields, _, _ = MODELS[name]
        random_model(model_class, **fields).save_pretrained(tmp_path)
        assert {file for file in code_in(tmp_path) if not file.startswith("modeling_locant")} == {
            "configuration_locant.py"
        }

    @pytest.mark.parametrize("name", MODELS)
    def test_is_flat_and_needs_torch_and_transformers_only(self, name, random_model, tmp_path):
        model_class, fields, _, _ = MODELS[name]
        random_model(model_class, **fields).save_pretrained(tmp_path)
        available = {"torch", "transformers", "huggingface_hub", "packaging", "safetensors", "numpy"}
        for file in code_in(tmp_path):
            text = (tmp_path / file).read_text()
            assert text.startswith("# Copyright 2026 The Locant Authors. Licensed under the Apache License")
            assert set(get_imports(tmp_path / file)) - sys.stdlib_module_names <= available
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ImportFrom):
                    assert node.level <= 1 and (node.module or "").split(".")[0] != "locant"
                    assert not node.level or f"{node.module}.py" in code_in(tmp_path)
            assert {f"{module}.py" for module in get_relative_imports(tmp_path / file)} <= code_in(tmp_path)

    def test_has_blockwise_where_sdpa_cannot_serve_the_encoding(self, random_model, tmp_path):
        random_model(locant.LocantForCausalLM, position_encoding="shaw").save_pretrained(tmp_path)
        assert "modeling_locant_blockwise.py" in code_in(tmp_path)

    def test_says_which_it_is(self, saved):
        code = config_of(saved)["locant_code"]
        assert code["version"] == locant.__version__
        assert code["transformers"] == SUPPORTED
        assert len(code["sha256"]) == 64

    def test_has_another_hash_where_it_is_other_code(self, random_model, tmp_path):
        hashes = set()
        for encoding in ("rotary", "t5", "rotary"):
            random_model(locant.LocantForCausalLM, position_encoding=encoding).save_pretrained(tmp_path / encoding)
            hashes.add(config_of(tmp_path / encoding)["locant_code"]["sha256"])
        assert len(hashes) == 2

    def test_supports_the_versions_that_the_package_asks_for(self):
        asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        assert f"transformers{SUPPORTED}" in asked

    def test_can_be_added_to_a_folder_that_was_saved_without(self, model, without_code, tmp_path):
        model.save_pretrained(tmp_path / "plain")
        locant.enable_bundling()
        model.save_pretrained(tmp_path / "saved")
        write_code(tmp_path / "plain")
        assert config_of(tmp_path / "plain") == config_of(tmp_path / "saved")
        assert code_in(tmp_path / "plain") == code_in(tmp_path / "saved")

    def test_is_not_added_to_what_is_no_model(self, tmp_path):
        with pytest.raises(SharingError, match=r"has no config\.json"):
            write_code(tmp_path)
        transformers.LlamaConfig(architectures=["LlamaForCausalLM"]).save_pretrained(tmp_path)
        with pytest.raises(SharingError, match="holds a model of type 'llama', not a Locant model"):
            write_code(tmp_path)
        assert not code_in(tmp_path)

    def test_never_replaces_files_that_are_not_ours(self, model, tmp_path, caplog):
        (tmp_path / "modeling_locant_attention.py").write_text("mine = True\n")
        model.save_pretrained(tmp_path)
        assert (tmp_path / "modeling_locant_attention.py").read_text() == "mine = True\n"
        assert code_in(tmp_path) == {"modeling_locant_attention.py"}
        assert "modeling_locant_attention.py was not saved by Locant" in caplog.text
        assert "auto_map" not in config_of(tmp_path)
        assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path)

    def test_never_replaces_them_where_a_model_is_already(self, random_model, tmp_path, caplog):
        random_model(locant.LocantForCausalLM, position_encoding="sinusoidal").save_pretrained(tmp_path)
        (tmp_path / "modeling_locant_rotary.py").write_text("mine = True\n")
        random_model(locant.LocantForCausalLM, position_encoding="rotary").save_pretrained(tmp_path)
        assert (tmp_path / "modeling_locant_rotary.py").read_text() == "mine = True\n"
        assert "modeling_locant_rotary.py was not saved by Locant" in caplog.text

    def test_of_the_model_before_goes(self, random_model, tmp_path):
        (tmp_path / "mine.py").write_text("mine = True\n")
        random_model(locant.LocantForConditionalGeneration, position_encoding="t5").save_pretrained(tmp_path / "both")
        (tmp_path / "mine.py").rename(tmp_path / "both" / "mine.py")
        for folder in ("both", "alone"):
            random_model(locant.LocantForCausalLM, position_encoding="rotary").save_pretrained(tmp_path / folder)
        assert code_in(tmp_path / "both") == code_in(tmp_path / "alone") | {"mine.py"}

    def test_of_the_model_before_goes_where_its_files_have_no_prefix(self, random_model, tmp_path):
        random_model(locant.LocantForConditionalGeneration, position_encoding="t5").save_pretrained(tmp_path / "both")
        remove_prefix(tmp_path / "both")
        for folder in ("both", "alone"):
            random_model(locant.LocantForCausalLM, position_encoding="rotary").save_pretrained(tmp_path / folder)
        assert code_in(tmp_path / "both") == code_in(tmp_path / "alone")

    def test_of_the_model_before_goes_where_some_of_it_is_lost(self, random_model, tmp_path):
        random_model(locant.LocantForConditionalGeneration, position_encoding="t5").save_pretrained(tmp_path / "both")
        (tmp_path / "both" / "modeling_locant_attention.py").unlink()
        for folder in ("both", "alone"):
            random_model(locant.LocantForCausalLM, position_encoding="rotary").save_pretrained(tmp_path / folder)
        assert code_in(tmp_path / "both") == code_in(tmp_path / "alone")

    @pytest.mark.parametrize("again", ["save_pretrained", "write_code"])
    def test_without_a_prefix_is_replaced(self, again, saved):
        code, config = code_in(saved), config_of(saved)
        remove_prefix(Path(saved))
        if again == "write_code":
            write_code(saved)
        else:
            AutoModelForSeq2SeqLM.from_pretrained(saved).save_pretrained(saved)
        assert code_in(saved) == code
        assert config_of(saved) == config

    @pytest.mark.parametrize("lost", ["configuration_locant.py", "modeling_locant_stacks.py", PIPELINES])
    def test_that_lost_a_file_is_whole_when_it_is_saved_again(self, lost, saved):
        before = code_in(saved)
        (Path(saved) / lost).unlink()
        AutoModelForSeq2SeqLM.from_pretrained(saved).save_pretrained(saved)
        assert code_in(saved) == before

    def test_whose_source_is_lost_is_named(self, random_model, tmp_path, monkeypatch, caplog):
        (tmp_path / "lost.py").write_text("import locant\n\n\nclass Lost(locant.LocantForCausalLM):\n    pass\n")
        monkeypatch.syspath_prepend(tmp_path)
        model_class = importlib.import_module("lost").Lost
        (tmp_path / "lost.py").unlink()
        random_model(model_class).save_pretrained(tmp_path / "saved")
        assert "The source of the module lost cannot be saved with the model (could not get source" in caplog.text
        assert not code_in(tmp_path / "saved")

    def test_of_two_modules_needs_two_names(self, random_model, tmp_path, monkeypatch, caplog):
        source = "import locant\n\n\nclass Own(locant.LocantForCausalLM):\n    pass\n"
        (tmp_path / "modeling_locant_attention.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        model_class = importlib.import_module("modeling_locant_attention").Own
        random_model(model_class).save_pretrained(tmp_path / "saved")
        assert "would both be modeling_locant_attention.py in the folder of a model: rename one of them" in caplog.text
        assert not code_in(tmp_path / "saved")

    def test_of_ones_own_keeps_imports_that_may_fail(self, random_model, tmp_path, monkeypatch):
        optional = "try:\n    from locant.training import fast\nexcept ImportError:\n    fast = None\n"
        source = f"import locant\n\n{optional}\n\nclass Own(locant.LocantForCausalLM):\n    pass\n"
        (tmp_path / "trying.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        random_model(importlib.import_module("trying").Own).save_pretrained(tmp_path / "saved")
        assert optional in (tmp_path / "saved" / "trying.py").read_text()

    @pytest.mark.parametrize(
        "imports",
        [
            "import locant",
            "from __future__ import annotations\n\nfrom locant import LocantForCausalLM",
            "from locant.modeling import LocantForCausalLM",
            "größe = 'ö'; from locant import LocantForCausalLM; länge = 1",
        ],
    )
    def test_of_a_class_of_ones_own_goes_along(self, imports, random_model, tmp_path, monkeypatch):
        base = "locant.LocantForCausalLM" if imports == "import locant" else "LocantForCausalLM"
        source = f"{imports}\n\n\nclass Own({base}):\n    own = True\n"
        (tmp_path / "own.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        flat_code._read.cache_clear()
        monkeypatch.delitem(sys.modules, "own", raising=False)
        model_class = importlib.import_module("own").Own
        random_model(model_class, position_encoding="rotary").save_pretrained(tmp_path / "saved")
        assert config_of(tmp_path / "saved")["auto_map"]["AutoModelForCausalLM"] == "own.Own"
        found = get_class_from_dynamic_module("own.Own", tmp_path / "saved")
        assert found.own and "transformers_modules" in found.__mro__[1].__module__

    @pytest.mark.parametrize(
        "start",
        [
            "\ufeff",
            "# -*- coding: latin-1 -*-\n",
            '"""Doc."""\n\x0c\n',
            "\x0c",
            '"""A\u2028b."""\n',
            "from locant import LocantConfig; ",
        ],
        ids=["mark", "latin", "form feed", "form feed before an import", "line separator", "two imports in a line"],
    )
    def test_of_ones_own_may_be_any_file_that_python_reads(self, start, random_model, tmp_path, monkeypatch):
        source = "from locant import LocantConfig, LocantForCausalLM\n\nclass Own(LocantForCausalLM): own = 'größe'\n"
        (tmp_path / "odd.py").write_text(start + source, encoding="latin-1" if "latin" in start else "utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        flat_code._read.cache_clear()
        monkeypatch.delitem(sys.modules, "odd", raising=False)
        random_model(importlib.import_module("odd").Own).save_pretrained(tmp_path / "saved")
        assert get_class_from_dynamic_module("odd.Own", tmp_path / "saved").own == "größe"

    def test_that_is_being_edited_is_named_and_the_model_is_saved(self, random_model, tmp_path, monkeypatch, caplog):
        (tmp_path / "edited.py").write_text("import locant\n\n\nclass Own(locant.LocantForCausalLM):\n    pass\n")
        monkeypatch.syspath_prepend(tmp_path)
        model = random_model(importlib.import_module("edited").Own)
        (tmp_path / "edited.py").write_text("def half(:\n")
        model.save_pretrained(tmp_path / "saved")
        assert "The source of the module edited cannot be saved with the model (invalid syntax" in caplog.text
        assert sorted(os.listdir(tmp_path / "saved")) == ["config.json", "generation_config.json", "model.safetensors"]

    def test_with_a_damaged_byte_is_replaced(self, saved):
        path = Path(saved) / "modeling_locant_attention.py"
        whole = path.read_bytes()
        path.write_bytes(whole + b"\xff")
        AutoModelForSeq2SeqLM.from_pretrained(saved).save_pretrained(saved)
        assert path.read_bytes() == whole

    def test_of_a_head_of_ones_own_goes_along(self, random_model, tmp_path, monkeypatch):
        (tmp_path / "reward.py").write_text(
            "from locant import LocantEncoderModel, LocantPreTrainedModel\n\n\n"
            "class Reward(LocantPreTrainedModel):\n"
            "    def __init__(self, config):\n"
            "        super().__init__(config.with_stacks(decoder=False))\n"
            "        self.model = LocantEncoderModel(self.config)\n"
            "        self.post_init()\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        random_model(importlib.import_module("reward").Reward).save_pretrained(tmp_path / "saved")
        found = get_class_from_dynamic_module("reward.Reward", tmp_path / "saved")
        assert found.from_pretrained(tmp_path / "saved").model.config.is_encoder_decoder is False

    def test_of_a_derived_class_that_an_auto_class_does_not_load_is_said(
        self, random_model, tmp_path, monkeypatch, caplog
    ):
        (tmp_path / "twice.py").write_text("import locant\n\n\nclass Twice(locant.LocantForCausalLM):\n    pass\n")
        monkeypatch.syspath_prepend(tmp_path)
        twice = importlib.import_module("twice").Twice
        random_model(twice).save_pretrained(tmp_path / "saved")
        twice.from_pretrained(tmp_path / "saved")
        locant.LocantDecoderModel.from_pretrained(tmp_path / "saved")
        assert "names the class" not in caplog.text
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved", trust_remote_code=True)
        assert "names the class twice.Twice for AutoModelForCausalLM, but LocantForCausalLM was loaded" in caplog.text

    def test_of_another_class_of_locant_is_not_called_derived(self, saved, caplog):
        assert config_of(saved)["auto_map"]["AutoModel"] == "modeling_locant.LocantModel"
        locant.LocantEncoderModel.from_pretrained(saved)
        assert "names the class" not in caplog.text

    def test_never_holds_what_stays_at_home(self, random_model, tmp_path, monkeypatch, caplog):
        (tmp_path / "homely.py").write_text(
            "import locant\n\n\nclass Homely(locant.LocantForCausalLM):\n    convert = locant.convert\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        model_class = importlib.import_module("homely").Homely
        random_model(model_class).save_pretrained(tmp_path / "saved")
        assert "cannot use locant.hub.conversion.conversion" in caplog.text
        assert not code_in(tmp_path / "saved")

    def test_replaces_its_own(self, saved):
        (Path(saved) / "modeling_locant_attention.py").write_text("broken = True\n")
        AutoModelForSeq2SeqLM.from_pretrained(saved).save_pretrained(saved)
        assert "class Attention" in (Path(saved) / "modeling_locant_attention.py").read_text()


class TestWithoutThePackage:
    """What the code in the folder says where something is asked of it that only the package has."""

    @pytest.fixture
    def load(self, random_model, tmp_path, monkeypatch):
        """A function that loads a model with the code in its folder, which a class from outside of Locant needs."""
        (tmp_path / "outer.py").write_text(
            "import locant\n\nclass Outer(locant.LocantForConditionalGeneration): pass\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        random_model(importlib.import_module("outer").Outer).save_pretrained(tmp_path / "saved")
        model_class = get_class_from_dynamic_module("outer.Outer", tmp_path / "saved")
        assert "transformers_modules" in model_class.__mro__[1].__module__
        return lambda **fields: model_class.from_pretrained(tmp_path / "saved", **fields)

    def test_an_encoding_that_the_model_does_not_have(self, load):
        message = "'rotary' is not among the registered encodings none, sinusoidal: install and import locant, and"
        with pytest.raises(ValueError, match=message):
            load(position_encoding="rotary")

    def test_an_encoder_that_the_model_does_not_have(self, load):
        message = "encoder_input is patches, but .* has only the encoder of tokens: install and import locant"
        with pytest.raises(ValueError, match=message):
            load(encoder_input="patches")

    def test_a_model_with_another_encoding(self, load, monkeypatch):
        monkeypatch.setitem(sys.modules, "locant.modeling.swapping", None)
        with pytest.raises(ImportError, match=r"^with_position_encoding needs the package locant: install and import"):
            load().with_position_encoding("rotary")


class TestSwitchedOff:
    def test_by_a_call(self, model, random_model, processor, without_code, tmp_path):
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        assert not code_in(tmp_path)
        assert not {"auto_map", "locant_code", "custom_pipelines"} & config_of(tmp_path).keys()

    def test_a_model_that_had_code_says_so_no_more(self, saved, without_code, tmp_path):
        AutoModelForSeq2SeqLM.from_pretrained(saved).save_pretrained(tmp_path / "again")
        assert not {"auto_map", "locant_code", "custom_pipelines"} & config_of(tmp_path / "again").keys()


class TestLoadingAtHome:
    """The folder's code is broken: where Locant is imported, nothing of it may run."""

    @pytest.fixture(scope="class")
    def broken(self, random_model, processor, tmp_path_factory):
        folder = tmp_path_factory.mktemp("broken")
        for name, (model_class, fields, _, _) in MODELS.items():
            random_model(model_class, **fields).save_pretrained(folder / name)
            processor.save_pretrained(folder / name)
            processor.image_processor.save_pretrained(folder / name)
            for file in code_in(folder / name):
                (folder / name / file).write_text(f"raise SystemExit('{file} was run')\n")
        return folder

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("trust", [None, False, True])
    @pytest.mark.parametrize("name", MODELS)
    def test_runs_no_code_of_the_folder(self, name, trust, broken):
        for auto_class, model_class in MODELS[name][2].items():
            assert type(auto_class.from_pretrained(broken / name, trust_remote_code=trust)) is model_class
        assert type(AutoConfig.from_pretrained(broken / name, trust_remote_code=trust)) is locant.LocantConfig
        loaded = AutoProcessor.from_pretrained(broken / name, trust_remote_code=trust)
        assert type(loaded) is locant.LocantProcessor
        loaded = AutoImageProcessor.from_pretrained(broken / name, trust_remote_code=trust)
        assert type(loaded) is locant.LocantImageProcessor

    @pytest.fixture
    def no_question(self, monkeypatch):
        """transformers asks at the terminal whether it may run the code of a folder."""

        def ask(*_):
            raise AssertionError("It was asked whether code may run.")

        monkeypatch.setattr("builtins.input", ask)

    @pytest.mark.parametrize("trust", [None, False, True])
    @pytest.mark.parametrize("make", [locant.pipeline, transformers.pipeline], ids=["locant", "transformers"])
    @pytest.mark.parametrize(("name", "task"), PIPELINE_TASKS)
    def test_nor_do_pipelines(self, name, task, make, trust, broken, no_question):
        if task == "translation" and make is transformers.pipeline and not trust:
            with pytest.raises(ValueError, match="trust_remote_code=True"):  # transformers wants it said
                make(task, model=str(broken / name), trust_remote_code=trust)
            return
        made = make(task, model=str(broken / name), trust_remote_code=trust)
        assert not type(made).__module__.startswith("transformers_modules")
        for part in (made.model, made.tokenizer, made.image_processor):
            assert not type(part).__module__.startswith("transformers_modules")

    @pytest.mark.parametrize("trust", [None, False, True])
    def test_nor_does_the_search_for_a_video_processor(self, trust, broken, no_question):
        with pytest.raises((ValueError, ImportError)):
            AutoVideoProcessor.from_pretrained(broken / "captioner", trust_remote_code=trust)


class TestEncodingsFromOutside:
    @pytest.fixture
    def kerple(self, monkeypatch):
        monkeypatch.syspath_prepend(ROOT / "examples")
        import kerple

        yield kerple
        del sys.modules["kerple"]

    def test_go_along(self, kerple, random_model, tmp_path):
        random_model(locant.LocantForCausalLM, position_encoding="kerple").save_pretrained(tmp_path)
        assert "kerple.py" in code_in(tmp_path)
        assert "from .kerple import KerpleEncoding" in (tmp_path / "configuration_locant.py").read_text()

    @pytest.mark.parametrize(
        "fields",
        [{"decoder_position_encoding": "kerple"}, {"position_parameters": {"kerple": {"power": 0.5}}}],
        ids=["encoding of another stack", "options of another encoding"],
    )
    def test_that_only_the_config_names_go_along(self, kerple, fields, random_model, tmp_path):
        random_model(locant.LocantEncoderModel, position_encoding="rotary", **fields).save_pretrained(tmp_path)
        assert "kerple.py" in code_in(tmp_path)

    def test_that_import_a_model_first_are_told_how_not_to(self, kerple, random_model, tmp_path, caplog, monkeypatch):
        early = tmp_path / "early.py"
        source = Path(kerple.__file__).read_text().replace('"kerple"', '"early"')
        early.write_text(source.replace("import torch\n", "import torch\nfrom locant import LocantForCausalLM\n", 1))
        monkeypatch.syspath_prepend(tmp_path)
        importlib.import_module("early")

        random_model(locant.LocantForCausalLM, position_encoding="early").save_pretrained(tmp_path / "saved")
        assert "early.py imports modeling_locant_decoder.py" in caplog.text
        assert not code_in(tmp_path / "saved")

    def test_whose_source_is_in_the_same_folder_lose_nothing(self, kerple, random_model, tmp_path, monkeypatch, caplog):
        source = Path(kerple.__file__).read_text().replace('"kerple"', '"beside"')
        (tmp_path / "beside.py").write_text(source)  # begins with Locant's licence, as the example does
        monkeypatch.syspath_prepend(tmp_path)
        importlib.import_module("beside")

        for encoding in ("beside", "rotary"):
            random_model(locant.LocantForCausalLM, position_encoding=encoding).save_pretrained(tmp_path)
            assert (tmp_path / "beside.py").read_text() == source
        assert "beside.py was not saved by Locant" in caplog.text

    def test_whose_source_is_in_the_folder_of_their_saved_code_lose_nothing(
        self, kerple, random_model, tmp_path, monkeypatch
    ):
        source = Path(kerple.__file__).read_text().replace('"kerple"', '"back"')
        (tmp_path / "back.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        back = importlib.import_module("back")

        random_model(locant.LocantForCausalLM, position_encoding="back").save_pretrained(tmp_path / "saved")
        monkeypatch.setattr(back, "__file__", str((tmp_path / "back.py").rename(tmp_path / "saved" / "back.py")))
        random_model(locant.LocantForCausalLM, position_encoding="rotary").save_pretrained(tmp_path / "saved")
        assert (tmp_path / "saved" / "back.py").read_text() == source

    def test_without_a_file_leave_the_model_without_code(self, random_model, tmp_path, caplog, monkeypatch):
        encoding = type("Silent", (_CLASSES["none"],), {"__module__": "typed.at.a.prompt"})
        monkeypatch.setitem(_CLASSES, "silent", encoding)
        monkeypatch.setitem(
            locant.configuration.position_encodings.POSITION_ENCODINGS,
            "silent",
            locant.configuration.position_encodings.EncodingOptions(),
        )
        random_model(locant.LocantForCausalLM, position_encoding="silent").save_pretrained(tmp_path)
        assert "The source of the module typed.at.a.prompt cannot be saved with the model (No module" in caplog.text
        assert not code_in(tmp_path)


class TestPipelines:
    @pytest.mark.parametrize("task", sorted(TASKS | {"translation_en_to_fr"}))
    def test_are_found_by_transformers(self, task, saved, model, tokenizer, texts):
        ours = locant.pipeline(task, model=model, tokenizer=tokenizer, max_new_tokens=8)
        theirs = transformers.pipeline(task, model=saved, trust_remote_code=True, max_new_tokens=8)
        assert type(theirs).__name__ == type(ours).__name__
        assert type(theirs) is type(ours)  # whose code is the folder's; it runs where Locant is not installed
        assert theirs(texts, batch_size=2) == ours(texts)
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            transformers.pipeline(task, model=saved)

    def test_whose_code_is_lost_are_named_by_transformers(self, saved):
        (Path(saved) / PIPELINES).unlink()
        with pytest.raises(OSError, match=PIPELINES):
            transformers.pipeline("translation", model=saved, trust_remote_code=True)

    def test_of_a_pair_of_languages_where_both_are_known(self, random_model, tmp_path):
        random_model(locant.LocantForConditionalGeneration, source_lang="en").save_pretrained(tmp_path)
        assert pipelines_of(tmp_path).keys() == TASKS

    @pytest.mark.parametrize(
        "model_class, fields",
        [
            (locant.LocantModel, {}),
            (locant.LocantForConditionalGeneration, {"encoder_input": "patches"}),
            (locant.LocantForCausalLM, {}),
            (locant.LocantForMaskedLM, {}),
        ],
    )
    def test_are_not_for_other_models(self, model_class, fields, random_model, tmp_path):
        random_model(model_class, **fields).save_pretrained(tmp_path)
        assert pipelines_of(tmp_path) is None
        assert PIPELINES not in code_in(tmp_path)

    def test_are_lost_without_the_head(self, saved, tmp_path):
        locant.LocantModel.from_pretrained(saved).save_pretrained(tmp_path / "again")
        assert not pipelines_of(tmp_path / "again")

    def test_are_saved_again(self, saved, tmp_path):
        before = pipelines_of(saved)
        AutoModelForSeq2SeqLM.from_pretrained(saved).save_pretrained(tmp_path / "again")
        assert pipelines_of(tmp_path / "again") == before
        assert PIPELINES in code_in(tmp_path / "again")
        AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "again").save_pretrained(tmp_path / "again")  # in place
        assert pipelines_of(tmp_path / "again") == before

    def test_of_others_stay_and_other_languages_replace_the_languages(self, saved, tmp_path):
        model = AutoModelForSeq2SeqLM.from_pretrained(saved, target_lang="de")
        own = {"impl": "mine.Pipeline", "pt": ["AutoModelForSeq2SeqLM"]}
        others = {"summarization": own, "poetry": own, "prose": {"type": "text"}}
        model.config.custom_pipelines = {**model.config.custom_pipelines, **others}
        model.save_pretrained(tmp_path / "again")
        after = pipelines_of(tmp_path / "again")
        assert after.keys() == TASKS | {"translation_en_to_de", "poetry", "prose"}
        assert {task for task, entry in after.items() if entry == own} == {"summarization", "poetry"}

    def test_of_others_stay_when_the_code_is_written_anew(self, saved):
        model = AutoModelForSeq2SeqLM.from_pretrained(saved)
        own = {"impl": "mine.Pipeline", "pt": ["AutoModelForSeq2SeqLM"]}
        model.config.custom_pipelines = {**model.config.custom_pipelines, "summarization": own, "poetry": own}
        model.config.auto_map["AutoTokenizer"] = ["me/other--tok.Tok", None]
        model.save_pretrained(saved)
        before = config_of(saved)
        assert before["custom_pipelines"]["summarization"] == own and "AutoTokenizer" in before["auto_map"]
        write_code(saved)
        assert config_of(saved) == before


class TestTrainer:
    @pytest.fixture
    def trainer(self, model, tokenizer, texts, tmp_path):
        rows = [{**tokenizer(text), "labels": tokenizer(text)["input_ids"]} for text in texts]
        arguments = Seq2SeqTrainingArguments(
            tmp_path,
            max_steps=2,
            save_steps=1,
            per_device_train_batch_size=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        return Seq2SeqTrainer(model, arguments, train_dataset=rows, processing_class=tokenizer)

    def test_checkpoints_carry_code(self, trainer, saved, tmp_path):
        trainer.train()
        for step in (1, 2):
            assert code_in(tmp_path / f"checkpoint-{step}") == code_in(saved)
            translate = transformers.pipeline(
                "translation", model=str(tmp_path / f"checkpoint-{step}"), trust_remote_code=True, max_new_tokens=8
            )
            assert translate("the fox")[0].keys() == {"translation_text"}

    def test_the_output_folder_has_the_code_before_it_is_pushed(self, trainer, saved, tmp_path):
        seen = []

        class Push(TrainerCallback):
            def on_push_begin(self, args, *rest, **kwargs):
                seen.append(code_in(args.output_dir))

        trainer.add_callback(Push())
        trainer.callback_handler.on_push_begin(trainer.args, trainer.state, trainer.control)
        assert seen == [code_in(saved)]


class TestSaving:
    def test_is_for_the_main_process(self, model, tmp_path):
        model.save_pretrained(tmp_path, is_main_process=False)
        assert os.listdir(tmp_path) == []

    def test_loses_nothing_where_code_cannot_be_written(self, model, tmp_path, monkeypatch, caplog):
        def write_text(path, *args, **kwargs):
            with path.open("w") as file:
                file.write("half")
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "write_text", write_text)
        model.save_pretrained(tmp_path)
        assert "saved without its code" in caplog.text
        assert pipelines_of(tmp_path) is None
        assert sorted(os.listdir(tmp_path)) == ["config.json", "generation_config.json", "model.safetensors"]
        assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path)

    def test_to_a_file_is_refused_as_by_transformers(self, model, tmp_path):
        (tmp_path / "file").write_text("mine")
        model.save_pretrained(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "mine"

    def test_calls_the_hooks_with_the_model_and_the_folder(self, random_model, tmp_path, monkeypatch):
        calls = []
        monkeypatch.setattr(LocantPreTrainedModel, "save_hooks", [lambda *arguments: calls.append(arguments)])
        model = random_model(locant.LocantEncoderModel)
        model.save_pretrained(str(tmp_path / "new" / "folder"))
        assert calls == [(model, tmp_path / "new" / "folder")]


def test_settings_that_are_null_name_no_code(tmp_path):
    assert code_named_in({"auto_map": None, "custom_pipelines": None}, tmp_path) == set()
