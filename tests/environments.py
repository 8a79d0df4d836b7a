# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Virtual environments that have some of the distributions of this environment, and no others.

The metadata of the installed distributions gives the dependencies of a requirement. Their files and folders are linked
into the new environment, so that an environment without Locant takes a second and needs no network.
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
        folder: the folder in which the environment is made.
        requirements: requirements, such as `transformers[torch]`, that are linked with their dependencies.
        without: distributions that are left out even if a requirement depends on them.
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
        """Install a requirement and its dependencies from the package index, for distributions that are not linked.

        pip installs them into a separate folder, because in the environment it would delete the originals of linked
        files.
        """
        folder = self.home.parent / "installed"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", folder, requirement], check=True)
        (self._packages / "installed.pth").write_text(f"{folder}\n")

    def run(self, script: str, *arguments: object, **variables: str) -> str:
        """Run a program in the environment, and return its standard output.

        Args:
            script: the source of the program.
            *arguments: `sys.argv[1:]` of the program.
            **variables: environment variables of the program, in addition to those of this process, without the ones of
                Python, Hugging Face and Locant.

        Raises:
            AssertionError: the program failed; the message is its output.
        """
        threads = str(torch.get_num_threads())  # as in this process, so that sums are computed in the same order
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
            continue  # an optional dependency that is not installed
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
