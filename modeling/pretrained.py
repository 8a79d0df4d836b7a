# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The base class of all Locant models: initialisation, loading, saving, attention backends, hooks."""

import importlib
import os
from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import nn
from transformers import initialization as init
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import AttentionKind

from .attention_backends import can_serve, check_backend, check_name

logger = logging.get_logger(__name__)


class LocantPreTrainedModel(PreTrainedModel):
    """Base class of all Locant models."""

    config_class = LocantConfig
    config: LocantConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerLayer", "PatchEmbedding"]  # noqa: RUF012 (declared in the base class)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _can_compile_fullgraph = True
    class_tables: ClassVar[tuple[dict[str, Any], ...]] = ()
    """The dictionaries in transformers' `modeling_auto` that list the names of classes with a head for the same task.

    Pipelines log an error for a class that is not listed, and the Trainer's label smoothing shifts the labels of listed
    language models only.
    """
    build_hooks: ClassVar[list[Callable[[PreTrainedModel], None]]] = []
    """Functions that are called with a model that has its config and no modules yet."""
    load_hooks: ClassVar[list[Callable[[PreTrainedModel, list[str], Any, Any], None]]] = []
    """Functions that are called with a model, its files, and transformers' `LoadStateDictConfig` and
    `LoadStateDictInfo`, once the weights of the files are in the model and missing weights are on the meta device."""
    fault_hooks: ClassVar[list[Callable[..., Exception | None]]] = []
    """Functions that are called with a model's name, the error that loading the model raised, and the keyword arguments
    of `from_pretrained`; the first error that one of them returns is raised instead."""
    save_hooks: ClassVar[list[Callable[[PreTrainedModel, Path], Iterable[str] | None]]] = []
    """Functions that are called with a model and its folder whenever a model is saved, before config.json is written.
    They return the names of the files that they write; a push uploads these files even if they existed before."""
    push_hooks: ClassVar[list[Callable[[PreTrainedModel, Path, str], object]]] = []
    """Functions that are called with a model, its folder and a repository before the folder's files are pushed."""
    _files_of_hooks: Set[str] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Add the name of the class to `class_tables`; this includes classes that users derive from a head."""
        super().__init_subclass__(**kwargs)
        for table in cls.class_tables:
            table[cls.__name__] = cls.__name__

    def __init__(self, config: LocantConfig):
        super().__init__(config)
        self.model_tags = ["locant"]  # tags in the card of a model that is pushed to the Hub
        for hook in self.build_hooks:
            hook(self)
        if "encoder" in self.attention_kinds and config.encoder_input == "patches":
            self.main_input_name = "pixel_values"

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """Load a model as in transformers; also raise the errors that `load_hooks` raise and `fault_hooks` return."""
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        except Exception as error:
            for hook in cls.fault_hooks:
                if (fault := hook(pretrained_model_name_or_path, error, kwargs)) is not None:
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
        load, renaming = PreTrainedModel._load_pretrained_model, None
        if (other := table_of_other_stack(cast(LocantConfig, model.config))) is not None:
            renaming = WeightRenaming(other, f"{model.config.main_stack}.embed_tokens")
            load_config = replace(load_config, weight_mapping=[*(load_config.weight_mapping or []), renaming])
        info, offloaded = load(model, state_dict, checkpoint_files, load_config, expected_keys)
        if renaming is not None:  # otherwise `save_pretrained` would reverse the renaming
            loaded: Any = model
            loaded._weight_conversions = [kept for kept in loaded._weight_conversions if kept is not renaming]
        # load_hooks are for the files of a whole model; only load_adapter() passes expected_keys, for adapter files
        if checkpoint_files and state_dict is None and expected_keys is None:
            for hook in LocantPreTrainedModel.load_hooks:
                hook(model, checkpoint_files, load_config, info)
        return info, offloaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_weights = getattr(module, "init_weights", None)
        if init_weights is not None and not isinstance(module, PreTrainedModel):
            init_weights()
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
    def attention_kinds(self) -> tuple[AttentionKind, ...]:
        """The kinds of attention in this model."""
        return self.config.attention_kinds

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """The buffers that `DistributedDataParallel` must not broadcast.

        Each process computes the buffers of the position encodings itself, and their lengths may differ: the table of
        sinusoids grows with the longest sequence that the process has seen. `DistributedDataParallel` also finds this
        property on a model of PEFT, in which the names have a prefix.
        """
        names = [name for name, _ in self.named_non_persistent_buffers()]
        return [*names, *(f"base_model.model.{name}" for name in names)]

    def _check_and_adjust_attn_implementation(self, attn_implementation: str | None, *args: Any, **kwargs: Any) -> str:
        """Choose the backend as in transformers, or `blockwise` if the default backend does not support an encoding.

        Raises:
            ValueError: the backend does not exist, or does not support a position encoding of this model.
        """
        if attn_implementation is not None:
            check_name(attn_implementation, self.config, self.attention_kinds)
        backend = super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs)
        if attn_implementation is None and not all(can_serve(backend, self.config, k) for k in self.attention_kinds):
            backend = "blockwise"
        for kind in self.attention_kinds:
            check_backend(backend, self.config, kind)
        return backend

    def with_position_encoding(
        self, position_encoding: str, *, output_loading_info: bool = False, **fields: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Make a copy of this model with another position encoding, and initialise the weights of the new encoding.

        The names of dropped and of new weights are logged as a warning. A saved model can be loaded with another
        encoding too: `from_pretrained(path, position_encoding="rotary")`.

        Args:
            position_encoding: the name of the new encoding, for both stacks.
            output_loading_info: also return a dictionary with `missing_keys` (the new weights), `unexpected_keys` (the
                dropped weights) and `attn_implementation` (the old and the new backend if they differ, else None).
            fields: other fields of the config: `decoder_position_encoding` if the decoder's encoding differs;
                `cross_position_encoding`, `position_parameters`, `rope_parameters`, `max_position_embeddings`, which
                stay as they are by default.

        Returns:
            A new model on the same device and in the same mode (training or evaluation). Copied weights have the same
            dtype, and are frozen if they are frozen in this model.

        Raises:
            StrictDataclassError: the encoding does not exist, or is not possible with the other fields of the config;
                the message names the field.
            TypeError: `fields` contains a name other than the five names above.
            ImportError: the model's class comes from the code that was saved with the model, and Locant is not
                installed.
        """
        try:
            swapping = importlib.import_module("locant.modeling.swapping")  # is not saved with the code of a model
        except ImportError as error:
            raise ImportError("with_position_encoding needs the package locant: install and import locant.") from error
        model, report = swapping.swap_position_encoding(self, position_encoding=position_encoding, **fields)
        logger.warning(swapping.describe_swap(report))
        return (model, report) if output_loading_info else model

    def new_like(self, config: LocantConfig) -> Self:
        """Return a new, untrained model of this class for `config`."""
        return type(self)(config)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resize the token embeddings as in transformers; if encoder and decoder have a table each, resize both."""
        decoder: Any = getattr(self.base_model, "decoder", None)
        has_own = decoder is not None and not self.config.shares_embeddings
        if has_own and decoder.get_input_embeddings() is not self.get_input_embeddings():
            decoder.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, torch.Tensor] | None = None,
        push_to_hub: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Call `save_hooks`, which add files to the folder and fields to the config; then save as in transformers."""
        folder = Path(save_directory)
        # transformers refuses to save to a file
        if self.should_save_on_this_rank(is_main_process) and not folder.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            self._files_of_hooks = {name for hook in self.save_hooks for name in hook(self, folder) or ()}
        super().save_pretrained(save_directory, is_main_process, state_dict, push_to_hub, *args, **kwargs)

    @classmethod
    def maybe_distribute_model(  # type: ignore[override]  # transformers takes any module
        cls, model: PreTrainedModel, distributed_config: Any, mesh_manager: Any
    ) -> Any:
        """Distribute the model as in transformers, but tie the weights before FSDP2 shards them.

        FSDP2 would otherwise train tied weights as separate weights. `from_pretrained(distributed_config=...)` calls
        this method.

        Raises:
            ValueError: a number of heads is not a multiple of `tp_size`; or the weights are tied, and both FSDP2 and
                tensor parallelism are asked for, which together cannot train tied weights.
        """
        if distributed_config is not None and distributed_config.tp_size > 1:
            _check_heads(cast(LocantPreTrainedModel, model), distributed_config.tp_size)
        # `dp_size` is `fsdp_size` times the number of replicas, or missing where transformers has no replicas
        dp_size = getattr(distributed_config, "dp_size", getattr(distributed_config, "fsdp_size", 1))
        if model.all_tied_weights_keys and dp_size > 1:
            if distributed_config.tp_size > 1:
                raise ValueError(
                    "fsdp_size and tp_size are both above 1, but together they cannot train tied embeddings: set one "
                    "of them to 1, or tie_word_embeddings and share_encoder_decoder_embeddings to False."
                )
            model.tie_weights(recompute_mapping=False)
        return super().maybe_distribute_model(model, distributed_config, mesh_manager)

    def gather_sharded_state_dict_for_save(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Gather the weights as in transformers, but keep only one tensor of each group of tied weights.

        The gathered tensors of tied weights do not share memory, so they would be saved several times.
        `save_pretrained` calls this method in all processes.
        """
        gathered = super().gather_sharded_state_dict_for_save(*args, **kwargs)
        return {name: tensor for name, tensor in gathered.items() if name not in self.all_tied_weights_keys}

    def _upload_modified_files(
        self,
        working_dir: str | os.PathLike[str],
        repo_id: str,
        files_timestamps: dict[str, float],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        for hook in self.push_hooks:
            hook(self, Path(working_dir), repo_id)
        # transformers uploads files that are newer than their timestamp or have none. The timestamps are taken after
        # the save hooks have run, so the timestamps of the files that these hooks have written are removed
        others = {name: time for name, time in files_timestamps.items() if name not in self._files_of_hooks}
        return super()._upload_modified_files(working_dir, repo_id, others, *args, **kwargs)


def _check_heads(model: LocantPreTrainedModel, tp_size: int) -> None:
    for kind in model.attention_kinds:
        heads, key_value_heads = model.config.heads_at(kind), model.config.key_value_heads_at(kind)
        if heads % tp_size or key_value_heads % tp_size:
            raise ValueError(
                f"tp_size is {tp_size}, but the attention of kind {kind!r} has {heads} heads and {key_value_heads} "
                "key-value heads: give a tp_size that divides both numbers."
            )


def table_of_other_stack(config: LocantConfig) -> str | None:
    """Return the name under which the checkpoint of a model with other stacks may hold the token embeddings.

    For a decoder, this is `encoder.embed_tokens`, the name under which an encoder–decoder saves the embeddings that its
    stacks share. For an encoder, this is `decoder.embed_tokens`, the name under which a decoder alone saves its
    embeddings. The result is None if the model has two stacks, reads no tokens, or `share_encoder_decoder_embeddings`
    is False.
    """
    reads_tokens = config.is_decoder or config.encoder_input == "tokens"
    if config.is_encoder_decoder or not (reads_tokens and config.share_encoder_decoder_embeddings):
        return None
    return "encoder.embed_tokens" if config.is_decoder else "decoder.embed_tokens"
