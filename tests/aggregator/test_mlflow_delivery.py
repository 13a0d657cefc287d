"""Delivery to real MLflow databases, to one that is down, and to a server that fails now and then."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aggregator import mlflow_delivery
from aggregator.mlflow_delivery import deliver
from aggregator.outbox import Outbox
from aggregator.run_records import KeptArtefact, RunRecord
from aggregator.tracking import TrackingTarget
from federation.errors import MissingDependencyError
from tests.aggregator.flaky_mlflow import FlakyMlflow
from tests.aggregator.tracked_run import Database, history, recorded, round_result, runs_of, server_target
from tests.small_study import manifest

QUIET = """
import os, socket, sys, threading
from pathlib import Path
reached = []
def refuse(self, address, *rest):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        reached.append(address)
        raise OSError("no network in this test")
socket.socket.connect = refuse
def resolve(host, *rest, **options):
    reached.append(host)
    raise OSError("no network in this test")
socket.getaddrinfo = resolve
from aggregator.mlflow_delivery import deliver
from aggregator.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
print(deliver(outbox, outbox.target))
from mlflow.telemetry import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION
assert is_telemetry_disabled() and get_telemetry_client() is None
assert not MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get()
assert not reached, reached
assert not [thread.name for thread in threading.enumerate() if "elemetry" in thread.name]
"""


@pytest.fixture(scope="module")
def first_delivery(tmp_path_factory, repository):
    """A delivery to a database that is made for it, outside of pytest and of continuous integration, where telemetry is on."""
    folder = tmp_path_factory.mktemp("mlflow")
    target = TrackingTarget.choose("sqlite", experiment="first", output=folder)
    outbox = recorded(folder / "tracking", target, rounds=0)
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET, str(outbox.folder)],
        cwd=repository, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, Database(target.database)


@pytest.fixture(scope="module")
def database(first_delivery):
    return first_delivery[1]


@pytest.fixture
def target(database, tmp_path):
    return database.target(tmp_path / "an output")


def check_whole_run(target, outbox, *, rounds=3):
    client, runs = runs_of(target, outbox)
    assert set(runs) == {"", "pooled", "local_only"}
    run = runs[""]
    expected = [(number, round_result(number).metrics["auroc"]) for number in range(1, rounds + 1)]
    for key in ("round/auroc", "site/north/auroc", "site/west/auroc"):
        assert history(client, run, key) == expected
    assert history(client, run, "privacy/epsilon_spent/south") == [(n, n / 2) for n in range(1, rounds + 1)]
    assert history(client, run, "final/auroc") == [(0, 0.81)]
    assert run.info.status == "FINISHED"
    assert run.data.params["schedule.rounds"] == "4"
    assert [(runs[name].data.metrics, runs[name].info.status) for name in ("pooled", "local_only")] == [
        ({"auroc": 0.8}, "FINISHED")
    ] * 2
    assert {runs[name].data.tags["mlflow.parentRunId"] for name in ("pooled", "local_only")} == {run.info.run_id}
    return client, run


def test_a_whole_run_arrives(target, tmp_path) -> None:
    outbox = recorded(tmp_path / "tracking", target)
    delivery = deliver(outbox, target)
    assert (delivery.waiting, delivery.failure) == (0, "")
    assert delivery.delivered == outbox.counts(target).recorded
    client, run = check_whole_run(target, outbox)
    assert run.info.run_name == "trial · seed 7"
    assert run.data.tags["cohortium.manifest_digest"] == manifest().digest
    assert run.data.tags["cohortium.run_key"] == outbox.fact("run_key")
    assert run.info.artifact_uri.startswith(Path(target.artefacts).as_uri())
    assert {entry.path for entry in client.list_artifacts(run.info.run_id)} == {"manifest.json", "model", "report.html"}
    stored = next(Path(target.artefacts).rglob("model/model.safetensors"))
    assert stored.read_bytes() == b"weights"
    assert deliver(outbox, target).delivered == 0


def test_a_server_that_is_down_holds_up_nothing_and_everything_arrives_elsewhere(target, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    down = server_target(tmp_path)
    outbox = recorded(tmp_path / "tracking", down)
    delivery = deliver(outbox, down)
    assert (delivery.delivered, delivery.waiting) == (0, outbox.counts(down).recorded)
    assert "ConnectionError" in delivery.failure
    assert outbox.last_attempt(down).failure == delivery.failure
    assert deliver(outbox, target).waiting == 0
    check_whole_run(target, outbox)
    assert outbox.counts(down).waiting == outbox.counts(down).recorded


class KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


def test_a_crash_between_delivery_and_mark_repeats_nothing(target, tmp_path, monkeypatch) -> None:
    outbox = recorded(tmp_path / "tracking", target)
    mark, crashes = Outbox.mark, itertools.count(1)
    for _ in range(40):
        is_first = iter([True])

        def mark_or_crash(self, events, target, *, refused="", is_first=is_first):
            # The first group of each try was sent before and is marked now; the second is sent, and then we crash.
            if next(is_first, False):
                mark(self, events, target, refused=refused)
            else:
                next(crashes)
                raise KilledError

        monkeypatch.setattr(Outbox, "mark", mark_or_crash)
        try:
            delivery = deliver(outbox, target)
        except KilledError:
            continue
        break
    assert delivery.waiting == 0
    assert next(crashes) > 3
    check_whole_run(target, outbox)


KILLED = """
import os, signal, sys
from pathlib import Path
from aggregator.mlflow_delivery import deliver
from aggregator.outbox import Outbox
Outbox.mark = lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL)
outbox = Outbox(Path(sys.argv[1]))
deliver(outbox, outbox.target)
"""


@pytest.mark.slow
def test_a_killed_process_repeats_nothing(target, tmp_path, repository) -> None:
    outbox = recorded(tmp_path / "tracking", target)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(outbox.folder)], cwd=repository, check=False)
    assert killed.returncode == -9
    assert outbox.counts(target).delivered == 0
    _, runs = runs_of(target, outbox)
    assert len(runs) == 1  # it was made before the kill
    assert deliver(outbox, target).waiting == 0
    check_whole_run(target, outbox)


def test_a_restart_continues_the_same_run(target, tmp_path) -> None:
    folder = tmp_path / "tracking"
    outbox = recorded(folder, target, rounds=1, finish="interrupted")
    deliver(outbox, target)
    _, runs = runs_of(target, outbox)
    assert runs[""].info.status == "KILLED"
    deliver(recorded(folder, target, rounds=3), target)
    _, run = check_whole_run(target, outbox)
    assert run.info.run_id == runs[""].info.run_id


def test_a_run_deleted_in_mlflow_is_delivered_anew_when_there_is_something_new(target, tmp_path) -> None:
    folder = tmp_path / "tracking"
    outbox = recorded(folder, target, rounds=2)
    deliver(outbox, target)
    client, runs = runs_of(target, outbox)
    for run in runs.values():
        client.delete_run(run.info.run_id)
    assert deliver(outbox, target).delivered == 0
    recorded(folder, target, rounds=3)
    deliver(outbox, target)
    check_whole_run(target, outbox)


def test_what_mlflow_refuses_is_set_aside_alone(target, tmp_path) -> None:
    outbox = recorded(tmp_path / "tracking", target)
    deliver(outbox, target)
    outbox.add("changed", RunRecord(parameters={"schedule.rounds": "5"}))
    outbox.add("lost", RunRecord(artefact=KeptArtefact(name="lost.html", folder="", sha256="0" * 64)))
    outbox.add("fine", RunRecord(metrics={"late": 1.0}))
    delivery = deliver(outbox, target)
    assert (delivery.delivered, delivery.waiting, delivery.failure) == (1, 0, "")
    refusals = outbox.refusals(target)
    assert "INVALID_PARAMETER_VALUE" in refusals["changed"]
    assert "missing" in refusals["lost"]
    client, runs = runs_of(target, outbox)
    assert history(client, runs[""], "late") == [(0, 1.0)]


def test_a_server_that_fails_now_and_then_gets_everything_once(tmp_path) -> None:
    with FlakyMlflow(tmp_path / "artefacts", fail_every=7) as server:
        target = TrackingTarget.choose("server", uri=server.uri, output=tmp_path)
        outbox = recorded(tmp_path / "tracking", target, rounds=12)
        tries = 0
        while deliver(outbox, target).waiting:
            tries += 1
            assert tries < 100
    assert tries > 2
    assert set(server.failures) == {"before", "after", "garbage"}
    keys = [run["tags"]["cohortium.run_key"] for run in server.runs.values()]
    assert len(keys) == len(set(keys)) == 3
    study = next(run for run in server.runs.values() if run["tags"]["cohortium.run_key"] == outbox.fact("run_key"))
    points = {point for point in study["metrics"] if point[0] == "round/auroc"}  # a set, as MLflow's primary key
    assert sorted((step, value) for _, value, _, step in points) == [
        (number, round_result(number).metrics["auroc"]) for number in range(1, 13)
    ]
    assert study["status"] == "FINISHED"


def test_many_rounds_go_in_few_requests(tmp_path) -> None:
    with FlakyMlflow(tmp_path / "artefacts") as server:
        target = TrackingTarget.choose("server", uri=server.uri, output=tmp_path)
        outbox = recorded(tmp_path / "tracking", target, rounds=50)
        assert deliver(outbox, target).waiting == 0
    assert server.requests["runs/log-batch"] <= 12
    assert server.requests["runs/create"] == 3


def test_only_one_process_delivers(target, tmp_path) -> None:
    outbox = recorded(tmp_path / "tracking", target)
    with outbox.delivering():
        delivery = deliver(outbox, target)
    assert (delivery.delivered, delivery.failure) == (0, "another process is delivering")


def test_without_mlflow_the_remedy_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(mlflow_delivery, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"cohortium\[aggregator\]"):
        deliver(Outbox(tmp_path, create=True), server_target(tmp_path))


def test_nowhere_takes_nothing(tmp_path) -> None:
    outbox = recorded(tmp_path / "tracking", server_target(tmp_path))
    assert deliver(outbox, TrackingTarget.choose("none", output=tmp_path)).delivered == 0


def test_mlflow_tells_nobody_and_says_nothing(first_delivery) -> None:
    done, _ = first_delivery
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "waiting=0, failure=''" in done.stdout
