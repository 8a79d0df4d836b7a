# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Images as rows: read once and again when they change, varied by (seed, epoch, row), batched as the processor says."""

import os
import pickle
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image

from locant.tokenization import LocantImageProcessor
from locant.training.data.batching import TrainingRows
from locant.training.data.images import ImageCollator, Variation, pixels_of, read_images, variation
from locant.training.data.tables import IMAGE, Column, Layout, numbered
from locant.training.errors import InputError

from ..tables import load_splits

GREY = LocantImageProcessor(num_channels=1, size={"height": 4, "width": 6})
GRADIENT = np.arange(0, 240, 10, dtype=np.uint8).reshape(1, 4, 6)


def row(pixels):
    return {"pixels": pixels.tobytes(), "shape": list(pixels.shape), "labels": 3}


def dataset(folder, images):
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    (folder / "t.csv").write_text("image\n" + "".join(f"{number}.png\n" for number in range(len(images))))
    layout = Layout((Column("image", IMAGE),))
    return numbered(load_splits(layout, train_file=folder / "t.csv", validation_file=folder / "t.csv")["train"])


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (9, 5, 3), dtype=np.uint8))
    return [colours, colours.convert("L"), colours.convert("P"), colours.convert("RGBA")]


class TestReading:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_batch_is_what_the_processor_makes_of_the_images(self, toy, tmp_path, images, channels):
        processor = LocantImageProcessor(
            num_channels=channels, size={"height": 4, "width": 6}, image_mean=0.3, image_std=0.2
        )
        read = read_images(dataset(tmp_path, images), processor, "t.csv")
        batch = ImageCollator(processor)(read.select_columns(["pixels", "shape", "line"]).to_list())
        expected = processor([Image.open(tmp_path / f"{i}.png") for i in range(4)], return_tensors="pt")
        assert torch.equal(batch["pixel_values"], expected["pixel_values"])
        assert batch["pixel_values"].shape == (4, channels, 4, 6)
        assert batch["line"].tolist() == [1, 2, 3, 4]

    @pytest.mark.parametrize("name", ["EfficientNet", "MobileViT", "Perceiver"])
    def test_processors_of_other_families_process_each_image_once(self, toy, tmp_path, images, name):
        processor = getattr(transformers, f"{name}ImageProcessorPil")()
        read = read_images(dataset(tmp_path, images[:1]), processor, "t.csv")
        batch = ImageCollator(processor)(read.select_columns(["pixels", "shape"]).to_list())
        expected = processor(images[0], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(batch["pixel_values"], expected)

    def test_a_photo_is_turned_as_it_was_taken(self, toy, tmp_path, images):
        upright, tag = images[0], 0x0112
        exif = Image.Exif()
        exif[tag] = 6  # turn right
        upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
        rows = Dataset.from_dict({"image": [str(tmp_path / "turned.png")]}).cast_column("image", ImageFeature())
        found = pixels_of(read_images(numbered(rows), LocantImageProcessor(do_resize=False), "t.csv")[0])
        np.testing.assert_array_equal(found, np.asarray(upright).transpose(2, 0, 1))

    def test_a_file_that_changes_is_read_anew_and_no_other(self, toy, tmp_path, images, monkeypatch):
        calls, original = [], ImageFeature.decode_example
        monkeypatch.setattr(ImageFeature, "decode_example", lambda *args: calls.append(1) or original(*args))
        rows = dataset(tmp_path, images)
        first = read_images(rows, GREY, "t.csv")
        read_images(rows, GREY, "another table")
        assert len(calls) == 4
        images[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "0.png")
        os.utime(tmp_path / "0.png", ns=(1, 1))
        second = read_images(rows, GREY, "t.csv")
        assert len(calls) == 8
        assert [one == other for one, other in zip(first["pixels"], second["pixels"], strict=True)] == [
            False,
            *[True] * 3,
        ]
        assert [one == other for one, other in zip(first["digest"], second["digest"], strict=True)] == [
            False,
            *[True] * 3,
        ]

    def test_equal_bytes_of_other_shapes_are_other_images(self, toy, tmp_path):
        flat = dataset(tmp_path, [Image.new("L", (2, 8)), Image.new("L", (8, 2)), Image.new("L", (8, 2))])
        digests = read_images(flat, LocantImageProcessor(num_channels=1, do_resize=False), "t.csv")["digest"]
        assert digests[0] != digests[1] == digests[2]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [(b"no image", "cannot identify image file"), (None, "No such file"), (b"", "cannot identify image file")],
    )
    def test_the_first_that_cannot_be_read_is_named(self, toy, tmp_path, images, content, reason):
        rows = dataset(tmp_path, images)
        for number in (1, 3):
            path = tmp_path / f"{number}.png"
            path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_images(rows, GREY, "t.csv")
        message = str(error.value)
        assert message.startswith(f"t.csv, row 2: the image {tmp_path / '1.png'} cannot be read (2 such images): ")
        assert reason in message

    def test_a_truncated_one_is_named_and_one_of_other_channels(self, toy, tmp_path, images):
        rows = dataset(tmp_path, images)
        content = (tmp_path / "2.png").read_bytes()
        (tmp_path / "2.png").write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match=r"row 3: the image \S+2\.png cannot be read: Truncated"):
            read_images(rows, GREY, "t.csv")
        (tmp_path / "2.png").write_bytes(content)
        with pytest.raises(InputError, match=r"row 1: .*An image has 3 channels, but num_channels is 4"):
            read_images(rows, LocantImageProcessor(num_channels=4, size=4), "t.csv")


class TestVariation:
    def test_a_shift_moves_the_image_by_whole_pixels_onto_black(self):
        seen = set()
        for seed in range(200):
            varied = pixels_of(Variation(shift=1)(row(GRADIENT + 5), random.Random(seed)))
            padded = np.pad(GRADIENT + 5, ((0, 0), (1, 1), (1, 1)))
            found = [
                (top, left)
                for top in range(3)
                for left in range(3)
                if (padded[:, top:, left:][:, :4, :6] == varied).all()
            ]
            assert len(found) == 1
            seen.update(found)
        assert len(seen) == 9

    def test_a_shift_beyond_the_image_leaves_black(self):
        for seed in range(30):
            varied = pixels_of(Variation(shift=9)(row(GRADIENT + 5), random.Random(seed)))
            assert varied.shape == GRADIENT.shape
            assert np.isin(varied, [0, *(GRADIENT + 5).flat]).all()

    @pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1)], ids=["along", "down"])
    def test_a_crop_is_a_part_that_is_enlarged(self, axes):
        ramp = np.tile(np.linspace(0, 200, 21).astype(np.uint8), (3, 21, 1)).transpose(axes)
        widths, starts = [], []
        for seed in range(50):
            varied = pixels_of(Variation(crop=0.5)(row(ramp), random.Random(seed))).astype(int).transpose(axes)
            assert (varied == varied[0, 0]).all()
            assert (np.diff(varied[0, 0]) >= 0).all()
            widths.append(varied[0, 0, -1] - varied[0, 0, 0])
            starts.append(varied[0, 0, 0])
        assert 90 <= min(widths) < 130
        assert 170 < max(widths) <= 200
        assert min(starts) < 10
        assert max(starts) > 50

    def test_every_other_image_is_mirrored(self):
        varied = [pixels_of(Variation(flip=True)(row(GRADIENT), random.Random(seed))) for seed in range(200)]
        mirrored = sum((image == GRADIENT[:, :, ::-1]).all() for image in varied)
        assert 60 < mirrored < 140
        assert sum((image == GRADIENT).all() for image in varied) == 200 - mirrored

    def test_it_depends_on_seed_epoch_and_row_alone(self):
        vary = pickle.loads(pickle.dumps(Variation(shift=2, crop=0.7, flip=True)))
        data = Dataset.from_list([row(GRADIENT)] * 4)
        keys = [(epoch, number) for epoch in range(4) for number in range(4)]
        first = {key: TrainingRows(data, vary, seed=1).__getitems__([key])[0]["pixels"] for key in keys}
        for key, again in zip(keys, TrainingRows(data, vary, seed=1).__getitems__(keys), strict=True):
            assert again["pixels"] == first[key]
            assert again["labels"] == 3
        assert len({*first.values()}) > 8
        assert TrainingRows(data, vary, seed=2).__getitems__([(0, 0)])[0]["pixels"] != first[0, 0]

    def test_there_is_none_where_nothing_is_asked_for(self):
        data = SimpleNamespace(random_shift=0, random_crop=1.0)
        assert variation(data) is None
        assert variation(data, flip=True) == Variation(flip=True)
        assert variation(SimpleNamespace(random_shift=2, random_crop=0.5)) == Variation(2, 0.5)
