# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The loss, its gradient, and when it is smoothed."""

import math

import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev
from torch.nn.functional import cross_entropy

from locant.modeling import loss as loss_module
from locant.modeling.loss import token_loss, token_losses
from locant.modeling.modeling_locant import shift_right

VOCABULARY = 24


@pytest.fixture
def logits():
    return (3 * torch.randn(3, 5, VOCABULARY)).requires_grad_()


@pytest.fixture
def labels():
    labels = torch.randint(VOCABULARY, (3, 5))
    labels[0, 3:] = -100
    labels[2] = -100
    return labels


def reference(logits, labels, smoothing, reduction="mean"):
    return cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        label_smoothing=smoothing,
        reduction=reduction,
        ignore_index=-100,
    )


@pytest.fixture(params=["in one piece", "in pieces"])
def pieces(request, monkeypatch):
    """The loss works through the rows in pieces of bounded size: here all 15 at once, or 4 at a time."""
    if request.param == "in pieces":
        monkeypatch.setattr(loss_module, "_rows_at_a_time", lambda logits: 4)


@pytest.mark.usefixtures("pieces")
class TestTokenLoss:
    @pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
    @pytest.mark.parametrize("items", [None, 20, torch.tensor(20)], ids=["mean", "number", "tensor"])
    def test_value_and_gradient_are_torchs(self, logits, labels, smoothing, items):
        loss = token_loss(logits, labels, smoothing, items)
        (gradient,) = torch.autograd.grad(2.5 * loss, logits)
        if items is None:
            expected = reference(logits, labels, smoothing)
        else:
            expected = reference(logits, labels, smoothing, "sum") / 20
        (expected_gradient,) = torch.autograd.grad(2.5 * expected, logits)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-7, rtol=1e-5)
        assert gradient[labels == -100].count_nonzero() == 0

    def test_value_by_hand(self):
        logits, labels = torch.tensor([[[1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]]), torch.tensor([[1, -100]])
        total = math.exp(1) + math.exp(2) + math.exp(0)
        log_probabilities = [x - math.log(total) for x in (1, 2, 0)]
        assert token_loss(logits, labels).item() == pytest.approx(-log_probabilities[1])
        smoothed = 0.7 * -log_probabilities[1] + 0.3 * -sum(log_probabilities) / 3
        assert token_loss(logits, labels, 0.3).item() == pytest.approx(smoothed)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_summed_in_float32(self, logits, labels, dtype):
        half = logits.detach().to(dtype).requires_grad_()
        exact = half.detach().float().requires_grad_()
        loss, expected = token_loss(half, labels, 0.1), token_loss(exact, labels, 0.1)
        assert loss.dtype == torch.float32
        assert torch.equal(loss, expected)
        loss.backward()
        expected.backward()
        assert half.grad.dtype == dtype
        torch.testing.assert_close(half.grad, exact.grad.to(dtype))

    def test_large_logits_stay_finite(self):
        logits = torch.tensor([[[1e4, -1e4, 0.0]]], requires_grad=True)
        loss = token_loss(logits, torch.tensor([[1]]))
        loss.backward()
        assert loss.item() == 2e4
        assert logits.grad.tolist() == [[[1, -1, 0]]]

    @pytest.mark.parametrize("label", [-1, VOCABULARY])
    def test_labels_outside_the_vocabulary_are_refused(self, logits, labels, label):
        labels[1, 2] = label
        with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
            token_loss(logits, labels)

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_second_derivatives_are_torchs(self, logits, labels, smoothing):
        """Of a gradient penalty beside the loss, and of the loss along a direction."""

        def penalty(loss):
            (gradient,) = torch.autograd.grad(2.5 * loss, logits, create_graph=True)
            return torch.autograd.grad(loss + 10 * gradient.square().sum(), logits)[0]

        found, expected = (penalty(loss(logits, labels, smoothing)) for loss in (token_loss, reference))
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)
        direction = torch.randn_like(logits)
        products = [
            torch.autograd.functional.hvp(lambda x, loss=loss: loss(x, labels, smoothing), logits, direction)[1]
            for loss in (token_loss, reference)
        ]
        assert products[1].abs().max() > 0.01
        torch.testing.assert_close(*products, atol=1e-7, rtol=1e-5)

    @pytest.mark.parametrize("transform", [grad, jacrev, jacfwd, hessian])
    def test_torch_func_gives_what_it_gives_of_torchs_loss(self, logits, labels, transform):
        losses = token_loss, reference
        found, expected = (transform(lambda x, f=f: f(x, labels, 0.1))(logits.detach()) for f in losses)
        assert expected.norm() > 0.1
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_logits_of_ignored_labels_may_be_anything(self, logits, labels, smoothing, value, dtype):
        logits = logits.detach().to(dtype).requires_grad_()
        spoilt = logits.detach().clone()
        spoilt[0, 3, 5], spoilt[2] = value, value
        spoilt.requires_grad_()
        loss, expected = (token_loss(x, labels, smoothing) for x in (spoilt, logits))
        assert torch.equal(loss, expected)
        for graph in (False, True):
            gradient, of_clean = (
                torch.autograd.grad(a, b, retain_graph=True, create_graph=graph)[0]
                for a, b in ((loss, spoilt), (expected, logits))
            )
            assert torch.equal(gradient, of_clean)
        second, of_clean = (
            torch.autograd.grad(a.square().sum(), b)[0] for a, b in ((gradient, spoilt), (of_clean, logits))
        )
        assert torch.equal(second, of_clean)
        assert torch.equal(token_losses(spoilt, labels), token_losses(logits, labels))

    def test_nan_where_a_label_counts_stays_visible(self, logits, labels):
        spoilt = logits.detach().clone()
        spoilt[1, 1, 5] = math.nan
        spoilt.requires_grad_()
        loss = token_loss(spoilt, labels)
        (gradient,) = torch.autograd.grad(loss, spoilt)
        assert loss.isnan()
        assert gradient[1, 1].isnan().all()

    def test_parts_of_a_step_add_up(self, logits, labels):
        whole = token_loss(logits, labels, 0.1)
        items = (labels != -100).sum()
        parts = [token_loss(logits[i : i + 1], labels[i : i + 1], 0.1, items) for i in range(3)]
        torch.testing.assert_close(sum(parts), whole)


class TestPieces:
    def test_are_of_bounded_size(self):
        for vocabulary in (10, 8000, 250_000):
            rows = loss_module._rows_at_a_time(torch.empty(1, vocabulary))
            assert rows >= 1
            assert rows == 1 or rows * vocabulary <= 2**20


class TestModelLoss:
    @pytest.fixture
    def batch(self, make_batch):
        ids, mask = make_batch([[5, 6, 7, 8, 2], [9, 10, 2]])
        labels = make_batch([[11, 12, 2], [13, 14, 15, 2]])[0]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels.masked_fill(labels == 0, -100)}

    @pytest.fixture
    def model(self, make_model):
        return make_model(label_smoothing=0.2)

    def test_evaluation_loss_is_the_plain_mean_so_its_exponential_is_perplexity(self, model, batch):
        with torch.no_grad():
            outputs = model(**batch)
        log_probabilities = outputs.logits.log_softmax(-1)
        of_labels = [
            log_probabilities[row, place, label].item()
            for row, labels in enumerate(batch["labels"].tolist())
            for place, label in enumerate(labels)
            if label != -100
        ]
        assert len(of_labels) == 7
        perplexity = math.prod(math.exp(-value) for value in of_labels) ** (1 / 7)
        assert outputs.loss.exp().item() == pytest.approx(perplexity, rel=1e-5)

    def test_training_loss_is_smoothed(self, model, batch):
        outputs = model.train()(**batch)
        torch.testing.assert_close(outputs.loss, reference(outputs.logits, batch["labels"], 0.2))
        assert abs(outputs.loss - reference(outputs.logits, batch["labels"], 0.0)) > 1e-3

    @pytest.mark.parametrize("mode", ["train", "eval"])
    def test_number_of_items_of_the_step_divides(self, model, batch, mode):
        model.train(mode == "train")
        plain, divided = model(**batch).loss, model(**batch, num_items_in_batch=torch.tensor(70)).loss
        torch.testing.assert_close(divided, plain / 10)

    def test_decoder_inputs_are_made_from_the_labels(self, model, batch):
        expected = model(**batch)
        decoder_ids = torch.tensor([[1, 11, 12, 2], [1, 13, 14, 15]])
        assert torch.equal(model(**batch, decoder_input_ids=decoder_ids).logits, expected.logits)
        assert torch.equal(model.prepare_decoder_input_ids_from_labels(batch["labels"]), decoder_ids)

    def test_padding_of_the_labels_changes_nothing(self, model, batch):
        expected = model(**batch).loss
        batch["labels"] = torch.nn.functional.pad(batch["labels"], (0, 3), value=-100)
        torch.testing.assert_close(model(**batch).loss, expected)

    def test_without_labels_there_is_none(self, model, batch):
        labels = batch.pop("labels")
        assert model(**batch, decoder_input_ids=shift_right(labels, 1, 0)).loss is None


def test_shift_right():
    labels = torch.tensor([[5, 6, 2, -100], [7, 2, -100, -100]])
    assert shift_right(labels, 1, 0).tolist() == [[1, 5, 6, 2], [1, 7, 2, 0]]
