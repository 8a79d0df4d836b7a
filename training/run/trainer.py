# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Trainers with batches of rows of similar length, exact losses in evaluation, and Adam with coupled weight decay."""

import inspect
import json
import math
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, Seq2SeqTrainer, TrainerCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, SaveStrategy

from locant.modeling.loss import token_loss, token_losses
from locant.utils.files import write_text

from ..data.batching import LengthBatchSampler, TrainingRows, build_training_dataloader
from ..data.streaming import BlockBatches, Place, StreamLoader, divide_block
from ..errors import InputError
from ..inference import position_limit, smallest
from ..options.arguments import GenerationTrainingArguments, TrainingArguments
from .interruption import survive_first_sigterm
from .pushing import PushingTrainer
from .run_folder import STREAM_PLACE_FILE, UNLOGGED_LOSS_FILE, complete_checkpoints
from .saving import begin_checkpoint, replaced_model, rotate
from .sharding import load_optimizer_state, load_weights, optimizer_state, read_weights
from .throughput import Throughput

ROW = "row"
Tensors = tuple[torch.Tensor, ...]


def by_length(dataset: Dataset, lengths: np.ndarray) -> Dataset:
    """Sort rows by length for evaluation, longest first, and add their index in `dataset` as the column `row`.

    Args:
        dataset: the rows, with only the columns that the model takes.
        lengths: the lengths of the rows, an array `(rows, 1)`, or `(rows, 2)` for pairs of texts.
    """
    order = np.argsort(-lengths.sum(axis=1), kind="stable")
    return dataset.select(order).add_column(ROW, order)


def batch_options(args: TrainingArguments) -> dict[str, Any]:
    """Return the arguments `max_tokens`, `batch_size` and `seed` of `LengthBatchSampler` and of `divide_block`."""
    devices = max(1, args.n_gpu)  # without a launcher, one process uses all GPUs
    tokens = args.max_tokens_per_batch
    return {
        "max_tokens": None if tokens is None else tokens * devices,
        "batch_size": args.per_device_train_batch_size * devices if tokens is None else None,
        "seed": args.seed if args.data_seed is None else args.data_seed,
    }


def training_sampler(args: TrainingArguments, lengths: np.ndarray) -> LengthBatchSampler:
    """Return the sampler of training batches for the options in `args`; it yields the batches of this process."""
    return LengthBatchSampler(lengths, **batch_options(args), num_replicas=args.world_size, rank=args.process_index)


def mean_loss(losses: np.ndarray, counts: np.ndarray) -> float:
    """Compute the mean loss over all tokens (or labels) from the summed loss and the number of tokens of each row."""
    return float(losses.astype(np.float64).sum() / counts.sum())


def can_skip_logits(model: PreTrainedModel) -> bool:
    """Whether the model's `forward` has the argument `skip_logits`."""
    return "skip_logits" in inspect.signature(model.forward).parameters


def mean_token_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Compute the mean loss over all tokens of an optimiser step from the logits of one of its batches.

    Encoder–decoders and masked language models of other families return the mean over a batch, and would thus give
    wrong sums over the batches of a step.
    """
    return token_loss(outputs["logits"], labels, num_items_in_batch=num_items_in_batch)


class PassCounter(TrainerCallback):
    """Sets the epoch of a streamed run to the position in the order of the blocks, divided by the number of blocks.

    The Trainer does not know the number of blocks; in a resumed streamed run, it would count the epochs from 0 again.
    """

    def __init__(self, loader: StreamLoader):
        self.loader = loader

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the epoch in the state of the Trainer."""
        state.epoch = self.loader.passes


class RecipeTrainer(PushingTrainer):
    """A `Trainer` that trains on `TrainingRows`, and evaluates rows whose column `row` holds their index.

    The Trainer's own evaluation loss is a mean over batches of unequal size. `predict_batch` instead returns tensors
    with an entry for each row, such as summed losses, so that means are exact with any number of processes.
    `compute_metrics` gets these tensors for all rows as `predictions`, and the indices of the rows as `label_ids`.

    Args:
        args: Locant's `TrainingArguments`.
        train_dataset: the training data, indexed by keys (epoch, row).
        train_lengths: the lengths of the training rows, an array `(rows, 1)`, or `(rows, 2)` for pairs of texts; with
            BPE dropout and a budget of tokens, upper bounds of the lengths.
        stream: the `Stream` with the blocks that replace `train_dataset` in a streamed run; None in other runs.
        kwargs: further arguments of `PushingTrainer`.
    """

    args: TrainingArguments
    model: PreTrainedModel
    train_dataset: TrainingRows
    optimizer: Any  # None until training begins, as in transformers
    lr_scheduler: Any
    saves_extra_checkpoint = False
    """Whether the next checkpoint is only saved because SIGTERM ends the run."""
    replaced_loss: ClassVar[Any] = None
    """The function `(outputs, labels, num_items_in_batch)` that computes the loss of models of other families; None for
    the loss of the model itself."""

    def __init__(
        self,
        *,
        args: TrainingArguments,
        train_dataset: TrainingRows,
        train_lengths: np.ndarray,
        stream: Any = None,
        **kwargs: Any,
    ):
        given = args.save_only_model
        # for a sharded model, the Trainer's constructor raises an error unless save_only_model is True
        args.save_only_model = given or getattr(kwargs.get("model"), "is_distributed_loading_by_transformers", False)
        try:
            super().__init__(args=args, train_dataset=train_dataset, **kwargs)
        finally:
            args.save_only_model = given
        if args.coupled_weight_decay:
            betas = (args.adam_beta1, args.adam_beta2)
            options = {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}
            # the __init__ of Trainer has an argument of this name, but that of Seq2SeqTrainer has not
            self.optimizer_cls_and_kwargs = (torch.optim.Adam, options)
        self.train_lengths = train_lengths
        self._is_training = torch.zeros(1).share_memory_()
        self._init_worker = partial(survive_first_sigterm, self._is_training)
        self.stream_loader: StreamLoader | None = None
        if stream is not None:
            args.ignore_data_skip = True  # the loader itself starts at the place of the checkpoint
            divide = partial(divide_block, **batch_options(args))
            batches = BlockBatches(stream.blocks, stream.encode, divide, kwargs["data_collator"])
            self.stream_loader = StreamLoader(
                batches, num_replicas=args.world_size, rank=args.process_index, **self._worker_options
            )
            self.add_callback(PassCounter(self.stream_loader))
        self._can_skip_logits = can_skip_logits(self.model)
        if not self._can_skip_logits and self.replaced_loss is not None:
            self.compute_loss_func = self.replaced_loss
        self._throughput = Throughput(self.accelerator, labels_are_inputs=isinstance(self, GenerationTrainer))
        self.add_callback(self._throughput)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does, while worker processes survive one SIGTERM."""
        self._is_training.fill_(1)
        try:
            return super().train(*args, **kwargs)
        finally:
            self._is_training.fill_(0)

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """Return the Trainer's `DataLoader` for evaluation; its workers survive one SIGTERM if it comes in training."""
        loader = super().get_eval_dataloader(*args, **kwargs)
        getattr(loader, "base_dataloader", loader).worker_init_fn = self._init_worker
        return loader

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # in a run that is resumed after its last step, the Trainer would train another step before checking for the end
        if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # None, so that the Trainer deletes no checkpoints: it would go by the modification times of the folders, which
        # change when a run is copied; `rotate` goes by the steps
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            if self.args.should_save:
                checkpoint = self._folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
                begin_checkpoint(checkpoint, self.saves_extra_checkpoint)
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            rotate(self._folder, limit, None if best is None else Path(best))

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        # the Trainer takes any evaluation for the best one, and ends with the weights of another step if no checkpoint
        # is saved at the best step; so only an evaluation with a checkpoint may be the best one
        is_saved = self.control.should_save and not self.saves_extra_checkpoint
        if self.args.load_best_model_at_end and self.args.save_strategy != SaveStrategy.BEST and not is_saved:
            return False
        return super()._determine_best_metric(metrics, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        unlogged = {"loss": self._tr_loss.item(), "logged_step": self._globalstep_last_logged}
        write_text(Path(output_dir) / UNLOGGED_LOSS_FILE.format(self.args.process_index), json.dumps(unlogged))
        if self.stream_loader is not None:
            place = json.dumps(self.stream_loader.place._asdict())
            write_text(Path(output_dir) / STREAM_PLACE_FILE.format(self.args.process_index), place)
        self.accelerator.wait_for_everyone()  # the main process writes the state file next, which completes the folder

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        file = None if checkpoint is None else Path(checkpoint) / UNLOGGED_LOSS_FILE.format(self.args.process_index)
        # without these values, the next log entry would leave out the losses of the steps before the checkpoint
        if file is not None and file.exists():
            unlogged = json.loads(file.read_text(encoding="utf-8"))
            self._tr_loss.fill_(unlogged["loss"])
            self._globalstep_last_logged = unlogged["logged_step"]
        if checkpoint is not None and self.stream_loader is not None:
            place = (Path(checkpoint) / STREAM_PLACE_FILE.format(self.args.process_index)).read_text(encoding="utf-8")
            self.stream_loader.place = Place(**json.loads(place))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if not self.args.should_save:
            super()._save(output_dir, state_dict)
            return
        if Path(output_dir or self._folder) != self._folder:
            self._save_in_checkpoint(output_dir, state_dict)
            return
        with replaced_model(self._folder) as unfinished:
            super()._save(str(unfinished), state_dict)

    def _save_in_checkpoint(self, output_dir: str | None, state_dict: dict[str, Any] | None) -> None:
        """Save the weights of a checkpoint under their names in the model's `state_dict`.

        The Trainer looks for these names when it loads a checkpoint. For some families, such as ViT, `save_pretrained`
        would save the names that older versions of transformers gave to the weights.
        """
        model: Any = self.model
        conversions = getattr(model, "_weight_conversions", None)
        model._weight_conversions = []
        try:
            super()._save(output_dir, state_dict)
        finally:
            model._weight_conversions = conversions

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.saves_extra_checkpoint:
            super()._push_from_checkpoint(checkpoint_folder)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute the Trainer's loss, with `skip_logits=True` if the model's `forward` has this argument."""
        if self._can_skip_logits:
            inputs = {**inputs, "skip_logits": True}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log `logs` as the Trainer does; if they hold the training loss, add speed, padding, memory and time left."""
        if "loss" in logs:  # all processes log the training loss, and `entry` must be called in all of them
            logs |= self._throughput.entry(self.state)
        super().log(logs, start_time)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the Trainer's step, count its tokens, and raise `InputError` if the loss is not finite."""
        self._throughput.count(inputs)
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._check_finite("loss", loss, self.state.global_step + 1)
        return loss

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)
        if self.accelerator.scaler is None:  # the scaler of fp16 skips a step whose gradient is not finite
            self._check_finite("norm of the gradient", norm, self.state.global_step + 1)
        return norm

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Run the Trainer's evaluation loop; during training, raise `InputError` if the validation loss is not finite.

        The error is raised before the validation loss is logged and before a checkpoint is saved.
        """
        output = super().evaluation_loop(*args, **kwargs)
        if self.is_in_train and output.metrics is not None:
            # with prediction_loss_only there is no eval_loss
            self._check_finite("validation loss", output.metrics.get("eval_loss", 0.0), self.state.global_step)
        return output

    def _check_finite(self, what: str, value: Any, step: int) -> None:
        if math.isfinite(value):
            return
        checkpoints = complete_checkpoints(self._folder)
        last = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there is no checkpoint before it"
        raise InputError(
            f"Training diverged at step {step:,} of {self.state.max_steps:,}: the {what} is {float(value)} at a "
            f"learning rate of {self.optimizer.param_groups[0]['lr']:.3g}, and {last}; give a lower learning_rate or "
            "more warmup_steps, and another output_dir."
        )

    def predict_batch(self, model: torch.nn.Module, inputs: dict[str, Any], with_predictions: bool) -> Tensors:
        """Measure a batch in evaluation, and return tensors with an entry for each row, such as summed losses.

        Args:
            model: the model as the Trainer wraps it.
            inputs: a collated batch without the indices of the rows.
            with_predictions: whether predictions, such as generated tokens, are wanted as well as losses.
        """
        raise NotImplementedError

    @property
    def _worker_options(self) -> dict[str, Any]:
        return {
            "num_workers": self.args.dataloader_num_workers,
            "persistent_workers": self.args.dataloader_persistent_workers,
            "prefetch_factor": self.args.dataloader_prefetch_factor,
            "worker_init_fn": self._init_worker,
            "multiprocessing_context": self.args.dataloader_multiprocessing_context,
        }

    def get_train_dataloader(self) -> Any:  # Any: a StreamLoader is not a DataLoader
        """Return the loader of training batches of rows of similar length; it yields the batches of this process."""
        if self.stream_loader is not None:
            return self.stream_loader
        sampler = training_sampler(self.args, self.train_lengths)
        return build_training_dataloader(
            self.train_dataset,
            sampler,
            self.data_collator,
            self.accelerator,
            **self._worker_options,
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
        """Evaluate a batch: return None (no loss), the tensors from `predict_batch`, and the row indices as labels."""
        inputs = self._prepare_inputs(inputs)
        rows = inputs.pop(ROW)
        with torch.no_grad():
            return None, self.predict_batch(model, inputs, not prediction_loss_only), rows

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.is_distributed_loading_by_transformers:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_weights(self.model, read_weights(Path(resume_from_checkpoint)))

    def _load_best_model(self) -> None:
        if not self.is_distributed_loading_by_transformers:
            super()._load_best_model()
        else:
            assert self.state.best_model_checkpoint is not None  # the Trainer calls this method only then
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_distributed_loading_by_transformers:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = optimizer_state(self.model, self.optimizer.optimizer)  # all processes must call this function
        if self.args.should_save:
            torch.save(state, Path(output_dir, OPTIMIZER_NAME))
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir, SCHEDULER_NAME))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.is_distributed_loading_by_transformers or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        if not Path(checkpoint, OPTIMIZER_NAME).exists():  # the checkpoint was saved with save_only_model
            return
        # with mmap, the processes of one machine share the memory of the optimiser's state; safetensors maps the
        # weights into memory in the same way
        state = torch.load(Path(checkpoint, OPTIMIZER_NAME), map_location="cpu", weights_only=True, mmap=True)
        load_optimizer_state(self.model, self.optimizer.optimizer, state)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint, SCHEDULER_NAME), weights_only=True))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # a tied weight is saved under one name only, so its other names are not missing weights
        tied = set(self.model.all_tied_weights_keys)
        missing = [name for name in load_result.missing_keys if name not in tied]
        if len(missing) < len(load_result.missing_keys):
            self.model.tie_weights()
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))


class GenerationTrainer(RecipeTrainer, Seq2SeqTrainer):
    """The Trainer for encoder–decoders on text or images, which evaluates the loss per token and generates text."""

    args: GenerationTrainingArguments
    replaced_loss = staticmethod(mean_token_loss)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute the Trainer's loss; add the decoder inputs for a model of another family, which gets no labels."""
        if not self._can_skip_logits:
            own: Any = self.model
            decoder_input_ids = own.prepare_decoder_input_ids_from_labels(labels=inputs["labels"])
            inputs = {**inputs, "decoder_input_ids": decoder_input_ids, "use_cache": False}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Run the Trainer's evaluation loop, and count each row once.

        With several processes, the last batch is filled up with copies of rows, which Seq2SeqTrainer would also count.
        """
        self.gather_function = self.accelerator.gather_for_metrics
        return super().evaluation_loop(*args, **kwargs)

    def predict_batch(self, model: torch.nn.Module, inputs: dict[str, Any], with_predictions: bool) -> Tensors:
        """Return the summed loss and the number of label tokens of each row, and the generated tokens.

        The shape of the generated tokens is `(batch, longest)`. They are left out if `predict_with_generate` or
        `with_predictions` is False.
        """
        labels = inputs.pop("labels")
        own: Any = self.model  # Any: the type PreTrainedModel does not declare the method in the next line
        decoder_input_ids = own.prepare_decoder_input_ids_from_labels(labels=labels)
        with self.compute_loss_context_manager():
            logits = model(**inputs, decoder_input_ids=decoder_input_ids, use_cache=False).logits
        losses = token_losses(logits, labels)
        measured: Tensors = (losses.sum(dim=1), (labels != -100).sum(dim=1))
        if self.args.predict_with_generate and with_predictions:
            measured += (self._generate(inputs),)
        return measured

    def _generate(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Generate the target tokens of a batch, `(batch, longest)`.

        The number of new tokens is at most the option `generation_max_length` (or else `max_new_tokens`), and at most
        the number of learned positions of the decoder, if it has any. For source texts, it is also at most 2 n + 10,
        where n is the number of tokens of the longest source in the batch, because an untrained model may never
        generate the end token.
        """
        own: Any = self.model
        limit = smallest(
            self.args.generation_max_length or self.args.max_new_tokens,
            position_limit(self.model, "target"),
            2 * inputs["input_ids"].shape[1] + 10 if "input_ids" in inputs else None,
        )
        return own.generate(**inputs, num_beams=self.args.generation_num_beams or 1, max_new_tokens=limit)
