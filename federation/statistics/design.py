"""A design matrix as data: which products of variables and levels are the columns of a regression, the same at every site.

A formula is read where a study is written (with ``formulaic``); sites get these columns and evaluate no text. Levels come from
the contract, so a site without a patient of some level has the same columns as the others. Numbers are centred and scaled by the
contract's public ranges, which keeps sums well conditioned and of a size known in advance; :meth:`Design.unscaled` takes
coefficients back.

Axis names: R records, p columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.data.arrays import Image, Mask, Signal
from federation.data.contract import Binary, Categorical, DataContract, Ordinal
from federation.documents import Document
from federation.errors import ManifestError
from federation.identifiers import VariableName

FloatArray = NDArray[np.float64]
Transform = Literal["identity", "log", "sqrt", "square", "cube"]

_TRANSFORMS: Final[dict[str, Callable[[FloatArray], FloatArray]]] = {
    "identity": lambda x: x,
    "log": np.log,
    "sqrt": np.sqrt,
    "square": np.square,
    "cube": lambda x: x**3,
}
_NAMES: Final = {"identity": "{}", "log": "log({})", "sqrt": "sqrt({})", "square": "{}^2", "cube": "{}^3"}


class Factor(Document):
    """One number per record: a variable, a function of it, or 1 where it has a certain level."""

    variable: VariableName
    transform: Transform = "identity"
    level: str | None = None
    """Of a coded variable: the factor is 1 where the record has this level."""
    level_index: Annotated[int, Field(ge=0)] = 0
    """Place of that level in the contract."""
    is_reduced: bool = False
    """Whether the first level has no column beside this one; shown in the name as ``T.``."""

    @property
    def name(self) -> str:
        """As in other statistics software: ``age``, ``log(age)``, ``ward[T.cardiac]``."""
        if self.level is not None:
            return f"{self.variable}[{'T.' if self.is_reduced else ''}{self.level}]"
        return _NAMES[self.transform].format(self.variable)

    def evaluate(self, values: Mapping[str, FloatArray]) -> FloatArray:
        """``[R]`` numbers of the records."""
        column = values[self.variable]
        if self.level is not None:
            return (column == self.level_index).astype(np.float64)
        return _TRANSFORMS[self.transform](column)

    def bounds(self, contract: DataContract) -> tuple[float, float]:
        """Smallest and largest value that the contract's plausible range allows.

        Raises:
            ManifestError: If the function is not defined on all of that range, or the variable has levels and none is named.
        """
        variable = contract.variable(self.variable)
        if self.level is not None or isinstance(variable, Binary):
            return 0.0, 1.0
        if isinstance(variable, Categorical | Ordinal):
            raise ManifestError(
                f"expected a number, got {self.variable} with levels",
                remedy="name it in a formula, which codes its levels",
            )
        if isinstance(variable, Image | Signal | Mask):
            raise ManifestError(
                f"expected a number, got the {variable.kind} {self.variable}", remedy="choose another variable"
            )
        least, most = variable.minimum, variable.maximum
        is_defined = {"log": least > 0, "sqrt": least >= 0}.get(self.transform, True)
        if not is_defined:
            raise ManifestError(
                f"expected a range on which {self.name} is defined, got {least} to {most}",
                remedy=f"raise the minimum of {self.variable} in the contract, or leave the function out",
            )
        ends = _TRANSFORMS[self.transform](np.array([least, most]))
        inner = 0.0 if self.transform == "square" and least < 0 < most else float(ends.min())
        return min(inner, float(ends.min())), float(ends.max())


class Column(Document):
    """A product of factors; of none: the intercept."""

    factors: tuple[Factor, ...] = ()
    centre: float = 0.0
    scale: Annotated[float, Field(gt=0)] = 1.0
    """Sites use ``(product - centre) / scale``."""

    @property
    def name(self) -> str:
        """The factors' names, joined by a colon; ``intercept``."""
        return ":".join(factor.name for factor in self.factors) or "intercept"

    @property
    def is_indicator(self) -> bool:
        """Whether the column counts patients of a level or of a combination of levels."""
        return bool(self.factors) and all(factor.level is not None for factor in self.factors)


class Design(Document):
    """The columns of a regression, in the order of its coefficients."""

    columns: Annotated[tuple[Column, ...], Field(min_length=1)]

    @classmethod
    def of(
        cls, products: tuple[tuple[Factor, ...], ...], contract: DataContract, *, ignores_shifts: bool = False
    ) -> Design:
        """Columns with centres and scales from the contract's public ranges.

        Args: products: The factors of each column; no factor for the intercept. contract: Supplies ranges. ignores_shifts:
            Whether the model is the same for shifted columns, as a Cox model is. An intercept has that effect too.

        Raises:
            ManifestError: If a function is not defined on a range.
        """
        is_centred = ignores_shifts or () in products
        return cls(columns=tuple(_scaled(factors, contract, is_centred=is_centred) for factors in products))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def intercept(self) -> int | None:
        """Place of the intercept; ``None`` if there is none."""
        return next((place for place, column in enumerate(self.columns) if not column.factors), None)

    def variables(self) -> frozenset[str]:
        """Every variable that a column needs."""
        return frozenset(factor.variable for column in self.columns for factor in column.factors)

    def matrix(self, values: Mapping[str, FloatArray], *, records: int) -> FloatArray:
        """``[R, p]`` scaled columns.

        Args:
            values: Variable to ``[R]``, in the contract's terms, none missing.
            records: R, which no column shows if there is only an intercept.
        """
        found = np.empty((records, len(self.columns)))
        for place, column in enumerate(self.columns):
            product = np.ones(records)
            for factor in column.factors:
                product = product * factor.evaluate(values)
            found[:, place] = (product - column.centre) / column.scale
        return found

    def unscaled(self) -> FloatArray:
        """``[p, p]``: what takes coefficients of the scaled columns to those of the plain ones; the covariance goes along."""
        scales = np.array([column.scale for column in self.columns])
        centres = np.array([column.centre for column in self.columns])
        back = np.diag(1.0 / scales)
        if self.intercept is not None:
            back[self.intercept] = -centres / scales
            back[self.intercept, self.intercept] = 1.0
        return back


def _scaled(factors: tuple[Factor, ...], contract: DataContract, *, is_centred: bool) -> Column:
    """A single number is moved to [-1, 1] if shifts do not matter; a product is only divided by its largest size."""
    bounds = [factor.bounds(contract) for factor in factors]
    if len(factors) == 1 and factors[0].level is None and is_centred:
        least, most = bounds[0]
        return Column(factors=factors, centre=(least + most) / 2, scale=(most - least) / 2)
    largest = float(np.prod([max(abs(least), abs(most)) for least, most in bounds])) if bounds else 1.0
    return Column(factors=factors, scale=largest or 1.0)


def linear_predictor(design: FloatArray, coefficients: Sequence[float]) -> FloatArray:
    """``[R]``: the rows times the coefficients, in an order of additions that is the same for every row.

    A matrix product may add up a row differently at another place, so that a patient more would change the last bits of the others'
    numbers, and what they are rounded to under privacy.

    Args:
        design: ``[R, p]``.
        coefficients: p.
    """
    total = np.zeros(len(design))
    for place, coefficient in enumerate(coefficients):
        total += design[:, place] * coefficient
    return total
