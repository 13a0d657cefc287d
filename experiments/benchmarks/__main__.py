"""``python -m experiments.benchmarks``: measure, show a table, write JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.alternation import Measurement, measure
from federation.durable_files import write_durably
from federation.errors import ConfigurationError


def main(
    *,
    repetitions: Annotated[int, typer.Option(min=1, help="Pairs of measurements.")] = 7,
    only: Annotated[list[str] | None, typer.Option(help="Name of a comparison; may be repeated.")] = None,
    output: Annotated[Path, typer.Option(help="The JSON file.")] = Path("outputs/benchmarks/benchmarks.json"),
) -> None:
    """Measure Cohortium beside floors, in turns on this machine. Read the ratios, not the times."""
    import torch

    from experiments.benchmarks.comparisons import bare_round, comparisons, mean_loss, ours_round
    from experiments.benchmarks.machine import machine_facts
    from experiments.benchmarks.workload import Workload

    torch.set_num_threads(1)
    workload = Workload()
    known = {comparison.name: comparison for comparison in comparisons(workload)}
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise ConfigurationError(f"expected comparisons among {sorted(known)}, got {unknown}")
    facts = machine_facts()
    console = Console()
    measured: list[Measurement] = []
    for name in only or known:
        console.print(f"measuring {name}: {known[name].question}")
        measured.append(measure(known[name], repetitions=repetitions))
    manifest = workload.manifest()
    losses = {
        way.__name__: mean_loss(workload, manifest, way(workload, manifest)[1]) for way in (ours_round, bare_round)
    }
    console.print(_table(measured))
    console.print(
        f"same work: mean training loss {losses['ours_round']:.4f} with the inline engine, "
        f"{losses['bare_round']:.4f} with the bare loop"
    )
    memory: dict[str, int] = {}
    if not only:
        from experiments.benchmarks.secure_sums import fold_peak_bytes

        console.print("measuring the memory of a fold: 10 sites, then 200, whose keys take a minute")
        memory = {str(sites): fold_peak_bytes(sites) for sites in (10, 200)}
        console.print(
            f"a fold of 100,000 parameters allocates at most {memory['10']:,} bytes with 10 sites, {memory['200']:,} with 200"
        )
    content = {
        "fold_peak_bytes": memory,
        "machine": facts,
        "repetitions": repetitions,
        "same_work_mean_loss": losses,
        "measurements": [measurement.as_data() for measurement in measured],
    }
    write_durably(output, json.dumps(content, indent=1).encode() + b"\n")
    console.print(f"written to {output}")


def _table(measured: list[Measurement]) -> Table:
    table = Table("comparison", "ratio", "range", "ours", "floor", title="median of alternating pairs, one thread")
    for item in measured:
        low, high = item.ratio_range
        table.add_row(
            item.name,
            f"{item.ratio:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{item.ours * 1e3:.2f} ms a {item.unit}",
            f"{item.floor * 1e3:.2f} ms a {item.unit}",
        )
    return table


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
