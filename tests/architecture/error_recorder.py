"""A plugin for pytest that writes down what every error of ours says, and in which test: ``-p tests.architecture.error_recorder``.

The file is named by the environment variable ``COHORTIUM_ERRORS_SAID``: one JSON object a line. Errors that other processes
raise are not seen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from federation.errors import CohortiumError

VARIABLE = "COHORTIUM_ERRORS_SAID"
_test = ""


def pytest_configure() -> None:
    """Look over the shoulder of the one constructor that all errors go through."""
    spoken = CohortiumError.__init__
    path = Path(os.environ[VARIABLE])

    def speak(self: CohortiumError, message: str, *, remedy: str = "", **facts: object) -> None:
        spoken(self, message, remedy=remedy, **facts)
        line = {"test": _test, "error": type(self).__name__, "text": str(self)}
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    CohortiumError.__init__ = speak  # for this process of pytest only


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Know which test speaks."""
    global _test  # noqa: PLW0603 - hooks have no other memory
    _test = item.nodeid
    return (yield)
