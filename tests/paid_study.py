"""A private study with paid evaluation for tests: every kind of subgroup, any task."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from federation.data.encoding import encode_features, encode_outcome, feature_names
from federation.identifiers import TaskKind
from federation.privacy.accounting import NOTHING, add, cost_of
from federation.privacy.calibration import calibrate_noise_multiplier, sampling_numerator_of
from federation.privacy.events import DiscreteGaussian
from federation.study.manifest import StudyManifest
from site_client.patients import PatientDataset
from tests.small_study import manifest_data

GROUPS = ("sex", "stage", "ward")
OUTCOMES: dict[TaskKind, dict[str, Any]] = {
    "binary": {"name": "died", "kind": "binary"},
    "multiclass": {"name": "fate", "kind": "categorical", "levels": ["home", "care", "died"]},
    "regression": {"name": "stay", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 40},
}


def contract(task: TaskKind = "binary") -> dict[str, Any]:
    return {
        "name": "paid",
        "patient_key": "patient",
        "variables": [
            {"name": "age", "kind": "continuous", "unit": "year", "minimum": 0, "maximum": 100},
            {"name": "sex", "kind": "binary"},
            {"name": "ward", "kind": "categorical", "levels": ["a/b", "surgery", "other"]},
            {"name": "stage", "kind": "ordinal", "levels": ["i", "ii", "iii"]},
        ],
        "outcome": OUTCOMES[task],
    }


def paid_manifest(
    task: TaskKind = "binary",
    *,
    variance: int = 4,
    records: int = 1,
    subgroups: tuple[str, ...] = GROUPS,
    bins: int = 10,
    **changes: Any,
) -> StudyManifest:
    event = DiscreteGaussian(sensitivity_squared=records**2 * (1 + len(subgroups)), variance=variance)
    numerator = sampling_numerator_of(0.25)
    noise = {"variance": variance, "max_records_per_patient": records, "subgroups": list(subgroups)}
    privacy = {
        "kind": "patient_level",
        "epsilon": 200.0,
        "delta": 1e-3,
        "clipping_norm": 1.0,
        "sampling_numerator": numerator,
        "noise_multiplier": calibrate_noise_multiplier(
            epsilon=200.0,
            delta=1e-3,
            sampling_numerator=numerator,
            steps=1,
            rounds=2,
            beside=add(NOTHING, cost_of(event)),
        ),
    }
    data = manifest_data(
        contract=contract(task),
        task=task,
        privacy=privacy,
        schedule={"rounds": 2, "local_steps": 1, "evaluate_every": 2, "optimiser": {"learning_rate": 0.1}},
        evaluation={"release": "per_site", "score_bins": bins, "noise": noise},
    )
    return StudyManifest.from_data(data | changes)


def records_of(manifest: StudyManifest, per_patient: list[int], *, seed: int = 0) -> PatientDataset:
    """Random records, so many of each patient."""
    generator, number, contract = np.random.default_rng(seed), sum(per_patient), manifest.contract
    values = {
        "age": generator.uniform(0, 100, number),
        "sex": generator.integers(0, 2, number).astype(np.float64),
        "ward": generator.integers(0, 3, number).astype(np.float64),
        "stage": generator.integers(0, 3, number).astype(np.float64),
    }
    outcomes = {
        "binary": generator.integers(0, 2, number).astype(np.float64),
        "multiclass": generator.integers(0, 3, number).astype(np.float64),
        "regression": generator.uniform(0, 40, number),
    }[manifest.task]
    return PatientDataset(
        features=encode_features(contract, values),
        outcomes=encode_outcome(contract, manifest.task, outcomes),
        patient_index=np.repeat(np.arange(len(per_patient)), per_patient).astype(np.int64),
        feature_names=feature_names(contract),
    )


def fixed_model(manifest: StudyManifest, *, weight: float = 1.0) -> nn.Linear:
    """A linear model of fixed weights."""
    outputs = 3 if manifest.task == "multiclass" else 1
    inputs = len(feature_names(manifest.contract))
    model = nn.Linear(inputs, outputs)
    with torch.no_grad():
        model.weight.copy_(weight * torch.linspace(-1, 1, inputs * outputs).reshape(outputs, inputs))
        model.bias.zero_()
    return model
