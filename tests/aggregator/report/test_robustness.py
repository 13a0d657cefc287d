from dataclasses import replace

import pytest

from aggregator.report.content import Exclusion, StudyReport
from aggregator.report.facts import convergence, training_facts
from aggregator.report.html import render_html
from aggregator.report.robustness import exclusions
from aggregator.run_records import round_record
from tests.aggregator.robust_study import robust_manifest
from tests.example_report import example_manifest, example_report, example_result

NAN, FAR = "sent 5 numbers that are not finite", "norm 40 is above the bound of 10"


def attacked_result():
    result = example_result(example_manifest())
    reasons = {2: {"cleveland": NAN}, 3: {"cleveland": FAR, "hungarian": FAR}}
    rounds = (replace(entry, exclusions=reasons.get(entry.round_number, {})) for entry in result.rounds)
    return replace(result, rounds=tuple(rounds))


def attacked_report() -> StudyReport:
    return example_report().model_copy(update={"convergence": convergence(attacked_result())})


def test_sites_are_counted_with_their_last_reason_the_most_frequent_first():
    expected = (
        Exclusion(site="cleveland", rounds=2, reason=FAR),
        Exclusion(site="hungarian", rounds=1, reason=FAR),
    )
    assert exclusions(attacked_result().rounds) == expected
    assert exclusions(convergence(attacked_result())) == expected


def test_the_page_says_who_was_left_out_how_often_and_why():
    text = render_html(attacked_report())
    assert "Updates left out by robust aggregation" in text
    assert "2 of 15" in text
    assert FAR in text
    assert "the updates of cleveland, hungarian were left out" in text


def test_a_page_without_exclusions_speaks_of_none():
    text = render_html(example_report())
    assert "left out by robust aggregation" not in text
    assert "were left out (see Convergence)" not in text


def test_exclusions_are_part_of_the_report_as_data():
    report = attacked_report()
    again = StudyReport.from_json(report.model_dump_json())
    assert [point.exclusions for point in again.convergence[:3]] == [
        {},
        {"cleveland": NAN},
        {"cleveland": FAR, "hungarian": FAR},
    ]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"kind": "trimmed_mean"}, "the 2 smallest and 2 largest"),
        ({"kind": "median"}, "every site counts the same"),
        ({"kind": "krum"}, "honest ones may be left out"),
        ({"kind": "geometric_median"}, "smallest sum of distances"),
        ({"kind": "fltrust", "root": "site-3"}, "the trusted site site-3"),
    ],
)
def test_the_rule_and_what_it_is_to_survive_are_told(rule, words):
    facts = {fact.label: fact for fact in training_facts(robust_manifest(rule))}
    assert facts["Combination of updates"].value.endswith("to survive 2 faulty of 7 sites")
    assert words in facts["Combination of updates"].explanation
    assert facts["Bound on updates"].value == "length 10"


@pytest.mark.parametrize(("beyond", "words"), [("exclude", "left out."), ("clip", "shortened.")])
def test_what_becomes_of_a_longer_update_is_told(beyond, words):
    facts = {fact.label: fact for fact in training_facts(robust_manifest(beyond_bound=beyond))}
    assert facts["Bound on updates"].explanation.startswith(f"Longer updates are {words}")


def test_a_plain_study_tells_of_no_rule():
    assert "Combination of updates" not in {fact.label for fact in training_facts(example_manifest())}


def test_a_tracked_round_counts_exclusions_and_the_sites_do_not_count_as_contributors():
    result = attacked_result().rounds[2]
    metrics = round_record(replace(result, contributors=("switzerland",))).metrics
    assert metrics["round/exclusions"] == 2.0
    assert (metrics["site/cleveland/contributed"], metrics["site/switzerland/contributed"]) == (0.0, 1.0)
    assert "round/exclusions" not in round_record(attacked_result().rounds[0]).metrics
