# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Each public class beside the built-in class that does its job: unusual inputs to `forward` and `generate`.

A row of the tables is one input. The row says whether Locant accepts the input, and gives a reason if the built-in
class does not do the same. The tests run both classes.
"""

import copy
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartModel,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DynamicCache,
    EncoderDecoderCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    StaticCache,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling, Seq2SeqModelOutput
from transformers.utils import ModelOutput

from locant import modeling
from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.cache_names import CACHE

from .conftest import SHAPE

# -- The pairs of classes

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
START = {"decoder_start_token_id": 1}
SIZES = {
    "vocab_size": 24,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}
PATCHES = {"image_size": 8, "patch_size": 4}

BART = BartConfig(**SHAPE, **SPECIAL, **START, forced_eos_token_id=None)
BERT = BertConfig(**SIZES, **SPECIAL, type_vocab_size=2, num_labels=2)
LLAMA = LlamaConfig(**SIZES, **SPECIAL, num_key_value_heads=4)
VIT = ViTConfig(**{name: SIZES[name] for name in list(SIZES)[1:-1]}, **PATCHES, num_labels=2)
GPT2 = GPT2Config(vocab_size=24, n_embd=32, n_layer=2, n_head=4, n_positions=32, add_cross_attention=True, **SPECIAL)

IDS = torch.tensor([[5, 6, 7, 8, 2], [9, 10, 2, 0, 0]])
TEXT = {"input_ids": IDS, "attention_mask": IDS.ne(0).long()}
TARGET = {"decoder_input_ids": torch.tensor([[1, 11, 12, 13], [1, 14, 15, 0]])}
IMAGES = {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))}


def of_config(cls, config):
    return lambda backend: cls._from_config(copy.deepcopy(config), attn_implementation=backend)


def captioner(backend):
    """An encoder–decoder of a ViT without a pooling layer and a GPT-2."""
    encoder = ViTModel._from_config(copy.deepcopy(VIT), attn_implementation=backend, add_pooling_layer=False)
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=of_config(GPT2LMHeadModel, GPT2)(backend))
    for config in (model.config, model.generation_config):
        config.__dict__.update(SPECIAL | START)
    return model


class Pair(NamedTuple):
    """A public class of Locant, a function from the backend to the built-in model, and a batch that both accept."""

    theirs: Callable[[str], Any]
    batch: dict[str, torch.Tensor]
    labels: dict[str, torch.Tensor] = {}  # noqa: RUF012 (read only)
    fields: dict[str, Any] = {}  # noqa: RUF012 (read only)


TYPES, OF_PATCHES = {"type_vocab_size": 2}, {"encoder_input": "patches", "pooling": "first", **PATCHES}
OF_TOKENS, OF_ROWS, OF_TARGET = (
    {"labels": IDS},
    {"labels": torch.tensor([0, 1])},
    {"labels": TARGET["decoder_input_ids"]},
)
SPAN = {"start_positions": torch.tensor([0, 1]), "end_positions": torch.tensor([1, 9])}
CAPTIONS = "LocantForConditionalGeneration of patches"
PAIRS = {
    "LocantModel": Pair(of_config(BartModel, BART), TEXT | TARGET),
    "LocantForConditionalGeneration": Pair(of_config(BartForConditionalGeneration, BART), TEXT | TARGET, OF_TARGET),
    CAPTIONS: Pair(captioner, IMAGES | TARGET, OF_TARGET, OF_PATCHES),
    "LocantDecoderModel": Pair(of_config(LlamaModel, LLAMA), TEXT),
    "LocantForCausalLM": Pair(of_config(LlamaForCausalLM, LLAMA), TEXT, OF_TOKENS),
    "LocantEncoderModel": Pair(of_config(BertModel, BERT), TEXT, {}, TYPES),
    "LocantForMaskedLM": Pair(of_config(BertForMaskedLM, BERT), TEXT, OF_TOKENS, TYPES),
    "LocantForSequenceClassification": Pair(of_config(BertForSequenceClassification, BERT), TEXT, OF_ROWS, TYPES),
    "LocantForTokenClassification": Pair(of_config(BertForTokenClassification, BERT), TEXT, {"labels": IDS % 2}, TYPES),
    "LocantForQuestionAnswering": Pair(of_config(BertForQuestionAnswering, BERT), TEXT, SPAN, TYPES),
    "LocantForImageClassification": Pair(of_config(ViTForImageClassification, VIT), IMAGES, OF_ROWS, OF_PATCHES),
}
ALL = list(PAIRS)
SEQ2SEQ, DECODERS, ENCODERS = ALL[:2], ALL[3:5], ALL[5:10]
WITH_LABELS = [name for name in ALL if PAIRS[name].labels]
GENERATING = [*ALL[1:3], "LocantForCausalLM"]
READS_TEXT = [*SEQ2SEQ, *DECODERS, *ENCODERS]
OF_A_VOCABULARY = [*GENERATING, "LocantForMaskedLM"]
ON_SDPA = [f"{name} on sdpa" for name in DECODERS]


def class_of(name):
    return getattr(modeling, name.split()[0])


@functools.cache
def build(name, backend, dtype, spread):
    """The Locant model and the built-in model of a pair."""
    pair = PAIRS[name]
    fields = {**SHAPE, **SPECIAL, **START, "num_labels": 2, **pair.fields}
    ours = class_of(name)(LocantConfig(**fields, attn_implementation=backend))
    spread(ours, 0)
    return [model.eval().to(dtype) for model in (ours, pair.theirs(backend))]


@pytest.fixture
def both(spread):
    """A function that returns both models of a pair as they were built."""

    def get(name, backend="eager", dtype=torch.float32):
        models = build(name, backend, dtype, spread)
        for model in models:
            model.config.problem_type = None  # which forward() with labels has set
        return models

    return get


# -- The tables

FIRST_ROW, LAST_TOKEN = slice(1), (slice(None), slice(-1, None))


class Row(NamedTuple):
    """One input.

    Args:
        make: a function from a plain batch and a model to the input.
        refused: a pattern of Locant's error; None if Locant accepts the input.
        differs: the reason why the built-in class accepts an input that Locant refuses, refuses one that Locant
            accepts, or returns other fields.
        where: the pairs whose classes differ, by name, with the backend if only one differs.
        like: the name of a row whose input must give the same numbers.
        part: the part of the output in which the numbers of `like` are compared.
    """

    make: Callable[[dict[str, Any], Any], dict[str, Any]]
    refused: str | None = None
    differs: str = ""
    where: list[str] = ALL
    like: str | None = None
    part: Any = slice(None)


def given(**arguments):
    """A maker of inputs: the batch with these arguments; a function is applied to the batch's own value."""
    return lambda batch, model: {
        **batch,
        **{name: value(batch.get(name)) if callable(value) else value for name, value in arguments.items()},
    }


def each(change):
    return lambda batch, model: {name: change(value) for name, value in batch.items()}


def main_input(change):
    """The batch with its ids, or images, changed."""
    return lambda batch, model: {name: change(v) if v is next(iter(batch.values())) else v for name, v in batch.items()}


def without(name, make=None):
    """A maker of inputs: the batch in which the arguments that `make` returns replace the argument `name`."""
    return lambda batch, model: {
        **{other: value for other, value in batch.items() if other != name},
        **(make(batch[name], model) if make else {}),
    }


def embedded(change):
    def make(ids, model):
        return {"inputs_embeds": change(model.get_input_embeddings()(ids).detach())}

    return without("input_ids", make)


EVERYTHING = {"output_attentions": True, "output_hidden_states": True}
NO_MINUS_ONE = "transformers splits heads with a -1, which torch cannot infer for a tensor without numbers"
GIVE_A_TENSOR = r"^(input_ids|pixel_values) is a \w+: give a tensor\.$"
OF_ANY_MODEL = {
    "plain": Row(given()),
    "return_dict=False": Row(given(return_dict=False), like="plain"),
    "output_attentions": Row(given(output_attentions=True), like="plain"),
    "output_hidden_states": Row(given(output_hidden_states=True), like="plain"),
    "everything in a tuple": Row(
        given(**EVERYTHING, return_dict=False),
        differs="BertModel's tuple ends with an empty one for cross-attention, which its encoder does not have",
        where=["LocantEncoderModel"],
        like="plain",
    ),
    "use_cache=True": Row(given(use_cache=True), like="plain"),
    "use_cache=False": Row(given(use_cache=False), like="plain"),
    "an unknown argument": Row(given(unknown=1), like="plain"),
    "one row": Row(each(lambda value: value[:1]), like="plain", part=FIRST_ROW),
    "no rows": Row(each(lambda value: value[:0]), differs=NO_MINUS_ONE),
    "a list": Row(main_input(lambda value: value.tolist()), GIVE_A_TENSOR),
    "a tuple of rows": Row(main_input(tuple), GIVE_A_TENSOR),
    "an array": Row(main_input(lambda value: value.numpy()), GIVE_A_TENSOR),
    "no input": Row(
        lambda batch, model: {}, r"^(There are no input_ids: give them|An encoder of images needs pixel_values)"
    ),
}
SIZE = r"^attention_mask has the shape \(., .\), but there are 2 sequences of 5 tokens.*give an entry for each token\.$"
DIMENSIONS = r"^attention_mask has the shape \(2, 5, 5\): give \(batch, tokens\), or \(batch, heads or 1, queries, keys"
OF_TEXT = {
    "one token": Row(each(lambda value: value[:, :1])),
    "no tokens": Row(each(lambda value: value[:, :0]), differs=NO_MINUS_ONE),
    "ids of 32 bits": Row(given(input_ids=torch.Tensor.int), like="plain"),
    "floating ids": Row(
        given(input_ids=torch.Tensor.float), r"'indices'.*scalar types: Long, Int; but got torch.Float"
    ),
    "ids of one dimension": Row(given(input_ids=IDS[0]), r"^input_ids has the shape \(5,\): give \(batch, length\)\.$"),
    "ids beyond the vocabulary": Row(
        given(input_ids=IDS + 30), r"^input_ids must be from 0 to 23, as vocab_size is 24"
    ),
    "no mask": Row(without("attention_mask"), like="plain", part=FIRST_ROW),
    "a row of padding": Row(
        given(attention_mask=lambda mask: mask * torch.tensor([[1], [0]])), like="plain", part=FIRST_ROW
    ),
    "nothing but padding": Row(given(attention_mask=torch.zeros_like)),
    "a boolean mask": Row(given(attention_mask=torch.Tensor.bool), like="plain"),
    "a floating mask": Row(given(attention_mask=torch.Tensor.float), like="plain"),
    "a list for a mask": Row(given(attention_mask=torch.Tensor.tolist), r"^attention_mask is a list: give a tensor\.$"),
    "a mask of one row": Row(given(attention_mask=lambda mask: mask[1:]), SIZE),
    "a mask of one row that hides nothing": Row(
        given(attention_mask=lambda mask: mask[:1]),
        SIZE,
        "transformers drops a mask that hides nothing before it looks at its size, but not for eager causal attention",
        [*SEQ2SEQ, *ENCODERS, *ON_SDPA],
    ),
    "a mask of fewer tokens": Row(
        given(attention_mask=lambda mask: mask[:, :4]),
        SIZE,
        "transformers hides the tokens that the mask of a decoder leaves out",
        DECODERS,
    ),
    "a mask of three dimensions": Row(given(attention_mask=torch.ones(2, 5, 5).bool().tril()), DIMENSIONS),
    "a mask of four dimensions": Row(
        given(attention_mask=lambda mask: mask.bool()[:, None, None].expand(-1, 1, 5, -1)),
        differs="BART hands the encoder's mask to cross-attention, where it has too many queries",
        where=SEQ2SEQ,
    ),
    "embeddings": Row(embedded(lambda embeddings: embeddings), like="plain"),
    "no rows of embeddings": Row(
        lambda batch, model: each(lambda value: value[:0])(OF_TEXT["embeddings"].make(batch, model), model),
        differs=NO_MINUS_ONE,
    ),
    "embeddings in half precision": Row(embedded(torch.Tensor.half)),
    "a list of embeddings": Row(embedded(list), r"^inputs_embeds is a list: give a tensor\.$"),
    "embeddings of two dimensions": Row(
        embedded(lambda states: states[0]), r"^inputs_embeds has the shape \(5, 32\): g"
    ),
    "embeddings of another width": Row(
        embedded(lambda states: states[..., :5]), r"tensor a \(5\) must match .* b \(32\)"
    ),
    "ids and embeddings": Row(
        given(inputs_embeds=torch.zeros(2, 5, 32)), r"^input_ids and inputs_embeds are both given"
    ),
}
COUNTED = torch.arange(5).expand(2, 5)
OF_ONE_STACK = {
    "positions": Row(given(position_ids=COUNTED), like="plain", part=FIRST_ROW),
    "positions of one row": Row(given(position_ids=COUNTED[:1]), like="positions"),
    "positions of 32 bits": Row(given(position_ids=COUNTED.int()), like="positions"),
    "positions of one dimension": Row(
        given(position_ids=COUNTED[0]), r"^position_ids have the shape \(5,\): give a position for each token, \(2, 5"
    ),
    "a list of positions": Row(given(position_ids=COUNTED.tolist()), r"^position_ids is a list: give a tensor\.$"),
}
OF_AN_ENCODER = {
    "token types": Row(given(token_type_ids=COUNTED % 2)),
    "token types of one row": Row(given(token_type_ids=COUNTED[:1] % 2), like="token types"),
    "token types of zeros": Row(given(token_type_ids=COUNTED * 0), like="plain"),
    "a list of token types": Row(given(token_type_ids=COUNTED.tolist()), r"'indices'.*must be Tensor, not list"),
}


def continued(form=lambda cache: cache, **options):
    """A maker of inputs: the last token of the batch, and a cache that holds the tokens before it."""

    def make(batch, model):
        name = "decoder_input_ids" if "decoder_input_ids" in batch else "input_ids"
        before = {**batch, name: batch[name][:, :-1]}
        if name == "input_ids":
            before["attention_mask"] = batch["attention_mask"][:, :-1]
        with torch.no_grad():
            past = model(**before, use_cache=True).past_key_values
        return {**batch, name: batch[name][:, -1:], "past_key_values": form(past), **options}

    return make


NO_LEGACY = r"'(tuple|list)' object has no attribute 'get_seq_length'"
WITH_A_CACHE = {
    "a cache": Row(continued(), like="plain", part=LAST_TOKEN),
    "a cache and use_cache=False": Row(
        continued(use_cache=False),
        differs="the cache that was given comes back, as from BART and Llama; VisionEncoderDecoderModel drops it",
        where=[CAPTIONS],
        like="a cache",
    ),
    "a tuple for a cache": Row(continued(lambda cache: (tuple(cache),)), NO_LEGACY),
    "a list for a cache": Row(continued(lambda cache: [tuple(cache)]), NO_LEGACY),
}
OF_A_DECODER = {
    "an empty cache": Row(given(past_key_values=lambda _: DynamicCache()), like="plain"),
    "a static cache": Row(
        lambda batch, model: {**batch, "past_key_values": StaticCache(config=model.config, max_cache_len=8)},
        like="plain",
    ),
    "a cache of two attentions": Row(
        given(past_key_values=lambda _: EncoderDecoderCache(DynamicCache(), DynamicCache())),
        differs="the cache of self-attention is taken out of it; Llama takes none that is made of two",
        like="plain",
    ),
}


def encoded(form):
    """A maker of inputs: `encoder_outputs` in some form, and no input of the encoder."""

    def make(batch, model):
        source = {name: value for name, value in batch.items() if not name.startswith("decoder_")}
        with torch.no_grad():
            states = model.get_encoder()(**source)[0]
        rest = {name: value for name, value in batch.items() if name not in ("input_ids", "pixel_values")}
        return {**rest, "encoder_outputs": form(states)}

    return make


def with_layers(states):
    return states, (states,) * 3, (torch.zeros(2, 4, 5, 5),) * 2


POOLED = "transformers returns the pooled vector as encoder_hidden_states, since it is the second in the output"
NO_ENCODER = r"^encoder_outputs is a \w+: give the output of an encoder, or a tuple or list that begins with hidden"
OF_AN_ENCODERS_OUTPUT = {
    "BaseModelOutput": Row(encoded(BaseModelOutput), like="plain"),
    "an output with a pooled vector": Row(
        encoded(lambda states: BaseModelOutputWithPooling(states, states[:, 0])),
        differs=POOLED,
        where=SEQ2SEQ,
        like="plain",
    ),
    "an output of two stacks": Row(
        encoded(Seq2SeqModelOutput),
        differs="VisionEncoderDecoderModel reads a field that this output lacks",
        where=[CAPTIONS],
        like="plain",
    ),
    "a tuple of states": Row(encoded(lambda states: (states,)), like="plain"),
    "a list of states": Row(
        encoded(lambda states: [states]),
        differs="VisionEncoderDecoderModel makes an output of a tuple, and of nothing else",
        where=[CAPTIONS],
        like="plain",
    ),
    "a tuple with those of layers": Row(encoded(with_layers), like="plain"),
    "a tuple with a pooled vector": Row(
        encoded(lambda states: (states, states[:, 0], (states,) * 3)), differs=POOLED, where=[*SEQ2SEQ, CAPTIONS]
    ),
    "a tensor": Row(encoded(lambda states: states), NO_ENCODER),
    "a dictionary": Row(encoded(lambda states: {"last_hidden_state": states}), NO_ENCODER),
    "an empty tuple": Row(encoded(lambda states: ()), NO_ENCODER),
    "an empty list": Row(encoded(lambda states: []), NO_ENCODER),
    "an empty output": Row(encoded(lambda states: BaseModelOutput()), NO_ENCODER),
    "a tuple of None": Row(encoded(lambda states: (None,)), NO_ENCODER),
    "an output beside the input": Row(
        lambda batch, model: {**encoded(BaseModelOutput)(batch, model), **batch}, like="plain"
    ),
    "an output of no rows": Row(
        lambda batch, model: {
            **each(lambda value: value[:0])(batch, model),
            "encoder_outputs": BaseModelOutput(torch.zeros(0, 5, 32)),
        },
        differs=NO_MINUS_ONE,
    ),
}
BOTH_DECODER_INPUTS = r"^decoder_input_ids and decoder_inputs_embeds are both given: leave one of them out\.$"
OF_TWO_STACKS = {
    "one token of the target": Row(given(decoder_input_ids=lambda ids: ids[:, :1])),
    "no tokens of the target": Row(given(decoder_input_ids=lambda ids: ids[:, :0]), differs=NO_MINUS_ONE),
    "a list for a target": Row(
        given(decoder_input_ids=torch.Tensor.tolist), r"^decoder_input_ids is a list: give a tensor\.$"
    ),
    "no target": Row(
        without("decoder_input_ids"),
        r"^There are no decoder_input_ids: give them, or decoder_inputs_embeds, or labels",
        "BART was trained to restore its source, and takes that for a target; a translator's target is none",
        SEQ2SEQ,
    ),
    "a mask of the target": Row(
        given(decoder_attention_mask=torch.tensor([[1] * 4, [1, 1, 1, 0]])), like="plain", part=FIRST_ROW
    ),
    "a target of padding": Row(given(decoder_attention_mask=torch.zeros(2, 4).long())),
    "a list for its mask": Row(given(decoder_attention_mask=[[1] * 4] * 2), r"attention_mask is a list: give a tensor"),
    "embeddings of the target": Row(
        without("decoder_input_ids", lambda ids, model: {"decoder_inputs_embeds": torch.ones(2, 4, 32)})
    ),
    "ids and embeddings of the target": Row(given(decoder_inputs_embeds=torch.ones(2, 4, 32)), BOTH_DECODER_INPUTS),
    "a cache of one attention": Row(
        given(past_key_values=lambda _: DynamicCache()),
        r"^A decoder with cross-attention needs an EncoderDecoderCache, which holds a cache for self-attention and",
        "GPT-2 in VisionEncoderDecoderModel puts it into a cache of two; BART fails with an error of torch",
        [CAPTIONS],
    ),
}
OF_LOGITS = {
    "the last logits": Row(given(logits_to_keep=1), like="plain", part=LAST_TOKEN),
    "more logits than tokens": Row(given(logits_to_keep=99), like="plain"),
    "logits of some places": Row(given(logits_to_keep=torch.tensor([0, 4])), like="plain", part=LAST_TOKEN),
    "a list of places": Row(given(logits_to_keep=[0, 4]), like="logits of some places"),
    "fewer logits than labels": Row(
        given(logits_to_keep=1, labels=IDS),
        r"^labels have the shape \(2, 5\), but the tokens that predict them have the shape \(2, 1\)",
    ),
    "shifted labels alone": Row(
        given(shift_labels=IDS),
        differs="Llama reads shift_labels beside labels only, though trainers that split sequences give them alone",
    ),
}
OF_IMAGES = {
    "numbers in half precision": Row(given(pixel_values=torch.Tensor.half)),
    "numbers in double precision": Row(given(pixel_values=torch.Tensor.double), like="plain"),
    "whole numbers": Row(given(pixel_values=torch.Tensor.long)),
    "images of another size": Row(
        given(pixel_values=torch.ones(2, 3, 16, 8)), differs="Locant interpolates positions without being told to"
    ),
    "images of another size, interpolated": Row(
        given(pixel_values=torch.ones(2, 3, 16, 8), interpolate_pos_encoding=True), like="images of another size"
    ),
    "images that patches do not fill": Row(
        given(pixel_values=torch.ones(2, 3, 10, 8), interpolate_pos_encoding=True),
        r"^An image of 10 × 8 pixels has no whole number of 4 × 4 patches: resize it\.$",
        "ViT leaves out the pixels at the margin",
    ),
    "one channel": Row(given(pixel_values=torch.ones(2, 1, 8, 8)), r"^pixel_values have the shape \(2, 1, 8, 8\), but"),
    "one image": Row(given(pixel_values=torch.ones(3, 8, 8)), r"^pixel_values have the shape \(3, 8, 8\), but must be"),
}
OF_AN_IMAGE_CLASSIFIER = {
    "a mask of patches to be guessed": Row(
        given(bool_masked_pos=torch.zeros(2, 4).bool()), r"^bool_masked_pos is given to an encoder of images, which"
    ),
    "a mask of patches": Row(
        given(attention_mask=torch.ones(2, 5)),
        r"^attention_mask is given to an encoder of images, which takes pixel_values only: leave it out\.$",
        "images of a batch have one size, so that no patch is padding",
    ),
}
NO_CACHE = "with labels a model is trained, or measured, and keeps a cache only where it is asked for"
OF_LABELS = {
    "labels": Row(given(), differs=NO_CACHE, where=[CAPTIONS, "LocantForCausalLM"]),
    "labels and use_cache=False": Row(given(use_cache=False)),
    "labels and use_cache=True": Row(
        given(use_cache=True),
        differs="BART gives no cache beside labels, even where it is asked for one",
        where=["LocantForConditionalGeneration"],
    ),
    "labels, and everything in a tuple": Row(given(use_cache=False, return_dict=False, **EVERYTHING)),
    "labels of no rows": Row(each(lambda value: value[:0]), differs=NO_MINUS_ONE),
    "a list of labels": Row(
        lambda batch, model: {**batch, **{name: batch[name].tolist() for name in ("labels", *SPAN) if name in batch}},
        r"'list' object has no attribute|list indices must be integers",
    ),
}
OF_VOCABULARY_LABELS = {
    "labels of padding alone": Row(given(labels=lambda labels: torch.full_like(labels, -100), use_cache=False)),
    "labels of 32 bits": Row(
        given(labels=torch.Tensor.int, use_cache=False),
        differs="the loss of vocabularies gathers by them; torch's own takes 64 bits only",
    ),
}
OF_A_CLASS = {
    "labels of 32 bits": Row(each(lambda value: value.int()), r"expected target dtype to be Long or Byte, but got Int")
}
OF_TARGET_LABELS = {
    "labels without a target": Row(without("decoder_input_ids"), differs=NO_CACHE, where=[CAPTIONS]),
    "labels beside embeddings of the target": Row(
        without("decoder_input_ids", lambda ids, model: {"decoder_inputs_embeds": torch.ones(2, 4, 32)}),
        differs=NO_CACHE,
        where=[CAPTIONS],
    ),
}
FORWARD = [
    (ALL, OF_ANY_MODEL),
    (READS_TEXT, OF_TEXT),
    ([*DECODERS, *ENCODERS], OF_ONE_STACK),
    (ENCODERS, OF_AN_ENCODER),
    ([*SEQ2SEQ, CAPTIONS, *DECODERS], WITH_A_CACHE),
    (DECODERS, OF_A_DECODER),
    ([*SEQ2SEQ, CAPTIONS], OF_AN_ENCODERS_OUTPUT | OF_TWO_STACKS),
    (["LocantForCausalLM"], OF_LOGITS),
    (["LocantForImageClassification"], OF_IMAGES | OF_AN_IMAGE_CLASSIFIER),
    ([CAPTIONS], OF_IMAGES),
]
WITH_LABELS_GIVEN = [
    (WITH_LABELS, OF_LABELS),
    (OF_A_VOCABULARY, OF_VOCABULARY_LABELS),
    ([name for name in WITH_LABELS if name not in OF_A_VOCABULARY], OF_A_CLASS),
    (GENERATING[:2], OF_TARGET_LABELS),
]

TOKENS = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
PARTS = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, **EVERYTHING}
OF_ANY_GENERATION = {
    "plain": Row(given()),
    "use_cache=False": Row(given(use_cache=False), like="plain"),
    "a static cache": Row(given(cache_implementation="static"), like="plain"),
    "a dictionary of everything": Row(given(**PARTS), like="plain"),
    "everything without a cache": Row(given(**PARTS, use_cache=False), like="plain"),
    "beams": Row(given(num_beams=2)),
    "beams without a cache": Row(given(num_beams=2, use_cache=False), like="beams"),
    "everything of beams": Row(given(num_beams=2, **PARTS), like="beams"),
    "samples": Row(given(do_sample=True, num_return_sequences=2)),
    "one row": Row(each(lambda value: value[:1]), like="plain", part=FIRST_ROW),
    "no rows": Row(
        each(lambda value: value[:0]), r"^generate\(\) is given a batch of no rows: give it one row at least"
    ),
    "a list": Row(main_input(lambda value: value.tolist()), r"'list' object has no attribute 'shape'"),
    "return_dict=False": Row(given(return_dict=False), r"`model_kwargs` are not used by the model: \['return_dict'\]"),
    "an unknown argument": Row(given(unknown=1), r"`model_kwargs` are not used by the model: \['unknown'\]"),
}
OF_A_PROMPT = {
    "one token": Row(each(lambda value: value[:, :1])),
    "no mask": Row(without("attention_mask")),
    "nothing but padding": Row(given(attention_mask=torch.zeros_like)),
    "a boolean mask": Row(given(attention_mask=torch.Tensor.bool), like="plain"),
    "ids of 32 bits": Row(given(input_ids=torch.Tensor.int), like="plain"),
    "ids of one dimension": Row(
        lambda batch, model: {"input_ids": IDS[0]}, r"^input_ids has the shape \(5,\): give|^tuple index out of range"
    ),
    "embeddings": Row(embedded(lambda embeddings: embeddings), like="plain"),
    "embeddings without a cache": Row(
        lambda batch, model: {**OF_TEXT["embeddings"].make(batch, model), "use_cache": False}, like="plain"
    ),
    "embeddings and beams": Row(
        lambda batch, model: {**OF_TEXT["embeddings"].make(batch, model), "num_beams": 2}, like="beams"
    ),
    "embeddings in half precision": Row(embedded(torch.Tensor.half)),
}
UNEXPANDED = "transformers repeats the states of an output for the beams, and not those in a tuple or list"
VED_READS = "VisionEncoderDecoderModel counts the rows of an output, and takes a tuple or list for one"
OF_A_GIVEN_SOURCE = {
    "BaseModelOutput": Row(encoded(BaseModelOutput), like="plain"),
    "an output with a pooled vector": Row(
        encoded(lambda states: BaseModelOutputWithPooling(states, states[:, 0])), like="plain"
    ),
    "a tuple of states": Row(encoded(lambda states: (states,)), differs=VED_READS, where=[CAPTIONS], like="plain"),
    "a list of states": Row(encoded(lambda states: [states]), differs=VED_READS, where=[CAPTIONS], like="plain"),
    "a tuple with those of layers": Row(encoded(with_layers), differs=VED_READS, where=[CAPTIONS], like="plain"),
    "a tensor": Row(encoded(lambda states: states), NO_ENCODER),
    "an empty tuple": Row(encoded(lambda states: ()), NO_ENCODER),
    "an output beside the input": Row(
        lambda batch, model: {**encoded(BaseModelOutput)(batch, model), **batch}, like="plain"
    ),
    "an output and beams": Row(
        lambda batch, model: {**encoded(BaseModelOutput)(batch, model), "num_beams": 2}, like="beams"
    ),
    "a tuple and beams": Row(
        lambda batch, model: {**encoded(lambda states: (states,))(batch, model), "num_beams": 2},
        differs=UNEXPANDED,
        like="beams",
    ),
    "a list and beams": Row(
        lambda batch, model: {**encoded(lambda states: [states])(batch, model), "num_beams": 2},
        differs=UNEXPANDED,
        like="beams",
    ),
    "a start of one token": Row(given(decoder_input_ids=torch.tensor([[1], [1]])), like="plain"),
    "a start of several tokens": Row(given(decoder_input_ids=TARGET["decoder_input_ids"])),
    "a list for a start": Row(
        given(decoder_input_ids=[[1], [1]]), r"list indices must be integers or slices, not tuple"
    ),
}
OF_AN_IMAGE = {
    "input_ids for a start": Row(
        given(input_ids=torch.tensor([[1, 11], [1, 12]])),
        r"^input_ids is given to an encoder of images, which takes pixel_values only: leave it out\.$",
        "VisionEncoderDecoderModel begins the caption with them; here decoder_input_ids do, as in translation",
    ),
}
GENERATE = [
    (GENERATING, OF_ANY_GENERATION),
    (["LocantForConditionalGeneration", "LocantForCausalLM"], OF_A_PROMPT),
    (["LocantForConditionalGeneration", CAPTIONS], OF_A_GIVEN_SOURCE),
    ([CAPTIONS], OF_AN_IMAGE),
]


def cases(tables):
    """The rows of every pair, as parameters of a test."""
    return pytest.mark.parametrize(
        ("name", "rows", "row"),
        [
            pytest.param(name, rows, row, id=f"{name}: {row}")
            for names, rows in tables
            for name in names
            for row in rows
        ],
    )


# -- What is compared


def described(value):
    """An output without its numbers: classes, names of fields in their order, shapes and types.

    Fields for cross-attention are left out, which some of BERT's outputs have though BERT is an encoder.
    """
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape)
    if isinstance(value, ModelOutput):
        fields = [(name, described(part)) for name, part in value.items() if name != "cross_attentions" or part]
        return type(value).__name__.removesuffix("AndCrossAttentions"), fields
    if isinstance(value, tuple | list):
        return [described(part) for part in value]
    return EncoderDecoderCache if isinstance(value, EncoderDecoderCache) else type(value)  # generate() derives a class


def is_finite(value):
    if isinstance(value, torch.Tensor):
        return bool(value.isfinite().all())
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return all(is_finite(part) for part in parts)


def outcome(run):
    """The output of a call, or the error that it raised."""
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            return run()
    except Exception as error:
        return error


def first(output):
    return output if isinstance(output, torch.Tensor) else output[0]


def compare(models, run, batch, row):
    """Run both models on a row, assert that Locant's does as the row says, and return whether both did the same."""
    ours, theirs = (outcome(lambda model=model: run(model)(**row.make(batch, model))) for model in models)
    if row.refused is not None:
        assert isinstance(ours, Exception)
        assert re.search(row.refused, str(ours))
        return isinstance(theirs, Exception)
    if isinstance(ours, Exception):
        raise ours
    if isinstance(theirs, Exception):
        return False
    assert is_finite(ours) or not is_finite(theirs)
    return described(ours) == described(theirs)


def is_alike(row, name, backend):
    """Whether the table says that both models do the same."""
    return not row.differs or not {name, f"{name} on {backend}"} & set(row.where)


def assert_like(models, run, batch, rows, row):
    """Assert that Locant's output has the numbers of the row that `row.like` names."""
    if row.like is not None:
        wanted = {**OF_ANY_GENERATION, **rows}[row.like]
        same, other = (first(outcome(lambda r=r: run(models[0])(**r.make(batch, models[0])))) for r in (row, wanted))
        torch.testing.assert_close(same[row.part], other[row.part], atol=1e-5, rtol=1e-5)


# -- The tests


def forward(model):
    return model


def generate(model):
    return lambda **inputs: model.generate(**{**TOKENS, **inputs})


def new_tokens(model):
    return lambda **inputs: first(generate(model)(**inputs))[:, -TOKENS["max_new_tokens"] :]


def source_of(batch):
    return {name: value for name, value in batch.items() if not name.startswith("decoder_")}


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
class TestTheTables:
    @pytest.mark.sampled(4)
    @cases(FORWARD)
    def test_forward(self, both, name, rows, row, backend):
        models, batch = both(name, backend), PAIRS[name].batch
        assert compare(models, forward, batch, rows[row]) == is_alike(rows[row], name, backend)
        assert_like(models, forward, batch, rows, rows[row])

    @pytest.mark.pairwise
    @cases(WITH_LABELS_GIVEN)
    def test_forward_with_labels(self, both, name, rows, row, backend):
        batch = {**PAIRS[name].batch, **PAIRS[name].labels}
        assert compare(both(name, backend), forward, batch, rows[row]) == is_alike(rows[row], name, backend)

    @pytest.mark.sampled(2)
    @cases(GENERATE)
    def test_generate(self, both, name, rows, row, backend):
        models, batch = both(name, backend), source_of(PAIRS[name].batch)
        assert compare(models, generate, batch, rows[row]) == is_alike(rows[row], name, backend)
        assert_like(models, new_tokens, batch, rows, rows[row])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
class TestHalfPrecision:
    """With weights in half precision, outputs have the built-in class's types, except losses, which are float32."""

    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("name", ALL)
    def test_forward(self, both, name, backend, dtype):
        models, batch = both(name, backend, dtype), PAIRS[name].batch
        rows = ["plain", "output_hidden_states"]
        if name in READS_TEXT:
            rows += ["nothing but padding", "a row of padding", "embeddings", "one token"]
        for row in rows:
            assert compare(models, forward, batch, (OF_ANY_MODEL | OF_TEXT)[row]), row

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("name", READS_TEXT)
    def test_embeddings_in_float32(self, both, name, backend, dtype):
        differs = "Locant gives embeddings the type of those of ids; transformers adds, or multiplies, two types"
        row = Row(embedded(torch.Tensor.float), differs=differs, like="plain")
        models, batch = both(name, backend, dtype), PAIRS[name].batch
        assert not compare(models, forward, batch, row)
        assert_like(models, forward, batch, OF_ANY_MODEL, row)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("name", WITH_LABELS)
    def test_losses_of_tokens_are_in_float32(self, both, name, backend, dtype):
        batch = {**PAIRS[name].batch, **PAIRS[name].labels}
        ours, theirs = (outcome(lambda model=model: model(**batch)) for model in both(name, backend, dtype))
        in_float32 = name in [*OF_A_VOCABULARY, "LocantForTokenClassification"]
        assert ours.loss.dtype == (torch.float32 if in_float32 else dtype)
        assert theirs.loss.dtype == (torch.float32 if name == "LocantForCausalLM" else dtype)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("name", GENERATING)
    def test_generate(self, both, name, backend, dtype):
        models, batch = both(name, backend, dtype), source_of(PAIRS[name].batch)
        for row in ("use_cache=False", "a dictionary of everything", "everything of beams"):
            assert compare(models, generate, batch, OF_ANY_GENERATION[row]), row


@pytest.mark.parametrize("name", ALL)
def test_an_input_on_another_device(both, name):
    """The meta device stands for another device. torch raises no error for ids on it and a table on a CPU."""
    inputs = {**PAIRS[name].batch, **PAIRS[name].labels}
    for argument in inputs:
        batch = {**inputs, argument: inputs[argument].to("meta")}
        ours, theirs = (outcome(lambda model=model, batch=batch: model(**batch)) for model in both(name))
        assert isinstance(ours, Exception) == (argument not in ("input_ids", "decoder_input_ids"))
        if (name, argument) != (CAPTIONS, "decoder_input_ids"):  # whose padding GPT-2 looks for
            assert isinstance(theirs, Exception) == isinstance(ours, Exception)


@pytest.mark.parametrize("name", READS_TEXT)
def test_one_token_is_the_first_before_padding(both, name):
    model, batch = both(name)[0], PAIRS[name].batch
    mask = torch.tensor([[1, 0, 0, 0, 0]]).expand(2, -1)
    padded = outcome(lambda: model(**{**batch, "attention_mask": mask}))[0]
    short = {**batch, "input_ids": IDS[:, :1], "attention_mask": mask[:, :1]}
    alone = outcome(lambda: model(**short))[0]
    torch.testing.assert_close(alone, padded[: len(alone), : alone.shape[1]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_tuples_by_the_config(spread, name):
    """`return_dict` in the config sets the output of the model, and not of the stacks inside the model.

    BART, LlamaForCausalLM and ViTForImageClassification fail, as they read fields of their inner model's tuple.
    """
    ours, theirs = copy.deepcopy(build(name, "eager", torch.float32, spread))
    batch, expected = PAIRS[name].batch, ours(**PAIRS[name].batch, return_dict=False)
    ours.config.return_dict = theirs.config.return_dict = False
    assert described(ours(**batch)) == described(expected)
    fails = [*SEQ2SEQ, "LocantForCausalLM", "LocantForImageClassification"]
    assert isinstance(outcome(lambda: theirs(**batch)), Exception) == (name in fails)
    if name in GENERATING:
        assert generate(ours)(**source_of(batch)).shape[0] == 2


# -- The arguments

NO_CROSS_ATTENTION = "the encoder has no cross-attention; LocantModel is the class with two stacks"
LACKING = {
    CAPTIONS: dict.fromkeys([*EVERYTHING, "return_dict"], "they are among the keyword arguments, as in other classes"),
    "LocantEncoderModel": {
        **dict.fromkeys(["encoder_hidden_states", "encoder_attention_mask"], NO_CROSS_ATTENTION),
        **dict.fromkeys(["past_key_values", "use_cache"], "no encoder continues a text; LocantDecoderModel does"),
    },
    "LocantForMaskedLM": dict.fromkeys(["encoder_hidden_states", "encoder_attention_mask"], NO_CROSS_ATTENTION),
    "LocantForImageClassification": {
        "interpolate_pos_encoding": "positions are interpolated wherever an image has another size",
        "attention_mask": "images of a batch have one size, so that no patch is padding",
    },
}
ANOTHER_ORDER = {CAPTIONS: "the class is that of translation, whose first argument is input_ids"}


def arguments(cls):
    """The names of the arguments of `forward` in their order, without `self` and `kwargs`; the cache has one name."""
    names = list(inspect.signature(cls.forward).parameters)[1:-1]
    return ["past_key_values" if name == CACHE else name for name in names]


@pytest.mark.parametrize("name", ALL)
def test_arguments(both, name):
    """Arguments of the built-in class come first and in its order, so that calls by position mean the same."""
    ours, theirs = (arguments(type(model)) for model in both(name))
    assert [argument for argument in theirs if argument not in ours] == list(LACKING.get(name, {}))
    shared = [argument for argument in theirs if argument in ours]
    assert (ours[: len(shared)] == shared) == (name not in ANOTHER_ORDER)


def test_every_public_class_has_a_pair():
    public = {name for name in modeling.__all__ if name.startswith("Locant")}
    inner = {"LocantPreTrainedModel", "LocantEncoder", "LocantImageEncoder", "LocantDecoder"}
    assert public - inner == {class_of(name).__name__ for name in PAIRS}
