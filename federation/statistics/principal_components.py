"""Principal components of numbers over all sites, from summed means and cross products (Jolliffe 2002, chapter 1).

Axis names: v variables, k components.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.statistics.descriptive_steps import MomentStep, Scaled
from federation.statistics.result import Findings, Table
from federation.statistics.step import Columns, Shapes, Solver, Step

FloatArray = NDArray[np.float64]

_NO_VARIANCE: Final = 1e-24
"""Of a number scaled to its plausible range: rounding of the mean leaves about this."""


class CovarianceStep(Step):
    """Cross products of scaled numbers about their means."""

    kind: Literal["covariance"] = "covariance"
    numbers: Annotated[tuple[Scaled, ...], Field(min_length=1)]

    def fixed(self) -> dict[str, object]:
        """Without the centres: sums about another centre follow from those about the first."""
        return self.model_dump(mode="json", exclude={"numbers": {"__all__": {"centre"}}})

    def shapes(self) -> Shapes:
        """``sums`` ``[v]`` and ``products`` ``[v, v]``."""
        width = len(self.numbers)
        return {"sums": (width,), "products": (width, width)}

    def variables(self) -> frozenset[str]:
        """The numbers."""
        return frozenset(number.variable for number in self.numbers)

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        values = np.column_stack([number.known(columns) for number in self.numbers])
        return {"sums": values.sum(axis=0), "products": values.T @ values}

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        values = np.stack([(columns.values[of.variable] - of.centre) / of.scale for of in self.numbers], axis=1)
        return {"sums": values, "products": values[:, :, None] * values[:, None, :]}


def principal_components(
    numbers: tuple[Scaled, ...], *, patients: int, components: int, standardises: bool
) -> Solver[Findings]:
    """Loadings and variances.

    Args:
        numbers: v variables, scaled by their public ranges, none missing.
        patients: In the sums.
        components: k, at most v.
        standardises: Whether each variable is divided by its standard deviation.

    Raises:
        InvalidInputError: If there are too few variables, or one is constant.
        PrivacyRefusedError: If there are fewer than three patients for each variable.
    """
    width = len(numbers)
    names = [number.variable for number in numbers]
    if not 1 <= components <= width:
        raise InvalidInputError(f"expected 1 to {width} components of {width} variables, got {components}")
    if patients < 3 * width:
        raise PrivacyRefusedError(
            f"expected at least three patients for each of {width} variables, got {patients}",
            remedy="use fewer variables",
            reason="too_many_columns",
        )
    first = yield MomentStep(numbers=numbers)
    shifts = (first["powers"][:, 0] / patients).tolist()
    about = tuple(
        item.model_copy(update={"centre": item.centre + item.scale * shift})
        for item, shift in zip(numbers, shifts, strict=True)
    )
    sums = yield CovarianceStep(numbers=about)
    mean = sums["sums"] / patients
    scaled = (sums["products"] - patients * np.outer(mean, mean)) / (patients - 1)
    variances = np.diag(scaled)
    constant = [name for name, variance in zip(names, variances.tolist(), strict=True) if variance < _NO_VARIANCE]
    if constant:
        raise InvalidInputError(f"expected variables that vary, got constant {constant}", remedy="leave them out")
    spread = np.sqrt(variances)
    units = np.array([number.scale for number in numbers])
    matrix = scaled / np.outer(spread, spread) if standardises else scaled * np.outer(units, units)
    return decomposed(matrix, names, components=components, standardises=standardises)


def decomposed(matrix: FloatArray, names: list[str], *, components: int, standardises: bool) -> Findings:
    """Tables of the leading eigenvectors of a covariance or correlation matrix."""
    roots, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-roots, kind="stable")[:components]
    chosen = vectors[:, order]
    # The sign of a component is arbitrary: the largest loading is positive.
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(components)])
    kept, total = roots[order], float(roots.sum())
    labels = tuple(f"PC{place + 1}" for place in range(components))
    variances = Table(
        name="components",
        title="Principal components" + (" of standardised variables" if standardises else ""),
        columns=("component", "variance", "share"),
        rows=tuple((label, float(v), float(v) / total) for label, v in zip(labels, kept, strict=True)),
    )
    loadings = Table(
        name="loadings",
        title="Loadings",
        columns=("variable", *labels),
        rows=tuple((name, *row) for name, row in zip(names, chosen.tolist(), strict=True)),
    )
    return Findings(figures={"total variance": total}, tables=(variances, loadings))
