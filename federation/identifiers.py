"""Names of sites and studies, and the few words that every part shares, as types that cannot be confused.

Names are short lower-case words that are safe in file names, URLs, MLflow tags and logs.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        message = (
            "expected a name of 1 to 63 lower-case letters, digits, '-' or '_', starting with a letter or digit; "
            f"got {value!r}"
        )
        raise ValueError(message)
    return value


SiteId = Annotated[str, AfterValidator(_check_name)]
"""One hospital and its installation."""

StudyId = Annotated[str, AfterValidator(_check_name)]
"""A study's short name."""

VariableName = Annotated[str, AfterValidator(_check_name)]
"""A variable of the data contract."""

RoundNumber = Annotated[int, Field(ge=1)]
"""One exchange from invitation to new global parameters; starts at 1."""

TaskKind = Literal["binary", "multiclass", "regression", "count", "quantile", "survival", "segmentation"]
"""What kind of outcome is predicted."""

PaidTask = Literal["binary", "multiclass", "regression", "segmentation"]
"""Tasks whose evaluation a private study can pay for: there are tables of counts for them."""

Provenance = Literal["synthetic", "public", "patients"]
"""Where a cohort comes from. ``patients``: real and not public; seeds and raw metrics are refused on such a cohort."""
