"""The page is what its generator makes of the run beside it, and says what was met, missed, skipped and not measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.benchmarks import goals as goals_module
from experiments.benchmarks import page as page_module
from experiments.benchmarks import page_notes
from experiments.benchmarks.comparisons import bench_names
from experiments.benchmarks.goals import GOALS, Goal
from experiments.benchmarks.page import PAGE_FILE, RUN_FILE, main, page_of
from experiments.benchmarks.peer_environment import ROOT
from experiments.benchmarks.records import Agreement, Skipped, read_benchmarks, write_benchmarks
from tests.experiments.benchmarks.example_run import figure, measured, run_of, unit_costs


def _line(page: str, *words: str) -> str:
    found = [line for line in page.splitlines() if all(word in line for word in words)]
    assert found, words
    return found[0]


def test_the_page_is_exactly_what_the_run_beside_it_makes() -> None:
    run = read_benchmarks(ROOT / "docs" / RUN_FILE)
    assert (ROOT / "docs" / PAGE_FILE).read_text(encoding="utf-8") == page_of(run)


def test_the_command_writes_page_and_run_together(tmp_path: Path) -> None:
    source = tmp_path / "source.json"
    write_benchmarks(source, run_of(measured("start_up", 2.0)))
    main(source, folder=tmp_path)
    assert (tmp_path / PAGE_FILE).read_text() == page_of(read_benchmarks(tmp_path / RUN_FILE))
    assert read_benchmarks(tmp_path / RUN_FILE) == read_benchmarks(source)


def test_a_goal_is_met_up_to_its_bound_and_not_beyond() -> None:
    page = page_of(
        run_of(
            measured("mlp_round_bare", 0.1),
            measured("mlp_round_pfl", 0.05, 0.5, 0.5),
            figures=(figure("fold_peak_growth", 1.5),),
        )
    )
    assert _line(page, "bare sequential PyTorch loop").endswith("| ≤ 0.1 | **0.1** | 0.1 to 0.1 | met |")
    assert _line(page, "| pfl |").endswith("| ≤ 0.08 | **0.5** | 0.05 to 0.5 | not met |")
    assert _line(page, "peak memory of the fold").endswith("| **1.5** |  | not met |")
    assert _line(page, "Flower's FedAvg aggregation").endswith("not measured |")
    assert "`fold`" in _line(page, "- not in this run: ")
    assert "- `fold_flower`:" not in page  # its bench is named, once


def test_a_missed_goal_shows_its_reason_and_a_met_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    goal = Goal("a", "work", "floor", 1.0, reason="the disk holds it")
    for module in (page_module, page_notes, goals_module):
        monkeypatch.setattr(module, "GOALS", (goal,))
    assert "the disk holds it" in page_of(run_of(measured("a", 2.0)))
    assert "the disk holds it" not in page_of(run_of(measured("a", 0.5)))
    assert "the disk holds it" not in page_of(run_of())


def test_what_was_skipped_is_named_once_with_its_reason() -> None:
    page = page_of(run_of(skipped=(Skipped(name="mlp_round_pfl", reason="no environment for it"),)))
    assert "- `mlp_round_pfl`: no environment for it" in page
    assert "`mlp_round_pfl`: not in this run" not in page


def test_every_bench_without_a_row_is_named_whether_it_was_asked_for_or_not() -> None:
    measured_now = run_of(
        measured("secure_noise", 2.0), measured("fold_flower", 1.0), benches=("secure_noise", "fold", "fold_peak")
    )
    page = page_of(measured_now.model_copy(update={"only": ("secure_noise", "fold*")}))
    section = page.partition("## What was not measured\n")[2].partition("\n## ")[0]
    absent = set(bench_names()) - {"secure_noise", "fold", "fold_peak"}
    assert len(absent) > 40
    assert set(re.findall(r"`(\w+)`", _line(section, "- not asked for: "))) == absent
    assert _line(section, "left no row") == "- ran and left no row: `fold_peak`"
    assert "- `fold_memory_speed`: not in this run" in section
    assert "Everything was." not in page


def test_a_bench_is_not_named_twice_where_it_says_itself_why_it_was_skipped() -> None:
    reason = Skipped(name="flower_round_2_sites", reason="the SuperLink did not start")
    page = page_of(run_of(skipped=(reason,), benches=("flower_round_2_sites",)))
    assert page.count("`flower_round_2_sites`") == 1
    assert "- `flower_round_2_sites`: the SuperLink did not start" in page


def test_a_way_that_cannot_do_a_races_work_is_named_with_its_reason_even_if_the_run_lost_it() -> None:
    page = page_of(run_of(measured("private_cnn_round_opacus", 0.5)))
    assert "- `private_cnn_round_pfl`: pfl 0.6 has no DP-SGD" in page
    assert "- `private_cnn_round_flower`: not in this run" in page
    assert "`private_cnn_round_pfl`" not in page_of(run_of(measured("cnn_round_pfl", 0.5)))


def test_everything_was_measured_only_where_every_bench_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_notes, "GOALS", ())
    monkeypatch.setattr(page_module, "bench_names", lambda: ("start_up", "gate"))
    whole = run_of(measured("start_up", 1.0), measured("gate", 1.0), only=("start_up", "gate"))
    assert "Everything was." in page_of(whole)
    assert "**Note:**" not in page_of(whole)  # asked for in parts, and all of them are there
    part = run_of(measured("start_up", 1.0), only=("start_up",))
    assert "Everything was." not in page_of(part)
    assert "- not asked for: `gate`" in page_of(part)
    assert "asked for: `start_up`" in _line(page_of(part), "**Note:**")


def test_the_start_of_the_command_is_a_goal_in_seconds() -> None:
    met, missed = (page_of(run_of(figures=(figure("start_up_seconds", value),))) for value in (0.3, 0.31))
    assert _line(met, "`cohortium --help`, a time").endswith("| ≤ 0.3 | **0.3** |  | met |")
    assert _line(missed, "| `cohortium --help`, a time").endswith("| **0.31** |  | not met |")


def test_the_rows_of_a_hundred_sites_say_how_they_differ_from_what_was_asked() -> None:
    rows = [goal.work for goal in GOALS if goal.name.startswith("hundred_sites_round")]
    assert len(rows) == 2
    assert all("all 100 sites a round instead of 10" in work for work in rows)
    assert "no sampling of sites" in page_of(run_of())


def test_the_page_says_why_no_known_tool_measures() -> None:
    paragraph = page_of(run_of()).partition("**A tool of our own.**")[2].partition("\n- ")[0]
    assert "pyperf" in paragraph
    assert "pytest-benchmark" in paragraph


def test_quick_busy_and_partial_runs_say_so() -> None:
    assert "**Note:**" not in page_of(run_of())
    assert "quick one" in page_of(run_of(quick=True))
    assert "load 9 before" in page_of(run_of(load_before=(9.0, 1.0, 1.0)))
    assert "`fold`" in _line(page_of(run_of(only=("fold",))), "**Note:**")


def test_the_same_work_is_shown() -> None:
    agreement = Agreement(
        race="mlp_round", way="flower", loss=0.5, accuracy=0.75, distance=1e-6, threads=1, workers=2, peak_mib=400.0
    )
    line = _line(page_of(run_of(agreements=(agreement,))), "| flower |")
    assert line == "| `mlp_round` | flower | 0.5000 | 0.750 | 1.0e-06 | 1 | 2 | 400 MiB |"


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    item = measured("a", 1.0).model_copy(update={"question": "this | that"})
    assert "this \\| that" in page_of(run_of(item))


def test_the_plan_needs_the_unit_costs() -> None:
    assert page_of(run_of()).count("Not measured in this run.") == 2
    page = page_of(run_of(figures=unit_costs()))
    assert "Not measured in this run." not in page
    assert "10,000 (refused)" in page


def test_every_goal_has_a_name_of_its_own() -> None:
    assert len({goal.name for goal in GOALS}) == len(GOALS)
    assert all(goal.most > 0 for goal in GOALS)
