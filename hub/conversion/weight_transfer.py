# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Converts the weights of a model that transformers has loaded to weights of a model of another family.

A weight that the files lack is an error, unless the files hold a weight that is tied to it, its entry in the family's
table of weights is a `constant`, or transformers fills it in without reporting it as missing (`final_logits_bias`). An
unused weight in the files is an error unless the family ignores it or the caller drops it.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from transformers import PreTrainedModel

from locant.checkpoints.checkpoint_files import CheckpointError, is_finite

from ..errors import SharingError
from .families.family import Entry, Tensors

Weights = dict[str, torch.Tensor]
# the names of the weights of an `Entry` in the source, those in the target, and the function that computes the latter
Move = tuple[tuple[str, ...], tuple[str, ...], Callable[[Tensors], Tensors]]


def moves_of(table: Iterable[Entry], to_locant: bool) -> list[Move]:
    """Return a `Move` for each entry of `table`: to Locant if `to_locant` is true, otherwise to the other family."""
    if to_locant:
        return [(entry.theirs, entry.ours, entry.to_ours) for entry in table]
    return [(entry.ours, entry.theirs, entry.to_theirs) for entry in table]


def used_weights(
    model: PreTrainedModel, info: dict[str, Any], moves: list[Move], drop: Iterable[str], ignored: Iterable[str]
) -> Weights:
    """Check that a loaded model has the weights that the conversion uses and no others, and return the used weights.

    Args:
        model: the source model.
        info: the loading info of `from_pretrained`, with `ignore_mismatched_sizes=True`.
        moves: the moves of all entries of the family's table.
        drop: names of weights that are left out, with `*` as a wildcard.
        ignored: names of weights in the files that are left out even if they are not in `drop`.

    Raises:
        SharingError: weights are missing, are neither used nor left out, or have another shape than the config says; or
            a name in `drop` matches no unused weight. The message lists at most six names.
    """
    state, ties, class_name = model.state_dict(), model.all_tied_weights_keys, type(model).__name__
    used = [name for sources, _, _ in moves for name in sources]
    # of a group of tied weights, `ties` maps each name but one to this one name
    groups = {ties.get(name, name) for name in used}
    left_over = [
        name
        for name in (*state, *sorted(info["unexpected_keys"]))
        if name not in info["missing_keys"] and ties.get(name, name) not in groups and not _matches(name, ignored)
    ]
    unmatched = [pattern for pattern in drop if not any(fnmatchcase(name, pattern) for name in left_over)]
    if unmatched:
        raise SharingError(
            f"No unused weight of the checkpoint matches {_listed(unmatched)}: drop only unused weights."
        )
    left_over = [name for name in left_over if not _matches(name, drop)]
    missing = [name for sources, targets, _ in moves if targets for name in sources if name in info["missing_keys"]]
    if missing:
        raise SharingError(
            f"The checkpoint lacks {_listed(missing)}, which a {class_name} of this config has: give the whole "
            "checkpoint, or correct the config."
        )
    if left_over:
        patterns = list(dict.fromkeys(re.sub(r"\.\d+\..*|\.[^.]*$", ".*", name) for name in left_over))
        raise SharingError(
            f"The checkpoint holds {_listed(left_over)}, but the model converted from this {class_name} has no such "
            f"weights: if these weights are not needed, leave them out with --drop {' '.join(patterns)}"
        )
    reshaped = [
        f"{name} has the shape {tuple(shape)} and not {tuple(expected)}"
        for name, shape, expected in sorted(info["mismatched_keys"])
        if ties.get(name, name) in groups
    ]
    if reshaped:
        raise SharingError(
            f"Weights do not fit the config: {_listed(reshaped)}; give the weights and the config of one model."
        )
    return {name: state[name] for name in used}


def transfer(weights: Weights, moves: list[Move], target: PreTrainedModel, dtype: torch.dtype) -> None:
    """Fill the model `target` with the converted weights.

    A weight that is only renamed shares its memory with the source. The transfer removes each weight from `weights`
    when it converts the weight, and so needs memory for one model and for the weights of one move.

    Args:
        weights: the weights that `used_weights` returned; no other reference to them may be kept.
        moves: the moves of all entries of the family's table.
        target: an empty model, on the meta device.
        dtype: dtype of the converted weights.

    Raises:
        CheckpointError: a weight holds NaN or infinity.
        SharingError: a constant of the source differs from the value that Locant computes from the config.
    """
    state, places = Weights(), set[int]()
    for names, targets, apply in moves:
        sources = [weights.pop(name) for name in names]
        for name, weight in zip(names, sources, strict=True):
            _check_finite(name, weight)
        try:
            results = apply(sources)
        except ValueError as error:
            raise SharingError(f"{names[0]} cannot be converted: {error}.") from error
        for name, result in zip(targets, results, strict=True):
            weight = result.to(dtype).contiguous()
            _check_finite(name, weight)  # the conversion may multiply weights, or cast them to a smaller dtype
            place = weight.untyped_storage().data_ptr()
            state[name] = weight.clone() if place in places else weight  # only tied weights may share memory
            places.add(place)
    missing = target.state_dict().keys() - state.keys()
    target.load_state_dict(state, strict=False, assign=True)
    # fills the missing weights too: a table may name any weight of a group of tied weights
    target.tie_weights(missing, recompute_mapping=False)
    assert not missing, missing


def _check_finite(name: str, weight: torch.Tensor) -> None:
    if not is_finite(weight):
        raise CheckpointError(
            f"The weight {name} holds NaN or infinity as {str(weight.dtype).removeprefix('torch.')}: give an undamaged "
            "checkpoint, or another dtype."
        )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(names: list[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
