"""Attacks inside a secure sum: the gate rolls the round back in which they do harm, and nothing else is lost."""

from __future__ import annotations

import pytest

from experiments.attacks.__main__ import RULES, _settings
from experiments.attacks.contest import Bout, Contest, prepare_contest
from experiments.attacks.malice import Attack
from experiments.attacks.masked import BLIND, attacked_rounds
from experiments.attacks.table import KEPT

SHORT = ("study=demo", "privacy=none", "schedule.rounds=5", "schedule.local_steps=5")
ATTACKED = attacked_rounds(5)


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    return prepare_contest(_settings(SHORT), faulty=1, folder=tmp_path_factory.mktemp("masked"))


def _bout(contest: Contest, attack: Attack | None, *changes: str) -> Bout:
    choice = _settings((*SHORT, *RULES["masked"], *changes)).aggregation
    return contest.run("masked", choice, attack)


@pytest.fixture(scope="module")
def clean(contest: Contest) -> Bout:
    found = _bout(contest, None)
    assert (found.rounds_rolled_back, found.rounds_excluded) == ((), {})
    return found


@pytest.mark.parametrize("attack", ["sign_flip", "huge", "label_flip"])
def test_harm_is_rolled_back_in_the_round_in_which_it_is_done(contest: Contest, clean: Bout, attack: Attack) -> None:
    found = _bout(contest, attack)
    assert found.rounds_rolled_back == ATTACKED
    assert found.auroc is not None
    assert clean.auroc is not None
    assert found.auroc >= KEPT * clean.auroc


def test_without_the_gate_the_same_attack_does_harm(contest: Contest, clean: Bout) -> None:
    found = _bout(contest, "sign_flip", "aggregation.masked.held_out_bound=null")
    assert found.rounds_rolled_back == ()
    assert found.brier is not None
    assert clean.brier is not None
    assert found.brier > clean.brier + 0.02


@pytest.mark.parametrize("attack", ["nan", "wrong_shape"])
def test_what_is_no_update_is_a_site_that_dropped_out(contest: Contest, clean: Bout, attack: Attack) -> None:
    found = _bout(contest, attack)
    (site,) = contest.malicious
    assert found.rounds_excluded == {site: len(ATTACKED)}
    assert found.auroc is not None
    assert clean.auroc is not None
    assert found.auroc >= KEPT * clean.auroc


@pytest.mark.parametrize("attack", sorted(BLIND))
def test_attacks_that_need_to_see_the_others_are_not_pretended(contest: Contest, attack: Attack) -> None:
    assert _bout(contest, attack).auroc is None
