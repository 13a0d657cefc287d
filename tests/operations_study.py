"""A launched study with reports on predictions, for tests: six hospitals in two groups, real agents and masks."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

from experiments.agree_analyses import agreed_analysis
from experiments.identities import make_identities, public_keys
from experiments.privacy_plan.rehearsal import GeneratedSource
from federation.data.contract import DataContract
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.extraction import extract
from site_client.patients import Records
from site_client.records_file import RecordsAt, write_records
from site_client.site_folder import SiteFolder, write_patients
from tests.small_study import manifest_data

SITES = ("a1", "a2", "a3", "b1", "b2", "b3")
GROUPS = "{north: [a1, a2, a3], south: [b1, b2, b3]}"
PATIENTS = 900
WARDS = ("medical", "surgical", "cardiac")
CONTRACT = DataContract.from_data(
    {
        "name": "operations",
        "patient_key": "patient",
        "variables": [
            {"name": "age", "kind": "continuous", "unit": "year", "minimum": 18, "maximum": 100},
            {"name": "ward", "kind": "categorical", "levels": list(WARDS)},
            {"name": "apache", "kind": "continuous", "unit": "dimensionless", "minimum": 0, "maximum": 1},
            {"name": "score", "kind": "continuous", "unit": "dimensionless", "minimum": 0, "maximum": 1},
            {"name": "stay", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 60},
            {"name": "apache_stay", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 60},
            {"name": "lower", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 60},
            {"name": "upper", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 60},
            {"name": "admitted", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 100},
            {
                "name": "guessed",
                "kind": "continuous",
                "unit": "dimensionless",
                "minimum": 0,
                "maximum": 1,
                "missing": {"rule": "impute", "value": 0.5},
            },
        ],
        "outcome": {"name": "died", "kind": "binary"},
    }
)
KNOWN = "complete=[apache]"
"""So that reports are of the same patients: sites refuse a selection that differs by a few."""
ASKED = {
    "risks": ["analysis=calibration", "predictions=[apache,score]", f"groups={GROUPS}"],
    "by_ward": ["analysis=calibration", "predictions=[apache]", "group=ward", "where=age >= 40"],
    "call": ["analysis=follow_up", "predictions=[score]", "capacity=0.2", f"groups={GROUPS}", KNOWN],
    "days": ["analysis=stays", "stay=stay", "predictions=[apache_stay]", "interval=[lower,upper]", "group=ward", KNOWN],
    "taken": [
        *("analysis=beds", "admitted=admitted", "stay=stay", "predictions=[apache_stay]"),
        *("days=40", "first=21", "horizon=3", f"groups={GROUPS}", KNOWN),
    ],
}


def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    risk = 1 / (1 + np.exp(-rng.normal(-1.0, 1.2, PATIENTS)))
    mean = rng.uniform(2, 9, PATIENTS)
    apache = np.where(rng.random(PATIENTS) < 0.03, np.nan, np.clip(risk * 1.2, 0, 1))
    return {
        "age": rng.uniform(20, 95, PATIENTS).round(1),
        "ward": rng.integers(0, 3, PATIENTS).astype(float),
        "apache": apache,
        "score": risk,
        "stay": rng.exponential(mean).clip(0, 60),
        "apache_stay": mean,
        "lower": mean * 0.1,
        "upper": (mean * 2.3).clip(0, 60),
        "admitted": rng.uniform(0, 40, PATIENTS),
        "guessed": risk,
        "died": (rng.random(PATIENTS) < risk).astype(float),
    }


def codes() -> np.ndarray:
    """Place in :data:`SITES` of every patient."""
    return np.arange(PATIENTS) % len(SITES)


def records(site: str) -> Records:
    own = codes() == SITES.index(site)
    everybody = np.array([f"p{number:05d}" for number in range(PATIENTS)])
    return Records(
        site=site, patient_keys=everybody[own], values={name: column[own] for name, column in values().items()}
    )


def agreed(name: str, words: list[str]) -> dict:
    return agreed_analysis(words, CONTRACT, name=name)[0].as_data()


def operations_data(folder: Path, *names: str, sites: tuple[str, ...] = SITES, spec: dict | None = None) -> dict:
    keys = public_keys(make_identities(SITES, folder / "identities", seed=3, provenance="synthetic"))
    roster = [{"site": site, "weight": 10.0, "training_patients": 40, "public_key": keys[site]} for site in sites]
    data = manifest_data(roster=roster, contract=CONTRACT.as_data(), evaluation={"release": "none"})
    masked = {"value_range": 10.0, "norm_bound": 10.0, "threshold": 4, "rounds_per_agreement": 60}
    return data | {
        "schedule": {"rounds": 1, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.1}},
        "aggregation": {"mode": "masked", "quorum": 4, "masked": masked},
        "statistics": {"analyses": [agreed(name, ASKED[name]) for name in names], **(spec or {})},
    }


def operations_manifest(folder: Path, *names: str, **changes) -> StudyManifest:
    return StudyManifest.from_data(operations_data(folder, *names, **changes))


def operations_agents(folder: Path, study: StudyManifest) -> dict[str, SiteAgent]:
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
        patients = folder / f"{site}.safetensors"
        place = RecordsAt(folder / f"{site}.records", folder / "answers" / site)
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
