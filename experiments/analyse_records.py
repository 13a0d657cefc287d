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
        records_per_patient: Of a patient's records at most so many are used.
    """

    name: str
    contract: DataContract
    cohort: CohortDefinition
    records: tuple[Records, ...] = field(repr=False)
    records_per_patient: int = 1

    def terms(self, *, threshold: int) -> StatisticsTerms:
        """What its analyses fix in advance."""
        return StatisticsTerms(
            contract=self.contract,
            cohort=self.cohort,
            sites=tuple(records.site for records in self.records),
            threshold=threshold,
            records_per_patient=self.records_per_patient,
        )
