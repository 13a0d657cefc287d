"""Masked updates of fewer bits, end to end: as many bytes as agreed, and the study that the open one is, to the agreed step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from federation.protocol.messages import PAYLOAD, TrainReply
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.messages import RECEIPT_BYTES
from federation.study.manifest import StudyManifest
from tests.masked_study import MASKED, Lossy, agents, masked_manifest, run


def packed(folder: Path, bits: int) -> StudyManifest:
    return masked_manifest(
        folder, aggregation={"mode": "masked", "quorum": 3, "masked": MASKED | {"update_bits": bits}}
    )


@pytest.mark.parametrize("bits", [18, 24])
def test_a_study_of_few_bits_ends_near_the_open_one_and_sends_that_many(tmp_path: Path, bits: int) -> None:
    whole = masked_manifest(tmp_path / "whole")
    expected = run(whole, tmp_path / "whole", Lossy(agents(tmp_path / "whole", whole)))
    study = packed(tmp_path / "packed", bits)
    transport = Lossy(agents(tmp_path / "packed", study))
    found = run(study, tmp_path / "packed", transport)
    spec = study.aggregation.masked
    assert spec is not None
    total = sum(int(entry.weight) for entry in study.roster)
    encoding = spec.updates(total, sites=len(study.roster))
    rounds = study.schedule.rounds
    # Rounding moves a round's mean by at most a step; training carries a difference on, here not tenfold.
    bound = 10 * rounds * encoding.error_bound(len(study.roster)) / total
    assert 0 < np.abs(found.parameters - expected.parameters).max() < bound
    sent = [len(reply.payload()) for _, _, reply in transport.seen if isinstance(reply.header, TrainReply)]
    layout = Layout(updates=len(found.parameters), update_bits=bits)
    assert set(sent) == {layout.payload_bytes + RECEIPT_BYTES}
    assert layout.payload_bytes < 4 * layout.words_32 * (bits + 1) / 32
    assert all(set(reply.arrays) == {PAYLOAD} for _, _, reply in transport.seen)


def test_a_manifest_of_32_bits_has_the_digest_from_before_there_was_a_choice(tmp_path: Path) -> None:
    assert packed(tmp_path, 32).digest == masked_manifest(tmp_path).digest
    assert b"update_bits" not in masked_manifest(tmp_path).canonical_bytes()
    assert packed(tmp_path, 24).digest != masked_manifest(tmp_path).digest
