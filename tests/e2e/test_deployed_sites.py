"""Real sites at a real host: mutual TLS, node keys, signed messages; and the model is that of `engine=inline`, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
from flwr.app import Message, RecordDict
from safetensors.numpy import load_file

from aggregator import superlink
from aggregator.checkpoints import CheckpointStore
from aggregator.host.gate import TOKEN_HEADER
from experiments.engines.inline import InlineTransport
from federation.governance.audit_log import read_log
from site_client.activity import read_activity
from site_client.agent import SiteAgent
from site_client.site_folder import SiteFolder
from tests.e2e.deployed_sites import SEED, Deployment
from tests.e2e.test_engines import coordinate
from tests.small_study import SITES

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # Flower's own
]
ROUNDS = 3


@pytest.fixture
def deployment():
    folder = Path(tempfile.mkdtemp(prefix="ch-"))  # a socket's path has at most 107 bytes
    found = Deployment(folder)
    yield found
    found.close()
    shutil.rmtree(folder, ignore_errors=True)


def expected(deployment: Deployment, study, folder: Path):
    """The same study on the same patients, in this process."""
    agents = {}
    for name, layout in deployment.sites.items():
        own = SiteFolder.create(
            folder / name,
            site=name,
            manifest=study,
            patients=layout.study(study.digest) / "patients.safetensors",
            seed=SEED,
        )
        agents[name] = SiteAgent(own).handle
    return coordinate(study, folder, InlineTransport(agents))


def test_a_study_runs_over_mutual_tls_while_processes_are_killed_and_gives_the_simulated_model(
    deployment: Deployment, tmp_path: Path
) -> None:
    schedule = {"rounds": ROUNDS, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}
    signed = deployment.proposed(schedule=schedule, algorithm={"kind": "scaffold"})
    approvals = deployment.approve(signed)
    deployment.start_host()
    for name in deployment.sites:
        deployment.start_site(name)
    place = deployment.launch(signed, approvals)
    study = signed.proposal.manifest
    _after_round(deployment, place, 1)
    for kind in ("agent", "gateway"):
        os.kill(deployment.pids("south")[kind], signal.SIGKILL)
    outcome = deployment.wait_for_outcome(place, seconds=600)
    assert outcome.ending == "finished", f"{outcome}\n{deployment.logs()}"
    reference = expected(deployment, study, tmp_path)
    state = CheckpointStore(place.checkpoints, study=study.digest).latest()
    assert state is not None
    assert [r.model_digest for r in state.history] == [r.model_digest for r in reference.rounds]
    assert {r.contributors for r in state.history} == {SITES}
    (final,) = load_file(place.folder / "model.safetensors").values()
    assert final.tobytes() == reference.parameters.tobytes()
    for name, layout in deployment.sites.items():
        log = read_log(layout.audit)
        assert log.problem is None
        events = [entry.event for entry in log.entries]
        assert events.count("released") >= 2 * ROUNDS, name
        assert {"head_witnessed", "head_countersigned"} <= set(events)
        assert log.chain.witnessed["coordinator"].is_genuine()
        activity = read_activity(layout)
        assert activity is not None
        assert (activity.strangers, activity.refused_runs) == (0, 0)
        assert SiteFolder(layout.study(study.digest)).rounds_answered() == ROUNDS


def _after_round(deployment: Deployment, place, number: int) -> None:
    end = time.monotonic() + 400
    while True:
        status = json.loads(place.status.read_text()) if place.status.exists() else {}
        if status.get("rounds_complete", 0) >= number:
            return
        deployment.check_alive()
        assert time.monotonic() < end, f"{status}\n{deployment.logs()}"
        time.sleep(0.1)


def test_a_run_with_another_bundle_is_refused_within_seconds_and_is_in_the_audit_log(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acceptance tests 1 and 2: nothing of it is fetched, and the sites have it in writing."""
    deployment.start_host()
    deployment.start_site("north")
    home = deployment.made.host.read()
    headers = {TOKEN_HEADER: deployment.made.host.control_token.read_bytes().decode()}
    secret = deployment.made.host.executor_secret.read_bytes()
    monkeypatch.setattr(superlink, "BUNDLE", superlink.BUNDLE + b"rounds = 1000\n")
    link = superlink.Link(f"127.0.0.1:{home.superlink_port}", secret=secret, headers=headers)
    grid = _open(deployment, link)
    try:
        node = _node(deployment, grid)
        message = Message(RecordDict(), dst_node_id=node, message_type="train.update")
        asked = time.monotonic()
        (number,) = grid.push_messages([message])
        while not (answers := list(grid.pull_messages([number]))):
            deployment.check_alive()
            assert time.monotonic() < asked + 5, deployment.logs()
            time.sleep(0.05)
    finally:
        link.close()
    assert answers[0].has_error()
    assert answers[0].error.reason == "RunRefused"
    entries = read_log(deployment.sites["north"].audit).entries
    assert [(e.event, e.actor, e.reason) for e in entries][-1] == ("request_refused", "gateway", "run_bundle")
    access = "".join(path.read_text() for path in deployment.made.host.logs.glob("*") if path.is_file())
    assert "/v1/fleet/get-run" in access
    assert "get-fab" not in access
    assert "pull-object" not in access


def _open(deployment: Deployment, link: superlink.Link):
    end = time.monotonic() + 120
    while True:
        try:
            return link.open()
        except ConnectionError:
            deployment.check_alive()
            assert time.monotonic() < end, deployment.logs()
            time.sleep(0.5)


def _node(deployment: Deployment, grid) -> int:
    end = time.monotonic() + 120
    while not (nodes := list(grid.get_node_ids())):
        deployment.check_alive()
        assert time.monotonic() < end, deployment.logs()
        time.sleep(0.2)
    return nodes[0]
