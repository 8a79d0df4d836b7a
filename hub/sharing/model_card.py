# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes the model card, README.md, from the files in a model's folder.

The folder is the folder of a run of `locant train`, or any other folder that a model was saved to. card_sections.py
writes the text of the card. This file writes the card's metadata, which follow the Hub's specification of model cards.
"""

import hashlib
import math
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedModel
from transformers.utils import logging

from locant.utils.files import write_text

from .card_data import METRICS, CardData
from .card_sections import sections

logger = logging.get_logger(__name__)

CARD_FILE = "README.md"

_MARK = "<!-- Locant wrote what stands above ({hash}), and writes it anew while nobody changes it. Below is yours. -->"
_MARKED = re.compile(re.escape(_MARK).replace(r"\{hash\}", "([0-9a-f]{64})"))


def write_model_card(folder: str | os.PathLike[str], repo_id: str | None = None) -> Path:
    """Write the model card of the model in `folder`, and return the path of the card.

    A card that Locant wrote is replaced, and so is a draft that transformers wrote. Text that a person added below
    Locant's mark, a comment at the end of a new card, is kept. A card that a person wrote, or changed above the mark,
    is not changed, and a warning says so.

    Args:
        folder: the folder of a run, or of a saved model.
        repo_id: the model's repository on the Hub; if it is None, the card uses the folder's name for the model.

    Raises:
        SharingError: the folder has no config.json, or one of its files that the card is made from cannot be read.
    """
    folder = Path(folder)
    card = CardData.read(folder, repo_id)
    path = folder / CARD_FILE
    below = _below_the_mark(path)
    if below is None:
        # in the folder of links that `locant push` makes, `path` is a link to the card
        logger.warning(
            f"{path.resolve()} was not written by Locant, or was changed, so it is kept: delete it to get a new card "
            "from Locant."
        )
        return path
    write_text(path, _marked(str(make_card(card))) + below)
    return path


def write_card_of_push(model: PreTrainedModel, folder: Path, repo_id: str) -> None:
    """If the card in `folder` is a draft of transformers, replace it; `push_to_hub` calls this before the upload."""
    if is_draft(folder / CARD_FILE):
        write_model_card(folder, repo_id)


def is_draft(path: Path) -> bool:
    """Return whether the card is a draft of transformers that nobody has filled in.

    The draft of the Trainer has `_TRAINER_BLANKS` blanks, and the form of `push_to_hub` at least `_BLANKS`. A card with
    Locant's mark is no draft, even if a person added a draft below the mark.
    """
    if not path.is_file():
        return False
    text = _read(path)
    if _MARKED.search(text):
        return False
    is_by_trainer = _TRAINER_DRAFT in text and text.count(_TRAINER_BLANK) >= _TRAINER_BLANKS
    return is_by_trainer or (_FORM in text and text.count(_BLANK) >= _BLANKS)


_TRAINER_DRAFT = "generated automatically according to the information the Trainer had access to"
# In the Trainer's draft, the sections on the model's description, its uses and its data are blank
_TRAINER_BLANK, _TRAINER_BLANKS = "More information needed", 3
_FORM = "model card of a 🤗 transformers model that has been pushed on the Hub. This model card has been automatically"
# The form has some forty blanks; with fewer than 30, a person has filled it in
_BLANK, _BLANKS = "[More Information Needed]", 30


def make_card(card: CardData) -> ModelCard:
    """Make the card with its metadata and its text, without Locant's mark."""
    return ModelCard(f"---\n{metadata(card).to_yaml()}\n---\n\n# {card.name}\n\n" + "\n\n".join(sections(card)) + "\n")


def metadata(card: CardData) -> ModelCardData:
    """Make the metadata of the card, which the Hub reads."""
    results = evaluation_results(card)
    dataset, base_model = (card.from_hub(section, name) for section, name in _FROM_HUB)
    encoding = card.config.get("position_encoding")
    if card.stacks == ("decoder",):
        encoding = card.config.get("decoder_position_encoding") or encoding
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=card.pipeline_tag,
        tags=["locant", *([encoding] if encoding else [])],
        language=[language for language in card.languages if re.fullmatch("[a-z]{2,3}", language)] or None,
        license=card.option("training", "hub_license"),
        datasets=[dataset] if dataset else None,
        base_model=base_model,
        metrics=list(dict.fromkeys(result.metric_type for result in results if result.metric_type != "loss")) or None,
        model_name=card.name if results else None,
        eval_results=results or None,
    )


_FROM_HUB = (("data", "dataset_name"), ("model", "model_name_or_path"))


def evaluation_results(card: CardData) -> list[EvalResult]:
    """List the metrics of a finished run for the metadata `model-index`; the list is empty for an unfinished run.

    If a metric has a signature, as BLEU from sacrebleu has, the signature is among the arguments of the metric.
    """
    return [
        EvalResult(
            task_type=card.pipeline_tag,
            dataset_type=(None if _is_file(card, split) else card.from_hub("data", "dataset_name")) or "custom",
            dataset_name=source,
            dataset_config=None if _is_file(card, split) else card.option("data", "dataset_config_name"),
            dataset_split=split,
            metric_type=metric,
            metric_name=name,
            metric_value=measured[key],
            metric_args=_arguments(arguments, measured.get(f"{key}_signature")),
        )
        for split, measured in card.results.items()
        if card.pipeline_tag is not None and (source := card.source_of(split)) is not None
        for key, (metric, name, arguments) in METRICS.items()
        if key in measured and math.isfinite(measured[key])
    ]


def _is_file(card: CardData, split: str) -> bool:
    """Return whether a file takes the place of the dataset's split, as `test_file` does."""
    return card.option("data", f"{split}_file") is not None


def _arguments(arguments: dict[str, Any], signature: str | None) -> dict[str, Any] | None:
    return {**arguments, **({"signature": signature} if signature else {})} or None


def _read(path: Path) -> str:
    """Read a card that was written on any system: line ends are unified, and bytes that are not UTF-8 are replaced."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _marked(text: str) -> str:
    return text + "\n" + _MARK.format(hash=_hash(text)) + "\n"


def _hash(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def _below_the_mark(path: Path) -> str | None:
    """Read the text that a person added below Locant's mark.

    Returns:
        The text; empty if there is no such text, no card, or a draft of transformers. None if the card must not be
        replaced, because a person wrote it or changed it above the mark.
    """
    if not path.exists() or is_draft(path):
        return ""
    text = _read(path)
    mark = _MARKED.search(text)
    if mark is not None and mark[1] == _hash(text[: mark.start()]):
        return text[mark.end() :].removeprefix("\n")
    return None
