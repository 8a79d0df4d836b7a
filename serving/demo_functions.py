# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Check the inputs of the page of `locant demo`, and call the model as `locant translate` and `locant predict` do."""

from collections.abc import Callable
from typing import Any

from locant.training.errors import InputError
from locant.training.inference import Translation, one_line
from locant.visualization.aligning import Translator, align
from locant.visualization.alignment import Alignment

from .served_models import ServedClassifier, ServedTranslator

LONGEST_TEXT = 2000  # characters
Predict = Callable[..., Any]
"""`predict(given, **options)` returns the output of a pipeline for one text, or for the image at one path.

`options` are the options `top_k`, `do_sample` and `max_new_tokens` of `locant predict`.
"""


def check_text(text: str) -> str:
    """Return the text with `?` in place of unpaired surrogates, which browsers may send and tokenizers refuse.

    Raises:
        InputError: the text is blank, or has more than `LONGEST_TEXT` characters.
    """
    if not text.strip():
        raise InputError("The text is empty: type a text.")
    if len(text) > LONGEST_TEXT:
        raise InputError(
            f"The text has {len(text):,} characters, but this page takes at most {LONGEST_TEXT:,}: shorten the text."
        )
    return text.encode("utf-8", "replace").decode("utf-8")


def check_image(path: str | None) -> str:
    """Return the path of the chosen image.

    Raises:
        InputError: `path` is None, because no image was chosen.
    """
    if path is None:
        raise InputError("There is no image: choose an image file.")
    return path


def translate(
    served: ServedTranslator, text: str, num_beams: int, num_return_sequences: int
) -> tuple[list[Translation], Alignment | None]:
    """Translate a text as `locant translate` does, and align the words of the best translation with those of the text.

    Args:
        served: the translator.
        text: the text, in which line breaks are read as spaces.
        num_beams: the number of beams; 1 is greedy search.
        num_return_sequences: the number of translations, at most `num_beams`.

    Returns:
        The pair (translations, alignment). The best translation is the first. The `weights` of the alignment are the
        cross-attention of each word of the best translation to each word of the source prefix and of the text: the mean
        over all layers and heads. The alignment is None if the cross-attention cannot be computed.

    Raises:
        InputError: the text is blank or too long, or more translations than beams are asked for.
    """
    text = one_line(check_text(text))
    options = {"scores": True, "num_beams": num_beams, "num_return_sequences": num_return_sequences}
    [found] = served.compute([text], options)
    if isinstance(found, InputError):
        raise found
    translator = Translator(served.model, served.tokenizer)
    best = found.translations[0].text
    try:
        [alignment] = align(translator, [served.source_prefix + text], [best], show_progress=False)
    except InputError:
        return found.translations, None
    return found.translations, alignment


def classify_text(served: ServedClassifier, text: str) -> tuple[dict[str, float] | str, bool]:
    """Classify a text as `locant predict` does.

    Returns:
        The pair (prediction, is cut). The prediction is the probability of each label, highest first, or, of a
        regression model, the predicted number with four decimals. `is cut` is True if the text has more tokens than the
        model reads, so that only the beginning of the text was read.

    Raises:
        InputError: the text is blank or too long for this page.
    """
    text = one_line(check_text(text))
    [found] = served.compute([text], {})
    if served.model.config.problem_type == "regression":
        return f"{found.scores[0][1]:.4f}", found.is_cut
    return dict(found.scores), found.is_cut


def classify_image(predict: Predict, num_labels: int, path: str | None) -> dict[str, float]:
    """Return the probability of each label of an image, highest first.

    Raises:
        InputError: no image was chosen.
    """
    return {label["label"]: label["score"] for label in predict(check_image(path), top_k=num_labels)}


def fill_masks(predict: Predict, mask: str, text: str, top_k: int) -> list[tuple[int, str, float]]:
    """Find the most probable tokens for each mask of a text.

    Args:
        predict: the function that calls the masked language model.
        mask: the mask token.
        text: the text, in which line breaks are read as spaces.
        top_k: the number of tokens for each mask.

    Returns:
        A list of tuples, `top_k` for each mask: the number of the mask (counted from 1), a token and its probability.
        The masks are in the order of the text, and the tokens of a mask in descending order of probability.

    Raises:
        InputError: the text is blank or too long, or has no mask.
    """
    text = one_line(check_text(text))
    if mask not in text:
        raise InputError(f"The text has no {mask}: write it in place of the word that is to be predicted.")
    found = predict(text, top_k=top_k)
    of_masks = [found] if text.count(mask) == 1 else found
    return [
        (number, token["token_str"], token["score"])
        for number, tokens in enumerate(of_masks, start=1)
        for token in tokens
    ]


def generate(predict: Predict, text: str, max_new_tokens: int, do_sample: bool) -> str:
    """Continue a text by at most `max_new_tokens` tokens; with `do_sample`, the tokens are drawn at random.

    Raises:
        InputError: the text is blank or too long.
    """
    [found] = predict(check_text(text), max_new_tokens=max_new_tokens, do_sample=do_sample)
    return found["generated_text"]


def caption(predict: Predict, path: str | None) -> str:
    """Return the caption of an image.

    Raises:
        InputError: no image was chosen.
    """
    return predict(check_image(path))["generated_text"]
