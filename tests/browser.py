# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Starts the Chromium that is installed on this machine, with Playwright; Playwright's own browsers are not used."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A Playwright browser; the test is skipped if Playwright or Chromium is not installed."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root may not use the sandbox
        try:
            yield browser
        finally:
            browser.close()
