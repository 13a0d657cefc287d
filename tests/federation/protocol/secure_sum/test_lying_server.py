"""Strategies of a server that lies, alone or with one site: each is refused by the honest sites, with its reason."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import ManifestError, SecureSumRefusedError
from federation.protocol.secure_sum.terms import KeyBatch, SecureSumTerms
from tests.federation.protocol.secure_sum import lying_about_rounds
from tests.federation.protocol.secure_sum.consortium import STUDY, Consortium
from tests.federation.protocol.secure_sum.lying_about_keys import HONEST, STRATEGIES, WORLD

assert lying_about_rounds.WORLD is WORLD, "its strategies are registered by importing it"


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_is_refused_with_its_reason(name: str) -> None:
    reason, attempt = STRATEGIES[name]
    with pytest.raises(SecureSumRefusedError) as refusal:
        attempt()
    assert refusal.value.facts["reason"] == reason
    assert refusal.value.remedy


def test_there_are_enough_of_them() -> None:
    assert len(STRATEGIES) >= 40


@pytest.mark.parametrize("threshold", [0, 1, 2, 6])
def test_terms_that_protect_nobody_do_not_exist(threshold: int) -> None:
    keys = {site: key.public_key for site, key in WORLD.consortium.keys.items()}
    with pytest.raises(ManifestError, match="threshold"):
        SecureSumTerms.agreed(study=STUDY, public_keys=keys, threshold=threshold)


def test_the_honest_world_itself_is_not_refused() -> None:
    answering = WORLD.answering
    for _, answer in WORLD.answered.values():
        answering = answering.add(answer)
    np.testing.assert_array_equal(answering.open().updates, sum(WORLD.values(site) for site in WORLD.sites))


def test_what_the_server_holds_says_nothing_about_an_update() -> None:
    """All messages, and all shares but one fewer than the threshold: its best guess is uncorrelated with the truth."""
    consortium, size = Consortium.of(5), 100_000
    ready, held = consortium.agree(KeyBatch(purpose="train", first_round=1))
    truth = np.random.default_rng(5).integers(-1000, 1000, size)
    contribution = consortium.contribute(held[HONEST], truth, round_number=1)[1]
    masked = np.frombuffer(bytes(contribution[: 4 * size]), dtype="<u4").view(np.int32).astype(np.float64)
    # It may strip the pairwise masks with the sites that conspire (all but this one and one more), not the others.
    assert ready.terms.threshold == 4
    assert abs(np.corrcoef(masked, truth)[0, 1]) < 0.01
    lowest = np.frombuffer(bytes(contribution[: 4 * size]), dtype="<u4") & 0xFF
    assert abs(np.corrcoef(lowest, truth & 0xFF)[0, 1]) < 0.01
