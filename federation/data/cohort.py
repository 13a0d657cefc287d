"""Who is in the study: inclusion and exclusion criteria as data. Holds no patient.

A criterion names a variable of the contract and compares it, in the contract's unit, with public constants. A record on
which the variable is missing meets no criterion, so it fails an inclusion and passes an exclusion.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.data.arrays import Image, Mask, Signal
from federation.data.contract import Categorical, DataContract, Ordinal
from federation.documents import Document
from federation.errors import ManifestError
from federation.identifiers import Provenance, VariableName

Scalar = bool | int | float | str


class Criterion(Document):
    """One comparison, such as ``age ge 18``."""

    variable: VariableName
    operator: Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "between", "present"]
    value: Scalar | tuple[Scalar, ...] | None = None
    """One constant; several for ``in``; lower and upper bound (both included) for ``between``; none for ``present``."""

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        match self.operator:
            case "present":
                fits = self.value is None
            case "in":
                fits = isinstance(self.value, tuple) and len(self.value) > 0
            case "between":
                fits = isinstance(self.value, tuple) and len(self.value) == 2  # noqa: PLR2004
            case _:
                fits = self.value is not None and not isinstance(self.value, tuple)
        if not fits:
            message = f"expected a value that fits operator {self.operator!r} on {self.variable}, got {self.value!r}"
            raise ValueError(message)
        return self


class CohortDefinition(Document):
    """Which records of which patients enter, and how patients are divided."""

    provenance: Provenance
    inclusion: tuple[Criterion, ...] = ()
    """A record must meet all of these."""
    exclusion: tuple[Criterion, ...] = ()
    """A record must meet none of these."""
    max_records_per_patient: Annotated[int, Field(ge=1, le=100_000)] = 1
    """More are dropped by a keyed hash order that no value influences."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the patients held out for evaluation, drawn by keyed hash: all records of a patient go together."""
    split_key: str = "cohortium"
    """Public salt of the division into training and test patients."""
    minimum_patients: Annotated[int, Field(ge=2)] = 2
    """A site with fewer eligible patients does not take part."""

    def check_against(self, contract: DataContract) -> None:
        """Check that every criterion names a variable of the contract and a level it knows.

        Raises:
            ManifestError: If not.
        """
        for criterion in (*self.inclusion, *self.exclusion):
            variable = contract.variable(criterion.variable)
            if isinstance(variable, Image | Signal | Mask) and criterion.operator != "present":
                raise ManifestError(
                    f"expected the operator 'present' on the {variable.kind} {variable.name}, got {criterion.operator!r}",
                    remedy="a criterion compares single values, not pixels or samples",
                )
            if isinstance(variable, Categorical | Ordinal) and criterion.value is not None:
                values = criterion.value if isinstance(criterion.value, tuple) else (criterion.value,)
                _check_levels(criterion.variable, values, variable.levels)


def _check_levels(name: str, values: tuple[Scalar, ...], levels: tuple[str, ...]) -> None:
    unknown = [value for value in values if value not in levels]
    if unknown:
        raise ManifestError(
            f"expected levels of {name} in a criterion, got {unknown}",
            remedy=f"use some of {list(levels)}",
        )
