# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A position encoding from outside of the package, in one file: KERPLE, the logarithmic variant.

    python examples/kerple.py

trains three tiny models in some seconds on a task that depends on the order of tokens: with KERPLE, with sinusoids and
without a position encoding. Another program can use the encoding after it has imported this file:
`LocantConfig(position_encoding="kerple")`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel
from transformers import initialization as init

from locant.configuration import LocantConfig
from locant.configuration.position_encodings import AttentionKind
from locant.modeling.positions import DistanceBias, PositionEncoding, QueryKeyIndex, register_position_encoding


def inverse_softplus(values: torch.Tensor) -> torch.Tensor:
    """x with log(1 + exp(x)) = values, which are above 0."""
    return values + torch.log(-torch.expm1(-values))


@dataclass(frozen=True)
class KerpleBias(DistanceBias):
    """-r1 · log(1 + r2 |i - j|^power), added to the score of query i and key j.

    Args:
        factors: r1 and r2 of each head, `(2, heads)`.
        power: exponent of the distance.
    """

    factors: torch.Tensor
    power: float

    def of_distance(self, head: Any, distance: Any) -> torch.Tensor:
        """The bias of a head and a distance, which broadcast."""
        r1, r2 = self.factors[0, head], self.factors[1, head]
        return -r1 * torch.log1p(r2 * distance.abs().float() ** self.power)


class KerpleEncoding(PositionEncoding):
    """Attention falls with the logarithm of the distance, as fast as each head learns (Chi et al. 2022, KERPLE).

    The bias is section 4's logarithmic kernel, conditionally positive definite for r1, r2 > 0 and 0 < power <= 2. Each
    head has an r1 and an r2, which all layers share, as in the authors' code: `(2, heads)` numbers a stack. Softplus
    keeps r1 and r2 above 0; the authors' code instead clamps them at 0.01 in each forward pass.

    Args:
        config: gives the number of heads and the option `power`, 1 in the paper's experiments.
        kind: encoder (|i - j| is the same to the left and to the right), decoder, or cross-attention.
    """

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__(config, kind)
        self.free = nn.Parameter(torch.zeros(2, config.heads_at(kind)))

    @classmethod
    def bias_types(cls, config: LocantConfig) -> frozenset[str]:
        """The bias is a function of head and distance."""
        return frozenset({"pointwise"})

    def init_weights(self) -> None:
        """Draw r1 uniformly below 2 and r2 below 1, both at least 0.01."""
        largest = torch.tensor([[2.0], [1.0]], device=self.free.device)
        drawn = torch.rand(self.free.shape, device=self.free.device) * largest
        init.copy_(self.free, inverse_softplus(drawn.clamp(min=0.01)))

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The embeddings unchanged, and r1 and r2, `(2, heads)`, in float32, as bfloat16 rounds integers above 256."""
        return hidden_states, nn.functional.softplus(self.free.float())

    def shared_bias(self, position: torch.Tensor, index: QueryKeyIndex) -> KerpleBias:
        """The bias that all layers share."""
        return KerpleBias(index, position, **self.config.position_options("kerple"))


def check(options: dict[str, Any], head_dim: int) -> None:
    """Raise `ValueError` where the kernel would not be conditionally positive definite."""
    power = options["power"]
    if isinstance(power, bool) or not isinstance(power, int | float) or not 0 < power <= 2:
        raise ValueError(f"power must be a number above 0 and at most 2, got {power!r}.")


register_position_encoding("kerple", KerpleEncoding, options={"power": 1.0}, check=check)


# A task that depends on order, but only on the distance to the end: output the last tokens in reverse order
VOCABULARY, END, SAID = 20, 2, 4


def draw(count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random sources `(count, length + 1)` and their targets `(count, SAID + 1)`; each ends with the end token."""
    tokens, end = torch.randint(3, VOCABULARY, (count, length)), torch.full((count, 1), END)
    return torch.cat([tokens, end], dim=1), torch.cat([tokens[:, -SAID:].flip(1), end], dim=1)


def train(position_encoding: str, length: int = 8, steps: int = 400) -> PreTrainedModel:
    """Train a tiny model on `steps` batches of random sources of `length` tokens."""
    torch.manual_seed(0)
    config = LocantConfig(
        vocab_size=VOCABULARY,
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        norm_position="pre",
        dropout=0.0,
        position_encoding=position_encoding,
    )
    model = AutoModelForSeq2SeqLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(steps):
        source, target = draw(64, length)
        model(input_ids=source, labels=target).loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return model.eval()


def accuracy(model: Any, length: int, count: int = 200) -> float:
    """The share of random sources of `length` tokens for which the model generates all tokens of the target."""
    source, target = draw(count, length)
    said = model.generate(source, min_new_tokens=SAID, max_new_tokens=SAID)[:, 1:]
    return float((said == target[:, :SAID]).all(dim=1).float().mean())


def main() -> None:
    """Train on sources of 8 tokens, and print how often the model is right on sources of 8 and of 32."""
    for position_encoding in ("kerple", "sinusoidal", "none"):
        model = train(position_encoding)
        print(f"{position_encoding:10}  8 tokens: {accuracy(model, 8):4.0%}   32 tokens: {accuracy(model, 32):4.0%}")


if __name__ == "__main__":
    main()
