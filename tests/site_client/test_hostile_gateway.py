"""Acceptance test 7: a hostile process in the gateway's place, with the gateway's account, can hand bytes to the agent and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from federation.protocol.authenticated import sign_request
from site_client.accepted_code import accept_code
from site_client.accounts import Account, logs_folder
from site_client.keystore import node_key, tls_key
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from tests.site_client.hospital_site import COORDINATOR, Site
from tests.site_client.two_accounts import AGENT, GATEWAY, ROOT, THIRD, as_user, reaching_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="needs Linux"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to run processes as accounts of their own"),
]


class Hospital:
    """A running site with two accounts, and what a hostile process would need to know."""

    def __init__(self, folder: Path, prefix: list[str]) -> None:
        self.prefix = prefix
        self.site = site = Site(folder)
        other = site.proposal(study="other")
        site.papers.keep_proposal(other)
        terms = LedgerTerms(population="north", site="north", epsilon_cap=4.0, delta=1e-3)
        Ledger.create(site.layout.ledger, terms, clock=site.clock).close()
        site.now = _now()
        site.approve()
        of_this_study = site.request()
        study, first = site.study, site.signed
        site.signed = other
        site.approve()
        of_other_study = site.request()
        self.other_study = site.layout.study(site.study)
        warm = site.request()
        site.signed = first
        accept_code(site.layout, clock=_now, thorough=False)
        tls_key(site.layout.tls_key)
        node_key(site.layout)
        (site.layout.gateway / "authority.crt").write_text("none")
        for path in (folder / "records", folder / "records" / "records.csv", folder / "records" / "mapping.yaml"):
            os.chown(path, AGENT, AGENT)
            path.chmod(0o700 if path.is_dir() else 0o600)
        self.facts = {
            "home": str(site.layout.folder),
            "socket": str(site.layout.agent_socket),
            "records": str(folder / "records" / "records.csv"),
            "patients": str(site.layout.study(study) / "patients.safetensors"),
            "other_study": str(self.other_study),
            "forwarder": str(ROOT / "site_client" / "gateway" / "app.py"),
            "flower": str(Path(sys.modules["flwr"].__file__ or "")) if "flwr" in sys.modules else _flower(),
            "genuine": warm.hex(),
            "unsigned": site.train().hex(),
            "of_another_study": _renamed(of_other_study, site.study).hex(),
        }
        words = ["site", "start", "--home", str(site.layout.folder), "--agent-user", str(AGENT)]
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "experiments.main", *words, "--gateway-user", str(GATEWAY)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.wait()
        self.facts["agent"] = self.pids()["agent"]
        assert self.run(GATEWAY, "connect")["connect"]["succeeded"]  # so that the other study has a folder
        self.facts["genuine"] = of_this_study.hex()

    def wait(self) -> None:
        end = time.monotonic() + 240
        while not self.site.layout.agent_socket.is_socket():
            log = logs_folder(self.site.layout) / "agent.log"
            if self.process.poll() is not None or time.monotonic() > end:
                said = self.process.stderr.read() if self.process.poll() is not None and self.process.stderr else ""
                pytest.fail(f"the site did not start: {said}\n{log.read_text() if log.exists() else ''}")
            time.sleep(0.1)

    def pids(self) -> dict[str, int]:
        return json.loads((logs_folder(self.site.layout) / "processes.json").read_text())

    def run(self, user: int, *more: str, **changed: str) -> dict[str, dict[str, object]]:
        path = self.site.layout.folder.parent / "facts.json"
        path.write_text(json.dumps(self.facts | changed))
        path.chmod(0o644)
        script = str(ROOT / "tests" / "site_client" / "hostile_actions.py")
        command = [*self.prefix, *as_user(user), sys.executable, script, str(path), *more]
        found = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=280, check=False)
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)


def _now():
    import datetime as dt

    return dt.datetime.now(tz=dt.UTC)


def _flower() -> str:
    import flwr

    return str(flwr.__file__)


def _renamed(request: bytes, study: str) -> bytes:
    """A genuine request for another study, that says it is for this one."""
    from federation.protocol.authenticated import claim_of

    return request.replace(claim_of(request).study.encode(), study.encode())


@pytest.fixture(scope="module")
def hospital():
    folder = Path(tempfile.mkdtemp(prefix="cohortium-hostile-", dir="/tmp"))
    folder.chmod(0o755)
    prefix = reaching_python(folder / "python")
    if prefix is None:
        shutil.rmtree(folder)
        pytest.skip("needs a Python that other accounts can run, or mount namespaces")
    running = Hospital(folder / "site", prefix)
    yield running
    running.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def outcomes(hospital: Hospital) -> dict[str, dict[str, object]]:
    return hospital.run(GATEWAY)


def test_the_gateways_account_reaches_the_agent(outcomes) -> None:
    """Without this, nothing below would mean anything."""
    assert outcomes["use the agent"]["succeeded"], outcomes["use the agent"]


def test_no_hostile_action_succeeds(hospital: Hospital, outcomes) -> None:
    hostile = {name: found for name, found in outcomes.items() if name != "use the agent"}
    assert len(hostile) >= 12
    assert {name: found for name, found in hostile.items() if found["succeeded"]} == {}


def test_what_was_tried_exists(hospital: Hospital, outcomes) -> None:
    """A file that is not there cannot be read either: each is, and root reads it."""
    facts = hospital.facts
    home = Path(facts["home"])
    for path in (
        *(
            home / name
            for name in ("identity.key", "ledger.sqlite", "audit.jsonl", "policy.yaml", "gateway/authority.crt")
        ),
        *(Path(facts[name]) for name in ("records", "patients", "forwarder", "flower")),
        Path(facts["other_study"]) / "manifest.json",
    ):
        assert path.read_bytes(), path


def test_the_agent_still_answers_and_was_not_started_again(hospital: Hospital, outcomes) -> None:
    assert hospital.pids()["agent"] == hospital.facts["agent"]
    again = hospital.run(GATEWAY)
    assert again["use the agent"]["succeeded"]


def test_a_third_account_is_not_even_let_in(hospital: Hospital, outcomes) -> None:
    assert not hospital.run(THIRD, "connect")["connect"]["succeeded"]


def test_the_agents_account_itself_is_not_answered(hospital: Hospital, outcomes) -> None:
    """The kernel says who connects; whoever may open the socket is not yet the gateway."""
    found = hospital.run(AGENT, "connect")["connect"]
    assert not found["succeeded"]
    assert found["result"] in {"EOFError", "BrokenPipeError", "ConnectionResetError"}  # let in, and shown out


def running(hospital: Hospital) -> tuple[dict[str, int], dict[str, str]]:
    """Both processes at a moment when both are there: this gateway has no certificate, and is started again and again."""
    end = time.monotonic() + 60
    while True:
        pids = hospital.pids()
        try:
            return pids, {name: Path(f"/proc/{number}/status").read_text() for name, number in pids.items()}
        except (FileNotFoundError, ProcessLookupError):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_both_processes_have_lost_every_privilege_and_the_agent_its_network(hospital: Hospital, outcomes) -> None:
    pids, texts = running(hospital)
    for name, user in (("agent", AGENT), ("gateway", GATEWAY)):
        lines = texts[name].splitlines()
        facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert facts["Uid"].split() == [str(user)] * 4
        assert facts["Gid"].split() == [str(user)] * 4
        assert {facts[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert facts["NoNewPrivs"] == "1"
    interfaces = [
        line.split(":")[0].strip() for line in Path(f"/proc/{pids['agent']}/net/dev").read_text().splitlines()[2:]
    ]
    assert set(interfaces) <= {"lo"}
    assert Path(f"/proc/{pids['agent']}/ns/net").readlink() != Path(f"/proc/{pids['gateway']}/ns/net").readlink()


def test_a_socket_opened_from_the_agents_namespace_reaches_nothing(hospital: Hospital, outcomes) -> None:
    """Even root, in the agent's place, finds no way out: not to another host, and not to this one's loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        for address in (f"127.0.0.1:{port}", "192.0.2.1:443"):
            host, _, number = address.partition(":")
            code = f"import socket; socket.create_connection(({host!r}, {number}), timeout=5)"
            command = ["nsenter", "--net", f"--target={hospital.facts['agent']}", sys.executable, "-c", code]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            assert found.returncode != 0
            assert "unreachable" in found.stderr


def test_an_account_that_is_not_there_and_half_a_pair_are_refused(hospital: Hospital) -> None:
    from federation.errors import ConfigurationError
    from site_client.site_processes import Start

    with pytest.raises(ConfigurationError, match="account of this machine"):
        Account.named("no-such-account")
    for agent, gateway in ((None, None), ("41001", None), ("41001", "41001"), ("0", "41002")):
        with pytest.raises(ConfigurationError):
            Start.chosen(agent_user=agent, gateway_user=gateway, one_user=False, isolated=True, proxy=None)


def test_a_request_of_the_coordinator_for_another_site_is_no_use_here(hospital: Hospital, outcomes) -> None:
    site = hospital.site
    elsewhere = sign_request(site.train(), key=COORDINATOR, study=site.study, site="south")
    assert not hospital.run(GATEWAY, genuine=elsewhere.hex())["use the agent"]["succeeded"]
