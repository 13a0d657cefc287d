"""Secure sums give the numbers of open sums, bit for bit, show no site's part, and survive sites that vanish at any step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from federation.errors import PrivacyRefusedError, QuorumError
from federation.statistics import wide_sums
from tests.statistics_bench import Lossy, analyse, close, deal, draw, study_of

SIZE, SITES = 420, 4
VALUES, CODES = draw(SIZE), deal(SIZE, SITES)
GLM = ("analysis=glm", "formula=outcome ~ age + male + ward")
LINEAR = ("analysis=glm", "formula=lactate ~ age + male")
TABLE = ("analysis=crosstab", "rows=ward", "columns=died")
MASKED = "aggregation=masked"


def without(site: int):
    chosen = site != CODES
    return study_of({name: column[chosen] for name, column in VALUES.items()}, CODES[chosen])


@pytest.mark.parametrize(
    "asked",
    [
        GLM,
        TABLE,
        ("analysis=log_rank", "group=ward", "time=days", "event=event", "grid=1"),
    ],
)
def test_masks_change_no_number(asked: tuple[str, ...], tmp_path: Path) -> None:
    study = study_of(VALUES, CODES)
    assert analyse(study, tmp_path, *asked, MASKED) == analyse(study, tmp_path, *asked, "aggregation=open")


def test_what_leaves_a_site_is_not_its_part_of_the_sum(tmp_path: Path) -> None:
    sent: list[bytes] = []

    class Listening(Lossy):
        def masked_answer(self, request, batch):
            message = super().masked_answer(request, batch)
            sent.append(wide_sums.encode(request.step.answer(self.site._columns(request.selection))).tobytes())
            assert sent[-1] not in message
            return message

    from tests import statistics_bench

    original = statistics_bench.Lossy
    statistics_bench.Lossy = Listening
    try:
        analyse(study_of(VALUES, CODES), tmp_path, *LINEAR, MASKED, loses={"hospital-001": lambda kind, call: False})
    finally:
        statistics_bench.Lossy = original
    assert len(sent) > 3


KINDS = ("key_agreement_request/1", "shares_request/1", "masked", "consistency_request/1", "unmask_request/1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_that_vanishes_leaves_the_pooled_analysis_of_the_others(kind: str, tmp_path: Path) -> None:
    """From some step on the site answers nothing; the result is that of the others together, to the last bit."""
    seen: list[str] = []

    def is_lost(now: str, call: int) -> bool:
        seen.append(now)
        return kind in seen

    found = analyse(study_of(VALUES, CODES), tmp_path / "all", *TABLE, MASKED, loses={"hospital-003": is_lost})
    alone = analyse(without(3), tmp_path / "others", *TABLE, MASKED)
    assert set(found.left_out) == {"hospital-003"}
    # Lost in the middle of the first sum or before, it is in none; after its numbers are in, it is missed by the second.
    assert found.steps == alone.steps + (2 if kind in {"consistency_request/1", "unmask_request/1"} else 0)
    assert found.sites == alone.sites
    assert (found.patients, found.tables, found.figures) == (alone.patients, alone.tables, alone.figures)


@pytest.mark.parametrize("calls", [1, 3])
def test_a_site_that_is_lost_between_sums(calls: int, tmp_path: Path) -> None:
    taken: list[int] = []

    def is_lost(kind: str, call: int) -> bool:
        if kind == "masked":
            taken.append(call)
        return len(taken) > calls

    found = analyse(study_of(VALUES, CODES), tmp_path / "all", *LINEAR, MASKED, loses={"hospital-002": is_lost})
    alone = analyse(without(2), tmp_path / "others", *LINEAR, MASKED)
    assert found.left_out.keys() == {"hospital-002"}
    assert (found.patients, found.tables, found.figures) == (alone.patients, alone.tables, alone.figures)
    assert found.steps > alone.steps


def test_below_the_threshold_nothing_is_opened(tmp_path: Path) -> None:
    dead = dict.fromkeys(["hospital-000", "hospital-001"], lambda kind, call: kind == "masked")
    with pytest.raises(QuorumError, match="secure sum of at least 3 sites, got none") as caught:
        analyse(study_of(VALUES, CODES), tmp_path, *TABLE, MASKED, loses=dead)
    assert set(caught.value.facts["lost"]) == set(dead)


def test_real_patients_are_never_summed_in_the_open(tmp_path: Path) -> None:
    study = study_of(VALUES, CODES, provenance="patients")
    with pytest.raises(PrivacyRefusedError, match="secure sums for records of patients"):
        analyse(study, tmp_path, *TABLE, "aggregation=open")
    assert analyse(study, tmp_path, *TABLE, MASKED).patients == SIZE


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_sites_with_masks(tmp_path: Path) -> None:
    values, codes = draw(2000), deal(2000, 200)
    assert len(np.unique(codes)) == 200
    study = study_of(values, codes)
    found = analyse(study, tmp_path, *TABLE, MASKED, sums_per_agreement=2)
    counts = np.zeros((3, 2))
    np.add.at(counts, (values["ward"].astype(int), values["died"].astype(int)), 1)
    assert np.array_equal(np.array([row[1:3] for row in found.tables[0].rows[:3]], dtype=float), counts)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("sites", "how"), [(200, "aggregation=open"), (20, MASKED)])
def test_a_regression_over_many_sites(sites: int, how: str, tmp_path: Path) -> None:
    import statsmodels.api as sm

    values = draw(2000)
    design = np.column_stack([np.ones(2000), values["age"], values["male"], values["ward"] == 1, values["ward"] == 2])
    expected = sm.GLM(values["died"], design.astype(float), family=sm.families.Binomial()).fit(tol=1e-15, maxiter=100)
    table = analyse(study_of(values, deal(2000, sites)), tmp_path, *GLM, how).tables[0]
    assert close(table.numbers("estimate"), expected.params, 1e-8)
    assert close(table.numbers("standard error"), expected.bse, 1e-8)
