"""Lies about keys and shares: what a server, alone or with one site, may try before a round begins."""

from __future__ import annotations

from collections.abc import Callable

from federation.protocol.secure_sum import contexts, key_agreement
from federation.protocol.secure_sum.agreeing import Advertised
from federation.protocol.secure_sum.messages import Advertisement, read_advertisement, read_key_list
from federation.protocol.secure_sum.wire import Kind, write_frame
from federation.protocol.signatures import SigningKey
from tests.federation.protocol.secure_sum.staged import BATCH, Staged, items, other_study, relisted

WORLD = Staged()
NEXT = Staged(batch=BATCH.model_copy(update={"attempt": 1}))
HONEST, BAD = "site-000", "site-004"
LOW_ORDER = bytes(32)
STRANGER = SigningKey.from_bytes(bytes(range(32)))
Strategy = Callable[[], object]
STRATEGIES: dict[str, tuple[str, Strategy]] = {}
"""Name to the reason with which it must be refused, and the attempt."""


def strategy(reason: str) -> Callable[[Strategy], Strategy]:
    def register(attempt: Strategy) -> Strategy:
        STRATEGIES[attempt.__name__] = (reason, attempt)
        return attempt

    return register


def _list_with(index: int, frame: bytes) -> bytes:
    found = items(WORLD.key_list)
    found[index] = frame
    return relisted(WORLD.key_list, found)


def _advert(*, key: SigningKey | None = None, sender: int = 4, **changes: object) -> bytes:
    """What the bad site would advertise, changed."""
    context = WORLD.batch.context(WORLD.consortium.terms)
    terms, rounds = WORLD.consortium.terms, WORLD.batch.rounds
    own = Advertisement.of(read_advertisement(WORLD.advertised[BAD][1], context, terms=terms, rounds=rounds))
    fields = {name: getattr(own, name) for name in ("sealing_key", "mask_keys", "seed_commitments")} | changes
    body = Advertisement(site=sender, **fields).body()
    return write_frame(Kind.ADVERTISEMENT, context, sender, body, key=key or WORLD.key(BAD))


def _agree(key_list: bytes) -> object:
    return WORLD.agree(HONEST, key_list)


@strategy("forged")
def keys_of_the_server_in_the_place_of_a_sites() -> object:
    return _agree(_list_with(4, _advert(key=STRANGER)))


@strategy("duplicate")
def one_site_twice() -> object:
    return _agree(_list_with(4, items(WORLD.key_list)[3]))


@strategy("duplicate")
def sites_in_another_order() -> object:
    return _agree(relisted(WORLD.key_list, items(WORLD.key_list)[::-1]))


@strategy("duplicate_key")
def a_mask_key_that_somebody_else_has() -> object:
    context = WORLD.batch.context(WORLD.consortium.terms)
    listed = read_key_list(WORLD.key_list, context, terms=WORLD.consortium.terms, rounds=2)
    return _agree(_list_with(4, _advert(mask_keys=listed[1].mask_keys)))


@strategy("low_order_key")
def a_mask_key_of_low_order() -> object:
    return _agree(_list_with(4, _advert(mask_keys=(LOW_ORDER, bytes([1]) + bytes(31)))))


@strategy("low_order_key")
def a_sealing_key_of_low_order() -> object:
    return _agree(_list_with(4, _advert(sealing_key=LOW_ORDER)))


@strategy("malformed_key")
def a_second_spelling_of_a_key() -> object:
    return _agree(_list_with(4, _advert(sealing_key=(2**255 - 19 + 9).to_bytes(32, "little"))))


@strategy("not_in_roster")
def a_member_that_nobody_agreed_on() -> object:
    return _agree(relisted(WORLD.key_list, [*items(WORLD.key_list)[:4], _advert(sender=5)]))


@strategy("malformed")
def more_sites_than_the_roster_has() -> object:
    return _agree(relisted(WORLD.key_list, [*items(WORLD.key_list), _advert(sender=5)]))


@strategy("own_key_changed")
def a_list_without_the_site_itself() -> object:
    return _agree(relisted(WORLD.key_list, items(WORLD.key_list)[1:]))


@strategy("too_few_sites")
def a_list_of_too_few() -> object:
    return _agree(relisted(WORLD.key_list, items(WORLD.key_list)[:3]))


@strategy("other_context")
def keys_of_another_study() -> object:
    return _agree(other_study().key_list)


@strategy("other_context")
def keys_of_another_attempt() -> object:
    return _agree(NEXT.key_list)


@strategy("malformed")
def a_list_that_is_cut() -> object:
    return _agree(WORLD.key_list[:-1])


def _hold(parcels: bytes) -> object:
    return WORLD.agreed[HONEST][0].hold(parcels)


@strategy("other_context")
def other_lists_for_other_sites() -> object:
    """The bad site advertised twice; the others saw its second keys, and their shares do not fit."""
    second = Staged()
    made = Advertised.begin(
        second.consortium.terms,
        second.batch,
        site=BAD,
        signing_key=second.key(BAD),
        random_bytes=second.consortium.streams.stream("second").bytes,
    )
    second.advertised[BAD] = made
    return _hold(second.parcels[HONEST])


@strategy("wrong_recipient")
def shares_of_another_site() -> object:
    return _hold(WORLD.parcels["site-001"])


@strategy("own_shares_missing")
def shares_without_the_sites_own() -> object:
    return _hold(relisted(WORLD.parcels[HONEST], items(WORLD.parcels[HONEST])[1:]))


@strategy("too_few_sites")
def shares_of_too_few() -> object:
    return _hold(relisted(WORLD.parcels[HONEST], items(WORLD.parcels[HONEST])[:3]))


@strategy("duplicate")
def the_same_shares_twice() -> object:
    found = items(WORLD.parcels[HONEST])
    return _hold(relisted(WORLD.parcels[HONEST], [*found[:4], found[3]]))


@strategy("other_context")
def shares_of_another_attempt() -> object:
    return _hold(NEXT.parcels[HONEST])


@strategy("forged")
def shares_that_the_server_changed() -> object:
    found = items(WORLD.parcels[HONEST])
    found[2] = found[2][:-80] + bytes(16) + found[2][-64:]
    return _hold(relisted(WORLD.parcels[HONEST], found))


def _parcel(*, sealed_to: str, commitment_of: bytes = b"") -> bytes:
    """The bad site's parcel for the honest one, made as it likes."""
    agreed = WORLD.agreed[HONEST][0]
    context = WORLD.batch.context(WORLD.consortium.terms)
    listed = read_key_list(WORLD.key_list, context, terms=WORLD.consortium.terms, rounds=2)
    recipient = next(item for item in listed if item.site == WORLD.sites.index(sealed_to))
    info = contexts.seal_info(agreed.agreement, dealer=4, recipient=0)
    sealed = key_agreement.seal(bytes(2 * 96), to=recipient.sealing_key, info=info)
    body = contexts.number(0) + (commitment_of or bytes(2 * 64)) + sealed
    frame = write_frame(Kind.PARCEL, agreed.agreement, 4, body, key=WORLD.key(BAD))
    return relisted(WORLD.parcels[HONEST], [*items(WORLD.parcels[HONEST])[:4], frame])


@strategy("changed_share")
def shares_that_nobody_committed_to() -> object:
    return _hold(_parcel(sealed_to=HONEST))


@strategy("sealed_for_another")
def shares_sealed_to_somebody_else() -> object:
    return _hold(_parcel(sealed_to="site-001"))
