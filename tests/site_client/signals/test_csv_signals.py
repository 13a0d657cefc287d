"""Tables of samples: even ones become regular with gaps, uneven ones keep their times, bad ones are refused with a count."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from federation.errors import ImplausibleValueError, MappingError, RecordsUnreadableError
from site_client.signals.csv_signals import read_csv_annotations, read_signal_csv
from tests.site_client.signals.signal_files import START, write_csv

UNITS = {"hr": "1/min", "spo2": "%"}


def _stamps(minutes: list[float]) -> list[str]:
    return [(START + dt.timedelta(minutes=at)).isoformat() for at in minutes]


def _table(path: Path, times: list[str], **changes: list[str]) -> Path:
    columns = {"hr": [str(60 + row) for row in range(len(times))], "spo2": ["97"] * len(times)} | changes
    return write_csv(path / "a.csv", times, columns)


def test_stamps_on_a_grid(tmp_path: Path) -> None:
    found = read_signal_csv(_table(tmp_path, _stamps([0, 5, 10, 15])), units=UNITS)
    assert found.start == START
    assert found.seconds is None
    assert found.sampling_rate_hz == pytest.approx(1 / 300)
    assert found.channels.tolist() == [[60, 61, 62, 63], [97, 97, 97, 97]]
    assert (found.names, found.units) == (("hr", "spo2"), ("1/min", "%"))


def test_missing_rows_and_cells_are_gaps(tmp_path: Path) -> None:
    found = read_signal_csv(_table(tmp_path, _stamps([0, 5, 10, 25]), spo2=["97", "", "NaN", "95"]), units=UNITS)
    assert found.seconds is None
    assert found.gaps.tolist() == [[False, False, False, True, True, False], [False, True, True, True, True, False]]


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    found = read_signal_csv(_table(tmp_path, ["10", "11", "12.4", "13"]), units=UNITS)
    assert found.seconds is not None
    np.testing.assert_allclose(found.seconds, [0, 1, 2.4, 3])


def test_a_declared_rate_forgives_the_rounding_of_a_clock(tmp_path: Path) -> None:
    times = [f"{row / 360:.3f}" for row in range(50)]
    table = _table(tmp_path, times)
    assert read_signal_csv(table, units=UNITS).seconds is not None
    found = read_signal_csv(table, units=UNITS, rate_hz=360.0)
    assert found.seconds is None
    assert found.channels.shape == (2, 50)


def test_a_gap_of_weeks_is_not_filled_with_a_grid(tmp_path: Path) -> None:
    found = read_signal_csv(_table(tmp_path, ["0", "1", "2", "1000000"]), units=UNITS)
    assert found.channels.shape == (2, 4)


@pytest.mark.parametrize("times", [["0", "2", "1", "3"], ["0", "1", "1", "2"], ["0", "1", "nan", "2"]])
def test_unordered_and_repeated_times_are_refused(times: list[str], tmp_path: Path) -> None:
    with pytest.raises(ImplausibleValueError, match="increasing order"):
        read_signal_csv(_table(tmp_path, times), units=UNITS)


@pytest.mark.parametrize("times", [["0", "soon"], ["2026-01-31T08:00:00Z", "2026-01-31T08:05:00Z"]])
def test_times_that_are_none_are_refused_without_showing_them(times: list[str], tmp_path: Path) -> None:
    with pytest.raises(ImplausibleValueError, match="seconds or ISO stamps") as refusal:
        read_signal_csv(_table(tmp_path, times), units=UNITS)
    assert "soon" not in str(refusal.value)


@pytest.mark.parametrize("cell", ["high", "inf", "1,5"])
def test_cells_that_are_no_numbers_are_counted(cell: str, tmp_path: Path) -> None:
    cell = f'"{cell}"' if "," in cell else cell
    with pytest.raises(ImplausibleValueError, match="column 'hr', got 2 other cells"):
        read_signal_csv(_table(tmp_path, ["0", "1", "2"], hr=[cell, "60", cell]), units=UNITS)


def test_an_absurd_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImplausibleValueError, match="100000 Hz"):
        read_signal_csv(_table(tmp_path, ["0", "0.000001", "0.000002"]), units=UNITS)


def test_an_absent_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"without \['temperature'\]"):
        read_signal_csv(_table(tmp_path, ["0", "1"]), units=UNITS | {"temperature": "degC"})


def test_a_truncated_row_is_refused(tmp_path: Path) -> None:
    path = _table(tmp_path, ["0", "1", "2"])
    path.write_text(path.read_text()[:-5])
    with pytest.raises(RecordsUnreadableError, match="in row 3"):
        read_signal_csv(path, units=UNITS)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"time,hr,spo2\n0,60,97\n", b'time,hr,spo2\n"0,60,97\n'])
def test_files_that_are_no_tables_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises((RecordsUnreadableError, MappingError)):
        read_signal_csv(path, units=UNITS)


def test_annotations_in_seconds_and_as_stamps(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "marks.csv", ["1.5", "1.5", "9"], {"label": ["N", "V", "N"]})
    found = read_csv_annotations(path, start=None)
    assert (found.seconds.tolist(), found.labels) == ([1.5, 1.5, 9.0], ("N", "V", "N"))
    path = write_csv(tmp_path / "stamps.csv", _stamps([1, 2]), {"label": ["N", "V"]})
    assert read_csv_annotations(path, start=START).seconds.tolist() == [60.0, 120.0]
    with pytest.raises(ImplausibleValueError, match="without a start"):
        read_csv_annotations(path, start=None)
