"""What a federation of many sites would ask of its aggregator, on paper: measured prices times sites, parameters and rounds.

The prices are figures of ``make bench`` (:mod:`experiments.benchmarks.unit_costs`), of one thread. What Flower, TLS and disks add
is not in them. ``python -m experiments.benchmarks.scale_plan docs/performance.json --sites 10000`` prints a plan.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Self

import typer
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.records import Benchmarks, read_benchmarks
from experiments.module_command import run_module
from federation.checks import positive
from federation.errors import InvalidInputError
from federation.protocol.secure_sum.terms import FEWEST_SITES, MOST_SITES, recommended_threshold

_FLOAT32: Final = 4
_FLOAT64: Final = 8


@dataclass(frozen=True)
class UnitCosts:
    """Measured prices, in seconds and bytes; each is a figure whose name begins with ``unit_``."""

    site_seconds: float
    message_seconds_per_parameter: float
    fold_seconds_per_parameter: float
    message_bytes: float
    mask_seconds_per_parameter: float
    key_site_seconds: float
    key_server_seconds: float
    key_list_bytes: float
    key_pair_bytes: float
    share_seconds: float

    @classmethod
    def of(cls, run: Benchmarks) -> Self:
        """The prices of a run.

        Raises:
            InvalidInputError: If it did not measure them all.
        """
        found = {name: run.figure(f"unit_{name}") for name in cls.__dataclass_fields__}
        missing = sorted(name for name, figure in found.items() if figure is None)
        if missing:
            raise InvalidInputError(
                f"expected all unit costs, got none for {missing}",
                remedy="measure them: make bench BENCH_OPTIONS='--only unit'",
            )
        return cls(**{name: figure.value for name, figure in found.items() if figure is not None})


@dataclass(frozen=True)
class ScalePlan:
    """One federation on paper.

    Args:
        sites: All of them take part in every round.
        parameters: Of the model.
        rounds: Of the study.
        masked: Whether updates are hidden by secure aggregation, with new keys every round and nobody lost.
        round_bytes: In and out of the aggregator in one round.
        round_cpu_seconds: One thread of the aggregator in one round.
        memory_bytes: Of the aggregator at its highest: all requests of a round are written before the first is sent.
        site_cpu_seconds: At one site in one round, beside training.
    """

    sites: int
    parameters: int
    rounds: int
    masked: bool
    round_bytes: float
    round_cpu_seconds: float
    memory_bytes: float
    site_cpu_seconds: float

    @property
    def study_bytes(self) -> float:
        """In and out of the aggregator in all rounds."""
        return self.rounds * self.round_bytes

    @property
    def study_cpu_hours(self) -> float:
        """One thread of the aggregator, all rounds."""
        return self.rounds * self.round_cpu_seconds / 3600

    @property
    def is_allowed(self) -> bool:
        """Whether a manifest may ask for it: secure aggregation takes from 3 to 1,000 sites."""
        return not self.masked or FEWEST_SITES <= self.sites <= MOST_SITES


def plan(costs: UnitCosts, *, sites: int, parameters: int, rounds: int, masked: bool = False) -> ScalePlan:
    """Multiply.

    Args:
        costs: Prices.
        sites: At least 1.
        parameters: At least 1; of four bytes each on the wire.
        rounds: At least 1.
        masked: Price secure aggregation too.

    Raises:
        InvalidInputError: If a number is not positive.
    """
    positive(sites=sites, parameters=parameters, rounds=rounds)
    vector = _FLOAT32 * parameters
    message = costs.message_bytes + 2 * vector
    per_site = costs.site_seconds + parameters * (
        costs.message_seconds_per_parameter + costs.fold_seconds_per_parameter
    )
    masked_bytes = masked_cpu = masked_site = masked_memory = 0.0
    if masked:
        pairs = float(sites) ** 2
        masks = sites * parameters * costs.mask_seconds_per_parameter
        masked_bytes = pairs * (costs.key_list_bytes + costs.key_pair_bytes)
        masked_cpu = (
            pairs * costs.key_server_seconds + masks + sites * recommended_threshold(sites) * costs.share_seconds
        )
        masked_site = sites * costs.key_site_seconds + masks
        masked_memory = pairs * costs.key_pair_bytes
    return ScalePlan(
        sites=sites,
        parameters=parameters,
        rounds=rounds,
        masked=masked,
        round_bytes=sites * message + masked_bytes,
        round_cpu_seconds=sites * per_site + masked_cpu,
        memory_bytes=sites * (costs.message_bytes / 2 + vector) + _FLOAT64 * parameters + 2 * vector + masked_memory,
        site_cpu_seconds=costs.site_seconds + parameters * costs.message_seconds_per_parameter + masked_site,
    )


def bytes_in_words(value: float) -> str:
    """``2.1 GB``: three digits and a decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 - decimal units
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def seconds_in_words(value: float) -> str:
    """``12 ms``, ``3.4 s``, ``42 min`` or ``2.1 h``."""
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 60:  # noqa: PLR2004 - a minute
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 3600 else f"{value / 3600:.3g} h"  # noqa: PLR2004 - an hour


def rows_of(found: ScalePlan) -> list[tuple[str, str]]:
    """What a plan says, as words and figures."""
    allowed = "" if found.is_allowed else f" (a manifest refuses more than {MOST_SITES:,} sites)"
    return [
        ("aggregation", ("masked" if found.masked else "plain") + allowed),
        ("sites, parameters, rounds", f"{found.sites:,}, {found.parameters:,}, {found.rounds:,}"),
        ("bytes through the aggregator, a round", bytes_in_words(found.round_bytes)),
        ("bytes through the aggregator, the study", bytes_in_words(found.study_bytes)),
        ("processor of the aggregator, a round", seconds_in_words(found.round_cpu_seconds)),
        ("processor of the aggregator, the study", f"{found.study_cpu_hours:.3g} h"),
        ("memory of the aggregator", bytes_in_words(found.memory_bytes)),
        ("processor of a site beside training, a round", seconds_in_words(found.site_cpu_seconds)),
    ]


def main(
    costs: Annotated[Path, typer.Argument(help="JSON of a run of make bench.")],
    *,
    sites: Annotated[int, typer.Option(min=1, help="That take part in every round.")] = 10_000,
    parameters: Annotated[int, typer.Option(min=1, help="Of the model.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Of the study.")] = 100,
    masked: Annotated[bool, typer.Option("--masked", help="With secure aggregation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")] = False,
) -> None:
    """What so many sites would ask of the aggregator."""
    found = plan(UnitCosts.of(read_benchmarks(costs)), sites=sites, parameters=parameters, rounds=rounds, masked=masked)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"is_allowed": found.is_allowed}, indent=1))
        return
    table = Table("", "", show_header=False)
    for words, figure in rows_of(found):
        table.add_row(words, figure)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    run_module(main)
