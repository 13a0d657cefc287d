"""Two hundred neighbours a push: a private round tells nothing but its releases, whatever the differing patient is like."""

from __future__ import annotations

import numpy as np
import pytest

from federation.privacy.sampling import poisson_sample
from tests.replay.cases import ALGORITHMS, MODELS, NUMERATORS, STEPS, TASKS, Training, pairs
from tests.replay.neighbours import ODD, neighbours
from tests.replay.tape import recorded


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", MODELS)
def test_neighbours_follow_the_tape(model: str, task: str, algorithm: str) -> None:
    checked = 0
    for number, (training, pair, shrinks) in enumerate(pairs(model, task, algorithm, seed=1)):
        tape, _ = pair.check(training, shrinks=shrinks, seed=number)
        assert len(tape.releases) == len(tape.draws) == STEPS
        checked += 1
    assert checked == len(ODD)


def test_the_pairs_are_two_hundred_and_of_every_kind() -> None:
    every = [
        case
        for model in MODELS
        for task in TASKS
        for algorithm in ALGORITHMS
        for case in pairs(model, task, algorithm, seed=1)
    ]
    assert len(every) >= 200
    assert {training.numerator for training, _, _ in every} == set(NUMERATORS)
    assert {shrinks for _, _, shrinks in every} == {True, False}
    assert {training.optimiser for training, _, _ in every} == {"sgd", "momentum", "adam"}
    assert any(pair.smaller.num_patients == 0 for _, pair, _ in every), "an empty data set must be among them"
    assert any(pair.odd == pair.smaller.num_patients > 0 for _, pair, _ in every), "and a last patient"
    assert any(pair.odd == 0 < pair.smaller.num_patients for _, pair, _ in every), "and a first one"


@pytest.mark.parametrize("shrinks", [True, False], ids=["removed", "added"])
@pytest.mark.parametrize("odd", ODD)
def test_the_bound_is_reached_where_it_can_be(odd: str, shrinks: bool) -> None:
    # A distance that is always tiny would mean that the replay looks at the wrong place.
    pair = neighbours(odd, task="binary", seed=3)
    _, largest = pair.check(Training(), shrinks=shrinks, seed=1)
    if odd in ("large", "many records"):
        assert largest > 0.99
    elif "nan" in odd or odd == "infinite":
        assert largest < 1e-4, "an unusable patient moves nothing"
    else:
        assert 0 < largest <= 1


@pytest.mark.parametrize("shrinks", [True, False], ids=["removed", "added"])
def test_a_site_may_have_no_patient_at_all(shrinks: bool) -> None:
    pair = neighbours("ordinary", task="binary", seed=3, others=0)
    tape, _ = pair.check(Training(), shrinks=shrinks, seed=1)
    assert len(tape.releases) == STEPS


def test_draws_of_the_others_do_not_depend_on_a_last_patient() -> None:
    # The coupling that the replay assumes is the sampler's own: each patient has a number of its own.
    for seed in range(50):
        generators = [np.random.default_rng(seed) for _ in range(2)]
        more, fewer = (
            poisson_sample(count, numerator=2**52, generator=generator)
            for count, generator in zip((20, 19), generators, strict=True)
        )
        np.testing.assert_array_equal(more[more < 19], fewer)


def test_the_tape_holds_the_real_draws_and_every_step() -> None:
    pair = neighbours("ordinary", task="binary", seed=4, others=30, position=30)
    tapes = [recorded(lambda data=data: Training(numerator=2**52)(data))[1] for data in (pair.larger, pair.smaller)]
    first, second = (tape.draws[0].drawn for tape in tapes)
    np.testing.assert_array_equal(first[first < 30], second)
    assert 5 < len(second) < 25
    assert all(len(tape.releases) == STEPS for tape in tapes)
