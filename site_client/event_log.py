"""Log lines that may leave the hospital in a support bundle: an event of a closed list, and facts of a few plain kinds.

Nothing else of a log leaves. A line holds no free text, so it cannot hold a patient's name, whatever went wrong.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Final

from federation.errors import CohortiumError

_EVENTS: Final = frozenset(
    {
        "started",
        "connected",
        "node_replaced",
        "run_refused",
        "gate_refused",
        "leaving",
        "answered",
        "refused",
        "stranger",
    }
)
_FORMS: Final = {
    "time": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+0000"),
    "level": re.compile(r"[A-Z]{1,8}"),
    "part": re.compile(r"cohortium\.[a-z]{1,20}"),
    "event": re.compile("|".join(sorted(_EVENTS))),
    "study": re.compile(r"sha256:[0-9a-f]{64}"),
    "kind": re.compile(r"[a-z_]{1,32}/[0-9]{1,6}"),
}
_NEEDED: Final = frozenset({"time", "level", "part", "event"})
_CODES: Final = frozenset(
    {
        *("bundle", "configuration", "task", "code", "stranger", "renewed", "unauthorised", "unreachable"),
        *("stuck_message", "stuck_loop", "stuck_request"),
    }
)
"""Reasons that are no class of an error."""
_FACTS: Final = "cohortium_facts"
_LARGEST_NUMBER: Final = 10**9


def log_event(
    log: logging.Logger, level: int, event: str, *, reason: str = "", study: str = "", kind: str = "", number: int = 0
) -> None:
    """Log that something happened.

    Args:
        log: Of the part that says so.
        level: As in :mod:`logging`.
        event: One of the closed list above.
        reason: Class name of an error, or one of a few codes.
        study: Digest of a manifest.
        kind: Of a message, such as ``train_request/1``.
        number: Of a round or a process.
    """
    facts = {"event": event, "reason": reason, "study": study, "kind": kind, "number": number}
    log.log(level, "%s", event, extra={_FACTS: {name: value for name, value in facts.items() if value}})


class EventFormatter(logging.Formatter):
    """Lines of JSON: for events their facts, for everything else its text, which stays at the site. Times are UTC."""

    converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """One line, or more if an exception came with it."""
        head: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S+0000"),
            "level": record.levelname,
            "part": record.name,
        }
        facts = getattr(record, _FACTS, None)
        if isinstance(facts, dict):
            return json.dumps(head | facts)
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return json.dumps(head | {"text": text})


def log_to_stderr() -> None:
    """Write this process's log to its standard error, where the supervisor keeps it."""
    handler = logging.StreamHandler()
    handler.setFormatter(EventFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def is_event_line(line: str) -> bool:
    """Whether a line is an event and nothing else, so that it may leave the hospital."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(content, dict) or not set(content) >= _NEEDED:
        return False
    number, reason = content.pop("number", 0), content.pop("reason", "bundle")
    return (
        type(number) is int
        and 0 <= number <= _LARGEST_NUMBER
        and isinstance(reason, str)
        and reason in _CODES | _names(CohortiumError)
        and set(content) <= set(_FORMS)
        and all(isinstance(value, str) and _FORMS[name].fullmatch(value) for name, value in content.items())
    )


def _names(kind: type[CohortiumError]) -> set[str]:
    return {kind.__name__}.union(*(_names(below) for below in kind.__subclasses__()))
