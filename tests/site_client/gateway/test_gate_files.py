"""The way to the gate: TLS 1.3 with the site's certificate, to the consortium's gate and no other, through the named proxy or none."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest

from federation.errors import ConfigurationError, TransportError
from site_client.gateway.gate_client import gate_client
from site_client.gateway.gate_files import GateFiles, proxy_for
from site_client.gateway.watchdog import Progress
from tests.site_client.gateway.small_gate import Consortium, Proxy


@pytest.fixture
def consortium(tmp_path: Path):
    found = Consortium(tmp_path)
    yield found
    found.close()


def test_the_gate_learns_the_sites_name_and_the_site_that_it_is_the_gate(consortium: Consortium) -> None:
    files = GateFiles.of(consortium.site("north").gateway, proxy=None)
    address = f"https://localhost:{consortium.port}"
    with files.http(address) as client:
        assert client.get(address).status_code == 404
    assert consortium.seen == [("cohortium://cardio/site/north", b"GET / HTTP/1.1")]


def test_nothing_older_than_tls_13_and_no_other_authority(consortium: Consortium, tmp_path: Path) -> None:
    files = GateFiles.of(consortium.site("north").gateway, proxy=None)
    assert files.context().minimum_version == ssl.TLSVersion.TLSv1_3
    assert files.context().verify_mode == ssl.CERT_REQUIRED
    assert files.context().check_hostname
    other = Consortium(tmp_path / "other", name="lungs")
    address = f"https://localhost:{other.port}"
    with files.http(address) as client, pytest.raises(httpx.ConnectError):
        client.get(address)
    assert other.seen == []
    other.close()


def test_a_gate_under_another_name_is_not_the_gate(consortium: Consortium) -> None:
    address = f"https://127.0.0.1:{consortium.port}"
    files = GateFiles.of(consortium.site("north").gateway, proxy=None)
    with files.http(address) as client, pytest.raises(httpx.ConnectError):
        client.get(address)
    assert consortium.seen == []


def test_the_environments_proxy_does_not_count_but_the_named_one_does(
    consortium: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(to=("127.0.0.1", consortium.port))
    layout = consortium.site("north")
    here = f"https://localhost:{consortium.port}"
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.address)
    with GateFiles.of(layout.gateway, proxy=None).http(here) as client:
        client.get(here)
    assert proxy.asked == []
    away = f"https://gate.example.org:{consortium.port}"
    with GateFiles.of(layout.gateway, proxy=proxy.address).http(away) as client, pytest.raises(httpx.ConnectError):
        client.get(away)  # it gets through to the gate, which has another name
    assert proxy.asked == [f"gate.example.org:{consortium.port}"]
    proxy.close()


@pytest.mark.parametrize(
    ("address", "used"),
    [
        ("https://gate.example.org:8443", True),
        ("https://10.0.0.7:8443", True),
        ("https://localhost:8443", False),
        ("https://gate.localhost:8443", False),
        ("https://127.0.0.1:8443", False),
        ("https://127.9.9.9:8443", False),
        ("https://[::1]:8443", False),
    ],
)
def test_a_proxy_is_for_other_machines(address: str, used: bool) -> None:
    assert proxy_for(address, "http://proxy:3128") == ("http://proxy:3128" if used else None)
    assert proxy_for(address, None) is None


def test_missing_and_foreign_files_are_named(tmp_path: Path, consortium: Consortium) -> None:
    with pytest.raises(ConfigurationError, match=r"tls\.crt"):
        GateFiles.of(tmp_path, proxy=None).context()
    layout = consortium.site("north")
    layout.tls_key.write_text("rubbish")
    with pytest.raises(ConfigurationError):
        GateFiles.of(layout.gateway, proxy=None).context()
    good = GateFiles.of(consortium.site("south").gateway, proxy="not an address")
    with pytest.raises(ConfigurationError, match="proxy"):
        good.http("https://gate.example.org:1")


def test_flowers_client_is_made_with_our_certificate_and_never_without_tls(consortium: Consortium) -> None:
    files = GateFiles.of(consortium.site("north").gateway, proxy=None)
    kind = gate_client(files, Progress())
    with pytest.raises(TransportError, match="TLS"):
        kind.from_server_address("localhost:1", insecure=True, root_certificates=None, interceptors=[])
    address = f"localhost:{consortium.port}"
    made = kind.from_server_address(address, insecure=False, root_certificates=b"", interceptors=[])
    with made as client, pytest.raises(httpx.HTTPStatusError):
        client.ActivateNode(ActivateNodeRequest(public_key=b"x", heartbeat_interval=30))
    assert consortium.seen == [("cohortium://cardio/site/north", b"POST /v1/fleet/activate-node HTTP/1.1")]
    assert not files.node.exists()


def test_after_a_kill_the_old_node_is_taken_away_first(tmp_path: Path, consortium: Consortium) -> None:
    """The SuperLink refuses a node that it believes to be there (412); its number was remembered."""
    files = GateFiles.of(consortium.site("north").gateway, proxy=None)
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.url.path.rpartition("/")[2])
        if calls.count("activate-node") == 1 and "deactivate-node" not in calls:
            return httpx.Response(412)
        return httpx.Response(200, content=b"\x08\x2a" if calls[-1] == "activate-node" else b"")

    def activate() -> None:
        client = gate_client(files, Progress())("https://gate", verify=files.context())
        client._client = httpx.Client(transport=httpx.MockTransport(answer))
        client.ActivateNode(ActivateNodeRequest(public_key=b"x", heartbeat_interval=30))
        client.close()

    with pytest.raises(httpx.HTTPStatusError):
        activate()  # never connected: there is nothing to take away
    calls.clear()
    files.node.parent.mkdir(exist_ok=True)
    files.node.write_text("7")
    activate()
    assert calls == ["activate-node", "deactivate-node", "activate-node"]
    assert files.node.read_text() == "42"
