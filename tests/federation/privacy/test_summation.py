"""A sum that is cut to the grid once moves by at most the clipping norm; without room for rounding it would not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from federation.privacy.clipping import GRID_BITS
from federation.privacy.summation import clipping_factors, cut_to_grid, leaves_room, room_for_rounding, working_norm

BITS, SIZE = 10, 60


def _moved(norm: float) -> float:
    """How far, in grid steps, a patient with a gradient of this norm moves a sum just below the next grid point everywhere."""
    others = (np.arange(SIZE) + 1 - 1e-6) * 2.0**-BITS
    patient = np.full(SIZE, norm / math.sqrt(SIZE))
    without, with_patient = (
        cut_to_grid(torch.from_numpy(total), clipping_norm=1.0, grid_bits=BITS).numpy()
        for total in (others.copy(), others + patient)
    )
    return float(np.linalg.norm(with_patient - without))


def test_the_promised_norm_bounds_the_cut_sum() -> None:
    assert _moved(working_norm(1.0, num_parameters=SIZE, grid_bits=BITS)) <= 2**BITS


def test_without_room_it_would_not() -> None:
    assert _moved(1.0 - 1e-5) > 2**BITS


@pytest.mark.parametrize("size", [1, 2_000, 10**6])
def test_room_is_small_and_grows_with_the_model(size: int) -> None:
    room = room_for_rounding(size)
    assert 2.0**-11 < room < 1e-3
    assert room == pytest.approx(2.0**-11 + math.sqrt(size) * 2.0**-GRID_BITS)
    assert working_norm(0.5, num_parameters=size) == 0.5 * (1 - room)


def test_a_grid_too_coarse_for_the_model_is_known() -> None:
    assert leaves_room(10**6)
    assert not leaves_room(10**6, grid_bits=12)


def test_factors_shorten_and_leave_out() -> None:
    norms = torch.tensor([0.0, 0.5, 2.0, 4.0, math.inf, math.nan], dtype=torch.float64)
    assert clipping_factors(norms, 2.0).tolist() == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]


def test_whole_numbers_towards_zero() -> None:
    total = torch.tensor([1.9, -1.9, 0.5], dtype=torch.float64) * 2.0**-BITS
    assert cut_to_grid(total, clipping_norm=1.0, grid_bits=BITS).tolist() == [1.0, -1.0, 0.0]
