"""What every Tracker does, whatever is behind it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.delivery_process import NoCourier
from aggregator.outbox_tracker import OutboxTracker
from aggregator.tracking import NullTracker, Tracker, TrackingTarget
from tests.aggregator.tracked_run import CLOSED, round_result
from tests.small_study import manifest

Factory = Callable[[Path], Tracker]


def _with_server_down(folder: Path) -> Tracker:
    target = TrackingTarget.choose("server", uri=CLOSED, output=folder)
    return OutboxTracker(folder / "tracking", target, courier=NoCourier())


TRACKERS: dict[str, Factory] = {"none": lambda _: NullTracker(), "outbox, server down": _with_server_down}


@pytest.fixture(params=TRACKERS, ids=str)
def make(request: pytest.FixtureRequest) -> Factory:
    return TRACKERS[request.param]


def _count(tracker: Tracker) -> int:
    return getattr(tracker, "waiting", 0)


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_a_whole_run_is_recorded_without_a_word(make: Factory, tmp_path: Path, status: str) -> None:
    artefact = tmp_path / "report.html"
    artefact.write_text("<p>")
    tracker = make(tmp_path)
    results = [
        tracker.start(manifest(), tags={"cohortium.seed": "1"}),
        tracker.record_rounds([round_result(1)]),
        tracker.record_baseline("pooled", {"auroc": 0.8}, parameters={"epochs": "3"}),
        tracker.record_metrics({"final/auroc": 0.7}),
        tracker.record_artefact(artefact),
        tracker.record_artefact(artefact, folder="figures"),
        tracker.finish(status),
    ]
    assert results == [None] * 7
    assert artefact.read_text() == "<p>"


def test_recording_twice_is_recording_once(make: Factory, tmp_path: Path) -> None:
    tracker = make(tmp_path)
    artefact = tmp_path / "a.json"
    artefact.write_text("{}")

    def record() -> None:
        tracker.record_rounds([round_result(1)])
        tracker.record_baseline("pooled", {"auroc": 0.8}, parameters={})
        tracker.record_metrics({"final/auroc": 0.7})
        tracker.record_artefact(artefact)

    tracker.start(manifest(), tags={})
    record()
    before = _count(tracker)
    record()
    tracker.record_rounds([round_result(1, metrics={"auroc": 0.1})])
    assert _count(tracker) == before


def test_a_restart_continues(make: Factory, tmp_path: Path) -> None:
    first = make(tmp_path)
    first.start(manifest(), tags={})
    first.record_rounds([round_result(1)])
    before = _count(first)
    second = make(tmp_path)
    second.start(manifest(), tags={})
    second.record_rounds([round_result(1)])
    assert _count(second) == before
    second.record_rounds([round_result(2)])
    second.finish("finished")
    third = make(tmp_path)
    third.start(manifest(), tags={})
    third.finish("finished")
    third.finish("finished")


def test_numbers_that_are_not_finite_are_no_error(make: Factory, tmp_path: Path) -> None:
    tracker = make(tmp_path)
    strange = {"auroc": float("nan"), "log_loss": float("inf"), "accuracy": 0.5}
    tracker.start(manifest(), tags={})
    tracker.record_rounds([round_result(1, metrics=strange)])
    tracker.record_baseline("pooled", strange, parameters={})
    tracker.record_metrics(strange)
    tracker.finish("finished")


def test_strange_names_are_no_error(make: Factory, tmp_path: Path) -> None:
    tracker = make(tmp_path)
    tracker.start(manifest(), tags={"": "empty", "ü/../x": "y" * 10_000})
    tracker.record_metrics({"../up": 1.0, "a&b=c?": 2.0, "x" * 1000: 3.0})
    tracker.record_baseline("räkning & co", {"e\n": 1.0}, parameters={"p'": "q'" * 5000})
    tracker.finish("finished")
