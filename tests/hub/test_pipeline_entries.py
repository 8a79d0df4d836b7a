# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What a saved model has for `transformers.pipeline`: entries in its config, and the file that they name."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import transformers
from transformers import AutoModelForSeq2SeqLM, Seq2SeqTrainer, Seq2SeqTrainingArguments

import locant
from locant.hub import text_to_text_pipelines
from locant.modeling.pretrained import LocantPreTrainedModel

FILE = "text_to_text_pipelines.py"
TASKS = {"translation", "summarization", "text2text-generation"}


def entries(folder):
    return json.loads((Path(folder) / "config.json").read_text()).get("custom_pipelines")


@pytest.fixture
def model(random_model):
    return random_model(locant.LocantForConditionalGeneration, source_lang="en", target_lang="fr")


@pytest.fixture
def saved(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    return str(tmp_path / "saved")


@pytest.mark.parametrize("task", sorted(TASKS | {"translation_en_to_fr"}))
def test_transformers_finds_the_pipelines_of_a_saved_model(task, saved, model, tokenizer, texts):
    ours = locant.pipeline(task, model=model, tokenizer=tokenizer, max_new_tokens=8)
    theirs = transformers.pipeline(task, model=saved, trust_remote_code=True, max_new_tokens=8)
    assert type(theirs).__name__ == type(ours).__name__
    assert type(theirs) is not type(ours)  # it came from the folder
    assert theirs(texts, batch_size=2) == ours(texts)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        transformers.pipeline(task, model=saved)


def test_the_file_needs_nothing_but_torch_and_transformers(saved):
    needed = transformers.dynamic_module_utils.get_imports(f"{saved}/{FILE}")
    assert set(needed) - sys.stdlib_module_names <= {"torch", "transformers"}
    assert not transformers.dynamic_module_utils.get_relative_imports(f"{saved}/{FILE}")
    assert Path(saved, FILE).read_bytes() == Path(text_to_text_pipelines.__file__).read_bytes()


def test_the_pair_of_languages_has_a_key_where_both_are_known(random_model, tmp_path):
    random_model(locant.LocantForConditionalGeneration, source_lang="en").save_pretrained(tmp_path)
    assert entries(tmp_path).keys() == TASKS


@pytest.mark.parametrize(
    "model_class, fields",
    [
        (locant.LocantModel, {}),
        (locant.LocantForConditionalGeneration, {"encoder_input": "patches"}),
        (locant.LocantForCausalLM, {}),
        (locant.LocantForMaskedLM, {}),
    ],
)
def test_other_models_have_none(model_class, fields, random_model, tmp_path):
    random_model(model_class, **fields).save_pretrained(tmp_path)
    assert entries(tmp_path) is None
    assert not (tmp_path / FILE).exists()


def test_a_model_without_a_head_loses_those_of_the_model_it_came_from(saved, tmp_path):
    locant.LocantModel.from_pretrained(saved).save_pretrained(tmp_path / "again")
    assert not entries(tmp_path / "again")


def test_a_loaded_model_is_saved_with_them_again(saved, tmp_path):
    before = entries(saved)
    AutoModelForSeq2SeqLM.from_pretrained(saved).save_pretrained(tmp_path / "again")
    assert entries(tmp_path / "again") == before
    assert (tmp_path / "again" / FILE).is_file()
    AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "again").save_pretrained(tmp_path / "again")  # in place
    assert entries(tmp_path / "again") == before


def test_what_others_entered_stays_and_other_languages_replace_the_languages(saved, tmp_path):
    model = AutoModelForSeq2SeqLM.from_pretrained(saved, target_lang="de")
    own = {"impl": "mine.Pipeline", "pt": ["AutoModelForSeq2SeqLM"]}
    others = {"summarization": own, "poetry": own, "prose": {"type": "text"}}
    model.config.custom_pipelines = {**model.config.custom_pipelines, **others}
    model.save_pretrained(tmp_path / "again")
    after = entries(tmp_path / "again")
    assert after.keys() == TASKS | {"translation_en_to_de", "poetry", "prose"}
    assert {task for task, entry in after.items() if entry == own} == {"summarization", "poetry"}


def test_checkpoints_of_a_trainer_have_them(model, tokenizer, texts, tmp_path):
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
    trainer = Seq2SeqTrainer(model, arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    for step in (1, 2):
        translate = transformers.pipeline(
            "translation", model=str(tmp_path / f"checkpoint-{step}"), trust_remote_code=True, max_new_tokens=8
        )
        assert translate("the fox")[0].keys() == {"translation_text"}


class TestUploads:
    @pytest.fixture
    def uploaded(self, monkeypatch):
        """The files of each upload, for a Hub that is not there."""
        uploads = []

        class Hub:
            def create_repo(self, repo_id, **kwargs):
                return type("Repo", (), {"repo_id": repo_id})

            def create_commit(self, repo_id, operations, **kwargs):
                uploads.append({operation.path_in_repo for operation in operations})

        monkeypatch.setattr("transformers.modeling_utils.hf_api", Hub)
        monkeypatch.setattr("transformers.utils.hub.hf_api", Hub)
        monkeypatch.setattr(
            "transformers.utils.hub.create_and_tag_model_card",
            lambda *args, **kwargs: transformers.utils.hub.ModelCard("---\n---\n"),
        )
        monkeypatch.setattr(
            "transformers.modeling_utils.create_and_tag_model_card",
            lambda *args, **kwargs: transformers.utils.hub.ModelCard("---\n---\n"),
        )
        return uploads

    def test_of_a_save_hold_the_file(self, model, uploaded, tmp_path):
        for _ in range(2):  # into a new folder, and into one that holds it already
            model.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id="me/model")
        assert len(uploaded) == 2
        assert all({FILE, "config.json", "model.safetensors"} <= upload for upload in uploaded)

    def test_of_a_push_hold_the_file(self, model, uploaded):
        model.push_to_hub("me/model")
        assert {FILE, "config.json", "model.safetensors"} <= uploaded[0]


class TestSaving:
    def test_is_for_the_main_process(self, model, tmp_path):
        model.save_pretrained(tmp_path, is_main_process=False)
        assert os.listdir(tmp_path) == []

    def test_loses_nothing_where_the_file_cannot_be_copied(self, model, tmp_path, monkeypatch, caplog):
        def copyfile(source, target):
            Path(target).write_text("half")
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(shutil, "copyfile", copyfile)
        model.save_pretrained(tmp_path)
        assert "saved without its pipelines" in caplog.text
        assert entries(tmp_path) is None
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
