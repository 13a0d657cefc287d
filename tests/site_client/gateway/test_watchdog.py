"""A gateway that lives on without progress is found, whatever holds it; one whose agent computes for days is left alone."""

from __future__ import annotations

import threading

import pytest

from site_client.gateway.watchdog import LONGEST_REQUEST_SECONDS, STUCK_SECONDS, Progress, watch

DAYS = 7 * 24 * 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress(clock=clock)


def is_stuck_after(seconds: float, progress: Progress, clock: Clock) -> str | None:
    clock.pass_by(seconds)
    return progress.reason_to_end()


def test_a_process_that_is_still_starting_is_not_stuck(progress, clock):
    assert is_stuck_after(DAYS, progress, clock) is None


def test_an_agent_may_compute_for_days(progress, clock):
    progress.message_came()
    with progress.working():
        for _ in range(7):
            assert is_stuck_after(DAYS, progress, clock) is None
    assert progress.reason_to_end() is None  # the clock starts anew with its answer
    assert is_stuck_after(STUCK_SECONDS + 1, progress, clock) == "message"


def test_an_agent_may_compute_for_days_while_a_request_of_another_thread_hangs(progress, clock):
    progress.message_came()
    with progress.working(), progress.request():
        assert is_stuck_after(DAYS, progress, clock) is None


def test_two_calls_of_the_agent_both_count(progress, clock):
    progress.message_came()
    with progress.working():
        with progress.working():
            pass
        assert is_stuck_after(DAYS, progress, clock) is None


def test_a_message_that_nobody_takes(progress, clock):
    """The task's token has run out, or the executor sleeps: Flower's loop waits for a reply that nobody writes."""
    progress.message_came()
    assert is_stuck_after(STUCK_SECONDS, progress, clock) is None
    assert is_stuck_after(1, progress, clock) == "message"


def test_a_part_that_never_comes(progress, clock):
    """The SuperLink answers again and again that it does not have it yet."""

    def unavailable() -> bytes:
        raise LookupError

    pull = progress.step(unavailable)
    progress.message_came()
    for _ in range(int(STUCK_SECONDS)):
        with progress.request():
            clock.pass_by(0.5)
        with pytest.raises(LookupError):
            pull()
        assert progress.reason_to_end() is None
        clock.pass_by(0.5)
    assert is_stuck_after(1, progress, clock) == "message"


def test_a_reply_that_cannot_be_sent(progress, clock):
    """The gate is away, and Flower retries for ever. The coordinator asks again, and gets the bytes that the agent has kept."""
    progress.message_came()
    with progress.working():
        pass
    for _ in range(40):
        with progress.request():
            clock.pass_by(0.1)
        clock.pass_by(2.0)
    assert progress.reason_to_end() == "message"


def test_many_parts_take_long_and_each_is_progress(progress, clock):
    pull = progress.step(lambda: b"part")
    progress.message_came()
    for _ in range(1000):
        clock.pass_by(STUCK_SECONDS - 1)
        assert progress.reason_to_end() is None
        pull()


def test_one_part_over_the_slowest_line_that_the_gate_allows(progress, clock):
    progress.message_came()
    with progress.request():
        assert is_stuck_after(8 * 2**20 / 16384 + 15, progress, clock) is None


def test_a_request_that_trickles_for_ever(progress, clock):
    with progress.request():
        clock.pass_by(LONGEST_REQUEST_SECONDS - 1)
        with progress.request():
            assert progress.reason_to_end() is None
            assert is_stuck_after(2, progress, clock) == "request"


def test_a_gate_that_is_away_for_days_is_asked_for_days(progress, clock):
    """Without a message there is nothing to lose: the process stays."""
    for _ in range(10_000):
        with progress.request():
            clock.pass_by(30.0)
        clock.pass_by(20.0)
        assert progress.reason_to_end() is None


def test_a_loop_that_does_not_ask_any_more(progress, clock):
    with progress.request():
        pass
    assert is_stuck_after(STUCK_SECONDS + 1, progress, clock) == "loop"


def test_whoever_asks_for_the_next_message_is_done_with_the_last_one(progress, clock):
    messages = iter([None, "a message", None])
    receive = progress.receiving(lambda: next(messages))
    assert receive() is None
    assert not progress.has_message
    assert is_stuck_after(STUCK_SECONDS + 1, progress, clock) == "loop"
    assert receive() == "a message"
    assert progress.has_message
    assert progress.reason_to_end() is None
    assert is_stuck_after(STUCK_SECONDS + 1, progress, clock) == "message"
    assert receive() is None
    assert progress.reason_to_end() is None


def test_what_raises_ends_what_it_was_in(progress, clock):
    with pytest.raises(ZeroDivisionError), progress.working():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), progress.request():
        raise ZeroDivisionError
    assert is_stuck_after(STUCK_SECONDS + 1, progress, clock) == "loop"


def test_the_watchdog_ends_the_process_once_and_says_why(progress, clock):
    ended: list[str] = []
    progress.message_came()
    watch(progress, ended.append, sleep=clock.pass_by)
    assert ended == ["message"]
    assert STUCK_SECONDS < clock.now - 1000.0 <= STUCK_SECONDS + 2


def test_threads_may_report_at_the_same_time():
    progress = Progress()
    progress.message_came()

    def report() -> None:
        for _ in range(500):
            with progress.request(), progress.working():
                progress.moved()

    threads = [threading.Thread(target=report) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.reason_to_end() is None
    progress.message_left()
    assert progress.reason_to_end() is None
