"""Proof by inspection and by experiment that a model keeps patients apart.

A patient-level guarantee needs the gradient of one patient's records to depend on that patient alone. Batch statistics,
running buffers and operations across records break it. Opacus' validator recognises exact layer types only, so
``BatchNorm1d(affine=False)``, subclasses and hand-made buffers pass it; here layers are recognised by ``isinstance``
and everything else by what it does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from federation.errors import ModelRefusedError
from federation.privacy.randomness import public_streams

# The common bases are private names, but the only ones that every affine, lazy, synchronised or derived layer shares.
BATCH_NORM: Final = nn.modules.batchnorm._BatchNorm  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
INSTANCE_NORM: Final = nn.modules.instancenorm._InstanceNorm  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

_RECORDS: Final = 4
_OBSERVED: Final = 1
"""The record whose outputs and gradients must not move."""
_REMEDY: Final = "use layers that treat every record alone, such as layer or group normalisation"


def check_independence(module: nn.Module, example_shape: Sequence[int]) -> None:
    """Refuse a module in which records can influence each other.

    Args:
        module: Is not changed; a copy is tried in training mode.
        example_shape: Shape of one record's features, such as ``(F,)``.

    Raises:
        ModelRefusedError: If a layer keeps batch statistics, anything in the module changes when records pass through
            it, or one record's outputs or gradients depend on another record, on the number of records, or on chance.
    """
    _check_layers(module)
    tried = copy.deepcopy(module).train()
    # Centred and wide: a shift that is lost in saturation would hide a dependence.
    generator = public_streams("independence", 0).stream(*example_shape)
    records = torch.from_numpy(generator.standard_normal((_RECORDS, *example_shape))).to(torch.float32)
    others = torch.from_numpy(generator.standard_normal((_RECORDS, *example_shape))).to(torch.float32) * 3
    others[_OBSERVED] = records[_OBSERVED]
    before = _state(tried)
    first = _observed(tried, records)
    if _differs(before, _state(tried)):
        raise ModelRefusedError(
            "expected a model without memory of records, got one that changes in use", remedy=_REMEDY
        )
    again, changed = _observed(tried, records), _observed(tried, others)
    if _differs(first, again) or _differs(first, _observed(tried, records)):
        raise ModelRefusedError("expected the same outputs for the same records, got others", remedy=_REMEDY)
    if _differs(first, changed):
        raise ModelRefusedError(
            "expected what a record gives to depend on that record alone, got outputs or gradients that follow others",
            remedy=_REMEDY,
        )
    fewer = _observed(tried, records[: _OBSERVED + 1])
    if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(first, fewer, strict=True)):
        raise ModelRefusedError(
            "expected what a record gives not to depend on the number of records, got outputs or gradients that do",
            remedy=_REMEDY,
        )


def _check_layers(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        keeps = isinstance(layer, INSTANCE_NORM) and layer.track_running_stats
        if isinstance(layer, BATCH_NORM) or keeps:
            raise ModelRefusedError(
                f"expected layers that keep patients apart, got {type(layer).__name__} at {name or 'the top'}",
                remedy=_REMEDY,
            )


def _observed(module: nn.Module, records: Tensor) -> list[Tensor]:
    """Outputs and gradients that belong to the observed record."""
    inputs = records.clone().requires_grad_()
    outputs: Tensor = module(inputs)
    if outputs.shape[:1] != records.shape[:1]:
        raise ModelRefusedError(
            f"expected one row of outputs for each record, got shape {tuple(outputs.shape)}", remedy=_REMEDY
        )
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # A parameter without influence has gradient zero, and so has an input.
    own = torch.autograd.grad(
        outputs[_OBSERVED].square().sum(), parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    (shared,) = torch.autograd.grad(outputs.square().sum(), [inputs], allow_unused=True, materialize_grads=True)
    return [outputs[_OBSERVED].detach(), *own, shared[_OBSERVED]]


def memory_of(module: nn.Module) -> list[Tensor]:
    """Copies of every tensor that a module holds beside its parameters, registered or not."""
    return [tensor.detach().clone() for tensor in _remembered(module)]


def check_memory(module: nn.Module, before: list[Tensor]) -> None:
    """Refuse a module that remembers something of a private round.

    Args:
        module: After its steps on patients.
        before: From :func:`memory_of`, before them.

    Raises:
        ModelRefusedError: If a buffer, or a tensor that is no parameter, differs in one bit.
    """
    if _differs(before, memory_of(module)):
        raise ModelRefusedError(
            "expected buffers that are bit-equal before and after the steps on patients, got others", remedy=_REMEDY
        )


def _state(module: nn.Module) -> list[Tensor]:
    """Every tensor a module holds, registered or not."""
    return [parameter.detach().clone() for parameter in module.parameters()] + memory_of(module)


def _remembered(module: nn.Module) -> Iterator[Tensor]:
    for layer in module.modules():
        yield from (buffer for buffer in layer.buffers(recurse=False))
        attributes: dict[str, object] = vars(layer)
        yield from (value for value in attributes.values() if isinstance(value, Tensor))


def _differs(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) != len(second) or not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
