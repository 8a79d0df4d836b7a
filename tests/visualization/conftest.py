# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A tokenizer, an image and an image processor for the models of `models.py`."""

import numpy as np
import pytest
from transformers import ViTImageProcessorPil

import locant

from .models import SENTENCES, build


@pytest.fixture(scope="session")
def tokenizer():
    return locant.train_tokenizer(iter(SENTENCES * 5), vocab_size=300, show_progress=False)


@pytest.fixture(scope="session")
def image_processor():
    return ViTImageProcessorPil(size={"height": 12, "width": 12}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


@pytest.fixture(scope="session")
def image():
    return np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def image_model(tmp_path_factory):
    """The folder of an image classifier with its image processor."""
    folder = tmp_path_factory.mktemp("image_run")
    build("locant image encoder").save_pretrained(folder)
    locant.LocantImageProcessor(size=12).save_pretrained(folder)
    return folder
