"""Runs that are put together: the later one wins bench by bench, nothing is mixed within one, and every row keeps its origin."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from experiments.benchmarks.compare import compare
from experiments.benchmarks.merge import main, merge
from experiments.benchmarks.page import page_of
from experiments.benchmarks.records import Agreement, Skipped, read_benchmarks, write_benchmarks
from federation.errors import InvalidInputError
from tests.experiments.benchmarks.example_run import figure, measured, run_of

_KNOWN = ("mlp_round", "fold", "fold_peak", "unit", "start_up")
_AGREEMENT = Agreement(race="mlp_round", way="bare", loss=0.5, accuracy=0.7, distance=None, threads=1, peak_mib=1.0)
_OLD = run_of(
    measured("mlp_round_bare", 0.1),
    measured("mlp_round_pfl", 0.2),
    measured("fold_flower", 0.3),
    date="2026-11-20",
    code="aaaa",
    only=("mlp_round", "fold*"),
    benches=("mlp_round", "fold", "fold_peak"),
    figures=(figure("fold_peak_growth", 1.0),),
    agreements=(_AGREEMENT,),
    skipped=(Skipped(name="fold_part_read", reason="old"),),
)
_NEW = run_of(
    measured("start_up", 3.0),
    measured("mlp_round_bare", 0.9),
    date="2026-11-26",
    code="bbbb",
    only=("start_up", "mlp_round"),
    benches=("start_up", "mlp_round"),
    figures=(figure("unit_share_seconds", 7.0),),
    agreements=(_AGREEMENT.model_copy(update={"loss": 0.4}),),
    skipped=(Skipped(name="mlp_round_pfl", reason="no environment for it"),),
    load_before=(9.0, 1.0, 1.0),
)


def test_the_later_run_wins_bench_by_bench_and_never_mixes_rows_of_one() -> None:
    merged = merge([_OLD, _NEW], _KNOWN)
    assert [(item.name, item.ratio) for item in merged.measurements] == [
        ("mlp_round_bare", 0.9),
        ("fold_flower", 0.3),
        ("start_up", 3.0),
    ]  # in the order of the benches, and without the old row of pfl
    assert [item.name for item in merged.figures] == ["fold_peak_growth", "unit_share_seconds"]
    assert [item.loss for item in merged.agreements] == [0.4]
    assert [item.name for item in merged.skipped] == ["mlp_round_pfl", "fold_part_read"]
    assert merged.benches == ("mlp_round", "fold", "fold_peak", "unit", "start_up")
    back = merge([_NEW, _OLD], _KNOWN)
    assert [item.ratio for item in back.measurements] == [0.1, 0.2, 0.3, 3.0]
    assert [item.name for item in back.skipped] == ["fold_part_read"]


def test_every_run_keeps_its_facts_and_the_names_of_what_is_left_of_it() -> None:
    merged = merge([_OLD, _NEW], _KNOWN)
    assert [(origin.date, origin.code, origin.benches) for origin in merged.origins] == [
        ("2026-11-20", "aaaa", ("fold", "fold_peak")),
        ("2026-11-26", "bbbb", ("mlp_round", "unit", "start_up")),
    ]
    assert merged.origins[1].load_before == (9.0, 1.0, 1.0)
    assert merged.origins[0].machine == _OLD.machine
    assert (merged.date, merged.code) == ("2026-11-26", "bbbb")


def test_what_was_put_together_can_be_put_together_again() -> None:
    third = run_of(measured("fold_flower", 0.5), date="2026-11-27", code="cccc", benches=("fold",), only=("fold",))
    again = merge([merge([_OLD, _NEW], _KNOWN), third], _KNOWN)
    assert again == merge([_OLD, _NEW, third], _KNOWN)
    assert [(origin.code, origin.benches) for origin in again.origins] == [
        ("aaaa", ("fold_peak",)),
        ("bbbb", ("mlp_round", "unit", "start_up")),
        ("cccc", ("fold",)),
    ]


def test_what_was_asked_for_is_a_part_only_if_no_run_was_whole() -> None:
    assert merge([_OLD, _NEW], _KNOWN).only == ("mlp_round", "fold*", "start_up")
    assert merge([_OLD, _NEW.model_copy(update={"only": ()})], _KNOWN).only == ()


def test_a_row_of_a_bench_that_there_is_no_more_is_kept() -> None:
    merged = merge([run_of(measured("gone", 1.0)), _NEW], _KNOWN)
    assert merged.measurement("gone") is not None
    assert "gone" in merged.benches


def test_nothing_and_quick_runs_among_whole_ones_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        merge([], _KNOWN)
    with pytest.raises(InvalidInputError, match="quick"):
        merge([_OLD, _NEW.model_copy(update={"quick": True})], _KNOWN)


def test_the_page_says_which_rows_are_of_which_run_and_machine() -> None:
    other = _OLD.machine.model_copy(update={"processor": "Abacus 3"})
    merged = merge([_OLD.model_copy(update={"machine": other}), _NEW], _KNOWN)
    page = page_of(merged)
    assert "2 runs of 2026-11-20 to 2026-11-26 that were put together" in page
    lines = page.partition("## The machine\n")[2].partition("\n## ")[0].splitlines()
    assert any(
        line.startswith("| 2026-11-20 | aaaa | 1 |") and line.endswith("`fold`, `fold_peak` |") for line in lines
    )
    assert any(line.startswith("| 2026-11-26 | bbbb | 2 |") and "`start_up`" in line for line in lines)
    assert [line.split(",")[0] for line in lines if "processor" in line] == [
        "| processor | Abacus 3",
        "| processor | Abacus 2",
    ]
    assert "while `mlp_round`, `unit`, `start_up` ran (load 9 before" in page
    one_machine = page_of(merge([_OLD, _NEW], _KNOWN))
    assert one_machine.count("| processor |") == 1
    assert page_of(merge([_OLD], _KNOWN)).count("the run of 2026-11-20,") == 1


def test_a_merged_run_is_compared_like_any_other() -> None:
    merged = merge([_OLD, _NEW], _KNOWN)
    verdicts = {change.name: change.verdict for change in compare(_OLD, merged)}
    assert verdicts["mlp_round_bare"] == "worse"
    assert verdicts["mlp_round_pfl"] == "skipped"
    assert verdicts["fold_flower"] == "same"
    assert verdicts["start_up"] == "new"


def test_the_command_writes_what_can_be_read_again(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for path, run in zip(paths, (_OLD, _NEW), strict=False):
        write_benchmarks(path, run)
    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, [*map(str, paths[:2]), "--output", str(paths[2])])
    assert done.exit_code == 0
    assert "2026-11-20 aaaa: fold, fold_peak" in done.output
    assert read_benchmarks(paths[2]) == merge([_OLD, _NEW])
