"""Every site of a simulation extracts its own patients, through the same code as in a hospital."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experiments.composition import compose_cohort, compose_manifest
from experiments.settings import SimulationSettings
from experiments.studies.catalogue import PreparedStudy
from federation.durable_files import write_durably
from federation.study.manifest import StudyManifest
from site_client.extraction import extract
from site_client.patients import Attrition, SiteData
from site_client.readiness import ReadinessReport
from site_client.site_folder import write_patients


@dataclass(frozen=True)
class PreparedSites:
    """The manifest of one run, and what its sites extracted.

    Args:
        manifest: What the sites agreed on.
        data: Divided patients of every site, in roster order.
        pooled_data: The same patients as the pooled reference is trained and tested on; equal to ``data`` but for recipes.
        attrition: By site.
        readiness: By site; empty for recipes that bring their own division.
        patient_files: By site: the encoded patients.
    """

    manifest: StudyManifest
    data: tuple[SiteData, ...] = field(repr=False)
    pooled_data: tuple[SiteData, ...] = field(repr=False)
    attrition: Mapping[str, Attrition]
    readiness: Mapping[str, ReadinessReport]
    patient_files: Mapping[str, Path]


def prepare_sites(
    settings: SimulationSettings, study: PreparedStudy, *, seed: int, folder: Path, today: dt.date
) -> PreparedSites:
    """Extract, encode and divide the patients of every site.

    Args:
        settings: The simulation's settings.
        study: The named study.
        seed: The run's seed.
        folder: Where encoded patients are written.
        today: Records dated later are implausible.

    Raises:
        RecordsError: What is wrong with a site's records, naming site, variable and remedy.
        ManifestError: If settings and study do not fit together.
    """
    definition = study.definition
    cohort = compose_cohort(settings, definition, seed=seed)
    if study.ready:
        training_patients = {data.site: data.training.num_patients for data in study.ready}
        data, attrition, readiness = list(study.ready), {}, {}
    else:
        training_patients = {
            site.site: max(1, round(site.public_patients * (1 - cohort.test_fraction))) for site in study.sites
        }
        data, attrition, readiness = [], {}, {}
        for site in study.sites:
            extracted = extract(
                site.source,
                site=site.site,
                contract=definition.contract,
                definition=cohort,
                task=definition.task,
                preprocessing=settings.preprocessing,
                today=today,
            )
            data.append(extracted.data)
            attrition[site.site] = extracted.attrition
            readiness[site.site] = extracted.readiness
    manifest = compose_manifest(settings, definition, cohort=cohort, training_patients=training_patients, seed=seed)
    files: dict[str, Path] = {}
    for entry in data:
        files[entry.site] = folder / entry.site / "patients.safetensors"
        write_patients(files[entry.site], entry)
        if entry.site in readiness:
            write_durably(
                folder / entry.site / "readiness.json", readiness[entry.site].model_dump_json(indent=1).encode()
            )
    return PreparedSites(
        manifest=manifest,
        data=tuple(data),
        pooled_data=study.ready_pooled or tuple(data),
        attrition=attrition,
        readiness=readiness,
        patient_files=files,
    )
