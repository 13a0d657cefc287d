"""A run is one strict document: what is read is what was written, and ratios are of neighbours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from experiments.benchmarks.machine import load_average, machine_facts
from experiments.benchmarks.records import Measurement, read_benchmarks, write_benchmarks
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
