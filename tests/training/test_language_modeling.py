# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Language models by `locant train --task language_modeling`: packing changes no result; metrics are computed by hand.

What tasks that learn from documents do alike is tested in `test_documents.py`.
"""

import json
import math
import shutil
from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GPT2Config, GPT2LMHeadModel, pipeline

from locant.cli import main
from locant.training.tasks.documents import best_fit
from locant.training.tasks.language_modeling import BlockCollator, CausalTrainer, OverlappingPieces

TASK = "language_modeling"


@pytest.fixture(scope="module")
def folder(document_runs):
    return document_runs[TASK]


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def tokens_of(tokenizer, text):
    return [1, *tokenizer(text, add_special_tokens=False).input_ids, 2]


def losses_alone(model, ids, size):
    """The loss of every token but the first, a piece after the other, by the plainest loop."""
    losses, start = [], 0
    while start < len(ids) - 1:
        piece = torch.tensor([ids[start : start + size]])
        logits = model(input_ids=piece).logits[0, :-1]
        losses += cross_entropy(logits, piece[0, 1:], reduction="none").tolist()
        start += size - 1
    return losses


class TestPieces:
    @pytest.mark.parametrize("size", [2, 3, 24, 1000])
    def test_predict_every_token_once(self, tokenizer, writings, size):
        pieces_of = OverlappingPieces(tokenizer, size)
        for text, pieces in zip(writings.texts["test"], pieces_of(writings.texts["test"]), strict=True):
            assert [token for piece in pieces for token in piece[1:]] == tokens_of(tokenizer, text)[1:]
            assert pieces[0][0] == 1
            assert all(later[0] == earlier[-1] for earlier, later in pairwise(pieces))
            assert {len(piece) for piece in pieces[:-1]} <= {size}
            assert 2 <= len(pieces[-1]) <= size

    def test_read_special_tokens_in_a_text_as_text(self, tokenizer):
        [[piece]] = OverlappingPieces(tokenizer, 99)(["</s> <s>"])
        assert [piece.count(special) for special in (0, 1, 2)] == [0, 1, 1]

    def test_begin_with_the_end_token_where_there_is_no_other(self, tokenizer, folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, bos_token=None)
        [[piece]] = OverlappingPieces(tokenizer, 99)(["cat"])
        assert (piece[0], piece[-1]) == (2, 2)


class TestPacking:
    @pytest.fixture
    def blocks(self, tokenizer, writings):
        texts = writings.texts["train"][:3] + writings.texts["validation"]
        pieces = [piece for cut in OverlappingPieces(tokenizer, 24)(texts) for piece in cut]
        return [{"pieces": [pieces[i] for i in block]} for block in best_fit(list(map(len, pieces)), 24)]

    def test_no_document_sees_another(self, model, blocks):
        batch = BlockCollator(0, with_documents=True)(blocks)
        assert max(len(block["pieces"]) for block in blocks) > 1
        expected = [loss for block in blocks for piece in block["pieces"] for loss in losses_alone(model, piece, 24)]
        with torch.no_grad():
            assert model(**batch).loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)
            logits = model(input_ids=batch["input_ids"], document_ids=batch["document_ids"]).logits
        for row, block in zip(logits, blocks, strict=True):
            alone = torch.cat([model(input_ids=torch.tensor([piece])).logits[0] for piece in block["pieces"]])
            torch.testing.assert_close(row[: len(alone)], alone, rtol=1e-4, atol=1e-4)

    def test_labels_are_counted_as_they_are_predicted(self, blocks):
        batch = BlockCollator(0, with_documents=True)(blocks)
        assert (batch["labels"] != -100).sum() == sum(len(piece) - 1 for block in blocks for piece in block["pieces"])
        assert batch["input_ids"].shape == batch["labels"].shape == batch["document_ids"].shape == (len(blocks), 24)

    def test_padding_is_of_no_document_and_has_no_label(self):
        blocks = [{"pieces": [[1, 5, 6], [1, 7]]}, {"pieces": [[1, 8, 9]]}]
        batch = BlockCollator(0, with_documents=True)(blocks)
        assert batch["document_ids"].tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, -1, -1]]
        assert batch["labels"].tolist() == [[-100, 5, 6, -100, 7], [-100, 8, 9, -100, -100]]
        alone = BlockCollator(0, with_documents=False)(blocks)
        assert alone["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]

    @pytest.mark.slow
    def test_a_run_trains_on_full_blocks_of_every_token_in_each_epoch(self, writings, tmp_path, monkeypatch):
        seen, original = [], CausalTrainer.training_step

        def training_step(self, model, inputs, *args, **kwargs):
            seen.append((self.state.global_step, inputs))
            return original(self, model, inputs, *args, **kwargs)

        monkeypatch.setattr(CausalTrainer, "training_step", training_step)
        assert writings.train(TASK, tmp_path / "run") == 0
        found, tokenizer = writings.metrics(tmp_path / "run"), AutoTokenizer.from_pretrained(tmp_path / "run")
        expected = Counter(
            t for text in writings.texts["train"] if text.strip() for t in tokens_of(tokenizer, text)[1:]
        )
        for epoch in range(writings.epochs):
            batches = [batch for step, batch in seen if step * writings.epochs // found["steps"] == epoch]
            labels = torch.cat([batch["labels"].flatten() for batch in batches])
            assert Counter(labels[labels >= 0].tolist()) == expected
        assert found["data"]["train"]["tokens"] == sum(expected.values())
        real = sum((batch["document_ids"] >= 0).float().mean() for _, batch in seen) / len(seen)
        assert real > 0.97


def test_the_saved_model_decodes_with_a_cache(model):
    assert model.config.use_cache and model.generation_config.use_cache


@torch.no_grad()
def test_metrics_are_those_of_a_plain_loop_over_documents(model, tokenizer, folder, writings):
    found = writings.metrics(folder)["test"]
    documents = [tokens_of(tokenizer, text) for text in writings.texts["test"]]
    losses = [losses_alone(model, ids, writings.length) for ids in documents]
    total, count = sum(map(sum, losses)), sum(map(len, losses))
    size = sum(len(text.encode()) for text in writings.texts["test"])
    assert found["loss"] == pytest.approx(total / count, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(total / math.log(2) / size, rel=1e-5)
    assert (found["documents"], found["tokens"], found["bytes"]) == (30, count, size)

    header, *rows = (folder / "test_losses.tsv").read_text("utf-8").splitlines()
    assert header == "text\ttokens\tloss\tbits_per_byte"
    for row, text, of_text in zip(rows, writings.texts["test"], losses, strict=True):
        bits = sum(of_text) / math.log(2) / len(text.encode())
        assert row == f"{text}\t{len(of_text)}\t{sum(of_text) / len(of_text):.2f}\t{bits:.2f}"


class TestScore:
    @torch.no_grad()
    def test_gives_the_log_probability_of_each_document(self, model, tokenizer, folder, writings, capsys):
        capsys.readouterr()
        assert main(["score", str(folder), "--text", str(writings.folder / "test.txt"), "--batch_size", "7"]) == 0
        printed = capsys.readouterr()
        expected = [-sum(losses_alone(model, tokens_of(tokenizer, text), 24)) for text in writings.texts["test"]]
        assert [float(line) for line in printed.out.splitlines()] == pytest.approx(expected, abs=1e-3)
        found = writings.metrics(folder)["test"]
        assert printed.err.splitlines()[-1] == (
            f"30 documents, {found['tokens']:,} tokens: perplexity {found['perplexity']:.2f}, "
            f"{found['bits_per_byte']:.4f} bits per byte"
        )

    def test_gives_the_part_of_each_token(self, tokenizer, folder, writings, tmp_path):
        path = tmp_path / "scores.jsonl"
        command = ["score", str(folder), "--text", str(writings.folder / "test.txt"), "--tokens"]
        assert main([*command, "--output", str(path)]) == 0
        for line, text in zip(path.read_text("utf-8").splitlines(), writings.texts["test"], strict=True):
            found = json.loads(line)
            assert found["tokens"] == tokenizer.convert_ids_to_tokens(tokens_of(tokenizer, text)[1:])
            assert sum(found["token_log_probabilities"]) == pytest.approx(found["log_probability"])

    def test_reads_documents_as_told_and_needs_no_run(self, model, tokenizer, writings, tmp_path, capsys):
        for part in (model, tokenizer):
            part.save_pretrained(tmp_path / "model")
        text = "\n\n".join(writings.texts["validation"][:3])
        (tmp_path / "text.txt").write_text(text)
        counts = []
        for separator in ("file", "blank_line"):
            capsys.readouterr()
            command = ["score", str(tmp_path / "model"), "--text", str(tmp_path / "text.txt")]
            assert main([*command, "--document_separator", separator]) == 0
            counts.append(len(capsys.readouterr().out.splitlines()))
        assert counts == [1, 3]

    def test_refuses_translators(self, toy, trained_run, writings, capsys):
        assert main(["score", str(trained_run), "--text", str(writings.folder / "test.txt")]) == 2
        assert "--text is for language models, but" in capsys.readouterr().err
        assert main(["score", str(trained_run), "--source", "a", "--target", "b", "--block_size", "4"]) == 2
        assert "--block_size and --document_separator are for language models" in capsys.readouterr().err


def test_the_saved_model_goes_on_for_so_many_tokens(folder, writings, tmp_path):
    assert GenerationConfig.from_pretrained(folder).max_new_tokens == 128
    assert writings.train(TASK, tmp_path / "run", max_steps=1, max_new_tokens=7) == 0
    assert GenerationConfig.from_pretrained(tmp_path / "run").max_new_tokens == 7
    learned = {"position_encoding": "learned", "max_position_embeddings": 24}
    assert writings.train(TASK, tmp_path / "learned", max_steps=1, **learned) == 0
    assert GenerationConfig.from_pretrained(tmp_path / "learned").max_new_tokens == 12


def test_a_model_is_measured_where_its_training_data_are_not(folder, writings, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint-*"))
    kept = (tmp_path / "run" / "run_config.yaml").read_text("utf-8")
    moved = kept.replace(str(writings.folder), "/elsewhere")
    assert moved != kept
    (tmp_path / "run" / "run_config.yaml").write_text(moved)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "--test_file", str(writings.folder / "test.txt")]) == 0
    out = capsys.readouterr().out
    assert f"loss {writings.metrics(folder)['test']['loss']:>23.4f}" in out
    assert "unigram" not in out


def test_the_unigram_model_is_counted_plus_one(tokenizer, folder, writings):
    counts = Counter(range(len(tokenizer)))
    for text in writings.texts["train"]:
        counts.update(tokens_of(tokenizer, text)[1:] if text.strip() else [])
    tokens = [token for text in writings.texts["test"] for token in tokens_of(tokenizer, text)[1:]]
    loss = -sum(math.log(counts[token] / counts.total()) for token in tokens) / len(tokens)
    found = writings.metrics(folder)["test"]
    assert found["unigram_loss"] == pytest.approx(loss)
    assert found["unigram_perplexity"] == pytest.approx(math.exp(loss))
    assert found["unigram_bits_per_byte"] == pytest.approx(loss / math.log(2) * len(tokens) / found["bytes"])


@pytest.mark.slow
def test_documents_without_text_cost_nothing(folder, writings, tmp_path):
    texts = [writings.texts["test"][1], " ", writings.texts["test"][2]]
    path, options = writings.write("gaps.txt", texts), {"num_train_epochs": 1, "model_name_or_path": folder}
    assert writings.train(TASK, tmp_path / "run", **options, test_file=path, learning_rate=1e-9) == 0
    rows = (tmp_path / "run" / "test_losses.tsv").read_text("utf-8").splitlines()[1:]
    whole = (folder / "test_losses.tsv").read_text("utf-8").splitlines()[1:]
    assert rows[1] == " \t0\t0.00\t0.00"
    assert [rows[0].rsplit("\t", 2)[0], rows[2].rsplit("\t", 2)[0]] == [row.rsplit("\t", 2)[0] for row in whole[1:3]]
    assert writings.metrics(tmp_path / "run")["test"]["documents"] == 2


@pytest.mark.slow
def test_other_families_are_trained_on_pieces_alone(tokenizer, writings, tmp_path, monkeypatch):
    shape = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 24}
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, **shape)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    batches, original = [], CausalTrainer.training_step

    def training_step(self, model, inputs, *args, **kwargs):
        batches.append(inputs)
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(CausalTrainer, "training_step", training_step)
    assert writings.train(TASK, tmp_path / "run", model_name_or_path=tmp_path / "gpt2") == 0
    assert {tuple(batch) for batch in batches} == {("input_ids", "labels", "attention_mask")}
    found = writings.metrics(tmp_path / "run")
    assert found["test"]["loss"] < found["test"]["unigram_loss"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run").eval()
    assert type(model) is GPT2LMHeadModel
    with torch.no_grad():
        losses = [losses_alone(model, tokens_of(tokenizer, text), 24) for text in writings.texts["test"]]
    assert found["test"]["loss"] == pytest.approx(sum(map(sum, losses)) / sum(map(len, losses)), rel=1e-5)


def test_a_tokenizer_without_an_end_is_refused(tokenizer, writings, tmp_path, capsys):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer.name_or_path, eos_token=None)
    tokenizer.save_pretrained(tmp_path / "endless")
    options = {"tokenizer_name": tmp_path / "endless", "tokenizer_vocab_size": "null"}
    assert writings.train(TASK, tmp_path / "run", **options) == 2
    assert (
        f"The tokenizer {tmp_path}/endless has no eos_token to end a document with: choose" in capsys.readouterr().err
    )


def test_the_text_generation_pipeline_goes_on_in_the_language(folder, tokenizer, model, writings):
    generate = pipeline("text-generation", model=str(folder))
    [answer] = generate("the cat", max_new_tokens=12, do_sample=False)
    ids = model.generate(torch.tensor([[1, *tokenizer("the cat").input_ids[1:]]]), max_new_tokens=12, do_sample=False)
    assert answer["generated_text"] == tokenizer.decode(ids[0, 1:], skip_special_tokens=True)
    words = {word for text in writings.texts["train"] for word in text.replace(".", "").split()}
    assert {*answer["generated_text"].replace(".", "").split()} <= words
