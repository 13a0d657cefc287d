"""Clipped gradients of a chain's records, all sites of a step at a time, where every patient has one record.

The arithmetic of :mod:`federation.models.stacked.sinks` in the packed memory of :mod:`experiments.engines.batched.chains`: norms
from the layers' inputs and output gradients, one weighted product for the sum. It is float32: at a site float64 keeps a promise
to patients exactly, and no real patient is in a simulation that this engine runs for. What is released is whole grid steps, too.

Axis names: S sites, B places for records of a step, D parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from experiments.engines.batched.chain_steps import ChainStep, Operation, StepBuffers, written
from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.descent import Descent
from experiments.engines.batched.draws import StepRows
from experiments.engines.batched.stacking import Stack
from federation.models.losses import record_loss_gradients
from federation.models.task_terms import Objective
from federation.privacy.clipping import GRID_BITS
from federation.privacy.summation import clipping_factors, working_norm

_ClippedStep = tuple[ChainStep, list[Operation]]
"""A step, and what writes its gradients once they are weighted."""


class ClippedChain:
    """Clipped gradient sums at the parameters of the moment.

    Args:
        layout: Of the network.
        descent: Its parameters, packed by the layout.
        stack: The sites' records, one for each patient.
        task: Sets the loss.
        clipping_norm: Promised, of one patient.
        most_places: Of a step's sites, together, if known: steps share their memory then.
    """

    def __init__(
        self,
        layout: ChainLayout,
        descent: Descent,
        stack: Stack,
        *,
        task: Objective,
        clipping_norm: float,
        most_places: int | None = None,
    ) -> None:
        self._buffers = None if most_places is None else StepBuffers(descent.theta, most_rows=most_places)
        self._layout, self._descent = layout, descent
        self._steps: dict[int, _ClippedStep] = {}
        self._gradient = torch.empty_like(descent.theta)
        self._pieces = layout.pieces(self._gradient, num_sites=descent.num_sites)
        self._stack = stack
        self._task: Objective = task
        num_parameters = descent.theta.numel() // descent.num_sites
        self._bound = working_norm(clipping_norm, num_parameters=num_parameters)
        self._steps_of_unit = 2.0**GRID_BITS / clipping_norm

    def cut_sums(self, rows: StepRows) -> Tensor:
        """Clipped gradients of the records of a step, added up.

        Returns:
            ``[S D]`` float32 whole grid steps, packed; overwritten by the next call.
        """
        step, writing = self._step_of(rows.width)
        gradients = record_loss_gradients(self._task, step.say(self._stack.rows, rows.chosen), rows.outcomes)
        torch.mul(gradients, rows.shares != 0, out=step.at_outputs)
        step.go_back()
        places = (self._descent.num_sites, rows.width)
        chosen = rows.chosen[: places[0] * places[1]]
        squares = self._squared_norms(step, self._stack.squared_norms.index_select(0, chosen).view(places))
        if math.isfinite(squares.sum().item()):
            factors = clipping_factors(squares.sqrt_(), self._bound).to(torch.float32).unsqueeze(2)
        else:
            factors = self._factors_of_usable(step, squares).unsqueeze(2)
        for layer in step.layers:
            layer.gradient.mul_(factors)
        for write in writing:
            write()
        return self._gradient.mul_(self._steps_of_unit).trunc_()

    def _step_of(self, places: int) -> _ClippedStep:
        if places not in self._steps:
            step = ChainStep(
                self._layout,
                self._descent.theta,
                num_sites=self._descent.num_sites,
                places=places,
                buffers=self._buffers,
            )
            writing = [write for layer in step.layers for write in written(self._pieces[layer.number], layer)]
            self._steps[places] = (step, writing)
        return self._steps[places]

    def _squared_norms(self, step: ChainStep, of_features: Tensor) -> Tensor:
        """``[S, B]`` of each record's whole gradient, in the precision of the features' squared norms ``[S, B]``."""
        first, *later = step.layers
        squares = _squared(first.gradient, of_features.dtype).mul_(of_features)
        for layer in later:
            part = _squared(layer.inputs, of_features.dtype)
            if self._pieces[layer.number].bias is not None:
                part += 1.0
            squares.add_(part.mul_(_squared(layer.gradient, of_features.dtype)))
        return squares

    def _factors_of_usable(self, step: ChainStep, squares: Tensor) -> Tensor:
        """Norms with a wider range, for the sites that need it.

        Records without one are made zero: what is not finite would be so in every product.
        """
        wide = self._squared_norms(step, _squared(step.features, torch.float64))
        unusable = ~torch.isfinite(wide)
        for layer in step.layers:
            layer.inputs.masked_fill_(unusable.unsqueeze(2), 0.0)
            layer.gradient.masked_fill_(unusable.unsqueeze(2), 0.0)
        needed = ~torch.isfinite(squares).all(dim=1, keepdim=True)
        of_wide = clipping_factors(wide.masked_fill_(unusable, 0.0).sqrt_(), self._bound).to(torch.float32)
        return torch.where(needed, of_wide, clipping_factors(squares.sqrt_(), self._bound).to(torch.float32))


def _squared(rows: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=2, dtype=dtype).square_()
