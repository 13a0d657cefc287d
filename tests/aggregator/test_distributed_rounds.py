"""Distributed privacy end to end: one DP-SGD step over the patients of all sites, and nothing that a site could not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.baselines import pooled_patients
from experiments.composition import with_local_noise
from federation.errors import ManifestError
from federation.models.build import build_model
from federation.models.parameters import initial_parameters, load
from federation.privacy.accounting import epsilon_of_cost
from federation.privacy.distributed import NoiseShare
from federation.protocol.messages import Envelope, TrainRequest
from federation.study.manifest import StudyManifest
from site_client.dp_step import PatientGradients
from tests.masked_study import SITES, Lossy, agents, masked_manifest, run, site_data
from tests.small_study import FEATURES, private

SCHEDULE = {"rounds": 3, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}


def distributed(folder: Path, *, probability: float = 1.0, **changes: Any) -> StudyManifest:
    privacy = private(epsilon=20.0, probability=probability, steps=3) | {"noise": "distributed"}
    return masked_manifest(
        folder, **({"privacy": privacy, "schedule": SCHEDULE, "evaluation": {"release": "none"}} | changes)
    )


def _descended(study: StudyManifest, sites: tuple[str, ...]) -> np.ndarray:
    """Full-batch descent on clipped gradients of the pooled patients, without noise."""
    model = build_model(study.model, task="binary", num_features=FEATURES, num_outputs=1, private=True).train()
    parameters = initial_parameters(model, seed=study.initial_seed).astype(np.float64)
    everybody = pooled_patients([site_data(site).training for site in sites])
    for _ in range(study.schedule.rounds):
        load(model, parameters.astype(np.float32))
        with PatientGradients(model, everybody, task="binary") as gradients:
            total = gradients.clipped_sum(np.arange(everybody.num_patients), clipping_norm=1.0) * 2.0**-24
        parameters = parameters - 0.5 * total / everybody.num_patients
    return parameters


@pytest.mark.parametrize("lost", [None, "west"])
def test_without_noise_it_is_descent_on_the_pooled_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str | None
) -> None:
    monkeypatch.setattr(NoiseShare, "noisy", lambda _, patients, generator: patients.astype(np.int64))
    study = distributed(tmp_path)

    def loses(site: str, request: Envelope) -> bool:
        return site == lost and isinstance(request.header, TrainRequest)

    result = run(study, tmp_path, Lossy(agents(tmp_path, study), loses=loses))
    inside = tuple(site for site in SITES if site != lost)
    assert result.rounds[-1].contributors == inside
    # Gradients are cut to a grid of 2**-14 or finer.
    np.testing.assert_allclose(result.parameters, _descended(study, inside), rtol=0, atol=3 * 0.5 * 2.0**-13)


def test_one_patient_moves_a_sites_numbers_by_at_most_the_clipping_norm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs: list[np.ndarray] = []

    def watched(_: NoiseShare, patients: np.ndarray, generator: object) -> np.ndarray:
        inputs.append(patients.copy())
        return patients.astype(np.int64)

    monkeypatch.setattr(NoiseShare, "noisy", watched)
    study = distributed(tmp_path, schedule=SCHEDULE | {"rounds": 1})
    share = study.noise_share()
    assert share is not None
    run(study, tmp_path, Lossy(agents(tmp_path, study)))
    whole = inputs[0]
    found = agents(tmp_path / "fewer", study)
    agent = found[SITES[0]]
    agent._data = type(agent._data)(
        site=agent._data.site, training=agent._data.training.patients(np.arange(39)), test=agent._data.test
    )
    run(study, tmp_path / "fewer", Lossy(found))
    distance = float(np.linalg.norm(whole - inputs[len(SITES)]))
    assert 0 < distance <= 2.0**share.grid_bits


def test_shares_are_sized_for_the_fewest_survivors_beside_the_one_who_looks(tmp_path: Path) -> None:
    study = distributed(tmp_path)
    share = study.noise_share()
    assert share is not None
    assert share.shares == study.secure_sum_terms().minimum_survivors - 1 == 2
    assert share.noise_multiplier >= study.privacy.noise_multiplier
    assert epsilon_of_cost(study.privacy_cost(), delta=study.privacy.delta) <= study.privacy.epsilon


def test_the_same_steps_with_all_noise_at_every_site_cost_the_same(tmp_path: Path) -> None:
    study = distributed(tmp_path)
    local = with_local_noise(study)
    assert local.noise_share() is None
    assert local.privacy_cost() == study.privacy_cost()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aggregation": {"mode": "plain", "quorum": 3}}, "secure aggregation"),
        ({"schedule": SCHEDULE | {"local_steps": 2, "rounds": 1}}, "local_steps 1"),
        ({"schedule": SCHEDULE | {"optimiser": {"learning_rate": 0.5, "momentum": 0.9}}}, "plain SGD"),
        ({"algorithm": {"kind": "fedprox"}}, "without a local correction"),
    ],
)
def test_what_does_not_go_with_shared_noise_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        distributed(tmp_path, **changes)


def test_a_seeded_study_repeats_itself_and_a_repeated_question_gets_the_same_bytes(tmp_path: Path) -> None:
    study = distributed(tmp_path / "a", probability=0.5)
    first = run(study, tmp_path / "a", Lossy(agents(tmp_path / "a", study)))
    transport = Lossy(agents(tmp_path / "b", study))
    second = run(study, tmp_path / "b", transport)
    np.testing.assert_array_equal(first.parameters, second.parameters)
    site, request, reply = next(entry for entry in transport.seen if isinstance(entry[1].header, TrainRequest))
    del site
    assert reply.payload()
    assert request.header.batch is not None
