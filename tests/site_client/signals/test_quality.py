"""Clipped and flat parts are found where they are, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import InvalidInputError
from site_client.signals.quality import ChannelLimits, Fault, faults, touches, without_implausible
from site_client.signals.recording import Recording

LIMITS = ChannelLimits(-5.0, 5.0, clipped_samples=5, flat_seconds=0.3)


def _recording(*channels: np.ndarray) -> Recording:
    names = tuple(f"c{number}" for number in range(len(channels)))
    return Recording(np.stack(channels).astype(np.float32), names, ("mV",) * len(names), 100.0)


def _noise(seed: int = 0, size: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size)


def test_clean_noise_has_no_fault() -> None:
    assert faults(_recording(_noise(), _noise(1)), (LIMITS, LIMITS)) == ()


def test_a_saturated_amplifier_is_clipped_at_its_own_rail() -> None:
    values = np.clip(3 * np.sin(np.arange(1000) / 20), -2.5, 2.5)
    found = faults(_recording(values), (LIMITS,))
    assert {fault.kind for fault in found} == {"clipped"}
    assert len(found) == 16, "eight waves, two rails"
    for fault in found:
        inside = slice(round(fault.start_seconds * 100), round(fault.stop_seconds * 100))
        assert set(np.abs(values[inside])) == {2.5}


@pytest.mark.parametrize(("length", "is_found"), [(4, False), (5, True)])
def test_so_many_equal_samples_at_the_plausible_bound_are_clipping(length: int, is_found: bool) -> None:
    values = _noise()
    values[300 : 300 + length] = 5.0
    expected = (Fault("clipped", 3.0, 3.0 + length / 100),) if is_found else ()
    found = faults(_recording(values), (LIMITS,))
    assert [(f.kind, round(f.start_seconds, 6), round(f.stop_seconds, 6)) for f in found] == [
        (f.kind, f.start_seconds, round(f.stop_seconds, 6)) for f in expected
    ]


@pytest.mark.parametrize(("length", "is_found"), [(29, False), (30, True), (500, True)])
def test_an_electrode_that_is_off_is_flat(length: int, is_found: bool) -> None:
    values = _noise()
    values[200 : 200 + length] = 0.25
    found = faults(_recording(_noise(3), values), (LIMITS, LIMITS))
    assert [fault.kind for fault in found] == ["flat"] * is_found
    if is_found:
        assert found[0].start_seconds == pytest.approx(2.0)
        assert found[0].stop_seconds == pytest.approx(2.0 + length / 100)


def test_gaps_are_not_flat() -> None:
    values = _noise()
    values[100:600] = np.nan
    assert faults(_recording(values), (LIMITS,)) == ()


def test_what_is_not_looked_for_is_not_found() -> None:
    values = np.zeros(1000)
    assert faults(_recording(values), (ChannelLimits(-5, 5),)) == ()


def test_flat_parts_of_an_uneven_series_are_measured_in_time() -> None:
    seconds = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    series = Recording(np.array([[1, 2, 3, 3, 3, 4]], np.float32), ("c",), ("mV",), 1.0, seconds=seconds)
    (fault,) = faults(series, (ChannelLimits(-5, 5, flat_seconds=9.0),))
    assert (fault.start_seconds, fault.stop_seconds) == (2.0, 12.0)


def test_implausible_samples_become_gaps_and_are_counted() -> None:
    values = _noise()
    values[[5, 700]] = [9.0, -6.0]
    found, count = without_implausible(_recording(values, _noise(1)), (LIMITS, LIMITS))
    assert count == 2
    assert np.flatnonzero(found.gaps[0]).tolist() == [5, 700]
    assert not found.gaps[1].any()


def test_windows_touch_what_they_share_a_moment_with() -> None:
    found = (Fault("flat", 2.0, 3.0), Fault("clipped", 8.0, 8.1))
    starts = np.array([0.0, 1.0, 1.1, 2.9, 3.0, 7.5])
    assert touches(found, "flat", starts, length_seconds=1.0).tolist() == [False, False, True, True, False, False]
    assert touches(found, "clipped", starts, length_seconds=1.0).tolist() == [False] * 5 + [True]


def test_limits_are_one_a_channel() -> None:
    with pytest.raises(InvalidInputError, match="expected 1 limits, got 2"):
        faults(_recording(_noise()), (LIMITS, LIMITS))
