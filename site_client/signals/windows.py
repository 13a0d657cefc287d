"""Windows of equal length, cut from the gapless stretches of one recording.

A window is given by its start; it is kept if one stretch holds all of it and no fault touches it. So it never reaches across a
gap, and, as a recording is of one patient, never across patients.

Axis names: C channels, N samples of a window, W candidate windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from site_client.signals.quality import Fault, touches
from site_client.signals.recording import Samples, Seconds
from site_client.signals.resampling import Stretch

_TOLERANCE: Final = 1e-6
"""In steps: a window that ends with the stretch is inside."""


@dataclass(frozen=True)
class Cut:
    """What became of candidate windows.

    Args:
        windows: ``[kept, C, N]`` float32.
        kept: ``[kept]`` places of the kept candidates.
        across_gap: Candidates that no stretch holds.
        clipped: Of the others, those that touch a clipped part.
        flat: Of the others, those that touch a flat part.
    """

    windows: Samples = field(repr=False)
    kept: NDArray[np.int64] = field(repr=False)
    across_gap: int
    clipped: int
    flat: int


def sliding_starts(duration_seconds: float, *, length_seconds: float, stride_seconds: float) -> Seconds:
    """``[W]`` starts of the windows of a recording: 0, stride, ... as long as a window fits.

    >>> sliding_starts(10.0, length_seconds=4.0, stride_seconds=3.0).tolist()
    [0.0, 3.0, 6.0]
    """
    if not (length_seconds > 0 and stride_seconds > 0):
        raise InvalidInputError(
            f"expected windows and strides of more than 0 seconds, got {length_seconds} and {stride_seconds}"
        )
    if duration_seconds < length_seconds:
        return np.zeros(0)
    count = math.floor((duration_seconds - length_seconds) / stride_seconds + _TOLERANCE) + 1
    return np.arange(count, dtype=np.float64) * stride_seconds


def cut(
    parts: Sequence[Stretch], found: tuple[Fault, ...], starts: Seconds, *, rate_hz: float, num_samples: int
) -> Cut:
    """Cut windows out of stretches.

    Args:
        parts: Of one recording, in the order of time, at ``rate_hz``.
        found: Parts of the recording that no window may touch.
        starts: ``[W]`` seconds after the recording's first sample.
        rate_hz: Of the stretches.
        num_samples: N.
    """
    channels = parts[0].channels.shape[0] if parts else 0
    stretch, first = _places(parts, starts, rate_hz=rate_hz, num_samples=num_samples)
    inside = stretch >= 0
    length = num_samples / rate_hz
    clipped = inside & touches(found, "clipped", starts, length_seconds=length)
    flat = inside & ~clipped & touches(found, "flat", starts, length_seconds=length)
    kept = np.flatnonzero(inside & ~clipped & ~flat)
    windows = np.zeros((len(kept), channels, num_samples), dtype=np.float32)
    for row, place in enumerate(kept.tolist()):
        begin = int(first[place])
        windows[row] = parts[int(stretch[place])].channels[:, begin : begin + num_samples]
    return Cut(
        windows=windows,
        kept=kept.astype(np.int64),
        across_gap=int(np.count_nonzero(~inside)),
        clipped=int(np.count_nonzero(clipped)),
        flat=int(np.count_nonzero(flat)),
    )


def _places(
    parts: Sequence[Stretch], starts: Seconds, *, rate_hz: float, num_samples: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``[W]`` which stretch holds a window (-1: none), and the sample of it at which it begins."""
    stretch = np.full(len(starts), -1, dtype=np.int64)
    first = np.zeros(len(starts), dtype=np.int64)
    for number, part in enumerate(parts):
        begin = np.rint((starts - part.offset_seconds) * rate_hz).astype(np.int64)
        fits = (begin >= 0) & (begin + num_samples <= part.num_samples)
        stretch[fits], first[fits] = number, begin[fits]
    return stretch, first
