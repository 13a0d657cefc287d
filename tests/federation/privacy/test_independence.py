"""Whatever lets one patient's records influence another's gradient is refused, however it is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from federation.errors import ModelRefusedError
from federation.models.build import build_model
from federation.models.spec import CnnSpec, LinearSpec, MlpSpec
from federation.privacy.independence import check_independence

FEATURES = 6


class _ManyNamesOfBatchNorm(nn.BatchNorm1d):
    """A subclass: Opacus compares exact types and lets it pass."""


class _RunningBuffer(nn.Module):
    """A registered buffer that remembers records."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 1)
        self.register_buffer("mean", torch.zeros(FEATURES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.linear(x - self.mean)


class _PlainAttribute(_RunningBuffer):
    """The same thief without registering anything."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.linear = nn.Linear(FEATURES, 1)
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach().mean(0))
        return self.linear(x - torch.stack(self.seen[:-1]).mean(0) if len(self.seen) > 1 else x)


class _UnusedMemory(nn.Module):
    """Remembers without using it yet: the memory would leave with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 1)
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.largest.copy_(torch.maximum(self.largest, x.detach().max()))
        return self.linear(x)


class _SharedBackward(torch.autograd.Function):
    """Forward keeps records apart, backward mixes them."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient + gradient.mean(0)


class _Function(nn.Module):
    """A linear layer after some operation."""

    def __init__(self, operation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 1)
        self.operation = operation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.operation(x))


class _BackwardBetween(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(_SharedBackward.apply(torch.tanh(self.first(x))))


def _after(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.Linear(FEATURES, 1))


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: _after(nn.BatchNorm1d(FEATURES)),
    "batch norm without parameters": lambda: _after(nn.BatchNorm1d(FEATURES, affine=False)),
    "batch norm without running statistics": lambda: _after(
        nn.BatchNorm1d(FEATURES, affine=False, track_running_stats=False)
    ),
    "subclass of batch norm": lambda: _after(_ManyNamesOfBatchNorm(FEATURES, affine=False)),
    "synchronised batch norm": lambda: _after(nn.SyncBatchNorm(FEATURES)),
    "lazy batch norm": lambda: _after(nn.LazyBatchNorm1d()),
    "instance norm with running statistics": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten(), nn.Linear(6, 1)
    ),
    "hand-made running buffer": _RunningBuffer,
    "hand-made memory in a plain attribute": _PlainAttribute,
    "memory that is not used yet": _UnusedMemory,
    "minus the mean of the batch": lambda: _Function(lambda x: x - x.mean(0)),
    "minus a millionth of the mean of the batch": lambda: _Function(lambda x: x - 1e-6 * x.mean(0)),
    "minus the detached mean of the batch": lambda: _Function(lambda x: x - x.detach().mean(0)),
    "divided by the largest of the batch": lambda: _Function(lambda x: x / x.abs().max()),
    "attention between records": lambda: _Function(lambda x: torch.softmax(x @ x.T, dim=1) @ x),
    "sorted by record": lambda: _Function(lambda x: x.sort(dim=0).values),
    "divided by the number of records": lambda: _Function(lambda x: x / x.shape[0]),
    "mixing in backward": _BackwardBetween,
    "random": lambda: _after(nn.Dropout(0.5)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_mix_patients_are_refused(name: str) -> None:
    with pytest.raises(ModelRefusedError) as refusal:
        check_independence(REFUSED[name](), (FEATURES,))
    assert refusal.value.remedy
    assert refusal.value.exit_code == 42


@pytest.mark.parametrize(
    ("spec", "features"),
    [
        (LinearSpec(kind="linear"), 6),
        (LinearSpec(kind="linear", bias=False), 1),
        (MlpSpec(kind="mlp", hidden=(5, 4), activation="gelu", normalisation="layer"), 6),
        (CnnSpec(kind="cnn", image_shape=(1, 8, 8), channels=(4, 8), normalisation="group"), 64),
        (CnnSpec(kind="cnn", image_shape=(3, 6, 5), channels=(4,), normalisation="layer"), 90),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_our_own_models_pass(spec: LinearSpec | MlpSpec | CnnSpec, features: int) -> None:
    model = build_model(spec, task="binary", num_features=features, num_outputs=1, private=True)
    check_independence(model, (features,))


def test_constant_buffers_and_instance_norm_of_one_record_pass() -> None:
    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("offset", torch.arange(6.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - self.offset

    check_independence(_after(Offset()), (FEATURES,))
    own = nn.Sequential(nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2), nn.Flatten(), nn.Linear(6, 1))
    check_independence(own, (FEATURES,))


def test_the_tried_model_is_not_changed() -> None:
    model = _UnusedMemory().eval()
    with pytest.raises(ModelRefusedError):
        check_independence(model, (FEATURES,))
    assert model.largest == 0
    assert not model.training


def test_outputs_without_a_row_for_each_record_are_refused() -> None:
    with pytest.raises(ModelRefusedError, match="one row"):
        check_independence(_Function(lambda x: x.mean(0, keepdim=True)), (FEATURES,))
