# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Timing of training steps, to choose values for options that are `auto`, and to print the gain by `torch_compile`."""

import time
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, send_to_device
from transformers import PreTrainedModel, SchedulerType, get_scheduler
from transformers.training_args import OptimizerNames

from locant.utils.errors import first_line

from ..errors import InputError
from ..main_process import print_in_main_process
from ..options.arguments import AUTO
from ..options.run_config import RunConfig
from ..tasks.recipe import TrainerInputs
from .run_folder import RunFolder
from .trainer import RecipeTrainer, can_skip_logits, training_sampler

ATTENTION_BACKENDS = ("sdpa", "eager")
"""The attention backends that `attn_implementation: auto` compares with each other and with the model's default."""

TIMED_ROUNDS = 2
_QUANTILES = (0.25, 0.5, 0.75)
_FAR_SLOWER = 4.0

Batch = Mapping[str, torch.Tensor]


class Choice(NamedTuple):
    """The precision and the attention backend of a training step."""

    bf16: bool
    attn_implementation: str

    def __str__(self) -> str:
        return f"{'bf16' if self.bf16 else 'float32'} with {self.attn_implementation}"


def settle_choices(run: RunConfig, model: PreTrainedModel, inputs: TrainerInputs, folder: RunFolder) -> None:
    """Replace each `auto` in `run` by the fastest value; if `attn_implementation` was `auto`, set it in `model`.

    If a resumed run has `auto`, it takes the values that it chose when it began, and nothing is timed. In any other run
    with `torch_compile`, the times of a compiled and of an eager step are printed.

    Args:
        run: the run's options; `bf16` and `attn_implementation` are changed in place if they are `auto`.
        model: the new or loaded model. Its weights stay as they are, and its gradients are None afterwards.
        inputs: the training data, from which three batches are taken for the timing.
        folder: the folder of the run; its `metrics.json` holds the values that a resumed run keeps.
    """
    begun = folder.metrics().get("hyperparameters", {}) if folder.last_checkpoint() is not None else {}
    needs_choice = AUTO in (run.training.bf16, run.model.attn_implementation)
    if not needs_choice and not run.training.torch_compile:
        return
    if needs_choice and "attn_implementation" in begun:
        chosen = Choice(begun["bf16"], begun["attn_implementation"])
        apply_choice(chosen, run, model)
        return
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        batches = trial_batches(run, inputs)
        cast(torch.nn.Module, model).to(run.training.device)
        if needs_choice:
            apply_choice(choose_fastest(run, model, batches), run, model)
        if run.training.torch_compile:
            tell_gain_of_compilation(run, model, batches)


def check_step(run: RunConfig, model: PreTrainedModel, inputs: TrainerInputs) -> None:
    """Raise `InputError` before training if a training step cannot be computed with the given options on this device.

    The optimiser may need a package that is not installed, and the schedule of the learning rate may need
    `lr_scheduler_kwargs`. An attention backend other than `ATTENTION_BACKENDS` may have no backward pass
    (flex_attention has none on a CPU); if the run has such a backend, one step is tried with it.
    """
    name, device = run.model.attn_implementation, run.training.device
    try:
        RecipeTrainer.get_optimizer_cls_and_kwargs(run.training, model)
    except (ImportError, RuntimeError, ValueError) as error:
        raise InputError(
            f"optim is {OptimizerNames(run.training.optim).value}, but this optimiser cannot be used: "
            f"{first_line(error)}; choose another optim, or install the packages that this optimiser needs."
        ) from error
    schedule = SchedulerType(run.training.lr_scheduler_type).value
    try:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=run.training.learning_rate)
        get_scheduler(schedule, optimizer, 1, 10, cast(dict[str, Any] | None, run.training.lr_scheduler_kwargs))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"lr_scheduler_type is {schedule}, but this schedule cannot be used: {first_line(error)}; set "
            "lr_scheduler_kwargs, or choose another lr_scheduler_type."
        ) from error
    if name in (None, AUTO, *ATTENTION_BACKENDS):
        return
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            cast(Any, model).to(device)
            seconds_of_round(model, trial_batches(run, inputs)[:1], run.training.bf16 is True)
        except (ImportError, RuntimeError, ValueError) as error:
            raise InputError(
                f"attn_implementation {name} cannot compute a training step on {device.type} ({first_line(error)}): "
                f"choose {' or '.join(ATTENTION_BACKENDS)}, or leave attn_implementation out."
            ) from error


def apply_choice(choice: Choice, run: RunConfig, model: PreTrainedModel) -> None:
    """Replace each `auto` in `run` by the value in `choice`; if `attn_implementation` was `auto`, set it in `model`."""
    if run.training.bf16 == AUTO:
        run.training.set_bf16(choice.bf16)
    if run.model.attn_implementation == AUTO:
        run.model.attn_implementation = choice.attn_implementation
        model.set_attn_implementation(choice.attn_implementation)


def trial_batches(run: RunConfig, inputs: TrainerInputs) -> list[Batch]:
    """Return the three batches of the first epoch whose numbers of tokens, padding included, are the quartiles."""
    batches = list(training_sampler(run.training, inputs.train_lengths))
    sizes = [len(batch) * inputs.train_lengths[[row for _, row in batch]].max(axis=0).sum() for batch in batches]
    numbers = np.argsort(sizes)[[int(quantile * len(batches)) for quantile in _QUANTILES]]
    collated = [inputs.data_collator(inputs.train_dataset.__getitems__(batches[number])) for number in numbers]
    return send_to_device(collated, run.training.device)


def candidates(run: RunConfig, model: PreTrainedModel) -> Iterator[Choice]:
    """Yield each combination of precision and attention backend to compare; only options with the value `auto` vary.

    The backend of the combination is set in the model; after the last combination, the model's own backend is restored.
    """
    given: Any = run.training.bf16
    asked, device = run.model.attn_implementation, run.training.device
    precisions = [False, *([True] if multiplies_bf16(device) else [])] if given == AUTO else [given]
    current = model.config._attn_implementation
    backends = dict.fromkeys((current, *ATTENTION_BACKENDS)) if asked == AUTO else [current]
    for bf16, backend in product(precisions, backends):
        try:
            model.set_attn_implementation(backend)
        except ValueError:  # this backend cannot compute one of the model's position encodings
            continue
        yield Choice(bf16, backend)
    model.set_attn_implementation(current)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices fast: checked for CUDA and CPU, assumed for other devices."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def choose_fastest(run: RunConfig, model: PreTrainedModel, batches: list[Batch]) -> Choice:
    """Time the steps of all candidates, print the times, and return the candidate that is fastest in the main process.

    A candidate is timed only once if its first step takes more than `_FAR_SLOWER` times as long as the fastest first
    step.
    """
    first = {choice: seconds_of_round(model, batches[:1], choice.bf16) for choice in candidates(run, model)}
    times = {}
    for choice in candidates(run, model):
        if first[choice] <= _FAR_SLOWER * min(first.values()):
            seconds_of_round(model, batches, choice.bf16)  # warms up
            seconds = min(seconds_of_round(model, batches, choice.bf16) for _ in range(TIMED_ROUNDS))
            times[choice] = seconds / len(batches)
    chosen = broadcast_object_list([min(times, key=times.__getitem__)])[0]
    listed = ", ".join(f"{choice} {seconds:.3g} s" for choice, seconds in {**first, **times}.items())
    print_in_main_process(f"a training step takes: {listed}; chosen: {chosen}")
    return chosen


def tell_gain_of_compilation(run: RunConfig, model: PreTrainedModel, batches: list[Batch]) -> None:
    """Print the time of an eager and of a compiled training step, and the time of compilation.

    The time of compilation is the time of the first round of compiled steps, in which torch compiles the model.
    """
    args, bf16 = run.training, bool(run.training.bf16)
    compiled = torch.compile(model, backend=args.torch_compile_backend or "inductor", mode=args.torch_compile_mode)
    seconds = {}
    for name, forward in (("eager", model), ("compiled", compiled)):
        first = seconds_of_round(forward, batches, bf16)
        seconds[name] = min(seconds_of_round(forward, batches, bf16) for _ in range(TIMED_ROUNDS)) / len(batches)
    print_in_main_process(
        f"torch.compile: a training step takes {seconds['eager']:.3g} s eager and {seconds['compiled']:.3g} s compiled "
        f"({seconds['eager'] / seconds['compiled']:.2f} times as fast), after {first:.0f} s of compilation"
    )


def seconds_of_round(model: Any, batches: list[Batch], bf16: bool) -> float:
    """Compute the forward and backward passes of all batches as in the Trainer, and return the time in seconds.

    Args:
        model: the model, or the compiled model; its gradients are None afterwards.
        batches: collated training batches on the model's device.
        bf16: whether forward passes run under autocast to bfloat16.
    """
    device = next(model.parameters()).device
    extra = {"skip_logits": True} if can_skip_logits(model) else {}
    model.train()
    start = time.perf_counter()
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(**batch, **extra).loss
        loss.backward()
        model.zero_grad()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start
