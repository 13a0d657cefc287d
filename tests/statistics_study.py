"""A launched study that takes exact statistics, for tests: real agents with records, real masks, real coordinator."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

from experiments.analyse_plans import agree
from experiments.analyse_settings import read_settings
from experiments.identities import make_identities, public_keys
from experiments.privacy_plan.rehearsal import GeneratedSource
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.extraction import extract
from site_client.patients import Records
from site_client.records_file import RecordsAt, write_records
from site_client.site_folder import SiteFolder, write_patients
from tests.small_study import manifest_data
from tests.statistics_bench import CONTRACT, deal, draw

SITES = ("east", "north", "south", "west")
PATIENTS = 400
ANALYSES = {
    "ages": ["analysis=describe", "variables=[age,ward]", "bins=50"],
    "wards": ["analysis=crosstab", "rows=ward", "columns=died"],
    "deaths": ["analysis=glm", "formula=died ~ age + male + ward"],
    "curves": ["analysis=kaplan_meier", "time=weeks", "event=event", "grid=1", "group=male"],
    "hazards": ["analysis=cox", "formula=~ age + male", "time=weeks", "event=event", "grid=1"],
    "within": ["analysis=cox", "formula=~ age", "time=weeks", "event=event", "strata=site"],
    "ranks": ["analysis=log_rank", "time=weeks", "event=event", "group=male", "strata=site"],
    "odds": ["analysis=mantel_haenszel", "exposure=male"],
    "mean_effect": ["analysis=meta", "formula=died ~ age", "term=age"],
    "components": ["analysis=pca", "variables=[age,lactate]"],
}


def agreed(name: str, words: list[str]) -> dict[str, object]:
    settings, rest = read_settings(words)
    assert not rest
    return agree(settings, CONTRACT, name=name).as_data()


def values() -> dict[str, np.ndarray]:
    return draw(PATIENTS)


def records(site: str) -> Records:
    codes = deal(PATIENTS, len(SITES)) == SITES.index(site)
    everybody = np.array([f"p{number:05d}" for number in range(PATIENTS)])
    return Records(
        site=site, patient_keys=everybody[codes], values={name: column[codes] for name, column in values().items()}
    )


def statistics_manifest(folder: Path, *names: str, spec: dict[str, object] | None = None, **changes) -> StudyManifest:
    keys = public_keys(make_identities(SITES, folder / "identities", seed=3, provenance="synthetic"))
    roster = [{"site": site, "weight": 10.0, "training_patients": 40, "public_key": keys[site]} for site in SITES]
    data = manifest_data(roster=roster, contract=CONTRACT.as_data(), evaluation={"release": "none"})
    masked = {"value_range": 10.0, "norm_bound": 10.0, "threshold": 3, "rounds_per_agreement": 50}
    data |= {
        "schedule": {"rounds": 1, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.1}},
        "aggregation": {"mode": "masked", "quorum": 3, "masked": masked},
        "statistics": {"analyses": [agreed(name, ANALYSES[name]) for name in names], **(spec or {})},
    }
    return StudyManifest.from_data(data | changes)


def agents(folder: Path, study: StudyManifest) -> dict[str, SiteAgent]:
    identities = make_identities(SITES, folder / "identities", seed=3, provenance="synthetic")
    found = {}
    for site in SITES:
        mine = records(site)
        data = extract(
            GeneratedSource(mine),
            site=site,
            contract=study.contract,
            definition=study.cohort,
            task=study.task,
            today=dt.date.max,
        ).data
        patients, place = (
            folder / f"{site}.safetensors",
            RecordsAt(folder / f"{site}.records", folder / "answers" / site),
        )
        write_patients(patients, data)
        write_records(place.file, mine)
        found[site] = SiteAgent(
            SiteFolder.create(
                folder / "sites" / site,
                site=site,
                manifest=study,
                patients=patients,
                seed=7,
                identity=identities[site],
                records=place,
            )
        )
    return found
