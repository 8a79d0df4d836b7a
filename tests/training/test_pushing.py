# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What a run pushes to the Hub with each `hub_strategy`: the given card, the complete model, and no private files."""

import json
import shutil
from types import SimpleNamespace

import pytest
import transformers
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects

from locant.training.run import pushing

PRIVATE = ("run_config.yaml", "training_args.bin", ".lock")


class Hub:
    """Stands for the Hub's client: keeps each upload as a folder of what the real one would take."""

    def __init__(self, folder):
        self.folder, self.commits = folder, []

    def create_repo(self, repo_id, **kwargs):
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, folder_path, ignore_patterns, run_as_future, repo_id, **commit):
        files = [str(path.relative_to(folder_path)) for path in folder_path.rglob("*") if path.is_file()]
        kept = self.folder / str(len(self.commits))
        for file in filter_repo_objects(files, ignore_patterns=ignore_patterns):
            (kept / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder_path / file, kept / file)
        self.commits.append(SimpleNamespace(folder=kept, repo_id=repo_id, **commit))
        return SimpleNamespace(done=lambda: True)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(pushing, "hf_api", lambda: hub)
    monkeypatch.setattr(transformers.trainer, "hf_api", lambda: hub)
    return hub


def names(commit):
    return {str(path.relative_to(commit.folder)) for path in commit.folder.rglob("*") if path.is_file()}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("strategy", ["end", "every_save", "checkpoint", "all_checkpoints"])
def test_each_strategy_pushes_model_code_and_card(toy, tmp_path, hub, strategy):
    run = tmp_path / "run"
    options = {"num_train_epochs": 2, "hub_model_id": "me/toy", "hub_strategy": strategy, "hub_token": "hf_secret"}
    assert toy.train(run, push_to_hub=True, **options) == 0
    of_model = [commit for commit in hub.commits if not getattr(commit, "path_in_repo", None)]
    messages = [f"Training in progress, epoch {epoch}" for epoch in (1, 2)] if strategy != "end" else []
    assert [commit.commit_message for commit in of_model] == [*messages, "End of training"]
    for commit in of_model:
        found = names(commit)
        assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "metrics.json"} <= found
        code = json.loads((commit.folder / "config.json").read_text())["auto_map"]
        assert {f"{place.partition('.')[0]}.py" for place in code.values()} <= found
        assert not [name for name in found if name in PRIVATE or name.endswith((".tsv", ".bin", ".pt", ".pth"))]
        assert not [path for path in commit.folder.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]
        card = ModelCard.load(commit.folder / "README.md")
        assert card.data.pipeline_tag == "translation"
        assert 'model="me/toy"' in card.text
        assert commit.token == "hf_secret"
    *before, last = (ModelCard.load(commit.folder / "README.md") for commit in of_model)
    assert all(card.data.eval_results is None and "not finished" in card.text for card in before)
    scores = {(result.dataset_split, result.metric_name): result.metric_value for result in last.data.eval_results}
    assert scores["test", "BLEU"] == json.loads((run / "metrics.json").read_text())["test"]["bleu"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "places"),
    [("checkpoint", ["last-checkpoint"] * 2), ("all_checkpoints", ["checkpoint-40", "checkpoint-80"])],
)
def test_training_can_go_on_from_a_pushed_checkpoint(toy, tmp_path, hub, strategy, places):
    options = {"num_train_epochs": 2, "hub_model_id": "me/toy", "hub_strategy": strategy}
    assert toy.train(tmp_path / "run", push_to_hub=True, **options) == 0
    checkpoints = [commit for commit in hub.commits if getattr(commit, "path_in_repo", None)]
    assert [commit.path_in_repo for commit in checkpoints] == places
    for commit in checkpoints:
        assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"} <= names(commit)
        assert not {*PRIVATE} & names(commit)


def test_push_to_hub_saves_the_model_and_uploads_as_push_folder_does(monkeypatch):
    trainer, calls = object.__new__(pushing.PushingTrainer), []
    monkeypatch.setattr(trainer, "save_model", lambda **options: calls.append(options), raising=False)
    monkeypatch.setattr(trainer, "is_world_process_zero", lambda: True)
    monkeypatch.setattr(trainer, "push_folder", lambda: calls.append("push_folder"))
    trainer.push_to_hub(commit_message="a message")
    assert calls == [{"_internal_call": True}, "push_folder"]


def test_every_run_has_its_card_and_no_pickle_of_its_arguments(trained_run):
    assert (trained_run / "README.md").is_file()
    assert not list(trained_run.rglob("training_args.bin"))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "task", ["language_modeling", "masked_language_modeling", "image_classification", "captioning"]
)
def test_the_card_of_a_run_has_what_it_measured(document_runs, picture_runs, task):
    folder = {**document_runs, **picture_runs}[task]
    card, metrics = ModelCard.load(folder / "README.md"), json.loads((folder / "metrics.json").read_text())
    scores = {(result.dataset_split, result.metric_name): result.metric_value for result in card.data.eval_results}
    assert scores["test", "loss"] == metrics["test"]["loss"]
    assert f"{metrics['parameters']:,}" in card.text
    assert str(folder.parent) not in card.content
