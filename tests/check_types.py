# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Check the types of the package as it is installed: mypy does not follow the folder mapping of a checkout."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Build the wheel, unpack it, run mypy over it; the exit status is mypy's."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.rmtree(ROOT / "build", ignore_errors=True)  # files of an earlier build would get into the wheel
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        subprocess.run(pip, check=True)
        [wheel] = Path(folder).glob("*.whl")
        zipfile.ZipFile(wheel).extractall(Path(folder) / "unpacked")
        mypy = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "locant"]
        environment = {**os.environ, "MYPYPATH": str(Path(folder) / "unpacked")}
        return subprocess.run(mypy, env=environment, cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
