"""Everything that is measured has a name of its own, can be chosen by it, and serves every goal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import experiments.benchmarks.__main__ as command
from experiments.benchmarks import comparisons
from experiments.benchmarks.alternation import Beside, Comparison
from experiments.benchmarks.benches import Bench, Effort, Found, bench_of
from experiments.benchmarks.comparisons import bench_names, benches, start_up, start_up_bench
from experiments.benchmarks.goals import GOALS
from experiments.benchmarks.machine import code_version
from experiments.benchmarks.records import Figure, read_benchmarks
from federation.errors import ConfigurationError, InternalError, InvalidInputError, TransportError


@pytest.fixture
def known() -> Iterator[tuple[Bench, ...]]:
    with ExitStack() as stack:
        yield benches(stack)


def test_every_bench_has_a_name_of_its_own(known: tuple[Bench, ...]) -> None:
    names = [bench.name for bench in known]
    assert len(set(names)) == len(names)
    assert {
        "mlp_round",
        "private_step_cnn_1024",
        "step_parts_mlp_64",
        "fold",
        "unit",
        "start_up",
        "secure_noise",
    } <= set(names)


def test_every_goal_belongs_to_a_bench(known: tuple[Bench, ...]) -> None:
    names = tuple(bench.name for bench in known)
    assert [goal.name for goal in GOALS if not goal.name.startswith(names)] == []


def test_benches_are_chosen_by_name_and_pattern(known: tuple[Bench, ...]) -> None:
    def chosen(*only: str) -> list[str]:
        return [bench.name for bench in command.choose(known, only)]

    assert chosen() == [bench.name for bench in known]
    assert chosen("fold") == ["fold"]
    assert chosen("private_step_mlp_*", "fold") == [
        "private_step_mlp_64", "private_step_mlp_256", "private_step_mlp_1024", "fold",
    ]  # fmt: skip
    with pytest.raises(ConfigurationError, match="flod"):
        chosen("fold", "flod")


def test_a_quick_effort_is_one_turn_and_long_benches_take_few() -> None:
    assert (Effort(repetitions=7).turns, Effort(repetitions=7).long_turns) == (7, 3)
    assert (Effort(repetitions=2).turns, Effort(repetitions=2).long_turns) == (2, 2)
    assert (Effort(quick=True).turns, Effort(quick=True).long_turns) == (1, 1)
    with pytest.raises(InvalidInputError, match="repetitions"):
        Effort(repetitions=0)


def test_a_comparison_becomes_a_bench() -> None:
    comparison = Comparison(name="c", question="q", ours=lambda: 6.0, floor=lambda: 3.0)
    found = bench_of(comparison).run(Effort(repetitions=2))
    assert [(item.name, item.ratio) for item in found.measurements] == [("c", 2.0)]


def test_the_start_is_found_as_ratios_and_as_a_time() -> None:
    peer = Beside(name="start_up_flower", question="q", work=lambda: 0.75)
    comparison = Comparison(name="start_up", question="q", ours=lambda: 0.25, floor=lambda: 0.125, beside=(peer,))
    found = start_up_bench(comparison).measured(Effort(quick=True))
    assert [(item.name, item.ratio) for item in found.measurements] == [
        ("start_up", 2.0),
        ("start_up_flower", 0.25 / 0.75),
    ]
    assert [(item.name, item.value, item.unit) for item in found.figures] == [("start_up_seconds", 0.25, "s")]
    assert found.skipped == []
    alone = start_up_bench(replace(comparison, beside=())).measured(Effort(quick=True))
    assert [item.name for item in alone.skipped] == ["start_up_flower"]


def test_the_start_has_a_peer_exactly_where_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert start_up().beside == ()
    (tmp_path / "flwr").touch()
    assert [other.name for other in start_up().beside] == ["start_up_flower"]


def test_a_row_whose_name_does_not_say_whose_it_is_is_refused() -> None:
    with pytest.raises(InternalError, match="strange"):
        replace(_bench("strange"), name="one").measured(Effort())
    assert _bench("one").measured(Effort()).names == ["one"]


def test_names_are_those_of_the_benches(known: tuple[Bench, ...]) -> None:
    assert bench_names() == tuple(bench.name for bench in known)


def test_a_deployment_that_does_not_start_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> float:
        raise TransportError("expected the SuperLink to start, it did not")

    comparison = Comparison(name="flower_round_2_sites", question="q", ours=broken, floor=lambda: 1.0)
    monkeypatch.setattr(comparisons, "message_comparisons", lambda _: (comparison,))
    with ExitStack() as stack:
        (bench,) = command.choose(benches(stack), ("flower_round_2_sites",))
        found = bench.run(Effort(quick=True))
    assert [(item.name, "SuperLink" in item.reason) for item in found.skipped] == [("flower_round_2_sites", True)]


def _bench(name: str, run: object = None) -> Bench:
    def measure(_: Effort) -> Found:
        return Found(figures=[Figure(name=name, question="q", value=1.0, unit="s")])

    return Bench(name=name, question="q", run=run or measure)  # type: ignore[arg-type]


def test_what_was_measured_is_kept_when_a_later_bench_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Effort) -> Found:
        raise TransportError("expected an answer, got none")

    monkeypatch.setattr(comparisons, "benches", lambda _: (_bench("one"), _bench("two", broken)))
    import typer

    app = typer.Typer()
    app.command()(command.main)
    path = tmp_path / "run.json"
    result = CliRunner().invoke(app, ["--output", str(path), "--quick"])
    assert isinstance(result.exception, TransportError)
    run = read_benchmarks(path)
    assert [figure.name for figure in run.figures] == ["one"]
    assert run.quick
    assert run.benches == ("one",)
    assert run.code == code_version()
    listed = CliRunner().invoke(app, ["--list", "--only", "tw*"])
    assert listed.exit_code == 0
    assert "two" in listed.output
    assert "one" not in listed.output
