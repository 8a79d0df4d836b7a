# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Model shapes by name."""

import difflib
from typing import Any


def _shape(layers: int, width: int, heads: int, ffn: int, dropout: float) -> dict[str, Any]:
    return {
        "d_model": width,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": ffn,
        "decoder_ffn_dim": ffn,
        "dropout": dropout,
    }


PRESETS: dict[str, dict[str, Any]] = {
    # for tests and first steps: trains in minutes on a laptop
    "tiny": _shape(2, 128, 4, 512, 0.1),
    # the shape customary for the IWSLT talks, some 160,000 pairs (Ott et al. 2019, fairseq)
    "iwslt": _shape(6, 512, 4, 1024, 0.3),
    # Vaswani et al. 2017, table 3
    "base": _shape(6, 512, 8, 2048, 0.1),
    "big": _shape(6, 1024, 16, 4096, 0.3),
}


def preset(name: str) -> dict[str, Any]:
    """The config fields that the preset `name` sets.

    Raises:
        ValueError: `name` is none of `PRESETS`.
    """
    if name not in PRESETS:
        nearest = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f": did you mean {nearest[0]!r}?" if nearest else "."
        raise ValueError(f"{name!r} is not a preset; known are {', '.join(PRESETS)}{hint}")
    return dict(PRESETS[name])
