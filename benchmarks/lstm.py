# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A sequence-to-sequence LSTM with attention, the recurrent baseline of `make comparisons`.

A bidirectional LSTM (Hochreiter and Schmidhuber 1997; Schuster and Paliwal 1997) encodes the source. An LSTM decodes
the target, with the global attention of Luong et al. 2015 (arXiv:1508.04025): the score "general" of their section 3.1,
without their input feeding. Importing this module registers the model with the Auto classes of transformers, so that
`locant.train` trains it from a folder, as it does any model of transformers.
"""

from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.utils import ModelOutput

from locant.modeling.cache_names import CACHE, takes_cache_as
from locant.modeling.loss import linear_token_loss, token_loss


@strict
@dataclass
class LSTMConfig(PreTrainedConfig):
    """The config of `LSTMForConditionalGeneration`.

    Args:
        vocab_size: the number of tokens; source and target share their embeddings.
        d_model: the width of embeddings and of the decoder; each direction of the encoder has half of it. Even.
        num_layers: the number of LSTM layers of the encoder, and of the decoder.
        dropout: the dropout of embeddings, between LSTM layers, and before the projection onto the vocabulary.
        label_smoothing: the share of probability that the training loss spreads evenly over the vocabulary.
    """

    model_type = "attention_lstm"

    vocab_size: int = 8000
    d_model: int = 256
    num_layers: int = 2
    dropout: float = 0.1
    label_smoothing: float = 0.0
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 1


@dataclass
class EncoderOutput(ModelOutput):
    """The encoder's hidden states `(batch, length, d_model)`, and the state `(batch, num_layers, d_model)` that the
    decoder begins with, in its two parts."""

    last_hidden_state: torch.Tensor | None = None
    final_hidden: torch.Tensor | None = None
    final_cell: torch.Tensor | None = None


@dataclass
class RecurrentState:
    """The cache of `generate()`: the decoder's state after the tokens so far.

    Args:
        hidden: `(num_layers, batch, d_model)`.
        cell: `(num_layers, batch, d_model)`.
        length: the number of tokens so far.
    """

    hidden: torch.Tensor
    cell: torch.Tensor
    length: int = 0

    def get_seq_length(self) -> int:
        """The number of tokens so far."""
        return self.length

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let row i of the batch go on from the state of row `beam_idx[i]`."""
        self.hidden = self.hidden.index_select(1, beam_idx)
        self.cell = self.cell.index_select(1, beam_idx)


class LSTMEncoder(nn.Module):
    """Token embeddings, scaled by √d_model, and a bidirectional LSTM."""

    main_input_name = "input_ids"

    def __init__(self, config: LSTMConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = _lstm(config, config.d_model // 2, bidirectional=True)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """The scaled embeddings of `ids`, with dropout: `(batch, length, d_model)`."""
        return self.dropout(self.embed_tokens(ids) * self.embed_tokens.embedding_dim**0.5)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> EncoderOutput:
        """Encode `input_ids` `(batch, length)`; the mask, of the same shape, is 0 at padding, on either side."""
        embedded = self.embed(input_ids)
        if attention_mask is None or attention_mask.all():
            states, final = self.lstm(embedded)
        else:
            states, final = self._without_padding(embedded, attention_mask)
        return EncoderOutput(states, *(self._both_directions(part) for part in final))

    def _without_padding(
        self, embedded: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """The states of the real tokens, 0 at padding; a packed sequence has its real tokens first."""
        order = mask.argsort(dim=1, descending=True, stable=True)[:, :, None]
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(
            embedded.take_along_dim(order, 1), lengths, batch_first=True, enforce_sorted=False
        )
        states, final = self.lstm(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=mask.shape[1])
        return states.take_along_dim(order.argsort(1), 1), final

    def _both_directions(self, final: torch.Tensor) -> torch.Tensor:
        """Join both directions of a layer: `(2 · num_layers, batch, d_model / 2)` to `(batch, num_layers, d_model)`."""
        return final.unflatten(0, (-1, 2)).permute(2, 0, 1, 3).flatten(2)


class LSTMDecoder(nn.Module):
    """An LSTM, whose states attend to the states of the encoder (Luong et al. 2015, equations 5, 7 and 8)."""

    def __init__(self, config: LSTMConfig):
        super().__init__()
        self.lstm = _lstm(config, config.d_model)
        self.query = nn.Linear(config.d_model, config.d_model, bias=False)
        self.combine = nn.Linear(2 * config.d_model, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, embedded: torch.Tensor, state: RecurrentState, source: torch.Tensor, source_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, RecurrentState]:
        """The attentional states `(batch, length, d_model)`, and the state after the last token.

        Args:
            embedded: the embeddings of the target `(batch, length, d_model)`.
            state: the state before the first of these tokens.
            source: the encoder's hidden states `(batch, source length, d_model)`.
            source_mask: `(batch, source length)`, 0 at padding; None without padding.
        """
        states, (hidden, cell) = self.lstm(embedded, (state.hidden, state.cell))
        scores = self.query(states) @ source.transpose(1, 2)
        if source_mask is not None:
            scores = scores.masked_fill(source_mask[:, None] == 0, torch.finfo(scores.dtype).min)
        context = scores.softmax(-1) @ source
        attentional = torch.tanh(self.combine(torch.cat([context, states], dim=-1)))
        return self.dropout(attentional), RecurrentState(hidden, cell, state.length + embedded.shape[1])


class LSTMForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """The encoder, the decoder, and a projection onto the vocabulary that shares the weight of the embeddings."""

    config_class = LSTMConfig
    config: LSTMConfig
    _tied_weights_keys = {"lm_head.weight": "encoder.embed_tokens.weight"}  # noqa: RUF012 (declared in the base class)
    _is_stateful = True  # a state cannot go back to an earlier token, as assisted decoding would ask it to

    def __init__(self, config: LSTMConfig):
        super().__init__(config)
        self.encoder = LSTMEncoder(config)
        self.decoder = LSTMDecoder(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.d_model**-0.5)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.LSTM):
            initialise(module)

    def get_encoder(self, modality: str | None = None) -> LSTMEncoder:
        """The encoder, which `generate()` calls once."""
        return self.encoder

    def get_decoder(self) -> LSTMDecoder:
        """The decoder."""
        return self.decoder

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of source and target."""
        return self.encoder.embed_tokens

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `forward` makes the cache, a `RecurrentState`

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """The labels `(batch, length)` moved on by one token, after the start token, with padding for -100."""
        start = torch.full_like(labels[:, :1], self.config.decoder_start_token_id)
        moved = torch.cat([start, labels[:, :-1]], dim=1)
        return moved.masked_fill(moved == -100, self.config.pad_token_id)

    @takes_cache_as("past_key_values")
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        encoder_outputs: EncoderOutput | None = None,
        past_key_values: RecurrentState | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """The logits `(batch, target length, vocab_size)`, the loss if there are labels, and the state.

        Args:
            input_ids: the source `(batch, source length)`; not needed with `encoder_outputs`.
            attention_mask: `(batch, source length)`, 0 at padding.
            decoder_input_ids: the target `(batch, target length)`; by default the labels, moved on by one token.
            encoder_outputs: what the encoder returned for the source.
            past_key_values: the state after earlier tokens of the target.
            labels: `(batch, target length)`, with -100 where there is no loss.
            use_cache: whether to return the state after the last token; True by default.
            num_items_in_batch: the number of labels by which the summed loss is divided, as in `token_loss`.
            skip_logits: return only the loss, which is then computed as in Locant's models (`linear_token_loss`).
            kwargs: arguments that `generate()` passes to every model, and that have no effect.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask)
        if decoder_input_ids is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if past_key_values is None:
            parts = encoder_outputs.final_hidden, encoder_outputs.final_cell
            past_key_values = RecurrentState(*(part.transpose(0, 1).contiguous() for part in parts))
        embedded = self.encoder.embed(decoder_input_ids)
        states, after = self.decoder(embedded, past_key_values, encoder_outputs.last_hidden_state, attention_mask)
        smoothing = self.config.label_smoothing if self.training else 0.0
        if skip_logits:
            return Seq2SeqLMOutput(loss=linear_token_loss(states, self.lm_head, labels, smoothing, num_items_in_batch))
        logits = self.lm_head(states)
        loss = None if labels is None else token_loss(logits, labels, smoothing, num_items_in_batch)
        return Seq2SeqLMOutput(loss=loss, logits=logits, **{CACHE: None if use_cache is False else after})


@torch.no_grad()
def initialise(lstm: nn.LSTM) -> None:
    """Draw the weights as torch does; biases are 0, and 1 in the forget gates (Jozefowicz et al. 2015, section 2.2)."""
    bound = lstm.hidden_size**-0.5
    for name, weight in lstm.named_parameters():
        if "bias" in name:
            init.zeros_(weight)
        else:
            init.uniform_(weight, -bound, bound)
        if "bias_ih" in name:
            init.ones_(weight[lstm.hidden_size : 2 * lstm.hidden_size])


def _lstm(config: LSTMConfig, width: int, bidirectional: bool = False) -> nn.LSTM:
    return nn.LSTM(
        config.d_model,
        width,
        config.num_layers,
        batch_first=True,
        dropout=config.dropout if config.num_layers > 1 else 0.0,
        bidirectional=bidirectional,
    )


AutoConfig.register(LSTMConfig.model_type, LSTMConfig, exist_ok=True)
AutoModelForSeq2SeqLM.register(LSTMConfig, LSTMForConditionalGeneration, exist_ok=True)
