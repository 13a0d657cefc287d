"""A machine on which a record's place in a pass shows is found, and nothing private is computed there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Hashable

import numpy as np
import pytest
import torch
from torch import nn

from federation.errors import PrivacyRefusedError
from federation.models.build import build_model
from federation.models.spec import Cnn1dSpec, CnnSpec, GruSpec, LinearSpec, MlpSpec, ModelSpec
from federation.models.stacked.layers import LinearLayer
from federation.models.task_terms import DiscreteTimeTerms, Objective, QuantileTerms
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import seeded_streams
from federation.privacy.sampling import PROBABILITY_DENOMINATOR
from site_client import row_order
from site_client.evaluation import check_scores
from site_client.paid_evaluation import release_counts
from site_client.patient_gradients import patient_gradients
from site_client.patients import PatientDataset
from site_client.row_order import Measured, check_row_order, drawn_dataset
from tests.paid_study import paid_manifest, records_of

WIDTH, LENGTH = 64, 96
SPECS: dict[str, ModelSpec] = {
    "linear": LinearSpec(kind="linear"),
    "odd widths": MlpSpec(kind="mlp", hidden=(33, 7), activation="tanh", normalisation="layer"),
    "cnn": CnnSpec(kind="cnn", image_shape=(1, 8, 8), channels=(4, 8), normalisation="group"),
    "cnn over time": Cnn1dSpec(kind="cnn1d", signal_shape=(2, 32), channels=(4, 8), normalisation="group"),
    "gru": GruSpec(kind="gru", signal_shape=(2, 32), hidden=7, step_samples=4),
}
TASKS: dict[str, tuple[Objective, int]] = {
    "binary": ("binary", 1),
    "multiclass": ("multiclass", 3),
    "count": ("count", 1),
    "quantile": (QuantileTerms(levels=(0.1, 0.5)), 2),
    "survival": (DiscreteTimeTerms(edges=(1.0, 2.0, 5.0)), 3),
}
EDGE = torch.tensor(1.0 + 2.0**-18)


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> set[Hashable]:
    """What was found alike in this test."""
    found: set[Hashable] = set()
    monkeypatch.setattr(row_order, "_FOUND_ALIKE", found)
    return found


class PlaceShows(nn.Module):
    """The last record of a pass has other last bits."""

    def forward(self, records: torch.Tensor) -> torch.Tensor:
        factors = torch.ones(len(records), *[1] * (records.dim() - 1))
        factors[-1] = EDGE
        return records * factors


def _dataset(task: Objective, records: int = LENGTH) -> PatientDataset:
    empty = PatientDataset(
        np.zeros((0, WIDTH), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int64),
        [f"x{n}" for n in range(WIDTH)],
    )
    return drawn_dataset(empty, task=task, length=records)


def _try_gradients(model: nn.Module, task: Objective, *, pass_records: int = LENGTH) -> None:
    mechanism = MechanismSpec(
        clipping_norm=1.0,
        noise_multiplier=1.0,
        sampling_numerator=PROBABILITY_DENOMINATOR // 2,
        steps_per_round=1,
        rounds=1,
        divisor=LENGTH / 2,
    )
    with patient_gradients(model, _dataset(task), task=task, mechanism=mechanism, pass_records=pass_records) as sums:
        sums.clipped_sum(np.arange(3), clipping_norm=1.0)


def _model(spec: ModelSpec, task: Objective, outputs: int) -> nn.Module:
    return build_model(spec, task=task, num_features=WIDTH, num_outputs=outputs, private=True)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SPECS)
def test_this_machine_treats_rows_alike(name: str, task: str, tried: set[Hashable]) -> None:
    objective, outputs = TASKS[task]
    model = _model(SPECS[name], objective, outputs)
    _try_gradients(model.train(), objective)
    check_scores(model, _dataset(objective), task=objective)
    assert len(tried) == 2


@pytest.mark.parametrize("pass_records", [LENGTH, 33])
def test_kernels_in_which_a_place_shows_are_refused(monkeypatch: pytest.MonkeyPatch, pass_records: int) -> None:
    forward = LinearLayer.forward

    def shows(self: LinearLayer, theta: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, object]:
        said, cache = forward(self, theta, values)
        said[:, 1] *= EDGE
        return said, cache

    model = _model(SPECS["odd widths"], "binary", 1)
    monkeypatch.setattr(LinearLayer, "forward", shows)
    with pytest.raises(PrivacyRefusedError, match="same bits wherever in a pass it lies"):
        _try_gradients(model, "binary", pass_records=pass_records)
    monkeypatch.undo()
    _try_gradients(model, "binary", pass_records=pass_records)  # a refusal is not remembered as a success


def test_networks_for_opacus_and_scores_in_which_a_place_shows_are_refused() -> None:
    model = nn.Sequential(PlaceShows(), nn.Linear(WIDTH, 1))
    with pytest.raises(PrivacyRefusedError, match="same bits"):
        _try_gradients(model, "binary")
    with pytest.raises(PrivacyRefusedError, match="same bits"):
        check_scores(model, _dataset("binary"), task="binary")


def test_nothing_paid_is_evaluated_where_a_place_shows() -> None:
    study = paid_manifest()
    records, streams = records_of(study, [1] * 5), seeded_streams(0, provenance="synthetic")
    model = nn.Sequential(PlaceShows(), nn.Linear(records.features.shape[1], 1))
    with pytest.raises(PrivacyRefusedError, match="same bits"):
        release_counts(model, records, manifest=study, generator=streams.stream("noise"))


def test_what_was_tried_is_tried_again_only_for_another_case() -> None:
    measurements: list[int] = []

    def measured() -> Measured:
        measurements.append(1)
        return lambda rows: rows.astype(np.float64)

    for length, case in [(16, "a"), (16, "a"), (32, "a"), (16, "b"), (1, "c")]:
        check_row_order(measured, length=length, case=case)
    assert len(measurements) == 3


@pytest.mark.parametrize("place", [0, 1, 7, 14, 15])
def test_one_place_that_shows_is_enough(place: int) -> None:
    def measure(rows: np.ndarray) -> np.ndarray:
        values = rows.astype(np.float64)
        values[place] += 0.5
        return values

    with pytest.raises(PrivacyRefusedError):
        check_row_order(lambda: measure, length=16, case="planted")


@pytest.mark.parametrize("given", [None, "COMPATIBLE"])
def test_products_are_reproducible_before_anything_is_computed(given: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", "import federation, os; print(os.environ['MKL_CBWR'])"],
        env=environment | ({} if given is None else {"MKL_CBWR": given}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == (given or "AUTO")
