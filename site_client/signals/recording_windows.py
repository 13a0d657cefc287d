"""From one recording to its windows: faults, gaps, resampling, cutting, scaling, in this order.

Axis names: C channels, N samples of a window, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federation.data.arrays import Signal
from site_client.signals.labelling import candidates
from site_client.signals.plan import SignalPlan
from site_client.signals.quality import faults, without_implausible
from site_client.signals.recording import Annotations, Recording, Samples, Seconds
from site_client.signals.resampling import stretches
from site_client.signals.windows import cut

GAP = "a gap that is too long"
CLIPPED = "clipped"
FLAT = "flat"


@dataclass(frozen=True)
class RecordingWindows:
    """What one recording gave.

    Args:
        windows: ``[W, C, N]`` float32, in the contract's unit.
        starts: ``[W]`` seconds after the first sample.
        outcomes: W cells; ``None``: the list has them.
        candidates: How many windows there could have been.
        not_used: Reason to number of windows, in the order in which reasons are looked at.
        implausible_samples: Samples outside the plausible range, which became gaps.
    """

    windows: Samples = field(repr=False)
    starts: Seconds = field(repr=False)
    outcomes: tuple[str, ...] | None = field(repr=False)
    candidates: int
    not_used: dict[str, int]
    implausible_samples: int


def windows_of(
    recording: Recording,
    *,
    plan: SignalPlan,
    signal: Signal,
    annotations: Annotations | None = None,
    onset_seconds: float | None = None,
    site: str = "",
) -> RecordingWindows:
    """Cut a recording into windows of the contract's signal.

    Args:
        recording: The plan's channels in the plan's units.
        plan: How.
        signal: The contract's variable: rate and samples.
        annotations: For annotated windows.
        onset_seconds: For sliding windows with a horizon.
        site: For messages.

    Raises:
        RecordsError: If rates do not fit, or annotations are needed and absent.
    """
    limits = tuple(channel.limits for channel in plan.channels)
    rate = signal.sampling_rate_hz
    found = faults(recording, limits)
    plausible, outside = without_implausible(recording, limits)
    parts = stretches(plausible, rate_hz=rate, longest_gap_seconds=plan.longest_gap_seconds)
    offered = candidates(
        recording,
        plan=plan,
        length_seconds=signal.samples / rate,
        annotations=annotations,
        onset_seconds=onset_seconds,
        site=site,
    )
    used = np.flatnonzero(offered.is_used)
    pieces = cut(parts, found, offered.starts[used], rate_hz=rate, num_samples=signal.samples)
    kept = used[pieces.kept]
    counts = _counts(offered.not_used) | {GAP: pieces.across_gap, CLIPPED: pieces.clipped, FLAT: pieces.flat}
    windows = pieces.windows.reshape(len(kept), signal.channels, signal.samples)
    return RecordingWindows(
        windows=_scaled(windows, plan) if plan.scaled else windows,
        starts=offered.starts[kept],
        outcomes=None if offered.outcomes is None else tuple(offered.outcomes[place] for place in kept.tolist()),
        candidates=len(offered.starts),
        not_used=counts,
        implausible_samples=outside,
    )


def _counts(reasons: dict[str, NDArray[np.bool_]]) -> dict[str, int]:
    found: dict[str, int] = {}
    counted: NDArray[np.bool_] | None = None
    for name, against in reasons.items():
        fresh = against if counted is None else against & ~counted
        found[name] = int(np.count_nonzero(fresh))
        counted = against if counted is None else counted | against
    return found


def _scaled(windows: Samples, plan: SignalPlan) -> Samples:
    """Each channel's plausible range to -1..1. Filters may overshoot it by a little; encoding moves that to the bounds."""
    low = np.array([channel.minimum for channel in plan.channels])[:, None]
    high = np.array([channel.maximum for channel in plan.channels])[:, None]
    return ((windows - (low + high) / 2) / ((high - low) / 2)).astype(np.float32)
