"""`cohortium site doctor` on an enrolled site: every reason why a gateway does not get through has a name and a remedy."""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.errors import ConfigurationError, EnrolmentRefusedError, TransportError
from site_client.agent_process import serve
from site_client.commands import app
from site_client.home_paths import SiteLayout
from site_client.network_checks import check_network
from tests.site_client.gateway.small_gate import Consortium, Proxy, now


@pytest.fixture
def consortium(tmp_path: Path):
    found = Consortium(tmp_path)
    yield found
    found.close()


def checked(layout: SiteLayout, *, proxy: str | None = None, at: dt.datetime | None = None):
    return {check.name: check for check in check_network(layout, proxy=proxy, now=at or now())}


def failed(found) -> set[str]:
    return {name for name, check in found.items() if not check.passed}


def moved(layout: SiteLayout, gate: str) -> SiteLayout:
    layout.write(layout.read().model_copy(update={"gate": gate}))
    return layout


def test_everything_is_well(consortium: Consortium) -> None:
    found = checked(consortium.site("north"))
    assert failed(found) == set()
    assert {
        "enrolment",
        "name of the gate",
        "port of the gate",
        "TLS to the gate",
        "clock",
        "certificate",
        "disk",
    } <= set(found)
    assert "behind the gate" in found["clock"].found or "ahead" in found["clock"].found
    assert "valid for" in found["certificate"].found


def test_a_site_that_is_not_enrolled(tmp_path: Path) -> None:
    found = checked(SiteLayout(tmp_path))
    assert failed(found) == {"enrolment"}
    assert found["enrolment"].remedy


def test_a_name_that_nobody_knows_and_a_port_where_nobody_listens(consortium: Consortium) -> None:
    layout = moved(consortium.site("north"), "gate.invalid:8443")
    found = checked(layout)
    assert {"name of the gate", "TLS to the gate"} <= failed(found)
    assert "HTTPS_PROXY" in found["name of the gate"].remedy
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    found = checked(moved(layout, f"localhost:{port}"))
    assert {"port of the gate", "TLS to the gate"} <= failed(found)
    assert found["port of the gate"].exit_code == TransportError.exit_code
    assert "nothing has to be let in" in found["port of the gate"].remedy


def test_something_on_the_way_opens_tls(consortium: Consortium, tmp_path: Path) -> None:
    middle = Consortium(tmp_path / "middle", name="middle")
    found = checked(moved(consortium.site("north"), f"localhost:{middle.port}"))
    assert failed(found) == {"TLS to the gate"}
    assert "not the consortium's" in found["TLS to the gate"].found
    middle.close()


def test_the_gate_refuses_the_certificate(consortium: Consortium, tmp_path: Path) -> None:
    other = Consortium(tmp_path / "other", name="lungs")
    theirs, ours = other.site("north"), consortium.site("north")
    for name in ("tls.crt", "tls.key"):
        (ours.gateway / name).write_bytes((theirs.gateway / name).read_bytes())
    found = checked(ours)
    assert failed(found) == {"TLS to the gate", "certificate"}
    assert "refused this site's certificate" in found["TLS to the gate"].found
    assert found["certificate"].exit_code == EnrolmentRefusedError.exit_code
    other.close()


def test_a_certificate_that_ends_soon_and_one_that_has_ended(consortium: Consortium) -> None:
    layout = consortium.site("north")
    soon = checked(layout, at=now() + dt.timedelta(days=75))
    assert soon["certificate"].passed
    assert "renew" in soon["certificate"].remedy
    assert "certificate" in failed(checked(layout, at=now() + dt.timedelta(days=120)))


@pytest.mark.parametrize(("seconds", "passes"), [(0, True), (-200, False), (30, True), (90, False), (600, False)])
def test_a_clock_that_is_wrong(consortium: Consortium, seconds: int, passes: bool) -> None:
    """The gate's clock is `seconds` ahead of ours; a machine that is ahead of the gate gets no patience."""
    consortium.clock = lambda: now() + dt.timedelta(seconds=seconds)
    found = checked(consortium.site("north"))
    assert found["clock"].passed == passes
    if not passes:
        assert "NTP" in found["clock"].remedy
        assert found["clock"].exit_code == ConfigurationError.exit_code


def test_with_a_proxy(consortium: Consortium) -> None:
    layout = consortium.site("north")
    proxy = Proxy(to=("127.0.0.1", consortium.port))
    assert failed(checked(layout, proxy=proxy.address)) == set()  # the gate is on this machine: it is not used
    assert proxy.asked == []
    away = moved(layout, "gate.invalid:8443")
    found = checked(away, proxy=proxy.address)
    assert failed(found) == {"TLS to the gate"}  # through the proxy comes a gate with another name
    assert "cannot be reached" in found["without the proxy"].found
    assert proxy.asked == ["gate.invalid:8443"]
    refusing = Proxy(refuses=True)
    found = checked(away, proxy=refusing.address)
    assert "proxy refused" in found["TLS to the gate"].found
    for one in (proxy, refusing):
        one.close()


def test_files_that_others_may_read(consortium: Consortium) -> None:
    layout = consortium.site("north")
    layout.identity_key.chmod(0o644)
    layout.tls_key.chmod(0o640)  # as the gateway's own group reads it
    layout.node_key.chmod(0o644)
    found = checked(layout)
    assert failed(found) == {"identity.key", "node.key"}
    layout.node_key.unlink()
    assert "node.key" in failed(checked(layout))


def test_the_agents_socket(consortium: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = consortium.site("north")
    assert "does not run" in checked(layout)["agent"].found
    layout.run.mkdir()
    monkeypatch.chdir(layout.run)
    threading.Thread(target=serve, args=(Path("agent.sock"), bytes), daemon=True).start()
    while not layout.agent_socket.is_socket():
        pass
    try:
        assert checked(layout)["agent"].passed
    except OSError:
        pytest.skip("the temporary folder's path is too long for a socket")
    assert "answers" in checked(layout)["agent"].found or "too long" in checked(layout)["agent"].found


def test_doctor_tells_all_of_it_as_json(consortium: Consortium) -> None:
    layout = consortium.site("north")
    result = CliRunner().invoke(app, ["doctor", "--home", str(layout.folder), "--side", "both", "--json"])
    assert result.exit_code == 0, result.output
    names = [check["name"] for check in json.loads(result.output)["checks"]]
    assert {"Python", "torch", "TLS to the gate", "clock", "GPU"} <= set(names)
    result = CliRunner().invoke(app, ["doctor", "--home", str(layout.folder / "absent")])
    assert result.exit_code != 0
