"""An EDF file comes back as it was written; what edfio would mend with a warning is refused."""

from __future__ import annotations

from pathlib import Path

import edfio
import numpy as np
import pytest

from federation.errors import ImplausibleValueError, MappingError, RecordsUnreadableError
from site_client.signals.edf_files import read_edf, read_edf_annotations
from tests.site_client.signals.signal_files import RATE, START, waves, write_edf


def test_round_trip(tmp_path: Path) -> None:
    values = waves()
    found = read_edf(write_edf(tmp_path / "a.edf", values))
    np.testing.assert_allclose(found.channels, values, atol=1e-4)
    assert found.channels.dtype == np.float32
    assert (found.names, found.units) == (("lead0", "lead1"), ("mV", "mV"))
    assert (found.sampling_rate_hz, found.start) == (RATE, START)


def test_chosen_channels_in_the_chosen_order(tmp_path: Path) -> None:
    values = waves(channels=3)
    found = read_edf(write_edf(tmp_path / "a.edf", values), channels=("lead2", "lead0"))
    np.testing.assert_allclose(found.channels, values[[2, 0]], atol=1e-4)


def test_annotations_in_the_order_of_time(tmp_path: Path) -> None:
    found = read_edf_annotations(write_edf(tmp_path / "a.edf", waves(), marks=[(7.0, "V"), (0.5, "N")]))
    assert found.labels == ("N", "V")
    assert found.seconds.tolist() == [0.5, 7.0]


@pytest.mark.parametrize("lost", [1, 100, 2000])
def test_a_truncated_file_is_refused(lost: int, tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", waves())
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(RecordsUnreadableError, match="as long as its header says"):
        read_edf(path)


@pytest.mark.parametrize("kept", [0, 1, 200, 300])
def test_a_file_that_ends_in_its_header_is_refused(kept: int, tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", waves())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RecordsUnreadableError):
        read_edf(path)


def test_a_header_of_another_number_of_data_records_is_refused(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", waves())
    content = bytearray(path.read_bytes())
    said = int(content[236:244])
    content[236:244] = f"{said + 3:<8}".encode()
    path.write_bytes(bytes(content))
    with pytest.raises(RecordsUnreadableError, match="as long as its header says"):
        read_edf(path)


def test_channels_of_several_rates_are_refused_together_and_read_one_by_one(tmp_path: Path) -> None:
    signals = [edfio.EdfSignal(np.zeros(size), size / 10, label=f"c{size}") for size in (1000, 100)]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    with pytest.raises(RecordsUnreadableError, match="one sampling rate, got 2 rates"):
        read_edf(tmp_path / "a.edf")
    assert read_edf(tmp_path / "a.edf", channels=("c100",)).sampling_rate_hz == 10.0


def test_an_absent_channel_is_named(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"without \['aVR'\]"):
        read_edf(write_edf(tmp_path / "a.edf", waves()), channels=("aVR",))


def test_an_absurd_rate_is_refused(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", waves(1000, rate=1.0), rate=1.0)
    content = bytearray(path.read_bytes())
    content[244:252] = f"{'9999999':<8}".encode()  # duration of a data record
    path.write_bytes(bytes(content))
    with pytest.raises((ImplausibleValueError, RecordsUnreadableError)):
        read_edf(path)


def test_a_discontinuous_recording_is_refused(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", waves(), marks=[(1.0, "x")])
    content = path.read_bytes()
    assert b"+5\x14\x14\x00" in content
    path.write_bytes(content.replace(b"+5\x14\x14\x00", b"+7\x14\x14\x00").replace(b"EDF+C", b"EDF+D"))
    with pytest.raises(RecordsUnreadableError, match="continuous recording"):
        read_edf(path)


def test_text_of_the_file_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(b"SECRET-PATIENT " * 100)
    with pytest.raises(RecordsUnreadableError) as refusal:
        read_edf(path)
    assert "SECRET" not in str(refusal.value)
    assert refusal.value.__cause__ is None
