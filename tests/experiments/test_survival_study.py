"""Whole studies of survival: secure sums on, patient-level privacy on, and figures that equal those of pooled predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lifelines.utils import concordance_index

from experiments.engines.batched.coverage import reason_against_batching
from federation.errors import ManifestError
from federation.models.metrics import metric_sums
from federation.models.survival_metrics import risks
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from tests.masked_study import masked_manifest
from tests.small_study import manifest_data, private
from tests.survival_study import COX, TERMS, changes, masked, opened, said_by


@pytest.fixture(scope="module")
def summed(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return masked(tmp_path_factory.mktemp("masked"))


def test_secure_sums_give_the_model_and_the_figures_of_open_ones(summed: StudyResult, tmp_path: Path) -> None:
    plain = opened(tmp_path)
    np.testing.assert_allclose(summed.parameters, plain.parameters, atol=2e-3)
    ours, theirs = summed.rounds[-1].metrics, plain.rounds[-1].metrics
    assert ours.keys() == theirs.keys() >= {"concordance", "mean_auroc", "integrated_brier", "log_loss"}
    assert {name: ours[name] for name in ours} == pytest.approx(dict(theirs), abs=5e-3)
    assert not summed.rounds[-1].site_metrics, "nobody sees a site's own figures"


def test_the_summed_concordance_is_that_of_lifelines_on_pooled_predictions(summed: StudyResult) -> None:
    scores, codes = said_by(summed, TERMS)
    time, event = np.abs(codes) - 1, codes > 0
    last = TERMS.edges[-1]
    expected = concordance_index(np.minimum(time, last), -risks(TERMS, scores), event & (time < last))
    figures = summed.rounds[-1].metrics
    # Two events in one of 60 time bins are not compared here; lifelines compares them.
    assert figures["concordance"] == pytest.approx(expected, abs=1e-2)
    assert figures["concordance"] > 0.65, "the model has learned something"
    pooled = metric_sums(TERMS, scores, codes, score_bins=2000).derive()
    assert figures["integrated_brier"] == pytest.approx(pooled["integrated_brier"], abs=1e-4)


def test_cox_through_secure_sums(tmp_path: Path) -> None:
    result = masked(tmp_path, task_terms=COX.as_data())
    scores, codes = said_by(result, COX)
    expected = concordance_index(np.minimum(np.abs(codes) - 1, 8), -scores, (codes > 0) & (np.abs(codes) < 9))
    figures = result.rounds[-1].metrics
    assert figures["concordance"] == pytest.approx(expected, abs=1e-2)
    assert "integrated_brier" not in figures


def test_patient_level_privacy_spends_what_it_promised_and_learns(tmp_path: Path) -> None:
    promise = private(epsilon=30.0, probability=0.5, steps=40)
    schedule = {"rounds": 20, "local_steps": 2, "optimiser": {"learning_rate": 0.5}}
    result = opened(tmp_path, privacy=promise, evaluation={"release": "none"}, schedule=schedule)
    spent = result.rounds[-1].epsilon_spent
    assert all(0 < value <= 30.0 for value in spent.values())
    assert not result.rounds[-1].metrics, "nothing about performance is released unpaid"
    scores, codes = said_by(result, TERMS)
    assert concordance_index(np.abs(codes), -risks(TERMS, scores), codes > 0) > 0.6


def test_masked_and_private_at_once(tmp_path: Path) -> None:
    promise = private(epsilon=30.0, probability=0.5, steps=2)
    schedule = {"rounds": 2, "local_steps": 1, "optimiser": {"learning_rate": 0.1}}
    result = masked(tmp_path, privacy=promise, evaluation={"release": "none"}, schedule=schedule)
    assert np.isfinite(result.parameters).all()


def test_cox_is_refused_in_a_private_study(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="discrete_time"):
        masked_manifest(tmp_path, **changes(COX) | {"privacy": private(), "evaluation": {"release": "none"}})


def test_cox_is_not_batched_and_discrete_time_is() -> None:
    cox, discrete = (StudyManifest.from_data(manifest_data(**changes(terms))) for terms in (COX, TERMS))
    assert reason_against_batching(cox) == "its loss compares the patients of a batch"
    assert reason_against_batching(discrete) is None
