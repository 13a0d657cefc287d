"""Whether task, its terms, the outcome and the privacy promise fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from federation.data.contract import Integer, Outcome, TimeToEvent
from federation.identifiers import PaidTask, TaskKind
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, QuantileTerms

_PAID: Final[tuple[TaskKind, ...]] = get_args(PaidTask)
_OUTCOMES: Final[Mapping[TaskKind, tuple[str, ...]]] = {
    "binary": ("binary",),
    "multiclass": ("categorical", "ordinal"),
    "regression": ("continuous", "integer"),
    "count": ("integer",),
    "quantile": ("continuous", "integer"),
    "survival": ("time_to_event",),
}
"""Kinds of outcome by task."""
_TERMS: Final[Mapping[TaskKind, tuple[str, ...]]] = {"quantile": ("quantile",), "survival": ("discrete_time", "cox")}
"""Kinds of terms by task; none for the others."""


def reason_against_task(
    task: TaskKind, terms: QuantileTerms | DiscreteTimeTerms | CoxTerms | None, outcome: Outcome
) -> str | None:
    """Why a study cannot have this task, in words; ``None`` if it can.

    Args:
        task: What is learned.
        terms: What the task needs beside its name.
        outcome: Of the contract.
    """
    if outcome.kind not in _OUTCOMES[task]:
        return f"task: expected an outcome that fits {task!r}, got {outcome.name} of kind {outcome.kind!r}"
    if (None if terms is None else terms.kind) not in _TERMS.get(task, (None,)):
        wanted = {
            "quantile": "task_terms {kind: quantile, levels: [...]}",
            "survival": "task_terms of kind discrete_time or cox, with the public times (edges)",
        }.get(task, "no task_terms")
        return f"task_terms: expected for task {task!r} {wanted}, got {'none' if terms is None else terms.kind!r}"
    if task == "count" and isinstance(outcome, Integer) and outcome.minimum < 0:
        return f"contract.outcome: expected counts from 0 for task 'count', got minimum {outcome.minimum:g} of {outcome.name}"
    if (
        isinstance(outcome, TimeToEvent)
        and isinstance(terms, DiscreteTimeTerms | CoxTerms)
        and terms.edges[-1] > outcome.maximum
    ):
        top = f"{outcome.maximum:g} {outcome.unit}"
        return f"task_terms.edges: expected times up to the outcome's maximum {top}, got {terms.edges[-1]:g}"
    return None


def reason_against_private_task(
    terms: QuantileTerms | DiscreteTimeTerms | CoxTerms | None, *, task: TaskKind, is_evaluated: bool
) -> str | None:
    """Why a task cannot be learned with patient-level privacy, or not evaluated so; ``None`` if it can.

    Args:
        terms: Of the task.
        task: What is learned.
        is_evaluated: Whether the study releases anything about performance.
    """
    if isinstance(terms, CoxTerms):
        return (
            "task_terms: expected a loss that is each patient's own in a private study, got 'cox', whose partial likelihood "
            "compares the patients of a batch: use kind 'discrete_time' with hazard 'cloglog', which is the same model on a "
            "public grid of times"
        )
    if is_evaluated and task not in _PAID:
        return (
            f"evaluation.release: expected 'none' in a private study of task {task!r}, whose evaluation cannot be paid for yet "
            f"(only {', '.join(_PAID)}): set evaluation.release=none"
        )
    return None
