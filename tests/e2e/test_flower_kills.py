"""SIGKILL any process of a study over Flower at named points: the model equals the undisturbed one, bit for bit."""

import datetime as dt
import os
import signal
import socket
import warnings

import pytest

from site_client.ledger.ledger import Ledger
from tests.e2e.flower_study import POINTS, PROCESSES, ROUNDS, Killer, flower, gone, pids, study
from tests.e2e.test_engines import inline
from tests.small_study import private

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or not hasattr(os, "fork"), reason="needs Unix sockets and fork"),
    pytest.mark.filterwarnings("ignore"),  # Flower's own
]


@pytest.mark.parametrize("target", PROCESSES)
def test_a_process_killed_at_every_point_changes_nothing(tmp_path, target):
    killer = Killer(tmp_path / "flower", target, POINTS)
    found = flower(study(), tmp_path / "flower", on_point=killer)
    assert sorted(killer.killed) == sorted(POINTS)
    check(found, inline(study(), tmp_path / "inline"))


@pytest.mark.parametrize("target", PROCESSES)
def test_a_process_killed_in_a_private_study_charges_nothing_twice(tmp_path, target):
    agreed = study(privacy=private(steps=3 * ROUNDS))
    points = ("train/1/during", "train/3/kept", "train/6/before", "train/10/after")
    killer = Killer(tmp_path / "flower", target, points)
    found = flower(agreed, tmp_path / "flower", on_point=killer)
    assert sorted(killer.killed) == sorted(points)
    check(found, inline(agreed, tmp_path / "inline"))
    for path in (tmp_path / "flower").glob("sites/*/ledger.sqlite"):
        with Ledger.open(path, clock=lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) as ledger:
            assert ledger.verify().intact
            assert [ledger.find(agreed.digest, f"train/{number}").state for number in range(1, ROUNDS + 1)] == [
                "sent"
            ] * ROUNDS


def test_the_coordinator_killed_again_and_again_is_resumed_and_leaves_no_process(tmp_path):
    for point in POINTS:
        left = run_and_die(tmp_path / "flower", point)
        assert left, point
        assert gone(left), point
    check(flower(study(), tmp_path / "flower"), inline(study(), tmp_path / "inline"))


def run_and_die(folder, point):
    """Run the study in a child process that SIGKILLs itself at a point; returns the processes it had started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside idle library threads
        child = os.fork()
    if child == 0:
        try:
            flower(study(), folder, on_point=Killer(folder, "coordinator", [point]))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the study ended before {point}"
    assert os.WTERMSIG(status) == signal.SIGKILL
    return list(pids(folder).values())


def check(found, expected):
    assert found.parameters.tobytes() == expected.parameters.tobytes()
    assert [r.model_digest for r in found.rounds] == [r.model_digest for r in expected.rounds]
    assert [r.contributors for r in found.rounds] == [r.contributors for r in expected.rounds]
