"""The study ``heart_disease``: coronary disease at angiography, four real hospitals. See README.md beside this file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite, find_data, read_contract
from experiments.studies.heart_disease.flamby import divide_as_published
from federation.data.cohort import CohortDefinition
from federation.documents import Document
from federation.errors import ConfigurationError
from site_client.sources.mapping import SiteMapping, read_mapping
from site_client.sources.tables import TableSource

_HERE: Final = Path(__file__).parent

PUBLISHED_PATIENTS: Final = {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}
"""Rows of the published files: the declared numbers of patients."""

PUBLISHED_COMPLETE: Final = {"cleveland": 303, "hungarian": 261, "switzerland": 46, "va": 130}
"""Of these, complete in the columns FLamby keeps."""

PUBLISHED_FIGURES: Final = {
    "pooled.pooled_test.accuracy": (0.7953, 0.01),
    "pooled.cleveland.accuracy": (0.7827, 0.03),
    "pooled.hungarian.accuracy": (0.7640, 0.03),
    "pooled.switzerland.accuracy": (0.7500, 0.1),
    "pooled.va.accuracy": (0.6444, 0.05),
    "fedavg.pooled_test.accuracy": (0.7480, 0.05),
    "fedavg.cleveland.accuracy": (0.7308, 0.05),
    "fedavg.hungarian.accuracy": (0.7191, 0.05),
    "fedavg.switzerland.accuracy": (0.6500, 0.15),
    "fedavg.va.accuracy": (0.6400, 0.1),
}
"""FLamby's mean over seeds 42-46, and the tolerance for ours; wider where a hospital has few test patients."""

_DAY_OF_EXTRACTION: Final = dt.date(2025, 1, 1)
"""The records have no dates; reading asks for a day."""


class HeartDiseaseOptions(Document):
    """Options of the study."""

    recipe: Literal["default", "flamby"] = "default"
    """``flamby``: selection, division and scaling exactly as FLamby published them."""


def define(recipe: Literal["default", "flamby"] = "default") -> StudyDefinition:
    """The study's public definition."""
    published = recipe == "flamby"
    return StudyDefinition(
        name="heart_disease",
        title="Heart disease at angiography, four hospitals" + (" (as published by FLamby)" if published else ""),
        question="Can four hospitals predict together who has coronary disease at angiography?",
        provenance="public",
        data_licence="CC BY 4.0: Janosi, Steinbrunn, Pfisterer, Detrano 1989, doi:10.24432/C52P4X",
        task="binary",
        contract=read_contract(_HERE / ("contract_flamby.yaml" if published else "contract.yaml")),
        cohort=CohortDefinition(provenance="public", test_fraction=0.34 if published else 0.3),
        expected=PUBLISHED_FIGURES if published else {},
    )


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Wire the four original files to their mappings.

    Args:
        options: See :class:`HeartDiseaseOptions`.
        seed: Not needed: nothing is drawn.
        folder: Not needed: nothing is written.
        data: The folder ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: For an unknown option.
        RecordsUnreadableError: If a file is not there.
    """
    del seed, folder
    chosen = HeartDiseaseOptions.from_data(dict(options), error=ConfigurationError)
    published = chosen.recipe == "flamby"
    definition = define(chosen.recipe)
    names = tuple(PUBLISHED_PATIENTS)
    paths = find_data(
        data, study="heart_disease", files=tuple(f"heart_disease/processed.{name}.data" for name in names)
    )
    sources = [
        TableSource(_mapping(name, published=published), folder=path.parent)
        for name, path in zip(names, paths, strict=True)
    ]
    patients = PUBLISHED_COMPLETE if published else PUBLISHED_PATIENTS
    sites = tuple(
        StudySite(site=name, source=source, public_patients=patients[name])
        for name, source in zip(names, sources, strict=True)
    )
    if not published:
        return PreparedStudy(definition=definition, sites=sites)
    records = tuple(source.read(definition.contract, today=_DAY_OF_EXTRACTION) for source in sources)
    ready, ready_pooled = divide_as_published(records, contract=definition.contract)
    return PreparedStudy(definition=definition, sites=sites, ready=ready, ready_pooled=ready_pooled)


def _mapping(site: str, *, published: bool) -> SiteMapping:
    """The hospital's mapping. FLamby takes every recorded value at its word, a cholesterol of 0 included."""
    mapping = read_mapping(_HERE / "mappings" / f"{site}.yaml")
    if not published:
        return mapping
    as_recorded = {
        name: variable.model_copy(update={"missing_codes": ()}) for name, variable in mapping.variables.items()
    }
    return mapping.model_copy(update={"variables": as_recorded})
