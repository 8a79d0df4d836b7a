# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The digits and their captions: what is in which split, that captions are true; and the convolutional network."""

import csv
import importlib.util
import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from sklearn.datasets import load_digits

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digits_script, network_script = load("digits"), load("digits_cnn")
COUNTS = {"train": 300, "validation": 40, "test": 60}


def write(folder, *options):
    return digits_script.main([f"--output_dir={folder}", *(f"--{k}={v}" for k, v in COUNTS.items()), *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    assert write(path) == 0
    return path


@pytest.fixture(scope="module")
def tables(folder):
    return {split: list(csv.DictReader((folder / "digits" / f"{split}.csv").open())) for split in COUNTS}


@pytest.fixture(scope="module")
def captions(folder, tmp_path_factory):
    files = {split: str(folder / "captions" / f"{split}.parquet") for split in COUNTS}
    return load_dataset("parquet", data_files=files, cache_dir=str(tmp_path_factory.mktemp("cache")))


def nouns(caption):
    """The digits of a caption, in its order."""
    return [digits_script.WORDS.index(word) for word in caption.split() if word in digits_script.WORDS]


def test_every_digit_is_in_one_split_with_its_picture_and_word(folder, tables):
    bunch = load_digits()
    assert sorted(row["image"] for rows in tables.values() for row in rows) == [
        f"images/{i:04}.png" for i in range(1797)
    ]
    for row in itertools.chain(*tables.values()):
        number = int(Path(row["image"]).stem)
        assert row["label"] == digits_script.WORDS[bunch.target[number]]
        picture = Image.open(folder / "digits" / row["image"])
        assert picture.mode == "L"
        np.testing.assert_allclose(np.asarray(picture) * (16 / 255), bunch.images[number], atol=0.05)


def test_splits_have_their_share_of_every_digit(tables):
    for word in digits_script.WORDS:
        counts = {split: sum(row["label"] == word for row in rows) for split, rows in tables.items()}
        for split, share in digits_script.SHARES.items():
            assert counts[split] == pytest.approx(share * sum(counts.values()), abs=1)


def test_captioned_pictures_are_grey_and_of_one_size(captions):
    assert {split: len(rows) for split, rows in captions.items()} == COUNTS
    for picture in captions["test"]["image"]:
        assert (picture.mode, picture.size) == ("L", (28, 28))


def boxes(picture, caption, digits):
    """Where each digit of the caption stands, as (top, left), found by comparing with all pictures of it."""
    found = []
    for value in nouns(caption):
        known = [digit.image for digit in digits if digit.value == value]
        windows = np.lib.stride_tricks.sliding_window_view(picture, (8, 8))
        places = {tuple(place) for image in known for place in np.argwhere((windows == image).all((2, 3)))}
        found.append(places)
    return found


def relates(word, first, second):
    """Whether the one is above or left of the other: past its end, and at most half a picture aside."""
    ahead, aside = (0, 1) if word == "above" else (1, 0)
    return second[ahead] - first[ahead] >= 8 and abs(second[aside] - first[aside]) <= 14


def is_true(caption, places):
    """What the caption claims, each side of a relation being one digit or two that stand beside each other."""
    word = "above" if "above" in caption else "left of"
    sides, start = [], 0
    for side in caption.split(f" {word} "):
        sides.append(places[start : start + len(nouns(side))])
        start += len(nouns(side))
    other = "left of" if word == "above" else "above"
    return all(
        relates(word, one, two) for left, right in itertools.pairwise(sides) for one in left for two in right
    ) and all(relates(other, *side) for side in sides if len(side) == 2)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_captions_say_what_the_picture_shows_in_digits_of_their_split(captions, split):
    digits = digits_script.split_digits(seed=1)[split]
    for row in captions[split].take(40):
        choices = boxes(np.asarray(row["image"]), row["caption"], digits)
        assert any(is_true(row["caption"], places) for places in itertools.product(*choices)), row["caption"]


class Fixed:
    """A generator that always draws the same share of a range."""

    def __init__(self, share):
        self.share = share

    def uniform(self, low, high):
        return low + self.share * (high - low)


def test_a_digit_written_anew_in_the_middle_of_all_ranges_is_itself():
    image = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(digits_script.written_anew(image, Fixed(0.5)), image)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_digit_written_anew_is_another_picture_about_the_same_middle(share):
    image = np.zeros((8, 8), np.uint8)
    image[1:7, 3:5] = 200
    anew = digits_script.written_anew(image, Fixed(share)).astype(float)
    assert np.abs(anew - image).max() > 20
    middles = [
        (picture.sum(0) @ np.arange(8) / picture.sum(), picture.sum(1) @ np.arange(8) / picture.sum())
        for picture in (anew, image)
    ]
    np.testing.assert_allclose(*middles, atol=0.7)
    assert anew.sum() == pytest.approx(image.sum(), rel=0.25)


def test_an_article_fits_its_noun(captions):
    text = " ".join(itertools.chain(*(rows["caption"] for rows in captions.values())))
    assert "an eight" in text
    assert "a eight" not in text
    assert text.count("an ") == text.count("an eight")


def test_captions_of_every_arrangement_are_in_every_split(captions):
    for rows in captions.values():
        shapes = {
            " ".join(word for word in caption.split() if word in ("above", "left", "and"))
            for caption in rows["caption"]
        }
        assert shapes == {"above", "above above", "above and", "and above", "left", "left left", "left and", "and left"}


def test_no_caption_is_in_two_splits(captions):
    train, validation, test = (set(captions[split]["caption"]) for split in COUNTS)
    assert not train & validation | train & test | validation & test


def test_one_caption_in_ten_is_left_to_test_and_one_in_twenty_to_validation():
    possible = [
        digits_script.describe(values, arrangement)
        for arrangement in digits_script.ARRANGEMENTS
        for values in itertools.product(range(10), repeat=len(arrangement.slots))
    ]
    assert len(set(possible)) == len(possible) == 6_200
    splits = [digits_script.split_of(caption) for caption in possible]
    for split, share in {"train": 0.85, "validation": 0.05, "test": 0.1}.items():
        assert splits.count(split) / len(splits) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_seed_decides_pictures_and_captions(seed):
    def draw(seed):
        digits = digits_script.split_digits(seed)["train"]
        rng = random.Random(seed)
        return [digits_script.compose("train", digits, rng) for _ in range(5)]

    for (one, caption), (other, same_caption) in zip(draw(seed), draw(seed), strict=True):
        assert caption == same_caption
        np.testing.assert_array_equal(one, other)
    assert [caption for _, caption in draw(seed)] != [caption for _, caption in draw(seed + 1)]


def test_wrong_use_is_one_sentence(tmp_path, capsys):
    assert write(tmp_path, "--test=0") == 2
    (tmp_path / "file").touch()
    assert write(tmp_path / "file") == 2
    assert network_script.main([f"--data_dir={tmp_path}"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("digits")]
    assert len(lines) == 3
    assert "numbers from 1" in lines[0]
    assert "examples/digits.py" in lines[2]


def test_the_convolutional_network_reads_the_digits(folder, capsys):
    assert network_script.main([f"--data_dir={folder / 'digits'}", "--epochs=6", "--parameters=17000"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["test_accuracy"] >= 0.95
    assert report["parameters"] == 16_794
