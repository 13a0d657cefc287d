"""Windows are the samples at their time; none holds a gap, a fault, or anything that was not recorded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import InvalidInputError
from site_client.signals.quality import Fault
from site_client.signals.recording import Recording
from site_client.signals.resampling import Stretch, stretches
from site_client.signals.windows import cut, sliding_starts


def _counting(size: int, *, first: int = 0) -> np.ndarray:
    """Two channels whose samples are their own numbers."""
    return np.stack([np.arange(first, first + size), -np.arange(first, first + size)]).astype(np.float32)


def test_a_window_is_the_samples_at_its_time() -> None:
    found = cut([Stretch(_counting(100), 0.0)], (), np.array([0.0, 0.25, 0.9]), rate_hz=100.0, num_samples=10)
    assert found.windows.shape == (3, 2, 10)
    assert found.windows[:, 0, 0].tolist() == [0, 25, 90]
    assert found.kept.tolist() == [0, 1, 2]


@pytest.mark.parametrize("start", [-0.01, 0.91, 5.0, -3.0])
def test_windows_beyond_the_recording_are_left_out(start: float) -> None:
    found = cut([Stretch(_counting(100), 0.0)], (), np.array([start]), rate_hz=100.0, num_samples=10)
    assert (found.across_gap, len(found.windows)) == (1, 0)


def test_faults_are_counted_once_each_clipped_first() -> None:
    parts = [Stretch(_counting(100), 0.0)]
    faults = (Fault("clipped", 0.0, 0.1), Fault("flat", 0.05, 0.5))
    found = cut(parts, faults, np.array([0.0, 0.2, 0.6]), rate_hz=100.0, num_samples=10)
    assert (found.clipped, found.flat, found.across_gap, found.kept.tolist()) == (1, 1, 0, [2])


@settings(max_examples=80, deadline=None)
@given(
    missing=st.lists(st.integers(0, 199), max_size=30),
    length=st.integers(1, 40),
    starts=st.lists(st.integers(-5, 210), max_size=20),
)
def test_no_window_holds_a_gap_and_none_without_is_lost(missing: list[int], length: int, starts: list[int]) -> None:
    values = _counting(200)
    values[1, missing] = np.nan
    recording = Recording(values, ("a", "b"), ("mV", "mV"), 10.0)
    parts = stretches(recording, rate_hz=10.0, longest_gap_seconds=0.0)
    found = cut(parts, (), np.array(starts, dtype=float) / 10, rate_hz=10.0, num_samples=length)
    whole = [
        number
        for number, start in enumerate(starts)
        if start >= 0 and start + length <= 200 and not set(range(start, start + length)) & set(missing)
    ]
    assert found.kept.tolist() == whole
    assert np.isfinite(found.windows).all()
    for row, number in enumerate(whole):
        assert found.windows[row, 0].tolist() == list(range(starts[number], starts[number] + length))
    assert found.across_gap == len(starts) - len(whole)


def test_sliding_windows_stop_where_the_recording_does() -> None:
    assert sliding_starts(10.0, length_seconds=4.0, stride_seconds=2.0).tolist() == [0, 2, 4, 6]
    assert sliding_starts(9.99, length_seconds=4.0, stride_seconds=2.0).tolist() == [0, 2, 4]
    assert sliding_starts(4.0, length_seconds=4.0, stride_seconds=100.0).tolist() == [0]
    assert sliding_starts(3.9, length_seconds=4.0, stride_seconds=1.0).tolist() == []


@pytest.mark.parametrize(("length", "stride"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1.0, float("nan"))])
def test_unusable_lengths_are_refused(length: float, stride: float) -> None:
    with pytest.raises(InvalidInputError):
        sliding_starts(10.0, length_seconds=length, stride_seconds=stride)


def test_no_stretch_gives_no_window() -> None:
    found = cut([], (), np.array([0.0]), rate_hz=1.0, num_samples=1)
    assert (len(found.windows), found.across_gap) == (0, 1)
