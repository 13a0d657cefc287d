"""A site's own limits: which studies may be approved here, whatever a lead proposes. Default deny.

What a policy does not name is forbidden, an unknown key is an error, and a missing file allows nothing. A study has to keep
both, its manifest and the policy of every site, so the stricter of the two always wins.
"""

from __future__ import annotations

import datetime as dt
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from conf.strict_yaml import read_strict
from federation.documents import Document
from federation.errors import ConfigurationError, InvalidInputError
from federation.identifiers import Provenance, SiteId, TaskKind
from federation.protocol.ledger_head import Hexadecimal

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXAMPLE_FILE: Final = "example_policy.yaml"

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Hours = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
"""``20:00-06:00``: from, included, to, excluded; across midnight if the end is earlier. ``00:00-24:00``: always."""
Count = Annotated[int, Field(ge=0, lt=2**53)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class SitePolicy(Document):
    """What a site allows. A list allows what it names; a limit that is left out lets nothing pass."""

    format: Literal["cohortium/site-policy/1"] = "cohortium/site-policy/1"
    allowed_leads: tuple[Hexadecimal, ...] = ()
    """Public keys of the people whose studies may be approved here."""
    allowed_provenance: tuple[Provenance, ...] = ()
    allowed_tasks: tuple[TaskKind, ...] = ()
    allowed_models: tuple[Literal["linear", "mlp", "cnn", "cnn1d", "gru"], ...] = ()
    allowed_aggregation: tuple[Literal["plain", "open_robust", "masked"], ...] = ()
    allowed_privacy: tuple[Literal["none", "patient_level", "site_level"], ...] = ()
    allowed_noise: tuple[Literal["local", "distributed"], ...] = ()
    """Where the noise of patient-level privacy is added: all of it here, or a share inside a secure sum."""
    allowed_releases: tuple[Literal["none", "sum", "per_site"], ...] = ()
    """What a study may release about performance."""
    allow_preparation: bool = False
    """Whether a study may count quantiles and levels, with noise, before its first round."""
    allow_exact_statistics: bool = False
    """Whether a study may take exact statistics by secure sums. They carry no noise."""
    allow_private_statistics: bool = False
    """Whether a study may take statistics with noise; what they cost a patient counts against the limits of privacy."""
    min_statistics_threshold: Count | None = None
    """Exact statistics: smallest number of patients that a count may show."""
    max_statistics_sums: Count | None = None
    """Exact statistics: sums over the whole study."""
    allow_test_seed: bool = False
    """Whether a study on synthetic or public records may be repeatable; on patients it never may."""
    max_records_per_patient: Count | None = None
    min_training_patients: Count | None = None
    """Of this site, as the roster declares them."""
    epsilon_cap_per_study: Annotated[float, Field(ge=0)] | None = None
    max_delta: Fraction | None = None
    min_noise_multiplier: Annotated[float, Field(ge=0)] | None = None
    max_sampling_probability: Fraction | None = None
    max_rounds: Count | None = None
    max_request_seconds: Count = 14_400
    """An answer that took longer does not leave. The one limit with a default, which older policies get: four hours."""
    min_sites: Count | None = None
    min_threshold_fraction: Fraction | None = None
    """Secure aggregation: shares that open a secret, as a fraction of the sites."""
    min_other_approvals: Count | None = None
    """Other sites that must have approved before this one computes anything."""
    known_sites: dict[SiteId, Hexadecimal] = {}
    """Sites whose keys were compared with the sites themselves."""
    min_known_sites: Count | None = None
    """How many other sites of a roster must be known: nobody else shows that they are not all the same party."""
    training_hours: Hours | None = None
    """In this machine's time zone."""
    training_days: tuple[Day, ...] = ()
    """A night across midnight belongs to the day on which it begins."""

    @model_validator(mode="after")
    def _check_hours(self) -> Self:
        if self.training_hours is not None:
            start, end = self.training_hours.split("-")
            if start == end:
                message = (
                    f"training_hours: expected an end that differs from the beginning, got {self.training_hours!r}"
                )
                raise ValueError(message)
        return self

    def may_train_at(self, moment: dt.datetime) -> bool:
        """Whether training may run now.

        Args:
            moment: In the time zone in which the policy is meant: the machine's.

        Raises:
            InvalidInputError: If it has no time zone.
        """
        if moment.tzinfo is None:
            raise InvalidInputError("expected a time with its time zone, got one without")
        if self.training_hours is None:
            return False
        start, end = map(_minutes, self.training_hours.split("-"))
        minute, today = moment.hour * 60 + moment.minute, moment.weekday()
        if start < end:
            return start <= minute < end and DAYS[today] in self.training_days
        began = today if minute >= start else (today - 1) % len(DAYS)
        return (minute >= start or minute < end) and DAYS[began] in self.training_days


def read_policy(path: Path) -> SitePolicy | None:
    """The policy in a file; ``None``, which allows nothing, if there is no file.

    Args:
        path: YAML.

    Raises:
        ConfigurationError: If it cannot be read or is not a policy: a mistake never counts as a permission.
    """
    if not path.exists() and not path.is_symlink():
        return None
    data = read_strict(path, what="a policy", error=ConfigurationError)
    if not isinstance(data, dict):
        raise ConfigurationError(
            f"expected a mapping of rules in {path}, got {type(data).__name__}",
            remedy="write one with `cohortium site policy init`; without rules nothing is allowed",
        )
    return SitePolicy.from_data(data, error=ConfigurationError)


def example_policy(leads: tuple[str, ...] = ()) -> str:
    """The text of a strict policy with comments.

    Args:
        leads: Public keys that ``allowed_leads`` names.
    """
    text = resources.files(__package__ or "site_client").joinpath(EXAMPLE_FILE).read_text(encoding="utf-8")
    return text.replace("allowed_leads: []", f"allowed_leads: [{', '.join(f'{key!r}' for key in leads)}]")


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
