"""The study ``eicu_stay``: how long patients stay in intensive care or in hospital, beside APACHE IVa. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from experiments.studies.definition import PreparedStudy, StudyDefinition
from experiments.studies.eicu_mortality import study as mortality
from experiments.studies.eicu_mortality.stays import read_stays
from federation.data.cohort import CohortDefinition
from federation.data.contract import Categorical, Continuous, DataContract, ImputeMissing, Variable
from federation.errors import ConfigurationError
from federation.identifiers import TaskKind

Stay = Literal["unit", "hospital"]
Predicts = Literal["bands"]

BANDS: Final = ("day 1", "day 2", "day 3", "day 4", "days 5-6", "days 7-9", "days 10-14", "day 15 on")
BAND_ENDS: Final = (1.0, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0)
"""In days: where each band but the last ends."""
LONGEST: Final = {"unit": 60, "hospital": 200}
"""Days beyond which a stay is implausible: it is left out, and counted."""
_TASKS: Final[Mapping[Predicts, TaskKind]] = {"bands": "multiclass"}
_TITLES: Final = {"unit": "the intensive care unit", "hospital": "hospital"}
ADMISSION_HOUR: Final = Continuous(
    name="admission_hour", kind="continuous", unit="hour", minimum=0, maximum=24, missing=ImputeMissing(value=12)
)


class StayOptions(mortality.EicuOptions):
    """Options of the study."""

    stay: Stay = "unit"
    """From admission to the unit, or to hospital, to discharge from it."""
    predicts: Predicts = "bands"
    """``bands``: the chance of each of eight lengths."""


def define(options: StayOptions) -> StudyDefinition:
    """The study's public definition."""
    inputs = mortality.define().contract
    apache = f"apache_{options.stay}_stay"
    return StudyDefinition(
        name="eicu_stay",
        title=f"Length of stay in {_TITLES[options.stay]}",
        question=f"How long will a patient stay in {_TITLES[options.stay]}, judged by the first 24 hours in intensive care?",
        provenance="public",
        data_licence=mortality.LICENCE,
        task=_TASKS[options.predicts],
        contract=DataContract(
            name=f"Length of stay in {_TITLES[options.stay]}",
            patient_key=inputs.patient_key,
            variables=inputs.variables,
            outcome=_outcome(options),
        ),
        cohort=CohortDefinition(provenance="public", max_records_per_patient=1),
        beside=(_days(f"{options.stay}_stay", options.stay), _days(apache, options.stay), ADMISSION_HOUR),
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


def _outcome(options: StayOptions) -> Variable:
    return Categorical(
        name=f"{options.stay}_band", kind="categorical", levels=BANDS, description="Length of stay in bands of days"
    )


def _days(name: str, stay: Stay) -> Continuous:
    return Continuous(
        name=name, kind="continuous", unit="day", minimum=0, maximum=LONGEST[stay], missing=ImputeMissing(value=1)
    )
