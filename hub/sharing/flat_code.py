# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Turns modules of a package, and the modules of the package that they import, into files of one flat folder.

transformers loads code from a model's folder in this form. The file names of Locant's modules, except those in
`_NOT_RENAMED`, begin with `modeling_locant`, so that lists of files show them together; the files of other modules keep
their names. An import is an *inner* import if it is relative, or from the package `locant`. An inner import is
rewritten to a relative import from the file of the module that defines the name. All other code stays as it is written,
including an import in a `try` with an `except ImportError`.
"""

import ast
import functools
import importlib.util
import inspect
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from locant.utils.errors import first_line

from ..errors import SharingError

PACKAGE = "locant"
TRAVELLING = tuple(
    f"{PACKAGE}.{place}"
    for place in (
        *("configuration.", "modeling.", "tokenization.image_processing_locant", "tokenization.processing_locant"),
        "hub.pipelines.text_to_text_pipelines",
    )
)
"""Prefixes of the full names of the Locant modules whose code may be saved with a model."""
PREFIX = "modeling_locant"
"""The prefix of the file names that Locant's modules have in a model's folder."""
_NOT_RENAMED = ("configuration_locant", "image_processing_locant", "processing_locant")
"""Modules that keep their names: the config's module, and the modules that transformers copies with a processor."""
_DECLARATION = re.compile(r"\A((?:[ \t\f]*(?:#.*)?\n)??[ \t\f]*#.*?coding[:=][ \t]*)[-\w.]+")
"""Matches a source file up to the name of its encoding, which a comment in line 1 or 2 declares (PEP 263)."""


@dataclass(frozen=True)
class _Module:
    name: str
    path: Path
    source: str
    tree: ast.Module
    is_package: bool

    @property
    def flat_name(self) -> str:
        """The name of the module's file in a model's folder, without `.py`."""
        name = self.path.stem
        is_renamed = _is_of_locant(self.name) and name not in _NOT_RENAMED and not name.startswith(PREFIX)
        return f"{PREFIX}_{name}" if is_renamed else name


@dataclass(frozen=True)
class _InnerImport:
    """Names of one import statement that one module defines; the statement is relative, or imports from `locant`.

    Args:
        node: the import statement, which may also import names that other modules define.
        module: the full name of the module that defines the names.
        aliases: the names that are imported.
    """

    node: ast.Import | ast.ImportFrom
    module: str
    aliases: list[ast.alias]


def flatten(roots: Iterable[str]) -> dict[str, str]:
    """Rewrite `roots`, and all modules that they import relatively or from `locant`, as files of one folder.

    The imports of the imported modules are followed in the same way, except imports in a `try` with an
    `except ImportError`.

    Args:
        roots: full names of modules.

    Returns:
        A dict from the name of each file in a model's folder to its rewritten source code.

    Raises:
        SharingError: a module cannot be imported, its source file does not exist, cannot be read or is not Python code,
            the name of a module of Locant begins with no prefix in `TRAVELLING`, two files would have the same name, or
            an import cannot be rewritten.
    """
    modules: dict[str, _Module] = {}
    found = list(roots)
    while found:
        name = found.pop()
        if name not in modules:
            _check_travels(name)
            modules[name] = _read(name)
            found += [inner.module for inner in _inner_imports(modules[name])]
    paths: dict[str, Path] = {}
    files: dict[str, str] = {}
    for _, module in sorted(modules.items()):
        name = f"{module.flat_name}.py"
        if name in files:
            raise SharingError(
                f"{paths[name]} and {module.path} would both be {name} in the folder of a model: rename one of them."
            )
        paths[name], files[name] = module.path, _rewritten(module)
    return files


def _is_of_locant(module: str) -> bool:
    return module.split(".")[0] == PACKAGE


def _check_travels(name: str) -> None:
    if _is_of_locant(name) and not name.startswith(TRAVELLING):
        raise SharingError(
            f"The code of a model cannot use {name}, which {PACKAGE} does not save with models: move the code that "
            "uses it to another file."
        )


def imported_with(root: str) -> set[str]:
    """Return the names of `root` and of all modules that it imports, directly or not, relatively or from `locant`.

    Imports inside functions, and in a `try` with an `except ImportError`, are not followed.
    """
    found: set[str] = set()
    todo = [root]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            module = _read(name)
            functions = (
                node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            )
            inside = {node for function in functions for node in ast.walk(function)}
            todo += [inner.module for inner in _inner_imports(module) if inner.node not in inside]
    return found


def file_of(module: str) -> str:
    """Return the name of a module's file in a model's folder, without `.py`."""
    return _read(module).flat_name


@functools.cache
def _read(name: str) -> _Module:
    try:
        module = importlib.import_module(name)
        file, source = inspect.getfile(module), inspect.getsource(module)
        source = _DECLARATION.sub(r"\1utf-8", source)  # the copy of the file will be UTF-8
        return _Module(name, Path(file), source, ast.parse(source, file), is_package=hasattr(module, "__path__"))
    except Exception as error:  # an import can raise any error
        raise SharingError(
            f"The source of the module {name} cannot be saved with the model ({first_line(error)}): move its code to a "
            "Python file that can be imported, and save the model again."
        ) from error


def _inner_imports(module: _Module) -> Iterator[_InnerImport]:
    """Find the inner imports of `module`, except those in a `try` with an `except ImportError`, which are kept."""
    tries = [node for node in ast.walk(module.tree) if isinstance(node, ast.Try)]
    optional = {
        part
        for node in tries
        if any(ast.unparse(handler.type) == "ImportError" for handler in node.handlers if handler.type is not None)
        for statement in node.body
        for part in ast.walk(statement)
    }
    for node in ast.walk(module.tree):
        if node in optional:
            continue
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == PACKAGE for alias in node.names):
            names = _names_used_whole(node, module)
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == PACKAGE):
            names = [(_source_of(node, module), alias) for alias in node.names]
        else:
            continue
        aliases: dict[str, list[ast.alias]] = {}
        for source, alias in names:
            aliases.setdefault(_defining_module(source, alias.name), []).append(alias)
        for name, group in aliases.items():
            yield _InnerImport(node, name, group)


def _names_used_whole(node: ast.Import, module: _Module) -> list[tuple[str, ast.alias]]:
    """Find the attributes of the package that a module with the statement `import locant` reads, as in `locant.Name`.

    Returns:
        A pair for each attribute: `locant`, and an `ast.alias` with the name of the attribute.

    Raises:
        SharingError: the statement `node` is not exactly `import locant`.
    """
    if [(alias.name, alias.asname) for alias in node.names] != [(PACKAGE, None)]:
        raise SharingError(
            f"{module.path.name}:{node.lineno} imports a module of {PACKAGE} as a whole, but code that is saved with a "
            "model can import only names from it: write `from MODULE import NAME`."
        )
    used = {
        part.attr
        for part in ast.walk(module.tree)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == PACKAGE
    }
    return [(PACKAGE, ast.alias(name)) for name in sorted(used)]


def _source_of(node: ast.ImportFrom, module: _Module) -> str:
    """Return the full name of the module from which the import statement `node` imports."""
    if not node.level:
        return node.module or ""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package or "__main__")


def _defining_module(module_name: str, name: str) -> str:
    """Return the full name of the module that defines `name`, which is imported from `module_name`.

    If `module_name` is a package, the import of `name` in its `__init__.py` is followed.

    Raises:
        SharingError: `module_name` is a package that does not import `name` from a module of Locant.
    """
    module = _read(module_name)
    if not module.is_package:
        return module_name
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            source = _source_of(node, module)
            if _is_of_locant(source):
                return _defining_module(source, name)
    raise SharingError(
        f"{name} is imported from {module_name}, whose __init__.py does not import it from a file of Locant: import it "
        "from the file that defines it."
    )


def _rewritten(module: _Module) -> str:
    # the lines that `ast` counts; `str.splitlines` also splits at a form feed or U+2028
    lines = io.StringIO(module.source).readlines()
    statements: dict[ast.Import | ast.ImportFrom, list[str]] = {}
    for inner in _inner_imports(module):
        names = ", ".join(ast.unparse(alias) for alias in inner.aliases)
        statements.setdefault(inner.node, []).append(f"from .{_read(inner.module).flat_name} import {names}")
    for node, imports in sorted(statements.items(), key=lambda item: (-item[0].lineno, -item[0].col_offset)):
        if isinstance(node, ast.Import):
            used = sorted(alias.name for _, alias in _names_used_whole(node, module))
            imports += ["import types", f"{PACKAGE} = types.SimpleNamespace({', '.join(f'{n}={n}' for n in used)})"]
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        # columns of a syntax tree count bytes
        before = lines[first].encode()[: node.col_offset].decode()
        after = lines[last].encode()[node.end_col_offset :].decode()
        separator = "; " if before.strip() else f"\n{before}"
        lines[first : last + 1] = [before + separator.join(imports) + after]
    return "".join(lines)
