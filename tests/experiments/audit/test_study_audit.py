from __future__ import annotations

import pytest

from experiments.audit.study_audit import audit_study
from experiments.audit_choice import ALL_KINDS, AuditChoice
from federation.errors import ConfigurationError, PrivacyRefusedError, TestModeRefusedError
from federation.privacy.audit_result import StudyAudit
from federation.privacy.randomness import seeded_streams
from tests.experiments.audit.audited_study import audited_manifest, subject
from tests.small_study import manifest

SMALL = {"samples": 2000, "canaries": 200, "shadow_models": 2}


def test_all_audits_of_one_study() -> None:
    said: list[str] = []
    found = audit_study(subject(report=said.append), AuditChoice(kind="all", **SMALL))
    assert tuple(result.kind for result in found.results) == ALL_KINDS
    assert {result.manifest_digest for result in found.results} == {audited_manifest().digest}
    assert found.passed
    assert said[0] == "audit of the mechanism"
    assert StudyAudit.from_json(found.model_dump_json()) == found


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_one_audit_alone_finds_what_it_finds_among_all(kind) -> None:
    alone = audit_study(subject(), AuditChoice(kind=kind, **SMALL))
    together = audit_study(subject(), AuditChoice(kind="all", **SMALL))
    assert alone.results == tuple(result for result in together.results if result.kind == kind)


def test_no_audit_is_not_an_audit() -> None:
    assert AuditChoice().kinds == ()
    with pytest.raises(ConfigurationError, match="none"):
        audit_study(subject(), AuditChoice())


def test_paid_evaluation_is_attacked_beside_training() -> None:
    data = audited_manifest().as_data()
    data["privacy"]["epsilon"] = 30.0
    data["evaluation"] = {"release": "sum", "noise": {"variance": 40, "max_records_per_patient": 2, "subgroups": []}}
    study = type(audited_manifest()).from_data(data)
    found = audit_study(subject(study), AuditChoice(kind="mechanism", **SMALL)).results
    assert [result.kind for result in found] == ["mechanism", "mechanism"]
    assert "counts of one evaluation" in found[1].attacked
    assert found[1].passed


def test_what_is_attacked_is_what_the_manifest_promised() -> None:
    claims = [
        audit_study(subject(audited_manifest(epsilon=epsilon)), AuditChoice(kind="mechanism", **SMALL)).results[0]
        for epsilon in (2.0, 8.0)
    ]
    assert claims[0].claimed_epsilon < claims[1].claimed_epsilon
    assert claims[0].lower_bound_epsilon < claims[1].lower_bound_epsilon


def test_real_patients_are_not_audited() -> None:
    real = audited_manifest().as_data()
    real["cohort"]["provenance"] = "patients"
    real["evaluation"]["release"] = "none"
    with pytest.raises(PrivacyRefusedError, match="synthetic or public"):
        subject(type(audited_manifest()).from_data(real))
    with pytest.raises(TestModeRefusedError):
        seeded_streams(0, provenance="patients")


def test_without_a_promise_there_is_nothing_to_audit() -> None:
    with pytest.raises(ConfigurationError, match="private study"):
        subject(manifest())
