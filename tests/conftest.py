# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A language small enough to train a translator on in seconds, and a run that was trained on it once a session."""

from .hub_server import loopback  # isort: skip  # noqa: F401  (before anything of Hugging Face's is imported)

import gc
import itertools
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import yaml
from transformers import AttentionInterface, set_seed
from transformers.masking_utils import AttentionMaskInterface

from locant.cli import main
from locant.modeling.blockwise import blockwise_attention, blockwise_mask

# torch's cache of compiled code is not keyed by ATEN_CPU_CAPABILITY: it would return code for other instructions. torch
# itself sets this variable when it is imported.
os.environ["TORCHINDUCTOR_CACHE_DIR"] = (
    f"{tempfile.gettempdir()}/torchinductor-{torch.backends.cpu.get_cpu_capability()}"
)

SUBJECTS = {"cat": "chat", "dog": "chien", "king": "roi", "boy": "gars", "fox": "renard", "bear": "ours"}
VERBS = {"sees": "voit", "follows": "suit", "hears": "entend", "likes": "aime", "looks at": "regarde"}
ADJECTIVES = {"red": "rouge", "sad": "triste", "young": "jeune", "loyal": "fidèle", "wise": "sage"}


class Toy:
    """The files of the toy language, the options of a run on them, and ways to run the command line.

    Sentences are "the red cat sees the dog" and "le chat rouge voit le chien": words and word order differ.
    """

    splits = (("train", 320), ("validation", 40), ("test", 40))

    def __init__(self, folder: Path):
        self.folder = folder
        self.pairs: dict[str, list[tuple[str, str]]] = {}
        self.files: dict[str, list[str]] = {}
        rng = random.Random(7)
        sentences = sorted({self._pair(rng) for _ in range(2000)})
        rng.shuffle(sentences)
        for split, size in self.splits:
            self.pairs[split], sentences = sentences[:size], sentences[size:]
            self.files[split] = self.write(split, self.pairs[split])
        self.config = self.write_config("toy", self.sections())

    @staticmethod
    def _pair(rng: random.Random) -> tuple[str, str]:
        def phrase() -> tuple[str, str]:
            noun = rng.choice(list(SUBJECTS))
            if rng.random() < 0.5:
                return f"the {noun}", f"le {SUBJECTS[noun]}"
            adjective = rng.choice(list(ADJECTIVES))
            return f"the {adjective} {noun}", f"le {SUBJECTS[noun]} {ADJECTIVES[adjective]}"

        (subject, sujet), (thing, objet), verb = phrase(), phrase(), rng.choice(list(VERBS))
        return f"{subject} {verb} {thing}", f"{sujet} {VERBS[verb]} {objet}"

    def write(self, name: str, pairs: list[tuple[str, str]]) -> list[str]:
        """Write two parallel text files, and return their paths."""
        paths = [self.folder / f"{name}.en", self.folder / f"{name}.fr"]
        for path, lines in zip(paths, zip(*pairs, strict=True), strict=True):
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return [str(path) for path in paths]

    def write_config(self, name: str, sections: dict[str, dict[str, Any]]) -> Path:
        """Write the YAML file of a run, and return its path."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(sections), encoding="utf-8")
        return path

    def sections(self) -> dict[str, dict[str, Any]]:
        """The sections of the YAML file of a run."""
        model = {"d_model": 32, "norm_position": "pre", "dropout": 0.1, "label_smoothing": 0.1}
        for stack in ("encoder", "decoder"):
            model |= {f"{stack}_layers": 1, f"{stack}_attention_heads": 2, f"{stack}_ffn_dim": 64}
        data = {f"{split}_file": files for split, files in self.files.items()}
        training = {
            "num_train_epochs": 3,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.01,
            "warmup_steps": 10,
            "num_beams": 2,
            "max_new_tokens": 16,
            "disable_tqdm": True,
        }
        return {"model": model, "data": {**data, "tokenizer_vocab_size": 400}, "training": training}

    def arguments(self, output_dir: Path, config: Path | None = None, **options: Any) -> list[str]:
        """The arguments of `locant` for a training run into `output_dir`."""
        arguments = ["train", str(config or self.config), "--output_dir", str(output_dir)]
        for name, value in options.items():
            arguments += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
        return arguments

    def train(self, output_dir: Path, config: Path | None = None, **options: Any) -> int:
        """Run `locant train` in this process, and return its exit status."""
        return main(self.arguments(output_dir, config, **options))

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of processes that must compute the same numbers as this process."""
        return {
            **os.environ,
            "HF_DATASETS_CACHE": str(datasets.config.HF_DATASETS_CACHE),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        }


@pytest.fixture(autouse=True)
def seed():
    """Make the random numbers of a test independent of the tests that ran before it in the same process."""
    set_seed(0)


@pytest.fixture(autouse=True)
def backends_of_the_package():
    """Register the package's blockwise backend again after each test: the code of a saved model registers its copy."""
    yield
    AttentionInterface.register("blockwise", blockwise_attention)
    AttentionMaskInterface.register("blockwise", blockwise_mask)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets_cache")))
        yield Toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def trained_run(toy, tmp_path_factory):
    """The folder of a finished run of `toy.config`: for reading only."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    assert toy.train(folder) == 0
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem():
    """Mark cases of tests with the marker `sampled(n)` or `pairwise` as slow.

    A case has an index for each parameter. Parameters whose values change together in all cases count as one. With
    `sampled(n)`, the fast cases are those whose indices sum to a multiple of n. With `pairwise`, the fast cases are as
    few as a simple search finds in which every pair of values of two parameters occurs.
    """
    cases = yield
    if isinstance(cases, list) and cases:
        sampled, pairwise = (cases[0].get_closest_marker(name) for name in ("sampled", "pairwise"))
        if sampled or pairwise:
            cases_left = [case for case in cases if not case.get_closest_marker("slow")] if pairwise else cases
            names = cases[0].callspec.params
            parameters = {_indices([case.callspec.params[name] for case in cases_left]) for name in names}
            rows = list(zip(*parameters, strict=True))
            fast = _covering(rows) if pairwise else {n for n, row in enumerate(rows) if sum(row) % sampled.args[0] == 0}
            for number, case in enumerate(cases_left):
                if number not in fast:
                    case.add_marker(pytest.mark.slow)
    return cases


def _covering(rows):
    """The numbers of rows that together have every pair of indices of two columns: first those with many new pairs."""
    pairs = [set(itertools.combinations(enumerate(row), 2)) for row in rows]
    missing, found = set().union(*pairs), set()
    for wanted in range(len(pairs[0]), 0, -1):
        for number, of_row in enumerate(pairs):
            if len(of_row & missing) >= wanted:
                found.add(number)
                missing -= of_row
    return found


def _indices(values):
    """The index of each value among the different objects, in the order in which they come first."""
    seen = {}
    return tuple(seen.setdefault(id(value), len(seen)) for value in values)


def pytest_collection_finish():
    """Exclude all objects that exist now from garbage collection: the Trainer collects several times in a run."""
    gc.collect()
    gc.freeze()
