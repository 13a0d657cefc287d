"""The study ``readmission``: diabetic inpatients back within 30 days, many hospitals. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from experiments.partition import size_shares
from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite, find_data, read_contract
from experiments.studies.readmission.hospitals import MINIMUM_PATIENTS, write_hospitals
from federation.data.cohort import CohortDefinition
from federation.documents import Document
from federation.errors import ConfigurationError
from federation.privacy.randomness import seeded_streams
from site_client.sources.mapping import read_mapping
from site_client.sources.tables import TableSource

_HERE: Final = Path(__file__).parent
_FILE: Final = "diabetes130/diabetic_data.csv.gz"


class ReadmissionOptions(Document):
    """Options of the study."""

    num_hospitals: Annotated[int, Field(ge=1, le=1000)] = 8
    alpha: Annotated[float, Field(gt=0)] = 20.0
    """Dirichlet concentration of readmission over hospitals: 1 is extreme, 1000 is none."""
    size_skew: Annotated[float, Field(ge=0, le=5)] = 0.5
    """Exponent of the power law of hospital sizes; 0 for equal ones."""
    max_patients: Annotated[int, Field(ge=MINIMUM_PATIENTS)] | None = 20_000
    """``None``: all 69,990."""


def define() -> StudyDefinition:
    """The study's public definition."""
    return StudyDefinition(
        name="readmission",
        title="Readmission of diabetic inpatients within 30 days",
        question="Which diabetic inpatients will be readmitted within 30 days, judged by what is known at discharge?",
        provenance="public",
        data_licence="CC BY 4.0: Clore, Cios, DeShazo, Strack 2014, doi:10.24432/C5230J",
        task="binary",
        contract=read_contract(_HERE / "contract.yaml"),
        cohort=CohortDefinition(provenance="public", max_records_per_patient=4),
    )


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Divide the patients over hospitals, write every hospital's file, and wire its mapping.

    Args:
        options: See :class:`ReadmissionOptions`.
        seed: Of the division and of the draw of patients.
        folder: Where the files are written.
        data: The folder ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: For an unknown or impossible option.
        RecordsUnreadableError: If the published file is not there, or is not the published table.
    """
    chosen = ReadmissionOptions.from_data(dict(options), error=ConfigurationError)
    definition = define()
    (encounters,) = find_data(data, study="readmission", files=(_FILE,))
    hospitals = write_hospitals(
        encounters,
        folder=folder,
        shares=size_shares(chosen.num_hospitals, skew=chosen.size_skew),
        concentration=chosen.alpha,
        max_patients=chosen.max_patients,
        streams=seeded_streams(seed, provenance=definition.provenance).child("study", "readmission"),
    )
    mapping = read_mapping(_HERE / "mappings" / "hospital.yaml")
    return PreparedStudy(
        definition=definition,
        sites=tuple(
            StudySite(
                site=hospital.site,
                source=TableSource(mapping.model_copy(update={"site": hospital.site}), folder=hospital.path.parent),
                public_patients=hospital.patients,
            )
            for hospital in hospitals
        ),
    )
