from __future__ import annotations

import json

import pytest

from federation.errors import ManifestError
from federation.privacy.audit_result import AuditResult, StudyAudit
from tests.federation.privacy.example_audit import STUDY, example_audit

KINDS = ["mechanism", "one_run", "membership"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_survives_its_file(kind: str) -> None:
    found = example_audit(kind)
    assert AuditResult.from_json(found.model_dump_json()) == found
    assert AuditResult.from_json(found.model_dump_json()).digest == found.digest


@pytest.mark.parametrize(("bound", "passed"), [(1.0, False), (2.0, False), (3.0, True)])
def test_a_verdict_that_was_turned_around_is_not_read(bound: float, *, passed: bool) -> None:
    data = example_audit(bound=bound, claimed=2.0).as_data() | {"passed": passed}
    with pytest.raises(ManifestError, match="passed: expected"):
        AuditResult.from_data(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lower_bound_epsilon", -0.1),
        ("delta", 0),
        ("confidence", 1.0),
        ("samples", 0),
        ("kind", "other"),
        ("attacked", ""),
    ],
)
def test_impossible_figures_are_not_read(field: str, value: object) -> None:
    with pytest.raises(ManifestError, match=field):
        AuditResult.from_data(example_audit().as_data() | {field: value})


def test_infinite_and_missing_figures_are_not_read() -> None:
    text = example_audit().model_dump_json()
    with pytest.raises(ManifestError):
        AuditResult.from_json(text.replace("1.92", "Infinity"))
    data = json.loads(text)
    del data["claimed_epsilon"]
    with pytest.raises(ManifestError, match="claimed_epsilon"):
        AuditResult.from_data(data)


def test_a_study_passes_if_all_its_audits_do() -> None:
    good, bad = example_audit(), example_audit("one_run", bound=9.0, claimed=8.0)
    assert StudyAudit(manifest_digest=STUDY, results=(good,)).passed
    assert not StudyAudit(manifest_digest=STUDY, results=(good, bad)).passed
    with pytest.raises(ManifestError):
        StudyAudit.from_data({"manifest_digest": STUDY, "results": []})


def test_rates_are_shares_of_what_was_counted() -> None:
    rate = example_audit("membership").rates[0]
    assert rate.false_rate == 1 / 120
    assert rate.true_rate == 9 / 480
