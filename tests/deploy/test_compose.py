"""The compose files give every container the least it needs; the same judge finds each of these promises broken when it is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = {"site": ROOT / "deploy/site/compose.yaml", "aggregator": ROOT / "deploy/aggregator/compose.yaml"}
USERS = {"agent": "10001:10001", "gateway": "10002:10002", "aggregator": "10003:10003"}
PORTS = {"agent": [], "gateway": [], "aggregator": ["${COHORTIUM_GATE_PORT:-8443}:8443"]}
FORBIDDEN = {
    "privileged",
    "cap_add",
    "devices",
    "pid",
    "ipc",
    "userns_mode",
    "extends",
    "build",
    "network",
    "expose",
    "secrets",
    "cgroup",
}

Service = dict[str, Any]


def services(file: str) -> dict[str, Service]:
    return yaml.safe_load(FILES[file].read_text(encoding="utf-8"))["services"]


def all_services() -> dict[str, Service]:
    return services("site") | services("aggregator")


def complaints(name: str, service: Service) -> list[str]:
    """What is wrong with a service; empty if nothing is."""
    wanted = {
        "user": USERS[name],
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "ulimits": {"core": 0},
    }
    found = [key for key, value in wanted.items() if service.get(key) != value]
    found += sorted(FORBIDDEN & set(service))
    if service.get("ports", []) != PORTS[name]:
        found.append("ports")
    if service.get("network_mode", "own") != ("none" if name == "agent" else "own"):
        found.append("network_mode")
    if not service["image"].startswith("${COHORTIUM_") or ":?" not in service["image"]:
        found.append("image")
    options = service.get("tmpfs", [""])[0]
    found += [option for option in ("noexec", "nosuid", "nodev", "size=") if option not in options]
    for volume in service["volumes"]:
        if (
            volume["type"] != "bind"
            or volume["bind"] != {"create_host_path": False}
            or "docker.sock" in volume["source"]
        ):
            found.append("volumes")
    return found


@pytest.mark.parametrize("name", USERS)
def test_a_service_has_the_least_it_needs(name: str) -> None:
    assert complaints(name, all_services()[name]) == []


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("agent", {"ports": ["8443:8443"]}, "ports"),
        ("gateway", {"ports": ["9000:9000"]}, "ports"),
        ("aggregator", {"ports": ["8443:8443", "9441:9441"]}, "ports"),
        ("agent", {"network_mode": "bridge"}, "network_mode"),
        ("agent", {"network_mode": None}, "network_mode"),
        ("gateway", {"network_mode": "host"}, "network_mode"),
        ("gateway", {"read_only": False}, "read_only"),
        ("agent", {"cap_drop": ["NET_RAW"]}, "cap_drop"),
        ("agent", {"cap_add": ["SYS_ADMIN"]}, "cap_add"),
        ("aggregator", {"security_opt": []}, "security_opt"),
        ("aggregator", {"privileged": True}, "privileged"),
        ("gateway", {"user": "0:0"}, "user"),
        ("gateway", {"image": "cohortium-gateway:latest"}, "image"),
        ("agent", {"tmpfs": ["/tmp:rw,size=1g"]}, "noexec"),
    ],
)
def test_a_broken_promise_is_noticed(name: str, change: Service, complaint: str) -> None:
    service = copy.deepcopy(all_services()[name]) | change
    assert complaint in complaints(name, service)


def test_a_site_opens_no_port_and_has_two_services() -> None:
    assert set(services("site")) == {"agent", "gateway"}
    assert not any("ports" in service or "expose" in service for service in services("site").values())


def test_records_are_mounted_for_reading_and_for_the_agent_only() -> None:
    found = {
        name: [volume for volume in service["volumes"] if "RECORDS" in volume["source"]]
        for name, service in all_services().items()
    }
    assert [volume["read_only"] for volume in found["agent"]] == [True]
    assert found["gateway"] == []
    assert found["aggregator"] == []


def test_the_gateway_sees_its_own_folder_and_writes_one_folder_of_it() -> None:
    volumes = {volume["source"]: volume.get("read_only", False) for volume in services("site")["gateway"]["volumes"]}
    assert volumes == {
        "${COHORTIUM_HOME}/gateway": True,
        "${COHORTIUM_HOME}/gateway/state": False,
        "${COHORTIUM_HOME}/run": True,
    }


@pytest.mark.parametrize("file", FILES)
def test_the_example_variables_are_those_of_the_file(file: str) -> None:
    import re

    text = FILES[file].read_text(encoding="utf-8")
    wanted = set(re.findall(r"\$\{(\w+)", text))
    example = (FILES[file].parent / "example.env").read_text(encoding="utf-8")
    given = set(re.findall(r"^#? ?(\w+)=", example, flags=re.MULTILINE))
    assert given == wanted
    images = re.findall(r"^\w+_IMAGE=(.*)$", example, flags=re.MULTILINE)
    assert all(re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", image) for image in images)
