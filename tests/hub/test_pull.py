# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Models loaded by their name on the Hub: the real client against a Hub on loopback."""

import shutil
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from huggingface_hub import HfApi, HfFileSystem, constants, snapshot_download
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

import locant
from locant.cli import main
from locant.hub.sharing.push import push

from .. import environments
from ..hub_server.loopback import SERVER

pytestmark = pytest.mark.end_to_end

IDS = torch.tensor([[5, 6, 7, 8, 2], [9, 10, 2, 0, 0]])
INPUTS = {"input_ids": IDS, "attention_mask": IDS.ne(0).long(), "decoder_input_ids": IDS[:, :3]}


@pytest.fixture
def translator(random_model):
    model = random_model(locant.LocantForConditionalGeneration, source_lang="en", target_lang="fr")
    model.generation_config.update(num_beams=3, max_new_tokens=7)
    return model


@pytest.fixture
def folder(tmp_path, translator, tokenizer):
    """A saved translator."""
    translator.save_pretrained(tmp_path / "en-fr")
    tokenizer.save_pretrained(tmp_path / "en-fr")
    return tmp_path / "en-fr"


@torch.no_grad()
def logits(model):
    return model(**INPUTS).logits


def change(model, by):
    """Other weights."""
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(by)
    return logits(model)


def downloads(hub, ending):
    """Answers with content for files of that ending, large ones by their SHA-256."""
    return [request for request in hub.requests if request.method == "GET" and request.path.endswith(ending)]


def forget():
    """Empty the client's cache."""
    shutil.rmtree(constants.HF_HUB_CACHE, ignore_errors=True)


def test_a_model_is_loaded_by_its_name(hub, folder, translator, tokenizer):
    push(folder, "me/en-fr")
    model = AutoModelForSeq2SeqLM.from_pretrained("me/en-fr")
    assert isinstance(model, locant.LocantForConditionalGeneration)
    assert torch.equal(logits(model), logits(translator))
    assert model.generation_config.num_beams == 3
    assert torch.equal(model.generate(IDS), translator.generate(IDS))
    texts = ["the red cat sees the dog", "the fox"]
    assert AutoTokenizer.from_pretrained("me/en-fr")(texts).data == tokenizer(texts).data


def test_a_cached_model_is_not_downloaded_again(hub, folder):
    push(folder, "me/en-fr")
    sha256 = hub.repositories["me/en-fr"].resolve("main").files["model.safetensors"].sha256
    for _ in range(2):
        AutoModelForSeq2SeqLM.from_pretrained("me/en-fr")
        assert len(downloads(hub, sha256)) == len(downloads(hub, "/config.json")) == 1


def test_pipelines_take_the_name(hub, folder, translator, tokenizer):
    push(folder, "me/en-fr")
    texts = ["the red cat", "the fox"]
    expected = locant.pipeline("translation_en_to_fr", model=translator, tokenizer=tokenizer)(texts)
    assert locant.pipeline("translation_en_to_fr", model="me/en-fr")(texts) == expected
    theirs = transformers.pipeline("translation_en_to_fr", model="me/en-fr", trust_remote_code=True)
    assert theirs(texts) == expected


def test_the_command_line_takes_the_name(hub, folder, tmp_path, capsys):
    push(folder, "me/en-fr")
    (tmp_path / "text").write_text("the red cat\nthe fox\n")
    printed = []
    for model in (str(folder), "me/en-fr"):
        capsys.readouterr()
        assert main(["translate", model, str(tmp_path / "text"), "--no_progress"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and printed[0].count("\n") == 2


def test_each_revision_has_its_weights(hub, folder, translator):
    push(folder, "me/en-fr")
    expected = {"v1": logits(translator)}
    api = HfApi()
    api.create_tag("me/en-fr", tag="v1")
    for revision, options in (
        ("main", {}),
        ("next", {"revision": "next"}),
        ("refs/pr/1", {"create_pr": True}),
    ):
        expected[revision] = change(translator, by=0.5)
        translator.save_pretrained(folder)
        push(folder, "me/en-fr", **options)
    refs = api.list_repo_refs("me/en-fr", include_pull_requests=True)
    assert {ref.name for ref in [*refs.branches, *refs.tags, *refs.pull_requests]} == expected.keys()
    for name, commit in ((ref.name, ref.target_commit) for ref in [*refs.branches, *refs.tags, *refs.pull_requests]):
        for revision in (name, commit):
            model = AutoModelForSeq2SeqLM.from_pretrained("me/en-fr", revision=revision)
            assert torch.equal(logits(model), expected[name]), revision
    outputs = list(expected.values())
    assert not any(torch.equal(one, other) for i, one in enumerate(outputs) for other in outputs[:i])


def test_a_revision_that_is_not_there(hub, folder):
    push(folder, "me/en-fr")
    with pytest.raises(OSError, match="v9 is not a valid git identifier"):
        AutoModelForSeq2SeqLM.from_pretrained("me/en-fr", revision="v9")


def test_a_private_model_is_there_for_its_owner_alone(hub, folder, translator, monkeypatch, capsys):
    push(folder, "me/en-fr", private=True)
    monkeypatch.delenv("HF_TOKEN")
    for token in (None, "hf_somebody"):  # as if it were not there
        with pytest.raises(OSError, match="If this is a private repository, make sure to pass a token"):
            AutoModelForSeq2SeqLM.from_pretrained("me/en-fr", token=token)
    assert {(request.status, request.user) for request in hub.requests[-2:]} <= {(401, None), (404, "somebody")}
    assert main(["translate", "me/en-fr", "--no_progress"]) == 2
    assert "me/en-fr" in capsys.readouterr().err
    model = AutoModelForSeq2SeqLM.from_pretrained("me/en-fr", token="hf_me")
    assert torch.equal(logits(model), logits(translator))
    forget()
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    assert torch.equal(logits(AutoModelForSeq2SeqLM.from_pretrained("me/en-fr")), logits(translator))


def test_a_gated_model_is_there_for_those_who_were_accepted(hub, folder, monkeypatch):
    push(folder, "me/en-fr")
    HfApi().update_repo_settings("me/en-fr", gated="auto")
    monkeypatch.setenv("HF_TOKEN", "hf_somebody")
    with pytest.raises(OSError, match="gated repo"):
        AutoConfig.from_pretrained("me/en-fr")
    hub.repositories["me/en-fr"].accepted.add("somebody")
    assert AutoConfig.from_pretrained("me/en-fr").d_model == 16


def test_a_model_that_is_not_there(hub):
    with pytest.raises(OSError, match="me/none is not a local folder and is not a valid model identifier"):
        AutoModelForSeq2SeqLM.from_pretrained("me/none")


def test_a_download_that_broke_off_goes_on_where_it_was(hub, random_model, tmp_path):
    """The client writes 10 MiB at a time, so the weights are larger."""
    wide = {"d_model": 256, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048}
    model = random_model(locant.LocantForConditionalGeneration, **wide)
    model.save_pretrained(tmp_path / "model")
    push(tmp_path / "model", "me/wide")
    blob = hub.repositories["me/wide"].resolve("main").files["model.safetensors"]
    hub.break_after = len(blob.data) - 100_000
    loaded = AutoModelForSeq2SeqLM.from_pretrained("me/wide")
    assert hub.break_after is None
    first, second = downloads(hub, blob.sha256)
    assert (first.range, first.status) == (None, 200)
    assert (second.range, second.status) == (f"bytes={constants.DOWNLOAD_CHUNK_SIZE}-", 206)
    weights = model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.state_dict().items())


def test_a_part_of_a_file_is_that_part(hub, folder):
    push(folder, "me/en-fr")
    weights = (folder / "model.safetensors").read_bytes()
    with HfFileSystem().open("me/en-fr/model.safetensors", block_size=0) as file:
        assert file.read(100) == weights[:100]
    metadata = HfApi().get_safetensors_metadata("me/en-fr")  # of which the client asks for the first bytes alone
    assert metadata.parameter_count == {"F32": (len(weights) - 8 - int.from_bytes(weights[:8], "little")) // 4}
    assert [request.range for request in hub.requests[-1:]] == ["bytes=0-100000"]


def test_shards_are_loaded_by_name(hub, translator):
    translator.push_to_hub("me/en-fr", max_shard_size="20KB")
    assert "model.safetensors" not in hub.repositories["me/en-fr"].resolve("main").files
    model = AutoModelForSeq2SeqLM.from_pretrained("me/en-fr")
    assert torch.equal(logits(model), logits(translator))


@pytest.mark.slow
def test_a_long_list_of_files_comes_in_pages(hub, folder):
    push(folder, "me/en-fr")
    HfApi().upload_folder(repo_id="me/en-fr", folder_path=folder, path_in_repo="copies/of/it")
    hub.page_size = 7
    snapshot = Path(snapshot_download("me/en-fr"))
    for name in ("", "copies/of/it/"):
        for path in folder.iterdir():
            assert (snapshot / f"{name}{path.name}").read_bytes() == path.read_bytes()
    files = hub.repositories["me/en-fr"].resolve("main").files
    assert {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()} == files.keys()
    assert len([request for request in hub.requests if "/tree/" in request.path]) > len(files) // 7
    here = {entry.path for entry in HfApi().list_repo_tree("me/en-fr")}
    assert "copies" in here and not [name for name in here if "/" in name]


WITHOUT_LOCANT = """
import sys
import torch
from transformers import AutoModelForSeq2SeqLM
model = AutoModelForSeq2SeqLM.from_pretrained("me/en-fr", trust_remote_code=True, revision=sys.argv[1])
inputs = torch.load(sys.argv[2])
with torch.no_grad():
    torch.save(model.eval()(**inputs).logits, sys.argv[3])
model.push_to_hub("me/again")
"""


@pytest.mark.slow
def test_where_locant_is_not_installed(hub, folder, translator, tmp_path):
    """The code comes from the Hub, at the revision that is asked for, and goes back there."""
    environment = environments.Environment(tmp_path, ("transformers[torch]", "torch"), without=["pillow"])
    push(folder, "me/en-fr", revision="next", private=True)
    torch.save(INPUTS, tmp_path / "inputs.pt")
    online = {"HF_ENDPOINT": SERVER.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_me"}
    environment.run(WITHOUT_LOCANT, "next", tmp_path / "inputs.pt", tmp_path / "logits.pt", **online)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), logits(translator))
    again = AutoModelForSeq2SeqLM.from_pretrained("me/again")
    assert torch.equal(logits(again), logits(translator))
    pushed, there = (
        hub.repositories[name].resolve(at).files for name, at in (("me/en-fr", "next"), ("me/again", "main"))
    )
    assert {name for name in pushed if name.endswith(".py")} == {name for name in there if name.endswith(".py")}


@pytest.mark.slow
def test_training_goes_on_from_the_name(hub, toy, trained_run, tmp_path):
    push(trained_run, "me/toy")
    config = toy.write_config("finer", {**toy.sections(), "model": {"model_name_or_path": "me/toy"}})
    sections = yaml.safe_load(config.read_text())
    del sections["data"]["tokenizer_vocab_size"]
    config.write_text(yaml.safe_dump(sections))
    still = {"learning_rate": 1e-12, "max_steps": 1, "predict_with_generate": "false"}
    assert toy.train(tmp_path / "finer", config, **still) == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (trained_run, tmp_path / "finer"))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-9)
