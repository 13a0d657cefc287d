"""The study ``demo``: is this breast mass malignant? See README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite, read_contract
from experiments.studies.demo.hospitals import HOSPITALS, write_hospitals
from federation.data.cohort import CohortDefinition
from federation.documents import Document
from federation.errors import ConfigurationError
from federation.privacy.randomness import seeded_streams
from site_client.sources.mapping import read_mapping
from site_client.sources.tables import TableSource

_HERE: Final = Path(__file__).parent


class DemoOptions(Document):
    """The demo has no options."""


def define() -> StudyDefinition:
    """The study's public definition."""
    return StudyDefinition(
        name="demo",
        title="Breast masses: malignant or benign, five hospitals",
        question="Can five hospitals learn together to tell malignant from benign breast masses by the shape of cell nuclei?",
        provenance="public",
        data_licence="CC BY 4.0: Wolberg, Mangasarian, Street, Street 1993, doi:10.24432/C5DW2B (with scikit-learn)",
        task="binary",
        contract=read_contract(_HERE / "contract.yaml"),
        cohort=CohortDefinition(provenance="public"),
    )


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Deal the patients out, write every hospital's file, and wire its mapping.

    Args:
        options: None are known.
        seed: Of the division over hospitals.
        folder: Where the files are written.
        data: Not needed.

    Raises:
        ConfigurationError: For an option.
    """
    del data
    DemoOptions.from_data(dict(options), error=ConfigurationError)
    definition = define()
    streams = seeded_streams(seed, provenance=definition.provenance).child("study", "demo")
    write_hospitals(definition.contract, folder=folder, streams=streams)
    return PreparedStudy(
        definition=definition,
        sites=tuple(
            StudySite(
                site=hospital.site,
                source=TableSource(
                    read_mapping(_HERE / "mappings" / f"{hospital.site}.yaml"), folder=folder / hospital.site
                ),
                public_patients=hospital.patients,
            )
            for hospital in HOSPITALS
        ),
    )
