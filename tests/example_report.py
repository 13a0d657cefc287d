"""Example reports for tests: synthetic patients, several records each, scored by models of known quality."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from experiments.assessment import RunFacts, assess
from experiments.predictions import SitePredictions
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult, StudyResult
from site_client.patients import Attrition

SITES = {"cleveland": 104, "hungarian": 89, "switzerland": 16, "va-long-beach": 45, "one-class": 9}
"""Test patients of every site; the last has a single outcome class."""
QUALITY = {
    "pooled": 1.0,
    "federated": 0.75,
    "local_only": 0.6,
    "federated_non_private": 0.95,
    "cyclic": 0.8,
}
LEVELS = ("none", "mild", "severe")


@functools.cache
def _noise_multiplier() -> float:
    return calibrate_noise_multiplier(epsilon=2.0, delta=1e-3, sampling_numerator=2**53 // 10, steps=300)


def example_manifest(task="binary", *, private=True, provenance="public", sites=None, **changes) -> StudyManifest:
    outcome = {
        "binary": {"name": "disease", "kind": "binary"},
        "multiclass": {"name": "severity", "kind": "categorical", "levels": list(LEVELS)},
        "regression": {
            "name": "pressure",
            "kind": "continuous",
            "unit": "mmHg",
            "minimum": 60,
            "maximum": 240,
        },
    }[task]
    data = {
        "study": "example",
        "title": "Coronary disease at five hospitals",
        "question": "Can hospitals find coronary artery disease from a resting examination without sharing records?",
        "data_licence": "CC BY 4.0",
        "contract": {
            "name": "example",
            "patient_key": "patient",
            "variables": [
                {"name": "age", "kind": "continuous", "unit": "year", "minimum": 0, "maximum": 120},
                {"name": "sex", "kind": "binary"},
                {"name": "chest-pain", "kind": "categorical", "levels": ["typical", "atypical", "none"]},
                {"name": "chol", "kind": "continuous", "unit": "mg/dl", "minimum": 0, "maximum": 700},
            ],
            "outcome": outcome,
        },
        "cohort": {
            "provenance": provenance,
            "inclusion": [{"variable": "age", "operator": "between", "value": [18, 90]}],
            "exclusion": [{"variable": "chol", "operator": "gt", "value": 600}],
        },
        "task": task,
        "model": {"kind": "linear"},
        "schedule": {"rounds": 15, "local_steps": 20, "optimiser": {"learning_rate": 0.5}},
        "algorithm": {"kind": "fedprox", "mu": 0.1},
        "privacy": {
            "kind": "patient_level",
            "epsilon": 2.0,
            "delta": 1e-3,
            "clipping_norm": 1.0,
            "sampling_numerator": 2**53 // 10,
            "noise_multiplier": _noise_multiplier(),
        }
        if private
        else {"kind": "none"},
        "evaluation": {"release": "none" if private or provenance == "patients" else "per_site"},
        "roster": [
            {"site": site, "weight": 2.0 * count, "training_patients": 2 * count}
            for site, count in (sites or SITES).items()
        ],
        "software": {"cohortium": "0.1.0", "torch": "2.13.0"},
    }
    return StudyManifest.from_data(data | changes)


def example_predictions(task, generator, *, sites=None, settings=tuple(QUALITY), records_per_patient=2):
    """Setting to site predictions: better settings see the truth with less noise."""
    truth = {
        site: _truth(task, site, count, generator, records_per_patient) for site, count in (sites or SITES).items()
    }
    return {
        setting: tuple(
            SitePredictions(
                site=site,
                scores=_scores(task, QUALITY[setting], outcomes, noise),
                outcomes=outcomes.astype(np.float32),
                patient_index=patients,
            )
            for site, (outcomes, noise, patients) in truth.items()
        )
        for setting in settings
    }


def _truth(task, site, count, generator, records_per_patient):
    patients = np.sort(
        np.concatenate([np.arange(count), generator.integers(0, count, count * (records_per_patient - 1))])
    )
    size = len(patients)
    noise = generator.normal(size=size)
    if task == "multiclass":
        return generator.integers(0, len(LEVELS), size).astype(float), noise, patients
    if task == "regression":
        return generator.normal(0, 0.3, size), noise, patients
    outcomes = (generator.random(count) < 0.45).astype(float)[patients]
    return (np.ones(size) if site == "one-class" else outcomes), noise, patients


def _scores(task, quality, outcomes, noise):
    if task == "multiclass":
        logits = np.stack(
            [quality * 2 * (outcomes == level) + noise * (level - 1) for level in range(len(LEVELS))], axis=1
        )
        weights = np.exp(logits)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    if task == "regression":
        return (outcomes * quality + 0.15 * noise).astype(np.float32)
    return (1 / (1 + np.exp(-(quality * 3 * (outcomes - 0.5) + noise)))).astype(np.float32)


def example_result(manifest, *, metrics=True) -> StudyResult:
    sites = [entry.site for entry in manifest.roster]
    private = manifest.privacy.kind != "none"
    primary = {"binary": "auroc", "multiclass": "accuracy", "regression": "rmse"}[manifest.task]

    def values(number, shift=0.0):
        return {primary: 0.9 - 0.4 * 0.8**number - shift, "log_loss": 0.4 + 0.5 * 0.8**number + shift}

    rounds = tuple(
        RoundResult(
            round_number=number,
            contributors=tuple(sites if number != 4 else sites[1:]),
            dropouts={} if number != 4 else {sites[0]: "unreachable"},
            metrics=values(number) if metrics else {},
            site_metrics={site: values(number, 0.02 * place) for place, site in enumerate(sites)} if metrics else {},
            epsilon_spent=dict.fromkeys(sites, 2.0 * (number / 15) ** 0.5) if private else {},
            update_norm=1.5 * 0.8**number,
            model_digest="sha256:0",
            seconds=0.1,
        )
        for number in range(1, manifest.schedule.rounds + 1)
    )
    return StudyResult(manifest_digest=manifest.digest, rounds=rounds, parameters=np.zeros(5, dtype=np.float32))


RUN = RunFacts(
    created="2026-01-31",
    command="cohortium simulate study=heart_disease privacy=patient_level privacy.epsilon=2 algorithm=fedprox",
    seeds=(42,),
    seeded=True,
    software={"cohortium": "0.1.0", "torch": "2.13.0"},
    bootstrap_samples=200,
)


def example_report(task="binary", *, private=True, sites=None, seeds=1, run=RUN, seed=7, **changes):
    generator = np.random.default_rng(seed)
    manifest = example_manifest(task, private=private, sites=sites, **changes)
    settings = tuple(name for name in QUALITY if private or name != "federated_non_private")
    predictions = [example_predictions(task, generator, sites=sites, settings=settings) for _ in range(seeds)]
    names = [entry.site for entry in manifest.roster]
    return assess(
        manifest,
        result=example_result(manifest),
        predictions=predictions[0],
        repetitions=predictions[1:],
        attrition={
            site: Attrition(steps=(("read", 900, 400), ("included", 700, 350), ("complete", 600, 300)))
            for site in names
        },
        readiness={
            site: {variable.name: (site, variable.name) != (names[0], "chol") for variable in manifest.contract.columns}
            for site in names
        },
        run=replace(run, seeds=tuple(range(42, 42 + seeds))),
        generator=generator,
    )
