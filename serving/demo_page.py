# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The page of `locant demo`, made with Gradio: a form for each task, and the application that serves the page.

Each function `add_…` adds the form of one task to the page that is being built.
"""

import functools
import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from fastapi import FastAPI

from locant.training.errors import InputError

from .demo_functions import (
    Predict,
    caption,
    classify_image,
    classify_text,
    fill_masks,
    generate,
    translate,
)
from .served_models import ServedClassifier, ServedTranslator

MOST_BEAMS = 8
MOST_TOKENS = 256
_CANDIDATES = 10  # the number of tokens that are shown for each mask
_WAITING = 64  # the largest number of requests that wait for the model
_UPLOAD = "20mb"
_KEEP_UPLOADS = 3600  # seconds
_SYSTEM_FONT = ("system-ui", "sans-serif")
_CSS = """
textarea, label { unicode-bidi: plaintext; } /* Arabic and Hebrew begin at the right */
h1 { overflow-wrap: anywhere; }
"""


def build_page(name: str, add_form: Callable[[], None]) -> gr.Blocks:
    """Build the page of a model.

    Args:
        name: the name of the model, which the heading of the page shows.
        add_form: the function that adds the form of the model's task to the page.
    """
    title = f"Locant: {name}"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(_KEEP_UPLOADS, _KEEP_UPLOADS)) as page:
        gr.HTML(f"<h1>{html.escape(title)}</h1>")
        add_form()
    # with api_open=True, requests to Gradio's endpoint /run would skip the queue, and could run at the same time
    page.queue(max_size=_WAITING, default_concurrency_limit=1, api_open=False)
    return page


def create_app(page: gr.Blocks) -> FastAPI:
    """Create the application that serves `page` at `/`, without Gradio's parts that use the internet."""
    theme = gr.themes.Default(primary_hue="blue", font=_SYSTEM_FONT, font_mono=_SYSTEM_FONT)
    theme.set(button_primary_background_fill="*primary_600")  # white text is hard to read on the theme's lighter blue
    app = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=theme,
        css=_CSS,
        app_kwargs={"openapi_url": None},
        max_file_size=_UPLOAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
    )
    # a page that is mounted, not launched, would otherwise accept the path of any file of this machine as an upload
    page.has_launched = True
    return app


def add_translation(served: ServedTranslator, num_beams: int, examples: Sequence[str] = ()) -> None:
    """Add a form that shows the translations of a text with scores, and the attention of the best translation.

    Args:
        served: the translator.
        num_beams: the preset number of beams, and also the preset number of translations.
        examples: example texts that the user can choose.
    """
    text = _text_field("Text", examples)
    with gr.Row():
        most = max(MOST_BEAMS, num_beams)
        beams = gr.Slider(1, most, value=num_beams, step=1, precision=0, label="Beams")
        number = gr.Slider(1, most, value=num_beams, step=1, precision=0, label="Translations")
    button = gr.Button("Translate", variant="primary")
    best = gr.Textbox(label="Translation", interactive=False, buttons=["copy"], elem_id="translation")
    words = gr.Radio(label="Choose a word of the translation to see its attention", elem_id="target-words")
    weights = gr.HighlightedText(
        label="Attention of the chosen word to the text: mean over all layers and heads", elem_id="source-words"
    )
    table = gr.Dataframe(
        label="Translations with scores, best first",
        headers=["translation", "score"],
        interactive=False,
        wrap=True,
        column_widths=["70%", "30%"],
    )
    shown_alignment = gr.State()

    def show(given: str, num_beams: int, number: int) -> tuple[Any, ...]:
        found, alignment = translate(served, given, num_beams, number)
        rows = [[translation.text, f"{translation.score:.4f}"] for translation in found]
        if alignment is None:
            gr.Warning("The attention of this translation cannot be computed.")
        choices = [(word, index) for index, word in enumerate(alignment.target if alignment else [])]
        return found[0].text, gr.Radio(choices=choices, value=None), [], rows, alignment

    def show_attention(index: int, alignment: Any) -> list[tuple[str, float]]:
        if alignment is None:  # Gradio has deleted the state of this session
            return []
        pairs = zip(alignment.source, alignment.weights[index].tolist(), strict=True)
        return [(f"{word} {weight:.2f}", weight) for word, weight in pairs]

    gr.on(
        [button.click, text.submit],
        _with_page_errors(show),
        [text, beams, number],
        [best, words, weights, table, shown_alignment],
        api_name="translate",
    )
    words.input(show_attention, [words, shown_alignment], weights)


def add_text_classification(served: ServedClassifier, examples: Sequence[str] = ()) -> None:
    """Add a form that shows the probability of each label of a text, or the number that a regression model predicts."""
    text = _text_field("Text", examples)
    button = gr.Button("Classify", variant="primary")
    labels = gr.Label(label="Prediction")

    def show(given: str) -> dict[str, float] | str:
        found, is_cut = classify_text(served, given)
        if is_cut:
            gr.Warning("The text has more tokens than the model reads: only its beginning was read.")
        return found

    gr.on([button.click, text.submit], _with_page_errors(show), text, labels, api_name="classify")


def add_image_classification(predict: Predict, num_labels: int, examples: Sequence[str] = ()) -> None:
    """Add a form that shows the probabilities of the most probable labels of an image."""
    image = _image_field(examples)
    button = gr.Button("Classify", variant="primary")
    labels = gr.Label(label="Prediction", num_top_classes=10)
    function = functools.partial(classify_image, predict, num_labels)
    button.click(_with_page_errors(function), image, labels, api_name="classify_image")


def add_fill_mask(predict: Predict, mask: str, examples: Sequence[str] = ()) -> None:
    """Add a form that shows the most probable tokens for each mask of a text."""
    text = _text_field(f"Text with {mask} in place of the words that are to be predicted", examples)
    button = gr.Button("Predict", variant="primary")
    table = gr.Dataframe(
        label="The most probable tokens",
        headers=["mask", "token", "probability"],
        interactive=False,
        column_widths=["20%", "50%", "30%"],
    )

    def show(given: str) -> list[list[Any]]:
        found = fill_masks(predict, mask, given, _CANDIDATES)
        return [[number, token, f"{probability:.4f}"] for number, token, probability in found]

    gr.on([button.click, text.submit], _with_page_errors(show), text, table, api_name="fill_mask")


def add_text_generation(predict: Predict, max_new_tokens: int, examples: Sequence[str] = ()) -> None:
    """Add a form that continues a text, by default by at most `max_new_tokens` tokens."""
    text = _text_field("Beginning", examples)
    with gr.Row():
        most = max(MOST_TOKENS, max_new_tokens)
        length = gr.Slider(1, most, value=max_new_tokens, step=1, precision=0, label="Longest continuation, in tokens")
        do_sample = gr.Checkbox(label="Draw the tokens at random")
    button = gr.Button("Continue", variant="primary")
    continuation = gr.Textbox(
        label="Continuation", interactive=False, lines=4, buttons=["copy"], elem_id="continuation"
    )
    function = functools.partial(generate, predict)
    given = [text, length, do_sample]
    gr.on([button.click, text.submit], _with_page_errors(function), given, continuation, api_name="generate")


def add_captioning(predict: Predict, examples: Sequence[str] = ()) -> None:
    """Add a form that shows the caption of an image."""
    image = _image_field(examples)
    button = gr.Button("Describe", variant="primary")
    text = gr.Textbox(label="Caption", interactive=False, buttons=["copy"], elem_id="caption")
    button.click(_with_page_errors(functools.partial(caption, predict)), image, text, api_name="caption")


def _text_field(label: str, examples: Sequence[str]) -> gr.Textbox:
    text = gr.Textbox(label=label, lines=3, max_lines=12, autofocus=True)
    if examples:
        gr.Examples([[example] for example in examples], text)
    return text


def _image_field(examples: Sequence[str]) -> gr.Image:
    """Make a field for an image; a function with this field as an input gets the path of the unchanged file."""
    image = gr.Image(label="Image", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=280)
    if examples:
        gr.Examples([[example] for example in examples], image)
    return image


def _with_page_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `function`, so that the page shows the message of an `InputError` that `function` raises."""

    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except InputError as error:  # Gradio shows the message as HTML
            raise gr.Error(html.escape(str(error)), duration=None, print_exception=False) from error

    return call
