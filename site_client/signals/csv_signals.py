"""Signals in CSV: a column of times and a column for each channel, as wearables and monitors export them.

Times are seconds, or ISO 8601 stamps without zone. A series on an even grid (with gaps or without) becomes a regular recording
whose gaps are NaN; any other keeps its own times.

Axis names: C channels, N samples, A annotations.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from federation.errors import ImplausibleValueError, MappingError, RecordsUnreadableError
from site_client.signals.recording import (
    LARGEST_FILE_BYTES,
    MOST_VALUES,
    Annotations,
    Recording,
    Samples,
    Seconds,
    check_file,
    check_rate,
    check_size,
)

MISSING: Final = frozenset({"", "na", "nan", "null", "-"})
_EVEN: Final = 0.02
"""Departure from the grid, as a part of a step, up to which a series is regular."""
_EVEN_DECLARED: Final = 0.25
"""The same where the rate is declared: stamps are then rounded by a clock."""
_LONGEST_CELL: Final = 64
_MOST_GRID: Final = 20
"""A grid with more than this many places a sample is no grid."""


def read_signal_csv(
    path: Path, *, units: Mapping[str, str], time_column: str = "time", rate_hz: float | None = None, site: str = ""
) -> Recording:
    """Read a table of samples.

    Args:
        path: UTF-8, comma-separated, with a header.
        units: Column name of each channel to its unit: CSV says none.
        time_column: Seconds, or ISO stamps such as ``2026-01-31T08:05:00``; strictly increasing.
        rate_hz: Declared sampling rate; ``None``: one over the median step.
        site: For messages.

    Raises:
        RecordsUnreadableError: Absent, too large, not UTF-8, a row of another length, fewer than two rows.
        MappingError: A column is absent.
        ImplausibleValueError: Times that are unreadable or not strictly increasing, cells that are no numbers, an absurd rate.
    """
    columns, rows = _table(path, (time_column, *units), site=site)
    seconds, start = _seconds(columns[time_column], site=site)
    if rows < 2:  # noqa: PLR2004 - a step needs two
        raise RecordsUnreadableError(
            f"expected at least two rows, got {rows}", site=site, remedy="leave empty recordings out of the list"
        )
    check_size(len(units), rows, site=site)
    channels = np.stack([_numbers(columns[name], site=site, column=name) for name in units])
    step = float(np.median(np.diff(seconds)))
    rate = check_rate(1 / step if rate_hz is None else rate_hz, site=site)
    return _on_grid(
        Recording(
            channels=channels,
            names=tuple(units),
            units=tuple(units.values()),
            sampling_rate_hz=rate,
            start=start,
            seconds=seconds,
        ),
        tolerance=_EVEN if rate_hz is None else _EVEN_DECLARED,
    )


def read_csv_annotations(path: Path, *, start: dt.datetime | None, site: str = "") -> Annotations:
    """Read a table ``time,label``.

    Args:
        path: UTF-8, comma-separated, with a header.
        start: Of the recording, to which ISO stamps refer; seconds count from it anyway.
        site: For messages.

    Raises:
        RecordsUnreadableError: As :func:`read_signal_csv`.
        MappingError: A column is absent.
        ImplausibleValueError: Times that are unreadable or not in order.
    """
    columns, rows = _table(path, ("time", "label"), site=site)
    if not rows:
        return Annotations(seconds=np.zeros(0), labels=())
    seconds, first = _seconds(columns["time"], site=site, strictly=False)
    if first is not None:
        if start is None:
            raise ImplausibleValueError(
                "expected times in seconds beside a recording without a start, got stamps",
                site=site,
                remedy="give the annotations in seconds after the first sample",
            )
        seconds = seconds + (first - start).total_seconds()
    return Annotations(seconds=seconds, labels=tuple(columns["label"]))


def _table(path: Path, wanted: tuple[str, ...], *, site: str) -> tuple[dict[str, list[str]], int]:
    """The wanted columns as text, and the number of rows."""
    check_file(path, site=site)
    with _rows(path, site=site) as reader:
        header = [name.strip() for name in next(reader, [])]
        absent = [name for name in wanted if header.count(name) != 1]
        if absent:
            raise MappingError(
                f"expected one column for each of {list(wanted)}, got a table without {absent}",
                site=site,
                remedy="correct `time_column` or `label` in the plan, or the table's header",
            )
        places = {name: header.index(name) for name in wanted}
        columns: dict[str, list[str]] = {name: [] for name in wanted}
        count = 0
        for count, row in enumerate(reader, 1):
            if len(row) != len(header) or any(len(cell) > _LONGEST_CELL for cell in row):
                raise RecordsUnreadableError(
                    f"expected {len(header)} short cells in every row, got another in row {count}",
                    site=site,
                    remedy="export the table again: it is truncated or its separator is not a comma",
                )
            if count * len(wanted) > MOST_VALUES:
                check_size(len(wanted), count, site=site)
            for name, place in places.items():
                columns[name].append(row[place].strip())
    return columns, count


@contextmanager
def _rows(path: Path, *, site: str) -> Generator[Iterator[list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise RecordsUnreadableError(
            f"expected a comma-separated table in UTF-8 of at most {LARGEST_FILE_BYTES} bytes, "
            f"got {type(failure).__name__}",
            site=site,
            remedy="export the table again as CSV in UTF-8",
        ) from None


def _seconds(texts: list[str], *, site: str, strictly: bool = True) -> tuple[Seconds, dt.datetime | None]:
    """Seconds after the first row, and its stamp if times are stamps."""
    start: dt.datetime | None = None
    try:
        try:
            seconds = np.array([float(text) for text in texts], dtype=np.float64)
        except ValueError:
            stamps = [dt.datetime.fromisoformat(text) for text in texts]
            if any(stamp.tzinfo is not None for stamp in stamps):
                raise ValueError from None
            start = stamps[0]
            seconds = np.array([(stamp - start).total_seconds() for stamp in stamps], dtype=np.float64)
    except ValueError:
        raise ImplausibleValueError(
            "expected times in seconds or ISO stamps without zone, got others",
            site=site,
            remedy="export times as seconds or as 2026-01-31T08:05:00, all in the same way",
        ) from None
    steps = np.diff(seconds)
    late = int(np.count_nonzero(steps <= 0)) if strictly else int(np.count_nonzero(steps < 0))
    if late or not np.isfinite(seconds).all():
        raise ImplausibleValueError(
            f"expected times in increasing order, got {late} that are not later than the one before",
            site=site,
            remedy="sort the table by time and remove repeated rows",
        )
    return (seconds - seconds[0] if strictly and start is None and len(seconds) else seconds), start


def _numbers(texts: list[str], *, site: str, column: str) -> Samples:
    values = np.full(len(texts), np.nan)
    unreadable = 0
    for row, text in enumerate(texts):
        if text.lower() in MISSING:
            continue
        try:
            values[row] = float(text)
        except ValueError:
            unreadable += 1
    unreadable += int(np.count_nonzero(np.isinf(values)))
    if unreadable:
        raise ImplausibleValueError(
            f"expected numbers or empty cells in column {column!r}, got {unreadable} other cells",
            site=site,
            remedy="export missing samples as empty cells",
        )
    return values.astype(np.float32)


def _on_grid(series: Recording, *, tolerance: float) -> Recording:
    """A regular recording with NaN in its gaps if the times lie on a grid of the rate; else the series itself."""
    places = series.times() * series.sampling_rate_hz
    nearest = np.rint(places)
    num_places = math.floor(float(nearest[-1])) + 1
    even = bool(np.all(np.abs(places - nearest) <= tolerance)) and bool(np.all(np.diff(nearest) >= 1))
    if not even or num_places > _MOST_GRID * len(places):
        return series
    channels = np.full((len(series.names), num_places), np.nan, dtype=np.float32)
    channels[:, nearest.astype(np.int64)] = series.channels
    return Recording(
        channels=channels,
        names=series.names,
        units=series.units,
        sampling_rate_hz=series.sampling_rate_hz,
        start=series.start,
    )
