"""Plants each fault in a copy of the tree and runs the tests that must notice. The working tree is never touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Literal

from tests.mutants.mutant import ROOT, Mutant

NEEDED: Final = ("federation", "site_client", "aggregator", "conf", "experiments", "tests", "pyproject.toml")
LIMIT_SECONDS: Final = 300
_PASSED: Final = 0
_TESTS_FAILED: Final = 1

Verdict = Literal["killed", "survived", "stale", "unclear"]
"""``unclear``: the tests could not be run to their end, so nothing is known."""


@dataclass(frozen=True)
class Outcome:
    """What became of a fault."""

    mutant: Mutant
    verdict: Verdict
    detail: str


def copy_tree(folder: Path) -> Path:
    """A copy of what the tests need."""
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def run_tests(tree: Path, tests: Sequence[str], *, limit_seconds: float = LIMIT_SECONDS) -> tuple[int | None, str]:
    """Exit status (``None``: out of time) and the last telling line of a run in the tree."""
    settings = {
        "PYTHONDONTWRITEBYTECODE": "1",  # two faults within a second and of one length would share their bytecode
        "PYTHONPATH": str(tree),
        "OMP_NUM_THREADS": "1",
    }
    # Every Hypothesis example anew: a fault that was found once must not be replayed into the next run.
    options = [
        "-x",
        "-q",
        "-m",
        "not slow",
        "--no-header",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-p",
        "no:xdist",
    ]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tree), *tests]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no end after {limit_seconds:g} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode, (lines or done.stdout.splitlines() or done.stderr.splitlines() or [""])[
        -1 if not lines else 0
    ]


def check_copy(tree: Path) -> None:
    """The copy, not the installed package, must be what runs.

    Raises:
        RuntimeError: If it is not.
    """
    code = "import federation, site_client; print(federation.__file__, site_client.__file__, sep='\\n')"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if not all(Path(line).is_relative_to(tree) for line in shown.split()):
        message = f"expected the packages of {tree}, got {shown.split()}"
        raise RuntimeError(message)


def try_mutant(tree: Path, mutant: Mutant) -> Outcome:
    """Plant the fault, run its tests, take it out again."""
    path = tree / mutant.file
    original = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        changed = mutant.applied(original)
    except ValueError as failure:
        return Outcome(mutant, "stale", str(failure))
    path.write_text(changed, encoding="utf-8")
    try:
        status, line = run_tests(tree, mutant.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    verdict: Verdict = "survived" if status == _PASSED else "killed" if status == _TESTS_FAILED else "unclear"
    return Outcome(mutant, verdict, line)


def run_all(mutants: Sequence[Mutant], *, processes: int = 2) -> list[Outcome]:
    """The outcome of each mutant, in order, printed as it comes.

    Raises:
        RuntimeError: If the tests fail without any fault: then a failure would prove nothing.
    """
    with tempfile.TemporaryDirectory(prefix="cohortium-mutants-") as name:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(processes):
            trees.put(copy_tree(Path(name).resolve() / str(number)))
        _check_baseline(trees, mutants)

        def one(mutant: Mutant) -> Outcome:
            tree = trees.get()
            try:
                outcome = try_mutant(tree, mutant)
            finally:
                trees.put(tree)
            print(f"{outcome.verdict:9} {mutant.name:58} {outcome.detail[:110]}", flush=True)  # noqa: T201 - the table
            return outcome

        with ThreadPoolExecutor(processes) as pool:
            return list(pool.map(one, mutants))


def _check_baseline(trees: SimpleQueue[Path], mutants: Sequence[Mutant]) -> None:
    tree = trees.get()
    check_copy(tree)
    every = sorted({test for mutant in mutants for test in mutant.tests})
    status, line = run_tests(tree, every, limit_seconds=LIMIT_SECONDS * len(every))
    trees.put(tree)
    if status != _PASSED:
        message = f"expected the tests to pass without a fault, got: {line}"
        raise RuntimeError(message)
