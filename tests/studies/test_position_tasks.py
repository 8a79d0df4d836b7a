# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The generated data: nothing but order tells the sentences of a pair apart, and the answers are right."""

from collections import Counter

import pytest
import torch

from locant.studies.position_tasks import END, IGNORE, ORDER_VOCABULARY_SIZE, LetterTask, encode, sentence_pairs


class TestSentences:
    def test_a_pair_has_the_same_words_in_another_order_and_other_targets(self):
        for pair in [*sentence_pairs()[0], *sentence_pairs()[1]]:
            for one, other in pair:
                assert one != other
                assert Counter(one.split()) == Counter(other.split())

    def test_the_words_alone_leave_both_targets_open(self):
        targets = {}
        for pair in [*sentence_pairs()[0], *sentence_pairs()[1]]:
            for source, target in zip(*pair, strict=True):
                targets.setdefault(frozenset(source.split()), []).append(target)
        assert {len(set(found)) for found in targets.values()} == {2}

    def test_a_target_translates_word_by_word(self):
        words = {}
        for pair in sentence_pairs()[0]:
            for source, target in zip(*pair, strict=True):
                for word, translation in zip(source.split(), target.split(), strict=True):
                    assert words.setdefault(word, translation) == translation
        assert words["cat"] == "chat"
        assert len(set(words.values())) == len(words) == 24

    def test_no_combination_of_words_is_in_training_and_test(self):
        train, test = ({frozenset(pair.sources[0].split()) for pair in part} for part in sentence_pairs(0.25))
        assert not train & test
        assert (len(train), len(test)) == (720, 240)  # 120 pairs of nouns, 8 verbs

    def test_every_word_of_the_test_pairs_trains(self):
        train, test = (
            {word for pair in part for side in pair for text in side for word in text.split()}
            for part in sentence_pairs()
        )
        assert test <= train

    def test_words_have_ids_of_their_own_and_sentences_end(self):
        ids = encode(["cat sees dog", "dog sees cat", "chat voit chien"])
        assert ids[:, 3].tolist() == [END] * 3
        assert ids[0, :3].tolist() == ids[1, :3].flip(0).tolist()
        assert len(set(ids[[0, 2], :3].flatten().tolist())) == 6
        assert ids[:, :3].min() > END and ids.max() < ORDER_VOCABULARY_SIZE


def nearest_by_hand(letters, place, marked):
    """The marked letter that is the nearest to `place`, or None where it is none or not the only one."""
    if letters[place] < marked:
        return None
    distances = {abs(other - place) for other, letter in enumerate(letters) if letter < marked}
    found = {letter for other, letter in enumerate(letters) if letter < marked and abs(other - place) == min(distances)}
    return found.pop() if len(found) == 1 else None


@pytest.mark.parametrize("length", [2, 3, 12, 40])
class TestLetters:
    def draw(self, length, seed=0):
        return LetterTask().draw(torch.Generator().manual_seed(seed), 32, length)

    def test_before_is_the_letter_at_the_offset(self, length):
        ids, (before, _) = self.draw(length)
        for row, answers in zip(ids.tolist(), before.tolist(), strict=True):
            assert answers == [row[place - 4] if place >= 4 else IGNORE for place in range(length)]

    def test_nearest_is_the_nearest_marked_letter(self, length):
        ids, (_, nearest) = self.draw(length)
        for row, answers in zip(ids.tolist(), nearest.tolist(), strict=True):
            expected = [nearest_by_hand(row, place, 8) for place in range(length)]
            assert answers == [IGNORE if answer is None else answer for answer in expected]

    def test_nearest_does_not_ask_for_direction(self, length):
        ids, (_, nearest) = self.draw(length)
        torch.testing.assert_close(LetterTask()._nearest(ids.flip(1)), nearest.flip(1))

    def test_the_seed_decides(self, length):
        (ids, answers), (again, _), (others, _) = self.draw(length), self.draw(length), self.draw(length, seed=1)
        assert torch.equal(ids, again) and not torch.equal(ids, others)
        assert answers.shape == (2, 32, length)


def test_an_eighth_of_the_letters_is_marked_and_all_letters_occur():
    ids, _ = LetterTask().draw(torch.Generator().manual_seed(0), 200, 200)
    assert (ids < 8).float().mean().item() == pytest.approx(1 / 8, abs=0.01)
    assert ids.unique().tolist() == list(range(16))
