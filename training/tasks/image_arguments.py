# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The options that say which images a model is trained on, and how the images are processed."""

from dataclasses import dataclass

from ..errors import InputError
from ..options.arguments import DataArguments, check_positive, option

IMAGES_ARE_OF_ONE_SIZE = {
    "max_tokens_per_batch": "images are all of one size, so set per_device_train_batch_size",
    "type_vocab_size": "patches of an image have no token types",
}
"""Options that no task with images has, each with the reason for the error message."""


@dataclass
class ImageArguments(DataArguments):
    """The options of the section `data:` for tasks with images: sources, normalization and augmentation.

    Raises:
        InputError: no data or two sources of data are given, two options contradict each other, or a value is invalid.
    """

    image_column: str | None = option(
        None,
        "Column of the image: its path, relative to the folder of the table, or the image itself; by default image.",
    )
    image_mean: float = option(0.5, "Mean that is subtracted from the values of all channels, which go from 0 to 1.")
    image_std: float = option(
        0.5, "Standard deviation by which the values of all channels are divided after image_mean is subtracted."
    )
    random_shift: int = option(
        0, "In training, move an image by up to this number of pixels along each axis; uncovered pixels are black."
    )
    random_crop: float = option(
        1.0,
        "In training, crop an image at random and enlarge the crop to the size of the image; each side of the crop is "
        "at least this share of the side of the image.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "image_std")
        if self.random_shift < 0:
            raise InputError(f"random_shift is {self.random_shift}, but must be 0 or more pixels.")
        if not 0.0 < self.random_crop <= 1.0:
            raise InputError(f"random_crop is {self.random_crop}, but must be above 0 and at most 1.")
