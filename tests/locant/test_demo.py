# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What `locant demo` refuses before it listens; tests/serving/ has the page."""

import socket
import sys

import pytest

import locant
from locant.cli import main


def test_a_model_for_a_task_without_a_page_is_refused(tmp_path, capsys):
    pytest.importorskip("gradio", reason="Gradio is missing: pip install 'locant[demo]'")
    tokenizer = locant.train_tokenizer(iter(["the cat"] * 3), vocab_size=300, show_progress=False)
    config = locant.LocantConfig(vocab_size=len(tokenizer), d_model=16, encoder_layers=1, num_attention_heads=2)
    locant.LocantForTokenClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert main(["demo", str(tmp_path), "--port", "0", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"locant demo: error: {tmp_path} is for token-classification, for which there is no page: use locant predict."
    )


def test_a_port_in_use_is_refused_before_the_model_is_loaded(capsys):
    pytest.importorskip("gradio", reason="Gradio is missing: pip install 'locant[demo]'")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "./nowhere", "--port", str(port)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"locant demo: error: Port {port} of 127.0.0.1 cannot be used (Address already in use)")


def test_without_gradio_the_message_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "locant.serving.demo_page", raising=False)
    assert main(["demo", "x"]) == 2
    assert "pip install 'locant[demo]'" in capsys.readouterr().err
