"""The study ``early_warning``: will a patient deteriorate within eight hours? See README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from pydantic import Field

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite, read_contract
from experiments.studies.early_warning.files import FORMATS, write_hospital
from experiments.studies.early_warning.vitals import VITALS, draw_patient
from experiments.studies.signal_stores import imported_source, store_source
from federation.data.cohort import CohortDefinition
from federation.documents import Document
from federation.errors import ConfigurationError
from federation.privacy.randomness import RandomStreams, seeded_streams
from site_client.signals.plan import read_plan
from site_client.sources.tables import TableSource

HERE: Final = Path(__file__).parent
_MOST_WINDOWS: Final = 64
"""Of one patient that are used."""


class EarlyWarningOptions(Document):
    """Options of the study."""

    num_hospitals: Annotated[int, Field(ge=1, le=200)] = 6
    patients_per_hospital: Annotated[int, Field(ge=4, le=5000)] = 60
    onset_probability: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Share of patients who deteriorate."""
    heterogeneity: Annotated[float, Field(ge=0, le=5)] = 1.0
    """Spread of hospitals' patients and devices; 0: the same everywhere."""


def define() -> StudyDefinition:
    """The study's public definition."""
    return StudyDefinition(
        name="early_warning",
        title="Early warning from generated vital signs",
        question="Will a patient on a monitored ward deteriorate within eight hours after the last six?",
        provenance="synthetic",
        data_licence="generated; no licence needed",
        task="binary",
        contract=read_contract(HERE / "contract.yaml"),
        cohort=CohortDefinition(provenance="synthetic", max_records_per_patient=_MOST_WINDOWS),
    )


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Generate hospitals, write their recordings, and import these as a hospital would.

    Args:
        options: See :class:`EarlyWarningOptions`.
        seed: Of everything drawn.
        folder: Where ``<site>/recordings`` and ``<site>/store`` are written.
        data: Not needed.

    Raises:
        ConfigurationError: For an unknown or impossible option.
    """
    del data
    chosen = EarlyWarningOptions.from_data(dict(options), error=ConfigurationError)
    definition = define()
    streams = seeded_streams(seed, provenance=definition.provenance).child("study", definition.name)
    return PreparedStudy(
        definition=definition,
        sites=tuple(
            _hospital(number, chosen, definition=definition, streams=streams, folder=folder)
            for number in range(chosen.num_hospitals)
        ),
    )


def hospital_source(site: str, *, folder: Path) -> TableSource:
    """The records of a hospital that :func:`prepare` made.

    Args:
        site: Its name.
        folder: Its own.
    """
    return store_source(site, folder=folder, mapping=HERE / "mapping.yaml")


def _hospital(
    number: int, chosen: EarlyWarningOptions, *, definition: StudyDefinition, streams: RandomStreams, folder: Path
) -> StudySite:
    site = f"hospital-{number + 1:02d}"
    place = folder / site
    if not (place / "signals.yaml").is_file():
        kind = FORMATS[number % len(FORMATS)]
        spread = np.array([3.0, 0.6, 0.3, 4.0, 2.0, 0.08]) * chosen.heterogeneity
        shift = spread * streams.stream("hospital", number).normal(size=len(VITALS))
        patients = [
            draw_patient(
                streams.stream("patient", number, patient),
                step_seconds=kind.step_seconds,
                jitter=kind.jitter,
                onset_probability=chosen.onset_probability,
                shift=shift,
            )
            for patient in range(chosen.patients_per_hospital)
        ]
        write_hospital(site, patients, kind=kind, folder=place)
    return imported_source(
        site,
        folder=place,
        plan=read_plan(HERE / "plan.yaml"),
        contract=definition.contract,
        mapping=HERE / "mapping.yaml",
        generated=True,
    )
