# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Pushes the model in a run's folder to the Hub: one commit with the model's files, its code and its card.

Two kinds of files are uploaded: files that match `SHARED`, and the code of the model and its processors. Texts of the
training data, local paths, access tokens and the state of training are not uploaded. The folder itself is not changed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from yaml import YAMLError

from locant.checkpoints.checkpoint_files import WEIGHT_FILES, Checkpoint
from locant.checkpoints.load_checks import check_settings
from locant.utils.run_files import CURVE_FILE, METRICS_FILE, RUN_CONFIG_FILE

from ..errors import SharingError
from .bundle import code_named_in, saved_class, write_code
from .card_data import read_settings
from .model_card import CARD_FILE, write_model_card

WEIGHTS = (SAFE_WEIGHTS_NAME, "model-*.safetensors", SAFE_WEIGHTS_INDEX_NAME)

SHARED = (
    *WEIGHTS,
    *(CONFIG_NAME, "generation_config.json"),
    # files of tokenizers and processors, including those of other model families
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "*.spm"),
    *("vocab-src.json", "vocab-tgt.json", "target_vocab.json", "entity_vocab.json", "bpe.codes", "dict.txt"),
    *("prophetnet.tokenizer", "emoji.json", "word_shape.json", "word_pronunciation.json"),
    *("processor_config.json", "preprocessor_config.json", "chat_template.jinja"),
    *(CARD_FILE, "LICENSE*", METRICS_FILE, "loss_curve.csv", CURVE_FILE, "*_confusion_matrix.png"),
)
"""Patterns of the files in a folder that are uploaded besides the code; files in subfolders are not uploaded."""

_NAME_CODE = {
    CONFIG_NAME: "model",
    "processor_config.json": "processor",
    "preprocessor_config.json": "image processor",
    "tokenizer_config.json": "tokenizer",
}
"""Settings files that may name code files -> the owner of this code, for error messages."""

_OTHER_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json")


def push(
    run: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
) -> str:
    """Push the model in the folder `run` to the Hub, and return the address of the commit or of the pull request.

    The repository and the branch are created if they do not exist. The commit also deletes weights files of the
    repository that have other names than the uploaded weights files. Otherwise the repository could hold old shards
    beside a new single file, and it would be unclear which files are the model's weights.

    Args:
        run: the folder of a finished run or of a checkpoint, or any other folder that a Locant model was saved to.
        repo_id: `name` or `user/name`.
        private: create the repository as a private one.
        revision: the branch to push to (default: main), or an existing reference such as `refs/pr/1`.
        token: access token; by default the token of `HF_TOKEN` or of `hf auth login`.
        create_pr: open a pull request to main, and leave main as it is.
        commit_message: the message of the commit; by default the name of the folder and Locant's version.

    Raises:
        SharingError: the folder holds no model that can be pushed; an argument is invalid; the repository is public,
            and `private` is true; there is no valid token; or the Hub refuses the push or cannot be reached.
        CheckpointError: the weights or the JSON files of the model are damaged, or the weights do not fit the config.
    """
    folder = Path(run)
    _check_names(folder, repo_id)
    is_own = _check_model(folder)
    if create_pr and revision not in (None, "main"):
        raise SharingError(f"create_pr opens a pull request to main: leave out revision {revision}, or create_pr.")
    hub = HfApi(token=token, library_name="locant", library_version=version("locant"))
    with _in_one_sentence(hub, repo_id), TemporaryDirectory() as staging:
        repo_id = _full_name(hub, repo_id)
        _check_privacy(hub, repo_id, private)
        files = _stage(folder, Path(staging), repo_id, is_own)
        hub.create_repo(repo_id, private=private or None, exist_ok=True)
        if revision is not None and not revision.startswith("refs/"):
            hub.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = hub.create_commit(
            repo_id,
            [
                *_deletions(hub, repo_id, revision, files),
                *(CommitOperationAdd(name, path) for name, path in files.items()),
            ],
            commit_message=commit_message or f"{folder.resolve().name}, by Locant {version('locant')}",
            revision=revision,
            create_pr=create_pr,
        )
    return commit.pr_url or commit.commit_url


def _check_names(folder: Path, repo_id: str) -> None:
    if not folder.is_dir():
        if Path(repo_id).is_dir():
            raise SharingError(
                f"{folder} is no folder, but {repo_id} is a folder: "
                f"give the folder of the run first, as in locant push {repo_id} {folder}"
            )
        raise SharingError(
            f"{folder} is no folder: give the folder of a run, or another folder that a model was saved to."
        )
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise SharingError(
            f"{repo_id!r} cannot be the name of a repository: give USER/NAME, of letters, digits, '-', '_' and '.'."
        ) from None


def _check_model(folder: Path) -> bool:
    """Check that the folder holds a config and weights in safetensors, and that they can be used.

    The model is loaded, except as `_check_loads` says.

    Returns:
        Whether the class of the model is one of Locant's own.
    """
    if not any((folder / name).exists() for name in WEIGHT_FILES):
        newest = max(
            folder.glob("checkpoint-*/model*.safetensors"), key=lambda path: path.stat().st_mtime, default=None
        )
        if newest is None:
            raise SharingError(
                f"{folder} holds no weights: give the folder of a finished run, or another folder that a model was "
                "saved to."
            )
        raise SharingError(
            f"The run in {folder} is not finished and has no weights: continue it with locant train, or push its "
            f"newest checkpoint, {newest.parent}."
        )
    if not any((folder / name).exists() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)):
        raise SharingError(
            f"{folder} has its weights as a pickle (.bin), which can run code when it is loaded: load the model, and "
            "save it with save_pretrained, which writes safetensors."
        )
    check_settings(folder)
    return _check_loads(folder)


def _check_loads(folder: Path) -> bool:
    """Check that the model in `folder` loads.

    If the class of the model is from outside of Locant, and the config names the code of the class, this code does not
    run: only the weights are read and checked.

    Returns:
        Whether the class of the model is one of Locant's own.

    Raises:
        SharingError: the class is from outside of Locant, and the config does not name its code.
        CheckpointError: the config or the weights cannot be used.
    """
    checkpoint = Checkpoint.open(folder)
    try:
        model_class, _ = saved_class(folder)
    except SharingError:
        if "auto_map" not in read_settings(folder / CONFIG_NAME):
            raise
        for name, header in checkpoint.headers.items():
            if header.is_floating_point():  # others are buffers, such as the number of batches of a BatchNorm
                checkpoint.read(name)
        return False
    model_class.from_pretrained(folder)
    return True


def _full_name(hub: HfApi, repo_id: str) -> str:
    """Return `repo_id`, with the name of the token's user in front if `repo_id` names no user or organisation.

    Raises:
        LocalTokenNotFoundError: there is no token.
        HfHubHTTPError: the Hub does not accept the token.
    """
    user = hub.whoami()["name"]
    return repo_id if "/" in repo_id else f"{user}/{repo_id}"


def _check_privacy(hub: HfApi, repo_id: str, private: bool) -> None:
    try:
        is_public = not hub.model_info(repo_id).private
    except RepositoryNotFoundError:
        return
    if private and is_public:
        raise SharingError(
            f"{repo_id} already exists and is public: make it private on the Hub first, give another name, or leave "
            "out the option private."
        )


def _stage(folder: Path, staging: Path, repo_id: str, is_own: bool) -> dict[str, Path]:
    """Fill `staging` with links to the files in `folder` that will be uploaded, and update the code and card there.

    Where links cannot be made, `staging` has copies of the files.

    Args:
        folder: the folder of the model.
        staging: an empty folder.
        repo_id: the name of the repository, for the card.
        is_own: whether the class of the model is one of Locant's own. The code of the installed Locant then replaces
            the saved code; a class from outside of Locant keeps its saved code.

    Returns:
        A dict from the names of the files to upload to their paths in `staging`.
    """
    # the run config is in `staging` because the card is made from it; it is not uploaded
    found = {path for pattern in (*SHARED, *_code_of(folder), RUN_CONFIG_FILE) for path in folder.glob(pattern)}
    for path in found:
        if path.is_file() and not path.name.startswith((".", "_")):
            _link(staging / path.name, path.resolve())
    try:
        if is_own:
            write_code(staging)
        card = write_model_card(staging, repo_id)
    except SharingError as error:  # name the file in `folder`, because `staging` is deleted
        raise SharingError(str(error).replace(str(staging), str(folder))) from error
    try:
        ModelCard.load(card)
    except (ValueError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SharingError(f"The metadata at the top of {folder / CARD_FILE} cannot be read: {reason}") from error
    return {path.name: path for path in sorted(staging.iterdir()) if path.name != RUN_CONFIG_FILE}


def _link(link: Path, file: Path) -> None:
    try:
        link.symlink_to(file)
    except OSError:  # on Windows, making a symbolic link needs a privilege
        shutil.copyfile(file, link)


def _code_of(folder: Path) -> set[str]:
    """Find the names of the code files that JSON files in `folder` refer to, and of the code files that they import.

    Other Python files in the folder are not uploaded.

    Raises:
        SharingError: a code file is not in the folder, or a JSON file cannot be read.
    """
    found: set[str] = set()
    for settings, owner in _NAME_CODE.items():
        names = code_named_in(read_settings(folder / settings), folder)
        missing = sorted(name for name in names if not (folder / name).is_file())
        if missing:
            raise SharingError(
                f"The code of the {owner} in {folder} lacks {', '.join(missing)}: load the {owner} where Locant is "
                f"installed, and save it to {folder} again with save_pretrained, or put the missing files back."
            )
        found |= names
    return found


def _deletions(hub: HfApi, repo_id: str, revision: str | None, files: dict[str, Path]) -> list[CommitOperationDelete]:
    there = (Path(name) for name in hub.list_repo_files(repo_id, revision=revision) if "/" not in name)
    weights = [path.name for path in there if any(path.match(pattern) for pattern in (*WEIGHTS, *_OTHER_WEIGHTS))]
    return [CommitOperationDelete(name) for name in weights if name not in files]


@contextmanager
def _in_one_sentence(hub: HfApi, repo_id: str) -> Iterator[None]:
    """Turn errors that the Hub's client raises inside the `with` block into a `SharingError` of one sentence."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise SharingError("You are not logged in to the Hub: run `hf auth login`, or give --token.") from error
    except HfHubHTTPError as error:
        if error.response.status_code == 401:
            raise SharingError(
                "The Hub does not accept your token: create a token with write access at "
                f"{hub.endpoint}/settings/tokens, and run `hf auth login`, or give --token."
            ) from error
        reason = " ".join((error.server_message or str(error)).split()).rstrip(".")
        raise SharingError(f"The Hub refuses the push to {repo_id}: {reason}.") from error
    except (HTTPError, ConnectionError) as error:
        raise SharingError(f"The Hub at {hub.endpoint} cannot be reached: {error or type(error).__name__}.") from error
