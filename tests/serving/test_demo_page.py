# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The page of `locant demo` in a headless browser."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

pytest.importorskip("gradio", reason="Gradio is missing: pip install 'locant[demo]'")
pytest.importorskip("playwright.sync_api", reason="Playwright is missing: pip install 'locant[browser]'")

import uvicorn
from playwright import sync_api

from locant.commands.demo import _parser, load_form
from locant.serving import demo_functions, demo_page
from locant.serving.http_server import bind
from locant.training.inference import Translation
from locant.visualization.alignment import Alignment

from ..browser import chromium

pytestmark = pytest.mark.end_to_end

SECONDS = 60  # a page may take long, because other processes use the cores too
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked=1'>",
    "\"quoted\" & 'single'",
    "**bold** [a](https://example.com) `$x$`",
    "😀👩‍👩‍👧",
    "القطة ترى الكلب",
]


@contextmanager
def serving(add_form):
    """Serve a page with a form in a thread; the value is its address."""
    listener = bind("127.0.0.1", 0)
    app = demo_page.create_app(demo_page.build_page("<b>name</b>", add_form))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(SECONDS)


def form_of(folder, *options):
    return load_form(_parser().parse_args([folder, "--device", "cpu", *options]))


@pytest.fixture(scope="module")
def browser():
    sync_api.expect.set_options(timeout=SECONDS * 1000)
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser):
    """Open a page; after the test, each of its requests must have gone to this machine, and no script failed."""
    contexts, hosts, errors = [], set(), []

    def open_page(address, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert "127.0.0.1" in hosts
    assert hosts <= {"127.0.0.1", None}, hosts  # None: an image that is in the URL itself
    assert not errors


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """Check that the test looks up no other host than this machine, which any connection to one would begin with."""
    looked_up = set()
    original = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        looked_up.add(host)
        return original(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    assert looked_up <= {"127.0.0.1", "localhost", None}


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def expect_cells(page, expected):
    cells = page.get_by_role("gridcell")
    sync_api.expect(cells).to_have_count(len(expected))
    page.get_by_text(expected[-1], exact=True).last.wait_for()
    assert [text.strip() for text in cells.all_inner_texts()] == expected


def test_translation(word_translator, texts, tmp_path, visit):
    """A text, its translations with scores, and the attention of each word of the best translation."""
    (tmp_path / "examples.txt").write_text("the king\n\nthe fox\n")
    form = form_of(word_translator, "--examples", str(tmp_path / "examples.txt"))
    found, alignment = demo_functions.translate(form.args[0], texts[1], 2, 2)
    assert len(alignment.target) > 1
    with serving(form) as address:
        page = visit(address)
        field = page.get_by_label("Text", exact=True)
        field.fill(texts[1])
        press(page, "Translate")
        sync_api.expect(page.locator("#translation textarea")).to_have_value(found[0].text)
        expect_cells(page, [value for one in found for value in (one.text.strip(), f"{one.score:.4f}")])
        words = page.locator("#target-words label")
        assert words.all_inner_texts() == alignment.target
        for index in (1, 0):
            words.nth(index).click()
            pairs = zip(texts[1].split(), alignment.weights[index], strict=True)
            expected = [f"{word} {weight:.2f}" for word, weight in pairs]
            sync_api.expect(page.locator("#source-words .token")).to_have_text(expected)
        assert not np.allclose(*alignment.weights[:2], atol=0.005)

        page.get_by_text("the fox", exact=True).click()
        sync_api.expect(field).to_have_value("the fox")
        assert "<b>name</b>" in page.inner_text("h1")


def test_classification(classifier, texts, visit):
    form = form_of(classifier)
    expected, _ = demo_functions.classify_text(form.args[0], texts[0])
    with serving(form) as address:
        page = visit(address)
        page.get_by_label("Text", exact=True).fill(texts[0])
        press(page, "Classify")
        rows = [re.compile(rf"^\s*{label}\s*{score * 100:.0f}%\s*$") for label, score in expected.items()]
        sync_api.expect(page.get_by_test_id("label-output-value")).to_have_text(next(iter(expected)))
        sync_api.expect(page.locator("[data-testid$='-confidence-set']")).to_have_text(rows)

        page.get_by_label("Text", exact=True).fill("the red cat sees a young dog " * 20)
        press(page, "Classify")
        sync_api.expect(page.get_by_test_id("toast-body")).to_contain_text("only its beginning was read")


def test_fill_mask(masked_language_model, visit):
    form = form_of(masked_language_model)
    text = "the <mask> cat"
    expected = demo_functions.fill_masks(form.args[0], "<mask>", text, 10)
    with serving(form) as address:
        page = visit(address)
        page.get_by_label("Text with <mask>").fill("the cat")
        press(page, "Predict")
        sync_api.expect(page.get_by_test_id("toast-body")).to_contain_text(
            "The text has no <mask>: write it in place of the word that is to be predicted."
        )
        page.get_by_label("Text with <mask>").fill(text)
        press(page, "Predict")
        cells = page.get_by_role("gridcell")
        sync_api.expect(cells).to_have_count(30)
        page.get_by_text(f"{expected[-1][2]:.4f}").last.wait_for()
        for number, (mask, token, probability) in enumerate(expected):
            shown = cells.all_inner_texts()[3 * number : 3 * number + 3]
            assert (shown[0], shown[2]) == (str(mask), f"{probability:.4f}")
            assert shown[1].strip() == token.strip() or not token.isprintable()


def test_image_classification(image_classifier, image, visit):
    form = form_of(image_classifier, "--examples", image)
    expected = demo_functions.classify_image(form.args[0], 3, image)
    with serving(form) as address:
        page = visit(address)
        press(page, "Classify")
        sync_api.expect(page.get_by_test_id("toast-body")).to_contain_text("There is no image: choose an image file.")
        page.locator("input[type=file]").set_input_files(image)
        page.get_by_alt_text("").first.wait_for()
        press(page, "Classify")
        sync_api.expect(page.get_by_test_id("label-output-value")).to_have_text(next(iter(expected)))


@pytest.mark.slow
def test_generation(language_model, visit):
    form = form_of(language_model)
    expected = demo_functions.generate(form.args[0], "the red cat", 12, False)
    with serving(form) as address:
        page = visit(address)
        page.get_by_label("Beginning").fill("the red cat")
        press(page, "Continue")
        sync_api.expect(page.locator("#continuation textarea")).to_have_value(expected)


@pytest.mark.slow
def test_captioning(captioner, image, visit):
    form = form_of(captioner)
    with serving(form) as address:
        page = visit(address)
        page.locator("input[type=file]").set_input_files(image)
        page.get_by_alt_text("").first.wait_for()
        press(page, "Describe")
        expected = demo_functions.caption(form.args[0], image)
        sync_api.expect(page.locator("#caption textarea")).to_have_value(expected)


def test_hostile_texts_stay_text(visit, monkeypatch):
    """Each text is shown as it is: as a translation, in the table, as a word to choose and as a source word."""

    def echo(served, text, num_beams, number):
        text = demo_functions.check_text(text)
        return [Translation(text, -1.0)], Alignment([text], [text], np.array([[0.5]]), frozenset())

    monkeypatch.setattr(demo_page, "translate", echo)
    with serving(lambda: demo_page.add_translation(None, 1)) as address:
        page = visit(address)
        for text in HOSTILE:
            page.get_by_label("Text", exact=True).fill(text)
            press(page, "Translate")
            sync_api.expect(page.locator("#translation textarea")).to_have_value(text)
            expect_cells(page, [text, "-1.0000"])
            sync_api.expect(page.locator("#target-words label")).to_have_text([text])
            page.locator("#target-words label").click()
            sync_api.expect(page.locator("#source-words .token")).to_have_text([f"{text} 0.50"])
            assert page.evaluate("window.hacked") is None

        for text, message in [
            ("x" * 10_000, "The text has 10,000 characters, but this page takes at most 2,000: shorten the text."),
            ("", "The text is empty: type a text."),
        ]:
            page.get_by_label("Text", exact=True).fill(text)
            press(page, "Translate")
            sync_api.expect(page.get_by_test_id("toast-body").last).to_contain_text(message)


def test_a_file_that_was_not_uploaded_is_not_read(image_classifier, image):
    with serving(form_of(image_classifier)) as address:
        data = {"path": image, "meta": {"_type": "gradio.FileData"}}
        api = httpx.get(f"{address}/gradio_api/info", timeout=SECONDS).json()["named_endpoints"]
        [name] = api
        assert name == "/classify_image"
        event = httpx.post(f"{address}/gradio_api/call{name}", json={"data": [data]}, timeout=SECONDS).json()[
            "event_id"
        ]
        answer = httpx.get(f"{address}/gradio_api/call{name}/{event}", timeout=SECONDS).text
    assert "event: error" in answer
    assert "event: complete" not in answer


def test_no_function_runs_outside_of_the_queue():
    with serving(lambda: demo_page.add_translation(None, 1)) as address:
        name, _ = httpx.get(f"{address}/gradio_api/info", timeout=SECONDS).json()["named_endpoints"]
        answer = httpx.post(f"{address}/gradio_api/run{name}", json={"data": ["", 1, 1]}, timeout=SECONDS)
    assert answer.status_code == 404
    assert "join the queue" in answer.text


@pytest.mark.slow
def test_the_command_serves_the_page_until_sigterm(image_classifier, tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-m", "locant", "demo", image_classifier, "--device", "cpu", "--port", "0"]
    with open(log, "w") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            while not (ready := re.search(r"Ready at (\S+)\n", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            assert "gradio" in httpx.get(ready[1], timeout=SECONDS).text
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
    assert "Traceback" not in log.read_text()
