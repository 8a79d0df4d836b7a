# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A run of `locant train`, whatever its task: from the data to a model that is trained, measured and saved."""

from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
from accelerate.utils import broadcast_object_list, gather_object
from datasets import DatasetDict
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, set_seed

from locant.utils.counts import describe_counts, list_labels

from ..data.row_checks import describe_rows, tokenizer_warning
from ..data.streaming import estimate_counts
from ..data.tables import numbered
from ..errors import Terminated
from ..inference import write_tsv
from ..main_process import print_in_main_process
from ..options.run_config import RunConfig
from ..tasks.baseline import compare_with_baseline
from ..tasks.recipe import PreparedData, Recipe, TrainerInputs, recipe_of
from ..tasks.registry import TASKS
from .averaging import load_mean_weights
from .building import build_model, check_fine_tuning
from .dry_run import print_dry_run
from .failures import in_one_sentence
from .history import EarlyStopping, HistoryWriter
from .interruption import SaveOnTermination, Termination
from .pictures import draw_confusion_matrix, write_pictures
from .progress import (
    ProgressFromStep,
    SampleWriter,
    ScheduleNotices,
    TimedPrinter,
    count_tokens,
    hidden_bars,
)
from .pushing import WriteCard
from .report import write_report
from .run_folder import RunFolder, explain_stop, planned_steps, step_of
from .sharding import shard_model
from .trainer import RecipeTrainer
from .trial_steps import check_step, settle_choices

HYPERPARAMETERS = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "max_tokens_per_batch"),
    *("gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_steps"),
    *("optim", "coupled_weight_decay", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"),
    *("average_checkpoints", "early_stopping_patience", "bf16", "fp16", "seed"),
)
"""The main training options that determine the weights; `metrics.json` records their values, including defaults."""


def train(run: RunConfig, write_card: WriteCard | None = None) -> dict[str, Any]:
    """Train with the options in `run`, or resume a stopped run, and return the content of `metrics.json`.

    The output folder gets the model, its processor and generation config, `metrics.json`, the loss curve, the
    predictions for the measured splits, a report, `run_config.yaml`, and the card that `write_card` writes. A dry run
    returns the summary of the data. A finished run is not trained again. Processes other than the main process return
    an empty dictionary after training.

    Raises:
        InputError: an option or the data cannot be used (this is found before training, except for errors in streamed
            data); or training diverged; or the Hub refused the repository or the finished model; or the system refused
            access to a file; or a data worker died.
        Terminated: SIGTERM ended the run; `explanation` says how far the run is.
        KeyboardInterrupt: Ctrl-C ended the run; the message says how far the run is.
    """
    termination = Termination()
    with hidden_bars() if run.training.disable_tqdm else nullcontext(), termination.handled():
        try:
            return _train(run, write_card, termination)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(explain_stop(Path(run.training.output_dir))) from None
        except Terminated:
            raise Terminated(explain_stop(Path(run.training.output_dir))) from None


def _train(run: RunConfig, write_card: WriteCard | None, termination: Termination) -> dict[str, Any]:
    recipe = recipe_of(TASKS[run.task])(run.data, run.training.seed)
    output_dir = Path(run.training.output_dir)
    with in_one_sentence(output_dir, output_dir):
        folder = RunFolder(run)
        check_fine_tuning(run)
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    with in_one_sentence(folder.path, cache):
        rows = load_rows(run, recipe)
    folder.check_data(data_identity(recipe, rows))
    if folder.is_finished():
        print_in_main_process(
            f"The run in {folder.path} is already finished: to train further, give a larger value of the option that "
            "ended it (num_train_epochs, max_steps or early_stopping_patience)."
        )
    if folder.is_finished() and not run.training.dry_run:
        report(run, recipe, folder.metrics())
        return folder.metrics()
    if not run.training.dry_run:
        folder.check_processes(run.training.world_size)
    set_seed(run.training.seed)
    with in_one_sentence(folder.path, cache):
        prepared = prepare(run, recipe, rows, folder)
    model = build_model(run, recipe, prepared)
    recipe.check(model, prepared)
    inputs = recipe.trainer_inputs(run, prepared, model)
    print_in_main_process(describe_size(model, prepared.summary["train"], is_new=run.model.model_name_or_path is None))
    check_step(run, model, inputs)
    if run.training.dry_run:
        if run.training.process_index == 0:
            print_dry_run(run.training, model, inputs)
            if (checkpoint := folder.last_checkpoint()) and not folder.is_finished():
                folder.check_processes(run.training.world_size)
                print(f"The run would resume from {checkpoint}; the report above counts all steps of the run.")
        return prepared.summary
    with in_one_sentence(folder.path, folder.path):
        settle_choices(run, model, inputs, folder)
        if run.training.shard_weights and run.training.world_size > 1:
            shard_model(model, run.training.world_size)
            print_in_main_process(f"The weights are sharded over {run.training.world_size} processes (FSDP2).")
        trainer = build_trainer(run, recipe, prepared, model, inputs, folder, write_card)
        trainer.add_callback(SaveOnTermination(termination, trainer))
        is_main = trainer.is_world_process_zero()
        with (
            folder.locked() if is_main else nullcontext(),
            in_one_sentence(folder.path, folder.path, has_lock=is_main),
        ):
            return fit(run, recipe, prepared, trainer, folder, termination)


def describe_size(model: PreTrainedModel, counts: Mapping[str, int], is_new: bool) -> str:
    """Return a line with the number of parameters, in total and, if the data have tokens, for each training token.

    If a new model for text has more than `MOST_PARAMETERS_PER_TOKEN` parameters for each token, a second line warns
    that it may overfit.

    Args:
        model: the model that is to be trained.
        counts: the summary of the training split.
        is_new: whether the model has random weights, and is not a trained model.
    """
    parameters, tokens = model.num_parameters(), count_tokens(counts)
    size = f"parameters: {parameters:,}"
    if not tokens:
        return size
    size += f", {parameters / tokens:,.1f} for each training token"
    if is_new and "images" not in counts and parameters > MOST_PARAMETERS_PER_TOKEN * tokens:
        size += (
            f"\nWarning: a model of more than {MOST_PARAMETERS_PER_TOKEN} parameters for each training token may "
            "overfit: a smaller preset, such as tiny, or more data may give a better model."
        )
    return size


MOST_PARAMETERS_PER_TOKEN = 50


def load_rows(run: RunConfig, recipe: Recipe) -> DatasetDict:
    """Load the rows of each split, and add the column `line` with the numbers of the rows, for messages."""
    with run.training.main_process_first(desc="loading the data"):
        return DatasetDict({split: numbered(dataset) for split, dataset in recipe.load().items()})


def data_identity(recipe: Recipe, rows: DatasetDict) -> dict[str, str]:
    """Return fingerprints of the training and validation rows.

    A resumed run compares them with the fingerprints in `metrics.json`, to notice that its data have changed.
    """
    train = rows["train"]._fingerprint if recipe.blocks is None else recipe.blocks.identity()
    return {"train": train, "validation": rows["validation"]._fingerprint}


def prepare(run: RunConfig, recipe: Recipe, rows: DatasetDict, folder: RunFolder) -> PreparedData:
    """Print some rows and warnings about the rows, make or load the processor, and encode the rows.

    Only the main process makes or loads the processor, and sends it to the other processes.
    """
    if run.training.process_index == 0:
        lines = describe_rows(rows["train"], list(recipe.layout.features))
        print("\n".join([*lines, *recipe.warnings(rows)]), flush=True)
    # a resumed run loads the tokenizer of its checkpoint, as training it again might give another tokenizer
    name = run.model.model_name_or_path or getattr(run.data, "tokenizer_name", None) or folder.last_checkpoint()
    processor = None
    if run.training.process_index == 0:
        train = rows["train"] if recipe.blocks is None or name is not None else recipe.blocks.sample()
        processor = recipe.build_processor(run, train, None if name is None else str(name))
    processor = broadcast_object_list([processor])[0]
    with run.training.main_process_first(desc="encoding"):
        prepared = recipe.encode(rows, processor)
    if recipe.blocks is not None:
        prepared.summary = estimate_counts(prepared.summary, recipe.blocks, len(rows["train"]))
    given = run.model.model_name_or_path or getattr(run.data, "tokenizer_name", None)
    warnings = [] if given is None else tokenizer_warning(Path(given), prepared.summary)
    print_in_main_process("\n".join([*describe_data(prepared.summary), *describe_stream(recipe), *warnings]))
    return prepared


def describe_data(summary: Mapping[str, Any]) -> list[str]:
    """Return lines with the numbers in `summary`, the summary of the encoded data, in the words of the model card."""
    splits = [split for split in ("train", "validation", "test") if split in summary]
    lines = [f"{split}: {describe_counts(summary[split])}" for split in splits]
    if "vocabulary" in summary:
        lines.append(f"vocabulary: {summary['vocabulary']:,} tokens")
    if labels := summary.get("labels"):
        lines.append(f"labels in train: {list_labels(labels)}")
    for key, title in (("dropped", "dropped from train"), ("test_in_train", "data of test that is also in train")):
        if any(summary.get(key, {}).values()):
            lines.append(f"{title}: {describe_counts(summary[key])}")
    return lines


def describe_stream(recipe: Recipe) -> list[str]:
    """Return a list of one line with the numbers of blocks and rows of a streamed run; an empty list for other runs."""
    if recipe.blocks is None:
        return []
    files = ", ".join(f"{' and '.join(map(str, file.paths))} {file.rows:,}" for file in recipe.blocks.files)
    return [
        f"streaming: {len(recipe.blocks):,} blocks of training rows ({files}); the numbers of rows and tokens of "
        "train are estimated from the first block"
    ]


def describe_dropped(counts: list[dict[str, int]]) -> str:
    """Return a line with the numbers of rows that were dropped from all blocks that the processes have finished.

    `counts` has a dict for each process, from the reason to the number of dropped rows.
    """
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    listed = ", ".join(f"{number:,} {name}" for name, number in total.items())
    return f"dropped from the blocks of train that were read: {listed or 'none'}"


def build_trainer(
    run: RunConfig,
    recipe: Recipe,
    prepared: PreparedData,
    model: PreTrainedModel,
    inputs: TrainerInputs,
    folder: RunFolder,
    write_card: WriteCard | None = None,
) -> RecipeTrainer:
    """Make the recipe's Trainer and its callbacks.

    The callbacks write the metrics and the loss curve, show the progress, stop training early if
    `early_stopping_patience` is given, and, in translation and captioning, write sample outputs of the model.
    """
    callbacks: list[Any] = [HistoryWriter(folder, run.training.measures)]
    if run.training.early_stopping_patience is not None:
        callbacks.append(EarlyStopping(run.training.early_stopping_patience))
    if hasattr(inputs.compute_metrics, "samples"):
        callbacks.append(SampleWriter(folder.path, inputs.compute_metrics))
    trainer = recipe.trainer_class(
        args=run.training,
        model=model,
        processing_class=prepared.processor,
        callbacks=callbacks,
        write_card=write_card,
        **vars(inputs),
    )
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(ProgressFromStep)
    if trainer.pop_callback(PrinterCallback) is not None:
        trainer.add_callback(TimedPrinter)
    return trainer


def fit(
    run: RunConfig,
    recipe: Recipe,
    prepared: PreparedData,
    trainer: RecipeTrainer,
    folder: RunFolder,
    termination: Termination,
) -> dict[str, Any]:
    """Train to the end, choose the weights, save and measure the model, and push the run if `push_to_hub` is set.

    Returns:
        The metrics in the main process, and an empty dictionary in other processes.
    """
    last_checkpoint = folder.last_checkpoint()
    if folder.checkpoints():
        run.training.eval_on_start = False  # the run had this evaluation when it began
    if trainer.is_world_process_zero():
        folder.claim(data_identity(recipe, prepared.rows))
        folder.write_metrics(folder.metrics() | {"data": prepared.summary, **circumstances(run, trainer.model)})
    if last_checkpoint is not None:
        print_in_main_process(f"Resuming training from {last_checkpoint}")
    planned = None if last_checkpoint is None else planned_steps(last_checkpoint)
    trainer.add_callback(ScheduleNotices(planned))
    try:
        with termination.deferred(has_other_processes=run.training.world_size > 1):
            trainer.train(resume_from_checkpoint=None if last_checkpoint is None else str(last_checkpoint))
    finally:
        progress: Any = trainer.pop_callback(ProgressFromStep)
        if progress is not None:
            progress.close()
    trainer.accelerator.wait_for_everyone()  # the main process may still be saving
    state = trainer.state
    if run.training.early_stopping_patience is not None and state.global_step < state.max_steps:
        print_in_main_process(
            f"Training ended early, at step {state.global_step:,} of {state.max_steps:,}: the last "
            f"{run.training.early_stopping_patience} evaluations had no better {run.training.metric_for_best_model} "
            "(early_stopping_patience)."
        )
    if trainer.stream_loader is not None:
        print_in_main_process(describe_dropped(gather_object([trainer.stream_loader.place.dropped])))
    steps = choose_weights(run, trainer, folder)
    trainer.save_model(_internal_call=True)  # the argument prevents a push: the model is measured first
    if not trainer.is_world_process_zero():
        return {}
    metrics = measure(run, recipe, prepared, trainer, folder, steps)
    report(run, recipe, metrics)
    if warning := compare_with_baseline(prepared, metrics["validation"]):
        print_in_main_process(warning)
    if run.training.push_to_hub:
        trainer.push_folder()
    else:
        trainer.write_model_card()
    return metrics


def choose_weights(run: RunConfig, trainer: RecipeTrainer, folder: RunFolder) -> list[int]:
    """Load the mean of the weights of the last checkpoints into the model, if `average_checkpoints` is set.

    Returns:
        The steps of the averaged checkpoints; without averaging, a list of the single step whose weights the model has.
    """
    number = run.training.average_checkpoints
    averaged = folder.regular_checkpoints()[-number:] if number else []
    if averaged:
        load_mean_weights(trainer.model, averaged)
        return [step_of(checkpoint) for checkpoint in averaged]
    state = trainer.state
    if run.training.load_best_model_at_end and state.best_model_checkpoint is not None:
        return [step_of(Path(state.best_model_checkpoint))]
    return [state.global_step]


def circumstances(run: RunConfig, model: PreTrainedModel) -> dict[str, Any]:
    """Return hyperparameters, number of processes, sources on the Hub and package versions, for `metrics.json`.

    `hyperparameters` are the values in effect, including defaults and the values chosen for `auto`. `from_hub` lists
    which of `model_name_or_path` and `dataset_name` is a name on the Hub and not a local path.
    """
    training, options = run.training, {**vars(run.model), **vars(run.data)}
    names = [name for name in ("model_name_or_path", "dataset_name") if options[name] is not None]
    hyperparameters = {name: getattr(training, name) for name in HYPERPARAMETERS}
    return {
        "hyperparameters": {**hyperparameters, "attn_implementation": model.config._attn_implementation},
        "processes": training.world_size,
        "from_hub": [name for name in names if not Path(options[name]).exists()],
        "versions": {name: version(name) for name in ("locant", "transformers", "torch", "datasets", "tokenizers")},
    }


def measure(
    run: RunConfig,
    recipe: Recipe,
    prepared: PreparedData,
    trainer: RecipeTrainer,
    folder: RunFolder,
    weights_of_steps: list[int],
) -> dict[str, Any]:
    """Evaluate the finished model as `locant evaluate` does; write `metrics.json`, predictions, report and pictures.

    In `metrics.json`, `best_step` is the step with the best evaluation; with `load_best_model_at_end`, only evaluations
    with a checkpoint count. The weights of the model are those of the step in `weights_of_steps`, or the mean of the
    weights at these steps if there are several.
    """
    metrics = folder.metrics()
    model = whole_model(trainer, folder)
    rows: dict[str, list[Any]] = {}
    for split in ("validation", "test"):
        if split in prepared.rows:
            beams = getattr(run.training, "num_beams", None)
            searched = "" if beams is None else f" with num_beams {beams}"
            print_in_main_process(f"Evaluating the model on {split}{searched}")
            metrics[split], rows[split] = recipe.measure(
                model,
                prepared.processor,
                prepared.rows[split],
                batch_size=run.training.per_device_eval_batch_size,
                show_progress=not run.training.disable_tqdm,
            )
            write_tsv(folder.path / f"{split}_{recipe.predictions_name}.tsv", rows[split])
            if run.training.report_to:
                scores = {name: value for name, value in metrics[split].items() if isinstance(value, int | float)}
                trainer.log({f"{split}_{name}": float(value) for name, value in scores.items()})
        else:  # delete results for this split that the run wrote before it was resumed
            metrics.pop(split, None)
            (folder.path / f"{split}_{recipe.predictions_name}.tsv").unlink(missing_ok=True)
    metrics |= {
        "finished": True,
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "weights_of_steps": weights_of_steps,
        "parameters": model.num_parameters(),
    }
    folder.write_metrics(metrics)
    write_report(folder.path, recipe, metrics, rows)
    for split in ("validation", "test"):
        if "confusion_matrix" in metrics.get(split, {}):
            drawing = {f"{split}_confusion_matrix": partial(draw_confusion_matrix, metrics=metrics[split])}
            write_pictures(folder.path, drawing, "The confusion matrix is not drawn")
    return metrics


def whole_model(trainer: RecipeTrainer, folder: RunFolder) -> PreTrainedModel:
    """Return the finished model in float32; if its weights are sharded, load it from `folder`, where `fit` saved it."""
    if trainer.is_distributed_loading_by_transformers:
        backend = trainer.model.config._attn_implementation
        model: Any = type(trainer.model).from_pretrained(folder.path, attn_implementation=backend)
        return model.to(trainer.args.device).float().eval()
    # remove the autocast that mixed-precision training wrapped around the forward pass
    return trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).float().eval()


def report(run: RunConfig, recipe: Recipe, metrics: dict[str, Any]) -> None:
    """Print the metrics of each split, the steps of the weights (if not just the last step), and the model's folder."""
    for split in ("validation", "test"):
        if split in metrics:
            first, *others = recipe.lines(metrics[split])
            signature = f" ({first.note})" if first.note else ""
            parts = [f"{first.name} {first.value}{signature}", *(f"{line.name} {line.value}" for line in others)]
            print_in_main_process(f"{split}: {', '.join(parts)}")
    steps = metrics.get("weights_of_steps", [])
    if len(steps) > 1:
        print_in_main_process(f"The weights are the mean of the weights after steps {', '.join(map(str, steps))}.")
    elif steps and steps != [metrics["steps"]]:
        best = run.training.metric_for_best_model
        print_in_main_process(f"The weights are from step {steps[0]:,}, which has the best {best}.")
    print_in_main_process(f"The model is in {run.training.output_dir}")
