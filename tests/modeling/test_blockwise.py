# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Blockwise attention is eager attention, one block of queries at a time, and never has all pairs in memory."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import send_to_device
from torch.func import functional_call, grad
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from locant.modeling.attention import SelfAttention
from locant.modeling.attention_inputs import AttentionInputs
from locant.modeling.blockwise import BlockwiseMask, blockwise_attention
from locant.modeling.positions import DistanceBias, PositionInputs, PositionLayer, ShawEncoding, SlotIndex, T5Encoding

pytestmark = pytest.mark.usefixtures("small_blocks")

FIELDS = {"encoder_layers": 1, "decoder_layers": 1, "decoder_key_value_heads": 2, "max_position_embeddings": 300}
SOURCE_LENGTH, TARGET_LENGTH = 41, 49  # three blocks of 16 and a part; three and a single query


def ids(length, rows=2):
    return torch.randint(3, 24, (rows, length), generator=torch.Generator().manual_seed(length))


def padding(length, side):
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, -length // 2 :] = 0
    return mask.flip(1) if side == "left" else mask


def own(rows, queries, keys, heads=1):
    generator = torch.Generator().manual_seed(queries)
    return (torch.rand(rows, heads, queries, keys, generator=generator) < 0.5) | (torch.arange(keys) == 0)


def documents(length):
    return (torch.arange(length) * 3 // length).repeat(2, 1)


def inputs(kind):
    """The masks or document ids of a case, in addition to the token ids."""
    source, target = SOURCE_LENGTH, TARGET_LENGTH
    if kind in ("left", "right"):
        return {"attention_mask": padding(source, kind), "decoder_attention_mask": padding(target, kind)}
    if kind == "documents":
        return {"document_ids": documents(source), "decoder_document_ids": documents(target)}
    if kind == "own":
        masks = {"attention_mask": own(1, source, source), "decoder_attention_mask": own(2, target, target)}
        return {**masks, "cross_attention_mask": own(2, target, source)}
    if kind == "by head":
        masks = {"attention_mask": own(2, source, source, 4), "decoder_attention_mask": own(1, target, target, 4)}
        masks |= {"cross_attention_mask": own(1, target, source, 4)}
        return {name: torch.where(mask, torch.tensor(0.5), -torch.inf) for name, mask in masks.items()}
    if kind == "everything":
        return {**inputs("documents"), **inputs("left")}
    return {}


KINDS = ["plain", "left", "right", "window", "documents", "own", "by head", "everything"]


def forward_and_backward(model, **batch):
    model.zero_grad()
    outputs = model(input_ids=ids(SOURCE_LENGTH), decoder_input_ids=ids(TARGET_LENGTH), use_cache=False, **batch)
    real = batch.get("decoder_attention_mask")
    logits = outputs.logits if real is None or real.ndim > 2 else outputs.logits[real.bool()]
    logits.square().mean().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients(shared_model, encoding, kind):
    window = 20 if kind in ("window", "everything") else None
    cross = encoding if encoding not in ("sinusoidal", "learned") else "none"
    fields = {**FIELDS, "position_encoding": encoding, "cross_position_encoding": cross, "sliding_window": window}
    expected, gradients = forward_and_backward(shared_model("eager", **fields), **inputs(kind))
    logits, others = forward_and_backward(shared_model("blockwise", **fields), **inputs(kind))
    torch.testing.assert_close(logits, expected, atol=5e-5, rtol=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", ["dynamic", "static", "sliding", "static sliding"])
def test_caches(shared_model, no_grad, encoding, kind, side):
    """Decoding in steps: longer than a block, of one token, and longer than the window."""
    fields = {**FIELDS, "position_encoding": encoding, "sliding_window": 10 if "sliding" in kind else None}
    mask, target = padding(TARGET_LENGTH, side), ids(TARGET_LENGTH)
    source = {"input_ids": ids(SOURCE_LENGTH), "attention_mask": padding(SOURCE_LENGTH, side)}
    expected = shared_model("eager", **fields)(**source, decoder_input_ids=target, decoder_attention_mask=mask).logits
    model = shared_model("blockwise", **fields)
    if "static" in kind:
        past = StaticCache(model.config, max_cache_len=64), StaticCache(model.config, max_cache_len=SOURCE_LENGTH)
    else:
        past = DynamicCache(config=model.config), DynamicCache()
    past, steps = EncoderDecoderCache(*past), []
    for start, end in ((0, 20), (20, 21), (21, 22), (22, TARGET_LENGTH)):
        step = {"decoder_input_ids": target[:, start:end], "decoder_attention_mask": mask[:, :end]}
        steps.append(model(**source, **step, past_key_values=past).logits)
    torch.testing.assert_close(torch.cat(steps, 1)[mask.bool()], expected[mask.bool()], atol=5e-5, rtol=1e-5)


class Largest(TorchDispatchMode):
    """Records the number of elements in the largest storage of all computed tensors."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["plain", "padding", "window and documents"])
def test_no_tensor_has_all_pairs(shared_model, encoding, kind):
    """Forward and backward pass of encoder, decoder and cross-attention, with masks."""
    length, fields = (
        128,
        {**FIELDS, "position_encoding": encoding, "position_parameters": {"shaw": {"max_distance": 8}}},
    )
    fields |= {"sliding_window": 60 if "window" in kind else None}
    fields |= {"cross_position_encoding": encoding if encoding not in ("sinusoidal", "learned") else "none"}
    batch = {"input_ids": ids(length, 1), "decoder_input_ids": ids(length, 1), "use_cache": False}
    if kind == "padding":
        batch |= {"attention_mask": padding(length, "left")[1:], "decoder_attention_mask": padding(length, "right")[1:]}
    if "documents" in kind:
        batch |= {"document_ids": documents(length)[:1], "decoder_document_ids": documents(length)[:1]}
    found = {}
    for backend in ("blockwise", "eager"):
        model = shared_model(backend, **fields)
        with Largest() as found[backend]:
            model(**batch).logits.square().mean().backward()
    assert found["eager"].numbers >= length**2
    assert found["blockwise"].numbers < length**2


class TestDropout:
    LENGTH = 40

    @pytest.fixture(params=["none", "shaw"])
    def layer(self, request, make_config):
        """A position layer without a bias, and one with a bias on the output, which takes another code path."""
        if request.param == "none":
            return PositionLayer()
        layer = ShawEncoding(make_config()).build_layer(0)
        torch.nn.init.normal_(layer.keys)
        return layer

    def attend(self, layer, query, key, value, dropout=0.3, seed=0):
        torch.manual_seed(seed)
        query, key, bias = layer(query, key, PositionInputs(SlotIndex(self.LENGTH, self.LENGTH)))
        module = SimpleNamespace(training=True, num_key_value_groups=1, is_causal=False)
        return blockwise_attention(module, query, key, value, None, dropout=dropout, bias=bias, scaling=0.5)[0]

    def states(self, rows=1, head_dim=8):
        return torch.randn(3, rows, 4, self.LENGTH, head_dim).unbind()

    def test_the_way_back_drops_what_the_way_there_dropped(self, layer):
        query, key, value = (states.requires_grad_() for states in self.states())
        output = self.attend(layer, query, key, value)
        direction = torch.randn_like(output)
        (output * direction).sum().backward()
        # the output is linear in the values, so its gradient tells the output
        torch.testing.assert_close((value.grad * value).sum(), (output * direction).sum(), atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            step = 1e-2 * torch.randn_like(query)
            ends = [self.attend(layer, query + sign * step, key, value) for sign in (1, -1)]
        change = ((ends[0] - ends[1]) * direction).sum() / 2
        torch.testing.assert_close(change, (query.grad * step).sum(), atol=2e-4, rtol=1e-3)

    def test_second_derivatives_drop_what_the_way_there_dropped(self, layer):
        query, key, value = (states.requires_grad_() for states in self.states())
        direction, step = torch.randn(1, self.LENGTH, 4, 8), 1e-2 * torch.randn_like(query)

        def gradient(query, **options):
            output = self.attend(layer, query, key, value)
            return torch.autograd.grad((output * direction).sum(), query, **options)[0]

        differentiable = gradient(query, create_graph=True)
        torch.testing.assert_close(differentiable, gradient(query))
        (found,) = torch.autograd.grad((differentiable * step).sum(), query)
        change = (gradient(query + step) - gradient(query - step)) / 2
        assert (found - change).norm() < 1e-3 * change.norm()

    def test_drops_weights_of_each_block_by_themselves(self, layer):
        query, key, _ = self.states(head_dim=self.LENGTH)
        value = torch.eye(self.LENGTH).expand_as(query)  # so that the output is the weights
        query, key = query / 8, key / 8
        if type(layer) is not PositionLayer:
            layer.keys, layer.vectors = (torch.nn.Parameter(torch.zeros(33, self.LENGTH)) for _ in range(2))
        whole = self.attend(layer, query, key, value, dropout=0.0)
        weights = self.attend(layer, query, key, value)
        torch.testing.assert_close(whole.sum(-1), torch.ones(1, self.LENGTH, 4))
        dropped = weights == 0
        assert 0.27 < dropped.float().mean() < 0.33
        torch.testing.assert_close(weights, whole.masked_fill(dropped, 0) / 0.7)
        first, second = dropped[:, :16], dropped[:, 16:32]
        assert 0.5 < (first == second).float().mean() < 0.66  # 0.7² + 0.3² by chance
        assert not torch.equal(self.attend(layer, query, key, value, seed=1) == 0, dropped)

    def test_leaves_the_mean(self, layer):
        query, key, value = (states[:1].expand(500, -1, -1, -1) for states in self.states())
        whole = self.attend(layer, query, key, value, dropout=0.0)[0]
        outputs = self.attend(layer, query, key, value)
        error = outputs.std(0) / 500**0.5
        assert ((outputs.mean(0) - whole).abs() < 6 * error + 1e-6).all()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
def test_gradient_checkpointing_on_top(make_model, encoding, reentrant):
    model = make_model(**FIELDS, position_encoding=encoding, dropout=0.1, attention_dropout=0.3).train()
    model.set_attn_implementation("blockwise")
    torch.manual_seed(1)
    expected, gradients = forward_and_backward(model, **inputs("left"))
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    torch.manual_seed(1)
    logits, others = forward_and_backward(model, **inputs("left"))
    torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-5)  # blocks may be computed in other ways then
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_many_blocks_do_not_wear_half_precision_away(make_config, small_blocks):
    config = make_config(position_encoding="t5")
    encoding = T5Encoding(config, "encoder")
    attention = SelfAttention(config, "encoder", 0, encoding.build_layer(0))
    table = torch.randn(32, 4).bfloat16()
    states = torch.randn(1, 1024, 32).bfloat16()
    weight = torch.randn(1, 1024, 32).bfloat16()
    index = SlotIndex(1024, 1024)

    def gradients(backend, dtype):
        attention.to(dtype).config._attn_implementation_internal = backend
        given = table.to(dtype).requires_grad_()
        inputs = AttentionInputs(PositionInputs(index, bias=encoding.shared_bias(given, index)))
        output = attention(states.to(dtype).requires_grad_(), inputs)[0]
        found = torch.autograd.grad((output * weight).sum(), [given, attention.v_proj.weight, attention.k_proj.weight])
        return [gradient.float() for gradient in found]

    attention.to(torch.bfloat16)  # the same rounded weights on all sides
    ways = gradients("eager", torch.float32), gradients("eager", torch.bfloat16), gradients("blockwise", torch.bfloat16)
    for exact, rounded, by_blocks in zip(*ways, strict=True):
        assert (by_blocks - exact).norm() < 1.5 * (rounded - exact).norm()


NOTED = []


@dataclass(frozen=True)
class NotingBias(DistanceBias):
    """A bias that notes whether autocast is on when it is computed."""

    slopes: torch.Tensor

    def of_distance(self, head, distance):
        NOTED.append(torch.is_autocast_enabled("cpu"))
        return self.slopes[head] * distance


def test_the_way_back_computes_under_the_autocast_of_the_way_there(make_config):
    attention = SelfAttention(make_config(), "encoder", 0, PositionLayer())
    attention.config._attn_implementation_internal = "blockwise"
    NOTED.clear()
    index = SlotIndex(40, 40)
    bias = NotingBias(index, torch.ones(4, requires_grad=True))
    with torch.autocast("cpu", torch.bfloat16):
        output = attention(torch.randn(1, 40, 32), AttentionInputs(PositionInputs(index, bias=bias)))[0]
    assert NOTED == [True] * 3  # blocks
    output.float().sum().backward()
    assert NOTED == [True] * 6


def second_derivatives(model, way):
    """Second derivatives of the mean square of the real logits: of a gradient penalty, or a Hessian-vector product."""
    batch = {"input_ids": ids(SOURCE_LENGTH), "decoder_input_ids": ids(TARGET_LENGTH), **inputs("left")}
    real, names = batch["decoder_attention_mask"].bool(), dict(model.named_parameters())

    def loss(*parameters):
        values = dict(zip(names, parameters, strict=True))
        return functional_call(model, values, kwargs={**batch, "use_cache": False}).logits[real].square().mean()

    parameters = tuple(names.values())
    if way == "penalty":
        found = torch.autograd.grad(loss(*parameters), parameters, create_graph=True)
        found = torch.autograd.grad(sum(gradient.square().sum() for gradient in found), parameters)
    elif way == "hvp":
        directions = tuple(torch.cos(torch.arange(p.numel())).view_as(p) for p in parameters)
        found = torch.autograd.functional.hvp(loss, parameters, directions)[1]
    else:
        values = tuple(p.detach() for p in parameters)
        every = tuple(range(len(values)))
        found = grad(lambda *p: sum(g.square().sum() for g in grad(loss, every)(*p)), every)(*values)
    return torch.cat([gradient.flatten() for gradient in found])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("way", ["penalty", "hvp", "torch.func"])
def test_second_derivatives(make_model, encoding, way):
    """The masks keep sdpa from replacing blockwise: on CPU, the kernel of sdpa has no second derivatives."""
    model = make_model(**FIELDS, position_encoding=encoding)
    model.set_attn_implementation("eager")
    expected = second_derivatives(model, way)
    model.set_attn_implementation("blockwise")
    found = second_derivatives(model, way)
    assert (found - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("encoding", ["none", "rotary"])
def test_second_derivatives_through_sdpa_are_an_error(make_model, encoding):
    model = make_model(**FIELDS, position_encoding=encoding)
    model.set_attn_implementation("blockwise")
    logits = model(input_ids=ids(SOURCE_LENGTH), decoder_input_ids=ids(TARGET_LENGTH), use_cache=False).logits
    gradients = torch.autograd.grad(logits.square().mean(), list(model.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match=r"derivative for .*scaled_dot_product.* is not implemented"):
        sum(gradient.square().sum() for gradient in gradients).backward()


class TestAMaskOnAnotherDevice:
    """accelerate moves the inputs of a module that have a method `to`. The meta device stands for a second device."""

    @pytest.fixture
    def mask(self):
        documents = torch.tensor([[0, 0, 1, 1, 1]])
        return BlockwiseMask(
            lambda batch, head, q, k: documents[batch, q] == documents[batch, k],
            batch_size=1, q_offset=0, kv_offset=0, device=torch.device("cpu"), is_causal=True, window=None,
        )  # fmt: skip

    @pytest.mark.parametrize("custom", [None, torch.ones(1, 1, 5, 5, dtype=torch.bool), torch.zeros(1, 1, 1, 5)])
    def test_makes_its_blocks_there(self, mask, custom):
        mask = mask if custom is None else mask.with_custom(custom)
        moved = send_to_device(AttentionInputs(PositionInputs(SlotIndex(5, 5)), mask), "meta").mask
        assert moved.block(slice(1, 4), slice(0, 5), torch.float32).device.type == "meta"
        assert mask.block(slice(1, 4), slice(0, 5), torch.float32).device.type == "cpu"

    def test_keeps_what_it_hides(self, mask):
        block = mask.block(slice(1, 4), slice(0, 5), torch.float32)
        assert torch.equal(mask.to("cpu").block(slice(1, 4), slice(0, 5), torch.float32), block)
        assert mask.to("cpu").keys(slice(1, 4), 5) == mask.keys(slice(1, 4), 5)
