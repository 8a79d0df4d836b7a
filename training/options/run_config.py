# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The configuration of a training run, from options on the command line or in Python, a YAML file, and defaults."""

import argparse
import enum
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputError
from ..main_process import print_in_main_process
from ..tasks.registry import DEFAULT_TASK, TASKS, Task
from .arguments import (
    FREE_IN_FINE_TUNING,
    PROCESSOR_OPTIONS,
    TOKENIZER_OPTIONS,
    DataArguments,
    ModelArguments,
    TrainingArguments,
)
from .options import (
    ADVICE,
    SECTIONS,
    TASK_OPTION,
    Option,
    all_options,
    decided_elsewhere,
    find_task,
    known_options,
    nearest_option,
)
from .yaml_sections import read_sections, write_sections

_DESCRIPTION = (
    "Train a model for a task. CONFIG.yaml has the sections model:, data: and training:, which hold the options "
    "below. An option on the command line takes precedence over the file, and the file over the default, which is "
    "printed in brackets. The value null unsets an option. For an option with the values true and false, --option sets "
    "true, and --no_option sets false."
)
_SECTIONS_OF_COMMANDS = {"study": "locant study translation", "search": "locant search"}
_METAVARS = {
    dict: "JSON",
    bool: "BOOL",
    int: "N",
    float: "X",
    list[int]: "N",
    list[float]: "X",
    str: "TEXT",
    list: "TEXT",
}


@dataclass(frozen=True)
class RunConfig:
    """The configuration of one training run.

    `given` holds the values of all options that were given in the file, on the command line or in Python. All other
    options have their defaults.
    """

    model: ModelArguments
    data: DataArguments
    training: TrainingArguments
    given: dict[str, Any]

    @property
    def task(self) -> str:
        """The name of the task, such as `translation`."""
        return self.given.get("task") or DEFAULT_TASK

    def to_yaml(self) -> str:
        """Return the text of a YAML file with which `locant train` repeats this run; access tokens are left out."""
        options = known_options(TASKS[self.task])
        sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        for name, value in self.given.items():
            if name != TASK_OPTION.name and not name.endswith("_token"):
                sections[options[name].section][name] = value
        return write_sections({TASK_OPTION.name: self.task, **sections})


def parse_run_config(arguments: list[str]) -> RunConfig:
    """Parse the command line `arguments` of `locant train`, check every value, and return the run's configuration.

    Raises:
        InputError: the YAML file cannot be read, an option does not exist, or a value is of the wrong type, out of
            range, or contradicts another value.
        SystemExit: help was asked for, and printed.
    """
    return make_run_config(read_given(arguments)[1])


def run_config_from_python(
    config: str | os.PathLike[str] | Mapping[str, Any] | None, options: Mapping[str, Any]
) -> RunConfig:
    """Make the configuration of the run for a call of `locant.train`, and check every value.

    Args:
        config: the path of a YAML file; or a dict with the content of such a file: a dict of options for each section,
            and `task`; or None for no file.
        options: a dict from option name to value; these values take precedence over the values in `config`.

    Raises:
        InputError: the YAML file cannot be read, an option does not exist, or a value is of the wrong type, out of
            range, or contradicts another value.
    """
    origin = "locant.train"
    if config is None or isinstance(config, Mapping):
        written, name = _options_of_sections(config or {}), "the dictionary"
        task_name = options.get(TASK_OPTION.name) or written.get(TASK_OPTION.name)
        task = find_task({TASK_OPTION.name: TASK_OPTION.convert(task_name, origin)})
        given = _converted(written, task, origin)
    else:
        name = os.fspath(config)
        task = _task_of(name, options, origin)
        given = _read_yaml(name, task)
    typed = _converted(options, task, origin)
    if typed.get("model_name_or_path") is not None:
        given = _for_fine_tuning(given, typed, known_options(task), name)
    return make_run_config(given | typed)


def _options_of_sections(sections: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sections.items():
        if name == TASK_OPTION.name:
            found[name] = value
        elif name in SECTIONS and isinstance(value, Mapping | None):
            found |= value or {}
        else:
            raise InputError(
                f"{name!r} is not a section with a dictionary of options: give a dictionary with some of "
                f"{', '.join(SECTIONS)} as keys, each with a dictionary of options; task may be a further key."
            )
    return found


def _converted(written: Mapping[str, Any], task: Task, origin: str) -> dict[str, Any]:
    """Convert the Python values in `written`, whose keys are option names, to the types of these options."""
    options = known_options(task)
    for name in written:
        if name not in options:
            raise InputError(_unknown_option(name, task, options))
    return {name: options[name].convert(_as_in_yaml(value), origin) for name, value in written.items()}


def _as_in_yaml(value: Any) -> Any:
    """Convert a Python value to one that YAML can hold: tuples to lists, paths to strings, enum members to values."""
    if isinstance(value, list | tuple):
        return [_as_in_yaml(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def read_given(arguments: list[str], beside: str | None = None) -> tuple[str | None, dict[str, Any]]:
    """Read the options that are given on the command line, and in the YAML file that the command line names.

    Args:
        arguments: the arguments of the command line.
        beside: the name of a section that the file may have in addition to the usual sections; this section is skipped.

    Returns:
        The path of the YAML file, or None if there is none; and a dict from option name to typed value.

    Raises:
        InputError: the YAML file cannot be read, an option does not exist, or a value is of the wrong type.
        SystemExit: help was asked for, and printed.
    """
    config_file, texts = _read_command_line(arguments)
    task = _task_of(config_file, texts)
    options = known_options(task)
    for name in texts:
        if name not in options:
            raise InputError(_unknown_option(f"--{name}", task, options))
    given = _read_yaml(config_file, task, beside) if config_file else {}
    typed = {name: options[name].convert(text, "command line") for name, text in texts.items()}
    if config_file and typed.get("model_name_or_path") is not None:
        given = _for_fine_tuning(given, typed, options, config_file)
    return config_file, given | typed


def _for_fine_tuning(
    given: dict[str, Any], typed: dict[str, Any], options: dict[str, Option], config_file: str
) -> dict[str, Any]:
    """Drop the options of the file that the trained model decides, such as d_model, and print their names.

    An option that is also in `typed`, or whose value in the file is None, is not dropped.

    Args:
        given: a dict from option name to value, from the file.
        typed: a dict from option name to value, from the command line or Python; it contains `model_name_or_path`.
        options: a dict from option name to `Option`, with all options of the task.
        config_file: the name of the file, for the message.

    Returns:
        The items of `given` that were not dropped.
    """
    kept = {"model_name_or_path", "attn_implementation", *FREE_IN_FINE_TUNING}
    brought = [
        name
        for name, value in given.items()
        if value is not None
        and name not in typed
        and (name in PROCESSOR_OPTIONS or (options[name].section == "model" and name not in kept))
    ]
    if brought:
        print_in_main_process(
            f"{typed['model_name_or_path']} already has a shape, and a tokenizer or image processor, so these options "
            f"of {config_file} are ignored: {', '.join(brought)}."
        )
    return {name: value for name, value in given.items() if name not in brought}


def make_run_config(given: dict[str, Any]) -> RunConfig:
    """Make the configuration of a run from `given`, a dict from option name to value, and check all values.

    Raises:
        InputError: a value is out of range, or contradicts another value.
    """
    task = find_task(given)
    options = known_options(task)
    given = _without_nulls(given, options)
    model = _model_arguments(_section("model", given, options))
    data = task.data(**_section("data", given, options))
    _check_tokenizer(model, data, given)
    if model.model_name_or_path is None:
        model.make_config(**task.config_fields)
    return RunConfig(model, data, _training_arguments(task, data, _section("training", given, options)), given)


def read_run_data(config_file: str | Path, arguments: Sequence[str] = ()) -> tuple[Task, DataArguments, int]:
    """Read a file such as `run_config.yaml`: return the task, the data options, and the seed of the validation split.

    Args:
        config_file: the YAML file.
        arguments: options of the data section, as on the command line, which replace those of the file.

    Raises:
        InputError: the YAML file cannot be read, an option does not exist, `arguments` has an option of another
            section, or a value is of the wrong type, out of range, or contradicts another value.
    """
    task = _task_of(config_file, {})
    options = known_options(task)
    given = _read_yaml(config_file, task) | _read_data_options(arguments, task, options)
    given = _without_nulls(given, options)
    return task, task.data(**_section("data", given, options)), given.get("seed", options["seed"].default)


def _read_data_options(arguments: Sequence[str], task: Task, options: dict[str, Option]) -> dict[str, Any]:
    left_over, texts = _read_command_line(list(arguments)) if arguments else (None, {})
    if left_over is not None:
        raise InputError(f"{left_over!r} belongs to no option: put an --option before each value.")
    of_data = {name: option for name, option in options.items() if option.section == "data"}
    for name in texts:
        if name in options and name not in of_data:
            raise InputError(
                f"--{name} is no option of the section data:, but only options of this section can be given: leave it "
                "out."
            )
        if name not in of_data:
            raise InputError(_unknown_option(f"--{name}", task, of_data))
    return {name: of_data[name].convert(text, "command line") for name, text in texts.items()}


def _task_of(config_file: str | Path | None, given: Mapping[str, Any], origin: str = "command line") -> Task:
    """Return the task that `given` names; or else the task that the YAML file names; or else the default task.

    `origin` says for messages where `given` comes from.
    """
    name = TASK_OPTION.convert(given.get(TASK_OPTION.name), origin)
    if name is None and config_file is not None:
        for entry in read_sections(config_file):
            if entry.section == TASK_OPTION.name:
                name = TASK_OPTION.convert(entry.value, f"{config_file}, line {entry.line}")
    return find_task({TASK_OPTION.name: name})


def _without_nulls(given: dict[str, Any], options: dict[str, Option]) -> dict[str, Any]:
    """Remove the options whose value is None although they may not be None, so that they get their defaults."""
    return {name: value for name, value in given.items() if value is not None or options[name].optional}


def _section(section: str, given: dict[str, Any], options: dict[str, Option]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if options[name].section == section}


def _model_arguments(given: dict[str, Any]) -> ModelArguments:
    own = {field.name for field in fields(ModelArguments)}
    overrides = {name: value for name, value in given.items() if name not in own}
    return ModelArguments(**{name: given[name] for name in own & given.keys()}, overrides=overrides)


def _training_arguments(task: Task, data: DataArguments, given: dict[str, Any]) -> TrainingArguments:
    try:
        return task.training(**given, data=data)
    except InputError:
        raise
    except (
        ImportError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:  # the Trainer's own checks, whose messages run over several lines
        raise InputError(" ".join(str(error).split())) from error


def _check_tokenizer(model: ModelArguments, data: DataArguments, given: dict[str, Any]) -> None:
    """Raise `InputError` if an option in `TOKENIZER_OPTIONS` is given, but has no effect.

    If `model_name_or_path` is given, the tokenizer is loaded from there, and no option in `TOKENIZER_OPTIONS` has an
    effect. Else, if `tokenizer_name` is given, it is the only option in `TOKENIZER_OPTIONS` that has an effect.
    """
    chosen = "model_name_or_path" if model.model_name_or_path is not None else "tokenizer_name"
    if model.model_name_or_path is None and getattr(data, "tokenizer_name", None) is None:
        return
    unused = set(TOKENIZER_OPTIONS) - {chosen}
    if names := [name for name in sorted(unused) if given.get(name) is not None]:
        raise InputError(
            f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} given, but {chosen} already decides the "
            f"tokenizer: leave {' and '.join(names)} out, or give null."
        )


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises an `InputError` of one sentence instead of printing the usage of all options."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}.")


def _read_command_line(arguments: list[str]) -> tuple[str | None, dict[str, Any]]:
    """Return the path of the YAML file or None, and a dict from the name of each given option to its text or texts."""
    parsed, unknown = _parser(all_options()).parse_known_args(arguments)
    texts = vars(parsed)
    config_file, wants_help = texts.pop("config_file", None), texts.pop("help", False)
    if wants_help or unknown:
        # argparse may have taken the value of an unknown option for the path of the file
        is_file = config_file is not None and Path(config_file).is_file()
        task = _task_of(config_file if is_file else None, texts)
        if wants_help:
            _parser(known_options(task)).print_help()
            raise SystemExit(0)
        for argument in unknown:
            if argument.startswith("-"):
                raise InputError(_unknown_option(argument.partition("=")[0], task, known_options(task)))
    if unknown:
        raise InputError(
            f"{unknown[0]!r} belongs to no option: give one CONFIG.yaml, and put an --option before each value."
        )
    return config_file, texts


def _parser(options: dict[str, Option]) -> argparse.ArgumentParser:
    tasks = "\n".join(f"  {name:<24} {task.summary}" for name, task in TASKS.items())
    parser = _Parser(
        prog="locant train",
        usage="locant train [CONFIG.yaml] [--task TASK] [--option value ...]",
        description=f"{textwrap.fill(_DESCRIPTION, 100)}\n\nTasks, each with options of its own (--task TASK --help):"
        f"\n{tasks}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("config_file", nargs="?", metavar="CONFIG.yaml", help="YAML file with the options in sections")
    parser.add_argument("-h", "--help", action="store_true", help="show this message and exit")
    groups = {
        "": parser.add_argument_group("task"),
        "model": parser.add_argument_group("model"),
        "data": parser.add_argument_group("data"),
        "training": parser.add_argument_group("training"),
        "tail": parser.add_argument_group("training, other options of the Hugging Face Trainer"),
    }
    for option in options.values():
        _add_option(groups[option.section if option.often_used else "tail"], option)
    return parser


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    metavar = "PATH" if option.name.endswith("_file") else _METAVARS[option.kinds[-1]]
    flag = f"--{option.name}"
    settings: dict[str, Any] = {"metavar": metavar, "help": _help(option)}
    if bool in option.kinds:
        group.add_argument(flag, nargs="?", const="true", **settings)
        group.add_argument(
            f"--no_{option.name}",
            dest=option.name,
            action="store_const",
            const="false",
            help=argparse.SUPPRESS,
        )
    elif option.takes_list:
        group.add_argument(flag, nargs="+", action=_StoreOneOrMany, **settings)
    else:
        group.add_argument(flag, **settings)


class _StoreOneOrMany(argparse.Action):
    """Stores a single value as it is, and several values as a list, for options that take a list."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, values[0] if len(values) == 1 else values)


def _help(option: Option) -> str:
    text = option.help
    if len(option.choices) <= 12 and any(choice not in text for choice in option.choices):
        text += f" One of {', '.join(option.choices)}."
    if option.default not in (None, ""):
        default = str(option.default).lower() if isinstance(option.default, bool) else option.default
        text += f" [{default}]"
    return text.replace("%", "%%")


def _unknown_option(written: str, task: Task, options: dict[str, Option], where: str = "") -> str:
    name, dashes = written.lstrip("-"), "--" if written.startswith("-") else ""
    decided = {**ADVICE, **decided_elsewhere(task)}
    if name in decided:
        return f"{written} is not an option{where}: {decided[name]}."
    if owners := [other for other, known in TASKS.items() if name in known_options(known)]:
        return f"{written} is not an option of {task.name}{where}, but of {', '.join(owners)}: leave it out."
    nearest = nearest_option(name, options)
    hint = f"did you mean {dashes}{nearest}?" if nearest else "see locant train --help."
    return f"{written} is not an option{where}: {hint}"


def _read_yaml(path: str | Path, task: Task, beside: str | None = None) -> dict[str, Any]:
    """Read the YAML file at `path` into a dict from option name to typed value, without the section named `beside`."""
    options = known_options(task)
    given: dict[str, Any] = {}
    for entry in read_sections(path):
        where = f"{path}, line {entry.line}"
        if entry.section == beside:
            continue
        if entry.section == TASK_OPTION.name:
            given[entry.section] = TASK_OPTION.convert(entry.value, where)
            continue
        if entry.section not in SECTIONS:
            raise InputError(_unknown_section(entry.section, where, options))
        if entry.key is None and entry.value is None:
            continue
        if entry.key is None:
            raise InputError(f"{entry.section} is a section ({where}), so put 'option: value' lines under it.")
        option = options.get(entry.key)
        if option is None:
            raise InputError(_unknown_option(entry.key, task, options, f" ({where})"))
        if option.section != entry.section:
            raise InputError(
                f"{option.name} stands under {entry.section}: ({where}), but belongs under {option.section}:."
            )
        given[option.name] = option.convert(entry.value, where)
    return given


def _unknown_section(name: str, where: str, options: dict[str, Option]) -> str:
    if name in options:
        return f"{name} stands under no section ({where}), but belongs under {options[name].section}:."
    if name in _SECTIONS_OF_COMMANDS:
        command = _SECTIONS_OF_COMMANDS[name]
        return f"{name}: ({where}) is a section for {command}: run this command, or leave the section out."
    return f"{name} is not a section ({where}): the sections are {', '.join(SECTIONS)}."
