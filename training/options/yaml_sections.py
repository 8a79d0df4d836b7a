# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reading and writing YAML files that consist of sections; keys must be unique, and each entry has its line number."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError


@dataclass(frozen=True)
class Entry:
    """One `key: value` under a section.

    For a section without keys, `key` is None, and `value` is the value of the section. `line` is the number of the line
    in the file, from 1 on.
    """

    section: str
    key: str | None
    value: Any
    line: int


class _Loader(yaml.SafeLoader):
    """Reads `no` as a string and `1e-3` as a number, as YAML 1.2 asks.

    The loaders of PyYAML read `no` as False, and `1e-3` as a string, as in YAML 1.1.
    """

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 (declared in the base class)


class _Dumper(yaml.SafeDumper):
    """Writes YAML, and quotes strings, such as `no` or `1e-3`, that PyYAML or `_Loader` would read as another type."""


for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        list("-+.0123456789"),
    ),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"({_pattern})$"), _first)


def read_sections(path: str | Path) -> list[Entry]:
    """Read the entries of the YAML file at `path`, in order; the file must be a mapping from section to content.

    Raises:
        InputError: the file cannot be read, is not YAML, is not a mapping from section to content, or has a mapping
            with a key twice or with a key that is a list or a mapping; or an alias stands inside its own anchor.
    """
    try:
        loader = _Loader(Path(path).read_text(encoding="utf-8"))
        return list(_entries(loader, path))
    except RecursionError as error:
        raise InputError(f"{path} has a YAML alias inside of its own anchor: write the values out.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give the path of a readable YAML file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: save the file as UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}, is not YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error


def write_sections(sections: dict[str, Any]) -> str:
    """Return `sections` as YAML text that `read_sections` and other YAML readers read with the same values."""
    return yaml.dump(sections, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _entries(loader: _Loader, path: str | Path) -> Iterator[Entry]:
    root = loader.get_single_node()
    if root is None:
        return
    _check_keys(root, path)
    if not isinstance(root, yaml.MappingNode):
        raise InputError(
            f"{path} must have sections with 'option: value' lines under them: give such a YAML file (a file of "
            "training data is given with --train_file)."
        )
    for section, node in root.value:
        if isinstance(node, yaml.MappingNode) and node.value:
            for key, value in node.value:
                yield Entry(section.value, key.value, loader.construct_object(value, deep=True), _line(key))
        else:
            value = None if isinstance(node, yaml.MappingNode) else loader.construct_object(node, deep=True)
            yield Entry(section.value, None, value, _line(section))


def _check_keys(node: yaml.Node, path: str | Path) -> None:
    """Raise `InputError` if a mapping at or below `node` has a key twice, or a key that is a list or a mapping."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, path)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"{path}, line {_line(key)}, has a list or a mapping as a key: write a name instead.")
        if key.value in lines:
            both = f"lines {lines[key.value]} and {_line(key)}"
            raise InputError(f"{key.value} is given twice ({path}, {both}): leave one out.")
        lines[key.value] = _line(key)
        _check_keys(value, path)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
