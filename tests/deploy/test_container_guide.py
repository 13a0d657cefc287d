"""What docs/containers.md tells people to type is what the container test does, and exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from deploy.container_test.checks import Checks
from deploy.container_test.consortium import SITE_FOLDERS
from deploy.container_test.guide import OTHERWISE, PAGES, check_typed, command_name, guide_commands
from deploy.container_test.image_checks import UIDS
from experiments.command_tree import whole
from experiments.main import root

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/containers.md"


def commands() -> list[list[str]]:
    text = GUIDE.read_text(encoding="utf-8")
    found: list[list[str]] = []
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found += [
            words
            for line in lines
            if not line.startswith("  ") and (words := shlex.split(line.replace("<<<", ""), comments=True))
        ]
    return found


def inside_containers() -> list[list[str]]:
    """The cohortium commands that the guide runs in containers and pods, options left out."""
    found: list[list[str]] = []
    for words in commands():
        if words[:3] == ["docker", "compose", "run"]:
            found.append(words[words.index("agent" if "agent" in words else "aggregator") + 1 :])
        elif "cohortium" in words[1:]:
            found.append(words[words.index("cohortium") + 1 :])
    return found


def test_a_sites_folders_are_made_as_in_the_container_test() -> None:
    root = "/srv/cohortium/site"
    made = {
        (words[-1].removeprefix(root).removeprefix("/"), int(words[3]), int(words[5]), int(words[7], 8))
        for words in commands()
        if words[:3] == ["install", "-d", "-o"] and words[-1].startswith(root)
    }
    assert made == set(SITE_FOLDERS)


def test_the_guide_runs_commands_in_containers() -> None:
    assert len(inside_containers()) > 8


@pytest.mark.parametrize("words", inside_containers(), ids=" ".join)
def test_a_command_of_the_guide_exists_with_its_options(words: list[str]) -> None:
    command = get_command(whole(callback=root))
    rest = list(words)
    while rest and (children := getattr(command, "commands", None)):
        assert rest[0] in children
        command = children[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_every_file_that_the_guide_copies_exists() -> None:
    named = {word for words in commands() for word in words if re.match(r"deploy/\S+\w\.\w+$", word)}
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_guide_names_the_users_of_the_images() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for name, uid in UIDS.items():
        assert f"| `{name}` | {uid} |" in text


def test_the_commands_of_the_guides_are_those_that_exist() -> None:
    found = guide_commands(ROOT / "docs")
    assert {"consortium init", "site data check", "study launch", "site ledger create"} <= set(found)
    for name in found:
        command = get_command(whole(callback=root))
        for word in name.split():
            command = command.commands[word]  # type: ignore[attr-defined]
    assert len(found) > 30, PAGES


def test_what_is_not_typed_in_a_container_is_in_the_guides_and_the_page_says_what_is_done() -> None:
    assert set(OTHERWISE) <= set(guide_commands(ROOT / "docs"))
    text = GUIDE.read_text(encoding="utf-8")
    for name, instead in OTHERWISE.items():
        assert name.removeprefix("aggregator ").removeprefix("site ") in text
        assert re.sub(r"^needs |, which.*$", "", instead) in text


def test_a_command_that_was_not_typed_is_found() -> None:
    typed = [tuple(name.split()) for name in guide_commands(ROOT / "docs")]
    complete, lacking = Checks(), Checks()
    check_typed(ROOT / "docs", typed, complete)
    check_typed(ROOT / "docs", [words for words in typed if words != ("site", "score")], lacking)
    assert complete.failed == []
    assert len(lacking.failed) == 1


def test_a_command_has_the_name_of_its_innermost_group() -> None:
    assert command_name(["site", "audit", "verify", "--against", "x"]) == "site audit verify"
    assert command_name(["site", "approve", "proposal.json"]) == "site approve"
    assert command_name(["aggregator", "audit", "export", "-o", "x"]) == "aggregator audit export"
