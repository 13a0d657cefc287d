"""The data contract: the meaning of every column, agreed before any record is read.

A contract says which variables a study uses, in which unit and plausible range, how they are coded and what happens when
they are missing or implausible. Everything in it is public. Encoding (:mod:`federation.data.encoding`) uses nothing else, so
nothing is fitted on patients.

>>> contract = DataContract.from_data({
...     "name": "example", "patient_key": "patient",
...     "variables": [{"name": "age", "kind": "continuous", "unit": "year", "minimum": 0, "maximum": 120}],
...     "outcome": {"name": "died", "kind": "binary"},
... })
>>> contract.variable("age").unit
'year'
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.data.arrays import Image, Mask, Signal
from federation.data.missing import ExcludeMissing, ForbidMissing, ImputeMissing, MissingRule
from federation.documents import Document
from federation.errors import ManifestError
from federation.identifiers import VariableName

__all__ = [
    "Binary", "Categorical", "Continuous", "DataContract", "ExcludeMissing", "ForbidMissing", "ImputeMissing", "IndexDate",
    "Integer", "Level", "MissingRule", "Ordinal", "OutOfRangeRule", "Reference", "Variable",
]  # fmt: skip

Level = Annotated[str, Field(min_length=1, max_length=64)]


OutOfRangeRule = Literal["forbid", "missing", "clip"]
"""``forbid``: readiness fails; ``missing``: treated by the missing rule; ``clip``: moved to the nearest bound."""


class Reference(Document):
    """Public location and spread of a variable, from the literature: encoding may use it, because no patient of the study did."""

    mean: float
    standard_deviation: Annotated[float, Field(gt=0)]
    source: Annotated[str, Field(min_length=1)]
    """Where the figures come from, so that a reviewer can check that they are public."""


class _Variable(Document):
    name: VariableName
    description: str = ""
    missing: MissingRule = ExcludeMissing()
    maximum_missing_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Readiness fails at a site where a larger fraction is missing."""


class _Number(_Variable):
    minimum: float
    """Smallest plausible value, in the contract's unit."""
    maximum: float
    """Largest plausible value, in the contract's unit."""
    out_of_range: OutOfRangeRule = "missing"
    maximum_out_of_range_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Readiness fails at a site where a larger fraction lies outside the range."""
    reference: Reference | None = None

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if not self.minimum < self.maximum:
            message = f"expected minimum < maximum for {self.name}, got {self.minimum} and {self.maximum}"
            raise ValueError(message)
        if isinstance(self.missing, ImputeMissing) and not (
            isinstance(self.missing.value, int | float) and self.minimum <= self.missing.value <= self.maximum
        ):
            message = (
                f"expected the imputed value of {self.name} between {self.minimum} and {self.maximum}, "
                f"got {self.missing.value!r}"
            )
            raise ValueError(message)
        return self


class Continuous(_Number):
    """A measurement with a unit."""

    kind: Literal["continuous"]
    unit: Annotated[str, Field(min_length=1)]
    """A unit pint knows, ``dimensionless`` if there is none."""


class Integer(_Number):
    """A count or score."""

    kind: Literal["integer"]
    unit: str = "dimensionless"

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if self.minimum != int(self.minimum) or self.maximum != int(self.maximum):
            message = f"expected whole bounds for {self.name}, got {self.minimum} and {self.maximum}"
            raise ValueError(message)
        return self


class Binary(_Variable):
    """Yes or no; encoded as 1 or 0."""

    kind: Literal["binary"]

    @model_validator(mode="after")
    def _check_imputed(self) -> Self:
        if isinstance(self.missing, ImputeMissing) and self.missing.value not in {0, 1}:
            message = f"expected 0 or 1 as the imputed value of {self.name}, got {self.missing.value!r}"
            raise ValueError(message)
        return self


class _Coded(_Variable):
    levels: Annotated[tuple[Level, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if len(set(self.levels)) != len(self.levels):
            message = f"expected distinct levels of {self.name}, got {list(self.levels)}"
            raise ValueError(message)
        if isinstance(self.missing, ImputeMissing) and self.missing.value not in self.levels:
            message = (
                f"expected one of {list(self.levels)} as the imputed value of {self.name}, got {self.missing.value!r}"
            )
            raise ValueError(message)
        return self


class Categorical(_Coded):
    """One of several unordered levels; one-hot, the first level being the reference."""

    kind: Literal["categorical"]


class Ordinal(_Coded):
    """One of several ordered levels; encoded as equally spaced numbers in [-1, 1]."""

    kind: Literal["ordinal"]


Variable = Annotated[
    Continuous | Integer | Binary | Categorical | Ordinal | Image | Signal | Mask, Field(discriminator="kind")
]
"""Images and signals are inputs only; a mask is an outcome only."""


class TimeToEvent(Document):
    """An outcome in time: how long a patient was followed up, and whether that ended in the event. Outcomes only.

    A site supplies it as two columns, or three: the time under the outcome's ``name``, whether the event happened under
    ``event``, and, where follow-up does not begin at time 0, the time of entry under ``entry``. Each is mapped, checked and
    counted like any variable.
    """

    kind: Literal["time_to_event"]
    name: VariableName
    description: str = ""
    unit: Annotated[str, Field(min_length=1)]
    """Of the times: a unit pint knows."""
    maximum: Annotated[float, Field(gt=0)]
    """Longest plausible time; a longer or a negative one is out of range."""
    event: VariableName
    """Column that is 1 where the time ends in the event, 0 where follow-up ended without."""
    entry: VariableName | None = None
    """Column of the time of entry; time is then counted from there. Records whose time is before their entry are excluded."""
    missing: Annotated[ForbidMissing | ExcludeMissing, Field(discriminator="rule")] = ExcludeMissing()
    """For each of the columns."""
    out_of_range: Literal["forbid", "missing"] = "missing"
    """Of times: ``missing`` leaves the record out and counts it."""
    maximum_out_of_range_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Readiness fails at a site where a larger fraction of the times lies outside the range."""

    @property
    def columns(self) -> tuple[Continuous | Binary, ...]:
        """What a site supplies: time, event and, where there is one, entry."""
        event = Binary(kind="binary", name=self.event, description="Whether the event happened", missing=self.missing)
        entry = () if self.entry is None else (self._time(self.entry, "Time of entry"),)
        return (self._time(self.name, self.description), event, *entry)

    def _time(self, name: str, description: str) -> Continuous:
        return Continuous(
            kind="continuous",
            name=name,
            description=description,
            unit=self.unit,
            minimum=0.0,
            maximum=self.maximum,
            missing=self.missing,
            out_of_range=self.out_of_range,
            maximum_out_of_range_fraction=self.maximum_out_of_range_fraction,
        )


Outcome = Annotated[
    Continuous | Integer | Binary | Categorical | Ordinal | Image | Signal | Mask | TimeToEvent,
    Field(discriminator="kind"),
]


class IndexDate(Document):
    """The date that places a record in time. Dates outside the window, or in the future, are implausible."""

    name: VariableName
    earliest: dt.date
    latest: dt.date | None = None
    """``None``: the day on which the site extracts."""


class DataContract(Document):
    """Every variable of a study, its outcome and its patient key."""

    name: Annotated[str, Field(min_length=1)]
    patient_key: VariableName
    """Name under which a site's mapping supplies the patient identifier. It never leaves the site."""
    variables: Annotated[tuple[Variable, ...], Field(min_length=1)]
    """The model's inputs, in the order of the encoded features."""
    outcome: Outcome
    index_date: IndexDate | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [self.patient_key, *(variable.name for variable in self.columns)]
        if self.index_date is not None:
            names.append(self.index_date.name)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            message = (
                f"expected distinct names for patient key, variables, outcome and index date, got {repeated} twice"
            )
            raise ValueError(message)
        if isinstance(self.outcome.missing, ImputeMissing):
            message = f"expected the outcome {self.outcome.name} not to be imputed, got rule 'impute'"
            raise ValueError(message)  # noqa: TRY004 - pydantic collects ValueError
        masks = [variable.name for variable in self.variables if isinstance(variable, Mask)]
        if masks or isinstance(self.outcome, Image | Signal):
            message = (
                f"expected images and signals as inputs and a mask as outcome only, got {masks or [self.outcome.name]}"
            )
            raise ValueError(message)
        return self

    @property
    def arrays(self) -> tuple[Image | Signal | Mask, ...]:
        """Variables, and the outcome, of which a record holds a whole array."""
        return tuple(variable for variable in self.columns if isinstance(variable, Image | Signal | Mask))

    @property
    def columns(self) -> tuple[Variable, ...]:
        """Variables and outcome, in that order; of an outcome in time, its columns."""
        outcome = self.outcome
        return (*self.variables, *(outcome.columns if isinstance(outcome, TimeToEvent) else (outcome,)))

    def variable(self, name: str) -> Variable:
        """The variable or outcome of that name.

        Raises:
            ManifestError: If the contract has none.
        """
        for variable in self.columns:
            if variable.name == name:
                return variable
        raise ManifestError(
            f"expected a variable of the contract, got {name!r}",
            remedy=f"use one of {[variable.name for variable in self.columns]}",
        )
