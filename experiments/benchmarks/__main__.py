"""``python -m experiments.benchmarks``: measure, show a table, write JSON."""

from __future__ import annotations

import datetime as dt
import time
import warnings
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from experiments.module_command import run_module
from federation.errors import ConfigurationError

if TYPE_CHECKING:
    from experiments.benchmarks.benches import Bench, Effort
    from experiments.benchmarks.records import Benchmarks

_OUTPUT = Path("outputs/benchmarks/benchmarks.json")


def main(
    *,
    repetitions: Annotated[int, typer.Option(min=1, help="Turns of each measurement; long ones take three.")] = 7,
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a measurement, * for any letters; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One turn of little work: does everything run?")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Print the names and stop.")] = False,
    output: Annotated[Path, typer.Option(help="The JSON file, rewritten after every measurement.")] = _OUTPUT,
) -> None:
    """Measure Cohortium beside floors and other systems, in turns on this machine. Read the ratios, not the times."""
    import torch

    from experiments.benchmarks.benches import Effort
    from experiments.benchmarks.comparisons import benches

    torch.set_num_threads(1)
    # Opacus' hooks on a first layer, whose inputs need no gradient: expected.
    warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
    console = Console(highlight=False)
    with ExitStack() as stack:
        chosen = choose(benches(stack), tuple(only or ()))
        if listing:
            console.print(_listing(chosen))
            return
        effort = Effort(repetitions=repetitions, quick=quick)
        run = _measure_all(chosen, effort, only=tuple(only or ()), output=output, console=console)
    _show(console, run)
    console.print(f"written to {output}")


def _measure_all(
    chosen: tuple[Bench, ...], effort: Effort, *, only: tuple[str, ...], output: Path, console: Console
) -> Benchmarks:
    """Bench after bench; what was found is on disk after each of them."""
    from experiments.benchmarks.benches import Found
    from experiments.benchmarks.machine import code_version, load_average, machine_facts
    from experiments.benchmarks.records import Benchmarks, write_benchmarks

    found = Found()
    before = load_average()
    run = Benchmarks(
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        code=code_version(),
        quick=effort.quick,
        only=only,
        machine=machine_facts(),
        load_before=before,
        load_after=before,
    )
    for number, bench in enumerate(chosen, start=1):
        started = time.monotonic()
        console.print(f"{number} of {len(chosen)}, {bench.name}: {bench.question}")
        found.extend(bench.measured(effort))
        console.print(f"    {time.monotonic() - started:.0f} s")
        update: dict[str, object] = {name: tuple(values) for name, values in vars(found).items()}
        update |= {"benches": (*run.benches, bench.name), "load_after": load_average()}
        run = run.model_copy(update=update)
        write_benchmarks(output, run)
    return run


def choose(known: tuple[Bench, ...], only: tuple[str, ...]) -> tuple[Bench, ...]:
    """The benches of these names.

    Args:
        known: All.
        only: Names, in which ``*`` stands for any letters; none: all.

    Raises:
        ConfigurationError: If a name fits none.
    """
    unknown = [name for name in only if not any(fnmatchcase(bench.name, name) for bench in known)]
    if unknown:
        raise ConfigurationError(f"expected names of measurements, got {unknown}", remedy="see them with --list")
    return tuple(bench for bench in known if not only or any(fnmatchcase(bench.name, name) for name in only))


def _listing(chosen: tuple[Bench, ...]) -> Table:
    table = Table("name", "question")
    for bench in chosen:
        table.add_row(bench.name, bench.question)
    return table


def _show(console: Console, run: Benchmarks) -> None:
    table = Table(title="median of alternating pairs")
    table.add_column("measurement", no_wrap=True)
    for head in ("ratio", "range", "ours", "the other"):
        table.add_column(head)
    for item in run.measurements:
        low, high = item.ratio_range
        table.add_row(
            item.name,
            f"{item.ratio:.3g}",
            f"{low:.3g} to {high:.3g}",
            f"{item.ours * 1e3:.3g} ms a {item.unit}",
            f"{item.floor * 1e3:.3g} ms a {item.unit}",
        )
    for figure in run.figures:
        table.add_row(figure.name, f"{figure.value:.3g} {figure.unit}", "", "", "")
    console.print(table)
    for agreement in run.agreements:
        console.print(
            f"same work, {agreement.race}: {agreement.way} reaches loss {agreement.loss:.4f}, "
            f"accuracy {agreement.accuracy:.3f}"
        )
    for skipped in run.skipped:
        console.print(f"skipped {skipped.name}: {skipped.reason}")


if __name__ == "__main__":
    run_module(main)
