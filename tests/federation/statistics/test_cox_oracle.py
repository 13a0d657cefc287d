"""Cox models over sites equal statsmodels on the pooled patients, with both kinds of ties, strata and late entry."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.analyse_formula import read_formula
from federation.errors import InvalidInputError, StudyError
from federation.statistics.cox import CoxModel, solve_cox
from federation.statistics.descriptive_steps import Levels
from federation.statistics.survival_steps import Survival, TimeGrid
from tests.statistics_bench import CONTRACT, close, deal, draw, parts, solve

SIZE = 450
VALUES = draw(SIZE)
CODES = deal(SIZE, 6)
GRID = TimeGrid(width=1.0, points=300)
DESIGN = read_formula("age + male + ward", CONTRACT, has_intercept=False).design
MATRIX = np.column_stack([VALUES["age"], VALUES["male"], VALUES["ward"] == 1, VALUES["ward"] == 2]).astype(float)


def fitted(model: CoxModel, values=VALUES, codes=CODES):
    return solve(solve_cox(model, patients=len(codes), threshold=5, confidence=0.95), parts(values, codes))


def oracle(*, ties: str, strata=None, is_late: bool = False):
    from statsmodels.duration.hazard_regression import PHReg

    # statsmodels takes a patient to be at risk at the moment of the entry, R and lifelines only after it.
    entry = VALUES["entry-day"] + 0.5 if is_late else None
    model = PHReg(VALUES["days"], MATRIX, status=VALUES["event"], ties=ties, strata=strata, entry=entry)
    return model.fit(disp=0)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("by", ["nobody", "site", "male"])
def test_estimates_errors_and_likelihood_are_the_pooled_ones(ties: str, by: str, is_late: bool) -> None:
    survival = Survival(time="days", event="event", entry="entry-day" if is_late else None)
    model = CoxModel(
        survival=survival,
        design=DESIGN if by != "male" else read_formula("age + ward", CONTRACT, has_intercept=False).design,
        ties=ties,
        grid=None if by == "site" else GRID,
        strata=Levels(variable="male", levels=2) if by == "male" else None,
    )
    found = fitted(model)
    if by == "male":
        from statsmodels.duration.hazard_regression import PHReg

        entry = VALUES["entry-day"] + 0.5 if is_late else None
        expected = PHReg(
            VALUES["days"], MATRIX[:, [0, 2, 3]], status=VALUES["event"], ties=ties, strata=VALUES["male"], entry=entry
        ).fit(disp=0)
    else:
        expected = oracle(ties=ties, strata=CODES if by == "site" else None, is_late=is_late)
    table = found.tables[0]
    assert close(table.numbers("estimate"), expected.params, 1e-8)
    assert close(table.numbers("standard error"), expected.bse, 1e-8)
    assert np.allclose(table.numbers("p"), expected.pvalues, rtol=1e-6, atol=1e-13)
    assert found.figures["log-likelihood"] == pytest.approx(expected.llf, rel=1e-9)
    assert found.figures["events"] == VALUES["event"].sum()


def test_efron_agrees_with_lifelines_to_a_millionth() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        from lifelines import CoxPHFitter

        frame = pd.DataFrame(MATRIX, columns=["age", "male", "surgical", "cardiac"])
        frame = frame.assign(days=VALUES["days"], event=VALUES["event"], entry=VALUES["entry-day"])
        expected = CoxPHFitter().fit(frame, "days", "event", entry_col="entry", fit_options={"precision": 1e-11})
    survival = Survival(time="days", event="event", entry="entry-day")
    found = fitted(CoxModel(survival=survival, design=DESIGN, grid=GRID))
    assert close(found.tables[0].numbers("estimate"), expected.params_, 1e-6)
    assert close(found.tables[0].numbers("standard error"), expected.standard_errors_, 1e-6)


def test_the_likelihood_ratio_is_against_no_terms() -> None:
    found = fitted(CoxModel(survival=Survival(time="days", event="event"), design=DESIGN, grid=GRID))
    ratio = 2 * (found.figures["log-likelihood"] - found.figures["log-likelihood without terms"])
    assert found.tables[1].rows[0][:2] == (pytest.approx(ratio), 4)


@pytest.mark.parametrize("grid", [GRID, None])
def test_no_event_is_an_error(grid: TimeGrid | None) -> None:
    with pytest.raises(InvalidInputError, match="expected events, got none"):
        fitted(
            CoxModel(survival=Survival(time="days", event="event"), design=DESIGN, grid=grid),
            VALUES | {"event": np.zeros(SIZE)},
        )


def test_an_empty_stratum_collinear_columns_and_separation() -> None:
    survival = Survival(time="days", event="event")
    with pytest.raises(InvalidInputError, match="empty stratum"):
        fitted(
            CoxModel(survival=survival, design=DESIGN, grid=GRID, strata=Levels(variable="male", levels=2)),
            VALUES | {"male": np.ones(SIZE)},
        )
    both = read_formula("age + lactate", CONTRACT, has_intercept=False).design
    with pytest.raises(InvalidInputError, match="collinear"):
        fitted(CoxModel(survival=survival, design=both, grid=GRID), VALUES | {"lactate": VALUES["age"] / 10})
    with pytest.raises(StudyError, match=r"separation.*male"):
        fitted(
            CoxModel(survival=survival, design=DESIGN),
            VALUES | {"event": np.where(VALUES["male"] == 1, 0.0, VALUES["event"])},
        )
