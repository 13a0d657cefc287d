"""One noisy sum: parts of one or more steps, scaled by public bounds into one vector a patient.

Several steps share a release, so that one patient's vector is clipped once and the noise is as little as it can be. A part's
scale is what its numbers are divided by; its noise is that of the vector times its scale.

Axis names: R records (one a patient), L numbers of the vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.errors import InternalError, InvalidInputError, RecordsError
from federation.privacy.clipping import clip
from federation.privacy.distributed import NoiseShare
from federation.statistics.clipped import room_on_grid, whole_sum
from federation.statistics.counts import CountStep
from federation.statistics.descriptive_steps import HistogramStep, LevelCountStep, MomentStep
from federation.statistics.glm_steps import CrossProductStep, ScoreStep
from federation.statistics.hazard_steps import HazardStep
from federation.statistics.principal_components import CovarianceStep
from federation.statistics.step import MOST_NUMBERS, Columns, Shapes, Step, Sums
from federation.statistics.survival_steps import RiskTableStep
from federation.statistics.wide_sums import Words

FloatArray = NDArray[np.float64]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
AdditiveStep = Annotated[
    CountStep
    | MomentStep
    | HistogramStep
    | LevelCountStep
    | CrossProductStep
    | ScoreStep
    | RiskTableStep
    | HazardStep
    | CovarianceStep,
    Field(discriminator="kind"),
]
"""Steps that are sums over patients, and of which some analysis with privacy is made."""

SYMMETRIC: Final = frozenset({"information", "gram", "products"})
"""Parts of which the upper triangle is summed: the rest would be noise twice."""
_BLOCK: Final = 2**20
"""Numbers of the vectors that are held at a time."""


class Portion(Document):
    """Parts of one step in a release."""

    step: AdditiveStep
    scales: Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)]
    """Part to what it is divided by. Other parts of the step are not in the release."""
    norms: dict[str, Annotated[float, Field(gt=0, le=1)]]
    """Part to its share of the norm of a patient's vector. A longer part is shortened to it, and the others stay."""

    def sizes(self) -> dict[str, int]:
        """Numbers of each part in the vector."""
        shapes = self.step.shapes()
        absent = sorted(self.scales.keys() - shapes.keys())
        if absent or self.scales.keys() != self.norms.keys():
            raise InvalidInputError(
                f"expected parts of the step {self.step.kind!r} with scales and norms, got {absent}"
            )
        return {name: _upper(shapes[name]) if name in SYMMETRIC else math.prod(shapes[name]) for name in self.scales}

    def vectors(self, columns: Columns) -> FloatArray:
        """``[R, L]`` scaled; zero for a record that the step has no use for, so that no answer tells of it."""
        try:
            parts = self.step.per_patient(columns)
        except (RecordsError, InvalidInputError):
            if not self.step.is_additive:
                raise
            if columns.records == 1:
                return np.zeros((1, sum(self.sizes().values())))
            each = [self.vectors(columns.rows(place, place + 1)) for place in range(columns.records)]
            return np.concatenate(each) if each else np.zeros((0, sum(self.sizes().values())))
        found: list[FloatArray] = []
        for name, scale in self.scales.items():
            part = np.asarray(parts[name], dtype=np.float64)
            if name in SYMMETRIC:
                first, second = np.triu_indices(part.shape[-1])
                part = part[:, first, second]
            found.append(clip(part.reshape(columns.records, -1) / scale, clipping_norm=self.norms[name]))
        return np.concatenate(found, axis=1)


class PrivateStep(Step):
    """One release of an analysis with privacy."""

    is_whole = True
    kind: Literal["private"] = "private"
    analysis: Label
    """Of the study; its releases are counted by themselves."""
    release: Annotated[int, Field(ge=1)]
    noise_multiplier: Annotated[float, Field(gt=0)]
    shares: Annotated[int, Field(ge=1)]
    portions: Annotated[tuple[Portion, ...], Field(min_length=1)]

    def fixed(self) -> dict[str, object]:
        """Everything but what follows from earlier releases."""
        portions = [{"step": portion.step.fixed(), **portion.model_dump(exclude={"step"})} for portion in self.portions]
        return {**self.model_dump(mode="json", exclude={"portions"}), "portions": portions}

    @property
    def share(self) -> NoiseShare:
        """One site's noise, and the grid."""
        return NoiseShare.of(self.noise_multiplier, shares=self.shares)

    def shapes(self) -> Shapes:
        """``PLACE.PART`` of each portion, as vectors."""
        return {
            f"{place}.{name}": (size,)
            for place, portion in enumerate(self.portions)
            for name, size in portion.sizes().items()
        }

    def variables(self) -> frozenset[str]:
        """Of all portions."""
        return frozenset(name for portion in self.portions for name in portion.step.variables())

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:  # noqa: ARG002 - as of every step
        """Never: the sum without noise is not to be had.

        Raises:
            InternalError: Always.
        """
        raise InternalError("expected noise in every sum with privacy, got a request for one without")

    def whole_sum(self, columns: Columns, *, generator: Generator) -> NDArray[np.int64]:
        """``[L]`` whole grid steps over the records of a site, still without noise: it must not leave the site.

        Args:
            columns: One record a patient.
            generator: A cryptographic stream, for the rounding.

        Raises:
            InvalidInputError: If a variable is not there.
            InternalError: If a patient has several records.
        """
        unknown = sorted(self.variables() - columns.values.keys())
        if unknown or self.length > MOST_NUMBERS:
            raise InvalidInputError(
                f"expected known variables and at most {MOST_NUMBERS} numbers in a step, got {self.length} and unknown {unknown}",
                remedy="use a coarser grid or fewer terms, and variables of the contract",
            )
        if columns.patients not in {None, columns.records}:
            raise InternalError("expected one record of each patient in a sum with privacy, got several")
        return whole_sum(self._blocks(columns), length=self.length, grid_bits=self.share.grid_bits, generator=generator)

    def _blocks(self, columns: Columns) -> Iterator[FloatArray]:
        size = max(1, _BLOCK // self.length)
        for start in range(0, columns.records, size):
            block = columns.rows(start, start + size)
            yield np.concatenate([portion.vectors(block) for portion in self.portions], axis=1)

    def noisy_words(self, columns: Columns, *, rounding: Generator, noise: Generator) -> Words:
        """``[L]`` with this site's share of the noise. It leaves the site inside a sum only.

        Args:
            columns: As of :meth:`whole_sum`.
            rounding: A cryptographic stream.
            noise: Another, that has served nothing else.
        """
        total = self.whole_sum(columns, generator=rounding)
        return self.share.noisy(total.astype(np.float64), generator=noise)

    def opened(self, total: Words) -> FloatArray:
        """``[L]`` in norms of one patient's vector."""
        return total.astype(np.float64) / self._steps_to_norm

    def noise_deviation(self, sites: int) -> float:
        """Standard deviation of the noise of an opened vector, in norms; a part's is this times its scale."""
        return math.sqrt(self.share.variance * max(sites, 1)) / self._steps_to_norm

    @property
    def _steps_to_norm(self) -> float:
        bits = self.share.grid_bits
        return (1.0 - room_on_grid(self.length, grid_bits=bits)) * 2.0**bits

    def parts(self, total: FloatArray) -> Sums:
        """Sums under ``PLACE.PART``, scaled back and in the shapes of their steps."""
        vectors = super().parts(total)
        found: dict[str, FloatArray] = {}
        for place, portion in enumerate(self.portions):
            shapes = portion.step.shapes()
            for name, scale in portion.scales.items():
                vector = vectors[f"{place}.{name}"] * scale
                found[f"{place}.{name}"] = (
                    _whole(vector, shapes[name]) if name in SYMMETRIC else vector.reshape(shapes[name])
                )
        return found


def _upper(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[0] + 1) // 2


def _whole(upper: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The symmetric matrix of an upper triangle."""
    found = np.zeros(shape)
    found[np.triu_indices(shape[0])] = upper
    return found + found.T - np.diag(np.diag(found))
