from __future__ import annotations

import numpy as np
import pytest

from experiments.audit.canaries import with_canaries
from federation.models.parameters import flatten
from federation.privacy.independence import check_independence
from site_client.dp_step import PatientGradients
from tests.small_study import contract, manifest, patients, private

OUTCOMES = {
    "binary": {"name": "died", "kind": "binary"},
    "multiclass": {"name": "care", "kind": "categorical", "levels": ["a", "b", "c"]},
    "regression": {"name": "days", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 60},
}
CLASSES = {"binary": 1, "multiclass": 3, "regression": 1}
INCLUDED = np.array([True, False, True, True, False, True])
GRID = 2.0**24


def _study(task, model=None):
    return manifest(
        task=task,
        contract=contract() | {"outcome": OUTCOMES[task]},
        privacy=private(),
        model=model or {"kind": "linear"},
    )


def _planted(task, **changes):
    data = patients(np.random.default_rng(0), 8, records_each=2)
    return data, with_canaries(_study(task, **changes), data, INCLUDED)


def _sum(planted, chosen, task):
    with PatientGradients(planted.network, planted.dataset, task=task) as gradients:
        return gradients.clipped_sum(np.asarray(chosen, dtype=np.int64), clipping_norm=1.0) / GRID


@pytest.mark.parametrize("task", list(OUTCOMES))
def test_a_canary_fills_the_clipping_norm_along_its_own_axis(task: str) -> None:
    _, planted = _planted(task)
    for place, canary in enumerate(np.flatnonzero(INCLUDED)):
        gradient = _sum(planted, [8 + place], task)
        assert np.linalg.norm(gradient) == pytest.approx(1, abs=1e-3)
        scores = planted.scores(-gradient)
        assert np.argmax(scores) == canary
        assert scores[canary] > 0.75
        np.testing.assert_allclose(np.delete(scores, canary), 0, atol=1e-6)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_canarys_gradient_does_not_fade_when_it_is_learnt(task: str) -> None:
    _, planted = _planted(task)
    planted.network.canaries.weight.data.fill_(0.5)  # a logit of half a million
    assert np.linalg.norm(_sum(planted, [8], task)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("model", [{"kind": "linear"}, {"kind": "mlp", "hidden": [5]}])
def test_real_patients_have_the_gradients_they_had(model) -> None:
    data, planted = _planted("binary", model=model)
    with PatientGradients(planted.network.network, data, task="binary") as gradients:
        alone = gradients.clipped_sum(np.arange(8), clipping_norm=1.0)
    with_inputs = _sum(planted, np.arange(8), "binary") * GRID
    np.testing.assert_allclose(with_inputs[: alone.size], alone, rtol=0, atol=4, err_msg="float32 rounding, in 2**-24")
    assert not with_inputs[alone.size :].any()


def test_only_canaries_whose_coin_says_so_take_part() -> None:
    data, planted = _planted("binary")
    assert planted.dataset.num_patients == data.num_patients + 4
    used = planted.dataset.features[:, data.features.shape[1] :].any(axis=0)
    np.testing.assert_array_equal(used, INCLUDED)


def test_the_network_keeps_patients_apart_and_starts_as_the_study_does() -> None:
    _, planted = _planted("binary")
    check_independence(planted.network, (planted.dataset.features.shape[1],))
    again = _planted("binary")[1]
    np.testing.assert_array_equal(flatten(planted.network), flatten(again.network))
    assert not planted.network.canaries.weight.any()
