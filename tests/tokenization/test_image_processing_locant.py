# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The image processor: equal to transformers' for ViT, grey images, what it accepts, what it refuses, what it saves."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor
from transformers.image_utils import PILImageResampling
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import locant  # noqa: F401  (registers the processor)
from locant.tokenization import LocantImageProcessor

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (13, 17, 4), dtype=np.uint8)
PALETTE = Image.fromarray(COLOURS).quantize(16)
FRACTIONS = RNG.random((3, 13, 17), dtype=np.float32)


def values(processor, images, **options):
    return processor(images, return_tensors="pt", **options)["pixel_values"]


def same(left, right):
    return torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": {"height": 9, "width": 21}, "resample": PILImageResampling.BICUBIC},
        {"size": {"shortest_edge": 8}, "resample": PILImageResampling.NEAREST},
        {"do_resize": False},
        {"do_rescale": False, "size": {"height": 8, "width": 8}},
        {"rescale_factor": 1 / 16, "do_normalize": False},
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [1.0, 2.0, 3.0]},
    ],
)
@pytest.mark.parametrize(
    "image",
    [Image.fromarray(COLOURS), COLOURS, torch.from_numpy(COLOURS), FRACTIONS],
    ids=["PIL", "array", "tensor", "float"],
)
def test_equals_the_processor_of_vit(options, image):
    same(values(LocantImageProcessor(**options), [image] * 2), values(ViTImageProcessorPil(**options), [image] * 2))


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(GREY), Image.fromarray(RGBA), RGBA, PALETTE],
    ids=["grey", "rgba", "rgba array", "palette"],
)
def test_any_image_becomes_rgb_as_by_the_processor_of_vit(image):
    same(values(LocantImageProcessor(size=8), image), values(ViTImageProcessorPil(size=8, do_convert_rgb=True), image))


def on_white(image):
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(COLOURS), Image.fromarray(GREY), PALETTE, on_white(Image.fromarray(RGBA))],
    ids=["colours", "grey", "palette", "rgba"],
)
def test_grey_is_what_pil_makes_of_it(image):
    expected = np.asarray(image.convert("L").resize((6, 5), PILImageResampling.BILINEAR)) / 255
    got = values(LocantImageProcessor(num_channels=1, size={"height": 5, "width": 6}, do_normalize=False), image)
    torch.testing.assert_close(got, torch.from_numpy(expected)[None, None].float())


@pytest.mark.parametrize("image", [COLOURS, COLOURS.transpose(2, 0, 1), torch.from_numpy(COLOURS)])
def test_grey_of_an_array_is_grey_of_the_picture(image):
    processor = LocantImageProcessor(num_channels=1, size=8)
    same(values(processor, image), values(processor, Image.fromarray(COLOURS)))


def test_grey_of_fractions_is_not_rounded():
    processor = LocantImageProcessor(num_channels=1, do_resize=False, do_rescale=False, do_normalize=False)
    expected = 0.299 * FRACTIONS[0] + 0.587 * FRACTIONS[1] + 0.114 * FRACTIONS[2]
    torch.testing.assert_close(values(processor, FRACTIONS)[0, 0], torch.from_numpy(expected), rtol=0, atol=1e-4)


def test_grey_images_need_no_axis_for_channels():
    processor = LocantImageProcessor(num_channels=1, size=8, rescale_factor=1 / 16, do_normalize=False)
    digits = RNG.integers(0, 17, (4, 8, 8)).astype(float)
    expected = torch.from_numpy(digits / 16)[:, None].float()
    for images in (list(digits), list(torch.from_numpy(digits)), digits[:, None], digits[..., None]):
        torch.testing.assert_close(values(processor, images), expected)
    torch.testing.assert_close(values(processor, digits[0]), expected[:1])
    assert values(LocantImageProcessor(size=8), digits[0]).shape == (1, 3, 8, 8)


def test_other_numbers_of_channels_are_taken_as_they_come():
    bands = RNG.random((5, 8, 8), dtype=np.float32)
    processor = LocantImageProcessor(num_channels=5, do_resize=False, do_rescale=False, image_mean=1.0, image_std=2.0)
    for image in (bands, bands.transpose(1, 2, 0)):
        torch.testing.assert_close(values(processor, image)[0], torch.from_numpy((bands - 1) / 2))


def test_options_of_a_call_come_before_those_of_the_processor():
    processor = LocantImageProcessor(size=8)
    expected = values(LocantImageProcessor(size=4, num_channels=1, image_mean=0.0), COLOURS)
    same(values(processor, COLOURS, size={"height": 4, "width": 4}, num_channels=1, image_mean=0.0), expected)
    assert values(processor, COLOURS).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("options", "image", "message"),
    [
        (
            {"do_convert_rgb": False},
            GREY,
            r"has 1 channels, but num_channels is 3: give images with 3 channels, or set",
        ),
        (
            {"num_channels": 1},
            RNG.random((8, 8, 5)),
            r"shape \(8, 8, 5\) has no axis for 1 channels, first or last: give",
        ),
        ({"num_channels": 1}, RNG.random((100, 8, 8)), r"several images as a list"),
        ({"num_channels": 4}, COLOURS, r"has 3 channels, but num_channels is 4"),
        (
            {"num_channels": 1, "image_mean": [0.5] * 3},
            GREY,
            r"image_mean has 3 values, but num_channels is 1: give one",
        ),
        ({"image_std": [0.5]}, COLOURS, r"image_std has 1 values, but num_channels is 3"),
    ],
)
def test_channels_that_do_not_fit_are_one_sentence(options, image, message):
    with pytest.raises(ValueError, match=message) as raised:
        LocantImageProcessor(**options)(image)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", [{}, {"num_channels": 1, "size": 8, "rescale_factor": 1 / 16, "image_mean": [0.3]}])
def test_saved_and_loaded_is_the_same(options, tmp_path):
    processor = LocantImageProcessor(**options)
    processor.save_pretrained(tmp_path)
    for loaded in (LocantImageProcessor.from_pretrained(tmp_path), AutoImageProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is LocantImageProcessor
        assert loaded.to_dict() == processor.to_dict()
        same(values(loaded, GREY), values(processor, GREY))


@pytest.mark.slow
def test_the_package_imports_where_pil_and_torchvision_are_not_installed():
    script = """
import sys

sys.modules["PIL"] = sys.modules["torchvision"] = None
import numpy
import locant.tokenization

try:
    locant.tokenization.LocantImageProcessor()(numpy.zeros((8, 8)))
except ImportError as error:
    assert "PIL" in str(error), error
else:
    raise AssertionError("an image processor without PIL")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
