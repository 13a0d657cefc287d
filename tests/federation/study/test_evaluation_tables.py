"""The manifest alone says which tables a paid evaluation releases."""

from __future__ import annotations

import pytest

from federation.errors import ManifestError
from federation.study.evaluation_tables import count_layout, expected_counts, subgroup_levels
from tests.paid_study import paid_manifest
from tests.small_study import manifest


def test_names_follow_from_the_contract() -> None:
    found = expected_counts(paid_manifest())
    assert list(found)[:2] == ["overall/negative", "overall/positive"]
    assert {name.removesuffix("/negative") for name in found if name.endswith("/negative")} == {
        "overall", "subgroup/sex/0", "subgroup/sex/1", "subgroup/ward/a/b", "subgroup/ward/surgery",
        "subgroup/ward/other", "subgroup/stage/i", "subgroup/stage/ii", "subgroup/stage/iii",
    }  # fmt: skip
    assert set(found.values()) == {10}


def test_classes_and_ranges_are_the_outcomes() -> None:
    assert count_layout(paid_manifest("multiclass")).classes == 3
    assert count_layout(paid_manifest("regression")).outcome_range == (-1.0, 1.0)
    assert expected_counts(paid_manifest("multiclass", subgroups=())) == {"overall/confusion": 9}


def test_a_reference_sets_the_scaled_range() -> None:
    study = paid_manifest("regression")
    outcome = study.contract.outcome.as_data() | {
        "reference": {"mean": 10.0, "standard_deviation": 5.0, "source": "register"}
    }
    changed = study.as_data() | {"contract": study.contract.as_data() | {"outcome": outcome}}
    layout = count_layout(type(study).from_data(changed))
    assert layout.outcome_range == (-2.0, 6.0)
    assert layout.error_limit == 4.0


def test_a_study_that_pays_for_no_evaluation_has_no_tables() -> None:
    with pytest.raises(ManifestError, match="paid"):
        expected_counts(manifest())
    with pytest.raises(ManifestError, match="levels"):
        subgroup_levels(paid_manifest(), "age")
