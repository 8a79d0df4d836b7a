# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Every pipeline on a saved model, in this process and in a new one, compared with direct calls of the model."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

import locant

TEXT_TO_TEXT = ("translation", "translation_en_to_fr", "summarization", "text2text-generation")


@pytest.fixture(scope="session")
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


class Saved:
    """The models, what goes with each, and the folder that both were saved to."""

    def __init__(self, folder, random_model, tokenizers, processor, image):
        self.folder, self.tokenizers, self.models = folder, tokenizers, {}
        self.tokenizer = tokenizer = tokenizers["seq2seq"]
        self.pixels = processor(images=image, return_tensors="pt")["pixel_values"]
        image.save(folder / "image.png")

        languages = {"source_lang": "en", "target_lang": "fr"}
        for name, model_class, fields, companion in (
            ("text-to-text", locant.LocantForConditionalGeneration, languages, tokenizer),
            ("fill-mask", locant.LocantForMaskedLM, {}, tokenizers["masked_lm"]),
            ("text-classification", locant.LocantForSequenceClassification, {"num_labels": 3}, tokenizer),
            ("token-classification", locant.LocantForTokenClassification, {"num_labels": 3}, tokenizer),
            ("text-generation", locant.LocantForCausalLM, {}, tokenizers["causal_lm"]),
            ("feature-extraction", locant.LocantEncoderModel, {}, tokenizer),
            ("image-classification", locant.LocantForImageClassification, {"num_labels": 3}, processor.image_processor),
            ("image-feature-extraction", locant.LocantEncoderModel, {"encoder_input": "patches"}, processor),
            ("image-text-to-text", locant.LocantForConditionalGeneration, {"encoder_input": "patches"}, processor),
        ):
            self.models[name] = random_model(model_class, **fields)
            self.models[name].save_pretrained(folder / name)
            companion.save_pretrained(folder / name)

    def path(self, task):
        return str(self.folder / ("text-to-text" if task in TEXT_TO_TEXT else task))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, random_model, texts, trained_tokenizer, processor, image):
    tokenizers = {
        purpose: locant.train_tokenizer(iter(texts * 3), vocab_size=300, show_progress=False, purpose=purpose)
        for purpose in ("masked_lm", "causal_lm")
    }
    tokenizers["seq2seq"] = trained_tokenizer
    return Saved(tmp_path_factory.mktemp("saved"), random_model, tokenizers, processor, image)


CALLS = {
    **{task: {"inputs": "the fox sees the king", "max_new_tokens": 8} for task in TEXT_TO_TEXT},
    "fill-mask": {"inputs": "the <mask> sees the dog"},
    "text-classification": {"inputs": "the fox sees the king", "top_k": 3},
    "token-classification": {"inputs": "the fox sees the king"},
    "text-generation": {"text_inputs": "the fox sees", "max_new_tokens": 8, "do_sample": False},
    "feature-extraction": {"inputs": "the fox sees the king"},
    "image-classification": {"inputs": "image.png"},
    "image-feature-extraction": {"inputs": "image.png"},
    "image-text-to-text": {"images": "image.png", "text": "the", "max_new_tokens": 8},
}


@pytest.fixture(scope="module")
def results(saved):
    """What `locant.pipeline` gives for each call, from the saved folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(saved.folder)
        return {task: locant.pipeline(task, model=saved.path(task))(**call) for task, call in CALLS.items()}


def by_label(probabilities):
    """Labels and their probabilities, likeliest first."""
    labels = [{"label": f"LABEL_{i}", "score": pytest.approx(p)} for i, p in enumerate(probabilities.tolist())]
    return [labels[i] for i in probabilities.argsort(descending=True)]


@torch.no_grad()
def test_fill_mask(saved, results):
    tokenizer = saved.tokenizers["masked_lm"]
    tokens = tokenizer("the <mask> sees the dog", return_tensors="pt")
    [place] = (tokens["input_ids"][0] == tokenizer.mask_token_id).nonzero()
    probabilities = saved.models["fill-mask"](**tokens).logits[0, place].softmax(-1).squeeze(0)
    expected = [(int(token), pytest.approx(float(probabilities[token]))) for token in probabilities.topk(5).indices]
    assert [(answer["token"], answer["score"]) for answer in results["fill-mask"]] == expected
    tokens["input_ids"][0, place] = expected[0][0]
    text = tokenizer.decode(tokens["input_ids"][0], skip_special_tokens=True)
    assert results["fill-mask"][0]["sequence"] == text


@torch.no_grad()
def test_text_classification(saved, results):
    inputs = saved.tokenizer("the fox sees the king", return_tensors="pt")
    logits = saved.models["text-classification"](**inputs).logits
    assert results["text-classification"] == by_label(logits[0].softmax(-1))


@torch.no_grad()
def test_token_classification(saved, results):
    inputs = saved.tokenizer("the fox sees the king", return_tensors="pt")
    scores, labels = saved.models["token-classification"](**inputs).logits[0, :-1].softmax(-1).max(-1)
    expected = [
        (f"LABEL_{label}", pytest.approx(float(score)), token)
        for label, score, token in zip(labels.tolist(), scores, inputs.tokens()[:-1], strict=True)
    ]
    answers = results["token-classification"]
    assert [(answer["entity"], answer["score"], answer["word"]) for answer in answers] == expected


def test_text_generation(saved, results):
    tokenizer = saved.tokenizers["causal_lm"]
    prompt = tokenizer("the fox sees", return_tensors="pt")
    ids = saved.models["text-generation"].generate(**prompt, max_new_tokens=8, do_sample=False)
    assert results["text-generation"] == [{"generated_text": tokenizer.decode(ids[0], skip_special_tokens=True)}]


@torch.no_grad()
@pytest.mark.parametrize("task", ["feature-extraction", "image-feature-extraction"])
def test_feature_extraction(task, saved, results):
    text = saved.tokenizer("the fox sees the king", return_tensors="pt")
    inputs = {"pixel_values": saved.pixels} if task.startswith("image") else text
    expected = saved.models[task](**inputs).last_hidden_state
    np.testing.assert_allclose(results[task], expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_image_classification(saved, results):
    logits = saved.models["image-classification"](saved.pixels).logits
    assert results["image-classification"] == by_label(logits[0].softmax(-1))


def test_image_text_to_text(saved, results):
    prompt = torch.tensor([[1, *saved.tokenizer("the")["input_ids"][:-1]]])
    model = saved.models["image-text-to-text"]
    ids = model.generate(pixel_values=saved.pixels, decoder_input_ids=prompt, max_new_tokens=8)
    text = saved.tokenizer.decode(ids[0], skip_special_tokens=True)
    assert results["image-text-to-text"] == [{"input_text": "the", "generated_text": text}]


@pytest.mark.parametrize("task", TEXT_TO_TEXT)
def test_text_to_text(task, saved, results):
    inputs = saved.tokenizer("the fox sees the king", return_tensors="pt")
    ids = saved.models["text-to-text"].generate(**inputs, max_new_tokens=8, num_beams=4)
    assert list(results[task][0].values()) == [saved.tokenizer.decode(ids[0], skip_special_tokens=True)]


@pytest.mark.parametrize("task", [task for task in CALLS if task != "image-text-to-text"])  # one prompt a call
def test_a_batch_gives_what_single_inputs_give(task, saved, image):
    texts = ["the fox", "the red cat sees the dog"]
    inputs = [image, image.rotate(90)] if task.startswith("image") else texts
    if task == "fill-mask":
        inputs = [f"{text} <mask>" for text in texts]
    options = {"do_sample": False} if task == "text-generation" else {}
    options |= {"max_new_tokens": 8} if "max_new_tokens" in CALLS[task] else {}
    pipe = locant.pipeline(task, model=saved.path(task))
    alone, together = pipe(inputs, **options), pipe(inputs, batch_size=2, **options)
    assert str(alone[0]) != str(alone[1])
    for one, other in zip(alone, together, strict=True):
        assert_equal(one, leaves(other)[: len(leaves(one))])  # behind those are the features of padding


def assert_equal(value, expected):
    """Of nested lists and dictionaries, with floats to rounding."""
    for one, other in zip(leaves(value), leaves(expected), strict=True):
        is_float = isinstance(other, float | np.floating)  # np.float32 is no subclass of float
        assert one == (pytest.approx(other, rel=1e-4, abs=1e-5) if is_float else other)


def leaves(value):
    """The numbers and strings of nested lists and dictionaries."""
    if isinstance(value, dict):
        value = [part for item in value.items() for part in item]
    if isinstance(value, list):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


FRESH = """
import json
import sys

import transformers
import locant

calls, paths = json.loads(sys.argv[1]), json.loads(sys.argv[2])
results = [
    {task: make(task, model=paths[task], **options)(**call) for task, call in calls.items()}
    for make, options in ((locant.pipeline, {}), (transformers.pipeline, {"trust_remote_code": True}))
]
json.dump(results, open("results.json", "w"), default=float)
"""


@pytest.mark.slow
def test_a_fresh_process_gives_the_same(saved, results):
    paths = {task: saved.path(task) for task in CALLS}
    arguments = [sys.executable, "-c", FRESH, json.dumps(CALLS), json.dumps(paths)]
    subprocess.run(arguments, check=True, cwd=saved.folder)
    ours, theirs = json.loads((saved.folder / "results.json").read_text())
    expected = json.loads(json.dumps(results, default=float))
    assert_equal(ours, expected)
    assert_equal(theirs, expected)


class TestOptions:
    def test_reach_the_model_as_in_every_pipeline(self, saved):
        path = saved.path("translation")
        options = {
            "dtype": "bfloat16",
            "device": "cpu",
            "batch_size": 3,
            "model_kwargs": {"attn_implementation": "eager"},
        }
        pipe = locant.pipeline("translation", model=path, **options)
        assert (pipe.model.dtype, pipe.device.type, pipe._batch_size) == (torch.bfloat16, "cpu", 3)
        assert pipe.model.config._attn_implementation == "eager"
        assert pipe.model.config.custom_pipelines.keys() == set(TEXT_TO_TEXT)  # as saved

    def test_device_map_reaches_from_pretrained(self, saved, monkeypatch):
        seen, load = {}, AutoModelForSeq2SeqLM.from_pretrained
        monkeypatch.setattr(
            AutoModelForSeq2SeqLM,
            "from_pretrained",
            lambda *args, **options: seen.update(options) or load(*args, **options),
        )
        locant.pipeline("translation", model=saved.path("translation"), device_map={"": "cpu"})
        assert seen["device_map"] == {"": "cpu"}

    def test_paths_and_tokenizers_of_every_kind(self, saved, tmp_path):
        model = AutoModelForSeq2SeqLM.from_pretrained(saved.path("translation"))
        model.save_pretrained(tmp_path)
        with pytest.raises(Exception, match="tokenizer"):
            locant.pipeline("translation", model=model)
        expected = locant.pipeline("translation", model=model, tokenizer=saved.tokenizer, max_new_tokens=8)("the fox")
        for tokenizer in (saved.tokenizer, saved.path("translation")):
            pipe = locant.pipeline("translation", model=tmp_path, tokenizer=tokenizer, max_new_tokens=8)
            assert pipe("the fox") == expected
        assert locant.pipeline("translation", tmp_path, config=saved.path("translation"), tokenizer=saved.tokenizer)

    def test_a_model_is_not_changed(self, saved):
        model = AutoModelForSeq2SeqLM.from_pretrained(saved.path("translation"))
        before = model.config.to_dict()
        locant.pipeline("summarization", model=model, tokenizer=saved.tokenizer)
        assert model.config.to_dict() == before

    def test_other_models_of_transformers_load_by_path(self, saved, tmp_path):
        config = T5Config(
            vocab_size=300, d_model=16, d_kv=8, num_heads=2, num_layers=1, d_ff=32, decoder_start_token_id=0
        )
        T5ForConditionalGeneration(config).save_pretrained(tmp_path)
        saved.tokenizer.save_pretrained(tmp_path)
        pipe = locant.pipeline("summarization", model=tmp_path, max_new_tokens=4)
        assert type(pipe.model) is T5ForConditionalGeneration
        assert pipe("the fox")[0].keys() == {"summary_text"}

    def test_an_adapter_works_from_its_folder(self, saved, tmp_path):
        peft = pytest.importorskip("peft")
        model = AutoModelForSeq2SeqLM.from_pretrained(saved.path("translation"))
        plain = locant.pipeline("translation", model=model, tokenizer=saved.tokenizer, max_new_tokens=8)("the fox")
        lora = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, r=8)
        adapted = peft.get_peft_model(model, lora)
        expected = locant.pipeline("translation", model=adapted, tokenizer=saved.tokenizer, max_new_tokens=8)("the fox")
        adapted.save_pretrained(tmp_path)
        pipe = locant.pipeline("translation_en_to_fr", model=tmp_path, max_new_tokens=8)
        assert pipe("the fox") == expected != plain


class TestRefusals:
    def test_an_encoder_at_a_path(self, saved):
        with pytest.raises(ValueError, match="needs an encoder–decoder, and this locant model is none"):
            locant.pipeline("translation", model=saved.path("fill-mask"))

    def test_an_image_model_at_a_path(self, saved):
        with pytest.raises(ValueError, match="reads images: use image-text-to-text"):
            locant.pipeline("summarization", model=saved.path("image-text-to-text"))

    def test_other_languages_before_anything_is_loaded(self, saved, monkeypatch):
        monkeypatch.setattr(transformers, "pipeline", None)
        with pytest.raises(ValueError, match="ask for 'translation_en_to_fr'"):
            locant.pipeline("translation_en_to_de", model=saved.path("translation"))

    def test_no_model(self):
        with pytest.raises(ValueError, match="'translation' has no default model: give model="):
            locant.pipeline("translation")


def test_other_tasks_go_to_transformers_as_they_are(monkeypatch):
    calls = []
    monkeypatch.setattr(transformers, "pipeline", lambda *arguments, **options: calls.append((arguments, options)))
    locant.pipeline("fill-mask", "some/model", device=3, trust_remote_code=True)
    locant.pipeline(model="some/model")
    assert calls == [
        (("fill-mask",), {"model": "some/model", "device": 3, "trust_remote_code": True}),
        ((None,), {"model": "some/model"}),
    ]


def test_a_locant_model_never_runs_code_of_its_folder(saved, tmp_path):
    folder = shutil.copytree(saved.path("translation"), tmp_path / "model")
    maps = {
        "config.json": {"AutoConfig": "own.Config", "AutoModelForSeq2SeqLM": "own.Model"},
        "tokenizer_config.json": {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]},
    }
    for name, auto_map in maps.items():
        content = {**json.loads((folder / name).read_text()), "auto_map": auto_map}
        (folder / name).write_text(json.dumps(content))
    for name in ("own.py", "modeling_locant_text_to_text_pipelines.py"):
        (folder / name).write_text("raise SystemExit('code of the folder ran')")
    pipe = locant.pipeline("translation", model=folder, trust_remote_code=True)
    assert type(pipe.model) is locant.LocantForConditionalGeneration
    assert pipe("the fox")


def test_a_pipeline_of_others_with_the_name_of_ours_runs(saved, tmp_path):
    folder = shutil.copytree(saved.path("translation"), tmp_path / "model")
    (folder / "theirs.py").write_text(
        "from transformers.pipelines.base import Pipeline\n\n\n"
        "class TranslationPipeline(Pipeline):\n"
        "    def _sanitize_parameters(self, **options):\n"
        "        return {}, {}, {}\n\n"
        "    def preprocess(self, text):\n"
        "        return self.tokenizer(text, return_tensors='pt')\n\n"
        "    def _forward(self, inputs):\n"
        "        return inputs\n\n"
        "    def postprocess(self, outputs):\n"
        "        return 'theirs'\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config["custom_pipelines"] = {"poetry": {"impl": "theirs.TranslationPipeline", "pt": ["AutoModelForSeq2SeqLM"]}}
    (folder / "config.json").write_text(json.dumps(config))
    assert transformers.pipeline("poetry", model=str(folder), trust_remote_code=True)("the fox") == "theirs"


def test_a_model_in_a_wrapper_without_a_task_is_refused_as_by_transformers(saved):
    model = torch.nn.DataParallel(saved.models["text-to-text"])
    with pytest.raises(RuntimeError, match="Inferring the task"):
        locant.pipeline(model=model, tokenizer=saved.tokenizer)
