# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Converts models of other families, such as BERT and T5, to Locant models, and Locant models to these families."""

import copy
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import split_torch_state_dict_into_shards
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.configuration_utils import PretrainedConfig
from transformers.utils import (
    ADAPTER_CONFIG_NAME,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    IMAGE_PROCESSOR_NAME,
    PROCESSOR_NAME,
    logging,
)

from locant import modeling
from locant.checkpoints.checkpoint_files import CheckpointError
from locant.checkpoints.load_checks import check_settings, fault_of_files
from locant.configuration.configuration_locant import LocantConfig
from locant.tokenization import LocantTokenizer
from locant.utils.errors import first_line, reason_of, sentence

from ..errors import SharingError
from ..new_folder import new_folder
from .config_matching import (
    check_ours,
    check_theirs,
    config_class,
    locant_config,
    their_config,
    warn_of_training,
)
from .families import MODEL_TYPES, Family, find_family
from .source_folder import SourceFolder
from .weight_transfer import moves_of, transfer, used_weights

logger = logging.get_logger(__name__)

_MOST_LABELS = 2**20
_NO_COPY = "DISABLE_SAFETENSORS_CONVERSION"
DTYPES = ("float32", "bfloat16", "float16")
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt"),
    *("spiece.model", "source.spm", "tokenizer.model", "sentencepiece.bpe.model"),
)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    *,
    drop: str | Sequence[str] = (),
    dtype: str | torch.dtype | None = None,
    max_shard_size: str | int = "5GB",
    revision: str | None = None,
    token: str | bool | None = None,
) -> Path:
    """Convert a model of another family to a Locant model, or a Locant model to a model of another family.

    The new model computes the same outputs as the source model, up to rounding. The config, the weights, the generation
    config, the tokenizer and the image processor are converted. A config that the target family cannot express is
    refused before any weight is converted. After an error, no file is in `target` that was not there before.

    Args:
        source: a folder, or a repository on the Hub, with a model of Marian, BART, T5, BERT, GPT-2, Llama, ViT or
            Locant. The family is read from the config.
        target: the folder to write, which must be empty or not exist yet.
        to: the family to convert a Locant model to: `bart`, `bert`, `gpt2`, `llama`, `marian`, `t5` or `vit`. None
            converts a model of another family to Locant.
        drop: weights to leave out, by their names in the model that transformers loads, with `*` as a wildcard
            (`cls.seq_relationship.*`). A weight that cannot be converted is an error unless it is dropped.
        dtype: dtype of the converted weights: `float32`, `bfloat16` or `float16`, also as a `torch.dtype`. None or
            `auto` takes the dtype in the config or, if the config has none, the dtype of the weights in the files.
        max_shard_size: the largest size of one weights file, in bytes or as a text such as `200MB`.
        revision: branch, tag or commit of the repository.
        token: access token for a private repository.

    Returns:
        `target`.

    Raises:
        SharingError: `source` cannot be read, or holds no model that can be converted to the target family; the target
            family cannot express the config; a tokenizer, processor or generation config cannot be loaded; there are no
            weights, or weights are missing, unused or of another shape than the config says; `target` is not empty or
            cannot be written; or an argument is invalid.
        CheckpointError: a weights file of the model is damaged, or holds NaN or infinity; a Locant model lacks weights;
            or a JSON file is damaged.
    """
    numbers = _dtype(dtype)
    _check_size(max_shard_size)
    patterns = (drop,) if isinstance(drop, str) else tuple(drop)
    with new_folder(target) as folder:
        files = SourceFolder(source, revision, token)
        config = _read_config(files)
        family = _family(files, config, to)
        conversion = _Conversion(files, config, family, to_locant=to is None)
        processors = conversion.convert_processors()
        model = conversion.convert_weights(patterns, numbers)
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        for processor in processors:
            processor.save_pretrained(folder)
    return Path(target)


def _check_size(size: str | int) -> None:
    try:
        split_torch_state_dict_into_shards({}, max_shard_size=size)
    except ValueError as error:
        raise SharingError(f"max_shard_size={size!r} is not a size: give a size such as 5GB or 200MB.") from error


class _Conversion:
    """Converts the files of one model. `__init__` checks the config, and builds the source model on the meta device.

    In this class, `ours` is the Locant side of the conversion and `theirs` the side of the other family.

    Args:
        files: the folder or repository of the source model.
        config: the config of the source model.
        family: the family to convert from, or to convert to.
        to_locant: True for the conversion to Locant, False for the conversion from Locant to `family`.
    """

    def __init__(self, files: SourceFolder, config: Any, family: Family, to_locant: bool):
        self.files, self.config, self.family, self.to_locant = files, config, family, to_locant
        architecture = self._source_architecture()
        pairs = family.architectures
        # a config that the target family cannot express is refused here, before weights are looked for
        if to_locant:
            self.theirs, self.ours = architecture, pairs[architecture]
            check_theirs(family, config, self._locant_config(()))
        else:
            self.ours, self.theirs = architecture, next(name for name, ours in pairs.items() if ours == architecture)
            self._checked_theirs(config)
        self.source = self._empty(architecture, config)

    def convert_processors(self) -> list[Any]:
        """Load, convert and return the tokenizer, image processor and processor, if the source model has them."""
        loaders = [
            ("tokenizer", AutoTokenizer, _TOKENIZER_FILES),
            ("image processor", AutoImageProcessor, (IMAGE_PROCESSOR_NAME,)),
            ("processor", AutoProcessor, (PROCESSOR_NAME,)),
        ]
        folder = self.files.folder
        found = [
            _load(what, loader, folder)
            for what, loader, names in loaders
            if any((folder / name).exists() for name in names)
        ]
        found = found if self.to_locant else [_of_transformers(processor) for processor in found]
        return [self.family.convert_processor(processor, self.to_locant) for processor in found]

    def convert_weights(self, drop: Iterable[str], dtype: torch.dtype | None) -> PreTrainedModel:
        """Build the target model with the converted weights and, if it can generate, the source's generation config.

        Args:
            drop: names of weights that are left out, with `*` as a wildcard.
            dtype: dtype of the converted weights; None keeps the dtype that transformers loads.
        """
        generation_config = self._generation_config() if self.source.can_generate() else None
        model, info = self._load_source(dtype)
        names = model.state_dict().keys() - info["missing_keys"]
        ours = self._locant_config(names) if self.to_locant else copy.deepcopy(self.config)
        _correct_ties(ours, model)
        if self.to_locant:
            theirs, target = self.config, self._empty(self.ours, ours)
        else:
            theirs, target, again = self._checked_theirs(ours)
            warn_of_training(self.family, ours, again)
        moves = moves_of(self.family.table(ours, theirs, self.theirs), self.to_locant)
        weights, loaded_dtype = used_weights(model, info, moves, drop, self.family.ignored), model.dtype
        del model  # so that `transfer` can free the weights one by one
        transfer(weights, moves, target, loaded_dtype)
        if generation_config is not None:
            target.generation_config = generation_config
        return target

    def _load_source(self, dtype: torch.dtype | None) -> tuple[PreTrainedModel, dict[str, Any]]:
        """Load the source model; return it and its loading info, which names missing, unused and mismatched weights."""
        options: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True, **self.files.hub}
        source, model_class = self.files.source, type(self.source)
        # otherwise, transformers also downloads, or asks a server to make, a safetensors copy of `.bin` files
        before = os.environ.get(_NO_COPY)
        os.environ[_NO_COPY] = "1"
        try:
            loaded: Any = model_class.from_pretrained(source, config=self.config, dtype=dtype or "auto", **options)
        except CheckpointError:
            raise
        except Exception as error:  # transformers and the readers of files raise errors of many types
            reason = f"The weights of {self.files} do not load: {first_line(error)}"
            raise fault_of_files(source, error, self.files.hub) or SharingError(sentence(reason)) from error
        finally:
            os.environ.pop(_NO_COPY)
            if before is not None:
                os.environ[_NO_COPY] = before
        model, info = loaded
        return model, info

    def _source_architecture(self) -> str:
        names = getattr(self.config, "architectures", None) or []
        known = list(self.family.architectures) if self.to_locant else list(self.family.architectures.values())
        if len(names) == 1 and names[0] in known:
            return names[0]
        what = f"from {self.family.name}" if self.to_locant else f"to {self.family.name}"
        raise SharingError(
            f"{self.files} holds {names[0] if names else 'a model whose config names no class'}, but the conversion "
            f'{what} supports only {", ".join(dict.fromkeys(known))}: "architectures" in the config must name one of '
            "these classes, and no other."
        )

    def _locant_config(self, names: Iterable[str]) -> LocantConfig:
        return locant_config(self.family, self.config, set(names), self.ours)

    def _checked_theirs(self, ours: LocantConfig) -> tuple[Any, PreTrainedModel, LocantConfig]:
        """Convert the Locant config `ours` to the family's config, and check that no field of `ours` is lost.

        Returns:
            The family's config, an empty model of the family, and the Locant config that the family's config converts
            back to.
        """
        theirs = their_config(self.family, ours)
        target = self._empty(self.theirs, theirs, ours)
        return theirs, target, check_ours(self.family, ours, theirs, set(target.state_dict()), self.ours)

    def _empty(self, architecture: str, config: Any, ours: LocantConfig | None = None) -> PreTrainedModel:
        config = copy.deepcopy(config)  # some model classes change their config
        try:
            with torch.device("meta"):
                if isinstance(config, LocantConfig):
                    return getattr(modeling, architecture)(config)
                return self.family.build(getattr(transformers, architecture), config, ours)
        except Exception as error:  # the family's classes check little, so any error can occur
            reason = f"The config of {self.files} cannot be used for a {architecture}: {reason_of(error)}"
            raise SharingError(sentence(reason)) from error

    def _generation_config(self) -> GenerationConfig:
        file = GENERATION_CONFIG_NAME
        legacy: dict[str, Any] = {}
        # older models have their generation options in config.json
        if not (self.files.folder / file).exists():
            file, legacy = CONFIG_NAME, {"_from_model_config": True}
        try:
            config = GenerationConfig.from_pretrained(self.files.folder, file, **legacy)
            # clear the mark that says that the options are from config.json: the target's config.json has none of them
            config._from_model_config = False
            config.validate(strict=True)  # save_pretrained makes the same check
        except (ValueError, TypeError) as error:
            reason = f"The generation config in the {file} of {self.files} is invalid: {reason_of(error)}"
            raise SharingError(sentence(reason)) from error
        return config


def _read_config(files: SourceFolder) -> Any:
    """Load the config of the source model: a `LocantConfig`, or a config of another family, such as a `BertConfig`.

    Raises:
        SharingError: there is no config, the config cannot be used, or its model type cannot be converted.
        CheckpointError: a JSON file of the model, tokenizer or processor holds no JSON object.
    """
    if not (files.folder / CONFIG_NAME).is_file():
        raise SharingError(f"{files} holds no {CONFIG_NAME}: give a folder or repository with a model in it.")
    check_settings(files.folder)
    if (files.folder / ADAPTER_CONFIG_NAME).is_file():
        raise SharingError(
            f"{files} holds an adapter: merge it into its model, save the model, and convert that model."
        )
    try:
        saved, _ = PretrainedConfig.get_config_dict(files.folder)
        model_type = saved.get("model_type") or _type_by_class(saved.get("architectures") or [])
        if model_type not in (*MODEL_TYPES, LocantConfig.model_type):
            raise SharingError(
                f"{files} holds a model of the type {model_type!r}, but only {', '.join(MODEL_TYPES)} can be "
                "converted to Locant, and Locant models to these types."
            )
        if isinstance(saved.get("num_labels"), int) and saved["num_labels"] > _MOST_LABELS:
            # without this limit, transformers would make a name for each of the labels
            raise SharingError(
                f"num_labels={saved['num_labels']} in {files} is too large: at most {_MOST_LABELS} labels are allowed."
            )
        if model_type == LocantConfig.model_type:
            return LocantConfig.from_pretrained(files.folder)
        return config_class(find_family(model_type)).from_pretrained(files.folder)
    except SharingError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise SharingError(sentence(f"The {CONFIG_NAME} of {files} cannot be used: {reason_of(error)}")) from error


def _type_by_class(names: list[str]) -> str | None:
    if any(name.startswith("Locant") for name in names):
        return LocantConfig.model_type
    return next((key for key in MODEL_TYPES if set(names) & set(find_family(key).architectures)), None)


def _family(files: SourceFolder, config: Any, to: str | None) -> Family:
    if to is not None and to not in MODEL_TYPES:
        raise SharingError(f"Locant models cannot be converted to {to!r}: choose {', '.join(MODEL_TYPES)}.")
    if isinstance(config, LocantConfig):
        if to is None:
            raise SharingError(
                f"{files} is a Locant model: give the family to convert it to, with --to {'|'.join(MODEL_TYPES)}."
            )
        return find_family(to)
    if to is not None:
        raise SharingError(
            f"{files} is a {config.model_type} model, which can be converted to a Locant model only: leave out --to."
        )
    return find_family(config.model_type)


def _correct_ties(ours: LocantConfig, model: PreTrainedModel) -> None:
    """Set the fields of `ours` that tie embeddings to the ties that the loaded `model` has.

    `tie_word_embeddings` becomes True if the output layer shares its weight, and otherwise False, and
    `share_encoder_decoder_embeddings` becomes False if the stacks have different tables.
    """
    output = model.get_output_embeddings()
    if output is not None:
        uses = [weight for _, weight in model.named_parameters(remove_duplicate=False) if weight is output.weight]
        ours.tie_word_embeddings = len(uses) > 1
    tables = {id(module.weight) for name, module in model.named_modules() if name.endswith("embed_tokens")}
    ours.share_encoder_decoder_embeddings &= len(tables) < 2


def _of_transformers(processor: Any) -> Any:
    """Convert a `LocantTokenizer` to a `PreTrainedTokenizerFast`; return other processors unchanged."""
    if not isinstance(processor, LocantTokenizer):
        return processor
    own = ("add_prefix_space", "added_special_tokens", "auto_map")
    if processor.added_special_tokens:
        logger.warning(
            "transformers' tokenizer class, which the converted model gets, does not skip the added special tokens "
            f"{', '.join(processor.added_special_tokens)} when it decodes."
        )
    options = {name: value for name, value in processor.init_kwargs.items() if name not in own}
    return PreTrainedTokenizerFast(tokenizer_object=processor.backend_tokenizer, **options)


def _load(what: str, loader: Any, folder: Path) -> Any:
    try:
        return loader.from_pretrained(folder)
    except (ImportError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = reason_of(error)
        if any(folder.glob("*.spm")) or any(folder.glob("*.model")):
            try:
                import sentencepiece  # noqa: F401
            except ImportError:
                reason = "it needs sentencepiece, which is not installed: pip install 'locant[convert]'"
        raise SharingError(sentence(f"The {what} in {folder} does not load: {reason}")) from error


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or dtype == "auto":
        return None
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise SharingError(f"dtype {name!r} is not one of {', '.join(DTYPES)}, or auto.")
    return getattr(torch, name)
