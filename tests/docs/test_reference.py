# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The pages of the reference document every public name, and the page of commands every command."""

import ast
import importlib
import inspect
import re
import types
from pathlib import Path

import pytest

import locant
from locant import modeling, tokenization
from locant.modeling import positions
from locant_command import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented():
    """The objects of the reference: those that a page names, and the public ones that a named module defines."""
    objects = []
    for page in (DOCS / "reference").glob("*.md"):
        for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE):
            objects.append(resolve(name))
            if inspect.ismodule(objects[-1]):
                objects += [
                    value
                    for key, value in vars(objects[-1]).items()
                    if not key.startswith("_") and (getattr(value, "__module__", None) == name or is_union(value))
                ]
    return objects


def is_union(value):
    """Whether the value is a union of classes, which does not know its module."""
    return isinstance(value, types.UnionType)


def resolve(name):
    """The module or the object of a dotted name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("package", [locant, modeling, positions, tokenization], ids=lambda package: package.__name__)
def test_every_public_name_of_a_package_is_in_the_reference(package):
    known = documented()
    missing = [name for name in package.__all__ if not any(getattr(package, name) is value for value in known)]
    assert missing == []


def test_every_name_that_a_page_imports_is_in_the_reference():
    known, missing = documented(), set()
    for page in PAGES:
        for code in SNIPPET.findall(page.read_text("utf-8")):
            if code.startswith(" "):
                continue  # a part of a class, quoted from a file
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "locant":
                    for alias in node.names:
                        value = getattr(importlib.import_module(node.module), alias.name)
                        if not any(value is one for one in known):
                            missing.add(f"{node.module}.{alias.name}")
    assert missing == set()


def test_every_command_is_on_the_page_of_commands():
    rows = re.findall(r"^\| `locant (\w+)` \| (.*?) \|", (DOCS / "reference" / "commands.md").read_text("utf-8"), re.M)
    assert dict(rows).keys() == COMMANDS.keys()
