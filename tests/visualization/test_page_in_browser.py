# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The page in a real browser: it draws, it fits, it shows the weight of a cell, and it runs nothing from a token."""

import re
from itertools import pairwise

import pytest

from locant.visualization.visualization import visualize

from ..browser import chromium
from .models import SENTENCES, build
from .page_data import part_named, values_of

HOSTILE = "</script><script>document.title='broken'</script> <img/src/onerror=document.title='broken'> שלום 😀"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def opened(browser, path, width, theme):
    """A page without errors in its script, and without requests except for itself."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
    errors, requests = [], []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 420])
def test_a_translator(browser, tokenizer, tmp_path, width, theme):
    source = f"{SENTENCES[0]} {HOSTILE}"
    path = tmp_path / "page.html"
    path.write_text(visualize(build("locant translator"), source, SENTENCES[1], tokenizer=tokenizer).html(), "utf-8")
    page = opened(browser, path, width, theme)
    assert page.title() == "Attention of LocantForConditionalGeneration"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert HOSTILE in page.inner_text("main")

    section = page.locator("#cross_attention")
    assert section.locator("button").count() == 3 * 4
    section.locator("button").nth(6).click()
    assert section.locator("button[aria-pressed=true]").get_attribute("title") == "layer 2 head 3"
    section.locator(".scroll > canvas").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    values, _ = values_of(part_named(path.read_text("utf-8"), "cross_attention"))
    said = section.locator(".readout").inner_text()
    # the first key moves the cursor into the first row and column
    assert re.search(r"layer 2 head 3\..* (\d\.\d+)$", said)[1] == f"{values[1, 2, 1, 1]:.3f}"


def test_the_pictures_have_the_colours_of_the_weights(browser, tokenizer, tmp_path):
    """Where a weight is larger, the pixel of a light page is darker."""
    path = tmp_path / "page.html"
    path.write_text(visualize(build("gpt2"), SENTENCES[0], tokenizer=tokenizer).html(), "utf-8")
    page = opened(browser, path, 1000, "light")
    values, _ = values_of(part_named(path.read_text("utf-8"), "self_attention"))
    first = values[0, 0]
    darkness = page.evaluate(
        """async () => {
          const part = data.parts.find(part => part.name === "self_attention");
          const values = new Values(part, await decompress(part.levels));
          const pixels = values.pixels(0, values.highest);
          const { data: bytes } = pixels.getContext("2d").getImageData(0, 0, pixels.width, pixels.height);
          return Array.from({ length: bytes.length / 4 }, (_, i) => 765 - bytes[4*i] - bytes[4*i+1] - bytes[4*i+2]);
        }"""
    )
    order = first.ravel().argsort()
    assert all(darkness[one] <= darkness[other] for one, other in pairwise(order))
    assert max(darkness) > 100


def test_a_click_on_a_patch_shows_the_attention_from_this_patch(browser, image, image_processor, tmp_path):
    path = tmp_path / "page.html"
    model = build("locant image encoder")
    path.write_text(visualize(model, image=image, image_processor=image_processor).html(), "utf-8")
    page = opened(browser, path, 420, "dark")
    section = page.locator("#self_attention")
    canvas = section.locator(".scroll > canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.85})
    values, _ = values_of(part_named(path.read_text("utf-8"), "self_attention"))
    assert section.locator("select").input_value() == "8"  # the class token, then 3 rows of 3 patches
    assert section.locator(".readout").inner_text().endswith(f" {values[0, 0, 8, 8]:.3f}")
