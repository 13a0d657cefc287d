"""A terminal whose commands start from a process that has everything loaded: for rehearsals that are about something else.

A command begins as a copy of this process (fork), with its own folder, environment and output, and does what it would from a shell.
What it saves is the loading of libraries, which is nearly all that a short command does.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from dataclasses import dataclass
from typing import Final, NoReturn

from experiments.main import run
from experiments.rehearsal.terminal import Terminal
from federation.errors import StudyError

_FAILED: Final = 1
_LOADED: Final = (
    "aggregator.authority.enrolling", "aggregator.authority.member_lists", "aggregator.host.enrolment",
    "aggregator.host.host_status", "aggregator.host.launching", "aggregator.host.preparing", "aggregator.host.study_status",
    "aggregator.study_template", "federation.privacy.calibration", "site_client.data_checks", "site_client.enrolment",
    "site_client.ledger.ledger", "site_client.policy_check", "site_client.review", "site_client.study_papers", "torch",
)  # fmt: skip
"""What most commands import when they are called; nothing that starts a thread, which a copy would not have."""


@dataclass
class WarmTerminal(Terminal):
    """For commands that end; what stays in the foreground starts as in any other terminal.

    Raises:
        StudyError: If it has a prefix, which only another program can heed.
    """

    def __post_init__(self) -> None:
        if self.prefix:
            raise StudyError(f"expected a terminal without a prefix, got {' '.join(self.prefix)}")
        for name in _LOADED:
            importlib.import_module(name)

    def ended(self, words: tuple[str, ...]) -> tuple[int, str, str]:
        """Run one command in a copy of this process."""
        sys.stdout.flush()
        sys.stderr.flush()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = os.fork()
            if process == 0:
                self._be(words, out.fileno(), err.fileno())
            _, status = os.waitpid(process, 0)
            out.seek(0)
            err.seek(0)
            return os.waitstatus_to_exitcode(status), out.read(), err.read()

    def _be(self, words: tuple[str, ...], out: int, err: int) -> NoReturn:
        """Never returns, whatever happens: there must not be two of the process that was copied."""
        code = _FAILED
        try:
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(self.folder)
            os.environ.update({"NO_COLOR": "1", **self.environment})
            code = run(words)
        except BaseException:  # noqa: BLE001 - as it would end a program
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
