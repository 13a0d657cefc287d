"""A WFDB record comes back as it was written, or is refused before its samples are used."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from federation.errors import ImplausibleValueError, MappingError, RecordsUnreadableError
from site_client.signals.wfdb_files import read_wfdb, read_wfdb_annotations
from tests.site_client.signals.signal_files import RATE, START, waves, write_wfdb, write_wfdb_annotations


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(("fmt", "step"), [("16", 1e-4), ("212", 2e-3), ("24", 1e-6), ("32", 1e-6)])
def test_round_trip(fmt: str, step: float, tmp_path: Path) -> None:
    values = waves()
    found = read_wfdb(write_wfdb(tmp_path, values, fmt=fmt))
    assert found.channels.dtype == np.float32
    np.testing.assert_allclose(found.channels, values, atol=step)
    assert (found.names, found.units) == (("lead0", "lead1"), ("mV", "mV"))
    assert (found.sampling_rate_hz, found.start, found.seconds) == (RATE, START, None)
    assert found.duration_seconds == 10.0
    assert not found.gaps.any()


def test_samples_that_were_not_recorded_are_gaps(tmp_path: Path) -> None:
    values = waves()
    values[1, 100:150] = np.nan
    found = read_wfdb(write_wfdb(tmp_path, values))
    assert found.gaps.sum() == 50
    assert found.gaps[1, 100:150].all()


def test_annotations_round_trip(tmp_path: Path) -> None:
    write_wfdb(tmp_path, waves())
    found = read_wfdb_annotations(write_wfdb_annotations(tmp_path, [0.5, 1.25, 7.0], ["N", "V", "N"]), rate_hz=RATE)
    assert found.labels == ("N", "V", "N")
    np.testing.assert_allclose(found.seconds, [0.5, 1.25, 7.0])


@pytest.mark.parametrize("kept", [0, 1, 17, 2000])
def test_a_truncated_signal_file_is_refused(kept: int, tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    data = header.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:kept])
    with pytest.raises(RecordsUnreadableError, match=r"at least 4000 bytes for this header, got|file of 1 to"):
        read_wfdb(header, site="north")


def test_samples_that_disagree_with_the_checksum_are_refused(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    data = header.with_suffix(".dat")
    content = bytearray(data.read_bytes())
    content[402] ^= 4
    data.write_bytes(bytes(content))
    with pytest.raises(RecordsUnreadableError, match="checksum, got others in channel 2"):
        read_wfdb(header)


def test_a_header_of_more_samples_is_refused(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    _edit(header, "rec 2 100 1000", "rec 2 100 1001")
    with pytest.raises(RecordsUnreadableError, match="at least 4004 bytes"):
        read_wfdb(header)


def test_a_header_of_fewer_samples_is_refused(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    _edit(header, "rec 2 100 1000", "rec 2 100 990")
    with pytest.raises(RecordsUnreadableError, match="checksum"):
        read_wfdb(header)


@pytest.mark.parametrize("rate", ["0", "-5", "1e9", "0.000001"])
def test_an_absurd_rate_is_refused(rate: str, tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    _edit(header, "rec 2 100 1000", f"rec 2 {rate} 1000")
    with pytest.raises((ImplausibleValueError, RecordsUnreadableError)):
        read_wfdb(header)


@pytest.mark.parametrize("elsewhere", ["../secret.dat", "/etc/passwd", "s3://bucket/rec.dat", "sub/rec.dat", "~"])
def test_a_header_that_names_files_elsewhere_is_refused(elsewhere: str, tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    _edit(header, "rec.dat", elsewhere)
    with pytest.raises(RecordsUnreadableError):
        read_wfdb(header)


def test_a_signal_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    header.with_suffix(".dat").unlink()
    with pytest.raises(RecordsUnreadableError, match=r"readable file \.dat"):
        read_wfdb(header)


@pytest.mark.parametrize(
    "text",
    ["", "rubbish", "rec", "rec 2", "rec x y z", "rec/2 2 100 1000\na 500\nb 500\n", "rec 9999999 100 1000000\n"],
)
def test_a_header_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    header.write_text(text)
    with pytest.raises(RecordsUnreadableError) as refusal:
        read_wfdb(header, site="north")
    assert "rubbish" not in str(refusal.value)
    assert "site north" in str(refusal.value)


def test_another_format_is_refused(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, waves())
    _edit(header, "rec.dat 16", "rec.dat 310")
    with pytest.raises(RecordsUnreadableError, match="one signal format out of"):
        read_wfdb(header)


@pytest.mark.parametrize("kept", [1, 5])
def test_truncated_annotations_are_refused_or_shorter(kept: int, tmp_path: Path) -> None:
    write_wfdb(tmp_path, waves())
    path = write_wfdb_annotations(tmp_path, [0.5, 1.25, 7.0], ["N", "V", "N"])
    path.write_bytes(path.read_bytes()[:kept])
    found: tuple[str, ...] = ()
    with contextlib.suppress(RecordsUnreadableError):
        found = read_wfdb_annotations(path, rate_hz=RATE).labels
    assert len(found) < 3


def test_a_channel_that_is_absent_is_named(tmp_path: Path) -> None:
    found = read_wfdb(write_wfdb(tmp_path, waves()))
    assert found.select(("lead1",)).channels.shape == (1, 1000)
    with pytest.raises(MappingError, match=r"without \['aVR'\]"):
        found.select(("lead0", "aVR"))
