# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The pipelines `translation`, `summarization` and `text2text-generation`, for any encoder–decoder of transformers.

This file is saved in the folder of a model, for `transformers.pipeline(task, model=..., trust_remote_code=True)`. It
therefore imports nothing but torch, transformers and the standard library.
"""

import re
from collections.abc import Iterable, Mapping, Sized
from types import GeneratorType
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.pipelines.base import Pipeline
from transformers.utils import logging

logger = logging.get_logger(__name__)

_Pipeline: Any = Pipeline  # typed as Any, because Pipeline declares that its tokenizer may be None
LANGUAGES = re.compile(r"translation_(.+)_to_(.+)")


def check_task(task: str, config: PretrainedConfig) -> None:
    """Check that a model with this config is for `task`, one of the text-to-text tasks.

    Raises:
        ValueError: the model is not an encoder–decoder, does not read text, or translates between other languages than
            `translation_xx_to_yy` names.
    """
    if not config.is_encoder_decoder:
        raise ValueError(
            f"The pipeline {task!r} needs an encoder–decoder, and this {config.model_type} model is none: "
            "give a model that was saved from a class for sequence-to-sequence language modelling."
        )
    if getattr(config, "encoder_input", "tokens") != "tokens":
        raise ValueError(
            f"The pipeline {task!r} needs a model that reads text, but this model reads images: use image-text-to-text."
        )
    asked = LANGUAGES.fullmatch(task)
    known = getattr(config, "source_lang", None), getattr(config, "target_lang", None)
    if asked and None not in known and asked.groups() != known:
        raise ValueError(
            f"The pipeline {task!r} is for other languages than those of the model: "
            f"ask for 'translation_{known[0]}_to_{known[1]}', or for 'translation'."
        )


class TextToTextPipeline(_Pipeline):
    """Generates text from text; the base class of the three pipelines in this file.

    The defaults are beam search with 4 beams, and at most 256 new tokens (or at most the number of positions in the
    decoder's learned position table, if that number is lower). Options of the model's generation config, of
    `task_specific_params` in the model's config, and of the caller override the defaults.

    Args:
        model: an encoder–decoder that reads text.
        tokenizer: the tokenizer of the model.
        task: the name of the task that the caller asked for, such as `translation_en_to_fr`.
        **kwargs: as in every pipeline (`device`, `batch_size`, `num_workers`), and all arguments of `__call__`.

    Raises:
        ValueError: the model is not for the task (see `check_task`), or cannot generate.
    """

    prefix: str
    """The text before each input: the task's `prefix` in `task_specific_params`, or else the `prefix` of the config."""
    return_name: ClassVar[str]
    """The keys of results are `<return_name>_text` and `<return_name>_token_ids`."""

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=256, num_beams=4)

    def __init__(self, model: PreTrainedModel, *args: Any, task: str = "", **kwargs: Any):
        check_task(task, model.config)
        if not model.can_generate():
            raise ValueError(
                f"A {type(model).__name__} cannot generate text: give a model with a language modelling head."
            )
        super().__init__(model, *args, task=task, **kwargs)
        self.model.eval()
        table = _learned_positions(model.config, "decoder")
        if table is not None:
            self._generation_defaults["max_new_tokens"] = min(table, self._generation_defaults["max_new_tokens"])
        # configs such as T5's give each task a prefix and generation options
        specific = dict((getattr(model.config, "task_specific_params", None) or {}).get(task) or {})
        self.prefix = specific.pop("prefix", self.prefix) or ""
        # a generation config of the caller takes the place of the options in the model's config
        given: dict[str, Any] = self._generate_kwargs  # type: ignore[has-type]
        if "generation_config" not in given:
            self._generate_kwargs = {**specific, **given}

    def _sanitize_parameters(
        self,
        *,
        truncation: bool | None = None,
        return_text: bool | None = None,
        return_tensors: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = {"truncation": truncation}
        postprocess = {
            "return_text": return_text,
            "return_tensors": return_tensors,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
        }
        if self.assistant_model is not None:
            generate_kwargs |= {"assistant_model": self.assistant_model}
            if self.assistant_tokenizer is not None:
                generate_kwargs |= {"tokenizer": self.tokenizer, "assistant_tokenizer": self.assistant_tokenizer}
        return _given(preprocess), generate_kwargs, _given(postprocess)

    def __call__(self, inputs: str | Iterable[str], **kwargs: Any) -> Any:
        """Generate a text for each input text.

        Args:
            inputs: a text; a list or tuple of texts; or any other iterable of texts, such as a generator, a column of a
                dataset or a `KeyDataset`. These other iterables are read while the results are consumed.
            truncation: whether to cut an input that is longer than the model takes, with a warning (default: True). If
                False, the whole input is passed to the model. The limit is the tokenizer's `model_max_length`, or the
                number of positions in the encoder's learned position table if that is smaller.
            return_text: whether results have `<return_name>_text` (default: True unless `return_tensors` is set).
            return_tensors: whether results have `<return_name>_token_ids` (default: False).
            clean_up_tokenization_spaces: as in the tokenizer's `decode`.
            batch_size, num_workers: as in every pipeline.
            **kwargs: anything that `generate()` takes.

        Returns:
            For a text, a list with a dictionary for each of its `num_return_sequences` results. For a list or tuple of
            texts, a list with one such list for each text, or a list of dictionaries if each text has one result. For
            any other iterable, an iterator over such lists, one for each text.

        Raises:
            TypeError: one of the inputs is not a string.
        """
        if isinstance(inputs, Mapping):
            raise TypeError(_not_text(inputs))
        if isinstance(inputs, Sized) and not isinstance(inputs, str) and not len(inputs):
            return []
        if isinstance(inputs, tuple):
            inputs = list(inputs)
        if not isinstance(inputs, str | list | Dataset | GeneratorType):
            inputs = (text for text in inputs)  # `inputs` may be a column of a dataset, or an open file
        results = super().__call__(inputs, **kwargs)
        if isinstance(inputs, list) and all(len(result) == 1 for result in results):
            return [result[0] for result in results]
        return results

    def preprocess(self, input_: str, truncation: bool = True, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Compute the model inputs for one text: a dict with at least `input_ids` `(1, length)` and `attention_mask`.

        Args:
            input_: the text, without the prefix.
            truncation: whether to cut the token ids to the limit of the model, with a warning (see `__call__`).
            **kwargs: arguments of `tokenize`.

        Raises:
            TypeError: `input_` is not a string.
        """
        if not isinstance(input_, str):
            raise TypeError(_not_text(input_))
        text, limit = self.prefix + input_, self._source_limit()
        inputs = self.tokenize(text, truncation=False, verbose=False, **kwargs)
        length = inputs["input_ids"].shape[1]
        if truncation and limit is not None and length > limit:
            inputs = self.tokenize(text, truncation=True, max_length=limit, **kwargs)
            kept = inputs["input_ids"].shape[1]
            logger.warning(
                f"An input of {length} tokens is longer than the {limit} that the model takes: {kept} tokens are kept. "
                "Split the text, or give truncation=False to pass the whole text to the model."
            )
        if not length:  # the text is empty, and the tokenizer adds no special tokens
            end = (
                self.tokenizer.eos_token_id if self.tokenizer.eos_token_id is not None else self.tokenizer.pad_token_id
            )
            inputs = {"input_ids": torch.tensor([[end]]), "attention_mask": torch.tensor([[1]])}
        return inputs

    def tokenize(self, text: str, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Compute the model inputs for `text`: `input_ids` and `attention_mask`, each `(1, length)`."""
        inputs = self.tokenizer(text, return_tensors="pt", return_attention_mask=True, **kwargs)
        return {name: inputs[name] for name in ("input_ids", "attention_mask")}

    def _source_limit(self) -> int | None:
        limits = self.tokenizer.model_max_length, _learned_positions(self.model.config, "encoder")
        return min(limit for limit in limits if limit is not None)

    def _forward(self, input_tensors: dict[str, torch.Tensor], **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        generate_kwargs = self._prepare_generate_kwargs(generate_kwargs, return_dict_in_generate=False)
        ids = self.model.generate(**input_tensors, **generate_kwargs)
        return {"output_ids": ids.reshape(len(input_tensors["input_ids"]), -1, ids.shape[-1])}

    def postprocess(
        self,
        model_outputs: dict[str, torch.Tensor],
        return_text: bool | None = None,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Build the results for one text, in the order of `generate`: beam search returns the best sequence first."""
        options = _given({"clean_up_tokenization_spaces": clean_up_tokenization_spaces})
        records = []
        for ids in model_outputs["output_ids"][0]:
            record: dict[str, Any] = {}
            if return_tensors:
                record[f"{self.return_name}_token_ids"] = _without_filler(
                    ids, self.tokenizer.pad_token_id, self.model.generation_config.eos_token_id
                )
            if return_text or (return_text is None and not return_tensors):
                text = self.tokenizer.decode(ids, skip_special_tokens=True, **options)
                record[f"{self.return_name}_text"] = text
            records.append(record)
        return records


class Text2TextGenerationPipeline(TextToTextPipeline):
    """The pipeline `text2text-generation`: results hold `generated_text`."""

    return_name = "generated"


class SummarizationPipeline(TextToTextPipeline):
    """The pipeline `summarization`: results hold `summary_text`."""

    return_name = "summary"


class TranslationPipeline(TextToTextPipeline):
    """The pipelines `translation` and `translation_xx_to_yy`: results hold `translation_text`.

    Multilingual tokenizers (mBART, M2M100, NLLB) need `src_lang` and `tgt_lang`, in the task's name, or as arguments of
    the pipeline or of a call.
    """

    return_name = "translation"

    def _sanitize_parameters(
        self, *, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess, forward, postprocess = super()._sanitize_parameters(**kwargs)
        return {**preprocess, **_given({"src_lang": src_lang, "tgt_lang": tgt_lang})}, forward, postprocess

    def tokenize(self, text: str, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any):
        """Compute the model inputs for `text`; with a multilingual tokenizer, also the `forced_bos_token_id`."""
        build = getattr(self.tokenizer, "_build_translation_inputs", None)
        if build is None:
            return super().tokenize(text, **kwargs)
        named = LANGUAGES.fullmatch(self.task)
        if named:
            src_lang, tgt_lang = src_lang or named[1], tgt_lang or named[2]
        inputs = build(text, return_tensors="pt", src_lang=src_lang, tgt_lang=tgt_lang, **kwargs)
        return {**inputs, "forced_bos_token_id": torch.tensor([inputs["forced_bos_token_id"]])}

    def _forward(self, input_tensors: dict[str, torch.Tensor], **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        language = input_tensors.pop("forced_bos_token_id", None)  # (batch,), the same id for all texts
        if language is not None:
            generate_kwargs["forced_bos_token_id"] = int(language[0])
        return super()._forward(input_tensors, **generate_kwargs)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _not_text(value: object) -> str:
    return f"A {type(value).__name__} is not a text: give strings, such as one column of a dataset."


def _learned_positions(config: PretrainedConfig, stack: str) -> int | None:
    """Return the number of positions in a stack's learned position table; None if the encoding is not `learned`."""
    encoding = getattr(config, "position_encoding", None)
    if stack == "decoder":
        encoding = getattr(config, "decoder_position_encoding", None) or encoding
    return config.max_position_embeddings if encoding == "learned" else None


def _without_filler(ids: torch.Tensor, pad_token_id: int | None, eos_token_id: int | list[int] | None) -> torch.Tensor:
    """Remove the padding at the end of a result; all results of a batch are padded to the length of the longest one.

    The result is cut after the first end token in it. If there is no end token, padding tokens at the end are removed.
    The padding may also consist of end tokens: beam search pads with an end token if `pad_token_id` is 0.
    """
    ends = [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id or []
    for place, token in enumerate(ids[1:].tolist(), start=1):  # the decoder's start token may equal the end token
        if token in ends:
            return ids[: place + 1]
    length = len(ids)
    while length > 1 and ids[length - 1] == pad_token_id:
        length -= 1
    return ids[:length]
