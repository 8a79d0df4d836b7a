# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The recipe of `locant train`: from parallel text to a translator that is measured and saved."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from accelerate.utils import broadcast_object_list
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from locant.modeling import LocantForConditionalGeneration
from locant.tokenization import BPEDropout, train_tokenizer

from .arguments import config_error
from .averaging import load_mean_weights
from .batching import TrainingPairs
from .config_parser import RunConfig
from .dry_run import print_dry_run
from .errors import InputError
from .history import EarlyStopping, HistoryWriter
from .inference import evaluate_split, position_limit, write_tsv
from .preprocessing import Dropped, check_lengths, drop_unusable_pairs, pair_lengths, tokenize_pairs
from .run_folder import RunFolder
from .text_data import count_overlap, load_parallel_data, numbered
from .trainer import TranslationMetrics, TranslationTrainer, by_length

# Fields of a trained model's config that fine-tuning may change: those that leave its weights as they are
FREE_IN_FINE_TUNING = ("dropout", "attention_dropout", "activation_dropout", "label_smoothing")


@dataclass
class Prepared:
    """What training works on: text and tokens of the splits, and what was counted on the way."""

    text: DatasetDict
    tokens: DatasetDict
    tokenizer: PreTrainedTokenizerBase
    summary: dict[str, Any]


def train(run: RunConfig) -> dict[str, Any]:
    """Train as `run` says, or go on where it stopped, and return what `metrics.json` then holds.

    The output folder gets the model, its tokenizer and generation config, `metrics.json`, the loss curve, the
    translations that were measured, and `run_config.yaml`.

    Raises:
        InputError: something that was given cannot be used; nothing was written then.
    """
    folder = RunFolder(run)
    text = load_text(run)
    folder.check_data(data_identity(text))
    if folder.is_finished() and not run.training.dry_run:
        _say(run, f"{folder.path} is finished already: a larger num_train_epochs goes on with it.")
        _report(run, folder.metrics())
        return folder.metrics()
    set_seed(run.training.seed)
    prepared = prepare(run, text, folder)
    model = build_model(run, prepared.tokenizer)
    _check_positions(model, prepared.tokens)
    if run.training.dry_run:
        if run.training.process_index == 0:
            print_dry_run(run.training, model, prepared.tokens)
        return prepared.summary
    trainer = build_trainer(run, prepared, model, folder)
    with folder.locked() if trainer.is_world_process_zero() else nullcontext():
        return fit(run, prepared, trainer, folder)


def fit(run: RunConfig, prepared: Prepared, trainer: TranslationTrainer, folder: RunFolder) -> dict[str, Any]:
    """Train to the end, then average, save and measure; the metrics in the main process, nothing in others."""
    last_checkpoint = folder.last_checkpoint()
    if trainer.is_world_process_zero():
        folder.claim(data_identity(prepared.text))
    if last_checkpoint is not None:
        _say(run, f"Going on from {last_checkpoint}")
    trainer.train(resume_from_checkpoint=run.training.resume_from_checkpoint or _path(last_checkpoint))
    trainer.accelerator.wait_for_everyone()  # the main process may still be saving
    if run.training.average_checkpoints:
        load_mean_weights(trainer.model, folder.checkpoints()[-run.training.average_checkpoints :])
    trainer.save_model()
    if not trainer.is_world_process_zero():
        return {}
    metrics = measure(run, prepared, trainer, folder)
    _report(run, metrics)
    return metrics


def load_text(run: RunConfig) -> DatasetDict:
    """The pairs of each split."""
    with run.training.main_process_first(desc="loading the data"):
        return load_parallel_data(**run.data.sources, seed=run.training.seed)


def data_identity(text: DatasetDict) -> dict[str, str]:
    """What tells other training and validation pairs from these: fingerprints of what they contain."""
    return {split: text[split]._fingerprint for split in ("train", "validation")}


def prepare(run: RunConfig, text: DatasetDict, folder: RunFolder) -> Prepared:
    """Train or load the tokenizer, tokenise, drop what training cannot use, and count."""
    tokenizer = build_tokenizer(run, text["train"], folder) if run.training.process_index == 0 else None
    tokenizer = broadcast_object_list([tokenizer])[0]
    with run.training.main_process_first(desc="tokenising"):
        tokens = tokenize_splits(run, text, tokenizer)
    tokens = DatasetDict({split: numbered(pairs) for split, pairs in tokens.items()})
    tokens["train"], dropped = drop_unusable_pairs(
        tokens["train"], run.data.max_source_length, run.data.max_target_length
    )
    summary = _summary(text, tokens, dropped, tokenizer)
    _say(run, _in_words(summary))
    return Prepared(text, tokens, tokenizer, summary)


def tokenize_splits(run: RunConfig, text: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> DatasetDict:
    """Text and tokens of every split."""
    tokens = {
        split: tokenize_pairs(
            pairs,
            tokenizer,
            source_prefix=run.data.source_prefix or "",
            num_proc=run.data.preprocessing_num_workers,
            keep_text=True,
            desc=f"Tokenising {split}",
        )
        for split, pairs in text.items()
    }
    return DatasetDict(tokens)


def build_tokenizer(run: RunConfig, train_text: Dataset, folder: RunFolder) -> PreTrainedTokenizerBase:
    """The tokenizer of the model to fine-tune, or the named one, or one trained on the training pairs."""
    name = run.model.model_name_or_path or run.data.tokenizer_name
    if name is None:
        # a run that is taken up again must not depend on its tokenizer being trained alike
        name = _path(folder.last_checkpoint())
    if name is not None:
        try:
            return AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise InputError(f"No tokenizer loads from {name}: give the folder or Hub name of one.") from error
    try:
        return train_tokenizer(
            (text for row in train_text for text in (row["source"], row["target"])),
            kind=run.data.tokenizer_kind,
            vocab_size=run.data.tokenizer_vocab_size,
            show_progress=not run.training.disable_tqdm,
        )
    except ValueError as error:
        raise InputError(
            f"No tokenizer can be trained with tokenizer_kind and tokenizer_vocab_size: {error}"
        ) from error


def build_model(run: RunConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The trained model to go on with, or a new one, with the generation config that will be saved."""
    if run.model.model_name_or_path is not None:
        model = _trained_model(run.model.model_name_or_path, run)
    else:
        config = run.model.make_config(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.bos_token_id,
        )
        try:
            model = LocantForConditionalGeneration._from_config(
                config, attn_implementation=run.model.attn_implementation
            )
        except (ImportError, KeyError, ValueError) as error:
            raise InputError(_first_line(error)) from error
    model.generation_config.update(**_search(run))
    return model


def _search(run: RunConfig) -> dict[str, Any]:
    """How the saved model searches: a trained one as it did, but for what was given."""
    search = {name: getattr(run.training, name) for name in ("num_beams", "length_penalty", "max_new_tokens")}
    if run.model.model_name_or_path is None:
        return search
    return {name: value for name, value in search.items() if name in run.given}


def _trained_model(name: str, run: RunConfig) -> PreTrainedModel:
    for option in run.model.overrides:
        if option not in FREE_IN_FINE_TUNING:
            raise InputError(
                f"{option} cannot be given with model_name_or_path, whose weights were made for another value: "
                f"only {', '.join(FREE_IN_FINE_TUNING)} can."
            )
    try:
        config = AutoConfig.from_pretrained(name)
        for option in run.model.overrides:
            if not hasattr(config, option):
                raise InputError(
                    f"{option} is no option of a {config.model_type} model, which {name} is: leave it out."
                )
        return AutoModelForSeq2SeqLM.from_pretrained(
            name,
            attn_implementation=run.model.attn_implementation,
            **run.model.overrides,
        )
    except InputError:
        raise
    except StrictDataclassError as error:
        raise config_error(error, run.model.overrides) from error
    except (ImportError, KeyError, OSError, ValueError) as error:
        raise InputError(f"No model loads from {name}: {_first_line(error)}") from error


def build_trainer(run: RunConfig, prepared: Prepared, model: PreTrainedModel, folder: RunFolder) -> TranslationTrainer:
    """The Trainer over the prepared pairs."""
    data, args = run.data, run.training
    pairs = TrainingPairs(
        prepared.tokens["train"],
        _bpe_dropout(run, prepared.tokenizer),
        source_prefix=data.source_prefix or "",
        max_source_length=_smaller(data.max_source_length, position_limit(model, "source")),
        max_target_length=_smaller(data.max_target_length, position_limit(model, "target")),
        seed=args.seed,
    )
    callbacks: list[Any] = [HistoryWriter(folder)]
    if args.early_stopping_patience is not None:
        callbacks.append(EarlyStopping(args.early_stopping_patience))
    return TranslationTrainer(
        args=args,
        model=model,
        processing_class=prepared.tokenizer,
        data_collator=DataCollatorForSeq2Seq(prepared.tokenizer, label_pad_token_id=-100),
        train_dataset=pairs,
        train_lengths=pair_lengths(prepared.tokens["train"]),
        eval_dataset=by_length(prepared.tokens["validation"]),
        compute_metrics=TranslationMetrics(prepared.tokenizer, prepared.text["validation"]["target"][:]),
        callbacks=callbacks,
    )


def _bpe_dropout(run: RunConfig, tokenizer: PreTrainedTokenizerBase) -> BPEDropout | None:
    if not run.data.bpe_dropout:
        return None
    try:
        return BPEDropout(tokenizer, run.data.bpe_dropout)
    except ValueError as error:
        raise InputError(str(error)) from error


def _smaller(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def measure(run: RunConfig, prepared: Prepared, trainer: TranslationTrainer, folder: RunFolder) -> dict[str, Any]:
    """Evaluate the finished model as `locant evaluate` does, and complete `metrics.json`."""
    metrics = folder.metrics()
    # without the mixed precision that training put around its forward pass
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).float().eval()
    for split in ("validation", "test"):
        if split in prepared.text:
            pairs = prepared.text[split]
            _say(run, f"Measuring on {split}, with {model.generation_config.num_beams} beams")
            metrics[split], rows = evaluate_split(
                model,
                prepared.tokenizer,
                pairs["source"][:],
                pairs["target"][:],
                batch_size=run.training.per_device_eval_batch_size,
                source_prefix=run.data.source_prefix or "",
                show_progress=not run.training.disable_tqdm,
            )
            write_tsv(folder.path / f"{split}_translations.tsv", rows)
    metrics |= {
        "finished": True,
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "parameters": model.num_parameters(),
        "data": prepared.summary,
    }
    folder.write_metrics(metrics)
    return metrics


def _summary(
    text: DatasetDict, tokens: DatasetDict, dropped: Dropped, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    summary: dict[str, Any] = {"vocabulary": len(tokenizer), "dropped": dropped._asdict()}
    for split, pairs in tokens.items():
        source, target = pair_lengths(pairs).sum(axis=0).tolist()
        summary[split] = {"pairs": len(pairs), "source_tokens": source, "target_tokens": target}
    if "test" in text:
        summary["test_in_train"] = count_overlap(text["train"], text["test"])._asdict()
    return summary


def _in_words(summary: dict[str, Any]) -> str:
    lines = [
        f"{split}: {numbers['pairs']:,} pairs, {numbers['source_tokens']:,} source and "
        f"{numbers['target_tokens']:,} target tokens"
        for split, numbers in summary.items()
        if split in ("train", "validation", "test")
    ]
    lines.append(f"vocabulary: {summary['vocabulary']:,} tokens")
    dropped = summary["dropped"]
    if any(dropped.values()):
        lines.append(f"dropped from train: {dropped['empty']:,} empty and {dropped['long']:,} long pairs")
    overlap = summary.get("test_in_train")
    if overlap and overlap["sources"]:
        lines.append(
            f"of the test pairs, {overlap['sources']:,} have a source that stands in train, and "
            f"{overlap['pairs']:,} stand there as a whole"
        )
    return "\n".join(lines)


def _check_positions(model: PreTrainedModel, tokens: DatasetDict) -> None:
    """No sentence goes beyond the positions that there are, on either side."""
    sides: tuple[Literal["source", "target"], ...] = ("source", "target")
    for side in sides:
        limit = position_limit(model, side)
        if limit is not None:
            for split, pairs in tokens.items():
                check_lengths(pairs, limit, split, side)


def _report(run: RunConfig, metrics: dict[str, Any]) -> None:
    for split in ("validation", "test"):
        if split in metrics:
            m = metrics[split]
            _say(
                run,
                f"{split}: BLEU {m['bleu']:.2f} ({m['bleu_signature']}), chrF {m['chrf']:.2f}, mean sentence "
                f"BLEU {m['sentence_bleu']:.2f}, loss {m['loss']:.4f}, perplexity {m['perplexity']:.2f}",
            )
    _say(run, f"The model is in {run.training.output_dir}")


def _say(run: RunConfig, text: str) -> None:
    if run.training.process_index == 0:
        print(text, flush=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


__all__ = ["Prepared", "build_model", "build_tokenizer", "build_trainer", "measure", "prepare", "train"]
