from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from experiments.synthetic_hospitals import HospitalSettings, draw_hospitals
from federation.data.contract import DataContract
from federation.data.encoding import encode_features, encode_outcome, feature_names
from federation.errors import ConfigurationError
from federation.privacy.randomness import RandomStreams, seeded_streams

VARIABLES = [
    {"name": "age", "kind": "continuous", "unit": "year", "minimum": 18, "maximum": 100, "missing": {"rule": "forbid"}},
    {
        "name": "sodium",
        "kind": "continuous",
        "unit": "mmol/L",
        "minimum": 110,
        "maximum": 170,
        "reference": {"mean": 139, "standard_deviation": 4, "source": "made up for the test"},
    },
    {
        "name": "stays",
        "kind": "integer",
        "minimum": 0,
        "maximum": 10,
        "missing": {"rule": "impute", "value": 0, "indicator": True},
    },
    {"name": "male", "kind": "binary"},
    {"name": "ward", "kind": "categorical", "levels": ["medical", "surgical", "cardiac"]},
    {"name": "frailty", "kind": "ordinal", "levels": ["fit", "vulnerable", "frail"]},
]
OUTCOMES = {
    "binary": {"name": "died", "kind": "binary"},
    "multiclass": {"name": "discharge", "kind": "categorical", "levels": ["home", "rehabilitation", "care"]},
    "regression": {"name": "stay", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 60},
}


def contract(task: str, **more: object) -> DataContract:
    return DataContract.from_data(
        {"name": "test", "patient_key": "patient", "variables": VARIABLES, "outcome": OUTCOMES[task], **more}
    )


def streams(seed: int = 11) -> RandomStreams:
    return seeded_streams(seed, provenance="synthetic")


def alike(**more: object) -> HospitalSettings:
    return HospitalSettings.from_data({"heterogeneity": 0.0, "missing_fraction": 0.0, **more})


@pytest.mark.statistical
def test_pooled_logistic_regression_recovers_the_truth() -> None:
    agreed = contract("binary")
    hospitals, truth = draw_hospitals(
        agreed, task="binary", settings=alike(patients_per_site=10_000), streams=streams()
    )
    features = np.concatenate([encode_features(agreed, records.values) for records in hospitals])
    outcomes = np.concatenate([records.values["died"] for records in hospitals])
    fitted = LogisticRegression(C=np.inf, max_iter=2000).fit(features, outcomes)
    varying = features.std(axis=0) > 0
    np.testing.assert_allclose(fitted.coef_[0][varying], np.array(truth.common.coefficients[0])[varying], atol=0.12)
    np.testing.assert_allclose(fitted.intercept_, truth.common.intercepts, atol=0.1)
    assert outcomes.mean() == pytest.approx(0.3, abs=0.01)
    # The test can fail: a hospital with a truth of its own is not recovered.
    apart, other = draw_hospitals(
        agreed, task="binary", settings=alike(patients_per_site=20_000, heterogeneity=1.0), streams=streams()
    )
    own = LogisticRegression(C=np.inf, max_iter=2000).fit(
        encode_features(agreed, apart[0].values), apart[0].values["died"]
    )
    assert np.abs(own.coef_[0] - np.array(other.common.coefficients[0])).max() > 0.3
    np.testing.assert_allclose(
        own.coef_[0][varying], np.array(other.sites["hospital-01"].coefficients[0])[varying], atol=0.35
    )


@pytest.mark.statistical
def test_pooled_multinomial_regression_recovers_the_truth() -> None:
    agreed = contract("multiclass")
    hospitals, truth = draw_hospitals(
        agreed, task="multiclass", settings=alike(patients_per_site=8000), streams=streams()
    )
    features = np.concatenate([encode_features(agreed, records.values) for records in hospitals])
    outcomes = np.concatenate([records.values["discharge"] for records in hospitals])
    fitted = LogisticRegression(C=np.inf, max_iter=2000).fit(features, outcomes)
    against_first = fitted.coef_ - fitted.coef_[0]
    np.testing.assert_allclose(against_first, np.array(truth.common.coefficients), atol=0.25)
    assert truth.common.coefficients[0] == (0.0,) * len(feature_names(agreed))


@pytest.mark.statistical
def test_pooled_linear_regression_recovers_the_truth() -> None:
    agreed = contract("regression")
    hospitals, truth = draw_hospitals(
        agreed, task="regression", settings=alike(patients_per_site=4000, signal=1.0), streams=streams()
    )
    features = np.concatenate([encode_features(agreed, records.values) for records in hospitals])
    outcomes = np.concatenate([encode_outcome(agreed, "regression", records.values["stay"]) for records in hospitals])
    fitted = LinearRegression().fit(features, outcomes)
    varying = features.std(axis=0) > 0
    np.testing.assert_allclose(fitted.coef_[varying], np.array(truth.common.coefficients[0])[varying], atol=0.02)
    assert np.std(outcomes - fitted.predict(features)) == pytest.approx(truth.residual, rel=0.05)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_value_is_plausible_under_the_contract(task: str) -> None:
    agreed = contract(task)
    hospitals, truth = draw_hospitals(
        agreed,
        task=task,
        settings=HospitalSettings(patients_per_site=100, heterogeneity=3.0, missing_fraction=0.2),
        streams=streams(),
    )
    assert truth.contract == agreed.digest
    for records in hospitals:
        for variable in agreed.columns:
            present = records.values[variable.name]
            present = present[~np.isnan(present)]
            match variable.kind:
                case "continuous" | "integer":
                    assert present.min() >= variable.minimum
                    assert present.max() <= variable.maximum
                case "binary":
                    assert set(present) <= {0.0, 1.0}
                case _:
                    assert set(present) <= set(range(len(variable.levels)))
        assert np.all(records.values["stays"][~np.isnan(records.values["stays"])] % 1 == 0)


def test_missing_values_come_where_the_contract_allows_them() -> None:
    agreed = contract("binary")
    settings = HospitalSettings(patients_per_site=2000, heterogeneity=0.0, missing_fraction=0.2)
    hospitals, _ = draw_hospitals(agreed, task="binary", settings=settings, streams=streams())
    missing = {name: float(np.isnan(column).mean()) for name, column in hospitals[0].values.items()}
    assert missing["age"] == 0.0
    assert missing["died"] == 0.0
    assert all(abs(missing[name] - 0.2) < 0.05 for name in ("sodium", "stays", "male", "ward", "frailty"))


def test_records_of_a_patient_are_kept_together_and_alike() -> None:
    agreed = contract("binary")
    hospitals, _ = draw_hospitals(
        agreed, task="binary", settings=alike(patients_per_site=3000, max_records_per_patient=4), streams=streams()
    )
    keys, first, counts = np.unique(hospitals[0].patient_keys, return_index=True, return_counts=True)
    assert set(counts) == {1, 2, 3, 4}
    several = first[counts > 1]
    age = hospitals[0].values["age"]
    within = np.corrcoef(age[several], age[several + 1])[0, 1]
    assert 0.6 < within < 0.95
    assert len(keys) == len(set(keys))


def test_sizes_follow_the_skew_and_keys_are_distinct() -> None:
    hospitals, _ = draw_hospitals(
        contract("binary"),
        task="binary",
        settings=alike(num_sites=4, patients_per_site=100, size_skew=1.0),
        streams=streams(),
    )
    sizes = [len(records) for records in hospitals]
    assert sum(sizes) == 400
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.8 * sizes[1]
    assert len(np.unique(np.concatenate([records.patient_keys for records in hospitals]))) == 400


def test_heterogeneity_moves_case_mix_and_truth() -> None:
    def spread(heterogeneity: float) -> tuple[float, float]:
        hospitals, truth = draw_hospitals(
            contract("binary"),
            task="binary",
            settings=HospitalSettings(
                num_sites=8, patients_per_site=500, heterogeneity=heterogeneity, missing_fraction=0
            ),
            streams=streams(),
        )
        ages = np.std([records.values["age"].mean() for records in hospitals])
        coefficients = np.std([site.coefficients[0] for site in truth.sites.values()], axis=0).max()
        return float(ages), float(coefficients)

    none, some, strong = spread(0.0), spread(0.5), spread(2.0)
    assert none[1] < 1e-12
    assert none[0] < some[0] < strong[0]
    assert some[1] < strong[1]


def test_the_same_seed_draws_the_same_hospitals() -> None:
    def draw(seed: int) -> np.ndarray:
        hospitals, _ = draw_hospitals(
            contract("binary"), task="binary", settings=HospitalSettings(patients_per_site=20), streams=streams(seed)
        )
        return hospitals[1].values["age"]

    np.testing.assert_array_equal(draw(1), draw(1))
    assert np.any(draw(1)[:10] != draw(2)[:10])


def test_index_dates_lie_in_the_window() -> None:
    agreed = contract("binary", index_date={"name": "admitted", "earliest": "2020-01-01", "latest": "2020-01-31"})
    hospitals, _ = draw_hospitals(agreed, task="binary", settings=alike(patients_per_site=400), streams=streams())
    dates = hospitals[0].index_dates
    assert dates is not None
    assert dates.min() == np.datetime64("2020-01-01")
    assert dates.max() == np.datetime64("2020-01-31")


def test_a_task_that_does_not_fit_the_outcome_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="continuous or integer for task regression, got died of kind binary"):
        draw_hospitals(contract("binary"), task="regression", settings=alike(), streams=streams())


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'heterogeneity'"):
        HospitalSettings.from_data({"heterogenity": 1}, error=ConfigurationError)
