"""The replay notices what it is for: each fault below is planted, and the neighbours part.

The faults stand in the shipped code only while their test runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from federation.privacy import clipping
from federation.privacy.promise import MechanismSpec
from site_client import dp_step, patient_gradients, training
from site_client.augmentation import Augmentation
from site_client.dp_step import PatientGradients
from site_client.patients import PatientDataset
from tests.replay.cases import Training
from tests.replay.kernel_faults import KERNEL_FAULTS
from tests.replay.neighbours import FEATURES, ODD, Neighbours, neighbours
from tests.replay.tape import DivergenceError

Patch = pytest.MonkeyPatch
Fault = Callable[[Patch], None]


def through_opacus(patch: Patch) -> None:
    """As for a network that the kernels do not cover."""
    for module in (patient_gradients, training):
        patch.setattr(module, "stacked_network", lambda _: None)


def no_clip(patch: Patch) -> None:
    through_opacus(patch)
    patch.setattr(
        dp_step,
        "clipped_sum",
        lambda rows, *, clipping_norm, **_: np.trunc(rows * (2.0**24 / clipping_norm)).sum(axis=0),
    )


def clip_per_record(patch: Patch) -> None:
    through_opacus(patch)

    def record_by_record(self: PatientGradients, patients: np.ndarray, *, clipping_norm: float, **_: int) -> np.ndarray:
        rows, _ = self._rows_of(patients)
        if not len(rows):
            return np.zeros(self._size)
        gradients = self._record_gradients(rows).to(torch.float64).numpy()
        return clipping.clipped_sum(gradients, clipping_norm=clipping_norm)

    patch.setattr(PatientGradients, "clipped_sum", record_by_record)


def clip_coordinates(patch: Patch) -> None:
    """Each coordinate is bounded, the norm is not."""
    through_opacus(patch)

    def bounded(rows: np.ndarray, *, clipping_norm: float, **_: int) -> np.ndarray:
        return clipping.to_grid(
            np.clip(np.nan_to_num(rows), -clipping_norm, clipping_norm), clipping_norm=clipping_norm
        ).sum(axis=0)

    patch.setattr(dp_step, "clipped_sum", bounded)


def normalise_the_sum(patch: Patch) -> None:
    """The sum of all patients is clipped as one."""
    through_opacus(patch)

    def as_one(rows: np.ndarray, *, clipping_norm: float, **_: int) -> np.ndarray:
        return clipping.to_grid(np.nan_to_num(rows).sum(axis=0) * 3, clipping_norm=clipping_norm)

    patch.setattr(dp_step, "clipped_sum", as_one)


def _wrapped_gradients(patch: Patch, change: Callable[[MechanismSpec, PatientDataset], MechanismSpec]) -> None:
    original = training._private_gradients

    def changed(
        model: nn.Module, augmentation: Augmentation, *, mechanism: MechanismSpec, **rest: object
    ) -> Iterator[torch.Tensor]:
        return original(model, augmentation, mechanism=change(mechanism, augmentation.dataset), **rest)

    patch.setattr(training, "_private_gradients", changed)


def steps_by_number_of_patients(patch: Patch) -> None:
    original = training._private_gradients

    def shorter(model: nn.Module, augmentation: Augmentation, **rest: object) -> Iterator[torch.Tensor]:
        return itertools.islice(original(model, augmentation, **rest), 1 + augmentation.dataset.num_patients % 3)

    patch.setattr(training, "_private_gradients", shorter)


def divisor_by_number_of_patients(patch: Patch) -> None:
    _wrapped_gradients(
        patch, lambda mechanism, data: mechanism.model_copy(update={"divisor": float(max(1, data.num_patients))})
    )


def probability_by_number_of_patients(patch: Patch) -> None:
    _wrapped_gradients(
        patch,
        lambda mechanism, data: mechanism.model_copy(update={"sampling_numerator": 2**53 // max(1, data.num_patients)}),
    )


def noise_by_number_of_patients(patch: Patch) -> None:
    _wrapped_gradients(
        patch,
        lambda mechanism, data: mechanism.model_copy(
            update={"noise_multiplier": mechanism.noise_multiplier * int(0.7 * data.num_patients + 1)}
        ),
    )


def learning_rate_by_number_of_patients(patch: Patch) -> None:
    seen: list[PatientDataset] = []
    original = training._optimiser
    _wrapped_gradients(patch, lambda mechanism, data: seen.append(data) or mechanism)
    patch.setattr(
        training, "_optimiser", lambda theta, spec, rate: original(theta, spec, rate / max(1, seen[-1].num_patients))
    )


def early_stop_on_loss(patch: Patch) -> None:
    original = training._private_gradients

    def stopping(model: nn.Module, augmentation: Augmentation, **rest: object) -> Iterator[torch.Tensor]:
        from federation.models.losses import record_losses

        dataset = augmentation.dataset
        for gradient in original(model, augmentation, **rest):
            yield gradient
            with torch.no_grad():
                outputs = model(torch.from_numpy(dataset.features))
                losses = record_losses("binary", outputs, torch.from_numpy(dataset.outcomes))
            if float(losses.sum()) < 60:
                return

    patch.setattr(training, "_private_gradients", stopping)


def truncated_draw(patch: Patch) -> None:
    through_opacus(patch)
    original = PatientGradients.clipped_sum
    patch.setattr(PatientGradients, "clipped_sum", lambda self, patients, **rest: original(self, patients[:4], **rest))


def empty_draw_skipped(patch: Patch) -> None:
    original = training._private_gradients

    def skipping(model: nn.Module, augmentation: Augmentation, **rest: object) -> Iterator[torch.Tensor]:
        return iter(()) if augmentation.dataset.num_patients == 0 else original(model, augmentation, **rest)

    patch.setattr(training, "_private_gradients", skipping)


def unclipped_when_alone(patch: Patch) -> None:
    """A mistake of physical batches: a patient that ends a batch is added as it is."""
    through_opacus(patch)
    original = clipping.clipped_sum

    def careless(rows: np.ndarray, *, clipping_norm: float, **_: int) -> np.ndarray:
        if len(rows) == 1:
            return clipping.to_grid(np.nan_to_num(rows), clipping_norm=clipping_norm).sum(axis=0)
        return original(rows, clipping_norm=clipping_norm)

    patch.setattr(dp_step, "clipped_sum", careless)


def nan_reaches_the_sum(patch: Patch) -> None:
    through_opacus(patch)
    original = clipping.clip

    def careless(gradients: np.ndarray, *, clipping_norm: float, **_: int) -> np.ndarray:
        clipped = original(gradients, clipping_norm=clipping_norm)
        clipped[~np.isfinite(gradients).all(axis=1)] = np.nan
        return clipped

    patch.setattr(clipping, "clip", careless)


def refuses_unusable_patients(patch: Patch) -> None:
    """Whether a site refuses would tell whether it has such a patient."""
    original = training._admit

    def strict(model: nn.Module, dataset: PatientDataset, **rest: object) -> object:
        if not np.isfinite(dataset.features).all():
            raise DivergenceError("the neighbour trains, this site refuses")
        return original(model, dataset, **rest)

    patch.setattr(training, "_admit", strict)


def counts_in_the_reply(patch: Patch) -> None:
    """An output that nobody charged: the number of patients in the last coordinate."""
    original = training._finite

    def telling(parameters: np.ndarray, round_number: int) -> np.ndarray:
        parameters[-1] += 1e-3 * seen[-1].num_patients
        return original(parameters, round_number)

    seen: list[PatientDataset] = []
    _wrapped_gradients(patch, lambda mechanism, data: seen.append(data) or mechanism)
    patch.setattr(training, "_finite", telling)


FAULTS: dict[str, tuple[Fault, str]] = {
    **KERNEL_FAULTS,
    "no clip": (no_clip, "distance"),
    "clip per record": (clip_per_record, "distance"),
    "clip per coordinate": (clip_coordinates, "distance"),
    "the sum normalised instead of the patients": (normalise_the_sum, "distance"),
    "steps by the number of patients": (steps_by_number_of_patients, "control flow"),
    "divisor by the number of patients": (divisor_by_number_of_patients, "parameters"),
    "probability by the number of patients": (probability_by_number_of_patients, "sampling"),
    "noise by the number of patients": (noise_by_number_of_patients, "parameters"),
    "learning rate by the number of patients": (learning_rate_by_number_of_patients, "distance|outcome"),
    "early stop on the loss": (early_stop_on_loss, "control flow"),
    "truncated draw": (truncated_draw, "distance"),
    "unclipped at the end of a batch": (unclipped_when_alone, "distance"),
    "empty data set skipped": (empty_draw_skipped, "control flow"),
    "NaN reaches the sum": (nan_reaches_the_sum, "distance|finite"),
    "unusable patients refused": (refuses_unusable_patients, "refuses"),
    "number of patients in the reply": (counts_in_the_reply, "outcome"),
}


CASE = Training(clipping_norm=0.5)


def _found(case: Training, pairs: list[Neighbours]) -> list[str]:
    """What each pair shows, both ways round."""
    found: list[str] = []
    for pair in pairs:
        for shrinks in (True, False):
            try:
                pair.check(case, shrinks=shrinks, seed=1)
            except Exception as failure:  # noqa: BLE001 - a crash on one neighbour only tells them apart, too
                found.append(str(failure))
    return found


def _pairs() -> list[Neighbours]:
    empty = neighbours("ordinary", task="binary", seed=2, others=0)
    return [empty, *(neighbours(odd, task="binary", seed=seed, position=0) for seed, odd in enumerate(ODD))]


def test_without_a_fault_they_follow() -> None:
    assert _found(CASE, _pairs()) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_parts_the_neighbours(name: str, monkeypatch: Patch) -> None:
    fault, kind = FAULTS[name]
    fault(monkeypatch)
    found = _found(CASE, _pairs())
    assert any(part in message for part in kind.split("|") for message in found), found


class _MinusSum(nn.Module):
    """Mixes records as batch normalisation does, without a layer that anyone could recognise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.sum(0)


def test_a_model_that_mixes_patients_parts_the_neighbours(monkeypatch: Patch) -> None:
    def network() -> nn.Module:
        mixing = nn.Sequential(nn.Linear(FEATURES, 3), _MinusSum(), nn.Tanh(), nn.Linear(3, 1))
        with torch.no_grad():
            for number, parameter in enumerate(mixing.parameters()):
                parameter.copy_(torch.linspace(-1, 1 + number, parameter.numel()).view_as(parameter))
        return mixing

    case = Training(network=network)
    assert all("expected what a record gives" in message for message in _found(case, _pairs())), "it is refused"
    monkeypatch.setattr(training, "check_independence", lambda *_: None)
    assert any(message.startswith("distance") for message in _found(case, _pairs()))
