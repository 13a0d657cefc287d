"""PhysioNet's format: a header, signal files, annotations. The one home of wfdb.

Read are single-segment records of integer samples with one sample a frame (WFDB documentation, "signal(5)" and "header(5)").
The header is checked against the files before samples are read, and the samples against the header's checksums after. Nothing
is looked up on the network.

Axis names: C channels, N samples, A annotations.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federation.errors import MissingDependencyError, RecordsUnreadableError
from site_client.signals.recording import Annotations, Recording, check_file, check_rate, check_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_BITS: Final = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12}
"""Bits of a sample in each format that is read."""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""A file beside the header, and nothing elsewhere."""
_LARGEST_HEADER_BYTES: Final = 2**20
_RECORD_LINE: Final = re.compile(
    r"\S+\s+\d+\s+(?P<rate>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?:/\S+)?\s+(?P<samples>\d+)(?:\s.*)?"
)
"""Name, channels, rate and samples. wfdb puts its default of 250 Hz where it cannot read a rate."""


def read_wfdb(header: Path, *, site: str = "") -> Recording:
    """Read a record.

    Args:
        header: Its ``.hea`` file; the signal files lie beside it.
        site: For messages.

    Raises:
        RecordsUnreadableError: A file is absent, truncated or too large; the header does not parse, names files elsewhere, or
            disagrees with the samples' checksums; a format that is not read.
        ImplausibleValueError: An absurd sampling rate.
        MissingDependencyError: If wfdb is not installed.
    """
    wfdb = _library()
    if check_file(header, site=site) > _LARGEST_HEADER_BYTES:
        raise _unreadable("a header of at most one megabyte, got a larger file", site)
    name = str(header.with_suffix(""))
    found = _called(lambda: wfdb.rdheader(name), "a header that wfdb can read", site)
    _check_header(found, header.parent, site=site)
    _check_record_line(header, found, site=site)
    record = _called(
        lambda: wfdb.rdrecord(name, physical=False, return_res=32), "signal files that fit the header", site
    )
    if record.d_signal is None or record.d_signal.shape != (found.sig_len, found.n_sig):
        raise _unreadable("as many samples as the header says, got others", site)
    _check_sums(record, site=site)
    physical = _called(lambda: record.dac(return_res=32), "gains and baselines in the header", site)
    return Recording(
        channels=np.ascontiguousarray(physical.T, dtype=np.float32),
        names=_distinct(found.sig_name),
        units=tuple(str(unit or "mV") for unit in found.units),
        sampling_rate_hz=check_rate(float(found.fs), site=site),
        start=_start(found),
    )


def read_wfdb_annotations(path: Path, *, rate_hz: float, site: str = "") -> Annotations:
    """Read an annotation file, such as ``100.atr``.

    Args:
        path: Its suffix is the annotator's name.
        rate_hz: Sampling rate of the record, for files that do not say their own.
        site: For messages.

    Raises:
        RecordsUnreadableError: If it is absent or does not parse.
        MissingDependencyError: If wfdb is not installed.
    """
    wfdb = _library()
    check_file(path, site=site)
    stem, extension = str(path.with_suffix("")), path.suffix.removeprefix(".")
    found = _called(lambda: wfdb.rdann(stem, extension), "an annotation file that wfdb can read", site)
    rate = check_rate(float(found.fs or rate_hz), site=site)
    seconds = np.asarray(found.sample, dtype=np.float64) / rate
    if np.any(np.diff(seconds) < 0) or np.any(seconds < 0):
        raise _unreadable("annotations in the order of time, got others", site)
    return Annotations(seconds=seconds, labels=tuple(str(symbol) for symbol in found.symbol))


def _library() -> ModuleType:
    try:
        import wfdb
    except ImportError as failure:
        raise MissingDependencyError(
            "expected the package 'wfdb', it is not installed", remedy="pip install 'cohortium[site,signals]'"
        ) from failure
    return wfdb


def _called(call: Any, wanted: str, site: str) -> Any:  # noqa: ANN401 - wfdb has no types
    """What the library gives. Whatever it raises on files of others is said in our words, without its own."""
    try:
        return call()
    except Exception as failure:  # noqa: BLE001 - wfdb raises whatever its parsers meet
        kind = type(failure).__name__
    raise _unreadable(f"{wanted}, got {kind}", site)


def _unreadable(wanted: str, site: str) -> RecordsUnreadableError:
    return RecordsUnreadableError(
        f"expected {wanted}", site=site, remedy="copy the record's files again from where they were recorded"
    )


def _check_header(found: Any, folder: Path, *, site: str) -> None:  # noqa: ANN401 - wfdb has no types
    if getattr(found, "n_seg", None) is not None:
        raise _unreadable("a record of one segment, got one of several", site)
    if not found.n_sig or not found.sig_len or found.file_name is None:
        raise _unreadable("a header with channels and a number of samples, got one without", site)
    check_size(int(found.n_sig), int(found.sig_len), site=site)
    check_rate(float(found.fs), site=site)
    if any(int(frames or 1) != 1 for frames in found.samps_per_frame):
        raise _unreadable("channels of one sampling rate, got several", site)
    for name in sorted(set(found.file_name)):
        if not _PLAIN_NAME.fullmatch(name):
            raise _unreadable("signal files beside the header, got a path to elsewhere", site)
        rows = [row for row, other in enumerate(found.file_name) if other == name]
        _check_length(folder / name, found, rows, site=site)


def _check_record_line(header: Path, found: Any, *, site: str) -> None:  # noqa: ANN401 - wfdb has no types
    text = _called(lambda: header.read_text(encoding="utf-8"), "a header in UTF-8", site)
    first = next((line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    said = _RECORD_LINE.fullmatch(first)
    if said is None or float(said["rate"]) != float(found.fs) or int(said["samples"]) != int(found.sig_len):
        raise _unreadable("a first line with name, channels, rate and number of samples, got another", site)


def _check_length(path: Path, found: Any, rows: Sequence[int], *, site: str) -> None:  # noqa: ANN401 - as above
    """The file's bytes against the header: wfdb fills a short file up, or fails far from the cause."""
    formats = {str(found.fmt[row]) for row in rows}
    if len(formats) != 1 or not formats <= set(_BITS):
        raise _unreadable(f"one signal format out of {sorted(_BITS)} a file, got {sorted(formats)}", site)
    offset = int(found.byte_offset[rows[0]] or 0)
    needed = offset + math.ceil(_BITS[formats.pop()] * int(found.sig_len) * len(rows) / 8)
    size = check_file(path, site=site)
    if size < needed:
        raise _unreadable(f"a signal file of at least {needed} bytes for this header, got {size}", site)


def _check_sums(record: Any, *, site: str) -> None:  # noqa: ANN401 - wfdb has no types
    """The 16-bit sums of the samples: a header of another file, or a damaged one, differs."""
    said = record.checksum
    for row, wanted in enumerate(said or []):
        if wanted is None:
            continue
        total = int(record.d_signal[:, row].astype(np.int64).sum())
        if (total - int(wanted)) % 65_536:
            raise _unreadable(f"samples that sum to the header's checksum, got others in channel {row + 1}", site)


def _distinct(names: Sequence[str | None]) -> tuple[str, ...]:
    """Names of channels; an absent or repeated one gets its number."""
    given = [name or f"channel {number}" for number, name in enumerate(names, 1)]
    return tuple(name if given.count(name) == 1 else f"{name} {number}" for number, name in enumerate(given, 1))


def _start(found: Any) -> dt.datetime | None:  # noqa: ANN401 - wfdb has no types
    if found.base_date is None or found.base_time is None:
        return None
    return dt.datetime.combine(found.base_date, found.base_time)
