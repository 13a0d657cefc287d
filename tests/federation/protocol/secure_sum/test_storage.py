"""Every stored phase is read back as it was; damaged bytes are refused; nothing secret is ever shown."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from federation.errors import CheckpointError
from federation.protocol.secure_sum.round_phases import restore_round
from tests.federation.protocol.secure_sum.scene import scene

TRUTH = scene()
SITE = TRUTH.sites[1]
PHASES = {
    "advertised": TRUTH.advertised[SITE],
    "keys_agreed": TRUTH.agreed[SITE],
    "shares_held": TRUTH.held[SITE],
    "masked": TRUTH.masked[SITE],
    "consistency_signed": TRUTH.signed[SITE],
    "unmasked": TRUTH.unmasked[SITE],
    "awaiting_keys": TRUTH.awaiting_keys,
    "awaiting_shares": TRUTH.awaiting_shares,
    "batch_ready": TRUTH.ready,
}
ROUND = ("masked", "consistency_signed", "unmasked")


def read(name: str, content: bytes) -> object:
    return restore_round(content) if name in ROUND else type(PHASES[name]).from_bytes(content)


def secrets() -> list[bytes]:
    advertised, agreed, held = TRUTH.advertised[SITE], TRUTH.agreed[SITE], TRUTH.held[SITE]
    whole = [advertised.sealing_key, *advertised.mask_keys, *advertised.seeds, TRUTH.answers[SITE]]
    cut = [*agreed.pair_secrets, *held.shares]
    return [
        *whole,
        *(item[start : start + 32] for item in cut for start in range(0, len(item), 32) if any(item[start:])),
    ]


def assert_shows_nothing(shown: str) -> None:
    for secret in secrets():
        for part in (secret[:12], secret[-12:]):
            if any(part):
                assert part.hex() not in shown
                assert repr(part)[2:-1] not in shown
                assert base64.b64encode(part).decode() not in shown
                assert base64.urlsafe_b64encode(part).decode() not in shown


@pytest.mark.parametrize("name", PHASES)
def test_a_stored_phase_is_read_back_as_it_was(name: str) -> None:
    phase = PHASES[name]
    again = read(name, phase.to_bytes())
    assert type(again) is type(phase)
    assert again == phase
    assert again.to_bytes() == phase.to_bytes()
    assert type(phase).from_bytes(phase.to_bytes()) == phase


@pytest.mark.parametrize("name", PHASES)
def test_every_kind_of_damage_is_a_checkpoint_error_that_shows_nothing(name: str) -> None:
    content = PHASES[name].to_bytes()
    generator = np.random.default_rng(3)
    damaged = [
        b"",
        b"{}",
        b"null",
        content[:-1],
        content[1:],
        content + b" ",
        content[64:],
        content[: len(content) // 2],
    ]
    for place in generator.integers(len(content), size=150).tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << int(generator.integers(8))
        damaged.append(bytes(changed))
    for bad in damaged:
        with pytest.raises(CheckpointError) as failure:
            read(name, bad)
        assert_shows_nothing(str(failure.value) + repr(failure.value.facts))
        assert failure.value.__cause__ is None
        assert failure.value.__suppress_context__


@pytest.mark.parametrize("name", PHASES)
def test_the_bytes_of_another_phase_are_refused(name: str) -> None:
    for other, phase in PHASES.items():
        if other != name and not (name in ROUND and other in ROUND):
            with pytest.raises(CheckpointError):
                read(name, phase.to_bytes())
        if other != name:
            with pytest.raises(CheckpointError):
                type(PHASES[name]).from_bytes(phase.to_bytes())


@pytest.mark.parametrize("name", PHASES)
def test_no_phase_shows_a_secret(name: str) -> None:
    assert_shows_nothing(repr(PHASES[name]))
    assert_shows_nothing(str(PHASES[name]))


def test_the_check_would_see_a_secret() -> None:
    with pytest.raises(AssertionError):
        assert_shows_nothing(repr(TRUTH.advertised[SITE].seeds))


def test_no_value_of_the_server_shows_a_share_or_a_sum() -> None:
    answers = TRUTH.awaiting_answers.add(TRUTH.answers[SITE])
    assert_shows_nothing(repr(answers))
    opened = answers
    for site in TRUTH.sites[2:]:
        opened = opened.add(TRUTH.answers[site])
    for shown in (repr(TRUTH.inputs()), repr(TRUTH.awaiting_signatures)):
        assert "array" not in shown
        assert_shows_nothing(shown)
