"""What a sweep found: one table over all its simulations, and epsilon against performance for every algorithm."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field
from rich.table import Table

from aggregator.report.vocabulary import metric_of, ordered_settings, setting_of
from federation.documents import Document
from federation.durable_files import write_durably
from federation.errors import CheckpointError

SUMMARY_NAME: Final = "summary.json"
_TABLE_SETTINGS: Final = ("local_only", "federated", "federated_non_private", "cyclic", "pooled")


class _Setting(Document):
    model_config = ConfigDict(extra="ignore")

    setting: str
    metrics: dict[str, float]
    interval: dict[str, tuple[float, float]] = Field(default_factory=dict)


class _Simulation(Document):
    """What a sweep needs of a simulation's summary; a summary may hold more."""

    model_config = ConfigDict(extra="ignore")

    study: str
    name: str
    algorithm: str
    model: str = ""
    epsilon: float | None
    delta: float | None
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    primary_metric: str
    settings_table: tuple[_Setting, ...]


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
            table.add_column(setting_of(name).title.lower(), justify="right")
        for run in _runs(shown):
            of_run = {row.setting: row for row in shown if row.run == run.run}
            epsilon = "none" if run.epsilon is None else f"{run.epsilon:g}"
            cells = [_cell(of_run.get(name)) for name in settings]
            table.add_row(run.run, run.algorithm, epsilon, *cells)
        return table


def summarise_sweep(folder: Path) -> SweepSummary:
    """Summarise every finished simulation below a folder; write ``sweep.csv``, ``.svg``, ``.png`` and ``sweep_summary.json``.

    Args:
        folder: The sweep's folder, as Hydra's multirun or several single runs left it.

    Raises:
        CheckpointError: If there is no finished simulation below it, or a summary is unreadable.
    """
    from experiments.sweep_figure import sweep_png, sweep_svg

    found = [(path.parent.relative_to(folder).as_posix(), _read(path)) for path in _summary_files(folder)]
    if not found:
        raise CheckpointError(
            f"expected finished simulations ({SUMMARY_NAME}) below {folder}, got none",
            remedy="give the folder of a sweep; finish an interrupted one with `cohortium simulate --resume FOLDER`",
        )
    labels = _labels(folder)
    rows = [row for name, summary in found for row in _rows(_run_name(name, summary, labels), summary)]
    files = {name: folder / name for name in ("sweep.csv", "sweep_summary.json", "sweep.svg", "sweep.png")}
    sweep = SweepSummary(
        folder=str(folder),
        metric=found[0][1].primary_metric,
        rows=tuple(rows),
        files=tuple(str(path) for path in files.values()),
        plot=str(files["sweep.png"]),
    )
    write_durably(files["sweep.csv"], _csv(rows).encode())
    write_durably(files["sweep_summary.json"], sweep.model_dump_json(indent=1).encode())
    write_durably(files["sweep.svg"], sweep_svg(sweep).encode())
    write_durably(files["sweep.png"], sweep_png(sweep))
    return sweep


def _summary_files(folder: Path) -> list[Path]:
    """Summaries below the folder; jobs are numbered, so 10 comes after 9."""

    def place(path: Path) -> tuple[tuple[int, str], ...]:
        return tuple((int(part) if part.isdecimal() else -1, part) for part in path.relative_to(folder).parts)

    return sorted(folder.rglob(SUMMARY_NAME), key=place)


def _read(path: Path) -> _Simulation:
    try:
        return _Simulation.from_json(path.read_bytes(), error=CheckpointError)
    except CheckpointError as failure:
        raise CheckpointError(
            f"{path}: {failure.message}", remedy="remove that simulation's folder, or run it again"
        ) from failure


def _labels(folder: Path) -> dict[str, str]:
    """Folder to label, if the sweep kept a plan."""
    from experiments.sweep_run import SWEEP_FILE, read_plan

    if not (folder / SWEEP_FILE).is_file():
        return {}
    return {job.folder: job.label for job in read_plan(folder).jobs}


def _run_name(name: str, summary: _Simulation, labels: dict[str, str]) -> str:
    if name in labels:
        return f"{name}: {labels[name]}"
    return summary.name if name == "." else f"{name}: {summary.name}"


def _rows(run: str, summary: _Simulation) -> list[SweepRow]:
    return [
        _row(run, summary, setting, metric)
        for setting in summary.settings_table
        for metric in (summary.primary_metric, *sorted(set(setting.metrics) - {summary.primary_metric}))
        if metric in setting.metrics
    ]


def _row(run: str, summary: _Simulation, setting: _Setting, metric: str) -> SweepRow:
    lower, upper = setting.interval.get(metric, (None, None))
    return SweepRow(
        run=run,
        study=summary.study,
        algorithm=summary.algorithm,
        model=summary.model,
        epsilon=summary.epsilon,
        delta=summary.delta,
        num_seeds=len(summary.seeds),
        setting=setting.setting,
        metric=metric,
        value=setting.metrics[metric],
        lower=lower,
        upper=upper,
    )


def _runs(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """One row of every run, by study, algorithm and from weak to strong privacy."""
    first = {row.run: row for row in reversed(rows)}
    order = {row.run: place for place, row in enumerate(reversed(first.values()))}

    def place(row: SweepRow) -> tuple[str, str, float, int]:
        return row.study, row.algorithm, float("-inf") if row.epsilon is None else -row.epsilon, order[row.run]

    return sorted(first.values(), key=place)


def _cell(row: SweepRow | None) -> str:
    if row is None:
        return "–"
    interval = "" if row.lower is None or row.upper is None else f" [{row.lower:.3f}, {row.upper:.3f}]"
    return f"{row.value:.3f}{interval}"


def _csv(rows: Sequence[SweepRow]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(SweepRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return stream.getvalue()
