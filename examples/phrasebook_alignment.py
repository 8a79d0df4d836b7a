# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Compare the word alignments of a phrasebook translator with the lexicon of the phrasebook.

    python examples/phrasebook_alignment.py runs/phrasebook

The content words are the nouns, adjectives, numerals, adverbs of frequency and time, and the verbs except "be", "have"
and "go", which are auxiliaries too. The lexicon has one French word for each of them. A content word of an English
sentence is linked to the form of its French word in the French sentence. If a word of the lexicon occurs several times
in a sentence, its occurrences have the same order in both languages.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from locant.examples import phrasebook as grammar
from locant.examples.phrasebook import Pair
from locant.training.errors import InputError
from locant.training.inference import load
from locant.visualization.aligning import Translator, align
from locant.visualization.alignment import Alignment

AUXILIARIES = ("have", "go")


def word_forms() -> Iterator[tuple[set[str], set[str]]]:
    """The English forms and the French forms of each content word of the lexicon."""
    for noun in grammar.NOUNS:
        yield {noun.english, noun.plurals.english}, {noun.french, noun.plurals.french}
    for adjective in grammar.ADJECTIVES:
        yield {adjective.english, adjective.comparative} - {""}, {*adjective.forms, adjective.prevocalic}
    for verb in grammar.VERBS:
        if verb.english not in AUXILIARIES:
            english = {verb.english, grammar.english_s(verb.english), verb.past, verb.progressive}
            yield english, {*verb.present.values(), *verb.imperfect.values(), verb.infinitive, *verb.participle}
    for numeral in grammar.NUMERALS:
        yield {numeral.english_plural}, {numeral.forms.masculine_plural}
    for adverb in (grammar.OFTEN, grammar.ALWAYS, grammar.NEVER):
        yield {adverb.english}, {adverb.french}
    for time in sorted({time for times in grammar.TIMES.values() for time in times}):
        yield {time.english}, {time.french}


FORMS = list(word_forms())


def bare_words(sentence: str) -> list[str]:
    """The words of a sentence without punctuation, genitive and elided word, and without the capital of the first."""
    words = [re.sub(r"('s|')?[.,?]?$", "", word) for word in sentence.split()]
    words = [re.sub(r"^(l|d|qu|n|j|m)'", "", word, flags=re.IGNORECASE) for word in words]
    return [words[0][:1].lower() + words[0][1:], *words[1:]]


def content_links(pair: Pair) -> list[tuple[int, int]]:
    """The links between the content words of both sentences, as indices of words that whitespace separates.

    Raises:
        ValueError: a word of the lexicon does not occur equally often in both sentences.
    """
    english, french = map(bare_words, pair)
    links: list[tuple[int, int]] = []
    for english_forms, french_forms in FORMS:
        places = [i for i, word in enumerate(english) if word in english_forms]
        if places:
            links += zip(places, [j for j, word in enumerate(french) if word in french_forms], strict=True)
    return links


def share_of_content_links(pairs: Sequence[Pair], alignments: Sequence[Alignment]) -> tuple[int, int]:
    """The number of links between content words that the alignments have, and the number of all of them."""
    expected = [set(content_links(pair)) for pair in pairs]
    found = sum(len(links & alignment.links) for links, alignment in zip(expected, alignments, strict=True))
    return found, sum(map(len, expected))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Align the English sentences and the French references of the phrasebook's test split by the "
        "cross-attention of a translator, and print the share of content words that are aligned as in the lexicon."
    )
    parser.add_argument("model", help="folder of a translator from English to French, such as runs/phrasebook")
    parser.add_argument("--reverse_model", help="folder of a translator from French to English")
    parser.add_argument("--layer", type=int, help="decoder layer (default: the mean over all layers)")
    parser.add_argument("--data_dir", type=Path, default=Path("examples/data/phrasebook"), help="folder of test.en")
    options = parser.parse_args(arguments)
    try:
        texts = [(options.data_dir / f"test.{language}").read_text(encoding="utf-8") for language in ("en", "fr")]
        sources, targets = (text.splitlines() for text in texts)
        translator = Translator(*load(options.model))
        reverse = Translator(*load(options.reverse_model)) if options.reverse_model else None
        alignments = align(translator, sources, targets, layer=options.layer, reverse=reverse)
    except (InputError, OSError) as error:
        print(f"phrasebook_alignment: {error}", file=sys.stderr)
        return 2
    found, expected = share_of_content_links([Pair(*pair) for pair in zip(sources, targets, strict=True)], alignments)
    print(f"{found:,} of {expected:,} content words are aligned as in the lexicon: {100 * found / expected:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
