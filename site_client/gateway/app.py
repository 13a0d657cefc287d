"""The Flower `ClientApp`: a forwarder. Bytes in, bytes out, no decision, no torch. And how a message gets to it.

Flower message types say what kind of work a message is; their content is an envelope of
:mod:`federation.protocol.messages`, which nothing here reads. ``query.identity`` asks which site a node is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import ObjectStore
from flwr.supernode.nodestate import NodeState

from federation.errors import TransportError

RECORD: Final = "cohortium"
CONTENT: Final = "content"
SITE: Final = "site"
PIECE_BYTES: Final = 4 * 1024 * 1024
"""Flower moves a record as one object, and the gate bounds its size: long bytes are several records, as in
``aggregator.flower_messages``."""
QUERIES: Final = ("key_agreement", "shares", "consistency", "unmask", "prepare", "statistics")
"""Actions of ``query`` messages that are forwarded like ``train.update`` and ``evaluate.model``."""

_LOG: Final = logging.getLogger("cohortium.gateway")

Handler = Callable[[bytes], bytes]
Insert = Callable[[Message, NodeState, ObjectStore], None]


def forwarding_app(*, site_of: Callable[[Context], str], handler_of: Callable[[str], Handler]) -> ClientApp:
    """A `ClientApp` that forwards to a site's agent.

    Args:
        site_of: Which site a Flower node is, from its own context.
        handler_of: The handler of that site's agent.
    """
    app = ClientApp()

    def forward(message: Message, context: Context) -> Message:
        request = _joined(message.content)
        try:
            reply = handler_of(site_of(context))(request)
        except Exception as failure:  # noqa: BLE001 - Flower sends the text of an exception to the server: it must be ours
            _LOG.exception("no answer of the agent")
            raise TransportError(f"expected the site's agent to answer, got {type(failure).__name__}") from None
        return Message(_in_pieces(reply), reply_to=message)

    def identify(message: Message, context: Context) -> Message:
        return Message(RecordDict({RECORD: ConfigRecord({SITE: site_of(context)})}), reply_to=message)

    app.train("update")(forward)
    app.evaluate("model")(forward)
    for action in QUERIES:
        app.query(action)(forward)
    app.query("identity")(identify)
    return app


class InPlace:
    """Answers the message that Flower's loop has fetched, in the loop's thread: no task, no token, no second trip over HTTP.

    Args:
        app: What answers.
    """

    def __init__(self, app: ClientApp) -> None:
        self._app = app

    def __call__(self, state: NodeState, objects: ObjectStore, insert: Insert) -> None:
        """Take the message from the SuperNode's state, and put the reply there.

        Args:
            state: Of the SuperNode.
            objects: Parts of messages.
            insert: Flower's function that puts a message into both.
        """
        for announced in state.get_messages_legacy(is_reply=False):
            identifier = announced.metadata.message_id
            tree = objects.get_object_tree(identifier)
            parts = {part.object_id: objects.get(part.object_id) or b"" for part in iterate_object_tree(tree)}
            objects.delete(identifier)
            message = inflate_object_from_contents(identifier, parts)
            run = state.get_run(announced.metadata.run_id)
            context = None if run is None else state.get_run_series_context(run.series_id)
            if not isinstance(message, Message) or context is None:
                raise TransportError("expected a whole message of a run that is known, got another")
            message.metadata.__dict__["_message_id"] = identifier
            state.record_message_processing_start(identifier)
            reply = answer_of(self._app, message, context)
            state.record_message_processing_end(identifier)
            insert(reply, state, objects)


def answer_of(app: ClientApp, message: Message, context: Context) -> Message:
    """The app's reply; whatever goes wrong, only the name of an error class leaves."""
    try:
        return app(message=message, context=context)
    except Exception as failure:  # noqa: BLE001 - the text may hold anything
        return Message(
            Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=type(failure).__name__), reply_to=message
        )


def _in_pieces(content: bytes) -> RecordDict:
    starts = range(0, max(len(content), 1), PIECE_BYTES)
    return RecordDict(
        {
            _name(number): ConfigRecord({CONTENT: content[start : start + PIECE_BYTES]})
            for number, start in enumerate(starts)
        }
    )


def _joined(records: RecordDict) -> bytes:
    pieces: list[bytes] = []
    for number in range(len(records)):
        record = records.get(_name(number))
        piece = record.get(CONTENT) if isinstance(record, ConfigRecord) else None
        if not isinstance(piece, bytes):
            raise TransportError(f"expected bytes in a message, got {type(piece).__name__}")
        pieces.append(piece)
    return b"".join(pieces)


def _name(number: int) -> str:
    return RECORD if number == 0 else f"{RECORD}.{number}"
