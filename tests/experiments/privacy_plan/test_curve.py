from __future__ import annotations

import re
from functools import cache
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from experiments.privacy_plan.curve import NOTICE, UtilityCurve, check_rehearsal, utility_curve
from experiments.privacy_plan.figure import utility_svg
from experiments.privacy_plan.rehearsal_run import rehearsed
from federation.errors import ConfigurationError, PrivacyRefusedError
from federation.privacy.accounting import add, cost_of, epsilon_of_cost
from federation.privacy.promise import NoPrivacy, PatientLevelPrivacy
from tests.experiments.privacy_plan.planned_study import DELTA, VARIANCE, private_study
from tests.small_study import manifest

SCHEDULE = {
    "rounds": 2, "local_steps": 6, "batch_size": 16, "evaluate_every": 2,
    "optimiser": {"learning_rate": 1.0},
}  # fmt: skip
# Loud enough that epsilon 0.3 cannot be kept once the one evaluation is paid for.
EVALUATION = {"release": "sum", "noise": {"variance": 120}}


@cache
def _curve() -> tuple[UtilityCurve, tuple[tuple[int, str, int | None], ...]]:
    stages: list[tuple[int, str, int | None]] = []
    curve = utility_curve(
        private_study(epsilon=20.0, paid=False, schedule=SCHEDULE, evaluation=EVALUATION),
        epsilons=[0.3, 2.0, 50.0],
        seeds=[0, 1, 2],
        on_stage=lambda seed, label, done: stages.append((seed, label, done.round_number if done else None)),
    )
    return curve, tuple(stages)


def test_noise_costs_utility() -> None:
    curve, _ = _curve()
    plain, weak, strong, _ = curve.points
    assert [point.epsilon for point in curve.points] == [None, 50.0, 2.0, 0.3]
    assert plain.metric is not None
    assert weak.metric is not None
    assert strong.metric is not None
    assert plain.noise_multiplier is None
    assert weak.noise_multiplier is not None
    assert strong.noise_multiplier is not None
    assert weak.noise_multiplier < strong.noise_multiplier
    assert plain.metric.mean > 0.65  # there is something to learn
    assert strong.metric.mean < weak.metric.mean
    assert abs(weak.metric.mean - plain.metric.mean) < 0.05


def test_means_intervals_and_differences_are_over_the_seeds() -> None:
    curve, _ = _curve()
    plain = curve.points[0]
    assert plain.metric is not None
    for point in curve.points[:3]:
        assert point.metric is not None
        assert len(point.metric.values) == 3
        assert point.metric.mean == pytest.approx(np.mean(point.metric.values))
        assert point.metric.lower is not None
        assert point.metric.upper is not None
        assert point.metric.lower < point.metric.mean < point.metric.upper
    strong = curve.points[2]
    assert strong.metric is not None
    assert strong.difference is not None
    expected = [value - other for value, other in zip(strong.metric.values, plain.metric.values, strict=True)]
    assert strong.difference.values == pytest.approx(expected)
    assert plain.difference is None


def test_an_epsilon_that_nothing_keeps_is_told_and_the_others_are_run() -> None:
    impossible = _curve()[0].points[3]
    assert (impossible.metric, impossible.noise_multiplier, impossible.difference) == (None, None, None)
    assert "no noise keeps this epsilon: expected a promise that some noise can keep" in impossible.note


def test_the_curve_says_what_it_is_and_on_whom() -> None:
    curve, _ = _curve()
    assert curve.notice == NOTICE
    assert "not the performance on real patients" in NOTICE
    assert curve.training_patients == {"north": 120, "south": 60, "west": 25}
    assert set(curve.test_patients) == {"north", "south", "west"}
    assert (curve.metric, curve.title, curve.higher_is_better) == ("auroc", "AUROC", True)
    assert UtilityCurve.from_json(curve.model_dump_json()) == curve


def test_progress_is_reported_by_seed_epsilon_and_round() -> None:
    _, stages = _curve()
    labels = ("without privacy", "epsilon 50", "epsilon 2")
    assert stages == tuple((seed, label, number) for seed in (0, 1, 2) for label in labels for number in (1, 2))


def test_the_figure_holds_every_point_and_says_that_it_is_a_rehearsal() -> None:
    svg = utility_svg(_curve()[0])
    words = " ".join(ET.fromstring(svg).itertext())
    assert "Rehearsal on generated patients" in words
    assert "held-out generated patients" in words
    assert "without privacy" in words
    assert {"0.3", "2", "50"} <= set(words.split())
    assert svg == utility_svg(_curve()[0])
    assert not re.search(r"\d{4}-\d\d-\d\d", svg)


def test_one_seed_has_no_interval() -> None:
    curve = utility_curve(private_study(epsilon=20.0, paid=False, schedule=SCHEDULE), epsilons=[8.0], seeds=[5])
    point = curve.points[1]
    assert point.metric is not None
    assert (point.metric.lower, point.metric.upper) == (None, None)
    assert "one seed" in utility_svg(curve)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_have_their_own_metric(task: str) -> None:
    from experiments.studies.synthetic.study import SyntheticOptions, define

    contract = define(SyntheticOptions.from_data({"task": task})).contract
    study = private_study(epsilon=20.0, paid=False, task=task, contract=contract.as_data(), schedule=SCHEDULE)
    curve = utility_curve(study, epsilons=[8.0], seeds=[0])
    assert curve.metric == {"multiclass": "accuracy", "regression": "rmse"}[task]
    plain = curve.points[0].metric
    assert plain is not None
    assert plain.mean > (0.34 if task == "multiclass" else 1.0)  # days, not the scaled outcome


def test_training_that_diverges_has_no_figure() -> None:
    wild = SCHEDULE | {"optimiser": {"learning_rate": 1e38, "weight_decay": 1e30}}
    curve = utility_curve(private_study(epsilon=20.0, paid=False, schedule=wild), epsilons=[8.0], seeds=[0])
    assert curve.points[1].metric is None
    assert curve.points[1].note.startswith(
        "stopped with seed 0: expected updates of at least 3 sites in round 1, got 0"
    )
    assert "NonFiniteModelError" in curve.points[1].note
    assert "<svg" in utility_svg(curve)


@pytest.mark.parametrize("epsilon", [1.0, 4.0, None])
def test_the_rehearsed_study_pays_for_its_evaluations_first(epsilon: float | None) -> None:
    study = private_study()
    changed = rehearsed(study, epsilon=epsilon)
    assert changed.cohort.provenance == "synthetic"
    assert changed.evaluation_event() is None
    if epsilon is None:
        assert isinstance(changed.privacy, NoPrivacy)
        return
    assert isinstance(changed.privacy, PatientLevelPrivacy)
    event = study.evaluation_event()
    assert event is not None
    assert event.variance == VARIANCE
    whole = add(changed.privacy_cost(), cost_of(event), times=3)
    assert 0.99 * epsilon < epsilon_of_cost(whole, delta=DELTA) <= epsilon
    assert epsilon_of_cost(changed.privacy_cost(), delta=DELTA) < 0.999 * epsilon


def test_the_promised_epsilon_gives_back_the_manifests_own_noise() -> None:
    study = private_study()
    privacy, again = study.privacy, rehearsed(study, epsilon=3.0).privacy
    assert isinstance(privacy, PatientLevelPrivacy)
    assert isinstance(again, PatientLevelPrivacy)
    assert again.noise_multiplier == privacy.noise_multiplier


def test_an_epsilon_below_that_of_the_evaluations_is_refused() -> None:
    with pytest.raises(PrivacyRefusedError, match=r"got epsilon 0.05"):
        rehearsed(private_study(), epsilon=0.05)


@pytest.mark.parametrize(
    ("epsilons", "seeds", "message"),
    [
        ([], [0], "expected distinct epsilons above 0 and at most 1000, got"),
        ([1.0, 1.0], [0], "expected distinct epsilons"),
        ([0.0], [0], "expected distinct epsilons"),
        ([float("nan")], [0], "expected distinct epsilons"),
        ([1001.0], [0], "expected distinct epsilons"),
        ([1.0], [], "expected distinct seeds, at least one"),
        ([1.0], [3, 3], "expected distinct seeds, at least one"),
    ],
)
def test_impossible_requests_are_refused(epsilons: list[float], seeds: list[int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_rehearsal(private_study(), epsilons=epsilons, seeds=seeds)


def test_a_study_without_privacy_has_no_curve() -> None:
    with pytest.raises(
        ConfigurationError, match="expected patient-level privacy for an epsilon-utility curve"
    ) as caught:
        utility_curve(manifest(), epsilons=[1.0], seeds=[0])
    assert "patient_level" in caught.value.remedy
