"""Occupied beds, forecast from predicted stays, against what happened and against two simpler forecasts.

The eICU demo has no calendar dates: the hours of admission are the patients' own, the days are drawn. Stays are the real ones, of
patients on whom the model was not trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.operations.asking import GROUP, Asked, Terms, ask
from experiments.operations.curves_of_stay import exponential_curve, knots_up_to, observed_curve
from experiments.operations.finished_run import FinishedRun, SitePatients
from experiments.operations.predicted_stays import predicted_curves, stay_of
from experiments.operations.risks import risk_variable
from experiments.operations.settings import BedSettings
from federation.data.contract import Continuous
from federation.errors import ConfigurationError
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.statistics.occupancy import ACCURACY, Forecasting, forecast
from federation.statistics.occupancy_steps import ADMITTED, STAY, OccupancyStep, knot_name
from federation.statistics.result import AnalysisResult, Cell, Findings
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]

FORECASTS: Final = {"model": "this study", "usual": "usual stays", "mean": "mean stay"}
"""Prefix of the curves to a title: each patient's own prediction; the distribution, and the mean, of the site's past patients."""
_HOURS: Final = 24.0


def beds(run: FinishedRun, patients: Sequence[SitePatients], *, plan: BedSettings, terms: Terms) -> AnalysisResult:
    """Forecast occupied beds and compare with what was observed.

    Args:
        run: A finished study of lengths of stay.
        patients: Of every site.
        plan: Which days.
        terms: Of the report.

    Raises:
        As :func:`~experiments.operations.asking.ask`; ConfigurationError: If the study is not of lengths of stay.
    """
    streams = seeded_streams(plan.seed, provenance=run.manifest.cohort.provenance).child("operations", "beds")
    drawn = [
        _one_draw(run, patients, plan=plan, terms=terms, streams=streams.child("draw", str(repeat)))
        for repeat in range(plan.repeats)
    ]
    return _together(drawn, plan)


def _one_draw(
    run: FinishedRun, patients: Sequence[SitePatients], *, plan: BedSettings, terms: Terms, streams: RandomStreams
) -> AnalysisResult:
    stay = stay_of(run)
    knots = knots_up_to(stay.maximum)
    origins = plan.origins()

    def columns(site: SitePatients) -> Mapping[str, FloatArray]:
        own = {"model": predicted_curves(run, site.said, knots=knots), **_past(site, stay.name, knots)}
        curves = {knot_name(name, place): curve[:, place] for name, curve in own.items() for place in range(len(knots))}
        generator = streams.stream("admissions", site.site)
        day = generator.integers(0, plan.days, size=len(site.test)).astype(np.float64)
        hour = site.test.values["admission_hour"]
        return {
            ADMITTED: day + np.where(np.isnan(hour), _HOURS / 2, hour) / _HOURS,
            STAY: site.test.values[stay.name],
            **curves,
        }

    def solver(labels: tuple[str, ...]) -> Solver[Findings]:
        step = OccupancyStep(
            forecasts=tuple(FORECASTS),
            knots=knots,
            origins=origins,
            horizons=plan.horizon,
            arrivals=plan.arrivals,
            group=GROUP if labels else None,
            groups=max(1, len(labels)),
        )
        question = Forecasting(
            step=step,
            titles=tuple(FORECASTS.values()),
            labels=labels,
            level=plan.level,
            threshold=terms.smallest_count(run),
        )
        return forecast(question)

    variables = (
        Continuous(name=ADMITTED, kind="continuous", unit="day", minimum=0, maximum=plan.days + 1.0),
        *(
            risk_variable(knot_name(name, place), "Chance to be in a bed then")
            for name in FORECASTS
            for place in range(len(knots))
        ),
    )
    outcome = Continuous(name=STAY, kind="continuous", unit="day", minimum=0, maximum=stay.maximum)
    return ask(run, patients, Asked("beds", variables, outcome, columns), terms=terms, solver=solver)


def _together(drawn: Sequence[AnalysisResult], plan: BedSettings) -> AnalysisResult:
    """The first draw's days, and the mean accuracy over all draws."""
    first = drawn[0]
    tables = [result.table("accuracy") for result in drawn]
    made, names = ACCURACY.index("forecasts made"), ACCURACY.index("days ahead") + 1
    rows: list[tuple[Cell, ...]] = []
    for lines in zip(*(table.rows for table in tables), strict=True):
        numbers = np.array([line[names:] for line in lines], dtype=np.float64)
        mean: list[Cell] = numbers.mean(axis=0).tolist()
        mean[made - names] = round(float(numbers[:, made - names].sum()))
        rows.append((*lines[0][:names], *mean))
    accuracy = tables[0].model_copy(update={"rows": tuple(rows)})
    note = (
        f"Days of admission are drawn evenly over {plan.days} days, {plan.repeats} times; hours of admission and lengths of "
        "stay are the patients' own."
    )
    return first.model_copy(
        update={
            "tables": (accuracy, *(table for table in first.tables if table.name != accuracy.name)),
            "notes": (*first.notes, note),
            "steps": sum(result.steps for result in drawn),
        }
    )


def _past(site: SitePatients, stay: str, knots: tuple[float, ...]) -> dict[str, FloatArray]:
    """The same curve for everybody: the site's own training patients', and the exponential one with their mean."""
    past = site.training.values[stay]
    past = past[np.isfinite(past)]
    if not len(past):
        raise ConfigurationError(f"expected training patients at {site.site}, got none", remedy="leave the site out")
    size = (len(site.test), len(knots))
    return {
        "usual": np.broadcast_to(observed_curve(past, knots=knots), size),
        "mean": np.broadcast_to(exponential_curve(float(past.mean()), knots=knots), size),
    }
