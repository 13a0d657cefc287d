"""Lies about models, survivors and requests: what a server, alone or with one site, may try in a round."""

from __future__ import annotations

import numpy as np

from federation.protocol.secure_sum.contributing import answer_unmask, sign_survivors
from federation.protocol.secure_sum.round_phases import RoundPhase, restore_round
from federation.protocol.secure_sum.wire import Kind, write_frame
from tests.federation.protocol.secure_sum.lying_about_keys import BAD, HONEST, NEXT, STRANGER, WORLD, strategy
from tests.federation.protocol.secure_sum.staged import BATCH, Staged, items, other_study, relisted


def _sign(announcement: bytes, *, phase: RoundPhase | None = None, site: str = HONEST) -> object:
    return sign_survivors(phase or WORLD.masked[site][0], announcement, signing_key=WORLD.key(site))


def _receipts() -> list[bytes]:
    return items(WORLD.announcement)


@strategy("other_model")
def another_model_for_one_site() -> object:
    other = bytes(WORLD.contribute(BAD, model=b"x" * 32)[1])[-len(_receipts()[0]) :]
    return _sign(relisted(WORLD.announcement, [*_receipts()[:4], other]))


@strategy("other_layout")
def another_length_for_one_site() -> object:
    other = bytes(WORLD.contribute(BAD, values=np.arange(9))[1])[-len(_receipts()[0]) :]
    return _sign(relisted(WORLD.announcement, [*_receipts()[:4], other]))


@strategy("too_few_survivors")
def too_few_survivors() -> object:
    return _sign(relisted(WORLD.announcement, _receipts()[:3]))


@strategy("left_out")
def survivors_without_the_site_that_signs() -> object:
    return _sign(relisted(WORLD.announcement, _receipts()[1:]))


@strategy("receipt_changed")
def another_receipt_of_the_site_itself() -> object:
    other = bytes(WORLD.contribute(HONEST, values=np.arange(4) + 7)[1])[-len(_receipts()[0]) :]
    return _sign(relisted(WORLD.announcement, [other, *_receipts()[1:]]))


@strategy("other_survivors")
def a_second_set_of_survivors_after_a_restart() -> object:
    phase = restore_round(WORLD.signed[HONEST][0].to_bytes())
    return _sign(relisted(WORLD.announcement, _receipts()[:4]), phase=phase)


@strategy("other_context")
def survivors_of_another_round() -> object:
    second = Staged(round_number=2)
    return _sign(second.announcement)


def _unmask(request: bytes, *, phase: RoundPhase | None = None) -> object:
    return answer_unmask(phase or WORLD.signed[HONEST][0], request, signing_key=WORLD.key(HONEST))


@strategy("not_signed")
def unmasking_before_survivors_are_signed() -> object:
    return _unmask(WORLD.request, phase=WORLD.masked[HONEST][0])


@strategy("too_few_signatures")
def signatures_of_too_few() -> object:
    return _unmask(relisted(WORLD.request, items(WORLD.request)[:3]))


@strategy("duplicate")
def one_signature_many_times() -> object:
    return _unmask(relisted(WORLD.request, [items(WORLD.request)[0]] * 5))


@strategy("forged")
def a_signature_of_the_server() -> object:
    context = WORLD.signed[HONEST][0].context
    forged = write_frame(Kind.CONSISTENCY, context, 4, WORLD.signed[HONEST][0].survivors_digest, key=STRANGER)
    return _unmask(relisted(WORLD.request, [*items(WORLD.request)[:4], forged]))


def _split() -> bytes:
    """A request whose signatures are under a smaller set: alive and dead at once."""
    smaller = relisted(WORLD.announcement, _receipts()[:4])
    signatures = [_sign(smaller, site=site)[1] for site in WORLD.sites[:4]]
    return relisted(WORLD.request, signatures)


@strategy("other_survivors")
def a_site_alive_for_some_and_dead_for_others() -> object:
    return _unmask(_split())


@strategy("other_survivors")
def a_second_opening_after_a_restart() -> object:
    return _unmask(_split(), phase=restore_round(WORLD.answered[HONEST][0].to_bytes()))


@strategy("unknown_survivor")
def a_signature_of_a_site_that_is_lost() -> object:
    smaller = relisted(WORLD.announcement, _receipts()[:4])
    phase, _ = _sign(smaller)
    signatures = [_sign(smaller, site=site)[1] for site in WORLD.sites[:4]]
    lost = write_frame(Kind.CONSISTENCY, phase.context, 4, phase.survivors_digest, key=WORLD.key(BAD))
    return _unmask(relisted(WORLD.request, [*signatures, lost]), phase=phase)


@strategy("other_context")
def a_request_of_another_round() -> object:
    return _unmask(Staged(round_number=2).request)


@strategy("other_context")
def a_request_of_another_purpose() -> object:
    return _unmask(Staged(batch=BATCH.model_copy(update={"purpose": "evaluate"})).request)


@strategy("other_context")
def a_request_of_another_study() -> object:
    return _unmask(other_study().request)


@strategy("already_masked")
def the_same_round_masked_again_with_other_numbers() -> object:
    return WORLD.contribute(HONEST, values=np.arange(4) + 1, earlier=WORLD.masked[HONEST][0])


@strategy("already_opened")
def another_attempt_of_a_round_that_was_opened() -> object:
    return NEXT.contribute(HONEST, earlier=WORLD.answered[HONEST][0])
