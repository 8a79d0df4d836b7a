# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The recipe of sequence classification: train an encoder on texts with labels, and evaluate it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from datasets.utils import tqdm as datasets_tqdm
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..data.batching import TrainingRows
from ..data.preprocessing import Side, build_tokenizer, check_lengths, token_lengths
from ..data.row_checks import count_overlap
from ..data.streaming import EncodedBlock, open_blocks
from ..data.tables import LABEL, LINE, NUMBER, Column, Layout, labels, numbered, table_of
from ..errors import InputError
from ..inference import position_limit
from ..options.run_config import RunConfig
from ..run.trainer import by_length
from .classification import (
    Classification,
    ClassificationMetrics,
    check_class,
    class_numbers,
    classification_metrics,
    find_classes,
    predict_logits,
    predicted_labels,
)
from .recipe import PreparedData, ReportTable, TrainerInputs, report_rows, tokenizer_fields
from .sequence_classification_arguments import SequenceClassificationData

TEXT_SIDE = Side("text", "input_ids", "max_length")


class Prediction(NamedTuple):
    """A text, its label, and the predicted label.

    Several labels of a text are joined by `label_separator`; for regression, the labels are numbers.
    """

    text: str
    label: str
    prediction: str


class SequenceClassification(Classification):
    """The recipe for encoders that predict one label, several labels or a number for a text."""

    auto_class = AutoModelForSequenceClassification

    data: SequenceClassificationData

    @property
    def layout(self) -> Layout:
        """The columns of a row: a text and its label."""
        kinds = {
            "single_label_classification": LABEL,
            "multi_label_classification": labels(self.data.label_separator),
            "regression": NUMBER,
        }
        text = Column("text", chosen=self.data.text_column)
        label = Column("label", kinds[self.data.problem_type], chosen=self.data.label_column)
        return Layout((text, label), row="text")

    def build_processor(self, run: RunConfig, train: Dataset, name: str | None) -> PreTrainedTokenizerBase:
        """Load the tokenizer `name`; if `name` is None, train a new tokenizer on the texts of `train`."""
        texts = (row["text"] for row in train.select_columns(["text"]))
        tokenizer = build_tokenizer(self.data, texts, name, show_progress=not run.training.disable_tqdm)
        if tokenizer.pad_token_id is None:
            raise InputError(
                f"The tokenizer {tokenizer.name_or_path} has no pad_token, but the texts of a batch must be padded: "
                "choose a model whose tokenizer has a pad_token."
            )
        return tokenizer

    def encode(self, rows: DatasetDict, processor: PreTrainedTokenizerBase) -> PreparedData:
        """Convert every split to token ids and labels, and count texts, tokens and labels for the summary."""
        is_regression = self.data.problem_type == "regression"
        counts = Counter[str]() if is_regression else self._count_labels(rows["train"])
        classes = [] if is_regression else find_classes(counts, "text")
        numbers, num_proc = class_numbers(classes), self.data.preprocessing_num_workers
        encoded = DatasetDict()
        summary: dict[str, Any] = {"vocabulary": len(processor)}
        if classes:
            summary["labels"] = dict(counts.most_common())
        for split, texts in rows.items():
            encoded[split] = self._encode_split(texts, processor, numbers, table_of(self.data, split), num_proc)
            lengths = np.array(encoded[split]["tokens"])
            kept = lengths if self.data.max_length is None else np.minimum(lengths, self.data.max_length)
            summary[split] = {"texts": len(texts), "tokens": int(kept.sum()), "cut": int((kept < lengths).sum())}
        if "test" in rows:
            compared = {"texts": ["text"], "with_label": ["text", "label"]}
            summary["test_in_train"] = count_overlap(rows["train"], rows["test"], compared)
        return PreparedData(rows, encoded, processor, summary, classes)

    def _count_labels(self, train: Dataset) -> Counter[str]:
        """Count the training rows of each label; with `streaming`, the labels of all blocks are read for this count."""
        if self.blocks is None:
            return Counter(_names(train))
        counts, layout = Counter[str](), Layout(self.layout.columns[1:], row="text")
        with datasets_tqdm(desc="Counting labels", total=len(self.blocks), unit=" blocks") as progress:
            for file in self.blocks.files:
                [column] = open_blocks(str(file.paths[-1]), layout)  # of parallel files, the last one has the labels
                for block in range(len(column)):
                    counts.update(_names(column.read(block)))
                    progress.update()
        return counts

    def _encode_block(
        self, rows: Dataset, *, tokenizer: PreTrainedTokenizerBase, classes: Sequence[str]
    ) -> EncodedBlock:
        """Convert the texts of a streamed block to token ids and their labels to targets (`_target`); drop no text."""
        encoded = self._encode_split(numbered(rows), tokenizer, class_numbers(classes), "a block of train_file")
        return EncodedBlock(*_training_rows(encoded), {})

    def _encode_split(
        self,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        numbers: dict[str, int],
        table: str,
        num_proc: int | None = None,
    ) -> Dataset:
        """Make the columns `input_ids`, `labels`, `tokens` (number of tokens before truncation) and `line`."""
        max_length, problem_type = self.data.max_length, self.data.problem_type

        def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
            found = tokenizer(batch["text"], verbose=False)["input_ids"]
            tokens = [len(ids) for ids in found]
            if max_length is not None and max(tokens) > max_length:
                found = tokenizer(batch["text"], truncation=True, max_length=max_length)["input_ids"]
                if tokenizer.is_fast:  # it keeps `max_length`, and would be saved with it
                    tokenizer.backend_tokenizer.no_truncation()
            lines = zip(batch["label"], batch[LINE], strict=True)
            targets = [_target(label, numbers, problem_type, table, line) for label, line in lines]
            return {"input_ids": found, "labels": targets, "tokens": tokens, LINE: batch[LINE]}

        return rows.map(
            encode, batched=True, remove_columns=rows.column_names, num_proc=num_proc, desc="Tokenising texts"
        )

    def config_fields(self, prepared: PreparedData) -> dict[str, Any]:
        """Return the size of the vocabulary and the ids of special tokens."""
        return tokenizer_fields(prepared.processor)

    def check(self, model: PreTrainedModel, prepared: PreparedData) -> None:
        """Raise `InputError` if a text has more tokens than the encoder has learned positions.

        If the encoder has learned positions, `streaming` also needs a `max_length` that is not above their number.
        """
        limit, longest = position_limit(model, "source"), self.data.max_length
        if self.is_streamed and limit is not None and (longest is None or longest > limit):
            raise InputError(
                f"max_length is {longest or 'not given'}, but the learned positions end at {limit}, and a streamed "
                f"text may be longer: set max_length to {limit} or less, raise max_position_embeddings, or choose a "
                "position encoding without a table (sinusoidal, rotary)."
            )
        for split, texts in prepared.encoded.items():
            check_lengths(texts, limit, split, TEXT_SIDE)

    def trainer_inputs(self, run: RunConfig, prepared: PreparedData, model: PreTrainedModel) -> TrainerInputs:
        """Return training and validation rows of token ids and labels, the data collator and the metrics."""
        train_dataset, train_lengths = _training_rows(prepared.encoded["train"])
        validation, lengths = _training_rows(prepared.encoded["validation"])
        encode = partial(self._encode_block, tokenizer=prepared.processor, classes=prepared.classes)
        return TrainerInputs(
            train_dataset=train_dataset,
            train_lengths=train_lengths,
            eval_dataset=by_length(validation.dataset, lengths),
            data_collator=DataCollatorWithPadding(prepared.processor),
            compute_metrics=ClassificationMetrics(self.data.problem_type),
            stream=self.stream(encode),
        )

    def measure(
        self, model: PreTrainedModel, processor: PreTrainedTokenizerBase, rows: Dataset, **options: Any
    ) -> tuple[dict[str, Any], list[Prediction]]:
        """Measure the loss, accuracy, macro F1 and the scores of each class; the predictions are `Prediction`s.

        For regression, measure the loss, mean squared error and correlation.
        """
        config: Any = model.config
        numbers = {name: int(number) for name, number in config.label2id.items()}
        encoded = self._encode_split(numbered(rows), processor, numbers, self.table)
        problem_type = self.data.problem_type
        inputs, lengths = encoded.select_columns(["input_ids"]), token_lengths(encoded, ["input_ids"])
        logits = predict_logits(model, DataCollatorWithPadding(processor), inputs, lengths, **options)
        targets = torch.tensor(encoded["labels"][:])
        classes = [] if problem_type == "regression" else sorted(numbers, key=lambda name: numbers[name])
        metrics = {**classification_metrics(logits, targets, problem_type, classes), "texts": len(rows)}
        return metrics, self._predictions(rows, logits.numpy(), config.id2label)

    def _predictions(self, rows: Dataset, logits: np.ndarray, names: Mapping[int, str]) -> list[Prediction]:
        texts, given = rows["text"][:], rows["label"][:]
        if self.data.problem_type == "regression":
            found = [f"{value:.4f}" for value in logits[:, 0]]
            return [Prediction(*row) for row in zip(texts, map(str, given), found, strict=True)]
        numbers = predicted_labels(logits, self.data.problem_type)
        if self.data.problem_type == "single_label_classification":
            return [Prediction(*row) for row in zip(texts, given, (names[int(n)] for n in numbers), strict=True)]
        join = self.data.label_separator.join
        found = [join(names[int(number)] for number in np.flatnonzero(row)) for row in numbers]
        given = [[names[number] for number in sorted(names) if names[number] in labels] for labels in given]
        return [Prediction(*row) for row in zip(texts, map(join, given), found, strict=True)]

    def report_tables(self, rows: Sequence[Prediction]) -> list[ReportTable]:
        """Return a table of the rows whose prediction is not their label; for regression, of the largest errors."""
        if self.data.problem_type == "regression":
            worst = sorted(rows, key=lambda row: -abs(float(row.prediction) - float(row.label)))
            return [report_rows("Largest errors", worst)]
        return super().report_tables(rows)


def _names(rows: Dataset) -> list[str]:
    """Return the labels of all rows in one list; a row with several labels adds each of its labels."""
    return [name for label in rows["label"][:] for name in ([label] if isinstance(label, str) else label)]


def _training_rows(encoded: Dataset) -> tuple[TrainingRows, np.ndarray]:
    """Return the rows with the columns that the model takes, and their lengths `(rows, 1)`."""
    return TrainingRows(encoded.select_columns(["input_ids", "labels"])), token_lengths(encoded, ["input_ids"])


def _target(label: Any, numbers: dict[str, int], problem_type: str, table: str, row: int) -> Any:
    """Return the target of a row: the class number of its label; for regression, the label.

    If a row may have several labels, its target has 1 for each class that is among its labels, and 0 for other classes.
    """
    if problem_type == "regression":
        # the Trainer does not count a label of -100, so the next float32 number takes its place
        return float(np.nextafter(np.float32(label), np.float32(0))) if label == -100 else label
    for name in [label] if isinstance(label, str) else label:
        check_class(name, numbers, table, row)
    if isinstance(label, str):
        return numbers[label]
    return [float(name in label) for name in sorted(numbers, key=lambda name: numbers[name])]
