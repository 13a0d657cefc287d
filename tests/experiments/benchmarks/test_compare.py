"""A ratio that got worse by more than tolerance and scatter fails; nothing else does, and nothing disappears in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from experiments.benchmarks.compare import Verdict, compare, main
from experiments.benchmarks.records import Benchmarks, Skipped, write_benchmarks
from federation.errors import InvalidInputError
from tests.experiments.benchmarks.example_run import figure, measured, run_of

_OLD = run_of(measured("a", 1.0, 1.1, 1.05))


def _verdicts(old: Benchmarks, new: Benchmarks, tolerance: float = 0.1) -> dict[str, Verdict]:
    return {change.name: change.verdict for change in compare(old, new, tolerance=tolerance)}


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((1.05, 1.05, 1.05), "same"),
        ((1.5, 1.4, 1.6), "worse"),
        ((1.12, 1.13, 1.14), "same"),  # beyond the scatter, within the tolerance
        ((1.5, 1.0, 1.6), "same"),  # beyond the tolerance, but the new run reaches down to the old median
        ((0.5, 0.4, 0.6), "better"),
        ((1.0, 0.99, 1.01), "same"),
    ],
)
def test_worse_is_more_than_tolerance_and_more_than_scatter(ratios: tuple[float, ...], verdict: Verdict) -> None:
    assert _verdicts(_OLD, run_of(measured("a", *ratios))) == {"a": verdict}


def test_an_old_run_that_scattered_up_to_the_new_median_is_no_proof() -> None:
    old = run_of(measured("a", 1.0, 1.0, 2.0))
    assert _verdicts(old, run_of(measured("a", 1.8, 1.8, 1.8))) == {"a": "same"}
    assert _verdicts(old, run_of(measured("a", 2.1, 2.1, 2.1))) == {"a": "worse"}


def test_the_tolerance_decides_where_nothing_scatters() -> None:
    old, new = run_of(measured("a", 1.0)), run_of(measured("a", 1.25))
    assert _verdicts(old, new, tolerance=0.2) == {"a": "worse"}
    assert _verdicts(old, new, tolerance=0.3) == {"a": "same"}


def test_a_measurement_that_disappears_is_lost_unless_it_says_why() -> None:
    assert _verdicts(_OLD, run_of()) == {"a": "lost"}
    skipped = run_of(skipped=(Skipped(name="a", reason="not installed"),))
    assert _verdicts(_OLD, skipped) == {"a": "skipped"}
    assert _verdicts(run_of(), _OLD) == {"a": "new"}


def test_what_was_not_asked_for_is_not_lost() -> None:
    names = ("fold_flower", "fold_peak_growth")
    old = run_of(*(measured(name, 1.0) for name in names), benches=("fold", "fold_peak"))
    assert _verdicts(old, run_of(benches=("start_up",))) == dict.fromkeys(names, "not asked for")
    assert _verdicts(old, run_of(benches=("fold",))) == {"fold_flower": "lost", "fold_peak_growth": "not asked for"}
    assert _verdicts(old, run_of(benches=("fold_peak",))) == {
        "fold_flower": "not asked for",
        "fold_peak_growth": "lost",
    }


def test_all_rows_of_a_bench_that_was_skipped_as_a_whole_are_skipped() -> None:
    names = ("flower_round_2_sites", "flower_round_2_sites_inline")
    old = run_of(*(measured(name, 1.0) for name in names), benches=("flower_round_2_sites",))
    reason = Skipped(name="flower_round_2_sites", reason="the SuperLink did not start")
    new = run_of(skipped=(reason,), benches=("flower_round_2_sites",))
    assert _verdicts(old, new) == dict.fromkeys(names, "skipped")
    part = run_of(skipped=(Skipped(name="flower_round_2_sites_inline", reason="r"),), benches=("flower_round_2_sites",))
    assert _verdicts(old, part) == {"flower_round_2_sites": "lost", "flower_round_2_sites_inline": "skipped"}


def test_a_floor_or_peer_that_an_old_run_has_not_is_new_and_judged_from_then_on() -> None:
    benches = ("start_up",)
    old = run_of(measured("start_up", 3.0), benches=benches)
    peer = measured("start_up_flower", 0.1)
    new = run_of(measured("start_up", 3.0), peer, figures=(figure("start_up_seconds", 0.2),), benches=benches)
    assert _verdicts(old, new) == {"start_up": "same", "start_up_flower": "new"}
    late = run_of(
        measured("start_up", 3.0),
        measured("start_up_flower", 0.2),
        figures=(figure("start_up_seconds", 0.4),),
        benches=benches,
    )
    assert _verdicts(new, late) == {"start_up": "same", "start_up_flower": "worse", "start_up_seconds": "worse"}


def test_only_lost_and_worse_fail() -> None:
    old = run_of(measured("a", 1.0), measured("b", 1.0), measured("c", 1.0))
    new = run_of(measured("a", 1.0), measured("b", 3.0), measured("d", 9.0))
    assert {change.name: change.fails for change in compare(old, new)} == {
        "a": False, "b": True, "c": True, "d": False,
    }  # fmt: skip


def test_a_figure_that_met_its_goal_must_go_on_meeting_it() -> None:
    met, missed = (run_of(figures=(figure("fold_peak_growth", value),)) for value in (1.0, 3.0))
    assert _verdicts(met, missed) == {"fold_peak_growth": "worse"}
    assert _verdicts(met, met) == {"fold_peak_growth": "same"}
    assert _verdicts(missed, missed) == {"fold_peak_growth": "same"}
    assert _verdicts(met, run_of()) == {"fold_peak_growth": "lost"}


def test_a_quick_run_and_a_negative_tolerance_prove_nothing() -> None:
    with pytest.raises(InvalidInputError, match="quick"):
        compare(_OLD, run_of(measured("a", 1.0), quick=True))
    with pytest.raises(InvalidInputError, match="tolerance"):
        compare(_OLD, _OLD, tolerance=-0.1)


def test_the_command_fails_on_a_regression_and_on_nothing_else(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    paths = {name: str(tmp_path / f"{name}.json") for name in ("old", "worse")}
    write_benchmarks(Path(paths["old"]), _OLD)
    write_benchmarks(Path(paths["worse"]), run_of(measured("a", 2.0)))
    runner = CliRunner()
    fine = runner.invoke(app, [paths["old"], paths["old"]])
    assert fine.exit_code == 0
    assert "no ratio got worse" in fine.output
    bad = runner.invoke(app, [paths["old"], paths["worse"]])
    assert bad.exit_code == 1
    assert "worse or lost: a" in bad.output
    assert runner.invoke(app, [paths["old"], paths["worse"], "--tolerance", "1.0"]).exit_code == 0
    machine = runner.invoke(app, [paths["old"], paths["worse"], "--json"])
    assert machine.exit_code == 1
    assert json.loads(machine.output)[0]["verdict"] == "worse"
