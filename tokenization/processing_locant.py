# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`LocantProcessor`: the image processor and the tokenizer of an image-to-text model in one object."""

from typing import Any

from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import ImageInput
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER, PreTrainedTokenizerBase

IGNORED_LABEL = -100
"""The label of a token that the loss ignores."""


class LocantProcessor(ProcessorMixin):
    """The image processor and the tokenizer of an image-to-text model, which are saved and loaded together.

    The argument `text` of a call is a prompt for the decoder, and the output of the call can be passed to `generate()`
    unchanged: `decoder_input_ids` are the tokenizer's `bos` token, which is Locant's `decoder_start_token_id`, and the
    tokens of the prompt, without an end token. For an empty prompt, they are the `bos` token alone. With
    `padding=True`, prompts of different lengths are padded on the left, so that generation continues after the last
    token of each prompt. As in `Pix2StructProcessor`, no labels are made from `text`, so that the model computes no
    loss. Labels are made from `text_target`, the captions to train on, whereas `TrOCRProcessor` and `DonutProcessor`
    make labels from `text`.

    `AutoProcessor.from_pretrained` loads a saved processor as an object of this class.

    Args:
        image_processor: makes `pixel_values` from images, such as a `LocantImageProcessor`.
        tokenizer: has tokens for start, end and padding, like a tokenizer that `train_tokenizer` makes.
    """

    def __init__(self, image_processor: BaseImageProcessor, tokenizer: PreTrainedTokenizerBase):
        super().__init__(image_processor, tokenizer)

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | list[str] | None = None,
        text_target: str | list[str] | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Make inputs for a model's `forward` or `generate()`; a single image or text is a batch of one.

        Args:
            images: one image or several, which become `pixel_values` (batch, channels, height, width).
            text: prompts, which become `decoder_input_ids` and `decoder_attention_mask` (batch, length).
            text_target: target texts, which become `labels` (batch, length), with the end token and -100 at padding.
            **kwargs: options of the image processor and of the tokenizer, usually `return_tensors="pt"` and
                `padding=True`.

        Raises:
            ValueError: no images and no texts are given; their numbers differ; or the tokenizer has no `bos` token for
                prompts.
        """
        given = {"images": images, "text": text, "text_target": text_target}
        if all(value is None for value in given.values()):
            raise ValueError("The processor was given nothing: give images, text or text_target.")
        merge: Any = self._merge_kwargs  # annotated with an instance of ProcessingKwargs, but takes the class
        options = merge(ProcessingKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        text_options = options["text_kwargs"]
        return_tensors = text_options.pop("return_tensors", None)

        inputs: dict[str, Any] = {}
        if images is not None:
            inputs.update(self.image_processor(images, **options["images_kwargs"]))
        if text is not None:
            inputs.update(self._prompts([text] if isinstance(text, str) else list(text), text_options))
        if text_target is not None:
            targets = [text_target] if isinstance(text_target, str) else list(text_target)
            inputs["labels"] = self._labels(targets, text_options)
        sizes = {name: len(values) for name, values in inputs.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"A batch has {', '.join(f'{size} {name}' for name, size in sizes.items())}: "
                "give the same number of images, prompts and target texts."
            )
        return BatchFeature(inputs, tensor_type=return_tensors)

    def _prompts(self, texts: list[str], options: dict[str, Any]) -> dict[str, Any]:
        start = self.tokenizer.bos_token_id
        if start is None:
            raise ValueError("The tokenizer has no token to start a text with: set its bos_token.")
        own = {"add_special_tokens": False, "padding": False}
        limit = options.get("max_length")
        if limit is None and self.tokenizer.model_max_length < VERY_LARGE_INTEGER:
            limit = self.tokenizer.model_max_length
        if options.get("truncation") and limit is not None:
            own["max_length"] = max(limit - 1, 0)  # leave room for the start token
        encoded = self.tokenizer(texts, **{**options, **own})
        padded = self.tokenizer.pad(
            {"input_ids": [[start, *ids] for ids in encoded["input_ids"]]},
            padding=options.get("padding", False),
            max_length=options.get("max_length"),
            pad_to_multiple_of=options.get("pad_to_multiple_of"),
            padding_side="left",
            return_attention_mask=True,
        )
        return {"decoder_input_ids": padded["input_ids"], "decoder_attention_mask": padded["attention_mask"]}

    def _labels(self, texts: list[str], options: dict[str, Any]) -> list[list[int]]:
        encoded = self.tokenizer(texts, **{**options, "return_attention_mask": True})
        return [
            [token if seen else IGNORED_LABEL for token, seen in zip(ids, mask, strict=True)]
            for ids, mask in zip(encoded["input_ids"], encoded["attention_mask"], strict=True)
        ]

    @property
    def model_input_names(self) -> list[str]:
        """The names of the model's inputs that are made from images and prompts."""
        return [*self.image_processor.model_input_names, "decoder_input_ids", "decoder_attention_mask"]
