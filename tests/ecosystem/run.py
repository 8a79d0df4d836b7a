# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Test that the libraries around transformers work with Locant's models, and write the results into the docs.

    python tests/ecosystem/run.py [pytest options]

Prints a row for each test of the modules in `FILES`: the number of models on which it passed, the measured numbers, and
the seconds. Without options, the table goes into docs/ecosystem.md. Exits non-zero if a test fails.
"""

import os
import re
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[1] / "docs" / "ecosystem.md"
TABLE = re.compile(r"(<!-- written by `make ecosystem` -->\n).*(<!-- end -->\n)", re.DOTALL)
FILES = ("adapters", "compilation", "offloading", "quantization", "sentence_embeddings", "fine_tuning", "generation")
# The user's options come after these options and override them.
PYTEST_OPTIONS = ["-qq", "-rN", "--no-header", "--disable-warnings", "--tb=short", "--numprocesses=2"]
PYTEST_OPTIONS += ["-p", "common", "-p", "no:cacheprovider", "--show-capture=no"]


@dataclass
class Row:
    """The results of all cases of one test."""

    what: str = ""
    libraries: tuple[str, ...] = ()
    outcomes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    numbers: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: Any) -> None:
        """Add a property that a case recorded: the description or the libraries of the test, or a measured number."""
        if name in ("what", "libraries"):
            setattr(self, name, value)
        else:
            self.numbers[name] = max(value, self.numbers.get(name, value))

    @property
    def result(self) -> str:
        """The number of cases that passed, and the measured numbers, each the largest of all cases."""
        passed, cases = self.outcomes.count("passed"), len(self.outcomes)
        verdict = "works" if passed == cases else "**fails**"
        findings = [f"{name} {value:.2g}" for name, value in self.numbers.items()]
        return "; ".join([f"{verdict}, {passed} of {cases}" if cases > 1 else verdict, *findings])


class Rows:
    """pytest plugin that keeps a row for each test."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], Row] = {}
        self.broken: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, line, _ = report.location
        row = self.rows.setdefault((FILES.index(Path(file).stem), line or 0), Row())
        row.seconds += report.duration
        if report.when == "call" or not report.passed:
            row.outcomes.append(report.outcome)
        if report.when == "teardown":
            for name, value in report.user_properties:
                row.add(name, value)


def main(pytest_options: list[str]) -> int:
    prepare_environment()
    rows = Rows()
    files = [str(HERE / f"{name}.py") for name in FILES]
    status = pytest.main([*PYTEST_OPTIONS, *pytest_options, *files], plugins=[rows])
    table = as_table([row for _, row in sorted(rows.rows.items())])
    print(f"\n{table}")
    for name in rows.broken:
        print(f"could not be collected: {name}")
    if not pytest_options and not rows.broken:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(TABLE.sub(lambda found: found[1] + table + found[2], text), encoding="utf-8")
    return 0 if status == pytest.ExitCode.OK else 1


def prepare_environment() -> None:
    """Let the workers import the modules of this folder, and keep them off the network and to one core each."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def as_table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | library | result | seconds |", "| --- | --- | --- | ---: |"]
    for row in rows:
        libraries = ", ".join(f"{name} {version(name)}" for name in row.libraries)
        lines.append(f"| {row.what} | {libraries} | {row.result} | {row.seconds:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
