# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`LocantProcessor`: the image processor and the tokenizer of an image-to-text model, as one."""

from typing import Any

from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import ImageInput
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

IGNORED_LABEL = -100
"""The label of a place that the loss leaves out."""


class LocantProcessor(ProcessorMixin):
    """Joins the two halves of an image-to-text model; saved and loaded as one, also by `AutoProcessor`.

    A text is what the decoder starts with, so the output goes to `generate()` as it is: `decoder_input_ids`
    opens with the tokenizer's `bos` token, which is Locant's `decoder_start_token_id`, and the prompt follows
    without an end token; an empty prompt is the start token alone. Prompts of several lengths are padded on the
    left (`padding=True`), where generation goes on from them. As in `Pix2StructProcessor`, a `text` makes no labels,
    so that the model computes no loss: the captions to train on are `text_target`, where `TrOCRProcessor` and
    `DonutProcessor` make labels of `text`.

    Args:
        image_processor: makes `pixel_values` of images, such as a `LocantImageProcessor`.
        tokenizer: with tokens for start, end and padding, as `train_tokenizer` makes it.
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
        """Inputs for a model's `forward` or `generate()`; a single image or text is a batch of one.

        Args:
            images: one or several, → `pixel_values` (batch, channels, height, width).
            text: prompts, → `decoder_input_ids` and `decoder_attention_mask` (batch, length).
            text_target: the texts to learn, with the end token, → `labels` (batch, length), -100 where padded.
            **kwargs: options of the image processor and of the tokenizer; `return_tensors="pt"` and `padding=True`
                are wanted most.

        Raises:
            ValueError: nothing was given, or not as many texts as images.
        """
        given = {"images": images, "text": text, "text_target": text_target}
        if all(value is None for value in given.values()):
            raise ValueError("The processor was given nothing: give images, text or text_target.")
        options = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
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
                "give as many texts as images."
            )
        return BatchFeature(inputs, tensor_type=return_tensors)

    def _prompts(self, texts: list[str], options: dict[str, Any]) -> dict[str, Any]:
        start = self.tokenizer.bos_token_id
        if start is None:
            raise ValueError("The tokenizer has no token to start a text with: set its bos_token.")
        own = {"add_special_tokens": False, "padding": False}
        if options.get("truncation") and options.get("max_length") is not None:
            own["max_length"] = max(options["max_length"] - 1, 0)  # the start token is one of the prompt's tokens
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
        """What a model is given for images and text."""
        return [*self.image_processor.model_input_names, "decoder_input_ids", "decoder_attention_mask"]


__all__ = ["LocantProcessor"]
