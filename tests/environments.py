# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Virtual environments that hold some of what is installed here, and nothing else.

What a requirement needs is looked up in the metadata of the installed distributions and linked, file by file or folder
by folder, so that an environment without Locant is there in a second and needs no network.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


class Environment:
    """A virtual environment with a home of its own.

    Args:
        folder: where it is made.
        requirements: what is linked into it, with all that it needs, such as `transformers[torch]`.
        without: distributions that are left out although something asks for them.
    """

    def __init__(self, folder: Path, requirements: Iterable[str], without: Iterable[str] = ()):
        venv.create(folder / "venv", symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        self.home = folder / "home"
        self.home.mkdir()
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self._packages = folder / "venv" / "lib" / version / "site-packages"
        self.distributions = needed(requirements, without)
        for entry in {top for found in self.distributions.values() for top in top_entries(found)}:
            (self._packages / entry.name).symlink_to(entry)

    def install(self, requirement: str) -> None:
        """Take this from the package index, with all that it needs, for what is not linked.

        It goes to a folder of its own: pip would remove linked files where they come from.
        """
        folder = self.home.parent / "installed"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", folder, requirement], check=True)
        (self._packages / "installed.pth").write_text(f"{folder}\n")

    def run(self, script: str, *arguments: object, **variables: str) -> str:
        """Run a program in it, and return what it prints; a failure of it is an `AssertionError` with its words.

        Args:
            script: the program.
            *arguments: its `sys.argv[1:]`.
            **variables: added to its environment, which has nothing of Python's or Hugging Face's from here.
        """
        threads = str(torch.get_num_threads())  # as many as here, for sums in the same order
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "LOCANT"))}
        done = subprocess.run(
            [self.python, "-I", "-c", script, *map(str, arguments)],
            env={**kept, "HF_HOME": str(self.home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": threads, **variables},
            cwd=self.home,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


def needed(requirements: Iterable[str], without: Iterable[str] = ()) -> dict[str, Distribution]:
    """The installed distributions that these requirements name or need, by name."""
    left_out = {canonicalize_name(name) for name in without}
    found: dict[str, Distribution] = {}
    seen = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        key = name, frozenset(requirement.extras)
        if name in left_out or key in seen:
            continue
        seen.add(key)
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # an optional one of another platform
        for text in found[name].requires or ():
            inner = Requirement(text)
            extras = requirement.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(inner)
    return found


def top_entries(found: Distribution) -> set[Path]:
    """The files and folders of site-packages that a distribution's files are in."""
    root = Path(str(found.locate_file(""))).resolve()
    names = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    return {root / name for name in names if (root / name).exists()}
