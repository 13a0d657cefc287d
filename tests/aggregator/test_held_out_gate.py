import math

import pytest

from aggregator.held_out_gate import judge
from federation.errors import InvalidInputError


@pytest.mark.parametrize("candidate", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_rolled_back(candidate):
    assert not judge(candidate, kept_losses=[0.7], bound=10.0).kept


@pytest.mark.parametrize(
    ("candidate", "kept"), [(0.5, True), (0.75, True), (0.875, True), (0.8751, False), (40.0, False)]
)
def test_a_model_is_kept_up_to_the_bound_above_the_best(candidate, kept):
    assert judge(candidate, kept_losses=[1.0, 0.75, 0.9], bound=0.125).kept is kept


def test_small_steps_for_the_worse_do_not_add_up():
    losses, step = [0.5], 0.06
    for _ in range(50):
        candidate = losses[-1] + step
        if judge(candidate, kept_losses=losses, bound=0.1).kept:
            losses.append(candidate)
    assert max(losses) <= 0.6


@pytest.mark.parametrize(("kept_losses", "bound"), [([], 0.1), ([math.nan], 0.1), ([0.5], -0.1), ([0.5], math.nan)])
def test_nothing_is_judged_without_a_yardstick(kept_losses, bound):
    with pytest.raises(InvalidInputError):
        judge(0.4, kept_losses=kept_losses, bound=bound)
