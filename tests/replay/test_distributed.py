"""The replay of distributed noise: neighbours move a site's share of a secure sum by no more than the clipping norm."""

from __future__ import annotations

import numpy as np
import pytest

from federation.privacy.distributed import NoiseShare
from federation.privacy.randomness import seeded_streams
from site_client import dp_step, kernel_step, patient_gradients
from site_client.distributed_step import noisy_gradient_sum
from site_client.patients import PatientDataset
from tests.replay.cases import MODELS, TASKS, Training
from tests.replay.neighbours import ODD, neighbours
from tests.replay.tape import DivergenceError

SHARE = NoiseShare.of(0.8, shares=3)


def _run(training: Training):
    def run(dataset: PatientDataset) -> bytes:
        return noisy_gradient_sum(
            training.start().train(),
            dataset,
            task=training.task,
            mechanism=training.mechanism,
            share=SHARE,
            streams=seeded_streams(5, provenance="synthetic").child("distributed", 1),
        ).tobytes()

    return run


@pytest.mark.parametrize("shrinks", [True, False], ids=["removed", "added"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", MODELS)
def test_neighbours_follow_the_tape(model: str, task: str, shrinks: bool) -> None:
    largest = 0.0
    for number, odd in enumerate(ODD):
        training = Training(model=model, task=task, numerator=2**53 if number % 2 else 2**52, clipping_norm=0.5)
        pair = neighbours(odd, task=task, seed=number)
        tape, used = pair.check(_run(training), shrinks=shrinks, seed=number)
        assert [release.point for release in tape.releases] == ["noisy_share"]
        assert len(tape.draws) == 1
        largest = max(largest, used)
    assert largest > 0.9, "a large patient reaches the bound"


def _no_clip(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        dp_step,
        "clipped_sum",
        lambda rows, *, clipping_norm, grid_bits, **_: np.trunc(rows * (2.0**grid_bits / clipping_norm)).sum(axis=0),
    )


def _finer_grid(patch: pytest.MonkeyPatch) -> None:
    original = dp_step.clipped_sum
    patch.setattr(
        dp_step, "clipped_sum", lambda rows, *, clipping_norm, grid_bits, **_: original(
            rows, clipping_norm=clipping_norm, grid_bits=grid_bits + 1
        )
    )  # fmt: skip


def _weighted_by_patients(patch: pytest.MonkeyPatch) -> None:
    original = dp_step.PatientGradients.clipped_sum
    patch.setattr(
        dp_step.PatientGradients,
        "clipped_sum",
        lambda self, patients, *, clipping_norm: (
            original(self, patients, clipping_norm=clipping_norm) * self._dataset.num_patients
        ),
    )


def _finer_grid_in_kernels(patch: pytest.MonkeyPatch) -> None:
    original = kernel_step.cut_to_grid
    patch.setattr(
        kernel_step,
        "cut_to_grid",
        lambda total, *, clipping_norm, grid_bits: original(
            total, clipping_norm=clipping_norm, grid_bits=grid_bits + 1
        ),
    )


@pytest.mark.parametrize(
    ("fault", "covered"),
    [(_no_clip, False), (_finer_grid, False), (_weighted_by_patients, False), (_finer_grid_in_kernels, True)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_parts_the_neighbours(fault, covered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not covered:
        monkeypatch.setattr(patient_gradients, "stacked_network", lambda _: None)
    fault(monkeypatch)
    with pytest.raises(DivergenceError, match="distance"):
        neighbours("large", task="binary", seed=3).check(_run(Training(numerator=2**53)), shrinks=True, seed=1)
