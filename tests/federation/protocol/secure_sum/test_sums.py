"""The opened sum is the plain sum of the survivors' numbers, bit for bit, whoever drops out when."""

from __future__ import annotations

import numpy as np
import pytest

from federation.protocol.secure_sum.terms import KeyBatch
from tests.federation.protocol.secure_sum.consortium import Consortium, run_round


def vectors(consortium: Consortium, size: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {site: generator.integers(-1000, 1000, size) for site in consortium.sites}


def plain(values: dict[str, np.ndarray], survivors: tuple[str, ...], dtype=np.uint32) -> np.ndarray:
    return sum(values[site] for site in survivors).astype(dtype)


@pytest.mark.parametrize("sites", [3, 4, 10])
def test_an_undisturbed_sum_is_exact(sites: int) -> None:
    consortium = Consortium.of(sites)
    ready, held = consortium.agree(KeyBatch(purpose="train", first_round=1, rounds=2))
    for number in (1, 2):
        values = vectors(consortium, size=30_000, seed=number)
        wide = {site: array[:3] * 2**30 for site, array in values.items()}
        opened = run_round(consortium, ready, held, values, round_number=number, statistics=wide)
        assert opened.survivors == tuple(consortium.sites)
        assert np.array_equal(opened.updates, plain(values, opened.survivors))
        assert np.array_equal(opened.statistics, plain(wide, opened.survivors, np.uint64))
