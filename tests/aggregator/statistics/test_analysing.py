"""The loop around analyses: who is left out, that a result is of one set of patients, and what earlier answers forbid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aggregator.statistics.earlier_counts import EarlierCounts
from federation.errors import CheckpointError, ImplausibleValueError, PrivacyRefusedError, QuorumError
from tests.statistics_bench import analyse, deal, draw, study_of

SIZE, SITES = 300, 4
VALUES, CODES = draw(SIZE), deal(SIZE, SITES)
STUDY = study_of(VALUES, CODES)
GLM = ("analysis=glm", "formula=outcome ~ age + male")


def of_patients(chosen: np.ndarray):
    return study_of({name: column[chosen] for name, column in VALUES.items()}, CODES[chosen])


def dies_at(call: int):
    return lambda kind, now: now >= call


@pytest.mark.parametrize("call", [1, 2, 3, 5])
def test_a_lost_site_is_in_no_part_of_the_result(call: int, tmp_path: Path) -> None:
    found = analyse(STUDY, tmp_path / "all", *GLM, loses={"hospital-001": dies_at(call)})
    alone = analyse(of_patients(CODES != 1), tmp_path / "others", *GLM)
    assert found.left_out == {"hospital-001": "TransportError"}
    assert (found.patients, found.sites) == (alone.patients, alone.sites)
    assert (found.tables, found.figures) == (alone.tables, alone.figures)


def test_two_sites_lost_one_after_the_other(tmp_path: Path) -> None:
    found = analyse(STUDY, tmp_path / "all", *GLM, loses={"hospital-001": dies_at(3), "hospital-002": dies_at(5)})
    alone = analyse(of_patients((CODES != 1) & (CODES != 2)), tmp_path / "others", *GLM)
    assert (found.tables, found.figures) == (alone.tables, alone.figures)


def test_no_site_is_no_analysis(tmp_path: Path) -> None:
    with pytest.raises(QuorumError):
        analyse(STUDY, tmp_path, *GLM, loses={record.site: dies_at(1) for record in STUDY.records})


def test_a_hospital_of_few_patients_cannot_be_told_by_losing_it(tmp_path: Path) -> None:
    """The sums with and without it would differ by those few."""
    codes = np.where(np.arange(SIZE) < 3, 9, CODES)
    with pytest.raises(PrivacyRefusedError, match="differs from every earlier analysis") as caught:
        analyse(study_of(VALUES, codes), tmp_path, *GLM, loses={"hospital-009": dies_at(3)})
    assert caught.value.facts["reason"] == "differencing"


def test_what_makes_records_unusable_stops_the_analysis_and_names_the_site(tmp_path: Path) -> None:
    values = VALUES | {"days": np.where(np.arange(SIZE) == 7, -3.0, VALUES["days"])}
    site = f"hospital-{CODES[7]:03d}"
    with pytest.raises(ImplausibleValueError, match=f"site {site} · variable days: expected times from 0, got 1"):
        analyse(study_of(values, CODES), tmp_path, "analysis=kaplan_meier", "time=days", "event=event", "grid=1")


def test_totals_that_differ_by_few_patients_are_refused_and_others_are_not(tmp_path: Path) -> None:
    guard = EarlierCounts(path=tmp_path / "totals.json", threshold=5)
    for total in (100, 100, 95, 105, 200):
        guard.admit(total)
    for total in (96, 99, 101, 104, 109, 196, 204):
        with pytest.raises(PrivacyRefusedError, match="0 or at least 5"):
            guard.admit(total)
    guard.admit(205)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"patients": ["x"]}', b"{" * 10])
def test_a_damaged_memory_is_not_taken_for_an_empty_one(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "totals.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="totals of earlier analyses"):
        EarlierCounts(path=path, threshold=5).admit(100)


def test_all_patients_and_all_but_one_are_not_both_analysed(tmp_path: Path) -> None:
    oldest = float(np.sort(VALUES["age"])[-1])
    analyse(STUDY, tmp_path, *GLM)
    with pytest.raises(PrivacyRefusedError, match="differs by fewer"):
        analyse(STUDY, tmp_path, *GLM, f"where=age < {oldest}")
    assert analyse(STUDY, tmp_path, *GLM, "where=age < 60").patients == int((VALUES["age"] < 60).sum())
    assert analyse(STUDY, tmp_path, *GLM).patients == SIZE


def test_complete_gives_analyses_of_different_variables_the_same_patients(tmp_path: Path) -> None:
    values = VALUES | {"lactate": np.where(np.arange(SIZE) == 11, np.nan, VALUES["lactate"])}
    study = study_of(values, CODES)
    analyse(study, tmp_path, *GLM, "complete=[lactate]")
    assert analyse(study, tmp_path, "analysis=glm", "formula=outcome ~ lactate + age").patients == SIZE - 1
    with pytest.raises(PrivacyRefusedError):
        analyse(study, tmp_path, *GLM)
