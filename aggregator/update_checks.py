"""What an update must be before any rule looks at it: one array of the agreed type and length, finite, of bounded norm.

These checks alone stop the cheapest attacks and the commonest accidents (Shejwalkar et al. 2022, section 5, find norm
bounding alone enough against most practical attacks). They say what is wrong in words of ours, never in the site's.
"""

from __future__ import annotations

import numpy as np

from federation.algorithms.fedavg import Vector
from federation.protocol.messages import Arrays
from federation.study.robust_spec import RobustSpec


def reason_against_update(arrays: Arrays, spec: RobustSpec, *, num_parameters: int) -> str | None:
    """Why an update is left out of the round, or ``None`` if it is fit to be combined.

    Args:
        arrays: Of the site's reply, as they came.
        spec: Gives the bound on the norm.
        num_parameters: Length that was agreed.
    """
    if set(arrays) != {"update"}:
        return f"sent {len(arrays)} arrays instead of one update"
    update = arrays["update"]
    if update.dtype != np.float32:
        return f"sent {update.dtype} instead of float32"
    if update.shape != (num_parameters,):
        return f"sent {len(update)} numbers instead of {num_parameters}"
    broken = int((~np.isfinite(update)).sum())
    if broken:
        return f"sent {broken} numbers that are not finite"
    norm = update_norm(update)
    if norm > spec.norm_bound and spec.beyond_bound == "exclude":
        return f"norm {norm:.3g} is above the bound of {spec.norm_bound:g}"
    return None


def within_bound(update: Vector, spec: RobustSpec) -> Vector:
    """The update, shortened to the bound if it is longer (Sun et al. 2019, section 4)."""
    norm = update_norm(update)
    return update if norm <= spec.norm_bound else update * (spec.norm_bound / norm)


def update_norm(update: np.ndarray) -> float:
    """L2 norm in float64, of any finite float32 numbers."""
    return float(np.linalg.norm(update.astype(np.float64)))
