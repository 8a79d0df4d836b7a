# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Translation, summarization and text2text-generation: what goes in, what comes out, and what is refused."""

import string

import datasets
import pytest
import torch
from transformers import (
    GenerationConfig,
    MarianConfig,
    MarianMTModel,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.pipelines.pt_utils import KeyDataset

import locant

TASKS = {
    "translation": "translation",
    "translation_en_to_fr": "translation",
    "summarization": "summary",
    "text2text-generation": "generated",
}
# of small models of transformers
OPTIONS = {"vocab_size": 300, "d_model": 16, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2}
STACKS = {
    f"{stack}_{name}": number
    for stack in ("encoder", "decoder")
    for name, number in {"layers": 1, "attention_heads": 2, "ffn_dim": 32}.items()
}


@pytest.fixture(scope="module")
def model(random_model):
    return random_model(locant.LocantForConditionalGeneration)


@pytest.fixture
def translate(model, tokenizer):
    return locant.pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8)


def generated(model, tokenizer, text, **options):
    """The ids and texts that `generate` gives for one text."""
    ids = model.generate(**tokenizer(text, return_tensors="pt"), **{"max_new_tokens": 8, "num_beams": 4, **options})
    return ids, tokenizer.batch_decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("task", TASKS)
def test_a_text_gives_what_generate_gives_by_the_key_of_the_task(task, model, tokenizer, texts):
    pipe = locant.pipeline(task, model=model, tokenizer=tokenizer, max_new_tokens=8)
    results = [pipe(text) for text in texts]
    assert results == [[{f"{TASKS[task]}_text": generated(model, tokenizer, text)[1][0]}] for text in texts]
    assert len({str(result) for result in results}) > 2  # or the tests below could not fail
    assert pipe.task == task


@pytest.mark.sampled(4)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [{}, {"num_return_sequences": 3}, {"num_beams": 1}, {"return_tensors": True}])
@pytest.mark.parametrize("encoding", ["sinusoidal", "learned", "rotary", "t5"])
def test_a_batch_gives_each_text_what_it_gets_alone(encoding, options, side, random_model, tokenizer, texts):
    model = random_model(locant.LocantForConditionalGeneration, position_encoding=encoding)
    tokenizer.padding_side = side
    pipe = locant.pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8)
    alone = [pipe(text, **options) for text in texts]
    together = pipe(texts, batch_size=3, **options)
    if "num_return_sequences" not in options:
        together = [[result] for result in together]
    assert str(together) == str(alone)


def test_several_texts_of_each_input_come_best_first(translate, model, tokenizer, texts):
    _, best = generated(model, tokenizer, texts[0], num_return_sequences=3)
    expected = [{"translation_text": text} for text in best]
    assert translate(texts[0], num_return_sequences=3) == expected
    assert translate(texts[:1], num_return_sequences=3) == [expected]


def test_tensors_are_the_ids_without_padding(translate, model, tokenizer, texts):
    ids, [text] = generated(model, tokenizer, texts[0])
    [result] = translate(texts[0], return_tensors=True)
    assert result.keys() == {"translation_token_ids"}
    assert result["translation_token_ids"].equal(ids[0])
    [both] = translate(texts[0], return_tensors=True, return_text=True)
    assert both["translation_text"] == text
    assert both["translation_token_ids"].equal(ids[0])

    outputs = {"output_ids": torch.tensor([[[0, 5, 0, 6, 2, 0, 0]]])}
    [record] = translate.postprocess(outputs, return_tensors=True)
    assert record["translation_token_ids"].tolist() == [0, 5, 0, 6, 2]
    outputs = {"output_ids": torch.tensor([[[0, 5, 0, 6, 0, 0]]])}  # a stopping criterion ended it
    [record] = translate.postprocess(outputs, return_tensors=True)
    assert record["translation_token_ids"].tolist() == [0, 5, 0, 6]
    # beam search fills with the end token where the padding token is 0
    outputs = {"output_ids": torch.tensor([[[2, 5, 0, 6, 2, 2, 2]]])}
    [record] = translate.postprocess(outputs, return_tensors=True)
    assert record["translation_token_ids"].tolist() == [2, 5, 0, 6, 2]


def test_clean_up_reaches_the_tokenizer(translate, monkeypatch):
    monkeypatch.setattr(type(translate.tokenizer), "decode", lambda self, ids, **options: options)
    assert translate("the fox", clean_up_tokenization_spaces=True) == [
        {"translation_text": {"skip_special_tokens": True, "clean_up_tokenization_spaces": True}}
    ]


class TestInputs:
    def test_a_generator_streams(self, translate, texts):
        read = []
        results = translate((read.append(text) or text) for text in texts)
        first = next(iter(results))
        assert len(read) < len(texts)
        assert [first, *results] == [translate(text) for text in texts]

    @pytest.mark.parametrize("batch_size", [1, 3])
    @pytest.mark.parametrize("form", ["column", "key_dataset", "iterator"])
    def test_datasets_and_other_iterables_stream(self, form, batch_size, translate, texts):
        dataset = datasets.Dataset.from_dict({"en": texts})
        inputs = {"column": dataset["en"], "key_dataset": KeyDataset(dataset, "en"), "iterator": iter(texts)}[form]
        results = translate(inputs, batch_size=batch_size)
        assert not isinstance(results, list)
        assert list(results) == [translate(text) for text in texts]

    def test_a_tuple_is_a_list(self, translate, texts):
        assert translate(tuple(texts)) == translate(texts)

    @pytest.mark.parametrize("nothing", [[], (), iter([]), KeyDataset([], "en")])
    def test_nothing_gives_nothing(self, nothing, translate):
        assert list(translate(nothing)) == []

    @pytest.mark.parametrize("batch", [False, True])
    @pytest.mark.parametrize("ends_texts", [True, False])
    def test_an_empty_string_is_a_text_too(self, ends_texts, batch, translate, texts):
        if not ends_texts:
            translate.tokenizer._tokenizer.post_processor = None
        results = translate(["", *texts], batch_size=2 if batch else 1)
        assert results[0] == translate("")[0]
        assert results[1:] == translate(texts)

    @pytest.mark.parametrize("wrong", [3, {"text": "the fox"}, [3], [["the fox"]], [{"en": "the fox"}], [None]])
    def test_what_is_no_text_is_refused(self, wrong, translate):
        with pytest.raises(TypeError, match=r"is not a text|not iterable"):
            list(translate(wrong))


class TestLongInputs:
    @pytest.fixture
    def long(self, tokenizer):
        text = "the red cat sees the dog and the sad king"
        assert len(tokenizer(text)["input_ids"]) == 13
        return text

    @pytest.fixture
    def seen(self, model, monkeypatch):
        """The ids that the model was given."""
        seen = []

        def generate(input_ids, **kwargs):
            seen.append(input_ids)
            return type(model).generate(model, input_ids, **kwargs)

        monkeypatch.setattr(model, "generate", generate)
        return seen

    def test_are_cut_to_the_tokenizers_length_with_a_warning(self, translate, tokenizer, long, seen, caplog):
        expected = [*tokenizer(long)["input_ids"][:8], tokenizer.eos_token_id]
        tokenizer.model_max_length = 9
        translate(long)
        assert seen[0][0].tolist() == expected
        [record] = caplog.records
        assert "An input of 13 tokens is longer than the 9 that the model takes: 9 tokens are kept." in record.message

    def test_are_cut_to_a_learned_table(self, random_model, tokenizer, long, caplog):
        model = random_model(
            locant.LocantForConditionalGeneration, position_encoding="learned", max_position_embeddings=10
        )
        pipe = locant.pipeline("translation", model=model, tokenizer=tokenizer)
        short = tokenizer.decode(tokenizer(long)["input_ids"][:9])
        assert len(pipe.tokenizer(short)["input_ids"]) == 10
        assert pipe([long], num_beams=1) == pipe([short], num_beams=1)
        assert [record.message.split(":")[0] for record in caplog.records] == [
            "An input of 13 tokens is longer than the 10 that the model takes"
        ]
        with pytest.raises(ValueError, match="needs 13 positions, but the learned table has 10:"):
            pipe(long, truncation=False)

    def test_a_learned_table_of_the_decoder_alone_cuts_nothing(self, random_model, tokenizer, long, seen, caplog):
        model = random_model(
            locant.LocantForConditionalGeneration,
            position_encoding="rotary",
            decoder_position_encoding="learned",
            max_position_embeddings=6,
            eos_token_id=299,
        )
        pipe = locant.pipeline("translation", model=model, tokenizer=tokenizer)
        [result] = pipe(long, return_tensors=True)
        assert not caplog.records
        assert len(result["translation_token_ids"]) == 7  # the start token, and as many new ones as the table has rows

    def test_stay_whole_where_nothing_ends(self, translate, long, seen, caplog):
        translate(long)
        assert seen[0].shape == (1, 13)
        assert not caplog.records

    def test_stay_whole_without_truncation(self, translate, tokenizer, long, seen, caplog):
        tokenizer.model_max_length = 9
        translate(long, truncation=False)
        assert seen[0].shape == (1, 13)
        locant.pipeline("translation", model=translate.model, tokenizer=tokenizer, truncation=False)(long)
        assert seen[1].shape == (1, 13)
        assert not caplog.records


class TestSearch:
    @pytest.fixture
    def given(self, model, monkeypatch):
        """What `generate` was asked for."""
        given = {}

        def generate(**kwargs):
            given.update(kwargs)
            return torch.tensor([[1, 2]])

        monkeypatch.setattr(model, "generate", generate)
        return given

    def test_has_the_defaults_of_these_pipelines(self, model, tokenizer, given):
        locant.pipeline("translation", model=model, tokenizer=tokenizer)("the fox")
        assert (given["num_beams"], given["max_new_tokens"]) == (4, 256)

    def test_follows_the_models_generation_config(self, model, tokenizer, given, monkeypatch):
        monkeypatch.setattr(model, "generation_config", GenerationConfig(num_beams=2, max_length=9))
        locant.pipeline("translation", model=model, tokenizer=tokenizer)("the fox")
        assert not {"num_beams", "max_new_tokens"} & given.keys()

    def test_follows_the_caller_first(self, model, tokenizer, given):
        pipe = locant.pipeline("translation", model=model, tokenizer=tokenizer, num_beams=3, length_penalty=0.5)
        pipe("the fox", num_beams=2)
        assert (given["num_beams"], given["length_penalty"]) == (2, 0.5)

    def test_a_generation_config_of_the_caller_comes_before_the_settings_of_the_task(
        self, model, tokenizer, given, monkeypatch
    ):
        specific = {"summarization": {"prefix": "short: ", "num_beams": 4, "max_length": 200}}
        monkeypatch.setattr(model.config, "task_specific_params", specific, raising=False)
        config = GenerationConfig(num_beams=1, max_new_tokens=7)
        pipe = locant.pipeline("summarization", model=model, tokenizer=tokenizer, generation_config=config)
        pipe("the fox")
        assert not {"num_beams", "max_length"} & given.keys()
        assert (given["generation_config"].num_beams, pipe.prefix) == (1, "short: ")

    def test_refuses_an_unknown_option(self, translate):
        with pytest.raises(ValueError, match="num_beam'"):
            translate("the fox", num_beam=2)


def test_a_model_in_training_mode_does_not_drop_out(random_model, tokenizer, texts):
    model = random_model(locant.LocantForConditionalGeneration, dropout=0.9).train()
    expected = locant.pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8)(texts)
    assert expected == locant.pipeline("translation", model=model.train(), tokenizer=tokenizer, max_new_tokens=8)(texts)


def test_an_assistant_changes_no_word(translate, random_model, model, tokenizer, texts):
    assistant = random_model(locant.LocantForConditionalGeneration, decoder_ffn_dim=8)
    options = {"max_new_tokens": 8, "num_beams": 1}
    pipe = locant.pipeline("translation", model=model, tokenizer=tokenizer, assistant_model=assistant, **options)
    assert pipe(texts) == translate(texts, num_beams=1)
    assert pipe._forward_params["assistant_model"] is assistant


class TestRefused:
    @pytest.mark.parametrize("task", ["translation", "summarization"])
    def test_models_that_are_no_encoder_decoder(self, task, random_model, tokenizer):
        model = random_model(locant.LocantForCausalLM)
        with pytest.raises(ValueError, match=f"{task}' needs an encoder–decoder, and this locant model is none"):
            locant.pipeline(task, model=model, tokenizer=tokenizer)

    def test_models_that_read_images(self, random_model, tokenizer):
        model = random_model(locant.LocantForConditionalGeneration, encoder_input="patches")
        with pytest.raises(ValueError, match="reads images: use image-text-to-text"):
            locant.pipeline("translation", model=model, tokenizer=tokenizer)

    def test_models_without_a_head(self, random_model, tokenizer):
        with pytest.raises(ValueError, match="LocantModel cannot generate"):
            locant.pipeline("translation", model=random_model(locant.LocantModel), tokenizer=tokenizer)

    @pytest.mark.parametrize("task", ["translation_fr_to_en", "translation_en_to_de"])
    def test_languages_that_the_model_does_not_have(self, task, random_model, tokenizer):
        model = random_model(locant.LocantForConditionalGeneration, source_lang="en", target_lang="fr")
        with pytest.raises(ValueError, match=f"{task}' is for other .* ask for 'translation_en_to_fr'"):
            locant.pipeline(task, model=model, tokenizer=tokenizer)
        assert locant.pipeline("translation_en_to_fr", model=model, tokenizer=tokenizer)


class TestModelsOfTransformers:
    def test_marian(self, tokenizer, texts):
        torch.manual_seed(0)
        config = MarianConfig(**OPTIONS, **STACKS, init_std=1.0)
        model = MarianMTModel(config).eval()
        pipe = locant.pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8)
        expected = [{"translation_text": generated(model, tokenizer, text)[1][0]} for text in texts]
        assert pipe(texts) == expected
        assert pipe(texts, batch_size=4) == expected

    def test_t5_has_its_prefixes_and_its_own_search(self, tokenizer, texts):
        torch.manual_seed(0)
        specific = {
            "summarization": {"prefix": "summarize: ", "num_beams": 2, "no_repeat_ngram_size": 1},
            "translation_en_to_fr": {"prefix": "translate English to French: "},
        }
        config = T5Config(**OPTIONS, d_kv=8, num_heads=2, num_layers=1, d_ff=32, task_specific_params=specific)
        model = T5ForConditionalGeneration(config).eval()
        summarize = locant.pipeline("summarization", model=model, tokenizer=tokenizer, max_new_tokens=8)
        _, [expected] = generated(model, tokenizer, "summarize: " + texts[0], num_beams=2, no_repeat_ngram_size=1)
        assert summarize(texts[0]) == [{"summary_text": expected}]
        _, [expected] = generated(model, tokenizer, "summarize: " + texts[0], num_beams=2, no_repeat_ngram_size=2)
        assert summarize(texts[0], no_repeat_ngram_size=2) == [{"summary_text": expected}]
        translate = locant.pipeline("translation_en_to_fr", model=model, tokenizer=tokenizer, max_new_tokens=8)
        _, [expected] = generated(model, tokenizer, "translate English to French: " + texts[0])
        assert translate(texts[0]) == [{"translation_text": expected}]
        translate = locant.pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8)
        assert translate(texts[0]) == [{"translation_text": generated(model, tokenizer, texts[0])[1][0]}]

    @pytest.mark.parametrize("batch_size", [1, 4])
    def test_a_multilingual_model_reads_and_writes_the_languages_asked_for(self, batch_size, texts):
        torch.manual_seed(0)
        letters = [(letter, -3.0) for letter in ("<unk>", "<s>", "</s>", "▁", *string.ascii_lowercase)]
        tokenizer = MBart50Tokenizer(vocab=letters)
        options = {**OPTIONS, "vocab_size": len(tokenizer), "pad_token_id": 1, "decoder_start_token_id": 2}
        model = MBartForConditionalGeneration(MBartConfig(**options, **STACKS, init_std=1.0)).eval()
        german, french = tokenizer.convert_tokens_to_ids(["de_DE", "fr_XX"])
        tokenizer.src_lang = "de_DE"
        expected = [generated(model, tokenizer, text, forced_bos_token_id=french)[0][0] for text in texts]
        tokenizer.src_lang = "en_XX"

        named = locant.pipeline("translation_de_DE_to_fr_XX", model=model, tokenizer=tokenizer, max_new_tokens=8)
        asked = locant.pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8)
        assert named.preprocess("a")["input_ids"][0, 0] == german
        for results in (
            named(texts, batch_size=batch_size, return_tensors=True),
            asked(texts, batch_size=batch_size, return_tensors=True, src_lang="de_DE", tgt_lang="fr_XX"),
        ):
            ids = [result["translation_token_ids"] for result in results]
            assert all(row[1] == french for row in ids)
            assert str(ids) == str(expected)
        with pytest.raises(ValueError, match="src_lang"):
            asked(texts)
