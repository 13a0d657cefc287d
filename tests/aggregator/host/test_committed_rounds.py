"""A round that was committed is in the audit log, also if its coordinator died in between."""

import datetime as dt

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.host.committed_rounds import unrecorded_rounds
from federation.errors import AuditLogDamagedError
from federation.governance.audit import AuditEvent
from federation.governance.audit_log import AuditLog
from federation.protocol.audit_head import COORDINATOR
from federation.protocol.signatures import SigningKey
from federation.study.result import RoundResult

STUDY, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def result(number):
    return RoundResult(
        round_number=number, contributors=("a", "b"), dropouts={}, metrics={}, site_metrics={}, epsilon_spent={},
        update_norm=1.0, model_digest="sha256:x", seconds=0.1,
    )  # fmt: skip


@pytest.fixture
def checkpoints(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints", study=STUDY)
    history = tuple(result(number) for number in (1, 2, 3))
    for number in (1, 2, 3):
        store.save(
            CoordinatorState(
                round_number=number, parameters=np.ones(3), server={}, rounds_contributed={}, history=history[:number]
            )
        )
    return store


def write_log(path, *entries):
    key, clock = SigningKey.generate(), lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with AuditLog(path, log=COORDINATOR, key=key, clock=clock) as log:
        log.record(
            *(
                AuditEvent(event="round_committed", actor=COORDINATOR, study=study, round_number=number)
                for study, number in entries
            )
        )


def test_only_the_rounds_that_the_log_does_not_name_are_found(tmp_path, checkpoints):
    write_log(tmp_path / "audit.log", (STUDY, 1), (STUDY, 2))
    found = unrecorded_rounds(tmp_path / "audit.log", STUDY, checkpoints)
    assert [each.round_number for each in found] == [3]


def test_entries_of_another_study_do_not_count(tmp_path, checkpoints):
    write_log(tmp_path / "audit.log", (OTHER, 1), (OTHER, 2), (OTHER, 3), (STUDY, 2))
    found = unrecorded_rounds(tmp_path / "audit.log", STUDY, checkpoints)
    assert [each.round_number for each in found] == [1, 3]


def test_a_study_before_its_first_round_has_none(tmp_path):
    write_log(tmp_path / "audit.log", (OTHER, 1))
    fresh = CheckpointStore(tmp_path / "fresh", study=STUDY)
    assert unrecorded_rounds(tmp_path / "audit.log", STUDY, fresh) == ()


def test_a_damaged_log_is_said_and_not_added_to(tmp_path, checkpoints):
    path = tmp_path / "audit.log"
    write_log(path, (STUDY, 1))
    path.write_bytes(path.read_bytes().replace(b'"round_number":1', b'"round_number":2'))
    with pytest.raises(AuditLogDamagedError):
        unrecorded_rounds(path, STUDY, checkpoints)
