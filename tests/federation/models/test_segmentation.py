"""Segmentation: Dice as scikit-learn has it, sums that add up, a loss that points to the mask, and a U-Net that keeps patients apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, log_loss

from federation.errors import InternalError, ManifestError
from federation.models.build import build_model
from federation.models.losses import record_losses
from federation.models.metrics import MetricSums, metric_sums
from federation.models.parameters import flatten, load
from federation.models.segmentation import agreement, record_dice
from federation.models.spec import UnetSpec
from federation.models.stacked.network import stacked_network
from federation.privacy.independence import check_independence

SPEC = UnetSpec(kind="unet", image_shape=(1, 12, 16), channels=(4, 8, 8))
PIXELS = 12 * 16


def network(spec: UnetSpec = SPEC, *, private: bool = True) -> torch.nn.Module:
    size = int(np.prod(spec.image_shape))
    return build_model(
        spec, task="segmentation", num_features=size, num_outputs=size // spec.image_shape[0], private=private
    )


def drawn(records: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(records, PIXELS)).astype(np.float32)
    masks = (generator.random((records, PIXELS)) < generator.random((records, 1))).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(masks)


def test_dice_is_that_of_scikit_learn_record_by_record_and_over_all_pixels() -> None:
    logits, masks = drawn(17)
    found = agreement(logits, masks).numpy().astype(np.float64)
    truth, said = masks.numpy(), logits.numpy() > 0
    np.testing.assert_allclose(
        record_dice(found), [f1_score(a, b) for a, b in zip(truth, said, strict=True)], rtol=1e-6
    )
    figures = metric_sums("segmentation", found, np.zeros(17), score_bins=10).derive()
    assert figures["dice"] == pytest.approx(np.mean([f1_score(a, b) for a, b in zip(truth, said, strict=True)]))
    assert figures["pixel_dice"] == pytest.approx(f1_score(truth.ravel(), said.ravel()))
    risks = torch.sigmoid(logits).numpy().astype(np.float64)
    assert figures["log_loss"] == pytest.approx(log_loss(truth.ravel(), risks.ravel()), rel=1e-5)
    assert figures["count"] == 17


def test_empty_masks() -> None:
    nothing, everything = torch.full((1, PIXELS), -5.0), torch.full((1, PIXELS), 5.0)
    empty = torch.zeros(1, PIXELS)
    assert record_dice(agreement(nothing, empty).numpy().astype(float)) == 1
    assert record_dice(agreement(everything, empty).numpy().astype(float)) == 0
    assert record_dice(agreement(nothing, empty + 1).numpy().astype(float)) == 0
    assert metric_sums("segmentation", np.zeros((0, 4)), np.zeros(0), score_bins=10).derive() == {"count": 0.0}


def test_sums_of_sites_add_up_to_the_sum_over_all_records_and_survive_the_wire() -> None:
    logits, masks = drawn(20)
    found = agreement(logits, masks).numpy()
    parts = [metric_sums("segmentation", part, np.zeros(len(part)), score_bins=10) for part in (found[:7], found[7:])]
    whole = metric_sums("segmentation", found, np.zeros(20), score_bins=10)
    for name, array in (parts[0] + parts[1]).arrays.items():
        np.testing.assert_allclose(array, whole.arrays[name], rtol=1e-12)
    assert MetricSums.from_arrays("segmentation", whole.to_arrays()).derive() == whole.derive()


def test_the_loss_is_of_each_record_alone_and_smallest_at_the_mask() -> None:
    logits, masks = drawn(5)
    losses = record_losses("segmentation", logits, masks)
    assert losses.shape == (5,)
    alone = torch.cat([record_losses("segmentation", logits[n : n + 1], masks[n : n + 1]) for n in range(5)])
    torch.testing.assert_close(losses, alone)
    right, wrong = 20 * (2 * masks - 1), -20 * (2 * masks - 1)
    assert (record_losses("segmentation", right, masks) < 1e-3).all()
    assert (record_losses("segmentation", wrong, masks) > 10).all()
    said = torch.sigmoid(logits.double())
    soft = 1 - (2 * (said * masks).sum(1) + 1) / (said.square().sum(1) + masks.sum(1) + 1)
    entropy = -(masks * said.log() + (1 - masks) * (1 - said).log()).mean(1)
    torch.testing.assert_close(losses.double(), soft + entropy, rtol=1e-5, atol=1e-6)
    with pytest.raises(InternalError):
        record_losses("segmentation", logits, masks[:, :-1])


def test_an_empty_mask_has_a_finite_loss_and_gradient() -> None:
    logits = torch.full((2, PIXELS), -30.0, requires_grad=True)
    record_losses("segmentation", logits, torch.zeros(2, PIXELS)).sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("normalisation", ["none", "layer", "group"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_unet_keeps_records_apart(normalisation: str, depth: int) -> None:
    spec = SPEC.model_copy(update={"normalisation": normalisation, "image_shape": (depth, 12, 16)})
    module = network(spec)
    check_independence(module, (depth * PIXELS,))
    assert module(torch.zeros(3, depth * PIXELS)).shape == (3, PIXELS)
    assert stacked_network(module) is None
    load(module, flatten(module) * 0.5)


def test_the_unet_sees_neighbours_and_its_skips() -> None:
    module = network().eval()
    image = torch.zeros(1, PIXELS)
    with torch.no_grad():
        plain = module(image)
        moved = image.clone()
        moved[0, 5 * 16 + 5] = 1.0
        change = (module(moved) - plain).abs().reshape(12, 16)
    assert change[5, 5] > 0
    assert (change > 0).sum() > 9


def test_a_unet_learns_to_mark_bright_squares() -> None:
    generator = np.random.default_rng(1)
    masks = np.zeros((24, 12, 16), dtype=np.float32)
    for mask in masks:
        row, column = generator.integers(1, 8), generator.integers(1, 11)
        mask[row : row + 4, column : column + 4] = 1
    images = torch.from_numpy((masks - 0.5 + 0.3 * generator.normal(size=masks.shape)).astype(np.float32)).flatten(1)
    truth = torch.from_numpy(masks).flatten(1)
    module = network()
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        record_losses("segmentation", module(images), truth).mean().backward()
        optimiser.step()
    with torch.no_grad():
        assert record_dice(agreement(module(images), truth).numpy().astype(float)).mean() > 0.9


@pytest.mark.parametrize(
    "change", [{"image_shape": (1, 12, 15)}, {"channels": (4, 8, 8, 8)}, {"image_shape": (1, 10, 16)}]
)
def test_a_unet_that_does_not_fit_is_refused(change: dict) -> None:
    with pytest.raises(ManifestError):
        build_model(
            SPEC.model_copy(update=change), task="segmentation", num_features=PIXELS, num_outputs=PIXELS, private=True
        )
