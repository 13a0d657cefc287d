import math

import pytest

from aggregator.report.facts import convergence
from aggregator.report.statement import privacy_statement, with_audits
from federation.errors import InvalidInputError
from federation.privacy.calibration import calibrate_noise_multiplier
from tests.example_report import example_manifest, example_result
from tests.federation.privacy.example_audit import example_audit
from tests.small_study import manifest


def of(manifest, *, seeded=False, references=()):
    return privacy_statement(
        manifest, rounds=convergence(example_result(manifest)), seeded=seeded, references=references
    )


def test_epsilon_never_comes_without_delta_unit_and_adjacency():
    found = of(example_manifest())
    values = {fact.label: fact.value for fact in found.parameters}
    assert values["Promised epsilon, delta"] == "2, 0.001"
    assert values["Unit of privacy"] == "one patient"
    assert values["Neighbouring data sets"] == "add or remove one patient"
    assert {fact.label: fact.value for fact in found.hyperparameters}["Noisy steps per site"] == "300"
    assert "epsilon 2 with delta 0.001" in found.summary
    assert f"factor of {math.exp(2):.2g}" in found.summary


def test_what_was_spent_is_of_the_last_round():
    assert of(example_manifest()).epsilon_spent["cleveland"] == 2.0


def test_limits_name_evaluation_several_hospitals_references_tuning_and_side_channels():
    limits = " ".join(of(example_manifest(), references=("Pooled records",)).not_covered)
    for words in (
        "test patients' exact scores",
        "epsilon 4 with delta 0.002",
        "at all 5 sites",
        "Pooled records",
        "every run counts",
        "Side channels",
    ):
        assert words in limits


def test_two_sites_need_no_further_sum():
    limits = " ".join(of(example_manifest(sites={"a": 20, "b": 20})).not_covered)
    assert "epsilon 4" in limits
    assert "at all" not in limits


def test_real_patients_have_no_evaluation_to_cover():
    limits = " ".join(of(example_manifest(provenance="patients")).not_covered)
    assert "no performance figure" in limits


def test_seeded_noise_is_marked():
    assert of(example_manifest(), seeded=True).reproducible_noise
    assert not of(example_manifest()).reproducible_noise


def test_without_privacy_nothing_is_promised():
    found = of(example_manifest(private=False), seeded=True)
    assert not found.private
    assert (found.epsilon, found.parameters, found.reproducible_noise) == (None, (), False)
    assert "no quantified guarantee" in found.summary
    assert "aggregator sees each of them" in found.trust_model


def test_the_statement_answers_every_point_of_nist_sp_800_226():
    found = of(example_manifest())
    labels = {fact.label for fact in (*found.parameters, *found.exposure)}
    assert {"Unit of privacy", "Neighbouring data sets", "Promised epsilon, delta", "Mechanism", "Accounting"} <= labels
    assert {"Data collection exposure", "Arithmetic side channels", "Other side channels"} <= labels
    assert "against everyone" in found.trust_model
    assert "local model of trust" in found.trust_model
    assert {"Noise multiplier", "Clipping norm", "Sampling probability", "Learning rate"} <= {
        fact.label for fact in found.hyperparameters
    }


def test_composition_counts_steps_and_names_ledger_and_cap():
    simulated = of(example_manifest()).composition
    assert "All 300 noisy steps" in simulated
    assert "never refunded" in simulated
    assert "cap is this study's promise" in simulated
    assert "not part of this report" in of(example_manifest(provenance="patients")).composition


def test_groups_and_public_constants_are_named_as_not_covered():
    limits = " ".join(of(example_manifest()).not_covered)
    assert "every smoker" in limits
    assert "public constants" in limits


def test_a_study_that_releases_no_evaluation_has_none_to_cover():
    limits = " ".join(of(example_manifest(evaluation={"release": "none"})).not_covered)
    assert "the study itself releases nothing about performance" in limits
    assert "what the simulator sees" in limits


def test_audits_are_shown_as_they_came():
    audits = (example_audit(), example_audit("one_run"))
    found = with_audits(of(example_manifest()), audits, manifest_digest="sha256:study")
    assert found.audits == audits
    assert of(example_manifest()).audits == ()


def test_audits_of_another_study_or_without_a_promise_are_refused():
    with pytest.raises(InvalidInputError, match="sha256:other"):
        with_audits(of(example_manifest()), (example_audit(digest="sha256:other"),), manifest_digest="sha256:study")
    plain = of(example_manifest(private=False))
    with pytest.raises(InvalidInputError, match="without privacy"):
        with_audits(plain, (example_audit(),), manifest_digest="sha256:study")
    assert with_audits(plain, (), manifest_digest="sha256:study") == plain


PAID = {"release": "per_site", "noise": {"variance": 2500, "max_records_per_patient": 3, "subgroups": ["sex"]}}


def test_paid_evaluation_is_covered_and_exact_figures_are_named():
    privacy = example_manifest().privacy.model_copy(update={"epsilon": 6.0}).as_data()
    shown, real = (
        of(example_manifest(evaluation=PAID, privacy=privacy, provenance=provenance))
        for provenance in ("public", "patients")
    )
    assert "paid for" in shown.not_covered[0]
    assert "exact scores" in shown.not_covered[0]
    assert "paid for" in real.not_covered[0]
    assert "no exact performance figure" in real.not_covered[0]
    noise = {fact.label: fact for fact in real.hyperparameters}["Noise of an evaluation"]
    assert noise.value == "50 a count"
    assert "3 records in each of 2 tables" in noise.explanation
    assert "Noise of an evaluation" not in {fact.label for fact in of(example_manifest()).hyperparameters}


def test_site_level_privacy_is_stated_for_sites_and_not_for_patients():
    noise = calibrate_noise_multiplier(epsilon=8.0, delta=1e-3, sampling_numerator=2**53, steps=1, rounds=4)
    study = manifest(
        privacy={"kind": "site_level", "epsilon": 8.0, "delta": 1e-3, "clipping_norm": 0.5, "noise_multiplier": noise},
        roster=[{"site": f"s{n}", "weight": 1.0, "training_patients": 40} for n in range(20)],
        evaluation={"release": "none"},
    )
    statement = privacy_statement(study, rounds=(), seeded=False)
    assert "every site as a whole" in statement.summary
    assert statement.parameters[0].value == "one site"
    assert any("aggregator" in limit for limit in statement.not_covered)
    assert "patient" not in statement.summary
