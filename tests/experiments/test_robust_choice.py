"""From the settings of robust aggregation to what a roster agrees on."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from aggregator.report.content import Exclusion
from conf.loading import compose
from conf.validation import build
from experiments.progress import round_note
from experiments.result_tables import show_summary
from experiments.robust_choice import AggregationChoice, compose_aggregation
from experiments.settings import SimulationSettings
from federation.errors import ConfigurationError
from federation.study.agreements import AggregationSpec
from federation.study.result import RoundResult
from tests.experiments.example_summary import summary

RULES = {
    "open_robust": "trimmed_mean",
    "open_robust_median": "median",
    "open_robust_krum": "krum",
    "open_robust_geometric_median": "geometric_median",
}


def _choice(*overrides: str) -> AggregationChoice:
    return build(SimulationSettings, compose(list(overrides))).aggregation


def _sites(number: int) -> tuple[str, ...]:
    return tuple(f"site-{place}" for place in range(number))


def _agreed(*overrides: str, number: int = 10) -> AggregationSpec:
    return compose_aggregation(_choice(*overrides), _sites(number))


@pytest.mark.parametrize(("option", "kind"), RULES.items())
def test_an_option_brings_its_rule(option: str, kind: str) -> None:
    agreed = _agreed(f"aggregation={option}")
    assert agreed.mode == "open_robust"
    assert agreed.robust is not None
    assert agreed.robust.rule.kind == kind


@pytest.mark.parametrize(("number", "faulty"), [(3, 1), (4, 1), (5, 1), (7, 2), (10, 3), (20, 6)])
def test_by_default_three_sites_in_ten_and_at_least_one_may_be_faulty(number: int, faulty: int) -> None:
    agreed = _agreed("aggregation=open_robust", number=number)
    assert agreed.robust is not None
    assert agreed.robust.byzantine == faulty
    assert agreed.quorum == number - faulty, "faulty sites cannot stop the study by saying nothing"


def test_plain_averaging_needs_every_site_by_default() -> None:
    agreed = _agreed("aggregation=plain")
    assert (agreed.mode, agreed.quorum, agreed.robust) == ("plain", 10, None)


def test_whom_to_trust_has_no_default() -> None:
    with pytest.raises(ConfigurationError, match=r"rule\.root=SITE"):
        _agreed("aggregation=open_robust_fltrust")
    agreed = _agreed("aggregation=open_robust_fltrust", "aggregation.robust.rule.root=site-4")
    assert agreed.robust is not None
    assert agreed.robust.rule.as_data() == {"kind": "fltrust", "root": "site-4"}


@pytest.mark.parametrize(
    ("overrides", "number", "words"),
    [
        (["aggregation=open_robust_krum", "aggregation.robust.byzantine=2"], 5, "at least 7 sites for krum"),
        (["aggregation=open_robust"], 2, "at least 3 sites"),
        (["aggregation=open_robust_fltrust", "aggregation.robust.rule.root=nobody"], 5, "trusted root"),
        (["aggregation=open_robust", "aggregation.quorum=11"], 10, "at most the study's 10 sites"),
        (["aggregation=plain", "aggregation.mode=open_robust"], 5, "expected a rule in mode 'open_robust'"),
    ],
)
def test_what_does_not_fit_the_sites_is_refused_with_a_remedy(overrides: list[str], number: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        _agreed(*overrides, number=number)
    assert caught.value.remedy


def _round(**changes: dict[str, str]) -> RoundResult:
    return RoundResult(
        round_number=1, contributors=(), dropouts={}, metrics={"auroc": 0.5}, site_metrics={}, epsilon_spent={},
        update_norm=0.0, model_digest="sha256:x", seconds=0.0, **changes,
    )  # fmt: skip


def test_progress_names_who_was_left_out() -> None:
    assert round_note(_round(exclusions={"north": "why", "south": "why"})) == "auroc 0.500 · left out: north, south"
    assert "left out" not in round_note(_round())


def test_the_summary_says_who_was_left_out_and_why(tmp_path: Path) -> None:
    console = Console(width=200)
    left_out = Exclusion(site="north", rounds=3, reason="sent 5 numbers that are not finite")
    with console.capture() as captured:
        show_summary(console, summary(tmp_path, exclusions=(left_out,)))
    assert "left out north in 3 rounds: sent 5 numbers that are not finite" in captured.get()
