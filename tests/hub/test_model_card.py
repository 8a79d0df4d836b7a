# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The model card says only what the files in the folder say; the tests compare its statements with the files."""

import contextlib
import copy
import io
import json
import logging
import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from PIL import Image
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

import locant
from locant.hub.errors import SharingError
from locant.hub.sharing.bundle import collect_code
from locant.hub.sharing.card_data import METRICS, CardData
from locant.hub.sharing.model_card import is_draft, write_card_of_push, write_model_card

BLEU = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
SCORES = {  # of each task, as training writes them
    "translation": {
        "bleu": 31.23456,
        "bleu_signature": BLEU,
        "loss": 1.23456,
        "perplexity": 3.43687,
        "sentences": 1305,
    },
    "language_modeling": {"loss": 4.56789, "perplexity": 96.3407, "bits_per_byte": 1.65432, "unigram_loss": 6.54321},
    "masked_language_modeling": {"loss": 3.98765, "accuracy": 0.34567, "unigram_accuracy": 0.04567},
    "sequence_classification": {"accuracy": 0.87654, "macro_f1": 0.76543, "loss": 0.45678, "texts": 612},
    "image_classification": {"accuracy": 0.97531, "macro_f1": 0.96421, "loss": 0.13579, "images": 361},
    "captioning": {"exact": 0.86421, "bleu": 95.67891, "bleu_signature": BLEU, "loss": 0.24681, "images": 417},
}
TASKS = {  # class, fields, purpose of the tokenizer, the Hub's name
    "translation": (locant.LocantForConditionalGeneration, {}, "seq2seq", "translation"),
    "language_modeling": (locant.LocantForCausalLM, {}, "causal_lm", "text-generation"),
    "masked_language_modeling": (locant.LocantForMaskedLM, {}, "masked_lm", "fill-mask"),
    "sequence_classification": (
        locant.LocantForSequenceClassification,
        {"num_labels": 3},
        "seq2seq",
        "text-classification",
    ),
    "image_classification": (locant.LocantForImageClassification, {"num_labels": 3}, None, "image-classification"),
    "captioning": (locant.LocantForConditionalGeneration, {"encoder_input": "patches"}, None, "image-text-to-text"),
}
HOME = "/home/somebody/secret project"
RUN = {
    "model": {"position_encoding": "rotary", "dropout": 0.1},
    "data": {
        **{f"{split}_file": [f"{HOME}/{split}.en", f"{HOME}/{split}.fr"] for split in ("train", "validation", "test")},
        "license": "cc-by-4.0",
    },
    "training": {"output_dir": f"{HOME}/runs/x", "learning_rate": 0.00123, "hub_license": "mit", "num_beams": 5},
}
METRICS_OF_RUN = {
    "finished": True,
    "training_seconds": 3758.3,
    "steps": 4670,
    "best_step": 3736,
    "weights_of_steps": [3736],
    "processes": 2,
    "from_hub": [],
    "hyperparameters": {"learning_rate": 0.00123, "num_train_epochs": 7.5, "max_steps": -1, "seed": 43},
    "versions": {"locant": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
    "epochs": [
        {"epoch": float(n), "step": 934 * n, "train_loss": 5.1 / n, "validation_loss": 4.7 / n} for n in range(1, 6)
    ],
    "data": {
        "vocabulary": 300,
        "dropped": {"empty": 3, "long": 117},
        **{split: {"rows": rows, "tokens": 33 * rows} for split, rows in (("train", 29880), ("test", 1305))},
        "test_in_train": {"sources": 22, "pairs": 19},
    },
}


@pytest.fixture(scope="module")
def tokenizers(texts):
    return {
        purpose: locant.train_tokenizer(iter(texts * 3), vocab_size=300, show_progress=False, purpose=purpose)
        for purpose in ("seq2seq", "causal_lm", "masked_lm")
    }


@pytest.fixture
def make_folder(tmp_path, random_model, tokenizers, processor):
    """A function that makes the folder of a run of a task, with the given options of it."""

    def make(task, name="en-fr", fields=None, **options):
        folder = tmp_path / name
        model_class, own, purpose, _ = TASKS[task]
        random_model(model_class, **{"position_encoding": "rotary", **own, **(fields or {})}).save_pretrained(folder)
        is_captioner = task == "captioning"
        companion = tokenizers.get(purpose, processor if is_captioner else processor.image_processor)
        companion.save_pretrained(folder)
        run = copy.deepcopy(RUN)
        for section, values in options.items():
            run[section] |= values
        scores = {"validation": SCORES[task], "test": SCORES[task]}
        (folder / "run_config.yaml").write_text(yaml.safe_dump({"task": task, **run}), encoding="utf-8")
        write_metrics(folder, {**METRICS_OF_RUN, **scores})
        return folder

    return make


@pytest.fixture
def folder(make_folder):
    return make_folder("translation", fields={"source_lang": "en", "target_lang": "fr"})


def write_metrics(folder, metrics):
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def body(folder):
    """The card's text without metadata, code and mark."""
    return re.sub(r"```.*?```|<!--.*?-->", "", ModelCard.load(folder / "README.md").text, flags=re.DOTALL)


def numbers_in(value):
    if isinstance(value, dict):
        return [number for item in value.items() for part in item for number in numbers_in(part)]
    if isinstance(value, list | tuple):
        return [number for item in value for number in numbers_in(item)]
    if isinstance(value, str):
        return [float(text) for text in re.findall(r"\d+(?:\.\d+)?", value)]
    return [] if value is None else [float(value)]


@pytest.mark.parametrize("task", TASKS)
class TestTasks:
    def test_metadata_is_that_of_the_task(self, make_folder, task):
        data = ModelCard.load(write_model_card(make_folder(task), "me/en-fr")).data
        assert data.pipeline_tag == TASKS[task][3]
        assert (data.library_name, data.license) == ("transformers", "mit")
        assert data.tags == ["locant", "rotary"]

    def test_results_are_those_of_the_file_to_the_last_digit(self, make_folder, task):
        path = write_model_card(make_folder(task))
        index = metadata_load(path)["model-index"]
        name, results = model_index_to_eval_results(index)
        assert eval_results_to_model_index(name, results) == index
        found = {(result.dataset_split, result.metric_type): result for result in results}
        expected = [key for key in METRICS if key in SCORES[task]]
        assert len(found) == len(results) == 2 * len(expected)
        for key in expected:
            result = found["test", METRICS[key][0]]
            assert result.metric_value == SCORES[task][key]
            assert (result.metric_args or {}).get("signature") == SCORES[task].get(f"{key}_signature")
            assert result.dataset_name == "test.en, test.fr"

    def test_every_number_of_the_text_stands_in_a_file(self, make_folder, task):
        folder = make_folder(task)
        write_model_card(folder)
        card = CardData.read(folder, None)
        known = numbers_in([card.config, card.generation, card.run, card.metrics, card.parameters])
        text = re.sub(r"(?<=\d),(?=\d{3})", "", body(folder))
        found = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?!\w)", text.replace(card.name, ""))
        assert len(found) > 40
        for number in found:
            decimals = len(number.partition(".")[2])
            assert any(f"{value:.{decimals}f}" == number or float(number) == value for value in known), number

    def test_the_five_lines_do_what_they_say(self, make_folder, task, monkeypatch):
        folder = make_folder(task)
        text = write_model_card(folder).read_text("utf-8")
        [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        assert "trust_remote_code=True" in code
        assert len(code.splitlines()) <= 6
        Image.new("RGB", (8, 8)).save(folder.parent / "image.png")
        monkeypatch.chdir(folder.parent)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, {})
        assert eval(printed.getvalue())  # what a pipeline returns, and not nothing


class TestWhatIsNotKnown:
    """Each source taken away takes what it says along."""

    @pytest.mark.parametrize(
        ("file", "said"),
        [
            ("metrics.json", ["## Results", "## Loss curve", "Trained with", "model-index", "sentences", "29,880"]),
            (
                "run_config.yaml",
                ["license", "cc-by", "train.en", "## Data\n\n|  | from", "model-index", "| `num_beams`"],
            ),
            ("model.safetensors", ["parameters"]),
            ("tokenizer_config.json", ["pipe(", "pipeline("]),
            ("generation_config.json", ["Generated with"]),
        ],
    )
    def test_without_a_file(self, folder, file, said):
        if file == "generation_config.json":
            (folder / file).write_text(json.dumps({"num_beams": 5}))
        before = write_model_card(folder).read_text("utf-8")
        (folder / file).unlink()
        after = write_model_card(folder).read_text("utf-8")
        assert [text for text in said if text not in before] == []
        assert [text for text in said if text in after] == []

    @pytest.mark.parametrize(
        ("field", "said"),
        [
            ("position_encoding", ["position encoding", "- rotary"]),
            ("d_model", ["| width"]),
            ("encoder_layers", ["| encoder | layers"]),
            ("source_lang", ["from en to fr", "- en\n"]),
            ("architectures", ["LocantForConditionalGeneration", "| decoder"]),
            ("transformers_version", ["Saved with"]),
            ("locant_code", ["Its code", "carries"]),
            ("auto_map", ["trust_remote_code"]),
            ("vocab_size", ["vocabulary"]),
        ],
    )
    def test_without_a_field_of_the_config(self, folder, field, said):
        before = write_model_card(folder).read_text("utf-8")
        config = read_json(folder / "config.json")
        del config[field]
        (folder / "config.json").write_text(json.dumps(config))
        after = write_model_card(folder).read_text("utf-8")
        assert [text for text in said if text not in before] == []
        assert [text for text in said if text in after] == []

    @pytest.mark.parametrize(
        ("field", "said"),
        [
            ("test", ["split: test"]),
            ("steps", ["4,670 steps"]),
            ("training_seconds", ["seconds"]),
            ("best_step", ["the best checkpoint"]),
            ("weights_of_steps", ["weights: the best checkpoint, step 3,736."]),
            ("processes", ["2 processes"]),
            ("hyperparameters", ["num_train_epochs", "`seed`"]),
            ("versions", ["Trained with"]),
            ("epochs", ["## Loss curve"]),
            ("data", ["29,880", "Dropped", "also in train"]),
            ("finished", ["## Results", "model-index", "4,670 steps", "weights: "]),
        ],
    )
    def test_without_a_part_of_the_metrics(self, folder, field, said):
        before = write_model_card(folder).read_text("utf-8")
        metrics = read_json(folder / "metrics.json")
        del metrics[field]
        write_metrics(folder, metrics)
        after = write_model_card(folder).read_text("utf-8")
        assert [text for text in said if text not in before] == []
        assert [text for text in said if text in after] == []

    @pytest.mark.parametrize(
        ("steps", "said"),
        [
            ([3736], "weights: the best checkpoint, step 3,736."),
            ([4670], "weights: step 4,670."),
            ([2802, 3736, 4670], "weights: the mean of the last 3 checkpoints, steps 2,802 to 4,670."),
        ],
    )
    def test_says_which_steps_the_weights_come_from(self, folder, steps, said):
        write_metrics(folder, read_json(folder / "metrics.json") | {"weights_of_steps": steps})
        text = write_model_card(folder).read_text("utf-8")
        assert said in text
        assert ("best checkpoint" in text) == (steps == [3736])

    @pytest.mark.parametrize(
        ("section", "option", "said"),
        [
            ("training", "hub_license", ["license: mit"]),
            ("training", "num_beams", ["`num_beams`"]),
            ("data", "license", ["Licence of the data"]),
            ("data", "test_file", ["test.en"]),
        ],
    )
    def test_without_an_option_of_the_run(self, folder, section, option, said):
        before = write_model_card(folder).read_text("utf-8")
        run = yaml.safe_load((folder / "run_config.yaml").read_text())
        del run[section][option]
        (folder / "run_config.yaml").write_text(yaml.safe_dump(run))
        after = write_model_card(folder).read_text("utf-8")
        assert [text for text in said if text not in before] == []
        assert [text for text in said if text in after] == []

    def test_nothing_of_the_machine_is_told(self, folder):
        text = write_model_card(folder).read_text("utf-8")
        assert "somebody" not in text
        assert "secret" not in text
        assert str(folder.parent) not in text

    def test_a_model_alone_has_a_card_of_what_it_is(self, tmp_path, random_model):
        random_model(locant.LocantEncoderModel).save_pretrained(tmp_path / "encoder")
        text = write_model_card(tmp_path / "encoder").read_text("utf-8")
        assert re.findall("^## (.*)", text, flags=re.MULTILINE) == ["How to use it", "Model", "Versions"]
        assert "AutoModel" in text
        assert metadata_load(tmp_path / "encoder" / "README.md").keys() == {"library_name", "pipeline_tag", "tags"}

    def test_no_folder_of_a_model_is_refused(self, tmp_path):
        with pytest.raises(SharingError, match=r"has no config\.json: give the folder that a model was saved to\."):
            write_model_card(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_file_is_named(self, folder):
        (folder / "metrics.json").write_text("{")
        with pytest.raises(SharingError, match=r"metrics\.json cannot be read"):
            write_model_card(folder)
        assert not (folder / "README.md").exists()


class TestContent:
    @pytest.mark.parametrize(
        ("task", "encodings"),
        [
            ("translation", "learned (max_position_embeddings 64)"),
            ("captioning", "learned; decoder: learned (max_position_embeddings 64)"),
            ("image_classification", "learned"),
        ],
    )
    def test_a_learned_table_has_its_size_unless_it_follows_from_the_patches(self, make_folder, task, encodings):
        fields = {"position_encoding": "learned", "max_position_embeddings": 64}
        text = write_model_card(make_folder(task, fields=fields)).read_text("utf-8")
        assert f"| position encoding | {encodings} |" in text

    def test_parameters_are_those_of_the_model(self, folder):
        model = locant.LocantForConditionalGeneration.from_pretrained(folder)
        write_model_card(folder)
        assert f"| parameters | {model.num_parameters():,} (float32) |" in body(folder)

    def test_names_on_the_hub_are_metadata_and_folders_are_not(self, make_folder):
        data = {f"{split}_file": None for split in ("train", "validation", "test")} | {"dataset_name": "team/pairs"}
        folder = make_folder("translation", data=data, model={"model_name_or_path": "team/base"})
        metrics = read_json(folder / "metrics.json")
        found = ModelCard.load(write_model_card(folder))
        assert (found.data.datasets, found.data.base_model) == (None, None)
        assert "team" not in found.content
        write_metrics(folder, {**metrics, "from_hub": ["dataset_name", "model_name_or_path"]})
        found = ModelCard.load(write_model_card(folder))
        assert (found.data.datasets, found.data.base_model) == (["team/pairs"], "team/base")
        assert {result.dataset_type for result in found.data.eval_results} == {"team/pairs"}

    def test_scores_on_a_file_are_not_scores_on_the_dataset(self, make_folder):
        data = {"train_file": None, "validation_file": None, "test_file": ["my.en", "my.fr"]}
        data |= {"dataset_name": "team/pairs", "dataset_config_name": "en-fr"}
        folder = make_folder("translation", data=data)
        write_metrics(folder, {**read_json(folder / "metrics.json"), "from_hub": ["dataset_name"]})
        results = ModelCard.load(write_model_card(folder)).data.eval_results
        found = {(result.dataset_split, result.dataset_type, result.dataset_config) for result in results}
        assert found == {("validation", "team/pairs", "en-fr"), ("test", "custom", None)}

    def test_languages_are_metadata_where_they_are_codes(self, make_folder):
        folder = make_folder("translation", fields={"source_lang": "en", "target_lang": "fra_Latn"})
        card = ModelCard.load(write_model_card(folder))
        assert card.data.language == ["en"]
        assert "from en to fra_Latn" in card.text

    def test_what_is_put_before_a_source_stands_in_the_five_lines(self, make_folder):
        folder = make_folder("translation", data={"source_prefix": 'to "French":\n'})
        text = write_model_card(folder).read_text("utf-8")
        assert r'pipe("to \"French\":\nA sentence.")' in text

    def test_defaults_are_told_from_what_was_given(self, folder):
        write_model_card(folder)
        assert "| `learning_rate` | 0.00123 |" in body(folder)
        assert "| `num_train_epochs` | 7.5 (default) |" in body(folder)

    def test_the_curve_is_the_runs_picture_or_a_table(self, folder):
        write_model_card(folder)
        assert "| 5.00 | 4,670 | 1.0200 | 0.9400 |" in body(folder)
        (folder / "loss_curve.png").write_bytes(b"")
        write_model_card(folder)
        assert "](loss_curve.png)" in body(folder)
        assert "| 5.00 |" not in body(folder)

    def test_a_long_curve_keeps_its_end(self, folder):
        metrics = read_json(folder / "metrics.json")
        write_metrics(folder, {**metrics, "epochs": [{"epoch": float(n), "step": n} for n in range(1, 302)]})
        write_model_card(folder)
        rows = body(folder).partition("## Loss curve")[2].partition("##")[0].strip().splitlines()
        assert len(rows) <= 22
        assert rows[-1] == "| 301.00 | 301 |"

    def test_without_code_in_the_folder_it_is_used_with_locant(self, make_folder, monkeypatch):
        folder = make_folder("translation")
        config = read_json(folder / "config.json")
        for name in ("auto_map", "custom_pipelines", "locant_code"):
            del config[name]
        (folder / "config.json").write_text(json.dumps(config))
        [code] = re.findall(r"```python\n(.*?)```", write_model_card(folder).read_text("utf-8"), flags=re.DOTALL)
        assert code.startswith("import locant\n")
        monkeypatch.chdir(folder.parent)
        exec(code, {})

    @pytest.mark.parametrize("model_class", ["LocantForQuestionAnswering", "LocantForTokenClassification"])
    def test_heads_that_no_task_trains_are_used_too(self, tmp_path, random_model, tokenizers, model_class, monkeypatch):
        random_model(getattr(locant, model_class)).save_pretrained(tmp_path / "head")
        tokenizers["seq2seq"].save_pretrained(tmp_path / "head")
        [code] = re.findall(
            r"```python\n(.*?)```", write_model_card(tmp_path / "head").read_text("utf-8"), flags=re.DOTALL
        )
        monkeypatch.chdir(tmp_path)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, {})
        assert printed.getvalue()
        assert code.count("from_pretrained(") + code.count("pipeline(") == code.count("trust_remote_code=True")

    def test_a_model_of_another_family_that_locant_trained(self, tmp_path, monkeypatch):
        folder = tmp_path / "bert"
        shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        BertForSequenceClassification(BertConfig(vocab_size=7, **shape)).save_pretrained(folder)
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "text"]
        BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
        (folder / "run_config.yaml").write_text(yaml.safe_dump({"task": "sequence_classification", **RUN}))
        card = ModelCard.load(write_model_card(folder))
        assert card.data.pipeline_tag == "text-classification"
        [code] = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
        assert "locant" not in code
        monkeypatch.chdir(tmp_path)
        exec(code, {})

    def test_a_real_run(self, trained_run, tmp_path):
        card = ModelCard.load(trained_run / "README.md")
        metrics = read_json(trained_run / "metrics.json")
        found = {(result.dataset_split, result.metric_name): result.metric_value for result in card.data.eval_results}
        assert found["test", "BLEU"] == metrics["test"]["bleu"]
        assert found["validation", "chrF"] == metrics["validation"]["chrf"]
        assert f"| parameters | {metrics['parameters']:,}" in card.text
        for heading in ("How to use it", "Results", "Data", "Model", "Training", "Loss curve", "Versions"):
            assert f"## {heading}\n" in card.text


OF_TRAINER = (
    "<!-- This model card has been generated automatically according to the information the Trainer had access to. -->"
)


class TestWritingAnew:
    def test_the_same_folder_gives_the_same_card(self, folder):
        first = write_model_card(folder).read_bytes()
        assert write_model_card(folder).read_bytes() == first
        assert sorted(path.name for path in folder.glob("*README*")) + sorted(
            path.name for path in folder.glob(".README*")
        ) == ["README.md"]

    def test_what_locant_wrote_is_replaced_and_what_is_below_stays(self, folder):
        path = write_model_card(folder)
        path.write_text(path.read_text("utf-8") + "\n## Limits\n\nNone but mine.\n", encoding="utf-8")
        metrics = read_json(folder / "metrics.json")
        write_metrics(folder, {**metrics, "steps": 9999})
        for _ in range(2):
            text = write_model_card(folder).read_text("utf-8")
            assert "9,999 steps" in text
            assert text.endswith("\n\n## Limits\n\nNone but mine.\n")

    @pytest.mark.parametrize("change", ["words", "metadata", "mark", "own", "latin"])
    def test_what_somebody_wrote_is_left_as_it_is_and_said(self, folder, change, caplog, monkeypatch):
        text = write_model_card(folder).read_text("utf-8")
        text = {
            "words": text.replace("## Data", "## The data"),
            "metadata": text.replace("license: mit", "license: apache-2.0"),
            "mark": re.sub("<!--.*-->", "", text),
            "own": "# My model\n",
            "latin": "# Modèle\n",
        }[change]
        (folder / "README.md").write_text(text, encoding="latin-1" if change == "latin" else "utf-8")
        before = (folder / "README.md").read_bytes()
        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
        write_model_card(folder)
        assert (folder / "README.md").read_bytes() == before
        assert "was not written by Locant, or was changed, so it is kept: delete it" in caplog.text

    def test_line_ends_of_another_system_are_no_change(self, folder):
        path = write_model_card(folder)
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert not write_model_card(folder).read_bytes().count(b"\r")

    def test_the_trainers_draft_is_replaced(self, folder):
        (folder / "README.md").write_text(f"{OF_TRAINER}\n# model\n" + 3 * "\n## Title\n\nMore information needed\n")
        assert "## Results" in write_model_card(folder).read_text("utf-8")

    def test_a_trainers_draft_that_somebody_filled_in_is_left_as_it_is(self, folder):
        text = f"{OF_TRAINER}\n# model\n\n## Model description\n\nWritten by hand.\n"
        (folder / "README.md").write_text(text)
        write_card_of_push(None, folder, "me/model")
        write_model_card(folder)
        assert (folder / "README.md").read_text() == text

    def test_a_trainers_draft_below_the_mark_stays(self, folder):
        path = write_model_card(folder)
        below = f"\nMonths of work.\n\n{OF_TRAINER}" + 3 * "\n## Title\n\nMore information needed\n"
        path.write_text(path.read_text("utf-8") + below, encoding="utf-8")
        assert write_model_card(folder).read_text("utf-8").endswith(below)

    def test_a_push_of_the_model_puts_a_card_in_place_of_the_empty_form(self, tmp_path, random_model):
        random_model(locant.LocantForCausalLM).save_pretrained(tmp_path)
        description = (
            "This is the model card of a 🤗 transformers model that has been pushed on the Hub. This model card has "
            "been automatically generated."
        )
        form = ModelCard.from_template(ModelCardData(library_name="transformers"), model_description=description)
        form.save(tmp_path / "README.md")
        assert is_draft(tmp_path / "README.md")
        write_card_of_push(None, tmp_path, "me/model")
        data = ModelCard.load(tmp_path / "README.md").data
        assert (data.pipeline_tag, data.library_name) == ("text-generation", "transformers")
        (tmp_path / "README.md").write_text("# Mine\n")
        write_card_of_push(None, tmp_path, "me/model")
        assert (tmp_path / "README.md").read_text() == "# Mine\n"


def test_the_range_of_transformers_is_that_of_the_code(folder):
    _, fields = collect_code(locant.LocantForConditionalGeneration, locant.LocantConfig())
    write_model_card(folder)
    assert f"for transformers {fields['locant_code']['transformers']}" in body(folder)


def test_copies_of_the_folder_have_the_name_of_the_repository(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    text = write_model_card(tmp_path / "copy", "me/other").read_text("utf-8")
    assert "\n# other\n" in text
    assert 'model="me/other"' in text
    assert metadata_load(tmp_path / "copy" / "README.md")["model-index"][0]["name"] == "other"
