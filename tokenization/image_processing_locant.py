# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`LocantImageProcessor`: images of any kind become `pixel_values`, with PIL and NumPy alone."""

from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import ChannelDimension, ImageInput, infer_channel_dimension_format
from transformers.processing_utils import ImagesKwargs

# The weights of red, green and blue in ITU-R 601-2 luma, rounded to multiples of 2^-16 as in PIL. Their sum is 1, so a
# grey image does not change.
_LUMA = np.array([19595, 38470, 7471]) / 2**16


class LocantImageProcessorKwargs(ImagesKwargs, total=False):
    """The options of `LocantImageProcessor`, which its `__init__` and each call take.

    Args:
        num_channels: the number of channels of the result, 3 for colours, 1 for grey.
    """

    num_channels: int


class LocantImageProcessor(PilBackend):
    """Turns images into `pixel_values` (batch, num_channels, height, width).

    A call takes a PIL image, an array or tensor (height, width), (height, width, channels) or (channels, height,
    width), a list of images, or a batch (batch, channels, height, width); several grey images without a channel
    axis are given as a list. An image is first converted to `num_channels` channels. It is then resized, rescaled and
    normalised, in this order, exactly as by transformers' `ViTImageProcessorPil`. Each option below is an argument of
    `__init__`, and can also be given in a call.

    Args:
        num_channels: 3, or 1 for grey (as PIL's mode `L`). For any other number, the images must have that number of
            channels already.
        do_convert_rgb: with `num_channels=3`, turn grey, palette and transparent images into RGB,
            transparent images on a white background.
        do_resize, size, resample: resize to `size`, `{"height": …, "width": …}` or one number for both, with the
            PIL filter whose number is `resample` (2 is bilinear).
        do_rescale, rescale_factor: multiply the values by `rescale_factor`.
        do_normalize, image_mean, image_std: subtract `image_mean` and divide by `image_std`, which are each one number,
            or one number for each channel.

    Raises:
        ValueError: an image has no axis for its channels, or cannot be converted to `num_channels` channels; or, with
            `do_normalize`, `image_mean` or `image_std` is a list that does not have one number for each channel.
    """

    valid_kwargs = LocantImageProcessorKwargs

    num_channels = 3
    do_convert_rgb = True
    do_resize = True
    size = {"height": 224, "width": 224}  # noqa: RUF012 (declared in the base class)
    resample = 2  # PIL's number for bilinear: its enum cannot be imported where PIL is not installed
    do_rescale = True
    do_normalize = True
    image_mean = 0.5
    image_std = 0.5

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        num_channels: int = 3,
        **kwargs: Any,
    ) -> np.ndarray:
        """Convert one image to an array (num_channels, height, width)."""
        shape = getattr(image, "shape", None)  # a PIL image has none
        if shape is not None and len(shape) == 2:
            image, input_data_format = image[None], ChannelDimension.FIRST
        elif shape is not None and input_data_format is None:
            input_data_format = _channel_axis(image, num_channels)
        convert = num_channels == 1 or (num_channels == 3 and do_convert_rgb)
        array = super().process_image(image, do_convert_rgb=convert, input_data_format=input_data_format)
        if num_channels == 1 and array.shape[0] == 3:
            array = _to_grey(array)
        if array.shape[0] != num_channels:
            raise ValueError(
                f"An image has {array.shape[0]} channels, but num_channels is {num_channels}: give images with "
                f"{num_channels} channels, or set num_channels to 1 (grey) or 3 with do_convert_rgb (colours)."
            )
        return array

    def _prepare_images_structure(self, images: ImageInput, expected_ndims: int = 3) -> ImageInput:
        first = images[0] if isinstance(images, (list, tuple)) and images else images
        is_flat = getattr(first, "ndim", None) == 2  # grey, without an axis for the channels
        return super()._prepare_images_structure(images, 2 if is_flat else expected_ndims)

    def _validate_preprocess_kwargs(self, *args: Any, **kwargs: Any) -> None:
        num_channels = kwargs["num_channels"]
        for option in ("image_mean", "image_std") if kwargs["do_normalize"] else ():
            value = kwargs[option]
            if isinstance(value, tuple) and len(value) != num_channels:
                raise ValueError(
                    f"{option} has {len(value)} values, but num_channels is {num_channels}: give one value for "
                    "each channel, or a single number for all channels."
                )
        super()._validate_preprocess_kwargs(*args, **kwargs)


def _channel_axis(image: Any, num_channels: int) -> ChannelDimension:
    try:
        return infer_channel_dimension_format(image, num_channels=(1, 3, 4, num_channels))
    except ValueError as error:
        raise ValueError(
            f"An image of shape {tuple(image.shape)} has no axis for {num_channels} channels, first or last: give "
            "(channels, height, width), (height, width, channels) or (height, width), and several images as a "
            "list or as (batch, channels, height, width)."
        ) from error


def _to_grey(image: np.ndarray) -> np.ndarray:
    """Return the luma (1, height, width) of RGB (3, height, width), rounded as in PIL if the values are integers."""
    grey = np.tensordot(_LUMA, image, axes=1)[None]
    if np.issubdtype(image.dtype, np.integer):
        grey = np.floor(grey + 0.5)
    return grey.astype(image.dtype)
