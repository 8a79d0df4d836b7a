# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The phrasebook's grammar, phenomenon by phenomenon against hand-written French, and the corpus it makes."""

import importlib.util
import random
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "phrasebook.py"
spec = importlib.util.spec_from_file_location("phrasebook", SCRIPT)
pb = sys.modules["phrasebook"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pb)

NOUN = {entry.english: entry for entry in pb.NOUNS}
NUMERAL = {entry.english_plural: entry for entry in pb.NUMERALS}
PLURAL = {"plural": True}
NEGATED = {"negated": True}


def phrase(determiner, noun, *adjectives, **options):
    return pb.noun_phrase(determiner, NOUN[noun], *(pb.ADJECTIVE[word] for word in adjectives), **options)


def the(noun, *adjectives, **options):
    return phrase(pb.THE, noun, *adjectives, **options)


def clause(subject, verb, thing=None, **options):
    return pb.Clause(subject, pb.BE if verb == "be" else pb.VERB[verb], thing, **options)


def say(*arguments, **options):
    return pb.statement(clause(*arguments, **options))


def ask(*arguments, word=pb.NOTHING, **options):
    return pb.question(clause(*arguments, **options), word)


def describe(subject, quality, **options):
    return say(subject, "be", tail=pb.predicate(subject, pb.ADJECTIVE[quality]), **options)


def compare(subject, quality, other):
    return say(subject, "be", tail=pb.comparison(subject, pb.ADJECTIVE[quality], other))


def whom(head, *arguments, **options):
    """The head as the object of a relative clause."""
    return pb.relative(head, clause(*arguments, extracted=head, **options))


def who(head, *arguments, **options):
    """The head as the subject of a relative clause."""
    return pb.relative(head, clause(head, *arguments, **options))


@pytest.mark.parametrize(
    ("written", "english", "french"),
    [
        # gender and number, elision, a mute and an aspirated h
        (the("dog"), "the dog", "le chien"),
        (the("cow"), "the cow", "la vache"),
        (the("man"), "the man", "l'homme"),
        (the("owl"), "the owl", "le hibou"),
        (the("water"), "the water", "l'eau"),
        (the("horse", **PLURAL), "the horses", "les chevaux"),
        (the("hospital", **PLURAL), "the hospitals", "les hôpitaux"),
        (the("mouse", **PLURAL), "the mice", "les souris"),
        (the("knife", **PLURAL), "the knives", "les couteaux"),
        (phrase(pb.A, "egg"), "an egg", "un œuf"),
        (phrase(pb.A, "car", "Italian"), "an Italian car", "une voiture italienne"),
        # determiners before a vowel
        (phrase(pb.THIS, "boy"), "this boy", "ce garçon"),
        (phrase(pb.THIS, "elephant"), "this elephant", "cet éléphant"),
        (phrase(pb.THIS, "owl"), "this owl", "ce hibou"),
        (phrase(pb.THIS, "actress", **PLURAL), "these actresses", "ces actrices"),
        (phrase(pb.MY, "table"), "my table", "ma table"),
        (phrase(pb.MY, "clock"), "my clock", "mon horloge"),
        (phrase(pb.HER, "sister", "other"), "her other sister", "son autre sœur"),
        (phrase(pb.HIS, "horse"), "his horse", "son cheval"),
        (phrase(pb.THEIR, "key", **PLURAL), "their keys", "leurs clés"),
        # adjectives: order, agreement, bel, nouvel, vieil
        (the("cat", "black"), "the black cat", "le chat noir"),
        (phrase(pb.A, "cat", "small", "black"), "a small black cat", "un petit chat noir"),
        (the("man", "beautiful"), "the beautiful man", "le bel homme"),
        (phrase(pb.A, "hotel", "new"), "a new hotel", "un nouvel hôtel"),
        (phrase(pb.MY, "uncle", "old"), "my old uncle", "mon vieil oncle"),
        (the("owl", "old"), "the old owl", "le vieux hibou"),
        (the("orange", "good"), "the good orange", "la bonne orange"),
        (the("bird", "old", **PLURAL), "the old birds", "les vieux oiseaux"),
        (the("actress", "beautiful", **PLURAL), "the beautiful actresses", "les belles actrices"),
        (the("man", "loyal", **PLURAL), "the loyal men", "les hommes loyaux"),
        (the("letter", "white", **PLURAL), "the white letters", "les lettres blanches"),
        (the("car", "expensive"), "the expensive car", "la voiture chère"),
        (the("box", "brown", **PLURAL), "the brown boxes", "les boîtes marron"),
        (the("hat", "blue", **PLURAL), "the blue hats", "les chapeaux bleus"),
        # numbers and quantities
        (phrase(NUMERAL["eight"], "king", **PLURAL), "eight kings", "huit rois"),
        (the("egg", numeral=NUMERAL["ten"], **PLURAL), "the ten eggs", "les dix œufs"),
        (phrase(pb.MANY, "actor", **PLURAL), "many actors", "beaucoup d'acteurs"),
        (phrase(pb.ALL, "girl", **PLURAL), "all the girls", "toutes les filles"),
        (phrase(pb.EVERY, "flower", "pretty"), "every pretty flower", "chaque jolie fleur"),
        # partitives and indefinite plurals
        (phrase(pb.SOME, "bread"), "some bread", "du pain"),
        (phrase(pb.SOME, "soup", "good"), "some good soup", "de la bonne soupe"),
        (phrase(pb.SOME, "water"), "some water", "de l'eau"),
        (phrase(pb.SOME, "apple", **PLURAL), "some apples", "des pommes"),
        (phrase(pb.SOME, "apple", "small", **PLURAL), "some small apples", "de petites pommes"),
        (phrase(pb.SOME, "car", "red", **PLURAL), "some red cars", "des voitures rouges"),
        (phrase(pb.SOME, "bird", "other", **PLURAL), "some other birds", "d'autres oiseaux"),
        (phrase(pb.A, "dog", **NEGATED), "a dog", "de chien"),
        (phrase(pb.SOME, "water", **NEGATED), "any water", "d'eau"),
        (phrase(pb.SOME, "egg", **PLURAL, **NEGATED), "any eggs", "d'œufs"),
        # possessors and contraction
        (the("dog", possessor=the("king")), "the king's dog", "le chien du roi"),
        (the("cat", possessor=the("woman")), "the woman's cat", "le chat de la femme"),
        (the("house", possessor=the("actor")), "the actor's house", "la maison de l'acteur"),
        (the("hat", possessor=the("boy", **PLURAL)), "the boys' hat", "le chapeau des garçons"),
        (the("key", possessor=the("woman", **PLURAL)), "the women's key", "la clé des femmes"),
        (the("aunt", possessor=phrase(pb.THIS, "man")), "this man's aunt", "la tante de cet homme"),
        # two together
        (pb.coordinate(the("boy"), the("girl")), "the boy and the girl", "le garçon et la fille"),
    ],
)
def test_noun_phrase(written, english, french):
    assert (written.english, pb.spell_french(written.french)) == (english, french)


GIRLS, COWS, LETTERS = (the(word, **PLURAL) for word in ("girl", "cow", "letter"))
PAST, IMPERFECT, FUTURE = ({"tense": tense} for tense in (pb.PAST, pb.IMPERFECT, pb.FUTURE))
NOT, NEVER, NO_LONGER, OFTEN = ({"adverb": word} for word in (pb.NOT, pb.NEVER, pb.NO_LONGER, pb.OFTEN))


@pytest.mark.parametrize(
    ("written", "english", "french"),
    [
        # word order alone
        (say(the("cat"), "see", the("dog")), "The cat sees the dog.", "Le chat voit le chien."),
        (say(the("dog"), "see", the("cat")), "The dog sees the cat.", "Le chien voit le chat."),
        # persons and tenses
        (say(pb.I, "love", the("cow")), "I love the cow.", "J'aime la vache."),
        (say(pb.WE, "eat", the("soup")), "We eat the soup.", "Nous mangeons la soupe."),
        (say(pb.YOU, "read", the("book")), "You read the book.", "Vous lisez le livre."),
        (say(GIRLS, "buy", phrase(pb.A, "box")), "The girls buy a box.", "Les filles achètent une boîte."),
        (say(pb.SHE, "sleep", **IMPERFECT), "She was sleeping.", "Elle dormait."),
        (say(pb.WE, "eat", the("egg"), **IMPERFECT), "We were eating the egg.", "Nous mangions l'œuf."),
        (say(COWS, "fall", **FUTURE), "The cows are going to fall.", "Les vaches vont tomber."),
        (say(pb.HE, "open", the("door"), **PAST), "He opened the door.", "Il a ouvert la porte."),
        # auxiliaries, and what participles agree with
        (say(COWS, "fall", **PAST), "The cows fell.", "Les vaches sont tombées."),
        (
            say(the("queen"), "enter", the("castle"), **PAST),
            "The queen entered the castle.",
            "La reine est entrée dans le château.",
        ),
        (say(the("boy"), "see", pb.SHE, **PAST), "The boy saw her.", "Le garçon l'a vue."),
        (say(the("boy"), "answer", pb.SHE, **PAST), "The boy answered her.", "Le garçon lui a répondu."),
        (
            say(pb.SHE, "read", whom(LETTERS, pb.I, "write", **PAST)),
            "She reads the letters that I wrote.",
            "Elle lit les lettres que j'ai écrites.",
        ),
        # the verb's preposition, and its contraction
        (say(pb.HE, "wait", GIRLS), "He waits for the girls.", "Il attend les filles."),
        (say(pb.HE, "talk", GIRLS), "He talks to the girls.", "Il parle aux filles."),
        (say(the("king"), "go", the("market")), "The king goes to the market.", "Le roi va au marché."),
        (say(pb.WE, "go", the("school")), "We go to the school.", "Nous allons à l'école."),
        (say(pb.SHE, "come", the("museum"), **PAST), "She came from the museum.", "Elle est venue du musée."),
        # negation, around the finite verb and its clitic
        (say(pb.I, "love", the("cat"), **NOT), "I do not love the cat.", "Je n'aime pas le chat."),
        (say(pb.HE, "eat", the("egg"), **NEVER), "He never eats the egg.", "Il ne mange jamais l'œuf."),
        (say(pb.HE, "work", **NO_LONGER), "He no longer works.", "Il ne travaille plus."),
        (say(pb.HE, "eat", the("egg"), **NEVER, **PAST), "He never ate the egg.", "Il n'a jamais mangé l'œuf."),
        (say(pb.HE, "see", pb.I, **NOT), "He does not see me.", "Il ne me voit pas."),
        (say(pb.I, "see", pb.HE, **NOT, **PAST), "I did not see him.", "Je ne l'ai pas vu."),
        (
            say(pb.SHE, "wait", pb.THEM, **NOT, **FUTURE),
            "She is not going to wait for them.",
            "Elle ne va pas les attendre.",
        ),
        (say(COWS, "arrive", **NOT, **PAST), "The cows did not arrive.", "Les vaches ne sont pas arrivées."),
        (
            say(pb.WE, "have", phrase(pb.A, "dog", **NEGATED), **NOT),
            "We do not have a dog.",
            "Nous n'avons pas de chien.",
        ),
        # frequency and time
        (say(pb.HE, "see", pb.SHE, **OFTEN), "He often sees her.", "Il la voit souvent."),
        (
            say(pb.SHE, "sing", opening=pb.Pair("yesterday", "hier"), **PAST),
            "Yesterday, she sang.",
            "Hier, elle a chanté.",
        ),
        # being
        (describe(the("girl"), "happy"), "The girl is happy.", "La fille est heureuse."),
        (describe(pb.I, "sad"), "I am sad.", "Je suis triste."),
        (
            describe(pb.coordinate(the("king"), the("queen")), "proud", **IMPERFECT),
            "The king and the queen were proud.",
            "Le roi et la reine étaient fiers.",
        ),
        (describe(pb.SHE, "lazy", **NOT, **FUTURE), "She is not going to be lazy.", "Elle ne va pas être paresseuse."),
        (
            compare(COWS, "big", phrase(pb.A, "bear")),
            "The cows are bigger than a bear.",
            "Les vaches sont plus grandes qu'un ours.",
        ),
        # questions
        (ask(pb.HE, "see", the("fox")), "Does he see the fox?", "Est-ce qu'il voit le renard ?"),
        (ask(GIRLS, "arrive", **PAST), "Did the girls arrive?", "Est-ce que les filles sont arrivées ?"),
        (ask(pb.YOU, "work", **IMPERFECT), "Were you working?", "Est-ce que vous travailliez ?"),
        (ask(pb.SHE, "buy", word=pb.Pair("what", "que"), **PAST), "What did she buy?", "Qu'est-ce qu'elle a acheté ?"),
        (
            ask(the("man"), "look", word=pb.Pair("who", "qui")),
            "Who does the man look for?",
            "Qui est-ce que l'homme cherche ?",
        ),
        # relative clauses
        (
            say(who(the("cat"), "see", the("dog")), "sleep"),
            "The cat that sees the dog sleeps.",
            "Le chat qui voit le chien dort.",
        ),
        (
            say(whom(the("cat"), the("dog"), "see"), "sleep"),
            "The cat that the dog sees sleeps.",
            "Le chat que le chien voit dort.",
        ),
        (
            say(who(the("man"), "help", pb.THEM), "sing"),
            "The man who helps them sings.",
            "L'homme qui les aide chante.",
        ),
        (
            say(whom(the("key"), pb.HE, "take", **PAST), "be", tail=pb.Pair("here", "ici")),
            "The key that he took is here.",
            "La clé qu'il a prise est ici.",
        ),
    ],
)
def test_sentence(written, english, french):
    assert written == (english, french)


@pytest.mark.parametrize(
    ("subject", "english", "french"),
    [
        (the("cow"), "it is tired", "elle est fatiguée"),
        (the("dog"), "it is tired", "il est fatigué"),
        (the("actress"), "she is tired", "elle est fatiguée"),
        (COWS, "they are tired", "elles sont fatiguées"),
        (pb.coordinate(the("cow"), the("dog")), "they are tired", "ils sont fatigués"),
    ],
)
def test_pronoun_takes_the_gender_of_the_noun_it_stands_for(subject, english, french):
    again = pb.anaphor(subject)
    tired = clause(again, "be", tail=pb.predicate(again, pb.ADJECTIVE["tired"]))
    assert pb.english_clause(tired).split() == english.split()
    assert pb.french_clause(tired).split() == french.split()


@pytest.mark.parametrize(
    "write",
    [
        lambda: describe(pb.YOU, "happy"),
        lambda: describe(pb.YOU, "sad"),  # triste or tristes?
        lambda: describe(pb.I, "happy"),
        lambda: say(pb.I, "arrive", **PAST),
        lambda: say(pb.HE, "see", pb.THEM, **PAST),
    ],
)
def test_gender_or_number_that_english_leaves_open_is_refused(write):
    with pytest.raises(pb.Underspecified):
        write()


def test_no_verb_reads_the_same_in_present_and_past():
    assert not [verb for verb in pb.VERBS if pb.PAST in verb.tenses and verb.past == verb.english]


def test_french_is_a_function_of_the_english():
    sampler = pb.Sampler(random.Random(3))
    french_of = {}
    for _ in range(4_000):
        pair = sampler.draw().pair
        assert french_of.setdefault(pair.english, pair.french) == pair.french
    assert len(french_of) > 3_500


def test_spelling_leaves_no_hiatus_and_no_uncontracted_article():
    wrong = re.compile(
        r"\b([lL]e|[lL]a|de|que|ne|[jJ]e|me|[mM]a|[sS]a|[cC]e) (?!hibou|huit)[aeéèêhiouœ]|\b(à|de) les? |  "
    )
    sampler = pb.Sampler(random.Random(4))
    assert not [text for text in (sampler.draw().pair.french for _ in range(3_000)) if wrong.search(text)]


@pytest.fixture(scope="module")
def corpus():
    return pb.make_corpus(3_000, 150, 150, seed=1)


def test_no_sentence_stands_twice_on_either_side(corpus):
    pairs = [pair for split in corpus.values() for pair in split]
    assert [len(corpus[split]) for split in ("train", "dev", "test")] == [3_000, 150, 150]
    assert len({pair.english for pair in pairs}) == len({pair.french for pair in pairs}) == 3_300


def test_every_word_form_of_dev_and_test_occurs_in_train(corpus):
    def words(split):
        texts = [(side, re.sub(r"[.?,]", " ", text)) for pair in corpus[split] for side, text in enumerate(pair)]
        return {(side, word) for side, text in texts for word in text.replace("'", "' ").split()}

    assert words("dev") | words("test") <= words("train")


def test_sentences_have_3_to_14_words_a_capital_and_a_final_mark(corpus):
    for pair in corpus["train"]:
        assert 3 <= len(pair.english.split()) <= 14
        assert re.fullmatch(r"[A-Z][\w ',-]+[.?]", pair.english)
        assert re.fullmatch(r"[A-ZÀÉŒ][\w ',-]+(\.| \?)", pair.french)
        assert pair.english.endswith("?") == pair.french.endswith(" ?")


def test_all_of_the_lexicon_is_used(corpus):
    english = " ".join(pair.english.lower() for pair in corpus["train"])
    french = " ".join(pair.french.lower() for pair in corpus["train"])
    for entry in (*pb.NOUNS, *pb.ADJECTIVES, *pb.VERBS):
        assert re.search(rf"\b{entry.english.lower()}\b", english)
    for prevocalic in ("bel", "vieil", "cet", "mon", "qu'", "d'", "du", "des", "au", "aux"):
        assert re.search(rf"\b{prevocalic}(\b|(?<='))", french)


def test_many_test_sentences_have_a_twin_that_differs_in_word_order_alone(corpus):
    def bag(pair):
        return tuple(sorted(re.findall(r"[\w']+", pair.english.lower())))

    bags = [bag(pair) for split in corpus.values() for pair in split]
    twins = sum(bags.count(bag(pair)) > 1 for pair in corpus["test"])
    assert twins >= 0.1 * len(corpus["test"])


def test_the_seed_decides_the_text(corpus):
    assert pb.make_corpus(300, 20, 20, seed=5) == pb.make_corpus(300, 20, 20, seed=5)
    assert pb.generate_pairs(300, seed=5) != pb.generate_pairs(300, seed=6)
    assert pb.generate_pairs(300, seed=1) == corpus["train"][:300]


@pytest.mark.parametrize("counts", [(-1, 1, 1), (10**9, 1, 1)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="pairs"):
        pb.make_corpus(*counts)


def test_words_of_a_tiny_training_split_cannot_fill_a_test_split():
    with pytest.raises(ValueError, match=r"\d+ of 100 pairs were made.* in the words of the training sentences"):
        pb.make_corpus(2, 0, 100)


def run(folder, *options):
    return pb.main([f"--output_dir={folder}", "--train=200", "--dev=10", "--test=10", *options])


def test_six_files_of_newline_terminated_utf8(tmp_path):
    assert run(tmp_path / "new" / "data") == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "new" / "data").iterdir()}
    assert sorted(files) == ["dev.en", "dev.fr", "test.en", "test.fr", "train.en", "train.fr"]
    expected = pb.make_corpus(200, 10, 10, seed=1)
    for name, content in files.items():
        split, language = name.split(".")
        lines = [pair[language == "fr"] for pair in expected[split]]
        assert content == ("\n".join(lines) + "\n").encode("utf-8")


def test_other_text_is_not_overwritten_unless_asked(tmp_path, capsys):
    assert run(tmp_path) == run(tmp_path) == 0  # the same text again is fine
    before = (tmp_path / "train.en").read_bytes()
    assert run(tmp_path, "--seed=2") == 2
    assert (tmp_path / "train.en").read_bytes() == before
    error = capsys.readouterr().err
    assert str(tmp_path / "train.en") in error
    assert error.count("\n") == 1
    assert run(tmp_path, "--seed=2", "--overwrite") == 0
    assert (tmp_path / "train.en").read_bytes() != before


@pytest.mark.parametrize("option", ["--test=0", "--train=-5", "--dev=100000000000"])
def test_counts_that_cannot_be_are_one_sentence(option, tmp_path, capsys):
    assert run(tmp_path / "data", option) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "data").exists()
