from __future__ import annotations

import math
from typing import Any

import dp_accounting as dp
import numpy as np
import pytest

from experiments.privacy_plan.plan import PrivacyPlan, PromisePlan
from experiments.privacy_plan.planning import NO_GUARANTEE, milestones, plan_of, releases_of
from federation.errors import InternalError, ManifestError
from federation.privacy.accounting import NOTHING, add, epsilon_of, epsilon_of_cost, spent
from federation.privacy.events import DiscreteGaussian
from federation.privacy.promise import PatientLevelPrivacy
from federation.privacy.rdp_curves import ORDERS
from federation.study.manifest import StudyManifest
from tests.experiments.privacy_plan.planned_study import (
    DELTA,
    ROUNDS,
    STEPS,
    VARIANCE,
    prepared_study,
    private_plan,
    private_study,
)
from tests.small_study import manifest

PLANS = pytest.mark.parametrize(("epsilon", "paid"), [(0.5, True), (3.0, True), (3.0, False)])


def _promise(**how: Any) -> PromisePlan:
    found = private_plan(**how).promise
    assert found is not None
    return found


def _judge(accountant: dp.PrivacyAccountant, study: StudyManifest, *, rounds: int, evaluations: int) -> float:
    """Epsilon of the same releases by dp-accounting, from the manifest's plain numbers."""
    privacy = study.privacy
    assert isinstance(privacy, PatientLevelPrivacy)
    step = dp.PoissonSampledDpEvent(privacy.sampling_numerator / 2**53, dp.GaussianDpEvent(privacy.noise_multiplier))
    accountant.compose(step, rounds * STEPS)
    if evaluations:
        accountant.compose(dp.GaussianDpEvent(math.sqrt(VARIANCE)), evaluations)
    return accountant.get_epsilon(DELTA)


@PLANS
def test_both_accountants_agree_with_dp_accounting(epsilon: float, paid: bool) -> None:
    evaluations = 3 if paid else 0
    study = private_study(epsilon=epsilon, paid=paid)
    total = _promise(epsilon=epsilon, paid=paid).total
    judged = _judge(dp.rdp.RdpAccountant(ORDERS.tolist()), study, rounds=ROUNDS, evaluations=evaluations)
    assert total.rdp == pytest.approx(judged, rel=2e-3)
    assert total.rdp <= epsilon
    judged = _judge(dp.pld.PLDAccountant(), study, rounds=ROUNDS, evaluations=evaluations)
    assert total.pld == pytest.approx(judged, rel=2e-3)


def test_the_plan_repeats_the_manifests_own_sum() -> None:
    study = private_study()
    promise = _promise(epsilon=3.0, paid=True)
    assert promise.total.rdp == epsilon_of(study.privacy_events(), delta=DELTA)
    found = releases_of(study).until(ROUNDS)
    assert list(found) == ["training", "evaluation"]
    events = [event for releases in found.values() for event, times in releases for _ in range(times)]
    assert events == list(study.privacy_events())
    assert promise.noise_multiplier == study.mechanism("north").noise_multiplier
    assert (promise.steps, promise.rounds, promise.steps_per_round) == (ROUNDS * STEPS, ROUNDS, STEPS)
    assert promise.sampling_probability == study.mechanism("north").sampling_probability


@PLANS
def test_privacy_loss_distributions_are_tighter(epsilon: float, paid: bool) -> None:
    promise = _promise(epsilon=epsilon, paid=paid)
    figures = [promise.total, promise.one_round, *(entry.epsilon for entry in promise.after)]
    figures += [entry.alone for entry in promise.releases]
    assert all(figure.pld is not None and 0 < figure.pld < figure.rdp for figure in figures)


def test_rounds_compose_and_do_not_add_up() -> None:
    study = private_study(paid=False)
    promise = _promise(epsilon=3.0, paid=False)
    mechanism = study.mechanism("north")
    for entry in promise.after:
        judged = spent(mechanism, rounds_done=entry.round_number, delta=DELTA)
        assert entry.epsilon.rdp == judged.epsilon
    assert promise.after[0].epsilon == promise.one_round
    assert promise.after[-1].epsilon == promise.total
    assert promise.total.rdp < 0.8 * ROUNDS * promise.one_round.rdp
    grown = [entry.epsilon.rdp for entry in promise.after]
    assert grown == sorted(grown)


def test_an_evaluation_is_charged_in_the_round_it_is_due() -> None:
    study = private_study()
    due = [releases_of(study).until(number)["evaluation"][0][1] for number in range(ROUNDS + 1)]
    assert due == [0, 0, 1, 1, 2, 2, 3]


def test_paid_preparation_is_shown_before_the_first_round() -> None:
    study = prepared_study(epsilon=4.0)
    event = study.preparation_event()
    assert event == DiscreteGaussian(sensitivity_squared=2 * 12, variance=3000)
    assert releases_of(study).until(0)["preparation"] == ((event, 1),)
    promise = plan_of(study).promise
    assert promise is not None
    assert [(entry.kind, entry.releases) for entry in promise.releases] == [
        ("preparation", 1), ("training", ROUNDS), ("evaluation", 3),
    ]  # fmt: skip
    assert promise.total.rdp == epsilon_of_cost(study.privacy_cost(), delta=DELTA)
    assert promise.after[0].epsilon.rdp > promise.one_round.rdp


def test_a_plan_that_misses_a_charge_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    study = private_study()
    monkeypatch.setattr(StudyManifest, "privacy_cost", lambda _: add(NOTHING, (1,) * len(NOTHING)))
    with pytest.raises(InternalError, match="expected the plan to show every release"):
        plan_of(study)


def test_shares_are_of_the_divergence_at_the_order_that_proves_the_total() -> None:
    promise = _promise(epsilon=3.0, paid=True)
    assert [entry.kind for entry in promise.releases] == ["training", "evaluation"]
    assert sum(entry.share for entry in promise.releases) == pytest.approx(1, abs=1e-12)
    # A Gaussian release of sensitivity 1 has the divergence order / (2 variance); dp-accounting says the rest.
    privacy = private_study().privacy
    assert isinstance(privacy, PatientLevelPrivacy)
    judge = dp.rdp.RdpAccountant([promise.order])
    step = dp.PoissonSampledDpEvent(privacy.sampling_probability, dp.GaussianDpEvent(privacy.noise_multiplier))
    judge.compose(step, ROUNDS * STEPS)
    training, evaluation = judge._rdp[0], 3 * promise.order / (2 * VARIANCE)
    assert promise.releases[1].share == pytest.approx(evaluation / (training + evaluation), rel=1e-3)
    assert [entry.share for entry in _promise(epsilon=3.0, paid=False).releases] == [1.0]


def test_every_site_has_its_own_noise() -> None:
    plan = private_plan()
    promise = plan.promise
    assert promise is not None
    assert promise.parameters == 5
    for site, patients in zip(plan.sites, (120, 60, 25), strict=True):
        assert site.declared_patients == patients
        assert site.patients_per_step == pytest.approx(0.2 * patients)
        assert site.noise_of_mean == pytest.approx(promise.noise_multiplier / (0.2 * patients))
        assert site.signal_to_noise == pytest.approx(0.2 * patients / (promise.noise_multiplier * math.sqrt(5)))
        assert site.epsilon == promise.total
        assert site.ledger is None


@pytest.mark.statistical
def test_noise_of_the_federated_mean_is_what_averaging_leaves() -> None:
    promise = private_plan()
    generator = np.random.default_rng(5)
    draws = np.stack([generator.normal(0, site.noise_of_mean, 100_000) for site in promise.sites])
    measured = np.average(draws, axis=0, weights=[3, 1, 1]).std()
    assert promise.promise is not None
    assert promise.promise.noise_of_federated_mean == pytest.approx(measured, rel=0.015)  # 6 standard errors
    assert promise.promise.noise_of_federated_mean < 0.95 * max(site.noise_of_mean for site in promise.sites)


def test_without_privacy_there_is_no_guarantee() -> None:
    plan = plan_of(manifest())
    assert (plan.promise, plan.sites, plan.statement) == (None, (), NO_GUARANTEE)
    assert PrivacyPlan.from_json(plan.model_dump_json()) == plan


def test_the_plan_is_a_document() -> None:
    plan = private_plan()
    assert PrivacyPlan.from_json(plan.model_dump_json()) == plan
    schema = PrivacyPlan.model_json_schema()
    assert set(schema["required"]) == {"study", "version", "manifest", "statement", "promise", "sites"}
    assert schema["additionalProperties"] is False
    with pytest.raises(ManifestError, match="noise"):
        PrivacyPlan.from_data(plan.as_data() | {"noise": 1})


@pytest.mark.parametrize("rounds", [1, 2, 7, 8, 9, 100, 99_999])
def test_milestones_begin_with_the_first_round_and_end_with_the_last(rounds: int) -> None:
    found = milestones(rounds)
    assert (found[0], found[-1]) == (1, rounds)
    assert len(found) <= 9
    assert list(found) == sorted(set(found))


def _site_level(epsilon: float = 8.0, sites: int = 25) -> StudyManifest:
    names = [f"site-{number}" for number in range(sites)]
    return manifest(
        privacy={
            "kind": "site_level", "epsilon": epsilon, "delta": DELTA, "clipping_norm": 2.0, "noise_multiplier": 5.0,
        },
        evaluation={"release": "none"},
        roster=[{"site": name, "weight": 1.0, "training_patients": 40} for name in names],
    )  # fmt: skip


def test_site_level_privacy_protects_sites_and_says_against_whom() -> None:
    plan = plan_of(_site_level())
    promise = plan.promise
    assert promise is not None
    assert (promise.unit, promise.sampling_probability, promise.steps) == ("site", 1.0, 4)
    assert promise.noise_of_federated_mean == pytest.approx(5.0 * 2.0 / 25)
    assert "not against the aggregator" in plan.statement
    assert "no ledger of patients is charged" in plan.statement
    assert plan.sites == ()
    judge = dp.rdp.RdpAccountant(ORDERS.tolist())
    judge.compose(dp.GaussianDpEvent(5.0), 4)
    assert promise.total.rdp == pytest.approx(judge.get_epsilon(DELTA), rel=1e-3)
    assert promise.total.pld is not None
    assert promise.total.pld < promise.total.rdp
