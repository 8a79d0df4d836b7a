# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Importing this module directs all of Hugging Face's libraries in this process to a Hub on loopback.

The libraries read their settings when they are first imported, so `tests/conftest.py` imports this module before any of
them. (If it was imported too late, the fixture `hub` says so.)
The client itself is unchanged. No test can reach the real Hub, nor read the models, settings or token of whoever runs
the tests.
"""

import atexit
import os
import shutil
import tempfile

from .server import HubServer

HOME = tempfile.mkdtemp(prefix="locant-tests-hub-")
SERVER = HubServer()

for name in list(os.environ):
    is_ours = name.startswith(("HF_", "HUGGINGFACE_")) and not name.startswith("HF_DATASETS")
    if is_ours or name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ |= {
    "HF_ENDPOINT": SERVER.url,
    "HF_HOME": HOME,
    "HF_HUB_DISABLE_XET": "1",  # large files by git-lfs, as the server speaks it
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
