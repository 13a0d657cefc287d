"""A site that does not follow the protocol costs at most its own part or one attempt, and is named."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import SecureSumError, SecureSumRefusedError
from federation.protocol.secure_sum import agreeing
from federation.protocol.secure_sum.collecting import AwaitingKeys
from federation.protocol.secure_sum.shamir import split
from federation.protocol.secure_sum.wire import Kind
from tests.federation.protocol.secure_sum.consortium import Consortium, run_round
from tests.federation.protocol.secure_sum.scene import BATCH, CONSPIRATOR, body_of, scene

TRUTH = scene()
BODY = body_of(TRUTH.advertisements[CONSPIRATOR])
FIELD = 2**255 - 19


@pytest.mark.parametrize("place", [0, 32, 96])
@pytest.mark.parametrize(
    ("reason", "key"),
    [
        ("low_order_key", bytes(32)),
        ("low_order_key", (1).to_bytes(32, "little")),
        ("malformed_key", FIELD.to_bytes(32, "little")),
        ("duplicate_key", body_of(TRUTH.advertisements[0])[:32]),
    ],
)
def test_keys_that_the_others_would_refuse_cost_only_the_site_that_sent_them(
    place: int, reason: str, key: bytes
) -> None:
    bad = TRUTH.frame(Kind.ADVERTISEMENT, TRUTH.batch_context, BODY[:place] + key + BODY[place + 32 :])
    server = AwaitingKeys(terms=TRUTH.terms, batch=BATCH)
    for message in TRUTH.advertisements[:CONSPIRATOR]:
        server = server.add(message)
    with pytest.raises(SecureSumRefusedError) as refusal:
        server.add(bad)
    assert refusal.value.facts == {"reason": reason, "site": "site-004"}
    _, key_list = server.close()
    for site in TRUTH.honest:
        TRUTH.advertised[site].agree(
            key_list, signing_key=TRUTH.consortium.keys[site], random_bytes=np.random.default_rng(2).bytes
        )


@pytest.mark.parametrize("share", [b"\xff" * 32, bytes(32)], ids=["not_in_the_field", "of_another_secret"])
def test_shares_of_no_secret_stop_the_attempt_and_name_the_dealer(monkeypatch, share: bytes) -> None:
    consortium = Consortium.of(3)
    dealt = 0

    def bad_split(secret: bytes, **places):
        nonlocal dealt
        dealt += 1
        shares = split(secret, **places)
        return dict.fromkeys(shares, share) if dealt == 1 else shares  # the first dealer's seed

    monkeypatch.setattr(agreeing, "split", bad_split)
    ready, held = consortium.agree(BATCH)
    values = {site: np.arange(3) for site in consortium.sites}
    with pytest.raises(SecureSumError) as failure:
        run_round(consortium, ready, held, values)
    assert failure.value.facts == {"reason": "dealt_wrongly", "sites": "site-000"}


def test_a_different_second_message_is_refused_and_the_same_is_fine() -> None:
    other = TRUTH.frame(Kind.ADVERTISEMENT, TRUTH.batch_context, body_of(TRUTH.advertisements[4])[::-1])
    assert TRUTH.awaiting_keys.add(TRUTH.advertisements[4]) == TRUTH.awaiting_keys
    assert TRUTH.awaiting_shares.add(TRUTH.bundles["site-004"]) == TRUTH.awaiting_shares
    again = TRUTH.advertised["site-004"].agree(
        TRUTH.key_list, signing_key=TRUTH.key(CONSPIRATOR), random_bytes=np.random.default_rng(1).bytes
    )[1]
    for call in (lambda: TRUTH.awaiting_keys.add(other), lambda: TRUTH.awaiting_shares.add(again)):
        with pytest.raises(SecureSumRefusedError) as refusal:
            call()
        assert refusal.value.facts == {"reason": "second_message", "site": "site-004"}
