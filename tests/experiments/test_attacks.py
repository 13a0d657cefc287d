"""Attacks do what they say, plain averaging falls to them, robust rules do not, and who was left out is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from experiments.attacks.__main__ import CASES, RULES, Case, _settings, fight
from experiments.attacks.contest import Bout, Contest, prepare_contest
from experiments.attacks.malice import (
    ATTACKS,
    FREE_RIDER_SPREAD,
    HUGE,
    SCALING,
    SIGN_FLIP,
    Attack,
    MaliciousTransport,
    flipped,
    tampered,
)
from experiments.attacks.table import ACCEPTANCE_ATTACKS, KEPT, contest_table, share_kept, worst_kept
from federation.errors import ConfigurationError, InvalidInputError
from federation.privacy.randomness import seeded_streams
from federation.protocol.messages import Envelope, EvaluateRequest, TrainReply, read_envelope
from tests.aggregator.robust_study import Answers, collect, honest, robust_manifest
from tests.small_study import site_data

OWN = np.linspace(-1, 1, 50)
HONEST = [OWN + shift for shift in (-0.1, 0.0, 0.1)]
SHORT = ("study=demo", "privacy=none", "schedule.rounds=4", "schedule.local_steps=5")
EXCLUDED = {
    "scaling": "is above the bound of 10",
    "nan": "numbers that are not finite",
    "huge": "is above the bound of 10",
    "wrong_shape": "numbers instead of",
}
"""The attacks that the checks of single updates stop, and a part of the reason."""


def _streams():
    return seeded_streams(3, provenance="synthetic")


def _sent(attack: Attack) -> np.ndarray:
    return tampered(attack, OWN, honest=HONEST, faulty=1, generator=_streams().stream("attack"))


def test_every_attack_sends_what_it_says() -> None:
    np.testing.assert_array_equal(_sent("sign_flip"), SIGN_FLIP * OWN)
    np.testing.assert_array_equal(_sent("scaling"), SCALING * OWN)
    np.testing.assert_array_equal(_sent("label_flip"), OWN)
    assert np.isnan(_sent("nan")).all()
    assert (_sent("huge") == HUGE).all()
    assert len(_sent("wrong_shape")) == len(OWN) - 1
    assert 0 < np.abs(_sent("free_rider")).max() < 10 * FREE_RIDER_SPREAD
    np.testing.assert_allclose(_sent("inner_product"), -np.mean(HONEST, axis=0))
    beyond = np.abs(_sent("little_is_enough") - np.mean(HONEST, axis=0)) / np.std(HONEST, axis=0)
    assert (beyond < 3).all(), "it hides among the honest"
    assert set(ACCEPTANCE_ATTACKS) < set(ATTACKS)


def test_flipped_labels_are_of_training_patients_only() -> None:
    data = site_data("north")
    lying = flipped(data)
    np.testing.assert_array_equal(lying.training.outcomes, 1 - data.training.outcomes)
    np.testing.assert_array_equal(lying.test.outcomes, data.test.outcomes)


def _reply(site: str, arrays: dict[str, np.ndarray]) -> bytes:
    return Envelope(TrainReply(study="sha256:0", site=site, round_number=2), arrays).to_bytes()


def _through(contents: dict[str, bytes | None], *, attack: Attack = "sign_flip") -> dict[str, bytes | None]:
    transport = MaliciousTransport(Answers(contents), attack, frozenset({"north"}), _streams())
    return {reply.site: reply.content for reply in transport.exchange(dict.fromkeys(contents, b""))}


def test_only_the_update_of_a_malicious_site_is_touched() -> None:
    own = OWN.astype(np.float32)
    contents: dict[str, bytes | None] = {site: _reply(site, {"update": own}) for site in ("north", "south")}
    contents["west"] = None
    found = _through(contents)
    assert {site: found[site] for site in ("south", "west")} == {site: contents[site] for site in ("south", "west")}
    assert found["north"] is not None
    sent = read_envelope(found["north"])
    assert sent.header == TrainReply(study="sha256:0", site="north", round_number=2)
    np.testing.assert_array_equal(sent.array("update"), (SIGN_FLIP * own.astype(np.float64)).astype(np.float32))


def test_replies_that_hold_no_update_pass_as_they_are() -> None:
    header = EvaluateRequest(study="sha256:0", site="north", round_number=1)
    contents = {"north": Envelope(header, {"parameters": OWN.astype(np.float32)}).to_bytes()}
    assert _through(dict(contents)) == contents


def test_a_masked_update_cannot_be_attacked_by_its_numbers_and_is_not_passed_off_as_attacked() -> None:
    masked = _reply("north", {"payload": np.arange(8, dtype=np.uint8)})
    with pytest.raises(InvalidInputError, match="visible update"):
        _through({"north": masked})


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    return prepare_contest(_settings(SHORT), faulty=1, folder=tmp_path_factory.mktemp("contest"))


@pytest.fixture(scope="module")
def bouts(contest: Contest) -> list[Bout]:
    return fight(contest, SHORT, rules=("plain", "trimmed_mean"), attacks=ACCEPTANCE_ATTACKS)


def _bout(bouts: list[Bout], rule: str, attack: str) -> Bout:
    return next(bout for bout in bouts if (bout.rule, bout.attack) == (rule, attack))


def test_the_largest_site_attacks(contest: Contest) -> None:
    weights = {entry.site: entry.weight for entry in contest.prepared.manifest.roster}
    assert contest.malicious == {max(weights, key=lambda site: weights[site])}


def test_plain_averaging_falls_to_a_flipped_sign_and_the_robust_rule_stands(bouts: list[Bout]) -> None:
    clean = _bout(bouts, "plain", "none")
    assert share_kept(_bout(bouts, "plain", "sign_flip"), clean) < KEPT
    kept, worst = worst_kept(bouts, "trimmed_mean")
    assert kept >= KEPT, worst


def test_the_risks_of_the_robust_model_are_as_good_as_without_attack(bouts: list[Bout]) -> None:
    """By the Brier score: AUROC knows only the order of the risks, and several attacks leave that as it is."""
    clean = _bout(bouts, "plain", "none").brier
    assert clean is not None
    for attack in ACCEPTANCE_ATTACKS:
        found = _bout(bouts, "trimmed_mean", attack).brier
        assert found is not None
        assert found <= clean + 0.02, attack
    for attack in ("sign_flip", "huge"):
        found = _bout(bouts, "plain", attack).brier
        assert found is not None
        assert found > clean + 0.1, attack


@pytest.mark.parametrize("attack", ["sign_flip", "scaling"])
@pytest.mark.parametrize("bound", [10.0, 1e6], ids=["checked", "as if the norm were not checked"])
def test_one_lie_carries_the_mean_away_and_leaves_the_robust_update_among_the_honest(
    attack: Attack, bound: float
) -> None:
    robust, plain = robust_manifest(norm_bound=bound), robust_manifest(byzantine=0, norm_bound=1e6)
    updates = np.asarray([honest(number) for number in range(len(robust.roster))], dtype=np.float64)
    generator = _streams().stream("attack")
    lie = tampered(attack, updates[-1], honest=updates[:-1], faulty=1, generator=generator).astype(np.float32)
    lies = {robust.roster[-1].site: lie}
    low, high = updates[:-1].min(axis=0), updates[:-1].max(axis=0)
    mean = collect(plain, lies).means()["update"]
    assert ((mean < low) | (mean > high)).all()
    kept = collect(robust, lies).means()["update"]
    assert ((low <= kept) & (kept <= high)).all()


@pytest.mark.parametrize(("attack", "words"), EXCLUDED.items())
def test_who_was_left_out_and_why_is_told(contest: Contest, bouts: list[Bout], attack: str, words: str) -> None:
    (site,) = contest.malicious
    found = _bout(bouts, "trimmed_mean", attack)
    assert found.rounds_excluded == {site: 4}, "in every round"
    assert words in found.reasons[site]


@pytest.mark.parametrize("attack", ["none", "sign_flip", "label_flip", "free_rider"])
def test_a_rule_by_coordinate_excludes_nobody_whose_update_passes_the_checks(bouts: list[Bout], attack: str) -> None:
    assert _bout(bouts, "trimmed_mean", attack).rounds_excluded == {}


def test_the_table_shows_every_bout_and_the_worst(bouts: list[Bout]) -> None:
    table = contest_table("demo", bouts)
    assert [column.header for column in table.columns] == ["attack", "plain", "trimmed_mean"]
    assert table.row_count == 1 + len(ACCEPTANCE_ATTACKS) + 1


def test_a_study_that_ends_without_a_model_keeps_nothing() -> None:
    clean = Bout(rule="plain", attack="none", auroc=0.8)
    stopped = Bout(rule="krum", attack="nan", auroc=None, note="QuorumError")
    assert worst_kept([clean, stopped], "krum") == (0.0, "nan")


@pytest.mark.parametrize("faulty", [0, 5])
def test_somebody_must_attack_and_somebody_be_honest(tmp_path: Path, faulty: int) -> None:
    with pytest.raises(ConfigurationError, match="malicious sites"):
        prepare_contest(_settings(SHORT), faulty=faulty, folder=tmp_path)


@dataclass(frozen=True)
class Whole:
    """A built-in case of ``python -m experiments.attacks`` at full length, and what becomes of plain averaging in it."""

    contest: Contest
    case: Case
    plain: list[Bout]


@pytest.fixture(scope="module", params=CASES, ids=["1 of 5", "3 of 10"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    case: Case = request.param
    contest = prepare_contest(_settings(case.overrides), faulty=case.faulty, folder=tmp_path_factory.mktemp("whole"))
    return Whole(contest, case, fight(contest, case.overrides, rules=("plain",), attacks=ACCEPTANCE_ATTACKS))


@pytest.mark.slow
@pytest.mark.parametrize("rule", [name for name in RULES if name != "plain"])
def test_every_rule_keeps_the_clean_auroc_under_the_seven_attacks(whole: Whole, rule: str) -> None:
    found = fight(whole.contest, whole.case.overrides, rules=(rule,), attacks=ACCEPTANCE_ATTACKS)
    kept, worst = worst_kept([*whole.plain, *found], rule)
    assert kept >= KEPT, worst


@pytest.mark.slow
def test_plain_averaging_does_not(whole: Whole) -> None:
    assert worst_kept(whole.plain, "plain")[0] < KEPT
