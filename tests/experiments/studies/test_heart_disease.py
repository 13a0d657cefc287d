from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.studies.catalogue import PreparedStudy, load_study
from federation.data.encoding import encode_features
from site_client.patients import PatientDataset
from tests.experiments.studies.reading import read_all, usable

SITES = ("cleveland", "hungarian", "switzerland", "va")


@pytest.fixture(scope="module")
def default(heart_disease_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    folder = tmp_path_factory.mktemp("default")
    return load_study("heart_disease", options={}, seed=1, folder=folder, data=heart_disease_folder.parent)


@pytest.fixture(scope="module")
def flamby(heart_disease_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    folder = tmp_path_factory.mktemp("flamby")
    return load_study(
        "heart_disease", options={"recipe": "flamby"}, seed=1, folder=folder, data=heart_disease_folder.parent
    )


def test_every_hospital_keeps_its_published_patients(default: PreparedStudy) -> None:
    records = read_all(default)
    assert tuple(records) == SITES
    assert [len(records[site]) for site in SITES] == [303, 294, 123, 200]
    assert [site.public_patients for site in default.sites] == [303, 294, 123, 200]
    kept = {site: int(usable(default, read).sum()) for site, read in records.items()}
    assert kept == {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}
    prevalence = [round(float(records[site].values["disease"].mean()), 3) for site in SITES]
    assert prevalence == [0.459, 0.361, 0.935, 0.745]


def test_what_switzerland_did_not_measure_is_missing(default: PreparedStudy) -> None:
    records = read_all(default)
    assert np.isnan(records["switzerland"].values["chol"]).all()
    assert not np.isnan(records["cleveland"].values["chol"]).any()
    assert np.isnan(records["va"].values["thalach"]).sum() == 53


def test_the_encoding_is_informative_everywhere(default: PreparedStudy) -> None:
    contract = default.definition.contract
    features = np.concatenate([encode_features(contract, read.values) for read in read_all(default).values()])
    assert features.shape[0] == 920
    assert np.isfinite(features).all()
    # Values beyond a range are clipped when a site selects its patients; here they may reach a little further.
    assert np.abs(features).max() < 3
    assert (features.std(axis=0) > 0.1).all()


def test_the_published_sizes(flamby: PreparedStudy) -> None:
    sizes = [(site.training.num_patients, site.test.num_patients) for site in flamby.ready]
    assert sizes == [(199, 104), (172, 89), (30, 16), (85, 45)]
    assert tuple(site.site for site in flamby.ready) == SITES == tuple(site.site for site in flamby.sites)
    assert [site.public_patients for site in flamby.sites] == [sum(pair) for pair in sizes]
    assert flamby.definition.expected["pooled.pooled_test.accuracy"] == (0.7953, 0.01)


def test_thirteen_features_standardised_by_the_hospitals_own_training_patients(flamby: PreparedStudy) -> None:
    for site in flamby.ready:
        assert site.training.feature_names == (
            "age", "male", "trestbps", "chol", "fbs", "thalach", "exang", "oldpeak",
            "cp=atypical_angina", "cp=non_anginal_pain", "cp=asymptomatic",
            "restecg=st_t_abnormality", "restecg=left_ventricular_hypertrophy",
        )  # fmt: skip
        spread = site.training.features.std(axis=0, ddof=1)
        np.testing.assert_allclose(site.training.features.mean(axis=0), 0, atol=1e-5)
        assert np.all(np.isclose(spread, 1, atol=1e-4) | (spread == 0))
        assert (spread == 0)[3] == (site.site == "switzerland")  # cholesterol, recorded as 0
        assert np.abs(site.test.features.mean(axis=0)).max() > 0.01


def test_the_pooled_scaling_is_over_all_training_patients(flamby: PreparedStudy) -> None:
    together = np.concatenate([site.training.features for site in flamby.ready_pooled])
    np.testing.assert_allclose(together.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(together.std(axis=0, ddof=1), 1, atol=1e-4)
    for own, pooled in zip(flamby.ready, flamby.ready_pooled, strict=True):
        np.testing.assert_array_equal(own.training.outcomes, pooled.training.outcomes)
        np.testing.assert_array_equal(own.test.outcomes, pooled.test.outcomes)


def test_the_division_is_the_published_one(flamby: PreparedStudy) -> None:
    # Outcomes of the first test patients in file order, from FLamby's own code on the same files.
    positives = [(int(site.training.outcomes.sum()), int(site.test.outcomes.sum())) for site in flamby.ready]
    assert positives == [(91, 48), (65, 33), (30, 15), (66, 35)]


def join(parts: list[PatientDataset]) -> tuple[torch.Tensor, torch.Tensor]:
    features = np.concatenate([part.features for part in parts])
    return torch.from_numpy(features), torch.from_numpy(np.concatenate([part.outcomes for part in parts]))


def batches(total: int, generator: torch.Generator) -> list[torch.Tensor]:
    return list(torch.randperm(total, generator=generator).split(4))


def train(
    model: torch.nn.Linear,
    optimiser: torch.optim.Optimizer,
    features: torch.Tensor,
    outcomes: torch.Tensor,
    order: list[torch.Tensor],
) -> None:
    for rows in order:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(features[rows])[:, 0], outcomes[rows])
        loss.backward()
        optimiser.step()


def accuracy(model: torch.nn.Linear, parts: list[PatientDataset]) -> float:
    features, outcomes = join(parts)
    with torch.no_grad():
        return float(((model(features)[:, 0] > 0) == (outcomes > 0.5)).float().mean())


def fresh_model(generator: torch.Generator) -> torch.nn.Linear:
    model = torch.nn.Linear(13, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-(13**-0.5), 13**-0.5, generator=generator)
    return model


@pytest.mark.slow
def test_plain_training_reaches_the_published_pooled_figure(flamby: PreparedStudy) -> None:
    reached: list[float] = []
    features, outcomes = join([site.training for site in flamby.ready_pooled])
    for seed in range(42, 47):
        generator = torch.Generator().manual_seed(seed)
        model = fresh_model(generator)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(50):
            train(model, optimiser, features, outcomes, batches(len(outcomes), generator))
        reached.append(accuracy(model, [site.test for site in flamby.ready_pooled]))
    value, tolerance = flamby.definition.expected["pooled.pooled_test.accuracy"]
    assert np.mean(reached) == pytest.approx(value, abs=tolerance)


@pytest.mark.slow
def test_plain_fedavg_reaches_the_published_figure(flamby: PreparedStudy) -> None:
    reached: list[float] = []
    parts = [join([site.training]) for site in flamby.ready]
    weights = torch.tensor([len(outcomes) for _, outcomes in parts]) / sum(len(outcomes) for _, outcomes in parts)
    for seed in range(42, 47):
        generator = torch.Generator().manual_seed(seed)
        model = fresh_model(generator)
        queues: list[list[torch.Tensor]] = [[] for _ in parts]
        for _ in range(15):
            start = [parameter.detach().clone() for parameter in model.parameters()]
            total = [torch.zeros_like(parameter) for parameter in start]
            for site, (features, outcomes) in enumerate(parts):
                with torch.no_grad():
                    for parameter, value in zip(model.parameters(), start, strict=True):
                        parameter.copy_(value)
                while len(queues[site]) < 100:
                    queues[site] += batches(len(outcomes), generator)
                steps, queues[site] = queues[site][:100], queues[site][100:]
                train(model, torch.optim.SGD(model.parameters(), lr=1e-3), features, outcomes, steps)
                total = [
                    value + weights[site] * parameter.detach()
                    for value, parameter in zip(total, model.parameters(), strict=True)
                ]
            with torch.no_grad():
                for parameter, value in zip(model.parameters(), total, strict=True):
                    parameter.copy_(value)
        reached.append(accuracy(model, [site.test for site in flamby.ready_pooled]))
    value, tolerance = flamby.definition.expected["fedavg.pooled_test.accuracy"]
    assert np.mean(reached) == pytest.approx(value, abs=tolerance)
