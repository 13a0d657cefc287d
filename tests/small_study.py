"""A small synthetic study for tests: three sites, a known logistic model, real agents in folders."""

import datetime as dt
from pathlib import Path

import numpy as np

from federation.privacy.calibration import calibrate_noise_multiplier, sampling_numerator_of
from federation.study.manifest import StudyManifest
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from site_client.patients import PatientDataset, SiteData
from site_client.site_folder import SiteFolder, write_patients

FEATURES = 4
SITES = ("north", "south", "west")


def contract():
    return {
        "name": "small",
        "patient_key": "patient",
        "variables": [
            {"name": f"x{number}", "kind": "continuous", "unit": "dimensionless", "minimum": -1, "maximum": 1}
            for number in range(FEATURES)
        ],
        "outcome": {"name": "died", "kind": "binary"},
    }


def manifest_data(**changes):
    data = {
        "study": "small",
        "title": "A small study",
        "question": "Does it work?",
        "contract": contract(),
        "cohort": {"provenance": "synthetic"},
        "task": "binary",
        "model": {"kind": "linear"},
        "schedule": {"rounds": 4, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}},
        "algorithm": {"kind": "fedavg"},
        "privacy": {"kind": "none"},
        "aggregation": {"quorum": 3},
        "roster": [{"site": site, "weight": 10.0 * (n + 1), "training_patients": 40} for n, site in enumerate(SITES)],
    }
    if changes.get("privacy", data["privacy"])["kind"] != "none":
        data["evaluation"] = {"release": "none"}  # exact sums are not released beside a promise
    return data | changes


def manifest(**changes):
    return StudyManifest.from_data(manifest_data(**changes))


def private(epsilon=4.0, delta=1e-3, probability=0.25, steps=12, clipping_norm=1.0):
    numerator = sampling_numerator_of(probability)
    return {
        "kind": "patient_level",
        "epsilon": epsilon,
        "delta": delta,
        "clipping_norm": clipping_norm,
        "sampling_numerator": numerator,
        "noise_multiplier": calibrate_noise_multiplier(
            epsilon=epsilon, delta=delta, sampling_numerator=numerator, steps=steps
        ),
    }


def patients(generator, number, records_each=1):
    features = generator.uniform(-1, 1, size=(number * records_each, FEATURES)).astype(np.float32)
    risk = 1 / (1 + np.exp(-features @ np.array([2.0, -3.0, 0.5, 0.0])))
    return PatientDataset(
        features=features,
        outcomes=(generator.uniform(size=len(risk)) < risk).astype(np.float32),
        patient_index=np.repeat(np.arange(number), records_each).astype(np.int64),
        feature_names=tuple(f"x{n}" for n in range(FEATURES)),
    )


def site_data(site, *, seed=0, number=40):
    generator = np.random.default_rng([seed, SITES.index(site)])
    return SiteData(site=site, training=patients(generator, number), test=patients(generator, 30))


def now():
    return dt.datetime(2026, 11, 25, tzinfo=dt.UTC)


def site_folders(folder: Path, study: StudyManifest, *, seed: int | None = 7, data=site_data):
    folders = {}
    for site in SITES:
        path = folder / "patients" / f"{site}.safetensors"
        if not path.is_file():
            write_patients(path, data(site))
        ledger = None
        if study.privacy.kind != "none" and study.cohort.provenance == "patients":
            ledger = folder / "ledgers" / f"{site}.sqlite"
            ledger.parent.mkdir(parents=True, exist_ok=True)
            terms = LedgerTerms(
                population=site, site=site, epsilon_cap=study.privacy.epsilon, delta=study.privacy.delta
            )
            Ledger.open_or_create(ledger, terms, clock=now).close()
        folders[site] = SiteFolder.create(
            folder / "sites" / site, site=site, manifest=study, patients=path, seed=seed, ledger=ledger
        )
    return folders
