"""``python -m experiments.attacks``: every attack against every way of combining updates, as a table and JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from conf.loading import load
from experiments.attacks.contest import Bout, Contest, prepare_contest
from experiments.attacks.malice import ATTACKS, Attack
from experiments.attacks.table import brier_table, contest_table, worst_kept
from experiments.module_command import run_module
from experiments.settings import SimulationSettings
from federation.durable_files import write_durably
from federation.errors import ConfigurationError

RULES: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("aggregation=plain",),
    "trimmed_mean": ("aggregation=open_robust",),
    "median": ("aggregation=open_robust_median",),
    "krum": ("aggregation=open_robust_krum",),
    "geometric_median": ("aggregation=open_robust_geometric_median",),
    "fltrust": ("aggregation=open_robust_fltrust",),
    "masked": ("aggregation=masked", "aggregation.masked.held_out_bound=0.01"),
}
"""Ways of combining updates, and the settings of each."""
QUIET: Final = ("tracking=none", "evaluation.release=none")


@dataclass(frozen=True)
class Case:
    """A study that is attacked."""

    overrides: tuple[str, ...]
    faulty: int


CASES: Final = (
    Case(("study=demo", "privacy=none"), faulty=1),
    Case(("study=synthetic", "study.options.num_sites=10"), faulty=3),
)


def main(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GROUP=OPTION] [KEY=VALUE]", help="A study, as for `cohortium simulate`."),
    ] = None,
    *,
    faulty: Annotated[int, typer.Option(min=1, help="Malicious sites of that study: its largest.")] = 1,
    rule: Annotated[list[str] | None, typer.Option(help="May be repeated; all without.")] = None,
    attack: Annotated[list[str] | None, typer.Option(help="May be repeated; all without.")] = None,
    output: Annotated[Path, typer.Option(help="The JSON file.")] = Path("outputs/attacks/attacks.json"),
) -> None:
    """Attack a study, or the two built-in cases: the demo with 1 of 5 hospitals malicious, a synthetic one with 3 of 10."""
    import torch

    torch.set_num_threads(1)
    rules = _chosen(rule, tuple(RULES), "rule")
    _chosen(attack, ATTACKS, "attack")
    attacks: tuple[Attack, ...] = tuple(name for name in ATTACKS if not attack or name in attack)
    cases = (Case(tuple(overrides), faulty),) if overrides else CASES
    console = Console(width=140)
    written: list[dict[str, object]] = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="cohortium-attacks-") as place:
            contest = prepare_contest(_settings(case.overrides), faulty=case.faulty, folder=Path(place))
            bouts = fight(contest, case.overrides, rules=("plain", *rules), attacks=attacks)
        title = (
            f"{' '.join(case.overrides)}: {case.faulty} of {len(contest.prepared.data)} sites malicious "
            f"({', '.join(sorted(contest.malicious))})"
        )
        console.print(contest_table(f"{title}: AUROC on all sites' test patients", bouts))
        console.print(brier_table("Brier score of the same models: 0 is best", bouts))
        written.append({"study": list(case.overrides), "faulty": case.faulty, "bouts": [b.as_data() for b in bouts]})
        for name in dict.fromkeys(bout.rule for bout in bouts):
            kept, worst = worst_kept(bouts, name)
            console.print(f"{name}: keeps at least {kept:.1%} of plain averaging's clean AUROC (worst: {worst})")
    write_durably(output, json.dumps(written, indent=1).encode() + b"\n")
    console.print(f"written to {output}")


def fight(contest: Contest, overrides: Sequence[str], *, rules: Sequence[str], attacks: Sequence[Attack]) -> list[Bout]:
    """Every rule, clean and under every attack.

    Args:
        contest: The study.
        overrides: Of its settings.
        rules: Keys of :data:`RULES`; repeated ones count once.
        attacks: Of :data:`~experiments.attacks.malice.ATTACKS`.
    """
    found: list[Bout] = []
    for name in dict.fromkeys(rules):
        choice = _settings((*overrides, *RULES[name])).aggregation
        found += [contest.run(name, choice, attack) for attack in (None, *attacks)]
    return found


def _settings(overrides: Sequence[str]) -> SimulationSettings:
    return load(SimulationSettings, [*overrides, *QUIET])


def _chosen(names: list[str] | None, known: Sequence[str], what: str) -> tuple[str, ...]:
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ConfigurationError(f"expected --{what} among {list(known)}, got {unknown}")
    return tuple(name for name in known if not names or name in names)


if __name__ == "__main__":
    run_module(main)
