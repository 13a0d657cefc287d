"""The study ``ecg_beats``: normal beats against others, on pieces of one record. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from experiments.studies.definition import PreparedStudy, StudyDefinition, find_data, read_contract
from experiments.studies.ecg_beats.pieces import write_pieces
from experiments.studies.signal_stores import imported_source
from federation.data.cohort import CohortDefinition
from federation.documents import Document
from federation.errors import ConfigurationError
from site_client.signals.plan import read_plan

_HERE: Final = Path(__file__).parent
_FILES: Final = ("ecg/100.hea", "ecg/100.dat", "ecg/100.atr")


class EcgBeatsOptions(Document):
    """Options of the study."""

    num_hospitals: Annotated[int, Field(ge=1, le=12)] = 3
    """Parts of the record's half hour, one after another."""
    piece_seconds: Annotated[float, Field(ge=5, le=120)] = 15.0
    """Length of a piece, which stands for a patient."""


def define() -> StudyDefinition:
    """The study's public definition."""
    return StudyDefinition(
        name="ecg_beats",
        title="Beats of one ECG record",
        question="Is a beat normal? An exercise on pieces of one patient's record, without a clinical claim",
        provenance="public",
        data_licence="ODC-By 1.0: Moody & Mark 2001, MIT-BIH Arrhythmia Database, record 100, PhysioNet",
        task="binary",
        contract=read_contract(_HERE / "contract.yaml"),
        cohort=CohortDefinition(provenance="public", max_records_per_patient=200),
    )


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Cut the record into pieces, write them as records, and import these as a hospital would.

    Args:
        options: See :class:`EcgBeatsOptions`.
        seed: Not needed: the division is by time.
        folder: Where ``<site>/recordings`` and ``<site>/store`` are written.
        data: The folder ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: For an unknown or impossible option.
        RecordsUnreadableError: If the published files are not there.
    """
    del seed
    chosen = EcgBeatsOptions.from_data(dict(options), error=ConfigurationError)
    definition = define()
    header, *_ = find_data(data, study=definition.name, files=_FILES)
    names = tuple(f"part-{number + 1}" for number in range(chosen.num_hospitals))
    if not all((folder / name / "signals.yaml").is_file() for name in names):
        write_pieces(header, num_hospitals=chosen.num_hospitals, piece_seconds=chosen.piece_seconds, folder=folder)
    plan = read_plan(_HERE / "plan.yaml")
    return PreparedStudy(
        definition=definition,
        sites=tuple(
            imported_source(
                name,
                folder=folder / name,
                plan=plan,
                contract=definition.contract,
                mapping=_HERE / "mapping.yaml",
                generated=False,
            )
            for name in names
        ),
    )
