"""Bytes of any length travel in records that the gate lets through, and both sides cut and join them alike."""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, RecordDict

from aggregator.flower_messages import PIECE_BYTES, from_pieces, in_pieces
from federation.errors import TransportError
from site_client.gateway import app as gateway


@pytest.mark.parametrize("length", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 5])
def test_both_sides_cut_and_join_alike(length):
    content = bytes(number % 251 for number in range(1000)) * (length // 1000 + 1)
    content = content[:length]
    records = in_pieces(content)
    assert all(len(record["content"]) <= PIECE_BYTES for record in records.values())
    assert from_pieces(records) == gateway._joined(records) == content
    assert from_pieces(gateway._in_pieces(content)) == content
    assert list(gateway._in_pieces(content)) == list(records)


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        RecordDict({"cohortium": ConfigRecord({"content": "text"})}),
        RecordDict({"cohortium": ConfigRecord({})}),
        RecordDict({"cohortium.1": ConfigRecord({"content": b"x"})}),
        RecordDict({"cohortium": ConfigRecord({"content": b"x"}), "cohortium.2": ConfigRecord({"content": b"y"})}),
        RecordDict({"cohortium": ConfigRecord({"content": b"x"}), "other": ConfigRecord({"content": b"y"})}),
    ],
)
def test_other_records_are_no_content(records):
    assert from_pieces(records) is None
    if records:
        with pytest.raises(TransportError):
            gateway._joined(records)
