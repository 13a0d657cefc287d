"""One writer at a time, nothing acted on that is not committed, and nothing trusted that may not be on the disk yet."""

from __future__ import annotations

import os
import threading

import pytest

from federation.errors import InternalError
from federation.privacy.accounting import add, cost_of
from site_client.ledger import store
from site_client.ledger.chain import LedgerState
from site_client.ledger.ledger import Ledger
from tests.site_client.ledger.ledger_cases import (
    TERMS,
    TRAINING,
    answer,
    assert_sound,
    clock,
    content,
    open_again,
    reserve,
)


def test_threads_share_one_ledger(ledger, path):
    threads = [threading.Thread(target=lambda n=n: [answer(ledger, n * 10 + i) for i in range(5)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.status().sent == 20
    assert_sound(path)


def test_a_fork_must_open_the_ledger_itself(ledger, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(InternalError, match="fork"):
        reserve(ledger, 1)


def test_an_interrupt_leaves_nothing_half_done(path):
    interrupt = False

    def interrupting_clock():
        if interrupt:
            raise KeyboardInterrupt
        return clock()

    with Ledger.create(path, TERMS, clock=interrupting_clock) as ledger:
        reserve(ledger, 1)
        before, interrupt = content(path), True
        with pytest.raises(KeyboardInterrupt):
            reserve(ledger, 2)
        assert content(path) == before
        interrupt = False
        assert reserve(ledger, 2).sequence == 3
    assert_sound(path)


def test_an_interrupt_between_commit_and_memory_is_made_up_for(ledger, path, monkeypatch):
    reserve(ledger, 1)
    take = LedgerState._take

    def half(self, *words):
        take(self, *words)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LedgerState, "_take", half)
        with pytest.raises(KeyboardInterrupt):
            reserve(ledger, 2)
    assert len(content(path)) == 3
    assert reserve(ledger, 2).sequence == 3
    assert ledger.spent() == add(cost_of(TRAINING), cost_of(TRAINING))
    assert_sound(path)


def test_what_a_crash_left_in_the_log_is_on_the_disk_before_it_is_read(ledger, path, monkeypatch):
    reserve(ledger, 1)
    steps: list[str] = []
    log = path.with_name(path.name + "-wal")
    fsync, rows = os.fsync, store.Store.rows

    def seen(descriptor):
        steps.append("log" if os.fstat(descriptor).st_ino == log.stat().st_ino else "other")
        fsync(descriptor)

    def read(self, *words):
        steps.append("rows")
        return rows(self, *words)

    monkeypatch.setattr(store.os, "fsync", seen)
    monkeypatch.setattr(store.Store, "rows", read)
    with open_again(path):
        assert steps.index("log") < steps.index("rows")
