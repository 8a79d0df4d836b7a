# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Write English–French sentence pairs, two text files a split, from a small hand-written grammar.

    python examples/phrasebook.py --output_dir examples/data/phrasebook

The French is a function of the English: a word in one role has one rendering (simple past → passé composé,
"was sleeping" → imparfait, "is going to sleep" → futur proche, "you" → vous), and where French must show a
gender or number that the English leaves open ("you are happy", "he saw them") no sentence is made.
Typography: straight apostrophes, a plain space before "?", no no-break spaces.

The file reads as a grammar does: morphology, spelling, lexicon, phrases, clauses, patterns; then the corpus.
"""

import argparse
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """An English text and its French translation: a sentence, or a piece of one."""

    english: str
    french: str


NOTHING = Pair("", "")


class Underspecified(Exception):
    """French must show a gender or number here that the English leaves open."""


# Morphology: the regular forms of a word. Irregular ones stand in the lexicon.

PERSONS = ("1s", "3s", "1p", "2p", "3p")  # no "tu": "you" is vous


def english_s(word: str) -> str:
    """The plural of a noun or third person of a verb: "dog" → "dogs", "church" → "churches"."""
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh", "o")) else "s")


def english_past(verb: str) -> str:
    """The simple past: "open" → "opened", "love" → "loved", "carry" → "carried"."""
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def english_progressive(verb: str) -> str:
    """The -ing form: "eat" → "eating", "write" → "writing"."""
    return re.sub(r"(?<!e)e$", "", verb) + "ing"


def french_plural(word: str) -> str:
    """The plural of a noun, adjective or participle: "chat" → "chats", "cheval" → "chevaux"."""
    if word.endswith(("s", "x")):
        return word
    if word.endswith("al"):
        return word[:-1] + "ux"
    return word + ("x" if word.endswith("au") else "s")


def french_feminine(adjective: str) -> str:
    """The feminine of an adjective: "petit" → "petite", "heureux" → "heureuse", "fier" → "fière"."""
    for ending, feminine in (("e", "e"), ("eux", "euse"), ("er", "ère"), ("ien", "ienne")):
        if adjective.endswith(ending):
            return adjective.removesuffix(ending) + feminine
    return adjective + "e"


def french_present(infinitive: str) -> list[str]:
    """The present of the -er, -ir (-iss-) and -re verbs, a form for each of `PERSONS`."""
    stem, ending = infinitive[:-2], infinitive[-2:]
    endings = {
        "er": "-e -e -ons -ez -ent",
        "ir": "-is -it -issons -issez -issent",
        "re": "-s - -ons -ez -ent",
    }
    forms = endings[ending].replace("-", stem).split()
    return [form.replace("gons", "geons") for form in forms]  # mangeons: the g stays soft


def french_participle(infinitive: str) -> str:
    """The past participle: "trouvé", "nourri", "entendu"."""
    return infinitive[:-2] + {"er": "é", "ir": "i", "re": "u"}[infinitive[-2:]]


def french_imperfect(infinitive: str, present: Sequence[str]) -> list[str]:
    """The imparfait, from the stem of "nous" in the present; only être has a stem of its own."""
    stem = "ét" if infinitive == "être" else present[PERSONS.index("1p")].removesuffix("ons")
    forms = [stem + ending for ending in ("ais", "ait", "ions", "iez", "aient")]
    return [form.replace("gei", "gi") for form in forms]


class Forms(NamedTuple):
    """The forms of a French adjective, participle or determiner, which agrees with its noun."""

    masculine: str
    feminine: str
    masculine_plural: str = ""
    feminine_plural: str = ""

    def form(self, gender: str, plural: bool) -> str:
        """The form for gender "m" or "f" in this number."""
        return self[2 * plural + (gender == "f")]


def agreeing(masculine: str, feminine: str) -> Forms:
    """The forms with these singulars and their regular plurals."""
    return Forms(masculine, feminine, french_plural(masculine), french_plural(feminine))


# Spelling: elision and contraction of neighbouring French words.

ELIDED = {"le", "la", "de", "que", "ne", "je", "me"}
CONTRACTED = {("à", "le"): "au", ("à", "les"): "aux", ("de", "le"): "du", ("de", "les"): "des"}
ASPIRATED = {"hibou", "hiboux", "huit"}  # le hibou, not l'hibou


def opens_with_vowel(word: str) -> bool:
    """Whether words are elided before this word: they are before a mute h, and not before an aspirated h."""
    initial = unicodedata.normalize("NFD", word.replace("œ", "oe"))[0]
    return initial in "aeiouh" and word not in ASPIRATED


def spell_french(words: str) -> str:
    """Elide, then contract: "de le homme" → "de l'homme", "de le roi" → "du roi"."""
    tokens = words.split()
    spelled: list[str] = []
    for word, following in zip(tokens, [*tokens[1:], "."], strict=True):
        if word in ELIDED and opens_with_vowel(following):
            word = word[:-1] + "'"
        if spelled and (spelled[-1], word) in CONTRACTED:
            word = CONTRACTED[spelled.pop(), word]
        spelled.append(word)
    return " ".join(spelled).replace("' ", "'")


def sentence(english: str, french: str, mark: str = ".") -> Pair:
    """Apply French spelling, and give both sentences a capital letter and the final mark."""
    english, french = " ".join(english.split()), spell_french(french)
    french_mark = " ?" if mark == "?" else mark
    return Pair(english[0].upper() + english[1:] + mark, french[0].upper() + french[1:] + french_mark)


# Lexicon. Tags say which words go together: verb and subject, verb and object, adjective and noun.

PRESENT, PAST, IMPERFECT, FUTURE = TENSES = ("present", "past", "imperfect", "future")
TAG_GROUPS = {"people": "person kin", "anyone": "person kin animal"}


@dataclass(frozen=True)
class Noun:
    """A noun in both languages, with its plurals and its French gender."""

    english: str
    french: str
    plurals: Pair
    gender: str
    tags: frozenset[str]


@dataclass(frozen=True)
class Adjective:
    """An adjective; `prevocalic` is its masculine before a vowel (bel, nouvel, vieil).

    In French, it stands before or after the noun. In English, colours and origins come after other adjectives.
    """

    english: str
    forms: Forms
    prevocalic: str
    tags: frozenset[str]
    comparative: str
    before_noun: bool
    predicative: bool
    last: bool


@dataclass(frozen=True)
class Verb:
    """A verb; `particle` and `link` are the prepositions of its object: look "for", répondre "à"."""

    english: str
    particle: str
    past: str
    progressive: str
    infinitive: str
    link: str
    present: dict[str, str]
    imperfect: dict[str, str]
    participle: Forms
    with_etre: bool
    subjects: frozenset[str]
    objects: frozenset[str]
    tenses: Sequence[str]


@dataclass(frozen=True)
class Determiner:
    """A determiner; the English form of a number is empty if the determiner has no such form."""

    english: str
    english_plural: str
    forms: Forms
    prevocalic: str = ""  # replaces both singulars before a vowel


@dataclass(frozen=True)
class Adverb:
    """A negation or an adverb of frequency: before the main verb in English, after the finite verb in French."""

    english: str
    french: str
    tenses: Sequence[str]
    negative: bool = False


def rows(table: str) -> Iterator[list[str]]:
    """The cells of each line of a table."""
    for line in table.strip().splitlines():
        yield [cell.strip() for cell in line.split("|")]


def tags(cell: str) -> frozenset[str]:
    """The tags in a cell; the name of a group is replaced by its tags."""
    return frozenset(" ".join(TAG_GROUPS.get(tag, tag) for tag in cell.split()).split())


def noun(english: str, french: str, gender: str, kinds: str) -> Noun:
    """The noun of a row of `NOUNS`; an irregular plural follows the singular."""
    singular, plural = [*english.split(), english_s(english)][:2]
    singulier, pluriel = [*french.split(), french_plural(french)][:2]
    return Noun(singular, singulier, Pair(plural, pluriel), gender, tags(kinds))


def adjective(english: str, french: str, kinds: str, comparative: str, notes: str) -> Adjective:
    """The adjective of a row of `ADJECTIVES`; irregular feminine and form before a vowel follow the masculine."""
    masculine, *irregular = french.split()
    feminine = irregular[0] if irregular else french_feminine(masculine)
    prevocalic = irregular[1] if irregular[1:] else masculine
    forms = Forms(*[masculine] * 4) if "invariable" in notes else agreeing(masculine, feminine)
    return Adjective(
        english=english,
        forms=forms,
        prevocalic=prevocalic,
        tags=tags(kinds),
        comparative=comparative,
        before_noun="before" in notes,
        predicative="attributive" not in notes,
        last="last" in notes,
    )


def verb(english: str, french: str, subjects: str, objects: str, tenses: str) -> Verb:
    """The verb of a row of `VERBS`; an irregular past follows the base; "+" joins a verb and its preposition."""
    base, *irregular = english.split()
    base, _, particle = base.partition("+")
    infinitive, _, link = french.partition("+")
    if infinitive in IRREGULAR:
        present, participle = IRREGULAR[infinitive]
    else:
        present, participle = french_present(infinitive), french_participle(infinitive)
    return Verb(
        english=base,
        particle=particle,
        past=irregular[0] if irregular else english_past(base),
        progressive=english_progressive(base),
        infinitive=infinitive,
        link=link,
        present=dict(zip(PERSONS, present, strict=True)),
        imperfect=dict(zip(PERSONS, french_imperfect(infinitive, present), strict=True)),
        participle=agreeing(participle, participle + "e"),
        with_etre=infinitive in WITH_ETRE,
        subjects=tags(subjects),
        objects=tags(objects),
        tenses=tenses.split() if tenses else TENSES,
    )


NOUNS = [
    noun(*cells)
    for cells in rows("""
    boy          | garçon       | m | person
    girl         | fille        | f | person
    man men      | homme        | m | person grown
    woman women  | femme        | f | person grown
    king         | roi          | m | person grown
    queen        | reine        | f | person grown
    prince       | prince       | m | person grown
    princess     | princesse    | f | person grown
    actor        | acteur       | m | person grown
    actress      | actrice      | f | person grown
    brother      | frère        | m | kin
    sister       | sœur         | f | kin
    uncle        | oncle        | m | kin
    aunt         | tante        | f | kin
    dog          | chien        | m | animal biter owned
    cat          | chat         | m | animal biter owned
    horse        | cheval       | m | animal biter owned
    mouse mice   | souris       | f | animal biter owned
    goat         | chèvre       | f | animal biter owned
    cow          | vache        | f | animal owned
    bird         | oiseau       | m | animal owned
    owl          | hibou hiboux | m | animal owned
    bear         | ours         | m | animal biter
    fox          | renard       | m | animal biter
    elephant     | éléphant     | m | animal
    book         | livre        | m | thing text openable owned
    letter       | lettre       | f | thing text openable owned
    newspaper    | journal      | m | thing printed owned
    key          | clé          | f | thing owned
    hat          | chapeau      | m | thing owned
    knife knives | couteau      | m | thing owned
    box          | boîte        | f | thing openable owned
    clock        | horloge      | f | thing owned
    tool         | outil        | m | thing owned
    flower       | fleur        | f | thing owned
    car          | voiture      | f | fixture owned
    boat         | bateau       | m | fixture owned
    tree         | arbre        | m | fixture shelter
    table        | table        | f | fixture shelter surface owned
    chair        | chaise       | f | fixture shelter surface owned
    door         | porte        | f | fixture openable
    window       | fenêtre      | f | fixture openable
    apple        | pomme        | f | food owned
    orange       | orange       | f | food owned
    egg          | œuf          | m | food owned
    cake         | gâteau       | m | food owned
    bread        | pain         | m | mass edible owned
    soup         | soupe        | f | mass edible owned
    milk         | lait         | m | mass drinkable owned
    water        | eau          | f | mass drinkable owned
    house        | maison       | f | place home owned
    garden       | jardin       | m | place goal owned
    castle       | château      | m | place home goal owned
    school       | école        | f | place goal
    hotel        | hôtel        | m | place home goal
    hospital     | hôpital      | m | place goal
    market       | marché       | m | place goal
    museum       | musée        | m | place goal
    station      | gare         | f | place goal
    village      | village      | m | place home goal
    """)
]

ADJECTIVES = [
    adjective(*cells)
    for cells in rows("""
    beautiful | beau belle bel          | person animal thing fixture place    | more beautiful | before
    old       | vieux vieille vieil     | grown kin animal thing fixture place | older          | before
    new       | nouveau nouvelle nouvel | thing fixture place                  |                | before attributive
    other     | autre                   | anyone thing fixture place           |                | before attributive
    young     | jeune                   | anyone                               | younger        | before
    small     | petit                   | animal thing fixture place food      | smaller        | before
    big       | grand                   | animal fixture place                 | bigger         | before
    pretty    | joli                    | thing place                          |                | before
    good      | bon bonne               | food mass                            |                | before
    red       | rouge                   | thing fixture                        |                | last
    blue      | bleu                    | thing fixture                        |                | last
    green     | vert                    | thing fixture                        |                | last
    white     | blanc blanche           | animal thing fixture                 |                | last
    black     | noir                    | animal thing fixture                 |                | last
    brown     | marron                  | animal thing fixture                 |                | last invariable
    Italian   | italien                 | person food fixture                  |                | last
    expensive | cher                    | thing fixture                        | more expensive |
    heavy     | lourd                   | thing                                | heavier        |
    dangerous | dangereux               | animal                               | more dangerous |
    famous    | célèbre                 | person place                         | more famous    |
    loyal     | loyal                   | people                               |                |
    proud     | fier                    | people                               |                |
    clever    | intelligent             | anyone                               | cleverer       |
    strong    | fort                    | person animal                        | stronger       |
    lazy      | paresseux               | anyone                               | lazier         |
    happy     | heureux                 | anyone                               | happier        |
    sad       | triste                  | anyone                               |                |
    tired     | fatigué                 | anyone                               |                |
    """)
]
ADJECTIVE = {entry.english: entry for entry in ADJECTIVES}
REASONS = [ADJECTIVE[word] for word in ("happy", "sad", "tired", "lazy", "old")]

IRREGULAR = {  # infinitive → present in each of `PERSONS`, past participle
    infinitive: (present.split(), participle)
    for infinitive, present, participle in rows("""
    être    | suis est sommes êtes sont               | été
    avoir   | ai a avons avez ont                     | eu
    aller   | vais va allons allez vont               | allé
    acheter | achète achète achetons achetez achètent | acheté
    boire   | bois boit buvons buvez boivent          | bu
    dormir  | dors dort dormons dormez dorment        | dormi
    écrire  | écris écrit écrivons écrivez écrivent   | écrit
    lire    | lis lit lisons lisez lisent             | lu
    ouvrir  | ouvre ouvre ouvrons ouvrez ouvrent      | ouvert
    partir  | pars part partons partez partent        | parti
    prendre | prends prend prenons prenez prennent    | pris
    suivre  | suis suit suivons suivez suivent        | suivi
    venir   | viens vient venons venez viennent       | venu
    voir    | vois voit voyons voyez voient           | vu
    vouloir | veux veut voulons voulez veulent        | voulu
    """)
}
WITH_ETRE = {"aller", "venir", "entrer", "tomber", "arriver", "partir"}  # their passé composé has the auxiliary être

# The last cell names the tenses of a verb that does not have all four. Verbs of state have no past, because French
# would use the imparfait for it. "read" has no past, because "I read" could be the present too.
VERBS = [
    verb(*cells)
    for cells in rows("""
    see saw        | voir         | anyone | anyone thing fixture place | present past future
    hear heard     | entendre     | anyone | anyone                     | present past future
    find found     | trouver      | anyone | anyone thing food          | present past future
    love           | aimer        | anyone | anyone                     | present future
    follow         | suivre       | anyone | anyone                     |
    watch          | regarder     | anyone | anyone fixture             |
    look+for       | chercher     | anyone | anyone thing               |
    wait+for       | attendre     | anyone | anyone                     |
    help           | aider        | people | anyone                     |
    feed fed       | nourrir      | people | animal                     |
    bite bit       | mordre       | biter  | anyone                     |
    answer         | répondre+à   | people | people                     |
    talk+to        | parler+à     | people | anyone                     |
    eat ate        | manger       | anyone | food edible                |
    drink drank    | boire        | anyone | drinkable                  |
    buy bought     | acheter      | people | thing fixture food mass    |
    read           | lire         | people | text printed               | present imperfect future
    write wrote    | écrire       | people | text                       |
    open           | ouvrir       | people | openable                   |
    carry          | porter       | people | thing food                 |
    take took      | prendre      | people | thing food                 | present past future
    have           | avoir        | people | animal thing fixture food  | present future
    want           | vouloir      | people | thing food mass            | present
    go+to went     | aller+à      | people | goal                       | present past future
    come+from came | venir+de     | people | goal                       | present past
    enter          | entrer+dans  | anyone | place                      |
    live+in        | habiter+dans | people | home                       | present imperfect future
    sleep slept    | dormir       | anyone |                            |
    work           | travailler   | people |                            |
    sing sang      | chanter      | people |                            |
    dance          | danser       | people |                            |
    fall fell      | tomber       | anyone |                            |
    arrive         | arriver      | anyone |                            |
    leave left     | partir       | anyone |                            |
    """)
]
BE = verb("be", "être", "", "", "present imperfect future")
VERB = {entry.english: entry for entry in VERBS}
TRANSITIVE = [entry for entry in VERBS if entry.objects]
DIRECT = [entry for entry in TRANSITIVE if not entry.link]
INTRANSITIVE = [entry for entry in VERBS if not entry.objects]
IN_A_PLACE = [VERB[word] for word in ("sleep", "work", "sing", "dance", "fall")]
IN_COMPANY = [VERB[word] for word in ("work", "sing", "dance", "arrive", "leave")]

THE = Determiner("the", "the", Forms("le", "la", "les", "les"))
THIS = Determiner("this", "these", Forms("ce", "cette", "ces", "ces"), prevocalic="cet cette")
MY = Determiner("my", "my", Forms("mon", "ma", "mes", "mes"), prevocalic="mon mon")
YOUR = Determiner("your", "your", Forms("votre", "votre", "vos", "vos"))
HIS = Determiner("his", "his", Forms("son", "sa", "ses", "ses"), prevocalic="son son")
HER = replace(HIS, english="her", english_plural="her")
OUR = Determiner("our", "our", Forms("notre", "notre", "nos", "nos"))
THEIR = Determiner("their", "their", Forms("leur", "leur", "leurs", "leurs"))
A = Determiner("a", "", Forms("un", "une"))
SOME = Determiner("some", "some", Forms("de le", "de la", "de les", "de les"))
EVERY = Determiner("every", "", Forms("chaque", "chaque"))
MANY = Determiner("", "many", Forms("", "", "beaucoup de", "beaucoup de"))
ALL = Determiner("", "all the", Forms("", "", "tous les", "toutes les"))
NUMERALS = [
    Determiner("", english, Forms("", "", french, french))
    for english, french in rows("""
    two   | deux
    three | trois
    four  | quatre
    five  | cinq
    six   | six
    seven | sept
    eight | huit
    nine  | neuf
    ten   | dix
    """)
]
POSSESSIVES = (MY, YOUR, HIS, HER, OUR, THEIR)
# The determiners of noun phrases; a determiner that is listed more often is drawn more often.
DEFINITE = (*[THE] * 12, *[THIS] * 3, *POSSESSIVES)
SINGLED_OUT = (*DEFINITE, *[A] * 6)
SUBJECT = (*SINGLED_OUT, *[EVERY, MANY, ALL] * 2, *NUMERALS)
OBJECT = (*SUBJECT, *[SOME] * 6)
NEGATED_OBJECT = (*SINGLED_OUT, *[SOME] * 6)


def goes_with(determiner: Determiner, head: Noun, plural: bool) -> bool:
    """Whether the noun takes the determiner in this number.

    Only kin and owned nouns take a possessive. Kin take no other determiner except "the", which a possessor replaces.
    Mass nouns take "the", "this" and "some"; other nouns take "some" only in the plural.
    """
    if not (determiner.english_plural if plural else determiner.english):
        return False
    if determiner in POSSESSIVES:
        return bool(head.tags & {"owned", "kin"})
    if "kin" in head.tags:
        return determiner is THE  # with a possessor: the king's brother
    if "mass" in head.tags:
        return determiner in (THE, THIS, SOME)
    return determiner is not SOME or plural


NOT = Adverb("not", "pas", TENSES, negative=True)
NEVER = Adverb("never", "jamais", (PRESENT, PAST), negative=True)
NO_LONGER = Adverb("no longer", "plus", (PRESENT, IMPERFECT), negative=True)
OFTEN = Adverb("often", "souvent", (PRESENT,))
ALWAYS = Adverb("always", "toujours", (PRESENT,))

TIMES = {
    PRESENT: (Pair("every day", "chaque jour"),),
    PAST: (Pair("yesterday", "hier"), Pair("today", "aujourd'hui")),
    IMPERFECT: (Pair("yesterday", "hier"),),
    FUTURE: (Pair("tomorrow", "demain"), Pair("today", "aujourd'hui")),
}
PLACES = {  # a preposition → tags of the nouns that may follow it
    Pair("in", "dans"): tags("place"),
    Pair("near", "près de"): tags("place fixture"),
    Pair("behind", "derrière"): tags("place fixture"),
    Pair("under", "sous"): tags("shelter"),
    Pair("on", "sur"): tags("surface"),
}


# Phrases.


@dataclass(frozen=True)
class Phrase:
    """A noun phrase or a pronoun in both languages.

    `readings` are the genders and numbers that the English allows: one for "the dog", four for "you". Only a
    pronoun has an English object form and French clitics.
    """

    english: str
    french: str
    person: str
    readings: tuple[tuple[str, bool], ...]
    tags: frozenset[str] = frozenset()
    english_object: str = ""
    direct_clitic: str = ""
    indirect_clitic: str = ""

    def agree(self, forms: Forms) -> str:
        """The one form that fits every reading.

        Raises:
            Underspecified: the readings need different forms.
        """
        fitting = {forms.form(gender, plural) for gender, plural in self.readings}
        if len(fitting) > 1:
            raise Underspecified
        return fitting.pop()


MALE, FEMALE, MALES, FEMALES = ("m", False), ("f", False), ("m", True), ("f", True)
PERSON = tags("person")
I = Phrase("I", "je", "1s", (MALE, FEMALE), PERSON, "me", "me", "me")  # noqa: E741
WE = Phrase("we", "nous", "1p", (MALES, FEMALES), PERSON, "us", "nous", "nous")
YOU = Phrase("you", "vous", "2p", (MALE, FEMALE, MALES, FEMALES), PERSON, "you", "vous", "vous")
HE = Phrase("he", "il", "3s", (MALE,), PERSON, "him", "le", "lui")
SHE = Phrase("she", "elle", "3s", (FEMALE,), PERSON, "her", "la", "lui")
THEM = Phrase("", "", "3p", (MALES, FEMALES), PERSON, "them", "les", "leur")  # no subject: "they" is ils or elles
WHO = Phrase("who", "qui", "3s", (MALE,), PERSON)


def noun_phrase(
    determiner: Determiner,
    head: Noun,
    *adjectives: Adjective,
    plural: bool = False,
    numeral: Determiner | None = None,
    possessor: Phrase | None = None,
    negated: bool = False,
) -> Phrase:
    """Put a noun phrase together: agreement, the order of adjectives, forms before a vowel.

    A possessor takes the place of "the": "the king's dog" → le chien du roi. A `negated` indefinite article
    becomes "de" (pas de chien), as plural "some" does before an adjective (de beaux chiens).
    """
    gender = head.gender
    english = [*(entry.english for entry in adjectives), head.plurals.english if plural else head.english]
    french = [head.plurals.french if plural else head.french]
    for entry in (entry for entry in adjectives if entry.before_noun):
        bel = (gender, plural) == MALE and opens_with_vowel(french[0])
        french.insert(0, entry.prevocalic if bel else entry.forms.form(gender, plural))
    preposed = len(french) > 1
    french += [entry.forms.form(gender, plural) for entry in adjectives if not entry.before_noun]
    if numeral:
        english.insert(0, numeral.english_plural)
        french.insert(0, numeral.forms.form(gender, plural))

    specifier = determiner.english_plural if plural else determiner.english
    article = determiner.forms.form(gender, plural)
    if determiner.prevocalic and not plural and opens_with_vowel(french[0]):
        article = determiner.prevocalic.split()[gender == "f"]
    if determiner is A and english[0][0] in "aeiouI":
        specifier = "an"
    if determiner is SOME and negated:
        specifier = "any"
    if (determiner in (A, SOME) and negated) or (determiner is SOME and plural and preposed):
        article = "de"
    if possessor:
        specifier = genitive(possessor)
        french += ["de", possessor.french]
    words = Pair(" ".join([specifier, *english]), " ".join([article, *french]))
    return Phrase(*words, "3p" if plural else "3s", ((gender, plural),), head.tags)


def genitive(possessor: Phrase) -> str:
    """The English possessor: "the king" → "the king's", "the boys" → "the boys'"."""
    bare = possessor.person == "3p" and possessor.english.endswith("s")
    return possessor.english + ("'" if bare else "'s")


def coordinate(first: Phrase, second: Phrase) -> Phrase:
    """Both phrases as one plural; it is feminine only if both are."""
    both = FEMALES if first.readings[0][0] == second.readings[0][0] == "f" else MALES
    words = (f"{first.english} and {second.english}", f"{first.french} et {second.french}")
    return Phrase(*words, "3p", (both,), first.tags & second.tags)


def anaphor(antecedent: Phrase) -> Phrase:
    """The pronoun that refers back to a subject: the French gender is the noun's, so "it" may be il or elle."""
    if antecedent.english_object:
        return antecedent
    gender, plural = antecedent.readings[0]
    if plural:
        english, french = "they", "ils" if gender == "m" else "elles"
    else:
        english, french = ("he", "il") if gender == "m" else ("she", "elle")
        english = "it" if "animal" in antecedent.tags else english
    return replace(antecedent, english=english, french=french)


# Clauses.


@dataclass(frozen=True)
class Clause:
    """A subject and a predicate, with a time before them (`opening`) and complements after them (`tail`).

    `extracted` is an object that stands in front of the clause: the letter that "I wrote".
    """

    subject: Phrase
    verb: Verb
    object: Phrase | None = None
    tense: str = PRESENT
    adverb: Adverb | None = None
    opening: Pair = NOTHING
    tail: Pair = NOTHING
    extracted: Phrase | None = None


def english_be(person: str, past: bool = False) -> str:
    """The form of "be" for the person."""
    if past:
        return "was" if person in ("1s", "3s") else "were"
    return {"1s": "am", "3s": "is"}.get(person, "are")


def english_present(verb: str, person: str) -> str:
    """The present of any verb but "be"."""
    if person != "3s":
        return verb
    return "has" if verb == "have" else english_s(verb)


def english_clause(clause: Clause, question: bool = False) -> str:
    """The English words; in a question the operator ("does", "is") stands before the subject."""
    verb, tense, person = clause.verb, clause.tense, clause.subject.person
    operator = ""
    if tense == FUTURE:
        operator, main = english_be(person), f"going to {verb.english}"
    elif verb is BE:
        operator, main = english_be(person, past=tense == IMPERFECT), ""
    elif tense == IMPERFECT:
        operator, main = english_be(person, past=True), verb.progressive
    elif question or clause.adverb is NOT:
        operator, main = "did" if tense == PAST else english_present("do", person), verb.english
    else:
        main = verb.past if tense == PAST else english_present(verb.english, person)

    subject = clause.subject.english
    opening = f"{operator} {subject}" if question else f"{subject} {operator}"
    adverb = clause.adverb.english if clause.adverb else ""
    complement = (clause.object.english_object or clause.object.english) if clause.object else ""
    return f"{opening} {adverb} {main} {verb.particle} {complement} {clause.tail.english}"


def french_clause(clause: Clause) -> str:
    """The French words: subject, ne, clitic, finite verb, pas or souvent, the rest of the verb, object."""
    verb, tense, person = clause.verb, clause.tense, clause.subject.person
    clitic = complement = ""
    if clause.object and clause.object.english_object:
        clitic = clause.object.indirect_clitic if verb.link else clause.object.direct_clitic
    elif clause.object:
        complement = f"{verb.link} {clause.object.french}"

    if tense == FUTURE:  # the clitic goes with the infinitive
        finite, rest, clitic = VERB["go"].present[person], f"{clitic} {verb.infinitive}", ""
    elif tense == PAST:
        auxiliary = BE if verb.with_etre else VERB["have"]
        finite, rest = auxiliary.present[person], french_past_participle(clause)
    else:
        finite, rest = (verb.imperfect if tense == IMPERFECT else verb.present)[person], ""

    adverb = clause.adverb.french if clause.adverb else ""
    ne = "ne" if clause.adverb and clause.adverb.negative else ""
    return f"{clause.subject.french} {ne} {clitic} {finite} {adverb} {rest} {complement} {clause.tail.french}"


def french_past_participle(clause: Clause) -> str:
    """The participle: after être, it agrees with the subject; after avoir, with a direct object before the verb."""
    if clause.verb.with_etre:
        return clause.subject.agree(clause.verb.participle)
    preceding = clause.extracted
    if clause.object and clause.object.english_object and not clause.verb.link:
        preceding = clause.object
    return preceding.agree(clause.verb.participle) if preceding else clause.verb.participle.masculine


def predicate(subject: Phrase, quality: Adjective) -> Pair:
    """A predicative adjective, which agrees with the subject: "happy" → heureuse."""
    return Pair(quality.english, subject.agree(quality.forms))


def comparison(subject: Phrase, quality: Adjective, other: Phrase) -> Pair:
    """The comparative of a predicative adjective: "bigger than the dog" → plus grande que le chien."""
    form = subject.agree(quality.forms)
    return Pair(f"{quality.comparative} than {other.english}", f"plus {form} que {other.french}")


def relative(head: Phrase, clause: Clause) -> Phrase:
    """The head and a clause whose subject it is (qui voit le chat) or whose object (que le chat voit)."""
    if clause.extracted:
        english, french = f"that {english_clause(clause)}", f"que {french_clause(clause)}"
    else:
        who = "who" if "person" in head.tags else "that"
        clause = replace(clause, subject=replace(head, english=who, french="qui"))
        english, french = english_clause(clause), french_clause(clause)
    return replace(head, english=f"{head.english} {english}", french=f"{head.french} {french}")


def statement(clause: Clause) -> Pair:
    """The clause as a sentence."""
    english, french = (f"{time}, " if time else "" for time in clause.opening)
    return sentence(english + english_clause(clause), french + french_clause(clause))


def question(clause: Clause, word: Pair = NOTHING) -> Pair:
    """The clause as a question with est-ce que, after a question word if there is one."""
    english = f"{word.english} {english_clause(clause, question=True)}"
    return sentence(english, f"{word.french} est-ce que {french_clause(clause)}", "?")


# Sentence patterns.


class Draw(NamedTuple):
    """A sentence, and its twin in which two phrases have changed places, if it has one."""

    pair: Pair
    twin: Pair | None = None


@cache
def nouns(*kinds: frozenset[str]) -> tuple[Noun, ...]:
    """The nouns that have a tag in common with each of the sets."""
    return tuple(entry for entry in NOUNS if all(entry.tags & kind for kind in kinds))


def subject_determiners(adverb: Adverb | None) -> Sequence[Determiner]:
    """The determiners that a subject may have: no quantifiers under negation, as their scope would be ambiguous."""
    return DEFINITE if adverb and adverb.negative else SUBJECT


INANIMATE = tags("thing food mass fixture place")
ANYTHING = INANIMATE | tags("anyone")


class Sampler:
    """Draws sentences at random, each by one of the patterns."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.weights: dict[Callable[[], Draw], int] = {
            self.reversible: 22,
            self.transitive: 24,
            self.with_clitic: 9,
            self.intransitive: 9,
            self.quality: 9,
            self.location: 5,
            self.compared: 5,
            self.yes_no_question: 6,
            self.wh_question: 6,
            self.relative_on_subject: 6,
            self.relative_on_object: 4,
            self.reason: 5,
            self.contrast: 3,
        }

    def draw(self) -> Draw:
        """A sentence of 3 to 14 English words."""
        while True:
            (pattern,) = self.rng.choices(list(self.weights), list(self.weights.values()))
            try:
                drawn = pattern()
            except Underspecified:
                continue
            if 3 <= len(drawn.pair.english.split()) <= 14:
                return drawn

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def phrase(
        self, heads: Sequence[Noun], determiners: Sequence[Determiner], plain: bool = False, negated: bool = False
    ) -> Phrase:
        """A phrase headed by one of the nouns; if `plain`, without adjectives, and only kin have a possessor."""
        head = self.rng.choice(heads)
        plural = "mass" not in head.tags and self.chance(0.35)
        determiner = self.rng.choice([entry for entry in determiners if goes_with(entry, head, plural)])
        kin = "kin" in head.tags
        possessor = None
        if determiner is THE and (kin or ("owned" in head.tags and not plain and self.chance(0.2))):
            possessor = self.phrase(nouns(PERSON), (THE, THE, THIS), plain=True)
        numeral = None
        if plural and determiner in (THE, THIS, *POSSESSIVES) and not possessor and self.chance(0.1):
            numeral = self.rng.choice(NUMERALS)
        described = not plain and not possessor and self.chance(0.35)
        adjectives = self.adjectives(head, determiner) if described else ()
        return noun_phrase(
            determiner,
            head,
            *adjectives,
            plural=plural,
            numeral=numeral,
            possessor=possessor,
            negated=negated,
        )

    def adjectives(self, head: Noun, determiner: Determiner) -> list[Adjective]:
        """Adjectives of the noun in English order: none, one, or one and a colour or origin after it."""
        fitting = [entry for entry in ADJECTIVES if entry.tags & head.tags]
        if determiner in (A, EVERY):
            fitting = [entry for entry in fitting if entry is not ADJECTIVE["other"]]
        if not fitting:
            return []
        first = self.rng.choice(fitting)
        last = [entry for entry in fitting if entry.last]
        if first.before_noun and last and self.chance(0.25):
            return [first, self.rng.choice(last)]
        return [first]

    def subject(
        self, kinds: frozenset[str], determiners: Sequence[Determiner] = SUBJECT, plain: bool = False
    ) -> Phrase:
        """A pronoun, a noun phrase, or two noun phrases joined by "and"."""
        if "person" in kinds and self.chance(0.4):
            return self.rng.choice((I, WE, YOU, HE, SHE))
        if self.chance(0.07):
            first, second = (self.phrase(nouns(kinds), DEFINITE, plain=True) for _ in range(2))
            if first.english != second.english:
                return coordinate(first, second)
        return self.phrase(nouns(kinds), determiners, plain)

    def object(self, verb: Verb, kinds: frozenset[str], adverb: Adverb | None = None) -> Phrase:
        """A phrase that the verb takes as its object, of these kinds."""
        heads = nouns(verb.objects, kinds)
        if verb.link or verb is VERB["love"]:
            return self.phrase(heads, SINGLED_OUT if verb.link else DEFINITE)
        if adverb and adverb.negative:
            return self.phrase(heads, NEGATED_OBJECT, negated=True)
        return self.phrase(heads, OBJECT)

    def adverb(self, verb: Verb, tense: str) -> Adverb | None:
        """Mostly None; otherwise a negation or, for verbs of action in the present, an adverb of frequency."""
        if self.chance(0.25):
            return self.rng.choice([entry for entry in (NOT, NOT, NEVER, NO_LONGER) if tense in entry.tenses])
        if tense == PRESENT and PAST in verb.tenses and self.chance(0.2):
            return self.rng.choice((OFTEN, ALWAYS))
        return None

    def timed(self, clause: Clause) -> Clause:
        """The clause, sometimes with a time in front or at the end."""
        fitting = clause.adverb is None or (clause.adverb is NOT and clause.tense != PRESENT)
        if not fitting or PAST not in clause.verb.tenses or not self.chance(0.2):
            return clause
        time = self.rng.choice(TIMES[clause.tense])
        if self.chance(0.5):
            return replace(clause, opening=time)
        tail = Pair(f"{clause.tail.english} {time.english}", f"{clause.tail.french} {time.french}")
        return replace(clause, tail=tail)

    def place(self) -> Pair:
        """Where something is or happens: "near the school"."""
        preposition, kinds = self.rng.choice(list(PLACES.items()))
        phrase = self.phrase(nouns(kinds), SINGLED_OUT)
        return Pair(f"{preposition.english} {phrase.english}", f"{preposition.french} {phrase.french}")

    # The patterns.

    def reversible(self) -> Draw:
        """The dog sees the cat. Its twin: The cat sees the dog."""
        verb = self.rng.choice([entry for entry in TRANSITIVE if nouns(entry.subjects, entry.objects)])
        tense = self.rng.choice(verb.tenses)
        adverb = self.adverb(verb, tense)
        determiners = DEFINITE if verb is VERB["love"] else subject_determiners(adverb)
        heads = self.rng.sample(nouns(verb.subjects, verb.objects), 2)
        subject, other = (self.phrase([head], determiners) for head in heads)
        clause = self.timed(Clause(subject, verb, other, tense, adverb))
        return Draw(statement(clause), statement(replace(clause, subject=other, object=subject)))

    def transitive(self) -> Draw:
        """The girl does not buy any bread."""
        verb = self.rng.choice([entry for entry in TRANSITIVE if nouns(entry.objects, INANIMATE)])
        tense = self.rng.choice(verb.tenses)
        adverb = self.adverb(verb, tense)
        thing = self.object(verb, INANIMATE, adverb)
        clause = Clause(self.subject(verb.subjects, subject_determiners(adverb)), verb, thing, tense, adverb)
        return Draw(statement(self.timed(clause)))

    def with_clitic(self) -> Draw:
        """The queen never answers him."""
        verb = self.rng.choice([entry for entry in TRANSITIVE if "person" in entry.objects])
        tense = self.rng.choice(verb.tenses)
        adverb = self.adverb(verb, tense)
        subject, other = (
            self.subject(verb.subjects, subject_determiners(adverb)),
            self.rng.choice((I, WE, YOU, HE, SHE, THEM)),
        )
        if subject.person[0] == other.person[0] in "12":
            other = THEM  # "I see me" would be reflexive
        return Draw(statement(self.timed(Clause(subject, verb, other, tense, adverb))))

    def intransitive(self) -> Draw:
        """The boys sleep in the garden."""
        verb = self.rng.choice(INTRANSITIVE)
        tense = self.rng.choice(verb.tenses)
        adverb = self.adverb(verb, tense)
        tail = NOTHING
        if verb in IN_A_PLACE and self.chance(0.6):
            tail = self.place()
        elif verb in IN_COMPANY and self.chance(0.7):
            companion = self.phrase(nouns(verb.subjects), DEFINITE)
            tail = Pair(f"with {companion.english}", f"avec {companion.french}")
        clause = Clause(self.subject(verb.subjects, subject_determiners(adverb)), verb, None, tense, adverb, tail=tail)
        return Draw(statement(self.timed(clause)))

    def quality(self) -> Draw:
        """The window was blue."""
        quality = self.rng.choice([entry for entry in ADJECTIVES if entry.predicative and entry.tags - {"mass"}])
        tense = self.rng.choice(BE.tenses)
        adverb = self.adverb(BE, tense)
        subject = self.subject(quality.tags, subject_determiners(adverb), plain=True)
        return Draw(statement(Clause(subject, BE, None, tense, adverb, tail=predicate(subject, quality))))

    def location(self) -> Draw:
        """The key is under the table."""
        tense = self.rng.choice((PRESENT, IMPERFECT))
        adverb = self.adverb(BE, tense)
        subject = self.subject(tags("anyone thing food"), subject_determiners(adverb))
        return Draw(statement(Clause(subject, BE, None, tense, adverb, tail=self.place())))

    def compared(self) -> Draw:
        """The dog is bigger than the cat. Its twin: The cat is bigger than the dog."""
        quality = self.rng.choice([entry for entry in ADJECTIVES if entry.comparative])
        first = self.rng.choice(nouns(quality.tags))
        second = self.rng.choice([entry for entry in nouns(quality.tags, first.tags - {"owned"}) if entry != first])
        subject, other = (self.phrase([head], SINGLED_OUT, plain=True) for head in (first, second))
        clause = Clause(subject, BE, tense=self.rng.choice((PRESENT, IMPERFECT)))
        return Draw(
            statement(replace(clause, tail=comparison(subject, quality, other))),
            statement(replace(clause, subject=other, tail=comparison(other, quality, subject))),
        )

    def yes_no_question(self) -> Draw:
        """Did the prince find the key?"""
        verb = self.rng.choice([*VERBS, BE])
        tense = self.rng.choice(verb.tenses)
        if verb is BE:
            quality = self.rng.choice(REASONS)
            subject = self.subject(quality.tags, DEFINITE, plain=True)
            return Draw(question(Clause(subject, BE, tense=tense, tail=predicate(subject, quality))))
        thing = self.phrase(nouns(verb.objects), SINGLED_OUT) if verb.objects else None
        return Draw(question(Clause(self.subject(verb.subjects, DEFINITE), verb, thing, tense)))

    def wh_question(self) -> Draw:
        """Who sees the bear? Who does the bear see? What did she buy? Where, when and why?"""
        form = self.rng.choice(("who sees", "who seen", "what", "where is", "where", "why", "when"))
        if form == "where is":
            subject, past = self.phrase(nouns(tags("anyone thing")), DEFINITE), self.chance(0.5)
            finite = (BE.imperfect if past else BE.present)[subject.person]
            english = f"where {english_be(subject.person, past)} {subject.english}"
            return Draw(sentence(english, f"où {finite} {subject.french}", "?"))
        if form in ("who sees", "who seen", "what"):
            objects = {"who sees": ANYTHING, "who seen": PERSON, "what": INANIMATE}[form]
            verb = self.rng.choice([entry for entry in DIRECT if nouns(entry.objects, objects)])
            tense = self.rng.choice(verb.tenses)
            if form == "who sees":
                clause = Clause(WHO, verb, self.phrase(nouns(verb.objects), SINGLED_OUT), tense)
                return Draw(sentence(english_clause(clause), french_clause(clause), "?"))
            word = Pair("what", "que") if form == "what" else Pair("who", "qui")
            return Draw(question(Clause(self.subject(verb.subjects, DEFINITE), verb, tense=tense), word))
        word = Pair(form, {"where": "où", "why": "pourquoi", "when": "quand"}[form])
        verb = self.rng.choice(IN_A_PLACE if form == "where" else INTRANSITIVE)
        tense = self.rng.choice((PAST, FUTURE) if form == "when" else verb.tenses)
        return Draw(question(Clause(self.subject(verb.subjects, DEFINITE), verb, tense=tense), word))

    def clause_about(self, head: Phrase, as_object: bool, verb: Verb, other: Phrase, tense: str) -> Phrase:
        """The head with a relative clause, in which it is the object or the subject."""
        if as_object:
            return relative(head, Clause(other, verb, None, tense, extracted=head))
        return relative(head, Clause(head, verb, other, tense))

    def relative_on_subject(self) -> Draw:
        """The dog that sees the cat sleeps. Its twin: The dog that the cat sees sleeps."""
        inner = self.rng.choice([entry for entry in DIRECT if nouns(entry.subjects, entry.objects)])
        heads = [entry for entry in nouns(inner.subjects, inner.objects) if "kin" not in entry.tags]
        head, other = (self.phrase([entry], (THE,), plain=True) for entry in self.rng.sample(heads, 2))
        tense = self.rng.choice([entry for entry in inner.tenses if entry != FUTURE])
        verb = self.rng.choice([BE, *(entry for entry in INTRANSITIVE if entry.subjects & head.tags)])
        if verb is BE:
            outer = Clause(head, BE, tail=predicate(head, self.rng.choice(REASONS)))
        else:
            outer = Clause(head, verb, tense=self.rng.choice((PRESENT, PAST)))
        as_object = self.chance(0.5)
        pairs = (
            statement(replace(outer, subject=self.clause_about(head, role, inner, other, tense)))
            for role in (as_object, not as_object)
        )
        return Draw(*pairs)

    def relative_on_object(self) -> Draw:
        """She reads the letter that the boy wrote."""
        head = self.phrase(nouns(tags("person animal thing fixture food")), (THE,), plain=True)
        outer, inner = self.rng.sample([entry for entry in DIRECT if entry.objects & head.tags], 2)
        tense = self.rng.choice([entry for entry in inner.tenses if entry != FUTURE])
        known = self.clause_about(head, True, inner, self.subject(inner.subjects, DEFINITE, plain=True), tense)
        tense = self.rng.choice(outer.tenses)
        return Draw(statement(Clause(self.subject(outer.subjects, DEFINITE), outer, known, tense)))

    def reason(self) -> Draw:
        """The cow sleeps because it is tired."""
        quality = self.rng.choice(REASONS)
        verb = self.rng.choice(INTRANSITIVE)
        tense = self.rng.choice(verb.tenses)
        adverb = self.adverb(verb, tense)
        subject = self.subject(verb.subjects, subject_determiners(adverb), plain=True)
        main = Clause(subject, verb, None, tense, adverb)
        again = anaphor(subject)
        state = Clause(again, BE, tense=PRESENT if tense in (PRESENT, FUTURE) else IMPERFECT)
        state = replace(state, tail=predicate(again, quality))
        english = f"{english_clause(main)} because {english_clause(state)}"
        return Draw(sentence(english, f"{french_clause(main)} parce que {french_clause(state)}"))

    def contrast(self) -> Draw:
        """The boy sings but the girl dances. Its twin: The girl sings but the boy dances."""
        verbs = self.rng.sample(INTRANSITIVE, 2)
        tense = self.rng.choice(TENSES)
        heads = self.rng.sample(nouns(verbs[0].subjects, verbs[1].subjects), 2)
        subjects = [self.phrase([head], DEFINITE, plain=True) for head in heads]

        def written(*subjects: Phrase) -> Pair:
            first, second = (Clause(subject, verb, tense=tense) for subject, verb in zip(subjects, verbs, strict=True))
            english = f"{english_clause(first)} but {english_clause(second)}"
            return sentence(english, f"{french_clause(first)} mais {french_clause(second)}")

        return Draw(written(*subjects), written(*reversed(subjects)))


# The corpus.

TRAIN_PAIRS, DEV_PAIRS, TEST_PAIRS = 12_000, 500, 500  # sizes of the splits if the command line gives none
MOST_PAIRS = 200_000
TRAIN_TWINS, HELD_OUT_TWINS = 0.1, 0.35  # probability that a draw is a training sentence's twin
PATIENCE = 5_000  # draws in a row without a usable sentence


def word_forms(pair: Pair) -> set[tuple[str, str]]:
    """The words of both sides as they are written, each with its language."""
    sides = zip(("en", "fr"), pair, strict=True)
    return {(language, word) for language, text in sides for word in re.findall(r"[\w-]+'?", text)}


class Collector:
    """Draws sentences that are new on both sides, some of them twins of training sentences."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.sampler = Sampler(self.rng)
        self.english: set[str] = set()
        self.french: set[str] = set()
        self.twins: list[Pair] = []

    def collect(self, count: int, forms: set[tuple[str, str]] | None = None) -> list[Pair]:
        """Draw training sentences or, if `forms` is given, evaluation sentences that have only these word forms.

        Raises:
            ValueError: `PATIENCE` draws in a row give no usable sentence.
        """
        twin_share = TRAIN_TWINS if forms is None else HELD_OUT_TWINS
        pairs: list[Pair] = []
        misses = 0
        while len(pairs) < count:
            if self.twins and self.rng.random() < twin_share:
                drawn = Draw(self.twins.pop(self.rng.randrange(len(self.twins))))
            else:
                drawn = self.sampler.draw()
            pair = drawn.pair
            new = pair.english not in self.english and pair.french not in self.french
            if new and (forms is None or word_forms(pair) <= forms):
                misses = 0
                pairs.append(pair)
                self.english.add(pair.english)
                self.french.add(pair.french)
                if drawn.twin and forms is None:
                    self.twins.append(drawn.twin)
            else:
                misses += 1
            if misses == PATIENCE:
                limit = "more" if forms is None else "more in the words of the training sentences"
                raise ValueError(
                    f"{len(pairs)} of {count} pairs were made, and the grammar finds no {limit}; ask for fewer."
                )
        return pairs


def make_corpus(train: int, dev: int = 0, test: int = 0, *, seed: int = 1) -> dict[str, list[Pair]]:
    """Draw the three splits.

    No sentence stands twice, on either side, within a split or across them, and every word form of dev and
    test occurs in train.

    Raises:
        ValueError: a count is negative, or the grammar makes fewer sentences.
    """
    if min(train, dev, test) < 0 or train + dev + test > MOST_PAIRS:
        given = f"{train} training, {dev} dev and {test} test pairs were asked for"
        raise ValueError(f"{given}; the phrasebook makes from 0 to {MOST_PAIRS} in all.")
    collector = Collector(seed)
    corpus = {"train": collector.collect(train)}
    forms: set[tuple[str, str]] = set().union(*map(word_forms, corpus["train"]))
    for split, count in (("dev", dev), ("test", test)):
        corpus[split] = collector.collect(count, forms)
    return corpus


def generate_pairs(count: int, seed: int = 1) -> list[Pair]:
    """Draw sentence pairs; the first ones are the same for every count."""
    return make_corpus(count, seed=seed)["train"]


# The files.


def write_corpus(corpus: dict[str, list[Pair]], folder: Path, overwrite: bool = False) -> None:
    """Write `train.en`, `train.fr` and so on, a sentence a line; files that already hold this text stay.

    Raises:
        ValueError: if a file holds another text and is not to be overwritten.
    """
    texts = {
        folder / f"{split}.{language}": "".join(f"{line}\n" for line in lines).encode()
        for split, pairs in corpus.items()
        for language, lines in zip(("en", "fr"), zip(*pairs, strict=True), strict=True)
    }
    stale = {path: text for path, text in texts.items() if not path.exists() or path.read_bytes() != text}
    taken = next((path for path in stale if path.exists()), None)
    if taken and not overwrite:
        raise ValueError(f"{taken} holds another text; give another --output_dir, or --overwrite to replace it.")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in stale.items():  # under another name first, so that a file is always complete
        part = path.with_name(path.name + ".part")
        part.write_bytes(text)
        part.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Write English–French sentence pairs from a small grammar: {train,dev,test}.{en,fr}, "
        "a sentence a line, in UTF-8. No sentence stands in two splits, every word of dev and test stands in "
        "train, and the same counts and seed give the same files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    folder = Path("examples/data/phrasebook")
    parser.add_argument("--output_dir", type=Path, default=folder, help="folder for the six files")
    parser.add_argument("--train", type=int, default=TRAIN_PAIRS, help="training pairs")
    parser.add_argument("--dev", type=int, default=DEV_PAIRS, help="pairs to choose a checkpoint by")
    parser.add_argument("--test", type=int, default=TEST_PAIRS, help="pairs to measure the translator on")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random draws")
    parser.add_argument("--overwrite", action="store_true", help="replace files that hold another text")
    options = parser.parse_args(arguments)
    sizes = {"train": options.train, "dev": options.dev, "test": options.test}
    try:
        if min(sizes.values()) < 1:
            raise ValueError("Each split needs at least one pair; give --train, --dev and --test counts from 1.")
        write_corpus(make_corpus(**sizes, seed=options.seed), options.output_dir, options.overwrite)
    except (ValueError, OSError) as error:
        print(f"phrasebook: {error}", file=sys.stderr)
        return 2
    print(f"{options.output_dir}: " + ", ".join(f"{count} {split}" for split, count in sizes.items()) + " pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
