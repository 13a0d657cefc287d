"""The settings of ``cohortium operations``: KEY=VALUE in the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field

from federation.documents import Document
from federation.errors import ConfigurationError
from federation.statistics.disclosure import DEFAULT_THRESHOLD

By = Literal["site", "group", "none"]


class ReportSettings(Document):
    """What every report can be told."""

    by: By = "site"
    """A line for each site, for each group of sites (such as a region), or one for everybody."""
    aggregation: Literal["as_study", "open", "masked"] = "as_study"
    """Sums in the open, or secure ones."""
    threshold: Annotated[int, Field(ge=1)] = DEFAULT_THRESHOLD
    """Smallest count of patients that is shown."""
    records: Literal["one", "all"] = "all"
    """Of a patient with several records one counts, or all that the study uses; counts shown are then of as many more."""


class CalibrationSettings(ReportSettings):
    """Of ``calibration``."""


class FollowUpSettings(ReportSettings):
    """Of ``follow-up``."""

    capacity: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the patients who can be followed up."""


class StaySettings(ReportSettings):
    """Of ``stays``."""

    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """Of the interval of each patient's stay."""


class BedSettings(ReportSettings):
    """Of ``beds``."""

    by: By = "none"
    records: Literal["one", "all"] = "one"
    days: Annotated[int, Field(ge=2, le=1000)] = 60
    """Over which the test patients arrive."""
    first: Annotated[int, Field(ge=0)] = 21
    """Day of the first forecast, when beds have filled."""
    horizon: Annotated[int, Field(ge=1, le=60)] = 7
    """Days ahead."""
    arrivals: Literal["known", "expected"] = "known"
    """Who arrives is known, or only how many usually do."""
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Of the intervals."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the days of admission."""
    repeats: Annotated[int, Field(ge=1, le=1000)] = 20
    """Times that these are drawn; days are shown of the first, accuracy is the mean over all."""

    def origins(self) -> tuple[int, ...]:
        """Days on which forecasts are made.

        Raises:
            ConfigurationError: If there is none.
        """
        found = tuple(range(self.first, self.days - self.horizon + 1))
        if not found:
            raise ConfigurationError(
                f"expected days for forecasts of {self.horizon} days from day {self.first} on, got {self.days} days",
                remedy="more days, or a smaller first or horizon",
            )
        return found


SettingsT = TypeVar("SettingsT", bound=Document)


def read_settings(kind: type[SettingsT], overrides: Sequence[str]) -> SettingsT:
    """Settings from KEY=VALUE.

    Raises:
        ConfigurationError: For a word without ``=``, a repeated or unknown key, or an impossible value; names the nearest key.
    """
    found: dict[str, Any] = {}
    for line in overrides:
        key, separator, value = line.partition("=")
        if not separator or key in found:
            raise ConfigurationError(f"expected KEY=VALUE, each key once, got {line!r}", remedy="such as by=none")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as failure:
            raise ConfigurationError(f"expected a value for {key!r} that YAML reads, got another") from failure
    return kind.from_data(found, error=ConfigurationError)
