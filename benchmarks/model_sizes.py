# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BLEU of translators of several sizes, vocabularies and dropouts by the number of training pairs, on TED talks.

    python benchmarks/model_sizes.py --pairs 3000 --shapes tiny small --vocabularies 1000 4000 --dropouts 0.1 0.3

Each combination is one run of `locant train` on the first N training pairs in a random order, with rotary
positions, pre-norm and label smoothing 0.1. A run ends after 60 epochs, or when the validation loss has not fallen in
three epochs, and keeps the best checkpoint. The runs are in `--output_dir`; the same command takes up runs that were
interrupted, skips finished ones, and prints the table of all combinations.
"""

import argparse
import itertools
import json
import random
from pathlib import Path
from typing import Any

from ted import ROOT, data_files

from locant import train
from locant.utils.markdown import markdown_table

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"preset": "tiny"},
    "small": {
        "d_model": 256,
        "encoder_layers": 4,
        "decoder_layers": 3,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 1024,
        "decoder_ffn_dim": 1024,
    },
    "iwslt": {"preset": "iwslt"},
}
"""The fields of each shape; `small` is that of examples/ted_en_fr.yaml."""


def write_pairs(folder: Path, pairs: int) -> list[str]:
    """Write `pairs` randomly chosen training pairs to two files, one for each language, and return the files' paths.

    The same pairs are chosen each time, and a smaller number of pairs is a subset of a larger one. Existing files are
    not written again.
    """
    targets = [folder / f"train-{pairs}.{language}" for language in ("en", "fr")]
    if not all(target.exists() for target in targets):
        sides = [path.read_text(encoding="utf-8").split("\n")[:-1] for path in data_files("train")]
        chosen = list(zip(*sides, strict=True))
        random.Random(0).shuffle(chosen)
        folder.mkdir(parents=True, exist_ok=True)
        for target, side in zip(targets, zip(*chosen[:pairs], strict=True), strict=True):
            target.write_text("\n".join(side) + "\n", encoding="utf-8")
    return [str(target) for target in targets]


def train_one(
    folder: Path, pairs: int, shape: str, vocabulary: int, dropout: float, learning_rate: float
) -> dict[str, Any]:
    """Train one combination, and return the content of the run's `metrics.json`."""
    name = f"{pairs}-{shape}-{vocabulary}-{dropout}-{learning_rate}"
    return train(
        {
            "model": {
                **SHAPES[shape],
                "dropout": dropout,
                "norm_position": "pre",
                "position_encoding": "rotary",
                "label_smoothing": 0.1,
            },
            "data": {
                "train_file": write_pairs(folder, pairs),
                "validation_file": [str(path) for path in data_files("dev")],
                "test_file": [str(path) for path in data_files("test")],
                "source_lang": "en",
                "target_lang": "fr",
                "tokenizer_vocab_size": vocabulary,
                "max_source_length": 128,
                "max_target_length": 128,
            },
            "training": {
                "output_dir": str(folder / name),
                "num_train_epochs": 60,
                "max_tokens_per_batch": 2048,
                "learning_rate": learning_rate,
                "warmup_steps": 200,
                "lr_scheduler_type": "inverse_sqrt",
                "early_stopping_patience": 3,
                "predict_with_generate": False,
                "save_total_limit": 1,
                "num_beams": 4,
                "max_new_tokens": 128,
                "disable_tqdm": True,
            },
        }
    )


def main() -> None:
    """Train all combinations, and print the table of their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[3000, 10000, 30000])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[1000, 4000, 8000])
    parser.add_argument("--dropouts", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--learning_rates", type=float, nargs="+", default=[0.001])
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "model-sizes")
    options = parser.parse_args()
    rows = []
    lists = (options.pairs, options.shapes, options.vocabularies, options.dropouts, options.learning_rates)
    for combination in itertools.product(*lists):
        metrics = train_one(options.output_dir, *combination)
        validation, test = metrics["validation"], metrics["test"]
        epoch = min(metrics["epochs"], key=lambda row: row["validation_loss"])["epoch"]
        counts = metrics["data"]["validation"]
        nats = validation["loss"] * counts["target_tokens"] / counts["pairs"]
        figures = [f"{test['bleu']:.2f}", f"{test['chrf']:.2f}", f"{nats:.1f}", f"{epoch:.0f}"]
        rows.append([*map(str, combination), *figures, f"{metrics['training_seconds'] / 60:.0f} min"])
        (options.output_dir / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    head = ["pairs", "shape", "vocabulary", "dropout", "learning rate"]
    print(markdown_table([*head, "BLEU", "chrF", "nats per sentence", "best epoch", "training"], rows, names=2))


if __name__ == "__main__":
    main()
