# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Transfers the weights of a checkpoint into a model of another family, tensor by tensor.

A weight that the files lack is an error, unless the files hold a weight that is tied to it, or its entry in the
family's table of weights is a `constant` or, in the conversion to Locant, has a `default`. An unused weight in the
files is an error unless the family ignores it or the caller drops it.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from locant.checkpoints.checkpoint_files import Checkpoint

from ..errors import SharingError
from .families import Family
from .families.family import Entry, Tensors


class Move(NamedTuple):
    """One step of a conversion: computes the weights of one `Entry` in the target model from those in the source model.

    Args:
        sources: the names of the weights in the source model; () if the move computes a constant of the target model.
        targets: the names of the weights in the target model; () if the move checks a constant of the source model.
        apply: computes the weights `targets` from the weights `sources`.
        default: `Entry.default` in the conversion to Locant; None in the conversion from Locant.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    apply: Callable[[Tensors], Tensors]
    default: float | None


def moves_of(table: Iterable[Entry], to_locant: bool) -> list[Move]:
    """Return a `Move` for each entry of `table`: to Locant if `to_locant` is true, otherwise to the other family."""
    if to_locant:
        return [Move(entry.theirs, entry.ours, entry.to_ours, entry.default) for entry in table]
    return [Move(entry.ours, entry.theirs, entry.to_theirs, None) for entry in table]


class SourceWeights:
    """Finds the weights of a checkpoint by their names in the model, which may differ from the names in the files.

    Args:
        checkpoint: the weights files.
        model: an empty model of the source's class and config.
        family: the family of the model; its method `canonical` translates names in the files. None for a Locant model.

    Raises:
        SharingError: two tensors of the checkpoint have the same name in the model.
    """

    def __init__(self, checkpoint: Checkpoint, model: PreTrainedModel, family: Family | None):
        self.checkpoint, self.model = checkpoint, model
        self.shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        self.tied = TiedNames(model)
        self.files: dict[str, str] = {}
        for stored in checkpoint.headers:
            name = self._name_of(stored, family)
            if name in self.files:
                raise SharingError(
                    f"The checkpoint holds {name} twice, as {self.files[name]} and {stored}: remove one of them."
                )
            if name is not None:
                self.files[name] = stored

    def _name_of(self, stored: str, family: Family | None) -> str | None:
        name = stored if family is None else family.canonical(stored)
        prefix = f"{self.model.base_model_prefix}."
        if name is None or name in self.shapes:
            return name
        # in a model with a head, the names of all weights but those of the head begin with the prefix; in a model
        # without a head, no name does. The files may be of a model with a head and `self.model` without one, or the
        # reverse
        others = (prefix + name, name.removeprefix(prefix))
        return next((other for other in others if other in self.shapes), name)

    def find(self, name: str) -> str | None:
        """Return the stored name of the weight `name`, or else of a weight tied to it; None if neither is stored."""
        return next((self.files[other] for other in (name, *self.tied.with_(name)) if other in self.files), None)

    def untie_output(self) -> bool | None:
        """Untie the output layer from the embeddings if the files hold two different weights for them.

        transformers, too, loads them as two weights in this case, whatever the config says.

        Returns:
            True if they stay tied, because the files do not hold both of them, or hold equal weights. False if this
            method untied them. None if the model does not tie them.
        """
        output = self.model.get_output_embeddings()
        name = next((f"{name}.weight" for name, module in self.model.named_modules() if module is output), "")
        partners = [other for other in self.tied.with_(name) if other in self.files]
        if not self.tied.with_(name):
            return None
        if name not in self.files or not partners:
            return True
        if torch.equal(*(self.checkpoint.read(self.files[other]) for other in (name, partners[0]))):
            return True
        self.tied.untie(name)
        return False

    def check(self, moves: list[Move], drop: Iterable[str]) -> None:
        """Check the names and shapes of the weights, without reading their values.

        The files need not hold constants of the source model, nor weights that have a default.

        Args:
            moves: the moves of all entries of the table.
            drop: names of weights in the files that are left out, with `*` as a wildcard.

        Raises:
            SharingError: weights are missing, are neither used by a move nor dropped, or have another shape than the
                config says; or a name in `drop` matches no unused weight. The message lists at most six names.
        """
        used = {name for move in moves for name in move.sources}
        used |= {other for name in used for other in self.tied.with_(name)}
        left_over = [stored for name, stored in self.files.items() if name not in used]
        unmatched = [pattern for pattern in drop if not any(fnmatchcase(name, pattern) for name in left_over)]
        if unmatched:
            raise SharingError(
                f"No unused weight of the checkpoint matches {_listed(unmatched)}: drop only unused weights."
            )
        left_over = [name for name in left_over if not any(fnmatchcase(name, pattern) for pattern in drop)]
        needed = [name for move in moves if move.targets and move.default is None for name in move.sources]
        missing = [name for name in dict.fromkeys(needed) if self.find(name) is None]
        class_name = type(self.model).__name__
        if missing:
            raise SharingError(
                f"The checkpoint lacks {_listed(missing)}, which a {class_name} of this config has: give the whole "
                "checkpoint, or correct the config."
            )
        if left_over:
            patterns = list(dict.fromkeys(re.sub(r"\.\d+\..*|\.[^.]*$", ".*", name) for name in left_over))
            raise SharingError(
                f"The checkpoint holds {_listed(left_over)}, but the model converted from this {class_name} has no "
                "such weights: if these weights are not needed, leave them out with --drop "
                f"{' '.join(patterns)}"
            )
        shapes = {name: tuple(self.checkpoint.headers[stored].shape) for name, stored in self.files.items()}
        reshaped = [
            f"{self.files[name]} has the shape {shape} and not {tuple(self.shapes[name])}"
            for name, shape in shapes.items()
            if name in used and name in self.shapes and shape != self.shapes[name]
        ]
        if reshaped:
            raise SharingError(
                f"Weights do not fit the config: {_listed(reshaped)}; give the weights and the config of one model."
            )

    def read(self, move: Move) -> Tensors:
        """Read the weights `move.sources`, in this order.

        A weight that is not stored is filled with `move.default`; a constant that is not stored is left out.

        Raises:
            CheckpointError: a stored tensor is not of a floating-point type, or holds NaN or infinity.
            SharingError: the files hold two tied weights that differ.
        """
        return [self._read(name, move.default) for name in move.sources if move.targets or self.find(name) is not None]

    def _read(self, name: str, default: float | None) -> torch.Tensor:
        stored = self.find(name)
        if stored is None:
            assert default is not None  # `check` refuses missing weights without a default
            return torch.full(self.shapes[name], default, dtype=self.dtype)
        tensor = self.checkpoint.read(stored)
        for other in self.tied.with_(name):
            twin = self.files.get(other)
            if twin not in (None, stored) and not torch.equal(tensor, self.checkpoint.read(twin)):
                raise SharingError(f"{stored} and {twin} differ, but the config ties them: remove one of them.")
        return tensor

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first stored tensor that is a weight of the model."""
        return next(self.checkpoint.headers[stored].dtype for name, stored in self.files.items() if name in self.shapes)

    def place(self, move: Move) -> int:
        """Return the lowest index of the weights `move.sources` among the stored tensors; -1 if none of them is stored.

        `transfer` sorts the moves by this index, so that it reads one shard after the other.
        """
        order = {name: index for index, name in enumerate(self.checkpoint.headers)}
        stored = [self.find(name) for name in move.sources]
        return min((order[name] for name in stored if name is not None), default=-1)


class TiedNames:
    """Finds the names of the weights that are tied to a weight of a model."""

    def __init__(self, model: PreTrainedModel):
        self._groups: dict[str, list[str]] = {}
        for name, other in model.all_tied_weights_keys.items():
            group = self._groups.setdefault(other, [other])
            group.append(name)
            self._groups[name] = group

    def with_(self, name: str) -> list[str]:
        """Return the names of the weights that are tied to the weight `name`, without `name` itself."""
        return [other for other in self._groups.get(name, ()) if other != name]

    def untie(self, name: str) -> None:
        """Untie the weight `name` from all others: remove the name from its group of tied weights."""
        self._groups.pop(name).remove(name)


def transfer(source: SourceWeights, moves: list[Move], target: PreTrainedModel, dtype: torch.dtype | None) -> None:
    """Fill the model `target` with the converted weights.

    The weights are read in the order in which the files store them. The transfer needs memory for the target model, for
    one shard and for the weights of one move.

    Args:
        source: the weights to read.
        moves: the moves that `SourceWeights.check` has checked.
        target: an empty model, on the meta device.
        dtype: dtype of the converted weights; None keeps the dtype that each weight has in the files.

    Raises:
        CheckpointError: a stored tensor is not of a floating-point type, or holds NaN or infinity.
        SharingError: the files hold two tied weights that differ; or a stored constant differs from the value that
            Locant computes from the config.
    """
    tied, state = TiedNames(target), dict[str, Any]()
    parameters = {name for name, _ in target.named_parameters(remove_duplicate=False)}

    def twin(name: str) -> Any:
        return next((state[other] for other in tied.with_(name) if other in state), None)

    for move in tqdm(sorted(moves, key=source.place), desc="converting", unit="weights"):
        try:
            results = move.apply(source.read(move))
        except ValueError as error:
            if isinstance(error, SharingError) or move.targets:
                raise
            raise SharingError(f"{source.find(move.sources[0])} cannot be converted: {error}.") from error
        for name, tensor in zip(move.targets, results, strict=True):
            # a copy, because `tensor` may be mapped from a file, or share memory with other weights
            own = tensor.to(dtype or (tensor.dtype if move.sources else source.dtype), copy=True).contiguous()
            other = twin(name)
            if other is not None and torch.equal(other, own):
                state[name] = other  # the same `Parameter`, so that `num_parameters` counts it once
            else:
                state[name] = nn.Parameter(own) if name in parameters else own
    # weights that the table does not name, because it names a weight that is tied to them
    twins = {name: twin(name) for name in target.state_dict().keys() - state.keys()}
    state |= {name: weight for name, weight in twins.items() if weight is not None}
    target.load_state_dict(state, assign=True)


def _listed(names: list[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
