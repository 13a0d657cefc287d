"""Survival studies of four sites for tests: patients with proportional hazards, real agents, open, masked or private."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from federation.data.encoding import num_outputs
from federation.models.build import build_model
from federation.models.parameters import load
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.agent import SiteAgent
from site_client.evaluation import predict
from site_client.patients import PatientDataset, SiteData
from site_client.site_folder import SiteFolder, write_patients
from tests.masked_study import SITES, Lossy, agents, masked_manifest, run
from tests.small_study import FEATURES, contract, manifest_data

TERMS = DiscreteTimeTerms(edges=(1.0, 2.0, 4.0, 8.0), time_bins=60)
COX = CoxTerms(edges=(1.0, 2.0, 4.0, 8.0), time_bins=60)
OUTCOME = {"name": "t", "kind": "time_to_event", "unit": "year", "maximum": 20, "event": "died"}
SCHEDULE = {"rounds": 3, "local_steps": 10, "batch_size": 16, "evaluate_every": 3, "optimiser": {"learning_rate": 0.1}}
_EFFECTS = np.array([1.5, -1.0, 0.5, 0.0])


def changes(terms: DiscreteTimeTerms | CoxTerms = TERMS) -> dict[str, Any]:
    """What makes a small study one of survival."""
    return {
        "contract": contract() | {"outcome": OUTCOME},
        "task": "survival",
        "task_terms": terms.as_data(),
        "schedule": SCHEDULE,
        "evaluation": {"release": "sum", "score_bins": 2000},
    }


def patients(seed: list[int], number: int) -> PatientDataset:
    """Patients of whom a third leaves follow-up without an event."""
    generator = np.random.default_rng(seed)
    features = generator.uniform(-1, 1, size=(number, FEATURES)).astype(np.float32)
    time = generator.exponential(3 * np.exp(-features @ _EFFECTS))
    end = generator.uniform(0.5, 12, number)
    codes = np.where(time <= end, 1, -1) * (1 + np.minimum(time, end))
    names = tuple(f"x{n}" for n in range(FEATURES))
    return PatientDataset(features, codes.astype(np.float32), np.arange(number), names)


def data_of(site: str) -> SiteData:
    """A site's patients."""
    place = SITES.index(site)
    return SiteData(site=site, training=patients([1, place], 60), test=patients([2, place], 50))


def masked(folder: Path, **others: Any) -> StudyResult:
    """With secure sums."""
    study = masked_manifest(folder, **changes() | others)
    for site in SITES:
        write_patients(folder / "patients" / f"{site}.safetensors", data_of(site))
    return run(study, folder, Lossy(agents(folder, study)))


def opened(folder: Path, **others: Any) -> StudyResult:
    """Without secure sums; the same roster."""
    roster = [{"site": site, "weight": 10.0 * (n + 1), "training_patients": 40} for n, site in enumerate(SITES)]
    study = StudyManifest.from_data(manifest_data(**{"roster": roster} | changes() | others))
    found: dict[str, SiteAgent] = {}
    for site in SITES:
        path = folder / "patients" / f"{site}.safetensors"
        write_patients(path, data_of(site))
        found[site] = SiteAgent(
            SiteFolder.create(folder / "sites" / site, site=site, manifest=study, patients=path, seed=7)
        )
    return run(study, folder, Lossy(found))


def said_by(result: StudyResult, terms: DiscreteTimeTerms | CoxTerms) -> tuple[np.ndarray, np.ndarray]:
    """Scores and encoded outcomes of all sites' test patients, pooled as nobody could pool them."""
    study = StudyManifest.from_data(manifest_data(**changes(terms)))
    model = build_model(
        study.model,
        task=terms,
        num_features=FEATURES,
        num_outputs=num_outputs(study.contract, terms),
        private=False,
    )
    load(model, result.parameters)
    tests = [data_of(site).test for site in SITES]
    scores = np.concatenate([predict(model, test, task=terms) for test in tests])
    return scores.astype(np.float64), np.concatenate([test.outcomes for test in tests]).astype(np.float64)
