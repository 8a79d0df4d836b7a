# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Builds the HTML page of a visualization: one file with its data, styles and scripts, which needs no network.

Each value of a heatmap is stored in 8 bits, as one of 256 levels of a range. The range of a matrix is from its smallest
to its largest value; for attention weights, it is from 0 to the largest weight or `MIN_RANGE_OF_WEIGHTS`, whichever is
larger. All matrices of a picture are compressed together (zlib) and encoded in base64; the browser decompresses them
(`DecompressionStream`).
"""

import base64
import html
import io
import json
import zlib
from importlib.resources import files
from typing import Any

import numpy as np

from .alignment import Alignment
from .heatmaps import Heatmaps
from .input_norms import InputNorms

LEVELS = 255
MIN_RANGE_OF_WEIGHTS = 0.25
"""The smallest weight for which the highest of the 256 levels stands in a matrix of attention weights.

Level 0 stands for the weight 0, and the highest level for the largest weight of the matrix or for this number, if this
number is larger. A matrix of smaller weights then uses fewer levels, and compresses better.
"""


def page_html(title: str, parts: list[dict[str, Any]], pixels: np.ndarray | None = None) -> str:
    """Build the HTML text of the page.

    Args:
        title: the heading.
        parts: the sections in their order; each is a result of `text_part`, `heatmaps_part`, `norms_part` or
            `alignment_part`.
        pixels: the image under the heatmaps of patches, `(height, width, channels)` from 0 to 1; None without an image.
    """
    data = {"title": title, "parts": parts, "image": None if pixels is None else _png_url(pixels)}
    template = (files(__package__) / "page.html").read_text(encoding="utf-8")
    before, after = template.replace("<!--TITLE-->", html.escape(title)).split("<!--DATA-->")
    # a text may contain </script> or <!--, which would end or change the script element
    return before + json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c") + after


def text_part(label: str, text: str) -> dict[str, Any]:
    """Return the data of a line at the top of the page, such as the source text."""
    return {"type": "text", "title": label, "text": text}


def heatmaps_part(heatmaps: Heatmaps) -> dict[str, Any]:
    """Return the data of a section with a grid of matrices."""
    values = heatmaps.values.astype(np.float64)
    low, high = values.min(axis=(2, 3), initial=np.inf), values.max(axis=(2, 3), initial=-np.inf)
    if heatmaps.are_weights:
        low, high = np.zeros_like(low), high.clip(min=MIN_RANGE_OF_WEIGHTS)
    span = np.where(high > low, high - low, 1.0)
    levels = np.rint((values - low[..., None, None]) / span[..., None, None] * LEVELS).astype(np.uint8)
    return {
        "type": "heatmaps",
        "name": heatmaps.name,
        "title": heatmaps.title,
        "caption": heatmaps.caption,
        "rows": heatmaps.row_labels,
        "columns": heatmaps.column_labels,
        "gridRows": heatmaps.grid_row_labels,
        "gridColumns": heatmaps.grid_column_labels,
        "low": low.round(9).ravel().tolist(),
        "span": span.round(9).ravel().tolist(),
        "levels": base64.b64encode(zlib.compress(levels.tobytes())).decode("ascii"),
        "areWeights": heatmaps.are_weights,
        "patches": heatmaps.patches,
        "columnsBeforePatches": heatmaps.columns_before_patches,
    }


def norms_part(norms: InputNorms) -> dict[str, Any]:
    """Return the data of a section with a bar for each token, or two bars if the model adds position vectors."""
    return {
        "type": "norms",
        "name": norms.name,
        "title": norms.title,
        "caption": norms.caption,
        "tokens": norms.tokens,
        "embeddings": norms.embeddings.astype(float).round(4).tolist(),
        "positions": None if norms.positions is None else norms.positions.astype(float).round(4).tolist(),
    }


def alignment_part(alignment: Alignment, caption: str) -> dict[str, Any]:
    """Return the data of a section with the alignment as a picture, as a table and in Pharaoh format."""
    heatmaps = Heatmaps(
        name="alignment",
        title="Word alignment",
        caption=caption,
        values=alignment.weights[None, None].astype(np.float32),
        row_labels=alignment.target,
        column_labels=alignment.source,
        grid_row_labels=[""],
        grid_column_labels=[""],
        are_weights=True,
    )
    links = sorted([source, target] for source, target in alignment.links)
    return {**heatmaps_part(heatmaps), "links": links, "pharaoh": alignment.pharaoh}


def _png_url(pixels: np.ndarray) -> str:
    """Convert an image to a data URL with a PNG."""
    from PIL import Image  # an optional dependency, which is installed if a model has read an image

    levels = np.rint(pixels * LEVELS).astype(np.uint8)
    image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels[..., :3])
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
