# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Word alignments: from attention by hand, symmetrised as worked out by hand, in batches, by the command."""

import numpy as np
import pytest

from locant.cli import main
from locant.training.errors import InputError
from locant.training.inference import load
from locant.visualization.aligning import Translator, align, align_recording
from locant.visualization.alignment import Alignment, grow_diag_final_and, strongest_links, word_attention
from locant.visualization.recording import record
from locant.visualization.sequences import Sequence

from .models import build


def sequence(word_of_token, words):
    return Sequence(["token"] * len(word_of_token), [], words, word_of_token)


def test_attention_is_summed_over_the_tokens_of_a_key_word_and_averaged_over_those_of_a_query_word():
    queries = sequence([0, 1, 1, None], ["a", "bc"])
    keys = sequence([0, 0, 1, None], ["xy", "z"])
    attention = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.0], [0.2, 0.4, 0.0, 0.4], [1.0, 0.0, 0.0, 0.0]])
    assert np.allclose(word_attention(attention, queries, keys), [[0.3, 0.3], [0.3, 0.5]])


def test_each_target_word_is_linked_to_its_strongest_source_word():
    weights = np.array([[0.2, 0.7, 0.1], [0.5, 0.3, 0.0], [0.0, 0.0, 0.0]])
    links = strongest_links(weights)
    assert links == {(1, 0), (0, 1)}
    assert Alignment(["a", "b", "c"], ["x", "y", "z"], weights, links).pharaoh == "0-1 1-0"
    assert strongest_links(np.zeros((0, 3))) == strongest_links(np.zeros((3, 0))) == frozenset()


@pytest.mark.parametrize(
    ("forward", "reverse", "expected"),
    [
        ({(0, 0), (1, 1)}, {(0, 0), (1, 1)}, {(0, 0), (1, 1)}),
        # 1-1 touches 0-0 diagonally, and both of its words are free
        ({(0, 0), (1, 1)}, {(0, 0)}, {(0, 0), (1, 1)}),
        # 0-1 touches 0-0, and target word 1 is free; 1-1 is in neither direction
        ({(0, 0)}, {(0, 0), (0, 1)}, {(0, 0), (0, 1)}),
        # 0-1 touches 0-0, but both of its words have links: of 0-0 and of 1-1
        ({(0, 0), (1, 1), (0, 1)}, {(0, 0), (1, 1)}, {(0, 0), (1, 1)}),
        # 3-3 touches nothing, and both of its words are free; 3-0 then has no free word
        ({(0, 0), (3, 3)}, {(0, 0), (3, 0)}, {(0, 0), (3, 3)}),
        # 5-0 touches nothing, and target word 0 is not free: "final-and" wants both words free
        ({(0, 0)}, {(0, 0), (5, 0)}, {(0, 0)}),
        # nothing in common: the forward links come first, and 1-0 and 0-1 then have no free words
        ({(0, 0), (1, 1)}, {(1, 0), (0, 1)}, {(0, 0), (1, 1)}),
        # growth goes on from the links that it added: 0-0, then 1-1, then 2-2
        ({(0, 0), (1, 1), (2, 2)}, {(0, 0)}, {(0, 0), (1, 1), (2, 2)}),
        ({(0, 0), (2, 1)}, {(0, 0), (1, 1)}, {(0, 0), (1, 1), (2, 1)}),
        (set(), set(), set()),
    ],
)
def test_grow_diag_final_and_by_hand(forward, reverse, expected):
    assert grow_diag_final_and(frozenset(forward), frozenset(reverse)) == expected


SOURCES = ["the king sees", "", "the old dog does not see the cat and the king", "a cat", "the dog"]
TARGETS = ["le roi voit", "le chat", "le vieux chien ne voit pas le chat", "", "le chien du roi"]


@pytest.mark.parametrize("name", ["locant translator", "marian"])
@pytest.mark.parametrize("layer", [None, 2])
def test_a_batch_is_aligned_as_each_pair_alone(name, layer, tokenizer):
    model = build(name)
    translator = Translator(model, tokenizer)
    found = align(translator, SOURCES, TARGETS, layer=layer, batch_size=3, reverse=translator, show_progress=False)
    for source, target, alignment in zip(SOURCES, TARGETS, found, strict=True):
        assert (alignment.source, alignment.target) == (source.split(), target.split())
        if not source or not target:
            assert alignment.pharaoh == ""
            continue
        recording, reverse = record(model, tokenizer, source, target), record(model, tokenizer, target, source)
        alone = align_recording(recording, layer, reverse)
        assert np.allclose(alignment.weights, alone.weights, atol=1e-5)
        assert alignment.links == alone.links
        layers = recording.attention["cross_attention"]
        chosen = layers.mean((0, 1)) if layer is None else layers[1].mean(0)
        assert np.allclose(alone.weights, word_attention(chosen, recording.target, recording.source), atol=1e-6)


def test_a_layer_that_does_not_exist_is_refused(tokenizer):
    with pytest.raises(InputError, match="layers of the decoder are 1 to 3"):
        align(Translator(build("marian"), tokenizer), ["the"], ["le"], layer=4, show_progress=False)


def test_the_command_writes_pharaoh_format(trained_run, toy, tmp_path, capsys):
    source, target = toy.files["test"]
    sources, targets = map(list, zip(*toy.pairs["test"], strict=True))
    translator, written = Translator(*load(trained_run)), []
    for arguments, options in (
        ([], {}),
        (["--layer", "1"], {"layer": 1}),
        (["--reverse_model", str(trained_run)], {"reverse": translator}),
    ):
        output = tmp_path / "links"
        assert main(["align", str(trained_run), source, target, "--output", str(output), *arguments]) == 0
        written.append(output.read_text().splitlines())
        expected = align(translator, sources, targets, **options, show_progress=False)
        assert written[-1] == [alignment.pharaoh for alignment in expected]
    assert written[0] != written[2]
    for line, words in zip(written[0], targets, strict=True):
        assert sorted(int(link.split("-")[1]) for link in line.split()) == [*range(len(words.split()))]
    assert main(["align", str(trained_run), source, toy.files["train"][1]]) == 2
    assert "same number of lines" in capsys.readouterr().err
    assert main(["align", str(trained_run), source, target, "--layer", "7"]) == 2
    assert "layer 7" in capsys.readouterr().err
