# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Hugging Face Trainer with batches by length, a per-token evaluation loss, and Adam's coupled decay."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase, Seq2SeqTrainer

from locant.modeling.loss import token_losses

from .arguments import TrainingArguments
from .batching import LengthBatchSampler, TrainingPairs, build_training_dataloader
from .inference import position_limit
from .metrics import CorpusBLEU
from .preprocessing import pair_lengths

ROW = "row"


def by_length(dataset: Dataset) -> Dataset:
    """Tokenised pairs, longest first, with their number in `dataset` as `row`: for evaluation in plain batches."""
    order = np.argsort(-pair_lengths(dataset).sum(axis=1), kind="stable")
    return dataset.select_columns(["input_ids", "labels"]).select(order).add_column(ROW, order)


def training_sampler(args: TrainingArguments, lengths: np.ndarray) -> LengthBatchSampler:
    """The batches that `args` ask for, this process's share of them."""
    devices = max(1, args.n_gpu)  # one process feeds them all where there is no launcher
    tokens = args.max_tokens_per_batch
    return LengthBatchSampler(
        lengths,
        max_tokens=None if tokens is None else tokens * devices,
        batch_size=args.per_device_train_batch_size * devices if tokens is None else None,
        seed=args.seed if args.data_seed is None else args.data_seed,
        num_replicas=args.world_size,
        rank=args.process_index,
    )


class TranslationMetrics:
    """The Trainer's `compute_metrics`: loss and perplexity per token, and BLEU of what was generated.

    Args:
        tokenizer: decodes the translations.
        references: the targets as text, by row.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, references: list[str]):
        self.tokenizer = tokenizer
        self.references = references

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Metrics of what `TranslationTrainer.prediction_step` returned for all sentences."""
        losses, counts, *tokens = tuple(prediction.predictions)
        loss = float(losses.astype(np.float64).sum() / counts.sum())
        metrics = {"loss": loss, "perplexity": float(np.exp(loss))}
        if tokens:
            ids = np.where(tokens[0] < 0, self.tokenizer.pad_token_id, tokens[0])
            translations = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
            references = [self.references[row] for row in prediction.label_ids]
            metrics["bleu"] = CorpusBLEU().compute(predictions=translations, references=references)["bleu"]
        return metrics


class TranslationTrainer(Seq2SeqTrainer):
    """A `Seq2SeqTrainer` over `TrainingPairs`, and over `by_length` pairs in evaluation.

    Args:
        args: our `TrainingArguments`.
        train_dataset: the pairs, by key (epoch, row).
        train_lengths: their lengths in tokens, `(pairs, 2)`.
        kwargs: as for `Seq2SeqTrainer`.
    """

    args: TrainingArguments
    model: PreTrainedModel
    train_dataset: TrainingPairs

    def __init__(
        self,
        *,
        args: TrainingArguments,
        train_dataset: TrainingPairs,
        train_lengths: np.ndarray,
        **kwargs: Any,
    ):
        super().__init__(args=args, train_dataset=train_dataset, **kwargs)
        if args.coupled_weight_decay:  # which Trainer's own __init__ takes, and Seq2SeqTrainer's does not
            betas = (args.adam_beta1, args.adam_beta2)
            options = {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}
            self.optimizer_cls_and_kwargs = (torch.optim.Adam, options)
        self.train_lengths = train_lengths

    def get_train_dataloader(self) -> DataLoader:
        """Batches of like length, this process's share of them."""
        sampler = training_sampler(self.args, self.train_lengths)
        return build_training_dataloader(
            self.train_dataset,
            sampler,
            self.data_collator,
            self.accelerator,
            num_workers=self.args.dataloader_num_workers,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            pin_memory=self.args.dataloader_pin_memory and self.accelerator.device.type == "cuda",
        )

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **gen_kwargs: Any,
    ) -> tuple[None, Any, torch.Tensor]:
        """One batch: (summed loss, number of tokens, generated tokens) a sentence, and the sentences' rows.

        The Trainer's own loss is the mean over batches of unequal size, whose exponential is no perplexity;
        sums over sentences add up, in several processes too.
        """
        inputs = self._prepare_inputs(inputs)
        rows, labels = inputs.pop(ROW), inputs.pop("labels")
        own: Any = self.model  # PreTrainedModel alone promises neither this method nor `generate`
        decoder_input_ids = own.prepare_decoder_input_ids_from_labels(labels=labels)
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(**inputs, decoder_input_ids=decoder_input_ids, use_cache=False).logits
        losses = token_losses(logits, labels)
        predictions: tuple[torch.Tensor, ...] = (losses.sum(dim=1), (labels != -100).sum(dim=1))
        if self.args.predict_with_generate and not prediction_loss_only:
            predictions += (self._translate(inputs),)
        return None, predictions, rows

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # tied weights are saved once, and are not missing
        tied = set(self.model.all_tied_weights_keys)
        missing = [name for name in load_result.missing_keys if name not in tied]
        if len(missing) < len(load_result.missing_keys):
            self.model.tie_weights()
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def _translate(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Generated tokens `(batch, longest)`; an untrained model, which does not end, is cut at 2 n + 10."""
        longest = 2 * inputs["input_ids"].shape[1] + 10
        longest = min(longest, position_limit(self.model, "target") or longest)
        own: Any = self.model
        return own.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            num_beams=self.args.generation_num_beams or 1,
            max_new_tokens=min(self.args.generation_max_length or self.args.max_new_tokens, longest),
        )
