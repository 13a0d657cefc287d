"""``python -m experiments.benchmarks.compare OLD.json NEW.json``: did a ratio get worse? Then the exit code is 1.

Times of two runs are not comparable, ratios are. A ratio got worse if its median rose by more than the tolerance *and* by more
than either run scattered: the new median lies above everything the old run saw, and the old median below everything the
new run saw.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.goals import GOALS
from experiments.benchmarks.records import Benchmarks, Measurement, owner_of, read_benchmarks
from experiments.module_command import run_module
from federation.errors import InvalidInputError

TOLERANCE: Final = 0.1

Verdict = Literal["better", "same", "worse", "lost", "not asked for", "skipped", "new"]
_FAILING: Final = frozenset({"worse", "lost"})


@dataclass(frozen=True)
class Change:
    """One line of the comparison.

    Args:
        name: Of the measurement or figure.
        old: Ratio or value, if there was one.
        new: The same of the new run.
        verdict: ``lost``: the new run should have it and has not.
    """

    name: str
    old: float | None
    new: float | None
    verdict: Verdict

    @property
    def fails(self) -> bool:
        """Whether this line is a regression."""
        return self.verdict in _FAILING


def compare(old: Benchmarks, new: Benchmarks, *, tolerance: float = TOLERANCE) -> tuple[Change, ...]:
    """All ratios of both runs, and all figures that are goals.

    Args:
        old: The run to be no worse than.
        new: The run that is judged.
        tolerance: Part by which a ratio may rise, from 0.

    Raises:
        InvalidInputError: If a run was quick, which measures nothing, or the tolerance is negative.
    """
    if tolerance < 0:
        raise InvalidInputError(f"expected a tolerance of at least 0, got {tolerance}")
    for run in (old, new):
        if run.quick:
            raise InvalidInputError(
                "expected two whole measurements, got a quick one", remedy="run `make bench` without --quick"
            )
    before = {item.name: item for item in old.measurements}
    after = {item.name: item for item in new.measurements}
    found = [
        Change(name, item.ratio, after[name].ratio, _judge(item, after[name], tolerance))
        if name in after
        else Change(name, item.ratio, None, _absence(name, old, new))
        for name, item in before.items()
    ]
    found += [Change(name, None, item.ratio, "new") for name, item in after.items() if name not in before]
    return (*found, *_figures(old, new))


def _judge(old: Measurement, new: Measurement, tolerance: float) -> Verdict:
    def rose(one: Measurement, other: Measurement) -> bool:
        """Whether the second is clearly above the first."""
        beyond = other.ratio > one.ratio_range[1] and other.ratio_range[0] > one.ratio
        return beyond and other.ratio > one.ratio * (1 + tolerance)

    if rose(old, new):
        return "worse"
    return "better" if rose(new, old) else "same"


def _absence(name: str, old: Benchmarks, new: Benchmarks) -> Verdict:
    bench = owner_of(name, {*old.benches, *new.benches})
    if {item.name for item in new.skipped} & {name, bench}:  # the row, or all of its bench
        return "skipped"
    return "not asked for" if bench is not None and bench not in new.benches else "lost"


def _figures(old: Benchmarks, new: Benchmarks) -> list[Change]:
    """Figures that met their goal must go on meeting it."""
    found: list[Change] = []
    for goal in GOALS:
        before, after = old.figure(goal.name), new.figure(goal.name)
        if before is None:
            continue
        if after is None:
            found.append(Change(goal.name, before.value, None, _absence(goal.name, old, new)))
            continue
        is_worse = before.value <= goal.most < after.value
        found.append(Change(goal.name, before.value, after.value, "worse" if is_worse else "same"))
    return found


def main(
    old: Annotated[Path, typer.Argument(help="JSON of the run to be no worse than.")],
    new: Annotated[Path, typer.Argument(help="JSON of the run that is judged.")],
    *,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Part by which a ratio may rise.")] = TOLERANCE,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")] = False,
) -> None:
    """Compare the ratios of two runs; exit code 1 if one got worse."""
    before, after = read_benchmarks(old), read_benchmarks(new)
    changes = compare(before, after, tolerance=tolerance)
    if as_json:
        typer.echo(json.dumps([asdict(change) for change in changes], indent=1))
    else:
        _show(changes, same_machine=before.machine.processor == after.machine.processor)
    if any(change.fails for change in changes):
        raise typer.Exit(1)


def _show(changes: tuple[Change, ...], *, same_machine: bool) -> None:
    console = Console(highlight=False)
    table = Table("measurement", "old", "new", "new / old", "")
    for change in changes:
        both = change.old and change.new
        table.add_row(
            change.name,
            "" if change.old is None else f"{change.old:.3g}",
            "" if change.new is None else f"{change.new:.3g}",
            f"{change.new / change.old:.2f}" if both and change.old and change.new else "",
            change.verdict,
        )
    console.print(table)
    if not same_machine:
        console.print("the two runs are of different processors: ratios may differ for that reason alone")
    failing = [change.name for change in changes if change.fails]
    console.print(f"worse or lost: {', '.join(failing)}" if failing else "no ratio got worse")


if __name__ == "__main__":
    run_module(main)
