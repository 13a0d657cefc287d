"""One patient moves the counts by the declared sensitivity and no more; a range that is too wide learns once it is paid for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.data.contract import DataContract
from federation.data.encoding import encode_features
from federation.data.preparation import count_layout, sensitivity_squared
from federation.data.prepared_features import derive
from federation.errors import InternalError
from federation.models.build import build_model
from federation.models.parameters import flatten, load
from federation.models.spec import LinearSpec
from federation.privacy.accounting import NOTHING, add, cost_of, epsilon_of_cost
from federation.privacy.calibration import calibrate_noise_multiplier, calibrate_variance, sampling_numerator_of
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import seeded_streams
from federation.study.schedule import Schedule
from site_client.evaluation import predict
from site_client.paid_preparation import apply_preparation, preparation_counts, release_preparation
from site_client.patients import PatientDataset, SiteData
from site_client.training import train_locally
from tests.federation.data.preparation_cases import CONTRACT, NAMES, encoded, spec

STREAMS = seeded_streams(20261126, provenance="synthetic")
SMALL = spec(levels=3)


def dataset(features: np.ndarray, patients: list[int] | None = None) -> PatientDataset:
    index = np.arange(len(features)) if patients is None else np.array(patients)
    return PatientDataset(
        features=np.asarray(features, dtype=np.float32).reshape(-1, len(NAMES)),
        outcomes=np.zeros(len(features), dtype=np.float32),
        patient_index=index.astype(np.int64),
        feature_names=NAMES,
    )


# Whatever a record holds: values no encoding gives, several levels at once, NaN, infinity.
anything = st.one_of(st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf, -np.inf]), st.floats(-50, 50, width=32))
records = st.lists(anything, min_size=len(NAMES), max_size=len(NAMES))
people = st.lists(st.lists(records, min_size=1, max_size=3), min_size=1, max_size=5)


def gathered(persons) -> PatientDataset:
    rows = [row for person in persons for row in person]
    return dataset(np.array(rows), [index for index, person in enumerate(persons) for _ in person])


@given(people, st.integers(0, 4))
def test_removing_a_patient_moves_the_counts_by_at_most_the_declared_sensitivity(persons, which):
    which %= len(persons)
    rest = persons[:which] + persons[which + 1 :]
    whole = preparation_counts(gathered(persons), spec=SMALL, contract=CONTRACT)
    without = preparation_counts(gathered(rest), spec=SMALL, contract=CONTRACT)
    assert int(((whole - without) ** 2).sum()) <= sensitivity_squared(SMALL, CONTRACT)


def test_the_declared_sensitivity_is_reached():
    row = np.zeros((1, len(NAMES)))
    row[0, NAMES.index("pain=much")] = 1
    counts = preparation_counts(dataset(row), spec=SMALL, contract=CONTRACT)
    assert int((counts**2).sum()) == sensitivity_squared(SMALL, CONTRACT) == 10


def test_only_the_first_record_of_a_patient_counts():
    features = encoded(6)
    repeated = dataset(features, [0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(
        preparation_counts(repeated, spec=SMALL, contract=CONTRACT),
        preparation_counts(dataset(features[[0, 2, 5]]), spec=SMALL, contract=CONTRACT),
    )


def test_counts_are_those_of_numpy():
    features = encoded(400)
    counts = preparation_counts(dataset(features), spec=SMALL, contract=CONTRACT)
    marker, *_, pain = count_layout(SMALL, CONTRACT).parts
    finest = np.histogram(features[:, 0].astype(float), bins=marker.edges)[0]
    np.testing.assert_array_equal(counts[marker.counts][-8:], finest)
    np.testing.assert_array_equal(counts[marker.counts][:2], [finest[:4].sum(), finest[4:].sum()])
    np.testing.assert_array_equal(counts[pain.counts], features[:, 1:4].sum(axis=0))


def test_an_empty_site_releases_pure_noise():
    empty = dataset(np.zeros((0, len(NAMES))))
    assert not preparation_counts(empty, spec=SMALL, contract=CONTRACT).any()
    released = release_preparation(empty, spec=SMALL, contract=CONTRACT, generator=STREAMS.stream("empty"))["counts"]
    assert released.any()
    np.testing.assert_array_equal(released, np.round(released))


@pytest.mark.statistical
def test_the_release_is_the_counts_with_the_declared_noise_and_no_other():
    noisy = spec(variance=400)
    data = dataset(encoded(300))
    exact = preparation_counts(data, spec=noisy, contract=CONTRACT)
    released = release_preparation(data, spec=noisy, contract=CONTRACT, generator=STREAMS.stream("noise"))["counts"]
    noise = released - exact
    # 24,573 draws: their sum of squares over the variance is chi-squared, nearly normal.
    low, high = stats.chi2.ppf([1e-5, 1 - 1e-5], len(noise))
    assert low < (noise**2).sum() / 400 < high
    assert not low < (noise**2).sum() / 360 < high
    assert not low < (noise**2).sum() / 440 < high
    assert abs(noise.mean()) < 4.5 * 20 / len(noise) ** 0.5


def test_the_map_is_applied_to_training_and_test_patients_alike():
    train, test = dataset(encoded(50, seed=1)), dataset(encoded(20, seed=2))
    counts = preparation_counts(train, spec=spec(), contract=CONTRACT).astype(np.float64)
    prepared = derive(counts, spec=spec(), contract=CONTRACT, num_sites=1)
    mapped = apply_preparation(SiteData("st_mary", train, test), prepared)
    np.testing.assert_array_equal(mapped.training.features, prepared.apply(train.features))
    np.testing.assert_array_equal(mapped.test.features, prepared.apply(test.features))
    np.testing.assert_array_equal(mapped.test.patient_index, test.patient_index)
    with pytest.raises(InternalError, match="map of 1 features"):
        apply_preparation(
            SiteData(
                "st_mary", PatientDataset(train.features[:, :1], train.outcomes, train.patient_index, ("a",)), test
            ),
            prepared,
        )


# --- training on a contract whose ranges are 1000 times too wide ---------------------------------------------------

WIDE = DataContract.from_data({
    "name": "thousandfold",
    "patient_key": "patient",
    "variables": [
        {"name": f"lab_{index}", "kind": "continuous", "unit": "dimensionless", "minimum": 0, "maximum": 6000}
        for index in range(4)
    ],
    "outcome": {"name": "died", "kind": "binary"},
})  # fmt: skip
EPSILON, DELTA = 2.0, 1e-5
SITES, PATIENTS, ROUNDS, STEPS = 4, 1000, 10, 5


def hospital(name: str, seed: int, *, spread: float) -> SiteData:
    """``PATIENTS`` training and 500 test patients; values about 6 with a half-width of ``spread``."""
    generator = np.random.default_rng(seed)
    count = PATIENTS + 500
    standard = generator.normal(size=(count, 4))
    risk = 1 / (1 + np.exp(-standard @ np.array([1.5, -1.0, 0.8, 0.0])))
    outcomes = (generator.random(count) < risk).astype(np.float32)
    values = {f"lab_{index}": 6.0 + spread * standard[:, index] / 1.645 for index in range(4)}
    features = encode_features(WIDE, values)

    def part(rows: slice) -> PatientDataset:
        return PatientDataset(
            features=features[rows],
            outcomes=outcomes[rows],
            patient_index=np.arange(len(outcomes[rows])),
            feature_names=tuple(values),
        )

    return SiteData(name, part(slice(PATIENTS)), part(slice(PATIENTS, None)))


def auroc(scores: np.ndarray, outcomes: np.ndarray) -> float:
    ranks = stats.rankdata(scores)
    ones = outcomes == 1
    return float((ranks[ones].sum() - ones.sum() * (ones.sum() + 1) / 2) / (ones.sum() * (~ones).sum()))


def federated_auroc(sites: list[SiteData], *, noise_multiplier: float, label: str) -> float:
    schedule = Schedule.from_data({
        "rounds": ROUNDS, "local_steps": STEPS, "batch_size": 100, "optimiser": {"kind": "sgd", "learning_rate": 1.0},
    })  # fmt: skip
    numerator = sampling_numerator_of(0.1)
    mechanism = MechanismSpec(
        clipping_norm=1.0, noise_multiplier=noise_multiplier, sampling_numerator=numerator, steps_per_round=STEPS,
        rounds=ROUNDS, divisor=0.1 * PATIENTS,
    )  # fmt: skip
    model = build_model(LinearSpec(kind="linear"), task="binary", num_features=4, num_outputs=1, private=True)
    load(model, np.zeros_like(flatten(model)))
    for round_number in range(1, ROUNDS + 1):
        parts = [
            train_locally(
                model, site.training, task="binary", schedule=schedule, round_number=round_number, mechanism=mechanism,
                streams=STREAMS.child(label, site.site),
            ).parameters
            for site in sites
        ]  # fmt: skip
        load(model, np.mean(parts, axis=0).astype(np.float32))
    scores = np.concatenate([predict(model, site.test, task="binary") for site in sites])
    return auroc(scores, np.concatenate([site.test.outcomes for site in sites]))


def compare(*, share: float, spread: float = 3.0, repeat: int = 0) -> dict[str, float]:
    """AUROC with the public range and with paid preparation, both at the same total epsilon."""
    sites = [hospital(f"site_{index}", 100 * repeat + index, spread=spread) for index in range(SITES)]
    unpaid = spec(vocabulary_of=[])
    squared = sensitivity_squared(unpaid, WIDE)
    variance = calibrate_variance(epsilon=share * EPSILON, delta=DELTA, sensitivity_squared=squared, releases=1)
    paid = unpaid.model_copy(update={"variance": variance})
    beside = cost_of(paid.event(WIDE))
    noise = {
        name: calibrate_noise_multiplier(
            epsilon=EPSILON, delta=DELTA, sampling_numerator=sampling_numerator_of(0.1), steps=STEPS, rounds=ROUNDS,
            beside=cost,
        )
        for name, cost in (("public", NOTHING), ("prepared", beside))
    }  # fmt: skip
    assert epsilon_of_cost(add(NOTHING, beside), delta=DELTA) <= share * EPSILON
    counts = sum(
        release_preparation(
            site.training, spec=paid, contract=WIDE, generator=STREAMS.stream("prepare", repeat, site.site)
        )["counts"]
        for site in sites
    )
    prepared = derive(np.asarray(counts), spec=paid, contract=WIDE, num_sites=SITES)
    mapped = [apply_preparation(site, prepared) for site in sites]
    return {
        "public": federated_auroc(sites, noise_multiplier=noise["public"], label=f"public/{repeat}"),
        "prepared": federated_auroc(mapped, noise_multiplier=noise["prepared"], label=f"prepared/{repeat}"),
        "noise_public": noise["public"],
        "noise_prepared": noise["prepared"],
        "rank_error": max(prepared.rank_error),
    }


def test_a_range_a_thousand_times_too_wide_learns_with_preparation_and_not_without():
    """At the same epsilon 2. Without preparation the direction is that of the noise: AUROCs 0.58, 0.81, 0.62, 0.42."""
    found = [compare(share=0.3, repeat=repeat) for repeat in range(4)]
    assert all(0 < one["rank_error"] < 0.0625 for one in found)
    assert all(one["noise_prepared"] < 1.06 * one["noise_public"] for one in found)
    assert np.mean([one["public"] for one in found]) < 0.7
    assert min(one["prepared"] for one in found) > 0.83
