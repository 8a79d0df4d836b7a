# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What a family of models is to the converter: names of classes, fields of configs, and one table of weights.

A file of this folder describes one family of transformers as a `Family`:

1. `architectures`: their class -> ours. Of several that become the same class of ours, the first is what that
   class becomes on the way back.
2. `to_locant` and `from_locant`: the fields of one config from the other. Neither has to check much: what a config
   says and the other cannot is found by going there and back again (`conversion.py`), where every field that is not
   itself any more is refused, all named in one sentence. Only what a model computes counts: on their side the fields of
   the family's own config class but `free`, on ours all that `features` lists. A value that would be misread, or that
   has a better explanation, raises `SharingError`.
3. `table`: which weights are which, as `Entry`s with the transforms between them. It is read from left to right on
   the way to Locant and from right to left on the way back, so that every transform knows its inverse.

Names in the table are those of `model.state_dict()`, on both sides. Which of several tied names a file has does not
matter: any stands for all, and the table may list one of them or each. What older files call a weight is said by
`aliases`, and what they hold that is no weight by `ignored`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from locant.configuration.configuration_locant import LocantConfig

Tensors = list[torch.Tensor]


class Transform(ABC):
    """What is done to an entry's weights on the way, and its inverse."""

    @abstractmethod
    def to_ours(self, theirs: Tensors) -> Tensors:
        """The weights of the left side to those of the right."""

    @abstractmethod
    def to_theirs(self, ours: Tensors) -> Tensors:
        """The inverse."""


@dataclass(frozen=True)
class Scale(Transform):
    """Ours are theirs times `factor`: exact both ways where that is a power of two, else to a rounding."""

    factor: float

    def to_ours(self, theirs: Tensors) -> Tensors:
        """Times the factor."""
        return [_product(weight, self.factor) for weight in theirs]

    def to_theirs(self, ours: Tensors) -> Tensors:
        """Divided by it."""
        return [_product(weight, 1 / self.factor) for weight in ours]


@dataclass(frozen=True)
class Transpose(Transform):
    """Rows of theirs are columns of ours, in matrices; vectors stay."""

    def to_ours(self, theirs: Tensors) -> Tensors:
        """Turned."""
        return [weight.T if weight.ndim == 2 else weight for weight in theirs]

    def to_theirs(self, ours: Tensors) -> Tensors:
        """Turned back."""
        return self.to_ours(ours)


@dataclass(frozen=True)
class Split(Transform):
    """One of theirs holds several of ours, one after the other along the first dimension.

    Args:
        parts: how many of one size; or the size of each.
    """

    parts: int | tuple[int, ...]

    def to_ours(self, theirs: Tensors) -> Tensors:
        """The parts."""
        [fused] = theirs
        sizes = self.parts if isinstance(self.parts, tuple) else (fused.shape[0] // self.parts,) * self.parts
        return list(fused.split(sizes))

    def to_theirs(self, ours: Tensors) -> Tensors:
        """Joined."""
        return [torch.cat(ours)]


@dataclass(frozen=True)
class Reshape(Transform):
    """The same numbers in another shape."""

    theirs: tuple[int, ...]
    ours: tuple[int, ...]

    def to_ours(self, theirs: Tensors) -> Tensors:
        """In our shape."""
        return [weight.reshape(self.ours) for weight in theirs]

    def to_theirs(self, ours: Tensors) -> Tensors:
        """In theirs."""
        return [weight.reshape(self.theirs) for weight in ours]


@dataclass(frozen=True)
class Unused(Transform):
    """Of two of theirs nothing reads the first: left behind on the way here, on the way back a copy of the second."""

    def to_ours(self, theirs: Tensors) -> Tensors:
        """The second."""
        return theirs[1:]

    def to_theirs(self, ours: Tensors) -> Tensors:
        """It twice."""
        return [ours[0], ours[0]]


@dataclass(frozen=True)
class Constant(Transform):
    """A weight of theirs that follows from the config, for an entry without ours: `value` makes it.

    Where a file has it, it is compared (`ValueError` if it is another), and where not it is not missed.
    """

    value: Callable[[], torch.Tensor]

    def to_ours(self, theirs: Tensors) -> Tensors:
        """Nothing, once compared."""
        for weight in theirs:
            expected = self.value().to(weight.dtype)
            if weight.shape != expected.shape or not torch.allclose(weight, expected, rtol=0, atol=1e-3):
                raise ValueError("holds other numbers than those that follow from the config, which Locant computes")
        return []

    def to_theirs(self, ours: Tensors) -> Tensors:
        """The constant."""
        return [self.value()]


@dataclass(frozen=True, init=False)
class Entry:
    """A line of the table: these weights of theirs are those of ours, by way of `transforms`.

    Args:
        theirs, ours: one name, or several.
        transforms: applied one after the other to theirs, and their inverses backwards to ours.
        default: what theirs is full of where a file may leave it out; None where it must be there.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transforms: tuple[Transform, ...]
    default: float | None

    def __init__(
        self,
        theirs: str | Iterable[str],
        ours: str | Iterable[str],
        *transforms: Transform,
        default: float | None = None,
    ):
        for name, value in (("theirs", _names(theirs)), ("ours", _names(ours))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "transforms", transforms)
        object.__setattr__(self, "default", default)

    def to_ours(self, theirs: Tensors) -> Tensors:
        """Weights in the order of `theirs` to those in the order of `ours`."""
        for transform in self.transforms:
            theirs = transform.to_ours(theirs)
        return theirs

    def to_theirs(self, ours: Tensors) -> Tensors:
        """The inverse."""
        for transform in reversed(self.transforms):
            ours = transform.to_theirs(ours)
        return ours

    def under(self, theirs: str, ours: str) -> "Entry":
        """The same entry with these in front of its names."""
        return _replaced(self, [theirs + name for name in self.theirs], [ours + name for name in self.ours])


def linear(theirs: str, ours: str, *transforms: Transform, bias: bool = True) -> list[Entry]:
    """The entries of a linear layer or a norm: weight and, where there is one, bias."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return [Entry(f"{theirs}.{kind}", f"{ours}.{kind}", *transforms) for kind in kinds]


def under(theirs: str, ours: str, entries: Iterable[Entry]) -> list[Entry]:
    """The entries with these in front of their names: `under("encoder.layers.3.", "layers.3.", layer)`."""
    return [entry.under(theirs, ours) for entry in entries]


class Family(ABC):
    """One family of transformers, see the top of this file."""

    name: ClassVar[str]
    """What messages call it: `T5`."""
    model_type: ClassVar[str]
    """transformers' `model_type`, and what `--to` takes."""
    architectures: ClassVar[Mapping[str, str]]
    """Their class -> our class, by name."""
    free: ClassVar[frozenset[str]] = frozenset()
    """Fields of their config that do not change what a trained model computes, or that `to_locant` wholly reads."""
    bridged: ClassVar[Mapping[str, tuple[Any, Any]]] = {}
    """A feature of ours -> (the value that it may have, that which it has in theirs), where the table bridges both."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Patterns of names in files, and what `re.sub` makes of them to get those of the table."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """Patterns of names in files that hold no weight; transformers leaves them out, too."""

    @abstractmethod
    def to_locant(self, theirs: PreTrainedConfig, names: Collection[str]) -> dict[str, Any]:
        """The fields of our config.

        Token ids, labels, and which stacks there are, need not be among them: they are the same everywhere, or follow
        from the class. `tie_word_embeddings` is corrected where the weights turn out to be other than the config says.

        Args:
            theirs: their config.
            names: of the weights that there are.

        Raises:
            SharingError: Locant has no such model.
        """

    @abstractmethod
    def from_locant(self, ours: LocantConfig) -> dict[str, Any]:
        """The fields of their config, as far as it can say what ours does; again without token ids and labels."""

    @abstractmethod
    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """All weights of the class `architecture` (theirs) with this config, and what they are here."""

    def build(self, model_class: type[PreTrainedModel], theirs: PreTrainedConfig, ours: LocantConfig | None) -> Any:
        """An empty model of theirs, on the meta device; `ours` is None where theirs is the source."""
        return model_class(theirs)

    def convert_processor(self, processor: Any, to_locant: bool) -> Any:
        """The tokenizer, image processor or processor of a converted model: by default as it was."""
        return processor

    def canonical(self, name: str) -> str | None:
        """The table's name of what a file calls `name`; None for what is no weight."""
        if any(re.search(pattern, name) for pattern in self.ignored):
            return None
        for pattern, replacement in self.aliases.items():
            name = re.sub(pattern, replacement, name)
        return name


def _names(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _replaced(entry: Entry, theirs: Iterable[str], ours: Iterable[str]) -> Entry:
    return Entry(theirs, ours, *entry.transforms, default=entry.default)


def _product(weight: torch.Tensor, factor: float) -> torch.Tensor:
    # in float64, so that it is rounded once
    return (weight.double() * factor).to(weight.dtype)
