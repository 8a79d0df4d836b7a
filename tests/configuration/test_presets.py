# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Presets: the sizes of a model by name."""

import pytest
from torch import device

from locant.configuration import PRESETS, LocantConfig
from locant.modeling.modeling_locant import LocantForConditionalGeneration


@pytest.mark.parametrize(
    ("name", "layers", "width", "heads", "ffn", "dropout"),
    [
        ("tiny", 2, 128, 4, 512, 0.1),
        ("iwslt", 6, 512, 4, 1024, 0.3),
        ("base", 6, 512, 8, 2048, 0.1),  # Vaswani et al. 2017, table 3
        ("big", 6, 1024, 16, 4096, 0.3),
    ],
)
def test_shape(name, layers, width, heads, ffn, dropout):
    config = LocantConfig.from_preset(name)
    assert (config.encoder_layers, config.decoder_layers) == (layers, layers)
    assert config.d_model == width
    assert (config.encoder_attention_heads, config.decoder_attention_heads) == (heads, heads)
    assert (config.encoder_ffn_dim, config.decoder_ffn_dim) == (ffn, ffn)
    assert config.dropout == dropout
    assert (config.norm_position, config.activation_function, config.position_encoding) == (
        "post",
        "relu",
        "sinusoidal",
    )


@pytest.mark.parametrize(("name", "millions"), [("base", 65), ("big", 213)])
def test_sizes_are_those_of_the_papers_table_3(name, millions):
    with device("meta"):
        model = LocantForConditionalGeneration(LocantConfig.from_preset(name, vocab_size=37_000))
    assert model.num_parameters() / 1e6 == pytest.approx(millions, rel=0.04)


def test_overrides_win():
    config = LocantConfig.from_preset("tiny", d_model=64, position_encoding="rotary")
    assert (config.d_model, config.position_encoding, config.encoder_layers) == (64, "rotary", 2)


def test_overrides_do_not_stick():
    LocantConfig.from_preset("tiny", d_model=64)
    assert LocantConfig.from_preset("tiny").d_model == 128


@pytest.mark.parametrize(
    ("name", "hint"), [("bass", "did you mean 'base'?"), ("enormous", "the presets are tiny, iwslt, base, big.")]
)
def test_unknown_name(name, hint):
    with pytest.raises(ValueError, match="is not a preset; the presets are tiny, iwslt, base, big") as error:
        LocantConfig.from_preset(name)
    assert str(error.value).endswith(hint)


def test_all_are_tested_here():
    assert set(PRESETS) == {"tiny", "iwslt", "base", "big"}
