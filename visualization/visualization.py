# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The function `visualize`, which makes all pictures of a model on a text or an image: data, a page and PNG files."""

import html
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from locant.training.errors import InputError
from locant.training.run.pictures import write_pictures
from locant.utils.files import write_text

from .aligning import align_recording, describe_alignment
from .alignment import Alignment
from .attention import attention_heatmaps
from .heatmaps import Heatmaps
from .input_norms import InputNorms, input_norms
from .loading import load_model, open_image
from .page import alignment_part, heatmaps_part, norms_part, page_html, text_part
from .pictures import draw_alignment, draw_heatmaps, draw_norms
from .positions import position_heatmaps
from .recording import Recording, record
from .similarity import similarity_heatmaps

PAGE_FILE = "index.html"


@dataclass(frozen=True, eq=False)
class Visualization:
    """The pictures of a model on a text or an image, and their data.

    In a notebook, an object of this class is displayed as the page.

    Args:
        title: the heading of the page.
        recording: the attention weights and hidden states of the model.
        heatmaps: the heatmaps by name: `encoder_attention`, `cross_attention`, `decoder_attention` or
            `self_attention`; `position_1`, …; `similarity`. The data are in `heatmaps[name].values`.
        norms: the norms of the embeddings and the position vectors at the input of each stack.
        alignment: the alignment of the words of the text and of its target; None if the model has no target, the target
            has no words, or the model reads an image.
        texts: the texts at the top of the page, by label.
        alignment_caption: the sentences that explain how the alignment was made.
    """

    title: str
    recording: Recording
    heatmaps: dict[str, Heatmaps]
    norms: list[InputNorms]
    alignment: Alignment | None = None
    texts: dict[str, str] = field(default_factory=dict)
    alignment_caption: str = ""

    def html(self) -> str:
        """Return the page as a complete HTML document, which loads no other files."""
        parts = [text_part(label, text) for label, text in self.texts.items()]
        if self.alignment is not None:
            parts.append(alignment_part(self.alignment, self.alignment_caption))
        parts += [heatmaps_part(heatmaps) for heatmaps in self.heatmaps.values()]
        parts += [norms_part(norms) for norms in self.norms]
        return page_html(self.title, parts, self.recording.pixels)

    def _repr_html_(self) -> str:
        """Return HTML that shows the page in a frame, which keeps the styles of the page and of the notebook apart."""
        page = html.escape(self.html(), quote=True)
        return (
            f'<iframe sandbox="allow-scripts" style="width: 100%; height: 800px; border: 0" srcdoc="{page}"></iframe>'
        )

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the page as `index.html`, and each picture as a PNG file if matplotlib is installed.

        Args:
            folder: the folder to write.
            overwrite: whether files in the folder are replaced; if False, the folder must be new or empty.

        Returns:
            The path of the page.

        Raises:
            InputError: `folder` is a file or cannot be written, or holds files and `overwrite` is False.
        """
        path = Path(folder)
        check_output_folder(path, overwrite)
        drawings = {
            name: partial(draw_heatmaps, heatmaps=heatmaps, pixels=self.recording.pixels)
            for name, heatmaps in self.heatmaps.items()
        }
        drawings |= {f"{norms.name}_norms": partial(draw_norms, norms=norms) for norms in self.norms}
        if self.alignment is not None:
            drawings["alignment"] = partial(draw_alignment, alignment=self.alignment)
        try:
            write_text(path / PAGE_FILE, self.html())
            write_pictures(path, drawings, "The pictures are not written as PNG files", "to get them")
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}): give another folder.") from error
        return path / PAGE_FILE


def check_output_folder(path: Path, overwrite: bool) -> None:
    """Raise `InputError` if `path` is a file, or if it is a folder with files that must not be overwritten."""
    if path.is_file():
        raise InputError(f"{path} is a file: give a folder.")
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise InputError(
            f"{path} is not empty: give a new or an empty folder, or overwrite its files (--overwrite in a command, "
            "overwrite=True in Python)."
        )


def visualize(
    model: PreTrainedModel | str | os.PathLike[str],
    text: str | None = None,
    target: str | None = None,
    *,
    image: Any = None,
    compare: str | None = None,
    reverse_model: PreTrainedModel | str | os.PathLike[str] | None = None,
    layer: int | None = None,
    tokenizer: Any = None,
    image_processor: Any = None,
    reverse_tokenizer: Any = None,
    device: str | torch.device | None = None,
) -> Visualization:
    """Run a model on a text or an image, and make pictures of its attention and its position encoding.

    Args:
        model: a model object of transformers, or the folder or Hub name of a model.
        text: the text that the model reads.
        target: the target text of an encoder–decoder; by default the text that the model generates.
        image: an image instead of a text, for a model that reads images: a path, a PIL image or an array.
        compare: a second text; the similarity of its words to the words of `text` is drawn.
        reverse_model: a translator from the target language to the source language; the word alignments of both
            directions are then symmetrised.
        layer: the decoder layer, counted from 1, whose cross-attention makes the word alignment; by default the mean
            over all layers.
        tokenizer, image_processor: the tokenizer and the image processor of the model, if `model` is a model object.
        reverse_tokenizer: the tokenizer of the reverse model, if `reverse_model` is a model object.
        device: the device of a model that is given by folder or Hub name; by default the accelerator if there is one.

    Raises:
        InputError: the model does not load or returns no attention weights, or an argument does not fit the model.
    """
    name = type(model).__name__ if isinstance(model, PreTrainedModel) else os.fspath(model)
    if not isinstance(model, PreTrainedModel):
        model, tokenizer, image_processor = load_model(model, device, reads_image=image is not None)
    image = open_image(image)
    recording = record(model, tokenizer, text, target, image=image, image_processor=image_processor)
    heatmaps = attention_heatmaps(recording)
    if compare is not None:
        if image is not None:
            raise InputError("compare is given, but the model reads an image and no text: leave compare out.")
        heatmaps.append(similarity_heatmaps(recording, record(model, tokenizer, compare, target)))
    length = max(len(recording.source.tokens), len(recording.decoder_tokens))
    heatmaps += position_heatmaps(model, length, recording.source.patches)

    alignment, caption = None, ""
    if recording.target is not None and recording.source.words and recording.target.words:
        reverse = None
        if reverse_model is not None:
            reverse = _recorded_in_reverse(reverse_model, reverse_tokenizer, recording, device)
        alignment = align_recording(recording, layer, reverse)
        caption = describe_alignment(layer, is_symmetrised=reverse is not None)
    else:
        for option, value in (("reverse_model", reverse_model), ("layer", layer)):
            if value is not None:
                raise InputError(
                    f"{option} is given, but only translations of texts have word alignments: leave {option} out."
                )

    generated = " ".join(recording.target.words) if recording.target is not None else None
    texts = {"text": text, "target": target or generated, "compared with": compare}
    shown = {label: value for label, value in texts.items() if value}
    norms = input_norms(model, recording)
    by_name = {entry.name: entry for entry in heatmaps}
    return Visualization(f"Attention of {name}", recording, by_name, norms, alignment, shown, caption)


def _recorded_in_reverse(model: Any, tokenizer: Any, recording: Recording, device: Any) -> Recording:
    """Record a translator of the reverse direction, which reads the target of `recording` and writes its source."""
    assert recording.target is not None
    if not isinstance(model, PreTrainedModel):
        model, tokenizer, _ = load_model(model, device)
    if tokenizer is None:
        raise InputError("reverse_model is given as an object without its tokenizer: give reverse_tokenizer.")
    return record(model, tokenizer, " ".join(recording.target.words), " ".join(recording.source.words))
