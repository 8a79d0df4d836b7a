# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`Dropout`: the share of dropped elements, the scale of the others, gradients, and what is left to `nn.Dropout`."""

import math

import pytest
import torch
from torch import nn

from locant.modeling.layers import Dropout

ELEMENTS = 2**20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.9])
def test_elements_are_dropped_with_the_probability_and_others_are_scaled(probability, dtype):
    torch.manual_seed(0)
    output = Dropout(probability)(torch.ones(ELEMENTS, dtype=dtype))
    # each 64-bit draw decides on four elements, so each of the four is looked at separately
    shares = (output == 0).view(-1, 4).double().mean(dim=0)
    error = math.sqrt(probability * (1 - probability) / (ELEMENTS / 4))
    torch.testing.assert_close(shares, torch.full_like(shares, probability), rtol=0, atol=5 * error)
    kept = output[output != 0]
    assert (kept == kept[0]).all()
    torch.testing.assert_close(
        kept[0].float(), torch.tensor(1 / (1 - probability)), rtol=1e-3 + torch.finfo(dtype).eps, atol=0
    )


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5])
def test_as_many_of_all_values_drop_an_element_as_the_probability_says(probability, monkeypatch):
    all_values = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.int64)
    monkeypatch.setattr(torch.Tensor, "random_", lambda draws, *range: draws.copy_(all_values))
    output = Dropout(probability)(torch.ones(2**16))
    assert (output == 0).sum() == round(probability * 2**16)


def test_the_expected_output_is_the_input_although_the_probability_is_rounded():
    torch.manual_seed(0)
    output = Dropout(2.4 / 2**16)(torch.ones(4))
    assert output[0].item() == pytest.approx(2**16 / (2**16 - 2), rel=1e-7)


def test_dropped_elements_are_independent_of_their_neighbours():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(ELEMENTS)) == 0).double() - 0.5
    for distance in range(1, 9):
        correlation = 4 * (dropped[distance:] * dropped[:-distance]).mean().item()
        assert abs(correlation) < 5 / math.sqrt(ELEMENTS)


def test_the_gradient_passes_through_kept_elements_only():
    states = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    output = Dropout(0.3)(states)
    (gradient,) = torch.autograd.grad(output.sum(), states)
    torch.testing.assert_close(gradient * states, output)
    assert (gradient == 0).any() and (gradient != 0).any()


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3, 5)])
def test_any_number_of_elements_keeps_its_shape(shape):
    assert Dropout(0.1)(torch.ones(shape)).shape == shape


def test_strided_states_are_dropped_as_contiguous_ones():
    states = torch.randn(8, 6)
    outputs = []
    for given in (states, states.t().contiguous().t()):
        torch.manual_seed(0)
        outputs.append(Dropout(0.3)(given))
    assert torch.equal(*outputs)


def test_a_seed_determines_the_dropped_elements():
    module, outputs = Dropout(0.5), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(module(torch.ones(64)))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_evaluation_mode_changes_nothing():
    states = torch.randn(5)
    assert torch.equal(Dropout(0.5).eval()(states), states)


@pytest.mark.parametrize("probability", [0.0, 1e-6, 1.0])
def test_a_probability_that_16_bits_cannot_hold_is_left_to_torch(probability):
    assert_as_torch(lambda module: module(probability))


def test_in_place_is_left_to_torch():
    assert_as_torch(lambda module: module(0.5, inplace=True))


def assert_as_torch(build, compiled=lambda module: module):
    """Both modules give the same output with the same seed, and draw the same random numbers."""
    results = []
    for module in (Dropout, nn.Dropout):
        torch.manual_seed(0)
        results.append((compiled(build(module))(torch.ones(100)), torch.get_rng_state()))
    for own, stock in zip(*results, strict=True):
        assert torch.equal(own, stock)


def test_compiled_code_is_left_to_torch_in_one_graph():
    assert_as_torch(lambda module: module(0.5), lambda module: torch.compile(module, fullgraph=True, backend="eager"))


@pytest.mark.filterwarnings("ignore:Trace had nondeterministic nodes", "ignore:`torch.jit:DeprecationWarning")
def test_traced_code_is_left_to_torch():
    traced = torch.jit.trace(Dropout(0.5), torch.ones(100), check_trace=False)
    assert "dropout" in str(traced.graph)


def test_vmap_is_left_to_torch():
    output = torch.func.vmap(Dropout(0.5), randomness="different")(torch.ones(4, 1000))
    assert ((output == 0) | (output == 2)).all()
    assert not torch.equal(output[0], output[1])
