"""What the gateway hands to Flower, and what Flower would make of an exception there."""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from site_client.gateway.app import CONTENT, RECORD, Handler, forwarding_app
from tests.privacy_leaks.canaries import NAMES, found_in

CONTEXT = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, field, 1)


def _message(content: object = b"request") -> Message:
    message = Message(
        RecordDict({RECORD: ConfigRecord({CONTENT: content})}), dst_node_id=2, message_type="train.update"
    )
    message.metadata.__dict__["_message_id"] = "1"
    return message


def _told(failure: BaseException) -> bytes:
    """What Flower's runtime sends to the server when an app raises (flwr.supernode.runtime.run_clientapp)."""
    return f"{type(failure)}:<'{failure}'>".encode()


def _answer(handler_of: object, content: object = b"request") -> bytes:
    app = forwarding_app(site_of=lambda context: "north", handler_of=handler_of)
    try:
        return repr(app(_message(content), CONTEXT).content).encode()
    except Exception as failure:  # noqa: BLE001 - as Flower's runtime does
        return _told(failure)


def test_bytes_go_through_unchanged() -> None:
    assert b"'reply'" in _answer(lambda site: lambda request: b"reply")


@pytest.mark.parametrize("kind", [KeyError, ValueError, MemoryError, RuntimeError], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("where", ["opening the agent", "in the handler"])
def test_an_exception_beside_the_agent_tells_no_name(where: str, kind: type[Exception]) -> None:
    # Opening reads manifest, patients and ledger: a corrupt file can put any text into the exception.
    def raising(*_: object) -> bytes:
        raise kind(NAMES[5])

    handler_of: object = raising if where == "opening the agent" else (lambda site: raising)
    assert found_in(_answer(handler_of)) == []


def test_the_search_would_find_it() -> None:
    assert found_in(_told(KeyError(NAMES[5])))
    handler: Handler = lambda request: NAMES[5].encode()  # noqa: E731 - a handler that tells
    assert found_in(_answer(lambda site: handler))
