# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
from locant.hub.new_folder import new_folder


def test_a_link_to_an_empty_folder_is_written_to(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder")
    with new_folder(link) as folder:
        (folder / "file").write_text("text")
    assert (tmp_path / "folder" / "file").read_text() == "text"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link"]
