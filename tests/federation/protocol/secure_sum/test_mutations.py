"""Damaged and hostile messages: none is taken for another, none crashes a party, none makes it allocate."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from federation.errors import CohortiumError
from federation.protocol.secure_sum.contributing import answer_unmask, sign_survivors
from federation.protocol.secure_sum.wire import HEAD_BYTES
from tests.federation.protocol.secure_sum.staged import Staged

WORLD, SITE = Staged(), "site-001"
Take = Callable[[bytes], object]


def _kinds() -> dict[str, tuple[bytes, Take]]:
    """Every kind of message: an honest one, and who takes it."""
    keys, shares = WORLD.key(SITE), WORLD.agreed[SITE][0]
    server = WORLD._keys[0]
    from federation.protocol.secure_sum.collecting import AwaitingKeys

    waiting = AwaitingKeys(terms=WORLD.consortium.terms, batch=WORLD.batch)
    return {
        "advertisement": (WORLD.advertised[SITE][1], waiting.add),
        "key list": (WORLD.key_list, lambda content: WORLD.agree(SITE, content)),
        "bundle": (WORLD.agreed[SITE][1], server.add),
        "parcels": (WORLD.parcels[SITE], shares.hold),
        "contribution": (WORLD.masked[SITE][1], WORLD.inputs().fold),
        "announcement": (
            WORLD.announcement,
            lambda content: sign_survivors(WORLD.masked[SITE][0], content, signing_key=keys),
        ),
        "signature": (WORLD.signed[SITE][1], WORLD._signing[0].add),
        "request": (WORLD.request, lambda content: answer_unmask(WORLD.signed[SITE][0], content, signing_key=keys)),
        "answer": (WORLD.answered[SITE][1], WORLD.answering.add),
    }


KINDS = _kinds()


def mutated(content: bytes, generator: np.random.Generator, others: list[bytes]) -> bytes:
    """One random damage; never the content itself."""
    found, place = bytearray(content), int(generator.integers(len(content)))
    match int(generator.integers(7)):
        case 0:
            found[place] ^= 1 << int(generator.integers(8))
        case 1:
            found[place] = (found[place] + int(generator.integers(1, 256))) % 256
        case 2:
            del found[place:]
        case 3:
            found += generator.bytes(int(generator.integers(1, 200)))
        case 4:
            number = int(generator.integers(2**16))
            found[HEAD_BYTES - 2 : HEAD_BYTES] = number.to_bytes(2, "big")
        case 5:
            other = others[int(generator.integers(len(others)))]
            found[place:] = other[place:]
        case _:
            length = int(generator.integers(1, 65))
            found[place : place + length] = generator.bytes(len(found[place : place + length]))
    return bytes(found) if bytes(found) != content else bytes(found) + b"\0"


def _refuse(number: int, *, seed: int) -> None:
    generator = np.random.default_rng(seed)
    others = [content for content, _ in KINDS.values()]
    names = list(KINDS)
    for _ in range(number):
        content, take = KINDS[names[int(generator.integers(len(names)))]]
        damaged = mutated(content, generator, others)
        with pytest.raises(CohortiumError):
            take(damaged)


def test_two_thousand_damaged_messages_are_refused() -> None:
    _refuse(2_000, seed=1)


@pytest.mark.slow
def test_a_hundred_thousand_damaged_messages_are_refused() -> None:
    _refuse(100_000, seed=2)


@pytest.mark.parametrize("name", KINDS)
def test_the_honest_message_is_taken(name: str) -> None:
    content, take = KINDS[name]
    take(content)


@pytest.mark.parametrize("name", KINDS)
def test_a_long_message_is_refused_before_anything_is_made_of_it(name: str) -> None:
    """Twenty mebibytes behind an honest head: what the refusal allocates is a few kilobytes."""
    content, take = KINDS[name]
    hostile = memoryview(content + bytes(20 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(CohortiumError):
            take(hostile)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**18


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [2, 1000, 2**16 - 1])
def test_a_count_is_no_reason_to_allocate(name: str, count: int) -> None:
    content, take = KINDS[name]
    hostile = content[: HEAD_BYTES - 2] + count.to_bytes(2, "big") + content[HEAD_BYTES:]
    if hostile == content:
        return
    tracemalloc.start()
    try:
        with pytest.raises(CohortiumError):
            take(hostile)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**18 + 2 * len(content)
