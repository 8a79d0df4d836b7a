# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Without logits, layers leave out tokens that the loss does not depend on: loss and gradients stay the same."""

import pytest
import torch

from locant import LocantForCausalLM, LocantForConditionalGeneration, LocantForMaskedLM

from .conftest import STEEP, TRAINED

LENGTHS = [9, 4, 6, 2]
PADDINGS = ["right", "left", "both sides"]


def padding_mask(side, lengths=LENGTHS, longest=9):
    slots, counts = torch.arange(longest), torch.tensor(lengths).unsqueeze(1)
    first = {"right": 0 * counts, "left": longest - counts, "both sides": (longest - counts) // 2}[side]
    return ((slots >= first) & (slots < first + counts)).long()


def batch_of(cls, side="right"):
    mask = padding_mask(side)
    batch = {"input_ids": torch.randint(3, 24, mask.shape), "attention_mask": mask}
    if cls is LocantForConditionalGeneration:
        mask = padding_mask("right", [3, 7, 5, 1], longest=7)
    return {**batch, "labels": torch.randint(3, 24, mask.shape).masked_fill(mask == 0, -100)}


def loss_and_gradients(model, batch, **options):
    model.zero_grad()
    outputs = model(**batch, **options)
    outputs.loss.backward()
    return outputs, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def rows_of(module):
    """A list to which each call of the module adds the shape of its input, without the width."""
    shapes = []
    module.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape[:-1])))
    return shapes


def assert_learns_the_same(model, batch):
    expected, expected_gradients = loss_and_gradients(model, batch)
    found, gradients = loss_and_gradients(model, batch, skip_logits=True)
    torch.testing.assert_close(found.loss, expected.loss, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-5, rtol=1e-4)


@pytest.mark.pairwise
@pytest.mark.parametrize("side", PADDINGS)
@pytest.mark.parametrize(("encoding", "backend"), TRAINED)
def test_translator_learns_the_same(make_model, encoding, backend, side):
    model = make_model(position_encoding=encoding, position_parameters=STEEP).train()
    model.set_attn_implementation(backend)
    rows = rows_of(model.model.encoder.layers[1].ffn), rows_of(model.model.decoder.layers[1].ffn)
    assert_learns_the_same(model, batch_of(LocantForConditionalGeneration, side))
    assert rows == ([(4, 9), (1, 21)], [(4, 7), (1, 16)])


def test_translator_with_a_mask_of_the_target_learns_the_same(make_model):
    """The mask hides two tokens of the target whose labels still count in the loss."""
    model = make_model(position_encoding="rotary").train()
    batch = batch_of(LocantForConditionalGeneration)
    batch["decoder_attention_mask"] = padding_mask("right", [3, 5, 5, 1], longest=7)
    assert_learns_the_same(model, batch)


def test_source_tokens_that_the_decoder_alone_sees_are_computed(make_model):
    model, batch = make_model(position_encoding="rotary").train(), batch_of(LocantForConditionalGeneration)
    assert_learns_the_same(model, {**batch, "cross_attention_mask": torch.ones(4, 9, dtype=torch.long)})


@pytest.mark.pairwise
@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("side", PADDINGS)
@pytest.mark.parametrize("cls", [LocantForCausalLM, LocantForMaskedLM])
def test_one_stack_learns_the_same(make_model, cls, side, norm_position):
    model = make_model(cls, position_encoding="rotary", norm_position=norm_position).train()
    is_decoder = cls is LocantForCausalLM
    rows = rows_of((model.model.decoder if is_decoder else model.model.encoder).layers[0].ffn)
    assert_learns_the_same(model, batch_of(cls, side))
    # on the left, the last padding predicts the first token, and sees padding alone
    assert rows == [(4, 9), (4, 9) if is_decoder and side != "right" else (1, 21)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("encoding", "backend"), TRAINED)
def test_left_padding_and_a_source_of_padding_alone_learn_the_same(make_model, encoding, backend):
    """A token that sees no key gets the average of the values of all keys."""
    fields = {"position_encoding": encoding, "position_parameters": STEEP}
    decoder, translator = make_model(LocantForCausalLM, **fields).train(), make_model(**fields).train()
    batch = batch_of(LocantForConditionalGeneration)
    batch["attention_mask"] = batch["attention_mask"] * torch.tensor([[1], [1], [1], [0]])
    for model, inputs in ((decoder, batch_of(LocantForCausalLM, "left")), (translator, batch)):
        model.set_attn_implementation(backend)
        assert_learns_the_same(model, inputs)


@pytest.mark.parametrize(("encoding", "backend"), [("t5", "eager"), ("rotary", "eager"), ("t5", "sdpa")])
def test_a_document_without_source_learns_the_same(make_model, encoding, backend):
    model = make_model(position_encoding=encoding, position_parameters=STEEP).train()
    model.set_attn_implementation(backend)
    batch = batch_of(LocantForConditionalGeneration)
    documents = {"document_ids": torch.zeros_like(batch["input_ids"])}
    documents["decoder_document_ids"] = (torch.arange(7) > 2).long().expand(4, -1)
    assert_learns_the_same(model, {**batch, **documents})


@pytest.mark.parametrize("cls", [LocantForCausalLM, LocantForMaskedLM])
def test_labels_of_padding_count(make_model, cls):
    model, batch = make_model(cls, position_encoding="rotary").train(), batch_of(cls)
    assert_learns_the_same(model, {**batch, "labels": batch["input_ids"]})


def test_gradient_checkpointing_and_windows_learn_the_same(make_model):
    fields = {"sliding_window": 3, "encoder_layer_types": ["sliding_attention"] * 2}
    model = make_model(position_encoding="t5", **fields).train()
    model.gradient_checkpointing_enable()
    assert_learns_the_same(model, batch_of(LocantForConditionalGeneration))


def test_recorded_hidden_states_have_the_shape_of_the_batch_and_zeros_at_padding(make_model, no_grad):
    model, batch = make_model(LocantForMaskedLM, position_encoding="rotary"), batch_of(LocantForMaskedLM)
    real = batch["attention_mask"].bool()
    expected = model(**batch, output_hidden_states=True).hidden_states
    found = model(**batch, output_hidden_states=True, skip_logits=True).hidden_states
    for layer, (states, wanted) in enumerate(zip(found, expected, strict=True)):
        torch.testing.assert_close(states[real], wanted[real], atol=1e-5, rtol=1e-5)
        if 0 < layer < len(found) - 1:
            assert states[~real].count_nonzero() == 0


@pytest.mark.parametrize("case", ["logits", "little padding", "no padding", "four dimensions", "a cache"])
def test_all_tokens_are_computed_where_there_are(make_model, case):
    model = make_model(LocantForCausalLM, position_encoding="rotary").train()
    rows = rows_of(model.model.decoder.layers[0].ffn)
    batch = batch_of(LocantForCausalLM)
    if case == "little padding":
        batch["attention_mask"] = padding_mask("right", [9, 9, 9, 8])
    elif case == "no padding":
        batch["attention_mask"] = torch.ones(4, 9, dtype=torch.long)
    elif case == "four dimensions":
        batch["attention_mask"] = batch["attention_mask"].bool()[:, None, None].expand(-1, 1, 9, -1)
    model(**batch, skip_logits=case != "logits", use_cache=case == "a cache")
    assert rows == [(4, 9)]


def test_a_batch_of_padding_alone_has_no_loss(make_model):
    model, ids = make_model(LocantForMaskedLM, position_encoding="rotary"), torch.zeros(2, 5, dtype=torch.long)
    assert model(ids, attention_mask=ids, labels=ids - 100, skip_logits=True).loss.isnan()


@pytest.mark.slow
def test_compiled_code_computes_all_tokens(make_model):
    model = make_model(LocantForMaskedLM, position_encoding="rotary", encoder_layers=1).train()
    batch = batch_of(LocantForMaskedLM)
    _, expected = loss_and_gradients(model, batch)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    _, gradients = loss_and_gradients(compiled, batch, skip_logits=True)
    for gradient, wanted in zip(gradients.values(), expected.values(), strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-4)


def test_labels_say_where_a_decoder_needs_no_tokens(make_model):
    """In each row, a decoder does not need the tokens behind the last label other than -100."""
    model = make_model(position_encoding="rotary").train()
    rows = rows_of(model.model.decoder.layers[0].ffn)
    labels = torch.tensor([[5, -100, 6, 7, -100, -100], [-100, 5, -100, -100, -100, -100]])
    assert_learns_the_same(model, {"input_ids": torch.randint(3, 24, (2, 6)), "labels": labels})
    assert rows == [(2, 6), (1, 4 + 2)]
