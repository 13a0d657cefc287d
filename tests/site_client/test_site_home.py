"""The site's folder: what lies where, and digests that cannot lead out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import InvalidInputError
from site_client.home_paths import SiteLayout
from site_client.site_home import SiteHome

DIGEST = "sha256:" + "ab" * 32


def _home() -> SiteHome:
    return SiteHome(
        consortium="cardio", site="st_mary", gate="[::1]:8443", coordinator_key="1" * 64, authority_fingerprint="2" * 64
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    layout = SiteLayout(tmp_path / "site")
    layout.write(_home())
    assert layout.read() == _home()
    assert layout.site_file.stat().st_mode & 0o777 == 0o600


def test_paths_are_those_of_the_design(tmp_path: Path) -> None:
    layout = SiteLayout(tmp_path)
    assert layout.agent_socket == tmp_path / "run" / "agent.sock"
    assert layout.tls_key == tmp_path / "gateway" / "tls.key"
    assert layout.study(DIGEST) == tmp_path / "studies" / ("ab" * 32)
    assert layout.proposal(DIGEST) == tmp_path / "proposals" / ("ab" * 32 + ".json")
    assert layout.approval(DIGEST).parent == tmp_path / "approvals"


@pytest.mark.parametrize(
    "digest", ["../../etc/passwd", "", "sha256:", "AB" * 32, "ab" * 31, "ab" * 33, "sha256:" + "a/" * 32]
)
def test_a_digest_never_leads_out_of_the_folder(digest: str, tmp_path: Path) -> None:
    layout = SiteLayout(tmp_path)
    for path in (layout.study, layout.proposal, layout.approval):
        with pytest.raises(InvalidInputError):
            path(digest)


def test_home_is_found_from_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SiteLayout(Path("~/.cohortium/site")).folder == tmp_path / ".cohortium" / "site"


@pytest.mark.parametrize("content", [b"", b"{}", b"ward", b" " * 100_000])
def test_something_else_is_no_site(content: bytes, tmp_path: Path) -> None:
    layout = SiteLayout(tmp_path)
    with pytest.raises(InvalidInputError):
        layout.read()
    layout.site_file.write_bytes(content)
    with pytest.raises(InvalidInputError):
        layout.read()


@pytest.mark.parametrize(
    "gate", ["gate.example.org", "gate:port", "https://gate:1", "gate:1\n", "[::1:1", ":1", "gate :1"]
)
def test_a_gate_is_a_host_and_a_port(gate: str) -> None:
    with pytest.raises(InvalidInputError):
        SiteHome.from_data(_home().as_data() | {"gate": gate}, error=InvalidInputError)
