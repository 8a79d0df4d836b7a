# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reads the data for a model card from a model's folder: its configs, headers of weights, and files of the run."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME

from locant.checkpoints.checkpoint_files import Checkpoint, CheckpointError
from locant.utils.run_files import METRICS_FILE, RUN_CONFIG_FILE

from ..errors import SharingError
from ..pipelines.pipeline_tasks import PIPELINE_TASKS, pipeline_task

SPLITS = ("train", "validation", "test")

# Name of a metric in metrics.json -> its id on the Hub, its name on the Hub, and its arguments without the signature
METRICS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bleu": ("sacrebleu", "BLEU", {}),
    "chrf": ("chrf", "chrF", {}),
    "exact": ("exact_match", "exact match", {}),
    "accuracy": ("accuracy", "accuracy", {}),
    "macro_f1": ("f1", "macro F1", {"average": "macro"}),
    "mse": ("mse", "mean squared error", {}),
    "pearson": ("pearsonr", "Pearson correlation", {}),
    "perplexity": ("perplexity", "perplexity", {}),
    "bits_per_byte": ("bits_per_byte", "bits per byte", {}),
    "loss": ("loss", "loss", {}),
}


@dataclass(frozen=True)
class CardData:
    """The data that a model card is made from.

    Args:
        folder: the model's folder.
        where: the argument of `from_pretrained` in the card's code: the repository, or the folder's name.
        config: content of config.json.
        generation: content of generation_config.json; empty if the file does not exist.
        run: content of run_config.yaml: the task, and a dict of options for each section; empty if the file does not
            exist.
        metrics: content of metrics.json; empty if the file does not exist.
    """

    folder: Path
    where: str
    config: dict[str, Any]
    generation: dict[str, Any]
    run: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, repo_id: str | None) -> "CardData":
        """Read the data of the card from `folder`.

        Raises:
            SharingError: the folder has no config, or a file cannot be read.
        """
        if not (folder / CONFIG_NAME).is_file():
            raise SharingError(f"{folder} has no {CONFIG_NAME}: give the folder that a model was saved to.")
        names = (CONFIG_NAME, GENERATION_CONFIG_NAME, RUN_CONFIG_FILE, METRICS_FILE)
        files = [read_settings(folder / name) for name in names]
        return cls(folder, repo_id or folder.resolve().name, *files)

    @property
    def name(self) -> str:
        """The name of the model: the name of its repository without the user, or the name of its folder."""
        return self.where.rpartition("/")[2]

    @property
    def model_class(self) -> str | None:
        """The name of the saved model's class; None if the config does not name it."""
        return next(iter(self.config.get("architectures") or []), None)

    @property
    def is_locant(self) -> bool:
        """Whether the model is a Locant model. It may not be one: `locant train` also fine-tunes other models."""
        return self.config.get("model_type") == "locant"

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks of a Locant model; empty for other models, and if the config does not name the class."""
        if not self.is_locant or self.model_class is None:
            return ()
        if self.model_class in ("LocantForConditionalGeneration", "LocantModel"):
            return ("encoder", "decoder")
        return ("decoder",) if self.model_class in ("LocantForCausalLM", "LocantDecoderModel") else ("encoder",)

    @property
    def reads_images(self) -> bool:
        """Whether the encoder reads patches of images."""
        return self.config.get("encoder_input") == "patches"

    @property
    def languages(self) -> list[str]:
        """The source and target languages of a translator, if they are known; if they are equal, only one of them."""
        found = [self.config.get(name) or self.option("data", name) for name in ("source_lang", "target_lang")]
        return list(dict.fromkeys(language for language in found if language))

    @property
    def pipeline_tag(self) -> str | None:
        """The name of the model's task on the Hub; None if the task is unknown or the Hub has no name for it."""
        if self.model_class == "LocantForConditionalGeneration" and not self.reads_images:
            return "translation" if self.languages or self.task == "translation" else None
        return pipeline_task(self.model_class, self.reads_images) or PIPELINE_TASKS.get(self.task or "")

    @property
    def task(self) -> str | None:
        """The name of the run's task, as in `locant train --task`; None if there is no run config."""
        return self.run.get("task") or ("translation" if self.run else None)

    def option(self, section: str, name: str) -> Any:
        """Return the value of an option in the run config; None if it is not set."""
        return (self.run.get(section) or {}).get(name)

    def from_hub(self, section: str, name: str) -> str | None:
        """Return the value of an option if metrics.json says that the value is a name on the Hub; otherwise None."""
        return self.option(section, name) if name in self.metrics.get("from_hub", ()) else None

    def source_of(self, split: str) -> str | None:
        """Return the name of the dataset, or the names of the files, that `split` comes from; None if unknown."""
        files = self.option("data", f"{split}_file")
        if files:
            return ", ".join(base_name(file) for file in ([files] if isinstance(files, str) else files))
        if (dataset := self.option("data", "dataset_name")) is not None:
            return self.from_hub("data", "dataset_name") or base_name(dataset)
        return self.source_of("train") if split == "validation" else None

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """A dict from the name of each split to the metrics of the finished model; empty until training is finished."""
        if not self.metrics.get("finished"):
            return {}
        return {split: self.metrics[split] for split in SPLITS if split in self.metrics}

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint in the folder; None if the folder has no checkpoint that can be read."""
        try:
            return Checkpoint.open(self.folder)
        except CheckpointError:
            return None

    @property
    def parameters(self) -> int | None:
        """The number of parameters that the checkpoint stores; None without a checkpoint.

        Tied weights count once if they are stored once, as `save_pretrained` stores them.
        """
        saved = self.checkpoint
        return None if saved is None else sum(header.numel() for header in saved.headers.values())

    def has(self, *names: str) -> bool:
        """Return whether at least one of the files `names` is in the folder."""
        return any((self.folder / name).is_file() for name in names)


def base_name(path: str) -> str:
    """Return the last part of a path of any operating system; an empty text for `.`."""
    return PureWindowsPath(path).name  # PureWindowsPath splits at both kinds of slashes


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file that contains a mapping; return an empty dict if the file does not exist.

    Raises:
        SharingError: the file cannot be read, or does not contain a mapping.
    """
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SharingError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(found, dict):
        raise SharingError(f"{path} must contain a mapping of names to values, but contains a {type(found).__name__}.")
    return found
