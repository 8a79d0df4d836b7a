# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Translating and scoring text with any sequence-to-sequence model of transformers.

Sentences are sorted by length and batched, the longest first: if memory is too small, the first batch fails already,
and the progress bar (on standard error) does not underestimate the time left. Results are in the order of the input.
Scores are computed from natural logarithms of probabilities.
"""

import difflib
import math
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import ADAPTER_CONFIG_NAME, CONFIG_NAME

from locant.checkpoints.checkpoint_files import CheckpointError
from locant.checkpoints.load_checks import check_settings
from locant.configuration import LocantConfig
from locant.modeling.loss import token_losses
from locant.utils.errors import first_line, reason_of
from locant.utils.files import atomic_write
from locant.utils.paths import looks_like_path

from .errors import InputError
from .run.run_folder import explain_unfinished, holds_unfinished_run

IGNORED = -100
LONG = 512
"""A batch that has a sentence of more than `LONG` tokens has fewer sentences, so that the batch fits into memory."""

_LOAD_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)
"""Errors that `from_pretrained` raises for a model, tokenizer or processor that does not load."""


@dataclass(frozen=True)
class Translation:
    """A translation, and its score as `translate_stream` defines it; the score is None with `with_scores=False`."""

    text: str
    score: float | None


@dataclass(frozen=True)
class SentenceScore:
    """The log-probability (natural logarithm) that a model gives a target, and the log-probabilities of its tokens.

    `tokens` are spelled as in the vocabulary of the tokenizer. They include the special tokens that the tokenizer adds
    to a target; for Locant's tokenizers, this is the end-of-sentence token at the end.
    """

    log_probability: float
    tokens: list[str]
    token_log_probabilities: list[float]


class EvaluationRow(NamedTuple):
    """One sentence of an evaluated split; `sentence_bleu` is on the 0-100 scale."""

    source: str
    reference: str
    translation: str
    sentence_bleu: float


def load(
    model_path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    auto_class: Any = AutoModelForSeq2SeqLM,
    processor_class: Any = AutoTokenizer,
) -> tuple[PreTrainedModel, Any]:
    """Load a model, in evaluation mode, and its tokenizer or processor from a folder or a repository on the Hub.

    Args:
        model_path: the folder, or the name of the repository; a name that looks like a path is not sought on the Hub.
        device: the device of the model; by default the accelerator, such as cuda or mps, if there is one, else the CPU.
        auto_class: the Auto class of the model; the default is the Auto class for translation.
        processor_class: the Auto class of the tokenizer or processor.

    Raises:
        InputError: the folder does not exist or holds an unfinished run, the model or processor does not load, or the
            device cannot be used.
    """
    check_folder(model_path)
    try:
        processor = processor_class.from_pretrained(model_path)
        if auto_class is AutoModelForSeq2SeqLM:
            _check_reads_and_writes_text(model_path)
        model = auto_class.from_pretrained(model_path)
    except (*_LOAD_ERRORS, StrictDataclassError) as error:
        reason = _reason(error, model_path)
        kind = "a sequence-to-sequence model" if auto_class is AutoModelForSeq2SeqLM else auto_class.__name__
        what = "tokenizer" if processor_class is AutoTokenizer else "processor"
        raise InputError(
            f"{model_path} does not load as {kind} with its {what} ({reason}): "
            "give a folder, or the name of a repository on the Hugging Face Hub, to which both were saved."
        ) from error
    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    try:
        return model.to(device).eval(), processor
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"Device {device} cannot be used here ({first_line(error)}): give another device, such as cpu."
        ) from error


def _reason(error: Exception, model_path: str | os.PathLike[str]) -> str:
    """Return in one line why a model does not load: the fault of a JSON file of it, or else the reason in `error`."""
    try:
        check_settings(Path(model_path))
    except CheckpointError as fault:
        return str(fault).rstrip(".")
    return reason_of(error)


def _check_reads_and_writes_text(model_path: str | os.PathLike[str]) -> None:
    """Raise `ValueError` if `model_path` holds a Locant model that is not an encoder–decoder, or that reads images.

    The Auto class would load even a model that has only an encoder or a decoder, and initialise the missing weights.
    """
    try:
        saved, _ = PreTrainedConfig.get_config_dict(model_path)
    except OSError:  # a folder that holds only an adapter has no config.json
        return
    if saved.get("model_type") == LocantConfig.model_type:
        config = LocantConfig.from_dict(saved)
        if not config.is_encoder_decoder:
            raise ValueError("the model is no encoder–decoder, so use locant predict")
        if config.encoder_input != "tokens":
            raise ValueError("the model reads images, so use locant predict")


def translate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Iterable[str], **options: Any
) -> list[list[Translation]]:
    """Return, for each of `sentences`, the list of translations that `translate_stream` yields for it.

    `options` are keyword arguments of `translate_stream`, except `chunk_size`: all sentences form one chunk.
    """
    sentences = list(sentences)
    return list(translate_stream(model, tokenizer, sentences, chunk_size=max(1, len(sentences)), **options))


def translate_stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lines: Iterable[str],
    *,
    batch_size: int = 32,
    chunk_size: int | None = None,
    source_prefix: str = "",
    num_return_sequences: int = 1,
    with_scores: bool = True,
    show_progress: bool = True,
    **generate_kwargs: Any,
) -> Iterator[list[Translation]]:
    """Yield the `num_return_sequences` translations of each line, while `lines` is being read.

    Beam search yields the translations of a line in descending order of score; sampled translations are in no order.

    The lines are processed in chunks of `chunk_size` lines (by default 64 batches): a chunk is read, sorted by length
    and translated. Line breaks at the end of a line are removed. A blank line is not given to the model: its
    translations are empty texts with score 0, or None with `with_scores=False`.

    `generate_kwargs` take precedence over the generation config that is saved with the model. If neither limits
    the length, a translation has at most 2 n + 10 tokens, where n is the number of tokens of the longest source in the
    batch. If the decoder of a Locant model has a learned position table, `max_new_tokens` is lowered to at most the
    size of the table.

    The score of a beam search is the log-probability of the tokens, with the end-of-sentence token, divided by (the
    number of tokens) ** length_penalty. The score of greedy search and sampling is the log-probability of the tokens,
    not divided, and computed without temperature, top-k and other changes of the logits. For the scores, `generate`
    keeps a tensor over the vocabulary for every step, which can take gigabytes; with `with_scores=False` it does not.

    Raises `InputError` if a source is longer than the learned position table of a Locant model's encoder, or if
    `num_return_sequences` is larger than the search can return.
    """
    _check_num_return_sequences(model, num_return_sequences, generate_kwargs)
    model.eval()
    generate_kwargs |= {"num_return_sequences": num_return_sequences, "return_dict_in_generate": with_scores}
    if with_scores:
        beam = (_setting(model, generate_kwargs, "num_beams") or 1) > 1
        generate_kwargs["output_scores" if beam else "output_logits"] = True

    total = len(lines) if isinstance(lines, Sized) else None
    lines, done = (line.rstrip("\r\n") for line in lines), 0
    with tqdm(total=total, desc="translating", unit=" sentences", disable=not show_progress) as progress:
        while chunk := list(islice(lines, chunk_size or 64 * batch_size)):
            nothing = [Translation("", 0.0 if with_scores else None)] * num_return_sequences
            translations = [nothing] * len(chunk)
            filled = [i for i, line in enumerate(chunk) if line.strip()]
            progress.update(len(chunk) - len(filled))
            sources = _encode(tokenizer, [source_prefix + chunk[i] for i in filled])
            _check_positions(model, "source", sources, [done + i + 1 for i in filled])
            for batch in _batches([len(source) for source in sources], batch_size):
                found = _generate(model, tokenizer, [sources[j] for j in batch], generate_kwargs)
                for j, alternatives in zip(batch, found, strict=True):
                    translations[filled[j]] = alternatives
                progress.update(len(batch))
            yield from translations
            done += len(chunk)


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    batch_size: int = 32,
    source_prefix: str = "",
    show_progress: bool = True,
) -> list[SentenceScore]:
    """Compute the log-probability of each target as the translation of its source, by teacher forcing.

    Raises `ValueError` if the numbers of sources and targets differ, and `InputError` if a source or target is longer
    than the learned position table of a Locant model's encoder or decoder.
    """
    model.eval()
    source_ids = _encode(tokenizer, [source_prefix + source for source in sources])
    target_ids = _encode(tokenizer, targets, target=True)
    numbers = range(1, len(sources) + 1)
    _check_positions(model, "source", source_ids, numbers)
    _check_positions(model, "target", target_ids, numbers)

    scores: dict[int, SentenceScore] = {}
    lengths = [max(len(source), len(target)) for source, target in zip(source_ids, target_ids, strict=True)]
    with tqdm(total=len(sources), desc="scoring", unit=" sentences", disable=not show_progress) as progress:
        for batch in _batches(lengths, batch_size):
            found = _log_probabilities(model, [source_ids[i] for i in batch], [target_ids[i] for i in batch])
            for i, values in zip(batch, found, strict=True):
                tokens = list(tokenizer.convert_ids_to_tokens(target_ids[i]))
                scores[i] = SentenceScore(math.fsum(values), tokens, values)
            progress.update(len(batch))
    return [scores[i] for i in range(len(sources))]


def evaluate_split(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    batch_size: int = 32,
    source_prefix: str = "",
    show_progress: bool = True,
    **generate_kwargs: Any,
) -> tuple[dict[str, Any], list[EvaluationRow]]:
    """Translate `sources` and compare the translations with `references`.

    No sentence is left out. Raises `InputError` if there are no sources, or if a source or reference is longer than the
    learned position table of a Locant model's encoder or decoder, and `ValueError` if the numbers of sources and
    references differ.

    Returns:
        A dictionary of metrics, and a row for each sentence. The metrics are those of `translation_metrics`, `loss`
        (the mean negative log-probability of the tokens of the references, in nats, without label smoothing),
        `perplexity` (the exponential of `loss`), and `sentences` (the number of sentences).
    """
    # imported here, because only evaluation needs sacrebleu
    from .tasks.translation_metrics import perplexity, sentence_bleu, translation_metrics

    options: dict[str, Any] = {
        "batch_size": batch_size,
        "source_prefix": source_prefix,
        "show_progress": show_progress,
    }
    scores = score(model, tokenizer, sources, references, **options)
    found = translate(model, tokenizer, sources, with_scores=False, **options, **generate_kwargs)
    translations = [one_line(best.text) for best, *_ in found]
    metrics = translation_metrics(translations, references)
    loss = -math.fsum(s.log_probability for s in scores) / sum(len(s.tokens) for s in scores)
    bleus = sentence_bleu(translations, references)["scores"]
    rows = [EvaluationRow(*row) for row in zip(sources, references, translations, bleus, strict=True)]
    return {**metrics, "loss": loss, "perplexity": perplexity(loss), "sentences": len(rows)}, rows


def one_line(text: str) -> str:
    """Join the lines of `text` with spaces, for output with one sentence in each line."""
    return " ".join(text.splitlines())


def write_tsv(path: str | os.PathLike[str], rows: Iterable[Any]) -> None:
    """Write named tuples as a TSV file in UTF-8; the file appears, or replaces an older file, when it is complete."""
    with atomic_write(path) as unfinished, open(unfinished, "w", encoding="utf-8", newline="\n") as file:
        print_tsv(rows, file)


def print_tsv(rows: Iterable[Any], file: TextIO) -> None:
    """Write named tuples as TSV to an open file, with the names of their fields in the first line and without quoting.

    A tab or line break inside a text becomes a space, and a float gets two decimals.
    """
    for number, row in enumerate(rows):
        if number == 0:
            print(*row._fields, sep="\t", file=file)
        print(*map(_field, row), sep="\t", file=file)


def _field(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else one_line(str(value)).replace("\t", " ")


def check_folder(name: str | os.PathLike[str]) -> None:
    """Raise `InputError` if `name` looks like a path but is not a folder, or if the folder holds no finished model.

    The message for an unfinished run names a checkpoint that can be used, if the run has a checkpoint. The message for
    a folder without the config of a model or of an adapter names a folder inside it that has the config of a model, if
    there is one within two levels.
    """
    is_in_folder = "/" in os.fspath(name) and os.path.isdir(os.path.dirname(name))
    if (looks_like_path(name) or is_in_folder) and not os.path.isdir(name):
        if os.path.isfile(name):
            raise InputError(f"{name} is a file: give the folder that a model was saved to.")
        parent = Path(name).parent
        folders = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
        nearest = difflib.get_close_matches(Path(name).name, folders, n=1)
        hint = f"did you mean {parent / nearest[0]}?" if nearest else "give the folder that a model was saved to."
        raise InputError(f"There is no folder {name}: {hint}")
    if holds_unfinished_run(Path(name)):
        raise InputError(explain_unfinished(Path(name)))
    folder = Path(name)
    if folder.is_dir() and not any((folder / config).exists() for config in (CONFIG_NAME, ADAPTER_CONFIG_NAME)):
        levels = ("[!.]*", "[!.]*/[!.]*")  # without hidden folders
        inside = [file.parent for level in levels for file in sorted(folder.glob(f"{level}/{CONFIG_NAME}"))]
        hint = f"did you mean {inside[0]}?" if inside else "give the folder that a model was saved to."
        raise InputError(f"{name} has no {CONFIG_NAME}, so it holds no model: {hint}")


def _setting(model: PreTrainedModel, generate_kwargs: dict[str, Any], name: str) -> Any:
    """Return the value that `generate` uses for `name`: from `generate_kwargs`, or else from the generation config."""
    config = generate_kwargs.get("generation_config") or model.generation_config
    return generate_kwargs.get(name, getattr(config, name))


def _check_num_return_sequences(model: PreTrainedModel, number: int, generate_kwargs: dict[str, Any]) -> None:
    beams = _setting(model, generate_kwargs, "num_beams") or 1
    if number > beams and (beams > 1 or not _setting(model, generate_kwargs, "do_sample")):
        raise InputError(
            f"{number} translations of a sentence cannot come from a search with num_beams {beams}: "
            f"ask for at most {beams}, or give num_beams {number} or more."
        )


def position_limit(model: PreTrainedModel, side: str) -> int | None:
    """Return the size of the learned position table of the encoder (`source`) or decoder (`target`) of a Locant model.

    The result is None for a stack without such a table, and for models of other families.
    """
    stack = model.get_encoder() if side == "source" else model.get_decoder()
    return getattr(getattr(stack, "position", None), "limit", None)


def smallest(*limits: int | None) -> int | None:
    """Return the smallest of the limits that are not None; None if all of them are None."""
    return min((limit for limit in limits if limit is not None), default=None)


def _check_positions(
    model: PreTrainedModel, side: str, sequences: Sequence[Sequence[int]], line_numbers: Iterable[int]
) -> None:
    limit = position_limit(model, side)
    for number, sequence in zip(line_numbers, sequences, strict=True):
        if limit is not None and len(sequence) > limit:
            raise InputError(
                f"Line {number} of the {side} has {len(sequence)} tokens, but the model's position table ends at "
                f"{limit}: split the line, or use a model whose position encoding has no table."
            )


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], target: bool = False) -> list[list[int]]:
    if not texts:
        return []
    return tokenizer(**{"text_target" if target else "text": list(texts)})["input_ids"]


def _batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield batches of indices into `lengths`, in descending order of length.

    A batch has `batch_size` indices, or fewer if its largest length is above `LONG`; the last batch may have fewer too.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, min(batch_size, batch_size * LONG // max(1, lengths[order[start]])))
        yield order[start : start + size]
        start += size


def _pad(sequences: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Pad sequences of ids on the right with `value`, to a tensor (batch, longest)."""
    return pad_sequence([torch.tensor(ids) for ids in sequences], batch_first=True, padding_value=value)


def _source_inputs(model: PreTrainedModel, sources: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Return `input_ids` and `attention_mask`, both (batch, longest source), on the model's device."""
    mask = _pad([[1] * len(source) for source in sources], 0)
    return {
        "input_ids": _pad(sources, model.config.pad_token_id).to(model.device),
        "attention_mask": mask.to(model.device),
    }


# no_grad instead of inference_mode, as training may later use buffers that the model enlarges during this call
@torch.no_grad()
def _generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[Sequence[int]],
    generate_kwargs: dict[str, Any],
) -> list[list[Translation]]:
    """Translate one batch, and return a list of translations for each source."""
    limit = new_tokens_limit(model, len(max(sources, key=len)), generate_kwargs)
    outputs = model.generate(**_source_inputs(model, sources), **{**generate_kwargs, **limit})
    sequences = outputs if isinstance(outputs, torch.Tensor) else outputs.sequences
    texts = tokenizer.batch_decode(sequences, skip_special_tokens=True)
    found = [Translation(*pair) for pair in zip(texts, _scores(model, outputs, generate_kwargs), strict=True)]
    size = len(found) // len(sources)
    return [found[start : start + size] for start in range(0, len(found), size)]


def new_tokens_limit(model: PreTrainedModel, source_length: int, generate_kwargs: dict[str, Any]) -> dict[str, int]:
    """Return a dict with `max_new_tokens`, as an argument of `generate` for a batch of sources.

    `source_length` is the number of tokens of the longest source in the batch. The dict is empty if `max_length` is
    set, and `max_new_tokens` is not.
    """
    limit = _setting(model, generate_kwargs, "max_new_tokens")
    if limit is None and _setting(model, generate_kwargs, "max_length") is None:
        limit = 2 * source_length + 10
    table = position_limit(model, "target")
    if limit is not None and table is not None:
        limit = min(limit, table)
    return {} if limit is None else {"max_new_tokens": limit}


def _scores(model: Any, outputs: Any, generate_kwargs: dict[str, Any]) -> list[float | None]:
    """Return the score of each sequence, as `translate_stream` defines it; None if `generate` returned no scores."""
    if isinstance(outputs, torch.Tensor):
        return [None] * len(outputs)
    if outputs.get("sequences_scores") is not None:
        return outputs.sequences_scores.tolist()
    if outputs.logits is None:
        return [None] * len(outputs.sequences)
    steps = model.compute_transition_scores(outputs.sequences, outputs.logits, normalize_logits=True)
    ends = torch.tensor(_setting(model, generate_kwargs, "eos_token_id"), device=steps.device)
    is_end = torch.isin(outputs.sequences[:, -steps.shape[1] :], ends).long()
    # the tokens after the end token do not count
    return steps.masked_fill(is_end.cumsum(dim=1) > is_end, 0.0).sum(dim=1).tolist()


@torch.no_grad()
def _log_probabilities(
    model: Any, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> list[list[float]]:
    """Return, for each target of a batch, the list of the log-probabilities of its tokens."""
    if hasattr(model, "log_probabilities"):  # a model of another engine, such as CTranslate2
        return model.log_probabilities(sources, targets)
    labels = _pad(targets, IGNORED).to(model.device)
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels=labels)
    logits = model(**_source_inputs(model, sources), decoder_input_ids=decoder_input_ids, use_cache=False).logits
    losses = token_losses(logits, labels)
    return [(-row[: len(target)]).tolist() for row, target in zip(losses, targets, strict=True)]
