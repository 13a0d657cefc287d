"""What every reader of signals gives: channels on a time axis, with units, start and gaps.

Recordings are patient-level: they stay in ``site_client``, and none prints its samples.

Axis names: C channels, N samples, A annotations.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import ImplausibleValueError, InternalError, MappingError, RecordsUnreadableError

Samples = NDArray[np.float32]
Seconds = NDArray[np.float64]

SLOWEST_HZ: Final = 1 / 86_400
"""One sample a day."""
FASTEST_HZ: Final = 100_000.0
"""Above any biosignal; what is faster is a wrong header."""
MOST_CHANNELS: Final = 512
MOST_VALUES: Final = 250_000_000
"""Channels times samples of one recording: one gigabyte as float32."""
LARGEST_FILE_BYTES: Final = 2 * 2**30


@dataclass(frozen=True)
class Recording:
    """One recording of one patient.

    Args:
        channels: ``[C, N]`` float32 in ``units``; NaN where nothing was recorded.
        names: C distinct names, as in the file.
        units: C units, as in the file.
        sampling_rate_hz: Of all channels; the median rate if the times are irregular.
        start: Time of the first sample, without zone, or ``None`` if the file does not say.
        seconds: ``[N]`` strictly increasing times after ``start`` of an irregular series; ``None``: sample n is at
            ``n / sampling_rate_hz``.
    """

    channels: Samples = field(repr=False)
    names: tuple[str, ...]
    units: tuple[str, ...]
    sampling_rate_hz: float
    start: dt.datetime | None = None
    seconds: Seconds | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        count = len(self.names)
        fits = self.channels.ndim == 2 and len(self.channels) == count == len(self.units)  # noqa: PLR2004 - [C, N]
        if not fits or self.channels.dtype != np.float32 or len(set(self.names)) != count:
            raise InternalError(f"expected float32 channels [{count}, N] with distinct names and units")
        if self.seconds is not None and len(self.seconds) != self.channels.shape[1]:
            raise InternalError(f"expected {self.channels.shape[1]} times, got {len(self.seconds)}")

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """``[C, N]``: where a channel has no sample."""
        return np.isnan(self.channels)

    @property
    def duration_seconds(self) -> float:
        """From the first sample to one step after the last."""
        if self.seconds is None:
            return self.channels.shape[1] / self.sampling_rate_hz
        last = float(self.seconds[-1]) if len(self.seconds) else 0.0
        return last + 1 / self.sampling_rate_hz

    def times(self) -> Seconds:
        """``[N]`` seconds after the start."""
        if self.seconds is not None:
            return self.seconds
        return np.arange(self.channels.shape[1], dtype=np.float64) / self.sampling_rate_hz

    def select(self, names: tuple[str, ...], *, site: str = "") -> Recording:
        """The named channels in the given order.

        Raises:
            MappingError: If the recording lacks one; says how many channels it has, and not which.
        """
        absent = [name for name in names if name not in self.names]
        if absent:
            raise MappingError(
                f"expected the channels {list(names)}, got a recording without {absent}",
                site=site,
                remedy=f"use names of the file's {len(self.names)} channels in the plan's `label`",
            )
        rows = [self.names.index(name) for name in names]
        return replace(self, channels=self.channels[rows], names=names, units=tuple(self.units[row] for row in rows))


@dataclass(frozen=True)
class Annotations:
    """What somebody marked in a recording.

    Args:
        seconds: ``[A]`` non-decreasing times after the recording's first sample.
        labels: A texts.
    """

    seconds: Seconds = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seconds) != len(self.labels):
            raise InternalError(f"expected as many labels as times, got {len(self.labels)} and {len(self.seconds)}")


def check_rate(rate_hz: float, *, site: str = "") -> float:
    """A sampling rate that a biosignal can have.

    Raises:
        ImplausibleValueError: If it is not finite, not positive, or outside one a day to 100 kHz.
    """
    if not (math.isfinite(rate_hz) and SLOWEST_HZ <= rate_hz <= FASTEST_HZ):
        raise ImplausibleValueError(
            f"expected a sampling rate between one sample a day and {FASTEST_HZ:g} Hz, got another",
            site=site,
            remedy="correct the header of the file",
        )
    return float(rate_hz)


def check_size(num_channels: int, num_samples: int, *, site: str = "") -> None:
    """A recording that fits into memory.

    Raises:
        RecordsUnreadableError: If it has no channel, no sample, or more than the limits of this module.
    """
    if num_channels < 1 or num_samples < 1:
        raise RecordsUnreadableError(
            f"expected at least one channel and one sample, got {num_channels} and {num_samples}",
            site=site,
            remedy="leave empty recordings out of the list",
        )
    if num_channels > MOST_CHANNELS or num_channels * num_samples > MOST_VALUES:
        raise RecordsUnreadableError(
            f"expected at most {MOST_CHANNELS} channels and {MOST_VALUES} values in a recording, "
            f"got {num_channels} channels of {num_samples} samples",
            site=site,
            remedy="divide the recording into several files",
        )


def check_file(path: Path, *, site: str = "") -> int:
    """A file that may be opened.

    Returns:
        Its size in bytes.

    Raises:
        RecordsUnreadableError: If it is absent, no file, empty or larger than two gigabytes.
    """
    try:
        size = path.stat().st_size if path.is_file() else -1
    except OSError:
        size = -1
    if size < 0:
        raise RecordsUnreadableError(
            f"expected a readable file {path.suffix or 'without suffix'} at the place the list names, got none",
            site=site,
            remedy="correct the path in the list of recordings, or the permissions",
        )
    if not 0 < size <= LARGEST_FILE_BYTES:
        raise RecordsUnreadableError(
            f"expected a file of 1 to {LARGEST_FILE_BYTES} bytes, got {size}",
            site=site,
            remedy="divide the recording into several files, or leave the empty one out",
        )
    return size
