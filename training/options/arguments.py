# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The options of `locant train` that several tasks share, in the sections `model:`, `data:` and `training:`.

In the dataclasses of this module, the function `option` makes a field an option of the same name, with a default and a
help text. Each task adds its own options in a module such as `translation_arguments.py`.
"""
# ruff: noqa: RUF009 (`option` returns a new dataclass field at each call)

import copy
import os
import sys
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, Literal

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import Seq2SeqTrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
from transformers.utils import is_in_notebook

from locant.configuration import PRESETS, LocantConfig
from locant.utils.errors import first_line, reason_of, sentence

from ..errors import InputError

FREE_IN_FINE_TUNING = ("dropout", "attention_dropout", "activation_dropout", "classifier_dropout", "label_smoothing")
"""Fields of a trained model's config that fine-tuning may change, as the weights do not depend on them."""

TOKENIZER_OPTIONS = ("tokenizer_name", "tokenizer_kind", "tokenizer_vocab_size")
"""Options that choose a tokenizer."""

PROCESSOR_OPTIONS = (*TOKENIZER_OPTIONS, "image_mean", "image_std")
"""Options for the tokenizer or image processor of a new model; a trained model already has one of its own."""

STREAMING_STEPS = 1000
"""With streaming, the value `epoch` of `eval_strategy` or `save_strategy` stands for every `STREAMING_STEPS` steps.

`eval_steps`, or else a smaller `max_steps`, replaces this number.
"""

_LOGS_MODEL = {"wandb": "WANDB_LOG_MODEL", "dvclive": "HF_DVCLIVE_LOG_MODEL"}
"""For each reporter that can upload the model by a plain Trainer: the environment variable that turns the upload on."""

BY_METRIC = ("reduce_lr_on_plateau", "greedy")
"""Names of the learning rate schedules that change the rate by `metric_for_best_model` after each evaluation."""

_ADAM = ("adamw_torch", "adamw_torch_fused")

AUTO = "auto"
"""The value of `bf16` and `attn_implementation` for which the run times training steps and takes the fastest choice."""


def option(default: Any, help: str, choices: Iterable[str] = ()) -> Any:
    """Return a dataclass field that is an option of `locant train`, with its default, help text and choices."""
    return field(default=default, metadata={"help": help, "choices": tuple(choices)})


@dataclass
class ModelArguments:
    """The options of the section `model:`: the shape of a new model, or the folder or Hub name of a trained model.

    Raises:
        InputError: `preset` and `model_name_or_path` are both given.
    """

    preset: str | None = option(
        None,
        "Shape of the model; options for single fields, such as d_model, take precedence. With a vocabulary of 8,000, "
        "a translator has 2 million parameters with tiny (2 encoder and 2 decoder layers, width 128), 36 million with "
        "iwslt (6 and 6 layers, width 512), 48 million with base (6 and 6 layers, width 512, wider feed-forward "
        "layers; also the default shape), and 185 million with big (6 and 6 layers, width 1,024).",
        choices=PRESETS,
    )
    model_name_or_path: str | None = option(
        None,
        "Folder or Hub name of a trained model to fine-tune: training starts from its weights, with its tokenizer or "
        "image processor.",
    )
    attn_implementation: str | None = option(
        None,
        "Attention backend in training: sdpa by default; auto times some steps with sdpa and with eager, and takes the "
        "faster backend.",
    )
    # Maps the name of each given field of LocantConfig to its value; each field is an option of the same name
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset is not None and self.model_name_or_path is not None:
            raise InputError(
                "preset and model_name_or_path are both given, but the trained model already has a shape: "
                "leave one of them out, or set it to null."
            )

    @property
    def first_attn_implementation(self) -> str | None:
        """The attention backend with which the model is built; None (transformers' default) for `auto` or no value."""
        return None if self.attn_implementation == AUTO else self.attn_implementation

    def make_config(self, **decided: Any) -> LocantConfig:
        """Make the config of a new model: `self.overrides` takes precedence over the preset, and `decided` over both.

        Raises:
            InputError: a value is out of range, or two values do not fit together.
        """
        # a copy, because LocantConfig changes the dict rope_parameters in place
        fields = copy.deepcopy({**self.overrides, **decided})
        try:
            return LocantConfig.from_preset(self.preset, **fields) if self.preset else LocantConfig(**fields)
        except (StrictDataclassError, ValueError) as error:
            raise InputError(sentence(reason_of(error))) from error


@dataclass
class DataArguments:
    """The options of the section `data:` that all tasks have, such as the files or the dataset of each split.

    A subclass for each task defines the columns of a row.

    Raises:
        InputError: none or both of `train_file` and `dataset_name` are given, `dataset_config_name` is given without
            `dataset_name`, an option has a wrong number of files, or a value is out of range.
    """

    dataset_name: str | None = option(
        None, "Name of a dataset on the Hugging Face Hub, or folder of a dataset, if train_file is not given."
    )
    dataset_config_name: str | None = option(None, "Configuration of the dataset in dataset_name, such as en-fr.")
    train_file: str | list[str] | None = option(
        None,
        "Training data: a TSV, CSV, JSON lines or Parquet file. Paths are relative to the current directory.",
    )
    validation_file: str | list[str] | None = option(
        None, "Validation data, in the same forms as train_file, but never several tables."
    )
    test_file: str | list[str] | None = option(
        None, "Test data, in the same forms as train_file, but never several tables."
    )
    validation_split: float = option(
        0.05,
        "Share of the training data (below 1) or number of training rows (from 1 on) that become the validation set, "
        "if no validation_file is given and the dataset has no split validation.",
    )
    license: str | None = option(None, "Licence of the data, such as cc-by-4.0, for the model card.")
    preprocessing_num_workers: int | None = option(None, "Number of processes that prepare the data; by default one.")

    columns: ClassVar[tuple[str, ...]] = ()
    """The columns of a row. If there are several, a split may be parallel text files, one for each column."""
    takes_many_files: ClassVar[bool] = False
    """Whether a split may be given as any number of text files, whose rows make one split."""

    def __post_init__(self) -> None:
        for name in ("train_file", "validation_file", "test_file"):
            setattr(self, name, self._checked_files(name))
        self._check_sources()
        check_positive(self, "validation_split", "preprocessing_num_workers")

    def _checked_files(self, name: str) -> str | list[str] | None:
        """Return the value of the option `name`: the path of one file, a list of several paths, or None for no file.

        Raises:
            InputError: the number of paths is neither 1 nor the number of columns, unless `takes_many_files` is True.
        """
        files = getattr(self, name)
        if not files or isinstance(files, str):
            return files or None
        if len(files) not in (1, len(self.columns)) and not self.takes_many_files:
            parallel = f", or parallel text files ({', '.join(self.columns)})" if len(self.columns) > 1 else ""
            raise InputError(f"{name} has {len(files)} paths, but takes one file with columns{parallel}.")
        return files[0] if len(files) == 1 else files

    def _check_sources(self) -> None:
        if self.dataset_name is not None and self.train_file is not None:
            raise InputError("dataset_name and train_file are both given: give only one of them.")
        if self.dataset_name is None and self.train_file is None:
            raise InputError("No training data are given: set train_file or dataset_name.")
        if self.dataset_config_name is not None and self.dataset_name is None:
            raise InputError("dataset_config_name is given without dataset_name: give both, or neither of them.")


@dataclass
class TokenizerArguments:
    """The options that choose or train a tokenizer; the data arguments of each task with text inherit them."""

    tokenizer_name: str | None = option(None, "Folder or Hub name of a tokenizer to use instead of training one.")
    tokenizer_kind: Literal["bpe", "unigram", "wordpiece", "word"] = option(
        "bpe", "Kind of tokenizer to train on the training data; for translation, one tokenizer for both languages."
    )
    tokenizer_vocab_size: int = option(8000, "Largest number of tokens in the vocabulary of the tokenizer to train.")


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """The arguments of the Hugging Face Trainer with Locant's defaults, and the options that Locant adds.

    Args:
        data: the data arguments of the run; the metrics may depend on them, and they say whether the data are streamed.

    Raises:
        InputError: a value is out of range, two values contradict each other, or a reporter in `report_to` cannot be
            used.
        ValueError: from the Trainer's own checks.
    """

    output_dir: str = option("runs/model", "Folder of the run; the same command resumes a stopped run.")
    bf16: bool | Literal["auto"] = option(  # type: ignore[assignment]  # auto is replaced before training
        False,
        "Mixed precision: forward passes in bfloat16; auto times some steps in float32 and, if the device supports "
        "bfloat16, in bfloat16, and takes the faster precision.",
    )
    seed: int = option(42, "Seed of everything random; the same seed and command give the same weights on CPU.")
    num_train_epochs: float = option(10.0, "Number of passes over the training data.")
    max_tokens_per_batch: int | None = option(
        None,
        "Largest number of tokens in a batch on each device, padding included; by default a batch has "
        "per_device_train_batch_size rows.",
    )
    per_device_train_batch_size: int = option(
        32, "Rows in a batch on each device, if max_tokens_per_batch is not given."
    )
    per_device_eval_batch_size: int = option(64, "Rows in a batch on each device in evaluation.")
    learning_rate: float = option(5e-4, "Highest learning rate, reached at the end of the warm-up.")
    lr_scheduler_type: SchedulerType | str = option(
        "inverse_sqrt", "Learning rate schedule after the warm-up (inverse_sqrt: Vaswani et al. 2017)."
    )
    warmup_steps: float = option(0.1, "Steps of linear warm-up, or (below 1) their share of all steps.")
    coupled_weight_decay: bool = option(
        False,
        "Adam with weight_decay added to the gradient (L2; Kingma & Ba 2015) instead of AdamW's decoupled "
        "decay (Loshchilov & Hutter 2019).",
    )
    adam_beta2: float = option(0.98, "Decay rate of Adam's second moment (Vaswani et al. 2017: 0.98).")

    eval_strategy: IntervalStrategy | str = option("epoch", "When the model is evaluated on the validation set.")
    save_strategy: SaveStrategy | str = option(
        "epoch",
        "When a checkpoint is saved; with load_best_model_at_end, save_strategy must equal eval_strategy or be best.",
    )
    save_total_limit: int | None = option(
        3, "Number of checkpoints to keep, with the best one; raised to 2 or average_checkpoints + 1 if it is lower."
    )
    disable_tqdm: bool | None = option(
        None, "Print lines instead of progress bars; by default, bars are drawn on terminals and in notebooks only."
    )
    logging_steps: float = option(50, "Steps between two reports of the loss, or (below 1) a share of all steps.")
    load_best_model_at_end: bool = option(
        True, "End with the weights of the checkpoint that is best by metric_for_best_model."
    )
    metric_for_best_model: str | None = option(
        None,
        "Metric on the validation set that decides which checkpoint is best; by default the first metric of the task.",
    )
    greater_is_better: bool | None = option(
        None, "Whether a higher value of metric_for_best_model is better; by default, the metric decides this."
    )
    early_stopping_patience: int | None = option(
        None, "Stop training after this number of evaluations in a row without a better metric_for_best_model."
    )
    average_checkpoints: int = option(
        0, "End with the mean of the weights of the last N checkpoints; 0 turns averaging off."
    )

    fsdp: bool = option(  # type: ignore[assignment]  # `__post_init__` sets the field to None
        False,
        "Shard weights, gradients and the optimiser's state over the processes (FSDP2), for models that are too large "
        "for one device.",
    )
    ddp_find_unused_parameters: bool | None = option(
        False, "Whether processes look for parameters without a gradient; Locant's models have no such parameters."
    )
    remove_unused_columns: bool = option(False, "Drop the columns that the model's forward does not take.")
    hub_license: str | None = option(None, "Licence of the model, such as mit, for its card.")
    dry_run: bool = option(False, "Report parameters, data, padding, memory and time, and train nothing.")

    generated: ClassVar[tuple[str, ...]] = ()
    """The evaluation metrics that are measured only with `predict_with_generate`; higher values are better."""

    data: InitVar[Any] = None

    def __post_init__(self, data: Any) -> None:
        check_positive(self, "per_device_train_batch_size", "per_device_eval_batch_size", "max_tokens_per_batch")
        check_positive(self, "learning_rate", "num_train_epochs", "gradient_accumulation_steps")
        check_positive(self, "early_stopping_patience")
        self._check_ranges()
        if self.max_steps == 0 or self.max_steps < -1:
            raise InputError(
                f"max_steps is {self.max_steps}, but must be above 0, or -1 to train for num_train_epochs."
            )
        if getattr(data, "streaming", False):
            self._prepare_for_streaming()
        self.measures = self.find_measures(data)
        self._check_best_model()
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise InputError("early_stopping_patience needs evaluations: set eval_strategy to epoch or steps.")
        if self.average_checkpoints and self.save_strategy in ("no", "best"):
            raise InputError("average_checkpoints needs checkpoints: set save_strategy to epoch or steps.")
        if self.average_checkpoints < 0:
            raise InputError(f"average_checkpoints is {self.average_checkpoints}, but must be 0 or more.")
        if self.save_total_limit is not None:
            # average_checkpoints + 1, because the best checkpoint, which is also kept, may be older than those averaged
            self.save_total_limit = max(self.save_total_limit, self.average_checkpoints + 1, 2)
        if self.disable_tqdm is None:
            self.disable_tqdm = not (sys.stderr.isatty() or is_in_notebook())
        # without an accelerator, the Trainer accepts bf16 only if use_cpu is set
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        # the Trainer's own `fsdp` trains unsharded copies on CPUs; `shard_model` shards on every kind of device
        self.shard_weights, self.fsdp = bool(self.fsdp), None  # type: ignore[assignment]
        self._check_with_bf16_chosen_later() if self.bf16 == AUTO else super().__post_init__()
        if self.lr_scheduler_type in BY_METRIC and self.greater_is_better:
            given: Any = self.lr_scheduler_kwargs or {}
            self.lr_scheduler_kwargs = {"mode": "max", **given}  # the default is "min"
        self.logging_nan_inf_filter = False  # True would log the mean of earlier losses instead of a NaN or infinity
        self._check_reporters()

    def _check_ranges(self) -> None:
        """Raise `InputError` if a seed, an option of Adam or an option of the data loader is out of its range."""
        for name in ("seed", "data_seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 2**32:
                raise InputError(f"{name} is {value}, but must be from 0 to 2**32 - 1.")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, but must be at least 0 and below 1.")
        for name in ("adam_epsilon", "dataloader_num_workers"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}, but must be 0 or more.")
        for name in ("dataloader_persistent_workers", "dataloader_multiprocessing_context"):
            if getattr(self, name) and not self.dataloader_num_workers:
                raise InputError(
                    f"{name} is given, but there are no worker processes: set dataloader_num_workers, or leave {name} "
                    "out."
                )
        if self.coupled_weight_decay and self.optim not in _ADAM:
            optim = getattr(self.optim, "value", self.optim)
            raise InputError(f"coupled_weight_decay is for Adam, but optim is {optim}: leave one of them out.")
        if self.coupled_weight_decay and self.optim_args:
            raise InputError("coupled_weight_decay takes no optim_args: leave optim_args out.")

    def _prepare_for_streaming(self) -> None:
        """Replace `epoch`, as the value of `eval_strategy` or `save_strategy`, by `steps`, and set the number of steps.

        Raises:
            InputError: `max_steps` is not given.
        """
        if self.max_steps < 0:
            raise InputError("streaming data have no epochs, and max_steps is not given: give max_steps.")
        steps = self.eval_steps or min(STREAMING_STEPS, self.max_steps)  # a number below 1 is a share of all steps
        if self.eval_strategy == "epoch":
            self.eval_strategy, self.eval_steps = "steps", steps
        if self.save_strategy == "epoch":
            self.save_strategy, self.save_steps = "steps", steps

    def _check_with_bf16_chosen_later(self) -> None:
        if self.fp16:
            raise InputError("fp16 is true and bf16 is auto, but only one of them can be used: leave one of them out.")
        self.bf16 = False
        super().__post_init__()
        self.bf16 = AUTO  # type: ignore[assignment]  # mypy infers the type str for the constant

    def _check_reporters(self) -> None:
        """Raise `InputError` if a reporter in `report_to` is unknown, cannot be created, or would push private files.

        The Trainer itself creates the reporters only after the data are prepared.
        """
        if not self.report_to:
            return
        from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK  # slow to import

        for name in self.report_to:
            if name not in INTEGRATION_TO_CALLBACK:
                known = ", ".join(INTEGRATION_TO_CALLBACK)
                raise InputError(f"report_to is {name}, but must be none, all, or some of {known}.")
            variable = _LOGS_MODEL.get(name, "")
            if self.push_to_hub and os.environ.get(variable, "false").lower() not in ("", "0", "false"):
                raise InputError(
                    f"{variable} is set, with which {name} uploads the whole folder of the run to the Hub, also its "
                    f"private files: unset {variable}, or leave push_to_hub out."
                )
            try:
                INTEGRATION_TO_CALLBACK[name]()
            except (ImportError, RuntimeError) as error:
                package = f"pip install 'locant[{name}]'" if name in ("tensorboard", "wandb") else "install its package"
                raise InputError(
                    f"report_to is {name}, but this reporter cannot be used ({first_line(error)}): {package}, or leave "
                    "report_to out."
                ) from error

    def set_bf16(self, bf16: bool) -> None:
        """Replace the value `auto` of `bf16` by the value that the run chose."""
        self.bf16 = bf16
        if bf16:
            self.mixed_precision = "bf16"

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Return a dict from the name of each evaluation metric to whether a higher value is better.

        The first metric is the default of `metric_for_best_model`.
        """
        return {"loss": False}

    def _check_best_model(self) -> None:
        """Set `metric_for_best_model` and `greater_is_better` if they are None; remove the metric's prefix `eval_`.

        Raises:
            InputError: the metric is not in `measures`.
        """
        metric = (self.metric_for_best_model or next(iter(self.measures))).removeprefix("eval_")
        if metric not in self.measures:
            advice = "set predict_with_generate, or " if metric in self.generated else ""
            raise InputError(
                f"metric_for_best_model is {metric}, but the metrics of this run are {', '.join(self.measures)}: "
                f"{advice}choose one of them."
            )
        self.metric_for_best_model = metric
        if self.greater_is_better is None:
            self.greater_is_better = self.measures[metric]


@dataclass
class GenerationTrainingArguments(TrainingArguments, Seq2SeqTrainingArguments):
    """Adds the options of encoder–decoders: for the generation of texts in evaluation, and by the saved model."""

    predict_with_generate: bool = option(
        True, "In evaluation, generate a text for each validation row, and compare it with the reference."
    )
    generation_num_beams: int | None = option(
        1, "Number of beams in evaluation during training; 1 is greedy search, which is fast."
    )
    num_beams: int = option(4, "Number of beams for the finished model, saved with the model.")
    length_penalty: float = option(
        1.0, "Beam search divides scores by length ** length_penalty. The value is saved with the model."
    )
    max_new_tokens: int = option(
        256, "Largest number of tokens that are generated for a text. The value is saved with the model."
    )
    use_cache: bool = option(True, "Whether the saved model decodes with a cache; training itself needs none.")

    generated: ClassVar[tuple[str, ...]] = ("bleu",)

    def __post_init__(self, data: Any) -> None:
        check_positive(self, "num_beams", "generation_num_beams", "max_new_tokens")
        super().__post_init__(data)

    def find_measures(self, data: Any) -> dict[str, bool]:
        """Return each metric with True if higher is better; metrics in `generated` need `predict_with_generate`."""
        generated = dict.fromkeys(self.generated, True) if self.predict_with_generate else {}
        return {**generated, "loss": False, "perplexity": False}


def check_positive(arguments: Any, *names: str) -> None:
    """Raise `InputError` if one of the fields `names` of `arguments` is 0 or negative; None is allowed."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise InputError(f"{name} is {value}, but must be above 0.")
