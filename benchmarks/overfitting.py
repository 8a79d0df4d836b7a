# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Train a translator far beyond its best epoch, and compare losses, corpus BLEU and mean sentence BLEU.

    python benchmarks/overfitting.py [--pairs 5000] [--epochs 20] [--output_dir runs/overfitting]

The translator learns from the first pairs of the TED talks (English to French), without dropout and label smoothing.
The script writes `epochs.png` (losses and BLEU of 400 validation pairs after each epoch), `sentence_bleu.png` (how
sentence BLEU is distributed over the test sentences of the last model) and the tables of `docs/bleu.md` as `report.md`.
A run that was stopped is resumed by the same command.
"""

import argparse
import statistics
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU
from ted import data_files

from locant.training.inference import EvaluationRow, evaluate_split, load
from locant.training.options.run_config import RunConfig, make_run_config
from locant.training.run.pictures import write_pictures
from locant.training.run.run_folder import RunFolder
from locant.training.run.training_run import train
from locant.training.tasks.bleu_by_length import bleu_by_length
from locant.training.tasks.translation_metrics import corpus_bleu, sentence_bleu
from locant.utils.files import write_text
from locant.utils.markdown import markdown_table

MODEL = {"d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512}
MODEL |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "norm_position": "pre", "dropout": 0.0}
MODEL |= {"position_encoding": "rotary", "label_smoothing": 0.0}
DATA = {"source_lang": "en", "target_lang": "fr", "license": "cc-by-nc-nd-4.0", "tokenizer_vocab_size": 4000}
TRAINING = {"max_tokens_per_batch": 1024, "learning_rate": 0.002, "warmup_steps": 500, "num_beams": 1}
TRAINING |= {"max_new_tokens": 128, "lr_scheduler_type": "constant_with_warmup", "load_best_model_at_end": False}
TRAINING |= {"save_total_limit": 1}

SMOOTHINGS = {
    "no smoothing: 0 without a common 4-gram": {"smooth_method": "none", "effective_order": False},
    "`exp`, sacrebleu's default": {"smooth_method": "exp", "effective_order": False},
    "`exp`, orders up to the sentence's length (Locant's `sentence_bleu`)": {},
    "`add-k`, k = 1": {"smooth_method": "add-k", "smooth_value": 1, "effective_order": False},
}
"""The name of each smoothing of n-gram counts of 0 -> the options of `sentence_bleu` that select the smoothing."""


def write_first(paths: Sequence[Path], lines: int, folder: Path) -> list[Path]:
    """Write the first lines of each file to a file of the same name in `folder`, and return the new paths."""
    written = []
    for path in paths:
        with path.open(encoding="utf-8") as file:
            write_text(folder / path.name, "".join(islice(file, lines)))
        written.append(folder / path.name)
    return written


def run_config(folder: Path, pairs: int, epochs: int) -> RunConfig:
    """The run on the first `pairs` pairs; BLEU after each epoch is that of the first 400 validation pairs."""
    files = {"train_file": write_first(data_files("train"), pairs, folder)}
    files |= {"validation_file": write_first(data_files("dev"), 400, folder), "test_file": data_files("test")}
    data = DATA | {name: list(map(str, paths)) for name, paths in files.items()}
    return make_run_config(
        MODEL | data | TRAINING | {"num_train_epochs": epochs, "output_dir": str(folder / "run"), "seed": 1}
    )


def translate_test(config: RunConfig) -> list[EvaluationRow]:
    """The test sentences, translated greedily by the last model of the run."""
    model, tokenizer = load(RunFolder(config).path)
    sources, references = (path.read_text(encoding="utf-8").splitlines() for path in data_files("test"))
    options = {"num_beams": 1, "max_new_tokens": TRAINING["max_new_tokens"]}
    return evaluate_split(model, tokenizer, sources, references, **options)[1]


def epoch_table(epochs: Sequence[dict[str, Any]]) -> str:
    """Losses and BLEU of the validation data after each epoch."""
    columns = ("train_loss", "validation_loss", "validation_bleu")
    rows = [[f"{record['epoch']:.0f}", *(f"{record[name]:.2f}" for name in columns)] for record in epochs]
    losses = ("training loss (nats per token)", "validation loss (nats per token)")
    return markdown_table(("epoch", *losses, "validation corpus BLEU"), rows)


def smoothing_table(rows: Sequence[EvaluationRow]) -> str:
    """Mean sentence BLEU of the same translations under each of `SMOOTHINGS`, below their corpus BLEU."""
    texts = [row.translation for row in rows], [row.reference for row in rows]
    cells = [["corpus BLEU", f"{corpus_bleu(*texts)['bleu']:.2f}", "–", "–"]]
    for name, options in SMOOTHINGS.items():
        scores = sentence_bleu(*texts, **options)["scores"]
        zeros = sum(score == 0 for score in scores) / len(scores)
        cells.append([name, f"{statistics.mean(scores):.2f}", f"{statistics.median(scores):.2f}", f"{zeros:.1%}"])
    return markdown_table(("measure", "mean", "median", "sentences at 0"), cells)


def length_table(rows: Sequence[EvaluationRow]) -> str:
    """Corpus BLEU and mean sentence BLEU by the number of source words."""
    cells = []
    for bucket, (count, bleu) in bleu_by_length(rows).items():
        inside = [row for row in rows if bucket in bleu_by_length([row])]
        share = sum(len(row.reference.split()) for row in inside) / sum(len(row.reference.split()) for row in rows)
        mean = statistics.mean(row.sentence_bleu for row in inside)
        cells.append([bucket, f"{count:,}", f"{count / len(rows):.0%}", f"{share:.0%}", f"{bleu:.2f}", f"{mean:.2f}"])
    names = ("words of the source", "sentences", "share of sentences", "share of reference words")
    return markdown_table((*names, "corpus BLEU", "mean sentence BLEU"), cells)


def precisions(rows: Sequence[EvaluationRow]) -> str:
    """The parts of corpus BLEU: the precision of each n-gram order, and the brevity penalty."""
    score = BLEU().corpus_score([row.translation for row in rows], [[row.reference for row in rows]])
    parts = ", ".join(f"{order}-grams {value:.1f} %" for order, value in enumerate(score.precisions, 1))
    return f"Precision of {parts}; brevity penalty {score.bp:.3f} ({score.sys_len:,} of {score.ref_len:,} words)."


def draw_epochs(figure: Any, epochs: Sequence[dict[str, Any]]) -> None:
    """Draw the losses on the left and BLEU on the right."""
    figure.set_size_inches(8, 3.6)
    losses, scores = figure.subplots(1, 2)
    places = [record["epoch"] for record in epochs]
    for axes, names, label in (
        (losses, {"train_loss": "training", "validation_loss": "validation"}, "loss (nats per token)"),
        (scores, {"validation_bleu": "validation"}, "corpus BLEU"),
    ):
        for name, legend in names.items():
            axes.plot(places, [record[name] for record in epochs], marker="o", markersize=3, label=legend)
        axes.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)


def draw_sentences(figure: Any, rows: Sequence[EvaluationRow], corpus: float) -> None:
    """Draw the histogram of sentence BLEU, with lines at its mean and at corpus BLEU."""
    figure.set_size_inches(8, 3.2)
    axes = figure.add_subplot(xlabel="sentence BLEU", ylabel="test sentences")
    scores = [row.sentence_bleu for row in rows]
    axes.hist(scores, bins=range(0, 101, 4), color="tab:blue", alpha=0.6)
    mean = statistics.mean(scores)
    axes.axvline(mean, color="tab:blue", label=f"mean sentence BLEU, {mean:.1f}")
    axes.axvline(corpus, color="tab:orange", linestyle="--", label=f"corpus BLEU, {corpus:.1f}")
    axes.legend(frameon=False)


def main() -> None:
    """Train, unless the run is finished, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5_000, help="training pairs [%(default)s]")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training pairs [%(default)s]")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/overfitting"), help="[%(default)s]")
    parsed = parser.parse_args()
    parsed.output_dir.mkdir(parents=True, exist_ok=True)
    config = run_config(parsed.output_dir, parsed.pairs, parsed.epochs)
    if not RunFolder(config).is_finished():
        train(config)
    epochs = RunFolder(config).metrics()["epochs"]
    rows = translate_test(config)
    corpus = corpus_bleu([row.translation for row in rows], [row.reference for row in rows])["bleu"]
    drawings = {"epochs": partial(draw_epochs, epochs=epochs)}
    drawings["sentence_bleu"] = partial(draw_sentences, rows=rows, corpus=corpus)
    write_pictures(parsed.output_dir, drawings, "The epochs and the sentences are not drawn")
    parts = [epoch_table(epochs), smoothing_table(rows), length_table(rows), precisions(rows)]
    write_text(parsed.output_dir / "report.md", "\n\n".join(parts) + "\n")
    print(f"The report is {parsed.output_dir / 'report.md'}")


if __name__ == "__main__":
    main()
