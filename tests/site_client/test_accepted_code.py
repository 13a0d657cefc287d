"""Accepting installed code: by the first approval, by a command after an upgrade; signed, written down, and looked at again."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.errors import CodeRefusedError, InvalidInputError
from federation.governance.audit_log import read_log
from federation.protocol.signatures import SigningKey
from site_client import accepted_code
from site_client.accepted_code import (
    Acceptance,
    SignedAcceptance,
    accept_code,
    accept_if_first,
    check_code,
    read_acceptance,
)
from site_client.code_watch import CodeWatch
from site_client.commands import app
from site_client.gateway_notice import reason_in
from site_client.gateway_process import accepted
from site_client.home_paths import SiteLayout
from site_client.installed_code import PACKAGES, Installed, installed_files
from site_client.site_checks import check_code_accepted
from site_client.site_processes import Start, run_site
from tests.site_client.hospital_site import NOW, STRANGER, Site
from tests.site_client.test_hospital import Recorder


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def paper(site: Site, *, files: dict[str, str], libraries: dict[str, str], key: SigningKey | None = None) -> None:
    """Write what the site has accepted, as if another version had been installed then."""
    acceptance = Acceptance(site="north", files=files, libraries=libraries, time=NOW.isoformat())
    content = SignedAcceptance.signed(acceptance, key or site.key).model_dump_json()
    site.layout.gateway.mkdir(exist_ok=True)
    for path in (site.layout.accepted_code, site.layout.gateways_code):
        path.write_text(content)


def run(site: Site, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--home", str(site.layout.folder)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def test_the_first_approval_accepts_what_is_installed_and_a_later_one_insists_on_it(site: Site) -> None:
    assert read_acceptance(site.layout) is None
    accept_if_first(site.layout, clock=site.clock, officer="Dr. Example")
    found = read_acceptance(site.layout)
    assert found is not None
    assert found.installed.files == installed_files()
    assert (found.site, found.officer) == ("north", "Dr. Example")
    assert site.layout.gateways_code.read_bytes() == site.layout.accepted_code.read_bytes()
    (entry,) = [entry for entry in read_log(site.layout.audit).entries if entry.event == "code_accepted"]
    assert entry.hashes["code"] == found.installed.code
    accept_if_first(site.layout, clock=site.clock, officer="Dr. Example")  # the same: nothing to do
    paper(site, files=dict(found.files) | {"site_client/agent.py": "0" * 64}, libraries=dict(found.libraries))
    with pytest.raises(CodeRefusedError, match=r"got another: site_client/agent\.py"):
        accept_if_first(site.layout, clock=site.clock, officer="Dr. Example")


def test_a_start_with_other_code_is_refused_and_an_upgrade_is_one_command(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepted_code, "changed_library_files", lambda names: [])
    paper(site, files={"site_client/agent.py": "0" * 64}, libraries={})
    with pytest.raises(CodeRefusedError) as refusal:
        run_site(
            site.layout,
            Start.chosen(agent_user=None, gateway_user=None, one_user=True, isolated=False, proxy=None),
            stop=None,
        )
    assert refusal.value.exit_code == 66
    assert "cohortium site accept-code" in refusal.value.remedy
    assert read_log(site.layout.audit).entries[-1].reason == "installed_code"
    assert not check_code_accepted(site.layout).passed
    data = json.loads(run(site, "code", "--json", code=66))
    assert data["is_accepted"]
    assert "site_client/agent.py" in data["differ"]
    assert "files or libraries differ" in run(site, "code", code=66)
    assert "accepted: code" in run(site, "accept-code", "--officer", "Dr. Example")
    assert read_log(site.layout.audit).entries[-1].event == "code_accepted"
    assert "as accepted" in run(site, "code")
    assert check_code_accepted(site.layout).passed
    check_code(site.layout, clock=site.clock)


def test_a_library_whose_files_are_not_what_was_installed_is_not_accepted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepted_code, "changed_library_files", lambda names: ["torch/__init__.py"])
    with pytest.raises(CodeRefusedError, match=r"torch/__init__\.py"):
        accept_code(site.layout, clock=site.clock)
    assert not site.layout.accepted_code.exists()
    assert not site.layout.audit.exists()


@pytest.mark.parametrize("change", ["stranger's", "another site's", "a changed hash"])
def test_a_paper_that_this_site_did_not_sign_is_refused(site: Site, change: str) -> None:
    files = {"site_client/agent.py": "0" * 64}
    paper(site, files=files, libraries={}, key=STRANGER if change == "stranger's" else None)
    if change != "stranger's":
        text = site.layout.accepted_code.read_text()
        old, new = ('"north"', '"south"') if change == "another site's" else ("0" * 64, "1" * 64)
        site.layout.accepted_code.write_text(text.replace(old, new))
    for refusing in (read_acceptance, lambda layout: check_code(layout, clock=site.clock)):
        with pytest.raises(CodeRefusedError):
            refusing(site.layout)


def test_a_site_that_is_not_enrolled_accepts_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        accept_code(SiteLayout(tmp_path), clock=lambda: NOW)


def small_tree(folder: Path) -> Path:
    for package in PACKAGES:
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("")
    return folder


def test_code_that_changes_below_a_running_agent_stops_the_next_study_and_this_one_within_a_minute(
    site: Site, tmp_path: Path
) -> None:
    root = small_tree(tmp_path)
    began = Installed(installed_files(root), {"torch": "1" * 64})
    paper(site, files=dict(began.files), libraries=dict(began.libraries))
    now = [NOW]
    watch = CodeWatch(site.layout.accepted_code, began, clock=lambda: now[0], root=root)
    watch.check("one")
    (root / "federation" / "new.py").write_text("pass")
    watch.check("one")  # looked at a moment ago
    with pytest.raises(CodeRefusedError):
        watch.check("two")
    now[0] += dt.timedelta(seconds=60)
    with pytest.raises(CodeRefusedError):
        watch.check("one")
    with pytest.raises(CodeRefusedError):  # and goes on to be
        watch.check("one")
    (root / "federation" / "new.py").unlink()
    watch.check("one")
    now[0] -= dt.timedelta(hours=1)  # a clock that is set back hides nothing
    paper(site, files=dict(began.files) | {"conf/a.yaml": "2" * 64}, libraries=dict(began.libraries))
    with pytest.raises(CodeRefusedError):  # accepted meanwhile, but not what this process runs
        watch.check("one")
    site.layout.accepted_code.unlink()
    with pytest.raises(CodeRefusedError, match="none yet"):
        watch.check("one")


def test_an_agent_whose_code_is_not_accepted_lets_no_request_at_the_records(site: Site, tmp_path: Path) -> None:
    site.approve()
    root = small_tree(tmp_path)
    began = Installed(installed_files(root), {})
    for accepted_files, reason in ((dict(began.files), ""), ({"conf/a.yaml": "2" * 64}, "CodeRefusedError")):
        paper(site, files=accepted_files, libraries={})
        hospital, agents = site.hospital(Recorder()), Recorder()
        hospital._agents = agents
        hospital._code = CodeWatch(site.layout.accepted_code, began, clock=site.clock, root=root)
        request = site.request()
        assert site.reason(hospital.handle(request), request) == reason
        assert len(agents.reached) == (reason == "")
    last = read_log(site.layout.audit).entries[-1]
    assert (last.event, last.reason) == ("request_refused", "CodeRefusedError")


def test_a_gateway_with_other_code_does_not_start_and_tells_the_agent(site: Site) -> None:
    paper(site, files={"site_client/agent.py": "0" * 64}, libraries={})
    told: list[str] = []
    with pytest.raises(CodeRefusedError):
        accepted(site.layout.gateways_code, told.append)
    assert told == ["code"]
    assert reason_in(b"cohortium/gateway-notice/1\0code") == "code"
