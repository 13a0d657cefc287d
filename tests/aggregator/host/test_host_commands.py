"""`cohortium aggregator` and the lead's commands at the host, as a person types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from aggregator import launch_commands
from aggregator.host.commands import app
from aggregator.host.health import ask
from aggregator.host.home_paths import HostLayout
from aggregator.host.host import check_ready_to_start, only_one, running_process
from aggregator.host.launching import coordinator_key
from federation.errors import ConfigurationError, InvalidInputError, NotApprovedError
from tests.aggregator.host.consortium import Consortium
from tests.aggregator.host.host_bench import ROOT, wait_until
from tests.aggregator.host.launched_study import approval_of, enrolled, proposal_of, study_of, written

run = CliRunner().invoke
study_app = typer.Typer()
launch_commands.register(study_app)


def test_init_makes_a_home_and_names_the_coordinators_key(tmp_path):
    words = ["init", "--consortium", "hearts", "--gate", "gate.example.org:8443", "--home", str(tmp_path / "host")]
    first = run(app, [*words, "--json"])
    assert first.exit_code == 0
    facts = json.loads(first.output)
    layout = HostLayout(tmp_path / "host")
    assert facts["coordinator_key"] == coordinator_key(layout).public_key
    assert facts["listen"] == "0.0.0.0:8443"
    assert json.loads(run(app, [*words, "--json"]).output) == facts
    assert "aggregator request" in run(app, words).output
    assert isinstance(run(app, [*words, "--first-port", "9000"]).exception, InvalidInputError)
    assert isinstance(
        run(app, ["init", "--consortium", "h", "--gate", "none", "--home", str(tmp_path)]).exception, InvalidInputError
    )


def test_a_host_without_its_certificates_does_not_start(tmp_path):
    run(app, ["init", "--consortium", "hearts", "--gate", "g.example.org:8443", "--home", str(tmp_path)])
    with pytest.raises(InvalidInputError, match=r"gate's certificate.*list of revocations"):
        check_ready_to_start(HostLayout(tmp_path))
    assert isinstance(run(app, ["start", "--home", str(tmp_path)]).exception, InvalidInputError)
    status = run(app, ["status", "--home", str(tmp_path), "--json"])
    assert status.exit_code == 51
    assert "no host runs" in json.loads(status.output)["problems"][0]
    assert json.loads(run(app, ["stop", "--home", str(tmp_path), "--json"]).output)["stopped"] is False


def test_one_host_per_folder(tmp_path, own_consortium):
    layout, _ = own_consortium.host(tmp_path / "host")
    assert running_process(layout) is None
    with only_one(layout):
        assert running_process(layout) == os.getpid()
        with pytest.raises(ConfigurationError, match="one does"), only_one(layout):
            pass
    assert running_process(layout) is None


def test_the_leads_commands_go_from_launch_to_close(tmp_path):
    consortium = Consortium(tmp_path / "authority")
    sites = enrolled(consortium)
    layout, _ = consortium.host(tmp_path / "host")
    signed = proposal_of(study_of(sites, aggregation={"quorum": 2}), coordinator=coordinator_key(layout).public_key)
    proposal, files = written(tmp_path / "mail", signed, [approval_of(signed, site) for site in sites.values()])
    home = ["--home", str(layout.folder), "--json"]

    def lead(*words):
        found = run(study_app, [*words, *home])
        assert found.exit_code == 0, found.exception
        return json.loads(found.output)

    assert isinstance(run(study_app, ["launch", str(proposal), str(files[0]), *home]).exception, NotApprovedError)
    launched = lead("launch", str(proposal), *map(str, files))
    assert launched["digest"] == signed.proposal.manifest.digest
    assert lead("status", "small") == {"status": None, "outcome": None}
    assert "no coordinator has begun" in run(study_app, ["status", "small", "--home", str(layout.folder)]).output
    lead("pause", "small")
    lead("resume", "small")
    withdrawn = lead("withdraw", "small", "west", "--draft", str(tmp_path / "next.yaml"))
    assert (withdrawn["rounds"], withdrawn["goes_on"]) == ([], True)
    assert (tmp_path / "next.yaml").exists()
    assert "left out" in run(study_app, ["withdraw", "small", "west", "--home", str(layout.folder)]).output
    lead("stop", "small")
    assert json.loads(run(app, ["status", *home]).output)["studies"][0]["phase"] == "launched"
    from aggregator.host.study_outcome import end_study
    from aggregator.host.study_place import StudyPlace
    from tests.aggregator.host.test_study_status import now

    end_study(StudyPlace.of(layout, launched["digest"]), "stopped", now=now())
    assert lead("status", "small")["outcome"]["ending"] == "stopped"
    run(study_app, ["status", "small", "--watch", "--home", str(layout.folder)])
    lead("close", "small")


@pytest.mark.slow
def test_start_status_and_stop_as_commands_and_children_never_outlive_a_killed_host(tmp_path, own_consortium):
    layout, home = own_consortium.host(tmp_path / "host", tracking=False)
    words = [sys.executable, "-c", "from aggregator.host.commands import app; app()"]

    def started():
        log = (tmp_path / "start.log").open("ab")
        found = subprocess.Popen([*words, "start", "--home", str(layout.folder)], cwd=ROOT, stdout=log, stderr=log)
        log.close()
        wait_until(lambda: ask(home.health_port)[0] == 200, seconds=120, what="the host is well")
        return found

    process = started()
    assert run(app, ["status", "--home", str(layout.folder)]).exit_code == 0
    children = json.loads((layout.logs / "processes.json").read_text())
    assert set(children) == {"superlink", "gate"}
    os.kill(children["gate"], signal.SIGKILL)
    wait_until(
        lambda: (
            json.loads((layout.logs / "processes.json").read_text())["gate"] != children["gate"]
            and ask(home.health_port)[0] == 200
        ),
        seconds=60,
        what="the gate is started again",
    )
    process.kill()
    process.wait(10)
    wait_until(
        lambda: ask(home.gate_health_port)[0] == 0 and ask(home.superlink_port)[0] == 0, seconds=20, what="they leave"
    )
    process = started()
    assert json.loads(run(app, ["stop", "--home", str(layout.folder), "--json"]).output)["stopped"] is True
    assert process.wait(30) == 0
    assert ask(home.gate_health_port)[0] == 0
