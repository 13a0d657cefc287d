"""What makes a part of a recording unusable: clipped and flat channels, and values outside the plausible range.

Looked for in the recording as it came, before anything is interpolated or resampled: filters would round off exactly what shows
that an amplifier was saturated or an electrode off.

Axis names: C channels, N samples, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from site_client.signals.recording import Recording, Samples, Seconds
from site_client.signals.resampling import runs

FaultKind = Literal["clipped", "flat"]


@dataclass(frozen=True)
class ChannelLimits:
    """What one channel must keep to, all public.

    Args:
        minimum: Smallest plausible value, in the channel's unit.
        maximum: Largest plausible value.
        clipped_samples: So many equal samples in a row at the recording's own extreme, or at a bound of the plausible range, are
            clipping; ``None``: not looked for.
        flat_seconds: A channel that does not move for so long is flat; ``None``: not looked for.
    """

    minimum: float
    maximum: float
    clipped_samples: int | None = None
    flat_seconds: float | None = None


@dataclass(frozen=True)
class Fault:
    """A part of a recording that no window may touch: from ``start_seconds`` up to ``stop_seconds``, exclusive."""

    kind: FaultKind
    start_seconds: float
    stop_seconds: float


def without_implausible(recording: Recording, limits: tuple[ChannelLimits, ...]) -> tuple[Recording, int]:
    """Samples outside the plausible range become gaps.

    Args:
        recording: In the units of the limits.
        limits: One a channel.

    Returns:
        The recording, and how many samples were outside.
    """
    _check(recording, limits)
    low = np.array([limit.minimum for limit in limits], dtype=np.float32)[:, None]
    high = np.array([limit.maximum for limit in limits], dtype=np.float32)[:, None]
    outside = (recording.channels < low) | (recording.channels > high)
    count = int(np.count_nonzero(outside))
    if not count:
        return recording, 0
    return replace(recording, channels=np.where(outside, np.float32(np.nan), recording.channels)), count


def faults(recording: Recording, limits: tuple[ChannelLimits, ...]) -> tuple[Fault, ...]:
    """Clipped and flat parts of every channel.

    Args:
        recording: As it was read.
        limits: One a channel.
    """
    _check(recording, limits)
    found: list[Fault] = []
    times, step = recording.times(), 1 / recording.sampling_rate_hz
    for channel, limit in zip(recording.channels, limits, strict=True):
        same = _constant_runs(channel)
        if limit.clipped_samples is not None:
            rails = _rails(channel, limit)
            found += [
                Fault("clipped", float(times[first]), float(times[stop - 1]) + step)
                for first, stop in same
                if stop - first >= limit.clipped_samples and channel[first] in rails
            ]
        if limit.flat_seconds is not None:
            found += [
                Fault("flat", float(times[first]), float(times[stop - 1]) + step)
                for first, stop in same
                if stop - first > 1 and times[stop - 1] - times[first] + step >= limit.flat_seconds
            ]
    return tuple(found)


def touches(found: tuple[Fault, ...], kind: FaultKind, starts: Seconds, *, length_seconds: float) -> NDArray[np.bool_]:
    """``[W]``: which windows ``[start, start + length)`` touch a fault of the kind."""
    hit = np.zeros(len(starts), dtype=np.bool_)
    for fault in found:
        if fault.kind == kind:
            hit |= (starts < fault.stop_seconds) & (starts + length_seconds > fault.start_seconds)
    return hit


def _check(recording: Recording, limits: tuple[ChannelLimits, ...]) -> None:
    if len(limits) != len(recording.names):
        raise InvalidInputError(f"expected {len(recording.names)} limits, got {len(limits)}")


def _constant_runs(channel: Samples) -> list[tuple[int, int]]:
    """Runs of at least two equal samples, as first and one past the last; NaN equals nothing."""
    return [(first, stop + 1) for first, stop in runs(channel[1:] == channel[:-1])]


def _rails(channel: Samples, limit: ChannelLimits) -> set[np.float32]:
    known = channel[~np.isnan(channel)]
    rails = {np.float32(limit.minimum), np.float32(limit.maximum)}
    return rails if not len(known) else rails | {known.min(), known.max()}
