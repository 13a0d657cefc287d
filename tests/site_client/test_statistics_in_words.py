"""An officer reads what exact statistics take out of the hospital, and the site's policy decides about them."""

from __future__ import annotations

import pytest

from site_client.policy_check import check
from site_client.what_leaves import what_leaves
from tests.agreed_variants import CONTRACT as GENOTYPES
from tests.agreed_variants import agreed_variants
from tests.site_client.test_policy import policy
from tests.small_proposal import proposal, roster
from tests.statistics_bench import CONTRACT
from tests.statistics_study import ANALYSES, agreed

NAMES = tuple(ANALYSES)


def statistical(*names, **spec):
    return proposal(
        roster=roster(),
        contract=CONTRACT.as_data(),
        privacy={"kind": "none"},
        evaluation={"release": "none"},
        statistics={"analyses": [agreed(name, ANALYSES[name]) for name in names], **spec},
    )


def broken(of, **rules):
    return [violation.rule for violation in check(policy(allowed_privacy=["none"], **rules), of, "north")]


def test_exact_statistics_must_be_allowed_and_limited_by_the_site():
    study = statistical("wards", "deaths", threshold=10, most_sums=200)
    limits = {"allow_exact_statistics": True, "min_statistics_threshold": 10, "max_statistics_sums": 200}
    assert broken(study) == ["allow_exact_statistics", "min_statistics_threshold", "max_statistics_sums"]
    assert broken(study, **limits) == []
    assert broken(study, **limits | {"allow_exact_statistics": False}) == ["allow_exact_statistics"]
    assert broken(study, **limits | {"min_statistics_threshold": 11}) == ["min_statistics_threshold"]
    assert broken(study, **limits | {"max_statistics_sums": 199}) == ["max_statistics_sums"]
    assert broken(study, **{name: value for name, value in limits.items() if name != "max_statistics_sums"}) == [
        "max_statistics_sums"
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ages", "a description of age, ward"),
        ("wards", "a table of ward by died"),
        ("deaths", "a logistic regression of died on age, male, ward"),
        ("curves", "survival curves of weeks until event by male"),
        ("hazards", "a Cox regression of weeks until event on age, male"),
        ("ranks", "a comparison of weeks until event by male"),
        ("odds", "the odds ratio of male and died"),
        ("mean_effect", "a logistic regression of died on age, fitted by each hospital for itself"),
        ("components", "principal components of age, lactate"),
    ],
)
def test_each_analysis_is_said_in_words(name, words):
    found = [fact for fact in what_leaves(statistical(name).manifest) if fact.startswith("sums for")]
    assert len(found) == 1
    assert words in found[0]
    assert "EXACT" in found[0]
    assert "at least 3 of 3 hospitals" in found[0]


def test_a_selection_is_said_too():
    study = statistical("wards").as_data()
    selection = {"where": [{"variable": "age", "operator": "ge", "value": 65}], "complete": ["died", "ward"]}
    study["manifest"]["statistics"]["analyses"][0]["selection"] = selection
    found = what_leaves(type(statistical("wards")).from_data(study).manifest)
    assert any("of patients where age is at least 65" in fact for fact in found)


def test_a_study_without_statistics_says_nothing_of_them():
    said = what_leaves(proposal().manifest)
    assert not any("EXACT, without noise" in fact or "begin again without it" in fact for fact in said)


@pytest.mark.parametrize(("drop_outs", "words"), [("wait", "answers for no other set"), ("leave_out", "own part")])
def test_an_officer_reads_what_a_hospital_that_drops_out_gives_away(drop_outs, words):
    assert any(words in fact for fact in what_leaves(statistical("wards", drop_outs=drop_outs).manifest))


def test_an_association_study_is_said_with_what_its_results_tell():
    study = statistical("wards").as_data()
    study["manifest"]["contract"] = GENOTYPES.as_data()
    study["manifest"]["statistics"]["analyses"] = [agreed_variants()[0].as_data()]
    said = what_leaves(type(statistical("wards")).from_data(study).manifest)
    (words,) = [fact for fact in said if fact.startswith("sums for")]
    assert "the association of 40 genetic variants with trait, beside age, 2 components of ancestry" in words
    assert "(linear)" in words
    assert any("whether that person is among the patients" in fact for fact in said)
    assert any("a variant that few patients carry" in fact for fact in said)
    assert not any("genetic" in fact for fact in what_leaves(statistical("wards").manifest))
