"""A study whose hospitals' records are read and can be analysed."""

from __future__ import annotations

from dataclasses import dataclass, field

from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.statistics.requests import StatisticsTerms
from site_client.patients import Records


@dataclass(frozen=True)
class AnalysedStudy:
    """A study whose records are read.

    Args:
        name: Short name.
        contract: Meaning of every column.
        cohort: Who is in it.
        records: Of each site.
    """

    name: str
    contract: DataContract
    cohort: CohortDefinition
    records: tuple[Records, ...] = field(repr=False)

    def terms(self, *, threshold: int) -> StatisticsTerms:
        """What its analyses fix in advance."""
        return StatisticsTerms(
            contract=self.contract,
            cohort=self.cohort,
            sites=tuple(records.site for records in self.records),
            threshold=threshold,
        )
