"""Which counts a paid evaluation releases, and their sum over sites.

Every record is one count in one cell of the overall table, and in one cell of each subgroup variable's tables, so that one
patient with k records moves all tables together by at most ``k * sqrt(1 + subgroup variables)`` in L2. What is released
is the tables with noise; everything else is derived from their sum (:mod:`federation.models.noisy_performance`).

============  ===========================================================================================
task          tables of a group (``overall``, ``subgroup/<variable>/<level>``)
============  ===========================================================================================
binary        ``negative`` and ``positive`` ``[bins]``: the scores of each outcome, in bins of equal width
multiclass    ``confusion`` ``[K * K]``: true class, then predicted class
regression    ``error_by_outcome`` ``[5 * bins]``: outcome in 5 bins, then prediction error in ``bins``
============  ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from federation.errors import InvalidInputError, TransportError
from federation.identifiers import PaidTask

FloatArray = NDArray[np.float64]

OVERALL: Final = "overall"
OUTCOME_BINS: Final = 5
"""Of the outcome in a regression. Few, because the noise of an error bin is that of all its cells together."""
LARGEST_COUNT: Final = 2**53
"""Beyond it float64, the numbers of the wire, skips whole numbers."""


@dataclass(frozen=True)
class CountLayout:
    """The tables of a paid evaluation; public, from the manifest alone.

    Args:
        task: What is predicted.
        score_bins: Bins of scores (binary) or prediction errors (regression).
        classes: Levels of the outcome (multiclass).
        subgroups: Variables and their levels, in the contract's order of levels.
        outcome_range: Smallest and largest plausible outcome in scaled units (regression). Prediction errors are told
            apart up to half its width; larger ones count in the outermost bins.
    """

    task: PaidTask
    score_bins: int
    classes: int = 2
    subgroups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    outcome_range: tuple[float, float] = (-1.0, 1.0)

    @property
    def tables(self) -> dict[str, int]:
        """Names and lengths of one group's tables, in order."""
        match self.task:
            case "binary":
                return {"negative": self.score_bins, "positive": self.score_bins}
            case "multiclass":
                return {"confusion": self.classes**2}
            case "regression":
                return {"error_by_outcome": OUTCOME_BINS * self.score_bins}
            case _:
                assert_never(self.task)

    @property
    def groups(self) -> tuple[str, ...]:
        """All records, then every level of every subgroup variable."""
        return (OVERALL, *(group_of(name, level) for name, levels in self.subgroups for level in levels))

    @property
    def error_limit(self) -> float:
        """Largest prediction error that is told apart, in scaled units."""
        return (self.outcome_range[1] - self.outcome_range[0]) / 2

    @property
    def cells(self) -> int:
        """Length of one group's tables together."""
        return sum(self.tables.values())


def group_of(variable: str, level: str) -> str:
    """The name of a subgroup's tables."""
    return f"subgroup/{variable}/{level}"


def table_lengths(layout: CountLayout) -> dict[str, int]:
    """Names and lengths of everything that a site releases, in the order in which noise is drawn for it."""
    return {f"{group}/{table}": length for group in layout.groups for table, length in layout.tables.items()}


def split_counts(layout: CountLayout, counts: NDArray[np.int64]) -> dict[str, FloatArray]:
    """All counts in one vector, as the named vectors of a message.

    Raises:
        InvalidInputError: If the vector has another length.
    """
    expected = table_lengths(layout)
    if counts.shape != (sum(expected.values()),):
        raise InvalidInputError(f"expected {sum(expected.values())} counts, got shape {counts.shape}")
    ends = np.cumsum(list(expected.values()))
    parts = np.split(counts.astype(np.float64), ends[:-1])
    return dict(zip(expected, parts, strict=True))


@dataclass(frozen=True)
class NoisyCounts:
    """Counts with noise, of one site or summed over several.

    Args:
        layout: What is counted.
        groups: Group to ``[cells]`` float64 whole numbers, its tables one after another; may be negative.
        variance: Of the noise of one cell.
        num_sites: Sites in the sum.
    """

    layout: CountLayout
    groups: Mapping[str, FloatArray] = field(repr=False)
    variance: float
    num_sites: int = 1

    def __add__(self, other: NoisyCounts) -> NoisyCounts:
        if self.layout != other.layout:
            raise InvalidInputError(
                "expected noisy counts of the same tables, got different ones",
                remedy="evaluate every site under one manifest",
            )
        return NoisyCounts(
            layout=self.layout,
            groups={name: counts + other.groups[name] for name, counts in self.groups.items()},
            variance=self.variance + other.variance,
            num_sites=self.num_sites + other.num_sites,
        )

    @staticmethod
    def from_arrays(layout: CountLayout, arrays: Mapping[str, ArrayLike], *, variance: float) -> NoisyCounts:
        """Counts from the arrays of a message.

        Args:
            layout: From the manifest.
            arrays: What the site sent.
            variance: Of the noise the manifest prescribes.

        Raises:
            TransportError: If a name or length is not exactly what the manifest implies, or a number is not whole.
        """
        check_counts(layout, arrays)
        groups = {
            group: np.concatenate([np.asarray(arrays[f"{group}/{table}"], dtype=np.float64) for table in layout.tables])
            for group in layout.groups
        }
        return NoisyCounts(layout=layout, groups=groups, variance=float(variance))


def check_counts(layout: CountLayout, arrays: Mapping[str, ArrayLike]) -> None:
    """Refuse everything but whole-number vectors of exactly the expected names and lengths.

    Site and aggregator both call it: nothing else may leave, and nothing else is believed.

    Raises:
        TransportError: If anything differs.
    """
    expected = table_lengths(layout)
    if set(arrays) != set(expected):
        missing, unknown = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
        raise TransportError(
            f"expected exactly the {len(expected)} tables of the manifest, got {len(missing)} missing "
            f"({_first(missing)}) and {len(unknown)} unknown ({_first(unknown)})"
        )
    for name, length in expected.items():
        vector = np.asarray(arrays[name], dtype=np.float64)
        if vector.shape != (length,):
            raise TransportError(f"expected {length} counts in table {name!r}, got shape {vector.shape}")
        # NaN and infinity compare false.
        if not bool(np.all((vector == np.rint(vector)) & (np.abs(vector) <= LARGEST_COUNT))):
            raise TransportError(f"expected whole numbers in table {name!r}, got others")


def _first(names: list[str]) -> str:
    return names[0] if names else "none"
