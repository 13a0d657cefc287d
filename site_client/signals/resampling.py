"""From a recording to gapless stretches at one rate.

Short gaps are interpolated linearly up to a public limit; at longer ones the recording is split, so that nothing later can reach
across. A regular recording goes through :func:`scipy.signal.resample_poly` (polyphase FIR, with anti-aliasing), stretch by
stretch; an irregular one is interpolated linearly between neighbours that are no further apart than the limit, without
anti-aliasing: it is meant for slow series that are sampled fast enough.

Axis names: C channels, N samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from federation.errors import ImplausibleValueError, InvalidInputError
from site_client.signals.recording import Recording, Samples, Seconds

_LARGEST_TERM: Final = 20_000
"""Of the fraction of two rates: the filter has twenty times as many taps."""
_RATE_TOLERANCE: Final = 1e-6
_TIME_TOLERANCE: Final = 1e-6
"""In steps."""


@dataclass(frozen=True)
class Stretch:
    """A part of a recording without gaps.

    Args:
        channels: ``[C, N]`` float32, all finite.
        offset_seconds: Time of its first sample after the recording's.
    """

    channels: Samples = field(repr=False)
    offset_seconds: float

    @property
    def num_samples(self) -> int:
        """N."""
        return self.channels.shape[1]


def stretches(recording: Recording, *, rate_hz: float, longest_gap_seconds: float) -> tuple[Stretch, ...]:
    """Divide a recording at its long gaps, and bring each part to the wanted rate.

    Args:
        recording: Regular, with NaN in gaps, or irregular.
        rate_hz: Wanted sampling rate.
        longest_gap_seconds: Gaps up to this long are interpolated: missing time of a regular recording, distance of neighbours
            of an irregular one.

    Returns:
        In the order of time. Sample n of a stretch is at ``offset_seconds + n / rate_hz``.

    Raises:
        ImplausibleValueError: If the ratio of the two rates is no fraction of whole numbers up to 20,000.
        InvalidInputError: If rate or limit are not usable.
    """
    if not (rate_hz > 0 and math.isfinite(rate_hz)) or not longest_gap_seconds >= 0:
        raise InvalidInputError(
            f"expected a positive rate and a limit of at least 0, got {rate_hz} and {longest_gap_seconds}"
        )
    if recording.seconds is not None:
        channels = _interpolated(recording, rate_hz=rate_hz, longest_gap_seconds=longest_gap_seconds)
        return tuple(
            Stretch(np.ascontiguousarray(channels[:, first:stop]), first / rate_hz)
            for first, stop in runs(_whole(channels))
        )
    longest = math.floor(longest_gap_seconds * recording.sampling_rate_hz + _TIME_TOLERANCE)
    filled = _filled(recording.channels, longest=longest)
    return tuple(
        Stretch(
            resampled(filled[:, first:stop], from_hz=recording.sampling_rate_hz, to_hz=rate_hz),
            first / recording.sampling_rate_hz,
        )
        for first, stop in runs(_whole(filled))
    )


def resampled(channels: Samples, *, from_hz: float, to_hz: float) -> Samples:
    """Channels ``[C, N]`` without gaps at another rate: ``[C, ceil(N to / from)]`` float32.

    Raises:
        ImplausibleValueError: As :func:`stretches`.
    """
    if math.isclose(from_hz, to_hz, rel_tol=_RATE_TOLERANCE):
        return np.ascontiguousarray(channels, dtype=np.float32)
    ratio = Fraction(to_hz / from_hz).limit_denominator(_LARGEST_TERM)
    near = ratio > 0 and math.isclose(float(ratio), to_hz / from_hz, rel_tol=_RATE_TOLERANCE)
    if not near or ratio.numerator > _LARGEST_TERM:
        raise ImplausibleValueError(
            "expected rates whose ratio is a fraction of whole numbers up to 20,000, got others",
            remedy="choose another sampling_rate_hz in the plan, or declare the file's true rate",
        )
    # "line": the ends are not pulled to zero, as the default would do to a signal that does not begin there.
    moved = resample_poly(channels.astype(np.float64), ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return np.ascontiguousarray(moved, dtype=np.float32)


def runs(is_set: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last place of each run of true values, in order.

    >>> import numpy as np
    >>> runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.diff(np.concatenate(([0], is_set.astype(np.int8), [0])))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def _whole(channels: Samples) -> NDArray[np.bool_]:
    """``[N]``: where every channel has a sample."""
    return np.logical_not(np.isnan(channels).any(axis=0))


def _filled(channels: Samples, *, longest: int) -> Samples:
    """Gaps of at most so many samples replaced by a straight line; those at the ends stay."""
    filled = channels.copy()
    for channel in filled:
        is_gap = np.isnan(channel)
        for first, stop in runs(is_gap):
            if first == 0 or stop == len(channel) or stop - first > longest:
                continue
            ends = [first - 1, stop]
            channel[first:stop] = np.interp(np.arange(first, stop), ends, channel[ends].astype(np.float64))
    return filled


def _interpolated(series: Recording, *, rate_hz: float, longest_gap_seconds: float) -> Samples:
    """``[C, N]`` on the even grid from the first sample; NaN where neighbours are too far apart."""
    times = series.times()
    num_samples = math.floor(float(times[-1]) * rate_hz + _TIME_TOLERANCE) + 1 if len(times) else 0
    grid = np.arange(num_samples, dtype=np.float64) / rate_hz
    return np.stack(
        [_on_line(times, channel, grid, longest=longest_gap_seconds) for channel in series.channels]
    ).astype(np.float32)


def _on_line(times: Seconds, channel: Samples, grid: Seconds, *, longest: float) -> Seconds:
    known = ~np.isnan(channel)
    if not known.any():
        return np.full(len(grid), np.nan)
    at, values = times[known], channel[known].astype(np.float64)
    found = np.interp(grid, at, values, left=np.nan, right=np.nan)
    after = np.clip(np.searchsorted(at, grid, side="left"), 0, len(at) - 1)
    before = np.clip(np.searchsorted(at, grid, side="right") - 1, 0, len(at) - 1)
    # Exactly on a sample the two are the same, and their distance is zero.
    found[at[after] - at[before] > longest] = np.nan
    return found
