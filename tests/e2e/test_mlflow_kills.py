"""SIGKILL the MLflow server at twelve points of a study: the model equals the undisturbed one, and every round is tracked once."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.delivery_process import DeliveryProcess
from aggregator.mlflow_delivery import HARDENED, deliver
from aggregator.outbox import Outbox
from aggregator.outbox_tracker import OutboxTracker
from experiments.engines.inline import InlineTransport
from federation.protocol.messages import read_envelope
from site_client.agent import SiteAgent
from tests.aggregator.tracked_run import history, runs_of, server_target
from tests.e2e.flower_study import ROUNDS, study
from tests.e2e.test_engines import inline
from tests.small_study import site_folders

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore")]


POINTS = (
    *(f"train/{number}/before" for number in (1, 4, 7, 10)),
    *(f"evaluate/{number}/after" for number in (2, 5, 8, 10)),
    *(f"recorded/{number}" for number in (1, 3, 6, 9)),
)


class Server:
    """A real ``mlflow server`` with a database, started again whenever it is killed."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.killed = folder, []
        folder.mkdir()
        self.start()

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
             "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination", str(self.folder)],
            env=os.environ | HARDENED,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def is_up(self):
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def wait(self):
        end = time.monotonic() + 120
        while not self.is_up():
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.2)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def at(self, point):
        """Before it is killed it is up: every point disturbs a server that delivers."""
        if point in POINTS and point not in self.killed:
            self.wait()
            time.sleep(0.5)  # the courier looks twice a second
            self.kill()
            self.killed.append(point)
            self.start()


class Disturbed:
    """A transport that tells which point of the study is passed."""

    def __init__(self, transport, on_point):
        self.transport, self.on_point = transport, on_point

    def exchange(self, requests):
        header = read_envelope(requests["south"]).header
        name = f"{header.kind.partition('_')[0]}/{header.round_number}"
        self.on_point(f"{name}/before")
        yield from self.transport.exchange(requests)
        self.on_point(f"{name}/after")

    def close(self):
        self.transport.close()


def test_the_server_killed_at_every_point_changes_nothing_and_loses_nothing(tmp_path) -> None:
    agreed, server = study(), Server(tmp_path / "mlflow")
    target = server_target(tmp_path, server.uri)
    courier = DeliveryProcess()
    try:
        tracker = OutboxTracker(tmp_path / "tracking", target, courier=courier)
        tracker.start(agreed, tags={"cohortium.name": "disturbed"})
        folders = site_folders(tmp_path / "study", agreed)
        transport = InlineTransport({site: SiteAgent(entry).handle for site, entry in folders.items()})
        found = run_study(
            agreed,
            Disturbed(transport, server.at),
            tracker,
            checkpoints=CheckpointStore(tmp_path / "study" / "coordinator", study=agreed.digest),
            clock=time.monotonic,
            on_round=lambda result: server.at(f"recorded/{result.round_number}"),
        )
        tracker.finish("finished")
        server.wait()
        outbox = Outbox(tmp_path / "tracking")
        last = deliver(outbox, target)
        assert (last.waiting, last.failure) == (0, "")
        client, runs = runs_of(target, outbox)
        expected = [(result.round_number, result.metrics["auroc"]) for result in found.rounds]
        assert len(expected) == ROUNDS
        assert history(client, runs[""], "round/auroc") == expected
        assert runs[""].info.status == "FINISHED"
    finally:
        courier.close()
        server.kill()
    assert sorted(server.killed) == sorted(POINTS)
    undisturbed = inline(agreed, tmp_path / "inline")
    assert found.parameters.tobytes() == undisturbed.parameters.tobytes()
