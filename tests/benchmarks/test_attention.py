# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`make bench-attention`: measurements give values that are known beforehand, and the command writes its tables."""

import importlib
import json
import os

import pytest
import torch


@pytest.fixture
def measuring():
    return importlib.import_module("measuring")


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel's mark is Linux's")
class TestPeakMemory:
    @pytest.mark.parametrize("megabytes", [64, 256])
    def test_is_the_size_of_what_lives_at_once(self, measuring, megabytes):
        def allocate():
            for _ in range(3):  # one after the other: only one lives at a time
                torch.ones(megabytes * 250_000)

        # the interpreter itself takes a few megabytes the first time
        assert measuring.peak_memory(allocate) == pytest.approx(megabytes * 1e6, abs=1e7)

    def test_is_not_that_of_an_earlier_function(self, measuring):
        measuring.peak_memory(lambda: torch.ones(64_000_000))
        assert measuring.peak_memory(lambda: torch.ones(16_000_000)) == pytest.approx(64e6, abs=1e7)


class TestInterleavedTimes:
    @pytest.mark.slow
    def test_everyone_runs_once_a_round_and_begins_in_turn(self, measuring):
        order = []
        measuring.interleaved_times([lambda name=name: order.append(name) for name in "abc"], rounds=3)
        assert "".join(order) == "abcbcacab"

    @pytest.mark.slow
    def test_a_budget_buys_more_rounds_up_to_three_times_as_many(self, measuring):
        assert [len(times) for times in measuring.interleaved_times([int], rounds=2, budget=60)] == [6]
        assert [len(times) for times in measuring.interleaved_times([int], rounds=2)] == [2]

    def test_times_are_those_of_each_function(self, measuring):
        now = [0.0]

        def take(seconds):
            now[0] += seconds

        functions = [lambda: take(2.0), lambda: take(0.5)]
        slow, fast = measuring.interleaved_times(functions, rounds=2, clock=lambda: now[0])
        assert (slow, fast) == ([2.0, 2.0], [0.5, 0.5])


@pytest.mark.slow
def test_a_fresh_process_has_nothing_of_this_one(measuring):
    assert measuring.in_fresh_process(divmod, 7, 2) == (3, 1)
    assert measuring.in_fresh_process(eval, "__import__('os').getpid()") != os.getpid()
    assert measuring.in_fresh_process(eval, "'pytest' in __import__('sys').modules") is False


@pytest.fixture
def run(monkeypatch):
    """The command in this process, which spares its imports."""
    for name in ("attention_memory", "attention_speed", "attention_long"):
        monkeypatch.setattr(importlib.import_module(name), "in_fresh_process", lambda function, *args: function(*args))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    return importlib.import_module("attention").main


QUICK = ["--quick", "--device", "cpu", "--rounds", "1"]


@pytest.mark.slow
def test_the_command_writes_results_and_page(run, tmp_path, capsys):
    backends = ["--backends", "eager", "blockwise", "flex_attention"]
    limits = ["--encodings", "transformer_xl", "--lengths", "16", "32"]
    run([*QUICK, *limits, *backends, "--output_dir", str(tmp_path)])
    page = (tmp_path / "benchmarks.md").read_text()
    memory = json.loads((tmp_path / "attention_memory_cpu.json").read_text())
    speed = json.loads((tmp_path / "attention_speed_cpu.json").read_text())
    assert [(row["backend"], list(row["peaks"])) for row in memory["rows"]] == [
        ("blockwise", ["16", "32"]),
        ("sdpa", ["16", "32"]),
    ]
    assert [(row["length"], row["direction"]) for row in speed["rows"]] == [
        (16, "forward"),
        (16, "training"),
        (32, "forward"),
        (32, "training"),
    ]
    for row in speed["rows"]:
        assert set(row["locant"]) == {"eager", "blockwise"}
        assert all(0 < time < 1e6 for times in (*row["locant"].values(), *row["built_in"].values()) for time in times)
        assert set(row["built_in"]) == {"XLNet, eager"}
    assert page.count("| Locant | `transformer_xl` |") == 2
    assert page.count("| `transformer_xl` | encoder |") == 4
    long = json.loads((tmp_path / "attention_long_cpu.json").read_text())
    measured = {(row["attention"], row["direction"]) for row in long["rows"] if list(row["bytes"]) == ["16", "32"]}
    kinds = ("full, sdpa", "full, blockwise", "window of 512, blockwise")
    assert measured == {(kind, direction) for kind in kinds for direction in ("forward", "training")}
    assert all("flex_attention cannot" in row["refusal"] for row in long["rows"] if "flex" in row["attention"])
    assert (tmp_path / "images" / "long-inputs-cpu.png").stat().st_size > 10_000
    assert page.count("(XLNet, eager) |") == 4
    assert page.count("–[^cpu1]") == 4  # flex_attention refuses it
    assert "[^cpu1]: flex_attention cannot" in page
    assert page.splitlines()[0] == "# Benchmarks"
    assert all(section in page for section in capsys.readouterr().out.split("\n\n") if section.startswith("|"))


@pytest.mark.slow
def test_a_part_by_itself_is_printed_only(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.import_module("attention"), "ROOT", tmp_path)
    run([*QUICK, "--only", "memory", "--encodings", "t5", "--lengths", "16"])
    assert "| transformers | `t5` | `eager` |" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_growth_is_that_of_the_last_doubling():
    table = importlib.import_module("attention_memory").table
    row = {"model": "Locant", "encoding": "t5", "backend": "eager"}
    rows = [{**row, "peaks": {"10": 1e9, "20": 3e9, "40": 9e9}}, {**row, "peaks": {"10": 1e9, "20": 2e9}}]
    lines = table(rows).splitlines()
    assert lines[2] == "| Locant | `t5` | `eager` | 1.000 | 3.000 | 9.000 | × 3.0 |"
    assert lines[3] == "| Locant | `t5` | `eager` | 1.000 | 2.000 | – | × 2.0 |"


def test_the_best_of_each_side_is_compared_by_medians():
    table = importlib.import_module("attention_speed").table
    row = {
        "encoding": "rotary",
        "stack": "decoder",
        "length": 512,
        "direction": "forward",
        "device": "cpu",
        "locant": {"eager": [8.0, 9.0, 70.0], "sdpa": [4.0, 5.0, 50.0]},
        "built_in": {"Llama, eager": [20.0, 20.0, 1.0], "Llama, sdpa": [10.0, 10.0, 11.0]},
        "refusals": {},
    }
    line = "| `rotary` | decoder | 512 | 9.0 | **5.0** | – | – | 10.0 (Llama, sdpa) | 0.50 |"
    assert table([row], "forward", []).splitlines()[2:] == [line]
    assert table([row], "training", []).splitlines()[2:] == []


def test_half_is_the_length_at_which_the_quadratic_part_equals_the_rest():
    long = importlib.import_module("attention_long")
    times = {str(n): n * (100 + 0.05 * n) / 1e6 for n in (512, 2048, 8192)}
    row = {"encoding": "t5", "attention": "full, sdpa", "direction": "forward", "seconds": times}
    rows = [{**row, "bytes": dict.fromkeys(times, 2e9)}, {**row, "seconds": {}, "bytes": {}, "refusal": "cannot"}]
    lines = long.table(rows, "forward").splitlines()
    assert lines[2:] == ["| `t5` | full, sdpa | 126 µs, 2.00 GB | 202 µs, 2.00 GB | 510 µs, 2.00 GB | 2,000 |"]
    flat = [{**row, "seconds": {"10": 1.0, "20": 2.0}, "bytes": {"10": 0, "20": 0}}]
    assert long.table(flat, "forward").endswith("| – |")


def test_sdpa_is_left_out_where_a_matrix_of_all_pairs_needs_too_much_memory():
    long = importlib.import_module("attention_long")
    sdpa, blockwise = long.ATTENTIONS[:2]
    measured = [
        (encoding, kind.backend)
        for encoding in ("rotary", "t5", "alibi")
        for kind in (sdpa, blockwise)
        if long._is_measured(encoding, kind, 32768)
    ]
    assert measured == [("rotary", "sdpa"), ("rotary", "blockwise"), ("t5", "blockwise"), ("alibi", "blockwise")]
