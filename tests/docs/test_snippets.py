# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Python of the documents runs as it stands there, and what they quote is what the quoted file says."""

import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoTokenizer

from locant import LocantConfig, LocantForConditionalGeneration, LocantImageProcessor, LocantProcessor
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.modeling.positions.base import _CLASSES

ROOT = Path(__file__).parents[2]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTE = re.compile(r"^<!-- quoted from (\S+) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Those whose Python takes seconds
DOCUMENTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        *("README.md", "docs/fine_tuning.md", "docs/parts.md", "docs/pipelines.md", "docs/position_encodings.md"),
        *("docs/sharing.md", "docs/visualization.md"),
    )
}
# What variables hold in the end
RESULTS = {"docs/fine_tuning.md": {"found": [("person", "Anna"), ("place", "Rome")], "answers": ["Otto", "Lima"]}}


def snippets(name):
    """The line before each piece of Python, and its code; what is quoted is left to its file."""
    text = QUOTE.sub(lambda quote: "\n" * quote[0].count("\n"), DOCUMENTS[name])
    return [(text[: match.start()].count("\n") + 1, match[1]) for match in SNIPPET.finditer(text)]


@pytest.fixture
def checkout(trained_run, tmp_path, monkeypatch):
    """A folder that looks like a checkout after `make train`; afterwards, the example's encoding is gone."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "phrasebook").symlink_to(trained_run)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    save_captioner(tmp_path / "runs" / "captions", AutoTokenizer.from_pretrained(trained_run))
    for name in ("1.png", "2.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for registry in (POSITION_ENCODINGS, _CLASSES, sys.modules):
        registry.pop("kerple", None)


def save_captioner(folder, tokenizer):
    """An untrained one."""
    config = LocantConfig.from_preset(
        "tiny", vocab_size=len(tokenizer), encoder_input="patches", image_size=8, patch_size=4, num_channels=1
    )
    model = LocantForConditionalGeneration(config)
    model.generation_config.max_new_tokens = 4
    model.save_pretrained(folder)
    LocantProcessor(LocantImageProcessor(size=8, num_channels=1), tokenizer).save_pretrained(folder)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_python_of_a_document_runs_from_top_to_bottom(name, checkout):
    namespace = {"__name__": name}
    for line, code in snippets(name):
        exec(compile("\n" * line + code, ROOT / name, "exec"), namespace)  # errors name the document's line
    for variable, value in RESULTS.get(name, {}).items():
        assert namespace[variable] == value


@pytest.mark.parametrize("name", [name for name, text in DOCUMENTS.items() if QUOTE.search(text)])
def test_what_a_document_quotes_is_what_the_file_says(name):
    for file, code in QUOTE.findall(DOCUMENTS[name]):
        assert code in (ROOT / file).read_text(encoding="utf-8")
