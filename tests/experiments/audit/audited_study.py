"""Studies built for audits: every patient is drawn in every step, so nothing is hidden by sampling."""

from __future__ import annotations

import functools

import numpy as np

from experiments.audit.gaussian_dp import mu_of_epsilon
from experiments.audit.subject import AuditSubject
from federation.data.encoding import feature_names
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import seeded_streams
from federation.study.manifest import StudyManifest
from site_client.patients import PatientDataset, SiteData
from tests.small_study import SITES, manifest, private, site_data

DELTA = 1e-5


@functools.cache
def audited_manifest(*, epsilon=8.0, delta=DELTA, probability=1.0, rounds=4, steps=2, rate=0.1) -> StudyManifest:
    return manifest(
        privacy=private(epsilon=epsilon, delta=delta, probability=probability, steps=rounds * steps),
        schedule={"rounds": rounds, "local_steps": steps, "batch_size": 16, "optimiser": {"learning_rate": rate}},
    )


def subject(study=None, *, seed=0, sites=None, confidence=0.95, report=lambda words: None) -> AuditSubject:
    return AuditSubject(
        manifest=study or audited_manifest(),
        sites=sites or tuple(site_data(site) for site in SITES),
        streams=seeded_streams(seed, provenance="synthetic"),
        seeded=True,
        confidence=confidence,
        report=report,
    )


def one_release(epsilon, *, delta=DELTA, noise=1.0) -> MechanismSpec:
    """One release whose true epsilon, by the formula of the Gaussian mechanism, is ``epsilon``."""
    return MechanismSpec(
        clipping_norm=0.7,
        noise_multiplier=noise / mu_of_epsilon(epsilon, delta=delta),
        sampling_numerator=2**53,
        steps_per_round=1,
        rounds=1,
        divisor=12.5,
    )


def wide_manifest(*, features=1000, epsilon=1.0, rate=5.0, rounds=8, steps=5) -> StudyManifest:
    """More inputs than a model can learn from so few patients: without privacy it remembers them."""
    variables = [
        {"name": f"x{number}", "kind": "continuous", "unit": "dimensionless", "minimum": -1, "maximum": 1}
        for number in range(features)
    ]
    contract = {
        "name": "wide",
        "patient_key": "patient",
        "variables": variables,
        "outcome": {"name": "died", "kind": "binary"},
    }
    return manifest(
        contract=contract,
        privacy=private(epsilon=epsilon, delta=DELTA, probability=0.5, steps=rounds * steps),
        schedule={"rounds": rounds, "local_steps": steps, "batch_size": 16, "optimiser": {"learning_rate": rate}},
    )


def wide_data(study, site, *, training=60, test=60, seed=0) -> SiteData:
    """Outcomes that have nothing to do with the inputs: all that can be learnt is who took part."""
    names = feature_names(study.contract)
    generator = np.random.default_rng([seed, SITES.index(site)])

    def part(number):
        return PatientDataset(
            features=generator.uniform(-1, 1, (number, len(names))).astype(np.float32),
            outcomes=generator.integers(0, 2, number).astype(np.float32),
            patient_index=np.arange(number, dtype=np.int64),
            feature_names=names,
        )

    return SiteData(site=site, training=part(training), test=part(test))
