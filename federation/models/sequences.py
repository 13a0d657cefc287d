"""Networks over time: convolutions and a gated recurrent unit, both over signals ``[R, C, N]``.

The recurrent unit is written out with linear layers, one step after the other, so that the gradient of every record can be had
by whatever knows linear layers; ``torch.nn.GRU`` computes the same from the same weights (:func:`as_torch_gru`), and so does ONNX.

Axis names: R records, C channels, N samples, T steps, I inputs of a step, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from federation.errors import ManifestError


class GatedRecurrentUnit(nn.Module):
    """The last hidden state of a gated recurrent unit (Cho et al. 2014), in PyTorch's form with the reset gate after the product.

    Args:
        channels: C.
        step_samples: Successive samples that enter one step together: T is N over this, I is C times this.
        hidden: H.
    """

    def __init__(self, channels: int, *, step_samples: int, hidden: int) -> None:
        super().__init__()
        self.channels, self.step_samples, self.hidden = channels, step_samples, hidden
        self.from_input = nn.Linear(channels * step_samples, 3 * hidden)
        self.from_hidden = nn.Linear(hidden, 3 * hidden)

    def steps(self, signals: Tensor) -> Tensor:
        """``[R, C, N]`` to ``[R, T, I]``: the channels of a step's samples, channel by channel."""
        records, channels, _ = signals.shape
        parts = signals.reshape(records, channels, -1, self.step_samples)
        return parts.transpose(1, 2).reshape(records, parts.shape[2], channels * self.step_samples)

    def forward(self, signals: Tensor) -> Tensor:
        """``[R, C, N]`` to ``[R, H]``."""
        given = self.from_input(self.steps(signals))  # of all steps at once
        state = torch.zeros((len(signals), self.hidden), dtype=signals.dtype, device=signals.device)
        for now in given.unbind(dim=1):
            reset, update, new = now.chunk(3, dim=1)
            held_reset, held_update, held_new = self.from_hidden(state).chunk(3, dim=1)
            keep = torch.sigmoid(update + held_update)
            proposed = torch.tanh(new + torch.sigmoid(reset + held_reset) * held_new)
            state = proposed + keep * (state - proposed)
        return state


def as_torch_gru(unit: GatedRecurrentUnit) -> nn.GRU:
    """The same unit as ``torch.nn.GRU`` over :meth:`GatedRecurrentUnit.steps`, batch first; values are copied."""
    with torch.random.fork_rng(devices=[]):
        found = nn.GRU(unit.from_input.in_features, unit.hidden, batch_first=True)
    found.load_state_dict(
        {
            "weight_ih_l0": unit.from_input.weight.detach().clone(),
            "weight_hh_l0": unit.from_hidden.weight.detach().clone(),
            "bias_ih_l0": unit.from_input.bias.detach().clone(),
            "bias_hh_l0": unit.from_hidden.bias.detach().clone(),
        }
    )
    return found


def check_signal_shape(shape: tuple[int, int], num_features: int) -> None:
    """A model's signal shape against the width of the encoded records.

    Raises:
        ManifestError: If they differ.
    """
    channels, samples = shape
    if channels * samples != num_features:
        raise ManifestError(
            f"model.signal_shape: expected channels x samples to equal the {num_features} features, "
            f"got {channels} x {samples} = {channels * samples}",
            remedy="give the shape of one encoded record",
        )
