# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""transformers' own Trainer on every head: the labels that it finds, the loss, and its own label smoothing."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments
from transformers.models.auto import modeling_auto

import locant
from locant import LocantConfig

SHAPE = {"vocab_size": 24, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
SHAPE |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
TOKENS = torch.randint(3, 24, (4, 6), generator=torch.Generator().manual_seed(0))
PIXELS = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SPANS = {"start_positions": torch.tensor([0, 1, 2, 3]), "end_positions": torch.tensor([1, 2, 3, 4])}
TAGS = {"input_ids": TOKENS, "labels": TOKENS % 3}
IMAGES = {"encoder_input": "patches", "image_size": 16, "patch_size": 8, "num_labels": 3}

# class, fields of the config, columns of the data, names of the labels as in the built-in class of the same job
HEADS = {
    "translation": ("LocantForConditionalGeneration", {}, {"input_ids": TOKENS, "labels": TOKENS}, ["labels"]),
    "captioning": ("LocantForConditionalGeneration", IMAGES, {"pixel_values": PIXELS, "labels": TOKENS}, ["labels"]),
    "language model": ("LocantForCausalLM", {}, {"input_ids": TOKENS, "labels": TOKENS}, ["labels"]),
    "masked language model": ("LocantForMaskedLM", {}, {"input_ids": TOKENS, "labels": TOKENS}, ["labels"]),
    "sentences": (
        "LocantForSequenceClassification",
        {"num_labels": 3},
        {"input_ids": TOKENS, "labels": torch.tensor([0, 1, 2, 1])},
        ["labels"],
    ),
    "tokens": (
        "LocantForTokenClassification",
        {"num_labels": 3},
        {"input_ids": TOKENS, "labels": TOKENS % 3},
        ["labels"],
    ),
    "answers": (
        "LocantForQuestionAnswering",
        {},
        {
            "input_ids": TOKENS,
            "start_positions": torch.tensor([0, 1, 2, 3]),
            "end_positions": torch.tensor([1, 2, 3, 4]),
        },
        ["start_positions", "end_positions"],
    ),
    "images": (
        "LocantForImageClassification",
        IMAGES,
        {"pixel_values": PIXELS, "labels": torch.tensor([0, 1, 2, 1])},
        ["labels"],
    ),
}


@pytest.fixture(params=HEADS)
def head(request):
    """A model, four rows of data, a batch of the same rows, and the names of the labels."""
    name, fields, columns, labels = HEADS[request.param]
    torch.manual_seed(0)
    model = getattr(locant, name)(LocantConfig(**SHAPE, **fields)).eval()
    return model, [{key: value[row] for key, value in columns.items()} for row in range(4)], columns, labels


def arguments(folder, **options):
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "per_device_eval_batch_size": 4}
    return TrainingArguments(folder, **quiet, **options)


def test_it_finds_the_labels_and_measures_the_loss(head, tmp_path):
    model, rows, batch, labels = head
    trainer = Trainer(model, arguments(tmp_path))
    assert trainer.label_names == labels
    with torch.no_grad():
        expected = model(**batch)
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(expected.loss.item(), abs=1e-5)
    found = trainer.predict(rows)
    ids = found.label_ids if isinstance(found.label_ids, tuple) else (found.label_ids,)
    for name, value in zip(labels, ids, strict=True):
        assert torch.equal(torch.tensor(value), batch[name])
    first = found.predictions[0] if isinstance(found.predictions, tuple) else found.predictions
    torch.testing.assert_close(torch.tensor(first), expected[1], atol=1e-5, rtol=1e-5)


@pytest.mark.sampled(4)
def test_it_loads_the_best_model_at_the_end(head, tmp_path):
    model, rows, _, _ = head
    options = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 1, "save_steps": 1, "max_steps": 2}
    # the highest loss counts as the best, because the model with the lowest loss is the last one
    options |= {"load_best_model_at_end": True, "greater_is_better": True, "learning_rate": 0.01}
    trainer = Trainer(model, arguments(tmp_path, **options), train_dataset=rows, eval_dataset=rows)
    trainer.train()
    first, last = (entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry)
    assert first > last + 1e-3
    assert trainer.evaluate()["eval_loss"] == pytest.approx(first, abs=1e-6)


class Derived(locant.LocantForCausalLM):
    """A class that a user derives from a model class."""


@pytest.mark.parametrize("cls", [locant.LocantForCausalLM, Derived])
def test_its_label_smoothing_shifts_the_labels_of_a_language_model(cls, tmp_path):
    model = cls(LocantConfig(**SHAPE)).eval()
    trainer = Trainer(model, arguments(tmp_path, label_smoothing_factor=0.2))
    loss = trainer.compute_loss(model, {"input_ids": TOKENS, "labels": TOKENS})
    logits = model(TOKENS).logits[:, :-1]
    expected = cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten(), label_smoothing=0.2)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cls", [locant.LocantForCausalLM, Derived])
def test_its_evaluation_loss_is_that_of_the_model(cls, tmp_path):
    """The Trainer counts the labels that a step predicts by the loss type of the model."""
    model = cls(LocantConfig(**SHAPE)).eval()
    rows = [{"input_ids": row, "labels": row} for row in TOKENS]
    found = Trainer(model, arguments(tmp_path)).evaluate(rows)["eval_loss"]
    assert found == pytest.approx(model(TOKENS, labels=TOKENS).loss.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["translation", "masked language model", "tokens"])
def test_its_label_smoothing_shifts_no_other_labels(name, tmp_path):
    cls, fields, batch, _ = HEADS[name]
    model = getattr(locant, cls)(LocantConfig(**SHAPE, **fields)).eval()
    trainer = Trainer(model, arguments(tmp_path, label_smoothing_factor=0.2))
    batch = {**batch, "decoder_input_ids": TOKENS} if name == "translation" else dict(batch)
    labels = batch["labels"]
    loss = trainer.compute_loss(model, dict(batch))
    del batch["labels"]
    expected = cross_entropy(model(**batch).logits.flatten(0, 1), labels.flatten(), label_smoothing=0.2)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_a_derived_class_has_the_loss_of_its_head(name):
    """By default, transformers chooses the loss by the name of the class."""
    cls, fields, batch, _ = HEADS[name]
    base = getattr(locant, cls)
    derived = type("Mine", (base,), {})
    torch.manual_seed(0)
    expected = base(LocantConfig(**SHAPE, **fields)).eval()(**batch).loss
    torch.manual_seed(0)
    assert torch.equal(derived(LocantConfig(**SHAPE, **fields)).eval()(**batch).loss, expected)


TABLES = {
    "LocantForCausalLM": "CAUSAL_LM",
    "LocantForMaskedLM": "MASKED_LM",
    "LocantForSequenceClassification": "SEQUENCE_CLASSIFICATION",
    "LocantForTokenClassification": "TOKEN_CLASSIFICATION",
    "LocantForQuestionAnswering": "QUESTION_ANSWERING",
    "LocantForImageClassification": "IMAGE_CLASSIFICATION",
    "LocantForConditionalGeneration": "SEQ_TO_SEQ_CAUSAL_LM",
}


@pytest.mark.parametrize("name", TABLES)
def test_transformers_tables_of_class_names_have_each_head(name):
    derived = type(f"{name}Derived", (getattr(locant, name),), {})
    names = getattr(modeling_auto, f"MODEL_FOR_{TABLES[name]}_MAPPING_NAMES").values()
    assert {name, derived.__name__} <= set(names)
