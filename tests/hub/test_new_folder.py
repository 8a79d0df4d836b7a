# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
import os

from locant.hub.new_folder import new_folder


def test_a_link_to_an_empty_folder_is_written_to(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder")
    with new_folder(link) as folder:
        (folder / "file").write_text("text")
    assert (tmp_path / "folder" / "file").read_text() == "text"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link"]


def test_the_current_folder_is_filled_and_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.stat(".").st_ino
    with new_folder(".") as folder:
        (folder / "file").write_text("text")
    assert os.listdir(".") == ["file"]  # a mount point, which cannot be removed, is filled in the same way
    assert os.stat(tmp_path).st_ino == before
