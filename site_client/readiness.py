"""Whether a site's records are ready for a study. The report stays at the site; only its verdict, pass or fail, may leave."""

from __future__ import annotations

from typing import Final, Literal

from federation.documents import Document
from federation.errors import (
    CohortTooSmallError,
    ImplausibleValueError,
    InternalError,
    MappingError,
    PatientKeyError,
    RecordsError,
    RecordsUnreadableError,
    UnknownCodeError,
)

_ERRORS: Final[dict[str, type[RecordsError]]] = {
    kind.__name__: kind
    for kind in (
        RecordsError,
        RecordsUnreadableError,
        MappingError,
        UnknownCodeError,
        ImplausibleValueError,
        PatientKeyError,
        CohortTooSmallError,
    )
}

NoticeKind = Literal["assumed_unit", "repeated_records", "conflicting_records", "one_class"]


class Problem(Document):
    """Why records are not ready, as data. Holds counts at most, no patient value."""

    error: str
    """Name of the error's class."""
    variable: str = ""
    message: str
    remedy: str = ""

    @classmethod
    def of(cls, error: RecordsError) -> Problem:
        """An error as data."""
        return cls(error=type(error).__name__, variable=error.variable, message=error.message, remedy=error.remedy)

    def as_error(self, *, site: str) -> RecordsError:
        """The error again, with its exit code."""
        if self.error not in _ERRORS:
            raise InternalError(f"expected the name of a records error, got {self.error!r}")
        error = _ERRORS[self.error](self.message, remedy=self.remedy)
        error.site, error.variable = site, self.variable
        error.facts |= {"site": site, "variable": self.variable}
        return error


class Notice(Document):
    """What a reader should know although nothing is wrong."""

    kind: NoticeKind
    text: str


class VariableReadiness(Document):
    """One variable at one site."""

    variable: str
    records: int
    missing: int
    missing_fraction: float
    """Of all records."""
    out_of_range: int
    out_of_range_fraction: float
    """Of the records that have a value."""
    unknown_codes: int
    unreadable_values: int
    passed: bool
    reason: str = ""
    """Why not."""


class Duplicates(Document):
    """Patients with several records."""

    repeated_patients: int
    exact_rows: int
    """Records that repeat another of the same patient in date and every variable."""
    conflicting_patients: int
    """Patients whose records differ."""


class AttritionStep(Document):
    """What one step of the cohort definition left."""

    step: str
    records: int
    patients: int


class ReadinessVerdict(Document):
    """All that may leave the site: pass or fail, overall and by variable."""

    site: str
    contract_digest: str
    variables: dict[str, bool]
    passed: bool


class ReadinessReport(Document):
    """Everything the site's data manager needs to know. Stays at the site."""

    site: str
    contract: str
    contract_digest: str
    records: int
    patients: int
    variables: tuple[VariableReadiness, ...]
    duplicates: Duplicates
    attrition: tuple[AttritionStep, ...]
    """Only the first step if there are problems: a cohort of unusable records would mislead."""
    training_patients: int
    test_patients: int
    notices: tuple[Notice, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the site can take part."""
        return not self.problems

    def verdict(self) -> ReadinessVerdict:
        """The part that may leave: no count, no text."""
        return ReadinessVerdict(
            site=self.site,
            contract_digest=self.contract_digest,
            variables={variable.variable: variable.passed for variable in self.variables},
            passed=self.passed,
        )

    def raise_if_failed(self) -> None:
        """Raise the first problem.

        Raises:
            RecordsError: Of the problem's own class, naming site, variable and remedy.
        """
        for problem in self.problems:
            raise problem.as_error(site=self.site)
