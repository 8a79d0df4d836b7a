# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`LocantTokenizer`, the class of the tokenizers that `train_tokenizer` makes.

This file does not import Locant, so that transformers can copy it into the folder of a saved tokenizer.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import BatchEncoding

_PREPEND = {"type": "Prepend", "prepend": " "}
_STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


class LocantTokenizer(PreTrainedTokenizerFast):
    """A byte-level tokenizer with an optional prefix space, and with special tokens that can be added after training.

    With `split_special_tokens=True`, text that spells a special token of the training, such as `</s>`, is encoded as
    ordinary text. Text that spells a token added later (by `add_tokens` or `add_special_tokens`) is always encoded as
    that token. `decode(..., skip_special_tokens=True)` omits the special tokens of the training and those added later.

    Args:
        add_prefix_space: whether encoding puts a space before each text, and before each word if
            `is_split_into_words=True`, and decoding removes this space; None keeps the saved setting. With the space, a
            word is encoded alike at the start of a text, inside a text, and in a list of words.
        added_special_tokens: the special tokens that were added after the training; saved in `tokenizer_config.json`.

    Raises:
        ValueError: when called with `is_split_into_words=True` while `add_prefix_space` is False.
    """

    carries_code = False
    """Whether this file is saved with a tokenizer that has added special tokens."""

    _tokenizer: Any

    def __init__(
        self,
        *args: Any,
        add_prefix_space: bool | None = None,
        added_special_tokens: Iterable[str] = (),
        **kwargs: Any,
    ):
        # set before super().__init__, which calls `_add_tokens`, which reads and extends this list
        self.added_special_tokens = list(added_special_tokens)
        super().__init__(*args, **kwargs)
        if add_prefix_space is not None and add_prefix_space != self._puts_space:
            pipeline = json.loads(self._tokenizer.to_str())
            read = self._read_tokens() if add_prefix_space else None
            self._tokenizer = Tokenizer.from_str(json.dumps(_with_prefix_space(pipeline, read)))
            self._tokenizer.encode_special_tokens = self.split_special_tokens
        self.add_prefix_space = self._puts_space
        self.init_kwargs["add_prefix_space"] = self.add_prefix_space
        self.init_kwargs["added_special_tokens"] = self.added_special_tokens

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Return arguments with which `__init__` loads the whole `tokenizer.json`, not only vocabulary and merges."""
        return super().convert_to_native_format(trust_remote_code=True, **kwargs)

    @property
    def _auto_class(self) -> str | None:  # type: ignore[override]
        # without added special tokens, transformers' own class gives the same results, and needs no trust_remote_code
        return "AutoTokenizer" if self.carries_code and self.added_special_tokens else None

    def _add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        trained = {token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special}
        added = []
        for token in new_tokens:
            token = token if isinstance(token, AddedToken) else AddedToken(token)
            if token.content in trained:
                continue
            if (special_tokens or token.special) and token.content not in self.added_special_tokens:
                self.added_special_tokens.append(token.content)
            # special=False, because with `split_special_tokens` the backend splits every token marked as special.
            # normalized=True, because the normalizer would otherwise put a space before each text that follows an added
            # token.
            strips = {"single_word": token.single_word, "lstrip": token.lstrip, "rstrip": token.rstrip}
            added.append(AddedToken(token.content, special=False, normalized=True, **strips))
        if self._puts_space:
            # `add_tokens` of the backend normalizes the text of each token, so the normalizer is set first
            self._tokenizer.normalizer = _space_unless([*self._read_tokens(), *added])
        return self._tokenizer.add_tokens(added)

    @property
    def _puts_space(self) -> bool:
        normalizer = self._tokenizer.normalizer
        return normalizer is not None and _PREPEND in _steps(json.loads(normalizer.__getstate__()), "normalizers")

    def _read_tokens(self) -> list[AddedToken]:
        """Return the added tokens that the backend finds in a text, without special tokens if these are split."""
        tokens = self._tokenizer.get_added_tokens_decoder().values()
        return [token for token in tokens if not (token.special and self.split_special_tokens)]

    def train_new_from_iterator(self, *args: Any, **kwargs: Any) -> Any:
        """Train a tokenizer with the same pipeline on other texts, as in transformers."""
        model = json.loads(self._tokenizer.to_str())["model"]
        if model["type"] == "WordPiece":  # transformers passes this option of the model to the trainers of BPE only
            kwargs.setdefault("continuing_subword_prefix", model["continuing_subword_prefix"])
        new: Any = super().train_new_from_iterator(*args, **kwargs)
        if model["type"] == "Unigram":
            _lower_special_tokens(new._tokenizer)
        return new

    def _encode_plus(self, *args: Any, is_split_into_words: bool = False, **kwargs: Any) -> BatchEncoding:
        if is_split_into_words and not self.add_prefix_space:
            raise ValueError(
                "The text is split into words, but this tokenizer puts no space before a word, so the words would get "
                "other pieces than in a text: load the tokenizer with from_pretrained(..., add_prefix_space=True)."
            )
        options: Any = {**kwargs, "is_split_into_words": is_split_into_words}
        return super()._encode_plus(*args, **options)

    def _decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> str:
        if isinstance(token_ids, dict):
            token_ids = token_ids["input_ids"]
        if skip_special_tokens and self.added_special_tokens:
            skipped = {self._tokenizer.token_to_id(token) for token in self.added_special_tokens}
            token_ids = [i for i in ([token_ids] if isinstance(token_ids, int) else token_ids) if i not in skipped]
        return super()._decode(token_ids, skip_special_tokens, clean_up_tokenization_spaces, **kwargs)


def _lower_special_tokens(backend: Tokenizer) -> None:
    """Set the scores of special tokens below any segmentation of the same characters into ordinary pieces.

    The trainer gives special tokens the probability 1, so text that spells one would be encoded as this token.
    """
    model = json.loads(backend.to_str())["model"]
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    lowest = min(score for piece, score in model["vocab"] if piece not in special)
    vocab = [(piece, lowest * (len(piece) + 1) if piece in special else score) for piece, score in model["vocab"]]
    backend.model = models.Unigram(vocab, model["unk_id"])


def _steps(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """Return the list of steps in a section of `tokenizer.json`, which is None, one step, or a `Sequence` of steps."""
    return [] if part is None else part[name] if part["type"] == "Sequence" else [part]


def _space_unless(read: Iterable[AddedToken]) -> normalizers.Normalizer:
    """Return a normalizer that puts a space before a text, unless the text begins with one of the tokens in `read`."""
    spelled = "|".join(re.escape(token.content) + (r"(?!\w)" if token.single_word else "") for token in read)
    space = normalizers.Prepend(" ")
    if not spelled:
        return space
    return normalizers.Sequence([space, normalizers.Replace(Regex(rf"\A (?={spelled})"), "")])


def _with_prefix_space(pipeline: dict[str, Any], read: list[AddedToken] | None) -> dict[str, Any]:
    """Return the content of `tokenizer.json` with the prefix space switched on or off.

    Args:
        pipeline: the present content of `tokenizer.json`.
        read: the added tokens before which no space is put; None switches the prefix space off.
    """
    puts_space = read is not None
    decoders = [step for step in _steps(pipeline["decoder"], "decoders") if step != _STRIP]
    processors = [
        {**step, "add_prefix_space": puts_space} if step["type"] == "ByteLevel" else step
        for step in _steps(pipeline["post_processor"], "processors")
    ]
    names = {token.content for token in read or ()}
    return {
        **pipeline,
        "normalizer": None if read is None else json.loads(_space_unless(read).__getstate__()),
        "decoder": {"type": "Sequence", "decoders": [*decoders, *([_STRIP] if puts_space else [])]},
        "post_processor": {"type": "Sequence", "processors": processors},
        # normalized=True: otherwise the normalizer would put a space before each piece of text after an added token
        "added_tokens": [
            {**token, "normalized": True} if token["content"] in names else token for token in pipeline["added_tokens"]
        ],
    }
