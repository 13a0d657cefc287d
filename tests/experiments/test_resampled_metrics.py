import numpy as np
import pytest
from sklearn import metrics as reference

from experiments.predictions import Scored
from experiments.resampled_metrics import weighted_metrics

ONES = np.uint16


def binary(size=300, patients=80, ties=True, seed=0):
    generator = np.random.default_rng(seed)
    outcomes = (generator.random(size) < 0.4).astype(float)
    scores = 1 / (1 + np.exp(-(outcomes - 0.5 + generator.normal(size=size))))
    patient_of_record = np.concatenate([np.arange(patients), generator.integers(0, patients, size - patients)])
    return Scored("binary", np.round(scores, 2) if ties else scores, outcomes, patient_of_record)


@pytest.mark.parametrize("ties", [True, False])
def test_binary_metrics_equal_scikit_learn_with_every_patient_once(ties):
    records = binary(ties=ties)
    found = {name: value[0] for name, value in weighted_metrics(records, np.ones((1, 80), dtype=ONES)).items()}
    truth, score = records.outcomes, records.scores
    flagged = score >= 0.5
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, score), abs=1e-12)
    assert found["average_precision"] == pytest.approx(reference.average_precision_score(truth, score), abs=1e-12)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, flagged))
    assert found["sensitivity"] == pytest.approx(reference.recall_score(truth, flagged))
    assert found["specificity"] == pytest.approx(reference.recall_score(truth, flagged, pos_label=0))
    assert found["brier"] == pytest.approx(reference.brier_score_loss(truth, score))
    assert found["log_loss"] == pytest.approx(reference.log_loss(truth, score))
    assert found["risk_excess"] == pytest.approx(score.mean() - truth.mean())


def test_few_records_with_the_outcome_anywhere_even_at_the_lowest_score():
    generator = np.random.default_rng(5)
    for size in range(3, 60):
        outcomes = generator.permutation(np.arange(size) % 2).astype(np.float64)
        scores = np.round(generator.random(size), size % 3 + 1)
        scores[np.flatnonzero(outcomes == size % 2)[0]] = 0.0
        found = weighted_metrics(Scored("binary", scores, outcomes, np.arange(size)), np.ones((1, size), dtype=ONES))
        assert found["auroc"][0] == pytest.approx(reference.roc_auc_score(outcomes, scores), abs=1e-12)
        expected = reference.average_precision_score(outcomes, scores)
        assert found["average_precision"][0] == pytest.approx(expected, abs=1e-12)


def test_weighted_metrics_equal_scikit_learn_with_sample_weights():
    records = binary()
    weights = np.random.default_rng(1).integers(0, 4, (20, 80)).astype(ONES)
    found = weighted_metrics(records, weights)
    for row, weight in enumerate(weights):
        of_record = weight[records.patient_of_record]
        expected = reference.roc_auc_score(records.outcomes, records.scores, sample_weight=of_record)
        assert found["auroc"][row] == pytest.approx(expected, abs=1e-12)
        expected = reference.average_precision_score(records.outcomes, records.scores, sample_weight=of_record)
        assert found["average_precision"][row] == pytest.approx(expected, abs=1e-12)
        expected = reference.brier_score_loss(records.outcomes, records.scores, sample_weight=of_record)
        assert found["brier"][row] == pytest.approx(expected)


def test_a_weighting_equals_repeating_the_patients_records():
    records = binary(size=40, patients=10)
    weights = np.array([[2, 0, 1, 3, 0, 1, 1, 0, 1, 1]], dtype=ONES)
    chosen = np.repeat(np.arange(40), weights[0][records.patient_of_record])
    repeated = Scored("binary", records.scores[chosen], records.outcomes[chosen], np.arange(len(chosen)))
    found = weighted_metrics(records, weights)
    expected = weighted_metrics(repeated, np.ones((1, len(chosen)), dtype=ONES))
    for name, values in expected.items():
        assert found[name][0] == pytest.approx(values[0]), name


def test_blocks_do_not_change_the_result(monkeypatch):
    records, weights = binary(), np.random.default_rng(2).integers(0, 3, (50, 80)).astype(ONES)
    whole = weighted_metrics(records, weights)
    monkeypatch.setattr("experiments.patient_sums._CELLS_AT_ONCE", 700)
    for name, values in weighted_metrics(records, weights).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-12)


def test_one_class_and_no_records_are_not_defined_rather_than_wrong():
    one_class = Scored("binary", np.array([0.2, 0.9]), np.array([1.0, 1.0]), np.array([0, 1]))
    found = weighted_metrics(one_class, np.ones((1, 2), dtype=ONES))
    assert np.isnan(found["auroc"][0])
    assert np.isnan(found["specificity"][0])
    assert found["accuracy"][0] == 0.5
    empty = Scored("binary", np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    assert all(np.isnan(values[0]) for values in weighted_metrics(empty, np.ones((1, 0), dtype=ONES)).values())


def test_a_certain_and_wrong_score_has_a_finite_log_loss():
    records = Scored("binary", np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([0, 1]))
    assert np.isfinite(weighted_metrics(records, np.ones((1, 2), dtype=ONES))["log_loss"][0])


def test_multiclass_metrics_equal_scikit_learn():
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, 200)
    logits = generator.normal(size=(200, 3)) + 1.5 * np.eye(3)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    records = Scored("multiclass", scores, truth.astype(float), np.arange(200))
    found = {name: value[0] for name, value in weighted_metrics(records, np.ones((1, 200), dtype=ONES)).items()}
    predicted = scores.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert found["macro_recall"] == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert found["macro_auroc"] == pytest.approx(reference.roc_auc_score(truth, scores, multi_class="ovr"))
    assert found["log_loss"] == pytest.approx(reference.log_loss(truth, scores))


def test_regression_metrics_equal_scikit_learn_far_from_zero():
    generator = np.random.default_rng(4)
    truth = 1e6 + generator.normal(size=100)
    scores = truth + 0.3 * generator.normal(size=100)
    records = Scored("regression", scores, truth, np.arange(100))
    found = {name: value[0] for name, value in weighted_metrics(records, np.ones((1, 100), dtype=ONES)).items()}
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, scores))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(truth, scores))
    assert found["r2"] == pytest.approx(reference.r2_score(truth, scores))
    assert found["mean_error"] == pytest.approx((scores - truth).mean())


def test_r2_of_equal_outcomes_is_not_defined():
    records = Scored("regression", np.array([1.0, 2.0]), np.array([3.0, 3.0]), np.arange(2))
    assert np.isnan(weighted_metrics(records, np.ones((1, 2), dtype=ONES))["r2"][0])
