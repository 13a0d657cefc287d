"""Every site of a simulation extracts its own patients, through the same code as in a hospital."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from experiments.composition import compose_cohort, compose_manifest
from experiments.identities import make_identities, public_keys
from experiments.settings import SimulationSettings
from experiments.studies.catalogue import PreparedStudy, StudySite
from federation.data.cohort import CohortDefinition
from federation.data.prepared_features import PreparedFeatures, derive
from federation.durable_files import write_durably
from federation.privacy.randomness import RandomStreams
from federation.study.manifest import StudyManifest
from site_client.extraction import ExtractionResult, Preprocessing, extract
from site_client.paid_preparation import apply_preparation, release_preparation
from site_client.patient_files import write_patients
from site_client.patients import Attrition, SiteData
from site_client.readiness import ReadinessReport

_READERS: Final = 2
"""Sites that are read at a time: each may use as much memory as a site at work."""


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
        identities: By site: its key file, in a study with secure aggregation.
    """

    manifest: StudyManifest
    data: tuple[SiteData, ...] = field(repr=False)
    pooled_data: tuple[SiteData, ...] = field(repr=False)
    attrition: Mapping[str, Attrition]
    readiness: Mapping[str, ReadinessReport]
    patient_files: Mapping[str, Path]
    identities: Mapping[str, Path] = field(default_factory=dict[str, Path])


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
        extracted = _extracted(study, cohort, preprocessing=settings.preprocessing, today=today)
        data = [found.data for found in extracted.values()]
        attrition = {site: found.attrition for site, found in extracted.items()}
        readiness = {site: found.readiness for site, found in extracted.items()}
    identities: dict[str, Path] = {}
    if settings.aggregation.mode == "masked":
        own = seed if settings.seeded else None
        identities = make_identities(training_patients, folder, seed=own, provenance=cohort.provenance)
    manifest = compose_manifest(
        settings,
        definition,
        cohort=cohort,
        training_patients=training_patients,
        seed=seed,
        public_keys=public_keys(identities),
    )
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
        identities=identities,
    )


def _extracted(
    study: PreparedStudy, cohort: CohortDefinition, *, preprocessing: Preprocessing, today: dt.date
) -> dict[str, ExtractionResult]:
    """By site, in their order. Two sites are read at a time: most of it is DuckDB's work, which needs no interpreter."""

    def one(site: StudySite) -> ExtractionResult:
        return extract(
            site.source,
            site=site.site,
            contract=study.definition.contract,
            definition=cohort,
            task=study.definition.task,
            preprocessing=preprocessing,
            today=today,
        )

    with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as pool:
        return dict(zip((site.site for site in study.sites), pool.map(one, study.sites), strict=True))


def with_prepared_features(sites: PreparedSites, prepared: PreparedFeatures | None, *, folder: Path) -> PreparedSites:
    """The sites as the model of a study with paid preparation sees them; unchanged without a map.

    For the references, which compare ways to train and not ways to scale: all use the map that the study released.

    Args:
        sites: As extracted.
        prepared: The study's public map.
        folder: Where the mapped patients are written.
    """
    if prepared is None:
        return sites
    data = tuple(apply_preparation(site, prepared) for site in sites.data)
    is_same = sites.pooled_data is sites.data
    pooled = data if is_same else tuple(apply_preparation(site, prepared) for site in sites.pooled_data)
    files = {site.site: folder / site.site / "patients.safetensors" for site in data}
    for site in data:
        write_patients(files[site.site], site)
    return replace(sites, data=data, pooled_data=pooled, patient_files=files)


def simulated_preparation(
    manifest: StudyManifest, sites: tuple[SiteData, ...], *, streams: RandomStreams
) -> PreparedFeatures | None:
    """The map that a study would release, from counts drawn here: for audits of a study that has not been run.

    Args:
        manifest: Of the study; ``None`` is returned if it pays for no preparation.
        sites: As extracted.
        streams: Of the noise; never those of the study.
    """
    if manifest.preparation is None:
        return None
    counts = [
        release_preparation(
            site.training,
            spec=manifest.preparation,
            contract=manifest.contract,
            generator=streams.stream("preparation", index),
        )["counts"]
        for index, site in enumerate(sites)
    ]
    return derive(
        sum(counts[1:], counts[0]), spec=manifest.preparation, contract=manifest.contract, num_sites=len(sites)
    )
