"""A gateway asks often after a message, and seldom when there is no study."""

from __future__ import annotations

from site_client.gateway.pauses import LONGEST_PAUSE, Pauses

FLOWERS_PAUSE = 3


def slept(pauses: Pauses, made: list[float], times: int) -> list[float]:
    made.clear()
    for _ in range(times):
        pauses.sleep(FLOWERS_PAUSE)
    return list(made)


def test_without_a_study_it_asks_once_a_second():
    made: list[float] = []
    pauses = Pauses(sleep=made.append, clock=lambda: 0.0)
    slept(pauses, made, 100)
    assert slept(pauses, made, 100) == [LONGEST_PAUSE] * 100
    assert LONGEST_PAUSE >= 1.0


def test_a_message_is_never_found_much_later_than_a_tenth_of_the_time_since_the_last_one():
    made: list[float] = []
    pauses = Pauses(sleep=made.append, clock=lambda: 0.0)
    slept(pauses, made, 100)
    pauses.message_came()
    passed = 0.0
    for pause in slept(pauses, made, 60):
        assert pause <= 0.02 + passed / 10 + 1e-9
        passed += pause
    assert passed > 10


def test_flowers_short_pauses_are_shorter_and_change_nothing():
    made: list[float] = []
    pauses = Pauses(sleep=made.append, clock=lambda: 0.0)
    pauses.sleep(0.5)
    assert made == [0.02]
    assert slept(pauses, made, 2) == [0.02, 0.02 * 1.1]


def test_a_busy_gate_is_not_asked_more_than_half_of_the_time():
    made: list[float] = []
    now = [0.0]
    pauses = Pauses(sleep=made.append, clock=lambda: now[0])
    pauses.sleep(FLOWERS_PAUSE)
    now[0] += 0.3  # what the answer took
    pauses.sleep(FLOWERS_PAUSE)
    now[0] += 30.0
    pauses.sleep(FLOWERS_PAUSE)
    assert made == [0.02, 0.3, LONGEST_PAUSE]
    pauses.message_came()
    now[0] += 3600.0  # the agent was at work
    pauses.sleep(FLOWERS_PAUSE)
    assert made[-1] == 0.02
