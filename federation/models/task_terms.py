"""What some tasks need beside their name: levels of quantiles, intervals and hazards of survival. Public, in the manifest.

``Objective`` is what losses, scores and metrics are told: the name of a task that needs no more, or the terms of one that does.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.documents import Document
from federation.identifiers import TaskKind

_MOST_TIME_BINS = 1000


class QuantileTerms(Document):
    """Quantiles of a number, by the pinball loss (Koenker & Bassett 1978, Econometrica 46)."""

    kind: Literal["quantile"] = "quantile"
    levels: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1, max_length=32)]
    """Increasing: 0.5 is the median. The model has one output for each."""

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if any(low >= high for low, high in itertools.pairwise(self.levels)):
            message = f"levels: expected increasing levels, got {list(self.levels)}"
            raise ValueError(message)
        return self

    @property
    def task(self) -> TaskKind:
        """The task's name."""
        return "quantile"


class _SurvivalTerms(Document):
    edges: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, max_length=200)]
    """Public times in the outcome's unit, increasing. Follow-up beyond the last counts as event-free there. Evaluation looks at
    these times; a discrete-time model has one interval up to each."""
    time_bins: Annotated[int, Field(ge=1, le=_MOST_TIME_BINS)] = 30
    """Evaluation counts follow-up in so many bins of equal width up to the last edge, divided further at the edges."""

    @model_validator(mode="after")
    def _check_edges(self) -> Self:
        if any(low >= high for low, high in itertools.pairwise(self.edges)):
            message = f"edges: expected increasing times, got {list(self.edges)}"
            raise ValueError(message)
        return self

    @property
    def task(self) -> TaskKind:
        """The task's name."""
        return "survival"

    @property
    def bin_edges(self) -> tuple[float, ...]:
        """``[T]`` upper ends of the evaluation's time bins; the edges are among them."""
        last = self.edges[-1]
        even = (last * number / self.time_bins for number in range(1, self.time_bins))
        return tuple(sorted({*even, *self.edges}))


class DiscreteTimeTerms(_SurvivalTerms):
    """The hazard of every public interval, one output for each; the loss is a patient's own, so that it can be private.

    ``cloglog`` with ``proportional`` effects is the grouped proportional hazards model (Prentice & Gloeckler 1978, Biometrics 34);
    ``logistic`` with effects ``by_interval`` is Nnet-survival (Gensheimer & Narasimhan 2019, PeerJ 7:e6257).
    """

    kind: Literal["discrete_time"] = "discrete_time"
    hazard: Literal["cloglog", "logistic"] = "cloglog"
    effects: Literal["proportional", "by_interval"] = "proportional"
    """``proportional``: the network says one number, to which each interval adds its own intercept; ``by_interval``: the network
    says a number for each interval, so that effects may change with time."""


class CoxTerms(_SurvivalTerms):
    """Cox' partial likelihood over the records of a batch, as FLamby trains it: it mixes patients, so it is never private."""

    kind: Literal["cox"] = "cox"


SurvivalTerms = Annotated[DiscreteTimeTerms | CoxTerms, Field(discriminator="kind")]
TaskTerms = Annotated[QuantileTerms | DiscreteTimeTerms | CoxTerms, Field(discriminator="kind")]

Objective = Literal["binary", "multiclass", "regression", "count"] | QuantileTerms | DiscreteTimeTerms | CoxTerms
"""What is learned, with everything that a loss needs to know."""


def task_of(objective: Objective) -> TaskKind:
    """The name of the task."""
    return objective if isinstance(objective, str) else objective.task
