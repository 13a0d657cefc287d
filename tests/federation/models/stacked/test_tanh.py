"""The tangent of the kernels against float64's."""

from __future__ import annotations

import pytest
import torch

from federation.models.stacked.tanh import tanh_

ABSOLUTE = 2e-7


def test_it_is_the_tangent_to_float32s_last_bits() -> None:
    values = torch.cat([torch.linspace(-12, 12, 200_001), torch.linspace(-1e-3, 1e-3, 10_001)])
    exact = torch.tanh(values.double())
    found = tanh_(values.clone())
    assert (found.double() - exact).abs().max() < ABSOLUTE
    assert found.abs().max() == 1.0
    assert (found.diff()[:200_000] >= -ABSOLUTE).all()


def test_what_has_no_tangent_between_has_its_limits() -> None:
    found = tanh_(torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 0.0, -0.0]))
    assert found[0].isnan()
    assert found[1:].tolist() == [1.0, -1.0, 1.0, -1.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_in_place_and_in_the_type_of_its_values(dtype: torch.dtype) -> None:
    values = torch.linspace(-2, 2, 64, dtype=dtype).view(2, 32)
    found = tanh_(values)
    assert found is values
    torch.testing.assert_close(
        values, torch.tanh(torch.linspace(-2, 2, 64, dtype=dtype)).view(2, 32), rtol=0, atol=ABSOLUTE
    )
