import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from experiments.curves import curves, net_benefit, precision_recall_points, roc_points
from experiments.predictions import Scored


def of(task, scores, outcomes, *, levels=(), patients=None):
    records = Scored(
        task,
        np.asarray(scores, float),
        np.asarray(outcomes, float),
        np.arange(len(outcomes)) if patients is None else patients,
    )
    return curves("federated", records, levels=levels, unit="mmHg", confidence_level=0.95)


def test_net_benefit_by_hand():
    risks, outcomes = np.array([0.9, 0.6, 0.4, 0.2, 0.1]), np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    # At 0.25 three are treated: two rightly, one not. At 0.6 the risk of 0.6 itself is treated. At 0.95 nobody is.
    expected = [2 / 5 - 1 / 5 * (0.25 / 0.75), 1 / 5 - 1 / 5 * (0.6 / 0.4), 0.0]
    assert net_benefit(outcomes, risks, np.array([0.25, 0.6, 0.95])) == pytest.approx(expected)


def test_treating_all_has_the_net_benefit_of_its_formula():
    generator = np.random.default_rng(0)
    outcomes = (generator.random(500) < 0.3).astype(float)
    found = of("binary", generator.random(500), outcomes)
    thresholds = np.array(found.net_benefit_treat_all.x)
    prevalence = outcomes.mean()
    expected = prevalence - (1 - prevalence) * thresholds / (1 - thresholds)
    np.testing.assert_allclose(found.net_benefit_treat_all.y, expected, rtol=1e-5, atol=1e-5)


def test_roc_runs_from_corner_to_corner_and_is_thin():
    generator = np.random.default_rng(1)
    outcomes = (generator.random(5000) < 0.3).astype(float)
    found = of("binary", np.clip(outcomes * 0.3 + generator.random(5000) * 0.7, 0, 1), outcomes)
    assert (found.roc.x[0], found.roc.y[0], found.roc.x[-1], found.roc.y[-1]) == (0, 0, 1, 1)
    assert len(found.roc.x) <= 200
    assert found.precision_recall.x[0] == 0
    assert found.precision_recall.x[-1] == 1


@pytest.mark.parametrize("digits", [1, 2, 17], ids="with {} digits".format)
@pytest.mark.parametrize("number", [2, 3, 40, 3000])
def test_points_are_scikit_learn_s(digits, number):
    generator = np.random.default_rng(number)
    outcomes = np.append([0.0, 1.0], (generator.random(number - 2) < 0.3).astype(float))
    risks = np.round(np.clip(0.3 * outcomes + 0.7 * generator.random(number), 0, 1), digits)
    false_positive, sensitivity, _ = roc_curve(outcomes, risks)
    precision, recall, _ = precision_recall_curve(outcomes, risks)
    np.testing.assert_array_equal(roc_points(outcomes, risks), (false_positive, sensitivity))
    np.testing.assert_array_equal(precision_recall_points(outcomes, risks), (recall[::-1], precision[::-1]))


def test_confusion_is_scikit_learn_s():
    generator = np.random.default_rng(3)
    outcomes, scores = generator.integers(0, 3, size=200), generator.random((200, 4))
    found = of("multiclass", scores, outcomes, levels=("a", "b", "c", "d"))
    np.testing.assert_array_equal(
        found.confusion, confusion_matrix(outcomes, scores.argmax(axis=1), labels=[0, 1, 2, 3])
    )


def test_one_class_has_no_roc_but_calibration():
    found = of("binary", [0.2, 0.4, 0.9], [1, 1, 1])
    assert found.roc is None
    assert found.precision_recall is None
    assert found.calibration[0].observed == 1


def test_calibration_bins_hold_every_record_once_and_keep_ties_together():
    generator = np.random.default_rng(2)
    risks = np.round(generator.random(400), 1)
    found = of("binary", risks, (generator.random(400) < risks).astype(float))
    assert sum(point.records for point in found.calibration) == 400
    centres = [point.predicted for point in found.calibration]
    assert centres == sorted(centres)
    assert all(point.lower <= point.observed <= point.upper for point in found.calibration)
    assert all(abs(point.observed - point.predicted) < 0.25 for point in found.calibration)


def test_several_records_of_a_patient_do_not_narrow_the_calibration_interval():
    risks, outcomes = np.full(40, 0.5), np.tile([0.0, 1.0], 20)
    one_each = of("binary", risks, outcomes).calibration[0]
    four_each = of("binary", risks, outcomes, patients=np.repeat(np.arange(10), 4)).calibration[0]
    assert four_each.upper - four_each.lower > 1.5 * (one_each.upper - one_each.lower)


def test_confusion_matrix_has_the_truth_in_rows():
    scores = [[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]
    found = of("multiclass", scores, [0, 2, 1, 1], levels=("a", "b", "c"))
    assert found.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))


def test_predicted_against_observed_and_residuals():
    generator = np.random.default_rng(3)
    truth = 120 + 10 * generator.normal(size=300)
    found = of("regression", truth + 5, truth)
    assert sum(point.records for point in found.bins) == 300
    assert all(point.predicted == pytest.approx(point.observed + 5) for point in found.bins)
    assert all(point.lower <= point.observed <= point.upper for point in found.bins)
    assert sum(found.residual_counts) == 300
    assert found.residual_edges[0] == -found.residual_edges[-1]


def test_equal_outcomes_still_have_residuals():
    assert sum(of("regression", [1.0, 2.0], [3.0, 3.0]).residual_counts) == 2


def test_no_records_no_curves():
    assert of("binary", [], []) is None
