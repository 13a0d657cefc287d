"""A planted fault: which text of which file becomes what, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Args:
        name: What is wrong, in a few words.
        file: Of the shipped code, from the repository's root.
        old: Text that stands there exactly once.
        new: What a careless change would make of it.
        tests: Pytest arguments; at least one test among them must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The file's text with the fault.

        Raises:
            ValueError: If the text to replace does not stand there exactly once.
        """
        if (count := text.count(self.old)) != 1:
            message = (
                f"{self.name}: expected its text once in {self.file}, got it {count} times: the catalogue is stale"
            )
            raise ValueError(message)
        return text.replace(self.old, self.new)
