# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reading and resizing images once, augmenting them in each epoch, and normalizing them when a batch is collated.

Reading and resizing are by far the slowest steps, so the resized images are kept, as bytes, in the cache of `datasets`.
"""

import hashlib
import os
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow
from transformers import AutoImageProcessor, BaseImageProcessor
from transformers.image_utils import ChannelDimension

from locant.tokenization import LocantImageProcessor
from locant.utils.errors import first_line

from ..errors import InputError
from ..options.run_config import RunConfig
from ..tasks.image_arguments import ImageArguments
from ..tasks.registry import TASKS
from .tables import LINE, place_of

IMAGE_COLUMN = "image"
PIXEL_COLUMNS = ["pixels", "shape"]
"""Columns that `read_images` adds: the pixels of an image, as bytes, and its shape `(channels, height, width)`."""
DIGEST = "digest"
"""A column that `read_images` adds: a hash of the shape and the pixels of an image; equal images have equal hashes."""

_UNREADABLE = (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError)


def build_image_processor(data: ImageArguments, run: RunConfig, name: str | None) -> BaseImageProcessor:
    """Load the image processor `name`; if `name` is None, make one for the image size and channels of the new model.

    Raises:
        InputError: no image processor loads from `name`; or `image_mean` or `image_std` is given, although the model
            named by `model_name_or_path` comes with an image processor.
    """
    if name is None:
        config = run.model.make_config(**TASKS[run.task].config_fields)
        rows, columns = config.patch_grid
        options: dict[str, Any] = {
            "num_channels": config.num_channels,
            "size": {"height": rows * config.patch_shape[0], "width": columns * config.patch_shape[1]},
            "image_mean": data.image_mean,
            "image_std": data.image_std,
        }
        return LocantImageProcessor(**options)
    for option in ("image_mean", "image_std"):
        if run.model.model_name_or_path is not None and option in run.given:
            raise InputError(
                f"{option} is given, but model_name_or_path names a model with its own image processor: leave {option} "
                "out."
            )
    try:
        return AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(
            f"No image processor loads from {name}: give the folder or Hub name of an image processor."
        ) from error


def open_image(path: str | os.PathLike[str]) -> Pillow.Image:
    """Open an image in RGB, turned upright by its EXIF orientation, and white where it is transparent.

    A `LocantImageProcessor` with 3 channels or 1 channel makes the same pixels of the opened image as of the stored
    image. The pipelines of transformers would make transparent pixels black.

    Raises:
        InputError: there is no image at the path, or it cannot be read.
    """
    try:
        image = Image().decode_example({"path": os.fspath(path), "bytes": None})
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read as an image ({first_line(error)}): give the path of a readable image file."
        ) from error


def read_images(rows: Dataset, processor: BaseImageProcessor, table: str, num_proc: int | None = None) -> Dataset:
    """Read all images, and return `rows` with the columns `PIXEL_COLUMNS` and `DIGEST` instead of `image`.

    The returned rows are stored on disk, in the cache of `datasets`.

    Args:
        rows: the rows, with the columns `image` and `line`.
        processor: resizes each image and converts its channels; the pixels stay integers from 0 to 255.
        table: the file or dataset of the rows, for messages.
        num_proc: the number of processes that read images.

    Raises:
        InputError: an image is missing or broken, or the processor cannot convert it; the message names the first
            such image.
    """
    stored = rows.cast_column(IMAGE_COLUMN, Image(decode=False))
    others = {name: feature for name, feature in stored.features.items() if name != IMAGE_COLUMN}
    made = {"pixels": Value("binary"), "shape": List(Value("int32")), DIGEST: Value("binary"), "fault": Value("string")}
    read = stored.map(
        _Reading(processor, _versions(stored)),
        batched=True,
        batch_size=100,
        num_proc=num_proc,
        remove_columns=[IMAGE_COLUMN],
        features=Features({**others, **made}),
        desc="Reading images",
    )
    _check_faults(read["fault"][:], rows, table)
    return read.remove_columns("fault")


@dataclass(frozen=True)
class _Reading:
    """Reads the images of a batch of rows; `Dataset.map` calls an object of this class for each batch.

    `datasets` caches the result of `map` under a hash of the rows and of this object. The field `versions`, the result
    of `_versions`, changes this hash when an image file changes, so that the images are read again.
    """

    processor: BaseImageProcessor
    versions: str

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        found = [self._read(stored) for stored in batch[IMAGE_COLUMN]]
        return dict(zip((*PIXEL_COLUMNS, DIGEST, "fault"), map(list, zip(*found, strict=True)), strict=True))

    def _read(self, stored: dict[str, Any]) -> tuple[bytes, list[int], bytes, str]:
        try:
            image = Image().decode_example(stored)
            # with `include_top`, the processor of EfficientNet would normalize a second time
            options = _known(self.processor, include_top=False)
            made = self.processor(image, do_rescale=False, do_normalize=False, **options)["pixel_values"][0]
        except _UNREADABLE as error:
            return b"", [], b"", first_line(error)
        pixels = np.asarray(made, dtype=np.uint8)
        shape, content = list(pixels.shape), pixels.tobytes()
        return content, shape, hashlib.sha256(repr(shape).encode() + content).digest()[:16], ""


def _known(processor: BaseImageProcessor, **options: Any) -> dict[str, Any]:
    """Return those of the options that the processor has."""
    return {name: value for name, value in options.items() if hasattr(processor, name)}


def _versions(stored: Dataset) -> str:
    """Compute a hash of the sizes and modification times of the image files; a changed file changes the hash."""
    versions = hashlib.sha256(b"2 ")  # increase the number if `_Reading` reads other pixels from the same files
    for path in pc.struct_field(stored.data.column(IMAGE_COLUMN), "path").to_pylist():
        try:
            status = os.stat(path or "")
            versions.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
        except OSError:  # the bytes of the image are in the table, or its file is missing
            versions.update(b"- ")
    return versions.hexdigest()


def _check_faults(faults: list[str], rows: Dataset, table: str) -> None:
    wrong = [row for row, fault in enumerate(faults) if fault]
    if wrong:
        stored = rows.cast_column(IMAGE_COLUMN, Image(decode=False))[wrong[0]]
        named = f" {stored[IMAGE_COLUMN]['path']}" if stored[IMAGE_COLUMN]["path"] else ""
        others = f" ({len(wrong):,} such images)" if len(wrong) > 1 else ""
        raise InputError(
            f"{place_of(table, stored[LINE])}: the image{named} cannot be read{others}: "
            f"{faults[wrong[0]].rstrip('.')}; replace it, or take the row out."
        )


def pixels_of(row: dict[str, Any]) -> np.ndarray:
    """Return the pixels of a row of `read_images`, from 0 to 255, as a read-only array `(channels, height, width)`."""
    return np.frombuffer(row["pixels"], dtype=np.uint8).reshape(row["shape"])


@dataclass(frozen=True)
class Variation:
    """Augments the image of a row for `TrainingRows`: a random crop, then a random shift, then a random flip.

    Args:
        shift: the largest number of pixels by which the image is moved along each axis; uncovered pixels are 0 (black).
        crop: the smallest share of each side that a crop keeps; the crop is enlarged to the size of the image.
        flip: whether an image is mirrored, left to right, with probability 0.5.
    """

    shift: int = 0
    crop: float = 1.0
    flip: bool = False

    def __call__(self, row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        """Augment the image of a row; `rng` is the only source of randomness."""
        pixels = pixels_of(row)
        if self.crop < 1.0:
            pixels = _cut(pixels, rng.uniform(self.crop, 1.0), rng.random(), rng.random())
        if self.shift:
            pixels = _moved(pixels, *(rng.randint(-self.shift, self.shift) for _ in range(2)))
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, :, ::-1]
        return {**row, "pixels": pixels.tobytes()}


def _cut(pixels: np.ndarray, share: float, down: float, right: float) -> np.ndarray:
    """Cut out a box with `share` of each side of the image, and enlarge it to the size of the image.

    `down` is the place of the box from 0 (at the top edge) to 1 (at the bottom edge), and `right` its place from 0 (at
    the left edge) to 1 (at the right edge).
    """
    height, width = pixels.shape[1:]
    top, left = down * (1 - share) * height, right * (1 - share) * width
    box = (left, top, left + share * width, top + share * height)
    enlarged = [
        Pillow.fromarray(channel).resize((width, height), Pillow.Resampling.BILINEAR, box=box) for channel in pixels
    ]
    return np.stack([np.asarray(channel) for channel in enlarged])


def _moved(pixels: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width = pixels.shape[1:]
    moved = np.zeros_like(pixels)
    rows, columns = (slice(max(0, by), max(0, size + by)) for by, size in ((down, height), (right, width)))
    from_rows, from_columns = (slice(max(0, -by), max(0, size - by)) for by, size in ((down, height), (right, width)))
    moved[:, rows, columns] = pixels[:, from_rows, from_columns]
    return moved


def variation(data: ImageArguments, flip: bool = False) -> Variation | None:
    """Return a `Variation` with the options in `data` and with `flip`; None if it would change no image."""
    wanted = Variation(data.random_shift, data.random_crop, flip)
    return None if wanted == Variation() else wanted


@dataclass
class ImageCollator:
    """Makes a batch of tensors from rows of `read_images`.

    The batch has `pixel_values`, and each column except `PIXEL_COLUMNS` as a tensor.

    Args:
        processor: rescales and normalizes the pixels.
    """

    processor: BaseImageProcessor

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch of tensors from rows."""
        images = self.processor(
            np.stack([pixels_of(row) for row in rows]),
            do_resize=False,
            input_data_format=ChannelDimension.FIRST,
            return_tensors="pt",
            # `read_images` has already cropped the images, and changed the order of their channels
            **_known(self.processor, do_center_crop=False, do_pad=False, do_flip_channel_order=False),
        )
        others = [name for name in rows[0] if name not in PIXEL_COLUMNS]
        return {
            "pixel_values": images["pixel_values"],
            **{name: torch.tensor([row[name] for row in rows]) for name in others},
        }
