# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reads the data inside a page as its script does."""

import base64
import html.parser
import json
import zlib

import numpy as np


class _Scripts(html.parser.HTMLParser):
    """Collects the text of each script element, whose end it finds as a browser does."""

    def __init__(self):
        super().__init__()
        self.scripts = []
        self.is_inside = False

    def handle_starttag(self, tag, attrs):
        self.is_inside = tag == "script"
        if self.is_inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.is_inside = False

    def handle_data(self, data):
        if self.is_inside:
            self.scripts[-1] += data


def scripts(page):
    """The texts of the script elements: the data, and the program."""
    parser = _Scripts()
    parser.feed(page)
    return parser.scripts


def page_data(page):
    """The dictionary inside the page."""
    return json.loads(scripts(page)[0])


def part_named(page, name):
    return next(part for part in page_data(page)["parts"] if part.get("name") == name)


def values_of(part):
    """The values `(grid rows, grid columns, rows, columns)` of a part, and the largest error of their rounding."""
    shape = [len(part[axis]) for axis in ("gridRows", "gridColumns", "rows", "columns")]
    levels = np.frombuffer(zlib.decompress(base64.b64decode(part["levels"])), np.uint8).reshape(shape)
    low, span = (np.array(part[name]).reshape(*shape[:2], 1, 1) for name in ("low", "span"))
    return low + levels / 255 * span, span / 255 / 2
