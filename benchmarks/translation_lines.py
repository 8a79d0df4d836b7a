# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Lines of work in translation: `locant translate` on files of TED's test set, beside a plain loop."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import transformers
from lines import Cost, Line, Repetition, Setting
from ted import TRANSLATOR, data_files

PARTS, BATCH, BEAMS, MAX_NEW_TOKENS = 6, 32, 4, 100
PART_SENTENCES = 48


def _parts(folder: Path, setting: Setting) -> list[Path]:
    """Write one source file for each repetition, each with the next sentences of the test set, and return the paths."""
    lines = data_files("test")[0].read_text(encoding="utf-8").splitlines()
    size = 4 if setting.quick else PART_SENTENCES
    files = []
    for number in range(PARTS):
        files.append(folder / f"part{number}.en")
        part = lines[number * size : (number + 1) * size]
        files[-1].write_text("".join(f"{line}\n" for line in part), encoding="utf-8")
    return files


def _repetition(translate: Callable[[Path, Path], None], setting: Setting) -> Repetition:
    folder = Path(tempfile.mkdtemp())
    parts = _parts(folder, setting)

    def repetition(number: int) -> Cost:
        part = parts[number % PARTS]
        return setting.timed(partial(translate, part, part.with_suffix(".fr")))

    return repetition


def _command(*arguments: object) -> None:
    from locant.cli import main

    if main([str(argument) for argument in arguments]):
        raise RuntimeError(f"locant {arguments[0]} failed.")


def locant_translate(setting: Setting, model: Path = TRANSLATOR, *options: str) -> Repetition:
    """`locant translate` of one file, loading included."""
    search = ["--num_beams", BEAMS, "--max_new_tokens", MAX_NEW_TOKENS, "--batch_size", BATCH, "--no_progress"]
    device = ["--device", setting.device]

    def translate(source: Path, target: Path) -> None:
        _command("translate", model, source, "--output", target, *search, *device, *options)

    return _repetition(translate, setting)


def ctranslate2_translate(quantization: str, setting: Setting) -> Repetition:
    """`locant translate --engine ctranslate2` of one file with an exported model, loading included."""
    folder = Path(tempfile.mkdtemp(), "export")
    _command("export", TRANSLATOR, folder, "--format", "ctranslate2", "--quantization", quantization)
    return locant_translate(setting, folder, "--engine", "ctranslate2")


def plain_loop(setting: Setting) -> Repetition:
    """Marian with the same weights, from file to file: batches of 32 in the file's order, loading included."""
    folder = Path(tempfile.mkdtemp(), "marian")
    _command("convert", TRANSLATOR, folder, "--to", "marian")

    def translate(source: Path, target: Path) -> None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(TRANSLATOR)
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).to(setting.device).eval()
        lines = source.read_text(encoding="utf-8").splitlines()
        with torch.no_grad(), open(target, "w", encoding="utf-8") as file:
            for start in range(0, len(lines), BATCH):
                batch = tokenizer(lines[start : start + BATCH], return_tensors="pt", padding=True).to(setting.device)
                ids = model.generate(**batch, num_beams=BEAMS, max_new_tokens=MAX_NEW_TOKENS)
                file.writelines(f"{text}\n" for text in tokenizer.batch_decode(ids, skip_special_tokens=True))

    return _repetition(translate, setting)


LINES = [
    Line(
        "Translation",
        f"{PART_SENTENCES} sentences of TED a round, {BEAMS} beams, from file to file",
        {
            "locant translate": locant_translate,
            "--engine ctranslate2, float32": partial(ctranslate2_translate, "float32"),
            "--engine ctranslate2, int8": partial(ctranslate2_translate, "int8"),
        },
        "Marian in a plain loop",
        plain_loop,
        rounds=PARTS,
    )
]
