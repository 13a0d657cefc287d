"""Scores and their sums at one site."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics

from federation.errors import InvalidInputError
from federation.models.build import build_model
from federation.models.spec import LinearSpec, MlpSpec
from site_client import evaluation
from site_client.evaluation import evaluate, predict
from site_client.patients import PatientDataset
from tests.site_client.training_cases import dataset, model


@pytest.mark.parametrize(
    ("task", "outputs", "shape"), [("binary", 1, (30,)), ("multiclass", 3, (30, 3)), ("regression", 1, (30,))]
)
def test_scores_have_the_tasks_shape_and_meaning(task: str, outputs: int, shape: tuple[int, ...]) -> None:
    linear = build_model(LinearSpec(kind="linear"), task=task, num_features=5, num_outputs=outputs, private=False)
    data = dataset(30)
    said = predict(linear, data, task=task)
    assert said.shape == shape
    assert said.dtype == np.float32
    logits = linear(torch.tensor(data.features)).detach().numpy()
    expected = {
        "binary": lambda: 1 / (1 + np.exp(-logits[:, 0])),
        "multiclass": lambda: np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        "regression": lambda: logits[:, 0],
    }[task]()
    np.testing.assert_allclose(said, expected, rtol=1e-5)


def test_large_data_goes_through_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predict(model(), dataset(50), task="binary")
    monkeypatch.setattr(evaluation, "_RECORDS", 7)
    np.testing.assert_allclose(predict(model(), dataset(50), task="binary"), whole, rtol=1e-6)


def test_batch_normalisation_uses_its_running_statistics() -> None:
    normalised = model(MlpSpec(kind="mlp", hidden=(3,), normalisation="batch"), private=False).train()
    data = dataset(10)
    together = predict(normalised, data, task="binary")
    alone = np.concatenate([predict(normalised, data.patients(np.array([p])), task="binary") for p in range(10)])
    np.testing.assert_allclose(alone, together, rtol=1e-6)
    assert normalised.training, "the model's mode is restored"


def test_sums_are_scikit_learns_figures() -> None:
    data = dataset(300)
    said = predict(model(), data, task="binary")
    derived = evaluate(model(), data, task="binary", score_bins=10_000).derive()
    assert derived["count"] == 300
    assert derived["auroc"] == pytest.approx(metrics.roc_auc_score(data.outcomes, said), abs=1e-3)
    assert derived["accuracy"] == pytest.approx(metrics.accuracy_score(data.outcomes, said > 0.5))


@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 4), ("regression", 1)])
def test_an_empty_test_set_gives_sums_of_zero_that_still_add(task: str, outputs: int) -> None:
    linear = build_model(LinearSpec(kind="linear"), task=task, num_features=5, num_outputs=outputs, private=False)
    empty = evaluate(linear, dataset(0), task=task, score_bins=20)
    some = evaluate(linear, dataset(9), task=task, score_bins=20)
    assert empty.derive() == {"count": 0.0}
    assert (empty + some).derive() == some.derive()


def test_unusable_records_are_an_error_without_their_values() -> None:
    data = dataset(4)
    data.features[2, 1] = np.nan
    with pytest.raises(InvalidInputError, match="finite scores"):
        evaluate(model(), data, task="binary", score_bins=10)


def test_read_only_records_can_be_scored() -> None:
    data = dataset(4)
    data.features.setflags(write=False)
    frozen = PatientDataset(data.features, data.outcomes, data.patient_index, data.feature_names)
    assert predict(model(), frozen, task="binary").shape == (4,)
