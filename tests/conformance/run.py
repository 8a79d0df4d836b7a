# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Run Hugging Face's own model tests on Locant, and on the built-in model of each kind for comparison.

    python tests/conformance/run.py [pytest options]

Prints a row for each test class, the reasons why tests of Locant were skipped, and the tests that are skipped on Locant
only. A test counts as skipped if any part of it was. Exits non-zero if a test of Locant's fails, if none passes, or if
a class of Locant's skips more tests than the built-in model of its kind.
"""

import os
import sys
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import pytest
from suite import fetch_suite

HERE = Path(__file__).resolve().parent
LOCANT, BUILT_IN = HERE / "locant_models.py", HERE / "builtin_models.py"
# The test class of the built-in model, by the beginning of the name of a test class of Locant; the first match counts.
# Llama is a rotary decoder. Other decoders are compared with OPT, because the suite's tests of rope types apply to
# neither. Image-to-text models are compared with Marian, another encoder-decoder, because built-in image-to-text models
# have two configs, for which the suite has other tests.
BUILT_INS = {
    "Seq2Seq": "Seq2SeqMarian",
    "TextEncoder": "TextEncoderBert",
    "DecoderRotary": "DecoderLlama",
    "Decoder": "DecoderOPT",
    "ImageToText": "Seq2SeqMarian",
    "Image": "ImageViT",
}
# The user's options come after these options and override them.
PYTEST_OPTIONS = ["-qq", "-rN", "--no-header", "--disable-warnings", "--tb=short", "--numprocesses=2"]
PYTEST_OPTIONS += ["-p", "no:cacheprovider", "-o", "verbosity_subtests=0"]

Outcomes = dict[str, dict[str, str]]  # test class -> test -> passed, skipped or failed


class Tally:
    """pytest plugin that keeps, by file, the worst outcome of each test and of its subtests."""

    ORDER = ("passed", "skipped", "failed")

    def __init__(self):
        self.outcomes: dict[str, Outcomes] = defaultdict(lambda: defaultdict(dict))
        self.reasons: dict[str, str] = {}  # "class.test" -> why it was skipped
        self.broken: list[str] = []

    def pytest_collectreport(self, report):
        if report.failed:
            self.broken.append(report.nodeid)

    def pytest_runtest_logreport(self, report):
        if report.when != "call" and report.passed:
            return
        file, test_class, test = report.nodeid.split("::")
        tests = self.outcomes[Path(file).name][test_class]
        tests[test] = max(tests.get(test, "passed"), report.outcome, key=self.ORDER.index)
        if report.skipped:
            self.reasons[f"{test_class}.{test}"] = report.longrepr[2].removeprefix("Skipped: ")


def main(pytest_options: list[str]) -> int:
    try:
        prepare_environment(fetch_suite(version("transformers")))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2

    tally = Tally()
    status = pytest.main([*PYTEST_OPTIONS, *pytest_options, str(LOCANT), str(BUILT_IN)], plugins=[tally])
    ours, theirs = tally.outcomes[LOCANT.name], tally.outcomes[BUILT_IN.name]
    print_table(ours, theirs)
    print_reasons(ours, tally.reasons)
    print_skips_beyond(ours, theirs, tally.reasons)
    print_failures({**ours, **theirs}, tally.broken)

    totals = count(ours)
    print(f"\nLocant: {totals['passed']} passed, {totals['skipped']} skipped, {totals['failed']} failed")
    finished = status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not tally.broken
    return 0 if finished and totals["passed"] and not totals["failed"] and not more_skips(ours, theirs) else 1


def prepare_environment(suite: Path) -> None:
    """Let this process and its workers import the suite, and keep them off the network and to one core."""
    paths = [str(suite), str(HERE)]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def print_table(ours: Outcomes, theirs: Outcomes) -> None:
    """Print a row for each test class; rows of Locant also have the skips of the built-in model of the kind."""
    print(f"\n{'':24}{'passed':>8}{'skipped':>9}{'failed':>8}   skipped on the built-in model of its kind")
    beyond = more_skips(ours, theirs)
    for name, tests in sorted({**ours, **theirs}.items()):
        if name in theirs:
            print(f"{row(name, tests)}   built in")
            continue
        other = built_in(name)
        skips = skipped(theirs[other]) if other in theirs else "not run"
        print(f"{row(name, tests)}{skips:>10}  {other}{'  MORE' if name in beyond else ''}")


def row(name: str, tests: dict[str, str]) -> str:
    """The name and the numbers of one test class."""
    totals = Counter(tests.values())
    return f"{name:24}{totals['passed']:8}{totals['skipped']:9}{totals['failed']:8}"


def print_reasons(classes: Outcomes, reasons: dict[str, str]) -> None:
    """Print how many tests were skipped for each reason, which the suite or `leave_out` gave."""
    print("\nskipped on Locant, and why:")
    for reason, times in Counter(reasons[name] for name in with_outcome(classes, "skipped")).most_common():
        print(f"{times:4}  {reason}")


def print_skips_beyond(ours: Outcomes, theirs: Outcomes, reasons: dict[str, str]) -> None:
    """Print the tests that are skipped on a class of Locant's and not on the built-in model of its kind."""
    print("\nskipped on Locant, not on the built-in model of its kind:")
    where = defaultdict(list)
    for name in with_outcome(ours, "skipped"):
        test_class, test = name.split(".")
        if theirs.get(built_in(test_class), {}).get(test, "skipped") != "skipped":
            where[test, reasons[name]].append(test_class)
    for (test, reason), classes in where.items():
        print(f"      {test}: {reason}\n          on {', '.join(classes)}")
    if not where:
        print("      none")


def print_failures(classes: Outcomes, broken: list[str]) -> None:
    """Print the tests that failed, and the files that could not be collected."""
    for name in with_outcome(classes, "failed"):
        print(f"failed: {name}")
    for name in broken:
        print(f"could not be collected: {name}")


def built_in(test_class: str) -> str:
    """The test class of the built-in model of the same kind."""
    return next(name for start, name in BUILT_INS.items() if test_class.startswith(start))


def more_skips(ours: Outcomes, theirs: Outcomes) -> list[str]:
    """The classes of Locant's that skip more tests than the built-in model of their kind."""
    compared = {name: built_in(name) for name in ours if built_in(name) in theirs}
    return [name for name, other in compared.items() if skipped(ours[name]) > skipped(theirs[other])]


def skipped(tests: dict[str, str]) -> int:
    """Number of skipped tests of one test class."""
    return list(tests.values()).count("skipped")


def with_outcome(classes: Outcomes, outcome: str) -> list[str]:
    """`class.test` of the tests with this outcome, in order."""
    return sorted(
        f"{test_class}.{test}" for test_class, tests in classes.items() for test in tests if tests[test] == outcome
    )


def count(classes: Outcomes) -> Counter:
    """Number of tests by outcome."""
    return Counter(outcome for tests in classes.values() for outcome in tests.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
