"""What a sweep found: its finished simulations are read, and their table and plot written beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from experiments.sweep_table import SweepRow, SweepSummary
from federation.documents import Document
from federation.durable_files import write_durably
from federation.errors import CheckpointError

SUMMARY_NAME: Final = "summary.json"
SETTINGS_NAME: Final = "settings.json"
_OWN_COLUMNS: Final = frozenset({"algorithm", "privacy", "privacy.epsilon"})
"""Parts of a job's label that the table shows in columns of their own."""


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


def summarise_sweep(folder: Path) -> SweepSummary:
    """Summarise every finished simulation below a folder; write ``sweep.csv``, ``.svg``, ``.png`` and ``sweep_summary.json``.

    Args:
        folder: The sweep's folder, as Hydra's multirun or several single runs left it.

    Raises:
        CheckpointError: If there is no finished simulation below it, or a summary is unreadable.
    """
    from experiments.sweep_figure import sweep_png, sweep_svg

    labels = _labels(folder)
    found = [(path.parent.relative_to(folder).as_posix(), _read(path)) for path in _summary_files(folder, labels)]
    if not found:
        raise CheckpointError(
            f"expected finished simulations ({SUMMARY_NAME}) below {folder}, got none",
            remedy="give the folder of a sweep; finish an interrupted one with `cohortium simulate --resume FOLDER`",
        )
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


def _summary_files(folder: Path, labels: Mapping[str, str]) -> list[Path]:
    """Summaries of finished simulations below the folder; jobs are numbered, so 10 comes after 9.

    A tracker keeps copies of summaries as artefacts, so only what lies in a simulation's own folder counts: the jobs of
    the plan, or without one, folders that hold settings too.
    """
    if labels:
        found = [folder / job / SUMMARY_NAME for job in labels]
        return [path for path in found if path.is_file()]

    def place(path: Path) -> tuple[tuple[int, str], ...]:
        return tuple((int(part) if part.isdecimal() else -1, part) for part in path.relative_to(folder).parts)

    return sorted((path for path in folder.rglob(SUMMARY_NAME) if path.with_name(SETTINGS_NAME).is_file()), key=place)


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


def _run_name(name: str, summary: _Simulation, labels: Mapping[str, str]) -> str:
    """The folder, and what the table's other columns do not say."""
    if name not in labels:
        return summary.name if name == "." else f"{name}: {summary.name}"
    rest = [part for part in labels[name].split(" ") if part.split("=")[0] not in _OWN_COLUMNS]
    return f"{name}: {' '.join(rest)}" if rest else name


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


def _csv(rows: Sequence[SweepRow]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(SweepRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return stream.getvalue()
