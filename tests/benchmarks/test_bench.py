# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`make bench`: both sides do the same work, bounds count it, and the command writes what it measured."""

import importlib
import json
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def peers():
    return importlib.import_module("peers")


@pytest.fixture
def shape(peers):
    return replace(peers.Shape().tiny(), dropout=0.0)


@pytest.fixture
def batch(shape):
    return importlib.import_module("training_lines").batch_of_pairs(shape, 6, 12, 6)


class TestBothSidesDoTheSameWork:
    @pytest.mark.parametrize("name", ["marian", "bart", "t5"])
    def test_losses_are_equal(self, peers, shape, batch, name):
        peer = getattr(peers, name)(shape)
        torch.testing.assert_close(peers.with_the_weights_of(peer)(**batch).loss, peer(**batch).loss)

    @pytest.mark.parametrize("name", ["marian", "llama"])
    def test_generated_tokens_are_equal(self, peers, shape, batch, name):
        peer = getattr(peers, name)(shape).eval()
        twin = peers.with_the_weights_of(peer)
        for model in (peer, twin):
            model.generation_config.eos_token_id = None
        inputs = {key: batch[key][:1] for key in ("input_ids", "attention_mask")}
        search = {"max_new_tokens": 5, "num_beams": 4, "do_sample": False}
        assert torch.equal(twin.generate(**inputs, **search), peer.generate(**inputs, **search))

    def test_models_of_other_libraries_have_the_size_of_marian(self, peers):
        def size(model):
            return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

        expected = size(peers.marian(peers.Shape()))
        assert size(peers.TorchTransformer(peers.Shape())) == pytest.approx(expected, rel=0.01)

    def test_the_loss_of_torch_transformer_ignores_padding(self, peers, shape, batch):
        model = peers.TorchTransformer(shape).eval()
        longer = {name: nn.functional.pad(batch[name], (0, 3), value=0) for name in ("input_ids", "attention_mask")}
        longer["labels"] = nn.functional.pad(batch["labels"], (0, 3), value=-100)
        torch.testing.assert_close(model(**longer), model(**batch))

    def test_a_quarter_of_the_batch_is_padding(self, peers):
        training_lines = importlib.import_module("training_lines")
        batch = training_lines.batch_of_pairs(peers.Shape(), 64, 28, 14)
        assert batch["attention_mask"].float().mean().item() == pytest.approx(0.75, abs=0.03)
        assert (batch["labels"] != -100).float().mean().item() == pytest.approx(0.75, abs=0.03)


class TestBounds:
    @pytest.mark.parametrize("is_training", [False, True])
    @pytest.mark.parametrize("name", ["marian", "t5"])
    def test_recorded_products_have_the_flops_that_torch_counts(self, peers, shape, batch, name, is_training):
        bounds, model = importlib.import_module("bounds"), getattr(peers, name)(shape).train(is_training)
        model.set_attn_implementation("eager")  # torch does not count its attention kernel for CPUs

        def work():
            with torch.set_grad_enabled(is_training):
                loss = model(**batch).loss
                if is_training:
                    loss.backward()

        with FlopCounterMode(display=False) as expected:
            work()
        with bounds.WorkRecorder() as recorded:
            work()
        assert bounds.flops(recorded.products) == expected.get_total_flops() > 0

    def test_an_attention_kernel_has_the_products_of_its_definition(self, peers, shape, batch):
        bounds, model, found = importlib.import_module("bounds"), peers.marian(shape).eval(), []
        for backend in ("eager", "sdpa"):
            model.set_attn_implementation(backend)
            with bounds.WorkRecorder() as recorded, torch.no_grad():
                model(**batch)
            found.append(recorded.products)
        assert found[0] == found[1]

    def test_weights_are_counted_each_time_they_are_read(self):
        bounds, layer = importlib.import_module("bounds"), nn.Linear(8, 16)
        with bounds.WorkRecorder() as recorded, torch.no_grad():
            layer(layer(torch.ones(3, 8))[:, :8])
        assert recorded.weight_bytes == 2 * 8 * 16 * 4
        assert recorded.products == {bounds.Product(1, 3, 8, 16, torch.float32): 2}

    def test_the_cost_of_a_product_grows_with_it(self):
        bounds = importlib.import_module("bounds")
        small, large = (
            bounds.Product(1, size, size, size, torch.float32) for size in (16, 512)
        )  # 32,768 times as much
        seconds = [bounds.seconds_of_products({product: 1}, "cpu") for product in (small, large)]
        assert 0 < 5 * seconds[0] < seconds[1]

    def test_the_costs_of_products_add_up(self, monkeypatch):
        bounds = importlib.import_module("bounds")
        monkeypatch.setattr(bounds, "_bare_seconds", lambda product, device: product.rows)
        small, large = (bounds.Product(1, size, 8, 8, torch.float32) for size in (3, 50))
        assert bounds.seconds_of_products({small: 3, large: 2}, "cpu") == 109


def test_ratios_are_those_of_each_round():
    rounds = importlib.import_module("rounds")
    assert rounds.ratios([1.0, 2.0, 4.0], [2.0, 2.0, 2.0]) == [0.5, 1.0, 2.0]


class TestTables:
    line = {  # noqa: RUF012
        **{"section": "Greedy search", "work": "batch 1", "peer": "Marian", "unit": "s", "device": "cpu"},
        **{"threads": 2, "precision": "float32", "costs": {"Locant": [1.0, 2.0, 2.5], "Marian": [2.0, 2.0, 2.0]}},
        "bound": {"products": 0.5, "weights": 0.002},
    }

    def test_a_row_has_medians_ratio_spread_and_bounds(self):
        row = importlib.import_module("bench_report").tables([self.line]).splitlines()[-1]
        assert row == ("| batch 1 | Marian | float32 | 2 | 2 s | 2 s | **1.00** | 0.80–2.00 | 500 ms | 2 ms |")

    def test_every_way_of_locant_has_a_row_beside_the_peer(self):
        line = {**self.line, "costs": {"a": [1.0], "b": [2.0], "Marian": [4.0]}, "bound": None}
        rows = importlib.import_module("bench_report").tables([line]).splitlines()[-2:]
        assert [row.split(" | ")[0] for row in rows] == ["| batch 1: a", "| batch 1: b"]
        assert ["**4.00**" in rows[0], "**2.00**" in rows[1]] == [True, True]

    def test_a_line_that_failed_is_said_to_have_failed(self):
        line = {name: value for name, value in self.line.items() if name not in ("costs", "bound")}
        assert "| failed |" in importlib.import_module("bench_report").tables([{**line, "error": "Traceback"}])


@pytest.fixture
def bench():
    """The command in a process of its own, as its workers import the main module."""

    def run(*arguments):
        command = [sys.executable, "benchmarks/bench.py", "--quick", "--threads", "1", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)

    return run


@pytest.mark.slow
def test_the_command_writes_results_and_page(bench, tmp_path):
    done = bench("--only", "greedy search: language model", "--rounds", "4", "--output_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "bench.json").read_text())
    (line,) = results["lines"]
    assert {name: len(costs) for name, costs in line["costs"].items()} == {"Locant": 4, "Llama": 4}
    assert all(0 < cost < 60 for costs in line["costs"].values() for cost in costs)
    assert 0 < line["bound"]["products"] < statistics.median(line["costs"]["Locant"])
    assert {"CPU", "torch", "transformers", "commit", "date"} <= results["machine"].keys()
    table = done.stdout[done.stdout.index("### Greedy search") :].strip()
    assert table in (tmp_path / "benchmarks.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an older commit needs a git repository")
def test_the_working_tree_is_compared_with_a_commit(bench, tmp_path):
    done = bench("--only", "batch 1,", "--rounds", "1", "--base", "HEAD", "--output_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    costs = [line["costs"].keys() for line in json.loads((tmp_path / "bench.json").read_text())["lines"]]
    assert all(list(names) == ["working tree", "HEAD"] for names in costs)


@pytest.mark.slow
def test_an_unknown_commit_is_refused_in_a_sentence(bench):
    done = bench("--base", "no-such-commit")
    assert done.returncode == 1
    assert done.stderr.startswith("make bench: there is no commit no-such-commit")


@pytest.mark.slow
def test_a_line_that_fails_leaves_the_others(tmp_path):
    """A side that raises is reported by its traceback, and the worker's end is no hang."""
    rounds, lines = importlib.import_module("rounds"), importlib.import_module("lines")
    line = lines.Line("Section", "work", {"Locant": int}, "peer", len)
    with pytest.raises(rounds.WorkerError, match="TypeError"):
        rounds.measure(line, lines.Setting(quick=True, threads=1), [0])
