# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Run Hugging Face's own model tests on Locant.

    python tests/conformance/run.py [--compare] [pytest options]

Prints a row for each test class, why tests were skipped, and the sum. A test counts as skipped if any part of
it was. Exits non-zero if a test fails, or if none passes.
"""

import argparse
import os
import sys
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import pytest
from suite import fetch_suite

HERE = Path(__file__).resolve().parent
LOCANT, MARIAN = HERE / "locant_models.py", HERE / "marian_models.py"
# Options that a user gives come after these and win.
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", action="store_true", help="run the built-in Marian too")
    arguments, pytest_options = parser.parse_known_args()
    try:
        prepare_environment(fetch_suite(version("transformers")))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2

    tally = Tally()
    files = [LOCANT, MARIAN] if arguments.compare else [LOCANT]
    status = pytest.main([*PYTEST_OPTIONS, *pytest_options, *map(str, files)], plugins=[tally])
    ours, theirs = tally.outcomes[LOCANT.name], tally.outcomes[MARIAN.name]
    print_table({**ours, **theirs}, tally.broken)
    print_skips(ours, tally.reasons)
    if arguments.compare:
        print_skips_beyond(ours, theirs, tally.reasons)

    totals = count(ours)
    print(f"\n{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    finished = status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not tally.broken
    return 0 if finished and totals["passed"] and not totals["failed"] else 1


def prepare_environment(suite: Path) -> None:
    """Let this process and its workers import the suite, and keep them off the network and to one core."""
    paths = [str(suite), str(HERE)]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def print_table(classes: Outcomes, broken: list[str]) -> None:
    """A row for each test class, then the names of what failed."""
    print(f"\n{'':24}{'passed':>8}{'skipped':>9}{'failed':>8}")
    for test_class, tests in sorted(classes.items()):
        totals = count({test_class: tests})
        print(f"{test_class:24}{totals['passed']:8}{totals['skipped']:9}{totals['failed']:8}")
    for name in with_outcome(classes, "failed"):
        print(f"failed: {name}")
    for name in broken:
        print(f"could not be collected: {name}")


def print_skips(classes: Outcomes, reasons: dict[str, str]) -> None:
    """How many tests were skipped for which reason, the suite's or the adapter's."""
    print("\nskipped on Locant, and why:")
    for reason, times in Counter(reasons[name] for name in with_outcome(classes, "skipped")).most_common():
        print(f"{times:4}  {reason}")


def print_skips_beyond(classes: Outcomes, others: Outcomes, reasons: dict[str, str]) -> None:
    """The tests that are skipped in `classes` and in none of `others`."""
    print("\nskipped on Locant, not on Marian:")
    elsewhere = {name.split(".")[1] for name in with_outcome(others, "skipped")}
    names = [name for name in with_outcome(classes, "skipped") if name.split(".")[1] not in elsewhere]
    for name in names:
        print(f"      {name}: {reasons[name]}")
    if not names:
        print("      none")


def with_outcome(classes: Outcomes, outcome: str) -> list[str]:
    """`class.test` of the tests with this outcome, in order."""
    return sorted(
        f"{test_class}.{test}" for test_class, tests in classes.items() for test in tests if tests[test] == outcome
    )


def count(classes: Outcomes) -> Counter:
    """Number of tests by outcome."""
    return Counter(outcome for tests in classes.values() for outcome in tests.values())


if __name__ == "__main__":
    sys.exit(main())
