# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The LSTM with attention: its values, padding, cache, and saving."""

import importlib

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSeq2SeqLM

START = 1


@pytest.fixture
def model():
    lstm = importlib.import_module("lstm")
    torch.manual_seed(0)
    model = lstm.LSTMForConditionalGeneration(lstm.LSTMConfig(vocab_size=40, d_model=8, label_smoothing=0.1)).eval()
    for weight in model.parameters():  # larger than at the start of a training, so that tokens differ
        weight.data.add_(torch.randn_like(weight) / 2)
    return model


@pytest.fixture
def batch():
    """Three sources; the first is padded on the right, the second on the left."""
    torch.manual_seed(1)
    ids, mask = torch.randint(3, 40, (3, 7)), torch.ones(3, 7, dtype=torch.long)
    mask[0, 5:] = 0
    mask[1, :3] = 0
    return {"input_ids": ids.where(mask.bool(), 0), "attention_mask": mask}


def cell_of(lstm: nn.LSTM, suffix: str) -> nn.LSTMCell:
    """An `LSTMCell` with the weights of one layer in one direction."""
    weights = [getattr(lstm, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    cell = nn.LSTMCell(weights[0].shape[1], lstm.hidden_size)
    for own, weight in zip((cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh), weights, strict=True):
        own.data.copy_(weight)
    return cell


def run_cell(cell, inputs, state=None):
    """The hidden states of a sequence `(length, width)`, and the last state."""
    outputs = []
    for vector in inputs:
        state = cell(vector, state)
        outputs.append(state[0])
    return torch.stack(outputs), state


@torch.no_grad()
def logits_step_by_step(model, source, target):
    """The logits of a sentence without padding, from the equations of Luong et al. 2015."""
    table = model.encoder.embed_tokens.weight
    states, begin = table[source] * 8**0.5, []
    for layer in range(2):
        forward, last = run_cell(cell_of(model.encoder.lstm, f"l{layer}"), states)
        backward, first = run_cell(cell_of(model.encoder.lstm, f"l{layer}_reverse"), states.flip(0))
        states = torch.cat([forward, backward.flip(0)], dim=1)
        begin.append([torch.cat(parts) for parts in zip(last, first, strict=True)])
    outputs = table[target] * 8**0.5
    for layer in range(2):
        outputs, _ = run_cell(cell_of(model.decoder.lstm, f"l{layer}"), outputs, begin[layer])
    logits = []
    for hidden in outputs:
        scores = torch.stack([hidden @ model.decoder.query.weight.T @ state for state in states])
        context = (scores.softmax(0)[:, None] * states).sum(0)
        logits.append(table @ torch.tanh(model.decoder.combine.weight @ torch.cat([context, hidden])))
    return torch.stack(logits)


def test_logits_equal_a_loop_over_lstm_cells_with_padding_on_either_side(model, batch):
    target = torch.randint(3, 40, (3, 6))
    logits = model(**batch, decoder_input_ids=target).logits
    for row in range(3):
        source = batch["input_ids"][row][batch["attention_mask"][row].bool()]
        torch.testing.assert_close(logits[row], logits_step_by_step(model, source, target[row]), rtol=1e-4, atol=1e-4)


def test_a_token_at_a_time_with_the_state_gives_the_logits_of_all_at_once(model, batch):
    target = torch.randint(3, 40, (3, 6))
    encoded, state, logits = model.encoder(**batch), None, []
    for token in target.split(1, dim=1):
        output = model(
            encoder_outputs=encoded,
            attention_mask=batch["attention_mask"],
            decoder_input_ids=token,
            past_key_values=state,
        )
        state = output.past_key_values
        logits.append(output.logits)
    assert state.get_seq_length() == 6
    torch.testing.assert_close(torch.cat(logits, dim=1), model(**batch, decoder_input_ids=target).logits)


@pytest.mark.parametrize("beams", [1, 4])
def test_generation_is_the_same_without_a_cache_and_for_each_sentence_alone(model, batch, beams):
    options = {"num_beams": beams, "min_new_tokens": 12, "max_new_tokens": 12, "do_sample": False}
    tokens = model.generate(**batch, **options)
    assert len({tuple(row) for row in tokens.tolist()}) == 3
    assert torch.equal(tokens, model.generate(**batch, **options, use_cache=False))
    for row in range(3):
        source = batch["input_ids"][row][batch["attention_mask"][row].bool()]
        assert torch.equal(model.generate(input_ids=source[None], **options)[0], tokens[row])


def test_the_loss_is_smoothed_in_training_only_and_leaves_padding_out(model, batch):
    model.encoder.dropout.p = model.decoder.dropout.p = model.encoder.lstm.dropout = model.decoder.lstm.dropout = 0.0
    labels = torch.randint(3, 40, (3, 6))
    labels[0, 4:] = -100
    inputs = torch.cat([torch.full((3, 1), START), labels[:, :-1].where(labels[:, :-1] != -100, 0)], dim=1)
    for is_training in (False, True):
        model.train(is_training)
        logits = model(**batch, decoder_input_ids=inputs).logits
        expected = cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1 * is_training)
        torch.testing.assert_close(model(**batch, labels=labels).loss, expected)
        torch.testing.assert_close(model(**batch, labels=labels, skip_logits=True).loss, expected)
        torch.testing.assert_close(model(**batch, labels=labels, num_items_in_batch=32).loss, expected * 16 / 32)


def test_a_saved_model_loads_with_the_auto_class_and_gives_the_same_bits(model, batch, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.lm_head.weight is loaded.encoder.embed_tokens.weight
    target = torch.randint(3, 40, (3, 6))
    assert torch.equal(
        loaded(**batch, decoder_input_ids=target).logits, model(**batch, decoder_input_ids=target).logits
    )


def test_a_new_model_has_open_forget_gates():
    lstm = importlib.import_module("lstm")
    new = lstm.LSTMForConditionalGeneration(lstm.LSTMConfig(vocab_size=40, d_model=8))
    for stack in (new.encoder.lstm, new.decoder.lstm):
        for name, weight in stack.named_parameters():
            if "bias" in name:
                expected = torch.zeros(4, stack.hidden_size)
                expected[1] = "bias_ih" in name  # the gates of torch are input, forget, cell, output
                assert torch.equal(weight.view(4, -1), expected), name
