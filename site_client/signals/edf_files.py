"""European Data Format, EDF and EDF+. The one home of edfio.

Kemp et al. 1992, and EDF+ of Kemp & Olivan 2003. edfio mends what it can and warns; here a warning is an error, because a file
that is shorter than its header says has lost somebody's data. Discontinuous files (EDF+D with gaps) are refused.

Axis names: C channels, N samples, A annotations.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from federation.errors import MappingError, MissingDependencyError, RecordsUnreadableError
from site_client.signals.recording import Annotations, Recording, check_file, check_rate, check_size

if TYPE_CHECKING:
    from edfio import Edf

_Value = TypeVar("_Value")


def read_edf(path: Path, *, channels: tuple[str, ...] | None = None, site: str = "") -> Recording:
    """Read a recording.

    Args:
        path: An ``.edf`` file.
        channels: Labels to read; they must have one sampling rate. ``None``: all signals.
        site: For messages.

    Raises:
        RecordsUnreadableError: Absent, truncated, too large, discontinuous, or with a header that disagrees with the data; chosen
            channels of several rates; labels that are not distinct.
        MappingError: If a channel is absent.
        ImplausibleValueError: An absurd sampling rate.
        MissingDependencyError: If edfio is not installed.
    """
    found = _opened(path, site=site)
    labels = list(_called(lambda: [signal.label for signal in found.signals], "labels of signals", site))
    wanted = tuple(labels) if channels is None else channels
    absent = [label for label in wanted if label not in labels]
    if absent:
        raise MappingError(
            f"expected the channels {list(wanted)}, got a file without {absent}",
            site=site,
            remedy=f"use labels of the file's {len(labels)} signals in the plan's `label`",
        )
    if len({*wanted}) != len(wanted) or any(labels.count(label) > 1 for label in wanted):
        raise _unreadable("distinct labels of signals, got one twice", site)
    signals = [found.signals[labels.index(label)] for label in wanted]
    rates = {check_rate(float(signal.sampling_frequency), site=site) for signal in signals}
    if len(rates) != 1:
        raise _unreadable(f"channels of one sampling rate, got {len(rates)} rates", site)
    lengths = [signal.samples_per_data_record * found.num_data_records for signal in signals]
    check_size(len(signals), lengths[0], site=site)
    data = _called(lambda: [signal.data for signal in signals], "samples with a physical range", site)
    return Recording(
        channels=np.ascontiguousarray(np.stack(data), dtype=np.float32),
        names=wanted,
        units=tuple(signal.physical_dimension or "dimensionless" for signal in signals),
        sampling_rate_hz=rates.pop(),
        start=_start(found),
    )


def read_edf_annotations(path: Path, *, site: str = "") -> Annotations:
    """Read the annotations of an EDF+ file, in the order of time.

    Raises:
        RecordsUnreadableError: As :func:`read_edf`.
        MissingDependencyError: If edfio is not installed.
    """
    found = _opened(path, site=site)
    marks = _called(lambda: sorted((mark.onset, mark.text) for mark in found.annotations), "annotations", site)
    seconds = np.array([onset for onset, _ in marks], dtype=np.float64)
    return Annotations(seconds=seconds, labels=tuple(text for _, text in marks))


def _opened(path: Path, *, site: str) -> Edf:
    try:
        from edfio import read_edf as read
    except ImportError as failure:
        raise MissingDependencyError(
            "expected the package 'edfio', it is not installed", remedy="pip install 'cohortium[site,signals]'"
        ) from failure
    check_file(path, site=site)
    found = _called(
        lambda: read(path, lazy_load_data=False), "an EDF file whose data are as long as its header says", site
    )
    if not _called(lambda: found.is_continuous, "time stamps of data records", site):
        raise _unreadable("a continuous recording, got one with gaps between data records (EDF+D)", site)
    return found


def _called(call: Callable[[], _Value], wanted: str, site: str) -> _Value:
    """What the library gives; warnings count as failures, and nothing it says about the content is passed on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return call()
    except Exception as failure:  # noqa: BLE001 - edfio raises whatever its parser meets
        kind = type(failure).__name__
    raise _unreadable(f"{wanted}, got {kind}", site)


def _unreadable(wanted: str, site: str) -> RecordsUnreadableError:
    return RecordsUnreadableError(
        f"expected {wanted}", site=site, remedy="export the recording again; EDF+D must be exported as EDF or EDF+C"
    )


def _start(found: Edf) -> dt.datetime | None:
    with contextlib.suppress(Exception), warnings.catch_warnings():  # an anonymised or absent date is none
        warnings.simplefilter("ignore")
        return found.startdatetime
    return None
