# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The cache of an encoder–decoder in `generate()`, and the methods that `generate()` calls on a Locant model.

`SourceCache` is the cache. The methods, in `LocantGenerationMixin`, are for inputs, caches and beam search.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch.compiler import is_compiling
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.generation import GenerationConfig, GenerationMixin, LogitsProcessorList, StoppingCriteriaList

from locant.configuration.configuration_locant import LocantConfig

from .cache_names import CACHE, takes_cache_as
from .stack_inputs import as_encoder_output, self_attention_cache

_Made = TypeVar("_Made")

# Arguments of `forward` that describe the source, which the encoder or cross-attention reads
_OF_SOURCE = (
    *("encoder_outputs", "attention_mask", "cross_attention_mask", "position_ids", "document_ids"),
    *("token_type_ids", "inputs_embeds", "pixel_values"),
)


class SourceCache(EncoderDecoderCache):
    """A cache whose cross-attention part holds the keys and values of each source once, for all beams of the source."""

    def __init__(self, *caches: Any) -> None:
        super().__init__(*caches)
        self._made: dict[Any, tuple[tuple[Any, ...], Any]] = {}

    def made_once(self, key: Any, given: tuple[Any, ...], make: Callable[[], _Made]) -> _Made:
        """Return the result of `make()`, which is kept for later steps. Compiled code calls `make()` in each step.

        Args:
            key: the name under which the result is kept.
            given: the objects that the result is computed from. If one of them is not the same object as in the
                previous call with this `key`, the source has changed: all kept results are dropped, and this result
                is computed again.
            make: computes the result.
        """
        if is_compiling():
            return make()
        kept = self._made.get(key)
        if kept is not None and any(one is not other for one, other in zip(kept[0], given, strict=True)):
            self._made.clear()
            kept = None
        if kept is None:
            kept = self._made[key] = given, make()
        return kept[1]

    def repeat_sources(self, rows: int) -> None:
        """Repeat the keys and values of each source, if `rows` is a multiple of the number of sources in the cache.

        Args:
            rows: the number of rows of the encoder's output. It is above the number of sources in the cache if the
                caller continues several sequences of one source, and repeats the source for each sequence.
        """
        own = self.source_rows
        if own is None or own == rows or rows % own:
            return
        layers: Any = self.cross_attention_cache.layers
        for layer in layers:
            layer.keys, layer.values = (kept.repeat_interleave(rows // own, 0) for kept in (layer.keys, layer.values))

    def reorder_cache(self, beam_idx: Any) -> None:
        """Reorder the self-attention cache, and the cross-attention cache only if it has a row for each beam.

        Args:
            beam_idx: for each new row, the index of the old row that it continues; both rows have the same source.
        """
        if self.source_rows in (None, len(beam_idx)):
            super().reorder_cache(beam_idx)
        else:
            self.self_attention_cache.reorder_cache(beam_idx)

    @property
    def source_rows(self) -> int | None:
        """The number of rows in the cross-attention cache; None before the first step."""
        layer: Any = self.cross_attention_cache.layers[0] if self.is_updated.get(0) else None
        return None if layer is None else layer.keys.shape[0]


class LocantGenerationMixin(GenerationMixin):
    """Adds transformers' `generate()` to a model, changed to return the same results in less time and memory.

    `generate()` leaves the masks of the layer types and the position ids to the model's `forward`. The encoder's output
    and the cross-attention cache keep one row for each source, which all beams or returned sequences of the source
    share. Beam search runs in `beam_search.py`, unless its loop does not support the arguments, the caller gives a
    cache, or `synced_gpus` is set. `generate(custom_generate=GenerationMixin._beam_search)` always runs the beam search
    of transformers.
    """

    config: LocantConfig
    main_input_name: str
    # `modeling/__init__.py` sets `search_beams` and `make_room`. In the code that is saved with a model, both of these
    # attributes stay None, and the beam search and the cache layers of transformers are used
    search_beams: ClassVar[Any] = None
    make_room: ClassVar[Any] = None

    generate = takes_cache_as(CACHE)(GenerationMixin.generate)

    @takes_cache_as("past_key_values")
    def create_masks_for_generate(
        self, attention_mask: torch.Tensor | None, past_key_values: Cache | None = None, **kwargs: Any
    ) -> torch.Tensor | None:
        """Pad the decoder's attention mask to the length of the static cache.

        The mask then has the same shape in every step, so that a compiled step is not compiled again.
        """
        if attention_mask is None or past_key_values is None:
            return attention_mask
        # if all layers have sliding windows, the cache has the length of a window, and the mask becomes longer than it
        missing = max(0, past_key_values.get_max_length() - attention_mask.shape[1])
        return torch.nn.functional.pad(attention_mask, (0, missing))

    @takes_cache_as("cache")
    def prepare_inputs_for_generation(  # type: ignore[override]  # transformers names the cache by its version
        self,
        input_ids: torch.Tensor,
        next_sequence_length: int | None = None,
        cache: Cache | None = None,
        *args: Any,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Prepare the inputs as in transformers, but do not cut position ids that cover all tokens, cached and new.

        If the caller of `generate()` gave position ids only for the tokens that were not in the given cache, the ids
        are cut to the tokens of this step, as in transformers. The signature names `inputs_embeds` and `cache`, because
        `generate()` looks for these names in the signature.
        """
        prepare: Any = super().prepare_inputs_for_generation  # type: ignore[misc]  # transformers annotates `self`
        inputs = prepare(input_ids, next_sequence_length, cache, *args, inputs_embeds=inputs_embeds, **kwargs)
        name = "decoder_position_ids" if self.config.is_encoder_decoder else "position_ids"
        given = kwargs.get(name)
        if given is None:
            return inputs
        cache = self_attention_cache(cache)
        past_length = 0 if cache is None else int(cache.get_seq_length())
        is_whole = given.shape[1] == past_length + inputs[name].shape[1]
        return {**inputs, name: given} if is_whole else inputs

    def _maybe_initialize_input_ids_for_generation(
        self, inputs: torch.Tensor | None, bos_token_id: torch.Tensor | None, model_kwargs: dict[str, Any]
    ) -> Any:
        """Convert `encoder_outputs`, which may be a tuple or a list, and run transformers' method.

        Raises:
            ValueError: the batch has no rows, or a model that reads images gets neither `pixel_values` nor
                `encoder_outputs`.
        """
        if model_kwargs.get("encoder_outputs") is not None:
            model_kwargs["encoder_outputs"] = as_encoder_output(model_kwargs["encoder_outputs"])
        given = {name for name, value in model_kwargs.items() if value is not None}
        # for input_ids and inputs_embeds, the image encoder itself raises an error
        encoded = given & {"encoder_outputs", "input_ids", "inputs_embeds"}
        if inputs is None and self.main_input_name == "pixel_values" and not encoded:
            raise ValueError(
                "generate() of a model that reads images needs pixel_values or encoder_outputs, but got neither: give "
                "images; the image-text-to-text pipeline needs a text together with the images, such as text=''."
            )
        initialize: Any = super()._maybe_initialize_input_ids_for_generation  # type: ignore[misc]  # annotated `self`
        inputs = initialize(inputs, bos_token_id, model_kwargs)
        if isinstance(inputs, torch.Tensor) and inputs.shape[0] == 0:
            raise ValueError("generate() is given a batch of no rows: give it one row at least.")
        return inputs

    def _prepare_position_ids_for_generation(self, inputs_tensor: torch.Tensor, model_kwargs: dict[str, Any]) -> None:
        """Return None: the model itself counts the positions from the mask."""

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: torch.Tensor | None = None,
        **model_kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Repeat the decoder's inputs for the beams; the inputs of a source keep one row, which its beams share.

        The inputs of the source are repeated as well if the caller gave a cache whose cross-attention has a row for
        each beam, or a cache that is no `SourceCache`.
        """
        cache = model_kwargs.get(CACHE)
        is_shared = cache is None
        if isinstance(cache, SourceCache):
            is_shared = cache.source_rows in (None, model_kwargs["encoder_outputs"][0].shape[0])
        expand: Any = super()._expand_inputs_for_generation  # type: ignore[misc]  # transformers annotates `self`
        if not is_encoder_decoder or not is_shared:
            return expand(expand_size, is_encoder_decoder, input_ids, **model_kwargs)
        of_source = {name: model_kwargs.pop(name) for name in _OF_SOURCE if name in model_kwargs}
        input_ids, model_kwargs = expand(expand_size, False, input_ids, **model_kwargs)
        return input_ids, {**model_kwargs, **of_source}

    def _prepare_cache_for_generation(  # type: ignore[override]  # annotated as bool in transformers, but returns None
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any
    ) -> None:
        """Make the cache as in transformers, with layers from `make_room`; an encoder–decoder gets a `SourceCache`.

        A cache that the caller gave is not changed.
        """
        is_given = model_kwargs.get(CACHE) is not None
        prepare: Any = super()._prepare_cache_for_generation  # type: ignore[misc]  # transformers annotates `self`
        prepare(generation_config, model_kwargs, *args)
        cache = self_attention_cache(model_kwargs.get(CACHE))
        if cache is None or is_given:
            return
        if self.make_room is not None:
            self.make_room(cache)
        if self.config.is_encoder_decoder:
            model_kwargs[CACHE] = SourceCache(cache, model_kwargs[CACHE].cross_attention_cache)

    def _beam_search(
        self,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        synced_gpus: bool = False,
        **model_kwargs: Any,
    ) -> Any:
        """Run `search_beams`, or else the beam search of transformers.

        `search_beams` runs if it is set and supports the arguments, the caller gave no cache, and `synced_gpus` is
        False.
        """
        # search_beams removes finished sentences from the cache; a cache that the caller gave must keep all its rows
        is_given = hasattr(model_kwargs.get(CACHE), "_is_user_defined")
        if self.search_beams is not None and not (synced_gpus or is_given):
            found = self.search_beams(
                self, input_ids, logits_processor, stopping_criteria, generation_config, model_kwargs
            )
            if found is not None:
                return found
        search: Any = super()._beam_search  # type: ignore[misc]  # transformers annotates `self`
        return search(
            input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus=synced_gpus, **model_kwargs
        )
