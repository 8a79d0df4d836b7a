# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What all Locant models have in common: configuration, initialisation, what they support."""

import copy
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn
from transformers import initialization as init
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.parameter_count import parameter_count
from locant.configuration.position_encodings import Place

from .attention_backends import check_backend
from .checkpoint import CheckpointError
from .layers import TransformerLayer
from .loading import check_fit, check_numbers, fault_of_files
from .loss import token_loss
from .memory import check_memory
from .patches import PatchEmbedding
from .positions.base import PositionEncoding, PositionLayer
from .positions.registry import position_layer
from .swapping import copy_weights, serves_encodings, swapped_config

logger = logging.get_logger(__name__)


class LocantPreTrainedModel(PreTrainedModel):
    """Base class of all Locant models."""

    config_class = LocantConfig
    config: LocantConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = [TransformerLayer.__name__, PatchEmbedding.__name__]  # noqa: RUF012 (the base class's own)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _can_compile_fullgraph = True
    save_hooks: ClassVar[list[Callable[[PreTrainedModel, Path], None]]] = []
    """Called with a model and its folder whenever it is saved, before config.json is written."""
    push_hooks: ClassVar[list[Callable[[PreTrainedModel, Path, str], object]]] = []
    """Called with a model, a folder and its repository before what is new in the folder is pushed there."""

    def __init__(self, config: LocantConfig):
        super().__init__(config)
        self.model_tags = ["locant"]  # of the card of what is pushed to the Hub
        if self.places == config.places and not is_deepspeed_zero3_enabled():  # which shares weights out
            check_memory(parameter_count(config))
        if "encoder" in self.places and config.encoder_input == "patches":
            self.main_input_name = "pixel_values"

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As in transformers, and the checkpoint is checked.

        Raises:
            CheckpointError: files that are damaged, truncated or mislabelled; a weight that is missing, of another
                shape, not of floating point, or that holds NaN or infinity; the message names it.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        except CheckpointError:
            raise
        except Exception as error:
            fault = fault_of_files(pretrained_model_name_or_path, error, kwargs)
            if fault is not None:
                raise fault from error
            raise

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel,
        state_dict: dict[str, Any] | None,
        checkpoint_files: list[str] | None,
        load_config: Any,
        expected_keys: list[str] | None = None,
    ) -> tuple[Any, Any]:
        # here the model has no memory yet, and its files are known; an adapter is loaded so too, with its own keys
        files = checkpoint_files if state_dict is None and expected_keys is None else None
        if files:
            check_numbers(model, files, load_config)
        load = PreTrainedModel._load_pretrained_model
        info, offloaded = load(model, state_dict, checkpoint_files, load_config, expected_keys)
        if files and not load_config.is_quantized:
            check_fit(model, info, load_config)
        return info, offloaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (PositionEncoding, PositionLayer, PatchEmbedding)):
            module.init_weights()
        elif self.config.initializer == "normal":
            super()._init_weights(module)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
        else:
            super()._init_weights(module)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where position enters attention in this model."""
        return self.config.places

    @property
    def shares_embeddings(self) -> bool:
        """Whether encoder and decoder read tokens of one embedding table."""
        config = self.config
        return (
            config.is_encoder_decoder and config.share_encoder_decoder_embeddings and config.encoder_input == "tokens"
        )

    def _check_and_adjust_attn_implementation(self, attn_implementation: str | None, *args: Any, **kwargs: Any) -> str:
        """The backend to use: refused where it cannot serve an encoding, and one that can where none is asked for."""
        backend = super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs)
        if attn_implementation is None and not serves_encodings(backend, self.config, self.places):
            return "blockwise"
        for place in self.places:
            name = f"the position encoding {self.config.position_encoding_at(place)!r}"
            check_backend(backend, position_layer(self.config, place), place, name)
        return backend

    def with_position_encoding(
        self,
        position_encoding: str,
        *,
        decoder_position_encoding: str | None = None,
        cross_position_encoding: str | None = None,
        position_parameters: dict[str, Any] | None = None,
        rope_parameters: dict[str, Any] | None = None,
        max_position_embeddings: int | None = None,
        output_loading_info: bool = False,
    ) -> Self | tuple[Self, dict[str, Any]]:
        """This model with another position encoding: fresh weights for that, copies of all others.

        What was dropped and what is new is logged as a warning. A model on disk can be loaded so too:
        `from_pretrained(path, position_encoding="rotary")`.

        Args:
            position_encoding: the new one, of both stacks.
            decoder_position_encoding: the decoder's, where it differs.
            cross_position_encoding: the cross-attention's; by default it stays.
            position_parameters, rope_parameters, max_position_embeddings: as in the config; by default they stay.
            output_loading_info: also return which keys are missing (new) and which unexpected (dropped).

        Returns:
            A new model, on the same device and in the same mode, with weights of the same types, frozen or not.

        Raises:
            StrictDataclassError: no such encoding, or one that does not fit; the message names the field.
        """
        others = {
            "cross_position_encoding": cross_position_encoding,
            "position_parameters": position_parameters,
            "rope_parameters": rope_parameters,
            "max_position_embeddings": max_position_embeddings,
        }
        config = swapped_config(
            self.config,
            self.places,
            position_encoding=position_encoding,
            decoder_position_encoding=decoder_position_encoding,
            **{name: value for name, value in others.items() if value is not None},
        )
        model: Self = self.new_like(config).train(self.training)
        model.to(device=self.device, dtype=self.dtype)  # type: ignore[call-arg]  # transformers wraps it untyped
        report = copy_weights(self, model)
        backends = self.config._attn_implementation, config._attn_implementation
        report = replace(report, attn_implementation=backends if backends[0] != backends[1] else None)
        if self.can_generate():
            model.generation_config = copy.deepcopy(self.generation_config)
        if self.is_activation_checkpointing:
            model.gradient_checkpointing_enable()
        logger.warning(str(report))
        return (model, asdict(report)) if output_loading_info else model

    def new_like(self, config: LocantConfig) -> Self:
        """An untrained model of this class, of another config."""
        return type(self)(config)

    def token_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: int | torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss per token, smoothed by `config.label_smoothing` in training mode only; see `loss.token_loss`."""
        smoothing = self.config.label_smoothing if self.training else 0.0
        return token_loss(logits, labels, smoothing, num_items_in_batch)

    def _resize_token_embeddings(
        self, new_num_tokens: int, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        # transformers resizes one table; a decoder that has its own must follow
        decoder = getattr(self.base_model, "decoder", None)
        if (
            decoder is not None
            and not self.shares_embeddings
            and decoder.embed_tokens is not self.get_input_embeddings()
        ):
            decoder.embed_tokens = self._get_resized_embeddings(
                decoder.embed_tokens, new_num_tokens, pad_to_multiple_of, mean_resizing
            )
        return super()._resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, torch.Tensor] | None = None,
        push_to_hub: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """As in transformers, with what `save_hooks` add to the folder and to the config."""
        if not push_to_hub and self.should_save_on_this_rank(is_main_process):
            self._run_save_hooks(save_directory)
        super().save_pretrained(save_directory, is_main_process, state_dict, push_to_hub, *args, **kwargs)

    def _get_files_timestamps(self, working_dir: str | os.PathLike[str]) -> dict[str, float]:
        # with push_to_hub, what is newer than these is uploaded: the hooks' files have to be
        timestamps = super()._get_files_timestamps(working_dir)
        self._run_save_hooks(working_dir)
        return timestamps

    def _upload_modified_files(
        self, working_dir: str | os.PathLike[str], repo_id: str, *args: Any, **kwargs: Any
    ) -> Any:
        for hook in self.push_hooks:
            hook(self, Path(working_dir), repo_id)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def _run_save_hooks(self, save_directory: str | os.PathLike[str]) -> None:
        folder = Path(save_directory)
        if not folder.is_file():  # which transformers refuses
            folder.mkdir(parents=True, exist_ok=True)
            for hook in self.save_hooks:
                hook(self, folder)

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """A smallest batch, for tools that trace the model."""
        ids = torch.tensor([[5, 6, 7, 2], [5, 6, 2, 0]], device=self.device) % self.config.vocab_size
        inputs = {"input_ids": ids, "attention_mask": ids.ne(0).long()}
        if self.main_input_name == "pixel_values":
            sides = [
                patches * side for patches, side in zip(self.config.patch_grid, self.config.patch_shape, strict=True)
            ]
            inputs = {"pixel_values": torch.zeros(2, self.config.num_channels, *sides, device=self.device)}
        return {**inputs, "decoder_input_ids": ids} if self.config.is_encoder_decoder else inputs
