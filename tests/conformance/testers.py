# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What the suite asks of its caller: a small config with inputs, class names in tables, reasons to skip."""

import unittest
from collections.abc import Callable

import torch
from transformers import PreTrainedConfig
from transformers.models.auto import modeling_auto


class Seq2SeqTester:
    """A small encoder-decoder config and a batch for it; the suite reads the sizes from the attributes.

    `config_fields` are given to the config class on top of the sizes, and win over them.
    """

    batch_size = 13
    # One length for both sides: the suite also uses the source's mask for the target, and labels this long.
    seq_length = encoder_seq_length = decoder_seq_length = 7
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    vocab_size = 99
    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2
    is_training = True

    def __init__(self, config_class: type[PreTrainedConfig], **config_fields):
        self.config_class = config_class
        self.config_fields = config_fields

    def get_config(self) -> PreTrainedConfig:
        sizes = dict(
            vocab_size=self.vocab_size,
            d_model=self.hidden_size,
            encoder_layers=self.num_hidden_layers,
            decoder_layers=self.num_hidden_layers,
            encoder_attention_heads=self.num_attention_heads,
            decoder_attention_heads=self.num_attention_heads,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            dropout=0.1,
            attention_dropout=0.1,
            max_position_embeddings=20,
            pad_token_id=self.pad_token_id,
            bos_token_id=self.bos_token_id,
            eos_token_id=self.eos_token_id,
            decoder_start_token_id=self.bos_token_id,
        )
        return self.config_class(**{**sizes, **self.config_fields})

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, dict[str, torch.Tensor]]:
        shape = (self.batch_size, self.seq_length)
        input_ids = torch.randint(3, self.vocab_size, shape)
        decoder_input_ids = torch.randint(3, self.vocab_size, shape)
        attention_mask = torch.ones(shape, dtype=torch.long)
        # Every third sentence is shorter than the batch is wide.
        input_ids[::3, -2:] = self.pad_token_id
        attention_mask[::3, -2:] = 0
        inputs = dict(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=attention_mask.clone(),
        )
        return self.get_config(), inputs


def enter_name(table: str, model_type: str, class_name: str) -> None:
    """Add a class to a name table of `modeling_auto`.

    By these tables the suite decides which class has no loss, and which takes which labels.
    """
    names = getattr(modeling_auto, table)
    known = names.get(model_type, ())
    known = (known,) if isinstance(known, str) else known
    if class_name not in known:
        names[model_type] = (*known, class_name) if known else class_name


def leave_out(reason: str, *tests: str) -> Callable[[type], type]:
    """Class decorator: skip `tests` of the suite, and their parametrised variants, for `reason`.

    Raises:
        LookupError: the suite has no such test, so the line that leaves it out is out of date.
    """

    def decorate(test_class: type) -> type:
        for test in tests:
            names = [name for name in dir(test_class) if name == test or name.startswith(f"{test}_")]
            variants = [name for name in names if callable(getattr(test_class, name))]
            if not variants:
                raise LookupError(f"the suite has no test {test!r} to leave out of {test_class.__name__}")
            for name in variants:
                setattr(test_class, name, unittest.skip(reason)(getattr(test_class, name)))
        return test_class

    return decorate
