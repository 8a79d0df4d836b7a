# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Tests of every model class: backends, saving, half precision, gradients, compilation, outputs, swapping."""

from collections import Counter
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

import locant
from locant.modeling.layers import Dropout

IDS = torch.tensor([[5, 6, 7, 8, 9, 2], [10, 11, 12, 2, 0, 0]])
TARGETS = torch.tensor([[1, 15, 16, 17], [1, 18, 19, 2]])
MASK = IDS.ne(0).long()
PIXELS = torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([2, 0])

TEXT = {"input_ids": IDS, "attention_mask": MASK}
IMAGES = {"encoder_input": "patches", "image_size": [8, 12], "patch_size": 4, "num_channels": 1}
CLASS_TOKEN = {**IMAGES, "pooling": "first", "pooler_projection": True}
# the decoder may be of another make than the encoder
GROUPED = {"encoder_key_value_heads": 2, "decoder_key_value_heads": 1}
BERT = {"type_vocab_size": 2, "embedding_norm": True, "pooling": "first", "pooler_projection": True}


class Topology(NamedTuple):
    """A model class, the Auto class that knows it, fields of its config, its inputs, and its labels."""

    model: type
    auto: type
    fields: dict[str, Any]
    inputs: dict[str, torch.Tensor]
    labels: dict[str, torch.Tensor]


TOPOLOGIES = {
    "encoder": Topology(locant.LocantEncoderModel, AutoModel, BERT, TEXT, {}),
    "masked": Topology(locant.LocantForMaskedLM, AutoModelForMaskedLM, {"lm_head_bias": True}, TEXT, {"labels": IDS}),
    "sequences": Topology(
        locant.LocantForSequenceClassification,
        AutoModelForSequenceClassification,
        {**BERT, "num_labels": 3},
        TEXT,
        {"labels": CLASSES},
    ),
    "tokens": Topology(
        locant.LocantForTokenClassification,
        AutoModelForTokenClassification,
        {"num_labels": 5},
        TEXT,
        {"labels": IDS % 5},
    ),
    "questions": Topology(
        locant.LocantForQuestionAnswering,
        AutoModelForQuestionAnswering,
        {},
        TEXT,
        {"start_positions": CLASSES, "end_positions": CLASSES + 1},
    ),
    "decoder": Topology(locant.LocantDecoderModel, AutoModel, GROUPED, TEXT, {}),
    "causal": Topology(locant.LocantForCausalLM, AutoModelForCausalLM, GROUPED, TEXT, {"labels": IDS}),
    "both": Topology(locant.LocantModel, AutoModel, GROUPED, {**TEXT, "decoder_input_ids": TARGETS}, {}),
    "translator": Topology(
        locant.LocantForConditionalGeneration,
        AutoModelForSeq2SeqLM,
        {**GROUPED, **BERT},
        {**TEXT, "decoder_input_ids": TARGETS},
        {"labels": TARGETS},
    ),
    "images": Topology(locant.LocantEncoderModel, AutoModel, CLASS_TOKEN, {"pixel_values": PIXELS}, {}),
    "image classes": Topology(
        locant.LocantForImageClassification,
        AutoModelForImageClassification,
        {**IMAGES, "num_labels": 3},
        {"pixel_values": PIXELS},
        {"labels": CLASSES},
    ),
    "captions": Topology(
        locant.LocantForConditionalGeneration,
        AutoModelForImageTextToText,
        {**IMAGES, **GROUPED},
        {"pixel_values": PIXELS, "decoder_input_ids": TARGETS},
        {"labels": TARGETS},
    ),
}
# stacks alone; those that read each other are in `test_matrix.py`, images in `test_images.py`
ALONE = pytest.mark.parametrize("topology", [TOPOLOGIES["encoder"], TOPOLOGIES["decoder"]], ids=["encoder", "decoder"])


@pytest.fixture(params=TOPOLOGIES)
def topology(request):
    return TOPOLOGIES[request.param]


@pytest.fixture
def build(make_model, topology):
    """The model of a topology."""
    return lambda **fields: make_model(topology.model, **{**topology.fields, **fields})


def main_outputs(outputs):
    """The states, pooled vectors or logits of a model's output: no loss, no cache, no states of layers."""
    names = ("last_hidden_state", "pooler_output", "logits", "start_logits", "end_logits")
    return {name: outputs[name] for name in names if outputs.get(name) is not None}


def loss_of(model, topology):
    """The loss of a head; for a model without a loss, a number that depends on every output."""
    torch.manual_seed(1)
    outputs = model(**topology.inputs, **topology.labels)
    if topology.labels:
        return outputs.loss
    states = main_outputs(outputs).values()
    return sum((state * torch.linspace(-1, 1, state.numel()).view_as(state)).mean() for state in states)


def loss_and_gradients(model, topology):
    model.zero_grad()
    loss = loss_of(model, topology)
    loss.backward()
    return loss.detach(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


def assert_close(one, other, **tolerances):
    assert one.keys() == other.keys()
    for name, tensor in other.items():
        torch.testing.assert_close(one[name], tensor, msg=lambda m, n=name: f"{n}: {m}", **tolerances)


class TestBackends:
    @ALONE
    def test_agree_for_every_encoding(self, build, topology, served, no_grad):
        encoding, backend = served
        self.compare(build(position_encoding=encoding), topology, backend)

    @pytest.mark.sampled(2)
    def test_agree_for_every_topology(self, build, topology, backend, no_grad):
        self.compare(build(position_encoding="t5"), topology, backend)

    def compare(self, model, topology, backend):
        """Assert that a backend gives the outputs of eager, except at padding."""
        outputs = []
        for each in ("eager", backend):
            model.set_attn_implementation(each)
            output = model(**topology.inputs, **topology.labels)
            states = main_outputs(output)
            if model.main_input_name == "input_ids":
                states = {name: state[MASK.bool()] if state.shape[1] == 6 else state for name, state in states.items()}
            outputs.append({**states, "loss": output.loss} if topology.labels else states)
        assert_close(outputs[1], outputs[0], atol=2e-5, rtol=1e-5)


class TestSaving:
    @pytest.mark.sampled(8)
    def test_gives_the_same_bits(self, build, topology, encoding, tmp_path, no_grad):
        model = build(position_encoding=encoding)
        model.save_pretrained(tmp_path)
        for cls in (topology.model, topology.auto):
            loaded, info = cls.from_pretrained(tmp_path, output_loading_info=True)
            assert type(loaded) is topology.model
            assert not any(info.values())
            assert_close(loaded.state_dict(), model.state_dict(), atol=0, rtol=0)
            assert_close(dict(loaded.named_buffers()), dict(model.named_buffers()), atol=0, rtol=0)
            expected, outputs = (main_outputs(each(**topology.inputs)) for each in (model, loaded))
            assert_close(outputs, expected, atol=0, rtol=0)
            added = {"architectures": [topology.model.__name__], "dtype": "float32", "_name_or_path": str(tmp_path)}
            assert loaded.config.to_dict() == {**model.config.to_dict(), **added}

    @pytest.mark.sampled(2)
    def test_body_of_a_head(self, build, topology, tmp_path, no_grad):
        """`AutoModel` loads the model below a head."""
        model = build()
        model.save_pretrained(tmp_path)
        body, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
        assert type(body) is type(model.base_model)
        assert not {name for name in info["missing_keys"] if "pooler" not in name}
        inner = model.base_model.state_dict()
        assert_close(
            {name: weight for name, weight in body.state_dict().items() if name in inner}, inner, atol=0, rtol=0
        )

    @pytest.mark.sampled(8)
    def test_a_swapped_encoding_keeps_all_other_weights(self, build, encoding):
        model = build(position_encoding=encoding)
        swapped = model.with_position_encoding("rotary")
        assert type(swapped) is type(model)
        others = {name: weight for name, weight in model.state_dict().items() if "position" not in name}
        assert_close({name: swapped.state_dict()[name] for name in others}, others, atol=0, rtol=0)
        assert swapped.config.position_encoding == "rotary"
        assert swapped.config.is_decoder == model.config.is_decoder


class TestPrecision:
    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
    def test_half_is_close_and_learns(self, build, topology, dtype, backend, assert_close_in_half):
        model = build(position_encoding="rotary").to(dtype).float()
        expected = main_outputs(model(**topology.inputs))
        model.to(dtype).set_attn_implementation(backend)
        outputs = main_outputs(model(**topology.inputs))
        for name, state in expected.items():
            assert outputs[name].dtype == dtype
            assert_close_in_half(outputs[name], state)
        loss_of(model, topology).backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters())

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_loaded_in_half(self, build, topology, dtype, tmp_path, no_grad):
        model = build(position_encoding="sinusoidal")
        model.save_pretrained(tmp_path)
        loaded = topology.auto.from_pretrained(tmp_path, dtype=dtype)
        assert {weight.dtype for weight in loaded.parameters()} == {dtype}
        assert_close(loaded.state_dict(), model.to(dtype).state_dict(), atol=0, rtol=0)


class TestTraining:
    @pytest.mark.sampled(4)
    def test_every_parameter_learns(self, build, topology, encoding):
        """Except those that shift all scores of a softmax: keys' biases, and the last two before answers' places."""
        fields = {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False, "gated_ffn": True}
        model = build(position_encoding=encoding, **fields)
        _, gradients = loss_and_gradients(model, topology)
        still = {name for name, gradient in gradients.items() if gradient.abs().max() < 1e-6}
        shifting = ["k_proj.bias"]
        if topology.model is locant.LocantForQuestionAnswering:
            shifting += ["qa_outputs.bias", "layers.1.ffn_residual.norm.bias"]
        assert not {name for name in still if not name.endswith(tuple(shifting))}

    @pytest.mark.sampled(2)
    @ALONE
    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
    def test_gradient_checkpointing_with_every_encoding(self, build, topology, trained):
        encoding, backend = trained
        self.compare_checkpointed(build(position_encoding=encoding, **self.DROPOUT), topology, backend, reentrant=False)

    @pytest.mark.sampled(2)
    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_gradient_checkpointing_of_every_topology(self, build, topology, reentrant):
        self.compare_checkpointed(build(position_encoding="t5", **self.DROPOUT), topology, "sdpa", reentrant)

    DROPOUT: ClassVar = {"dropout": 0.2, "attention_dropout": 0.1, "activation_dropout": 0.1}

    def compare_checkpointed(self, model, topology, backend, reentrant):
        """Assert equal numbers with and without gradient checkpointing, which computes each layer twice."""
        model.train().set_attn_implementation(backend)
        expected, gradients = loss_and_gradients(model, topology)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        layers = [layer for stack in ("encoder", "decoder") for layer in self.layers_of(model, stack)]
        calls = []
        for layer in layers:
            layer.ffn.register_forward_hook(lambda *_: calls.append(1))
        loss, others = loss_and_gradients(model, topology)
        assert len(calls) == 2 * len(layers) > 0
        torch.testing.assert_close(loss, expected, atol=0, rtol=1e-6)
        assert_close(others, gradients, atol=1e-5, rtol=1e-5)

    def layers_of(self, model, stack):
        return getattr(getattr(model.base_model, stack, None), "layers", ())

    def test_dropout_in_training_alone(self, build, topology):
        model = build(dropout=0.5)
        losses = {training: set() for training in (True, False)}
        for training, seen in losses.items():
            model.train(training)
            for seed in range(3):
                torch.manual_seed(seed)
                outputs = model(**topology.inputs)
                seen.add(sum(state.sum() for state in main_outputs(outputs).values()).item())
        assert len(losses[True]) == 3
        assert len(losses[False]) == 1

    @pytest.mark.parametrize("gated_ffn", [False, True])
    def test_each_dropout_is_at_each_of_its_places(self, make_model, norm_position, gated_ffn, monkeypatch):
        rates = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.3}
        topology = TOPOLOGIES["translator"]
        model = make_model(topology.model, **rates, norm_position=norm_position, gated_ffn=gated_ffn).train()
        model.set_attn_implementation("eager")
        calls = Counter()

        def count(states, p, training, *others):
            calls.update([p] * training)
            return states

        monkeypatch.setattr(torch.nn.functional, "dropout", count)  # attention calls it
        monkeypatch.setattr(Dropout, "forward", lambda module, states: count(states, module.p, module.training))
        model(**topology.inputs)
        # two layers a stack: embeddings and sublayers; attentions; feed-forward layers
        assert calls == {0.1: 1 + 2 * 2 + 1 + 2 * 3, 0.2: 2 + 2 * 2, 0.3: 2 + 2}

    @pytest.mark.parametrize("rate", [0.0, 0.9, None])
    def test_dropout_before_a_classifier(self, make_model, rate):
        for name in ("sequences", "tokens", "image classes"):
            topology = TOPOLOGIES[name]
            fields = {**topology.fields, "classifier_dropout": rate, "dropout": 0.0 if rate is not None else 0.3}
            model = make_model(topology.model, **fields)
            assert model.dropout.p == (0.3 if rate is None else rate)
            if rate is not None:
                seen = {model.train()(**topology.inputs).logits.sum().item() for _ in range(3)}
                assert len(seen) == (1 if rate == 0 else 3)


class TestOutputs:
    def test_tuples_hold_what_names_hold(self, build, topology, no_grad):
        model = build()
        named = model(**topology.inputs, **topology.labels)
        unnamed = model(**topology.inputs, **topology.labels, return_dict=False)
        assert isinstance(unnamed, tuple)
        assert len(unnamed) == len(named)
        assert torch.equal(unnamed[0], named[next(iter(named))])

    def test_of_layers(self, build, topology, no_grad):
        model = build()
        model.set_attn_implementation("eager")
        outputs = model(**topology.inputs, output_hidden_states=True, output_attentions=True)
        config, alone = model.config, not model.config.is_encoder_decoder
        layers, heads = config.num_hidden_layers, config.num_attention_heads
        states = outputs.hidden_states if alone else outputs.encoder_hidden_states
        attentions = outputs.attentions if alone else outputs.encoder_attentions
        tokens = IDS.shape[1] if "input_ids" in topology.inputs else 6 + config.has_class_token
        assert [state.shape for state in states] == [(2, tokens, 32)] * (layers + 1)
        assert [attention.shape for attention in attentions] == [(2, heads, tokens, tokens)] * layers
        for attention in attentions:
            torch.testing.assert_close(attention.sum(-1), torch.ones(2, heads, tokens))
        if alone:
            assert "cross_attentions" not in outputs
        else:
            assert [weights.shape for weights in outputs.cross_attentions] == [
                (2, 4, 4, tokens)
            ] * config.decoder_layers
        plain = model(**topology.inputs)
        assert not [name for name in plain if "attentions" in name or name.endswith("hidden_states")]

    def test_main_input_is_the_input(self, build, topology):
        assert build().main_input_name == next(iter(topology.inputs))

    def test_inputs_of_another_topology_are_refused(self, build, topology):
        model = build()
        inputs = dict(topology.inputs)
        wrong = {"input_ids": IDS} if "pixel_values" in inputs else {"pixel_values": PIXELS}
        if "decoder" in type(model.base_model).__name__.lower():
            wrong = {"encoder_hidden_states": torch.zeros(2, 3, 32)}
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model(**inputs, **wrong)


def test_one_config_makes_every_topology(make_config):
    """Making a model does not change the config."""
    config = make_config(**IMAGES, num_labels=3)
    before = config.to_dict()
    for topology in TOPOLOGIES.values():
        model = topology.model(config)
        stacks = model.config.is_encoder_decoder, model.config.is_decoder
        assert (
            stacks
            == {
                "LocantModel": (True, False),
                "LocantDecoderModel": (False, True),
                "LocantEncoderModel": (False, False),
            }[type(model.base_model).__name__]
        )
        assert config.to_dict() == before


# each takes seconds: those that share their stacks and more with another have time in the slow tests
QUICK = ("sequences", "causal", "captions")
COMPILED = pytest.mark.parametrize(
    "topology",
    [pytest.param(each, marks=() if name in QUICK else pytest.mark.slow, id=name) for name, each in TOPOLOGIES.items()],
)


@pytest.mark.end_to_end
class TestCompilation:
    """`backend="eager"` traces as any other backend does, and then runs without generating code."""

    @pytest.fixture(params=["eager", "sdpa"])
    def model(self, request, build):
        model = build(position_encoding="rotary", encoder_layers=1, decoder_layers=1)
        model.set_attn_implementation(request.param)
        yield model
        torch._dynamo.reset()

    @pytest.mark.sampled(4)
    @COMPILED
    def test_the_model_is_taken_whole(self, model, topology):
        expected, gradients = loss_and_gradients(model, topology)
        model.compile(fullgraph=True, backend="eager")
        loss, others = loss_and_gradients(model, topology)
        torch.testing.assert_close(loss, expected)
        assert_close(others, gradients, atol=1e-5, rtol=1e-4)

    @pytest.mark.sampled(3)
    @COMPILED
    def test_export(self, model, topology, no_grad):
        inputs = {**topology.inputs, **({"use_cache": False} if model.config.is_decoder else {})}
        if model.config.is_encoder_decoder:
            inputs["use_cache"] = False
        exported = torch.export.export(model, (), inputs).module()
        assert_close(main_outputs(exported(**inputs)), main_outputs(model(**inputs)), atol=1e-5, rtol=1e-5)
