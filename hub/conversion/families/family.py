# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Describes a model family for the converter: the names of its classes, its config fields and a table of its weights.

In this folder, `ours` is the Locant side of a conversion and `theirs` the side of the other family. Each other file
describes one model family of the library transformers as a `Family`:

1. `architectures`: a class of the other family -> a class of Locant. If several classes of the family become the same
   class of Locant, that class is converted back to the first of them.
2. `fields`, `to_locant` and `from_locant` convert the fields of one config to the fields of the other. A field that has
   the same name in both config classes needs no mention unless it is in `free`: `config_matching.py` copies it, and the
   fields in `fields` under their other name. A value that `to_locant` or `from_locant` returns for a field replaces the
   copy. `to_locant` and `from_locant` need not check whether a field is lost: `config_matching.py` converts the result
   back, and raises one error that lists all fields that have changed, except changes in `bridged`. `config_matching.py`
   compares only fields that determine what a model computes: in a config of the other family, the fields that its
   config class adds to `PreTrainedConfig`, except `use_cache`, `tie_word_embeddings` and those in `free`; in a Locant
   config, the fields that `features` returns. `to_locant` and `from_locant` may raise `SharingError` for a value that
   they would misread, or if the list of changed fields would not explain the error.
3. `table`: the weights that correspond to each other, as `Entry`s with the transforms between them. The conversion to
   Locant applies the transforms, and the conversion from Locant applies their inverses.

Names in the table are those of `model.state_dict()`, on both sides, and each name occurs once. If weights are tied, the
table may list one of their names or all of them. Names in older files need no mention if transformers translates them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import signature
from typing import Any, ClassVar, NamedTuple

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from locant.configuration.configuration_locant import LocantConfig

Tensors = list[torch.Tensor]


class Transform(NamedTuple):
    """Changes the weights of an `Entry` in the conversion to Locant, and changes them back in the other direction.

    Args:
        to_ours: computes the weights of the Locant model from the weights of the other family's model.
        to_theirs: computes the weights of the other family's model from those of the Locant model: the inverse of
            `to_ours`.
    """

    to_ours: Callable[[Tensors], Tensors]
    to_theirs: Callable[[Tensors], Tensors]


def scale(factor: float) -> Transform:
    """Return the transform that multiplies the weights by `factor` in the conversion to Locant.

    Results are rounded unless `factor` is a power of two.
    """
    return Transform(
        lambda theirs: [_product(weight, factor) for weight in theirs],
        lambda ours: [_product(weight, 1 / factor) for weight in ours],
    )


def split(parts: int) -> Transform:
    """Return the transform that splits a weight of the other family's model into several weights of the Locant model.

    Args:
        parts: the number of parts, which have equal sizes along dimension 0.
    """
    return Transform(lambda theirs: list(theirs[0].chunk(parts)), lambda ours: [torch.cat(ours)])


def reshape(theirs: tuple[int, ...], ours: tuple[int, ...]) -> Transform:
    """Return the transform of weights that hold the same numbers in both models, in another shape.

    Args:
        theirs: the shape in the other family's model.
        ours: the shape in the Locant model.
    """
    return Transform(
        lambda weights: [weight.reshape(ours) for weight in weights],
        lambda weights: [weight.reshape(theirs) for weight in weights],
    )


def constant(value: Callable[[], torch.Tensor]) -> Transform:
    """Return the transform of a weight that the other family's model has and the Locant model does not have.

    A file may leave the weight out, and transformers computes it then. If a number of the weight differs from the
    number of the constant by more than 1e-3, and by more than the rounding error of the dtype, `to_ours` raises
    `ValueError`.

    Args:
        value: a function without arguments that computes the weight.
    """

    def compare(theirs: Tensors) -> Tensors:
        for weight in theirs:
            expected = value().to(weight.dtype)
            if not torch.allclose(weight, expected, rtol=0, atol=max(1e-3, torch.finfo(weight.dtype).eps)):
                raise ValueError("the stored numbers differ from those that Locant computes from the config")
        return []

    return Transform(compare, lambda ours: [value()])


def _transposed(weights: Tensors) -> Tensors:
    return [weight.T if weight.ndim == 2 else weight for weight in weights]


TRANSPOSE = Transform(_transposed, _transposed)
"""Transposes the matrices; vectors stay the same."""
UNUSED = Transform(lambda theirs: theirs[1:], lambda ours: [ours[0], ours[0]])
"""Drops the first of two weights of the other family's model in the conversion to Locant.

The other family's model ties the first weight to the second, or does not use the first weight. In the conversion from
Locant, the first weight becomes a copy of the second."""


class Entry:
    """A line of a family's weight table: `transforms` compute the weights `ours` from the weights `theirs`.

    Args:
        theirs, ours: weights of the other family's model and of the Locant model: the name of one weight, the names of
            several weights, or () if that model has no such weight. `ours` is () only if the weight is a `constant`.
        transforms: applied in this order to `theirs`; their inverses are applied in reverse order to `ours`.
    """

    def __init__(self, theirs: str | Iterable[str], ours: str | Iterable[str], *transforms: Transform):
        self.theirs, self.ours, self.transforms = _names(theirs), _names(ours), transforms

    def to_ours(self, theirs: Tensors) -> Tensors:
        """Compute the weights of the Locant model from those of the other family's model.

        Args:
            theirs: the weights of the other family's model, in the order of their names in the entry.

        Returns:
            The weights of the Locant model, in the order of their names in the entry.
        """
        for transform in self.transforms:
            theirs = transform.to_ours(theirs)
        return theirs

    def to_theirs(self, ours: Tensors) -> Tensors:
        """Compute the weights of the other family's model from those of the Locant model: the inverse of `to_ours`."""
        for transform in reversed(self.transforms):
            ours = transform.to_theirs(ours)
        return ours


def linear(theirs: str, ours: str, *transforms: Transform, bias: bool = True) -> list[Entry]:
    """Return the entries of a linear layer or a norm: one for its weight and, if `bias` is true, one for its bias."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return [Entry(f"{theirs}.{kind}", f"{ours}.{kind}", *transforms) for kind in kinds]


def under(theirs: str, ours: str, entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries with prefixes in front of their names: `under("encoder.layers.3.", "layers.3.", layer)`."""
    return [
        Entry([theirs + name for name in entry.theirs], [ours + name for name in entry.ours], *entry.transforms)
        for entry in entries
    ]


class Family(ABC):
    """The description of one model family of the library transformers; the docstring of this module explains it."""

    name: ClassVar[str]
    """The name of the family in messages, such as `T5`."""
    model_type: ClassVar[str]
    """transformers' `model_type`, which is also the family's name for the option `--to`."""
    architectures: ClassVar[Mapping[str, str]]
    """Name of a model class of the family -> name of the Locant class that it is converted to."""
    fields: ClassVar[Mapping[str, str]] = {}
    """A field of the family's config -> the field of the Locant config that has the same values under another name."""
    free: ClassVar[frozenset[str]] = frozenset()
    """Fields of the family's config that are neither copied to a field of the same name nor compared by `check_theirs`,
    because they do not change what a trained model computes, or because `to_locant` converts each of their values."""
    bridged: ClassVar[Mapping[str, tuple[Any, Any]]] = {}
    """A field of the Locant config -> (its value, its value after conversion to the family and back). This difference
    is allowed, because the table converts the weights accordingly."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """Names, with `*` as a wildcard, of weights in older files that are left out, besides those that transformers
    ignores."""

    @abstractmethod
    def to_locant(self, theirs: PreTrainedConfig, names: Collection[str]) -> dict[str, Any]:
        """Convert the fields of `theirs` to fields of the Locant config.

        Three kinds of fields may be omitted, because the caller adds them: fields that have the same name in the Locant
        config and are not in `free`; those in `fields`; and `is_encoder_decoder` and `is_decoder`, which the class of
        the Locant model determines. The caller corrects `tie_word_embeddings` and `share_encoder_decoder_embeddings` if
        the weights contradict the config.

        Args:
            theirs: the family's config.
            names: the names of the weights in the family's model; empty while they are not known.

        Raises:
            SharingError: Locant cannot express a model with this config.
        """

    def from_locant(self, ours: LocantConfig) -> dict[str, Any]:
        """Convert `ours` to fields of the family's config, as far as these fields can express `ours`.

        Fields that have the same name in both configs and are not in `free`, and those in `fields`, may be omitted: the
        caller copies them. This base class returns no field.
        """
        return {}

    @abstractmethod
    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """Return the weight table of the family's class `architecture`: entries that map its weights to Locant's.

        Args:
            ours: the Locant config.
            theirs: the family's config.
            architecture: the name of the family's model class.
        """

    def build(self, model_class: type[PreTrainedModel], theirs: PreTrainedConfig, ours: LocantConfig | None) -> Any:
        """Build an empty model of the family; the caller sets the meta device.

        If the class can be built without a pooler, a model converted from a Locant model has a pooler only if the
        Locant model has one.

        Args:
            model_class: transformers' class of the model.
            theirs: the family's config.
            ours: the Locant config that `theirs` was converted from; None if the family's model is the source.
        """
        if ours is not None and "add_pooling_layer" in signature(model_class).parameters:
            return model_class(theirs, add_pooling_layer=ours.pooler_projection)
        return model_class(theirs)

    def convert_processor(self, processor: Any, to_locant: bool) -> Any:
        """Convert a tokenizer, image processor or processor of the model; this base class returns it unchanged.

        Args:
            processor: the tokenizer, image processor or processor.
            to_locant: True for the conversion to Locant, False for the conversion from Locant to the family.
        """
        return processor


def _names(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _product(weight: torch.Tensor, factor: float) -> torch.Tensor:
    # multiply in float64, so that the factor is not rounded to the dtype of the weight first
    return (weight.double() * factor).to(weight.dtype)
