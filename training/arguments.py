# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What can be said about a training run: its model, its data, its training.

Every field is an option of `locant train`, with the help that stands beside it.
"""
# ruff: noqa: RUF009 (`_option` returns a field of its own at each call)

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import Seq2SeqTrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType

from locant.configuration import PRESETS, LocantConfig

from .errors import InputError


def _option(default: Any, help: str, choices: Iterable[str] = ()) -> Any:
    return field(default=default, metadata={"help": help, "choices": tuple(choices)})


@dataclass
class ModelArguments:
    """Where the model comes from: fields of `LocantConfig` on top of a preset, or trained weights.

    Raises:
        InputError: both a preset and trained weights are given.
    """

    preset: str | None = _option(None, "Shape of the model; fields given beside it win.", choices=PRESETS)
    model_name_or_path: str | None = _option(
        None, "Folder or Hub name of a trained model to fine-tune: its weights and tokenizer are kept."
    )
    attn_implementation: str | None = _option(
        None, "Attention backend in training: sdpa by default; eager is quicker with bf16 on a CPU."
    )
    # The fields of LocantConfig that were given, and no others: each is an option under its own name.
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset is not None and self.model_name_or_path is not None:
            raise InputError(
                "preset and model_name_or_path are both given, but the trained model already has a shape: "
                "leave one of them out (or null)."
            )

    def make_config(self, **decided: Any) -> LocantConfig:
        """The config of a new model: the preset, `overrides` on top, then what the caller `decided`.

        Raises:
            InputError: a value is out of range or does not fit the others.
        """
        fields = copy.deepcopy({**self.overrides, **decided})  # the config completes rope_parameters in place
        try:
            return LocantConfig.from_preset(self.preset, **fields) if self.preset else LocantConfig(**fields)
        except (StrictDataclassError, ValueError) as error:
            raise config_error(error, fields) from error


def config_error(error: Exception, fields: Iterable[str]) -> InputError:
    """What a config says about one of the given `fields`, in one sentence."""
    if not isinstance(error, StrictDataclassError):
        return InputError(str(error).partition("\n")[0])
    where = str(error).partition("'")[2].partition("'")[0]
    named = f"{where}: " if where in fields else ""
    return InputError(f"{named}{error.__cause__ or error}")


@dataclass
class DataArguments:
    """The parallel text, and how it becomes tokens.

    Raises:
        InputError: no data or two sources of data are given, or a value is out of range.
    """

    dataset_name: str | None = _option(None, "Dataset on the Hugging Face Hub; or give train_file.")
    dataset_config_name: str | None = _option(None, "Configuration of that dataset, such as en-fr.")
    train_file: str | list[str] | None = _option(
        None,
        "Training pairs: two parallel text files (source, target), or one TSV, CSV, JSON lines or Parquet "
        "file. Paths are relative to the current directory.",
    )
    validation_file: str | list[str] | None = _option(None, "Validation pairs, in the same forms.")
    test_file: str | list[str] | None = _option(None, "Test pairs, in the same forms.")
    source_column: str | None = _option(None, "Column of the source text, in files and datasets that have columns.")
    target_column: str | None = _option(None, "Column of the target text.")
    source_lang: str | None = _option(None, "Code of the source language, such as en; kept with the model.")
    target_lang: str | None = _option(None, "Code of the target language, such as fr; kept with the model.")
    source_prefix: str | None = _option(None, "Text put before every source, such as 'translate English to French: '.")
    license: str | None = _option(None, "Licence of the data, such as cc-by-4.0; kept with the model.")
    validation_split: float = _option(
        0.05,
        "Share of the training pairs, or (from 1 on) their number, cut off when there is no validation set.",
    )
    max_source_length: int | None = _option(
        256, "Training pairs whose source has more tokens are dropped, and counted."
    )
    max_target_length: int | None = _option(
        256, "Training pairs whose target has more tokens are dropped, and counted."
    )
    preprocessing_num_workers: int | None = _option(None, "Processes that tokenise.")
    tokenizer_name: str | None = _option(None, "Folder or Hub name of a tokenizer to use instead of training one.")
    tokenizer_kind: Literal["bpe", "unigram", "wordpiece", "word"] = _option(
        "bpe", "Kind of tokenizer to train on the training pairs, one for both languages."
    )
    tokenizer_vocab_size: int = _option(8000, "Largest vocabulary of the tokenizer to train.")
    bpe_dropout: float = _option(
        0.0,
        "Share of BPE merges skipped at random in training (Provilkov et al. 2020); 0.1 helps on few pairs.",
    )

    def __post_init__(self) -> None:
        for name in ("train_file", "validation_file", "test_file"):
            setattr(self, name, self._checked_files(name))
        self._check_sources()
        if not 0.0 <= self.bpe_dropout < 1.0:
            raise InputError(f"bpe_dropout is {self.bpe_dropout}, but must be at least 0 and below 1.")
        _check_positive(self, "validation_split", "max_source_length", "max_target_length")
        _check_positive(self, "preprocessing_num_workers", "tokenizer_vocab_size")

    @property
    def sources(self) -> dict[str, Any]:
        """The fields that say where the pairs come from: the keyword arguments of `load_parallel_data`."""
        return {name: getattr(self, name) for name in _SOURCES}

    def _checked_files(self, name: str) -> str | list[str] | None:
        """The path alone where a split is one file, the two paths where it is two."""
        files = getattr(self, name)
        if not files or isinstance(files, str):
            return files or None
        if len(files) > 2:
            raise InputError(
                f"{name} has {len(files)} paths, but takes one file with columns, or two parallel text files "
                f"(source, target)."
            )
        return files[0] if len(files) == 1 else files

    def _check_sources(self) -> None:
        if self.dataset_name is not None and self.train_file is not None:
            raise InputError("dataset_name and train_file are both given: training pairs come from one of them.")
        if self.dataset_name is None and self.train_file is None:
            raise InputError("No training data are given: set train_file (one or two paths) or dataset_name.")
        if self.dataset_config_name is not None and self.dataset_name is None:
            raise InputError("dataset_config_name is given without dataset_name, whose configuration it would be.")


_SOURCES = (
    *("dataset_name", "dataset_config_name", "train_file", "validation_file", "test_file"),
    *("source_lang", "target_lang", "source_column", "target_column", "validation_split"),
)


@dataclass
class TrainingArguments(Seq2SeqTrainingArguments):
    """The arguments of the Hugging Face Trainer with defaults for translation, and what Locant adds to them.

    Raises:
        InputError: a value is out of range, or the Trainer's label smoothing is asked for.
        ValueError: from the Trainer's own checks.
    """

    output_dir: str | None = _option("runs/translator", "Folder of the run; the same command goes on where it stopped.")
    seed: int = _option(42, "Seed of everything random; the same seed and command give the same weights on CPU.")
    num_train_epochs: float = _option(10.0, "Passes over the training pairs.")
    max_tokens_per_batch: int | None = _option(
        None,
        "Tokens of source and target in a batch, padding included, on each device and step; by default a "
        "batch is per_device_train_batch_size sentences.",
    )
    per_device_train_batch_size: int = _option(32, "Sentences in a batch on each device, without max_tokens_per_batch.")
    per_device_eval_batch_size: int = _option(64, "Sentences in a batch on each device in evaluation.")
    learning_rate: float = _option(5e-4, "Highest learning rate, reached at the end of the warm-up.")
    lr_scheduler_type: SchedulerType | str = _option(
        "inverse_sqrt", "How the learning rate goes on after the warm-up (inverse_sqrt: Vaswani et al. 2017)."
    )
    warmup_steps: float = _option(0.1, "Steps of linear warm-up, or (below 1) their share of all steps.")
    coupled_weight_decay: bool = _option(
        False,
        "Adam with weight_decay added to the gradient (L2; Kingma & Ba 2015) instead of AdamW's decoupled "
        "decay (Loshchilov & Hutter 2019).",
    )
    adam_beta2: float = _option(0.98, "Decay rate of Adam's second moment (Vaswani et al. 2017: 0.98).")

    eval_strategy: IntervalStrategy | str = _option("epoch", "When the validation set is evaluated.")
    save_strategy: SaveStrategy | str = _option("epoch", "When a checkpoint is saved; the same as eval_strategy.")
    save_total_limit: int | None = _option(
        3, "Checkpoints that are kept, the best among them; as many more as average_checkpoints needs."
    )
    logging_steps: float = _option(50, "Steps between two reports of the loss, or (below 1) a share of all steps.")
    load_best_model_at_end: bool = _option(True, "End with the checkpoint that is best by metric_for_best_model.")
    metric_for_best_model: str | None = _option(
        None, "Measure on the validation set that says which is best: bleu, loss or perplexity; by default bleu."
    )
    greater_is_better: bool | None = _option(None, "Whether more of metric_for_best_model is better.")
    early_stopping_patience: int | None = _option(None, "Stop after so many evaluations that were no better.")
    average_checkpoints: int = _option(0, "End with the mean of the weights of the last N checkpoints; 0 for none.")

    predict_with_generate: bool = _option(True, "Translate the validation set in evaluation, to measure BLEU.")
    generation_num_beams: int | None = _option(1, "Beams in evaluation during training; 1 is greedy, and quick.")
    num_beams: int = _option(4, "Beams of the finished model, saved with it.")
    length_penalty: float = _option(1.0, "Exponent of the length in beam search of the finished model, saved with it.")
    max_new_tokens: int = _option(256, "Longest translation in tokens, saved with the model.")

    use_cache: bool = _option(True, "Whether the saved model decodes with a cache; training itself needs none.")
    ddp_find_unused_parameters: bool | None = _option(
        False, "Whether processes look for parameters without a gradient; a translator has none."
    )
    remove_unused_columns: bool = _option(False, "Drop the columns that the model's forward does not take.")
    dry_run: bool = _option(False, "Report parameters, tokens, padding and memory, and train nothing.")

    def __post_init__(self) -> None:
        if self.label_smoothing_factor != 0:
            raise InputError(
                "label_smoothing_factor is the Trainer's, which smooths the evaluation loss too: "
                "use the model's label_smoothing, which smooths in training only."
            )
        _check_positive(self, "per_device_train_batch_size", "per_device_eval_batch_size", "max_tokens_per_batch")
        _check_positive(self, "learning_rate", "num_train_epochs", "gradient_accumulation_steps")
        _check_positive(self, "num_beams", "generation_num_beams", "max_new_tokens", "early_stopping_patience")
        self._check_best_model()
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise InputError("early_stopping_patience needs evaluations: set eval_strategy to epoch or steps.")
        if self.average_checkpoints and self.save_strategy in ("no", "best"):
            raise InputError("average_checkpoints needs checkpoints: set save_strategy to epoch or steps.")
        if self.average_checkpoints < 0:
            raise InputError(f"average_checkpoints is {self.average_checkpoints}, but must be 0 or more.")
        if self.save_total_limit is not None:
            # the best checkpoint is kept too, and may be older than the last ones
            self.save_total_limit = max(self.save_total_limit, self.average_checkpoints + 1, 2)
        # without an accelerator the Trainer would refuse bf16, which CPUs can do
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        super().__post_init__()

    def _check_best_model(self) -> None:
        """The measure for the best model is one that is taken, and its direction is known."""
        measured = ("bleu", "loss", "perplexity") if self.predict_with_generate else ("loss", "perplexity")
        metric = (self.metric_for_best_model or measured[0]).removeprefix("eval_")
        if metric not in measured:
            mend = "set predict_with_generate, or choose one of them" if metric == "bleu" else "choose one of them"
            raise InputError(
                f"metric_for_best_model is {metric}, but what is measured is {', '.join(measured)}: {mend}."
            )
        self.metric_for_best_model = metric
        if self.greater_is_better is None:
            self.greater_is_better = metric == "bleu"


def _check_positive(arguments: Any, *names: str) -> None:
    """Each of the fields is None or above 0."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise InputError(f"{name} is {value}, but must be above 0.")
