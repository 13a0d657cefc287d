"""Our bytes inside Flower's messages: which type of message carries what, and pieces that the gate lets through.

Flower moves each record of a message as one object, and the gate bounds a request's body; so long bytes are several records.
The gateway of a site writes and reads the same (:mod:`site_client.gateway.app`).
"""

from __future__ import annotations

from typing import Final

from flwr.app import ConfigRecord, RecordDict

from federation.errors import TransportError
from federation.protocol.authenticated import TAG, unverified_payload
from federation.protocol.messages import read_envelope

MESSAGE_TYPES: Final = {
    "train": "train.update",
    "evaluate": "evaluate.model",
    "prepare": "query.prepare",
    "key_agreement": "query.key_agreement",
    "shares": "query.shares",
    "parcels": "query.shares",
    "consistency": "query.consistency",
    "unmask": "query.unmask",
}
"""A request's ``kind``, without ``_request/N``, to the type of the Flower message that carries it."""
RECORD: Final = "cohortium"
"""Name of the first record; the next ones have a number behind it: ``cohortium.1``, ``cohortium.2``."""
PIECE_BYTES: Final = 4 * 1024 * 1024


def message_type_of(request: bytes) -> str:
    """The type of the Flower message that carries a request, signed or not.

    Raises:
        TransportError: If the kind of the request has none.
    """
    content = unverified_payload(request) if request.startswith(TAG) else request
    kind = read_envelope(content).header.kind
    name = kind.partition("/")[0].removesuffix("_request")
    if name not in MESSAGE_TYPES:
        raise TransportError(f"expected a request of a kind among {sorted(MESSAGE_TYPES)}, got {kind!r}")
    return MESSAGE_TYPES[name]


def in_pieces(content: bytes) -> RecordDict:
    """Bytes as records of at most :data:`PIECE_BYTES` each."""
    starts = range(0, max(len(content), 1), PIECE_BYTES)
    return RecordDict(
        {
            RECORD if number == 0 else f"{RECORD}.{number}": ConfigRecord(
                {"content": content[start : start + PIECE_BYTES]}
            )
            for number, start in enumerate(starts)
        }
    )


def from_pieces(records: RecordDict) -> bytes | None:
    """The bytes of :func:`in_pieces`, or ``None`` if these records are something else."""
    pieces: list[bytes] = []
    for number in range(len(records)):
        record = records.get(RECORD if number == 0 else f"{RECORD}.{number}")
        piece = record.get("content") if isinstance(record, ConfigRecord) else None
        if not isinstance(piece, bytes):
            return None
        pieces.append(piece)
    return b"".join(pieces) if pieces else None
