"""From settings to a manifest: what evaluation costs, and that the whole keeps its promise."""

from __future__ import annotations

import pytest

from conf.loading import compose
from conf.validation import build
from experiments.composition import (
    compose_cohort,
    compose_evaluation,
    compose_manifest,
    compose_schedule,
    without_privacy,
)
from experiments.settings import SimulationSettings
from experiments.studies.heart_disease.study import define
from federation.errors import ManifestError, PrivacyRefusedError
from federation.privacy.accounting import NOTHING, add, cost_of, epsilon_of_cost
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest

DEFINITION = define()
SITES = {"cleveland": 200, "hungarian": 190}


def _settings(*overrides: str) -> SimulationSettings:
    return build(SimulationSettings, compose(["study=heart_disease", "schedule=short", *overrides]))


def _manifest(*overrides: str) -> StudyManifest:
    settings = _settings(*overrides)
    cohort = compose_cohort(settings, DEFINITION, seed=1)
    return compose_manifest(settings, DEFINITION, cohort=cohort, training_patients=SITES, seed=1)


def _promise(manifest: StudyManifest) -> PatientLevelPrivacy:
    assert isinstance(manifest.privacy, PatientLevelPrivacy)
    return manifest.privacy


def _evaluation_epsilon(manifest: StudyManifest) -> float:
    event = manifest.evaluation_event()
    assert event is not None
    cost = add(NOTHING, cost_of(event), times=len(manifest.evaluation_rounds()))
    return epsilon_of_cost(cost, delta=_promise(manifest).delta)


def test_without_privacy_sums_are_exact_and_follow_the_schedule() -> None:
    manifest = _manifest("privacy=none", "schedule.evaluate_every=2")
    assert manifest.evaluation.noise is None
    assert manifest.evaluation.score_bins == 200
    assert manifest.evaluation_rounds() == (2, 4, 5)
    assert _manifest("privacy=none", "evaluation.every=3").evaluation_rounds() == (3, 5)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_a_private_study_pays_within_its_share_and_keeps_its_promise(share: float) -> None:
    manifest = _manifest("privacy=patient_level", f"evaluation.share={share}")
    promise = _promise(manifest)
    assert manifest.evaluation_rounds() == (5,)
    assert manifest.evaluation.score_bins == 20
    assert 0.9 * share * promise.epsilon < _evaluation_epsilon(manifest) <= share * promise.epsilon
    total = epsilon_of_cost(manifest.privacy_cost(), delta=promise.delta)
    assert 0.999 * promise.epsilon < total <= promise.epsilon


def test_all_evaluations_together_stay_within_the_share() -> None:
    once, often = _manifest("privacy=patient_level"), _manifest("privacy=patient_level", "evaluation.every=1")
    assert often.evaluation_rounds() == (1, 2, 3, 4, 5)
    assert _evaluation_epsilon(often) <= 0.1 * _promise(often).epsilon
    assert once.evaluation.noise is not None
    assert often.evaluation.noise is not None
    assert often.evaluation.noise.variance > 4 * once.evaluation.noise.variance


def test_subgroups_and_more_records_of_a_patient_need_more_noise() -> None:
    plain = _manifest("privacy=patient_level")
    more = _manifest("privacy=patient_level", "evaluation.subgroups=[male]", "evaluation.max_records_per_patient=2")
    assert plain.evaluation.noise is not None
    assert more.evaluation.noise is not None
    assert more.evaluation.noise.sensitivity_squared == 8
    assert more.evaluation.noise.variance == pytest.approx(8 * plain.evaluation.noise.variance, rel=0.05)
    with pytest.raises(ManifestError, match="levels"):
        _manifest("privacy=patient_level", "evaluation.subgroups=[age]")


def test_a_private_study_that_releases_nothing_pays_nothing() -> None:
    silent, paid = _manifest("privacy=patient_level", "evaluation.release=none"), _manifest("privacy=patient_level")
    assert silent.evaluation_event() is None
    assert silent.evaluation_rounds() == ()
    assert _promise(silent).noise_multiplier < _promise(paid).noise_multiplier


def test_a_private_study_never_releases_exact_sums() -> None:
    for release in ("sum", "per_site"):
        assert compose_evaluation(_settings("privacy=patient_level", f"evaluation.release={release}")).noise is not None


def test_the_same_federation_without_privacy_is_valid_and_exact() -> None:
    plain = without_privacy(_manifest("privacy=patient_level"))
    assert StudyManifest.from_data(plain.as_data()) == plain
    assert plain.evaluation_event() is None
    assert plain.evaluation_rounds() == (5,)


def test_a_share_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(PrivacyRefusedError, match="some noise"):
        _manifest("privacy=patient_level", "privacy.epsilon=0.001", "evaluation.share=0.001", "privacy.delta=1e-12")


def test_the_interval_of_the_evaluation_wins_over_the_schedules() -> None:
    assert compose_schedule(_settings("privacy=patient_level", "evaluation.every=2")).evaluate_every == 2
    assert compose_schedule(_settings("privacy=patient_level", "evaluation.release=none")).evaluate_every == 1


def test_published_figures_at_epsilon_one_spend_all_of_it_on_training() -> None:
    settings = build(SimulationSettings, compose(["experiment=heart_disease_epsilon1"]))
    assert settings.evaluation.release == "none"
