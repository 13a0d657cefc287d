"""All figures of a sweep as data, and as the table that a terminal shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from rich.table import Table

from aggregator.report.vocabulary import metric_of, ordered_settings, setting_of
from federation.documents import Document

_TABLE_SETTINGS: Final = ("local_only", "federated", "federated_non_private", "cyclic", "pooled")


class SweepRow(Document):
    """One metric of one training setting in one simulation: a mean over seeds, with its interval if there are several."""

    run: str
    """What distinguishes the simulation: its folder below the sweep's, and its label if the sweep has a plan."""
    study: str
    algorithm: str
    model: str
    epsilon: float | None
    """``None``: without privacy. Of the simulation; only its ``federated`` setting is private."""
    delta: float | None
    num_seeds: int
    setting: str
    metric: str
    value: float
    lower: float | None
    upper: float | None


class SweepSummary(Document):
    """All finished simulations of a sweep."""

    format: Literal["cohortium/sweep-summary/1"] = "cohortium/sweep-summary/1"
    folder: str
    metric: str
    """Shown in table and plot: the primary one of the first simulation."""
    rows: tuple[SweepRow, ...]
    files: tuple[str, ...]
    plot: str
    """Path of the PNG."""

    def of_metric(self, setting: str | None = None) -> tuple[SweepRow, ...]:
        """Rows of the shown metric, of one setting or all."""
        return tuple(
            row for row in self.rows if row.metric == self.metric and (setting is None or row.setting == setting)
        )

    def table(self) -> Table:
        """One line per simulation, by algorithm and from weak to strong privacy; a column per training setting."""
        shown = self.of_metric()
        seeds = max((row.num_seeds for row in shown), default=1)
        many = f", mean of {seeds} seeds [95% interval]" if seeds > 1 else ""
        table = Table(title=f"{metric_of(self.metric).title}{many}", title_justify="left")
        for title in ("run", "algorithm", "epsilon"):
            table.add_column(title, justify="right" if title == "epsilon" else "left", no_wrap=title != "run")
        settings = [name for name in ordered_settings(_TABLE_SETTINGS) if any(row.setting == name for row in shown)]
        for name in settings:
            table.add_column(
                setting_of(name).short.lower(), justify="right", min_width=9 if name == "federated" else None
            )
        for run in _runs(shown):
            of_run = {row.setting: row for row in shown if row.run == run.run}
            epsilon = "none" if run.epsilon is None else f"{run.epsilon:g}"
            cells = [_cell(of_run.get(name), interval=name == "federated") for name in settings]
            table.add_row(run.run, run.algorithm, epsilon, *cells)
        return table


def _runs(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """One row of every run, by study, algorithm and from weak to strong privacy."""
    first = {row.run: row for row in reversed(rows)}
    order = {row.run: place for place, row in enumerate(reversed(first.values()))}

    def place(row: SweepRow) -> tuple[str, str, float, int]:
        return row.study, row.algorithm, float("-inf") if row.epsilon is None else -row.epsilon, order[row.run]

    return sorted(first.values(), key=place)


def _cell(row: SweepRow | None, *, interval: bool) -> str:
    """A figure; its interval too where asked for, so that a line of the table fits a terminal."""
    if row is None:
        return "–"
    if not interval or row.lower is None or row.upper is None:
        return f"{row.value:.3f}"
    return f"{row.value:.3f} [{row.lower:.3f}, {row.upper:.3f}]"
