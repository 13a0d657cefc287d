"""A small audit log with everything in it, for the tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from federation.governance.audit import AuditEvent
from federation.governance.audit_exchange import HeadExchange
from federation.governance.audit_log import AuditLog
from federation.protocol.signatures import SigningKey

STUDY = "sha256:" + "ab" * 32
SITE_KEY = SigningKey.from_bytes(bytes(range(32)))
COORDINATOR_KEY = SigningKey.from_bytes(bytes(range(1, 33)))


def clock() -> dt.datetime:
    return dt.datetime(2031, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def site_log(folder: Path) -> AuditLog:
    return AuditLog(folder / "audit.jsonl", log="north", key=SITE_KEY, clock=clock)


def coordinator_log(folder: Path) -> AuditLog:
    return AuditLog(folder / "coordinator.jsonl", log="coordinator", key=COORDINATOR_KEY, clock=clock)


def exchanges(site: AuditLog, coordinator: AuditLog) -> tuple[HeadExchange, HeadExchange]:
    return (
        HeadExchange(site, SITE_KEY, peers={"coordinator": COORDINATOR_KEY.public_key}),
        HeadExchange(coordinator, COORDINATOR_KEY, peers={"north": SITE_KEY.public_key}),
    )


def approved(number: int = 0) -> AuditEvent:
    return AuditEvent(event="approved", actor="officer", study=STUDY, hashes={"proposal": f"{number:064x}"})


def accepted(number: int) -> AuditEvent:
    hashes = {"request": f"{number:064x}"}
    return AuditEvent(
        event="request_accepted", actor="agent", study=STUDY, round_number=number, site="coordinator", hashes=hashes
    )


def talk(site: HeadExchange, coordinator: HeadExchange) -> None:
    """One request and its answer."""
    request = coordinator.show("north")
    site.take("coordinator", request)
    coordinator.take("north", site.show("coordinator"), answering=request)


def small_log(folder: Path) -> Path:
    """Entries of every shape: opened, events, a witnessed head, a countersigned one."""
    with site_log(folder) as site, coordinator_log(folder) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        for number in range(1, 4):
            site.record(approved(number), accepted(number))
            talk(ours, theirs)
    return folder / "audit.jsonl"
