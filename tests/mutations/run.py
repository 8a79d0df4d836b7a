# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Break the package on purpose, in one small way after the other, and check that the tests notice each breakage.

    python tests/mutations/run.py [--room modeling] [--only NAME ...] [--jobs 2] [--list]

A mutation replaces a few lines of one file in a copy of the repository, and names tests of which one must then fail.
The YAML files in this folder list the mutations, one file for each room. Each line of the output says whether a
mutation was caught, and by which test. The exit status is 1 if a mutation was not caught, or if one that is marked as
equivalent was caught, and 2 if nothing could be measured.
"""

import argparse
import compileall
import gc
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ROOMS = (
    *("configuration", "modeling", "checkpoints", "tokenization", "training", "studies", "visualization", "hub"),
    *("serving", "utils", "locant", "benchmarks"),
)

# The libraries that the tests import: each worker imports them once, and the processes that it forks have them already
THIRD_PARTY = (
    *("torch", "torch.nn.attention.flex_attention", "transformers", "transformers.modeling_utils"),
    *("transformers.generation", "transformers.trainer_seq2seq"),
    *("transformers.pipelines", "transformers.models.auto.modeling_auto", "transformers.models.vit.modeling_vit"),
    *("datasets", "sacrebleu.metrics", "sklearn.metrics", "accelerate", "safetensors.torch", "PIL.Image"),
)
PYTEST_OPTIONS = ("-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--tb=short", "--disable-warnings")
BASELINE_TIMEOUT = 1200  # seconds
MEMORY = 8 * 2**30  # bytes that the test process may allocate, in case the mutation breaks a check of sizes


class MutationError(Exception):
    """The mutations cannot be measured; the message says why in one sentence."""


@dataclass(frozen=True)
class Mutation:
    """One breakage.

    Args:
        room: the room of the file.
        name: description of the breakage.
        file: the file that is changed, from the root of the repository.
        search: the text that is replaced; it must occur exactly once in the file.
        replace: the text that takes its place.
        tests: ids of pytest (a file, a class, a test), one of which must fail.
        equivalent: why no test can notice the change, in which case no test may fail; None for other mutations.
    """

    room: str
    name: str
    file: str
    search: str
    replace: str
    tests: tuple[str, ...]
    equivalent: str | None = None

    def apply(self, source: str) -> str:
        """The source of the file with the mutation.

        Raises:
            MutationError: the text that is replaced is missing, or occurs more than once.
        """
        count = source.count(self.search)
        if count != 1:
            raise MutationError(
                f"The search text of the mutation {self.name!r} occurs {count} times in {self.file} and must occur "
                f"once: adapt {self.room}.yaml to the code. The search text is {self.search!r}."
            )
        return source.replace(self.search, self.replace)


@dataclass(frozen=True)
class Outcome:
    """The result of the tests of one mutation.

    Args:
        failed: the first test that failed, or the reason why the tests did not end; None if all passed.
        seconds: how long the tests took.
        log: the output of pytest.
    """

    failed: str | None
    seconds: float
    log: str


def read_mutations(room: str) -> list[Mutation]:
    """The mutations of a room, from its YAML file.

    The file is a list of entries with `file` and `mutations`. A mutation has `name`, `search`, `replace`, `test` (one
    or a list), and `equivalent` if no test can notice it.
    """
    mutations = []
    for entry in yaml.safe_load((HERE / f"{room}.yaml").read_text(encoding="utf-8")):
        for fields in entry["mutations"]:
            test = fields.pop("test")
            tests = (test,) if isinstance(test, str) else tuple(test)
            mutations.append(Mutation(room=room, file=entry["file"], tests=tests, **fields))
    return mutations


def copy_repository(target: Path) -> None:
    """Copy the files that git tracks or would add, with `target` as a root from which Locant can be imported."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    # the package itself is a copy, and benchmarks is outside of the package
    for room in {*ROOMS, "examples"} - {"locant", "benchmarks"}:
        (target / "locant" / room).symlink_to(Path("..") / room)
    # A mutated file may have the size and the time in seconds of the original: cached code is checked by content.
    for room in ROOMS:
        compileall.compile_dir(target / room, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)


class FirstFailure:
    """A plugin of pytest that keeps the first failure, and checks that the tests use the copy.

    Args:
        folder: the copy of the repository.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.failed: str | None = None
        self.foreign: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the test that failed first."""
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep the file that cannot be imported."""
        if report.failed and self.failed is None:
            self.failed = f"{report.nodeid} (at import)"

    def pytest_sessionfinish(self) -> None:
        """Find modules of Locant that were not imported from the copy."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name.partition(".")[0] == "locant" and file and not Path(file).resolve().is_relative_to(self.folder):
                self.foreign.append(name)


class Worker:
    """A copy of the repository, and a process that has imported the libraries but not Locant; each run is a fork of it.

    Args:
        timeout: seconds that the tests of one mutation may take.
    """

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.parent = os.getppid()
        self.folder = Path(tempfile.mkdtemp(prefix="locant-mutations-")).resolve()
        copy_repository(self.folder)
        os.chdir(self.folder)
        os.environ["PYTHONPATH"] = str(self.folder)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(self.folder))
        # imported before Hugging Face's libraries, as in the tests
        self.home = importlib.import_module("tests.hub_server.loopback").HOME
        for name in THIRD_PARTY:
            importlib.import_module(name)
        # A fork has no threads: the servers of the loopback Hub stop here, and each fork starts them again.
        self.servers = [found for found in gc.get_objects() if type(found) is ThreadingHTTPServer]
        for server in self.servers:
            server.shutdown()
        assert not any(name.partition(".")[0] == "locant" for name in sys.modules)

    def run(self, tests: Sequence[str], timeout: float) -> Outcome:
        """Run tests in a fork of this process, in the copy as it is now.

        Raises:
            MutationError: the tests imported Locant from outside of the copy, or pytest ran no tests.
        """
        start = time.monotonic()
        report, log = self.folder / "report.json", self.folder / "log.txt"
        report.unlink(missing_ok=True)
        process = os.fork()
        if process == 0:
            self._run_here(tests, report, log)
        is_over = False
        try:
            while not is_over and os.waitpid(process, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
                is_over = time.monotonic() - start > timeout or os.getppid() != self.parent
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)  # also kills processes that the tests started
        if os.getppid() != self.parent:  # the command was killed
            self.close()
            os._exit(1)
        seconds, text = time.monotonic() - start, log.read_text(encoding="utf-8", errors="replace")
        if is_over:
            os.waitpid(process, 0)
            return Outcome(f"the limit of {timeout:g} seconds", seconds, text)
        if not report.exists():
            return Outcome("the death of the process", seconds, text)
        found = json.loads(report.read_text(encoding="utf-8"))
        if found["foreign"]:
            raise MutationError(f"The tests import {found['foreign'][0]} from outside of the copy in {self.folder}.")
        if found["status"] not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
            raise MutationError(f"pytest ran no tests for {' '.join(tests)}:\n{text[-3000:]}")
        return Outcome(found["failed"], seconds, text)

    def _run_here(self, tests: Sequence[str], report: Path, log: Path) -> None:
        """Run tests in this process, write the report, and exit."""
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
            os.setsid()  # so that processes which tests start can be killed too
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            for server in self.servers:
                threading.Thread(target=server.serve_forever, daemon=True).start()
            plugin = FirstFailure(self.folder)
            status = pytest.main([*PYTEST_OPTIONS, *tests], plugins=[plugin])
            found = {"status": status, "failed": plugin.failed, "foreign": plugin.foreign}
            report.write_text(json.dumps(found), encoding="utf-8")
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # without the parent's functions that are registered with atexit

    def check(self, mutation: Mutation) -> Outcome:
        """Apply a mutation, run its tests, and restore the file."""
        path = self.folder / mutation.file
        source = path.read_text(encoding="utf-8")
        try:
            path.write_text(mutation.apply(source), encoding="utf-8")
            return self.run(mutation.tests, self.timeout)
        finally:
            path.write_text(source, encoding="utf-8")

    def close(self) -> None:
        """Remove the copy and the folder of the loopback Hub; nothing else removes them when this process ends."""
        os.chdir("/")
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)


_worker: Worker | None = None  # the worker of this process


def start_worker(timeout: float) -> None:
    """Make the worker of this process."""
    global _worker
    _worker = Worker(timeout)
    multiprocessing.util.Finalize(_worker, _worker.close, exitpriority=1)


def run_baseline(tests: Sequence[str]) -> Outcome:
    """Run tests on the unchanged copy of this process's worker."""
    assert _worker is not None
    return _worker.run(tests, BASELINE_TIMEOUT)


def check_mutation(mutation: Mutation) -> Outcome:
    """Run the tests of a mutation in this process's worker."""
    assert _worker is not None
    return _worker.check(mutation)


def measure(mutations: Sequence[Mutation], jobs: int, timeout: float) -> Iterator[tuple[Mutation, Outcome]]:
    """The outcome of each mutation, in their order, once their tests pass on the unchanged copy.

    Raises:
        MutationError: a mutation does not fit the code, or a test fails without any mutation.
    """
    for mutation in mutations:
        mutation.apply((ROOT / mutation.file).read_text(encoding="utf-8"))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=start_worker, initargs=(timeout,)) as pool:
        tests = sorted({test for mutation in mutations for test in mutation.tests})
        shares = [share for share in (tests[number::jobs] for number in range(jobs)) if share]
        start = time.monotonic()
        for outcome in pool.map(run_baseline, shares):
            if outcome.failed is not None:
                raise MutationError(f"{outcome.failed} fails without any mutation:\n{outcome.log[-5000:]}")
        print(f"The tests pass without any mutation, in {time.monotonic() - start:.0f} seconds.", flush=True)
        yield from zip(mutations, pool.map(check_mutation, mutations), strict=True)


def verdict(mutation: Mutation, outcome: Outcome) -> tuple[str, str]:
    """The verdict on a mutation, such as `caught`, and the test or the reason that explains it."""
    if mutation.equivalent is None:
        return ("NOT CAUGHT", " ".join(mutation.tests)) if outcome.failed is None else ("caught", outcome.failed)
    if outcome.failed is None:
        return "equivalent", mutation.equivalent
    return "NOT EQUIVALENT", outcome.failed


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n    ")[0],
        epilog="The lists are tests/mutations/*.yaml.",
    )
    parser.add_argument("--room", choices=ROOMS, help="only the mutations of this room")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only mutations whose name or file contains NAME")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time (default: one a core)")
    parser.add_argument("--timeout", type=float, default=180, help="seconds for the tests of a mutation (180)")
    parser.add_argument("--list", action="store_true", help="print the mutations with their tests, and run nothing")
    return parser.parse_args(arguments)


def select(options: argparse.Namespace) -> list[Mutation]:
    """The mutations that the options name."""
    rooms = [options.room] if options.room else ROOMS
    found = [mutation for room in rooms for mutation in read_mutations(room)]
    if options.only:
        found = [m for m in found if any(name in m.name or name in m.file for name in options.only)]
    if not found:
        raise MutationError("No mutation is called so: --list prints their names.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutations that the command line names, and return the exit status."""
    options = parse_arguments(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    # forks leave a lock of tqdm behind; multiprocessing's resource tracker removes it, and warns about it
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    start, counts = time.monotonic(), dict[str, int]()
    try:
        mutations = select(options)
        if options.list:
            for mutation in mutations:
                print(f"{mutation.name} ({mutation.file}): {' '.join(mutation.tests)}")
            return 0
        for mutation, outcome in measure(mutations, options.jobs, options.timeout):
            word, detail = verdict(mutation, outcome)
            counts[word] = counts.get(word, 0) + 1
            print(f"{word}: {mutation.file}: {mutation.name} [{outcome.seconds:.1f} s] {detail}", flush=True)
    except MutationError as error:
        print(error, file=sys.stderr)
        return 2
    told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    print(f"\n{sum(counts.values())} mutations in {time.monotonic() - start:.0f} seconds: {told}")
    return int(any(word.startswith("NOT") for word in counts))


if __name__ == "__main__":
    sys.exit(main())
