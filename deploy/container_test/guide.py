"""The commands of the guides, held beside those that were typed in containers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from deploy.container_test.checks import Checks

PAGES: Final = ("consortium.md", "site-it.md")
OTHERWISE: Final = {
    "aggregator start": "docker compose up -d",
    "aggregator stop": "docker compose stop",
    "site start": "docker compose up -d",
    "site stop": "docker compose stop",
    "study privacy": "needs the packages of a simulation, which no image has",
    "study rehearse": "needs the packages of a simulation, which no image has",
}
"""Commands of the guides that are not typed in a container, and what is done instead: docs/containers.md says the same."""
_FENCE: Final = re.compile(r"^```bash[^\n]*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_GROUPS: Final = {"site": ("data", "policy", "ledger", "audit"), "aggregator": ("audit",)}


def command_name(words: Iterable[str]) -> str:
    """The command without its arguments, such as ``site data check``."""
    group, command, *rest = words
    deeper = command in _GROUPS.get(group, ()) and bool(rest)
    return " ".join((group, command, rest[0]) if deeper else (group, command))


def guide_commands(docs: Path) -> list[str]:
    """Names of the commands that the guides type, in their order, each once.

    Args:
        docs: The folder of the pages.
    """
    found: dict[str, None] = {}
    for page in PAGES:
        for body in _FENCE.findall((docs / page).read_text(encoding="utf-8")):
            for line in body.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["cohortium"]:
                    found[command_name(words[1:])] = None
    return list(found)


def check_typed(docs: Path, typed: Iterable[tuple[str, ...]], checks: Checks) -> None:
    """See that every command of the guides was typed in a container.

    Args:
        docs: The folder of the pages.
        typed: The words of each command that was typed.
        checks: Where results go.
    """
    names = {command_name(words) for words in typed}
    for name, instead in OTHERWISE.items():
        checks.skip(name, instead)
    missing = [name for name in guide_commands(docs) if name not in names and name not in OTHERWISE]
    checks.equal("every other command of docs/consortium.md and docs/site-it.md was typed in a container", missing, [])
