"""Acceptance test 26 where no other test does it: every byte of a coordinator's checkpoints and of a sealed manifest.

Ledgers (``test_tampering.py``), audit logs (``test_audit.py``), proposals (``test_proposals.py``), messages, certificates
(``test_certificates.py``) and releases have tests of their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.manifest_file import read_manifest_file
from federation.errors import CheckpointError, CohortiumError
from tests.aggregator.test_checkpoints import states
from tests.small_study import manifest


def test_every_flipped_byte_of_a_checkpoint_is_noticed_or_says_nothing(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, study="sha256:s")
    for state in states(4):
        store.save(state)
    before = _content(store)
    flipped = 0
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x04]) + whole[at + 1 :])
            try:
                after = _content(store)
            except CheckpointError:
                pass
            else:
                assert after == before or "000003.safetensors" in path.name, f"byte {at} of {path.name}"
            flipped += 1
        path.write_bytes(whole)
    assert flipped > 2000
    assert _content(store) == before


@pytest.mark.parametrize("every", [61, pytest.param(7, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_flipped_bytes_of_a_sealed_manifest_are_noticed_or_say_nothing(tmp_path: Path, every: int) -> None:
    study, path = manifest(), tmp_path / "study.json"
    whole = study.sealed().encode()
    for at in range(0, len(whole), every):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x04]) + whole[at + 1 :])
        try:
            found = read_manifest_file(path).manifest
        except CohortiumError:
            continue
        assert found == study, f"byte {at}"


def _content(store: CheckpointStore) -> tuple[object, ...]:
    found = store.latest()
    assert found is not None
    server = {name: vector.tobytes() for name, vector in found.server.items()}
    return found.round_number, found.parameters.tobytes(), server, found.history, found.rounds_contributed


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"null", b"\xff"])
def test_a_record_that_is_no_record_is_refused(tmp_path: Path, text: bytes) -> None:
    store = CheckpointStore(tmp_path, study="sha256:s")
    for state in states(2):
        store.save(state)
    (tmp_path / "round-000002.json").write_bytes(text)
    with pytest.raises(CheckpointError):
        store.latest()
