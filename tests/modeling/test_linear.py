# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`project`: oneDNN multiplies few rows; in all other cases, the linear layer is called."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from locant.modeling.linear import project

pytestmark = pytest.mark.skipif(
    not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()), reason="torch without MKL"
)


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def layer():
    return nn.Linear(512, 1024).requires_grad_(False)


def operations(call):
    """The result of `call`, and whether oneDNN's product was among the operations that it ran."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        output = call()
    return output, any(event.key == "mkldnn::_linear_pointwise" for event in profiler.key_averages())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(512,), (1, 512), (1, 1, 512), (4, 64, 512)])
def test_few_rows_are_multiplied_by_onednn(shape, bias):
    layer, states = nn.Linear(512, 1024, bias=bias), torch.randn(shape)
    with torch.no_grad():
        output, by_onednn = operations(lambda: project(layer, states))
        exact = layer.double()(states.double())
    assert by_onednn
    torch.testing.assert_close(output.double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "states", [torch.randn(4, 9, 512)[:, -1:], torch.randn(512, 6).T, torch.randn(3, 1024)[:, ::2]]
)
def test_strides_are_followed(layer, states):
    layer.weight.data = layer.weight.data.T.contiguous().T
    with torch.no_grad():
        output, by_onednn = operations(lambda: project(layer, states))
        assert by_onednn
        torch.testing.assert_close(output, layer(states), atol=1e-5, rtol=1e-5)


def calls_the_layer(layer, states=None):
    states = torch.randn(1, 512) if states is None else states
    output, by_onednn = operations(lambda: project(layer, states))
    assert not by_onednn
    assert torch.equal(output, layer(states))
    return output


@torch.no_grad()
@pytest.mark.parametrize("states", [torch.randn(257, 512), torch.randn(0, 512)])
def test_many_rows_and_none_call_the_layer(layer, states):
    calls_the_layer(layer, states)


@torch.no_grad()
def test_one_thread_calls_the_layer(layer):
    torch.set_num_threads(1)
    calls_the_layer(layer)


@torch.no_grad()
def test_the_smallest_weights_for_onednn():
    _, by_onednn = operations(lambda: project(nn.Linear(512, 512), torch.randn(1, 512)))
    assert by_onednn


@torch.no_grad()
def test_small_weights_call_the_layer():
    calls_the_layer(nn.Linear(512, 511))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_call_the_layer(layer, dtype):
    calls_the_layer(layer.to(dtype), torch.randn(1, 512, dtype=dtype))


@torch.no_grad()
def test_autocast_calls_the_layer(layer):
    with torch.autocast("cpu", torch.bfloat16):
        assert calls_the_layer(layer).dtype == torch.bfloat16


@torch.no_grad()
def test_switched_off_onednn_calls_the_layer(layer):
    with torch.backends.mkldnn.flags(enabled=False):
        calls_the_layer(layer)


def test_gradients_call_the_layer(layer):
    states = torch.randn(1, 512, requires_grad=True)
    project(layer, states).sum().backward()
    torch.testing.assert_close(states.grad, layer.weight.sum(0)[None])


@torch.no_grad()
def test_forward_mode_derivatives_call_the_layer(layer):
    with forward_ad.dual_level():
        states = forward_ad.make_dual(torch.randn(1, 512), torch.ones(1, 512))
        tangent = forward_ad.unpack_dual(project(layer, states)).tangent
    torch.testing.assert_close(tangent, layer.weight.sum(1)[None])


@torch.no_grad()
def test_hooks_of_the_layer_and_of_all_modules_run(layer):
    seen = []
    record = lambda module, inputs, output: seen.append(module)  # noqa: E731
    for register in (layer.register_forward_hook, nn.modules.module.register_module_forward_hook):
        with register(record):
            project(layer, torch.randn(1, 512))
    assert seen == [layer, layer]


@torch.no_grad()
def test_replaced_forward_runs(layer):
    layer.forward = lambda states: "replaced"
    assert project(layer, torch.randn(1, 512)) == "replaced"


@torch.no_grad()
def test_derived_layers_and_other_modules_are_called():
    class Doubled(nn.Linear):
        def forward(self, states):
            return 2 * super().forward(states)

    calls_the_layer(Doubled(512, 1024))
    calls_the_layer(nn.Sequential(nn.Linear(512, 1024)))


@torch.no_grad()
def test_torch_func_and_dispatch_modes_see_a_linear_layer(layer):
    states = torch.randn(3, 1, 512)
    torch.testing.assert_close(torch.func.vmap(lambda row: project(layer, row))(states), layer(states))
    with FlopCounterMode(display=False) as counter:
        project(layer, states)
    assert counter.get_total_flops() == 2 * 3 * 512 * 1024


@torch.no_grad()
def test_traced_code_calls_the_layer(layer):
    traced = torch.jit.trace(lambda states: project(layer, states), torch.randn(1, 512))
    assert "mkldnn" not in str(traced.graph)
