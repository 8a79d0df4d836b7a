# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Masked language models by `locant train --task masked_language_modeling`: what is hidden, and how it is measured.

What tasks that learn from documents do alike is tested in `test_documents.py`.
"""

import math
import random
from collections import Counter

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM, EsmTokenizer, pipeline

from locant.training.errors import InputError
from locant.training.tasks.masked_language_modeling import MaskedTrainer, Masking, SeparatePieces

TASK = "masked_language_modeling"
SPECIAL = {0, 1, 2, 3, 4}


@pytest.fixture(scope="module")
def folder(document_runs):
    return document_runs[TASK]


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def batches(monkeypatch):
    """What a run trains on."""
    seen, original = [], MaskedTrainer.training_step

    def training_step(self, model, inputs, *args, **kwargs):
        seen.append(inputs)
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(MaskedTrainer, "training_step", training_step)
    return seen


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids


class TestPieces:
    @pytest.mark.parametrize("size", [3, 4, 24, 1000])
    def test_hold_every_token_once_between_special_ones(self, tokenizer, writings, size):
        texts = writings.texts["test"]
        for text, pieces in zip(texts, SeparatePieces(tokenizer, size)(texts), strict=True):
            assert [token for piece in pieces for token in piece[1:-1]] == ids_of(tokenizer, text)
            assert {(piece[0], piece[-1]) for piece in pieces} == {(1, 2)}
            assert {len(piece) for piece in pieces[:-1]} <= {size}
            assert 3 <= len(pieces[-1]) <= size

    def test_of_a_slow_tokenizer(self, tmp_path):
        (tmp_path / "vocab.txt").write_text("\n".join(["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSE", "<mask>"]))
        tokenizer = EsmTokenizer(str(tmp_path / "vocab.txt"))
        assert SeparatePieces(tokenizer, 4)(["L A G", "L"]) == [[[0, 4, 5, 2], [0, 6, 2]], [[0, 4, 2]]]

    def test_leave_the_tokenizer_as_it_was(self, tokenizer):
        before = tokenizer.backend_tokenizer.to_str()
        assert len(SeparatePieces(tokenizer, 4)(["the cat sees the dog."])[0]) > 1
        assert tokenizer.backend_tokenizer.to_str() == before


class TestMasking:
    def test_hides_the_share_that_it_is_told_to(self, tokenizer):
        masking, rng = Masking(tokenizer, 0.15), random.Random(0)
        row = {"input_ids": [1, *([7] * 40), 2]}
        kinds, chosen = Counter(), Counter()
        for _ in range(5000):
            hidden = masking(row, rng)
            for place, (token, label) in enumerate(zip(hidden["input_ids"], hidden["labels"], strict=True)):
                if label == -100:
                    assert token == row["input_ids"][place]
                    continue
                assert label == row["input_ids"][place] == 7
                kinds["mask" if token == 4 else "same" if token == 7 else "other"] += 1
                assert token == 4 or token not in SPECIAL
                chosen[place] += 1
        assert set(chosen) == set(range(1, 41))
        assert max(chosen.values()) < 1.2 * min(chosen.values())
        assert kinds.total() / 5000 == pytest.approx(0.15 * 40, rel=0.02)
        shares = {kind: number / kinds.total() for kind, number in kinds.items()}
        assert shares == {
            kind: pytest.approx(s, abs=0.01) for kind, s in (("mask", 0.8), ("same", 0.1), ("other", 0.1))
        }

    def test_hides_a_token_even_of_a_short_row_and_none_where_there_is_none(self, tokenizer):
        masking = Masking(tokenizer, 0.15)
        for seed in range(50):
            labels = masking({"input_ids": [1, 9, 8, 2]}, random.Random(seed))["labels"]
            assert sum(label != -100 for label in labels) == 1
        assert masking({"input_ids": [1, 2]}, random.Random(0)) == {"input_ids": [1, 2], "labels": [-100, -100]}

    def test_draws_on_its_generator_alone(self, tokenizer):
        row = {"input_ids": list(range(5, 90))}
        one, same, other = (Masking(tokenizer, 0.3)(row, random.Random(seed)) for seed in (1, 1, 2))
        assert one == same != other

    def test_needs_a_mask(self, tokenizer):
        with pytest.raises(InputError, match="has no mask_token: choose the tokenizer of a masked"):
            Masking(AutoTokenizer.from_pretrained(tokenizer.name_or_path, mask_token=None), 0.15)

    def test_is_new_in_each_epoch_and_leaves_no_token_out(self, writings, tmp_path, batches):
        assert writings.train(TASK, tmp_path / "run", mlm_probability=0.3, num_train_epochs=2) == 0
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
        half = len(batches) // 2
        places = []
        for epoch in (batches[:half], batches[half:]):
            rows, hidden = [], {}
            for batch in epoch:
                shown = torch.where(batch["labels"] >= 0, batch["labels"], batch["input_ids"])
                for ids, labels, mask in zip(shown, batch["labels"], batch["attention_mask"], strict=True):
                    row = tuple(ids[mask.bool()].tolist())
                    rows.append(row)
                    hidden[row] = tuple((labels[mask.bool()] >= 0).tolist())
            cut = SeparatePieces(tokenizer, writings.length)([t for t in writings.texts["train"] if t.strip()])
            assert Counter(rows) == Counter(tuple(piece) for pieces in cut for piece in pieces)
            places.append(hidden)
        assert sum(places[0][row] != places[1][row] for row in places[0]) > 0.8 * len(places[0])
        share = sum(map(sum, places[0].values())) / sum(len(row) - 2 for row in places[0])
        assert share == pytest.approx(0.3, abs=0.03)


class Hidden:
    """The masked pieces of the toy's test documents, as the docstrings say that they are drawn."""

    def __init__(self, tokenizer, writings):
        masking, self.rows, self.documents = Masking(tokenizer, 0.15), [], []
        for document, pieces in enumerate(SeparatePieces(tokenizer, writings.length)(writings.texts["test"])):
            for ids in pieces:
                self.rows.append(masking({"input_ids": ids}, random.Random(f"42 {len(self.rows)}")))
                self.documents.append(document)
        self.labels = [label for row in self.rows for label in row["labels"] if label >= 0]


@pytest.fixture(scope="module")
def hidden(tokenizer, writings):
    return Hidden(tokenizer, writings)


@torch.no_grad()
def test_metrics_are_those_of_a_plain_loop_over_masked_tokens(folder, writings, hidden):
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    losses, right, by_document = [], 0, [[0, 0, 0.0] for _ in writings.texts["test"]]
    for row, document in zip(hidden.rows, hidden.documents, strict=True):
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        for place, label in enumerate(row["labels"]):
            if label >= 0:
                losses.append(cross_entropy(logits[place], torch.tensor(label)).item())
                guessed = int(logits[place].argmax()) == label
                right += guessed
                by_document[document][0] += 1
                by_document[document][1] += guessed
                by_document[document][2] += losses[-1]
    found, loss = writings.metrics(folder)["test"], sum(losses) / len(losses)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert found["accuracy"] == pytest.approx(right / len(losses))
    assert (found["masked_tokens"], found["documents"]) == (len(losses), 30)

    header, *rows = (folder / "test_predictions.tsv").read_text("utf-8").splitlines()
    assert header == "text\tmasked\tright\tloss"
    for row, text, (masked, guessed, total) in zip(rows, writings.texts["test"], by_document, strict=True):
        assert row == f"{text}\t{masked}\t{guessed}\t{total / masked:.2f}"


def test_the_unigram_model_is_counted_plus_one_and_always_guesses_the_same(tokenizer, folder, writings, hidden):
    counts = Counter(range(len(tokenizer)))
    for text in writings.texts["train"]:
        counts.update(ids_of(tokenizer, text) if text.strip() else [])
    found, [(guess, _)] = writings.metrics(folder)["test"], counts.most_common(1)
    loss = -sum(math.log(counts[label] / counts.total()) for label in hidden.labels) / len(hidden.labels)
    assert found["unigram_loss"] == pytest.approx(loss)
    assert found["unigram_accuracy"] == pytest.approx(hidden.labels.count(guess) / len(hidden.labels))


@pytest.mark.slow
def test_other_families_are_fine_tuned(tokenizer, writings, tmp_path):
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), pad_token_id=0, **shape)).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    assert writings.train(TASK, tmp_path / "run", model_name_or_path=tmp_path / "bert") == 0
    first, *_, last = writings.metrics(tmp_path / "run")["epochs"]
    assert last["validation_loss"] < first["validation_loss"]
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path / "run")) is BertForMaskedLM


def test_a_tokenizer_without_a_mask_is_refused(document_runs, writings, tmp_path, capsys):
    causal = document_runs["language_modeling"]
    assert writings.train(TASK, tmp_path / "run", tokenizer_name=causal, tokenizer_vocab_size="null") == 2
    assert f"The tokenizer {causal} has no mask_token" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@torch.no_grad()
def test_the_fill_mask_pipeline_answers_with_words(folder, tokenizer):
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    answers = pipeline("fill-mask", model=str(folder))("the <mask> sees the dog.")
    inputs = tokenizer("the <mask> sees the dog.", return_tensors="pt")
    place = inputs["input_ids"][0].tolist().index(4)
    expected = model(**inputs).logits[0, place].softmax(-1).topk(5)
    assert [answer["token"] for answer in answers] == expected.indices.tolist()
    assert [answer["score"] for answer in answers] == pytest.approx(expected.values.tolist())
    for answer in answers:
        assert answer["sequence"] == f"the{answer['token_str']} sees the dog."
