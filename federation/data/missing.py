"""What a contract says about missing values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document


class ForbidMissing(Document):
    """A missing value is an error: the site's readiness check fails."""

    rule: Literal["forbid"] = "forbid"


class ExcludeMissing(Document):
    """A record with a missing value is left out, and counted in the attrition table."""

    rule: Literal["exclude"] = "exclude"


class ImputeMissing(Document):
    """A missing value is replaced by a public constant."""

    rule: Literal["impute"] = "impute"
    value: float | str
    """In the contract's unit for numbers, a level for coded variables, ``0`` or ``1`` for binary ones."""
    indicator: bool = False
    """Add a feature that is 1 where the value was missing."""


MissingRule = Annotated[ForbidMissing | ExcludeMissing | ImputeMissing, Field(discriminator="rule")]
MissingArrayRule = Annotated[ForbidMissing | ExcludeMissing, Field(discriminator="rule")]
"""No constant could stand for a whole image or signal."""
