# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Every encoding that enters attention, against the equation of its paper in plain loops over pairs of tokens."""

import math

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache
from transformers.models.t5.modeling_t5 import T5Attention

from locant.modeling.modeling_locant import LocantModel
from locant.modeling.positions.base import PositionInputs, SlotIndex
from locant.modeling.positions.shaw import ShawLayer

HEADS, HEAD_DIM = 4, 8
SOURCES = [[5, 6, 7, 8, 9, 10], [11, 12, 13, 2]]
TARGETS = [[1, 21, 20], [1, 17, 16, 15, 14]]


class Equation:
    """The score of a query and a key (Vaswani et al. 2017, equation 1), and the value that the query gets from the key.

    Args:
        encoding: the part of the position encoding that belongs to the stack.
        layer: the part that belongs to the layer.
        is_causal: whether the attention is the decoder's self-attention.
    """

    options: dict = {}  # noqa: RUF012

    def __init__(self, encoding, layer, is_causal):
        self.encoding, self.layer, self.is_causal = encoding, layer, is_causal

    def score(self, query, key, head, i, j):
        return query @ key / math.sqrt(HEAD_DIM)

    def value(self, value, i, j):
        return value


class ShawKeys(Equation):
    options = {"shaw": {"max_distance": 2, "values": False}}  # noqa: RUF012

    def clip(self, i, j):
        return max(-2, min(2, j - i)) + 2

    def score(self, query, key, head, i, j):  # equation 4
        return query @ (key + self.layer.keys[self.clip(i, j)]) / math.sqrt(HEAD_DIM)


class Shaw(ShawKeys):
    options = {"shaw": {"max_distance": 2}}  # noqa: RUF012

    def value(self, value, i, j):  # equation 3
        return value + self.layer.vectors[self.clip(i, j)]


class TransformerXL(Equation):
    def score(self, query, key, head, i, j):  # section 3.3, the four terms of A^rel
        width = self.layer.r_proj.weight.shape[1]
        angles = [(i - j) / 10000 ** (2 * t / width) for t in range(width // 2)]
        r = torch.tensor([math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles])
        distance = (self.layer.r_proj.weight @ r).view(HEADS, HEAD_DIM)[head]
        u, v = self.layer.content_bias[head], self.layer.position_bias[head]
        return (query @ key + query @ distance + u @ key + v @ distance) / math.sqrt(HEAD_DIM)


class T5(Equation):
    options = {"t5": {"num_buckets": 8, "max_distance": 5}}  # noqa: RUF012

    def score(self, query, key, head, i, j):
        bucket = T5Attention._relative_position_bucket(torch.tensor(j - i), not self.is_causal, 8, 5)
        return super().score(query, key, head, i, j) + self.encoding.table[bucket, head]


class Alibi(Equation):
    def score(self, query, key, head, i, j):  # section 3, slopes of a power of two
        return super().score(query, key, head, i, j) - 2.0 ** (-8 * (head + 1) / HEADS) * abs(j - i)


class Rotary(Equation):
    def score(self, query, key, head, i, j):  # equation 34: as complex numbers
        half = HEAD_DIM // 2
        query, key = (torch.complex(states[:half], states[half:]) for states in (query, key))
        angles = torch.tensor([10000 ** (-2 * t / HEAD_DIM) for t in range(half)])
        turn = torch.polar(torch.ones(half), (i - j) * angles)
        return (query * key.conj() * turn).real.sum() / math.sqrt(HEAD_DIM)


class RotaryPairs(Rotary):
    options = {"rotary": {"pairing": "interleaved"}}  # noqa: RUF012

    def score(self, query, key, head, i, j):
        order = [*range(0, HEAD_DIM, 2), *range(1, HEAD_DIM, 2)]
        return super().score(query[order], key[order], head, i, j)


EQUATIONS = {
    "shaw": Shaw,
    "shaw, keys alone": ShawKeys,
    "transformer_xl": TransformerXL,
    "t5": T5,
    "alibi": Alibi,
    "rotary": Rotary,
    "rotary, interleaved": RotaryPairs,
    "none": Equation,
}


def attend(attention, equation, queries, keys, positions, visible):
    """The output of attention, from the states of both sides.

    Args:
        attention: the module with the projections; two heads share keys and values.
        equation: the equation of the scores and the values.
        queries, keys: hidden states `(batch, length, width)`.
        positions: the positions of the tokens of both sides, by sentence.
        visible: a function that tells whether a query of a sentence sees a key.
    """

    def split(projection, states):
        return projection(states).unflatten(-1, (-1, HEAD_DIM))

    query, key, value = (
        split(p, states)
        for p, states in ((attention.q_proj, queries), (attention.k_proj, keys), (attention.v_proj, keys))
    )
    output = []
    for b in range(len(queries)):
        for n in range(queries.shape[1]):
            for head in range(HEADS):
                seen = [m for m in range(keys.shape[1]) if visible(b, n, m)]
                if not seen:  # padding
                    output.append(torch.zeros(HEAD_DIM))
                    continue
                places = [(positions[0][b][n], positions[1][b][m]) for m in seen]
                shared = head // 2
                scores = [
                    equation.score(query[b, n, head], key[b, m, shared], head, i, j)
                    for m, (i, j) in zip(seen, places, strict=True)
                ]
                weights = torch.stack(scores).softmax(0)
                values = [equation.value(value[b, m, shared], i, j) for m, (i, j) in zip(seen, places, strict=True)]
                output.append(weights @ torch.stack(values))
    return attention.o_proj(torch.stack(output).view(*queries.shape[:2], -1))


def counted(mask):
    """The position of each token, which is 0 at the first token of a sentence."""
    return [[slot - row.index(1) for slot in range(len(row))] for row in mask.tolist()]


class Recorder:
    """Records inputs and outputs of an attention over several calls; no gradient flows back through the inputs."""

    def __init__(self, attention):
        self.inputs, self.others, self.outputs = [], None, []
        attention.register_forward_pre_hook(self.before, with_kwargs=True)
        attention.register_forward_hook(lambda module, inputs, outputs: self.outputs.append(outputs[0]))

    def before(self, module, inputs, options):
        inputs = tuple(each.detach() if isinstance(each, torch.Tensor) else each for each in inputs)
        self.inputs.append(inputs[0])
        if isinstance(inputs[1], torch.Tensor):  # the encoder's hidden states
            self.others = inputs[1]
        return inputs, options

    @property
    def queries(self):
        return torch.cat(self.inputs, 1)

    @property
    def keys(self):
        return self.queries if self.others is None else self.others


@pytest.fixture(params=EQUATIONS)
def name(request):
    return request.param


@pytest.fixture
def make(name, make_model):
    """A function that makes a model with grouped heads and with the encoding in all of its attentions."""

    def make(**fields):
        encoding = name.split(",")[0]
        model = make_model(
            LocantModel,
            position_encoding=encoding,
            cross_position_encoding=encoding,
            position_parameters=EQUATIONS[name].options,
            encoder_key_value_heads=2,
            decoder_key_value_heads=2,
            **fields,
        )
        model.set_attn_implementation("eager")
        return model

    return make


@pytest.fixture
def batch(make_batch, side):
    """A source with padding on either side, a target with padding on the left, as in generation."""
    ids, mask = make_batch(SOURCES, side)
    decoder_ids, decoder_mask = make_batch(TARGETS, "left")
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "decoder_input_ids": decoder_ids,
        "decoder_attention_mask": decoder_mask,
    }


def attentions_of(model):
    """The attentions of the last layers, each with the position encoding of its stack."""
    encoder, decoder = model.encoder, model.decoder
    return {
        "encoder": (encoder.layers[1].self_attn, encoder.position),
        "decoder": (decoder.layers[1].self_attn, decoder.position),
        "cross": (decoder.layers[1].cross_attn, decoder.cross_position),
    }


def recomputed(place, attention, equation, recorder, batch, window=None):
    """The outputs of the real tokens, from the loop and from the model."""
    source, target = batch["attention_mask"], batch["decoder_attention_mask"]
    mask = source if place == "encoder" else target
    other = target if place == "decoder" else source

    def visible(b, n, m):
        if place == "decoder" and (m > n or (window is not None and n - m >= window)):
            return False
        if place == "encoder" and window is not None and abs(n - m) > window:
            return False
        return bool(mask[b, n]) and bool(other[b, m])

    positions = counted(mask), counted(other)
    expected = attend(attention, equation, recorder.queries, recorder.keys, positions, visible)
    return expected[mask.bool()], torch.cat(recorder.outputs, 1)[mask.bool()]


def assert_same(expected, output):
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.sampled(2)
@pytest.mark.parametrize("place", ["encoder", "decoder", "cross"])
def test_output_and_gradients(name, make, batch, place):
    model = make()
    attention, encoding = attentions_of(model)[place]
    recorder = Recorder(attention)
    model(**batch)
    equation = EQUATIONS[name](encoding, attention.position, place == "decoder")
    expected, output = recomputed(place, attention, equation, recorder, batch)
    assert_same(expected, output)
    parameters = {**dict(attention.named_parameters()), **dict(encoding.named_parameters())}
    weight = torch.randn(expected.shape) / len(expected)
    gradients = [torch.autograd.grad((states * weight).sum(), parameters.values()) for states in (expected, output)]
    for parameter, right, ours in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(
            ours, right, atol=1e-5, rtol=1e-5, msg=lambda text, name=parameter: f"{name}: {text}"
        )
        # adding the same to all scores changes no softmax, so the keys' biases have none but where keys are turned
        assert right.abs().max() > 1e-3 or parameter == "k_proj.bias"


@pytest.mark.pairwise
@pytest.mark.parametrize("cache", ["dynamic", "static"])
@torch.no_grad()
def test_steps_with_a_cache(name, make, batch, cache):
    model = make()
    if cache == "static":
        caches = StaticCache(model.config, max_cache_len=7), StaticCache(model.config, max_cache_len=6)
    else:
        caches = DynamicCache(), DynamicCache()
    recorders = {place: Recorder(attentions_of(model)[place][0]) for place in ("decoder", "cross")}
    decode(model, batch, EncoderDecoderCache(*caches))
    for place, recorder in recorders.items():
        attention, encoding = attentions_of(model)[place]
        equation = EQUATIONS[name](encoding, attention.position, place == "decoder")
        assert_same(*recomputed(place, attention, equation, recorder, batch))


@torch.no_grad()
def test_steps_with_a_cache_that_slides(name, make, batch):
    model = make(sliding_window=2)
    recorders = {place: Recorder(attention) for place, (attention, _) in attentions_of(model).items()}
    decode(model, batch, EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache()))
    for place, recorder in recorders.items():
        attention, encoding = attentions_of(model)[place]
        equation = EQUATIONS[name](encoding, attention.position, place == "decoder")
        assert_same(*recomputed(place, attention, equation, recorder, batch, window=None if place == "cross" else 2))


def decode(model, batch, cache):
    """Run the model on the target in three steps."""
    outputs = model.encoder(batch["input_ids"], attention_mask=batch["attention_mask"])
    for start, end in ((0, 2), (2, 3), (3, 5)):
        model(
            encoder_outputs=outputs,
            attention_mask=batch["attention_mask"],
            decoder_input_ids=batch["decoder_input_ids"][:, start:end],
            decoder_attention_mask=batch["decoder_attention_mask"][:, :end],
            past_key_values=cache,
        )


def test_shaws_values_count_far_keys_in_half_precision():
    """torch adds in float32 on a CPU; on a GPU, it adds in the type of the tensor."""
    device, keys = "cuda" if torch.cuda.is_available() else "cpu", 4096
    layer = ShawLayer(4, max_distance=2)
    with torch.no_grad():
        layer.vectors.fill_(1.0)
    layer.to(device, torch.bfloat16)
    query = torch.zeros(1, 1, 1, 4, dtype=torch.bfloat16, device=device)
    _, _, bias = layer(query, None, PositionInputs(SlotIndex(1, keys, q_offset=keys - 1)))
    output = bias.output(torch.full((1, 1, 1, keys), 1 / keys, dtype=torch.bfloat16, device=device))
    torch.testing.assert_close(output, torch.ones_like(output), atol=0.01, rtol=0)
