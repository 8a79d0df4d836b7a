# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Calls a function with a module of another library as soon as the module is imported.

If Locant imported the module itself, the import would take time even for users who have the library but do not use it:
0.2 s for PEFT alone, and more with its optional libraries, whose imports can also fail.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Call `then` with the module `name`, now or as soon as it is imported."""
    if name in sys.modules:
        then(sys.modules[name])
    elif not any(isinstance(finder, _Watcher) and finder.watched == (name, then) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher(name, then))


class _Watcher(MetaPathFinder):
    """A finder in `sys.meta_path` that calls `then` as soon as the module `name` is loaded.

    On the import of `name`, the watcher removes itself from `sys.meta_path`, and the other finders find the module.
    """

    def __init__(self, name: str, then: Callable[[ModuleType], None]):
        self.watched = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name, then = self.watched
        if fullname != name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_then(module: ModuleType) -> None:
                load(module)
                then(module)

            spec.loader.exec_module = load_and_then  # type: ignore[method-assign]
        return spec
