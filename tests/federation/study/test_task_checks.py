"""Which tasks, terms and outcomes make a manifest, and what a private study may learn."""

from __future__ import annotations

from typing import Any

import pytest

from federation.errors import ManifestError
from federation.study.manifest import StudyManifest, read_sealed
from tests.objectives import COX, HAZARDS, QUANTILES
from tests.small_study import contract, manifest_data, private

DAYS = {"name": "days", "kind": "integer", "unit": "day", "minimum": 0, "maximum": 90}
TIME = {"name": "t", "kind": "time_to_event", "unit": "day", "maximum": 9, "event": "died"}
DISCRETE = HAZARDS["proportional cloglog"]


def _study(outcome: dict[str, Any], **changes: Any) -> StudyManifest:
    return StudyManifest.from_data(manifest_data(contract=contract() | {"outcome": outcome}, **changes))


@pytest.mark.parametrize(
    ("task", "outcome", "terms"),
    [("count", DAYS, None), ("quantile", DAYS, QUANTILES), ("survival", TIME, DISCRETE), ("survival", TIME, COX)],
)
def test_what_fits_is_a_manifest_with_the_terms_in_its_digest(task: str, outcome: dict[str, Any], terms: Any) -> None:
    study = _study(outcome, task=task, task_terms=None if terms is None else terms.as_data())
    assert study.objective == (terms or task)
    assert read_sealed(study.sealed()) == study
    assert ("task_terms" in study.as_data()) == (terms is not None)


def test_terms_change_the_digest() -> None:
    first = _study(TIME, task="survival", task_terms=DISCRETE.as_data())
    other = DISCRETE.model_copy(update={"hazard": "logistic"})
    assert first.digest != _study(TIME, task="survival", task_terms=other.as_data()).digest


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"task": "count", "outcome": TIME}, "fits 'count'"),
        ({"task": "count", "outcome": DAYS | {"minimum": -1}}, "counts from 0"),
        ({"task": "survival", "outcome": DAYS, "task_terms": DISCRETE.as_data()}, "fits 'survival'"),
        ({"task": "survival", "outcome": TIME}, "expected for task 'survival' task_terms of kind discrete_time or cox"),
        ({"task": "survival", "outcome": TIME, "task_terms": QUANTILES.as_data()}, "got 'quantile'"),
        ({"task": "quantile", "outcome": DAYS}, "levels"),
        ({"task": "count", "outcome": DAYS, "task_terms": QUANTILES.as_data()}, "no task_terms"),
        ({"task": "survival", "outcome": TIME | {"maximum": 3}, "task_terms": DISCRETE.as_data()}, "maximum 3 day"),
    ],
)
def test_what_does_not_fit_says_what_is_expected(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ManifestError, match=problem):
        _study(**changes)


@pytest.mark.parametrize(
    "terms",
    [
        {"kind": "quantile", "levels": [0.5, 0.5]},
        {"kind": "quantile", "levels": [0.0]},
        {"kind": "quantile", "levels": []},
        {"kind": "discrete_time", "edges": [2, 1]},
        {"kind": "discrete_time", "edges": [0.0, 1.0]},
        {"kind": "discrete_time", "edges": [1.0], "hazard": "probit"},
        {"kind": "cox"},
    ],
    ids=str,
)
def test_impossible_terms_are_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ManifestError):
        _study(TIME, task="survival", task_terms=terms)


def test_a_loss_that_mixes_patients_is_never_private() -> None:
    with pytest.raises(ManifestError, match=r"got 'cox'.*use kind 'discrete_time'"):
        _study(TIME, task="survival", task_terms=COX.as_data(), privacy=private())


@pytest.mark.parametrize(("task", "outcome", "terms"), [("count", DAYS, None), ("survival", TIME, DISCRETE)])
def test_evaluation_that_cannot_be_paid_for_says_so(task: str, outcome: dict[str, Any], terms: Any) -> None:
    chosen = {"task": task, "task_terms": None if terms is None else terms.as_data(), "privacy": private()}
    assert _study(outcome, **chosen).task == task
    with pytest.raises(ManifestError, match=r"set evaluation\.release=none"):
        _study(outcome, **chosen, evaluation={"release": "sum", "noise": {"variance": 4}})
