"""A launched study survives its processes, ends with the simulated model, and goes on without a site that is revoked."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import signal
import time

import pytest
from safetensors.numpy import load

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.host.launching import coordinator_key, launch, pause, resume
from aggregator.host.programs import coordinator_name
from aggregator.host.study_outcome import FINAL_MODEL, read_outcome
from aggregator.host.study_status import read_status
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from federation.governance.audit_log import read_log
from site_client.agent import SiteAgent
from tests.aggregator.host.consortium import Consortium
from tests.aggregator.host.fake_site import FakeSite
from tests.aggregator.host.host_bench import running_host, wait_until
from tests.aggregator.host.launched_study import approval_of, enrolled, handlers, proposal_of, study_of, written
from tests.small_study import site_folders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def now():
    return dt.datetime.now(tz=dt.UTC)


class Deployment:
    """A consortium of three sites, a host and a launched study."""

    def __init__(self, folder, *, answer_seconds=3600.0, **changes):
        self.folder = folder
        self.consortium = Consortium(folder / "authority")
        self.sites = enrolled(self.consortium)
        self.layout, self.home = self.consortium.host(
            folder / "host", tracking=False, reread_seconds=1.0, answer_seconds=answer_seconds
        )
        coordinator = coordinator_key(self.layout).public_key
        self.study = study_of(self.sites, **changes)
        self.signed = proposal_of(self.study, coordinator=coordinator)
        approvals = [approval_of(self.signed, site) for site in self.sites.values()]
        proposal, files = written(folder / "mail", self.signed, approvals)
        self.place = launch(self.layout, proposal, files, now=now())
        answering = handlers(folder / "sites", self.study, self.sites, coordinator=coordinator)
        self.fakes = {
            name: FakeSite(self.home.listen, self.consortium.ca_file, site, answering[name])
            for name, site in self.sites.items()
        }

    def __enter__(self):
        for fake in self.fakes.values():
            fake.start()
        return self

    def __exit__(self, *_):
        for fake in self.fakes.values():
            fake.stopped.set()
        for fake in self.fakes.values():
            fake.stop()

    def rounds(self) -> int:
        status = read_status(self.place.status)
        return 0 if status is None else status.rounds_complete

    def kill(self, name: str) -> int:
        number = json.loads((self.layout.logs / "processes.json").read_text())[name]
        os.kill(number, signal.SIGKILL)
        return number

    def kill_coordinator(self) -> int:
        return self.kill(coordinator_name(self.place))

    def simulated(self):
        agents = {
            name: SiteAgent(entry).handle for name, entry in site_folders(self.folder / "again", self.study).items()
        }
        return run_study(
            self.study,
            InlineTransport(agents),
            NullTracker(),
            checkpoints=CheckpointStore(self.folder / "simulated", study=self.study.digest),
            clock=time.monotonic,
            on_round=lambda result: None,
        )


def schedule(rounds):
    return {"rounds": rounds, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}


def test_killed_coordinators_gate_and_superlink_change_nothing_about_the_model(tmp_path):
    deployment = Deployment(tmp_path, schedule=schedule(4))
    with running_host(deployment.layout), deployment:
        place = deployment.place
        wait_until(lambda: deployment.rounds() >= 1, seconds=180, what="the first round is done")
        first = deployment.kill_coordinator()
        status = read_status(place.status)
        assert status.rounds_complete >= 1
        assert status.process == first
        wait_until(lambda: read_status(place.status).process != first, seconds=60, what="a new coordinator runs")
        pause(place, now=now())
        wait_until(lambda: read_status(place.status).phase in ("paused", "finished"), seconds=180, what="it pauses")
        paused_at = deployment.rounds()
        deployment.kill_coordinator()
        time.sleep(8)
        assert deployment.rounds() == paused_at
        for name in ("superlink", "gate"):
            deployment.kill(name)
        resume(place, now=now())
        wait_until(lambda: read_outcome(place) is not None, seconds=400, what="the study ends")
    outcome = read_outcome(place)
    assert (outcome.ending, outcome.rounds) == ("finished", 4)
    content = (place.folder / FINAL_MODEL).read_bytes()
    assert hashlib.sha256(content).hexdigest() == outcome.model_sha256
    assert load(content)["parameters"].tobytes() == deployment.simulated().parameters.tobytes()
    found = read_log(deployment.layout.audit)
    assert found.problem is None
    committed = [entry.round_number for entry in found.entries if entry.event == "round_committed"]
    assert sorted(committed) == [1, 2, 3, 4]
    assert {"study_launched", "paused", "resumed", "study_completed", "request_sent", "reply_accepted"} <= {
        entry.event for entry in found.entries
    }


def test_a_site_that_is_revoked_in_the_middle_is_left_out_within_a_minute_and_the_study_goes_on(tmp_path):
    deployment = Deployment(tmp_path, schedule=schedule(4), aggregation={"quorum": 2})
    with running_host(deployment.layout), deployment:
        place = deployment.place
        wait_until(lambda: deployment.rounds() >= 1, seconds=180, what="the first round is done")
        deployment.consortium.revoke(deployment.sites["west"])
        deployment.consortium.install(deployment.layout)
        started = time.monotonic()
        wait_until(
            lambda: read_status(place.status).missing.get("west") == "revoked", seconds=60, what="west is left out"
        )
        assert time.monotonic() - started < 60
        answered = deployment.fakes["west"].answered
        wait_until(lambda: read_outcome(place) is not None, seconds=300, what="the study ends")
        assert deployment.fakes["west"].answered == answered
    assert read_outcome(place).ending == "finished"
    state = CheckpointStore(place.checkpoints, study=deployment.study.digest).latest()
    assert state.history[-1].contributors == ("north", "south")
    assert state.history[-1].dropouts == {"west": "revoked"}
    assert state.history[0].contributors == ("north", "south", "west")
