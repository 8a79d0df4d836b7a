# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Lines of work in training: a step of the model alone, and the loop of the Trainer."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import peers
import torch
from lines import Cost, Line, Repetition, Setting
from peers import Shape
from ted import TRANSLATOR, data_files
from torch import nn
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

SHAPE = Shape()
LONGEST = 28
UPDATE_SENTENCES = 32
PAIRS, DOCUMENT_SENTENCES = 128, 208  # what a repetition of a training loop trains on: one pass, some four updates


def batch_of_pairs(shape: Shape, sentences: int, longest: int, shortest: int) -> dict[str, torch.Tensor]:
    """Random ids and labels `(sentences, longest)` of uniformly distributed lengths, padded on the right."""
    generator = torch.Generator().manual_seed(0)

    def padded() -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.randint(shortest, longest + 1, (sentences, 1), generator=generator)
        lengths[0] = longest
        ids = torch.randint(4, shape.vocabulary, (sentences, longest), generator=generator)
        return ids, torch.arange(longest) < lengths

    (source, source_mask), (target, target_mask) = padded(), padded()
    return {
        "input_ids": source.masked_fill(~source_mask, peers.PAD),
        "attention_mask": source_mask.long(),
        "labels": target.masked_fill(~target_mask, -100),
    }


def as_trained(batch: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """The batch as the Trainer of the model's package passes it: Locant's Trainer adds `skip_logits=True`."""
    return {**batch, "skip_logits": True} if "skip_logits" in signature(model.forward).parameters else batch


def training_step(build: Callable[[Shape], nn.Module], sentences: int, setting: Setting) -> Repetition:
    """Forward pass, loss and backward pass of one batch with a quarter of padding; dropout 0.1, no optimiser."""
    shape = SHAPE.tiny() if setting.quick else SHAPE
    model = build(shape).to(setting.device).train()
    batch = batch_of_pairs(shape, sentences, LONGEST, shortest=LONGEST // 2)
    batch = as_trained({name: tensor.to(setting.device) for name, tensor in batch.items()}, model)

    def step() -> None:
        model.zero_grad()
        with setting.autocast():
            output = model(**batch)
        (output if isinstance(output, torch.Tensor) else output.loss).backward()

    return lambda number: setting.timed(step)


def _with_the_weights_of(build: Callable[[Shape], PreTrainedModel], shape: Shape) -> PreTrainedModel:
    return peers.with_the_weights_of(build(shape))


class _Clock(TrainerCallback):
    """Measures the seconds of a training run, and counts the real tokens that the model gets during the run."""

    def __init__(self, model: nn.Module, pad_token_id: int):
        self.seconds, self.tokens, self._pad = 0.0, 0, pad_token_id
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, model: nn.Module, arguments: Any, inputs: dict[str, torch.Tensor]) -> None:
        self.tokens += int((inputs["input_ids"] != self._pad).sum() + (inputs["labels"] != -100).sum())

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.tokens, self.seconds = 0, -time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        self.seconds += time.perf_counter()


def _training_loop(trainer: Any, clock: _Clock) -> Repetition:
    trainer.add_callback(clock)

    def repetition(number: int) -> Cost:
        trainer.train()
        return Cost(clock.seconds, clock.tokens)

    return repetition


def _options(setting: Setting, output_dir: str) -> dict[str, Any]:
    return {
        "output_dir": output_dir,
        "num_train_epochs": 1,
        "per_device_train_batch_size": UPDATE_SENTENCES,
        "learning_rate": 1e-4,
        "bf16": setting.precision == "bfloat16",
        "use_cpu": setting.device == "cpu",
        "disable_tqdm": True,
        "eval_strategy": "no",
        "save_strategy": "no",
    }


def _loop_shape(setting: Setting) -> Shape:
    return SHAPE.tiny() if setting.quick else SHAPE


def stock_loop(setting: Setting) -> Repetition:
    """Marian in transformers' Seq2SeqTrainer with its collator, batches of 32 sentences drawn at random."""
    import datasets

    shape = _loop_shape(setting)
    tokenizer = AutoTokenizer.from_pretrained(TRANSLATOR)
    model = peers.marian(Shape(**{**vars(shape), "vocabulary": len(tokenizer)}))
    source, target = (Path(file).read_text(encoding="utf-8").splitlines() for file in data_files("train"))
    pairs = datasets.Dataset.from_dict({"source": source[:PAIRS], "target": target[:PAIRS]})
    encoded = pairs.map(
        lambda rows: tokenizer(rows["source"], text_target=rows["target"], max_length=128, truncation=True),
        batched=True,
        remove_columns=pairs.column_names,
    )
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(**_options(setting, tempfile.mkdtemp()), report_to="none"),
        train_dataset=encoded,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    )
    return _training_loop(trainer, _Clock(model, tokenizer.pad_token_id))


def _command_line(options: dict[str, Any]) -> list[str]:
    """The command line of `locant train` for options by name; booleans become switches."""
    arguments: list[str] = []
    for name, value in options.items():
        switch = f"--{'' if value else 'no_'}{name}"
        arguments += [switch] if isinstance(value, bool) else [f"--{name}", str(value)]
    return arguments


def locant_trainer(arguments: list[str]) -> Any:
    """The Trainer of a run of `locant train` with this command line."""
    from locant.training.options.run_config import parse_run_config
    from locant.training.run.building import build_model
    from locant.training.run.run_folder import RunFolder
    from locant.training.run.training_run import build_trainer, load_rows, prepare
    from locant.training.run.trial_steps import settle_choices
    from locant.training.tasks.recipe import recipe_of
    from locant.training.tasks.registry import TASKS

    run = parse_run_config(arguments)
    recipe = recipe_of(TASKS[run.task])(run.data, run.training.seed)
    run_folder = RunFolder(run)
    prepared = prepare(run, recipe, load_rows(run, recipe), run_folder)
    model = build_model(run, recipe, prepared)
    inputs = recipe.trainer_inputs(run, prepared, model)
    settle_choices(run, model, inputs, run_folder)
    return build_trainer(run, recipe, prepared, model, inputs, run_folder)


def _locant_training(arguments: list[str]) -> Repetition:
    trainer = locant_trainer(arguments)
    return _training_loop(trainer, _Clock(trainer.model, trainer.processing_class.pad_token_id))


def locant_loop(setting: Setting) -> Repetition:
    """`locant train` on the pairs of `stock_loop`, in batches of as many pairs, but of pairs with similar lengths."""
    shape = _loop_shape(setting)
    folder = Path(tempfile.mkdtemp())
    files = []
    for file in data_files("train"):
        files.append(str(folder / file.name))
        lines = file.read_text(encoding="utf-8").splitlines()[:PAIRS]
        Path(files[-1]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    fields = {"d_model": shape.width, "dropout": shape.dropout, "lm_head_bias": True}
    for stack in ("encoder", "decoder"):
        sizes = {"layers": shape.layers, "attention_heads": shape.heads, "ffn_dim": shape.ffn}
        fields |= {f"{stack}_{name}": value for name, value in sizes.items()}
    options = {
        **_options(setting, str(folder / "run")),
        **fields,
        "tokenizer_name": TRANSLATOR,
        "max_source_length": 128,
        "max_target_length": 128,
        "load_best_model_at_end": False,
    }
    files_given = ["--train_file", *files, "--validation_file", *map(str, data_files("dev"))]
    return _locant_training([*files_given, *_command_line(options)])


LM_SHAPE = Shape(layers=4, dropout=0.0)
LM_LENGTH, LM_DOCUMENTS, LM_BLOCKS = 256, 8, 4  # 8 documents have about as many tokens as 4 packed blocks


def _documents() -> list[str]:
    """Texts of 1 to 12 successive English sentences of TED."""
    lines = data_files("train")[0].read_text(encoding="utf-8").splitlines()[:DOCUMENT_SENTENCES]
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 13, (len(lines),), generator=generator).tolist()
    documents, start = [], 0
    while start < len(lines):
        size = sizes.pop()
        documents.append(" ".join(lines[start : start + size]))
        start += size
    return documents


def stock_language_loop(setting: Setting) -> Repetition:
    """Llama in transformers' Trainer, on padded batches of documents drawn at random."""
    import datasets

    tokenizer = AutoTokenizer.from_pretrained(TRANSLATOR)
    shape = LM_SHAPE.tiny() if setting.quick else LM_SHAPE
    model = peers.llama(Shape(**{**vars(shape), "vocabulary": len(tokenizer)}))
    rows = datasets.Dataset.from_dict({"text": _documents()}).map(
        lambda row: tokenizer(row["text"], max_length=LM_LENGTH, truncation=True), remove_columns=["text"]
    )
    options = {**_options(setting, tempfile.mkdtemp()), "per_device_train_batch_size": LM_DOCUMENTS}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**options, report_to="none"),
        train_dataset=rows.select_columns(["input_ids", "attention_mask"]),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    return _training_loop(trainer, _Clock(model, tokenizer.pad_token_id))


def locant_language_loop(setting: Setting) -> Repetition:
    """`locant train` on the documents of `stock_language_loop`, packed into blocks, with layers like Llama's."""
    shape = LM_SHAPE.tiny() if setting.quick else LM_SHAPE
    folder = Path(tempfile.mkdtemp())
    for split, documents in (("train", _documents()), ("validation", _documents()[:20])):
        (folder / f"{split}.txt").write_text("".join(f"{text}\n" for text in documents), encoding="utf-8")
    layers = {"decoder_layers": shape.layers, "decoder_attention_heads": shape.heads, "decoder_ffn_dim": shape.ffn}
    of_llama = {"norm_type": "rmsnorm", "gated_ffn": True, "activation_function": "silu", "position_encoding": "rotary"}
    no_biases = {"attention_bias": False, "ffn_bias": False, "tie_word_embeddings": False, "scale_embedding": False}
    options = {
        **_options(setting, str(folder / "run")),
        **{"per_device_train_batch_size": LM_BLOCKS, "block_size": LM_LENGTH, "load_best_model_at_end": False},
        **{"tokenizer_name": TRANSLATOR, "d_model": shape.width, "dropout": shape.dropout},
        **layers,
        **of_llama,
        **no_biases,
    }
    files = ["--train_file", str(folder / "train.txt"), "--validation_file", str(folder / "validation.txt")]
    documents = ["--document_separator", "line"]
    return _locant_training(["--task", "language_modeling", *files, *documents, *_command_line(options)])


_PEERS: dict[str, Callable[[Shape], nn.Module]] = {
    "Marian": peers.marian,
    "BART": peers.bart,
    "T5": peers.t5,
    "torch.nn.Transformer": peers.TorchTransformer,
    "x-transformers": peers.XTransformer,
}


def _step_line(peer: str) -> Line:
    build = _PEERS[peer]
    # peers of other libraries than transformers cannot be converted: Locant has Marian's shape beside them
    twin = build if peer in ("Marian", "BART", "T5") else peers.marian
    sentences = 64 if peer == "Marian" else 16
    return Line(
        "Training step",
        f"3+3 layers, width 256, vocabulary 8,000, batch {sentences} × {LONGEST}, a quarter padding",
        {"Locant": partial(training_step, partial(_with_the_weights_of, twin), sentences)},
        peer,
        partial(training_step, build, sentences),
        precisions=("float32", "bfloat16") if peer == "Marian" else ("float32",),
        rounds=9,
        processes=3 if peer == "x-transformers" else 1,  # its step takes 350 or 390 ms, depending on the process
    )


LINES = [
    *map(_step_line, _PEERS),
    Line(
        "Training loop",
        f"the Trainer's loop on TED, 3+3 layers, width 256, {UPDATE_SENTENCES} sentences an update",
        {"locant train": locant_loop},
        "Marian in Seq2SeqTrainer",
        stock_loop,
        unit="s/token",
        rounds=6,
    ),
    Line(
        "Training loop",
        f"a language model on documents of mixed length, 4 layers, width 256, {LM_DOCUMENTS} documents an update",
        {"locant train": locant_language_loop},
        "Llama in Trainer",
        stock_language_loop,
        unit="s/token",
        rounds=6,
    ),
]
