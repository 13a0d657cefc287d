"""From words typed for ``cohortium study add-analysis`` to a report on predictions as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from experiments.analyse_settings import read_criteria
from experiments.operations.curves_of_stay import knots_up_to
from experiments.operations.settings import read_settings
from federation.data.cohort import Criterion
from federation.data.contract import DataContract
from federation.documents import Document
from federation.errors import ConfigurationError
from federation.identifiers import SiteId, VariableName
from federation.statistics.agreed_operations import (
    AgreedBeds,
    AgreedCalibration,
    AgreedFollowUp,
    AgreedStays,
)
from federation.statistics.agreed_reports import AgreedReport, expect_days
from federation.statistics.disclosure import DEFAULT_THRESHOLD
from federation.statistics.requests import Selection

REPORTS: Final = ("calibration", "follow_up", "stays", "beds")
_WHERE: Final = "where="


class AgreedSettings(Document):
    """What every report of a launched study can be told."""

    predictions: Annotated[tuple[VariableName, ...], Field(min_length=1, max_length=8)]
    """Columns of the contract."""
    group: VariableName | None = None
    """A line for each level of a variable."""
    groups: dict[str, tuple[SiteId, ...]] = {}
    """A line for each group of sites, each of at least three."""
    complete: tuple[VariableName, ...] = ()
    """Variables that must be known beside those of the report."""
    threshold: Annotated[int, Field(ge=1)] = DEFAULT_THRESHOLD


class RiskSettings(AgreedSettings):
    """Of ``calibration``."""

    outcome: VariableName | None = None
    """``None``: the contract's outcome."""


class FollowUpSettings(RiskSettings):
    """Of ``follow_up``, which has one prediction."""

    predictions: Annotated[tuple[VariableName, ...], Field(min_length=1, max_length=1)]
    capacity: Annotated[float, Field(gt=0, le=1)] = 0.1


class StaySettings(AgreedSettings):
    """Of ``stays``."""

    stay: VariableName | None = None
    """``None``: the contract's outcome."""
    interval: tuple[VariableName, VariableName] | None = None


class BedSettings(AgreedSettings):
    """Of ``beds``."""

    admitted: VariableName
    stay: VariableName | None = None
    days: Annotated[int, Field(ge=2, le=1000)] = 60
    """Day before which the last forecast ends."""
    first: Annotated[int, Field(ge=0)] = 21
    """Day of the first forecast."""
    horizon: Annotated[int, Field(ge=1, le=60)] = 7
    arrivals: Literal["known", "expected"] = "known"
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.9


def agree_report(kind: str, words: Sequence[str], contract: DataContract, *, name: str) -> tuple[AgreedReport, int]:
    """Read a report.

    Args:
        kind: One of :data:`REPORTS`.
        words: ``KEY=VALUE`` each, without the kind.
        contract: Of the study.
        name: Of the report in the study.

    Returns:
        The report, and the smallest number of patients that it asks to be shown.

    Raises:
        ConfigurationError: If a word cannot be read or does not fit the contract.
        ManifestError: If a variable is not in the contract.
    """
    where = tuple(
        Criterion.from_data(each, error=ConfigurationError)
        for word in words
        if word.startswith(_WHERE)
        for each in read_criteria(word.removeprefix(_WHERE))
    )
    rest = [word for word in words if not word.startswith(_WHERE)]
    found, settings = _READERS[kind](rest, contract, name)
    complete = tuple(sorted(found.variables() | set(settings.complete)))
    agreed = found.model_copy(update={"selection": Selection(where=where, complete=complete)})
    agreed.check_against(contract)
    return agreed, settings.threshold


def _calibration(words: Sequence[str], contract: DataContract, name: str) -> tuple[AgreedReport, AgreedSettings]:
    read = read_settings(RiskSettings, words)
    found = AgreedCalibration(
        name=name,
        outcome=read.outcome or contract.outcome.name,
        predictions=read.predictions,
        group=read.group,
        site_groups=read.groups,
    )
    return found, read


def _follow_up(words: Sequence[str], contract: DataContract, name: str) -> tuple[AgreedReport, AgreedSettings]:
    read = read_settings(FollowUpSettings, words)
    found = AgreedFollowUp(
        name=name,
        outcome=read.outcome or contract.outcome.name,
        prediction=read.predictions[0],
        capacity=read.capacity,
        group=read.group,
        site_groups=read.groups,
    )
    return found, read


def _stays(words: Sequence[str], contract: DataContract, name: str) -> tuple[AgreedReport, AgreedSettings]:
    read = read_settings(StaySettings, words)
    found = AgreedStays(
        name=name,
        stay=read.stay or contract.outcome.name,
        predictions=read.predictions,
        interval=read.interval,
        group=read.group,
        site_groups=read.groups,
    )
    return found, read


def _beds(words: Sequence[str], contract: DataContract, name: str) -> tuple[AgreedReport, AgreedSettings]:
    read = read_settings(BedSettings, words)
    stay = expect_days(contract.variable(read.stay or contract.outcome.name))
    origins = tuple(range(read.first, read.days - read.horizon + 1))
    if not origins:
        raise ConfigurationError(
            f"expected days for forecasts of {read.horizon} days from day {read.first} on, got {read.days} days",
            remedy="more days, or a smaller first or horizon",
        )
    found = AgreedBeds(
        name=name,
        admitted=read.admitted,
        stay=stay.name,
        predictions=read.predictions,
        origins=origins,
        horizon=read.horizon,
        knots=knots_up_to(stay.maximum),
        arrivals=read.arrivals,
        level=read.level,
        group=read.group,
        site_groups=read.groups,
    )
    return found, read


_READERS: Final = {"calibration": _calibration, "follow_up": _follow_up, "stays": _stays, "beds": _beds}
