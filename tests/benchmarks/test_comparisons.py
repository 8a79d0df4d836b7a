# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`make comparisons` at reduced size: its parts measure and report the right figures."""

import dataclasses
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("phrasebook", "ted", "speed", "recall", "order", "images")


def small_model_size(module):
    shape = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    shape |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32}
    return module.Size(transformer={"d_model": 16, **shape}, lstm={"d_model": 16, "num_layers": 1}, vocabulary=300)


class TestTranslation:
    @pytest.fixture
    def comparison(self, tmp_path):
        module = importlib.import_module("comparison_translation")
        numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        pairs = [(f"{a} and {b}", f"{b} et {a}") for a in numbers for b in numbers]
        splits = {"train": pairs[:60], "dev": pairs[60:70], "test": pairs[70:]}
        for split, rows in splits.items():
            for side, language in enumerate(("en", "fr")):
                text = "".join(f"{row[side]}\n" for row in rows)
                (tmp_path / f"{split}.{language}").write_text(text, encoding="utf-8")
        size = dataclasses.replace(
            small_model_size(module), tokens=128, steps=40, rates=(1e-5, 0.01), trial_steps=2, evaluation_steps=20
        )
        size = dataclasses.replace(size, warmup_steps=4, max_new_tokens=6)
        files = lambda split: [tmp_path / f"{split}.{language}" for language in ("en", "fr")]  # noqa: E731
        return module.Comparison("numbers", size, files, tmp_path / "runs")

    def test_trains_both_models_and_the_slower_one_for_the_same_time(self, comparison, monkeypatch):
        module = importlib.import_module("comparison_translation")

        def times(functions, rounds, clock):
            return [[2.0] * rounds, [4.0] * rounds]

        monkeypatch.setattr(module, "interleaved_times", times)
        results = comparison.measure()
        assert [(run["model"], run["steps"]) for run in results["runs"]] == [
            ("transformer", 40),
            ("lstm", 40),
            ("lstm", 20),
        ]
        assert results["rates"] == {"transformer": 0.01, "lstm": 0.01}
        lstm = results["runs"][1]
        folder = comparison.folder / "lstm-40"
        assert type(AutoModelForSeq2SeqLM.from_pretrained(folder)).__name__ == "LSTMForConditionalGeneration"
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert lstm["test"]["bleu"] == metrics["test"]["bleu"]
        assert [step for step, _ in lstm["curve"]] == [20, 40]
        assert lstm["curve"][0][1] > lstm["curve"][1][1]
        batches = metrics["steps"] / lstm["epochs"]
        assert results["seconds_an_epoch"]["transformer"]["median"] == pytest.approx(2 * batches / 10)
        # a second call finds the finished runs
        before = {file: file.stat().st_mtime_ns for file in comparison.folder.glob("*/model.safetensors")}
        assert comparison.measure() == results
        kept = [file for file in before if "start" not in file.parent.name]
        assert all(file.stat().st_mtime_ns == before[file] for file in kept)
        assert "| LSTM with attention |" in comparison.table(results)

    @pytest.mark.parametrize("data", ["PHRASEBOOK", "TED"])
    def test_the_models_have_as_many_parameters(self, data):
        module = importlib.import_module("comparison_translation")
        size = getattr(module, data).size
        numbers = [module.new_model(name, size.vocabulary, size).num_parameters() for name in module.NAMES]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.02)


def test_speed_is_the_time_of_a_target_token(monkeypatch):
    module = importlib.import_module("comparison_speed")
    tokens = []

    def times(functions, rounds, clock):
        tokens.append([function() for function in functions])
        return [[1.0, 3.0, 2.0], [4.0, 6.0, 5.0]]

    monkeypatch.setattr(module, "interleaved_times", times)
    monkeypatch.setattr(module, "_TOKENS", 16)
    results = module.measure((4, 8), small_model_size(module))
    assert results["training"]["transformer"] == [[2e6 / 16, 1e6 / 16, 3e6 / 16]] * 2
    assert results["decoding"]["lstm"] == [[5e6 / 4, 4e6 / 4, 6e6 / 4], [5e6 / 8, 4e6 / 8, 6e6 / 8]]


class TestRecall:
    @pytest.fixture
    def module(self):
        return importlib.import_module("comparison_recall")

    def test_the_answer_is_the_value_of_the_key_at_the_end(self, module):
        ids, answers = module.draw(torch.Generator().manual_seed(0), 50, pairs=4, distance=6)
        for row, answer in zip(ids.tolist(), answers.tolist(), strict=True):
            values = {(token - 8) // 8: (token - 8) % 8 for token in row[:4]}
            assert len(values) == 4
            assert min(row[4:-1]) >= 72 and len(row) == 11
            assert values[row[-1]] == answer

    @pytest.mark.parametrize("name", ["lstm", "none"])
    def test_a_small_model_learns_it(self, module, name):
        size = module.Size(width=16, steps=200, batch=32, trained=(2, 4), distances=(3,), tests=64)
        torch.manual_seed(0)
        model = module.Reader(name, 16)
        before = module.accuracies(model, size, pairs=1)[0]
        module.train(model, size, pairs=1, seed=0)
        assert before < 0.4 and module.accuracies(model, size, pairs=1)[0] > 0.8

    @pytest.mark.parametrize("name", ["lstm", "rotary"])
    def test_gradient_norms_equal_finite_differences(self, module, name):
        size = module.Size(width=8, distances=(3,))
        torch.manual_seed(0)
        model = module.Reader(name, 8).double()
        drawn = torch.Generator().manual_seed(10**7 + 3)
        ids, _ = module.draw(drawn, 32, pairs=2, distance=3)
        direction = torch.nn.functional.normalize(torch.randn(32, 8, generator=drawn), dim=1)
        with torch.no_grad():
            embedded, norms = model.embedding(ids), torch.zeros(32, dtype=torch.double)
            for place in range(2):
                for feature in range(8):
                    step = torch.zeros_like(embedded)
                    step[:, place, feature] = 1e-5
                    change = model.last_state(embedded + step) - model.last_state(embedded - step)
                    norms += ((change * direction).sum(1) / 2e-5) ** 2
        assert module.gradient_norms(model, size, pairs=2)[0] == pytest.approx(norms.sqrt().mean().item(), rel=1e-5)

    def test_the_models_have_as_many_parameters(self, module):
        numbers = [sum(weight.numel() for weight in module.Reader(name, 32).parameters()) for name in module.NAMES]
        assert max(numbers) / min(numbers) < 1.02

    def test_the_table_has_means_in_percent(self, module):
        runs = [{"model": name, "pairs": 2, "accuracy": [share]} for name in module.NAMES for share in (0.5, 0.7)]
        table = module.table({"distances": [4], "pairs": [2], "runs": runs})
        assert "| 2 | LSTM | 60 ± 14 |" in table


class TestOrder:
    def test_measures_each_model_with_each_seed(self, monkeypatch):
        module = importlib.import_module("comparison_order")
        results = module.measure(seeds=(0,), size=SimpleNamespace(order_steps=2))
        assert [run["model"] for run in results["runs"]] == ["lstm", "rotary", "none"]
        assert "| model |" in module.table(results)

    @pytest.mark.slow
    def test_only_the_transformer_must_be_told_the_order(self):
        module = importlib.import_module("comparison_order")
        shares = {run["model"]: run["pair"] for run in module.measure(seeds=(0,))["runs"]}
        assert shares["lstm"] > 0.95 and shares["rotary"] > 0.95 and shares["none"] == 0


@pytest.mark.slow
def test_images_are_classified_by_both_networks():
    module = importlib.import_module("comparison_images")
    runs = module.measure(seeds=(1,), num_train_epochs=20)["runs"]
    assert [run["model"] for run in runs] == ["transformer", "convolutions"]
    assert all(run["accuracy"] > 0.8 for run in runs)
    assert runs[0]["parameters"] == pytest.approx(runs[1]["parameters"], rel=0.02)


class TestCommand:
    @pytest.fixture
    def command(self, monkeypatch):
        module = importlib.import_module("comparisons")
        calls = []

        def measure():
            calls.append(1)
            return {"figure": len(calls)}

        fake = SimpleNamespace(measure=measure, table=lambda results: f"figure {results['figure']}")
        fake.drawings = lambda results: {}
        monkeypatch.setattr(module, "PARTS", {"fake": fake})
        return module

    def test_measures_a_part_once_and_again_if_asked(self, command, tmp_path, capsys):
        folders = ["--results", str(tmp_path), "--images", str(tmp_path)]
        for arguments, figure in (([], 1), ([], 1), (["--again"], 2), (["--only", "fake"], 2)):
            assert command.main([*arguments, *folders]) == 0
            assert f"figure {figure}\n" in capsys.readouterr().out
        kept = json.loads((tmp_path / "comparison_fake.json").read_text(encoding="utf-8"))
        assert kept["command"] == "make comparisons ONLY=fake" and kept["figure"] == 2

    def test_a_part_that_fails_keeps_its_figures(self, command, tmp_path):
        command.results_of("fake", tmp_path)
        command.PARTS["fake"].measure = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            command.results_of("fake", tmp_path, again=True)
        assert command.results_of("fake", tmp_path)["figure"] == 1


@pytest.mark.parametrize(
    "name", [part for part in PARTS if (ROOT / "benchmarks" / "results" / f"comparison_{part}.json").exists()]
)
def test_the_page_has_the_tables_and_the_plots_of_the_figures(name):
    part = importlib.import_module("comparisons").PARTS[name]
    file = ROOT / "benchmarks" / "results" / f"comparison_{name}.json"
    results = json.loads(file.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "comparisons.md").read_text(encoding="utf-8")
    assert part.table(results) in page
    for name, draw in part.drawings(results).items():
        figure = pytest.importorskip("matplotlib.figure").Figure()
        draw(figure)
        assert figure.axes
        assert f"](images/{name}.png)" in page and (ROOT / "docs" / "images" / f"{name}.png").exists()
