from __future__ import annotations

import pytest

from aggregator.release_check import release_check
from federation.errors import AuditFailedError
from tests.federation.privacy.example_audit import STUDY, example_audit


def test_nothing_stands_against_bounds_within_the_claim() -> None:
    release_check([], manifest_digest=STUDY)
    release_check([example_audit(), example_audit(kind="one_run", bound=8.0, claimed=8.0)], manifest_digest=STUDY)


@pytest.mark.parametrize("excess", [1e-9, 1.0])
def test_any_bound_above_its_claim_stops_the_release(excess: float) -> None:
    audits = [example_audit(), example_audit(kind="one_run", bound=8.0 + excess, claimed=8.0)]
    with pytest.raises(AuditFailedError, match="one_run: at least") as refusal:
        release_check(audits, manifest_digest=STUDY)
    assert refusal.value.exit_code == 47
    assert "mechanism" not in refusal.value.message
    assert "release nothing" in refusal.value.remedy


def test_the_figures_decide_whatever_the_verdict_says() -> None:
    lying = example_audit(bound=9.0, claimed=8.0).model_copy(update={"passed": True})
    with pytest.raises(AuditFailedError):
        release_check([lying], manifest_digest=STUDY)


def test_a_bound_that_is_no_number_stops_the_release() -> None:
    with pytest.raises(AuditFailedError):
        release_check([example_audit().model_copy(update={"lower_bound_epsilon": float("nan")})], manifest_digest=STUDY)


def test_audits_of_another_study_say_nothing() -> None:
    with pytest.raises(AuditFailedError, match="sha256:other"):
        release_check([example_audit(), example_audit(digest="sha256:other")], manifest_digest=STUDY)
