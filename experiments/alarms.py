"""``python -m experiments.alarms FOLDER``: alarms of a simulated early-warning study, by secure sums over its hospitals."""

from __future__ import annotations

import datetime as dt
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console
from rich.table import Table

from experiments.module_command import run_module
from experiments.settings import SimulationSettings
from federation.durable_files import write_durably
from federation.errors import CheckpointError, ConfigurationError, ManifestError
from federation.statistics.alarms import AlarmCurve, AlarmStep, alarm_curve

if TYPE_CHECKING:
    from aggregator.statistics.links import SiteLink, Sums
    from federation.statistics.requests import StatisticsTerms
    from federation.study.model_file import StudyModel

RATES: Final = (0.5, 1.0, 2.0, 4.0)
"""Alarms a patient-day for which the table says sensitivity and lead times."""
_STUDY: Final = "early_warning"


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished simulation with study=early_warning.")],
    *,
    rate: Annotated[float, typer.Option(min=0.01, help="Alarms per patient-day that the figures mark.")] = 1.0,
    aggregation: Annotated[Literal["masked", "open"], typer.Option(help="How sites' counts are added.")] = "masked",
    output: Annotated[Path | None, typer.Option(help="Folder for JSON and figures; otherwise FOLDER/alarms.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")
    ] = False,
) -> None:
    """Alarm rate, sensitivity at fixed alarm rates and lead times on all hospitals' test patients."""
    from aggregator.statistics.alarm_figure import alarm_figures

    model = finished_model(folder)
    curve = alarms_of(model, folder, is_masked=aggregation == "masked")
    place = output or folder / "alarms"
    found = summary(curve, rates=tuple(sorted({*RATES, rate})))
    write_durably(place / "alarms.json", (json.dumps(found, indent=1) + "\n").encode())
    for name, content in alarm_figures(curve, alarms_per_day=rate).items():
        write_durably(place / name, content)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    console = Console(highlight=False)
    console.print(_table(curve, found))
    console.print(f"written to {place}: alarms.json, sensitivity.svg, lead_times.svg")


def finished_model(folder: Path) -> StudyModel:
    """The model of a finished simulation's first seed.

    Raises:
        CheckpointError: If the folder holds no finished simulation.
        ConfigurationError: If it is of another study.
    """
    from federation.study.manifest import read_sealed
    from federation.study.model_file import read_model

    try:
        settings = SimulationSettings.from_json((folder / "settings.json").read_bytes(), error=CheckpointError)
        place = folder / f"seed-{settings.seeds[0]}"
        manifest = read_sealed((place / "manifest.json").read_text(encoding="utf-8"))
        content = (place / "model.safetensors").read_bytes()
    except OSError as failure:
        raise CheckpointError(
            f"expected the folder of a finished simulation, got {folder}",
            remedy="give the folder that `cohortium simulate study=early_warning` printed",
        ) from failure
    if settings.study.name != _STUDY:
        raise ConfigurationError(
            f"expected a simulation of study {_STUDY!r}, got {settings.study.name!r}",
            remedy="simulate with study=early_warning",
        )
    return read_model(content, manifest)


def alarms_of(model: StudyModel, folder: Path, *, is_masked: bool, fewest_onsets: int = 5) -> AlarmCurve:
    """Sum the counts of all sites.

    Args:
        model: Of the study.
        folder: Of the simulation, whose hospitals' stores are read.
        is_masked: Whether sums are secure.
        fewest_onsets: Disclosure threshold.
    """
    from federation.statistics.requests import Selection, StatisticsTerms, StepRequest

    sites = tuple(entry.site for entry in model.manifest.roster)
    terms = StatisticsTerms(contract=model.manifest.contract, cohort=model.manifest.cohort, sites=sites)
    with tempfile.TemporaryDirectory(prefix="cohortium-alarms-") as work:
        sums = _sums(model, folder, terms=terms, work=Path(work), is_masked=is_masked)
        step = alarm_step()
        request = StepRequest(terms=terms.digest, number=1, selection=Selection(), step=step)
        summed = sums.sum(request, sites)
    return alarm_curve(step, step.parts(summed.total), fewest_onsets=fewest_onsets)


def alarm_step() -> AlarmStep:
    """The question, with the horizon and stride of the study's plan.

    Raises:
        ManifestError: If the plan has no horizon.
    """
    from experiments.studies.early_warning.study import HERE
    from site_client.signals.plan import SlidingWindows, read_plan

    windows = read_plan(HERE / "plan.yaml").windows
    if not isinstance(windows, SlidingWindows) or windows.horizon_seconds is None:
        raise ManifestError("expected sliding windows with a horizon in the plan, got others")
    return AlarmStep(
        kind="alarms", horizon_hours=windows.horizon_seconds / 3600, step_hours=windows.stride_seconds / 3600
    )


def _sums(model: StudyModel, folder: Path, *, terms: StatisticsTerms, work: Path, is_masked: bool) -> Sums:
    from aggregator.statistics.masked_sums import MaskedSums
    from aggregator.statistics.open_sums import OpenSums
    from experiments.analyse_sites import make_participant, secure_terms
    from experiments.studies.early_warning.study import hospital_source
    from site_client.signals.alarm_site import AlarmSite, alarm_columns
    from site_client.statistics.earlier_selections import EarlierSelections

    secure = secure_terms(terms, work) if is_masked else None
    links: dict[str, SiteLink] = {}
    today = dt.datetime.now(dt.UTC).date()
    for site in terms.sites:
        place = folder / "hospitals" / site
        source = hospital_source(site, folder=place)
        links[site] = AlarmSite(
            records=source.read(terms.contract, today=today),
            terms=terms,
            earlier=EarlierSelections(folder=work / "earlier" / site, threshold=terms.threshold),
            participant=None if secure is None else make_participant(secure, site, work),
            windows=alarm_columns(model, source, store=place / "store", variable="vitals", site=site, today=today),
        )
    return OpenSums(links) if secure is None else MaskedSums(links, secure)


def summary(curve: AlarmCurve, *, rates: tuple[float, ...]) -> dict[str, object]:
    """The figures as plain data: over all sites, and at each rate."""
    rows: list[dict[str, float | None]] = []
    for rate in rates:
        place = curve.at_rate(rate)
        if place is not None:
            rows.append(_row(curve, rate, place))
    return {
        "patients": curve.patients,
        "patient_days": curve.patient_days,
        "onsets": curve.onsets,
        "horizon_hours": curve.horizon_hours,
        "at_rates": rows,
    }


def _row(curve: AlarmCurve, rate: float, place: int) -> dict[str, float | None]:
    lead = {share: curve.lead_quantile(place, share) for share in (0.25, 0.5, 0.75)}
    return {
        "alarms_per_day_at_most": rate,
        "threshold": float(curve.thresholds[place]),
        "alarms_per_day": float(curve.alarms_per_day[place]),
        "false_alarms_per_day": float(curve.false_alarms_per_day[place]),
        "sensitivity": float(curve.sensitivity[place]),
        "lead_hours_quartile_1": None if math.isnan(lead[0.25]) else lead[0.25],
        "lead_hours_median": None if math.isnan(lead[0.5]) else lead[0.5],
        "lead_hours_quartile_3": None if math.isnan(lead[0.75]) else lead[0.75],
    }


def _table(curve: AlarmCurve, found: Mapping[str, object]) -> Table:
    table = Table(title=f"{curve.patients} test patients, {curve.patient_days:.1f} patient-days, {curve.onsets} onsets")
    names = ("at most", "alarms a day", "false", "threshold", "sensitivity", "median lead")
    for name in names:
        table.add_column(name, justify="right")
    rows = found["at_rates"]
    if isinstance(rows, list):
        for row in rows:
            lead = row["lead_hours_median"]
            table.add_row(
                f"{row['alarms_per_day_at_most']:g}",
                f"{row['alarms_per_day']:.2f}",
                f"{row['false_alarms_per_day']:.2f}",
                f"{row['threshold']:.2f}",
                f"{row['sensitivity']:.2f}",
                "–" if lead is None else f"{lead:.1f} h",
            )
    return table


if __name__ == "__main__":
    run_module(main)
