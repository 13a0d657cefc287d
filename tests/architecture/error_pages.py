"""The pages of the errors: where they are, what each must answer, and the example that it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from federation.errors import CohortiumError
from tests.architecture.source_tree import ROOT

PAGES = ROOT / "docs" / "errors"
QUESTIONS = ("When", "An example", "What to do", "Safe to do again", "Whom to ask")
NEVER_RAISED = ("CohortiumError", "RefusalError")
"""Classes that only their children are raised of: their pages show no example."""
_EXAMPLE = re.compile(
    r"^```text\nerror: (.*?)\n```\n\nSaid in\s`(tests/[\w/]+\.py::test_\w+)`", flags=re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Example:
    """What an error said.

    Args:
        text: As a command shows it; ``…`` stands for what differs each time.
        test: Which says it.
    """

    text: str
    test: str

    def is_of(self, said: str) -> bool:
        """Whether an error said this."""
        return re.fullmatch(".+?".join(map(re.escape, self.text.split("…"))), said, flags=re.DOTALL) is not None


def page_of(kind: type[CohortiumError]) -> Path:
    """The page of a class: ``docs/errors/44-budget-exhausted.md``."""
    words = re.findall(r"[A-Z][a-z]+", kind.__name__.removesuffix("Error"))
    return PAGES / f"{kind.exit_code}-{'-'.join(words).lower()}.md"


def example_of(kind: type[CohortiumError]) -> Example | None:
    """The example of a class's page, if it has one."""
    found = _EXAMPLE.search(page_of(kind).read_text(encoding="utf-8"))
    return None if found is None else Example(text=found[1], test=found[2])
