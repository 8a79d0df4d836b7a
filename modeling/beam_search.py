# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Beam search without sampling, which gives the results of transformers' `GenerationMixin._beam_search` in less time.

If the vocabulary is large, a step first finds the maximum log-probability of each group of tokens, and then looks for
the best continuations only in the best groups and among the last tokens, which are in no group. A step stores for each
new beam the index of the beam that the new beam continues, and may remove finished sentences from the batch. At the end
of the search, the sequences are put together by following these indices backwards.
"""

import math
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.generation import (
    EosTokenCriteria,
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    StoppingCriteriaList,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from .cache_names import CACHE
from .stack_inputs import self_attention_cache

# The logits processors that the loop supports. Their effect on a row depends on the tokens of this row only, so that
# other rows can be removed
_PROCESSORS = {
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
}

# Finished sentences are removed from the batch once they are at least this share of the batch, and not one by one,
# because each removal copies the cache
_LEAST_DONE = 1 / 8

# Added to a score to rule a beam or a continuation out: at the start, to all beams of a sentence but the first, because
# they are identical; in each step, to the continuations that end a sequence
_UNLIKELY = -1e9

# The number of tokens in a group of the vocabulary; a step first finds the maximum log-probability of each group
_GROUP = 64


def search_beams(
    model: Any,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    model_kwargs: dict[str, Any],
) -> torch.Tensor | None:
    """Return the sequences that `beam_search` finds, or None if `beam_search` does not support the arguments.

    `beam_search` returns sequences only, does not sample, has no `low_memory` mode, and supports the logits processors
    in `_PROCESSORS` and the stopping criteria that transformers makes for `max_length` and `eos_token_id`. The
    vocabulary must have at least as many tokens as the number of continuations that a step chooses for a sentence.
    """
    ends = generation_config._eos_token_tensor  # generate() sets this attribute
    for criterion in stopping_criteria:
        is_length = type(criterion) is MaxLengthCriteria and criterion.max_length == generation_config.max_length
        is_end = type(criterion) is EosTokenCriteria and criterion.eos_token_id is ends
        if not (is_length or is_end):
            return None
    is_plain = not (
        generation_config.do_sample or generation_config.return_dict_in_generate or generation_config.low_memory
    )
    known = all(type(processor) in _PROCESSORS for processor in logits_processor)
    if not (is_plain and known and model.config.vocab_size >= _width(generation_config)):
        return None
    return beam_search(model, input_ids, logits_processor, generation_config, model_kwargs)[0]


def _width(generation_config: GenerationConfig) -> int:
    """The number of continuations that a step chooses for a sentence; at least `num_beams` of them add no end token."""
    ends = generation_config._eos_token_tensor
    return max(2, 1 + (0 if ends is None else len(ends))) * generation_config.num_beams


@torch.no_grad()
def beam_search(
    model: Any,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    generation_config: GenerationConfig,
    model_kwargs: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Search for the sequences with the highest score.

    The score is the log-probability of the generated tokens, divided by their number to the power of `length_penalty`.

    Args:
        model: a model with `generate()`.
        input_ids: prompts `(sentences · beams, length)`, the same for all beams of a sentence.
        logits_processor: logits processors that `search_beams` accepts.
        generation_config: the generation config that `generate()` of transformers has prepared.
        model_kwargs: arguments of the model's `prepare_inputs_for_generation`.

    Returns:
        Sequences `(sentences · num_return_sequences, length)`, the best sequence of each sentence first, and their
        scores.
    """
    search = BeamSearch(input_ids, logits_processor, generation_config)
    step = 1 if model_kwargs["use_cache"] else None
    outputs = model._prefill(
        input_ids, generation_config, model_kwargs, is_first_iteration=not generation_config.is_assistant
    )
    while True:
        model_kwargs = model._update_model_kwargs_for_generation(
            outputs, model_kwargs, is_encoder_decoder=model.config.is_encoder_decoder
        )
        search.extend(outputs.logits[:, -1])
        del outputs  # frees the logits, which an encoder–decoder computes for each token of a decoder prompt
        if search.is_over:
            return search.best()
        model_kwargs = search.reorder(model_kwargs)
        inputs = model.prepare_inputs_for_generation(search.sequences, next_sequence_length=step, **model_kwargs)
        outputs = model(**inputs, return_dict=True)


class BeamSearch:
    """Runs the steps of a beam search. The rows of the batch are the beams of sentence 0, of sentence 1, and so on.

    Args:
        input_ids, logits_processor, generation_config: as in `beam_search`.

    Attributes:
        sequences: the tokens of the running beams, `(rows, length)`.
        is_over: whether the search has finished for all sentences.
    """

    def __init__(
        self, input_ids: torch.Tensor, logits_processor: LogitsProcessorList, generation_config: GenerationConfig
    ):
        self.options = generation_config
        self.processors: Any = logits_processor
        self.beams = generation_config.num_beams
        ends = generation_config._eos_token_tensor
        # the ids of the tokens that end a sequence, `(tokens,)`
        self.ends = input_ids.new_empty(0) if ends is None else ends
        self.prompts = self.sequences = input_ids
        self.is_over = False
        self.length = 0  # number of generated tokens
        self.last_length = generation_config.max_length - input_ids.shape[1]

        sentences, device = len(input_ids) // self.beams, input_ids.device
        self.sentences = torch.arange(sentences, device=device)
        self.is_done = torch.zeros(sentences, dtype=torch.bool, device=device)
        # the scores of the running beams
        self.scores = torch.full((sentences, self.beams), _UNLIKELY, dtype=torch.float32, device=device)
        self.scores[:, 0] = 0.0
        # for each step, the rows that the new beams continue, and the tokens that the step adds to these rows
        self.history: list[tuple[torch.Tensor, torch.Tensor]] = []
        # `ended_scores`: the scores of the best ended sequences of each sentence, best first. `ended`: for each of
        # these sequences, its last step, the row that this step continued, and its last token
        self.ended_scores = torch.full_like(self.scores, -math.inf)
        self.ended = torch.zeros(sentences, self.beams, 3, dtype=torch.long, device=device)
        # one tuple for each time that sentences were removed from the batch: the indices of these sentences, and their
        # entries of `ended_scores` and `ended`
        self.results: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.kept: torch.Tensor | None = None  # indices of the sentences that stay in the batch; None if all stay

    def extend(self, logits: torch.Tensor) -> None:
        """Continue the beams by one token, and update the running beams, the ended sequences and `is_over`.

        Args:
            logits: the logits of the next tokens, `(rows, vocabulary)`.
        """
        log_probs = logits.to(self.scores.device, torch.float32).log_softmax(-1)
        log_probs = self.processors(self.sequences, log_probs)
        scores, rows, tokens = best_continuations(log_probs, self.scores, _width(self.options))
        is_last = self.length + 1 == self.last_length
        is_end = torch.isin(tokens, self.ends) | is_last
        self._end(scores, rows, tokens, is_end)
        self.length += 1
        if is_last:
            self.is_over = True
            return
        self.scores, order = (scores + is_end * _UNLIKELY).topk(self.beams)
        rows, tokens = rows.gather(1, order).flatten(), tokens.gather(1, order).flatten()
        self.history.append((rows, tokens))
        self.sequences = torch.cat([self.sequences.index_select(0, rows), tokens[:, None]], dim=1)
        self._stop()

    def _end(self, scores: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor, is_end: torch.Tensor) -> None:
        """Update the ended sequences with the continuations that end a sequence.

        A continuation counts if it is among the `num_beams` best of its sentence, and if the search for this sentence
        is not done.
        """
        counts = is_end[:, : self.beams] & ~self.is_done[:, None]
        new_scores = scores[:, : self.beams] / (self.length + 1) ** self.options.length_penalty
        new_scores = new_scores.masked_fill(~counts, -math.inf)
        step = torch.full_like(tokens, self.length)
        new = torch.stack([step, rows, tokens], dim=-1)[:, : self.beams]
        self.ended_scores, order = torch.cat([self.ended_scores, new_scores], 1).topk(self.beams)
        self.ended = torch.cat([self.ended, new], 1).gather(1, order[..., None].expand(-1, -1, 3))

    def _stop(self) -> None:
        """Set `is_done` for each sentence whose search can stop by transformers' rule for `early_stopping`.

        Then set `is_over` if the search can stop for all sentences, and set `kept` to the indices of the sentences that
        stay in the batch, or to None if all sentences stay.
        """
        early_stopping, penalty = self.options.early_stopping, self.options.length_penalty
        longest = self.last_length if early_stopping == "never" and penalty > 0 else self.length
        worst = self.ended_scores[:, -1]
        self.is_done = self.is_done | ~(self.scores[:, 0] / longest**penalty > worst)
        if early_stopping is True:
            self.is_done = self.is_done | (worst > -math.inf)
        done = int(self.is_done.sum())
        self.is_over = done == len(self.is_done)
        self.kept = None
        if not self.is_over and done >= _LEAST_DONE * len(self.is_done):
            self.kept = (~self.is_done).nonzero().squeeze(1)

    def reorder(self, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Reorder the cache for the new beams, and remove the sentences that are not in `kept` from the batch.

        Each new beam gets the cached keys and values of the beam that it continues. No sentence is removed if there is
        a cache that is no `DynamicCache`. The result is `model_kwargs` for the remaining rows.
        """
        cache: Any = self_attention_cache(model_kwargs.get(CACHE))
        # a static cache has a fixed number of rows
        if self.kept is not None and (cache is None or type(cache) is DynamicCache):
            model_kwargs = self._leave(self.kept, model_kwargs)
        if cache is not None:
            cache.reorder_cache(self.history[-1][0])
        return model_kwargs

    def _leave(self, kept: torch.Tensor, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Remove all sentences whose indices are not in `kept` from the batch, and store their ended sequences.

        The result is `model_kwargs` for the remaining rows.
        """
        sentences = len(self.is_done)
        done = self.is_done.nonzero().squeeze(1)
        self.results.append((self.sentences[done], self.ended_scores[done], self.ended[done]))
        for name in ("sentences", "is_done", "scores", "ended_scores", "ended"):
            setattr(self, name, getattr(self, name)[kept])
        kept_rows = (kept[:, None] * self.beams + torch.arange(self.beams, device=kept.device)).flatten()
        rows, tokens = self.history[-1]
        self.history[-1] = rows[kept_rows], tokens[kept_rows]
        self.sequences = self.sequences[kept_rows]

        indices = {sentences: kept, sentences * self.beams: kept_rows}
        left = {name: _select(value, indices) for name, value in model_kwargs.items()}
        cache = model_kwargs.get(CACHE)
        if isinstance(cache, EncoderDecoderCache):
            layers = cache.cross_attention_cache.layers
            cache.cross_attention_cache.reorder_cache(indices[layers[0].keys.shape[0]])  # type: ignore[union-attr]
        return left

    def best(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the best sequences of each sentence and their scores, in the shapes that `beam_search` returns."""
        parts = zip(*self.results, (self.sentences, self.ended_scores, self.ended), strict=True)
        sentences, scores, ended = (torch.cat(part) for part in parts)
        order, returned = sentences.argsort(), self.options.num_return_sequences
        scores, ended = (found[order, :returned].flatten(0, 1) for found in (scores, ended))
        return self._follow(*ended.unbind(-1)), scores

    def _follow(self, step: torch.Tensor, row: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """Put ended sequences together, with their prompts, by following the continued rows back from the last step.

        Args:
            step, row, token: for each sequence, its last step, the row that this step continued, and its last token.
        """
        pad, ends = self.options._pad_token_tensor, self.ends
        # the token that fills up short sequences: as in transformers, the first end token if pad_token_id is None or 0
        filler = int(pad or ends[0]) if len(ends) else -1
        length = int(step.max()) + 1
        found = torch.full((len(step), length), filler, device=step.device)
        found.scatter_(1, step[:, None], token[:, None])
        for place in reversed(range(length - 1)):
            rows, tokens = self.history[place]
            is_before = step > place
            index = torch.where(is_before, row, 0)
            found[:, place] = torch.where(is_before, tokens[index], found[:, place])
            row = torch.where(is_before, rows[index], row)
        return torch.cat([self.prompts[row], found], dim=1)


def _select(value: Any, indices: dict[int, torch.Tensor]) -> Any:
    """Return the rows of one argument of the model that stay in the batch.

    Args:
        value: a tensor, an encoder's output, or another value, which is returned as it is.
        indices: a dict from the number of rows of a tensor to the indices of the rows that stay. A tensor with another
            number of rows is returned as it is.
    """
    if isinstance(value, ModelOutput):
        return BaseModelOutput(_select(value[0], indices))
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or len(value) not in indices:
        return value
    return value.index_select(0, indices[len(value)].to(value.device))


def best_continuations(
    log_probs: torch.Tensor, scores: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find, for each sentence, the `count` continuations by one token that have the best scores, best first.

    Args:
        log_probs: the log-probability of each token after each beam, `(sentences · beams, vocabulary)`.
        scores: the scores of the beams, `(sentences, beams)`, to which the log-probabilities are added.
        count: the number of continuations of a sentence.

    Returns:
        The scores, the continued rows and the tokens of the continuations, each `(sentences, count)`.
    """
    (sentences, beams), vocabulary = scores.shape, log_probs.shape[1]
    first_rows = torch.arange(sentences, device=scores.device)[:, None] * beams
    if vocabulary < _GROUP * count:
        found, index = (log_probs + scores.view(-1, 1)).view(sentences, -1).topk(count)
        return found, index // vocabulary + first_rows, index % vocabulary
    # the best tokens are in the groups with the best maxima, or among the last tokens, which are in no group
    groups = vocabulary // _GROUP
    grouped = groups * _GROUP
    maxima = log_probs[:, :grouped].unflatten(1, (groups, _GROUP)).amax(2)
    chosen = (maxima + scores.view(-1, 1)).view(sentences, -1).topk(count).indices
    rows = (chosen // groups + first_rows).repeat_interleave(_GROUP, 1)
    tokens = ((chosen % groups)[..., None] * _GROUP + torch.arange(_GROUP, device=scores.device)).flatten(1)
    if grouped < vocabulary:
        others = torch.arange(grouped, vocabulary, device=scores.device)
        other_rows = torch.arange(beams, device=scores.device).repeat_interleave(len(others)) + first_rows
        rows = torch.cat([rows, other_rows], 1)
        tokens = torch.cat([tokens, others.expand(sentences, beams, -1).flatten(1)], 1)
    found, index = (log_probs[rows, tokens] + scores.view(-1)[rows]).topk(count)
    return found, rows.gather(1, index), tokens.gather(1, index)
