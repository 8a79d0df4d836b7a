# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
import math
import socket
from concurrent.futures import ThreadPoolExecutor

import evaluate
import pytest
import sacrebleu

from locant.training.errors import InputError
from locant.training.tasks.metrics import ChrF, CorpusBLEU, SentenceBLEU, translation_metrics

PREDICTIONS = ["the cat sees the black dog .", "a dog sleeps", "", "hello , world !"]
REFERENCES = ["the cat sees the dog .", "a small dog is sleeping .", "nothing", "hello , world !"]
METRICS = [CorpusBLEU, ChrF, SentenceBLEU]


def test_corpus_bleu_is_sacrebleus():
    result = CorpusBLEU().compute(predictions=PREDICTIONS, references=REFERENCES)
    expected = sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES])
    assert result["bleu"] == expected.score
    assert result["precisions"] == expected.precisions
    assert (result["bp"], result["sys_len"], result["ref_len"]) == (expected.bp, 14, 17)
    assert result["signature"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"


def test_chrf_is_sacrebleus():
    result = ChrF().compute(predictions=PREDICTIONS, references=REFERENCES)
    assert result["chrf"] == sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES]).score
    assert result["signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no")


def test_sentence_bleu_is_sacrebleus_and_its_mean():
    result = SentenceBLEU().compute(predictions=PREDICTIONS, references=REFERENCES)
    pairs = zip(PREDICTIONS, REFERENCES, strict=True)
    assert result["scores"] == [sacrebleu.sentence_bleu(p, [r]).score for p, r in pairs]
    assert result["sentence_bleu"] == pytest.approx(math.fsum(result["scores"]) / 4)
    assert "eff:yes|tok:13a|smooth:exp" in result["signature"]


@pytest.mark.parametrize(
    ("prediction", "reference", "bleu"),
    [
        ("a b c d e", "a b c d e", 100.0),
        ("a b c d e", "a b c d f", 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        ("a b c d", "a b c d e f", 100 * math.exp(1 - 6 / 4)),
        ("a b c d", "e f g h", 0.0),
    ],
)
def test_bleu_by_hand(prediction, reference, bleu):
    for metric, key in ((CorpusBLEU(), "bleu"), (SentenceBLEU(), "sentence_bleu")):
        assert metric.compute(predictions=[prediction], references=[reference])[key] == pytest.approx(bleu)


def test_short_sentences_count_only_the_orders_that_they_have():
    result = SentenceBLEU().compute(predictions=["a b", "a"], references=["a b", "a b"])
    assert result["scores"] == pytest.approx([100.0, 100 * math.exp(-1)])


def test_predictions_may_have_different_numbers_of_references():
    references = [["a b c d e", "a b c d f"], ["x y z w"]]
    predictions = ["a b c d f", "x y z w"]
    assert CorpusBLEU().compute(predictions=predictions, references=references)["bleu"] == pytest.approx(100)
    result = SentenceBLEU().compute(predictions=predictions, references=references)
    assert result["scores"] == pytest.approx([100, 100])
    assert result["signature"].startswith("nrefs:var|")


def test_options_of_compute_reach_sacrebleu():
    result = CorpusBLEU().compute(predictions=["A B C D"], references=["a b c d"], lowercase=True)
    assert result["bleu"] == pytest.approx(100)
    assert "case:lc" in result["signature"]


def test_adding_in_parts_equals_computing_at_once():
    metric = CorpusBLEU()
    metric.add_batch(predictions=PREDICTIONS[:2], references=REFERENCES[:2])
    metric.add(prediction=PREDICTIONS[2], reference=REFERENCES[2])
    metric.add_batch(predictions=[], references=[])
    metric.add_batch(predictions=PREDICTIONS[3:], references=REFERENCES[3:])
    at_once = metric.compute()
    assert at_once == metric.compute(predictions=PREDICTIONS, references=REFERENCES)


@pytest.mark.parametrize("metric", METRICS)
def test_wrong_numbers_of_sentences_are_refused(metric):
    with pytest.raises(InputError, match="2 predictions and 1 references"):
        metric().compute(predictions=["a", "b"], references=["a"])
    with pytest.raises(InputError, match="No predictions were given"):
        metric().compute(predictions=[], references=[])
    with pytest.raises(InputError, match="No predictions were given"):
        metric().compute()
    with pytest.raises(InputError, match="Prediction 2 has an empty list"):
        metric().compute(predictions=["a", "b"], references=[["a"], []])


@pytest.mark.parametrize("metric", METRICS)
def test_needs_no_network_and_no_cache_folder(metric, monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a metric opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path / "cache"))
    metric().compute(predictions=PREDICTIONS, references=REFERENCES)
    assert list(tmp_path.iterdir()) == []


def test_two_metrics_at_once_do_not_mix():
    first, second = CorpusBLEU(), CorpusBLEU()
    first.add_batch(predictions=["a b c d"], references=["a b c d"])
    second.add_batch(predictions=["a b c d"], references=["e f g h"])
    assert first.compute()["bleu"] == pytest.approx(100)
    assert second.compute()["bleu"] == 0


def test_processes_with_one_experiment_id_share_a_result(tmp_path):
    def part(process_id):
        metric = CorpusBLEU(
            num_process=2, process_id=process_id, experiment_id="both", cache_dir=str(tmp_path), timeout=30
        )
        return metric.compute(predictions=PREDICTIONS[process_id::2], references=REFERENCES[process_id::2])

    with ThreadPoolExecutor(2) as pool:
        main, other = pool.map(part, range(2))
    assert other is None
    assert main["bleu"] == pytest.approx(sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES]).score)


def test_translation_metrics_are_the_three_with_their_signatures():
    metrics = translation_metrics(PREDICTIONS, REFERENCES)
    for name, metric in (("bleu", CorpusBLEU()), ("chrf", ChrF()), ("sentence_bleu", SentenceBLEU())):
        result = metric.compute(predictions=PREDICTIONS, references=REFERENCES)
        assert metrics.pop(name) == result[name]
        assert metrics.pop(f"{name}_signature") == result["signature"]
    assert metrics == {}


class TestShortReferences:
    def test_exact_predictions_have_100_and_the_signature_names_the_order(self):
        found = CorpusBLEU().compute(predictions=["a cat", "a red dog"], references=["a cat", "a red dog"])
        assert found["bleu"] == pytest.approx(100)
        assert found["signature"].endswith("|order:3")

    def test_are_compared_by_n_grams_that_they_have(self):
        predictions, references = ["a cat", "the dog"], ["a cat", "a dog"]
        expected = sacrebleu.BLEU(max_ngram_order=2).corpus_score(predictions, [references]).score
        assert 0 < expected < 100
        assert CorpusBLEU().compute(predictions=predictions, references=references)["bleu"] == expected

    def test_beside_one_of_four_words_are_measured_as_ever(self):
        predictions, references = ["a cat", "a b c d"], ["a cat", "a b c d"]
        found = CorpusBLEU().compute(predictions=predictions, references=references)
        assert found["bleu"] == sacrebleu.corpus_bleu(predictions, [references]).score
        assert "order" not in found["signature"]

    def test_leave_a_given_order_as_it_is(self):
        found = CorpusBLEU().compute(predictions=["a cat"], references=["a cat"], max_ngram_order=4)
        assert found["bleu"] == 0
