"""What does not go with secure aggregation is refused when the manifest is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import ManifestError
from federation.study.manifest import StudyManifest
from tests.masked_study import MASKED, masked_manifest
from tests.small_study import private


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluation": {"release": "per_site"}}, "expected 'sum' or 'none'"),
        ({"algorithm": {"kind": "scaffold"}}, "scaffold"),
        ({"aggregation": {"mode": "masked", "quorum": 3}}, "aggregation.masked"),
        ({"aggregation": {"mode": "plain", "masked": MASKED}}, "aggregation.masked"),
        ({"aggregation": {"mode": "masked", "quorum": 3, "masked": MASKED | {"threshold": 5}}}, "threshold"),
        ({"aggregation": {"mode": "masked", "quorum": 3, "masked": MASKED | {"update_bits": 7}}}, "update_bits"),
        ({"aggregation": {"mode": "masked", "quorum": 3, "masked": MASKED | {"update_bits": 33}}}, "update_bits"),
    ],
)
def test_what_does_not_go_with_masks_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        masked_manifest(tmp_path, **changes)


@pytest.mark.parametrize("change", [{"weight": 1.5}, {"public_key": None}])
def test_a_roster_without_keys_or_with_fractions_is_refused(tmp_path: Path, change: dict) -> None:
    data = masked_manifest(tmp_path).as_data()
    data["roster"][0] |= change
    with pytest.raises(ManifestError, match=r"whole numbers|identity key"):
        StudyManifest.from_data(data)


def test_noise_in_shares_keeps_all_its_bits(tmp_path: Path) -> None:
    few = {"mode": "masked", "quorum": 3, "masked": MASKED | {"update_bits": 24}}
    whole = few | {"masked": MASKED}
    changes = {
        "privacy": private(epsilon=8.0) | {"noise": "distributed"},
        "schedule": {"rounds": 2, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.5}},
        "evaluation": {"release": "none"},
    }
    masked_manifest(tmp_path, aggregation=whole, **changes)
    with pytest.raises(ManifestError, match="update_bits 32"):
        masked_manifest(tmp_path, aggregation=few, **changes)


def test_two_sites_hide_nobody(tmp_path: Path) -> None:
    data = masked_manifest(tmp_path).as_data()
    data["roster"] = data["roster"][:2]
    data["aggregation"]["quorum"] = 2
    with pytest.raises(ManifestError, match="a sum of two hides nobody"):
        StudyManifest.from_data(data)
