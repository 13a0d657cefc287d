"""Rules on variants, and that nothing is told of variants that a few patients carry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.statistics.genotypes.quality import VERDICTS, QualityRules, judge

ANY = QualityRules(missing=1, maf=0, hwe=0, hwe_within=0)
GOOD = [40, 40, 20, 0]


def verdicts(*rows: list[list[int]], rules: QualityRules = ANY, outside: int = 0, threshold: int = 5) -> list[str]:
    """Of variants with these counts, beside one that is good."""
    groups = len(rows[0])
    counts = np.array([*rows, [GOOD] * groups], dtype=float)
    flags = np.full(len(counts), 0.0)
    flags[0] = outside
    found = judge(counts, flags, rules=rules, threshold=threshold)
    assert found.verdicts[-1] == 0
    return [VERDICTS[place] for place in found.verdicts[:-1]]


@pytest.mark.parametrize(
    ("counts", "rules", "verdict"),
    [
        ([[0, 0, 0, 100]], ANY, "at no site"),
        ([[90, 0, 0, 10]], ANY, "one allele only"),
        ([[96, 4, 0, 0]], ANY, "carriers below the threshold"),
        ([[95, 5, 0, 0]], ANY, "tested"),
        ([[0, 3, 97, 0]], ANY, "carriers below the threshold"),
        ([[40, 30, 20, 10]], QualityRules(missing=0.09), "too many missing"),
        ([[40, 30, 20, 10]], QualityRules(missing=0.1), "tested"),
        ([[90, 9, 1, 0]], QualityRules(maf=0.06), "too rare"),
        ([[1, 9, 90, 0]], QualityRules(maf=0.06), "too rare"),
        ([[60, 10, 30, 0]], QualityRules(hwe=1e-6), "out of equilibrium"),
        ([[60, 10, 30, 0]], ANY, "tested"),
    ],
)
def test_the_first_broken_rule_is_the_verdict(counts: list, rules: QualityRules, verdict: str) -> None:
    assert verdicts(counts, rules=rules) == [verdict]


def test_a_site_out_of_equilibrium_takes_the_variant_out() -> None:
    assert verdicts([GOOD], [GOOD], outside=1) == ["out of equilibrium", "tested"]


def test_few_carriers_among_the_cases_alone_are_too_few() -> None:
    assert verdicts([[80, 15, 5, 0], [96, 4, 0, 0]]) == ["carriers below the threshold"]
    assert verdicts([[80, 15, 5, 0], [96, 4, 0, 0]], threshold=4) == ["tested"]
    assert verdicts([[80, 15, 5, 0], [100, 0, 0, 0]]) == ["tested"], "that there is nobody is told"


COUNTS = arrays.arrays(np.int64, (6, 2, 3), elements=st.integers(0, 30))


@given(COUNTS, st.integers(1, 10))
@settings(max_examples=60)
def test_no_tested_variant_has_few_carriers_in_any_group(counts: np.ndarray, threshold: int) -> None:
    counts = np.concatenate([counts, np.full((1, 2, 3), 25)])
    missing = 100 - counts.sum(axis=2, keepdims=True)
    whole = np.concatenate([counts, missing], axis=2).astype(float)
    found = judge(whole, np.zeros(7), rules=ANY, threshold=threshold)
    for place in found.tested.tolist():
        copies = counts[place, :, 1] + 2 * counts[place, :, 2]
        is_first_rarer = copies.sum() <= counts[place, :, :3].sum()
        carriers = counts[place, :, 1] + counts[place, :, 2 if is_first_rarer else 0]
        assert all(count == 0 or count >= threshold for count in [*carriers.tolist(), int(carriers.sum())])


def test_a_group_of_few_patients_is_refused() -> None:
    with pytest.raises(PrivacyRefusedError, match="in each group"):
        verdicts([[40, 40, 20, 0], [2, 1, 1, 0]])


def test_no_variant_left_says_why() -> None:
    counts = np.array([[[0, 0, 0, 50.0]], [[50.0, 0, 0, 0]]])
    with pytest.raises(InvalidInputError, match="'at no site': 1, 'one allele only': 1"):
        judge(counts, np.zeros(2), rules=ANY, threshold=5)
