"""Stacked networks against the slow way: every record of every site by itself, through the module and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from federation.models.build import build_model
from federation.models.losses import record_losses
from federation.models.parameters import flatten
from federation.models.spec import CnnSpec, LinearSpec, MlpSpec, ModelSpec
from federation.models.stacked.network import StackedNetwork, stacked_network
from federation.models.stacked.patient_sums import patient_sums
from federation.models.stacked.sinks import RecordGradients, Span, SummedGradients
from federation.models.task_terms import Objective
from tests.objectives import HAZARDS, QUANTILES

SITES, RECORDS, FEATURES = 3, 5, 64
SPECS: dict[str, ModelSpec] = {
    "linear": LinearSpec(kind="linear"),
    "without bias": LinearSpec(kind="linear", bias=False),
    "tanh, layer norm": MlpSpec(kind="mlp", hidden=(16, 7), activation="tanh", normalisation="layer"),
    "relu": MlpSpec(kind="mlp", hidden=(16, 7), activation="relu"),
    "gelu": MlpSpec(kind="mlp", hidden=(1, 33), activation="gelu"),
    "cnn, group norm": CnnSpec(kind="cnn", image_shape=(1, 8, 8), channels=(4, 8), normalisation="group"),
    "cnn, layer norm": CnnSpec(kind="cnn", image_shape=(4, 4, 4), channels=(6,), normalisation="layer", hidden=9),
    "cnn, tanh": CnnSpec(kind="cnn", image_shape=(1, 8, 8), channels=(3,), activation="tanh"),
}
TASKS: dict[str, tuple[Objective, int]] = {
    "binary": ("binary", 1),
    "multiclass": ("multiclass", 3),
    "regression": ("regression", 1),
    "count": ("count", 1),
    "quantile": (QUANTILES, 3),
    **{name: (terms, 3) for name, terms in HAZARDS.items()},
}


class Case:
    """Networks of three sites with parameters of their own, and records for each."""

    def __init__(self, name: str, task: str, *, device: str = "cpu") -> None:
        objective, outputs = TASKS[task]
        self.task: Objective = objective
        self.module = build_model(SPECS[name], task=self.task, num_features=FEATURES, num_outputs=outputs, private=True)
        found = stacked_network(self.module)
        assert found is not None
        self.network: StackedNetwork = found
        generator = np.random.default_rng(7)

        def numbers(*shape: int) -> Tensor:
            return torch.from_numpy(generator.normal(size=shape).astype(np.float32)).to(device)

        self.theta = torch.from_numpy(flatten(self.module)).to(device) + 0.1 * numbers(
            SITES, self.network.num_parameters
        )
        self.features = numbers(SITES, RECORDS, FEATURES)
        self.outcomes = torch.from_numpy(
            generator.integers(0, max(2, outputs), (SITES, RECORDS)).astype(np.float32)
        ).to(device)
        if task in HAZARDS:  # a time below, between and beyond the edges; every other one an event
            times = 1 + torch.arange(RECORDS, device=device) * 0.9
            self.outcomes = times * torch.where(torch.arange(RECORDS, device=device) % 2 == 0, 1.0, -1.0).repeat(
                SITES, 1
            )

    def by_record(self) -> Tensor:
        """``[S, B, D]`` float64: each record's gradient, in float64 through autograd."""
        wide = self.module.double().cpu()
        sites: list[Tensor] = []
        for site in range(SITES):
            nn.utils.vector_to_parameters(self.theta[site].double().cpu(), wide.parameters())
            rows: list[Tensor] = []
            for record in range(RECORDS):
                outputs = wide(self.features[site, [record]].double().cpu())
                loss = record_losses(self.task, outputs, self.outcomes[site, [record]].double().cpu()).sum()
                parts = torch.autograd.grad(loss, list(wide.parameters()))
                rows.append(torch.cat([part.reshape(-1) for part in parts]))
            sites.append(torch.stack(rows))
        return torch.stack(sites)

    def gradients(self) -> RecordGradients:
        """By the kernels."""
        sink = RecordGradients()
        self.network.loss_gradients(self.theta, self.features, self.outcomes, task=self.task, sink=sink)
        return sink


def close(found: Tensor, expected: Tensor) -> bool:
    """Within 1e-6 of the largest value, as float32 arithmetic allows."""
    return bool((found.double().cpu() - expected).abs().max() <= 2e-6 * expected.abs().max())


def test_pooling_before_a_rectifier_is_pooling_after_it() -> None:
    module = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 1),
    )
    network = stacked_network(module)
    assert network is not None
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds.index("MaxPoolLayer") < kinds.index("ActivationLayer")
    generator = np.random.default_rng(5)
    # Whole numbers: windows with several largest values, at zero, above and below.
    theta = torch.from_numpy(generator.integers(-1, 2, network.num_parameters).astype(np.float32))
    features = torch.from_numpy(generator.integers(-1, 2, (40, 64)).astype(np.float32))
    nn.utils.vector_to_parameters(theta, module.parameters())
    outputs = module(features)
    assert torch.equal(network.outputs(theta[None], features[None])[0], outputs)
    expected = torch.autograd.grad(outputs.sum(), list(module.parameters()))
    flat = torch.zeros((1, network.num_parameters))
    ones = torch.full((1, 40), 0.5)
    network.loss_gradients(theta[None], features[None], outputs.detach()[:, 0][None] - 1, task="regression",
                           sink=SummedGradients(flat), weights=ones)  # fmt: skip
    assert torch.equal(flat[0], torch.cat([part.reshape(-1) for part in expected]))


def test_what_is_not_a_number_stays_so_in_pooling_before_a_rectifier() -> None:
    module = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    network = stacked_network(module)
    assert network is not None
    features = torch.full((1, 16), -1.0)
    features[0, 5] = torch.nan
    theta = torch.tensor([[1.0, 0.0]])
    assert network.outputs(theta, features[None]).isnan().flatten().tolist() == [True, False, False, False]


def test_a_parameters_view_follows_the_vector_it_is_asked_of() -> None:
    span = Span(2, (2, 3))
    vectors = [torch.arange(10.0)[None] + 100 * number for number in range(3)]
    for number in (0, 1, 0, 2, 1, 0):
        assert torch.equal(span.view(vectors[number])[0].flatten(), vectors[number][0, 2:8])
        assert span.view(vectors[number]).data_ptr() == vectors[number][0, 2:].data_ptr()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SPECS)
def test_sums_norms_and_weighted_sums_are_those_of_single_records(name: str, task: str) -> None:
    case = Case(name, task)
    rows = case.by_record()
    flat = torch.full((SITES, case.network.num_parameters), torch.nan)
    case.network.loss_gradients(case.theta, case.features, case.outcomes, task=case.task, sink=SummedGradients(flat))
    assert close(flat, rows.sum(dim=1))
    gradients = case.gradients()
    assert close(gradients.squared_norms(), rows.square().sum(dim=2))
    factors = torch.linspace(0, 1, SITES * RECORDS, dtype=torch.float64).view(SITES, RECORDS)
    total = torch.zeros((SITES, case.network.num_parameters), dtype=torch.float64)
    gradients.add_weighted(factors, total)
    assert close(total, (factors.unsqueeze(2) * rows).sum(dim=1))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SPECS)
def test_norms_of_patients_are_those_of_the_sums_of_their_records(name: str, task: str) -> None:
    case = Case(name, task)
    owners = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]])
    same = (owners.unsqueeze(1) == owners.unsqueeze(2)).double()
    expected = torch.bmm(same, case.by_record()).square().sum(dim=2)
    assert close(case.gradients().squared_patient_norms(same), expected)


@pytest.mark.parametrize("name", SPECS)
def test_weights_of_losses_are_weights_of_gradients(name: str) -> None:
    case = Case(name, "binary")
    weights = torch.tensor([[0.5, 0.5, 0, 0, 0], [0.2] * 5, [1, 0, 0, 0, 0]])
    flat = torch.zeros((SITES, case.network.num_parameters))
    case.network.loss_gradients(
        case.theta, case.features, case.outcomes, task="binary", sink=SummedGradients(flat), weights=weights
    )
    assert close(flat, (weights.double().unsqueeze(2) * case.by_record()).sum(dim=1))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 3e38], ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_an_unusable_record_is_forgotten_and_touches_no_other(name: str, value: float) -> None:
    case = Case(name, "binary")
    expected = case.by_record()
    case.features[1, 2] = value
    gradients = case.gradients()
    unusable = ~torch.isfinite(gradients.squared_norms())
    assert unusable.sum() <= 1
    if not np.isfinite(value):
        assert unusable[1, 2]
    gradients.forget(unusable)
    total = torch.zeros((SITES, case.network.num_parameters), dtype=torch.float64)
    factors = torch.ones((SITES, RECORDS), dtype=torch.float64)
    factors[1, 2] = 0.0
    gradients.add_weighted(factors, total)
    expected[1, 2] = 0.0
    assert close(total, expected.sum(dim=1))


def test_a_network_says_what_the_module_says() -> None:
    for name in SPECS:
        case = Case(name, "multiclass")
        outputs = case.network.outputs(case.theta, case.features)
        for site in range(SITES):
            nn.utils.vector_to_parameters(case.theta[site], case.module.parameters())
            torch.testing.assert_close(outputs[site], case.module(case.features[site]))


class _Doubled(nn.Linear):
    """Looks like a linear layer, and is none."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(_Doubled(4, 1)),
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(4, 4).double(), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(4, 4), nn.GELU(approximate="tanh"), nn.Linear(4, 1)),
        nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Flatten()),
        nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), nn.Flatten()),
        nn.Sequential(nn.Tanh()),
        nn.LSTM(4, 1),
    ],
    ids=lambda module: type(list(module.modules())[-1]).__name__,
)
def test_what_is_not_covered_exactly_is_left_to_others(module: nn.Module) -> None:
    assert stacked_network(module) is None


def test_a_layer_used_twice_is_left_to_others() -> None:
    layer = nn.Linear(4, 4)
    assert stacked_network(nn.Sequential(layer, nn.Tanh(), layer)) is None


def test_a_frozen_parameter_is_left_to_others() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    next(module.parameters()).requires_grad_(False)
    assert stacked_network(module) is None


def test_the_bits_of_a_patients_norm_do_not_depend_on_who_else_is_in_the_pass() -> None:
    """Which patients are treated apart is decided by these numbers: nobody's coming or going may move another one across."""
    generator = torch.Generator().manual_seed(0)
    lengths = [1 + place % 7 for place in range(24)]
    owners = np.repeat(np.arange(len(lengths)), lengths)
    inputs, outputs, rows = (torch.randn(len(owners), width, generator=generator) for width in (30, 65, 50))

    def norms(left_out: int | None) -> dict[int, tuple[float, float]]:
        kept = np.flatnonzero(owners != left_out)
        filled = torch.full((128,), -1)
        filled[: len(kept)] = torch.from_numpy(owners[kept])
        same = ((filled.unsqueeze(0) == filled.unsqueeze(1)) & (filled >= 0)).double().unsqueeze(0)
        parts = []
        for values in (inputs, outputs, rows):
            part = torch.full((1, 128, values.shape[1]), 0.5)  # padding has gradients, and belongs to nobody
            part[0, : len(kept)] = values[kept]
            parts.append(part)
        sink = RecordGradients()
        sink.product(Span(0, (65, 30)), Span(1950, (65,)), inputs=parts[0], outputs=parts[1])
        sink.rows(Span(2015, (50,)), parts[2])
        patients = sink.squared_patient_norms(same)[0]
        added = patient_sums(same, sink.squared_norms().sqrt())[0]
        assert (patients[len(kept) :] == 0).all()
        return {int(owner): (float(patients[place]), float(added[place])) for place, owner in enumerate(owners[kept])}

    everybody = norms(None)
    for absent in range(len(lengths)):
        without = norms(absent)
        assert without == {patient: found for patient, found in everybody.items() if patient != absent}


def test_sums_by_patient_of_a_step_in_which_nobody_was_drawn_are_zeros() -> None:
    """The same numbers, in float64, as of a step with patients: what comes after takes no other."""
    nobody = torch.zeros((2, 4, 4), dtype=torch.bool)
    found = patient_sums(nobody, torch.ones((2, 4), dtype=torch.float64))
    assert found.dtype == torch.float64
    assert torch.equal(found, torch.zeros((2, 4), dtype=torch.float64))
