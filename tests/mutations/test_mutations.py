# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The lists of mutations fit the code and the tests; `make mutations` runs them."""

import ast
from collections import Counter

import pytest

from .run import ROOMS, ROOT, Mutation, MutationError, Outcome, read_mutations, verdict

MUTATIONS = [mutation for room in ROOMS for mutation in read_mutations(room)]


@pytest.mark.parametrize("room", ROOMS)
def test_search_texts_occur_once(room):
    for mutation in read_mutations(room):
        mutation.apply((ROOT / mutation.file).read_text(encoding="utf-8"))
        assert mutation.search != mutation.replace, mutation.name


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutated_code_is_python(mutation):
    ast.parse(mutation.apply((ROOT / mutation.file).read_text(encoding="utf-8")), mutation.file)


@pytest.mark.parametrize("file", sorted({test.partition("::")[0] for m in MUTATIONS for test in m.tests}))
def test_the_tests_of_the_mutations_exist(file):
    found = {file}
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(f"{file}::{node.name}")
        if isinstance(node, ast.ClassDef):
            found |= {f"{file}::{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    named = {test.partition("[")[0] for m in MUTATIONS for test in m.tests if test.partition("::")[0] == file}
    assert named <= found


def test_every_room_has_mutations_with_names_of_their_own():
    assert len(MUTATIONS) >= 80
    assert {mutation.room for mutation in MUTATIONS} == set(ROOMS)
    assert all(mutation.file.startswith(f"{mutation.room}/") for mutation in MUTATIONS)
    assert [name for name, count in Counter(mutation.name for mutation in MUTATIONS).items() if count > 1] == []


@pytest.mark.parametrize("search", ["no such text", "a"])
def test_a_search_text_that_is_missing_or_occurs_twice_is_refused_with_the_name_of_the_mutation(search):
    mutation = Mutation("modeling", "a name", "modeling/loss.py", search, "b", ("tests/modeling/test_loss.py",))
    with pytest.raises(MutationError, match=r"'a name' occurs (0|2) times"):
        mutation.apply("a = a")


@pytest.mark.parametrize(
    ("equivalent", "failed", "word"),
    [
        (None, "a test", "caught"),
        (None, None, "NOT CAUGHT"),
        ("a reason", None, "equivalent"),
        ("a reason", "a test", "NOT EQUIVALENT"),
    ],
)
def test_a_mutation_is_caught_unless_it_is_equivalent(equivalent, failed, word):
    mutation = Mutation("modeling", "a name", "modeling/loss.py", "a", "b", ("a test",), equivalent)
    assert verdict(mutation, Outcome(failed, 0.0, ""))[0] == word
