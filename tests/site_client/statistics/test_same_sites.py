"""A site takes part in a study's statistics over one set of sites only."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import CheckpointError, SecureSumRefusedError
from federation.protocol.secure_sum.terms import KeyBatch
from site_client.statistics.same_sites import SameSites

STATISTICS, TRAINING = (KeyBatch(purpose=name, first_round=1, rounds=4) for name in ("statistics", "train"))


def test_the_set_that_was_opened_first_is_the_only_one(tmp_path: Path) -> None:
    memory = SameSites(tmp_path / "sites")
    memory.check(STATISTICS, (0, 1, 2, 3), opens=False)
    memory.check(STATISTICS, (0, 1, 2), opens=False)
    memory.check(STATISTICS, (2, 1, 0), opens=True)
    for opens in (False, True):
        memory.check(STATISTICS, (0, 1, 2), opens=opens)
        for other in ((0, 1, 2, 3), (0, 1), (0, 1, 3)):
            with pytest.raises(SecureSumRefusedError) as caught:
                SameSites(tmp_path / "sites").check(STATISTICS, other, opens=opens)
            assert caught.value.facts["reason"] == "other_sites"


def test_sums_for_other_purposes_are_let_be(tmp_path: Path) -> None:
    memory = SameSites(tmp_path / "sites")
    memory.check(STATISTICS, (0, 1, 2), opens=True)
    memory.check(TRAINING, (0, 1, 3), opens=True)


@pytest.mark.parametrize("content", [b"", b"{}", b"[0, 1", b'["a"]', b"\xff"])
def test_a_damaged_memory_is_no_permission(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sites").write_bytes(content)
    with pytest.raises(CheckpointError):
        SameSites(tmp_path / "sites").check(STATISTICS, (0, 1, 2), opens=False)
