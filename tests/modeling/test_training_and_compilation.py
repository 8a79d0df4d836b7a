# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Gradient checkpointing, compilation, export and half precision change no number, or next to none."""

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import CompileConfig, DynamicCache, EncoderDecoderCache
from transformers.utils import generic

from locant import LocantForCausalLM

from .conftest import STEEP


@pytest.fixture
def batch(make_batch):
    ids, mask = make_batch([[5, 6, 7, 8, 2], [9, 10, 2]])
    labels = make_batch([[11, 12, 2], [13, 14, 15, 2]])[0]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels.masked_fill(labels == 0, -100)}


def loss_and_gradients(model, batch, forward=None):
    torch.manual_seed(1)
    model.zero_grad()
    loss = (model if forward is None else forward)(**batch).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


class TestGradientCheckpointing:
    @pytest.mark.sampled(4)
    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_changes_no_number(self, make_model, batch, trained, reentrant):
        encoding, backend = trained
        model = make_model(position_encoding=encoding, dropout=0.2, attention_dropout=0.1, activation_dropout=0.1)
        model.set_attn_implementation(backend)
        model.train()
        expected, gradients = loss_and_gradients(model, batch)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        assert all(layer.gradient_checkpointing for layer in model.model.decoder.layers)
        calls = []
        model.model.decoder.layers[0].ffn.register_forward_hook(lambda *_: calls.append(1))
        loss, others = loss_and_gradients(model, batch)
        assert len(calls) == 2  # once forward, once more on the way back
        # torch.matmul may multiply in another shape where no gradient is needed, as in a reentrant forward pass
        torch.testing.assert_close(loss, expected, atol=0, rtol=1e-6)
        for name, gradient in gradients.items():  # shared weights may get their parts in another order
            torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")

    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
    def test_it_does_not_warn_of_a_cache_that_was_not_asked_for(self, make_model, batch, monkeypatch):
        warnings = []
        monkeypatch.setattr(generic.logger, "warning_once", warnings.append)
        model = make_model().train()
        model.gradient_checkpointing_enable()
        loss_and_gradients(model, batch)
        assert warnings == []

    @pytest.mark.sampled(2)
    def test_every_parameter_gets_a_gradient(self, make_model, batch, encoding, norm_position):
        fields = {"gated_ffn": True, "share_encoder_decoder_embeddings": False, "tie_word_embeddings": False}
        model = make_model(position_encoding=encoding, norm_position=norm_position, **fields)
        _, gradients = loss_and_gradients(model, batch)
        # adding the same to all scores changes no softmax, so the keys' biases have none
        zero = {name for name, gradient in gradients.items() if gradient.abs().max() < 1e-6}
        biases = {name for name in gradients if name.endswith("k_proj.bias")}
        assert zero == (biases if encoding != "rotary" else {name for name in biases if "cross" in name})


class TestDropout:
    @pytest.mark.parametrize("kind", ["dropout", "attention_dropout", "activation_dropout"])
    @pytest.mark.parametrize("backend", ["eager", "sdpa", "blockwise"])
    def test_in_training_alone(self, make_model, batch, backend, kind):
        model = make_model(**{kind: 0.5})
        model.set_attn_implementation(backend)
        assert len({model(**batch).loss.item() for _ in range(3)}) == 1
        model.train()
        assert len({model(**batch).loss.item() for _ in range(3)}) == 3

    def test_of_embeddings_comes_after_position(self, make_model):
        model = make_model(dropout=0.5, position_encoding="sinusoidal").train()
        states = []
        model.model.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
        model.get_encoder()(torch.randint(24, (4, 20)))
        assert 0.4 < (states[0] == 0).float().mean() < 0.6


# one case for each kind of term and each way to compute it; the others have time in the slow tests
FAST = [("rotary", "sdpa"), ("t5", "blockwise"), ("transformer_xl", "eager")]
ENCODINGS = ["none", "sinusoidal", "learned", "shaw", "transformer_xl", "t5", "alibi", "rotary"]


def compiled(*backends, fast=FAST):
    pairs = [(encoding, backend) for encoding in ENCODINGS for backend in backends]
    pairs.remove(("shaw", "sdpa"))  # refused
    marks = [() if pair in fast else pytest.mark.slow for pair in pairs]
    cases = [pytest.param(pair, marks=mark) for pair, mark in zip(pairs, marks, strict=True)]
    return pytest.mark.parametrize("trained", cases, ids="-".join)


@pytest.mark.end_to_end
class TestCompilation:
    """`backend="eager"` traces as any other backend does, and then runs without generating code."""

    @pytest.fixture
    def model(self, make_model, trained, small_blocks):
        encoding, backend = trained
        model = make_model(position_encoding=encoding, encoder_layers=1, decoder_layers=1)
        model.set_attn_implementation(backend)
        yield model
        torch._dynamo.reset()

    @pytest.mark.sampled(3)
    @compiled("eager", "sdpa", "blockwise")
    def test_the_model_is_taken_whole(self, model, batch):
        expected, gradients = loss_and_gradients(model, batch)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        loss, others = loss_and_gradients(model, batch, compiled)
        torch.testing.assert_close(loss, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-4)

    @compiled("eager", "sdpa", "blockwise", fast=[("t5", "blockwise")])
    def test_batches_of_other_sizes_share_a_graph_in_the_encoder(self, model):
        compiled_at, encoder = [], model.get_encoder()
        compiled = torch.compile(encoder, backend=lambda graph, inputs: compiled_at.append(size) or graph.forward)
        for size in range(2, 5):
            ids, mask = torch.full((size, size + 3), 5), torch.arange(size + 3) < torch.arange(4, size + 4)[:, None]
            states, expected = (each(ids, attention_mask=mask.long()).last_hidden_state for each in (compiled, encoder))
            torch.testing.assert_close(states, expected)
        # the first graph is for its own sizes, the second one for all others
        assert compiled_at == [2, 3]

    @pytest.mark.slow
    @compiled("eager", "sdpa", "blockwise")
    def test_batches_of_other_sizes_share_a_graph(self, model):
        compiled_at = []
        compiled = torch.compile(model, backend=lambda graph, inputs: compiled_at.append(size) or graph.forward)
        for size in range(2, 6):
            ids, labels = torch.full((size, size + 3), 5), torch.full((size, size + 8), 6)
            mask = torch.arange(size + 3) < torch.arange(4, size + 4)[:, None]
            loss = compiled(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
            loss.backward()
            expected = model(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
            torch.testing.assert_close(loss, expected)
        # the first graph is for its own sizes, the second one for all others
        assert compiled_at == [2, 3]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "trained", [("sinusoidal", "sdpa"), ("rotary", "eager"), ("t5", "blockwise")], ids="-".join
    )
    def test_generated_code(self, model, batch):
        expected, gradients = loss_and_gradients(model, batch)
        loss, others = loss_and_gradients(model, batch, torch.compile(model, fullgraph=True))
        torch.testing.assert_close(loss, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-3)

    @pytest.mark.slow
    @compiled("eager", "sdpa", "blockwise")
    def test_decoding_in_steps(self, model, batch):
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        target = model.prepare_decoder_input_ids_from_labels(batch.pop("labels"))
        with torch.no_grad():
            expected = model(**batch, decoder_input_ids=target).logits
            past, steps = EncoderDecoderCache(DynamicCache(), DynamicCache()), []
            for part in target.split([2, 1, 1], dim=1):
                steps.append(compiled(**batch, decoder_input_ids=part, past_key_values=past).logits)
        torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("topology", ["encoder-decoder", pytest.param("decoder", marks=pytest.mark.slow)])
    @compiled("eager", "sdpa", "blockwise")
    def test_generation_with_a_static_cache_compiles_one_step(self, model, make_model, make_batch, trained, topology):
        """`generate()` compiles the decoding step by itself on a GPU; on a CPU, only with a private option."""
        if topology == "decoder":
            encoding, backend = trained
            fields = {"is_encoder_decoder": False, "is_decoder": True, "decoder_layers": 1}
            model = make_model(LocantForCausalLM, position_encoding=encoding, **fields)
            model.set_attn_implementation(backend)
        ids, mask = make_batch([[5, 6, 7, 8, 2], [9, 10, 2]], "left")
        options = {"attention_mask": mask, "do_sample": False, "max_new_tokens": 9, "min_new_tokens": 9}
        expected = model.generate(ids, **options)
        config = CompileConfig(backend="eager", mode=None, fullgraph=True)  # a graph break is an error
        config._compile_all_devices = True
        counters.clear()
        for _ in range(2):  # the second call meets an emptied cache
            found = model.generate(ids, cache_implementation="static", compile_config=config, **options)
            assert found.tolist() == expected.tolist()
        assert counters["stats"]["unique_graphs"] == 1

    @pytest.mark.slow
    @compiled("eager", "sdpa", "blockwise")
    def test_lengths_may_change(self, model):
        compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
        for length in (5, 9, 30):
            ids = torch.arange(2 * length).view(2, length) % 24
            with torch.no_grad():
                expected = model(input_ids=ids, decoder_input_ids=ids).logits
                logits = compiled(input_ids=ids, decoder_input_ids=ids).logits
            torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.slow
    @compiled("eager", "sdpa")
    def test_export(self, model, batch):
        batch["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(batch.pop("labels"))
        exported = torch.export.export(model, (), {**batch, "use_cache": False}).module()
        with torch.no_grad():
            expected = model(**batch).logits
            torch.testing.assert_close(exported(**batch, use_cache=False).logits, expected)


class TestHalfPrecision:
    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_logits_are_close_and_gradients_finite(
        self, make_model, batch, trained, norm_position, dtype, assert_close_in_half
    ):
        encoding, backend = trained
        model = make_model(position_encoding=encoding, norm_position=norm_position, position_parameters=STEEP)
        expected = model.to(dtype).float()(**batch)
        model.to(dtype).set_attn_implementation(backend)
        outputs = model(**batch)
        assert outputs.logits.dtype == dtype
        assert_close_in_half(outputs.logits, expected.logits)
        assert abs(outputs.loss - expected.loss) < 0.02
        outputs.loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast(self, make_model, batch, encoding, dtype, assert_close_in_half):
        model = make_model(position_encoding=encoding, position_parameters=STEEP).to(dtype).float()
        expected = model(**batch)
        with torch.autocast("cpu", dtype):
            outputs = model(**batch)
        assert outputs.loss.dtype == torch.float32
        assert outputs.logits.dtype == dtype
        assert_close_in_half(outputs.logits, expected.logits)
        assert 0 < abs(outputs.loss - expected.loss) < 0.04

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    def test_beams_have_nearly_the_scores_of_float32(self, make_model, batch, encoding, kind):
        model = make_model(position_encoding=encoding, position_parameters=STEEP).to(torch.bfloat16)
        batch.pop("labels")
        options = {"num_beams": 2, "max_new_tokens": 5, "eos_token_id": None, "cache_implementation": kind}
        found = model.generate(**batch, **options, return_dict_in_generate=True, output_scores=True)
        assert found.sequences.shape == (2, 6)
        with torch.no_grad():
            logits = model.float()(**batch, decoder_input_ids=found.sequences[:, :-1]).logits
        expected = logits.log_softmax(-1).gather(-1, found.sequences[:, 1:, None]).mean((1, 2))
        torch.testing.assert_close(found.sequences_scores.float(), expected, atol=0.02, rtol=0)
