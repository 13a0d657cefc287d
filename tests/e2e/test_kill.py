"""SIGKILL at any fsync of a study, then resume: the model equals that of the undisturbed study, bit for bit."""

import datetime as dt
import os
import signal
import warnings

import pytest

from federation import durable_files
from site_client.ledger.ledger import Ledger
from tests.e2e.test_engines import inline
from tests.small_study import manifest, private

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


def study():
    return manifest(algorithm={"kind": "scaffold"}, privacy=private())


def run_and_die(folder, at):
    """Run the study in a child process that SIGKILLs itself at its `at`-th fsync; returns whether it died."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside idle library threads
        child = os.fork()
    if child == 0:
        calls, real = 0, os.fsync

        def fsync(descriptor):
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            real(descriptor)

        durable_files.os.fsync = fsync
        try:
            inline(study(), folder)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def fsyncs_of_a_whole_study(folder):
    count, real = 0, os.fsync

    def fsync(descriptor):
        nonlocal count
        count += 1
        real(descriptor)

    durable_files.os.fsync = fsync
    try:
        result = inline(study(), folder)
    finally:
        durable_files.os.fsync = real
    return count, result


def check(folder, points, expected):
    for at in points:
        assert run_and_die(folder / str(at), at), f"the study ended before fsync {at}"
        resumed = inline(study(), folder / str(at))
        assert resumed.parameters.tobytes() == expected.parameters.tobytes(), f"killed at fsync {at}"
        assert len(resumed.rounds) == 4
        check_ledgers(folder / str(at))


def check_ledgers(folder):
    """Every round was charged once, computed once and sent."""
    ledgers = sorted(folder.glob("sites/*/ledger.sqlite"))
    assert ledgers
    for path in ledgers:
        with Ledger.open(path, clock=lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) as ledger:
            assert ledger.verify().intact
            assert [ledger.find(study().digest, f"train/{number}").state for number in range(1, 5)] == ["sent"] * 4


def test_killed_at_a_few_points(tmp_path):
    count, expected = fsyncs_of_a_whole_study(tmp_path / "whole")
    check(tmp_path, range(count // 3, count, count // 6), expected)


@pytest.mark.slow
def test_killed_at_every_fsync(tmp_path):
    count, expected = fsyncs_of_a_whole_study(tmp_path / "whole")
    assert count > 80
    check(tmp_path, range(1, count + 1), expected)


def test_killed_twice(tmp_path):
    _, expected = fsyncs_of_a_whole_study(tmp_path / "whole")
    folder = tmp_path / "twice"
    assert run_and_die(folder, 60)
    assert run_and_die(folder, 33)
    assert inline(study(), folder).parameters.tobytes() == expected.parameters.tobytes()
