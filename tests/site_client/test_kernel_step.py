"""The kernels' clipped sums against Opacus', patient by patient: short and long, many records, cancelling, unusable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.benchmarks.workload import CNN, CNN_FEATURES, SMALL_MLP, WIDE_MLP
from federation.errors import InvalidInputError
from federation.models.build import build_model
from federation.models.parameters import flatten
from federation.models.spec import LinearSpec, MlpSpec, ModelSpec
from federation.models.stacked.network import stacked_network
from federation.privacy.summation import LONGEST_PASS, MOST_RECORDS, SHORTEST_PASS, room_for_rounding
from site_client import kernel_step
from site_client.dp_step import PatientGradients
from site_client.kernel_step import KernelGradients, pass_length
from site_client.patients import PatientDataset

FEATURES = 6
SPECS: dict[str, ModelSpec] = {
    "linear": LinearSpec(kind="linear"),
    "mlp": MlpSpec(kind="mlp", hidden=(5, 3), normalisation="layer"),
}


def _data(lengths: list[int], *, seed: int = 0) -> PatientDataset:
    generator = np.random.default_rng(seed)
    index = np.repeat(np.arange(len(lengths)), lengths)
    features = generator.normal(size=(len(index), FEATURES)).astype(np.float32)
    outcomes = generator.integers(0, 2, len(index)).astype(np.float32)
    return PatientDataset(features, outcomes, index, tuple(f"x{n}" for n in range(FEATURES)))


def _sums(
    spec: ModelSpec, data: PatientDataset, *, norm: float, records: int = 32, undecided: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Of all patients: by the kernels, by Opacus. An undecided model says one half of everybody."""
    model = build_model(spec, task="binary", num_features=FEATURES, num_outputs=1, private=True).train()
    if undecided:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
    network, theta = stacked_network(model), torch.from_numpy(flatten(model)).unsqueeze(0)
    assert network is not None
    everybody = np.arange(data.num_patients)
    kernels = KernelGradients(model, network, theta, data, task="binary", pass_records=records)
    ours = kernels.clipped_sum(everybody, clipping_norm=norm)
    with PatientGradients(model, data, task="binary") as gradients:
        return ours, gradients.clipped_sum(everybody, clipping_norm=norm)


def _close(ours: np.ndarray, theirs: np.ndarray, patients: int) -> bool:
    """One grid step a patient, float32's last bits, and the room by which clipped gradients are shorter."""
    room = patients * 2**24 * room_for_rounding(ours.size)
    return bool(np.linalg.norm(ours - theirs) <= room + 2e-6 * np.linalg.norm(theirs) + patients * np.sqrt(ours.size))


@pytest.mark.parametrize("norm", [0.05, 1e3], ids=["all clipped", "none clipped"])
@pytest.mark.parametrize(
    "lengths",
    [[1] * 70, [1, 2, 5, 1, 31, 32, 33, 40, 1], [100]],
    ids=["single records", "several", "longer than a pass"],
)
@pytest.mark.parametrize("name", SPECS)
def test_sums_are_those_of_opacus(name: str, lengths: list[int], norm: float) -> None:
    data = _data(lengths)
    ours, theirs = _sums(SPECS[name], data, norm=norm)
    assert np.array_equal(ours, np.rint(ours))
    assert _close(ours, theirs, data.num_patients)


@pytest.mark.parametrize("records", [100, 40], ids=["longer than a pass", "cancelling"])
def test_a_patient_apart_leaves_room_for_what_moves_with_it(records: int) -> None:
    # Adding it moves the others' sum in its last bits: its own part must not take all of the clipping norm.
    data = _data([records])
    features = data.features.copy()
    if records == 40:
        features[:] = np.where(np.arange(records)[:, None] % 2, 30.0, 30.5)
    outcomes = np.tile([0.0, 1.0], records // 2).astype(np.float32)
    odd = PatientDataset(features.astype(np.float32), outcomes, data.patient_index, data.feature_names)
    ours, theirs = _sums(SPECS["linear"], odd, norm=0.01, records=64)
    assert np.linalg.norm(theirs) > 2**24 * (1 - 1e-5), "it is clipped"
    assert np.linalg.norm(ours) <= 2**24 * (1 - room_for_rounding(ours.size))


@pytest.mark.parametrize("left", [0.0, 1e-3], ids=["to nothing", "to little"])
def test_patients_whose_records_cancel_are_counted_once(left: float) -> None:
    data = _data([1, 40, 1])
    features, outcomes = data.features.copy(), data.outcomes.copy()
    features[1:41], outcomes[1:41] = 30.0, np.tile([0.0, 1.0], 20)
    features[1:41:2] += 30.0 * left  # what is left of such a patient is clipped, and counts in full
    odd = PatientDataset(features, outcomes, data.patient_index, data.feature_names)
    ours, theirs = _sums(SPECS["linear"], odd, norm=0.1, records=64, undecided=True)
    alone = PatientDataset(features[1:41], outcomes[1:41], np.zeros(40, np.int64), data.feature_names)
    assert (np.linalg.norm(_sums(SPECS["linear"], alone, norm=0.1, undecided=True)[1]) > 2**23) == (left > 0)
    assert _close(ours, theirs, 3)
    assert np.linalg.norm(theirs) > 2**20


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38], ids=str)
@pytest.mark.parametrize("lengths", [[1] * 40, [2] * 20], ids=["single", "pairs"])
def test_an_unusable_record_leaves_out_its_patient_and_nobody_else(lengths: list[int], value: float) -> None:
    data = _data(lengths)
    features = data.features.copy()
    features[6] = value
    odd = PatientDataset(features, data.outcomes, data.patient_index, data.feature_names)
    ours, theirs = _sums(SPECS["mlp"], odd, norm=0.5)
    assert np.isfinite(ours).all()
    assert _close(ours, theirs, len(lengths))


def test_nobody_drawn_is_zero_and_sums_are_the_callers_own() -> None:
    model = build_model(SPECS["mlp"], task="binary", num_features=FEATURES, num_outputs=1, private=True)
    data, theta = _data([1] * 5), torch.from_numpy(flatten(model)).unsqueeze(0)
    network = stacked_network(model)
    assert network is not None
    kernels = KernelGradients(model, network, theta, data, task="binary", pass_records=32)
    first = kernels.clipped_sum(np.arange(5), clipping_norm=1.0)
    kept = first.copy()
    assert not kernels.clipped_sum(np.zeros(0, dtype=np.int64), clipping_norm=1.0).any()
    np.testing.assert_array_equal(first, kept)


def test_more_records_than_sums_are_right_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_RECORDS == 2**22
    monkeypatch.setattr(kernel_step, "MOST_RECORDS", 10)
    with pytest.raises(InvalidInputError, match="at most 10 training records"):
        _sums(SPECS["linear"], _data([1] * 11), norm=1.0)


def _pass_length(drawn: int, spec: ModelSpec, features: int) -> int:
    network = stacked_network(build_model(spec, task="binary", num_features=features, num_outputs=1, private=True))
    assert network is not None
    return pass_length(drawn, network, features)


def test_a_pass_holds_nearly_every_draw_and_stays_bounded() -> None:
    lengths = [_pass_length(drawn, SMALL_MLP, 30) for drawn in (1, 64, 256, 1024, 10**6)]
    assert lengths == [SHORTEST_PASS, 96, 320, 1152, LONGEST_PASS]
    assert _pass_length(1024, WIDE_MLP, 30) == 1152
    assert all(_pass_length(drawn, SMALL_MLP, 30) % 32 == 0 for drawn in range(1, 3000, 7))  # see site_client.row_order


def test_a_draw_that_memory_does_not_hold_goes_through_in_passes_of_like_length() -> None:
    assert _pass_length(64, CNN, CNN_FEATURES) == 96
    assert _pass_length(1024, CNN, CNN_FEATURES) == 1152 // 2
    large = [_pass_length(drawn, LinearSpec(kind="linear"), 10**5) for drawn in (64, 640, 10**4)]
    assert large[0] == 96
    assert all(length % 32 == 0 and 100 < length * 1.2e6 / 2**20 <= 256 for length in large[1:])
    assert _pass_length(640, LinearSpec(kind="linear"), 10**7) == SHORTEST_PASS


def test_no_more_passes_than_sums_leave_room_for() -> None:
    # Two passes that follow one another hold more records than one can: whole patients only.
    assert 2 * MOST_RECORDS // SHORTEST_PASS <= 2**18
