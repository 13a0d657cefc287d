"""How one patient's vector is divided among the parts of a release: every part by its public bound and its share of the norm."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Final

from federation.statistics.counts import CountStep
from federation.statistics.design import Design
from federation.statistics.private_step import AdditiveStep, Portion
from federation.statistics.result import Findings
from federation.statistics.step import Sums

PrivateSolver = Generator[tuple[Portion, ...], Sums, Findings]
"""Yields the portions of each release, receives their noisy sums, returns the findings. The sums have ``noise`` beside the parts:
the standard deviation of the noise in norms of one patient's vector."""
NOISE: Final = "noise"

_COUNTS: Final = frozenset({"counts", "patients", "known", "events", "leaving", "entering"})
"""Of which a patient has one or none, so that shortening them would only lose patients."""

Parts = Mapping[str, tuple[float, float]]
"""Part to its bound, the largest norm that the contract's coding allows or expects of one patient, and its weight."""


def shared(asked: Sequence[tuple[AdditiveStep, Parts]], *, clipping: float) -> tuple[Portion, ...]:
    """Portions whose vector has norm 1 where every part is as long as its bound.

    Args:
        asked: Steps with their parts.
        clipping: Factor of all bounds but those of counts, which are exact.
    """
    norm = math.sqrt(sum(weight**2 for _, parts in asked for _, weight in parts.values()))
    return tuple(
        Portion(
            step=step,
            scales={
                name: bound * (1.0 if name in _COUNTS else clipping) * norm / weight
                for name, (bound, weight) in parts.items()
            },
            norms={name: weight / norm for name, (_, weight) in parts.items()},
        )
        for step, parts in asked
    )


def counted(weight: float) -> tuple[AdditiveStep, Parts]:
    """The number of patients, for a weight beside other parts."""
    return CountStep(), {"patients": (1.0, weight)}


def longest_row(design: Design) -> float:
    """The largest norm of a row of scaled columns that the contract's coding allows.

    Every scaled column is at most 1 in size. Of columns for several levels of one variable, or for combinations of levels of the
    same variables, a patient has one.

    Args:
        design: Columns with the contract's centres and scales.
    """
    exclusive = {
        (
            tuple(sorted(factor.variable for factor in column.factors if factor.level is not None)),
            tuple(sorted(factor.name for factor in column.factors if factor.level is None)),
        )
        for column in design.columns
    }
    return math.sqrt(len(exclusive))
