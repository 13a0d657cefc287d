import math

from aggregator.report.facts import convergence
from aggregator.report.statement import privacy_statement
from tests.example_report import example_manifest, example_result


def of(manifest, *, seeded=False, references=()):
    return privacy_statement(
        manifest, rounds=convergence(example_result(manifest)), seeded=seeded, references=references
    )


def test_epsilon_never_comes_without_delta_unit_and_adjacency():
    found = of(example_manifest())
    values = {fact.label: fact.value for fact in found.parameters}
    assert values["Promised epsilon, delta"] == "2, 0.001"
    assert values["Unit of protection"] == "one patient"
    assert values["Adjacency"] == "add or remove one"
    assert values["Noisy steps per site"] == "300"
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
