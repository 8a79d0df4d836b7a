# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What a model's folder says of the model: its config, its weights' headers, and the files of its run."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME

from locant.checkpoints.checkpoint import Checkpoint, CheckpointError

from .errors import SharingError
from .pipeline_tasks import PIPELINE_TASKS, pipeline_task

SPLITS = ("train", "validation", "test")

# The files of a run, as training writes them
RUN_CONFIG_FILE = "run_config.yaml"
METRICS_FILE = "metrics.json"
CURVE_FILE = "loss_curve.png"

# What runs measure, as the Hub calls it: id, name, and arguments besides the signature.
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
class Facts:
    """All that a card may say.

    Args:
        folder: the model's.
        where: what `from_pretrained` takes: the repository, or the folder's name.
        config: config.json.
        generation: generation_config.json; empty where there is none, as the following.
        run: run_config.yaml, options by section.
        metrics: metrics.json.
    """

    folder: Path
    where: str
    config: dict[str, Any]
    generation: dict[str, Any]
    run: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, repo_id: str | None) -> "Facts":
        """What stands in `folder`.

        Raises:
            SharingError: there is no config, or a file that cannot be read.
        """
        if not (folder / CONFIG_NAME).is_file():
            raise SharingError(f"{folder} has no {CONFIG_NAME}: give the folder that a model was saved to.")
        names = (CONFIG_NAME, GENERATION_CONFIG_NAME, RUN_CONFIG_FILE, METRICS_FILE)
        files = [read_settings(folder / name) for name in names]
        return cls(folder, repo_id or folder.resolve().name, *files)

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.where.rpartition("/")[2]

    @property
    def model_class(self) -> str | None:
        """The class that was saved."""
        return next(iter(self.config.get("architectures") or []), None)

    @property
    def is_locant(self) -> bool:
        """Whether it is one of Locant's models; `locant train` fine-tunes others too."""
        return self.config.get("model_type") == "locant"

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks of a Locant model."""
        if not self.is_locant or self.model_class is None:
            return ()
        if self.model_class in ("LocantForConditionalGeneration", "LocantModel"):
            return ("encoder", "decoder")
        return ("decoder",) if self.model_class in ("LocantForCausalLM", "LocantDecoderModel") else ("encoder",)

    @property
    def reads_images(self) -> bool:
        """Whether the encoder reads patches."""
        return self.config.get("encoder_input") == "patches"

    @property
    def languages(self) -> list[str]:
        """Source and target of a translator."""
        found = [self.config.get(name) or self.option("data", name) for name in ("source_lang", "target_lang")]
        return list(dict.fromkeys(language for language in found if language))

    @property
    def pipeline_tag(self) -> str | None:
        """The Hub's name of what the model does, where it has one."""
        if self.model_class == "LocantForConditionalGeneration" and not self.reads_images:
            return "translation" if self.languages or self.task == "translation" else None
        return pipeline_task(self.model_class, self.reads_images) or PIPELINE_TASKS.get(self.task or "")

    @property
    def task(self) -> str | None:
        """That of the run."""
        return self.run.get("task") or ("translation" if self.run else None)

    def option(self, section: str, name: str) -> Any:
        """What the run was given, or None."""
        return (self.run.get(section) or {}).get(name)

    def from_hub(self, section: str, name: str) -> str | None:
        """The value of an option, if it is a name on the Hub and no folder of the machine that trained."""
        return self.option(section, name) if name in self.metrics.get("from_hub", ()) else None

    def source_of(self, split: str) -> str | None:
        """Where the rows of a split come from: a dataset, or files, without their folders."""
        files = self.option("data", f"{split}_file")
        if files:
            return ", ".join(_base_name(file) for file in ([files] if isinstance(files, str) else files))
        if (dataset := self.option("data", "dataset_name")) is not None:
            return self.from_hub("data", "dataset_name") or _base_name(dataset)
        return self.source_of("train") if split == "validation" else None

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """What was measured of the finished model, by split; nothing while training goes on."""
        if not self.metrics.get("finished"):
            return {}
        return {split: self.metrics[split] for split in SPLITS if split in self.metrics}

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The weights' headers, if there are weights."""
        try:
            return Checkpoint.open(self.folder)
        except CheckpointError:
            return None

    @property
    def parameters(self) -> int | None:
        """How many numbers are stored; tied weights are one."""
        saved = self.checkpoint
        return None if saved is None else sum(header.numel() for header in saved.headers.values())

    def has(self, *names: str) -> bool:
        """Whether one of these files is in the folder."""
        return any((self.folder / name).is_file() for name in names)


def _base_name(path: str) -> str:
    return PureWindowsPath(path).name  # which takes both kinds of slashes


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON or YAML file, empty where there is none."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SharingError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(found, dict):
        raise SharingError(f"{path} must hold names with their values, but holds {type(found).__name__}.")
    return found
