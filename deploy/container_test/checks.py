"""What is checked, one line each, and counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.container_test.engine import say


@dataclass
class Checks:
    """Collects results; nothing stops at a failure, so that one run tells everything."""

    failed: list[str] = field(default_factory=list[str])
    passed: int = 0

    def that(self, statement: str, holds: object, *, found: object = "") -> None:
        """Note whether a statement holds.

        Args:
            statement: What should be so.
            holds: Whether it is.
            found: What was there instead, for the message.
        """
        if holds:
            self.passed += 1
            say(f"  ok      {statement}")
        else:
            self.failed.append(statement)
            say(f"  FAILED  {statement}" + (f": {str(found)[-1500:]}" if found != "" else ""))

    def equal(self, statement: str, found: object, expected: object) -> None:
        """Note whether two values are equal."""
        self.that(statement, found == expected, found=f"got {found!r}, expected {expected!r}")

    def skip(self, statement: str, why: str) -> None:
        """Say what could not be looked at."""
        say(f"  skipped {statement}: {why}")
