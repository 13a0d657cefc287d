"""`cohortium tracking`: what an operator sees and does when MLflow was down."""

import json

import pytest
from typer.testing import CliRunner

from aggregator.mlflow_delivery import Delivery
from aggregator.outbox import Outbox
from aggregator.tracking_commands import app
from federation.errors import ConfigurationError, InvalidInputError, TransportError
from tests.aggregator.tracked_run import recorded, server_target

run = CliRunner().invoke


@pytest.fixture
def waiting(tmp_path):
    """Two seeds of a simulation whose results wait for a server that is down."""
    target = server_target(tmp_path)
    return target, [recorded(tmp_path / seed / "tracking", target) for seed in ("seed-1", "seed-2")]


@pytest.fixture
def mlflow(monkeypatch):
    """Takes everything, wherever it is asked to deliver."""
    seen = []

    def take(outbox, target):
        events = outbox.pending(target, limit=1000)
        outbox.mark(events, target)
        seen.append((outbox.folder, target.uri, target.experiment))
        return Delivery(delivered=len(events), waiting=0)

    monkeypatch.setattr("aggregator.mlflow_delivery.deliver", take)
    return seen


def test_status_tells_what_waits_and_why(tmp_path, waiting) -> None:
    target, outboxes = waiting
    outboxes[0].note_attempt(target, number=1, failure="ConnectionError")
    shown = run(app, ["status", str(tmp_path)])
    assert shown.exit_code == 0
    assert "ConnectionError" in shown.output
    facts = json.loads(run(app, ["status", str(tmp_path), "--json"]).output)
    assert [fact["waiting"] for fact in facts] == [outboxes[0].counts(target).recorded] * 2
    assert facts[0]["last_failure"] == "ConnectionError"
    assert facts[0]["target"] == target.uri
    assert facts[0]["mlflow"] == f"open {target.uri}"


def test_deliver_sends_every_outbox_below_the_folder(tmp_path, waiting, mlflow) -> None:
    target, outboxes = waiting
    outboxes[0].mark(outboxes[0].pending(target, limit=1), target, refused="no")
    done = run(app, ["deliver", str(tmp_path), "--json"])
    assert done.exit_code == 0
    facts = json.loads(done.output)
    assert [fact["waiting"] for fact in facts] == [0, 0]
    assert [fact["refused"] for fact in facts] == [{}, {}]
    assert facts[0]["delivered_now"] == facts[0]["recorded"]
    assert [folder for folder, *_ in mlflow] == [outbox.folder for outbox in outboxes]


def test_deliver_elsewhere_sends_everything_there_from_now_on(tmp_path, waiting, mlflow) -> None:
    target, outboxes = waiting
    outboxes[0].mark(outboxes[0].pending(target, limit=3), target)
    done = run(app, ["deliver", str(tmp_path), "--uri", f"sqlite:///{tmp_path}/other.db", "--experiment", "moved"])
    assert done.exit_code == 0
    assert {place for _, *place in ((folder, uri, name) for folder, uri, name in mlflow) for place in place} == {
        f"sqlite:///{tmp_path}/other.db",
        "moved",
    }
    moved = Outbox(outboxes[0].folder).target
    assert (moved.kind, moved.experiment) == ("sqlite", "moved")
    assert outboxes[0].counts(moved).delivered == outboxes[0].counts(moved).recorded
    assert "--backend-store-uri" in done.output


def test_what_still_waits_is_an_error_of_its_own(tmp_path, waiting, monkeypatch) -> None:
    monkeypatch.setattr(
        "aggregator.mlflow_delivery.deliver", lambda *_: Delivery(delivered=0, waiting=5, failure="ConnectionError")
    )
    failed = run(app, ["deliver", str(tmp_path)])
    assert isinstance(failed.exception, TransportError)
    assert "10 wait (ConnectionError)" in str(failed.exception)
    as_json = run(app, ["deliver", str(tmp_path), "--json"])
    assert isinstance(as_json.exception, TransportError)
    assert as_json.output == ""  # `cohortium` then prints the error as the one JSON document


@pytest.mark.parametrize("command", ["status", "deliver"])
@pytest.mark.parametrize("folder", [".", "absent"])
def test_a_folder_without_an_outbox_is_named(tmp_path, command, folder) -> None:
    result = run(app, [command, str(tmp_path / folder)])
    assert isinstance(result.exception, InvalidInputError)
    assert str(tmp_path) in str(result.exception)


def test_an_outbox_that_never_started_is_passed_over(tmp_path, mlflow) -> None:
    Outbox(tmp_path / "tracking", create=True)
    assert json.loads(run(app, ["deliver", str(tmp_path), "--json"]).output) == []
    assert json.loads(run(app, ["status", str(tmp_path), "--json"]).output) == []


def test_a_wrong_address_changes_nothing(tmp_path, waiting, mlflow) -> None:
    target, outboxes = waiting
    result = run(app, ["deliver", str(tmp_path), "--uri", "https://ann:secret@host"])
    assert isinstance(result.exception, ConfigurationError)
    assert outboxes[0].target == target
    assert mlflow == []
