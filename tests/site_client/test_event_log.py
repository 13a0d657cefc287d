"""Which lines of a log may leave the hospital: events with facts of known kinds, and no other."""

from __future__ import annotations

import json
import logging

import pytest

from federation.errors import RecordsError
from site_client.event_log import EventFormatter, is_event_line, log_event
from tests.privacy_leaks.canaries import NAMES

GOOD = {"time": "2026-11-25T12:00:00+0000", "level": "INFO", "part": "cohortium.agent", "event": "answered"}


def lines(*calls) -> list[str]:
    """What the formatter makes of some log calls."""
    found: list[str] = []
    log = logging.Logger("cohortium.agent")  # noqa: LOG001 - apart from the process's own
    handler = logging.Handler()
    handler.setFormatter(EventFormatter())
    handler.emit = lambda record: found.append(handler.format(record))
    log.addHandler(handler)
    for call in calls:
        call(log)
    return found


def test_events_may_leave_and_nothing_else() -> None:
    def failing(log: logging.Logger) -> None:
        try:
            {}[NAMES[0]]
        except KeyError:
            log.exception("failed")

    written = lines(
        lambda log: log_event(
            log, logging.INFO, "answered", study="sha256:" + "a" * 64, kind="train_request/1", number=3
        ),
        lambda log: log_event(log, logging.WARNING, "refused", reason=RecordsError.__name__),
        lambda log: log.warning("refused: %s", NAMES[0]),
        failing,
    )
    assert [is_event_line(line) for line in written] == [True, True, False, False]
    assert NAMES[0] in written[2]  # it is in the log, which stays


@pytest.mark.parametrize(
    "changes",
    [
        {"event": NAMES[0]},
        {"event": "answered by " + NAMES[0]},
        {"reason": NAMES[0]},
        {"reason": "Smith"},
        {"reason": ["bundle"]},
        {"level": NAMES[0]},
        {"part": "other.agent"},
        {"part": "cohortium." + NAMES[0]},
        {"study": "sha256:" + "A" * 64},
        {"kind": "train_request"},
        {"time": "yesterday"},
        {"number": "3"},
        {"number": -1},
        {"number": 10**12},
        {"number": True},
        {"text": "fine"},
        {"patient": NAMES[0]},
        {"event": None},
    ],
    ids=str,
)
def test_a_line_with_anything_else_in_it_stays(changes: dict[str, object]) -> None:
    assert is_event_line(json.dumps(GOOD))
    assert not is_event_line(json.dumps(GOOD | changes))


@pytest.mark.parametrize(
    "line", ["", "null", "[]", "{}", "{", "[" * 100_000, '"event"', "plain text", json.dumps({"event": "answered"})]
)
def test_what_is_no_object_of_ours_stays(line: str) -> None:
    assert not is_event_line(line)
