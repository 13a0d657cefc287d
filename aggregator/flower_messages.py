"""Our bytes inside Flower's messages: types of messages, pieces that the gate lets through, replies on their way.

Flower moves each record of a message as one object, and the gate bounds a request's body; so long bytes are several records.
The gateway of a site writes and reads the same (:mod:`site_client.gateway.app`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from flwr.app import ConfigRecord, Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import Message as AnnouncedMessage
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from federation.errors import TransportError
from federation.protocol.authenticated import TAG, unverified_payload
from federation.protocol.messages import read_envelope

MESSAGE_TYPES: Final = {
    "train": "train.update",
    "evaluate": "evaluate.model",
    "prepare": "query.prepare",
    "statistics": "query.statistics",
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
_LOG: Final = logging.getLogger("cohortium.coordinator")
_LOST_SECONDS: Final = 200.0
"""Without another part of a reply. A SuperLink gives up after 180 s, but for one that was killed meanwhile and does not know."""


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
            _name(number): ConfigRecord({"content": content[start : start + PIECE_BYTES]})
            for number, start in enumerate(starts)
        }
    )


def from_pieces(records: RecordDict) -> bytes | None:
    """The bytes of :func:`in_pieces`, or ``None`` if these records are something else."""
    pieces: list[bytes] = []
    for number in range(len(records)):
        record = records.get(_name(number))
        piece = record.get("content") if isinstance(record, ConfigRecord) else None
        if not isinstance(piece, bytes):
            return None
        pieces.append(piece)
    return b"".join(pieces) if pieces else None


def _name(number: int) -> str:
    return RECORD if number == 0 else f"{RECORD}.{number}"


@dataclass
class _Reply:
    message: AnnouncedMessage
    missing: list[str]
    parts: dict[str, bytes]
    moved_at: float


class RepliesOnTheirWay:
    """Replies that were announced, and parts of them that have come.

    A reply is announced before its parts are sent, and its sender may die in between. Flower's grid waits for one reply's parts for
    minutes, while other sites' replies lie there; here every look takes what has come, and waits for nothing.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._replies: dict[str, _Reply] = {}

    def announce(self, message: AnnouncedMessage, tree: ObjectTree) -> None:
        """A reply will come.

        Args:
            message: Without its content.
            tree: The identifiers of its parts.
        """
        missing = [part.object_id for part in iterate_object_tree(tree)]
        self._replies[message.metadata.reply_to_message_id] = _Reply(message, missing, {}, self._clock())

    def without_announced(self, requests: Collection[str]) -> list[str]:
        """Requests whose reply is yet to be announced; replies to any other request are forgotten."""
        self._replies = {request: reply for request, reply in self._replies.items() if request in requests}
        return [request for request in requests if request not in self._replies]

    def take(self, pull: Callable[[str], PullObjectResponse]) -> Message | None:
        """Fetch what has come, until a reply is whole: the next one is fetched when this one is folded and freed.

        Args:
            pull: Asks for a part.

        Returns:
            A reply that is whole now, an error for one that is lost or cannot be read, or ``None``.
        """
        for request, reply in list(self._replies.items()):
            is_lost = self._fetch(reply, pull)
            if is_lost or not reply.missing:
                del self._replies[request]
                return _lost(reply) if is_lost else _whole(reply)
        return None

    def _fetch(self, reply: _Reply, pull: Callable[[str], PullObjectResponse]) -> bool:
        """Fetch parts until one is not there yet; returns whether it never will be."""
        while reply.missing:
            response = pull(reply.missing[0])
            if not response.object_found:
                return True
            if not response.object_available:
                return self._clock() - reply.moved_at > _LOST_SECONDS
            reply.parts[reply.missing.pop(0)] = response.object_content
            reply.moved_at = self._clock()
        return False


def _whole(reply: _Reply) -> Message:
    identifier = reply.message.metadata.message_id
    try:
        message = inflate_object_from_contents(identifier, reply.parts)
    except Exception as failure:  # noqa: BLE001 - a site wrote these bytes: whatever is wrong with them is that site's drop-out
        _LOG.warning("a reply cannot be read: %s", type(failure).__name__)
        return _lost(reply)
    if not isinstance(message, Message):
        _LOG.warning("a reply is no message: %s", type(message).__name__)
        return _lost(reply)
    message.metadata.__dict__["_message_id"] = identifier
    return message


def _lost(reply: _Reply) -> Message:
    """As Flower's grid says it."""
    about = reply.message.metadata
    metadata = Metadata(
        run_id=about.run_id,
        message_id="",
        src_node_id=about.src_node_id,
        dst_node_id=about.dst_node_id,
        reply_to_message_id=about.reply_to_message_id,
        group_id=about.group_id,
        created_at=about.created_at,
        ttl=about.ttl,
        message_type=about.message_type,
    )
    return make_message(metadata=metadata, error=Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason="ReplyLost"))
