# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Python of the teaching pages runs as it stands there, and prints the output that the page shows."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"
SNIPPET = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [*sorted((DOCS / "concepts").glob("*.md")), DOCS / "mistakes.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_snippet_of_a_page_prints_the_output_below_it(page):
    text, namespace = page.read_text(encoding="utf-8"), {}
    snippets = list(SNIPPET.finditer(text))
    assert len(snippets) == text.count("```python")
    with torch.random.fork_rng():
        for snippet in snippets:
            line, printed = text[: snippet.start()].count("\n") + 1, io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * line + snippet[1], page, "exec"), namespace)  # errors name the page's line
            assert printed.getvalue() == snippet[2], f"line {line}"


def test_the_pages_show_all_pictures_and_each_is_small():
    shown = [
        (page.parent / picture).resolve()
        for page in PAGES
        for picture in re.findall(r"!\[.+?\]\((.+?)\)", page.read_text(encoding="utf-8"))
    ]
    assert sorted(shown) == sorted((DOCS / "images" / "concepts").iterdir())
    assert all(picture.stat().st_size < 100_000 for picture in shown)


def test_the_index_leads_to_every_page_and_to_headings_that_exist():
    links = re.findall(r"\]\((\w+\.md)(?:#([\w-]+))?\)", (DOCS / "concepts" / "index.md").read_text(encoding="utf-8"))
    assert {name for name, _ in links} == {path.name for path in (DOCS / "concepts").glob("*.md")} - {"index.md"}
    for name, anchor in links:
        headings = re.findall(r"^#+ (.+)$", (DOCS / "concepts" / name).read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors


def test_files_that_the_pages_name_exist():
    pattern = re.compile(r"`((?:modeling|training|examples|benchmarks)/[\w/.]+)`")
    named = [name for page in PAGES for name in pattern.findall(page.read_text(encoding="utf-8"))]
    assert named
    assert [name for name in named if not (DOCS.parent / name).exists()] == []
