# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The loss, its gradient, and when it is smoothed."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from locant import LocantForCausalLM, LocantForConditionalGeneration, LocantForMaskedLM
from locant.modeling import loss as loss_module
from locant.modeling.loss import linear_token_loss, token_loss, token_losses
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
        monkeypatch.setattr(loss_module, "_chunk_rows", lambda device: 4)


@pytest.mark.usefixtures("pieces")
class TestTokenLoss:
    @pytest.mark.pairwise
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
        """The gradient of the loss with a gradient penalty, and a Hessian-vector product of the loss."""

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

    @pytest.mark.pairwise
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


@pytest.mark.usefixtures("pieces")
class TestLinearTokenLoss:
    """The loss from hidden states and a head equals torch's loss of the logits that the head computes."""

    @pytest.fixture(params=[True, False], ids=["bias", "no bias"])
    def head(self, request):
        return nn.Linear(8, VOCABULARY, bias=request.param)

    @pytest.fixture
    def hidden_states(self):
        return (3 * torch.randn(3, 5, 8)).requires_grad_()

    @pytest.mark.pairwise
    @pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
    @pytest.mark.parametrize("items", [None, 20, torch.tensor(20)], ids=["mean", "number", "tensor"])
    def test_value_and_gradients_are_torchs(self, hidden_states, head, labels, smoothing, items):
        inputs = hidden_states, *head.parameters()
        loss = linear_token_loss(hidden_states, head, labels, smoothing, items)
        if items is None:
            expected = reference(head(hidden_states), labels, smoothing)
        else:
            expected = reference(head(hidden_states), labels, smoothing, "sum") / 20
        torch.testing.assert_close(loss, expected)
        gradients, expected_gradients = (torch.autograd.grad(2.5 * value, inputs) for value in (loss, expected))
        torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-5)
        assert gradients[0][labels == -100].count_nonzero() == 0

    @pytest.mark.parametrize("frozen", ["hidden states", "weight", "bias"])
    def test_what_is_frozen_gets_no_gradient(self, hidden_states, labels, frozen):
        head = nn.Linear(8, VOCABULARY)
        inputs = {"hidden states": hidden_states, "weight": head.weight, "bias": head.bias}
        inputs.pop(frozen).requires_grad_(False)
        found, expected = linear_token_loss(hidden_states, head, labels), reference(head(hidden_states), labels, 0.0)
        gradients = (torch.autograd.grad(value, list(inputs.values())) for value in (found, expected))
        torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)

    def test_second_derivatives_are_torchs_where_head_and_embeddings_share_a_weight(self, labels):
        weight = torch.randn(VOCABULARY, 8, requires_grad=True)
        head = nn.Linear(8, VOCABULARY, bias=False)
        head.weight = nn.Parameter(weight)
        ids = torch.randint(VOCABULARY, labels.shape)

        def penalty(loss):
            (gradient,) = torch.autograd.grad(loss, head.weight, create_graph=True)
            return torch.autograd.grad(loss + 10 * gradient.square().sum(), head.weight)[0]

        found = penalty(linear_token_loss(head.weight[ids].tanh(), head, labels, 0.1))
        expected = penalty(reference(head(head.weight[ids].tanh()), labels, 0.1))
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)

    def test_autocast_multiplies_in_its_dtype_and_adds_up_in_float32(self, hidden_states, head, labels):
        inputs = hidden_states, *head.parameters()
        with torch.autocast("cpu", torch.bfloat16):
            loss, logits = linear_token_loss(hidden_states, head, labels, 0.1), head(hidden_states)
        assert logits.dtype == torch.bfloat16
        expected = reference(logits, labels, 0.1)
        torch.testing.assert_close(loss, expected)
        for found, wanted in zip(*(torch.autograd.grad(value, inputs) for value in (loss, expected)), strict=True):
            assert found.dtype == torch.float32
            assert (found - wanted).norm() < 0.01 * wanted.norm()

    def test_weights_of_half_precision_have_gradients_of_theirs(self, hidden_states, head, labels):
        half = head.to(torch.bfloat16)
        inputs = hidden_states.detach().to(torch.bfloat16).requires_grad_(), *half.parameters()
        loss, expected = linear_token_loss(inputs[0], half, labels), reference(half(inputs[0]), labels, 0.0)
        torch.testing.assert_close(loss, expected)
        for found, wanted in zip(*(torch.autograd.grad(value, inputs) for value in (loss, expected)), strict=True):
            assert found.dtype == torch.bfloat16
            assert (found - wanted).norm() < 0.02 * wanted.norm()

    @pytest.mark.pairwise
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_hidden_states_of_ignored_labels_may_be_anything(self, hidden_states, head, labels, value):
        spoilt = hidden_states.detach().masked_fill((labels == -100).unsqueeze(-1), value).requires_grad_()
        results = []
        for states in (spoilt, hidden_states):
            loss = linear_token_loss(states, head, labels, 0.1)
            results.append([loss, *torch.autograd.grad(loss, [states, *head.parameters()])])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))

    def test_without_any_label_that_counts_it_is_nan_and_its_gradients_are_zero(self, hidden_states, head, labels):
        loss = linear_token_loss(hidden_states, head, labels.fill_(-100))
        assert loss.isnan()
        for gradient in torch.autograd.grad(loss, [hidden_states, *head.parameters()]):
            assert torch.equal(gradient, torch.zeros_like(gradient))

    def test_a_graph_may_be_used_twice(self, hidden_states, head, labels):
        loss = linear_token_loss(hidden_states, head, labels)
        first, second = (torch.autograd.grad(loss, hidden_states, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)

    def test_labels_of_another_shape_are_refused(self, hidden_states, head, labels):
        with pytest.raises(ValueError, match=r"^labels have the shape \(3, 4\), but the tokens .* \(3, 5\): give a"):
            linear_token_loss(hidden_states, head, labels[:, :4])


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("cls", [LocantForConditionalGeneration, LocantForCausalLM, LocantForMaskedLM])
class TestSkippedLogits:
    @pytest.fixture
    def batch(self):
        labels = torch.randint(3, 24, (4, 12))
        labels[0, 4:], labels[1, ::2] = -100, -100
        return {"input_ids": torch.randint(3, 24, (4, 12)), "labels": labels}

    @pytest.fixture
    def model(self, make_model, cls):
        return make_model(cls, label_smoothing=0.2, lm_head_bias=True).train()

    @staticmethod
    def loss_and_gradients(model, **inputs):
        model.zero_grad()
        outputs = model(**inputs)
        outputs.loss.backward()
        return outputs, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    @pytest.mark.parametrize("items", [None, 70])
    def test_loss_and_gradients_are_the_same(self, model, batch, items):
        outputs, gradients = self.loss_and_gradients(model, **batch, num_items_in_batch=items, skip_logits=True)
        expected, expected_gradients = self.loss_and_gradients(model, **batch, num_items_in_batch=items)
        assert outputs.logits is None
        assert list(outputs) == [name for name in expected if name != "logits"]
        torch.testing.assert_close(outputs.loss, expected.loss)
        torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-5)

    def test_no_tensor_has_the_size_of_the_logits(self, make_model, cls):
        model = make_model(cls, vocab_size=3000).train()
        batch = {name: torch.randint(3, 3000, (40, 20)) for name in ("input_ids", "labels")}
        with LargestTensor() as skipped:
            model(**batch, skip_logits=True).loss.backward()
        with LargestTensor() as plain:
            model(**batch).loss.backward()
        assert plain.elements == 800 * 3000
        assert skipped.elements == 256 * 3000

    def test_rows_without_a_label_are_not_multiplied(self, model, batch, monkeypatch):
        rows = []
        monkeypatch.setattr(
            loss_module, "linear", lambda x, *others: rows.append(len(x)) or nn.functional.linear(x, *others)
        )
        model(**batch, skip_logits=True)
        labels = batch["labels"][:, 1:] if isinstance(model, LocantForCausalLM) else batch["labels"]
        assert sum(rows) == (labels != -100).sum()

    def test_a_head_that_is_wrapped_is_called(self, model, batch):
        expected = model(**batch).loss
        calls = []
        with model.lm_head.register_forward_hook(lambda head, inputs, output: calls.append(1) or output + 1):
            outputs = model(**batch, skip_logits=True)
        assert calls == [1]
        assert outputs.logits is None
        torch.testing.assert_close(outputs.loss, expected)  # the softmax does not see a constant

        class Adapter(nn.Module):
            def __init__(self, base):
                super().__init__()
                self.base, self.weight, self.bias = base, base.weight, base.bias

            def forward(self, hidden_states):
                return 2 * self.base(hidden_states)

        model.lm_head = Adapter(model.lm_head)
        outputs = model(**batch, skip_logits=True)
        torch.testing.assert_close(outputs.loss, model(**batch).loss)
        assert abs(outputs.loss - expected) > 0.01

    def test_torch_func_gives_the_same_gradients(self, model, batch):
        parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

        def loss(parameters):
            return functional_call(model, parameters, kwargs={**batch, "skip_logits": True}).loss

        found = grad(loss)(parameters)
        _, expected = self.loss_and_gradients(model, **batch)
        torch.testing.assert_close({name: found[name] for name in expected}, expected, atol=1e-6, rtol=1e-5)

    def test_without_labels_is_refused(self, model, batch):
        del batch["labels"]
        inputs = {"decoder_input_ids": batch["input_ids"]} if model.config.is_encoder_decoder else {}
        with pytest.raises(ValueError, match="no labels are given: give labels"):
            model(**batch, **inputs, skip_logits=True)


@pytest.mark.end_to_end
@pytest.mark.filterwarnings("ignore")
def test_compiled_code_serves_all_lengths_with_one_graph():
    head = nn.Linear(8, VOCABULARY)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(linear_token_loss, dynamic=True, backend="aot_eager", fullgraph=True)
    for length in (12, 9, 7):
        labels = torch.randint(VOCABULARY, (4, length))
        labels[0, 4:] = -100
        hidden_states = torch.randn(4, length, 8).masked_fill((labels == -100).unsqueeze(-1), math.nan).requires_grad_()
        inputs = hidden_states, *head.parameters()
        found, expected = (function(hidden_states, head, labels, 0.1) for function in (compiled, linear_token_loss))
        torch.testing.assert_close(found, expected)
        gradients = (torch.autograd.grad(loss, inputs) for loss in (found, expected))
        torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


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
