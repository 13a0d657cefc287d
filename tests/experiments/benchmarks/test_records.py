"""A run is one strict document: what is read is what was written, and ratios are of neighbours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from experiments.benchmarks.machine import code_version, load_average, machine_facts
from experiments.benchmarks.records import Measurement, owner_of, read_benchmarks, write_benchmarks
from federation.errors import InvalidInputError
from tests.experiments.benchmarks.example_run import figure, measured, run_of


def test_the_ratio_is_of_neighbours_so_a_slow_phase_cancels() -> None:
    item = Measurement(name="c", question="q", unit="u", ours_seconds=(2.0, 20.0, 2.0), floor_seconds=(1.0, 10.0, 1.0))
    assert item.ratio == 2.0
    assert item.ratio_range == (2.0, 2.0)
    assert (item.ours, item.floor) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("ours", "floor"), [((1.0, 2.0), (1.0,)), ((), ()), ((0.0,), (1.0,)), ((1.0,), (-1.0,)), ((float("nan"),), (1.0,))]
)
def test_times_that_give_no_ratio_are_refused(ours: tuple[float, ...], floor: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Measurement(name="c", question="q", unit="u", ours_seconds=ours, floor_seconds=floor)


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = run_of(measured("a", 1.0, 2.0), figures=(figure("b", 3.0),))
    write_benchmarks(tmp_path / "run.json", run)
    found = read_benchmarks(tmp_path / "run.json")
    assert found == run
    item = found.measurement("a")
    assert item is not None
    assert item.ratio == 1.5
    assert found.measurement("b") is None
    assert found.figure("b") == figure("b", 3.0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "cohortium/benchmarks/1"}'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError):
        read_benchmarks(path)


def test_a_run_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run_of().as_data() | {"score": 1}))
    with pytest.raises(InvalidInputError, match="score"):
        read_benchmarks(path)


def test_the_facts_of_the_machine_name_what_a_reader_needs() -> None:
    facts = machine_facts()
    assert facts.processor
    assert facts.cores >= 1
    assert facts.memory_gib > 0
    assert "torch" in facts.versions
    assert facts.torch_build
    assert min(load_average()) >= 0


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("fold_flower", "fold"),
        ("fold", "fold"),
        ("fold_peak_growth", "fold_peak"),
        ("fold_peaks", "fold"),
        ("folding", None),
        ("unit_site_seconds", "unit"),
    ],
)
def test_a_row_belongs_to_the_bench_with_the_longest_name_that_it_begins_with(name: str, owner: str | None) -> None:
    assert owner_of(name, ("fold", "fold_peak", "unit")) == owner


def test_the_code_is_known_by_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert code_version(tmp_path) == "unknown"
    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-qm", "one")
    git("tag", "-m", "a release", "v1")
    assert code_version(tmp_path) == git("rev-parse", "HEAD")[:12]
    (tmp_path / "code.py").write_text("2")
    assert code_version(tmp_path) == git("rev-parse", "HEAD")[:12] + "-dirty"
