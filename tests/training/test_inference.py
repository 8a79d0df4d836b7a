# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
import math
from types import SimpleNamespace

import pytest
import sacrebleu
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
)

from locant.configuration import LocantConfig
from locant.training.errors import InputError
from locant.training.inference import (
    EvaluationRow,
    Translation,
    _batches,
    evaluate_split,
    load,
    one_line,
    score,
    translate,
    translate_stream,
    write_tsv,
)

SENTENCES = ["w1 w2 w3", "", "w4 w5 w6 w7 w8 w9 w10 w11", "w12", "w13 w14 w15 w16 w17", "  ", "w18 w19"]
TARGETS = ["w20 w21", "w22 w23 w24 w25 w26", "", "w27 w28 w29", "w30", "w31 w32", "w33 w34 w35 w36"]
FILLED = [0, 2, 3, 4, 6]
SHAPE = {
    "vocab_size": 60,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
    "init_std": 0.5,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "decoder_start_token_id": 1,
    "eos_token_id": 2,
    "forced_eos_token_id": None,
    "tie_word_embeddings": False,
}
SEARCHES = {"greedy": {"num_beams": 1}, "beam": {"num_beams": 3, "length_penalty": 0.6}}


@pytest.fixture(scope="module")
def tokenizer():
    words = ["<pad>", "<s>", "</s>", "<unk>"] + [f"w{i}" for i in range(56)]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(params=["marian", pytest.param("bart", marks=pytest.mark.slow)])
def model(request):
    """Random, with a seed and an end-of-sentence bias that make translations differ and most of them end."""
    torch.manual_seed(5)
    if request.param == "marian":
        model, end = MarianMTModel(MarianConfig(**SHAPE)), 5.0
    else:
        model, end = BartForConditionalGeneration(BartConfig(**SHAPE)), 3.0
    model.final_logits_bias[0, :4] = torch.tensor([-1e4, -1e4, end, -1e4])
    model.generation_config.max_new_tokens = 40
    return model.train()


def texts(translations):
    return [[translation.text for translation in alternatives] for alternatives in translations]


def scores(translations):
    return [translation.score for alternatives in translations for translation in alternatives]


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_batches_give_each_sentence_what_it_gets_alone_in_the_order_given(model, tokenizer, search):
    together = translate(model, tokenizer, SENTENCES, batch_size=3, **search)
    alone = [translate(model, tokenizer, [sentence], **search)[0] for sentence in SENTENCES]
    assert texts(together) == texts(alone)
    assert scores(together) == pytest.approx(scores(alone), abs=1e-4)
    assert len({text for (text,) in texts(together)}) > 2
    assert not model.training


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_translations_are_those_of_generate(model, tokenizer, search):
    found = translate(model, tokenizer, SENTENCES, **search)
    for i in FILLED:
        ids = model.generate(input_ids=torch.tensor([tokenizer(SENTENCES[i]).input_ids]), **search)
        assert found[i][0].text == tokenizer.decode(ids[0], skip_special_tokens=True)


def test_greedy_score_is_the_log_probability_of_the_translation(model, tokenizer):
    found = translate(model, tokenizer, SENTENCES, batch_size=4, num_beams=1)
    ended = [i for i in FILLED if len(found[i][0].text.split()) < 40]
    again = score(model, tokenizer, [SENTENCES[i] for i in ended], [found[i][0].text for i in ended])
    assert len(ended) >= 2
    assert [found[i][0].score for i in ended] == pytest.approx([s.log_probability for s in again], abs=1e-4)


def test_sampled_scores_leave_temperature_out(model, tokenizer):
    torch.manual_seed(0)
    options = {"num_beams": 1, "do_sample": True, "temperature": 0.7, "top_k": 5, "max_new_tokens": 40}
    found = translate(model, tokenizer, [SENTENCES[2]] * 4, num_return_sequences=2, **options)
    pairs = [t for alternatives in found for t in alternatives if len(t.text.split()) < 40]
    again = score(model, tokenizer, [SENTENCES[2]] * len(pairs), [t.text for t in pairs])
    assert len({t.text for t in pairs}) > 1
    assert [t.score for t in pairs] == pytest.approx([s.log_probability for s in again], abs=1e-4)


def test_beam_score_is_the_log_probability_over_a_power_of_the_length(model, tokenizer):
    found = translate(model, tokenizer, SENTENCES, **SEARCHES["beam"])
    ended = [i for i in FILLED if len(found[i][0].text.split()) < 40]
    again = score(model, tokenizer, [SENTENCES[i] for i in ended], [found[i][0].text for i in ended])
    assert len(ended) >= 2
    expected = [s.log_probability / len(s.tokens) ** 0.6 for s in again]
    assert [found[i][0].score for i in ended] == pytest.approx(expected, abs=1e-4)


def test_several_translations_best_first(model, tokenizer):
    found = translate(model, tokenizer, SENTENCES, batch_size=2, num_beams=4, num_return_sequences=3)
    assert [len(alternatives) for alternatives in found] == [3] * len(SENTENCES)
    for i in FILLED:
        assert len({t.text for t in found[i]}) > 1
        assert [t.score for t in found[i]] == sorted((t.score for t in found[i]), reverse=True)
    assert texts(translate(model, tokenizer, SENTENCES, num_beams=4)) == [t[:1] for t in texts(found)]


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_scores_can_be_left_out(model, tokenizer, search):
    found = translate(model, tokenizer, SENTENCES, with_scores=False, **search)
    assert texts(found) == texts(translate(model, tokenizer, SENTENCES, **search))
    assert scores(found) == [None] * len(SENTENCES)


def test_empty_lines_are_not_shown_to_the_model(model, tokenizer, monkeypatch):
    monkeypatch.setattr(model, "generate", None)
    found = translate(model, tokenizer, ["", " ", "\n"], source_prefix="w1 ", num_beams=2, num_return_sequences=2)
    assert found == [[Translation("", 0.0)] * 2] * 3
    assert translate(model, tokenizer, []) == []


def test_source_prefix_stands_before_every_sentence(model, tokenizer):
    prefixed = [f"w50 {SENTENCES[i]}" for i in FILLED]
    found = translate(model, tokenizer, [SENTENCES[i] for i in FILLED], source_prefix="w50 ")
    assert texts(found) == texts(translate(model, tokenizer, prefixed))


def test_stream_reads_a_chunk_at_a_time_and_gives_what_translate_gives(model, tokenizer):
    taken = []
    lines = (taken.append(line) or f"{line}\n" for line in SENTENCES)
    stream = translate_stream(model, tokenizer, lines, batch_size=2, chunk_size=3)
    first = [next(stream) for _ in range(3)]
    assert taken == SENTENCES[:3]
    assert texts([*first, *stream]) == texts(translate(model, tokenizer, SENTENCES))


def test_stream_takes_64_batches_at_a_time_unless_told_otherwise(model, tokenizer):
    lines = iter([""] * 200)
    next(translate_stream(model, tokenizer, lines, batch_size=2))
    assert len(list(lines)) == 200 - 64 * 2


def test_progress_goes_to_standard_error_in_sentences(model, tokenizer, capsys):
    translate(model, tokenizer, SENTENCES, batch_size=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "translating" in captured.err
    assert "7/7" in captured.err
    translate(model, tokenizer, SENTENCES, show_progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("source", "expected"), [("w1", 2 * 2 + 10), ("w1 w2 w3 w4", 2 * 5 + 10)])
def test_length_is_limited_by_the_source_where_nothing_else_limits_it(model, tokenizer, source, expected):
    never_ending(model)
    model.generation_config.max_new_tokens = None
    assert len(translate(model, tokenizer, [source])[0][0].text.split()) == expected
    assert len(translate(model, tokenizer, [source], max_new_tokens=3)[0][0].text.split()) == 3
    assert len(translate(model, tokenizer, [source], max_length=6)[0][0].text.split()) == 5
    model.generation_config.max_new_tokens = 4
    assert len(translate(model, tokenizer, [source])[0][0].text.split()) == 4


def test_learned_positions_end_the_translation_and_refuse_longer_sources(model, tokenizer):
    never_ending(model)
    for stack in (model.get_encoder(), model.get_decoder()):
        stack.position = SimpleNamespace(limit=6)  # as of Locant's stacks
    assert len(translate(model, tokenizer, ["w1 w2 w3 w4 w5"])[0][0].text.split()) == 6
    with pytest.raises(InputError, match=r"Line 3 of the source has 7 tokens.* ends at 6: split"):
        translate(model, tokenizer, ["w1", "", "w1 w2 w3 w4 w5 w6"])
    with pytest.raises(InputError, match="Line 3 of the source"):
        list(translate_stream(model, tokenizer, ["w1", "w2", "w1 w2 w3 w4 w5 w6"], chunk_size=2))
    with pytest.raises(InputError, match="Line 2 of the target has 7 tokens"):
        score(model, tokenizer, ["w1", "w1"], ["w1", "w1 w2 w3 w4 w5 w6"])
    model.get_decoder().position = SimpleNamespace(limit=None)
    assert len(score(model, tokenizer, ["w1"], ["w1 w2 w3 w4 w5 w6"])[0].tokens) == 7


@pytest.mark.parametrize("search", [{"num_beams": 1}, {"num_beams": 2}, {"num_beams": 2, "do_sample": True}])
def test_more_translations_than_beams_are_refused(model, tokenizer, search):
    with pytest.raises(InputError, match="3 translations of a sentence cannot come from a search with num_beams"):
        translate(model, tokenizer, ["w1"], num_return_sequences=3, **search)


def test_score_is_the_sum_of_the_log_softmax_of_the_logits(model, tokenizer):
    (found,) = score(model, tokenizer, [SENTENCES[0]], [TARGETS[0]])
    labels = tokenizer(TARGETS[0]).input_ids
    with torch.no_grad():
        logits = model.eval()(
            input_ids=torch.tensor([tokenizer(SENTENCES[0]).input_ids]),
            decoder_input_ids=torch.tensor([[1, *labels[:-1]]]),
        ).logits[0]
    expected = [logits.log_softmax(-1)[i, token].item() for i, token in enumerate(labels)]
    assert found.tokens == ["w20", "w21", "</s>"]
    assert found.token_log_probabilities == pytest.approx(expected, abs=1e-5)
    assert found.log_probability == pytest.approx(sum(expected), abs=1e-5)


def test_one_long_line_is_not_padded_to_in_a_whole_batch():
    lengths = [3, 40_000, 5, 4, 9000, 512]
    assert list(_batches(lengths, 32)) == [[1], [4], [5, 2, 3, 0]]
    assert list(_batches(lengths[2:4], 1)) == [[0], [1]]
    assert list(_batches([2, 3] * 40, 60)) == [[*range(1, 80, 2), *range(0, 40, 2)], [*range(40, 80, 2)]]
    assert list(_batches([0, 0], 2)) == [[0, 1]]


def test_scores_do_not_depend_on_the_batch_or_its_padding(model, tokenizer):
    together = score(model, tokenizer, SENTENCES, TARGETS, batch_size=3)
    for found, source, target in zip(together, SENTENCES, TARGETS, strict=True):
        (alone,) = score(model, tokenizer, [source], [target])
        assert found.tokens == alone.tokens == [*target.split(), "</s>"]
        assert found.token_log_probabilities == pytest.approx(alone.token_log_probabilities, abs=1e-5)
    assert not model.training


def test_sources_and_targets_of_different_counts_are_refused(model, tokenizer):
    for function in (score, evaluate_split):
        with pytest.raises(ValueError, match="argument 2 is shorter than argument 1"):
            function(model, tokenizer, ["w1", "w2"], ["w1"])


def test_evaluation_has_metrics_loss_and_a_row_a_sentence(model, tokenizer):
    metrics, rows = evaluate_split(model, tokenizer, SENTENCES, TARGETS, batch_size=2, num_beams=2)
    translations = [t for (t,) in texts(translate(model, tokenizer, SENTENCES, num_beams=2))]
    expected = score(model, tokenizer, SENTENCES, TARGETS)
    loss = -sum(s.log_probability for s in expected) / sum(len(s.tokens) for s in expected)
    assert [row[:3] for row in rows] == list(zip(SENTENCES, TARGETS, translations, strict=True))
    assert [row.sentence_bleu for row in rows] == [
        sacrebleu.sentence_bleu(translation, [target]).score
        for translation, target in zip(translations, TARGETS, strict=True)
    ]
    assert metrics["bleu"] == sacrebleu.corpus_bleu(translations, [TARGETS]).score
    assert metrics["loss"] == pytest.approx(loss)
    assert metrics["perplexity"] == pytest.approx(math.exp(loss))
    assert metrics["sentences"] == 7
    assert metrics["chrf_signature"].startswith("nrefs:1|")


def test_tensors_that_a_model_makes_and_keeps_are_not_inference_tensors(model, tokenizer):
    made = []
    model.register_forward_hook(lambda *_: made.append(torch.ones(1)))
    evaluate_split(model, tokenizer, SENTENCES, TARGETS)
    assert made
    assert not any(tensor.is_inference() for tensor in made)


def test_nothing_to_evaluate_is_refused(model, tokenizer):
    with pytest.raises(InputError, match="There are 0 predictions"):
        evaluate_split(model, tokenizer, [], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a b", "a b"), ("a\nb", "a b"), ("a\r\nb\u2028c\n", "a b c"), ("", ""), (" a  b ", " a  b ")],
)
def test_one_line_has_spaces_for_line_breaks(text, expected):
    assert one_line(text) == expected


def test_tsv_has_one_row_a_sentence_whatever_is_in_it(tmp_path):
    rows = [EvaluationRow("a\tb", "c\nd", 'é "quoted"', 12.345), EvaluationRow("", "", "", 0.0)]
    write_tsv(tmp_path / "new" / "rows.tsv", rows)
    assert (tmp_path / "new" / "rows.tsv").read_text("utf-8") == (
        'source\treference\ttranslation\tsentence_bleu\na b\tc d\té "quoted"\t12.35\n\t\t\t0.00\n'
    )


def test_tsv_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("old")

    def rows():
        yield EvaluationRow("a", "b", "c", 1.0)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_tsv(path, rows())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_load_brings_back_what_was_saved(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, its_tokenizer = load(str(tmp_path), device="cpu")
    assert not loaded.training
    assert loaded.device.type == "cpu"
    expected = translate(model, tokenizer, SENTENCES, num_beams=2)
    assert translate(loaded, its_tokenizer, SENTENCES, num_beams=2) == expected
    with pytest.raises(InputError, match="Device nonsense cannot be used here"):
        load(tmp_path, device="nonsense")


def test_what_reads_as_a_path_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "file").write_text("")
    for name in (
        "./model",
        str(tmp_path / "model"),
        tmp_path / "model",
        "runs/model",
        "a/b/c",
        "../x",
        "file",
    ):
        with pytest.raises(InputError, match=r"There is no folder .*: give|file is a file: give the folder"):
            load(name)


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json, so it holds no model: give the folder"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"is_decoder": True}, "the model is no encoder–decoder, so use locant predict"),
        ({"is_encoder_decoder": False}, "the model is no encoder–decoder, so use locant predict"),
        ({"encoder_input": "patches"}, "the model reads images, so use locant predict"),
    ],
)
def test_a_model_of_another_topology_is_one_sentence(tokenizer, tmp_path, fields, reason):
    LocantConfig(vocab_size=24, d_model=16, **fields).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=rf"does not load as a sequence-to-sequence model .*\({reason}\): give"):
        load(tmp_path)


def never_ending(model):
    model.final_logits_bias[0, :4] = -1e4  # no special token, so that every translation goes on to its limit


def test_broken_weights_of_another_family_are_one_sentence(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    for content in (b"version https://git-lfs.github.com/spec/v1\n", whole[:-100]):
        weights.write_bytes(content)
        with pytest.raises(InputError, match="does not load as a sequence-to-sequence model"):
            load(tmp_path, "cpu")


def test_weights_of_another_shape_are_one_sentence(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model.config.encoder_ffn_dim *= 2
    model.config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not load as a sequence-to-sequence model"):
        load(tmp_path, "cpu")
