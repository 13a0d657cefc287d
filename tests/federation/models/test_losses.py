"""Losses and scores against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from federation.errors import InternalError
from federation.models.losses import record_losses, scores

OUTPUTS = torch.tensor([[0.3], [-2.0], [4.0]])
CLASSES = torch.tensor([[0.1, 0.2, -0.3], [2.0, 0.0, 1.0]])


def test_binary() -> None:
    outcomes = torch.tensor([1.0, 0.0, 0.0])
    p = 1 / (1 + np.exp(-OUTPUTS.numpy()[:, 0]))
    np.testing.assert_allclose(scores("binary", OUTPUTS).numpy(), p, rtol=1e-6)
    expected = -(outcomes.numpy() * np.log(p) + (1 - outcomes.numpy()) * np.log(1 - p))
    np.testing.assert_allclose(record_losses("binary", OUTPUTS, outcomes).numpy(), expected, rtol=1e-5)


def test_multiclass() -> None:
    exponentials = np.exp(CLASSES.numpy())
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores("multiclass", CLASSES).numpy(), p, rtol=1e-6)
    losses = record_losses("multiclass", CLASSES, torch.tensor([2.0, 0.0]))
    np.testing.assert_allclose(losses.numpy(), -np.log(p[[0, 1], [2, 0]]), rtol=1e-5)


def test_regression() -> None:
    outcomes = torch.tensor([1.0, 0.0, 4.5])
    assert torch.equal(scores("regression", OUTPUTS), OUTPUTS[:, 0])
    expected = (OUTPUTS[:, 0] - outcomes).square()
    assert torch.equal(record_losses("regression", OUTPUTS, outcomes), expected)


def test_extreme_logits_stay_finite() -> None:
    extreme = torch.tensor([[1e4], [-1e4]])
    assert torch.isfinite(record_losses("binary", extreme, torch.tensor([0.0, 1.0]))).all()


@pytest.mark.parametrize(
    ("task", "outputs", "records"), [("binary", (3, 2), 3), ("regression", (3, 1), 2), ("multiclass", (3,), 3)]
)
def test_shapes_that_do_not_fit_are_refused(task: str, outputs: tuple[int, ...], records: int) -> None:
    with pytest.raises(InternalError, match="outputs"):
        record_losses(task, torch.zeros(outputs), torch.zeros(records))
