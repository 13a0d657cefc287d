"""One Containerfile, three images: a pinned base, fixed users, exact versions, nothing of the build left."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/Containerfile"
TARGETS = {"agent": 10001, "gateway": 10002, "aggregator": 10003}
LEFT_TO_THE_OTHER = {"agent": {"flwr", "httpx"}, "gateway": {"torch", "scipy", "randomgen", "opacus", "duckdb", "pint"}}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    words = [line.strip().split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(word[0], re.sub(r"\s+", " ", word[1])) for word in words]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    name = "before"
    for instruction, rest in instructions():
        if instruction == "FROM":
            name = rest.split(" AS ")[1]
        found.setdefault(name, []).append((instruction, rest))
    return found


def names(requirements: str) -> set[str]:
    lines = (ROOT / f"deploy/requirements/{requirements}.txt").read_text(encoding="utf-8").splitlines()
    return {re.match(r"[\w.-]+", line)[0].lower() for line in lines if line and not line.startswith("#")}  # type: ignore[index]


def of_project(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {re.match(r"[\w.-]+", line)[0].lower() for line in lines}  # type: ignore[index]


def test_the_base_is_an_argument_without_default_and_no_other_image_is_used() -> None:
    assert stages()["before"] == [("ARG", "BASE")]
    bases = {rest.split(" AS ")[0] for instruction, rest in instructions() if instruction == "FROM"}
    assert bases - set(stages()) == {"${BASE}"}
    assert ":latest" not in FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("target", "uid"), TARGETS.items())
def test_an_image_has_its_own_user_one_volume_and_no_port_but_the_gates(target: str, uid: int) -> None:
    stage = stages()[target]
    assert stage[0] == ("FROM", f"runtime AS {target}")
    assert [rest for instruction, rest in stage if instruction == "USER"] == [f"{uid}:{uid}"]
    assert len([rest for instruction, rest in stage if instruction == "VOLUME"]) == 1
    assert [rest for instruction, rest in stage if instruction == "EXPOSE"] == (
        ["8443"] if target == "aggregator" else []
    )
    assert len([rest for instruction, rest in stage if instruction == "HEALTHCHECK"]) == 1
    copied = [rest for instruction, rest in stage if instruction == "COPY"]
    packages, code, *others = copied
    assert packages == f"--from={target}-packages /opt/cohortium /opt/cohortium"
    assert code == f"--from={target}-environment /build/code /opt/cohortium"
    assert others == (["deploy/aggregator/health.py /opt/cohortium/health.py"] if target == "aggregator" else [])
    after_user = stage[[instruction for instruction, _ in stage].index("USER") :]
    assert not [rest for instruction, rest in after_user if instruction in ("RUN", "COPY")]


def test_the_agent_refuses_to_run_with_a_network() -> None:
    (words,) = [rest for instruction, rest in stages()["agent"] if instruction == "CMD"]
    assert words == '["site", "agent", "--gateway-user", "10002", "--no-network"]'


def test_nothing_is_fetched_but_packages_and_only_as_wheels_of_exact_versions() -> None:
    for instruction, rest in instructions():
        assert instruction not in ("ADD", "ONBUILD", "MAINTAINER")
        assert not re.search(r"\b(curl|wget|git clone|apt-get|apk|sudo)\b", rest)
        if " pip --python " in rest and " install " in rest:
            assert "--no-deps --no-index" in rest or "--only-binary :all: -c constraints.txt" in rest


def test_every_environment_is_tried_before_it_is_copied() -> None:
    tried = {
        name: " ".join(rest for instruction, rest in stage if instruction == "RUN") for name, stage in stages().items()
    }
    assert '! /opt/cohortium/bin/python -c "import torch"' in tried["gateway-environment"]
    assert '! /opt/cohortium/bin/python -c "import flwr"' in tried["agent-environment"]
    assert all("import " in tried[f"{target}-environment"] for target in TARGETS)


def test_nothing_calls_home() -> None:
    (settings,) = [rest for instruction, rest in stages()["runtime"] if instruction == "ENV"]
    for setting in (
        "FLWR_TELEMETRY_ENABLED=0", "FLWR_DISABLE_UPDATE_CHECK=1", "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1",
        "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true", "PYTHONDONTWRITEBYTECODE=1",
    ):  # fmt: skip
        assert setting in settings.split()


def test_the_requirements_are_those_of_the_project() -> None:
    assert names("agent") == of_project("site", "postgresql") - LEFT_TO_THE_OTHER["agent"]
    assert names("gateway") == of_project("site") - LEFT_TO_THE_OTHER["gateway"]
    assert names("aggregator") == of_project("aggregator")


@pytest.mark.parametrize("target", TARGETS)
def test_every_requirement_has_an_exact_version(target: str) -> None:
    pinned = {
        line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert names(target) <= pinned


def test_the_build_sees_code_and_nothing_else() -> None:
    lines = (ROOT / "deploy/Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        word
        for name in ("pip", "wheel", *(f"{target}-packages" for target in TARGETS), *TARGETS)
        for instruction, rest in stages()[name]
        if instruction == "COPY" and not rest.startswith("--from")
        for word in rest.split()[:-1]
    }
    assert {word for word in copied if not any(word == path or word.startswith(f"{path}/") for path in let_in)} == set()
