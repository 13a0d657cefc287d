"""The doctor in each of a site's two containers: it fails for what is wrong there, and not for what belongs to the other side."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from federation.errors import ConfigurationError, EnrolmentRefusedError
from site_client import doctor
from site_client.doctor import check_site, detect_side
from site_client.home_paths import SiteLayout
from tests.site_client.gateway.small_gate import Consortium, now


@pytest.fixture
def consortium(tmp_path: Path):
    found = Consortium(tmp_path / "consortium")
    yield found
    found.close()


@pytest.fixture
def unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "networks_up", tuple)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "networks_up", lambda: ("eth0",))


def checked(layout: SiteLayout, side, **given):
    asked = {"site": None, "gate": None, "proxy": None, "now": now()} | given
    return {check.name: check for check in check_site(layout, side=side, **asked).checks}


def failed(found) -> set[str]:
    return {name for name, check in found.items() if not check.passed}


def as_the_gateway_sees_it(layout: SiteLayout, folder: Path) -> SiteLayout:
    """Its container holds the home's folders `gateway` and `run`, and nothing else."""
    shutil.copytree(layout.gateway, folder / "gateway")
    (folder / "gateway" / "state").mkdir(exist_ok=True)
    return SiteLayout(folder)


@pytest.mark.usefixtures("unplugged")
def test_the_agents_side_needs_no_network(consortium: Consortium) -> None:
    layout = consortium.site("north")
    assert detect_side(layout) == "agent"
    found = checked(layout, "agent")
    assert failed(found) == set()
    assert "gateway" in found["way to the gate"].found
    assert "--side gateway" in found["way to the gate"].remedy
    assert not {"flwr", "httpx", "TLS to the gate", "name of the gate"} & set(found)
    assert {"torch", "opacus", "enrolment", "identity.key", "disk", "policy.yaml", "ledger.sqlite", "clock"} <= set(
        found
    )
    assert consortium.seen == []


@pytest.mark.usefixtures("plugged")
def test_the_agents_side_says_that_a_network_is_up(consortium: Consortium) -> None:
    found = checked(consortium.site("north"), "agent")
    assert "eth0" in found["network"].found
    assert found["network"].remedy


@pytest.mark.usefixtures("unplugged")
def test_what_is_wrong_at_the_agent_is_found(consortium: Consortium, tmp_path: Path) -> None:
    layout = consortium.site("north")
    layout.identity_key.chmod(0o644)
    assert failed(checked(layout, "agent")) == {"identity.key"}
    assert failed(checked(SiteLayout(tmp_path / "absent"), "agent")) >= {"enrolment", "folder is writable"}


@pytest.mark.usefixtures("plugged")
def test_the_gateways_side_needs_no_papers(consortium: Consortium, tmp_path: Path) -> None:
    seen = as_the_gateway_sees_it(consortium.site("north"), tmp_path / "seen")
    assert detect_side(seen) == "gateway"
    found = checked(seen, "gateway", site="north", gate=f"localhost:{consortium.port}")
    assert failed(found) == set()
    assert {"TLS to the gate", "clock", "certificate", "flwr", "httpx", "separation", "tls.key"} <= set(found)
    assert not {"torch", "opacus", "GPU", "identity.key", "enrolment"} & set(found)
    assert "--side agent" in found["records, policy, ledger"].remedy


@pytest.mark.usefixtures("plugged")
def test_a_gateway_that_could_read_the_sites_key_is_told(consortium: Consortium) -> None:
    layout = consortium.site("north")
    (layout.gateway / "state").mkdir(exist_ok=True)
    found = checked(layout, "gateway")
    assert failed(found) == {"separation"}
    assert found["separation"].exit_code == ConfigurationError.exit_code


def test_a_gateway_that_was_not_told_its_gate_and_a_certificate_of_another_site(
    consortium: Consortium, tmp_path: Path
) -> None:
    seen = as_the_gateway_sees_it(consortium.site("north"), tmp_path / "seen")
    assert failed(checked(seen, "gateway")) == {"site and gate"}
    found = checked(seen, "gateway", site="south", gate=f"localhost:{consortium.port}")
    assert failed(found) == {"certificate"}
    assert found["certificate"].exit_code == EnrolmentRefusedError.exit_code


@pytest.mark.usefixtures("plugged")
def test_a_whole_site_and_one_that_is_not_enrolled_are_both_sides(consortium: Consortium, tmp_path: Path) -> None:
    assert detect_side(consortium.site("north")) == "both"
    assert detect_side(SiteLayout(tmp_path)) == "both"


@pytest.mark.parametrize(("seconds", "passes"), [(50, True), (70, False), (-30, False)])
def test_more_than_a_minute_behind_the_gate_is_a_failure(
    consortium: Consortium, tmp_path: Path, seconds: int, passes: bool
) -> None:
    consortium.clock = lambda: now() + dt.timedelta(seconds=seconds)
    seen = as_the_gateway_sees_it(consortium.site("north"), tmp_path / "seen")
    found = checked(seen, "gateway", site="north", gate=f"localhost:{consortium.port}")
    assert found["clock"].passed == passes
    assert passes or "NTP" in found["clock"].remedy


def test_in_the_agents_image_nothing_of_the_network_is_installed(consortium: Consortium) -> None:
    """Its image has neither httpx nor Flower; the command must not even look for them."""
    layout = consortium.site("north")
    script = (
        "import sys; sys.modules['httpx'] = None; sys.modules['flwr'] = None\n"
        "from site_client.commands import app; app(sys.argv[1:])"
    )
    words = ["doctor", "--home", str(layout.folder), "--side", "agent", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "TLS to the gate" not in {check["name"] for check in json.loads(done.stdout)["checks"]}


def test_in_the_gateways_image_nothing_that_computes_is_installed(consortium: Consortium, tmp_path: Path) -> None:
    seen = as_the_gateway_sees_it(consortium.site("north"), tmp_path / "seen")
    missing = "".join(f"sys.modules[{name!r}] = None; " for name in ("torch", "opacus", "duckdb", "pint", "scipy"))
    script = f"import sys; {missing}\nfrom site_client.commands import app; app(sys.argv[1:])"
    words = ["doctor", "--home", str(seen.folder), "--side", "gateway", "--site", "north", "--json"]
    words += ["--gate", f"localhost:{consortium.port}"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "TLS to the gate" in {check["name"] for check in json.loads(done.stdout)["checks"]}
