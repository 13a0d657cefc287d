from __future__ import annotations

import pytest

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
from site_client.readiness import Duplicates, Problem, ReadinessReport, VariableReadiness


def variable(name: str, *, passed: bool) -> VariableReadiness:
    return VariableReadiness(
        variable=name, records=1234, missing=5, missing_fraction=0.1, out_of_range=6, out_of_range_fraction=0.1,
        unknown_codes=7, unreadable_values=8, passed=passed, reason="" if passed else "9876 of something",
    )  # fmt: skip


def report(*problems: Problem) -> ReadinessReport:
    return ReadinessReport(
        site="st_mary", contract="small", contract_digest="sha256:0", records=1234, patients=1000,
        variables=(variable("age", passed=True), variable("chol", passed=not problems)),
        duplicates=Duplicates(repeated_patients=1, exact_rows=2, conflicting_patients=3),
        attrition=(), training_patients=700, test_patients=300, problems=problems,
    )  # fmt: skip


KINDS = (
    RecordsError, RecordsUnreadableError, MappingError, UnknownCodeError, ImplausibleValueError, PatientKeyError,
    CohortTooSmallError,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_problem_becomes_its_error_again(kind):
    error = kind("expected this, got 3", site="st_mary", variable="chol", remedy="do that")
    again = Problem.of(error).as_error(site="st_mary")
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.site, again.variable, again.remedy) == ("st_mary", "chol", "do that")
    assert again.as_dict() == error.as_dict()


def test_every_records_error_has_a_name_here():
    assert set(RecordsError.__subclasses__()) | {RecordsError} == set(KINDS)


def test_a_name_that_is_none():
    with pytest.raises(InternalError):
        Problem(error="SystemExit", message="x").as_error(site="s")


def test_the_verdict_says_pass_or_fail_and_nothing_else():
    failed = report(Problem.of(PatientKeyError("9876 of something")))
    assert failed.verdict().as_data() == {
        "site": "st_mary",
        "contract_digest": "sha256:0",
        "variables": {"age": True, "chol": False},
        "passed": False,
    }
    assert report().verdict().passed


def test_a_failed_report_raises_its_first_problem():
    report().raise_if_failed()
    with pytest.raises(PatientKeyError):
        report(Problem.of(PatientKeyError("a")), Problem.of(UnknownCodeError("b"))).raise_if_failed()


def test_a_report_can_be_stored_and_read():
    stored = report(Problem.of(PatientKeyError("a", remedy="b")))
    assert ReadinessReport.from_json(stored.model_dump_json()) == stored
