# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant visualize`, on the folder of a run."""

import sys

import pytest

import locant
from locant.cli import main
from locant.training.errors import InputError
from locant.visualization.loading import open_image

from .models import build
from .page_data import page_data, part_named


@pytest.fixture(autouse=True)
def no_png_files(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # they take time


def test_the_page_has_what_the_options_ask_for(trained_run, toy, tmp_path, capsys):
    source, target = toy.pairs["test"][0]
    folder = tmp_path / "out"
    options = ["--compare", "the dog", "--reverse_model", str(trained_run), "--layer", "1", "--output_dir", str(folder)]
    assert main(["visualize", str(trained_run), source, target, *options]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "index.html")
    page = (folder / "index.html").read_text("utf-8")
    texts = {part["title"]: part["text"] for part in page_data(page)["parts"] if part["type"] == "text"}
    assert texts == {"text": source, "target": target, "compared with": "the dog"}
    alignment = part_named(page, "alignment")
    assert alignment["columns"] == source.split()
    assert alignment["rows"] == target.split()
    assert "symmetrised" in alignment["caption"]
    assert "heads of layer 1" in alignment["caption"]
    assert part_named(page, "similarity")["columns"] == ["the", "dog"]


def test_a_folder_with_files_is_refused_before_the_model_is_loaded(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("precious")
    assert main(["visualize", "no/such/model", "the cat", "--output_dir", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["visualize", "no/such/model", "the cat", "--output_dir", str(tmp_path), "--overwrite"]) == 2
    assert "no folder no/such/model" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("given", [[], ["the cat", "--image", "cat.png"]])
def test_either_a_text_or_an_image_is_read(given, capsys):
    assert main(["visualize", "model", *given]) == 2
    assert "either TEXT or --image" in capsys.readouterr().err


def test_an_image_for_a_model_that_reads_text_is_refused(trained_run):
    with pytest.raises(InputError, match="reads a text, but was given an image"):
        locant.visualize(trained_run, image="cat.png")


def test_a_file_that_is_no_image_is_refused(tmp_path, image_model):
    path = tmp_path / "cat.png"
    path.write_text("no image")
    with pytest.raises(InputError, match="cannot be read as an image"):
        locant.visualize(image_model, image=path)
    with pytest.raises(InputError, match="reads an image, but was given a text"):
        locant.visualize(image_model, "the cat")


def test_an_image_is_turned_as_its_orientation_says(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "photo.jpg", exif=exif)
    assert open_image(tmp_path / "photo.jpg").size == (20, 40)


def test_a_captioner_without_a_tokenizer_is_one_sentence(image, tmp_path):
    build("locant captioner").save_pretrained(tmp_path)
    locant.LocantImageProcessor(size=12).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has no tokenizer that loads"):
        locant.visualize(tmp_path, image=image)


def test_an_image_model_is_loaded_from_its_folder(image_model, image, tmp_path):
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "image.png")
    found = locant.visualize(image_model, image=tmp_path / "image.png")
    assert found.heatmaps["self_attention"].patches == (3, 3)
    assert [norms.name for norms in found.norms] == ["input"]
    assert len(found.norms[0].embeddings) == 9
