"""A copy answers with bytes, or it is as if it had never been asked."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conf.processes.copied_process import CopiedProcess, Receive, pays_to_copy


@pytest.mark.parametrize(
    ("platform", "processors", "pays"), [("linux", 2, True), ("linux", 1, False), ("darwin", 8, False)]
)
def test_a_copy_pays_where_it_has_a_processor(
    platform: str, processors: int, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    assert pays_to_copy() is pays


def raises(_: Receive) -> bytes:
    raise LookupError


def is_killed(_: Receive) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def exits(_: Receive) -> bytes:
    os._exit(0)


def test_the_answer_is_of_another_process() -> None:
    with CopiedProcess(lambda _: str(os.getpid()).encode(), name="copy") as copy:
        answer = copy.answer()
    assert answer is not None
    assert int(answer) != os.getpid()


def test_a_long_answer_is_whole() -> None:
    content = bytes(range(256)) * 100_000  # no pipe holds as much
    with CopiedProcess(lambda _: content, name="copy") as copy:
        assert copy.answer() == content


@pytest.mark.parametrize("work", [raises, is_killed, exits, lambda _: b""], ids=["raises", "killed", "exits", "empty"])
def test_without_an_answer_there_is_none(work: Callable[[Receive], bytes]) -> None:
    with CopiedProcess(work, name="copy") as copy:
        assert copy.answer() is None


def test_nothing_is_changed_here() -> None:
    found = {"value": 1}

    def changes(_: Receive) -> bytes:
        found["value"] = 2
        return b"changed"

    with CopiedProcess(changes, name="copy") as copy:
        assert copy.answer() == b"changed"
    assert found == {"value": 1}


def test_an_interrupt_is_not_for_the_copy() -> None:
    def interrupted(_: Receive) -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return b"still here"

    with CopiedProcess(interrupted, name="copy") as copy:
        assert copy.answer() == b"still here"


def test_the_copy_ends_with_its_block() -> None:
    def sleeps(_: Receive) -> bytes:
        time.sleep(60)
        return b"late"

    with CopiedProcess(sleeps, name="copy") as copy:
        assert copy.is_alive
    assert not copy.is_alive


def test_work_that_asks_gets_the_question() -> None:
    with CopiedProcess(lambda receive: receive()[::-1], name="copy") as copy:
        copy.ask(b"stressed")
        assert copy.answer() == b"desserts"


def test_work_that_is_asked_nothing_ends_with_its_block() -> None:
    with CopiedProcess(lambda receive: receive(), name="copy") as copy:
        assert copy.answer(seconds=0.05) is None
    assert not copy.is_alive


def test_work_that_waits_for_a_question_ends_when_its_process_is_killed() -> None:
    """As the first copy is: nobody is left to close the pipe but the system."""

    def parent(_: Receive) -> bytes:
        inner = CopiedProcess(lambda receive: receive(), name="inner")
        return str(inner._process.pid).encode() + b" " + str(os.getpid()).encode()

    with CopiedProcess(lambda _: _held(parent), name="outer") as outer:
        answer = outer.answer()
        assert answer is not None
        inner, _ = map(int, answer.split())
    end = time.monotonic() + 20
    while _runs(inner) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _runs(inner)


def test_a_question_to_a_copy_that_ended_has_no_answer() -> None:
    with CopiedProcess(exits, name="copy") as copy:
        time.sleep(0.1)
        copy.ask(b"there?")
        assert copy.answer() is None


def test_a_copy_has_copies_of_its_own() -> None:
    def outer(_: Receive) -> bytes:
        with CopiedProcess(lambda _: b"inner", name="inner") as inner:
            return (inner.answer() or b"none") + b" in outer"

    with CopiedProcess(outer, name="outer") as copy:
        assert copy.answer() == b"inner in outer"


def test_a_nice_copy_steps_back() -> None:
    with CopiedProcess(lambda _: str(os.nice(0)).encode(), name="copy", niceness=7) as copy:
        answer = copy.answer()
    assert answer is not None
    assert int(answer) == min(19, os.nice(0) + 7)


def _held(work: Callable[[Receive], bytes]) -> bytes:
    return work(bytes)


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
