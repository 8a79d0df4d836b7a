# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The function `locant.visualize`, which makes the pictures of the command `locant visualize` from Python."""

import os
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

if TYPE_CHECKING:
    from locant.visualization.visualization import Visualization


def visualize(
    model: PreTrainedModel | str | os.PathLike[str], text: str | None = None, target: str | None = None, **options: Any
) -> "Visualization":
    """Run a model on a text or an image, and make pictures of its attention and its position encoding.

    In a notebook, the returned object is displayed as a page. Its method `save` writes the page and PNG files. Its
    field `heatmaps` is a dict from names to heatmaps, and `heatmaps[name].values` is a NumPy array.

    Args:
        model: a model object of transformers, or the folder or Hub name of a model.
        text: the text to read; None if the model reads an image.
        target: the target text of an encoder–decoder; by default the text that the model generates.
        **options: `image`, `compare`, `reverse_model`, `layer`, `tokenizer`, `image_processor`, `reverse_tokenizer` and
            `device`, which `locant.visualization.visualization.visualize` describes. `tokenizer` (or `image_processor`)
            is needed if `model` is a model object.

    Raises:
        InputError: the model does not load or returns no attention weights, or an argument does not fit the model.
            `InputError` is a subclass of ValueError.
    """
    # imported here, because `import locant` would take longer with these modules
    from locant.visualization.visualization import visualize

    return visualize(model, text, target, **options)
