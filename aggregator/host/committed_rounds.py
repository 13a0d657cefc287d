"""Rounds that a coordinator committed and did not live to write down.

A round counts once its checkpoint is on the disk. The entry in the audit log follows; a coordinator that dies in between leaves
a round without one. Whoever goes on from the checkpoint adds it first, so that the log names every round of the model.
"""

from __future__ import annotations

from pathlib import Path

from aggregator.checkpoints import CheckpointStore
from federation.governance.audit_log import read_log
from federation.study.result import RoundResult


def unrecorded_rounds(log: Path, study: str, checkpoints: CheckpointStore) -> tuple[RoundResult, ...]:
    """Committed rounds of a study that the audit log does not name, in order.

    Args:
        log: The coordinator's audit log.
        study: Digest of the manifest.
        checkpoints: Of the study.

    Raises:
        AuditLogDamagedError: If the log does not hold: what it does not name cannot be told then.
        CheckpointError: If the newest checkpoint is damaged.
    """
    state = checkpoints.latest()
    if state is None or not state.history:
        return ()
    found = read_log(log)
    if found.problem is not None:
        raise found.problem
    named = {entry.round_number for entry in found.entries if entry.event == "round_committed" and entry.study == study}
    return tuple(result for result in state.history if result.round_number not in named)
