"""Room for rounding: clipping a little shorter, so that a floating-point sum keeps the promised sensitivity exactly.

Where gradients are never written out patient by patient, they cannot be cut to the grid one by one. Their clipped sum is then
added up in float64 and cut once. Both steps move the result, by amounts that are bounded whatever the gradients are, and the
clipping norm in use is shorter than the promised one by both bounds:

- *Cutting.* Two vectors that differ by ``x`` differ after cutting by at most ``x`` and one grid step a coordinate:
  ``sqrt(D)`` grid steps in L2 norm.
- *Adding.* With ``u = 2**-53``, a sum of n products by any order of additions is off by at most ``n u`` times the sum of
  their magnitudes (Higham 2002, section 3.1, to first order). A patient's magnitudes add up to at most
  :data:`MOST_CANCELLATION` clipping norms (others are treated apart), so :data:`MOST_RECORDS` records in passes of at most
  :data:`LONGEST_PASS` are off by at most ``2**-16`` clipping norms, and adding the at most ``2**18`` passes by ``2**-13``.
  Two neighbouring sums differ by twice that, below ``2**-11``; what is left covers the rounding of norms and factors.

The patients who are treated apart are clipped as short: whoever comes or goes, the sum of the others may move in its last bits,
since they share passes with other patients then.

Which patients are treated apart follows from sums over their own records alone, added in an order of their own, so a neighbour
moves nobody from one treatment to the other (:mod:`federation.models.stacked.patient_sums`).

The noise is that of the promised clipping norm, so nothing changes in the accounting.
"""

from __future__ import annotations

import math
from typing import Final

from torch import Tensor

from federation.privacy.clipping import GRID_BITS

MOST_RECORDS: Final = 2**22
"""Training records of a site."""
LONGEST_PASS: Final = 2**11
SHORTEST_PASS: Final = 2**5
"""Records that go through a network at once."""
MOST_CANCELLATION: Final = 16.0
"""Clipping norms that the gradients of one patient's records may add up to after clipping, whatever their directions."""
_ADDING: Final = 2.0**-11
_MOST_ROOM: Final = 0.01
"""Beyond one part in a hundred the grid is too coarse for the model: gradients are then cut patient by patient."""


def room_for_rounding(num_parameters: int, *, grid_bits: int = GRID_BITS) -> float:
    """By which part the clipping norm in use is shorter than the promised one.

    Args:
        num_parameters: D, at least 1.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
    """
    return _ADDING + math.sqrt(num_parameters) * 2.0**-grid_bits


def leaves_room(num_parameters: int, *, grid_bits: int = GRID_BITS) -> bool:
    """Whether rounding costs at most one part in a hundred of the gradient."""
    return room_for_rounding(num_parameters, grid_bits=grid_bits) <= _MOST_ROOM


def working_norm(clipping_norm: float, *, num_parameters: int, grid_bits: int = GRID_BITS) -> float:
    """The clipping norm in use, such that the cut sum has the sensitivity ``clipping_norm``.

    Args:
        clipping_norm: Promised; positive.
        num_parameters: D.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
    """
    return clipping_norm * (1.0 - room_for_rounding(num_parameters, grid_bits=grid_bits))


def clipping_factors(norms: Tensor, bound: float) -> Tensor:
    """By how much each gradient is shortened: 1 if it is short enough, 0 if it is not finite.

    Args:
        norms: Any shape, float64.
        bound: The clipping norm in use, see :func:`working_norm`.
    """
    factors = bound / norms.clamp(min=bound)
    return factors.nan_to_num_(nan=0.0)


def cut_to_grid(total: Tensor, *, clipping_norm: float, grid_bits: int = GRID_BITS) -> Tensor:
    """Express sums of clipped gradients in whole grid steps, cut towards zero.

    Args:
        total: Any shape, float64; changed in place.
        clipping_norm: Promised.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
    """
    return total.mul_(2.0**grid_bits / clipping_norm).trunc_()
