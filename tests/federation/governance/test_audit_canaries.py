"""Whatever is refused and whatever the error said, no name of a patient reaches the log."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from federation import errors
from federation.governance.audit import AuditEvent, request_refused
from federation.governance.audit_log import read_log
from tests.federation.governance.audit_cases import STUDY, site_log

CANARIES = [f"Zzyzx{number:04d}Mustermann" for number in range(1000)]


def _kinds() -> list[type[BaseException]]:
    ours = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CohortiumError)
    ]
    return [*ours, ValueError, KeyError, OSError, RuntimeError, ZeroDivisionError, UnicodeError, MemoryError]


def _failure(kind: type[BaseException], canary: str) -> BaseException:
    if issubclass(kind, errors.RecordsError):
        return kind(canary, site=canary, variable=canary, remedy=canary, patient=canary)
    if issubclass(kind, errors.CohortiumError):
        return kind(canary, remedy=canary, patient=canary)
    failure = kind(canary)
    failure.add_note(canary)
    failure.__cause__ = ValueError(canary)
    return failure


def test_1000_canaries_in_refused_requests_of_every_kind_reach_no_entry(tmp_path: Path) -> None:
    kinds = _kinds()
    assert len(kinds) >= 20
    with site_log(tmp_path) as log:
        log.record(
            *(
                request_refused(
                    _failure(kinds[number % len(kinds)], canary),
                    actor="agent",
                    request=f"request for {canary}".encode(),
                    site="coordinator",
                    study=STUDY,
                    round_number=number,
                )
                for number, canary in enumerate(CANARIES)
            )
        )
    content = (tmp_path / "audit.jsonl").read_text()
    assert not any(canary in content for canary in CANARIES)
    assert "Zzyzx" not in content
    assert "Mustermann" not in content
    read = read_log(tmp_path / "audit.jsonl")
    assert len(read.entries) == 1001
    assert {entry.reason for entry in read.entries[1:]} >= {"InternalError", "RecordsError", "BudgetExhaustedError"}


@pytest.mark.parametrize("field", ["event", "study", "reason", "site", "time", "hashes", "head"])
def test_a_canary_in_any_other_field_is_refused_or_impossible(field: str) -> None:
    data: dict[str, object] = {"event": "approved", "actor": "officer"}
    with pytest.raises(ValidationError):
        AuditEvent.model_validate(data | {field: f"{CANARIES[0]}, born 1951"})
