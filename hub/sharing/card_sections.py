# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Writes the text of a model card, with one function for each section.

A function returns an empty string if the files in the model's folder have no data for the section.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from locant.utils.counts import describe_counts, list_labels
from locant.utils.markdown import markdown_table
from locant.utils.run_files import CURVE_FILE

from .card_data import METRICS, SPLITS, CardData, base_name

_MOST_ROWS = 20

_PROCESSORS = ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
_CALLS = {
    "translation": '"{prefix}A sentence."',
    "text2text-generation": '"{prefix}A text."',
    "text-generation": '"A text begins", max_new_tokens=20',
    "fill-mask": 'f"A {{pipe.tokenizer.mask_token}} text."',
    "text-classification": '"A text."',
    "token-classification": '"A text."',
    "feature-extraction": '"A text."',
    "image-classification": '"image.png"',
    "image-feature-extraction": '"image.png"',
    "image-text-to-text": 'images="image.png", text=""',
}
_TEXT_TO_TEXT = ("translation", "text2text-generation")
_ANSWER = """from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{where}"{trust})
model = AutoModelForQuestionAnswering.from_pretrained("{where}"{trust})
inputs = tokenizer("A question?", "A text with its answer.", return_tensors="pt")
start, end = (logits.argmax() for logits in model(**inputs).to_tuple()[:2])
print(tokenizer.decode(inputs["input_ids"][0, start : end + 1]).strip())"""

# Options in the section `data` of the run config, and fields of config.json, that influence the training
_OF_DATA = (
    *("bpe_dropout", "max_source_length", "max_target_length", "max_length", "block_size", "mlm_probability"),
    *("random_shift", "random_crop", "random_flip", "source_prefix", "tokenizer_kind", "tokenizer_vocab_size"),
)
_OF_CONFIG = ("dropout", "attention_dropout", "activation_dropout", "classifier_dropout", "label_smoothing")


def sections(card: CardData) -> list[str]:
    """Write the texts of all sections that are not empty."""
    made = [summary(card)]
    for title, section in _SECTIONS.items():
        if text := section(card):
            made.append(f"## {title}\n\n{text}")
    return [section for section in made if section]


def summary(card: CardData) -> str:
    """Write the model's class, task, languages and base model, and whether its training is unfinished."""
    parts = []
    if card.model_class is not None:
        purpose = f" for {card.pipeline_tag.replace('-', ' ')}" if card.pipeline_tag else ""
        parts.append(f"`{card.model_class}`{purpose}{_between(card.languages)}.")
    if (base := card.option("model", "model_name_or_path")) is not None:
        hub_name = card.from_hub("model", "model_name_or_path")
        folder = f"a model in a folder ({base_name(base)})" if base_name(base) else "a model in a folder"
        base_model = f"[{hub_name}](https://huggingface.co/{hub_name})" if hub_name else folder
        parts.append(f"Fine-tuned from {base_model}.")
    if card.metrics and not card.metrics.get("finished"):
        parts.append("Training is not finished.")
    return " ".join(parts)


def usage(card: CardData) -> str:
    """Write Python code that runs the model, with `trust_remote_code=True` if the config names code (`auto_map`)."""
    code = _ANSWER.format(where=_quoted(card.where), trust=_trust(card)) if _answers(card) else _pipeline(card)
    needs = card.config.get("locant_code", {}).get("transformers")
    if "trust_remote_code" in code:
        note = f"The folder carries the model's code, for transformers {needs}.\n\n" if needs else ""
    else:
        note = "This needs Locant to be installed.\n\n" if "locant" in code.partition("\n")[0] else ""
    return f"{note}```python\n{code}\n```" if code else ""


def _answers(card: CardData) -> bool:
    return card.pipeline_tag == "question-answering" and card.has(*_PROCESSORS) and bool(_trust(card))


def _pipeline(card: CardData) -> str:
    is_text_to_text = card.pipeline_tag is None and card.model_class == "LocantForConditionalGeneration"
    task = "text2text-generation" if is_text_to_text else card.pipeline_tag
    if task not in _CALLS or not card.has(*_PROCESSORS):
        return _loading(card)
    call = _CALLS[task].format(prefix=_quoted(card.option("data", "source_prefix") or ""))
    where, trust = _quoted(card.where), _trust(card)
    # transformers itself has no text-to-text pipelines
    if trust or not (card.is_locant or task in _TEXT_TO_TEXT):
        made = f'from transformers import pipeline\n\npipe = pipeline("{task}", model="{where}"{trust})'
    else:
        made = f'import locant\n\npipe = locant.pipeline("{task}", model="{where}")'
    return f"{made}\nprint(pipe({call}))"


def _loading(card: CardData) -> str:
    """Write Python code that only loads the model.

    The code is for models without a pipeline, and for folders that have neither a tokenizer nor a processor.
    """
    if card.model_class is None:
        return ""
    classes = {place.rpartition(".")[2]: auto for auto, place in (card.config.get("auto_map") or {}).items()}
    home = "locant" if card.is_locant and not classes else "transformers"
    name = classes.get(card.model_class, card.model_class)
    return f'from {home} import {name}\n\nmodel = {name}.from_pretrained("{_quoted(card.where)}"{_trust(card)})'


def _quoted(text: str) -> str:
    """Escape `text` for a Python string in double quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _trust(card: CardData) -> str:
    return ", trust_remote_code=True" if card.config.get("auto_map") else ""


def results(card: CardData) -> str:
    """Write a table with the metrics of the finished model, and the signature of each metric that has one."""
    if not card.results:
        return ""
    keys = dict.fromkeys(key for measured in card.results.values() for key in measured)
    rows = []
    for key in keys:
        values = [measured.get(key) for measured in card.results.values()]
        if all(isinstance(value, int | float) or value is None for value in values):
            signatures = {str(measured.get(f"{key}_signature", "")) for measured in card.results.values()} - {""}
            scores = [_score(key, value) for value in values]
            rows.append(
                [
                    METRICS[key][1] if key in METRICS else key.replace("_", " "),
                    *scores,
                    ", ".join(f"`{one}`" for one in sorted(signatures)),
                ]
            )
    table = _table(["", *card.results, "signature"], rows)
    search = [f"`{name}` {card.generation[name]}" for name in _OF_SEARCH if name in card.generation]
    return table + (f"\n\nGenerated with {', '.join(search)}." if search and "bleu" in keys else "")


_OF_SEARCH = ("num_beams", "length_penalty", "max_new_tokens")


def data(card: CardData) -> str:
    """Write a table with the source and the size of each split, and facts about the data such as the licence."""
    counted = card.metrics.get("data", {})
    columns = list(dict.fromkeys(key for split in SPLITS for key in counted.get(split, ())))
    rows = []
    for split in SPLITS:
        source = card.source_of(split)
        if split in counted or (source and split != "validation"):
            numbers = [_number(counted.get(split, {}).get(column)) for column in columns]
            cut_off = split == "validation" and card.option("data", "validation_file") is None
            shown_source = (
                f"{source} (cut off)" if source and cut_off and not card.option("data", "dataset_name") else source
            )
            rows.append([split, shown_source or "", *numbers])
    parts = [_table(["", "from", *(column.replace("_", " ") for column in columns)], rows)]
    if (name := card.from_hub("data", "dataset_name")) is not None:
        parts.append(f"Dataset: [{name}](https://huggingface.co/datasets/{name})")
        if (configuration := card.option("data", "dataset_config_name")) is not None:
            parts[-1] += f", {configuration}"
    if (licence := card.option("data", "license")) is not None:
        parts.append(f"Licence of the data: {licence}")
    if labels := counted.get("labels"):
        parts.append(f"Labels in train: {list_labels(labels)}")
    if any(counted.get("dropped", {}).values()):
        parts.append(f"Dropped from train: {describe_counts(counted['dropped'])}")
    if (streamed := counted.get("streamed")) is not None:
        parts.append(f"The tokens of train are estimated from {_number(streamed['counted_rows'])} rows.")
    if any(counted.get("test_in_train", {}).values()):
        parts.append(f"Data of test that is also in train: {describe_counts(counted['test_in_train'])}")
    return "\n\n".join(part for part in parts if part)


def model(card: CardData) -> str:
    """Write a table with the architecture and the size of the model."""
    config, saved = card.config, card.checkpoint
    rows: list[list[str]] = []
    if saved is not None and card.parameters is not None:
        types = sorted({str(header.dtype).removeprefix("torch.") for header in saved.headers.values()})
        rows.append(["parameters", f"{card.parameters:,} ({', '.join(types)})"])
    rows += [["position encoding", text] for text in [_positions(card)] if text]
    for stack in card.stacks:
        sizes = [f"{name} {config[f'{stack}_{key}']}" for key, name in _SIZES.items() if config.get(f"{stack}_{key}")]
        rows.append([stack, ", ".join(sizes)])
    if card.stacks:
        rows.append(["width", str(config.get("d_model", ""))])
        norm = [config[name] for name in ("norm_position", "norm_type") if config.get(name)]
        rows.append(["norm", ", ".join(norm)])
        gated = ["gated"] if config.get("gated_ffn") else []
        rows.append(["activation", ", ".join([config.get("activation_function") or "", *gated]).strip(", ")])
    if card.reads_images:
        rows += [[key.replace("_", " "), str(config.get(key, ""))] for key in _IMAGE_FIELDS]
    if "decoder" in card.stacks or not card.reads_images:
        rows.append(["vocabulary", _number(config.get("vocab_size"))])
    return _table(["", ""], [row for row in rows if row[1]])


_SIZES = {
    "layers": "layers",
    "attention_heads": "heads",
    "key_value_heads": "key–value heads",
    "ffn_dim": "feed-forward",
}
_IMAGE_FIELDS = ("image_size", "patch_size", "num_channels")


def _positions(card: CardData) -> str:
    """List the model's position encodings with their options.

    The encoding of the decoder is listed if it differs from the encoding of the encoder, and the encoding of
    cross-attention if it is not `none`.
    """
    config = card.config
    first = config.get("position_encoding")
    if first is None:
        return ""
    if card.stacks == ("decoder",):
        first = config.get("decoder_position_encoding") or first
    encodings = [_encoding(config, first, of_patches=card.reads_images and card.stacks != ("decoder",))]
    if card.stacks == ("encoder", "decoder"):
        cross = config.get("cross_position_encoding")
        decoder = _encoding(config, config.get("decoder_position_encoding") or first)
        encodings += [f"decoder: {decoder}"] if decoder != encodings[0] else []
        encodings += [f"cross-attention: {_encoding(config, cross)}"] if cross not in (None, "none") else []
    return "; ".join(encodings)


def _encoding(config: Mapping[str, Any], name: str, of_patches: bool = False) -> str:
    options = dict((config.get("position_parameters") or {}).get(name) or {})
    if name == "rotary":
        options |= config.get("rope_parameters") or {}
    if name == "learned" and not of_patches:  # the size of an image encoder's table follows from its patch grid
        options |= {key: config[key] for key in ["max_position_embeddings"] if key in config}
    listed = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"{name} ({listed})" if listed else name


def training(card: CardData) -> str:
    """Write the duration of training, and a table of hyperparameters."""
    effective, given = card.metrics.get("hyperparameters", {}), card.run.get("training") or {}
    numbers = {
        name: value
        for name, value in given.items()
        if not isinstance(value, str | list | dict) and not name.startswith(_NO_HYPERPARAMETERS)
    }
    shown = {**effective, **numbers} if card.run or effective else {}
    rows = [
        [f"`{name}`", f"{_value(value)}{'' if name in given else ' (default)'}"]
        for name, value in shown.items()
        if value is not None and not (name == "max_steps" and value < 0)
    ]
    of_data = {name: card.option("data", name) for name in _OF_DATA}
    of_config = {name: card.config.get(name) for name in _OF_CONFIG} if card.run else {}
    rows += [[f"`{name}`", _value(value)] for name, value in {**of_data, **of_config}.items() if value is not None]
    return "\n\n".join(part for part in (_duration(card), _table(["", ""], rows)) if part)


_NO_HYPERPARAMETERS = ("hub_", "push_", "logging_", "log_", "save_", "disable_", "dataloader_", "use_cpu", "dry_run")


def _duration(card: CardData) -> str:
    found = card.metrics
    # `steps` and `weights_of_steps` are shown only if the run is finished: while a finished run is continued,
    # metrics.json still has their earlier values
    is_finished = found.get("finished")
    parts = [f"{found['steps']:,} steps"] if is_finished and found.get("steps") else []
    parts += [f"{found['training_seconds']:,.0f} seconds"] if found.get("training_seconds") else []
    parts += [f"{found['processes']} processes"] if found.get("processes", 1) > 1 else []
    parts += [_weights(found)] if is_finished and found.get("weights_of_steps") else []
    return f"{', '.join(parts)}." if parts else ""


def _weights(metrics: Mapping[str, Any]) -> str:
    """Name the training steps of the checkpoints that the weights were taken from."""
    steps = metrics["weights_of_steps"]
    if len(steps) > 1:
        return f"weights: the mean of the last {len(steps)} checkpoints, steps {steps[0]:,} to {steps[-1]:,}"
    return f"weights: {'the best checkpoint, ' if steps[0] == metrics.get('best_step') else ''}step {steps[0]:,}"


def curve(card: CardData) -> str:
    """Show losses and scores over the epochs: in the picture that the run drew, or else in a table."""
    records = card.metrics.get("epochs") or []
    if not records:
        return ""
    if card.has(CURVE_FILE):
        return f"![Losses and scores of training]({CURVE_FILE})"
    columns = list(dict.fromkeys(key for record in records for key in record))
    step = -(-len(records) // _MOST_ROWS)
    shown = records[::-1][::step][::-1]  # the last record is always shown
    return _table(
        [column.replace("_", " ") for column in columns],
        [[_score(column.removeprefix("validation_"), record.get(column)) for column in columns] for record in shown],
    )


def versions(card: CardData) -> str:
    """List the versions of the packages that trained and saved the model, and of the model's code."""
    lines = []
    if found := card.metrics.get("versions"):
        lines.append(f"Trained with {', '.join(f'{name} {number}' for name, number in found.items())}.")
    if number := card.config.get("transformers_version"):
        lines.append(f"Saved with transformers {number}.")
    if code := card.config.get("locant_code"):
        lines.append(f"Its code: {', '.join(f'{name} {value}' for name, value in code.items())}.")
    return "\n".join(f"- {line}" for line in lines)


_SECTIONS = {
    "How to use it": usage,
    "Results": results,
    "Data": data,
    "Model": model,
    "Training": training,
    "Loss curve": curve,
    "Versions": versions,
}


def _between(languages: Sequence[str]) -> str:
    return f", from {languages[0]} to {languages[1]}" if len(languages) == 2 else ""


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _score(key: str, value: Any) -> str:
    """Format a number.

    Integers have no decimals. Scores out of 100, perplexity and epoch have two decimals, and other numbers have four.
    """
    if isinstance(value, int):
        return f"{value:,}"
    if value is None:
        return ""
    return f"{value:.2f}" if key in ("bleu", "chrf", "sentence_bleu", "perplexity", "epoch") else f"{value:.4f}"


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    """Put `text` on one line and escape each `|`, which Markdown requires in a cell of a table, even inside code."""
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table in Markdown; return an empty string if there are no rows.

    A column that is empty in all rows is left out, unless it is the first column.
    """
    names = list(head)
    kept = [place for place in range(len(names)) if place == 0 or any(row[place] for row in rows)]
    cells = [[_cell(row[place]) for place in kept] for row in rows]
    return markdown_table([names[place] for place in kept], cells, figures="---") if rows else ""
