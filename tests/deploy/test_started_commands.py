"""What images, units and the chart start is a command of today, with options and variables that it has."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from experiments.command_tree import whole
from experiments.main import root

ROOT = Path(__file__).resolve().parents[2]


def started() -> dict[str, list[str]]:
    """The words after ``cohortium``, by the file and the part that says them."""
    found: dict[str, list[str]] = {}
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8")
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE):
        name = stage.split("\n")[0].split(" AS ")[-1]
        for words in re.findall(r'^CMD (\["(?:site|aggregator)".*\])$', stage, flags=re.MULTILINE):
            found[f"Containerfile {name}"] = json.loads(words)
    for unit in sorted((ROOT / "deploy/systemd").glob("*.service")):
        (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found[unit.name] = shlex.split(line)[1:]
    chart = (ROOT / "deploy/helm/cohortium-aggregator/templates/statefulset.yaml").read_text(encoding="utf-8")
    (arguments,) = re.findall(r"^\s+args: (\[.*\])$", chart, flags=re.MULTILINE)
    found["chart"] = yaml.safe_load(arguments)
    return found


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and its arguments.

    Raises:
        KeyError: If there is none.
    """
    command, rest = get_command(whole(callback=root)), list(words)
    while children := getattr(command, "commands", None):
        command = children[rest.pop(0)]
    return command, rest


def complaints(words: list[str]) -> list[str]:
    """Options that the command does not have."""
    command, rest = command_of(words)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in rest if word.startswith("--") and word not in known]


def test_images_units_and_chart_start_something() -> None:
    assert len(started()) == 7, sorted(started())


@pytest.mark.parametrize("words", started().values(), ids=started().keys())
def test_what_is_started_exists_with_its_options(words: list[str]) -> None:
    assert complaints(words) == []


def test_an_option_that_is_gone_is_found() -> None:
    assert complaints(["site", "agent", "--gateway-account", "10002"]) == ["--gateway-account"]
    with pytest.raises(KeyError):
        complaints(["site", "agents"])


def test_the_gateway_reads_the_variables_that_compose_and_unit_set() -> None:
    compose = yaml.safe_load((ROOT / "deploy/site/compose.yaml").read_text(encoding="utf-8"))
    given = set(compose["services"]["gateway"]["environment"]) - {"HTTPS_PROXY"}
    command, _ = command_of(["site", "gateway"])
    read = {str(parameter.envvar) for parameter in command.params if parameter.envvar}
    assert given <= read
    guide = (ROOT / "docs/containers.md").read_text(encoding="utf-8")
    assert all(f"{name}=" in guide for name in given)


@pytest.mark.parametrize(
    ("stage", "variable", "words"),
    [
        ("agent", "COHORTIUM_SITE", ["site", "agent"]),
        ("gateway", "COHORTIUM_SITE", ["site", "gateway"]),
        ("aggregator", "COHORTIUM_AGGREGATOR", ["aggregator", "start"]),
    ],
)
def test_an_images_folder_is_named_by_a_variable_that_its_command_reads(
    stage: str, variable: str, words: list[str]
) -> None:
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8").split(f"FROM runtime AS {stage}\n")[1]
    assert f"ENV {variable}=" in text.split("\nFROM ")[0]
    assert variable in {str(parameter.envvar) for parameter in command_of(words)[0].params if parameter.envvar}
