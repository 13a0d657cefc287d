"""The systemd units take every privilege away, and the agent's network; accounts and folders fit those of the containers."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from deploy.container_test.consortium import SITE_FOLDERS
from deploy.container_test.image_checks import UIDS

FOLDER = Path(__file__).resolve().parents[2] / "deploy/systemd"
HARDENED = {
    "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "", "ProtectSystem": "strict",
    "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes", "ProtectControlGroups": "yes", "ProtectClock": "yes", "ProtectProc": "invisible",
    "RestrictNamespaces": "yes", "RestrictSUIDSGID": "yes", "LockPersonality": "yes", "LimitCORE": "0", "UMask": "0077",
    "SystemCallArchitectures": "native", "Restart": "always",
}  # fmt: skip


def settings(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in (FOLDER / f"cohortium-{name}.service").read_text(encoding="utf-8").splitlines():
        if re.match(r"\w+=", line):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def table(name: str) -> list[list[str]]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", UIDS)
def test_a_unit_takes_every_privilege_away(name: str) -> None:
    unit = settings(name)
    assert {key: unit[key] for key in HARDENED} == {key: [value] for key, value in HARDENED.items()}
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged"]
    assert unit["User"] == unit["Group"] == [f"cohortium-{name}"]
    assert unit["ExecStart"][0].startswith(f"/opt/cohortium-{name}/bin/cohortium ")


def test_the_agent_has_no_network_and_says_so() -> None:
    unit = settings("agent")
    assert unit["PrivateNetwork"] == ["yes"]
    assert unit["IPAddressDeny"] == ["any"]
    assert "--no-network" in unit["ExecStart"][0].split()
    assert "--gateway-user cohortium-gateway" in unit["ExecStart"][0]
    assert unit["ReadWritePaths"] == ["/var/lib/cohortium/site"]


def test_the_gateway_sees_no_file_of_the_site_but_its_own() -> None:
    unit = settings("gateway")
    assert unit["TemporaryFileSystem"] == ["/var/lib/cohortium:ro"]
    assert unit["BindReadOnlyPaths"] == ["/var/lib/cohortium/site/gateway /var/lib/cohortium/site/run"]
    assert unit["BindPaths"] == ["/var/lib/cohortium/site/gateway/state"]
    assert unit["ReadWritePaths"] == []
    assert unit["MemoryDenyWriteExecute"] == ["yes"]


def test_accounts_have_the_numbers_of_the_containers() -> None:
    assert {line[1]: int(line[2]) for line in table("cohortium.sysusers.conf")} == {
        f"cohortium-{name}": uid for name, uid in UIDS.items()
    }


def test_the_folders_are_those_that_the_container_test_makes() -> None:
    number = {f"cohortium-{name}": uid for name, uid in UIDS.items()}
    root = "/var/lib/cohortium/site"
    found = {
        (line[1].removeprefix(root).removeprefix("/"), number[line[3]], number[line[4]], int(line[2], 8))
        for line in table("cohortium-site.tmpfiles.conf")
        if line[1].startswith(root)
    }
    assert found == set(SITE_FOLDERS)
