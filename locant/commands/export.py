# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant export`."""

import argparse

from transformers import AutoConfig

from locant.commands.command_parser import CommandParser
from locant.hub.engines.exporting import FORMATS, export
from locant.training.inference import check_folder


def run(arguments: list[str]) -> None:
    """Export a model to a folder for CTranslate2 or ONNX, and print the size of the folder."""
    parsed = _parser().parse_args(arguments)
    check_folder(parsed.model)
    folder = export(parsed.model, parsed.target, parsed.format, quantization=parsed.quantization)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder} holds the model for {parsed.format}, {size:.1f} MB.")
    if parsed.format == "onnx":
        difference = AutoConfig.from_pretrained(folder).onnx["largest_difference"]
        print(
            f"The outputs of onnxruntime differ from the outputs of the model by at most {difference:.1e}, relative to "
            "the largest output, or to 1 if the largest output is smaller."
        )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("locant export", description="Export a model for another engine: CTranslate2 or ONNX.")
    parser.add_argument("model", metavar="MODEL", help="folder or Hub name of the model")
    parser.add_argument("target", metavar="TARGET", help="folder to write, which must be new or empty")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="ctranslate2",
        help="ctranslate2 for translators (default), onnx for encoders of text or images, with or without a head",
    )
    parser.add_argument(
        "--quantization",
        metavar="TYPE",
        help="type in which CTranslate2 stores the weights: float32 (default), int8, int8_float32, int8_float16, "
        "int8_bfloat16, int16, float16, bfloat16",
    )
    return parser
