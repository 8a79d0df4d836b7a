# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Collecting the options of `locant train` from dataclasses, and converting given values to the options' types."""

import dataclasses
import difflib
import enum
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from locant.configuration import LocantConfig
from locant.configuration.configuration_locant import STACK_FIELDS

from ..errors import InputError
from ..tasks.registry import DEFAULT_TASK, TASKS, Task
from .arguments import ModelArguments, TrainingArguments

SECTIONS = ("model", "data", "training")

# Fields of LocantConfig and TrainingArguments that are not options of any task, each with the reason for a message
_DECIDED_ELSEWHERE = {
    "vocab_size": "the tokenizer decides it, so set tokenizer_vocab_size",
    "pad_token_id": "the tokenizer decides it",
    "bos_token_id": "the tokenizer decides it",
    "eos_token_id": "the tokenizer decides it",
    "decoder_start_token_id": "the tokenizer decides it",
    "is_encoder_decoder": "the task decides it",
    "is_decoder": "the task decides it",
    "encoder_input": "the task decides it",
    "remove_unused_columns": "training always drops the columns that it does not use",
    "label_smoothing_factor": "it smooths the evaluation loss too, so use the model's label_smoothing",
    "train_sampling_strategy": "a batch always has rows of similar length",
    "dataloader_drop_last": "all data are seen once an epoch",
    "dataloader_in_order": "batches always come in their order, so that a run can be resumed",
    "logging_nan_inf_filter": "training stops at a loss that is not finite",
    "save_only_model": "an interrupted run resumes from the whole state of its last checkpoint",
    "auto_find_batch_size": "max_tokens_per_batch or per_device_train_batch_size decides the batches",
    "batch_eval_metrics": "metrics are always computed over a whole split",
    "eval_do_concat_batches": "metrics are always computed over a whole split",
    "prediction_loss_only": "the task decides which scores are measured",
    "enable_jit_checkpoint": "SIGTERM always saves a checkpoint",
    "restore_callback_states_from_checkpoint": "a resumed run always counts the evaluations before it",
    "length_column_name": "training itself counts the tokens of each row",
    "do_train": "locant train always trains the model",
    "do_eval": "eval_strategy says when the model is evaluated",
    "do_predict": "the model is always evaluated on the test data, if there are any",
}
_IMAGE_FIELDS = ("image_size", "patch_size", "num_channels")

# Options of the Trainer that `--help` lists with Locant's options, before the Trainer's other options
_OFTEN_USED = (
    *("max_steps", "weight_decay", "max_grad_norm", "gradient_accumulation_steps", "activation_checkpointing"),
    *("fp16", "torch_compile", "use_cpu", "dataloader_num_workers", "report_to", "run_name"),
)

_MOST_CHOICES = 12  # the largest number of choices that a message lists

# Options of other programs for which Locant has no option, with advice
ADVICE = {
    "device": "training uses the accelerator if there is one, unless use_cpu is given; CUDA_VISIBLE_DEVICES picks GPUs",
}

# Options of other programs that are not found by their spelling, with the option of Locant that has the same effect
_OTHER_NAMES = {
    "lr": "learning_rate",
    "batch_size": "per_device_train_batch_size",
    "max_tokens": "max_tokens_per_batch",
    "accumulation_steps": "gradient_accumulation_steps",
    "update_freq": "gradient_accumulation_steps",
    "clip_norm": "max_grad_norm",
    "no_cuda": "use_cpu",
    "beam_size": "num_beams",
    "save_dir": "output_dir",
    "model": "model_name_or_path",
    "vocab": "tokenizer_vocab_size",
    "dataset": "dataset_name",
    "source": "source_column",
    "target": "target_column",
    "arch": "preset",
    "size": "preset",
    "hidden_dim": "d_model",
    "dim": "d_model",
    "resume": "resume_from_checkpoint",
}


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of `locant train`, for the YAML file, the command line and Python.

    `kinds` are the types that a value may have, the most specific type first. `choices` are the allowed strings, and
    are empty if any string is allowed. `optional` says whether a value may be None. `often_used` is False for the
    options of the Trainer that `--help` lists last.
    """

    name: str
    section: str
    kinds: tuple[Any, ...]
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str
    often_used: bool

    @property
    def takes_list(self) -> bool:
        """Whether a value may be a list."""
        return any((typing.get_origin(kind) or kind) is list for kind in self.kinds)

    @property
    def expected(self) -> str:
        """A description of the values that the option may have, for messages."""
        kinds = [_CONVERSIONS[kind][0] for kind in self.kinds if not (self.choices and kind is str)]
        if self.choices:
            more = ", …" if len(self.choices) > _MOST_CHOICES else ""
            listed = f"{', '.join(self.choices[:_MOST_CHOICES])}{more}"
            kinds.append(listed if len(self.choices) == 1 else f"one of {listed}")
        return " or ".join(kinds)

    def convert(self, value: Any, origin: str) -> Any:
        """Convert `value`, from YAML, the command line or Python, to one of `kinds`; the text `null` becomes None.

        Raises:
            InputError: `value` cannot be converted to any of `kinds`; the message names its `origin`.
        """
        if value is None or value == "null":
            return None
        for kind in self.kinds:
            try:
                converted = _CONVERSIONS[kind][1](value)
            except (LookupError, TypeError, ValueError):
                continue
            if not self.choices or kind is not str or converted in self.choices:
                return converted
        nearest = _nearest(value, self.choices) if isinstance(value, str) else None
        raise InputError(
            f"{self.name} is {value!r} ({origin}), but must be {self.expected}"
            + (f": did you mean {nearest}?" if nearest else ".")
        )


def find_task(given: dict[str, Any]) -> Task:
    """Return the task that the options in `given` name, or the default task if they name none."""
    return TASKS[given.get("task") or DEFAULT_TASK]


def known_options(task: Task) -> dict[str, Option]:
    """Return the options of `task` by name: the option `task`, then the options of the sections model, data, training.

    An option that has the same name in `model` as in `data` or `training` is left out of `model`.
    """
    data, training = _options("data", task.data), _training_options(task.training)
    theirs = {"overrides", *(option.name for option in (*data, *training))}
    options = [*_options("model", ModelArguments), *_config_options()]
    options = [TASK_OPTION, *(option for option in options if option.name not in theirs), *data, *training]
    decided = decided_elsewhere(task)
    return {option.name: option for option in options if option.kinds and option.name not in decided}


def all_options() -> dict[str, Option]:
    """Return the options of all tasks by name.

    If several tasks have an option of the same name, the result has the first one that takes a list, or else the first
    one.
    """
    options: dict[str, Option] = {}
    for task in TASKS.values():
        for name, option in known_options(task).items():
            if name not in options or (option.takes_list and not options[name].takes_list):
                options[name] = option
    return options


def decided_elsewhere(task: Task) -> dict[str, str]:
    """Return a dict from the name of each field that is not an option of `task` to the reason, for messages."""
    decided = {**_DECIDED_ELSEWHERE, **dict.fromkeys(task.config_fields, "the task decides it")}
    is_encoder_decoder = task.config_fields.get("is_encoder_decoder", True)
    missing = "encoder" if task.config_fields.get("is_decoder") else "decoder"
    takes_images = task.config_fields.get("encoder_input") == "patches"
    for name in inspect.get_annotations(LocantConfig):
        if not is_encoder_decoder and name.startswith((f"{missing}_", "cross_", "share_encoder_decoder_")):
            decided.setdefault(name, f"the model of this task has no {missing}")
        if not takes_images and name in _IMAGE_FIELDS:
            decided[name] = "the model of this task takes no images"
    return {**decided, **task.decided_elsewhere}


def nearest_option(name: str, options: dict[str, Option]) -> str | None:
    """Return the name of the option that a user who wrote `name` probably meant, or None."""
    name = name.replace("-", "_")
    ours = (
        _OTHER_NAMES.get(name),
        LocantConfig.attribute_map.get(name),
        *(f"{stack}_{STACK_FIELDS.get(name)}" for stack in ("encoder", "decoder")),
    )
    translated = next((known for known in ours if known in options), None)
    containing = next((known for known in options if len(name) > 2 and name in known), None)
    return translated or _nearest(name, options) or containing


def _nearest(name: str, known: typing.Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _options(section: str, arguments: Any) -> list[Option]:
    hints = typing.get_type_hints(arguments)
    return [
        _option(section, entry, hints[entry.name], entry.metadata.get("help", ""))
        for entry in dataclasses.fields(arguments)
        if entry.init
    ]


def _config_options() -> list[Option]:
    hints, described = inspect.get_annotations(LocantConfig), _described(LocantConfig)
    entries = dataclasses.fields(typing.cast(Any, LocantConfig))
    return [
        _option("model", entry, hints[entry.name], described.get(entry.name, ""))
        for entry in entries
        if entry.name in hints
    ]


def _training_options(arguments: type[TrainingArguments]) -> list[Option]:
    """Return the options of the section training, in the order of `--help`.

    The options of Locant come first, then the options in `_OFTEN_USED`, and then the other options of the Trainer.
    """
    by_name = {option.name: option for option in _options("training", arguments)}
    ours = [base for base in reversed(arguments.__mro__) if issubclass(base, TrainingArguments)]
    own = dict.fromkeys(name for base in ours for name in inspect.get_annotations(base) if name in by_name)
    for name in by_name.keys() - own.keys():
        often_used, summary = name in _OFTEN_USED, _first_sentence(by_name[name].help)
        by_name[name] = dataclasses.replace(by_name[name], often_used=often_used, help=summary)
    first = [name for name in (*own, *_OFTEN_USED) if name in by_name]  # older versions of the Trainer lack some names
    return [by_name[name] for name in first] + [by_name[name] for name in by_name if name not in first]


def _first_sentence(text: str) -> str:
    """Return the first sentence of a help text of the Trainer, which is written for argparse (`%%` stands for `%`)."""
    text = " ".join(text.replace("%%", "%").split())
    return re.split(r"(?<=\.)(?<!e\.g\.)(?<!i\.e\.) ", text)[0]


def _option(section: str, entry: dataclasses.Field, hint: Any, help: str) -> Option:
    kinds, choices, optional = _read_hint(hint)
    choices = entry.metadata.get("choices") or choices
    default = entry.default if entry.default is not dataclasses.MISSING else None
    return Option(entry.name, section, kinds, choices, optional, default, help, often_used=True)


def _read_hint(hint: Any) -> tuple[tuple[Any, ...], tuple[str, ...], bool]:
    """Return the types and choices that a hint such as `SchedulerType | None` allows, and whether it allows None.

    Types that have no text form, such as `GenerationConfig`, are ignored.
    """
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds: set[Any] = set()
    choices: tuple[str, ...] = ()
    for member in members:
        if typing.get_origin(member) is Literal:
            values = typing.get_args(member)
            kinds |= {type(value) for value in values}
            choices += tuple(value for value in values if isinstance(value, str))
        elif isinstance(member, type) and issubclass(member, enum.Enum):
            kinds.add(str)
            choices += tuple(choice.value for choice in member)
        else:
            kinds.add(member if member in (list[int], list[float]) else typing.get_origin(member) or member)
    ordered = tuple(kind for kind in _CONVERSIONS if kind in kinds)
    return ordered, choices, type(None) in kinds


def _described(documented: type) -> dict[str, str]:
    """Return a dict from argument name to description, from the section `Args:` of the docstring of `documented`."""
    section = (inspect.getdoc(documented) or "").partition("Args:\n")[2].partition("\n\n")[0]
    described = {}
    for entry in re.split(r"\n    (?=\w)", "\n" + section)[1:]:
        names, _, text = " ".join(entry.split()).partition(": ")
        described.update(dict.fromkeys(names.split(", "), text[:1].upper() + text[1:]))
    return described


def _to_dict(value: Any) -> dict:
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise TypeError
    return value


def _to_list(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [_to_str(item) for item in values]


def _to_numbers(value: Any, convert: Callable[[Any], Any]) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return [convert(item) for item in value]


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "yes": True, "false": False, "no": False}[_to_str(value).lower()]


def _to_int(value: Any) -> int:
    if isinstance(value, bool | float):
        raise TypeError
    return int(value)


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _to_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


# The types in the order in which `Option.convert` tries them: the most specific type first
_CONVERSIONS: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    dict: ("a mapping (JSON on the command line)", _to_dict),
    bool: ("true or false", _to_bool),
    int: ("a whole number", _to_int),
    float: ("a number", _to_float),
    list[int]: ("a list of whole numbers", partial(_to_numbers, convert=_to_int)),
    list[float]: ("a list of numbers", partial(_to_numbers, convert=_to_float)),
    str: ("text", _to_str),
    list: ("a list of texts", _to_list),
}

TASK_OPTION = Option(
    "task",
    section="",
    kinds=(str,),
    choices=tuple(TASKS),
    optional=False,
    default=DEFAULT_TASK,
    help="Task that the model is trained for; in CONFIG.yaml, write task: above the sections.",
    often_used=True,
)
