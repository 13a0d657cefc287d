"""Whoever drops out when: the opened sum is the plain sum of the survivors, or nothing is opened and the reason is said."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache

import numpy as np
import pytest

from federation.errors import ManifestError, SecureSumError, SecureSumRefusedError
from federation.protocol.secure_sum import wire
from federation.protocol.secure_sum.agreeing import SharesHeld
from federation.protocol.secure_sum.collecting import AwaitingKeys, BatchReady
from federation.protocol.secure_sum.contributing import answer_unmask, sign_survivors
from federation.protocol.secure_sum.folding import AwaitingInputs
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.round_phases import RoundPhase
from federation.protocol.secure_sum.terms import KeyBatch, recommended_threshold
from federation.protocol.signatures import verify
from tests.federation.protocol.secure_sum.consortium import MODEL, Consortium, Lost, run_round

BATCH = KeyBatch(purpose="train", first_round=1)
INPUT, SIGNATURE, ANSWER, NEVER = range(4)
"""The step before which a site is gone."""
Agreed = tuple[Consortium, BatchReady, dict[str, SharesHeld]]


@pytest.fixture(scope="module")
def agreed() -> Callable[[int], Agreed]:
    """Key agreement, once for each number of sites: a pattern does not change what it gives."""

    @cache
    def make(sites: int) -> Agreed:
        consortium = Consortium.of(sites)
        return consortium, *consortium.agree(BATCH)

    return make


@pytest.fixture(autouse=True)
def _each_signature_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every site verifies the same frames. The answer is always the same, so a pattern costs a tenth of the time."""
    monkeypatch.setattr(wire, "verify", lru_cache(maxsize=4096)(verify))


def numbers(sites: Sequence[str], seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    generator = np.random.default_rng(seed)
    updates = {site: generator.integers(-(2**20), 2**20, 2, endpoint=True) for site in sites}
    statistics = {site: generator.integers(-(2**50), 2**50, 1, endpoint=True) for site in sites}
    return updates, statistics


def plain(values: dict[str, np.ndarray], sites: Iterable[str], modulus: int) -> list[int]:
    return [sum(int(number) for number in column) % modulus for column in zip(*(values[s] for s in sites), strict=True)]


def expected_reason(pattern: Sequence[int], threshold: int) -> str | None:
    for step, reason in ((INPUT, "survivors"), (SIGNATURE, "signatures"), (ANSWER, "answers")):
        if sum(last > step for last in pattern) < threshold:
            return f"too_few_{reason}"
    return None


def check_pattern(agreed: Agreed, pattern: Sequence[int], seed: int) -> str | None:
    """Run a round with these drop-outs and compare it with plain addition of Python's integers."""
    consortium, ready, held = agreed
    sites = consortium.sites
    updates, statistics = numbers(sites, seed)
    gone = [frozenset(site for site, last in zip(sites, pattern, strict=True) if last == step) for step in range(3)]
    reason = expected_reason(pattern, recommended_threshold(len(sites)))
    if reason is not None:
        with pytest.raises(SecureSumError) as failure:
            run_round(consortium, ready, held, updates, lost=Lost(*gone), statistics=statistics)
        assert failure.value.facts["reason"] == reason, pattern
        return reason
    opened = run_round(consortium, ready, held, updates, lost=Lost(*gone), statistics=statistics)
    survivors = tuple(site for site, last in zip(sites, pattern, strict=True) if last > INPUT)
    assert opened.survivors == survivors, pattern
    assert opened.lost == tuple(sorted(gone[INPUT])), pattern
    assert opened.updates.tolist() == plain(updates, survivors, 2**32), pattern
    assert opened.statistics.tolist() == plain(statistics, survivors, 2**64), pattern
    return None


@pytest.mark.parametrize(
    "sites", [3, 4, *(pytest.param(n, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]) for n in (5, 6, 7))]
)
def test_every_pattern_of_drop_outs_gives_the_plain_sum_or_the_reason(agreed, sites: int) -> None:
    outcomes = [
        check_pattern(agreed(sites), pattern, seed)
        for seed, pattern in enumerate(itertools.product(range(4), repeat=sites))
    ]
    assert len(outcomes) == 4**sites
    assert set(outcomes) == {None, "too_few_survivors", "too_few_signatures", "too_few_answers"}


@pytest.mark.parametrize("sites", [1, 2])
def test_one_or_two_sites_cannot_even_agree_on_terms(sites: int) -> None:
    with pytest.raises(ManifestError):
        Consortium.of(sites)


SIZES = (8, 11, 16, 23, 30, 50, 80, 120, 160, 200)


def random_pattern(generator: np.random.Generator, sites: int) -> list[int]:
    """Mostly few drop-outs, so that most sums are opened, and now and then many."""
    stay = generator.choice([0.6, 0.85, 0.95, 0.99])
    return generator.choice(4, sites, p=[*[(1 - stay) / 3] * 3, stay]).tolist()


@pytest.mark.parametrize("sites", SIZES[:5])
def test_random_drop_outs_of_up_to_30_sites_give_the_plain_sum_or_the_reason(agreed, sites: int) -> None:
    pattern = [INPUT, SIGNATURE, *[NEVER] * (sites - 3), INPUT]
    np.random.default_rng(sites).shuffle(pattern)
    check_pattern(agreed(sites), pattern, sites)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("sites", SIZES)
def test_a_hundred_random_patterns_of_each_of_ten_sizes_up_to_200(agreed, sites: int) -> None:
    generator = np.random.default_rng(1000 + sites)
    outcomes = [check_pattern(agreed(sites), random_pattern(generator, sites), seed) for seed in range(100)]
    assert outcomes.count(None) >= 30


def test_below_the_minimum_of_survivors_the_server_gets_no_message_that_could_open_the_sum(agreed) -> None:
    consortium, ready, held = agreed(4)
    updates, _ = numbers(consortium.sites, 1)
    server = AwaitingInputs.begin(ready, round_number=1, layout=Layout(updates=2), model_hash=MODEL)
    for site in consortium.sites[:2]:
        server = server.fold(consortium.contribute(held[site], updates[site], round_number=1)[1])
    before = server.narrow.copy()
    with pytest.raises(SecureSumError) as failure:
        server.close()
    assert failure.value.facts == {"reason": "too_few_survivors", "sites": "site-000,site-001"}
    assert np.array_equal(server.narrow, before)
    assert before[:2].tolist() != plain(updates, consortium.sites[:2], 2**32)


def test_too_few_answers_leave_the_sum_masked_and_a_late_answer_opens_it(agreed) -> None:
    consortium, ready, held = agreed(4)
    updates, _ = numbers(consortium.sites, 2)
    server = AwaitingInputs.begin(ready, round_number=1, layout=Layout(updates=2), model_hash=MODEL)
    phases: dict[str, RoundPhase] = {}
    for site in consortium.sites:
        phases[site], message = consortium.contribute(held[site], updates[site], round_number=1)
        server = server.fold(message)
    waiting, announcement = server.close()
    for site in consortium.sites:
        phases[site], message = sign_survivors(phases[site], announcement, signing_key=consortium.keys[site])
        waiting = waiting.add(message)
    answers, request = waiting.close()
    sent = [answer_unmask(phases[s], request, signing_key=consortium.keys[s])[1] for s in consortium.sites[1:]]
    answers = answers.add(sent[0]).add(sent[1]).add(sent[1])
    masked = answers.narrow.copy()
    with pytest.raises(SecureSumError) as failure:
        answers.open()
    assert failure.value.facts["reason"] == "too_few_answers"
    assert np.array_equal(answers.narrow, masked)
    assert answers.add(sent[2]).open().updates.tolist() == plain(updates, consortium.sites, 2**32)


@pytest.mark.parametrize(("advertise", "deal"), [(5, 4), (6, 5), (5, 5), (6, 6)])
def test_sites_that_only_advertise_are_left_out_and_the_sum_is_exact(advertise: int, deal: int) -> None:
    consortium = Consortium.of(6, threshold=4)
    sites = consortium.sites
    ready, held = consortium.agree(BATCH, advertise=sites[:advertise], deal=sites[:deal])
    updates, statistics = numbers(sites, 3)
    for lost in (frozenset(), frozenset(sites[: deal - 4])):
        opened = run_round(
            consortium, ready, held, updates, lost=Lost(before_input=lost), statistics=statistics, round_number=1
        )
        assert opened.survivors == tuple(site for site in sites[:deal] if site not in lost)
        assert opened.updates.tolist() == plain(updates, opened.survivors, 2**32)
        assert opened.statistics.tolist() == plain(statistics, opened.survivors, 2**64)


@pytest.mark.parametrize(("advertise", "deal"), [(3, 3), (6, 3), (4, 2)])
def test_key_agreement_below_the_minimum_stops_with_the_reason(advertise: int, deal: int) -> None:
    consortium = Consortium.of(6, threshold=4)
    with pytest.raises(SecureSumError) as failure:
        consortium.agree(BATCH, advertise=consortium.sites[:advertise], deal=consortium.sites[:deal])
    assert failure.value.facts["reason"] == "too_few_sites"


def test_nobody_advertises() -> None:
    with pytest.raises(SecureSumError) as failure:
        AwaitingKeys(terms=Consortium.of(3).terms, batch=BATCH).close()
    assert failure.value.facts["reason"] == "too_few_sites"


def test_a_retried_attempt_with_new_keys_gives_the_same_sum(agreed) -> None:
    consortium, ready, held = agreed(4)
    updates, _ = numbers(consortium.sites, 4)
    earlier = {site: consortium.contribute(held[site], updates[site], round_number=1) for site in consortium.sites}
    retry, again = consortium.agree(BATCH.model_copy(update={"attempt": 1}))
    server = AwaitingInputs.begin(retry, round_number=1, layout=Layout(updates=2), model_hash=MODEL)
    phases: dict[str, RoundPhase] = {}
    for site in consortium.sites:
        phases[site], message = consortium.contribute(
            again[site], updates[site], round_number=1, earlier=earlier[site][0]
        )
        assert bytes(message) != bytes(earlier[site][1])
        server = server.fold(message)
    waiting, announcement = server.close()
    for site in consortium.sites:
        phases[site], message = sign_survivors(phases[site], announcement, signing_key=consortium.keys[site])
        waiting = waiting.add(message)
    answers, request = waiting.close()
    for site in consortium.sites:
        answers = answers.add(answer_unmask(phases[site], request, signing_key=consortium.keys[site])[1])
    opened = answers.open()
    assert opened.updates.tolist() == plain(updates, consortium.sites, 2**32)
    assert opened.updates.tolist() == run_round(consortium, ready, held, updates).updates.tolist()


def test_a_site_that_is_lost_comes_back_in_the_next_round_of_the_batch() -> None:
    consortium = Consortium.of(4)
    ready, held = consortium.agree(KeyBatch(purpose="train", first_round=1, rounds=2))
    updates, _ = numbers(consortium.sites, 5)
    lost = Lost(before_input=frozenset(consortium.sites[:1]))
    assert run_round(consortium, ready, held, updates, lost=lost).lost == ("site-000",)
    opened = run_round(consortium, ready, held, updates, round_number=2)
    assert opened.updates.tolist() == plain(updates, consortium.sites, 2**32)


def test_a_late_contribution_after_the_announcement_is_not_in_the_sum(agreed) -> None:
    consortium, ready, held = agreed(4)
    updates, _ = numbers(consortium.sites, 6)
    server = AwaitingInputs.begin(ready, round_number=1, layout=Layout(updates=2), model_hash=MODEL)
    sent = {site: consortium.contribute(held[site], updates[site], round_number=1)[1] for site in consortium.sites}
    for site in consortium.sites[:3]:
        server = server.fold(sent[site])
    _, announcement = server.close()
    again = AwaitingInputs.begin(
        ready, round_number=1, layout=Layout(updates=2), model_hash=MODEL, announcement=announcement
    )
    with pytest.raises(SecureSumRefusedError) as failure:
        again.fold(sent["site-003"])
    assert failure.value.facts["reason"] == "not_announced"
