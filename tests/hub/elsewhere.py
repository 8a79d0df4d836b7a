# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A program that uses saved models as a person would, where Locant is not installed, and saves the results.

    python elsewhere.py FOLDER OUTPUT [AGAIN]

FOLDER has a saved model in a folder for each of `KINDS`, and batches as `inputs.pt`. Everything that comes out goes to
OUTPUT as tensors and text; with AGAIN, the models are saved there once more.
"""

import importlib.util
import os
import sys

import torch
import transformers

if importlib.util.find_spec("locant"):
    from locant import pipeline

    TRUST = {}
else:
    from transformers import pipeline

    TRUST = {"trust_remote_code": True}
KINDS = {
    "translator": ("AutoModelForSeq2SeqLM", "translation_en_to_fr"),
    "translator with kerple": ("AutoModelForSeq2SeqLM", None),
    "captioner": ("AutoModelForImageTextToText", None),
    "language model": ("AutoModelForCausalLM", "text-generation"),
    "masked language model": ("AutoModelForMaskedLM", "fill-mask"),
    "classifier": ("AutoModelForSequenceClassification", "text-classification"),
    "image classifier": ("AutoModelForImageClassification", None),
    "image encoder": ("AutoModel", None),
}


def outputs(kind, folder, batches):
    """Logits or states, what is generated and what a pipeline says."""
    auto_class, task = KINDS[kind]
    model = getattr(transformers, auto_class).from_pretrained(folder, **TRUST).eval()
    batch = batches[kind]
    with torch.no_grad():
        output = model(**batch)
    result = {"output": output.logits if "logits" in output else output.last_hidden_state}
    if model.can_generate():
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values") if name in batch}
        for beams in (1, 3):
            result[f"{beams} beams"] = model.generate(**inputs, num_beams=beams, max_new_tokens=8)
    if task is not None:
        pipe = pipeline(task, model=folder, device="cpu", **TRUST)
        text = "the <mask> sees" if task == "fill-mask" else "the fox sees the king"
        options = {"max_new_tokens": 8, "do_sample": False} if model.can_generate() else {}
        result["pipeline"] = repr(pipe(text, **options))
    return result, model


def fine_tuned(model, batch, folder):
    """The model's weights and losses after two steps of the Trainer."""
    count = len(next(iter(batch.values())))
    rows = [{name: values[row] for name, values in batch.items()} for row in range(count)]
    rows = [{**row, "labels": torch.tensor(0)} if "labels" not in row else row for row in rows]
    arguments = transformers.TrainingArguments(
        output_dir=folder,
        max_steps=2,
        logging_steps=1,
        per_device_train_batch_size=count,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="steps",
        save_steps=2,
        seed=1,
    )
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "weights": {name: value.clone() for name, value in model.state_dict().items()}}


def main(folder, output, again=None, train="train"):
    """Everything, for each kind that is there."""
    batches = torch.load(os.path.join(folder, "inputs.pt"), weights_only=True)
    results = {}
    for kind in KINDS:
        results[kind], model = outputs(kind, os.path.join(folder, kind), batches)
        if again:
            model.save_pretrained(os.path.join(again, kind))
            if os.path.exists(os.path.join(folder, kind, "tokenizer.json")):
                tokenizer = transformers.AutoTokenizer.from_pretrained(os.path.join(folder, kind), **TRUST)
                tokenizer.save_pretrained(os.path.join(again, kind))
        if train == "train" and kind != "image encoder":
            results[kind]["fine-tuned"] = fine_tuned(model, batches[kind], os.path.join(output + ".trained", kind))
    torch.save(results, output)
    if TRUST:
        assert not [name for name in sys.modules if name.split(".")[0] == "locant"]


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    main(*sys.argv[1:])
