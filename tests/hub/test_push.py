# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant push`, and what transformers pushes: the real client against a Hub on loopback."""

import hashlib
import importlib
import json
import logging
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load, load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PhobertTokenizer, Trainer, TrainingArguments

import locant
from locant.checkpoints.checkpoint_files import CheckpointError
from locant.cli import main
from locant.hub.errors import SharingError
from locant.hub.sharing import bundle
from locant.hub.sharing.push import push

from ..hub_server.repository import HubError, Repository

pytestmark = pytest.mark.end_to_end

SENTENCE = "the secret text of somebody"
MODEL = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
OF_RUN = {"metrics.json", "loss_curve.csv", "loss_curve.png"}
OF_CLASSIFIER = {*OF_RUN, "test_confusion_matrix.png"}
STRATEGIES = ["end", "every_save", "checkpoint", "all_checkpoints"]


@pytest.fixture
def translator(random_model):
    return random_model(locant.LocantForConditionalGeneration, source_lang="en", target_lang="fr")


@pytest.fixture
def run(tmp_path, translator, tokenizer):
    """A folder as a finished run leaves it, with all that is private about it."""
    folder = tmp_path / "runs" / "en-fr"
    translator.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    data = {"train_file": [f"{tmp_path}/train.en", f"{tmp_path}/train.fr"], "source_lang": "en", "target_lang": "fr"}
    kept = {"task": "translation", "model": {}, "data": data, "training": {"output_dir": str(folder)}}
    metrics = {"finished": True, "test": {"bleu": 31.25, "loss": 1.5}}
    files = {
        "run_config.yaml": yaml.safe_dump(kept),
        "metrics.json": json.dumps(metrics),
        "loss_curve.csv": "epoch,loss\n1,2.5\n",
        "loss_curve.png": "a picture",
        "test_confusion_matrix.png": "a picture",
        "test_translations.tsv": SENTENCE,
        "validation_predictions.tsv": SENTENCE,
        "eval_captions.tsv": SENTENCE,
        "test_losses.tsv": SENTENCE,
        "notes.txt": SENTENCE,
        "training_args.bin": SENTENCE,
        "optimizer.pt": SENTENCE,
        "scheduler.pt": SENTENCE,
        "rng_state.pth": SENTENCE,
        "trainer_state.json": SENTENCE,
        "pytorch_model.bin": SENTENCE,
        ".lock": SENTENCE,
        ".123.model.safetensors": SENTENCE,
        ".123.spiece.model": SENTENCE,
        "_private.py": SENTENCE,
        "prepare_data.py": SENTENCE,
        "checkpoint-10/model.safetensors": SENTENCE,
        "checkpoint-10/config.json": SENTENCE,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def locant_push(capsys):
    """A function that runs `locant push`: exit status, the line on standard output, the text on standard error."""

    def run_command(*arguments):
        capsys.readouterr()
        status = main(["push", *map(str, arguments)])
        output = capsys.readouterr()
        return status, output.out.strip(), output.err.strip()

    return run_command


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def pushed(hub, repo_id="me/en-fr", revision="main"):
    """The files there, without what every repository has."""
    files = hub.repositories[repo_id].resolve(revision).files
    return {name: blob for name, blob in files.items() if name != ".gitattributes"}


def titles(hub, repo_id="me/en-fr", revision="main"):
    return [commit.title for commit in hub.repositories[repo_id].history(revision)]


def code_of(files):
    """The files that config.json names as code."""
    auto_map = json.loads(files["config.json"].data)["auto_map"]
    return {f"{place.partition('.')[0]}.py" for place in auto_map.values()}


def test_what_belongs_to_the_model_arrives_and_nothing_else(hub, run, tmp_path, locant_push):
    before = contents(run)
    status, url, _ = locant_push(run, "me/en-fr")
    repository = hub.repositories["me/en-fr"]
    assert (status, url) == (0, f"{constants.ENDPOINT}/me/en-fr/commit/{repository.resolve('main').oid}")
    assert len(titles(hub)) == 2  # one commit upon the empty repository
    assert not repository.private
    files = pushed(hub)
    assert {name for name in files if not name.endswith(".py")} == MODEL | OF_CLASSIFIER | {"README.md"}
    code = {name for name in files if name.endswith(".py")}
    assert code == {path.name for path in run.glob("*.py")} - {"_private.py", "prepare_data.py"} >= code_of(files)
    for name in files.keys() - {"README.md"}:
        assert files[name].data == (run / name).read_bytes(), name
    for name, blob in files.items():
        for private in (SENTENCE, str(tmp_path), "hf_me"):
            assert private.encode() not in blob.data, (name, private)
    assert contents(run) == before


LOST = ("configuration_locant.py", "modeling_locant_attention.py", "modeling_locant_text_to_text_pipelines.py")


@pytest.mark.parametrize("lost", LOST)
def test_code_that_is_lost_is_named_with_how_to_mend_it(lost, hub, run, locant_push):
    (run / lost).unlink()
    status, _, said = locant_push(run, "me/en-fr")
    assert status == 2
    assert f"The code of the model in {run} lacks {lost}: load the model where Locant is installed, and save it" in said
    assert not hub.repositories
    AutoModelForSeq2SeqLM.from_pretrained(run).save_pretrained(run)
    assert locant_push(run, "me/en-fr")[0] == 0
    assert lost in pushed(hub)


def test_the_code_of_a_processor_that_is_lost_is_named(hub, tmp_path, random_model, processor, locant_push):
    folder = tmp_path / "captioner"
    random_model(locant.LocantForConditionalGeneration, encoder_input="patches").save_pretrained(folder)
    processor.save_pretrained(folder)
    assert locant_push(folder, "me/captioner")[0] == 0
    code = {"processing_locant.py", "image_processing_locant.py"}
    assert code <= pushed(hub, "me/captioner").keys()
    for lost in code:
        source = (folder / lost).read_text()
        (folder / lost).unlink()
        status, _, said = locant_push(folder, "me/captioner")
        assert status == 2
        assert f"The code of the processor in {folder} lacks {lost}: load the processor" in said
        (folder / lost).write_text(source)


def test_code_of_a_folder_without_the_prefix_arrives_with_it(hub, run, locant_push):
    code = {path.name for path in run.glob("*_locant*.py")}
    (run / "modeling_locant_sinusoidal.py").rename(run / "sinusoidal.py")
    entry = run / "modeling_locant.py"
    entry.write_text(entry.read_text().replace("from .modeling_locant_sinusoidal import", "from .sinusoidal import"))
    assert locant_push(run, "me/en-fr")[0] == 0
    assert {name for name in pushed(hub) if name.endswith(".py")} == code


def test_a_run_as_training_leaves_it(hub, trained_run, locant_push):
    assert locant_push(trained_run, "toy")[0] == 0
    files = pushed(hub, "me/toy")
    assert {name for name in files if not name.endswith(".py")} == MODEL | OF_RUN | {"README.md"}
    card = files["README.md"].data.decode()
    assert "me/toy" in card and "BLEU" in card
    assert not [name for name, blob in files.items() if str(trained_run.parent).encode() in blob.data]


def test_weights_go_to_the_large_file_storage_without_the_token(hub, run):
    push(run, "me/en-fr")
    weights = (run / "model.safetensors").read_bytes()
    sha256 = hashlib.sha256(weights).hexdigest()
    assert pushed(hub)["model.safetensors"].is_large
    assert not pushed(hub)["config.json"].is_large
    uploads = [request for request in hub.requests if request.method == "PUT"]
    assert [(request.path, request.user, request.status) for request in uploads] == [
        (f"/large/me/en-fr/{sha256}", None, 200)
    ]
    assert [r.status for r in hub.requests if r.path == "/me/en-fr.git/info/lfs/objects/verify"] == [200]


def test_large_weights_go_in_parts(hub, run):
    hub.multipart_over, hub.part_size = 10_000, 16_384
    push(run, "me/en-fr")
    weights = (run / "model.safetensors").read_bytes()
    parts = [request.path.rpartition("/")[2] for request in hub.requests if request.method == "PUT"]
    assert parts == [str(number) for number in range(1, 2 + len(weights) // 16_384)]
    assert pushed(hub)["model.safetensors"].data == weights


def test_a_model_saved_without_code_gets_it(hub, translator, tokenizer, tmp_path):
    locant.disable_bundling()
    try:
        translator.save_pretrained(tmp_path / "model")
    finally:
        locant.enable_bundling()
    tokenizer.save_pretrained(tmp_path / "model")
    before = contents(tmp_path / "model")
    assert "auto_map" not in json.loads((tmp_path / "model" / "config.json").read_text())
    push(tmp_path / "model", "me/en-fr")
    assert code_of(pushed(hub)) <= pushed(hub).keys()
    assert contents(tmp_path / "model") == before


def test_an_error_of_writing_the_code_stops_the_push(hub, run, monkeypatch):
    def write_files(files, folder):
        raise SharingError("the code cannot be written")

    monkeypatch.setattr(bundle, "write_files", write_files)
    with pytest.raises(SharingError, match="the code cannot be written"):
        push(run, "me/en-fr")
    assert not hub.repositories


@pytest.fixture
def of_own_class(tmp_path, random_model, monkeypatch):
    """The folder of a model whose class is from outside of Locant, and whose code ends in an error."""
    (tmp_path / "of_own.py").write_text("import locant\n\n\nclass OfOwn(locant.LocantForCausalLM):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        random_model(importlib.import_module("of_own").OfOwn).save_pretrained(tmp_path / "model")
    finally:
        sys.modules.pop("of_own", None)
    for path in (tmp_path / "model").glob("*.py"):
        path.write_text(f"{path.read_text()}\nraise SystemExit('{path.name} was run')\n")
    return tmp_path / "model"


def test_a_model_of_a_class_from_outside_goes_with_its_code_which_does_not_run(hub, of_own_class):
    push(of_own_class, "me/own")
    files = pushed(hub, "me/own")
    assert "of_own.py" in code_of(files)
    for path in of_own_class.iterdir():
        assert files[path.name].data == path.read_bytes(), path.name


def test_weights_of_a_class_from_outside_are_checked(hub, of_own_class):
    weights = load_file(of_own_class / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, of_own_class / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="holds NaN or infinity"):
        push(of_own_class, "me/own")
    assert not hub.repositories


def test_the_card_is_of_this_repository_and_ones_own_card_stays(hub, run):
    push(run, "me/en-fr")
    assert 'model="me/en-fr"' in pushed(hub)["README.md"].data.decode()
    push(run, "lab/other")
    assert 'model="lab/other"' in pushed(hub, "lab/other")["README.md"].data.decode()
    (run / "README.md").write_text("---\nlicense: mit\n---\n\n# Written by hand\n")
    push(run, "me/en-fr")
    assert pushed(hub)["README.md"].data == (run / "README.md").read_bytes()


def test_a_second_push_changes_what_changed(hub, run, translator):
    push(run, "me/en-fr", commit_message="one")
    with torch.no_grad():
        translator.get_input_embeddings().weight.add_(1)
    translator.save_pretrained(run)
    url = push(run, "me/en-fr", commit_message="two")
    assert titles(hub) == ["two", "one", "initial commit"]
    assert push(run, "me/en-fr", commit_message="nothing new") == url
    assert titles(hub)[0] == "two"
    assert pushed(hub)["model.safetensors"].data == (run / "model.safetensors").read_bytes()


def test_weights_of_before_go_and_other_files_stay(hub, run, translator):
    translator.push_to_hub("me/en-fr", max_shard_size="20KB")
    shards = {name for name in pushed(hub) if "safetensors" in name}
    assert len(shards) > 2
    api = HfApi()
    pickles = ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json")
    for name in ("handler.py", *pickles):
        api.upload_file(path_or_fileobj=b"mine", path_in_repo=name, repo_id="me/en-fr")
    push(run, "me/en-fr")
    assert {name for name in pushed(hub) if "safetensors" in name} == {"model.safetensors"}
    assert pushed(hub).keys().isdisjoint(pickles)
    assert pushed(hub)["handler.py"].data == b"mine"


def test_private(hub, run, locant_push):
    assert locant_push(run, "me/en-fr", "--private")[0] == 0
    assert hub.repositories["me/en-fr"].private
    assert locant_push(run, "me/en-fr")[0] == 0  # it stays
    assert hub.repositories["me/en-fr"].private
    push(run, "me/public")
    head = hub.repositories["me/public"].resolve("main")
    status, _, error = locant_push(run, "me/public", "--private")
    assert status == 2 and "me/public already exists and is public" in error
    assert hub.repositories["me/public"].resolve("main") is head


def test_a_branch_is_made_and_main_stays(hub, run, locant_push):
    push(run, "me/en-fr", commit_message="first")
    (run / "LICENSE").write_text("mine")
    assert locant_push(run, "me/en-fr", "--revision", "next", "--commit_message", "second")[0] == 0
    assert titles(hub) == ["first", "initial commit"]
    assert titles(hub, revision="next") == ["second", "first", "initial commit"]
    assert pushed(hub, revision="next")["LICENSE"].data == b"mine"


def test_a_pull_request_leaves_main_as_it_is(hub, run, locant_push):
    push(run, "me/en-fr")
    head = hub.repositories["me/en-fr"].resolve("main")
    (run / "LICENSE").write_text("theirs")
    # anybody may ask, but not commit
    status, _, error = locant_push(run, "me/en-fr", "--token", "hf_somebody")
    assert status == 2 and "The Hub refuses the push to me/en-fr" in error
    status, url, _ = locant_push(run, "me/en-fr", "--create_pr", "--token", "hf_somebody")
    assert (status, url) == (0, f"{constants.ENDPOINT}/me/en-fr/discussions/1")
    assert hub.repositories["me/en-fr"].resolve("main") is head
    assert pushed(hub, revision="refs/pr/1")["LICENSE"].data == b"theirs"
    assert hub.repositories["me/en-fr"].resolve("refs/pr/1").author == "somebody"


def test_a_pull_request_that_is_open_gets_another_commit_and_no_branch_is_made(hub, run):
    push(run, "me/en-fr")
    for text, options in (("theirs", {"create_pr": True}), ("mine", {"revision": "refs/pr/1"})):
        (run / "LICENSE").write_text(text)
        push(run, "me/en-fr", **options)
        assert hub.repositories["me/en-fr"].refs.keys() == {"refs/heads/main", "refs/pr/1"}
        assert pushed(hub, revision="refs/pr/1")["LICENSE"].data == text.encode()
    assert "LICENSE" not in pushed(hub)


def test_the_commit_names_the_folder_and_the_version(hub, run, monkeypatch):
    monkeypatch.chdir(run)
    push(".", "me/model")
    assert titles(hub, "me/model")[0] == f"en-fr, by Locant {version('locant')}"


def is_swapped(run, monkeypatch):
    monkeypatch.chdir(run.parent.parent)
    return ("me/en-fr", "runs/en-fr"), "locant push runs/en-fr me/en-fr"


def is_missing(run, monkeypatch):
    return (run.parent / "none", "me/en-fr"), "none is no folder"


def is_empty(run, monkeypatch):
    (run.parent / "empty").mkdir()
    return (run.parent / "empty", "me/en-fr"), "holds no weights: give the folder of a finished run"


def is_unfinished(run, monkeypatch):
    (run / "model.safetensors").unlink()
    (run / "pytorch_model.bin").unlink()
    return (run, "me/en-fr"), f"push its newest checkpoint, {run / 'checkpoint-10'}."


def has_a_pickle_alone(run, monkeypatch):
    (run / "model.safetensors").unlink()
    return (run, "me/en-fr"), "as a pickle (.bin)"


def has_no_config(run, monkeypatch):
    (run / "config.json").unlink()
    return (run, "me/en-fr"), "has no config.json: give the folder of a saved model"


def is_truncated(run, monkeypatch):
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return (run, "me/en-fr"), "model.safetensors"


def diverged(run, monkeypatch):
    weights = load_file(run / "model.safetensors")
    weights["lm_head.weight" if "lm_head.weight" in weights else next(iter(weights))].view(-1)[0] = float("nan")
    save_file(weights, run / "model.safetensors", metadata={"format": "pt"})
    return (run, "me/en-fr"), "holds NaN or infinity"


def lacks_a_weight(run, monkeypatch):
    weights = load_file(run / "model.safetensors")
    lost = next(name for name in weights if "encoder.layers.0" in name)
    del weights[lost]
    save_file(weights, run / "model.safetensors", metadata={"format": "pt"})
    return (run, "me/en-fr"), f"The tensor {lost!r} is missing"


def has_an_absurd_config(run, monkeypatch):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "encoder_layers": 10**12}))
    return (run, "me/en-fr"), "cannot be used ("


def has_a_web_page_for_a_tokenizer(run, monkeypatch):
    (run / "tokenizer.json").write_text("<html>")
    return (run, "me/en-fr"), "tokenizer.json cannot be read as JSON"


def is_of_another_kind(run, monkeypatch):
    (run / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    return (run, "me/en-fr"), "holds a model of type 'bert', not a Locant model: locant convert"


def has_an_invalid_card(run, monkeypatch):
    (run / "README.md").write_text("---\nlicense: [mit\n---\n\n# Mine\n")
    return (run, "me/en-fr"), "The metadata at the top of"


def has_no_name(run, monkeypatch):
    return (run, "me/en/fr"), "'me/en/fr' cannot be the name of a repository: give USER/NAME"


def is_not_logged_in(run, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    return (run, "me/en-fr"), "You are not logged in to the Hub: run `hf auth login`, or give --token."


def has_a_wrong_token(run, monkeypatch):
    return (run, "me/en-fr", "--token", "hf_wrong"), "The Hub does not accept your token"


def may_only_read(run, monkeypatch):
    return (run, "me/en-fr", "--token", "hf_reader"), "You don't have the rights"


def is_anothers(run, monkeypatch):
    return (run, "somebody/en-fr"), "You don't have the rights to create a model under the namespace"


def asks_for_two_things(run, monkeypatch):
    return (run, "me/en-fr", "--create_pr", "--revision", "next"), "create_pr opens a pull request to main"


def has_no_network(run, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    return (run, "me/en-fr"), "The Hub at http://127.0.0.1:1 cannot be reached"


def is_offline(run, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return (run, "me/en-fr"), "offline mode is enabled"


@pytest.mark.parametrize(
    "fault",
    [
        *(is_swapped, is_missing, is_empty, is_unfinished, has_a_pickle_alone, has_no_config, is_truncated),
        *(diverged, lacks_a_weight, has_an_absurd_config, has_a_web_page_for_a_tokenizer),
        *(is_of_another_kind, has_an_invalid_card, has_no_name, is_not_logged_in, has_a_wrong_token, may_only_read),
        *(is_anothers, asks_for_two_things, has_no_network, is_offline),
    ],
)
def test_what_cannot_be_pushed_is_told_in_a_sentence(hub, run, monkeypatch, locant_push, fault):
    arguments, sentence = fault(run, monkeypatch)
    status, output, error = locant_push(*arguments)
    assert (status, output) == (2, "")
    last = error.splitlines()[-1]  # above it may be warnings
    assert last.startswith("locant push: error: ") and sentence in last
    assert hub.repositories == {}
    assert not [request for request in hub.requests if request.method in ("PUT", "DELETE")]


def test_a_repository_that_is_there_is_not_taken_for_a_run(hub, run, tmp_path, monkeypatch):
    push(run, "me/en-fr")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SharingError, match="me/en-fr is no folder, but runs/en-fr is a folder: give the folder"):
        push("me/en-fr", "runs/en-fr")


def test_help_says_what_stays_at_home(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["push", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in ("--private", "--revision", "--token", "--create_pr", "texts of the data are not uploaded"):
        assert words in text


def test_saving_with_a_push_uploads_the_code_that_was_there_and_nobodys_scripts(hub, run, translator):
    translator.save_pretrained(run, push_to_hub=True, repo_id="me/en-fr")
    files = pushed(hub)
    assert code_of(files) <= files.keys()
    assert files.keys().isdisjoint({"prepare_data.py", "_private.py", "notes.txt"})


def test_a_model_is_pushed_in_shards(hub, translator):
    translator.push_to_hub("me/en-fr", max_shard_size="20KB", private=True)
    assert hub.repositories["me/en-fr"].private
    files = pushed(hub)
    index = json.loads(files["model.safetensors.index.json"].data)["weight_map"]
    shards = set(index.values())
    assert len(shards) > 2 and all(files[shard].is_large for shard in shards)
    tensors = {name: tensor for shard in shards for name, tensor in load(files[shard].data).items()}
    assert tensors.keys() == index.keys()
    weights = translator.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in tensors.items())
    assert code_of(files) <= files.keys()


def test_a_tokenizer_is_pushed_beside_the_model(hub, translator, tokenizer):
    translator.push_to_hub("me/en-fr")
    before = pushed(hub)
    tokenizer.push_to_hub("me/en-fr", commit_message="its tokenizer")
    assert titles(hub)[0] == "its tokenizer"
    assert before.keys() < pushed(hub).keys()
    assert AutoTokenizer.from_pretrained("me/en-fr")("the red cat") == tokenizer("the red cat")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_trainer_pushes_the_code(hub, translator, tokenizer, tmp_path, strategy):
    rows = [{**tokenizer(text), "labels": tokenizer(text)["input_ids"]} for text in ["the red cat"] * 4]
    arguments = TrainingArguments(
        str(tmp_path / "run"),
        max_steps=2,
        save_steps=1,
        per_device_train_batch_size=2,
        push_to_hub=True,
        hub_model_id="me/en-fr",
        hub_strategy=strategy,
        hub_always_push=True,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(translator, arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    trainer.push_to_hub()
    files = pushed(hub)
    assert code_of(files) <= files.keys()
    trained = translator.state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in load(files["model.safetensors"].data).items())
    places = {"end": set(), "every_save": set(), "checkpoint": {"last-checkpoint"}}
    folders = {name.partition("/")[0] for name in files if "/" in name}
    assert folders == places.get(strategy, {"checkpoint-1", "checkpoint-2"})
    for folder in folders:
        assert code_of({"config.json": files[f"{folder}/config.json"]}) <= {
            name.removeprefix(f"{folder}/") for name in files
        }


@pytest.mark.sampled(4)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_training_pushes_the_model_and_its_card_and_nothing_private(hub, toy, tmp_path, strategy):
    folder = tmp_path / "run"
    options = {"max_steps": 4, "eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    options |= {"hub_model_id": "lab/toy", "hub_strategy": strategy, "hub_token": "hf_me", "hub_always_push": "true"}
    assert toy.train(folder, push_to_hub="true", hub_private_repo="true", predict_with_generate="false", **options) == 0
    assert hub.repositories["lab/toy"].private
    files = pushed(hub, "lab/toy")
    assert MODEL | OF_RUN | {"README.md"} <= files.keys()
    assert code_of(files) <= files.keys()
    saved = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in load(files["model.safetensors"].data).items())
    bleu = json.loads((folder / "metrics.json").read_text())["test"]["bleu"]
    card = ModelCard(files["README.md"].data.decode())
    assert {result.metric_value for result in card.data.eval_results} >= {bleu} and "lab/toy" in card.text
    # a push in the background may find the files of the next one already, and then there is nothing new for that
    in_progress = [title for title in titles(hub, "lab/toy") if title.startswith("Training in progress")]
    assert bool(in_progress) == (strategy != "end")
    places = {"checkpoint": {"last-checkpoint"}, "all_checkpoints": {"checkpoint-2", "checkpoint-4"}}
    assert {name.partition("/")[0] for name in files if "/" in name} == places.get(strategy, set())
    # no state that ever was there holds what is private
    for commit in hub.repositories["lab/toy"].commits.values():
        for name, blob in commit.files.items():
            assert not re.search(r"training_args|\.tsv$|run_config|(^|/)\.(?!gitattributes)", name), name
            assert b"hf_me" not in blob.data, name
            if not name.startswith(("last-checkpoint/", "checkpoint-")):
                assert str(tmp_path).encode() not in blob.data, name
    assert not [path for path in folder.rglob("*") if path.is_file() and b"hf_me" in path.read_bytes()]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hub_model_id": "me/toy"}, "The run cannot be pushed to me/toy: Invalid username or password"),
        ({"hub_model_id": "me/toy", "hub_token": "hf_wrong"}, "Invalid credentials in Authorization header"),
        ({"hub_model_id": "me/toy", "hub_token": "hf_somebody"}, "You don't have the rights"),
        ({"hub_model_id": "a/b/c", "hub_token": "hf_me"}, "Repo id must be in the form"),
        (
            {"hub_model_id": "me/open", "hub_token": "hf_me", "hub_private_repo": "true"},
            "already exists and is public",
        ),
    ],
)
def test_training_does_not_begin_what_cannot_be_pushed(hub, toy, tmp_path, monkeypatch, capsys, options, sentence):
    HfApi().create_repo("me/open")
    monkeypatch.delenv("HF_TOKEN")
    assert toy.train(tmp_path / "run", push_to_hub="true", **options) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
    assert hub.repositories.keys() == {"me/open"}


def test_a_last_push_that_fails_says_where_the_model_is(hub, toy, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    options = {"max_steps": 2, "hub_model_id": "me/toy", "predict_with_generate": "false"}
    monkeypatch.setattr(Repository, "is_large", refuse)
    assert toy.train(folder, push_to_hub="true", **options) == 2
    assert f"`locant push {folder} me/toy` tries again" in capsys.readouterr().err.splitlines()[-1]
    assert json.loads((folder / "metrics.json").read_text())["finished"]
    monkeypatch.undo()
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    push(folder, "me/toy")
    assert pushed(hub, "me/toy")["model.safetensors"].data == (folder / "model.safetensors").read_bytes()


def refuse(*arguments):
    raise HubError(403, "The storage of the account is full")


def test_the_server_refuses_what_the_hub_refuses(hub, run):
    """A commit upon another than the newest one, a repository that is there, an invalid card, another's repository."""
    push(run, "me/en-fr")
    api = HfApi()
    first = hub.repositories["me/en-fr"].history("main")[-1].oid
    upload = {"path_or_fileobj": b"---\n[\n---\n", "repo_id": "me/en-fr"}
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.upload_file(**upload, path_in_repo="x", parent_commit=first)
    with pytest.raises(HfHubHTTPError, match="You already created this model repo"):
        api.create_repo("me/en-fr")
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        api.upload_file(**upload, path_in_repo="README.md")
    with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
        api.upload_file(**upload, path_in_repo="x", token="hf_somebody")


def test_a_file_that_matches_two_patterns_is_pushed_once(hub, run):
    (run / "vocab.model").write_text("pieces")
    push(run, "me/en-fr")
    assert pushed(hub)["vocab.model"].data == b"pieces"


def test_a_tokenizer_of_another_family_arrives_whole(hub, translator, tmp_path):
    (tmp_path / "vocab").write_text("a 1\nb 1\n")
    (tmp_path / "merges").write_text("a b 1\n")
    translator.save_pretrained(tmp_path / "run")
    PhobertTokenizer(str(tmp_path / "vocab"), str(tmp_path / "merges")).save_pretrained(tmp_path / "run")
    push(tmp_path / "run", "me/en-fr")
    assert {"vocab.txt", "bpe.codes"} <= pushed(hub).keys()


def test_messages_name_the_files_of_the_run(hub, run, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    (run / "README.md").write_text("# Mine\n")
    push(run, "me/en-fr")
    assert f"{run / 'README.md'} was not written by Locant" in caplog.text
    (run / "metrics.json").write_text("{")
    with pytest.raises(SharingError, match=re.escape(f"{run / 'metrics.json'} cannot be read")):
        push(run, "me/en-fr")


def test_without_links_copies_are_pushed(hub, run, monkeypatch):
    def refuse(*arguments):
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    before = contents(run)
    push(run, "me/en-fr")
    assert pushed(hub)["model.safetensors"].data == (run / "model.safetensors").read_bytes()
    assert contents(run) == before
