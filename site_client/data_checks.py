"""The checks behind the readiness report: each variable, the patient keys, the cohort and its division."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from federation.data.arrays import Image, Mask, Signal
from federation.data.cohort import CohortDefinition
from federation.data.contract import Continuous, DataContract, ForbidMissing, Integer, TimeToEvent, Variable
from federation.errors import CohortTooSmallError, ImplausibleValueError, PatientKeyError, RecordsError
from site_client.division import dates_as_numbers, divide
from site_client.patients import Attrition, Cohort, Records
from site_client.readiness import (
    AttritionStep,
    Duplicates,
    Notice,
    Problem,
    ReadinessReport,
    VariableReadiness,
)
from site_client.selection import out_of_range, select
from site_client.sources.source import Survey


@dataclass(frozen=True)
class Assessment:
    """A readiness report, and the cohort if the records are good enough to have one."""

    report: ReadinessReport
    cohort: Cohort | None
    division: tuple[Records, Records] | None
    """Training and test records of the cohort."""


@dataclass(frozen=True)
class _CohortFindings:
    cohort: Cohort
    division: tuple[Records, Records]
    problems: tuple[RecordsError, ...]
    notices: tuple[Notice, ...]
    training_patients: int
    test_patients: int


def assess(survey: Survey, *, contract: DataContract, definition: CohortDefinition) -> Assessment:
    """Judge a site's records against contract and cohort definition.

    Variables are judged over every record read, whether or not it meets the criteria.

    Args:
        survey: What the source found.
        contract: Ranges, missing rules and their limits.
        definition: Criteria, record cap and smallest number of patients.

    Raises:
        ManifestError: A criterion does not fit its variable.
    """
    records = survey.records
    duplicates = count_duplicates(records)
    problems = [
        *survey.problems,
        *_empty(records),
        *_repeated(survey, duplicates, key=contract.patient_key, definition=definition),
    ]
    variables: list[VariableReadiness] = []
    for variable in contract.columns:
        readiness, found = _assess_variable(variable, survey)
        variables.append(readiness)
        problems += found
    # A cohort of unusable records would mislead.
    findings = None if problems else _assess_cohort(records, contract=contract, definition=definition)
    notices = [Notice(kind="assumed_unit", text=text) for text in survey.notices] + _repetition_notices(
        survey, duplicates, definition=definition
    )
    patients = len(np.unique(records.patient_keys))
    attrition = findings.cohort.attrition if findings else Attrition(steps=(("records read", len(records), patients),))
    report = ReadinessReport(
        site=records.site,
        contract=contract.name,
        contract_digest=contract.digest,
        records=len(records),
        patients=patients,
        variables=tuple(variables),
        duplicates=duplicates,
        attrition=tuple(AttritionStep(step=step, records=rows, patients=left) for step, rows, left in attrition.steps),
        training_patients=findings.training_patients if findings else 0,
        test_patients=findings.test_patients if findings else 0,
        notices=(*notices, *(findings.notices if findings else ())),
        problems=tuple(Problem.of(problem) for problem in (*problems, *(findings.problems if findings else ()))),
    )
    return Assessment(
        report=report,
        cohort=findings.cohort if findings else None,
        division=findings.division if findings else None,
    )


def _empty(records: Records) -> list[RecordsError]:
    if len(records):
        return []
    return [
        CohortTooSmallError(
            "expected records, got none", site=records.site, remedy="export the table again, or check `query`"
        )
    ]


def _assess_variable(variable: Variable, survey: Survey) -> tuple[VariableReadiness, list[RecordsError]]:
    column = survey.records.values[variable.name]
    unknown = survey.unknown_codes.get(variable.name, 0)
    unreadable = survey.unreadable_values.get(variable.name, 0)
    infinite = int(np.isinf(column).sum())
    implausible = survey.implausible_values.get(variable.name, 0)
    missing = max(0, int(np.isnan(column).sum()) - unknown - unreadable - implausible)
    present = len(column) - missing - unknown - unreadable
    outside = int(out_of_range(variable, column).sum()) + implausible
    missing_fraction = missing / len(column) if len(column) else 0.0
    outside_fraction = outside / present if present > 0 else 0.0
    problems = [
        *_not_finite(variable, infinite, site=survey.records.site),
        *_too_much_missing(variable, missing, missing_fraction, site=survey.records.site),
        *_too_much_outside(variable, outside, outside_fraction, site=survey.records.site),
    ]
    own = [problem for problem in (*survey.problems, *problems) if problem.variable == variable.name]
    # The table has a column for the variable and a title for the site.
    reasons = [problem.message.partition(f"variable {variable.name}: ")[2] or problem.message for problem in own]
    readiness = VariableReadiness(
        variable=variable.name,
        records=len(column),
        missing=missing,
        missing_fraction=missing_fraction,
        out_of_range=outside,
        out_of_range_fraction=outside_fraction,
        unknown_codes=unknown,
        unreadable_values=unreadable,
        passed=not reasons,
        reason="; ".join(reasons),
    )
    return readiness, problems


def _not_finite(variable: Variable, count: int, *, site: str) -> list[RecordsError]:
    if not count:
        return []
    return [
        ImplausibleValueError(
            f"expected finite numbers, got {count} times infinity",
            site=site,
            variable=variable.name,
            remedy="correct them at the source",
        )
    ]


def _too_much_missing(variable: Variable, count: int, fraction: float, *, site: str) -> list[RecordsError]:
    if count and isinstance(variable.missing, ForbidMissing):
        expected, got = "no missing value", f"{count}"
    elif fraction > variable.maximum_missing_fraction:
        expected, got = f"at most {variable.maximum_missing_fraction:.0%} missing", f"{fraction:.1%} ({count} records)"
    else:
        return []
    return [
        RecordsError(
            f"expected {expected}, got {got}",
            site=site,
            variable=variable.name,
            remedy="complete the column, check null values and codes in the mapping, or ask the study lead for another rule",
        )
    ]


def _too_much_outside(variable: Variable, count: int, fraction: float, *, site: str) -> list[RecordsError]:
    if not isinstance(variable, Continuous | Integer | Image | Signal) or not count:
        return []
    forbidden = isinstance(variable, Continuous | Integer) and variable.out_of_range == "forbid"
    limit = 0.0 if forbidden else variable.maximum_out_of_range_fraction
    if fraction <= limit:
        return []
    return [
        ImplausibleValueError(
            f"expected values from {variable.minimum:g} to {variable.maximum:g} {variable.unit} "
            f"(at most {limit:.0%} outside), got {count} outside ({fraction:.1%})",
            site=site,
            variable=variable.name,
            remedy="check the unit and missing codes in the mapping, then the values at the source",
        )
    ]


def count_duplicates(records: Records) -> Duplicates:
    """Patients with several records, and what becomes of them."""
    _, codes, counts = np.unique(records.patient_keys, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[codes] > 1)
    columns = [codes, dates_as_numbers(records), *records.values.values()]
    # Compared as bytes, so that missing equals missing; + 0.0 makes -0.0 and 0.0 the same.
    table = np.ascontiguousarray(np.stack([column[rows].astype(np.float64) + 0.0 for column in columns], axis=1))
    whole = table.view(np.dtype((np.void, table.dtype.itemsize * table.shape[1]))).ravel()
    _, first = np.unique(whole, return_index=True)
    kinds = np.bincount(codes[rows][first], minlength=1) if len(rows) else np.zeros(1, dtype=np.int64)
    return Duplicates(
        repeated_patients=int((counts > 1).sum()),
        exact_rows=len(rows) - len(first),
        conflicting_patients=int((kinds > 1).sum()),
    )


def _repeated(survey: Survey, duplicates: Duplicates, *, key: str, definition: CohortDefinition) -> list[RecordsError]:
    if survey.repeated_patients or definition.max_records_per_patient > 1 or not duplicates.repeated_patients:
        return []
    return [
        PatientKeyError(
            f"expected one record per patient, got several of {duplicates.repeated_patients} patients "
            f"({duplicates.exact_rows} exact duplicates, {duplicates.conflicting_patients} patients with differing records)",
            site=survey.records.site,
            variable=key,
            remedy="remove the duplicates; if several records are meant, set patient_key.repeated: true in the mapping",
        )
    ]


def _repetition_notices(survey: Survey, duplicates: Duplicates, *, definition: CohortDefinition) -> list[Notice]:
    notices: list[Notice] = []
    if duplicates.exact_rows:
        text = f"{duplicates.exact_rows} records repeat another of the same patient in date and every variable"
        notices.append(Notice(kind="repeated_records", text=text))
    # Where repetition is not meant, it is already a problem.
    if duplicates.conflicting_patients and survey.repeated_patients and definition.max_records_per_patient == 1:
        text = f"{duplicates.conflicting_patients} patients have records that differ; one is kept, chosen by keyed hash"
        notices.append(Notice(kind="conflicting_records", text=text))
    return notices


def _assess_cohort(records: Records, *, contract: DataContract, definition: CohortDefinition) -> _CohortFindings:
    cohort = select(records, contract=contract, definition=definition)
    training, test = divide(cohort.records, definition=definition)
    sizes = [len(np.unique(part.patient_keys)) for part in (training, test)]
    problems: list[RecordsError] = []
    eligible, site = sum(sizes), records.site
    if eligible < definition.minimum_patients:
        problems.append(
            CohortTooSmallError(
                f"expected at least {definition.minimum_patients} eligible patients, got {eligible}",
                site=site,
                remedy="look at the attrition table for the step that left so few; else the site cannot take part",
            )
        )
    elif 0 in sizes:
        problems.append(
            CohortTooSmallError(
                f"expected patients to train on and to test on, got {sizes[0]} and {sizes[1]}",
                site=site,
                remedy="the site has too few eligible patients for the cohort's test_fraction",
            )
        )
    return _CohortFindings(
        cohort=cohort,
        division=(training, test),
        problems=tuple(problems),
        notices=_one_class(cohort.records, training, contract),
        training_patients=sizes[0],
        test_patients=sizes[1],
    )


def _one_class(eligible: Records, training: Records, contract: DataContract) -> tuple[Notice, ...]:
    outcome = contract.outcome
    if isinstance(outcome, Mask):
        return ()
    name = outcome.event if isinstance(outcome, TimeToEvent) else outcome.name
    for records, whom in ((eligible, "all eligible records"), (training, "all training records")):
        if len(records) and len(np.unique(records.values[name])) == 1:
            text = f"{name}: {whom} have the same outcome; the site cannot measure discrimination or learn it alone"
            return (Notice(kind="one_class", text=text),)
    return ()
