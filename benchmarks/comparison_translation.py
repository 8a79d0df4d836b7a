# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Translation by a Transformer and by an LSTM with attention, at equal parameters, at equal steps and at equal time.

Both models have the same tokenizer, and are trained and measured by `locant.train` with the same options. A folder in
`runs/comparisons` holds each run, so that an interrupted comparison goes on where it was.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lstm import LSTMConfig, LSTMForConditionalGeneration
from measuring import interleaved_times
from ted import ROOT, data_files
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase, set_seed

import locant
from locant import LocantConfig, LocantForConditionalGeneration, train_tokenizer
from locant.training.data.batching import LengthBatchSampler
from locant.utils.files import write_text
from locant.utils.markdown import markdown_table

NAMES = {"transformer": "Transformer", "lstm": "LSTM with attention"}
_LONGEST = 128  # the most tokens of a training sentence


@dataclass(frozen=True)
class Size:
    """The size of the models and of their trainings.

    Args:
        transformer: fields of the Transformer's `LocantConfig`.
        lstm: fields of the `LSTMConfig`, with which the LSTM has as many parameters.
        vocabulary: the number of tokens of the tokenizer.
        tokens: the largest number of tokens in a batch, padding included.
        steps: the optimiser steps that both models are trained for.
        rates: the learning rates that are tried; a single one is taken without a trial.
        trial_steps: the optimiser steps of each trial of a learning rate.
        evaluation_steps: the optimiser steps between two evaluations.
        warmup_steps: the optimiser steps in which the learning rate rises.
        max_new_tokens: the most tokens of a translation.
    """

    transformer: dict[str, int] = field(
        default_factory=lambda: {
            **{"d_model": 128, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 512},
            **{"decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 512},
        }
    )
    lstm: dict[str, int] = field(default_factory=lambda: {"d_model": 168, "num_layers": 2})
    vocabulary: int = 1000
    tokens: int = 1024
    steps: int = 450
    rates: tuple[float, ...] = (0.003,)
    trial_steps: int = 100
    evaluation_steps: int = 150
    warmup_steps: int = 100
    max_new_tokens: int = 64


def new_model(name: str, vocabulary: int, size: Size) -> PreTrainedModel:
    """The Transformer or the LSTM, with random weights, for `vocabulary` tokens."""
    set_seed(1)
    common = {"vocab_size": vocabulary, "dropout": 0.1, "label_smoothing": 0.1}
    if name == "lstm":
        return LSTMForConditionalGeneration(LSTMConfig(**common, **size.lstm))
    fields = {"position_encoding": "rotary", "norm_position": "pre", **size.transformer}
    return LocantForConditionalGeneration(LocantConfig(**common, **fields))


@dataclass(frozen=True)
class Comparison:
    """The comparison on the data of `files`.

    Args:
        name: the name of the data, also in the name of the plot.
        size: the size of models and trainings.
        files: the function from a split (`train`, `dev`, `test`) to its source file and its target file.
        runs: the folder in which the runs are kept, in a folder with the name of the data.
    """

    name: str
    size: Size
    files: Callable[[str], list[Path]]
    runs: Path = ROOT / "runs" / "comparisons"

    @property
    def folder(self) -> Path:
        """The folder of the runs."""
        return self.runs / self.name

    def measure(self) -> dict[str, Any]:
        """Choose the learning rates; train both models for the same steps, and the slower one for the same time too."""
        tokenizer = train_tokenizer(self.files("train"), vocab_size=self.size.vocabulary, show_progress=False)
        starts = {name: self._start(name, tokenizer) for name in NAMES}
        seconds = self._kept_seconds(tokenizer)
        trials = {name: self._try_rates(name, starts[name]) for name in NAMES}
        rates = {
            name: float(min(losses, key=losses.__getitem__)) if losses else self.size.rates[0]
            for name, losses in trials.items()
        }
        runs = [self._run(name, starts[name], rates[name], self.size.steps) for name in NAMES]
        faster, slower = sorted(NAMES, key=lambda name: seconds[name]["median"])
        steps = round(self.size.steps * seconds[faster]["median"] / seconds[slower]["median"])
        runs.append(self._run(slower, starts[slower], rates[slower], steps))
        return {"seconds_an_epoch": seconds, "trials": trials, "rates": rates, "runs": runs}

    def _start(self, name: str, tokenizer: PreTrainedTokenizerBase) -> Path:
        """The folder of the model with random weights and its tokenizer, from which its runs start."""
        folder = self.folder / f"{name}-start"
        new_model(name, len(tokenizer), self.size).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    def _train(self, start: Path, folder: Path, **training: Any) -> dict[str, Any]:
        return locant.train(
            {
                "model": {"model_name_or_path": str(start)},
                "data": {
                    "train_file": [str(file) for file in self.files("train")],
                    "validation_file": [str(file) for file in self.files("dev")],
                    "source_lang": "en",
                    "target_lang": "fr",
                    "max_source_length": _LONGEST,
                    "max_target_length": _LONGEST,
                },
                "training": {
                    "output_dir": str(folder),
                    "max_tokens_per_batch": self.size.tokens,
                    "warmup_steps": self.size.warmup_steps,
                    "lr_scheduler_type": "cosine",
                    "predict_with_generate": False,
                    "num_beams": 1,
                    "max_new_tokens": self.size.max_new_tokens,
                    "save_total_limit": 1,
                    "seed": 1,
                    "report_to": "none",
                    **training,
                },
            }
        )

    def _try_rates(self, name: str, start: Path) -> dict[str, float]:
        """The validation loss after a short training with each learning rate; none if there is only one rate."""
        losses = {}
        for rate in self.size.rates if len(self.size.rates) > 1 else ():
            folder = self.folder / f"{name}-trial-{rate}"
            steps = {"max_steps": self.size.trial_steps, "eval_strategy": "no", "save_strategy": "no"}
            metrics = self._train(start, folder, learning_rate=rate, load_best_model_at_end=False, **steps)
            losses[str(rate)] = metrics["validation"]["loss"]
        return losses

    def _run(self, name: str, start: Path, rate: float, steps: int) -> dict[str, Any]:
        every = {"eval_strategy": "steps", "eval_steps": self.size.evaluation_steps}
        every |= {"save_strategy": "steps", "save_steps": self.size.evaluation_steps}
        folder = self.folder / f"{name}-{steps}"
        test = [str(file) for file in self.files("test")]
        metrics = self._train(start, folder, learning_rate=rate, max_steps=steps, test_file=test, **every)
        kept = ("bleu", "bleu_signature", "chrf", "chrf_signature", "loss", "perplexity")
        return {
            "model": name,
            "steps": steps,
            "epochs": metrics["epochs"][-1]["epoch"],
            "parameters": metrics["parameters"],
            "test": {measure: metrics["test"][measure] for measure in kept},
            "curve": [[row["step"], row["validation_loss"]] for row in metrics["epochs"]],
            "wall_seconds": metrics["training_seconds"],
        }

    def _kept_seconds(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, dict[str, float]]:
        """The times of an epoch, measured once: the folder of the run at equal time is named by their ratio."""
        file = self.folder / "seconds_an_epoch.json"
        if not file.exists():
            write_text(file, json.dumps(self._seconds_an_epoch(tokenizer)))
        return json.loads(file.read_text(encoding="utf-8"))

    def _seconds_an_epoch(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, dict[str, float]]:
        """The processor time of an epoch without evaluations: both models train on the same batches in turns."""
        batches, tokens, number = self._some_batches(tokenizer)
        models = [new_model(name, len(tokenizer), self.size).train() for name in NAMES]
        optimizers = [torch.optim.AdamW(model.parameters(), fused=True) for model in models]
        steps = [partial(_train_on, *both, batches) for both in zip(models, optimizers, strict=True)]
        for step in steps:
            step()
        times = interleaved_times(steps, rounds=5, clock=time.process_time)
        found = {}
        for name, seconds in zip(NAMES, times, strict=True):
            epochs = sorted(number * second / len(batches) for second in seconds)
            median = statistics.median(epochs)
            found[name] = {"median": median, "least": epochs[0], "most": epochs[-1], "tokens_a_second": tokens / median}
        return found

    def _some_batches(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Any], int, int]:
        """Ten batches of an epoch, from short to long, the tokens of the epoch without padding, and its batches."""
        sources, targets = (
            tokenizer(file.read_text(encoding="utf-8").removesuffix("\n").split("\n"), verbose=False)["input_ids"]
            for file in self.files("train")
        )
        pairs = [pair for pair in zip(sources, targets, strict=True) if max(map(len, pair)) <= _LONGEST]
        lengths = np.array([[len(source), len(target)] for source, target in pairs])
        batches = sorted(LengthBatchSampler(lengths, max_tokens=self.size.tokens, batch_size=None, seed=1), key=len)
        collate = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
        chosen = [batches[int(place)] for place in np.linspace(0, len(batches) - 1, 22)[1:-1:2]]
        rows = [[{"input_ids": pairs[i][0], "labels": pairs[i][1]} for _, i in batch] for batch in chosen]
        return [collate(row) for row in rows], int(lengths.sum()), len(batches)

    def table(self, results: dict[str, Any]) -> str:
        """The quality of all runs on the test set."""
        rows = []
        for run in results["runs"]:
            test, seconds = run["test"], results["seconds_an_epoch"][run["model"]]
            rows.append(
                [
                    NAMES[run["model"]],
                    f"{run['parameters']:,}",
                    f"{run['steps']:,}",
                    f"{run['epochs'] * seconds['median']:,.0f} s",
                    f"{test['perplexity']:.2f}",
                    f"{test['bleu']:.2f}",
                    f"{test['chrf']:.2f}",
                    f"{seconds['median']:,.0f} s",
                    f"{seconds['tokens_a_second']:,.0f}",
                ]
            )
        head = ["model", "parameters", "steps", "training time", "perplexity", "BLEU", "chrF", "time of an epoch"]
        return markdown_table([*head, "tokens a second"], rows)

    def drawings(self, results: dict[str, Any]) -> dict[str, Callable[[Any], None]]:
        """The validation loss over the time of training."""

        def draw(figure: Any) -> None:
            figure.set_size_inches(7, 3.6)
            axes = figure.add_subplot(xlabel="processor time of the training steps (s)", ylabel="nats per token")
            for run, style in zip(results["runs"], ("-", "-", "--"), strict=True):
                seconds = run["epochs"] / run["steps"] * results["seconds_an_epoch"][run["model"]]["median"]
                steps, losses = zip(*run["curve"], strict=True)
                colour = "C0" if run["model"] == "transformer" else "C1"
                label = f"{NAMES[run['model']]}, {run['steps']:,} steps"
                axes.plot([seconds * step for step in steps], losses, style, color=colour, marker=".", label=label)
            axes.set_title("Validation loss")
            axes.legend(frameon=False)

        return {f"comparison-{self.name}": draw}


def _train_on(model: PreTrainedModel, optimizer: torch.optim.Optimizer, batches: list[Any]) -> None:
    for batch in batches:
        model(**batch, skip_logits=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def phrasebook_files(split: str) -> list[Path]:
    """The English and the French file of a split of examples/phrasebook.py, which writes them if they are not there."""
    folder = ROOT / "examples" / "data" / "phrasebook"
    if not folder.exists():
        command = [sys.executable, "examples/phrasebook.py", "--output_dir", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True)
    return [folder / f"{split}.{language}" for language in ("en", "fr")]


PHRASEBOOK = Comparison("phrasebook", Size(), phrasebook_files)
TED = Comparison(
    "ted",
    Size(
        lstm={"d_model": 160, "num_layers": 2},
        vocabulary=4000,
        steps=4000,
        rates=(0.001, 0.003),
        trial_steps=250,
        evaluation_steps=500,
        warmup_steps=200,
        max_new_tokens=128,
    ),
    data_files,
)
