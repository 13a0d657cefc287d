"""Follow-up by capacity and errors of predicted stays, against slow computations and scikit-learn on the pooled patients."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import ImplausibleValueError, InvalidInputError
from federation.statistics.calibration import EVERYBODY, Question
from federation.statistics.follow_up import follow_up, highest
from federation.statistics.prediction_steps import Scores
from federation.statistics.result import Findings
from federation.statistics.stay_steps import StayErrorStep, StayQuestion, judge_stays
from tests.statistics_bench import close, parts, solve

SITES = ("a", "b", "c")


def draw(size: int = 900, seed: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    risk = rng.beta(2, 8, size)
    stay = rng.gamma(1.5, 2.0, size)
    return {
        "risk": risk,
        "back": (rng.random(size) < risk).astype(float),
        "stay": stay,
        "mean": 1.0 + 0.6 * stay + rng.normal(0, 1, size) ** 2,
        "rival": np.full(size, 3.5),
        "lower": np.full(size, 0.5),
        "upper": np.full(size, 6.0),
        "site": rng.integers(0, 3, size).astype(float),
    }


def followed(values: dict[str, np.ndarray], *, capacity: float = 0.1, threshold: int = 1) -> Findings:
    scores = Scores(scores=("risk",), outcome="back", group="site", groups=3)
    question = Question(scores=scores, titles=("ours",), labels=SITES, threshold=threshold, bins=10_000)
    return solve(follow_up(question, capacity=capacity), parts(values, values["site"].astype(int)))


@pytest.mark.parametrize("capacity", [0.02, 0.1, 0.5])
def test_a_capacity_reaches_what_sorting_the_patients_reaches(capacity: float) -> None:
    values = draw()
    table = followed(values, capacity=capacity).tables[0]
    for place, group in enumerate((*SITES, EVERYBODY)):
        own = np.ones(len(values["risk"]), bool) if group == EVERYBODY else values["site"] == place
        order = np.argsort(-values["risk"][own])
        chosen = order[: int(np.ceil(capacity * own.sum() - 1e-9))]
        reached = values["back"][own][chosen].sum()
        line = dict(zip(table.columns, table.rows[place], strict=True))
        assert line["followed up"] == pytest.approx(len(chosen), abs=1)
        assert line["reached"] == pytest.approx(reached, abs=1)
        assert close(line["needed to follow up"], line["followed up"] / line["reached"], 1e-12)
        assert close(line["needed at random"], own.sum() / values["back"][own].sum(), 1e-9)


def test_following_up_everybody_reaches_all() -> None:
    found = highest(np.array([5.0, 4.0]), np.array([1.0, 2.0]), 1.0)
    assert (found.patients, found.reached) == (12.0, 3.0)


def test_few_reached_are_not_shown() -> None:
    table = followed(draw(120), threshold=5).tables[0]
    for line in table.rows:
        reached = dict(zip(table.columns, line, strict=True))["reached"]
        assert reached is None or int(str(reached)) >= 5


def test_steps_of_the_curve_are_of_at_least_the_threshold() -> None:
    values = draw()
    table = followed(values, threshold=5).tables[2]
    reached = np.array(table.numbers("share reached")) * values["back"].sum()
    assert np.diff([0.0, *reached]).min() > 4.999
    assert table.rows[-1][:2] == (1.0, 1.0)


@pytest.mark.parametrize("capacity", [0.0, 1.5])
def test_an_impossible_capacity_is_refused(capacity: float) -> None:
    with pytest.raises(InvalidInputError, match="capacity above 0 and at most 1"):
        followed(draw(), capacity=capacity)


def test_nobody_with_the_outcome_is_an_error() -> None:
    values = draw()
    values["back"][:] = 0
    with pytest.raises(InvalidInputError, match="patients with the outcome, got none"):
        followed(values)


def judged(values: dict[str, np.ndarray], *, threshold: int = 1) -> Findings:
    scores = Scores(scores=("mean", "rival"), outcome="stay", group="site", groups=3)
    step = StayErrorStep(scores=scores, interval=("lower", "upper"), longest=60.0)
    question = StayQuestion(step=step, titles=("ours", "theirs"), labels=SITES, threshold=threshold)
    return solve(judge_stays(question), parts(values, values["site"].astype(int)))


@pytest.mark.parametrize(("title", "name"), [("ours", "mean"), ("theirs", "rival")])
@pytest.mark.parametrize("group", [*SITES, EVERYBODY])
def test_errors_of_stays_equal_scikit_learn_on_the_pooled_predictions(title: str, name: str, group: str) -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    values = draw()
    found = judged(values)
    own = np.ones(len(values["stay"]), bool) if group == EVERYBODY else values["site"] == SITES.index(group)
    stay, said = values["stay"][own], values[name][own]
    (line,) = [row for row in found.tables[0].rows if row[:2] == (title, group)]
    expected = [
        own.sum(),
        stay.mean(),
        said.mean(),
        stay.mean() / said.mean(),
        mean_absolute_error(stay, said),
        root_mean_squared_error(stay, said),
        r2_score(stay, said),
    ]
    assert close(line[2:], expected, 1e-8)
    (covered,) = [row for row in found.tables[1].rows if row[0] == group]
    inside = (stay >= 0.5) & (stay <= 6.0)
    assert close(covered[1:], [own.sum(), inside.mean(), (stay < 0.5).mean(), (stay > 6.0).mean(), 5.5], 1e-8)


def test_a_missing_prediction_is_counted() -> None:
    values = draw()
    values["rival"][:11] = np.nan
    found = judged(values)
    assert found.figures["patients without a prediction"] == 11
    assert found.tables[0].rows[-1][2] == len(values["stay"]) - 11


@pytest.mark.parametrize("wrong", [-0.1, 75.0])
def test_a_negative_or_endless_stay_is_an_error_with_a_count(wrong: float) -> None:
    values = draw()
    values["stay"][:4] = wrong
    with pytest.raises(ImplausibleValueError, match="stays from 0 to 60 days, got 4 others"):
        solve(
            judge_stays(
                StayQuestion(
                    step=StayErrorStep(scores=Scores(scores=("mean",), outcome="stay"), longest=60.0),
                    titles=("ours",),
                    labels=(),
                    threshold=1,
                )
            ),
            parts(values, np.zeros(len(values["stay"]), int)),
        )


def test_a_small_site_is_hidden_with_another() -> None:
    values = draw()
    keep = (values["site"] != 2) | (np.cumsum(values["site"] == 2) <= 3)
    found = judged({name: column[keep] for name, column in values.items()}, threshold=5)
    hidden = {row[1] for row in found.tables[0].rows if row[2] is None}
    assert "c" in hidden
    assert len(hidden) == 2
    assert not hidden & set(found.tables[1].column("group"))
