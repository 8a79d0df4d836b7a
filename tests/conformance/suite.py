# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Hugging Face's own model test suite, from the source distribution of the installed transformers.

The distribution has `tests/test_modeling_common.py` and `tests/test_configuration_common.py`, but not three files
from which they import one name each; `STUBS` replaces these files. `fetch_suite` writes the suite as the package
`hf_suite` to `.conformance`, in a folder for each version of transformers; the repository does not contain it.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".conformance"

STUBS = {
    "__init__.py": "",
    "exporters/__init__.py": "",
    # The distribution has no export tests, so this mixin is empty.
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/__init__.py": "",
    # It has no generation tests either. The suite demands that the test class of a generative model inherits this
    # mixin; Locant's own tests check generation.
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    # A value unlike the default for every field that PreTrainedConfig itself defines for one-part models.
    "utils/test_configuration_utils.py": """config_common_kwargs = {
    "architectures": ["LocantModel"],
    "chunk_size_feed_forward": 3,
    "dtype": "float16",
    "id2label": {0: "only"},
    "label2id": {"only": 0},
    "output_attentions": True,
    "output_hidden_states": True,
    "problem_type": "multi_label_classification",
    "return_dict": False,
}
""",
}


def fetch_suite(version: str) -> Path:
    """Return the folder that holds the package `hf_suite` of transformers `version`; download it once.

    Raises:
        RuntimeError: pip could not download the source distribution.
    """
    folder = CACHE / version
    if folder.is_dir():
        return folder
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        archive = _download(version, Path(scratch))
        # The folder appears whole or not at all, so that an interrupted run is not taken for a finished one.
        unpacked = Path(scratch) / "unpacked"
        _unpack(archive, unpacked / "hf_suite")
        shutil.move(unpacked, folder)
    return folder


def _download(version: str, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
    result = subprocess.run([*pip, "--dest", str(folder), f"transformers=={version}"])
    archives = list(folder.glob("transformers-*.tar.gz"))
    if result.returncode or not archives:
        raise RuntimeError(
            f"pip could not download the source distribution of transformers {version}, which holds the test "
            "suite: run this once with a package index in reach"
        )
    return archives[0]


def _unpack(archive: Path, package: Path) -> None:
    """Write the modules that stand directly in the distribution's `tests`, and the stubs, to `package`."""
    package.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            if len(parts) == 3 and parts[1] == "tests" and member.isfile():
                (package / parts[2]).write_bytes(tar.extractfile(member).read())
    for name, text in STUBS.items():
        path = package / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
