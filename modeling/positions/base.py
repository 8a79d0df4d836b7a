# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The interface between position encodings and attention, and the registry of encodings.

A `PositionEncoding` belongs to one stack (or to the cross-attention of a decoder). Its `forward` runs once in each
forward pass (in cross-attention, once for the queries, and once for the keys unless the cache holds them): it adds
position to the embeddings (sinusoidal, learned), and returns the tensors that all layers need (the cosines and sines of
rotary, computed from the position ids; the bias table of T5; the slopes of ALiBi).

A `PositionLayer` belongs to one attention layer. Its `forward` runs once in each call of attention: it changes queries
(rotary, Transformer-XL) and new keys (rotary), and returns the `PositionBias` that the backend adds to the scores or to
the output of attention (Shaw, Transformer-XL; T5 and ALiBi, unless `build_mask` has added their bias to the mask).

Sinusoidal and learned vectors and rotary rotations are computed from position ids, which count the real tokens of a
sequence (for image patches, they are rows and columns). A bias depends on the distance between a query and a key, which
a `SlotIndex` or a `PositionIndex` gives.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
from torch import nn
from torch.compiler import is_compiling
from transformers import initialization as init

from locant.configuration.configuration_locant import LocantConfig
from locant.configuration.position_encodings import POSITION_ENCODINGS, AttentionKind, EncodingOptions


def heads_of_process(config: LocantConfig, kind: AttentionKind) -> slice:
    """Return the range of heads that this process computes: with tensor parallelism a part of the heads, else all."""
    heads = config.heads_at(kind)
    distributed = getattr(config, "distributed_config", None)  # set by `from_pretrained(distributed_config=...)`
    if distributed is None or distributed.tp_size == 1:
        return slice(0, heads)
    share = heads // distributed.tp_size
    first = torch.distributed.get_rank() % distributed.tp_size * share
    return slice(first, first + share)


class SlotIndex(NamedTuple):
    """Identifies queries and keys by their slots.

    The slot of a token is its index in the row; padding and cached tokens have slots too. A `SlotIndex` is used in
    masks. It is used for distances in self-attention if the caller gave no position ids, or if tokens are cached and
    the caller gave position ids for the new tokens only.

    Args:
        q_length, kv_length: the numbers of queries and of keys.
        q_offset: the slot of the first query; a tensor if the cache returns its length as a tensor, as a static cache
            without a window does once it holds tokens.
        kv_offset: the slot of the first key; above 0 if a sliding cache has dropped the oldest keys.
    """

    q_length: int
    kv_length: int
    q_offset: int | torch.Tensor = 0
    kv_offset: int | torch.Tensor = 0

    def distance(self, batch: Any, q_idx: Any, kv_idx: Any) -> Any:
        """The slot of a key minus the slot of a query; the indices are integers, or tensors that broadcast.

        `batch` is ignored: it is an argument because the distances of `PositionIndex` differ between rows.
        """
        return kv_idx - q_idx + (self.kv_offset - self.q_offset)

    def distances(self, device: torch.device) -> torch.Tensor:
        """All distances that occur, in ascending order: `(q_length + kv_length - 1,)`."""
        first = self.kv_offset - self.q_offset - (self.q_length - 1)
        return torch.arange(self.q_length + self.kv_length - 1, device=device) + first

    def distance_index(self, batch: Any, q_idx: Any, kv_idx: Any) -> Any:
        """The index, in the result of `distances`, of the distance between a query and a key."""
        return kv_idx - q_idx + (self.q_length - 1)

    def block(self, queries: slice, keys: slice) -> "SlotIndex":
        """Return the `SlotIndex` of a slice of the queries and a slice of the keys."""
        return SlotIndex(
            queries.stop - queries.start,
            keys.stop - keys.start,
            self.q_offset + queries.start,
            self.kv_offset + keys.start,
        )


class PositionIndex(NamedTuple):
    """Identifies queries and keys by their position ids.

    A `PositionIndex` is used for distances in cross-attention, and in self-attention if the caller gave position ids of
    all tokens.

    Args:
        query_positions: `(batch or 1, q_length)`.
        key_positions: `(batch or 1, kv_length)`.
        q_bound, kv_bound: exclusive upper bounds of the query and key positions; None if they are unknown.
    """

    query_positions: torch.Tensor
    key_positions: torch.Tensor
    q_bound: int | None = None
    kv_bound: int | None = None

    @property
    def q_length(self) -> int:
        """The number of queries."""
        return self.query_positions.shape[1]

    @property
    def kv_length(self) -> int:
        """The number of keys."""
        return self.key_positions.shape[1]

    def distance(self, batch: Any, q_idx: Any, kv_idx: Any) -> Any:
        """The position of a key minus the position of a query; the indices are as in `SlotIndex.distance`."""
        return self.key_positions[batch, kv_idx] - self.query_positions[batch, q_idx]

    def distances(self, device: torch.device) -> torch.Tensor:
        """All distances that may occur, in ascending order: `(q_bound + kv_bound - 1,)`."""
        assert self.q_bound is not None and self.kv_bound is not None
        return torch.arange(1 - self.q_bound, self.kv_bound, device=device)

    def distance_index(self, batch: Any, q_idx: Any, kv_idx: Any) -> Any:
        """The index, in the result of `distances`, of the distance between a query and a key."""
        assert self.q_bound is not None
        return self.distance(batch, q_idx, kv_idx) + (self.q_bound - 1)

    def block(self, queries: slice, keys: slice) -> "PositionIndex":
        """Return the `PositionIndex` of a slice of the queries and a slice of the keys."""
        return self._replace(
            query_positions=self.query_positions[:, queries], key_positions=self.key_positions[:, keys]
        )


QueryKeyIndex = SlotIndex | PositionIndex
"""The queries and keys of one call of attention, identified by their slots or by their positions."""


def pair_indices(batch: int, heads: int, index: QueryKeyIndex, device: torch.device) -> list[torch.Tensor]:
    """Return the indices of batch, head, query and key, in shapes that broadcast to `(batch, heads, queries, keys)`."""
    sizes = (batch, heads, index.q_length, index.kv_length)
    return [
        torch.arange(size, device=device).view([-1 if axis == own else 1 for axis in range(4)])
        for own, size in enumerate(sizes)
    ]


@dataclass(frozen=True)
class PositionBias:
    """The bias that one call of attention adds to its scores or to its output, with every tensor needed to compute it.

    A subclass for a bias on the scores overrides `pointwise`, or `matrix`, or both if `matrix` can be computed faster
    than pair by pair; flex_attention needs `pointwise`. A subclass for a bias on the output overrides `output` and sets
    `has_output`.

    Args:
        index: the queries and keys.
    """

    index: QueryKeyIndex

    has_output: ClassVar[bool] = False

    def pointwise(self, batch: Any, head: Any, q_idx: Any, kv_idx: Any) -> torch.Tensor:
        """The bias on the score of a query and a key, before the mask and the softmax.

        The indices are tensors without dimensions (flex_attention), or tensors that broadcast to
        `(batch, heads, queries, keys)`.
        """
        raise NotImplementedError

    def matrix(self, batch: int, heads: int, device: torch.device) -> torch.Tensor:
        """The bias on all scores, `(batch or 1, heads or 1, queries, keys)`."""
        return self.pointwise(*pair_indices(batch, heads, self.index, device))

    def output(self, weights: torch.Tensor) -> torch.Tensor:
        """The bias on the output, `(batch, heads, queries, head_dim)`.

        Args:
            weights: the attention weights `(batch, heads, queries, keys)`.
        """
        raise NotImplementedError

    def block(self, queries: slice, keys: slice) -> Self:
        """The bias for a slice of the queries and a slice of the keys.

        Override this method if one of the tensors has a dimension of queries, and slice that tensor too.
        """
        return replace(self, index=self.index.block(queries, keys))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The fields that are tensors, by name."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    def to(self, device: Any, **kwargs: Any) -> Self:
        """Return a copy of the bias on `device`; accelerate calls `to` if the layers are on several devices."""
        moved = {name: tensor.to(device, **kwargs) for name, tensor in self.tensors().items()}
        parts: Any = (part.to(device) if isinstance(part, torch.Tensor) else part for part in self.index)
        return replace(self, index=type(self.index)(*parts), **moved)


@dataclass(frozen=True)
class DistanceBias(PositionBias):
    """A bias on the attention scores that is a function of the head and of the distance from query to key."""

    def of_distance(self, head: Any, distance: Any) -> torch.Tensor:
        """Compute the bias of `head` at `distance` (key minus query); both are tensors that broadcast."""
        raise NotImplementedError

    def pointwise(self, batch: Any, head: Any, q_idx: Any, kv_idx: Any) -> torch.Tensor:
        """Compute the bias on the score of one query and one key, from their distance."""
        return self.of_distance(head, self.index.distance(batch, q_idx, kv_idx))

    def matrix(self, batch: int, heads: int, device: torch.device) -> torch.Tensor:
        """Compute the bias on the scores of all pairs of a query and a key.

        For a `SlotIndex`, the bias of a distance is computed once for all pairs of a query and a key at this distance.
        """
        index = self.index
        if isinstance(index, PositionIndex):
            return super().matrix(batch, heads, device)
        head = torch.arange(heads, device=device)
        line = self.of_distance(head[:, None], index.distances(device)[None])
        if is_compiling():  # `unfold` would make the length a constant of the compiled code
            _, _, q_idx, kv_idx = pair_indices(1, 1, index, device)
            return line[:, index.distance_index(None, q_idx[0, 0], kv_idx[0, 0])].unsqueeze(0)
        # row i is line[q_length - 1 - i : q_length - 1 - i + kv_length]
        starts = torch.arange(index.q_length - 1, -1, -1, device=device)
        return line.unfold(-1, index.kv_length, 1).index_select(-2, starts).unsqueeze(0)


class PositionInputs(NamedTuple):
    """The inputs of `PositionLayer.forward` in one forward pass, the same for all layers of a type.

    Args:
        query_key_index: the index of queries and keys.
        query_tensors: the tensors that `PositionEncoding.forward` returned for the positions of the queries.
        key_tensors: the tensors that `PositionEncoding.forward` returned for the positions of the new keys; None if the
            cache of cross-attention already holds all keys.
        bias: the result of `PositionEncoding.shared_bias`, or None if `build_mask` has added this bias to the mask.
    """

    query_key_index: QueryKeyIndex
    query_tensors: Any = None
    key_tensors: Any = None
    bias: PositionBias | None = None


class PositionLayer(nn.Module):
    """The part of a position encoding that one attention layer owns.

    This base class leaves queries and keys unchanged, and returns the bias that all layers share.
    """

    tensor_parallel_plan: ClassVar[dict[str, str]] = {}
    """The plan for the weights of the layer, in the form of `PositionEncoding.tensor_parallel_plan`."""

    def forward(
        self, query: torch.Tensor, key: torch.Tensor | None, inputs: PositionInputs
    ) -> tuple[torch.Tensor, torch.Tensor | None, PositionBias | None]:
        """Apply position to queries and new keys, and return them with the bias of this call.

        Args:
            query: `(batch, heads, queries, head_dim)`.
            key: new keys before they enter the cache, `(batch, key_value_heads, keys, head_dim)`; None if the cache of
                cross-attention already holds all keys.
            inputs: the index of queries and keys, and the tensors and bias that the `PositionEncoding` computed.
        """
        return query, key, inputs.bias

    def init_weights(self) -> None:
        """Initialise the layer's own parameters, with `transformers.initialization`."""


class PositionEncoding(nn.Module):
    """Base class of position encodings, and the encoding `none`; the layers of a stack share one instance.

    Args:
        config: the model's configuration.
        kind: `encoder` or `decoder` for the self-attention of that stack, `cross` for cross-attention.
    """

    grid_class: ClassVar["type[PositionEncoding] | None"] = None
    """The class for the rows and columns of image patches, if it differs from this class."""
    needs_position_bound: ClassVar[bool] = False
    """Whether `forward` or a bias needs the bound of the positions.

    Computing the bound of positions that the caller gave synchronises with a GPU.
    """
    tensor_parallel_plan: ClassVar[dict[str, str]] = {}
    """The plan by which tensor parallelism divides the weights among processes, which compute some of the heads each.

    The dictionary maps the name of a parameter or submodule, or "" for the module itself, to a style of
    `transformers.distributed`, such as `colwise`. All other weights are whole in every process.
    """

    def __init__(self, config: LocantConfig, kind: AttentionKind = "encoder"):
        super().__init__()
        self.config = config
        self.kind = kind

    @classmethod
    def bias_types(cls, config: LocantConfig) -> frozenset[str]:
        """The types of bias that the encoding adds, and that a backend must support:

        - `linear`: -slope · |distance| on the scores, with a slope for each head in the tensor `slopes` of the bias;
        - `pointwise`: a function of head, query and key on the scores, which a kernel can compute for each pair;
        - `dense`: a number for each pair of query and key on the scores, which has to be in memory;
        - `output`: a bias on the output.

        The set is empty if the encoding adds no bias; it then needs no distances between queries and keys.
        """
        return frozenset()

    def forward(
        self, hidden_states: torch.Tensor, position_ids: torch.Tensor, position_bound: Any
    ) -> tuple[torch.Tensor, Any]:
        """Add position to the embeddings, and compute the tensors that the layers need for these positions.

        Args:
            hidden_states: embeddings `(batch, length, d_model)`. In cross-attention, the hidden states of the decoder
                or the output of the encoder, which only give shape, dtype and device: the returned states are not used.
            position_ids: `(batch or 1, length)`; of patches `(1, length, 2)`, row and column, not always whole numbers.
            position_bound: exclusive upper bound of the position ids. It may be None (unknown) if
                `needs_position_bound` is False. For patches, the number of rows and of columns.

        Returns:
            Embeddings of the same shape, and the tensors that `PositionLayer.forward` gets in its `PositionInputs`.
        """
        return hidden_states, None

    def shared_bias(self, position: Any, index: QueryKeyIndex) -> PositionBias | None:
        """Return the bias that every layer adds to its scores, or None if layers add no bias or different biases.

        Args:
            position: the tensors that `forward` returned for the queries.
            index: the queries and keys.
        """
        return None

    def build_layer(self, layer_idx: int) -> PositionLayer:
        """Build the `PositionLayer` of layer `layer_idx`."""
        return PositionLayer()

    @property
    def limit(self) -> int | None:
        """The number of positions that the encoding can represent; None if it is unlimited."""
        return None

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        """Return the non-persistent buffers that are computed from the config: a dict from name to float32 tensor."""
        return {}

    def register_computed_buffers(self) -> None:
        """Register `computed_buffers`; a subclass with computed buffers calls this at the end of its `__init__`."""
        for name, values in self.computed_buffers().items():
            self.register_buffer(name, values, persistent=False)

    def init_weights(self) -> None:
        """Initialise the encoding's own parameters and computed buffers, with `transformers.initialization`."""
        for name, values in self.computed_buffers().items():
            init.copy_(self.get_buffer(name), values)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "PositionEncoding":
        """Move or cast the module, then compute its buffers again in float32, which far positions need for accuracy."""
        super()._apply(fn, recurse)
        for name, values in self.computed_buffers().items():
            buffer = self.get_buffer(name)
            if not buffer.is_meta:  # `fn` may have cast it, or left it uninitialised (`to_empty`)
                setattr(self, name, values.to(buffer.device))
        return self


_CLASSES: dict[str, type[PositionEncoding]] = {"none": PositionEncoding}

_Encoding = TypeVar("_Encoding", bound=type[PositionEncoding])


def register_built_in(name: str) -> Callable[[_Encoding], _Encoding]:
    """Return a decorator that registers a class as the encoding `name`, which `POSITION_ENCODINGS` already contains."""

    def register(cls: _Encoding) -> _Encoding:
        _CLASSES[name] = cls
        return cls

    return register


def register_position_encoding(
    name: str,
    cls: type[PositionEncoding],
    options: dict[str, Any] | None = None,
    check: Callable[[dict[str, Any], int], None] | None = None,
    in_cross_attention: bool = True,
) -> None:
    """Make `cls` available as `position_encoding=name`.

    Args:
        name: the name of the encoding in the config.
        cls: the class of the encoding.
        options: the options of the encoding with their defaults; `config.position_options(name)` returns the options of
            a model.
        check: a function that is called with the options and the size of a head, and raises `ValueError` if a value is
            invalid, or not possible with this size of a head.
        in_cross_attention: whether cross-attention can have this encoding. An encoding that is added to the embeddings
            cannot be used in cross-attention.

    Raises:
        ValueError: another class has this name.
    """
    if name in _CLASSES and _CLASSES[name] is not cls:
        raise ValueError(f"The position encoding {name!r} exists already: choose another name.")
    POSITION_ENCODINGS[name] = EncodingOptions(options or {}, check, in_cross_attention)
    _CLASSES[name] = cls


def registered_class(name: str) -> type[PositionEncoding]:
    """Return the class of the encoding `name`.

    Raises:
        ValueError: the class is not registered. The code that is saved with a model contains only the encodings of that
            model.
    """
    if name not in _CLASSES:
        raise ValueError(
            f"The position encoding {name!r} is not among the registered encodings {', '.join(sorted(_CLASSES))}: "
            "install and import locant, and import the file that registers the encoding if it is your own."
        )
    return _CLASSES[name]


def position_encoding_class(config: LocantConfig, kind: AttentionKind) -> type[PositionEncoding]:
    """Return the class of the encoding that `config` names for this kind of attention.

    For patches, this is the `grid_class` of the class if it has one.
    """
    cls = registered_class(config.position_encoding_at(kind))
    return cls.grid_class or cls if config.axes_at(kind) == 2 else cls


def build_position_encoding(config: LocantConfig, kind: AttentionKind) -> PositionEncoding:
    """Build the encoding that `config` names for this kind of attention."""
    return position_encoding_class(config, kind)(config, kind)
