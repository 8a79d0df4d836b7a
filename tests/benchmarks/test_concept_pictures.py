# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The pictures of docs/concepts are drawn from what the package computes."""

import pytest
import torch
from matplotlib.figure import Figure

# the other pictures show trained models
UNTRAINED = ["encoder_decoder", "images", "long_inputs", "normalisation", "positions", "recent_encodings", "sinusoids"]


@pytest.mark.parametrize("window", [None, 2])
def test_a_query_sees_the_keys_in_its_window(window):
    import concept_pictures

    places = torch.arange(9)
    near = (places - places[:, None]).abs() <= (9 if window is None else window)
    assert torch.equal(concept_pictures._seen(9, window), near.float())


@pytest.mark.slow
@pytest.mark.parametrize("name", UNTRAINED)
@torch.no_grad()
def test_a_picture_of_untrained_models_is_drawn(name):
    import concept_pictures

    figure = Figure(layout="constrained")
    concept_pictures.PICTURES[name](figure)
    assert all(axes.images or axes.lines or axes.collections for axes in figure.axes)
