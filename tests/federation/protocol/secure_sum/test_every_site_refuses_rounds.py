"""A server that lies in a round: every honest site refuses, restarted or not, and the server refuses forged sites."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from federation.errors import SecureSumRefusedError
from federation.protocol.secure_sum import contexts
from federation.protocol.secure_sum.contributing import answer_unmask, sign_survivors
from federation.protocol.secure_sum.key_agreement import expand
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.masking import Mask, mask
from federation.protocol.secure_sum.messages import RECEIPT_BYTES
from federation.protocol.secure_sum.round_phases import restore_round
from federation.protocol.secure_sum.wire import HEAD_BYTES, Kind
from tests.federation.protocol.secure_sum.consortium import MODEL, Consortium
from tests.federation.protocol.secure_sum.scene import BATCH, CONSPIRATOR, SIZE, Scene, body_of, flipped, scene

OTHERS = {
    "study": {"study": "sha256:" + "1d" * 32},
    "round": {"round_number": 2},
    "attempt": {"batch": BATCH.model_copy(update={"attempt": 1})},
    "purpose": {"batch": BATCH.model_copy(update={"purpose": "evaluate"})},
}
TRUTH = scene()


def false_receipt(truth: Scene, start: int, content: bytes, *, sender: int = CONSPIRATOR) -> bytes:
    body = body_of(truth.receipts[sender])
    return truth.frame(
        Kind.RECEIPT, truth.context, body[:start] + content + body[start + len(content) :], sender=sender
    )


def with_last(receipt: bytes) -> bytes:
    return TRUTH.announce([*TRUTH.receipts[:CONSPIRATOR], receipt])


ANNOUNCEMENTS: dict[str, tuple[str, bytes]] = {
    "split_model": ("other_model", with_last(false_receipt(TRUTH, 0, b"x" * 32))),
    "split_layout": ("other_layout", with_last(false_receipt(TRUTH, 32, Layout(updates=7).to_bytes()))),
    "empty_layout": ("malformed", with_last(false_receipt(TRUTH, 32, bytes(8)))),
    "below_the_minimum": ("too_few_survivors", TRUTH.announce(TRUTH.receipts[:3])),
    "forged_receipt": ("forged", with_last(flipped(TRUTH.receipts[4], HEAD_BYTES + 50))),
    "one_survivor_twice": ("duplicate", TRUTH.announce([*TRUTH.receipts[:4], TRUTH.receipts[3]])),
    "out_of_order": ("duplicate", TRUTH.announce(TRUTH.receipts[::-1])),
    "one_item_fewer_than_said": ("malformed", TRUTH.announcement[:-RECEIPT_BYTES]),
    "request_as_announcement": ("malformed", TRUTH.request),
    **{f"of_another_{name}": ("other_context", scene(**other).announcement) for name, other in OTHERS.items()},
    **{
        f"receipt_of_another_{name}": ("other_context", with_last(scene(**o).receipts[4])) for name, o in OTHERS.items()
    },
}


def smaller() -> tuple[bytes, list[bytes]]:
    """Another set, and the signatures of a server that somehow got them all."""
    announcement = TRUTH.announce(TRUTH.receipts[:CONSPIRATOR])
    digest = contexts.survivors_digest(announcement)
    return announcement, [TRUTH.frame(Kind.CONSISTENCY, TRUTH.context, digest, sender=site) for site in range(5)]


SIGNATURES = list(TRUTH.signatures.values())
SMALLER, OF_SMALLER = smaller()
REQUESTS: dict[str, tuple[str, bytes]] = {
    "alive_and_dead_at_once": ("other_survivors", TRUTH.ask(OF_SMALLER[:4])),
    "split_survivor_sets": ("other_survivors", TRUTH.ask([*SIGNATURES[:2], *OF_SMALLER[2:4]])),
    "too_few_signatures": ("too_few_signatures", TRUTH.ask(SIGNATURES[:3])),
    "no_signatures": ("too_few_signatures", TRUTH.ask([])),
    "one_signature_twice": ("duplicate", TRUTH.ask([*SIGNATURES[:3], SIGNATURES[2]])),
    "forged_signature": ("forged", TRUTH.ask([*SIGNATURES[:3], flipped(SIGNATURES[3], -1)])),
    "signature_of_another_site": ("forged", TRUTH.ask([*SIGNATURES[:3], flipped(SIGNATURES[3], HEAD_BYTES - 1)])),
    "announcement_as_request": ("malformed", TRUTH.announcement),
    **{f"of_another_{name}": ("other_context", scene(**other).request) for name, other in OTHERS.items()},
    **{
        f"signature_of_another_{name}": (
            "other_context",
            TRUTH.ask([*SIGNATURES[:4], scene(**other).signatures["site-004"]]),
        )
        for name, other in OTHERS.items()
    },
}


def refuses(reason: str, call: Callable[[], object]) -> None:
    with pytest.raises(SecureSumRefusedError) as refusal:
        call()
    assert refusal.value.facts["reason"] == reason


@pytest.mark.parametrize("name", ANNOUNCEMENTS)
def test_every_honest_site_refuses_to_sign_a_false_set(name: str) -> None:
    reason, announcement = ANNOUNCEMENTS[name]
    for site in TRUTH.honest:
        for phase in (TRUTH.masked[site], restore_round(TRUTH.masked[site].to_bytes())):
            refuses(
                reason, lambda p=phase, s=site: sign_survivors(p, announcement, signing_key=TRUTH.consortium.keys[s])
            )


@pytest.mark.parametrize("name", REQUESTS)
def test_every_honest_site_refuses_a_false_request_first_or_again_after_a_restart(name: str) -> None:
    reason, request = REQUESTS[name]
    for site in TRUTH.honest:
        key = TRUTH.consortium.keys[site]
        for phase in (TRUTH.signed[site], TRUTH.unmasked[site], restore_round(TRUTH.unmasked[site].to_bytes())):
            refuses(reason, lambda p=phase, k=key: answer_unmask(p, request, signing_key=k))


@pytest.mark.parametrize("index", range(CONSPIRATOR))
def test_a_site_that_is_left_out_or_whose_receipt_is_another_does_not_sign(index: int) -> None:
    site = TRUTH.sites[index]
    key = TRUTH.consortium.keys[site]
    without = [item for place, item in enumerate(TRUTH.receipts) if place != index]
    refuses("left_out", lambda: sign_survivors(TRUTH.masked[site], TRUTH.announce(without), signing_key=key))
    false = list(TRUTH.receipts)
    false[index] = false_receipt(TRUTH, 40, b"z" * 32, sender=index)
    refuses("receipt_changed", lambda: sign_survivors(TRUTH.masked[site], TRUTH.announce(false), signing_key=key))


@pytest.mark.parametrize("site", TRUTH.honest)
def test_a_site_signs_one_set_and_opens_one_set_whatever_crashes(site: str) -> None:
    key = TRUTH.consortium.keys[site]
    refuses("not_signed", lambda: answer_unmask(TRUTH.masked[site], TRUTH.request, signing_key=key))
    for phase in (TRUTH.signed[site], TRUTH.unmasked[site]):
        restored = restore_round(phase.to_bytes())
        assert restored == phase
        refuses("other_survivors", lambda p=restored: sign_survivors(p, SMALLER, signing_key=key))
        assert sign_survivors(restored, TRUTH.announcement, signing_key=key)[1] == TRUTH.signatures[site]
        assert answer_unmask(restored, TRUTH.request, signing_key=key)[1] == TRUTH.answers[site]


def test_survivors_without_keys_or_outside_the_signed_set_are_refused() -> None:
    few = scene(absent=1)
    stranger = few.frame(Kind.RECEIPT, few.context, body_of(few.receipts[0]))
    for site in few.sites:
        key = few.consortium.keys[site]
        call = few.announce([*few.receipts, stranger])
        refuses("unknown_survivor", lambda s=site, k=key, a=call: sign_survivors(few.masked[s], a, signing_key=k))
    for site in TRUTH.honest:
        key = TRUTH.consortium.keys[site]
        signed, _ = sign_survivors(TRUTH.masked[site], SMALLER, signing_key=key)
        refuses("unknown_survivor", lambda p=signed, k=key: answer_unmask(p, TRUTH.ask(OF_SMALLER), signing_key=k))


@pytest.mark.parametrize("site", TRUTH.honest)
def test_a_site_masks_a_round_once_and_never_after_it_was_opened(site: str) -> None:
    later = scene(**OTHERS["attempt"])
    values = np.arange(SIZE, dtype=np.int64)
    for phases, held, reason in (
        (TRUTH.masked, TRUTH.held, "already_masked"),
        (TRUTH.signed, TRUTH.held, "already_masked"),
        (later.masked, TRUTH.held, "already_masked"),
        (TRUTH.unmasked, TRUTH.held, "already_opened"),
        (TRUTH.unmasked, later.held, "already_opened"),
    ):
        earlier = restore_round(phases[site].to_bytes())
        refuses(
            reason,
            lambda h=held, e=earlier: TRUTH.consortium.contribute(h[site], values, round_number=1, earlier=e),
        )


FOLDED = TRUTH.contributions["site-004"]


def contribution(receipt: bytes) -> bytes:
    return FOLDED[:-RECEIPT_BYTES] + receipt


FORGED: dict[str, tuple[str, bytes]] = {
    "changed_numbers": ("changed_payload", flipped(FOLDED, 3)),
    "forged_receipt": ("forged", flipped(FOLDED, -1)),
    "relabelled": ("forged", flipped(TRUTH.contributions["site-002"], len(FOLDED) - RECEIPT_BYTES + HEAD_BYTES - 1)),
    "other_model": ("other_model", contribution(false_receipt(TRUTH, 0, b"x" * 32))),
    "other_layout": ("other_layout", contribution(false_receipt(TRUTH, 32, Layout(updates=7).to_bytes()))),
    "shorter": ("malformed", FOLDED[4:]),
    "second": ("second_message", contribution(false_receipt(TRUTH, 40, b"z" * 32))),
    **{
        f"replayed_from_another_{name}": ("other_context", scene(**other).contributions["site-004"])
        for name, other in OTHERS.items()
    },
}


@pytest.mark.parametrize("name", FORGED)
def test_the_server_refuses_a_forged_or_replayed_contribution_and_its_sum_is_as_before(name: str) -> None:
    reason, content = FORGED[name]
    server = TRUTH.inputs()
    if name == "second":
        server = server.fold(FOLDED)
    before = server.narrow.copy()
    refuses(reason, lambda: server.fold(content))
    assert np.array_equal(server.narrow, before)


def test_the_server_refuses_a_wrong_share_and_answers_for_another_set() -> None:
    body = body_of(TRUTH.answers["site-004"])
    for reason, changed in (("wrong_share", flipped(body, 40)), ("other_survivors", flipped(body, 0))):
        frame = TRUTH.frame(Kind.ANSWER, TRUTH.context, changed)
        refuses(reason, lambda f=frame: TRUTH.awaiting_answers.add(f))


def test_with_every_message_and_all_but_one_share_the_best_guess_is_uncorrelated_with_the_truth() -> None:
    """One to four of five sites conspire with the server and strip the masks that they share with the victim.

    The standard deviation of a correlation of independent vectors is 1e5 ** -0.5 = 0.0032; the seed is fixed.
    """
    size = 100_000
    consortium = Consortium.of(5)
    ready, held = consortium.agree(BATCH)
    truth = np.random.default_rng(8).integers(-1000, 1000, size)
    message = consortium.contribute(held["site-000"], truth, round_number=1)[1]
    context = contexts.round_context(ready.agreement, holders=ready.holders, round_number=1)
    left = np.frombuffer(bytes(message), dtype="<u4", count=size).copy()
    guesses = [left.copy()]
    for site in consortium.sites[1:]:
        guesses.append(left := left - _pair_mask(held[site], context, size))
    for (
        guess
    ) in guesses:  # even all four: the victim's own mask is left until a threshold of its seed's shares is shown
        assert abs(np.corrcoef(guess.view(np.int32), truth)[0, 1]) < 0.01
    honest = left - _own_mask(held["site-000"], context, size)
    assert np.array_equal(honest.view(np.int32), truth), "the masks that were stripped are the true ones"


def _stream(secret: bytes, context: bytes, size: int, high: int) -> np.ndarray:
    info = contexts.mask_info(context, model_hash=MODEL, layout=Layout(updates=size), low=0, high=high)
    words = np.zeros(size, dtype="<u4")
    mask(np.zeros(0, dtype="<u8"), words, [Mask(expand(secret, info=info), is_added=True)])
    return words


def _pair_mask(conspirator, context: bytes, size: int) -> np.ndarray:
    return _stream(conspirator.pair_secrets[0][:32], context, size, conspirator.index)


def _own_mask(victim, context: bytes, size: int) -> np.ndarray:
    return _stream(victim.seeds[0], context, size, 0)
