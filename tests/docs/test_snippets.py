# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Python of README and docs runs as it stands there, and what a page quotes is what the quoted file says."""

import re
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoTokenizer

import locant
from locant import (
    LocantConfig,
    LocantForConditionalGeneration,
    LocantForImageClassification,
    LocantImageProcessor,
    LocantProcessor,
)
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.modeling.positions.base import _CLASSES
from locant.studies import position_study

ROOT = Path(__file__).parents[2]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTE = re.compile(r"^<!-- quoted from (\S+) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
# pages whose Python the tests compile and do not run, with the reason
NOT_RUN = {
    "docs/conversion.md": "it downloads a checkpoint; tests/hub/test_conversion.py converts small ones",
    "docs/ecosystem.md": "it needs the extra `ecosystem`; `make ecosystem` tests the same steps",
    "docs/scaling.md": "it needs two processes; tests/modeling/test_distributed.py starts them",
}
# pages whose Python test_concepts.py runs, which also compares the output with that on the page
TEACHING = re.compile(r"docs/(concepts/.*|mistakes)\.md")
SLOW = {"docs/engines.md", "docs/study.md"}
# What variables hold in the end
RESULTS = {"docs/fine_tuning.md": {"found": [("person", "Anna"), ("place", "Rome")], "answers": ["Otto", "Lima"]}}


def snippets(name):
    """The line before each piece of Python, and its code; what is quoted is left to its file."""
    text = QUOTE.sub(lambda quote: "\n" * quote[0].count("\n"), PAGES[name])
    return [(text[: match.start()].count("\n") + 1, match[1]) for match in SNIPPET.finditer(text)]


@pytest.fixture
def checkout(trained_run, tmp_path, monkeypatch):
    """A folder that looks like a checkout after `make train`; afterwards, the encodings of the pages are gone."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "phrasebook").symlink_to(trained_run)
    for folder in ("examples", "benchmarks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    save_image_models(tmp_path / "runs", AutoTokenizer.from_pretrained(trained_run))
    for name in ("1.png", "2.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    size = position_study.StudySize(order_steps=1, length_steps=1)
    monkeypatch.setattr(position_study, "run_study", partial(position_study.run_study, seeds=[0], size=size))
    yield
    for registry in (POSITION_ENCODINGS, _CLASSES, sys.modules):
        for name in ("kerple", "root"):
            registry.pop(name, None)


def save_image_models(folder, tokenizer):
    """Save an untrained captioner and an untrained classifier of images."""
    images = {"encoder_input": "patches", "image_size": 8, "patch_size": 4, "num_channels": 1}
    config = LocantConfig.from_preset("tiny", vocab_size=len(tokenizer), **images)
    captioner = LocantForConditionalGeneration(config)
    captioner.generation_config.max_new_tokens = 4
    captioner.save_pretrained(folder / "captions")
    processor = LocantImageProcessor(size=8, num_channels=1)
    LocantProcessor(processor, tokenizer).save_pretrained(folder / "captions")
    config = LocantConfig.from_preset("tiny", num_labels=10, **images)
    LocantForImageClassification(config).save_pretrained(folder / "digits")
    processor.save_pretrained(folder / "digits")


@pytest.fixture
def exports(checkout, request):
    """For the page on other engines: a translator for CTranslate2 and a classifier for ONNX."""
    if "docs/engines.md" not in request.node.name:
        return
    for package in ("ctranslate2", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    locant.export("runs/phrasebook", "en-fr-ct2")
    tokenizer = AutoTokenizer.from_pretrained("runs/phrasebook")
    config = LocantConfig.from_preset("tiny", vocab_size=len(tokenizer), num_labels=2)
    locant.LocantForSequenceClassification(config).save_pretrained("runs/classifier")
    tokenizer.save_pretrained("runs/classifier")
    locant.export("runs/classifier", "classifier-onnx", format="onnx")


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name, text in PAGES.items()
        if SNIPPET.search(text) and name not in NOT_RUN and not TEACHING.fullmatch(name)
    ],
)
def test_the_python_of_a_page_runs_from_top_to_bottom(name, checkout, exports):
    namespace = {"__name__": name}
    for line, code in snippets(name):
        exec(compile("\n" * line + code, ROOT / name, "exec"), namespace)  # errors name the document's line
    for variable, value in RESULTS.get(name, {}).items():
        assert namespace[variable] == value


@pytest.mark.parametrize("name", NOT_RUN)
def test_python_that_is_not_run_compiles(name):
    assert snippets(name)
    for line, code in snippets(name):
        compile("\n" * line + code, ROOT / name, "exec")


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if QUOTE.search(text)])
def test_what_a_page_quotes_is_what_the_file_says(name):
    for file, code in QUOTE.findall(PAGES[name]):
        assert code in (ROOT / file).read_text(encoding="utf-8")
