"""A contract of every kind with ranges that are far too wide, and patients that fit it."""

from __future__ import annotations

import numpy as np

from federation.data.contract import DataContract
from federation.data.encoding import encode_features, feature_names
from federation.data.preparation import PreparationSpec

CONTRACT = DataContract.from_data({
    "name": "wide",
    "patient_key": "patient",
    "variables": [
        {"name": "marker", "kind": "continuous", "unit": "dimensionless", "minimum": 0, "maximum": 100_000},
        {"name": "pain", "kind": "categorical", "levels": ["none", "some", "much", "rare"]},
        {"name": "balance", "kind": "integer", "minimum": -5000, "maximum": 20_000,
         "missing": {"rule": "impute", "value": 0, "indicator": True}},
        {"name": "male", "kind": "binary"},
        {"name": "sodium", "kind": "continuous", "unit": "mmol/L", "minimum": 1, "maximum": 2000,
         "reference": {"mean": 140, "standard_deviation": 4, "source": "a textbook"}},
        {"name": "stage", "kind": "ordinal", "levels": ["1", "2", "3"]},
    ],
    "outcome": {"name": "died", "kind": "binary"},
})  # fmt: skip
NAMES = feature_names(CONTRACT)
# marker, pain=some, pain=much, pain=rare, balance, balance?missing, male, sodium, stage


def spec(**changes: object) -> PreparationSpec:
    """Everything is counted, with next to no noise."""
    return PreparationSpec.from_data({"variance": 1, "vocabulary_of": None, **changes})


def values(number: int, *, seed: int = 1) -> dict[str, np.ndarray]:
    """Values of ``number`` patients in the contract's terms."""
    generator = np.random.default_rng(seed)
    return {
        "marker": generator.uniform(3, 9, size=number),
        "pain": generator.choice([0.0, 1.0, 2.0, 3.0], p=[0.5, 0.3, 0.198, 0.002], size=number),
        "balance": np.where(generator.random(number) < 0.02, np.nan, np.round(generator.normal(20, 60, size=number))),
        "male": generator.integers(0, 2, size=number).astype(float),
        "sodium": generator.normal(138, 3, size=number),
        "stage": generator.integers(0, 3, size=number).astype(float),
    }


def encoded(number: int, *, seed: int = 1) -> np.ndarray:
    """``[number, F]`` encoded features."""
    return encode_features(CONTRACT, values(number, seed=seed))
