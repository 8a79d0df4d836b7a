# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
import math

import pytest
import sacrebleu

from locant.training.errors import InputError
from locant.training.tasks.translation_metrics import corpus_bleu, corpus_chrf, sentence_bleu, translation_metrics

PREDICTIONS = ["the cat sees the black dog .", "a dog sleeps", "", "hello , world !"]
REFERENCES = ["the cat sees the dog .", "a small dog is sleeping .", "nothing", "hello , world !"]
METRICS = [corpus_bleu, corpus_chrf, sentence_bleu]


def test_corpus_bleu_is_sacrebleus():
    result = corpus_bleu(PREDICTIONS, REFERENCES)
    expected = sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES])
    assert result["bleu"] == expected.score
    assert result["signature"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"


def test_chrf_is_sacrebleus():
    result = corpus_chrf(PREDICTIONS, REFERENCES)
    assert result["chrf"] == sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES]).score
    assert result["signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no")


def test_sentence_bleu_is_sacrebleus_and_its_mean():
    result = sentence_bleu(PREDICTIONS, REFERENCES)
    pairs = zip(PREDICTIONS, REFERENCES, strict=True)
    expected = [sacrebleu.sentence_bleu(p, [r]).score for p, r in pairs]
    assert result["scores"] == [*expected[:-1], 100.0] and expected[-1] == pytest.approx(100, abs=1e-9)
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
    for metric, key in ((corpus_bleu, "bleu"), (sentence_bleu, "sentence_bleu")):
        assert metric([prediction], [reference])[key] == pytest.approx(bleu)


def test_short_sentences_count_only_the_orders_that_they_have():
    result = sentence_bleu(["a b", "a"], ["a b", "a b"])
    assert result["scores"] == pytest.approx([100.0, 100 * math.exp(-1)])


def test_options_reach_sacrebleu():
    result = sentence_bleu(["A B C D"], ["a b c d"], lowercase=True)
    assert result["sentence_bleu"] == pytest.approx(100)
    assert "case:lc" in result["signature"]


@pytest.mark.parametrize("metric", METRICS)
def test_wrong_numbers_of_sentences_are_refused(metric):
    with pytest.raises(InputError, match="2 predictions and 1 references"):
        metric(["a", "b"], ["a"])
    with pytest.raises(InputError, match="There are 0 predictions"):
        metric([], [])


def test_translation_metrics_are_the_three_with_their_signatures():
    metrics = translation_metrics(PREDICTIONS, REFERENCES)
    for name, metric in (("bleu", corpus_bleu), ("chrf", corpus_chrf), ("sentence_bleu", sentence_bleu)):
        result = metric(PREDICTIONS, REFERENCES)
        assert metrics.pop(name) == result[name]
        assert metrics.pop(f"{name}_signature") == result["signature"]
    assert metrics == {}


class TestShortReferences:
    def test_exact_predictions_have_100_and_the_signature_names_the_order(self):
        found = corpus_bleu(["a cat", "a red dog"], ["a cat", "a red dog"])
        assert found["bleu"] == pytest.approx(100)
        assert found["signature"].endswith("|order:3")

    def test_are_compared_by_n_grams_that_they_have(self):
        predictions, references = ["a cat", "the dog"], ["a cat", "a dog"]
        expected = sacrebleu.BLEU(max_ngram_order=2).corpus_score(predictions, [references]).score
        assert 0 < expected < 100
        assert corpus_bleu(predictions, references)["bleu"] == expected

    def test_beside_one_of_four_words_are_measured_as_ever(self):
        predictions, references = ["a cat", "a b c d"], ["a cat", "a b c d"]
        found = corpus_bleu(predictions, references)
        assert found["bleu"] == 100.0  # sacrebleu's is 100.00000000000004
        assert sacrebleu.corpus_bleu(predictions, [references]).score == pytest.approx(100, abs=1e-9)
        assert "order" not in found["signature"]
