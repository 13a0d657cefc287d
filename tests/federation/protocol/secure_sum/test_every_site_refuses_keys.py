"""A lying server, alone or with one conspiring site: every honest site that it lies to refuses, and says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from federation.errors import ManifestError, SecureSumRefusedError
from federation.protocol.secure_sum import contexts, key_agreement
from federation.protocol.secure_sum.messages import Parcel, read_parcels
from federation.protocol.secure_sum.wire import HEAD_BYTES, Kind, write_frame, write_list
from federation.protocol.signatures import SigningKey
from tests.federation.protocol.secure_sum.consortium import STREAMS, Consortium
from tests.federation.protocol.secure_sum.scene import BATCH, CONSPIRATOR, Scene, body_of, flipped, scene

OTHER_STUDY = "sha256:" + "1d" * 32
PRIME = 2**255 - 19
LOW_ORDER = {
    "zero": 0,
    "one": 1,
    "minus_one": PRIME - 1,
    "order_8": 325606250916557431795983626356110631294008115727848805560023387167927233504,
    "other_order_8": 39382357235489614581723060781553021112529911719440698176882885853963445705823,
}
NOT_CANONICAL = {"zero_again": PRIME, "one_again": PRIME + 1, "high_bit": 2**255, "all_ones": 2**256 - 1}
OTHERS = {
    "study": {"study": OTHER_STUDY},
    "round": {"round_number": 2},
    "attempt": {"batch": BATCH.model_copy(update={"attempt": 1})},
    "purpose": {"batch": BATCH.model_copy(update={"purpose": "evaluate"})},
}

Call = Callable[[], object]
STRATEGIES: dict[str, tuple[str, Callable[[Scene], dict[str, Call]]]] = {}


def strategy(reason: str, name: str = ""):
    """Register what the server says to whom, and why that is refused."""

    def register(lie: Callable[[Scene], dict[str, Call]]):
        STRATEGIES[name or lie.__name__] = (reason, lie)
        return lie

    return register


def agree(truth: Scene, key_list: bytes, sites: list[str] | None = None) -> dict[str, Call]:
    return {
        site: lambda site=site: truth.advertised[site].agree(
            key_list, signing_key=truth.consortium.keys[site], random_bytes=STREAMS.stream("refused", site).bytes
        )
        for site in sites or truth.honest
    }


def items_of(content: bytes) -> list[bytes]:
    count = int.from_bytes(content[HEAD_BYTES - 2 : HEAD_BYTES], "big")
    size = (len(content) - HEAD_BYTES) // count
    return [content[start : start + size] for start in range(HEAD_BYTES, len(content), size)]


# --- the list of keys


@strategy("forged")
def key_substituted_in_the_list(truth: Scene) -> dict[str, Call]:
    return agree(truth, truth.keys([flipped(truth.advertisements[0], HEAD_BYTES + 40), *truth.advertisements[1:]]))


@strategy("forged")
def substituted_key_signed_by_another_site(truth: Scene) -> dict[str, Call]:
    body = flipped(body_of(truth.advertisements[0]), 40)
    false = write_frame(Kind.ADVERTISEMENT, truth.batch_context, 0, body, key=truth.key(CONSPIRATOR))
    return agree(truth, truth.keys([false, *truth.advertisements[1:]]))


@strategy("other_context")
def terms_of_threshold_one(truth: Scene) -> dict[str, Call]:
    weak = truth.terms.model_copy(update={"threshold": 1, "minimum_survivors": 1})
    context = truth.batch.context(weak)
    frame = truth.frame(Kind.ADVERTISEMENT, context, body_of(truth.advertisements[CONSPIRATOR]))
    return agree(truth, write_list(Kind.KEY_LIST, context, [*truth.advertisements[:CONSPIRATOR], frame]))


@strategy("duplicate_key")
def key_of_another_site_copied(truth: Scene) -> dict[str, Call]:
    return agree(truth, truth.with_conspirator(body_of(truth.advertisements[0])))


@strategy("duplicate_key")
def mask_key_that_is_the_sealing_key(truth: Scene) -> dict[str, Call]:
    body = body_of(truth.advertisements[CONSPIRATOR])
    return agree(truth, truth.with_conspirator(body[:32] + body[:32] + body[64:]))


def _point(truth: Scene, place: int, value: int) -> dict[str, Call]:
    body = body_of(truth.advertisements[CONSPIRATOR])
    point = value.to_bytes(32, "little")
    return agree(truth, truth.with_conspirator(body[:place] + point + body[place + 32 :]))


for _where, _place in (("sealing", 0), ("mask", 32), ("second_round", 96)):
    for _name, _value in LOW_ORDER.items():
        strategy("low_order_key", f"low_order_{_where}_key_{_name}")(
            lambda truth, place=_place, value=_value: _point(truth, place, value)
        )
    for _name, _value in NOT_CANONICAL.items():
        strategy("malformed_key", f"second_spelling_of_a_{_where}_key_{_name}")(
            lambda truth, place=_place, value=_value: _point(truth, place, value)
        )


@strategy("not_in_roster")
def extra_roster_member(truth: Scene) -> dict[str, Call]:
    body = body_of(truth.advertisements[0])
    frame = write_frame(Kind.ADVERTISEMENT, truth.batch_context, 5, body, key=SigningKey.generate())
    return agree(truth, truth.keys([*truth.advertisements[:CONSPIRATOR], frame]))


@strategy("malformed")
def list_longer_than_the_roster(truth: Scene) -> dict[str, Call]:
    return agree(truth, truth.keys([*truth.advertisements, truth.advertisements[CONSPIRATOR]]))


@strategy("too_few_sites")
def members_removed_below_the_minimum(truth: Scene) -> dict[str, Call]:
    return agree(truth, truth.keys(truth.advertisements[:3]))


@strategy("own_key_changed")
def member_removed(truth: Scene) -> dict[str, Call]:
    return agree(truth, truth.keys(truth.advertisements[1:]), truth.sites[:1])


@strategy("own_key_changed")
def own_key_changed(truth: Scene) -> dict[str, Call]:
    body = key_agreement.public_key(b"e" * 32) + body_of(truth.advertisements[0])[32:]
    false = truth.frame(Kind.ADVERTISEMENT, truth.batch_context, body, sender=0)
    return agree(truth, truth.keys([false, *truth.advertisements[1:]]), truth.sites[:1])


@strategy("duplicate")
def keys_out_of_order(truth: Scene) -> dict[str, Call]:
    return agree(truth, truth.keys(truth.advertisements[::-1]))


@strategy("duplicate")
def keys_of_one_site_twice(truth: Scene) -> dict[str, Call]:
    return agree(truth, truth.keys([truth.advertisements[0], *truth.advertisements[:CONSPIRATOR]]))


for _name in ("study", "attempt", "purpose"):
    strategy("other_context", f"key_list_of_another_{_name}")(
        lambda truth, name=_name: agree(truth, scene(**OTHERS[name]).key_list)
    )
    strategy("other_context", f"one_key_of_another_{_name}")(
        lambda truth, name=_name: agree(
            truth, truth.keys([*truth.advertisements[:CONSPIRATOR], scene(**OTHERS[name]).advertisements[CONSPIRATOR]])
        )
    )


# --- parcels


def hold(truth: Scene, change: Callable[[str, list[bytes]], list[bytes]]) -> dict[str, Call]:
    def call(site: str) -> object:
        items = change(site, items_of(truth.parcels[site]))
        return truth.agreed[site].hold(write_list(Kind.PARCELS, truth.agreement, items))

    return {site: lambda site=site: call(site) for site in truth.honest}


def _next(truth: Scene, site: str) -> str:
    return truth.sites[truth.sites.index(site) + 1]


@strategy("wrong_recipient")
def parcels_swapped_between_recipients(truth: Scene) -> dict[str, Call]:
    return hold(truth, lambda site, items: items_of(truth.parcels[_next(truth, site)]))


@strategy("forged")
def share_changed_on_the_way(truth: Scene) -> dict[str, Call]:
    return hold(truth, lambda site, items: [flipped(items[0], -100), *items[1:]])


def _false_parcel(truth: Scene, item: bytes, *, share: bool) -> bytes:
    old, _ = read_parcels(
        write_list(Kind.PARCELS, truth.agreement, [item]), truth.agreement, terms=truth.terms, rounds=BATCH.rounds
    )[0]
    to = body_of(truth.advertisements[old.recipient if share else CONSPIRATOR])[:32]
    info = contexts.seal_info(truth.agreement, dealer=CONSPIRATOR, recipient=old.recipient)
    sealed = key_agreement.seal(bytes(len(old.sealed) - key_agreement.SEAL_BYTES), to=to, info=info)
    body = Parcel(CONSPIRATOR, old.recipient, old.commitments, sealed).body()
    return truth.frame(Kind.PARCEL, truth.agreement, body)


@strategy("changed_share")
def share_other_than_committed_to(truth: Scene) -> dict[str, Call]:
    return hold(truth, lambda site, items: [*items[:-1], _false_parcel(truth, items[-1], share=True)])


@strategy("sealed_for_another")
def share_sealed_to_the_conspirator(truth: Scene) -> dict[str, Call]:
    return hold(truth, lambda site, items: [*items[:-1], _false_parcel(truth, items[-1], share=False)])


@strategy("duplicate")
def second_parcel_of_one_dealer(truth: Scene) -> dict[str, Call]:
    return hold(truth, lambda site, items: [*items[:-1], items[0]])


@strategy("too_few_sites")
def parcels_of_too_few(truth: Scene) -> dict[str, Call]:
    return hold(truth, lambda site, items: [items[truth.sites.index(site)]])


@strategy("own_shares_missing")
def own_parcel_left_out(truth: Scene) -> dict[str, Call]:
    return hold(truth, lambda site, items: [item for n, item in enumerate(items) if n != truth.sites.index(site)])


@strategy("unknown_dealer")
def parcel_of_a_site_without_keys(truth: Scene) -> dict[str, Call]:
    few = scene(absent=1)

    def change(site: str, items: list[bytes]) -> list[bytes]:
        return [*items, few.frame(Kind.PARCEL, few.agreement, body_of(items[0]))]

    return hold(few, change)


for _name in ("study", "attempt", "purpose"):
    strategy("other_context", f"parcels_of_another_{_name}")(
        lambda truth, name=_name: {
            site: lambda site=site: truth.agreed[site].hold(scene(**OTHERS[name]).parcels[site])
            for site in truth.honest
        }
    )


@strategy("other_context")
def key_lists_split_between_sites(truth: Scene) -> dict[str, Call]:
    """Two sites see all keys, the others do not see the last; their parcels do not fit."""
    short = {}
    for site in truth.sites[:4]:
        phase, bundle = agree(truth, truth.keys(truth.advertisements[:4]), [site])[site]()
        short[site] = (phase, items_of(bundle))
    mixed = {
        place: [
            short[dealer][1][place] if dealer in truth.sites[2:4] else items_of(truth.bundles[dealer])[place]
            for dealer in truth.sites[:4]
        ]
        for place in range(4)
    }
    phases = [*(truth.agreed[site] for site in truth.sites[:2]), *(short[site][0] for site in truth.sites[2:4])]
    return {
        truth.sites[place]: lambda place=place: phases[place].hold(
            write_list(Kind.PARCELS, phases[place].agreement, mixed[place])
        )
        for place in range(4)
    }


def test_there_are_more_strategies_than_promised() -> None:
    assert len(STRATEGIES) >= 25


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_honest_site_refuses_keys_and_shares_of_a_lying_server(name: str) -> None:
    reason, lie = STRATEGIES[name]
    calls = lie(scene())
    assert calls
    for site, call in calls.items():
        with pytest.raises(SecureSumRefusedError) as refusal:
            call()
        assert refusal.value.facts["reason"] == reason, site


@pytest.mark.parametrize("threshold", [-1, 0, 1, 2, 3])
def test_terms_with_a_low_threshold_do_not_exist(threshold: int) -> None:
    with pytest.raises(ManifestError):
        Consortium.of(6, threshold=threshold)
