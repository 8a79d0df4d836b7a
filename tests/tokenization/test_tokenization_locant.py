# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Tokens added after the training, words split beforehand, and offsets, with the tokenizers of all kinds."""

import os
import subprocess
import sys
import tempfile
from functools import cache

import pytest
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast, RobertaTokenizer

from locant.tokenization import LocantTokenizer, train_tokenizer

KINDS = ("bpe", "unigram", "wordpiece", "word")
PURPOSES = ("seq2seq", "causal_lm", "masked_lm")
TEXTS = [
    f"{a} {b} the {c} in Paris ." for a in ("The cat", "The foot", "Clara") for b in ("sees", "suit") for c in "abc"
]
WORDS = ["Clara", "sees", "the", "foot", "in", "Paris", "."]
EACH = [(purpose, kind) for purpose in PURPOSES for kind in KINDS]

each_tokenizer = pytest.mark.parametrize(("purpose", "kind"), EACH)
each_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def _folder(purpose, kind):
    folder = tempfile.mkdtemp(prefix="tokenizer")
    train_tokenizer(iter(TEXTS), kind=kind, vocab_size=330, purpose=purpose, show_progress=False).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def load():
    """A fresh tokenizer of a purpose and kind, as it loads from where it was saved."""
    return lambda purpose, kind, **options: AutoTokenizer.from_pretrained(_folder(purpose, kind), **options)


def added(tokenizer):
    assert tokenizer.add_tokens(["<2fr>"], special_tokens=True) == 1
    assert tokenizer.add_tokens(["zyx"]) == 1
    return tokenizer


@each_tokenizer
def test_an_added_token_is_one_token_wherever_it_stands(load, purpose, kind, tmp_path):
    before, tokenizer = load(purpose, kind), added(load(purpose, kind))
    tag, foo = tokenizer.convert_tokens_to_ids(["<2fr>", "zyx"])
    assert (tag, foo) == (len(before), len(before) + 1)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, LocantTokenizer)

    def pieces(text):
        return before(text, add_special_tokens=False).input_ids

    whole = pieces("The cat sees")
    cat, sees = pieces("The cat"), whole[len(pieces("The cat")) :]
    for one in (tokenizer, loaded):

        def ids(text, one=one):
            return one(text, add_special_tokens=False).input_ids

        assert ids("<2fr>") == [tag]
        assert ids("The cat<2fr> sees") == [*cat, tag, *sees]
        assert ids("<2fr> sees") == [tag, *sees]
        assert ids("<2fr>zyx<2fr> sees") == [tag, foo, tag, *sees]
        assert ids("zyx sees") == [foo, *sees]
        assert ids("The cat sees") == whole
        assert foo in ids("azyxt")


@each_tokenizer
def test_decoding_gives_added_tokens_back_and_skips_the_special_ones(load, purpose, kind, tmp_path):
    tokenizer = added(load(purpose, kind))
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = one("<2fr>The cat<2fr> zyx<2fr>", add_special_tokens=False).input_ids
        assert "<2fr>" in one.decode(ids)
        assert "<2fr>" not in one.decode(ids, skip_special_tokens=True)
        assert one.decode(one("zyx").input_ids, skip_special_tokens=True) == "zyx"
        assert one.decode(one.convert_tokens_to_ids("<2fr>"), skip_special_tokens=True) == ""
        if kind != "word":
            for text in ("<2fr> The cat", "The<2fr>cat", " <2fr>", "zyx<2fr> <2fr>", "\n<2fr>\n zyx "):
                ids = one(text, add_special_tokens=False).input_ids
                assert one.decode(ids) == text
            [skipped] = one.batch_decode(one(["<2fr> The zyx"]).input_ids, skip_special_tokens=True)
            assert skipped.lstrip() == "The zyx"


@each_kind
@pytest.mark.parametrize("purpose", ["seq2seq", "causal_lm"])
def test_special_tokens_of_the_training_stay_text_beside_added_ones(load, purpose, kind):
    tokenizer = added(load(purpose, kind))
    tokenizer.add_special_tokens({"eos_token": "</s>", "cls_token": "<cls>"})
    assert tokenizer.added_special_tokens == ["<2fr>", "<cls>"]
    ids = tokenizer("</s><2fr><pad><cls>", add_special_tokens=False).input_ids
    assert not {0, 1, 2} & set(ids)
    assert ids.count(tokenizer.convert_tokens_to_ids("<2fr>")) == ids.count(tokenizer.cls_token_id) == 1


@each_kind
def test_an_added_token_keeps_its_options_and_texts_without_it_keep_their_ids(load, kind):
    before, tokenizer = load("seq2seq", kind), load("seq2seq", kind)
    tokenizer.add_tokens([AddedToken("zyx", single_word=True), AddedToken("[a]", rstrip=True, normalized=False)])
    word, tag = tokenizer.convert_tokens_to_ids(["zyx", "[a]"])
    texts = [*TEXTS, "zyxw", "azyx", " the", "", "(zyxw"]
    assert tokenizer(texts).input_ids == before(texts).input_ids
    assert tokenizer("[a]   zyx").input_ids == [tag, word, 2]


LOAD_ELSEWHERE = """
import sys
sys.modules["locant"] = None
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
ids = tokenizer("<2fr> The cat").input_ids
print(type(tokenizer).__name__, ids, tokenizer.decode(ids, skip_special_tokens=True), sep="|")
print(tokenizer.add_tokens(["<2de>"], special_tokens=True), tokenizer.tokenize("<2de>"), sep="|")
"""


@pytest.mark.slow
def test_added_tokens_are_read_by_the_code_that_travels_with_them(load, tmp_path):
    tokenizer = added(load("seq2seq", "bpe"))
    tokenizer.save_pretrained(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", LOAD_ELSEWHERE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    assert result.stdout.split("\n")[:2] == [
        f"LocantTokenizer|{tokenizer('<2fr> The cat').input_ids}|The cat",
        "1|['<2de>']",
    ]


def test_a_tokenizer_without_added_special_tokens_carries_no_code(load, tmp_path):
    tokenizer = load("seq2seq", "bpe")
    tokenizer.add_tokens(["zyx"])
    tokenizer.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    text = "zyx The cat zyx"
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == tokenizer(text).input_ids


@each_tokenizer
def test_split_words_have_the_pieces_of_the_text(load, purpose, kind):
    tokenizer = load(purpose, kind, add_prefix_space=True)
    text = " ".join(WORDS)
    split, plain = tokenizer(WORDS, is_split_into_words=True), tokenizer(text, return_offsets_mapping=True)
    assert split.input_ids == plain.input_ids
    if kind != "word":
        assert tokenizer.decode(plain.input_ids, skip_special_tokens=True) == text
    starts = [sum(len(word) + 1 for word in WORDS[:i]) for i in range(len(WORDS))]
    for number, word in enumerate(split.word_ids()):
        if word is not None and kind != "word":
            first, last = split.token_to_chars(number)
            assert WORDS[word][first:last] == text[first + starts[word] : last + starts[word]]
            assert plain.offset_mapping[number] == (first + starts[word], last + starts[word])
    assert set(split.word_ids()) - {None} == set(range(len(WORDS)))
    batch = tokenizer([WORDS, ["Paris"]], is_split_into_words=True)
    assert batch.input_ids == tokenizer([text, "Paris"]).input_ids


@each_kind
@pytest.mark.parametrize("purpose", ["causal_lm", "masked_lm"])
def test_split_words_are_refused_where_they_would_lose_their_spaces(load, purpose, kind):
    with pytest.raises(ValueError, match=r"split into words.*add_prefix_space=True\)\.$"):
        load(purpose, kind)(WORDS, is_split_into_words=True)


@each_tokenizer
def test_add_prefix_space_is_saved_and_taken_back(load, purpose, kind, tmp_path):
    before = load(purpose, kind)
    assert before.add_prefix_space == (purpose == "seq2seq")
    load(purpose, kind, add_prefix_space=not before.add_prefix_space).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.add_prefix_space != before.add_prefix_space
    assert loaded("cat").input_ids != before("cat").input_ids or kind == "word"
    again = AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=before.add_prefix_space)
    for text in TEXTS:
        assert again(text, return_offsets_mapping=True).data == before(text, return_offsets_mapping=True).data


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_a_mask_is_read_with_add_prefix_space_too(load, kind):
    tokenizer = load("masked_lm", kind, add_prefix_space=True)

    def ids(text):
        return tokenizer(text, add_special_tokens=False).input_ids

    sees = ids("cat sees")[len(ids("cat")) :]
    assert ids("cat <mask> sees") == [*ids("cat"), 4, *sees]
    assert ids("<mask> sees") == [4, *sees]
    assert tokenizer(["<mask>", "sees"], is_split_into_words=True, add_special_tokens=False).input_ids == [4, *sees]


@pytest.mark.parametrize("add_prefix_space", [False, True])
def test_offsets_and_words_are_those_of_a_roberta_tokenizer(load, add_prefix_space):
    ours = load("masked_lm", "bpe", add_prefix_space=add_prefix_space)
    alphabet = {token: i for i, token in enumerate(ours.convert_ids_to_tokens(range(len(ours))))}
    roberta = RobertaTokenizer(vocab=alphabet, merges=[], add_prefix_space=add_prefix_space)
    text = " ".join(WORDS)

    def spans(tokenizer, given, **options):
        """Where each word's pieces begin and end, which do not depend on the merges."""
        encoding, found = tokenizer(given, add_special_tokens=False, **options), {}
        for number, word in enumerate(encoding.word_ids()):
            start, end = encoding.token_to_chars(number)
            found[word] = (min(start, found.get(word, (start,))[0]) if start < end else found.get(word, (end,))[0], end)
        return list(found.values())

    expected = spans(roberta, text)
    assert expected == spans(ours, text)
    assert [text[start:end] for start, end in expected] == WORDS
    if add_prefix_space:
        given = (WORDS, {"is_split_into_words": True})
        assert spans(ours, given[0], **given[1]) == spans(roberta, given[0], **given[1])


@each_tokenizer
def test_tokenizers_saved_by_transformers_class_load_with_the_same_ids(load, purpose, kind, tmp_path):
    tokenizer = load(purpose, kind)
    options = {name: getattr(tokenizer, name) for name in ("pad_token", "bos_token", "eos_token", "unk_token")}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        split_special_tokens=tokenizer.split_special_tokens,
        **options,
    ).save_pretrained(tmp_path)
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), LocantTokenizer.from_pretrained(tmp_path)):
        assert loaded(TEXTS).input_ids == tokenizer(TEXTS).input_ids
