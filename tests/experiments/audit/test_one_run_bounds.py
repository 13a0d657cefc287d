from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.audit.one_run_bounds import any_mechanism_bound, gaussian_tradeoff_bound, one_run_bound
from federation.errors import InvalidInputError

BOUNDS = [any_mechanism_bound, gaussian_tradeoff_bound]


@pytest.mark.parametrize("guesses", [20, 100, 5000])
def test_all_right_guesses_give_the_binomials_bound(guesses: int) -> None:
    # By hand: q**k = error with q = exp(epsilon) / (1 + exp(epsilon)); delta adds next to nothing here.
    success = 0.05 ** (1 / guesses)
    expected = math.log(success / (1 - success))
    found = any_mechanism_bound(guesses, guesses, guesses, delta=1e-12, error=0.05)
    assert found == pytest.approx(expected, rel=1e-4)


def test_delta_is_paid_for() -> None:
    bounds = [any_mechanism_bound(1000, 200, 190, delta=delta, error=0.05) for delta in (1e-9, 1e-5, 1e-3)]
    assert bounds[0] > bounds[1] > bounds[2]


@pytest.mark.parametrize("bound", BOUNDS)
def test_guessing_by_coin_bounds_nothing(bound) -> None:
    assert bound(1000, 400, 200, delta=1e-5, error=0.05) == 0
    assert bound(1000, 400, 0, delta=1e-5, error=0.05) == 0
    assert bound(1000, 400, 213, delta=1e-5, error=0.05) == 0, "thirteen more than half are no proof"
    assert bound(1000, 400, 260, delta=1e-5, error=0.05) > 0


@pytest.mark.parametrize("bound", BOUNDS)
@given(guesses=st.integers(2, 60), share=st.floats(0.5, 1.0), error=st.floats(1e-4, 0.2))
def test_bounds_grow_with_right_guesses_and_with_the_error_allowed(bound, guesses, share, error) -> None:
    correct = max(1, math.floor(share * guesses))
    arguments = {"delta": 1e-5, "error": error}
    here = bound(100, guesses, correct, **arguments)
    assert here >= bound(100, guesses, correct - 1, **arguments) - 1e-6
    assert here >= bound(100, guesses, correct, delta=1e-5, error=error / 10) - 1e-6


def test_the_gaussian_curve_proves_more_than_the_binomial_with_many_right_guesses() -> None:
    arguments = {"delta": 1e-5, "error": 0.05}
    assert any_mechanism_bound(5000, 5000, 5000, **arguments) < 8
    assert gaussian_tradeoff_bound(5000, 5000, 5000, **arguments) > 8


def test_the_better_bound_is_reported_with_its_guesses() -> None:
    included = np.arange(2000) % 2 == 0
    scores = np.where(included, 1.0, 0.0)
    scores[:10] = 0.5  # abstained on only when fewer than all are guessed
    found = one_run_bound(scores, included, delta=1e-5, confidence=0.95)
    assert found.epsilon == max(found.any_mechanism, found.gaussian) > 3
    assert found.num_correct == found.num_guesses == 1000


def test_scores_without_information_bound_nothing() -> None:
    included = np.random.default_rng(0).integers(0, 2, 1000).astype(bool)
    assert one_run_bound(np.arange(1000.0), included, delta=1e-5, confidence=0.95).epsilon == 0


@pytest.mark.parametrize("scores", [np.zeros(9), np.zeros(11), np.full(10, np.nan)])
def test_what_cannot_be_judged_is_refused(scores: np.ndarray) -> None:
    with pytest.raises(InvalidInputError):
        one_run_bound(scores, np.zeros(9 if scores.size == 9 else 10, dtype=bool), delta=1e-5, confidence=0.95)
