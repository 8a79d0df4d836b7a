# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The site that `make docs` builds: its links, its reference, and that a browser requests nothing from the network."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import locant
from locant import modeling, tokenization
from locant.modeling import positions

from ..browser import chromium

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
LOADED = {"src", "srcset", "poster", "data"}  # attributes whose address a browser requests by itself


class Page(HTMLParser):
    """The ids of a page, the addresses that it links to, and those that a browser loads with the page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded = set(), set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        self.ids |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        self.loaded |= {attributes[name] for name in LOADED & attributes.keys()}
        if "href" in attributes:
            (self.loaded if tag == "link" else self.links).add(attributes["href"])
        self.loaded |= addresses_of_css(attributes.get("style", ""))


def addresses_of_css(text):
    """The addresses in `url()` and `@import`, without data that are part of the address."""
    found = re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", text)
    return {address for pair in found for address in pair if address and not address.startswith("data:")}


@pytest.fixture(scope="session")
def pages():
    """The pages of a new build, by path."""
    if not (ROOT / "docs" / "assets" / "katex").exists() and shutil.which("npm") is None:
        pytest.skip("npm, which fetches KaTeX, is not installed")
    built = subprocess.run(
        ["make", "docs", f"VENV={sys.prefix}"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert built.returncode == 0, built.stdout
    assert not re.search("warning|griffe:", built.stdout, re.IGNORECASE), built.stdout
    return {path: Page(path) for path in SITE.rglob("*.html")}


@pytest.mark.slow
def test_every_link_leads_to_a_page_and_a_heading_of_the_site(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            address, fragment = urldefrag(link)
            if urlsplit(address).scheme or path.name == "404.html":
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            known = pages[target].ids if target in pages else set() if target.is_file() else None
            if known is None or (fragment and known and unquote(fragment) not in known):
                broken.append((str(path.relative_to(SITE)), link))
    assert broken == []


@pytest.mark.slow
@pytest.mark.parametrize("package", [locant, modeling, positions, tokenization], ids=lambda package: package.__name__)
def test_every_public_name_has_a_heading_in_the_reference(pages, package):
    headings = set().union(*(page.ids for path, page in pages.items() if path.parent.name == "reference"))
    assert set(package.__all__) - {heading.rpartition(".")[2] for heading in headings} == set()


@pytest.mark.slow
def test_no_page_and_no_style_sheet_loads_anything_from_another_host(pages):
    loaded = {(path, address) for path, page in pages.items() for address in page.loaded}
    for path in SITE.rglob("*.css"):
        loaded |= {(path, address) for address in addresses_of_css(path.read_text(encoding="utf-8"))}
    assert len(loaded) > 100
    for path, address in loaded:
        assert not urlsplit(address).netloc, f"{path.relative_to(SITE)} loads {address}"
        if path.name != "404.html":  # a server shows it at any address, so that its addresses begin at the root
            assert (path.parent / unquote(urlsplit(address).path)).is_file(), f"{path.relative_to(SITE)}: {address}"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 420])
def test_a_browser_shows_every_page_without_a_request_and_within_the_width_of_the_screen(pages, scheme, width):
    with chromium() as browser:
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
        requests, errors = set(), []
        page.on("request", lambda request: requests.add(request.url))
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        for path in pages:
            page.goto(path.as_uri())
            # the body of a page is never wider than the screen: wide tables and formulas scroll by themselves
            assert page.evaluate("document.scrollingElement.scrollWidth") <= width, path
            assert page.locator(".katex-error").count() == 0, path
    assert errors == []
    assert {url for url in requests if not url.startswith(("file:", "data:", "blob:"))} == set()
