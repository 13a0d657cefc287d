import numpy as np
import pytest
from scipy.stats import binom

from experiments.bootstrap import draw_patients, estimates, interval_over_seeds, wilson_interval
from experiments.predictions import Scored
from experiments.resampled_metrics import weighted_metrics


def test_every_draw_has_as_many_patients_as_there_are():
    drawn = draw_patients(13, samples=200, generator=np.random.default_rng(0))
    assert drawn.shape == (200, 13)
    assert (drawn.sum(axis=1) == 13).all()
    assert drawn.max() > 1
    assert draw_patients(0, samples=5, generator=np.random.default_rng(0)).shape == (5, 0)


def test_draws_are_uniform_over_patients():
    counts = draw_patients(10, samples=4000, generator=np.random.default_rng(1)).sum(axis=0, dtype=np.int64)
    # 40000 draws of probability 1/10: six standard deviations, a false alarm in about 1 of 10^8 runs.
    assert np.abs(counts - 4000).max() < 6 * np.sqrt(40000 * 0.1 * 0.9)


def test_the_same_generator_gives_the_same_draws():
    first, second = (draw_patients(9, samples=50, generator=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def _covers(generator, *, by_patient, patients=60, truth=0.7):
    """Whether a 95% interval of accuracy covers the truth, where each patient's records all are right or all wrong."""
    sizes = generator.integers(1, 8, patients)
    right = np.repeat(generator.random(patients) < truth, sizes).astype(float)
    groups = np.repeat(np.arange(patients), sizes) if by_patient else np.arange(len(right))
    records = Scored("binary", np.where(right == 1, 0.9, 0.1), np.ones(len(right)), groups)
    count = int(groups[-1]) + 1
    draws = draw_patients(count, samples=400, generator=generator)
    found = estimates(
        {"accuracy": float(right.mean())}, weighted_metrics(records, draws), confidence_level=0.95, num_patients=count
    )["accuracy"]
    return found.lower <= truth <= found.upper


@pytest.mark.statistical
def test_intervals_by_patient_cover_and_intervals_by_record_do_not():
    # 300 studies. With a true coverage of 93% (measured over 3000: 94% by patient) 257 or fewer cover with a probability
    # below 1e-5; with one of 75% (measured by record: 60%) more than 257 do with a probability below 1e-5.
    assert binom.cdf(257, 300, 0.93) < 1e-5
    assert binom.sf(257, 300, 0.75) < 1e-5
    generator = np.random.default_rng(11)
    assert sum(_covers(generator, by_patient=True) for _ in range(300)) > 257
    assert sum(_covers(generator, by_patient=False) for _ in range(300)) <= 257


def test_what_is_not_defined_says_why_and_is_never_nan():
    found = estimates(
        {"auroc": float("nan"), "brier": 0.2},
        {"auroc": np.full(50, np.nan), "brier": np.linspace(0.1, 0.3, 50)},
        confidence_level=0.9,
        num_patients=10,
    )
    assert found["auroc"].value is None
    assert found["auroc"].note == "not defined (one outcome class)"
    assert found["brier"].lower == pytest.approx(0.11)
    assert found["brier"].upper == pytest.approx(0.29)


@pytest.mark.parametrize(
    ("draws", "num_patients", "note"),
    [
        (np.full(100, 0.8), 1, "one patient"),
        (np.concatenate([np.full(80, np.nan), np.linspace(0.5, 0.6, 20)]), 4, "too few patients of one outcome class"),
        (np.full(100, 0.8), 6, "all draws agree"),
    ],
)
def test_no_interval_where_it_would_claim_too_much(draws, num_patients, note):
    found = estimates({"auroc": 0.8}, {"auroc": draws}, confidence_level=0.95, num_patients=num_patients)["auroc"]
    assert (found.value, found.lower, found.upper) == (0.8, None, None)
    assert note in found.note


def test_an_interval_from_part_of_the_draws_says_so():
    draws = np.concatenate([np.full(30, np.nan), np.linspace(0.5, 0.9, 70)])
    found = estimates({"auroc": 0.8}, {"auroc": draws}, confidence_level=0.95, num_patients=9)["auroc"]
    assert "70% of draws" in found.note
    assert found.lower is not None


def test_a_perfect_share_among_few_patients_is_not_certain():
    found = estimates(
        {"accuracy": 1.0, "specificity": 1.0},
        {"accuracy": np.ones(100), "specificity": np.ones(100)},
        confidence_level=0.95,
        num_patients=8,
        shares={"accuracy": 8, "specificity": 3},
    )
    assert found["specificity"].lower == pytest.approx(0.438, abs=1e-3)  # Wilson, 3 of 3
    found = found["accuracy"]
    assert found.upper == 1.0
    assert found.lower == pytest.approx(0.676, abs=1e-3)  # Wilson, 8 of 8
    assert "Wilson" in found.note


def test_without_draws_there_is_a_value_and_no_interval():
    found = estimates({"auroc": 0.8}, {"auroc": np.zeros(0)}, confidence_level=0.95, num_patients=50)["auroc"]
    assert (found.value, found.lower, found.note) == (0.8, None, "")


def test_wilson_interval_of_a_textbook_example():
    # Newcombe 1998, Stat Med 17, table I, example 81 of 263: 0.2553 to 0.3662.
    assert wilson_interval(81, 263, confidence_level=0.95) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_interval_over_seeds_is_students():
    lower, upper = interval_over_seeds([0.8, 0.82, 0.84], confidence_level=0.95)
    assert (lower + upper) / 2 == pytest.approx(0.82)
    assert (upper - lower) / 2 == pytest.approx(4.302653 * 0.02 / np.sqrt(3), rel=1e-5)
    assert interval_over_seeds([0.8], confidence_level=0.95) is None
