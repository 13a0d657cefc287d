"""The results of a contest as a table: AUROC after each attack, and how much of the clean one is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.table import Table

from experiments.attacks.contest import Bout
from experiments.attacks.malice import Attack

ACCEPTANCE_ATTACKS: Final[tuple[Attack, ...]] = (
    "sign_flip",
    "scaling",
    "label_flip",
    "free_rider",
    "nan",
    "huge",
    "wrong_shape",
)
KEPT: Final = 0.95
"""Share of the clean AUROC that robust aggregation is to keep under each of these."""


def share_kept(bout: Bout, clean: Bout) -> float:
    """AUROC under attack over the AUROC of the clean run; 0 if there was no model."""
    return 0.0 if bout.auroc is None or clean.auroc is None else bout.auroc / clean.auroc


def worst_kept(bouts: Sequence[Bout], rule: str) -> tuple[float, str]:
    """The smallest share of plain averaging's clean AUROC that a rule keeps, and under which attack.

    Plain averaging without attack is the yardstick, so that a rule that is bad even without attacks is not flattered.
    """
    clean = next(bout for bout in bouts if bout.rule == "plain" and bout.attack == "none")
    own = [bout for bout in bouts if bout.rule == rule and bout.attack in {"none", *ACCEPTANCE_ATTACKS}]
    return min((share_kept(bout, clean), bout.attack) for bout in own)


def contest_table(title: str, bouts: Sequence[Bout]) -> Table:
    """AUROC: a row for each attack, a column for each rule; the last row is the worst share of the clean one that is kept."""
    table = _grid(title, bouts, {(bout.rule, bout.attack): bout.auroc for bout in bouts})
    table.add_section()
    rules = dict.fromkeys(bout.rule for bout in bouts)
    table.add_row("least kept", *(f"{worst_kept(bouts, rule)[0]:.1%}" for rule in rules))
    return table


def brier_table(title: str, bouts: Sequence[Bout]) -> Table:
    """Brier score, which sees what AUROC does not: AUROC knows only the order of the predictions."""
    return _grid(title, bouts, {(bout.rule, bout.attack): bout.brier for bout in bouts})


def _grid(title: str, bouts: Sequence[Bout], values: Mapping[tuple[str, str], float | None]) -> Table:
    rules = list(dict.fromkeys(bout.rule for bout in bouts))
    notes = {(bout.rule, bout.attack): bout.note for bout in bouts}
    table = Table("attack", *rules, title=title, title_justify="left")
    for attack in dict.fromkeys(bout.attack for bout in bouts):
        cells = (_cell(values[rule, attack], notes[rule, attack]) for rule in rules)
        table.add_row(attack, *cells, end_section=attack == "none")
    return table


def _cell(value: float | None, note: str) -> str:
    return f"no model: {note}" if value is None else f"{value:.3f}"
