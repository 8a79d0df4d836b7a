# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Saves the code of a model with the model, so that the model loads where Locant is not installed.

After `import locant`, saving a model calls `write_bundle`. The folder then holds the modules that this model needs,
without subfolders. The config names the class that each of transformers' Auto classes builds (`auto_map`), the
text-to-text pipelines (`custom_pipelines`), and the version and the hash of the code (`locant_code`).

Where Locant is not installed, transformers loads this code with `trust_remote_code=True`. If the model is then saved
again, the new folder holds the code too, because transformers copies the file of the model's class and the files that
this file imports.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Set
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any, cast

from transformers import PreTrainedModel
from transformers.dynamic_module_utils import get_relative_imports
from transformers.utils import CONFIG_NAME, logging

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.supported_transformers import SUPPORTED
from locant.modeling.attention_backends import can_serve
from locant.modeling.blockwise import blockwise_attention
from locant.modeling.modeling_locant import LocantForConditionalGeneration
from locant.modeling.positions.base import position_encoding_class, registered_class
from locant.modeling.pretrained import LocantPreTrainedModel
from locant.modeling.stacks import ENCODERS
from locant.tokenization.image_processing_locant import LocantImageProcessor
from locant.tokenization.processing_locant import LocantProcessor
from locant.tokenization.tokenization_locant import LocantTokenizer
from locant.utils.files import write_text

from ..engines.source_model import read_config
from ..errors import SharingError
from ..pipelines import text_to_text_pipelines
from ..pipelines.pipelines import PIPELINES
from .auto_map import auto_models
from .flat_code import PACKAGE, file_of, flatten, imported_with

logger = logging.get_logger(__name__)

LICENCE = "# Copyright 2026 The Locant Authors."
_PIPELINES = file_of(text_to_text_pipelines.__name__)
# The beginnings of `impl` in entries of `custom_pipelines` for Locant's pipelines. The second one is in the configs of
# older models, whose code files do not have the prefix `modeling_locant_`
_OWN_PIPELINES = (f"{_PIPELINES}.", "text_to_text_pipelines.")

Registered = type | FunctionType
"""A class or a function that registers itself when its file is imported, such as a position encoding."""

_is_enabled = False  # `import locant` sets it to True, unless LOCANT_BUNDLE is 0


def enable_bundling() -> None:
    """Save models, tokenizers and processors with their code from now on.

    This is the default, unless the environment variable `LOCANT_BUNDLE` is 0.
    """
    _enable(True)


def disable_bundling() -> None:
    """Save models, tokenizers and processors without code from now on: models load only where Locant is installed."""
    _enable(False)


def _enable(enabled: bool) -> None:
    global _is_enabled
    _is_enabled = enabled
    # the code of each of these two processors is a single file, which transformers copies if `_auto_class` is set
    LocantImageProcessor._auto_class = "AutoImageProcessor" if enabled else None
    LocantProcessor._auto_class = "AutoProcessor" if enabled else None
    LocantTokenizer.carries_code = enabled


def collect_code(model_class: type, config: LocantConfig) -> tuple[dict[str, str], dict[str, Any]]:
    """Collect the code that a model of this class and config needs.

    Returns:
        A dict from the name of each file to its source code; and the fields of the model's config that describe the
        files.

    Raises:
        SharingError: `flatten` cannot rewrite a module; or a module that defines a registered part, and is not a
            module of Locant, imports the module of a model class at its top level rather than inside a function.
    """
    classes: dict[str, type] = {"AutoConfig": LocantConfig}
    for auto, known in auto_models(config).items():
        # if `model_class` is derived from Locant's class `known`, the Auto class builds `model_class` instead
        classes[auto.__name__] = model_class if issubclass(model_class, known) else known
    pipelines = pipeline_entries(model_class, config)
    auto_map = {auto: f"{file_of(item.__module__)}.{item.__name__}" for auto, item in classes.items()}
    files = _files(
        _sorted({*classes.values(), model_class}),
        _sorted(registered_parts(config)),
        _sorted(PIPELINES.values() if pipelines else ()),
    )
    files = _told_apart(files, auto_map)
    fields: dict[str, Any] = {
        "auto_map": auto_map,
        "locant_code": {"version": version(PACKAGE), "sha256": _hash(files), "transformers": SUPPORTED},
    }
    return files, {**fields, "custom_pipelines": pipelines} if pipelines else fields


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write each of the files to `folder` completely or not at all, and delete old code files of Locant.

    The old code files are those of the Locant model that was saved to `folder` before. Those that are also in `files`
    are overwritten, and those from outside of Locant are not deleted.

    Args:
        files: the code files of a model, as `collect_code` returns them.
        folder: the folder of the model.

    Raises:
        SharingError: a file in `folder` that has the name of a code file is the source of an imported module, or was
            neither written by Locant nor is an old code file; no file is written in these cases.
    """
    before = _code_before(folder)
    sources = _imported_in(folder, files.keys() | before)
    before -= sources
    for name in files.keys() - before:
        if (folder / name).exists() and (name in sources or not _is_ours(folder / name)):
            raise SharingError(
                f"{folder / name} was not saved by Locant, and the code of the model would overwrite it: rename the "
                "file, or save the model to another folder."
            )
    for name, source in files.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != source:
            write_text(path, source)
    for name in before - files.keys():
        if (folder / name).exists() and _is_ours(folder / name):
            (folder / name).unlink()


def code_named_in(settings: dict[str, Any], folder: Path) -> set[str]:
    """Find the names of the code files that `settings` refer to, and of the code files that they import.

    Code in other repositories is left out. The result also has the names of code files that the folder lacks.

    Args:
        settings: the content of a JSON file of a model, tokenizer or processor.
        folder: the folder of the JSON file.
    """
    places = [entry.get("impl", "") for entry in (settings.get("custom_pipelines") or {}).values()]
    parts = [settings, *(part for part in settings.values() if isinstance(part, dict))]  # the parts of a processor
    for named in (named for part in parts for named in (part.get("auto_map") or {}).values()):
        places += named if isinstance(named, list) else [named]  # a slow and a fast tokenizer; one may be None
    found: set[str] = set()
    todo = [f"{place.rpartition('.')[0]}.py" for place in places if place and "--" not in place]
    while todo:
        name = Path(todo.pop()).name  # without the path, because only files in `folder` are looked for
        if name not in found:
            found.add(name)
            if (folder / name).is_file():
                todo += [f"{module}.py" for module in get_relative_imports(folder / name)]
    return found


def _code_before(folder: Path) -> set[str]:
    """Return the names of the code files of the Locant model that is already in `folder`; empty if there is none."""
    try:
        settings = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        return code_named_in(settings, folder) if "locant_code" in settings else set()
    except (OSError, ValueError):
        return set()


def _imported_in(folder: Path, names: Set[str]) -> set[str]:
    """Return the names of the files in `folder` that are among `names` and are the source of an imported module.

    Such a file is the user's own source, even if it begins with Locant's licence, as a copy of an example does.
    """
    files = [str(getattr(module, "__file__", "")) for module in list(sys.modules.values())]
    found = {file: name for file in files if (name := os.path.basename(file)) in names}
    return {name for file, name in found.items() if Path(file).resolve() == (folder / name).resolve()}


def _is_ours(path: Path) -> bool:
    return path.read_text(encoding="utf-8", errors="replace").startswith(LICENCE)


def registered_parts(config: LocantConfig) -> set[Registered]:
    """Find the position encodings, the encoder and the attention backend that a model of this config looks up by name.

    The bundle needs explicit imports of these parts, because it is possible that no other file of the bundle imports
    them. The attention backend `blockwise` is included only if the model has a position encoding that sdpa does not
    support. The other backends are in the file `attention_backends`, which every model imports. Encodings from outside
    of Locant are included even if only the config names them, because the config is checked when it is loaded.
    """
    parts: set[Registered] = {position_encoding_class(config, kind) for kind in config.attention_kinds}
    fields = (config.position_encoding, config.decoder_position_encoding, config.cross_position_encoding)
    named = {registered_class(name) for name in (*fields, *(config.position_parameters or {})) if name is not None}
    parts |= {encoding for encoding in named if not encoding.__module__.startswith("locant.")}
    if not config.is_decoder:
        parts.add(ENCODERS[config.encoder_input])
    if not all(can_serve("sdpa", config, kind) for kind in config.attention_kinds):
        parts.add(cast(FunctionType, blockwise_attention))
    return parts


def pipeline_entries(model_class: type, config: LocantConfig) -> dict[str, dict[str, Any]]:
    """Build the field `custom_pipelines` of a text-to-text model's config; empty for other models."""
    if not issubclass(model_class, LocantForConditionalGeneration) or config.encoder_input != "tokens":
        return {}
    classes = dict(PIPELINES)
    if config.source_lang and config.target_lang:
        classes[f"translation_{config.source_lang}_to_{config.target_lang}"] = PIPELINES["translation"]
    return {
        task: {"impl": f"{_PIPELINES}.{pipeline.__name__}", "pt": ["AutoModelForSeq2SeqLM"]}
        for task, pipeline in classes.items()
    }


def write_bundle(model: PreTrainedModel, folder: Path) -> Set[str]:
    """Write the code of `model` to `folder`, and set the fields of the model's config that describe the code.

    If the code cannot be written, a warning gives the reason. In this case, and if bundling is disabled, the fields
    that describe Locant's code are removed from the config. Entries of `custom_pipelines` for other code than Locant's
    are kept. An entry of `auto_map` that refers to another repository is kept unless the written code has a class for
    the same Auto class.

    Returns:
        The names of the code files; empty if no code is written.
    """
    config: Any = model.config
    files: Set[str] = set()
    fields: dict[str, Any] = {}
    if _is_enabled:
        try:
            code, described = collect_code(type(model), config)
            write_files(code, folder)
            files, fields = code.keys(), described
        except (OSError, SharingError) as error:
            logger.warning(f"The model is saved without its code, and loads only where Locant is installed: {error}")
    _describe(vars(config), fields)
    return files


def saved_class(folder: str | os.PathLike[str]) -> tuple[type[LocantPreTrainedModel], LocantConfig]:
    """Return the class and the config of the model that was saved to `folder`.

    Raises:
        SharingError: the folder holds no model, or its class is not one of Locant's own.
        CheckpointError: the config cannot be used.
    """
    if not (Path(folder) / CONFIG_NAME).is_file():
        raise SharingError(f"{folder} has no {CONFIG_NAME}: give the folder of a saved model.")
    config = read_config(folder)
    names = config.architectures or []
    known = {model.__name__: model for model in auto_models(config).values()}
    if not names or names[0] not in known:
        raise SharingError(
            f"{folder} holds no model of a Locant class (architectures: {names}), so Locant has no code for it: give "
            "the folder of a saved Locant model."
        )
    return known[names[0]], config


def write_code(folder: str | os.PathLike[str]) -> None:
    """Replace the code in the folder of a saved model with the code of the installed Locant, and update config.json.

    Raises:
        SharingError: the folder holds no model of Locant's own classes, or the model's code cannot be written.
        CheckpointError: the config cannot be used.
    """
    files, fields = collect_code(*saved_class(folder))
    write_files(files, Path(folder))
    path = Path(folder) / CONFIG_NAME
    saved = json.loads(path.read_text(encoding="utf-8"))
    _describe(saved, fields)
    write_text(path, json.dumps(saved, indent=2, sort_keys=True) + "\n")


def _describe(saved: dict[str, Any], ours: dict[str, Any]) -> None:
    """Replace the fields of a config that describe the model's code with those of `ours`; keep entries for other code.

    Entries of `custom_pipelines` for other code than Locant's are kept, also if `ours` has an entry for the same task.
    Entries of `auto_map` that refer to other repositories are kept unless `ours` has an entry for the same Auto class.
    A field that ends up without entries is deleted.

    Args:
        saved: the fields of the config, which are changed in place.
        ours: the fields that `collect_code` returns; empty if the model is saved without code.
    """
    maps, pipelines = saved.get("auto_map") or {}, saved.get("custom_pipelines") or {}
    kept_maps = {auto: place for auto, place in maps.items() if "--" in str(place)}  # code in another repository
    kept_pipelines = {
        task: entry for task, entry in pipelines.items() if not entry.get("impl", "").startswith(_OWN_PIPELINES)
    }
    described = {
        "auto_map": {**kept_maps, **ours.get("auto_map", {})},
        "custom_pipelines": {**ours.get("custom_pipelines", {}), **kept_pipelines},
        "locant_code": ours.get("locant_code"),
    }
    for name, value in described.items():
        saved.pop(name, None)
        if value:
            saved[name] = value


@cache
def _files(
    entries: tuple[type, ...], registered: tuple[Registered, ...], pipelines: tuple[type, ...]
) -> dict[str, str]:
    """Collect the files that define the classes and functions in the arguments, and the modules that the files import.

    Args:
        entries: the config class and the model classes, which transformers loads by name.
        registered: parts that register themselves when their files are imported. The files of the model classes import
            Locant's registered parts. A part from outside of Locant must be registered before a config that names the
            part is checked, so the config's file imports it.
        pipelines: the pipeline classes, which transformers loads by name.

    Returns:
        A dict from the name of each file to its source code.
    """
    ours = {part for part in registered if part.__module__.startswith(f"{PACKAGE}.")}
    others = {*registered} - ours
    models = {entry.__module__ for entry in entries} - {LocantConfig.__module__}
    for part in others:
        if reached := imported_with(part.__module__) & models:
            raise SharingError(
                f"{file_of(part.__module__)}.py imports {file_of(reached.pop())}.py, which needs {part.__name__} to "
                "be registered first: move this import into the functions that use it."
            )
    named = {*entries, *pipelines}
    files = flatten({part.__module__ for part in named | {*registered}})
    for module in {entry.__module__ for entry in entries}:
        name = f"{file_of(module)}.py"
        if module == LocantConfig.__module__:
            files[name] += _imports("These register themselves", others)
        else:
            files[name] += _imports("These register themselves", ours)
            besides = {cls for cls in named if cls.__module__ not in (module, LocantConfig.__module__)}
            files[name] += _names("transformers copies the files of these imports too", besides)
    return files


def _told_apart(files: dict[str, str], auto_map: dict[str, str]) -> dict[str, str]:
    """Return `files` with a comment in the config's file that makes the content of this file unique to the code.

    transformers caches a config class by the folder's name and the content of the config's file, and a model class by
    its config class. Without the comment, two folders called `checkpoint-500` with equal config files would share a
    config class, and a model from the second folder would get the model class of the first.
    """
    name, code = f"{file_of(LocantConfig.__module__)}.py", _hash({**files, **auto_map})
    return {**files, name: f"{files[name]}\n# The code that this config goes with: {code}\n"}


def _imports(why: str, parts: Iterable[Registered], indent: str = "") -> str:
    lines = sorted(f"from .{file_of(part.__module__)} import {part.__name__}  # noqa: E402, F401" for part in parts)
    return "".join(f"\n{indent}{line}" for line in [f"# {why}", *lines, ""]) if lines else ""


def _names(why: str, classes: Iterable[type]) -> str:
    """Return imports under `if TYPE_CHECKING:`, which never run, but make transformers copy the imported files."""
    lines = _imports(why, classes, indent="    ")
    return f"\nfrom typing import TYPE_CHECKING  # noqa: E402\n\nif TYPE_CHECKING:{lines.rstrip(' ')}" if lines else ""


def _sorted(parts: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(parts, key=lambda part: (part.__module__, part.__qualname__)))


def _hash(files: dict[str, str]) -> str:
    content = json.dumps(files, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
