"""What root types at a site whose agent runs as another account: the agent can read what came of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from site_client.accounts import Account, give_back, share_out, share_with_gateway
from site_client.pausing import pause, read_paused
from site_client.study_papers import StudyPapers
from tests.small_proposal import decision, enrolled, proposal, signed

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to write as another account")]

AGENT, GATEWAY = Account(user=41001, group=41001), Account(user=41002, group=41002)


@pytest.fixture
def layout(tmp_path: Path):
    found = enrolled(tmp_path / "home", "north")
    share_out(found, AGENT, GATEWAY)
    return found


def _owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def test_decisions_and_pauses_of_root_belong_to_the_agent(layout) -> None:
    agreed = proposal()
    papers = StudyPapers(layout)
    papers.keep_proposal(signed(agreed))
    papers.keep_own(decision(agreed, "north"))
    pause(layout, None)
    assert read_paused(layout).everything
    assert _owners(layout.proposals) | _owners(layout.approvals) == {AGENT.user}
    assert (layout.folder / "paused.json").stat().st_uid == AGENT.user


def test_a_certificate_that_root_installs_can_be_read_by_the_gateway(layout) -> None:
    (layout.gateway / "tls.crt").write_text("new")
    (layout.gateway / "tls.crt").chmod(0o600)
    share_with_gateway(layout)
    found = (layout.gateway / "tls.crt").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (AGENT.user, GATEWAY.group, 0o640)


def test_what_is_the_gateways_or_the_supervisors_stays_theirs(layout) -> None:
    logs = layout.folder / "logs"
    logs.mkdir()
    (logs / "agent.log").write_text("")
    state = layout.gateway / "state"
    give_back(layout)
    assert _owners(logs) == {0}
    assert state.stat().st_uid == GATEWAY.user


def test_a_home_of_root_stays_roots(tmp_path: Path) -> None:
    found = enrolled(tmp_path / "home", "north")
    give_back(found)
    assert _owners(found.folder) == {0}


def test_links_are_not_followed(layout, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("root's")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inside").write_text("root's")
    (layout.folder / "link").symlink_to(outside)
    (layout.folder / "hard").hardlink_to(outside)
    (layout.folder / "linked").symlink_to(folder)
    give_back(layout)
    assert outside.stat().st_uid == 0
    assert _owners(folder) == {0}
