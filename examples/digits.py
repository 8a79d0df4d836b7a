# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Write two sets of pictures made of scikit-learn's handwritten digits: one with labels, one with captions.

    python examples/digits.py --output_dir examples/data

`digits/` holds the 1,797 digits of the UCI repository (Alpaydin & Kaynak 1998) that come with scikit-learn: grey PNG
files of 8×8 pixels, and for each split a CSV table with the columns `image`, a path relative to the table, and
`label`, a word. The writers of the digits are not known, so several splits may have digits of one writer; each digit is
in one split.

`captions/` holds pictures of 28×28 pixels with two or three digits, and captions that describe them: "a seven above a
three", "an eight left of a one and a nine". Each split is one Parquet file that contains the pictures. A model has to
compose the captions of the test split, because training has neither its digits (a test picture consists of test digits)
nor its captions (of all 6,200 possible captions, one in ten is only in test, and one in twenty only in validation). In
training pictures, each digit is rotated, sheared, resized and shifted a little at random, so that the model cannot
memorise the digits.

The same numbers of pictures and the same seed give the same pictures and captions.
"""

import argparse
import csv
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow
from sklearn.datasets import load_digits
from tqdm.auto import tqdm

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT, CANVAS = 8, 28  # pixels on a side
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


class Digit(NamedTuple):
    """A picture (8, 8) from 0 to 255, the digit that it shows, and its number in scikit-learn's set."""

    image: np.ndarray
    value: int
    number: int


def split_digits(seed: int) -> dict[str, list[Digit]]:
    """The digits of each split; a split has its share in `SHARES` of the digits of each value."""
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    digits = [Digit(image, int(value), i) for i, (image, value) in enumerate(zip(images, bunch.target, strict=True))]
    rng = random.Random(seed)
    splits: dict[str, list[Digit]] = {name: [] for name in SHARES}
    for value in range(10):
        same = [digit for digit in digits if digit.value == value]
        rng.shuffle(same)
        first, second = round(SHARES["train"] * len(same)), round((1 - SHARES["test"]) * len(same))
        for split, part in zip(splits.values(), (same[:first], same[first:second], same[second:]), strict=True):
            split += part
    return {name: sorted(split, key=lambda digit: digit.number) for name, split in splits.items()}


def write_digits(splits: dict[str, list[Digit]], folder: Path) -> None:
    """Write PNG files into `images/`, and a CSV table for each split."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, digits in splits.items():
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("image", "label"))
            for digit in tqdm(digits, f"digits, {name}"):
                path = f"images/{digit.number:04}.png"
                Pillow.fromarray(digit.image).save(folder / path)
                table.writerow((path, WORDS[digit.value]))


# Captions: an arrangement of slots, and a digit somewhere in each.


class Slot(NamedTuple):
    """A rectangle of the canvas, in which one digit has room to move."""

    top: int
    left: int
    height: int
    width: int


class Arrangement(NamedTuple):
    """A caption with a placeholder for each digit, and the slots of the digits in the same order."""

    caption: str
    slots: tuple[Slot, ...]


def _turned(arrangement: Arrangement) -> Arrangement:
    """The arrangement mirrored at the diagonal: a digit that was above another is to the left of it."""
    slots = tuple(Slot(left, top, width, height) for top, left, height, width in arrangement.slots)
    return Arrangement(arrangement.caption.replace("above", "left of"), slots)


_UPPER, _LOWER = Slot(0, 8, 14, 12), Slot(14, 8, 14, 12)
_THIRDS = (Slot(0, 8, 8, 12), Slot(8, 8, 12, 12), Slot(20, 8, 8, 12))
_QUARTERS = (Slot(0, 0, 14, 14), Slot(0, 14, 14, 14), Slot(14, 0, 14, 14), Slot(14, 14, 14, 14))
_VERTICAL = (
    Arrangement("{} above {}", (_UPPER, _LOWER)),
    Arrangement("{} above {} above {}", _THIRDS),
    Arrangement("{} above {} and {}", (_UPPER, *_QUARTERS[2:])),
    Arrangement("{} and {} above {}", (*_QUARTERS[:2], _LOWER)),
)
ARRANGEMENTS = (*_VERTICAL, *map(_turned, _VERTICAL))


def split_of(caption: str) -> str:
    """The only split in which this caption may stand; it depends on nothing but the caption."""
    draw = random.Random(caption).random()
    return "test" if draw < 0.1 else "validation" if draw < 0.15 else "train"


def describe(values: Sequence[int], arrangement: Arrangement) -> str:
    """The caption of these digits in this arrangement."""
    return arrangement.caption.format(*(f"{'an' if value == 8 else 'a'} {WORDS[value]}" for value in values))


def written_anew(image: np.ndarray, rng: random.Random) -> np.ndarray:
    """The digit (8, 8), rotated, sheared, resized and shifted a little at random, as if written again."""
    angle, slant = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.15, 0.15)
    scale = 1 / rng.uniform(0.9, 1.1)
    # the affine map from pixels of the result to pixels of the original, around the centre of the picture
    turn = scale * np.array([[np.cos(angle), slant - np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, DIGIT / 2)
    shift = middle - turn @ middle + [rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4)]
    matrix = (*turn[0], shift[0], *turn[1], shift[1])
    picture = Pillow.fromarray(image).transform(
        image.shape, Pillow.Transform.AFFINE, matrix, Pillow.Resampling.BILINEAR
    )
    return np.asarray(picture)


def compose(split: str, digits: Sequence[Digit], rng: random.Random) -> tuple[np.ndarray, str]:
    """A picture (28, 28) of two or three digits, about as many pictures of each kind, and a caption of the split.

    In training, `written_anew` changes each digit, so that the model cannot memorise the few digits that there are.
    """
    while True:
        count = rng.choice((2, 3))
        arrangement = rng.choice([one for one in ARRANGEMENTS if len(one.slots) == count])
        chosen = [rng.choice(digits) for _ in range(count)]
        caption = describe([digit.value for digit in chosen], arrangement)
        if split_of(caption) == split:
            break
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    for digit, slot in zip(chosen, arrangement.slots, strict=True):
        # at a multiple of 4 pixels, so that patches of 4×4 always cut a digit in the same way and fewer training
        # pictures suffice
        top, left = (4 * rng.randint(-(-low // 4), (low + size - DIGIT) // 4) for low, size in (slot[::2], slot[1::2]))
        image = written_anew(digit.image, rng) if split == "train" else digit.image
        canvas[top : top + DIGIT, left : left + DIGIT] = image
    return canvas, caption


def write_captions(splits: dict[str, list[Digit]], counts: dict[str, int], folder: Path, seed: int) -> None:
    """Write a Parquet file for each split, with the columns `image` (PNG) and `caption`."""
    folder.mkdir(parents=True, exist_ok=True)
    features = Features({"image": Image(), "caption": Value("string")})
    for name, count in counts.items():
        rng = random.Random(f"{seed} {name}")
        made = [compose(name, splits[name], rng) for _ in tqdm(range(count), f"captions, {name}")]
        columns = {"image": [Pillow.fromarray(image) for image, _ in made], "caption": [caption for _, caption in made]}
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{name}.parquet")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Write handwritten digits with labels (digits/{train,validation,test}.csv and images/), and "
        "pictures of two or three of them with captions (captions/{train,validation,test}.parquet). No digit and no "
        "caption stands in two splits, and the same numbers and seed give the same pictures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output_dir", type=Path, default=Path("examples/data"), help="folder for digits/, captions/")
    parser.add_argument("--train", type=int, default=20_000, help="captioned pictures to train on")
    parser.add_argument("--validation", type=int, default=500, help="captioned pictures to choose a checkpoint by")
    parser.add_argument("--test", type=int, default=1_000, help="captioned pictures to measure the captioner on")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random draws")
    options = parser.parse_args(arguments)
    counts = {name: getattr(options, name) for name in SHARES}
    try:
        if min(counts.values()) < 1:
            raise ValueError("Each split needs a picture: give --train, --validation and --test numbers from 1.")
        splits = split_digits(options.seed)
        write_digits(splits, options.output_dir / "digits")
        write_captions(splits, counts, options.output_dir / "captions", options.seed)
    except (ValueError, OSError) as error:
        print(f"digits: {error}", file=sys.stderr)
        return 2
    for folder, sizes in (("digits", {name: len(digits) for name, digits in splits.items()}), ("captions", counts)):
        print(f"{options.output_dir / folder}: " + ", ".join(f"{size} {name}" for name, size in sizes.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
