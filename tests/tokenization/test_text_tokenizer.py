# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Training a tokenizer: round trips, fixed ids, what loads elsewhere, determinism and errors."""

import json
import random
import subprocess
import sys
import time
from functools import cache
from tempfile import TemporaryDirectory

import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import AutoTokenizer, pipeline

from locant.configuration import LocantConfig
from locant.modeling.modeling_locant_decoder import LocantForCausalLM
from locant.modeling.modeling_locant_encoder import LocantForMaskedLM
from locant.tokenization import train_tokenizer
from locant.tokenization.text_tokenizer import LONGEST_WORD

LOSSLESS = ("bpe", "unigram", "wordpiece")
KINDS = (*LOSSLESS, "word")

_NOUNS = [("cat", "chat"), ("dog", "chien"), ("bird", "oiseau"), ("man", "homme"), ("child", "enfant")]
_VERBS = [("sees", "voit"), ("loves", "aime"), ("follows", "suit")]
TEXTS = [
    text
    for a, b in _NOUNS
    for c, d in _NOUNS
    for v, w in _VERBS
    for text in (f"The {a} {v} the {c}.", f"L'{b} {w} l'{d}\u00a0!", f"Don't say the {a}'s here.")
]

AWKWARD = [
    "",
    " ",
    "   ",
    " leading",
    "  two leading",
    "trailing ",
    "a  b   c",
    "\t",
    "\n",
    "\r\n a\tb\n\n c ",
    "</s>",
    "<pad>",
    " <s>",
    "<unk></s> <pad>a</s>b <s> c",
    "< / s >",
    "▁meta ▁ ##ing Ġ Ċ @@",
    "l'homme, l’été ; « qu'est-ce\u00a0? » aujourd'hui \u202f!",
    "I'm don't DON'T dog's dogs' rock'n'roll 'tis ''",
    "e\u0301te\u0301 \u00e9t\u00e9",
    "🙂👩‍👩‍👧‍👦 ❤️ 🇫🇷",
    "नमस्ते دَرْس 日本語のテキスト ภาษาไทย",
    "\x00\x01\x1b[0m\x7f\u0085\u2028\u2029\ufeff\ufffd\ufffe\uffff",
    "\U0010ffff\ue000\u200b\u200d\u202e",
    "12,345.67 €½ ²",
    "漢" * 200,
]


def random_strings(count: int, seed: int) -> list[str]:
    """Strings of arbitrary code points (surrogates are not text), biased to spaces and special tokens."""
    rng = random.Random(seed)
    fragments = [" ", "  ", "\n", "'", "’s", "</s>", "<pad>", "<", "\u00a0", "\u0301", "the", "L'homme", "9"]

    def fragment() -> str:
        if rng.random() < 0.6:
            return rng.choice(fragments)
        code = rng.choice((rng.randrange(0x250), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))
        return chr(code)

    return ["".join(fragment() for _ in range(rng.randrange(1, 30))) for _ in range(count)]


PURPOSES = ("causal_lm", "masked_lm")


@pytest.fixture(scope="module")
def for_purpose():
    """Tokenizers by (purpose, kind), as they load from where they were saved."""

    @cache
    def load(purpose, kind="bpe"):
        tokenizer = train_tokenizer(iter(TEXTS), kind=kind, vocab_size=330, purpose=purpose, show_progress=False)
        with TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            return AutoTokenizer.from_pretrained(folder)

    return load


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: train_tokenizer(iter(TEXTS), kind=kind, vocab_size=320, show_progress=False) for kind in KINDS}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_any_text_survives_encoding_and_decoding(tokenizers, kind):
    tokenizer = tokenizers[kind]
    for text in AWKWARD + random_strings(1000, seed=0):
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert min(ids[:-1], default=4) >= 4  # the text itself never gives a special token
        assert ids[-1] == 2


def test_words_survive_encoding_and_decoding_if_they_are_known(tokenizers):
    tokenizer = tokenizers["word"]
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    assert tokenizer.tokenize("The cat follows the unicorn.")[-2:] == ["<unk>", "."]
    assert tokenizer("</s>").input_ids == [3, 3, 3, 2]  # "</", "s" and ">" are unknown words, not the token


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_any_text_survives_whatever_it_is_for(for_purpose, purpose, kind):
    tokenizer = for_purpose(purpose, kind)
    special = 5 if purpose == "masked_lm" else 4
    for text in AWKWARD + random_strings(300, seed=3):
        start, *ids = tokenizer(text, split_special_tokens=True).input_ids
        assert start == 1
        assert purpose == "causal_lm" or ids.pop() == 2
        assert min(ids, default=special) >= special
        assert tokenizer.decode(ids) == text


def test_two_texts_stand_together_as_their_purpose_wants(for_purpose):
    for purpose, separator in (("causal_lm", []), ("masked_lm", [2])):
        tokenizer = for_purpose(purpose)
        one, two = (tokenizer(text, add_special_tokens=False).input_ids for text in ("a cat", "the dog"))
        assert tokenizer("a cat", "the dog").input_ids == [1, *one, *separator, *two, *separator]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_text_goes_on_as_its_tokens_say(for_purpose, kind):
    tokenizer = for_purpose("causal_lm", kind)
    whole, start = tokenizer("The cat follows the bird.").input_ids, tokenizer("The cat").input_ids
    assert whole[: len(start)] == start
    assert tokenizer.decode(whole[len(start) :]) == " follows the bird."
    padding = len(whole) - len(start)
    batch = tokenizer(["The cat", "The cat follows the bird."], padding=True)
    assert batch["input_ids"] == [[0] * padding + start, whole]
    assert batch["attention_mask"][0] == [0] * padding + [1] * len(start)
    assert tokenizer("</s>").input_ids[1:] != [2]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_mask_in_a_text_stands_for_a_word_with_its_space(for_purpose, kind):
    tokenizer = for_purpose("masked_lm", kind)
    assert (tokenizer.mask_token, tokenizer.mask_token_id) == ("<mask>", 4)

    def ids(text):
        return tokenizer(text, add_special_tokens=False).input_ids

    assert ids("The <mask> follows the <mask>.") == [*ids("The"), 4, *ids(" follows the"), 4, *ids(".")]
    assert ids("<mask> cat") == [4, *ids(" cat")]
    assert ids(" follows the") == ids("The dog follows the")[len(ids("The dog")) :]
    assert 4 not in tokenizer("The <mask> follows", split_special_tokens=True).input_ids


def tiny(model_class, tokenizer):
    torch.manual_seed(0)
    shape = {f"{stack}_{name}": 1 for stack in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    return model_class(LocantConfig(vocab_size=len(tokenizer), d_model=16, **shape)).eval()


def test_the_text_generation_pipeline_goes_on_with_the_very_prompt(for_purpose):
    tokenizer = for_purpose("causal_lm")
    model = tiny(LocantForCausalLM, tokenizer)
    generate = pipeline("text-generation", model=model, tokenizer=tokenizer)
    prompts = ["The cat", " sees  a\n", "</s> dog", "L'homme\u00a0!"]
    options = {"max_new_tokens": 7, "do_sample": False}
    for prompt, alone, [batched] in zip(
        prompts,
        [generate(prompt, **options) for prompt in prompts],
        generate(prompts, batch_size=4, **options),
        strict=True,
    ):
        ids = model.generate(**tokenizer(prompt, return_tensors="pt"), **options)[0, 1:]
        assert alone == [{"generated_text": tokenizer.decode(ids, skip_special_tokens=True)}] == [batched]
        assert alone[0]["generated_text"].startswith(prompt)


@torch.no_grad()
def test_the_fill_mask_pipeline_puts_words_where_masks_are(for_purpose):
    tokenizer = for_purpose("masked_lm")
    model = tiny(LocantForMaskedLM, tokenizer)
    cat = tokenizer(" cat", add_special_tokens=False).input_ids[-1]
    answers = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=len(tokenizer))("The <mask> sees.")
    inputs = tokenizer("The <mask> sees.", return_tensors="pt")
    place = inputs["input_ids"][0].tolist().index(4)
    probabilities = model(**inputs).logits[0, place].softmax(-1)
    [answer] = [answer for answer in answers if answer["token"] == cat]
    assert answer["score"] == pytest.approx(float(probabilities[cat]))
    assert answer["token_str"] == tokenizer.decode([cat])
    assert answer["sequence"] == f"The{tokenizer.decode([cat])} sees."


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_their_ids_and_eos_ends_every_text(tokenizers, kind):
    tokenizer = tokenizers[kind]
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["<pad>", "<s>", "</s>", "<unk>"]
    assert [
        tokenizer.pad_token_id,
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.unk_token_id,
    ] == [0, 1, 2, 3]
    assert tokenizer("").input_ids == [2]
    assert tokenizer("The cat").input_ids == [
        *tokenizer("The cat", add_special_tokens=False).input_ids,
        2,
    ]
    one, two = tokenizer("The cat").input_ids, tokenizer("the dog").input_ids
    assert tokenizer("The cat", "the dog").input_ids == one + two
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_batches_pad_on_the_right_and_targets_are_encoded_like_sources(tokenizers):
    tokenizer = tokenizers["bpe"]
    batch = tokenizer(["The cat sees the dog.", "cat"], text_target=["L'chat", "</s>"], padding=True)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    short = tokenizer("cat").input_ids
    padding = len(batch["input_ids"][0]) - len(short)
    assert padding > 0
    assert batch["input_ids"][1] == short + [0] * padding
    assert batch["attention_mask"][1] == [1] * len(short) + [0] * padding
    assert batch["labels"] == tokenizer(["L'chat", "</s>"], padding=True).input_ids


def test_a_long_text_is_not_truncated(tokenizers):
    text = "The cat sees the dog. " * 2000
    ids = tokenizers["bpe"](text, truncation=True).input_ids
    assert tokenizers["bpe"].decode(ids, skip_special_tokens=True) == text


def test_a_word_has_the_same_pieces_at_the_start_of_a_text_as_inside(tokenizers):
    for kind in KINDS:
        tokenizer = tokenizers[kind]
        assert tokenizer.tokenize("cat the cat")[: len(tokenizer.tokenize("cat"))] == tokenizer.tokenize("cat")
        assert tokenizer.tokenize("cat") == tokenizer.tokenize("the cat")[len(tokenizer.tokenize("the")) :]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("l'homme qu'il L’été", [" l'", "homme", " qu'", "il", " L’", "été"]),
        ("aujourd'hui dell'arte", [" aujourd'", "hui", " dell'", "arte"]),
        ("don't I'm DOG'S it’s", [" don", "'t", " I", "'m", " DOG", "'S", " it", "’s"]),
        ("l'dernier l'tout", [" l'", "dernier", " l'", "tout"]),  # not the endings 'd and 't
        ("Quoi\u00a0? «\u00a0oui\u00a0»", [" Quoi", "\u00a0?", " «", "\u00a0", "oui", "\u00a0»"]),
        ("e\u0301te\u0301 नमस्ते", [" e\u0301te\u0301", " नमस्ते"]),
        ("dogs' 'tis (a)", [" dogs", "'", " '", "tis", " (", "a", ")"]),
        ("in 1984, x2", [" in", " 1984", ",", " x", "2"]),
        ("a   b\n", [" a", "  ", " b", "\n"]),
    ],
)
def test_words_are_cut_where_the_pattern_says(tokenizers, text, words):
    backend = tokenizers["bpe"].backend_tokenizer
    splits = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))
    assert "".join(word for word, _ in splits) == "".join(encoded(word) for word in words)
    assert [word for word, _ in splits] == [encoded(word) for word in words]


LONG = ["漢" * 3000, "-" * 3000, "7" * 3000, " " * 3000, "\t" * 3000, "Az" * 1500, "e\u0301" * 1500]


@pytest.mark.parametrize("kind", KINDS)
def test_no_word_is_longer_than_the_longest(tokenizers, kind):
    tokenizer = tokenizers[kind]
    backend = tokenizer.backend_tokenizer
    for text in LONG:
        words = [text[start:end] for _, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text)]
        assert "".join(words) == text
        assert max(map(len, words)) == LONGEST_WORD
        if kind != "word":
            assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_word_takes_time_in_proportion_to_its_length(kind):
    """In training and in encoding, each of these texts takes minutes where a word may have any length."""
    start = time.process_time()
    for text in ("漢" * 4000, "-" * 100_000):
        tokenizer = train_tokenizer(iter([*TEXTS, text, text]), kind=kind, vocab_size=400, show_progress=False)
        assert tokenizer(text).input_ids[-1] == tokenizer.eos_token_id
    assert time.process_time() - start < 20


def encoded(word: str) -> str:
    """GPT-2's spelling of a word's bytes: printable Latin-1 as it is, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return "".join(chr(b) if b in printable else chr(256 + others.index(b)) for b in word.encode())


LOAD_ELSEWHERE = """
import json, sys
sys.modules["locant"] = None  # importing it now fails
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(open(sys.argv[2], encoding="utf-8"))
encoded = tokenizer(texts)
decoded = tokenizer.batch_decode(encoded["input_ids"], skip_special_tokens=True)
print(json.dumps([dict(encoded), decoded, tokenizer.padding_side, tokenizer.model_max_length]))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_loads_and_behaves_the_same(tokenizers, kind, tmp_path):
    texts = AWKWARD + TEXTS[:5] + random_strings(100, seed=1)
    tokenizers[kind].save_pretrained(tmp_path / "first")
    AutoTokenizer.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "second")
    assert loaded(texts, text_target=texts).data == tokenizers[kind](texts, text_target=texts).data
    assert loaded.get_vocab() == tokenizers[kind].get_vocab()
    assert loaded.model_input_names == ["input_ids", "attention_mask"]


@pytest.mark.slow
def test_a_saved_tokenizer_loads_where_locant_is_not_installed(tokenizers, tmp_path):
    texts = AWKWARD + random_strings(100, seed=2)
    tokenizer = tokenizers["bpe"]
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "texts").write_text(json.dumps(texts), encoding="utf-8")
    command = [sys.executable, "-c", LOAD_ELSEWHERE, str(tmp_path), str(tmp_path / "texts")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    encoded, decoded, side, longest = json.loads(result.stdout)
    assert encoded == tokenizer(texts).data
    assert decoded == texts
    assert side == "right"
    assert longest == tokenizer.model_max_length > 10**9


TRAIN_ELSEWHERE = """
import json, sys
from locant.tokenization import train_tokenizer
texts = json.load(sys.stdin)
print(json.dumps([
    train_tokenizer(iter(texts), kind=kind, vocab_size=320, show_progress=False).backend_tokenizer.to_str()
    for kind in sys.argv[1:]
]))
"""


@pytest.mark.slow
def test_another_process_trains_the_same_tokenizers(tokenizers):
    command = [sys.executable, "-c", TRAIN_ELSEWHERE, *KINDS]
    result = subprocess.run(command, input=json.dumps(TEXTS), capture_output=True, text=True, check=True)
    for kind, trained in zip(KINDS, json.loads(result.stdout), strict=True):
        again = train_tokenizer(iter(TEXTS), kind=kind, vocab_size=320, show_progress=False)
        assert trained == again.backend_tokenizer.to_str(), kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_is_as_large_as_asked_or_as_the_texts_allow(kind, caplog):
    def size(vocab_size):
        return len(train_tokenizer(iter(TEXTS), kind=kind, vocab_size=vocab_size, show_progress=False))

    least = {"bpe": 260, "unigram": 261, "wordpiece": 260, "word": 5}[kind]
    assert size(least) == least
    assert size(least + 7) == least + 7
    assert not caplog.records
    smaller = size(5000)
    assert least + 7 < smaller < 5000
    assert f"a vocabulary of 5,000 tokens: the tokenizer has {smaller:,} tokens" in caplog.text


def test_frequent_words_become_one_piece_and_rare_ones_do_not():
    texts = ["perpendicular"] * 9 + ["horizontal"]
    tokenizer = train_tokenizer(iter(texts), vocab_size=400, min_frequency=2, show_progress=False)
    assert tokenizer.tokenize("perpendicular") == ["Ġperpendicular"]
    assert len(tokenizer.tokenize("horizontal")) > 5
    tokenizer = train_tokenizer(iter(texts), vocab_size=400, min_frequency=1, show_progress=False)
    assert tokenizer.tokenize("horizontal") == ["Ġhorizontal"]
    words = train_tokenizer(iter(texts), kind="word", min_frequency=2, show_progress=False)
    assert words("perpendicular horizontal").input_ids == [4, 3, 2]


def test_unigram_takes_a_frequent_word_for_one_piece_though_punctuation_follows_it():
    texts = [f"{word}{end}" for word in ("because", "l'homme", "don't") for end in (",", ".", "") for _ in range(9)]
    tokenizer = train_tokenizer(iter(texts), kind="unigram", vocab_size=270, show_progress=False)
    assert tokenizer.tokenize("don't, because.") == ["Ġdon't", ",", "Ġbecause", "."]


def test_files_a_dataset_and_an_iterator_give_the_same_tokenizer(tmp_path):
    def train(texts, **options):
        options = {"vocab_size": 300, "show_progress": False} | options
        return train_tokenizer(texts, **options).backend_tokenizer.to_str()

    half = len(TEXTS) // 2
    (tmp_path / "a.txt").write_bytes("\r\n".join(TEXTS[:half]).encode())  # no newline at the end
    (tmp_path / "b.txt").write_bytes("".join(f"{text}\n" for text in TEXTS[half:]).encode())
    expected = train(iter(TEXTS))
    assert train([str(tmp_path / "a.txt"), tmp_path / "b.txt"]) == expected
    assert train(tmp_path / "a.txt") == train(str(tmp_path / "a.txt")) == train(iter(TEXTS[:half]))
    (tmp_path / "a.txt").write_bytes("\ufeff".encode() + (tmp_path / "a.txt").read_bytes())
    assert train(tmp_path / "a.txt") == train(iter(TEXTS[:half]))

    dataset = Dataset.from_dict(
        {"source": [*TEXTS[:half], None], "target": [*TEXTS[half : 2 * half], None], "id": [*range(half), -1]}
    )
    assert train(dataset) == train(iter(TEXTS[: 2 * half]))
    assert train(dataset, text_columns=["target"]) == train(iter(TEXTS[half : 2 * half]))
    assert train(dataset["source"][:half].__iter__()) == train(iter(TEXTS[:half]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kind": "BPEE"},
            r"'BPEE' is unknown \(did you mean 'bpe'\?\): .* bpe, unigram, wordpiece, word\.$",
        ),
        ({"kind": "sentence-pieces"}, r"unknown.*choose one of"),
        ({"purpose": "causal"}, r"Purpose 'causal' is unknown \(did you mean 'causal_lm'\?\).* seq2seq, causal_lm"),
        ({"purpose": "masked_lm", "vocab_size": 260}, r"at least 261"),
        ({"vocab_size": 259}, r"vocab_size is 259.*at least 260: the special tokens and every byte"),
        ({"kind": "unigram", "vocab_size": 260}, r"at least 261"),
        ({"kind": "wordpiece", "vocab_size": 100}, r"at least 260"),
        ({"kind": "word", "vocab_size": 4}, r"at least 5: the special tokens and a word"),
        ({"texts": iter([])}, r"no text to train"),
        ({"texts": iter(["", " \n"])}, r"no text to train"),
        ({"texts": []}, r"no text to train"),
        ({"texts": Dataset.from_dict({"source": [""]})}, r"no text to train"),
        ({"texts": ["The cat sees the dog."]}, r"no text file 'The cat sees the dog\.'.*iter\(list\)"),
        ({"texts": "missing.txt"}, r"no text file 'missing\.txt'"),
        ({"texts": [["nested"]]}, r"no text file"),
        ({"texts": iter([b"bytes"])}, r"yields a bytes"),
        ({"texts": iter(["text", 3])}, r"yields a int"),
        ({"texts": iter(["text"]), "text_columns": ["source"]}, r"text_columns .* is a list_iterator"),
        ({"texts": Dataset.from_dict({"id": [1]})}, r"string columns of the dataset are \[\]"),
        (
            {"texts": Dataset.from_dict({"en": ["a"], "id": [1]}), "text_columns": ["id"]},
            r"text_columns is \['id'\], but the string columns of the dataset are \['en'\]",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(options, message):
    options = {"texts": iter(TEXTS), "show_progress": False} | options
    with pytest.raises(ValueError, match=message) as caught:
        train_tokenizer(options.pop("texts"), **options)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes("un\ndeux\nété\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"Line 3 of .*latin1\.txt is not UTF-8 \(.*byte 1\)"):
        train_tokenizer([path], show_progress=False)


def test_a_dictionary_of_datasets_is_refused():
    texts = DatasetDict(train=Dataset.from_dict({"text": ["the cat sat on the mat"] * 20}))
    with pytest.raises(ValueError, match="DatasetDict with the keys train: give one"):
        train_tokenizer(texts, vocab_size=300, show_progress=False)


def test_one_column_needs_no_list():
    texts = Dataset.from_dict({"text": ["the cat sat on the mat"] * 20, "other": ["a dog"] * 20})
    one, other = (
        train_tokenizer(texts, vocab_size=300, text_columns=columns, show_progress=False)
        for columns in ("text", ["text"])
    )
    assert one.get_vocab() == other.get_vocab()


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_a_tokenizer_trained_anew_on_other_texts_loses_no_text(kind):
    old = train_tokenizer(iter(["the cat sat on the mat"] * 20), kind=kind, vocab_size=300, show_progress=False)
    new = old.train_new_from_iterator([["a dog ran in the fog"] * 20], 300, show_progress=False)
    ids = new("zebra </s> <unk>é", add_special_tokens=False)["input_ids"]
    assert new.decode(ids) == "zebra </s> <unk>é"
    assert not set(ids) & {0, 1, 2, 3}
