# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The page: its size, the precision of its data, and texts that try to change it."""

import html
import io
import re
import sys

import numpy as np
import pytest
import torch

import locant
from locant.training.errors import InputError
from locant.visualization.alignment import Alignment
from locant.visualization.heatmaps import Heatmaps, numbered
from locant.visualization.page import heatmaps_part, page_html, text_part
from locant.visualization.pictures import draw_alignment
from locant.visualization.visualization import visualize

from .models import SENTENCES, build
from .page_data import page_data, scripts, values_of

HOSTILE = [
    *(
        "</script><script>alert(1)</script>",
        "<!--<script>",
        '"quoted"',
        "back\\slash",
        "שלום",
        "😀👩‍👩‍👧",
        "<!--DATA-->",
    ),
    *("&lt;", "${x}", "`", "$\\frac{", "'", "\u2028"),
]


def heatmaps(values, **options):
    shape = values.shape
    labels = [numbered(name, size) for name, size in zip(("row", "column"), shape[2:], strict=True)]
    grid = [numbered(name, size) for name, size in zip(("layer", "head"), shape[:2], strict=True)]
    return Heatmaps("name", "title", "caption", values, *labels, *grid, **options)


def test_hostile_tokens_stay_text():
    values = np.full((1, 1, len(HOSTILE), len(HOSTILE)), 0.5, np.float32)
    given = Heatmaps("name", "title", "caption", values, HOSTILE, HOSTILE, [""], [""], are_weights=True)
    plain = page_html("title", [text_part("text", "plain"), heatmaps_part(heatmaps(values, are_weights=True))])
    for title in HOSTILE:
        page = page_html(title, [text_part("text", title), heatmaps_part(given)])
        data = page_data(page)
        assert data["title"] == data["parts"][0]["text"] == title
        assert data["parts"][1]["rows"] == data["parts"][1]["columns"] == HOSTILE
        assert len(scripts(page)) == 2
        assert scripts(page)[1] == scripts(plain)[1]
        assert f"<title>{html.escape(title)}</title>" in page


def test_the_page_loads_nothing():
    page = page_html("title", [])
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|src=|href=\"|@import|url\(", page)


@pytest.mark.parametrize("are_weights", [True, False])
def test_values_have_the_precision_of_8_bits_of_the_range_of_their_matrix(are_weights):
    values = torch.rand(3, 2, 5, 7).numpy() * np.array([0.3, 1, 1]).reshape(3, 1, 1, 1)
    values = values.astype(np.float32) if are_weights else (8 * values - 5).astype(np.float32)
    part = heatmaps_part(heatmaps(values, are_weights=are_weights))
    found, error = values_of(part)
    assert (np.abs(found - values) <= error + 1e-6).all()
    ranges = values.max((2, 3)) - (0 if are_weights else values.min((2, 3)))
    assert (error[..., 0, 0] <= ranges / 255 / 2 + 1e-8).all()


def test_constant_values_are_kept():
    for constant in (0.0, -3.0, 7.5):
        found, _ = values_of(heatmaps_part(heatmaps(np.full((1, 1, 2, 3), constant, np.float32))))
        assert (found == constant).all()


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="shape"):
        Heatmaps("name", "title", "caption", np.zeros((1, 1, 2, 3)), ["a"], ["b"], [""], [""])


@pytest.mark.parametrize(
    "gain", [pytest.param(1, id="even attention", marks=pytest.mark.slow), pytest.param(6, id="sharp attention")]
)
def test_6_and_6_layers_at_200_tokens_stay_below_5_megabytes(gain, tokenizer):
    config = locant.LocantConfig.from_preset("base", vocab_size=len(tokenizer), d_model=64, encoder_ffn_dim=64)
    assert (config.encoder_layers, config.decoder_layers, config.decoder_attention_heads) == (6, 6, 8)
    model = locant.LocantForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if "q_proj.weight" in name:
            parameter.data *= gain
    rng = np.random.default_rng(0)
    # each of these words is a token, and the end of the sentence is another one
    source, target = (" ".join(rng.choice(["the", "The", "du", "le", "Le"], 199)) for _ in range(2))
    found = visualize(model, source, target, tokenizer=tokenizer)
    assert found.recording.attention["cross_attention"].shape == (6, 8, 200, 200)
    assert 100_000 < len(found.html().encode()) < 5_000_000


class TestSaving:
    @pytest.fixture
    def found(self, tokenizer):
        return visualize(build("locant translator"), *SENTENCES, compare="the cat", tokenizer=tokenizer)

    @pytest.mark.slow
    def test_writes_a_page_and_a_png_of_each_picture(self, found, tmp_path):
        pytest.importorskip("matplotlib")
        page = found.save(tmp_path / "new" / "folder")
        assert page.read_text(encoding="utf-8") == found.html()
        names = {path.stem for path in page.parent.glob("*.png")}
        assert names == {*found.heatmaps, "alignment", "encoder_input_norms", "decoder_input_norms"}
        assert {"encoder_attention", "cross_attention", "decoder_attention", "similarity", "position_1"} <= names

    def test_hostile_tokens_are_drawn_as_text(self):
        figure = pytest.importorskip("matplotlib.figure").Figure()
        draw_alignment(figure, Alignment(HOSTILE, HOSTILE, np.eye(len(HOSTILE)), frozenset({(0, 0)})))
        figure.savefig(io.BytesIO(), format="svg")  # a label that is read as a formula would raise an error

    def test_files_are_kept_unless_they_are_to_be_overwritten(self, found, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # no PNG files, which take time
        (tmp_path / "index.html").write_text("precious")
        with pytest.raises(InputError, match="not empty"):
            found.save(tmp_path)
        assert (tmp_path / "index.html").read_text() == "precious"
        assert found.save(tmp_path, overwrite=True).read_text(encoding="utf-8") == found.html()
        with pytest.raises(InputError, match="is a file"):
            found.save(tmp_path / "index.html", overwrite=True)

    def test_a_notebook_shows_the_page_in_a_frame(self, found):
        frame = found._repr_html_()
        assert frame.startswith("<iframe sandbox=")
        assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == found.html()
