# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Second derivatives, and the transforms of torch.func, of every class with a loss."""

import pytest
import torch
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.nn.functional import cross_entropy

from locant import (
    LocantForCausalLM,
    LocantForConditionalGeneration,
    LocantForImageClassification,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
)

LENGTH = 20  # two blocks of the backend blockwise
FIELDS = {"encoder_layers": 1, "decoder_layers": 1, "position_encoding": "t5", "num_labels": 3}
IMAGES = {**FIELDS, "encoder_input": "patches", "image_size": 10, "patch_size": 2, "position_encoding": "learned"}
OF_TOKENS = [LocantForCausalLM, LocantForMaskedLM, LocantForConditionalGeneration]
CLASSES = [
    *OF_TOKENS,
    LocantForTokenClassification,
    LocantForSequenceClassification,
    LocantForQuestionAnswering,
    LocantForImageClassification,
]
classes = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def examples(cls):
    """A batch of three examples with labels for a model class."""
    if cls is LocantForImageClassification:
        return {"pixel_values": torch.randn(3, 3, 10, 10), "labels": torch.arange(3)}
    tokens = {"input_ids": torch.randint(3, 24, (3, LENGTH))}
    if cls is LocantForSequenceClassification:
        return {**tokens, "labels": torch.arange(3)}
    if cls is LocantForQuestionAnswering:
        return {**tokens, "start_positions": torch.arange(3), "end_positions": torch.arange(3) + 4}
    labels = torch.randint(3 if cls is LocantForTokenClassification else 24, (3, LENGTH))
    labels[0, 4:], labels[1, ::2] = -100, -100
    return {**tokens, "labels": labels}


def padding():
    return (torch.arange(LENGTH) < torch.tensor([[14], [20], [17]])).long()


def own_mask():
    """A mask of four dimensions: the padding, and a key that some queries of one row do not see."""
    mask = padding().bool()[:, None, None].repeat(1, 1, LENGTH, 1)
    mask[1, :, 5:, 3] = False
    return mask


MASKED = [(cls, mask) for cls in CLASSES for mask in (None, padding, own_mask)]
MASKED = [(cls, mask) for cls, mask in MASKED if mask is None or cls is not LocantForImageClassification]


def build(make_model, cls, backend="eager"):
    model = make_model(cls, **(IMAGES if cls is LocantForImageClassification else FIELDS))
    model.set_attn_implementation(backend)
    return model


def loss_of_one(model):
    """A function that computes the loss from parameters, by name, and one example without a batch dimension."""

    def loss(parameters, example):
        batch = {name: values.unsqueeze(0) for name, values in example.items()}
        return functional_call(model, parameters, kwargs=batch).loss

    return loss


def gradients(model, batch, row):
    """The gradients of the loss of one example, by autograd."""
    model.zero_grad()
    model(**{name: values[row : row + 1] for name, values in batch.items()}).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def detached(model):
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def assert_same(found, expected):
    assert expected
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cls", OF_TOKENS, ids=lambda cls: cls.__name__)
def test_gradient_penalty_is_that_of_torchs_loss(make_model, cls, training):
    model, batch = make_model(cls, **FIELDS, label_smoothing=0.1).train(training), examples(cls)
    model.set_attn_implementation("eager")
    parameters = list(model.parameters())

    def penalty(with_torchs_loss):
        outputs, labels = model(**batch), batch["labels"]
        loss = outputs.loss
        if with_torchs_loss:
            logits = outputs.logits
            if cls is LocantForCausalLM:
                logits, labels = logits[:, :-1], labels[:, 1:]
            loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1 if training else 0.0)
        found = torch.autograd.grad(loss, parameters, create_graph=True)
        found = torch.autograd.grad(sum(gradient.square().sum() for gradient in found), parameters)
        return torch.cat([gradient.flatten() for gradient in found])

    found, expected = penalty(False), penalty(True)
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.pairwise
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
@pytest.mark.parametrize(("cls", "mask"), MASKED)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_gradients_of_each_example_by_vmap(make_model, cls, backend, mask):
    model, batch = build(make_model, cls, backend), examples(cls)
    if mask is not None:
        batch["attention_mask"] = mask()
    found = vmap(grad(loss_of_one(model)), in_dims=(None, 0))(detached(model), batch)
    for row in range(3):
        assert_same({name: rows[row] for name, rows in found.items()}, gradients(model, batch, row))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("backend", ["eager", "blockwise"])
@classes
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_torch_func(make_model, cls, backend):
    """grad and jacrev, with padding; also jvp, if the model does not call the kernel of sdpa, which has no jvp."""
    model, batch = build(make_model, cls, backend), examples(cls)
    if cls is not LocantForImageClassification:
        batch["attention_mask"] = padding()
    example, parameters = {name: values[0] for name, values in batch.items()}, detached(model)
    loss, expected = loss_of_one(model), gradients(model, batch, 0)
    assert_same(grad(loss)(parameters, example), expected)
    assert_same(jacrev(loss)(parameters, example), expected)
    if backend == "eager" or cls is not LocantForImageClassification:
        directions = {name: torch.randn_like(values) for name, values in parameters.items()}
        _, change = jvp(lambda values: loss(values, example), (parameters,), (directions,))
        along = sum((gradient * directions[name]).sum() for name, gradient in expected.items())
        torch.testing.assert_close(change, along, atol=1e-4, rtol=1e-4)
