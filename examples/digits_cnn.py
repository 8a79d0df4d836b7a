# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Train a small convolutional network on the handwritten digits, as a baseline for image classifiers.

    python examples/digits.py --output_dir examples/data
    python examples/digits_cnn.py --data_dir examples/data/digits

The network is plain PyTorch, has about `--parameters` parameters, and trains in seconds on one core. The validation
split chooses the epoch. The script prints one line of JSON: the accuracy on the validation and the test split, the
number of parameters and the seconds.
"""

import argparse
import copy
import csv
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm


def read_split(folder: Path, split: str, labels: dict[str, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (n, 1, 8, 8) from 0 to 1 and their classes (n,); new labels are added to `labels`."""
    with open(folder / f"{split}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    images = np.stack([np.asarray(Image.open(folder / row["image"])) for row in rows])
    classes = [labels.setdefault(row["label"], len(labels)) for row in rows]
    return torch.from_numpy(images).float()[:, None] / 255, torch.tensor(classes)


def make_network(parameters: int, classes: int) -> nn.Sequential:
    """Two convolutions at 8×8 pixels and two at 4×4, each with batch norm; a linear layer classifies the mean."""
    width = max(1, round((parameters / 63) ** 0.5))  # convolutions have about 63 width² parameters, nearly all

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(1, width),
        *block(width, width),
        nn.MaxPool2d(2),
        *block(width, 2 * width),
        *block(2 * width, 2 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(2 * width, classes),
    )


def shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The pictures, each shifted at random by up to one pixel vertically and horizontally."""
    padded = functional.pad(images, (1, 1, 1, 1))
    rows, columns = (torch.randint(3, (len(images), 1), generator=generator) + torch.arange(8) for _ in range(2))
    return padded[torch.arange(len(images))[:, None, None], 0, rows[:, :, None], columns[:, None]][:, None]


@torch.no_grad()
def accuracy(network: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> float:
    """The share of pictures put into their class."""
    network.eval()
    return (network(images).argmax(-1) == classes).float().mean().item()


def train(data: dict[str, tuple[torch.Tensor, torch.Tensor]], network: nn.Module, epochs: int, seed: int) -> nn.Module:
    """Train with AdamW and `OneCycleLR`, and return the network of the epoch with the best validation accuracy."""
    images, classes = data["train"]
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    steps = -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * steps)
    best, best_accuracy = network, -1.0
    for _ in (bar := tqdm(range(epochs), "epochs")):
        network.train()
        for rows in torch.randperm(len(images), generator=generator).split(64):
            loss = functional.cross_entropy(network(shift(images[rows], generator)), classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        score = accuracy(network, *data["validation"])
        bar.set_postfix(validation=f"{score:.3f}")
        if score >= best_accuracy:
            best, best_accuracy = copy.deepcopy(network), score
    return best


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Train a small convolutional network on the pictures of examples/digits.py, measure it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data_dir", type=Path, default=Path("examples/data/digits"), help="folder with the tables")
    parser.add_argument("--parameters", type=int, default=92_000, help="how large the network is, about")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training split")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and order")
    options = parser.parse_args(arguments)
    labels: dict[str, int] = {}
    try:
        data = {split: read_split(options.data_dir, split, labels) for split in ("train", "validation", "test")}
    except FileNotFoundError as error:
        print(f"digits_cnn: {error}: write the pictures with examples/digits.py first.", file=sys.stderr)
        return 2
    torch.manual_seed(options.seed)
    start = time.perf_counter()
    network = train(data, make_network(options.parameters, len(labels)), options.epochs, options.seed)
    report = {
        "test_accuracy": round(accuracy(network, *data["test"]), 4),
        "validation_accuracy": round(accuracy(network, *data["validation"]), 4),
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
