"""``python -m experiments.benchmarks.merge A.json B.json ... --output C.json``: put runs together, the later one winning.

What a bench left, its skips included, comes from the last of the runs in which it ran, and never from two. Each run keeps its date,
commit, machine and load beside the names of the benches that were taken from it, so that a page can say where a row comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from experiments.benchmarks.comparisons import bench_names
from experiments.benchmarks.page_notes import origins_of
from experiments.benchmarks.records import (
    Agreement,
    Benchmarks,
    Figure,
    Measurement,
    Origin,
    Skipped,
    owner_of,
    read_benchmarks,
    write_benchmarks,
)
from experiments.module_command import run_module
from federation.errors import InvalidInputError

Row = Measurement | Figure | Agreement | Skipped


def merge(runs: Sequence[Benchmarks], known: Sequence[str] | None = None) -> Benchmarks:
    """One run of several: rows in the order of the benches, facts outside the origins of the last run.

    Args:
        runs: In the order in which they win.
        known: Names of all benches; ``None``: as they are now. A row of a bench that there is no more is kept under its own name.

    Raises:
        InvalidInputError: If there is no run, or a quick one, which measures nothing, among whole ones.
    """
    if not runs:
        raise InvalidInputError("expected at least one run, got none")
    if len({run.quick for run in runs}) > 1:
        raise InvalidInputError("expected whole measurements, got a quick one among them", remedy="leave it out")
    names = bench_names() if known is None else tuple(known)
    last = {bench: number for number, run in enumerate(runs) for bench in _benches(run, names)}
    order = [*(name for name in names if name in last), *(name for name in last if name not in names)]
    whole = any(not run.only for run in runs)
    return runs[-1].model_copy(
        update={
            "only": () if whole else tuple(dict.fromkeys(name for run in runs for name in run.only)),
            "benches": tuple(order),
            "origins": _origins(runs, {bench: last[bench] for bench in order}),
            **{
                kind: tuple(row for bench in order for row in _rows(runs[last[bench]], kind, bench, names))
                for kind in ("measurements", "figures", "agreements", "skipped")
            },
        }
    )


def _bench(row: Row, names: Sequence[str]) -> str:
    """The bench that left a row; of one that there is no more: the row's own name."""
    name = row.race if isinstance(row, Agreement) else row.name
    return owner_of(name, names) or name


def _benches(run: Benchmarks, names: Sequence[str]) -> list[str]:
    """Every bench that left something in a run; one that ran and left nothing has nothing to win with."""
    rows: tuple[Row, ...] = (*run.measurements, *run.figures, *run.agreements, *run.skipped)
    return list(dict.fromkeys(_bench(row, names) for row in rows))


def _rows(run: Benchmarks, kind: str, bench: str, names: Sequence[str]) -> list[Row]:
    rows: tuple[Row, ...] = getattr(run, kind)
    return [row for row in rows if _bench(row, names) == bench]


def _origins(runs: Sequence[Benchmarks], last: dict[str, int]) -> tuple[Origin, ...]:
    """Of every run what is left of it; of one that was put together itself, that of its parts."""
    found: list[Origin] = []
    for number, run in enumerate(runs):
        kept = [bench for bench, winner in last.items() if winner == number]
        parts = origins_of(run)
        for part in parts:
            benches = tuple(bench for bench in kept if len(parts) == 1 or bench in part.benches)
            if benches:
                found.append(part.model_copy(update={"benches": benches}))
    return tuple(found)


def main(
    runs: Annotated[list[Path], typer.Argument(help="JSON of runs of make bench; of each bench the last one counts.")],
    *,
    output: Annotated[Path, typer.Option(help="The JSON of all of them; make a page of it with page.")],
) -> None:
    """Put several runs together."""
    merged = merge([read_benchmarks(path) for path in runs])
    write_benchmarks(output, merged)
    for origin in merged.origins:
        typer.echo(f"{origin.date} {origin.code}: {', '.join(origin.benches)}")


if __name__ == "__main__":
    run_module(main)
