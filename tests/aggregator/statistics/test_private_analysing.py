"""Analyses with privacy over secure sums: what the result says, who is left out, and what is not compared with anything exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from federation.errors import InvalidInputError, PrivacyRefusedError, QuorumError
from federation.statistics.promise import StatisticsPrivacy
from tests.federation.statistics.private.test_private_steps import ANALYSES
from tests.statistics_bench import analyse, deal, draw, study_of

SIZE, SITES = 300, 4
VALUES, CODES = draw(SIZE), deal(SIZE, SITES)
STUDY = study_of(VALUES, CODES)
TABLE = ("analysis=crosstab", "rows=ward", "columns=died")
GLM = ("analysis=glm", "formula=died ~ age + male", "privacy.epsilon=4", "privacy.iterations=4")


@pytest.mark.parametrize("name", list(ANALYSES))
def test_every_kind_comes_through_secure_sums(name: str, tmp_path: Path) -> None:
    words = (*ANALYSES[name], "aggregation=masked", "privacy.epsilon=50", "privacy.iterations=3")
    found = analyse(STUDY, tmp_path, *words)
    assert found.privacy is not None
    assert (found.privacy.epsilon, found.privacy.delta) == (50, 1e-5)
    assert found.privacy.releases == found.steps
    assert len(found.sites) == SITES
    assert abs(found.patients - SIZE) < 60
    assert found.tables


def test_the_result_says_which_noise_kept_the_promise(tmp_path: Path) -> None:
    found = analyse(STUDY, tmp_path, *GLM, "aggregation=masked").privacy
    promise = StatisticsPrivacy.calibrated(epsilon=4, delta=1e-5, releases=4, shares=2)
    assert found.noise_multiplier == pytest.approx(promise.noise_multiplier, rel=1e-3)
    assert (found.releases, found.clipping) == (4, 1.0)
    assert "4 noisy sums" in str(found)


def test_an_exact_result_says_nothing_of_privacy(tmp_path: Path) -> None:
    found = analyse(STUDY, tmp_path, *TABLE)
    assert found.privacy is None
    assert "privacy" not in found.as_data()


def test_two_runs_have_noise_of_their_own(tmp_path: Path) -> None:
    first, second = (analyse(STUDY, tmp_path, *TABLE, "privacy.epsilon=0.5").tables for _ in range(2))
    assert first != second


def test_no_exact_comparison_decides(tmp_path: Path) -> None:
    """A selection that differs by one patient, or has two of them, is refused without noise. With noise no answer depends on that."""
    oldest = float(np.max(VALUES["age"]))
    analyse(STUDY, tmp_path, *TABLE)
    with pytest.raises(PrivacyRefusedError, match="differs"):
        analyse(STUDY, tmp_path, *TABLE, f"where=age < {oldest}")
    remembered = sorted((tmp_path / "memory").rglob("*.patients"))
    analyse(STUDY, tmp_path, *TABLE, f"where=age < {oldest}", "privacy.epsilon=1")
    few = analyse(STUDY, tmp_path, *TABLE, f"where=age >= {oldest}", "privacy.epsilon=1")
    assert few.tables
    assert sorted((tmp_path / "memory").rglob("*.patients")) == remembered


def test_records_that_are_errors_without_noise_are_left_out_in_silence(tmp_path: Path) -> None:
    values = {name: column.copy() for name, column in VALUES.items()}
    values["ward"][3], values["age"][5] = 9.0, np.inf
    study = study_of(values, CODES)
    found = analyse(study, tmp_path, *TABLE, "privacy.epsilon=1000000")
    assert found.patients == SIZE - 1
    words = ("analysis=kaplan_meier", "time=days", "event=event", "grid=25")
    values["days"][:4] = -1.0
    found = analyse(study_of(values, CODES), tmp_path, *words, "privacy.epsilon=1000000")
    assert found.patients == SIZE - 4


def test_a_lost_site_stays_out_and_no_release_is_taken_again(tmp_path: Path) -> None:
    found = analyse(STUDY, tmp_path, *GLM, loses={"hospital-001": lambda _, call: call >= 3})
    assert found.steps == 4
    assert found.left_out == {"hospital-001": "TransportError"}
    assert len(found.sites) == SITES - 1


def test_too_few_sites_open_nothing(tmp_path: Path) -> None:
    lost = dict.fromkeys(("hospital-001", "hospital-002"), lambda kind, _: kind == "masked")
    with pytest.raises(QuorumError):
        analyse(STUDY, tmp_path, *GLM, "aggregation=masked", loses=lost)


def test_several_records_of_a_patient_have_no_version_with_privacy(tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(PrivacyRefusedError, match="one record"):
        analyse(replace(STUDY, records_per_patient=3), tmp_path, *TABLE, "privacy.epsilon=1")


def test_noise_that_would_leave_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing would be left"):
        analyse(STUDY, tmp_path, *GLM[:2], "privacy.epsilon=0.02")
