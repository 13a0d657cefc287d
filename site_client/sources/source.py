"""What every source of records can do, and what it found on the way.

A source turns the site's own tables into :class:`~site_client.patients.Records` in the contract's terms. One that can
look at all variables before it complains also offers :meth:`SurveyedSource.survey`, from which the readiness report is made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from federation.data.contract import DataContract
from federation.errors import RecordsError
from site_client.patients import Records


class RecordSource(Protocol):
    """Reads a site's records in the terms of a contract."""

    def read(self, contract: DataContract, *, today: dt.date) -> Records:
        """Every record of the site.

        Args:
            contract: Variables, units, levels and window.
            today: The day of extraction: later dates are in the future.

        Raises:
            RecordsError: Unreadable, unmapped, unknown or implausible; never with a patient value in the message.
        """
        ...


@dataclass(frozen=True)
class Survey:
    """Everything a source found, the bad included.

    Args:
        records: Records whose unusable values are missing.
        problems: What makes the records unusable, in the order in which a reader should mend it.
        unknown_codes: Variable name to number of values with a code that is not mapped.
        unreadable_values: Variable name to number of values that are not finite numbers.
        implausible_values: Variable name to number of arrays with too many values outside their range; they are missing
            in ``records``.
        notices: What a reader should know though nothing is wrong.
        repeated_patients: Whether several rows of a patient are meant.
    """

    records: Records
    problems: tuple[RecordsError, ...] = ()
    unknown_codes: Mapping[str, int] = field(default_factory=dict[str, int])
    unreadable_values: Mapping[str, int] = field(default_factory=dict[str, int])
    implausible_values: Mapping[str, int] = field(default_factory=dict[str, int])
    notices: tuple[str, ...] = ()
    repeated_patients: bool = True


@runtime_checkable
class SurveyedSource(Protocol):
    """A source that reports every problem, not only the first."""

    def read(self, contract: DataContract, *, today: dt.date) -> Records:
        """See :meth:`RecordSource.read`."""
        ...

    def survey(self, contract: DataContract, *, today: dt.date) -> Survey:
        """Records and problems.

        Raises:
            RecordsError: Only where nothing can be read at all.
        """
        ...


def survey(source: RecordSource, contract: DataContract, *, today: dt.date) -> Survey:
    """What a source holds, whether or not it reports problems one by one.

    Raises:
        RecordsError: As the source does.
    """
    if isinstance(source, SurveyedSource):
        return source.survey(contract, today=today)
    return Survey(records=source.read(contract, today=today))
