"""``python -m experiments.benchmarks.page RUN.json``: make ``docs/performance.md`` of a run, and keep the run beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from experiments.benchmarks.comparisons import bench_names
from experiments.benchmarks.goals import GOALS, Goal
from experiments.benchmarks.page_notes import machine, not_measured, source, table, warning
from experiments.benchmarks.page_text import PAGE
from experiments.benchmarks.parts_table import is_part, parts_rows
from experiments.benchmarks.peer_environment import ROOT
from experiments.benchmarks.records import Benchmarks, Measurement, read_benchmarks, write_benchmarks
from experiments.benchmarks.scale_plan import UnitCosts, bytes_in_words, plan, seconds_in_words
from experiments.module_command import run_module
from federation.durable_files import write_durably
from federation.errors import InvalidInputError
from federation.protocol.secure_sum.terms import MOST_SITES

PAGE_FILE: Final = "performance.md"
RUN_FILE: Final = "performance.json"
_PARAMETERS: Final = 100_000
_ROUNDS: Final = 100
_PLAIN_SITES: Final = (10, 100, 1_000, 10_000)
_MASKED_SITES: Final = (10, 100, 1_000, 10_000)


def page_of(run: Benchmarks) -> str:
    """The page that a run makes: the same run gives the same text. What it lacks is told by the benches that there are now."""
    known = bench_names()
    return PAGE.substitute(
        source=source(run),
        warning=warning(run, known),
        goals=_goals(run),
        reasons=_reasons(run),
        ratios=table(
            ("measurement", "what", "ratio", "range", "ours", "the other"),
            (_ratio_row(item) for item in run.measurements),
        ),
        parts=_parts(run),
        figures=_figures(run),
        agreements=_agreements(run),
        skipped=not_measured(run, known),
        machine=machine(run),
        plan_parameters=f"{_PARAMETERS:,}",
        plan_rounds=_ROUNDS,
        plain_plan=_plan(run, _PLAIN_SITES, masked=False),
        masked_plan=_plan(run, _MASKED_SITES, masked=True),
        most_sites=f"{MOST_SITES:,}",
        accelerator="not there"
        if run.machine.accelerator == "none"
        else f"{run.machine.accelerator}, and is not used here",
    )


def _goals(run: Benchmarks) -> str:
    return table(("work", "against", "goal", "measured", "range", ""), (_goal_row(goal, run) for goal in GOALS))


def _goal_row(goal: Goal, run: Benchmarks) -> tuple[str, ...]:
    value, measurement = goal.value(run), run.measurement(goal.name)
    head = (goal.work, goal.against, f"≤ {goal.most:g}")
    if value is None:
        return (*head, "", "", "not measured")
    spread = "" if measurement is None else _range(measurement)
    return (*head, f"**{value:.3g}**", spread, "met" if value <= goal.most else "not met")


def _reasons(run: Benchmarks) -> str:
    unmet = [goal for goal in GOALS if goal.reason and (goal.value(run) or 0.0) > goal.most]
    if not unmet:
        return ""
    lines = [f"- **{goal.work}, against {goal.against}**: {goal.reason}" for goal in unmet]
    return "What holds the goals that are not met, and what was tried:\n\n" + "\n".join(lines) + "\n\n"


def _range(item: Measurement) -> str:
    low, high = item.ratio_range
    return f"{low:.3g} to {high:.3g}"


def _ratio_row(item: Measurement) -> tuple[str, ...]:
    return (
        f"`{item.name}`",
        item.question,
        f"{item.ratio:.3g}",
        _range(item),
        f"{seconds_in_words(item.ours)} a {item.unit}",
        f"{seconds_in_words(item.floor)} a {item.unit}",
    )


def _figures(run: Benchmarks) -> str:
    def value(number: float, unit: str) -> str:
        return bytes_in_words(number) if unit == "bytes" else f"{number:.3g} {unit}"

    return table(
        ("figure", "what", "value"),
        ((f"`{item.name}`", item.question, value(item.value, item.unit)) for item in run.figures if not is_part(item)),
    )


def _parts(run: Benchmarks) -> str:
    rows = parts_rows(run)
    return table(rows[0], rows[1:]) if rows else "Not in this run."


def _agreements(run: Benchmarks) -> str:
    return table(
        ("work", "way", "loss", "accuracy", "distance", "threads", "workers", "memory"),
        (
            (
                f"`{item.race}`",
                item.way,
                f"{item.loss:.4f}",
                f"{item.accuracy:.3f}",
                "" if item.distance is None else f"{item.distance:.1e}",
                str(item.threads),
                "" if item.workers is None else str(item.workers),
                f"{item.peak_mib:.0f} MiB",
            )
            for item in run.agreements
        ),
    )


def _plan(run: Benchmarks, sites: tuple[int, ...], *, masked: bool) -> str:
    try:
        costs = UnitCosts.of(run)
    except InvalidInputError:
        return "Not measured in this run."
    plans = [plan(costs, sites=number, parameters=_PARAMETERS, rounds=_ROUNDS, masked=masked) for number in sites]
    return table(
        (
            "sites",
            "bytes a round",
            "bytes a study",
            "aggregator's processor a round",
            "a study",
            "memory",
            "a site's processor",
        ),
        (
            (
                f"{item.sites:,}" + ("" if item.is_allowed else " (refused)"),
                bytes_in_words(item.round_bytes),
                bytes_in_words(item.study_bytes),
                seconds_in_words(item.round_cpu_seconds),
                seconds_in_words(item.study_cpu_hours * 3600),
                bytes_in_words(item.memory_bytes),
                seconds_in_words(item.site_cpu_seconds),
            )
            for item in plans
        ),
    )


def main(
    run: Annotated[Path, typer.Argument(help="JSON of a run of make bench.")],
    *,
    folder: Annotated[Path, typer.Option(help="Where page and run are kept.")] = ROOT / "docs",
) -> None:
    """Write the page, and the run beside it."""
    found = read_benchmarks(run)
    write_benchmarks(folder / RUN_FILE, found)
    write_durably(folder / PAGE_FILE, page_of(found).encode())
    typer.echo(str(folder / PAGE_FILE))


if __name__ == "__main__":
    run_module(main)
