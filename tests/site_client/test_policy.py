from __future__ import annotations

import datetime as dt

import pytest
import yaml

from federation.errors import ConfigurationError, InvalidInputError, ManifestError, PolicyRefusedError
from federation.governance.proposals import Proposal
from site_client.policy import SitePolicy, example_policy, read_policy
from site_client.policy_check import check, check_policy
from tests.small_proposal import COORDINATOR, LEAD, key_of, proposal, roster, study_data
from tests.small_study import private

WIDE = {
    "allowed_leads": [LEAD.public_key],
    "allowed_provenance": ["patients"],
    "allowed_tasks": ["binary"],
    "allowed_models": ["linear"],
    "allowed_aggregation": ["masked"],
    "allowed_privacy": ["patient_level"],
    "allowed_noise": ["local"],
    "allowed_releases": ["none"],
    "max_records_per_patient": 5,
    "min_training_patients": 400,
    "epsilon_cap_per_study": 2.0,
    "max_delta": 1e-5,
    "min_noise_multiplier": 0.5,
    "max_sampling_probability": 0.25,
    "max_rounds": 4,
    "min_sites": 3,
    "min_threshold_fraction": 0.66,
    "min_other_approvals": 2,
    "known_sites": {"south": key_of("south").public_key},
    "min_known_sites": 1,
    "training_hours": "00:00-24:00",
    "training_days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
}


def policy(**changes) -> SitePolicy:
    return SitePolicy.from_data(WIDE | changes)


def rules(found: SitePolicy | None, of: Proposal | None = None) -> list[str]:
    return [violation.rule for violation in check(found, of or proposal(), "north")]


def test_a_study_within_every_limit_is_allowed():
    assert rules(policy()) == []
    check_policy(policy(), proposal(), "north")


# Each limit is as wide as the study needs, so one step narrower breaks it, and it alone.
NARROWER = {
    "allowed_leads": [key_of("somebody").public_key],
    "allowed_provenance": ["synthetic", "public"],
    "allowed_tasks": ["multiclass", "regression"],
    "allowed_models": ["mlp", "cnn"],
    "allowed_aggregation": ["plain", "open_robust"],
    "allowed_privacy": ["none", "site_level"],
    "allowed_noise": ["distributed"],
    "allowed_releases": ["sum", "per_site"],
    "max_records_per_patient": 4,
    "min_training_patients": 401,
    "epsilon_cap_per_study": 1.9999999,
    "max_delta": 9.99e-6,
    "min_noise_multiplier": 100.0,
    "max_sampling_probability": 0.2499999,
    "max_rounds": 3,
    "min_sites": 4,
    "min_threshold_fraction": 1.0,
    "min_other_approvals": 3,
    "min_known_sites": 2,
}


@pytest.mark.parametrize("rule", NARROWER)
def test_each_rule_is_broken_alone(rule):
    five = proposal(roster=roster(("north", "south", "west", "east", "centre"))) if "threshold" in rule else None
    assert rules(policy(**{rule: NARROWER[rule]}), five) == [rule]


@pytest.mark.parametrize("rule", NARROWER)
def test_a_rule_that_is_left_out_allows_nothing(rule):
    without = SitePolicy.from_data({name: value for name, value in WIDE.items() if name != rule})
    assert rules(without) == [rule]


@pytest.mark.parametrize("rule", [rule for rule in NARROWER if rule.startswith("allowed")])
def test_an_empty_list_allows_nothing(rule):
    assert rules(policy(**{rule: []})) == [rule]


def test_no_policy_and_an_empty_one_allow_nothing():
    assert rules(None) == ["policy"]
    assert set(rules(SitePolicy())) == set(NARROWER)
    with pytest.raises(PolicyRefusedError, match="beyond it") as caught:
        check_policy(SitePolicy(), proposal(), "north")
    assert "max_rounds" in caught.value.facts["rules"]


def test_another_key_for_a_known_site_is_seen():
    of_other = policy(known_sites={"south": key_of("somebody").public_key}, min_known_sites=0)
    assert rules(of_other) == ["known_sites"]


def test_this_site_itself_is_nobody_that_is_known():
    only_north = policy(known_sites={"north": key_of("north").public_key})
    assert rules(only_north) == ["min_known_sites"]


def test_records_of_the_evaluation_count_too():
    noise = {"variance": 10_000, "max_records_per_patient": 6}
    paid = study_data(privacy=private(epsilon=2.0, delta=1e-5, steps=40), evaluation={"release": "sum", "noise": noise})
    found = rules(policy(allowed_releases=["sum"]), proposal(**paid))
    assert found == ["max_records_per_patient"]


def test_noisy_counts_before_the_first_round_must_be_allowed():
    preparation = {"variance": 1_000_000, "levels": 4}
    prepared = proposal(**study_data(privacy=private(epsilon=2.0, delta=1e-5, steps=40), preparation=preparation))
    assert rules(policy(), prepared) == ["allow_preparation"]
    assert rules(policy(allow_preparation=True), prepared) == []


def test_a_seed_must_be_allowed():
    seeded = proposal(terms={"test_seed": 3}, cohort={"provenance": "synthetic"})
    synthetic = policy(allowed_provenance=["synthetic"])
    assert rules(synthetic, seeded) == ["allow_test_seed"]
    assert rules(policy(allowed_provenance=["synthetic"], allow_test_seed=True), seeded) == []


def test_a_study_without_privacy_must_be_allowed_by_name():
    open_study = proposal(**study_data(privacy={"kind": "none"}, evaluation={"release": "none"}))
    assert rules(policy(), open_study) == ["allowed_privacy"]


def test_the_violation_says_what_is_allowed_and_what_is_wanted():
    (found,) = check(policy(max_rounds=3), proposal(), "north")
    assert str(found) == "max_rounds: allowed at most 3, wanted 4"


def test_a_site_outside_the_roster_has_nothing_to_check():
    with pytest.raises(ManifestError, match="a site of the roster"):
        check(policy(), proposal(), "east")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"allowed_lead": []}, "did you mean 'allowed_leads'"),
        ({"max_rounds": "4"}, "max_rounds"),
        ({"max_rounds": True}, "max_rounds"),
        ({"max_rounds": -1}, "max_rounds"),
        ({"epsilon_cap_per_study": -0.1}, "epsilon_cap_per_study"),
        ({"allowed_models": ["everything"]}, "allowed_models"),
        ({"allowed_leads": ["AB" * 32]}, "allowed_leads"),
        ({"allow_test_seed": "yes"}, "allow_test_seed"),
        ({"training_hours": "8-18"}, "training_hours"),
        ({"training_hours": "08:00-08:00"}, "training_hours"),
        ({"training_hours": "24:00-08:00"}, "training_hours"),
        ({"training_days": ["Monday"]}, "training_days"),
        ({"format": "cohortium/site-policy/2"}, "format"),
    ],
)
def test_a_mistake_in_the_file_is_an_error_and_no_permission(change, expected, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(WIDE | change))
    with pytest.raises(ConfigurationError, match=expected):
        read_policy(path)


@pytest.mark.parametrize("text", ["", "[]", "all", "max_rounds: 1\nmax_rounds: 100\n", "a: [", "\x00"])
def test_a_damaged_file_is_an_error_and_no_permission(text, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        read_policy(path)


def test_a_link_into_nowhere_is_an_error(tmp_path):
    (tmp_path / "policy.yaml").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigurationError):
        read_policy(tmp_path / "policy.yaml")
    assert read_policy(tmp_path / "absent.yaml") is None


def test_the_example_is_strict_and_complete():
    found = SitePolicy.from_data(yaml.safe_load(example_policy((LEAD.public_key,))))
    assert found.allowed_leads == (LEAD.public_key,)
    assert set(yaml.safe_load(example_policy())) == set(SitePolicy.model_fields)
    assert rules(found) == []
    assert rules(SitePolicy.from_data(yaml.safe_load(example_policy()))) == ["allowed_leads"]
    unprotected = proposal(**study_data(privacy={"kind": "none"}, aggregation={"quorum": 3}))
    assert {"allowed_privacy", "allowed_aggregation"} <= set(rules(found, unprotected))
    assert COORDINATOR.public_key not in example_policy()


def at(day: int, hour: int, minute: int = 0) -> dt.datetime:
    """The 5th of May 2031 is a Monday."""
    return dt.datetime(2031, 5, day, hour, minute, tzinfo=dt.timezone(dt.timedelta(hours=2)))


def test_training_within_hours_and_days_only():
    office = policy(training_hours="08:30-17:00", training_days=["mon", "tue"])
    assert [office.may_train_at(at(5, *time)) for time in ((8, 29), (8, 30), (16, 59), (17, 0))] == [
        False,
        True,
        True,
        False,
    ]
    assert [office.may_train_at(at(day, 12)) for day in (4, 5, 6, 7)] == [False, True, True, False]


def test_a_night_belongs_to_the_day_on_which_it_begins():
    night = policy(training_hours="22:00-06:00", training_days=["fri"])
    assert night.may_train_at(at(9, 22))
    assert night.may_train_at(at(10, 5, 59))
    assert not night.may_train_at(at(10, 6))
    assert not night.may_train_at(at(10, 22))
    assert not night.may_train_at(at(9, 5))
    assert not night.may_train_at(at(9, 12))


def test_around_the_clock_and_never():
    assert all(policy().may_train_at(at(day, hour)) for day in range(4, 11) for hour in (0, 12, 23))
    assert not SitePolicy().may_train_at(at(5, 12))
    assert not policy(training_days=[]).may_train_at(at(5, 12))
    with pytest.raises(InvalidInputError, match="time zone"):
        policy().may_train_at(dt.datetime(2031, 5, 5, 12))  # noqa: DTZ001 - the mistake that is tested
