# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Models of other packages, and Locant models with the same weights or of the same shape."""

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Shape:
    """Sizes that Locant and its peer have in common."""

    layers: int = 3
    width: int = 256
    heads: int = 4
    ffn: int = 1024
    vocabulary: int = 8000
    length: int = 512
    dropout: float = 0.1

    def tiny(self) -> "Shape":
        """A tiny shape with the same length and dropout."""
        return replace(self, layers=1, width=16, heads=2, ffn=32, vocabulary=50)


PAD, BOS, EOS = 0, 1, 2


def _seq2seq_fields(shape: Shape) -> dict[str, Any]:
    stacks = {
        f"{stack}_{name}": value
        for stack in ("encoder", "decoder")
        for name, value in (("layers", shape.layers), ("attention_heads", shape.heads), ("ffn_dim", shape.ffn))
    }
    tokens = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "decoder_start_token_id": BOS}
    return {
        **stacks,
        **tokens,
        "vocab_size": shape.vocabulary,
        "d_model": shape.width,
        "max_position_embeddings": shape.length,
        "dropout": shape.dropout,
        "forced_eos_token_id": None,
    }


def marian(shape: Shape) -> PreTrainedModel:
    """transformers' Marian with random weights."""
    torch.manual_seed(0)
    config = transformers.MarianConfig(**_seq2seq_fields(shape), activation_function="relu", scale_embedding=True)
    return transformers.MarianMTModel(config)


def bart(shape: Shape) -> PreTrainedModel:
    """transformers' BART with random weights."""
    torch.manual_seed(0)
    return transformers.BartForConditionalGeneration(transformers.BartConfig(**_seq2seq_fields(shape)))


def t5(shape: Shape) -> PreTrainedModel:
    """transformers' T5 with random weights."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        d_kv=shape.width // shape.heads,
        d_ff=shape.ffn,
        num_layers=shape.layers,
        num_heads=shape.heads,
        dropout_rate=shape.dropout,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
    )
    return transformers.T5ForConditionalGeneration(config)


def llama(shape: Shape) -> PreTrainedModel:
    """transformers' Llama with random weights."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=shape.length,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    return transformers.LlamaForCausalLM(config)


def with_the_weights_of(peer: PreTrainedModel) -> PreTrainedModel:
    """The Locant model that `locant convert` makes from a model of transformers."""
    import locant

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "peer"), Path(folder, "locant")
        peer.save_pretrained(source)
        locant.convert(source, target)
        auto_class = transformers.AutoModelForSeq2SeqLM
        if not peer.config.is_encoder_decoder:
            auto_class = transformers.AutoModelForCausalLM
        return auto_class.from_pretrained(target)


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


def _shifted(labels: torch.Tensor) -> torch.Tensor:
    """The decoder's input ids `(batch, targets)`: the start token, then the labels without the last one."""
    start = labels.new_full((len(labels), 1), BOS)
    return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == -100, PAD)], dim=1)


class TorchTransformer(nn.Module):
    """`torch.nn.Transformer` as a translator: one table of embeddings, sinusoidal positions, cross-entropy."""

    def __init__(self, shape: Shape):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(shape.vocabulary, shape.width, padding_idx=PAD)
        layers = {"num_encoder_layers": shape.layers, "num_decoder_layers": shape.layers}
        self.transformer = nn.Transformer(
            shape.width, shape.heads, **layers, dim_feedforward=shape.ffn, dropout=shape.dropout, batch_first=True
        )
        self.dropout = nn.Dropout(shape.dropout)
        frequencies = 10000 ** (-torch.arange(0, shape.width, 2) / shape.width)
        angles = torch.arange(shape.length)[:, None] * frequencies
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], dim=1))
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(shape.length) < 0)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        states = self.embed(ids) * math.sqrt(self.embed.embedding_dim)
        return self.dropout(states + self.positions[: ids.shape[1]])

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch: ids and mask `(batch, sources)`, labels `(batch, targets)`."""
        padding = attention_mask == 0
        states = self.transformer(
            self._embed(input_ids),
            self._embed(_shifted(labels)),
            tgt_mask=self.causal[: labels.shape[1], : labels.shape[1]],
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return _loss(nn.functional.linear(states, self.embed.weight), labels)


class XTransformer(nn.Module):
    """x-transformers' encoder-decoder as a translator: learned positions, one table of embeddings, torch's sdpa."""

    def __init__(self, shape: Shape):
        super().__init__()
        import x_transformers

        torch.manual_seed(0)
        stacks = {
            f"{stack}_{name}": value
            for stack in ("enc", "dec")
            for name, value in (
                ("num_tokens", shape.vocabulary),
                ("depth", shape.layers),
                ("heads", shape.heads),
                ("max_seq_len", shape.length),
                ("attn_dim_head", shape.width // shape.heads),
                ("ff_mult", shape.ffn // shape.width),
                ("layer_dropout", 0.0),
                ("attn_dropout", 0.0),
                ("ff_dropout", shape.dropout),
                ("emb_dropout", shape.dropout),
                ("attn_flash", True),
            )
        }
        self.model = x_transformers.XTransformer(
            dim=shape.width, tie_token_emb=True, ignore_index=-100, pad_value=PAD, **stacks
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch: ids and mask `(batch, sources)`, labels `(batch, targets)`."""
        start = labels.new_full((len(labels), 1), BOS)
        return self.model(input_ids, torch.cat([start, labels], dim=1), mask=attention_mask.bool())
