"""Delivery beside a study: when it tries, when it pauses, and that a killed study's rounds still arrive."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from aggregator.delivery_process import DeliveryProcess, _note, _Visit, _visit, serve
from aggregator.mlflow_delivery import Delivery
from aggregator.outbox import Outbox
from aggregator.outbox_tracker import OutboxTracker
from aggregator.tracking import TrackingTarget
from federation.errors import MissingDependencyError
from tests.aggregator.test_mlflow_delivery import check_whole_run
from tests.aggregator.tracked_run import recorded, round_result, server_target
from tests.small_study import manifest


class Mlflow:
    """Delivers to nowhere, or fails."""

    def __init__(self, *, is_up=True):
        self.is_up, self.calls = is_up, 0

    def __call__(self, outbox, target):
        self.calls += 1
        waiting = outbox.counts(target).waiting
        if not self.is_up:
            return Delivery(delivered=0, waiting=waiting, failure="down")
        outbox.mark(outbox.pending(target, limit=1000), target)
        return Delivery(delivered=waiting, waiting=0)


@pytest.fixture
def target(tmp_path):
    return server_target(tmp_path)


def test_everything_named_is_delivered_before_the_end(tmp_path, target) -> None:
    outboxes = [recorded(tmp_path / name / "tracking", target) for name in "abc"]
    serve(io.StringIO("".join(json.dumps(str(outbox.folder)) + "\n" for outbox in outboxes)), deliver=Mlflow())
    assert [outbox.counts(target).waiting for outbox in outboxes] == [0, 0, 0]


def test_a_folder_is_looked_into_when_it_is_named_and_not_when_it_is_time(tmp_path, target) -> None:
    outbox, ended_by = recorded(tmp_path / "tracking", target), []
    ours, theirs = os.pipe()

    def end(who) -> None:
        if not ended_by:
            ended_by.append(who)
            os.close(theirs)

    def deliver(outbox, target):
        end("delivery")
        return Mlflow()(outbox, target)

    os.write(theirs, (json.dumps(str(outbox.folder)) + "\n").encode())
    watch = threading.Timer(30, end, ["watch"])  # for the case that it fails
    watch.start()
    with os.fdopen(ours) as requests:
        serve(requests, deliver=deliver, look_every=3600)
    watch.cancel()
    assert ended_by == ["delivery"]


def test_the_end_of_a_study_is_a_last_try_and_not_a_siege(tmp_path, target) -> None:
    outbox = recorded(tmp_path / "tracking", target, finish="")
    mlflow = Mlflow(is_up=False)
    serve(io.StringIO(json.dumps(str(outbox.folder)) + "\n"), deliver=mlflow)
    assert mlflow.calls == 1


def test_a_run_goes_on_being_watched_and_a_finished_one_is_left(tmp_path, target) -> None:
    running = recorded(tmp_path / "a" / "tracking", target, finish="")
    finished = recorded(tmp_path / "b" / "tracking", target)
    mlflow = Mlflow()
    for outbox in (running, finished):
        assert _visit(outbox.folder, _Visit(), mlflow, now=0)
    assert _visit(running.folder, _Visit(), mlflow, now=1)
    assert not _visit(finished.folder, _Visit(), mlflow, now=1)
    assert mlflow.calls == 2


def test_a_target_that_is_down_is_left_alone_for_longer_and_longer(tmp_path, target) -> None:
    outbox = recorded(tmp_path / "tracking", target, finish="")
    mlflow, visit, tried = Mlflow(is_up=False), _Visit(), []
    for second in range(400):
        before = mlflow.calls
        assert _visit(outbox.folder, visit, mlflow, now=float(second))
        tried += [second] * (mlflow.calls - before)
    assert tried[:7] == [0, 1, 3, 7, 15, 31, 63]
    assert tried[-1] - tried[-2] == 60
    _note(visit, Delivery(delivered=1, waiting=0), now=400.0)
    assert (visit.failures, visit.due) == (0, 400.0)


def test_the_end_of_a_run_is_tried_at_once_whatever_the_pause(tmp_path, target) -> None:
    folder = tmp_path / "tracking"
    recorded(folder, target, finish="")
    mlflow, visit = Mlflow(is_up=False), _Visit()
    _visit(folder, visit, mlflow, now=0.0)
    _visit(folder, visit, mlflow, now=0.5)
    assert mlflow.calls == 1
    recorded(folder, target)
    _visit(folder, visit, mlflow, now=0.6)
    _visit(folder, visit, mlflow, now=0.7)
    assert mlflow.calls == 2


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 5000)])
def test_an_outbox_that_is_gone_or_damaged_is_left(tmp_path, target, damage) -> None:
    outbox = recorded(tmp_path / "tracking", target)
    damage(outbox.folder / "outbox.sqlite")
    assert not _visit(outbox.folder, _Visit(), Mlflow(), now=0.0)


def test_an_outbox_before_its_start_is_waited_for(tmp_path) -> None:
    Outbox(tmp_path, create=True)
    assert _visit(tmp_path, _Visit(), Mlflow(), now=0.0)


def test_without_mlflow_no_process_is_started(monkeypatch) -> None:
    monkeypatch.setattr("aggregator.mlflow_delivery.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError):
        DeliveryProcess()


class Stubborn:
    """Takes calls and never delivers."""

    is_working = True

    def __init__(self):
        self.called = []

    def call(self, folder):
        self.called.append(folder)


def test_finish_waits_no_longer_than_its_patience(tmp_path, target, caplog) -> None:
    seconds = iter(range(1000))
    tracker = OutboxTracker(tmp_path, target, courier=Stubborn(), patience=3, clock=lambda: float(next(seconds)))
    tracker.start(manifest(), tags={})
    tracker.finish("finished")
    assert next(seconds) < 10
    assert tracker.waiting == 4
    assert f"cohortium tracking deliver {tmp_path}" in caplog.text


def test_finish_does_not_wait_for_a_target_that_is_known_to_be_down(tmp_path, target) -> None:
    class Failing(Stubborn):
        def call(self, folder):
            outbox = Outbox(folder)
            outbox.note_attempt(target, number=outbox.newest(), failure="down")

    tracker = OutboxTracker(tmp_path, target, courier=Failing(), patience=1e9)
    tracker.start(manifest(), tags={})
    tracker.finish("failed")  # would not return otherwise
    assert tracker.waiting > 0


STUDY = """
import os, signal, sys
from pathlib import Path
from aggregator.outbox_tracker import OutboxTracker
from aggregator.tracking import TrackingTarget
from tests.aggregator.tracked_run import round_result
from tests.small_study import manifest
folder = Path(sys.argv[1])
tracker = OutboxTracker(folder / "tracking", TrackingTarget.choose("sqlite", output=folder))
tracker.start(manifest(), tags={"cohortium.seed": "7", "cohortium.name": "trial"})
tracker.record_rounds([round_result(1)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_study_is_delivered_by_the_process_it_left_and_continues_as_one_run(tmp_path, repository) -> None:
    target = TrackingTarget.choose("sqlite", output=tmp_path)
    study = subprocess.run([sys.executable, "-c", STUDY, str(tmp_path)], cwd=repository, check=False)
    assert study.returncode == -9
    folder = tmp_path / "tracking"
    deadline = time.monotonic() + 120
    while Outbox(folder).counts(target).waiting:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    courier = DeliveryProcess()
    tracker = OutboxTracker(folder, target, courier=courier, patience=120)
    tracker.start(manifest(), tags={})
    process = courier._process
    os.kill(process.pid, signal.SIGKILL)  # and the courier dies as well
    process.wait()
    recorded(folder, target, rounds=3, finish="")
    tracker.record_rounds([round_result(3)])
    tracker.finish("finished")
    assert tracker.waiting == 0
    courier.close(patience=60)
    assert not courier.is_working
    check_whole_run(target, Outbox(folder))
