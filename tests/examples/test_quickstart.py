# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The notebook runs from its first cell to the last, and shows what its text says."""

import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_and_the_model_with_positions_is_better(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    # the kernel writes its files into this folder
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "['2 0 3', '3 0 2', '9 0 0 1']" in printed
    without, rotary = map(int, re.search(r"right: (\d+)% without positions, (\d+)% with rotary", printed).groups())
    assert rotary >= 95
    assert without <= 60
    permuted = dict(re.findall(r"(none|rotary): largest difference (\S+)", printed))
    assert float(permuted["none"]) < 1e-5 < 0.01 < float(permuted["rotary"])


def test_the_notebook_is_stored_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
