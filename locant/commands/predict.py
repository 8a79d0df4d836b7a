# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant predict`."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from tqdm.auto import tqdm
from transformers import set_seed

from locant.commands.command_parser import CommandParser
from locant.commands.model_options import add_number, add_run_options, shows_progress, trained_with
from locant.commands.text_files import output, prompted, standard_input
from locant.training.data.tables import Column, Layout, is_table, load_files, read_lines
from locant.training.errors import InputError
from locant.training.inference import check_folder, one_line, position_limit, smallest
from locant.training.run.progress import shorten
from locant.utils.errors import first_line, reason_of, sentence

_IMAGE_TASKS = ("image-classification", "image-text-to-text")
_TEXT_TASKS = ("text-classification", "token-classification", "fill-mask", "text-generation", "translation")
# Option -> the tasks of pipelines that the option applies to, and a name for models of these tasks in messages
_OPTIONS = {
    "top_k": (("text-classification", "image-classification", "fill-mask"), "classifiers and masked language models"),
    "do_sample": (("text-generation",), "language models"),
    "max_new_tokens": (("text-generation", "translation", "image-text-to-text"), "models that generate text"),
}
_TEXT_KEYS = ("generated_text", "translation_text", "summary_text")
_CHUNK = 16
"""The number of batches whose inputs are read before the model predicts them."""


def run(arguments: list[str]) -> None:
    """Write the prediction of a model for each input, in the order of the inputs."""
    parsed = _parser().parse_intermixed_args(arguments)  # files may stand after the options
    show_progress, number = shows_progress(parsed), 0
    pipe, data = load_pipeline(parsed)
    if pipe.task == "translation":
        pipe.prefix = getattr(data, "source_prefix", None) or pipe.prefix
    _check_options(pipe, parsed)
    if parsed.seed is not None:
        set_seed(parsed.seed)
    reads_images = pipe.task in _IMAGE_TASKS
    is_interactive = not reads_images and not parsed.files and sys.stdin.isatty()
    inputs = iter(image_files(parsed.model, parsed.files) if reads_images else _lines(parsed, is_interactive, data))
    size = 1 if is_interactive else _CHUNK * parsed.batch_size
    max_length, cut = max_text_tokens(pipe, data), 0
    with output(parsed.output) as file, tqdm(desc="predicting", unit=" inputs", disable=not show_progress) as progress:
        while chunk := list(islice(inputs, size)):
            _check_masks(pipe, chunk, number)
            number += len(chunk)
            if max_length is not None:
                cut += sum(len(ids) > max_length for ids in pipe.tokenizer(chunk, verbose=False)["input_ids"])
            for given, found in zip(chunk, predict_inputs(pipe, chunk, parsed, max_length), strict=True):
                if parsed.json:
                    line = json.dumps({"input": given, "output": found}, ensure_ascii=False, default=_as_number)
                else:
                    line = (f"{given}\t" if reads_images else "") + _as_line(_shown(pipe, given, found))
                print(line, file=file, flush=is_interactive)
            progress.update(len(chunk))
    if cut:
        print(
            f"Cut {cut:,} of {number:,} texts to {max_length} tokens, the limit of the model or of its training.",
            file=sys.stderr,
        )


def _check_options(pipe: Any, parsed: argparse.Namespace) -> None:
    """Raise `InputError` if the command line has an option of `_OPTIONS` that does not apply to the model."""
    for name, (tasks, models) in _OPTIONS.items():
        if getattr(parsed, name) and pipe.task not in tasks:
            raise InputError(f"--{name} is for {models}, not for {pipe.task}: leave it out.")
    if parsed.top_k is not None and _may_have_several(pipe):
        raise InputError(
            "--top_k is for classifiers with one label per input, and this model may choose several labels: leave it "
            "out."
        )


def max_text_tokens(pipe: Any, data: Any) -> int | None:
    """Return the largest number of tokens that a text classifier reads of a text; None for other tasks or if unlimited.

    The number is `max_length` in `data`, the data options of the training run, or the size of the learned position
    table of a Locant model, whichever is smaller.
    """
    if pipe.task != "text-classification":
        return None
    return smallest(getattr(data, "max_length", None), position_limit(pipe.model, "source"))


def load_pipeline(parsed: argparse.Namespace, trained_for: str | None = None) -> tuple[Any, Any]:
    """Load the pipeline of the model.

    Args:
        parsed: the arguments of the command.
        trained_for: the name of the task of `locant train` that the model is for; by default the task of the model's
            training run, if it is known.

    Returns:
        The pipeline; and the data options of the model's training run, or None if they are not known.

    Raises:
        InputError: the model does not load as a pipeline or on the given device, or its results do not fit on one line.
    """
    from locant.hub.pipelines.pipeline_tasks import PIPELINE_TASKS
    from locant.hub.pipelines.pipelines import pipeline

    task, data, _ = trained_with(parsed.model)
    if trained_for is None and task is not None:
        trained_for = task.name
    check_folder(parsed.model)
    try:
        pipe = pipeline(
            None if trained_for is None else PIPELINE_TASKS[trained_for], model=parsed.model, device=parsed.device
        )
    except (AssertionError, KeyError, OSError, RuntimeError, StrictDataclassError, ValueError) as error:
        if parsed.device is not None and isinstance(error, AssertionError | RuntimeError):
            raise InputError(
                f"Device {parsed.device} cannot be used here ({first_line(error)}): give another device, such as cpu."
            ) from error
        raise InputError(
            f"{parsed.model} does not load for predictions ({reason_of(error)}): give a folder or a repository with a "
            "model that has a head, and with its tokenizer or image processor."
        ) from error
    if pipe.task not in (*_IMAGE_TASKS, *_TEXT_TASKS):
        raise InputError(
            f"{parsed.model} is for {pipe.task}, whose results do not fit on one line: call locant.pipeline in Python."
        )
    tokenizer: Any = pipe.tokenizer
    if pipe.task == "text-generation" and tokenizer.pad_token_id is None:  # as in GPT-2 and Llama
        tokenizer.pad_token = tokenizer.eos_token
    return pipe, data


def _check_masks(pipe: Any, texts: list[str], before: int) -> None:
    """If the model is a masked language model, raise `InputError` for a text that is not blank and has no mask token.

    Args:
        pipe: the pipeline.
        texts: consecutive inputs.
        before: the number of inputs before `texts`.
    """
    if pipe.task != "fill-mask":
        return
    mask = pipe.tokenizer.mask_token
    for number, text in enumerate(texts, start=before + 1):
        if text.strip() and mask not in text:
            raise InputError(
                f"Input {number:,}, {shorten(text)!r}, has no {mask}: write it in place of the word that is to be "
                "predicted."
            )


def predict_inputs(pipe: Any, inputs: list[str], parsed: argparse.Namespace, max_length: int | None) -> Iterator[Any]:
    """Yield for each input the result of the pipeline, or an empty list if the input is a blank text.

    Raises:
        InputError: the pipeline refuses an input, or the model fails on an input, such as a text with more tokens than
            the model has positions.
    """
    filled = [text for text in inputs if text.strip()]
    try:
        found = iter(_call(pipe, filled, parsed, max_length) if filled else [])
    except ValueError as error:
        raise InputError(sentence(first_line(error))) from error
    except torch.OutOfMemoryError:
        raise
    except (IndexError, RuntimeError) as error:  # models of other families index beyond their table of positions
        raise InputError(
            f"The model fails on an input ({first_line(error)}): if the input has more tokens than the model has "
            "positions, shorten it."
        ) from error
    for text in inputs:
        yield next(found) if text.strip() else []


def _call(pipe: Any, inputs: list[str], parsed: argparse.Namespace, max_length: int | None) -> list[Any]:
    """Call the pipeline with the options in `parsed` that apply to its task, and cut texts to `max_length` if given.

    For a pipeline that reads images, `inputs` are paths.
    """
    if pipe.task in _IMAGE_TASKS:
        from locant.training.data.images import open_image  # needs an optional dependency, as in `image_files`
    options: dict[str, Any] = {"batch_size": parsed.batch_size}
    if pipe.task in ("text-classification", "image-classification"):
        options["top_k"] = pipe.model.config.num_labels if _may_have_several(pipe) else parsed.top_k or 1
    if max_length is not None:
        options |= {"truncation": True, "max_length": max_length}
    if pipe.task == "fill-mask":
        options["top_k"] = parsed.top_k or 1
    elif pipe.task == "text-generation":
        options |= {"return_full_text": False, "do_sample": parsed.do_sample}
    if parsed.max_new_tokens is not None:
        options["max_new_tokens"] = parsed.max_new_tokens
    if pipe.task == "image-text-to-text":  # this pipeline makes one batch of all inputs of a call
        del options["batch_size"]
        starts = range(0, len(inputs), parsed.batch_size)
        batches = ([open_image(path) for path in inputs[start : start + parsed.batch_size]] for start in starts)
        return [found for batch in batches for found in pipe(images=batch, text=[""] * len(batch), **options)]
    if pipe.task == "image-classification":
        return pipe([open_image(path) for path in inputs], **options)
    found = pipe(inputs, **options)
    # for a list with one text, this pipeline returns the result of the text, and not a list with the result
    if pipe.task == "fill-mask" and len(inputs) == 1:
        found = [found]
    return found


def _may_have_several(pipe: Any) -> bool:
    return getattr(pipe.model.config, "problem_type", None) == "multi_label_classification"


def _as_number(value: Any) -> Any:
    """Convert a NumPy number, such as a score of token classification, to a number that JSON can hold."""
    return value.item()


def _shown(pipe: Any, given: str, found: Any) -> Any:
    """Return the part of the output of a pipeline that is printed without `--json`.

    For a multi-label classifier, this part is the labels with a probability of at least 0.5; for regression, the number
    without a label; for token classification, each token as it is written in the input `given`, unless it is only white
    space; for other models, the whole output.
    """
    if pipe.task == "token-classification":  # the tokens of byte-level BPE are not readable
        words = (one.get("start") is not None and given[one["start"] : one["end"]].strip() for one in found)
        return [{**one, "word": word or one["word"]} for one, word in zip(found, words, strict=True)]
    if _may_have_several(pipe):
        return [label for label in found if label["score"] >= 0.5]
    if getattr(pipe.model.config, "problem_type", None) == "regression":
        return [label["score"] for label in found]
    return found


def _as_line(found: Any) -> str:
    """Convert a pipeline's output to one line: texts, numbers, or labels and tokens with their probabilities.

    Tabs separate the parts of the line.
    """
    if isinstance(found, list):
        return "\t".join(map(_as_line, found))
    if isinstance(found, float):
        return f"{found:.4f}"
    text = next((found[key] for key in _TEXT_KEYS if key in found), None)
    if text is not None:
        return one_line(text)
    word = f"{found['word']}\t" if "word" in found else ""
    label = next((found[key] for key in ("label", "entity", "entity_group", "token_str") if key in found), "")
    return f"{word}{one_line(label)}\t{found['score']:.4f}"


def _lines(parsed: argparse.Namespace, is_interactive: bool, data: Any) -> Iterable[str]:
    """Read the input texts: lines of files, texts of tables, or lines of standard input if no files are given."""
    if is_interactive:
        return prompted(parsed.output)
    if not parsed.files:
        return standard_input()
    return (line for file in parsed.files for line in (_texts(file, data) if is_table(file) else read_lines(file)))


def _texts(file: str, data: Any) -> Iterable[str]:
    """Read the texts in one column of a table; line breaks in a text become spaces.

    The column is the column that the options of the model's training run name, or else the first one that the table has
    of these: for translators, the column of the run's source language in the form of the Hub (`translation.en`), the
    column with the name of this language, and `source` and `text`; for other models, `text` and `source`.
    """
    chosen = getattr(data, "text_column", None) or getattr(data, "source_column", None)
    usual: tuple[str, ...] = ("text", "source")
    if hasattr(data, "source_lang"):
        of_language = (f"translation.{data.source_lang}", data.source_lang) if data.source_lang else ()
        usual = (*of_language, "source", "text")
    column = Column("text", chosen=chosen, usual=usual)
    return map(one_line, load_files(file, "test", Layout((column,)))["text"])


def image_files(model: str, files: Sequence[str]) -> Iterator[str]:
    """Yield the path of each image file that `files` names, and of each image file in a folder that `files` names.

    The images of a folder are sorted by name.

    Raises:
        InputError: `files` is empty, a folder has no image, or an image does not exist or cannot be read.
    """
    if not files:
        raise InputError(f"{model} reads images: give image files, or folders of them.")
    from PIL import Image  # an optional dependency

    from locant.training.data.images import open_image

    Image.init()
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}
    for path in map(Path, files):
        found = [path]
        if path.is_dir():
            found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in suffixes)
        where = "in" if path.is_dir() else "at"
        if not found or not path.exists():
            raise InputError(
                f"There is no image {where} {path}: give image files, or folders that directly contain image files."
            )
        for file in found:
            open_image(file)
            yield str(file)


def _seed(text: str) -> int:
    """Convert `text` to a seed that NumPy takes; raise `ArgumentTypeError` if that is not possible."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "locant predict",
        description="Write the prediction of a model for each input, one line per input: a label with its probability "
        "(classifiers), the most probable token for each mask (masked language models), a continuation (language "
        "models), a caption, or a translation. Texts are lines of files or of standard input, or a column of a table.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder or Hub name of the model")
    parser.add_argument(
        "files",
        nargs="*",
        default=[],  # without a default, argparse would count FILE among the missing arguments if MODEL is missing
        metavar="FILE",
        help="files of texts, one text per line; tables of texts; or images, or folders of images (default: standard "
        "input, for models that read texts)",
    )
    parser.add_argument("--output", metavar="FILE", help="file for the predictions (default: standard output)")
    meaning = "number of labels to write for an input, or of tokens for each mask, the most probable first (default: 1)"
    add_number(parser, "--top_k", meaning)
    parser.add_argument("--do_sample", action="store_true", help="draw the tokens of a continuation at random")
    parser.add_argument("--seed", type=_seed, metavar="N", help="seed of the random numbers of --do_sample")
    parser.add_argument("--json", action="store_true", help="write JSON lines with each input and its whole result")
    add_number(parser, "--max_new_tokens", "longest generated text, in tokens")
    add_run_options(parser, "inputs")
    return parser
