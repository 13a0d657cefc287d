"""The commands that watch and stop a site: what they show, what they write down, and what a support bundle never holds."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.errors import ConfigurationError, InvalidInputError, PolicyRefusedError
from federation.governance.audit_log import read_log
from site_client.accounts import logs_folder
from site_client.commands import app
from site_client.event_log import EventFormatter
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from site_client.permission import Permissions
from site_client.running import only_one, running_process, stop_site
from site_client.site_processes import gateway_environment
from tests.privacy_leaks.canaries import NAMES, found_in
from tests.site_client.hospital_site import Site, write_records
from tests.small_study import private


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = Site(tmp_path)
    found.approve()
    return found


def run(site: Site, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--home", str(site.layout.folder)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def refusal(site: Site, *words: str) -> BaseException | None:
    result = CliRunner().invoke(app, [*words, "--home", str(site.layout.folder)])
    assert result.exit_code != 0
    return result.exception


def test_status_before_anything_ran(site: Site) -> None:
    found = json.loads(run(site, "status", "--json"))
    assert (found["running"], found["agent_answers"], found["epsilon_spent"]) == (None, False, None)
    (study,) = found["studies"]
    assert (study["study"], study["may_run"], study["rounds_answered"]) == ("small", True, 0)
    assert study["activity"] is None
    assert "small version 1" in run(site, "status")


def test_status_after_a_private_round_and_a_refusal(tmp_path: Path) -> None:
    site = Site(tmp_path, privacy=private())
    site.approve()
    terms = LedgerTerms(population="north", site="north", epsilon_cap=8.0, delta=1e-3)
    Ledger.create(site.layout.ledger, terms, clock=site.clock).close()
    hospital = site.hospital()
    for request in (site.request(), site.request(site.evaluate()), b"rubbish"):
        hospital.handle(request)
    found = json.loads(run(site, "status", "--json"))
    (study,) = found["studies"]
    assert study["rounds_answered"] == 1
    assert 0 < study["epsilon_spent"] <= found["epsilon_spent"] < 4
    assert (study["activity"]["answered"], study["activity"]["refused"]) == (1, 1)
    assert study["activity"]["last_error"] == "PrivacyRefusedError"
    assert found["strangers"] == 1
    shown = run(site, "status")
    assert "1 rounds answered" in shown
    assert "PrivacyRefusedError" in shown


def test_status_says_why_a_study_may_not_run(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (study,) = json.loads(run(site, "status", "--json"))["studies"]
    assert not study["may_run"]
    assert study["why_not"].startswith("NotApprovedError: ")


def test_pause_and_resume_count_and_are_written_down(site: Site) -> None:
    permissions = Permissions(site.layout, site.layout.read())
    permissions.check(site.study, training=True, now=site.now)
    assert json.loads(run(site, "pause", "small", "--json"))["studies"] == [site.study]
    with pytest.raises(PolicyRefusedError, match="paused"):
        permissions.check(site.study, training=True, now=site.now)
    assert "paused: nothing" in run(site, "resume", site.study)
    permissions.check(site.study, training=True, now=site.now)
    assert "every study" in run(site, "pause")
    run(site, "resume")
    entries = read_log(site.layout.audit).entries
    assert [(entry.event, entry.study) for entry in entries[1:]] == [
        ("paused", site.study), ("resumed", site.study), ("paused", None), ("resumed", None),
    ]  # fmt: skip
    assert isinstance(refusal(site, "pause", "unheard-of"), InvalidInputError)


def test_prepare_reads_the_patients_of_an_approved_study_once(site: Site) -> None:
    path = Path(json.loads(run(site, "prepare", "small", "--json"))["file"])
    first = path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    write_records(site.layout.folder.parent / "records" / "records.csv", patients=90)
    run(site, "prepare", "small")
    assert path.read_bytes() == first  # every round sees the same patients
    site.papers.keep_own(site.decision("north", "withdraw", number=2))
    assert refusal(site, "prepare", "small") is not None


def test_one_lock_says_who_runs(site: Site) -> None:
    logs_folder(site.layout).mkdir()
    assert running_process(site.layout) is None
    with only_one(site.layout):
        assert running_process(site.layout) == os.getpid()
        with pytest.raises(ConfigurationError, match="not to run yet"), only_one(site.layout):
            pass
    assert running_process(site.layout) is None
    with pytest.raises(InvalidInputError, match="runs from"):
        stop_site(site.layout)
    assert isinstance(refusal(site, "stop"), InvalidInputError)


def test_stop_ends_the_process_that_holds_the_lock_and_waits(site: Site) -> None:
    logs_folder(site.layout).mkdir()
    code = (
        "import signal, sys, threading, pathlib; from site_client.running import only_one; "
        "from site_client.home_paths import SiteLayout; stop = threading.Event(); "
        "signal.signal(signal.SIGTERM, lambda number, frame: stop.set()); "
        "exec('with only_one(SiteLayout(pathlib.Path(sys.argv[1]))): stop.wait()')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(site.layout.folder)])
    end = time.monotonic() + 60
    while running_process(site.layout) != process.pid:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert json.loads(run(site, "stop", "--json")) == {"stopped": process.pid}
    assert process.wait(10) == 0


def test_the_gateway_learns_nothing_of_the_environment_but_what_it_needs(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSPITAL_DATABASE", "postgresql://reader:secret@db/records")
    monkeypatch.setenv("HTTPS_PROXY", "http://other:1")
    found = gateway_environment(site.layout, proxy=None)
    assert "secret" not in json.dumps(found)
    assert "HTTPS_PROXY" not in found
    assert found["FLWR_TELEMETRY_ENABLED"] == "0"
    assert gateway_environment(site.layout, proxy="http://proxy:3128")["HTTPS_PROXY"] == "http://proxy:3128"


def logged(path: Path, *calls) -> None:
    handler = logging.FileHandler(path)
    handler.setFormatter(EventFormatter())
    log = logging.Logger("cohortium.agent")  # noqa: LOG001 - apart from the process's own
    log.addHandler(handler)
    for call in calls:
        call(log)
    handler.close()


def test_a_support_bundle_holds_no_patient_and_no_key(tmp_path: Path) -> None:
    """Names in the records, in errors, in logs, in the policy and in file names; none of them is in the bundle, and no key is."""
    site = Site(tmp_path)
    site.approve()
    write_records(tmp_path / "records" / "records.csv", name=NAMES[0])
    hospital = site.hospital()
    hospital.handle(site.request())
    logs = logs_folder(site.layout)
    logs.mkdir()
    logged(logs / "agent.log", lambda log: log.warning("refused: %s", NAMES[1]), _failing)
    with (logs / "agent.log").open("a") as stream:
        stream.write(f"{NAMES[2]} on a line of its own\n")
        stream.write(json.dumps({"event": "answered", "reason": NAMES[3]}) + "\n")
        stream.write(
            '{"time": "2026-11-25T12:00:00+0000", "level": "INFO", "part": "cohortium.agent", "event": "answered"}\n'
        )
    (logs / "gateway.log").write_bytes(b"\xff\xfe" + NAMES[4].encode() + b"\n")
    (site.layout.approval(site.signed.proposal.digest)).write_text(json.dumps({"note": NAMES[5]}))
    path = tmp_path / "bundle.tar.gz"
    names = json.loads(run(site, "support-bundle", "--output", str(path), "--json"))["holds"]
    with tarfile.open(path) as archive:
        members = {
            member.name.rpartition("/")[2]: archive.extractfile(member).read() for member in archive.getmembers()
        }
    assert sorted(members) == sorted(names)
    content = b"\n".join(members.values())
    assert found_in(content) == []
    assert b'"event": "answered"' in members["agent.events.jsonl"]
    assert len(members["agent.events.jsonl"].splitlines()) == 1
    for secret in (site.key.to_bytes(), site.key.to_bytes().hex().encode()):
        assert secret not in content
    assert b"PRIVATE KEY" not in content
    assert path.stat().st_mode & 0o077 == 0
    status = json.loads(members["status.json"])
    assert "error" in status or status["studies"][0]["why_not"]  # the damaged approval is told by class


def _failing(log: logging.Logger) -> None:
    try:
        {}[NAMES[6]]
    except KeyError:
        log.exception("failed")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_start_runs_both_processes_and_starts_a_killed_agent_again(tmp_path: Path) -> None:
    """One account and no certificate yet: the agent works, the gateway says what it lacks and keeps trying, stop ends both."""
    site = Site(tmp_path)
    site.approve()
    home = site.layout.read()
    site.layout.write(home.model_copy(update={"gate": "localhost:1"}))
    words = ["site", "start", "--home", str(site.layout.folder), "--one-user", "--with-network"]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.main", *words], env=environment, stderr=subprocess.DEVNULL
    )
    watcher = threading.Timer(200, process.kill)
    watcher.start()
    try:
        first = _agent(site, process)
        os.kill(first, signal.SIGKILL)
        while _agent(site, process) == first:
            time.sleep(0.1)
        found = json.loads(run(site, "status", "--json"))
        assert found["running"] == process.pid
        assert [entry["user"] for entry in found["processes"] if entry["name"] == "agent"] == [os.getuid()]
        assert "expected certificate, key and authority" in (logs_folder(site.layout) / "gateway.log").read_text()
        run(site, "stop")
        assert process.wait(20) == 0
        assert running_process(site.layout) is None
    finally:
        process.kill()
        process.wait()
        watcher.cancel()


def _agent(site: Site, process: subprocess.Popen[bytes]) -> int:
    """Number of the agent's process, once it answers."""
    while True:
        assert process.poll() is None
        found = json.loads(run(site, "status", "--json"))
        number = next(entry["process"] for entry in found["processes"] if entry["name"] == "agent")
        if found["agent_answers"] and number is not None and Path(f"/proc/{number}").exists():
            return number
        time.sleep(0.2)
