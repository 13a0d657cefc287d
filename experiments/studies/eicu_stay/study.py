"""The study ``eicu_stay``: how long patients stay in intensive care or in hospital, beside APACHE IVa. See README.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from experiments.studies.definition import PreparedStudy, StudyDefinition
from experiments.studies.eicu_mortality import study as mortality
from experiments.studies.eicu_mortality.stays import read_stays
from federation.data.cohort import CohortDefinition
from federation.data.contract import (
    Categorical,
    Continuous,
    DataContract,
    ImputeMissing,
    Integer,
    Outcome,
    Reference,
    TimeToEvent,
)
from federation.errors import ConfigurationError
from federation.identifiers import TaskKind
from federation.models.task_terms import DiscreteTimeTerms, QuantileTerms

Stay = Literal["unit", "hospital"]
Predicts = Literal["bands", "count", "quantiles", "time"]

BANDS: Final = ("day 1", "day 2", "day 3", "day 4", "days 5-6", "days 7-9", "days 10-14", "day 15 on")
BAND_ENDS: Final = (1.0, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0)
"""In days: where each band but the last ends."""
LONGEST: Final = {"unit": 60, "hospital": 200}
"""Days beyond which a stay is implausible: it is left out, and counted."""
QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
EDGES: Final = {
    "unit": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 11.0, 14.0),
    "hospital": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 11.0, 14.0, 21.0, 28.0),
}
"""Of the intervals in which a discharge is predicted, in days. So few stay longer that no hazard could be learned from them."""
USUAL: Final = {
    "unit": Reference(mean=4, standard_deviation=4, source="3.9 days in Zimmerman et al. 2006, Crit Care Med 34:2517"),
    "hospital": Reference(mean=10, standard_deviation=10, source="a round number"),
}
"""On whose scale quantiles are learned: that of the plausible range would begin at 30 days."""
_TASKS: Final[Mapping[Predicts, TaskKind]] = {
    "bands": "multiclass",
    "count": "count",
    "quantiles": "quantile",
    "time": "survival",
}
_TITLES: Final = {"unit": "the intensive care unit", "hospital": "hospital"}
ADMISSION_HOUR: Final = Continuous(
    name="admission_hour", kind="continuous", unit="hour", minimum=0, maximum=24, missing=ImputeMissing(value=12)
)


class StayOptions(mortality.EicuOptions):
    """Options of the study."""

    stay: Stay = "unit"
    """From admission to the unit, or to hospital, to discharge from it."""
    predicts: Predicts = "bands"
    """``bands``: the chance of each of eight lengths; ``count``: completed days, Poisson; ``quantiles``: five of them; ``time``:
    the hazard of a discharge in every interval (grouped proportional hazards)."""


def define(options: StayOptions) -> StudyDefinition:
    """The study's public definition."""
    inputs = mortality.define().contract
    apache, stay = f"apache_{options.stay}_stay", f"{options.stay}_stay"
    outcome = _outcome(options)
    known = () if outcome.name == stay else (_days(stay, options.stay),)
    return StudyDefinition(
        name="eicu_stay",
        title=f"Length of stay in {_TITLES[options.stay]}",
        question=f"How long will a patient stay in {_TITLES[options.stay]}, judged by the first day?",
        provenance="public",
        data_licence=mortality.LICENCE,
        task=_TASKS[options.predicts],
        contract=DataContract(
            name=f"Length of stay in {_TITLES[options.stay]}",
            patient_key=inputs.patient_key,
            variables=inputs.variables,
            outcome=outcome,
        ),
        task_terms=_terms(options),
        cohort=CohortDefinition(provenance="public", max_records_per_patient=1),
        beside=(*known, _days(apache, options.stay), ADMISSION_HOUR),
        rivals={apache: "APACHE IVa"},
    )


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Deal the stays out to regions or hospitals, and wire each to the mapping.

    Args:
        options: See :class:`StayOptions`.
        seed: Not needed: nothing is drawn.
        folder: Where the sites' files are written.
        data: The folder ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: For an unknown or impossible option.
        RecordsUnreadableError: If a table is not there or is not the published one.
    """
    del seed
    chosen = StayOptions.from_data(dict(options), error=ConfigurationError)
    stays = read_stays(data, study="eicu_stay", sites=chosen.sites, minimum_patients=chosen.minimum_patients)
    return PreparedStudy(definition=define(chosen), sites=mortality.wire(stays, folder=folder))


def _outcome(options: StayOptions) -> Outcome:
    stay, longest = options.stay, LONGEST[options.stay]
    match options.predicts:
        case "bands":
            return Categorical(
                name=f"{stay}_band", kind="categorical", levels=BANDS, description="Length of stay in bands of days"
            )
        case "count":
            return Integer(
                name=f"{stay}_days",
                kind="integer",
                unit="day",
                minimum=0,
                maximum=longest,
                description="Completed days: 0 for a stay of less than a day",
            )
        case "quantiles":
            return Continuous(
                name=f"{stay}_stay", kind="continuous", unit="day", minimum=0, maximum=longest, reference=USUAL[stay]
            )
        case "time":
            return TimeToEvent(
                name=f"{stay}_stay", kind="time_to_event", unit="day", maximum=longest, event="discharged"
            )


def _terms(options: StayOptions) -> QuantileTerms | DiscreteTimeTerms | None:
    match options.predicts:
        case "quantiles":
            return QuantileTerms(levels=QUANTILES)
        case "time":
            return DiscreteTimeTerms(edges=EDGES[options.stay])
        case _:
            return None


def _days(name: str, stay: Stay) -> Continuous:
    return Continuous(
        name=name, kind="continuous", unit="day", minimum=0, maximum=LONGEST[stay], missing=ImputeMissing(value=1)
    )
