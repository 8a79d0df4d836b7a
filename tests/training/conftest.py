# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Documents and pictures that are learnt in seconds, and a finished run of each task that learns from them."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from locant.cli import main

NOUNS, VERBS = ("cat", "dog", "king", "boy", "fox", "bear"), ("sees", "follows", "hears", "likes")
DOCUMENT_TASKS = {"language_modeling": ("decoder", "block_size"), "masked_language_modeling": ("encoder", "max_length")}


class Writings:
    """Text files of documents, and ways to train on them.

    A document has one or several sentences; some documents are longer than a block. `train.txt` also has a blank line.
    """

    sizes = {"train": 160, "validation": 30, "test": 30}  # noqa: RUF012
    length = 24
    epochs = 4

    def __init__(self, folder: Path):
        self.folder = folder
        self.texts = {split: self._documents(split) for split in self.sizes}
        self.texts["train"][3] = "  "
        self.texts["test"][0] = "the </s> sees the <mask>, l'été."
        for split in self.sizes:
            self.write(f"{split}.txt", self.texts[split])

    def _documents(self, split: str) -> list[str]:
        rng = random.Random(split)

        def sentence() -> str:
            return f"the {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)}."

        return [" ".join(sentence() for _ in range(rng.choice((1, 1, 2, 9)))) for _ in range(self.sizes[split])]

    def write(self, name: str, texts: list[str]) -> Path:
        """Write a document a line, and return the path."""
        path = self.folder / name
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return path

    def arguments(self, task: str, output_dir: Path, **options: Any) -> list[str]:
        """The arguments of `locant` for a training run into `output_dir`."""
        stack, length = DOCUMENT_TASKS[task]
        model = {"d_model": 32, "norm_position": "pre", "dropout": 0.1, "position_encoding": "rotary"}
        model |= {f"{stack}_layers": 1, f"{stack}_attention_heads": 2, f"{stack}_ffn_dim": 64}
        data = {f"{split}_file": str(self.folder / f"{split}.txt") for split in self.sizes}
        data |= {"tokenizer_vocab_size": 300, length: self.length, "document_separator": "line"}
        training = {
            "num_train_epochs": self.epochs,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "warmup_steps": 5,
        }
        training |= {"disable_tqdm": True, "report_to": "none", "use_cpu": True}
        if "model_name_or_path" in options:
            model, data = {}, {name: value for name, value in data.items() if name != "tokenizer_vocab_size"}
        config = self.folder / f"{task}.yaml"
        config.write_text(yaml.safe_dump({"task": task, "model": model, "data": data, "training": training}))
        arguments = ["train", str(config), "--output_dir", str(output_dir)]
        return arguments + [str(part) for name, value in options.items() for part in (f"--{name}", value)]

    def train(self, task: str, output_dir: Path, **options: Any) -> int:
        """Run `locant train` in this process, and return its exit status."""
        return main(self.arguments(task, output_dir, **options))

    @staticmethod
    def metrics(folder: Path) -> dict[str, Any]:
        """The contents of `metrics.json`, without the training time."""
        found = json.loads((folder / "metrics.json").read_text("utf-8"))
        found.pop("training_seconds", None)
        return found


@pytest.fixture(scope="session")
def writings(toy, tmp_path_factory):  # toy: for its cache of datasets
    return Writings(tmp_path_factory.mktemp("writings"))


@pytest.fixture(scope="session")
def document_runs(writings, tmp_path_factory):
    """The folders of finished runs by their task: for reading only."""
    folder = tmp_path_factory.mktemp("document_runs")
    for task in DOCUMENT_TASKS:
        assert writings.train(task, folder / task) == 0
    return {task: folder / task for task in DOCUMENT_TASKS}


SHADES = {"dark": 40, "grey": 120, "light": 210}
IMAGE_TASKS = ("image_classification", "captioning")


class Pictures:
    """Pictures of two shades, one above the other, with a label and a caption, and ways to train on them.

    The label is the upper shade: dark, grey or light. The caption is such as "grey above dark".
    """

    sizes = {"train": 80, "validation": 24, "test": 24}  # noqa: RUF012
    epochs = 3

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "images").mkdir()
        self.rows = {split: self._draw(split) for split in self.sizes}
        for split, rows in self.rows.items():
            self.write(f"{split}.csv", rows)

    def _draw(self, split: str) -> list[tuple[str, str, str]]:
        rng, rows = np.random.default_rng(len(split)), []
        for number in range(self.sizes[split]):
            upper, lower = rng.choice(list(SHADES), 2)
            shades = np.repeat([SHADES[upper], SHADES[lower]], 4)[:, None]
            path = f"images/{split}-{number}.png"
            Image.fromarray(np.uint8(shades + rng.integers(-20, 20, (8, 8)))).save(self.folder / path)
            rows.append((path, upper, f"{upper} above {lower}"))
        return rows

    def write(self, name: str, rows: list[tuple[str, str, str]]) -> Path:
        """Write a table beside the images, and return its path."""
        path = self.folder / name
        path.write_text("image,label,caption\n" + "".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def arguments(self, task: str, output_dir: Path, **options: Any) -> list[str]:
        """The arguments of `locant` for a training run into `output_dir`; an option of None is left out."""
        model = {"d_model": 32, "norm_position": "pre", "dropout": 0.1, "position_encoding": "learned"}
        model |= {"image_size": 8, "patch_size": 4, "num_channels": 1, "max_position_embeddings": 16}
        data: dict[str, Any] = {f"{split}_file": str(self.folder / f"{split}.csv") for split in self.sizes}
        data["random_shift"] = 1
        training: dict[str, Any] = {"num_train_epochs": self.epochs, "per_device_train_batch_size": 8, "seed": 1}
        training |= {"learning_rate": 0.01, "warmup_steps": 4, "disable_tqdm": True, "report_to": "none"}
        stacks = ["encoder"]
        if task == "captioning":
            stacks.append("decoder")
            data |= {"tokenizer_kind": "word", "tokenizer_vocab_size": 40}
            training |= {"max_new_tokens": 8, "num_beams": 2}
        for stack in stacks:
            model |= {f"{stack}_layers": 1, f"{stack}_attention_heads": 2, f"{stack}_ffn_dim": 64}
        sections = {"model": model, "data": data, "training": training}
        if "model_name_or_path" in options:
            sections["model"] = {}
            sections["data"] = {name: value for name, value in data.items() if not name.startswith("tokenizer_")}
        for section in sections.values():
            section.update({name: options.pop(name) for name in list(options) if name in section})
            for name in [name for name, value in section.items() if value is None]:
                del section[name]
        config = self.folder / f"{task}.yaml"
        config.write_text(yaml.safe_dump({"task": task, **sections}))
        arguments = ["train", str(config), "--output_dir", str(output_dir)]
        return arguments + [str(part) for name, value in options.items() for part in (f"--{name}", value)]

    def train(self, task: str, output_dir: Path, **options: Any) -> int:
        """Run `locant train` in this process, and return its exit status."""
        return main(self.arguments(task, output_dir, **options))


@pytest.fixture(scope="session")
def pictures(toy, tmp_path_factory):  # toy: for its cache of datasets
    return Pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def picture_runs(pictures, tmp_path_factory):
    """The folders of finished runs by their task: for reading only."""
    folder = tmp_path_factory.mktemp("picture_runs")
    for task in IMAGE_TASKS:
        assert pictures.train(task, folder / task) == 0
    return {task: folder / task for task in IMAGE_TASKS}
