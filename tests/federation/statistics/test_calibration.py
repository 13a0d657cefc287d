"""Calibration by group from sums: equal to scikit-learn and statsmodels on the pooled predictions, wherever the patients are."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import ImplausibleValueError, InvalidInputError
from federation.statistics.calibration import EVERYBODY, Question, byar, calibrate
from federation.statistics.equal_parts import equal_parts
from federation.statistics.prediction_steps import RiskHistogramStep, Scores, log_odds
from federation.statistics.result import Findings, Table
from federation.statistics.step import Columns
from tests.statistics_bench import close, parts, solve

BINS = 1000
WARDS = ("north", "south", "west")


def draw(size: int = 1500, seed: int = 3) -> dict[str, np.ndarray]:
    """Risks on the middles of bins, so that a histogram loses nothing; the rival's are too extreme."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1.5, 1.2, size)
    risk = (np.floor(BINS / (1 + np.exp(-odds))) + 0.5) / BINS
    rival = (np.floor(BINS / (1 + np.exp(-2 * odds - 0.5))) + 0.5) / BINS
    return {
        "risk": risk,
        "rival": rival,
        "died": (rng.random(size) < 1 / (1 + np.exp(-0.8 * odds + 0.2))).astype(float),
        "ward": rng.integers(0, 3, size).astype(float),
    }


def question(*, by_ward: bool = True, threshold: int = 1) -> Question:
    scores = Scores(
        scores=("risk", "rival"), outcome="died", group="ward" if by_ward else None, groups=3 if by_ward else 1
    )
    labels = WARDS if by_ward else ()
    return Question(scores=scores, titles=("ours", "theirs"), labels=labels, threshold=threshold, bins=BINS)


def judged(values: dict[str, np.ndarray], *, sites: int = 4, by_ward: bool = True, threshold: int = 1) -> Findings:
    codes = np.arange(len(values["risk"])) % sites
    return solve(calibrate(question(by_ward=by_ward, threshold=threshold)), parts(values, codes))


def row(findings: Findings, score: str, group: str) -> dict[str, object]:
    table = findings.tables[0]
    (found,) = [r for r in table.rows if r[:2] == (score, group)]
    return dict(zip(table.columns, found, strict=True))


@pytest.mark.parametrize(("score", "name"), [("ours", "risk"), ("theirs", "rival")])
@pytest.mark.parametrize("ward", [*range(3), None])
def test_every_line_equals_scikit_learn_and_statsmodels_on_the_pooled_predictions(
    score: str, name: str, ward: int | None
) -> None:
    import statsmodels.api as sm
    from sklearn.metrics import brier_score_loss, roc_auc_score

    values = draw()
    line = row(judged(values), score, EVERYBODY if ward is None else WARDS[ward])
    own = np.ones(len(values["risk"]), bool) if ward is None else values["ward"] == ward
    risk, died = values[name][own], values["died"][own]
    odds = log_odds(risk)
    slope = sm.GLM(died, sm.add_constant(odds), family=sm.families.Binomial()).fit(tol=1e-14, maxiter=100)
    shift = sm.GLM(died, np.ones(len(died)), family=sm.families.Binomial(), offset=odds).fit(tol=1e-14, maxiter=100)
    expected = [
        len(died),
        died.sum(),
        risk.sum(),
        died.sum() / risk.sum(),
        roc_auc_score(died, risk),
        brier_score_loss(died, risk),
        shift.params[0],
        shift.bse[0],
        slope.params[1],
        slope.bse[1],
    ]
    columns = (
        "records", "observed", "expected", "observed/expected", "AUROC", "Brier",
        "in the large", "in the large se", "slope", "slope se",
    )  # fmt: skip
    # In the large may be next to nothing, so its error is measured in log odds.
    assert np.allclose([float(str(line[column])) for column in columns], expected, rtol=1e-8, atol=1e-9)


def test_where_patients_are_changes_nothing() -> None:
    values = draw()
    once, spread = judged(values, sites=1), judged(values, sites=40)
    for left, right in zip(once.tables[0].rows, spread.tables[0].rows, strict=True):
        assert left[:2] == right[:2]
        assert np.allclose([float(str(x)) for x in left[2:]], [float(str(x)) for x in right[2:]], rtol=1e-9, atol=1e-11)
    for left, right in zip(once.tables[1].rows, spread.tables[1].rows, strict=True):
        assert left[:3] == right[:3]
        assert close(left[3:], right[3:], 1e-9)


def test_a_patient_without_one_prediction_is_counted_and_judged_by_neither() -> None:
    values = draw()
    values["rival"][:37] = np.nan
    found = judged(values, by_ward=False)
    assert found.figures["patients without a prediction"] == 37
    kept = {name: column[37:] for name, column in values.items()}
    assert close(
        row(found, "ours", EVERYBODY)["Brier"], row(judged(kept, by_ward=False), "ours", EVERYBODY)["Brier"], 1e-9
    )


@pytest.mark.parametrize("wrong", [-1.0, 1.2])
def test_a_risk_that_is_none_is_an_error_with_a_count(wrong: float) -> None:
    values = draw(50)
    values["risk"][:3] = wrong
    with pytest.raises(ImplausibleValueError, match=r"risks from 0 to 1, got [123] others") as raised:
        judged(values)
    assert "such as -1" in str(raised.value.remedy)


def test_nobody_with_predictions_is_an_error() -> None:
    values = draw(50)
    values["risk"][:] = np.nan
    with pytest.raises(InvalidInputError, match="patients with outcome and predictions, got none"):
        judged(values)


def test_a_group_without_deaths_has_no_slope_and_disturbs_no_other() -> None:
    values = draw()
    values["died"][values["ward"] == 1] = 0
    found = judged(values)
    assert row(found, "ours", "south")["slope"] is None
    assert row(found, "ours", "south")["AUROC"] is None
    others = {name: column[values["ward"] != 1] for name, column in values.items()}
    assert close(row(found, "ours", "west")["slope"], row(judged(others), "ours", "west")["slope"], 1e-8)


def test_separated_outcomes_have_no_slope() -> None:
    values = draw(200)
    values["died"] = (values["risk"] > 0.3).astype(float)
    line = row(judged(values, by_ward=False), "ours", EVERYBODY)
    assert line["AUROC"] == 1.0
    assert line["slope"] is None


def test_a_group_with_few_deaths_is_hidden_with_another_that_would_tell_its_number() -> None:
    values = draw()
    deaths = np.flatnonzero((values["ward"] == 2) & (values["died"] == 1))
    values["died"][deaths[3:]] = 0
    found = judged(values, threshold=5)
    hidden = [ward for ward in WARDS if row(found, "ours", ward)["observed"] is None]
    assert "west" in hidden
    assert len(hidden) == 2
    assert not set(hidden) & set(found.tables[1].column("group"))
    assert row(found, "ours", EVERYBODY)["observed"] is not None


def slow_parts(table: Table, group: str) -> list[tuple[int, float]]:
    return [(int(str(r[2])), float(str(r[4]))) for r in table.rows if r[0] == "ours" and r[1] == group]


def test_the_reliability_curve_covers_everybody_and_shows_no_few() -> None:
    values = draw(600)
    table = judged(values, threshold=5).tables[1]
    points = slow_parts(table, EVERYBODY)
    assert 2 < len(points) <= 10
    assert sum(count for count, _ in points) == 600
    assert close(sum(count * share for count, share in points), values["died"].sum(), 1e-9)
    for count, share in points:
        events = round(count * share)
        assert events == 0 or events >= 5
        assert count == events or count - events >= 5


def test_points_are_means_of_neighbours_in_order_of_risk() -> None:
    values = draw(600)
    table = judged(values, by_ward=False).tables[1]
    order = np.sort(values["risk"])
    start = 0
    for found in table.rows:
        if found[0] == "ours":
            stop = start + int(str(found[2]))
            assert close(found[3], order[start:stop].mean(), 1e-9)
            start = stop
    assert start == 600


def test_parts_are_joined_until_they_may_be_shown() -> None:
    negative = np.array([30.0, 32.0, 28.0, 26.0])
    positive = np.array([2.0, 0.0, 4.0, 6.0])
    assert equal_parts(negative, positive, parts=4, threshold=5) == [slice(0, 3), slice(3, 4)]
    assert equal_parts(negative, positive, parts=4, threshold=1) == [slice(i, i + 1) for i in range(4)]
    assert equal_parts(np.zeros(4), np.zeros(4), parts=4, threshold=5) == []
    assert equal_parts(np.array([3.0]), np.array([1.0]), parts=4, threshold=5) == [slice(0, 1)]


@pytest.mark.parametrize("events", [0, 1, 7, 40])
def test_byars_interval_is_close_to_the_exact_one(events: int) -> None:
    from scipy import stats

    lower, upper = byar(float(events), confidence=0.95)
    exact = (stats.chi2.ppf(0.025, 2 * events) / 2 if events else 0.0, stats.chi2.ppf(0.975, 2 * events + 2) / 2)
    assert lower == pytest.approx(exact[0], abs=0.06)
    assert upper == pytest.approx(exact[1], abs=0.06)


def test_a_histogram_of_an_empty_site_is_zero() -> None:
    step = RiskHistogramStep(scores=question().scores, bins=10)
    empty = Columns({name: np.array([]) for name in ("risk", "rival", "died", "ward")}, 0)
    assert not step.answer(empty).any()
