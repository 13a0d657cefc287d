"""Resampling keeps a signal's shape and time, and never reaches across a long gap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from federation.errors import ImplausibleValueError, InvalidInputError
from site_client.signals.recording import Recording
from site_client.signals.resampling import resampled, runs, stretches


def _regular(channels: np.ndarray, *, rate: float = 100.0) -> Recording:
    names = tuple(f"c{number}" for number in range(len(channels)))
    return Recording(channels.astype(np.float32), names, ("mV",) * len(names), rate)


def _irregular(channels: np.ndarray, seconds: np.ndarray) -> Recording:
    names = tuple(f"c{number}" for number in range(len(channels)))
    rate = 1 / float(np.median(np.diff(seconds)))
    return Recording(channels.astype(np.float32), names, ("mV",) * len(names), rate, seconds=seconds)


def test_the_filter_is_scipys() -> None:
    values = np.random.default_rng(0).normal(size=(2, 720))
    expected = resample_poly(values.astype(np.float32).astype(float), 5, 18, axis=1, padtype="line")
    found = resampled(values.astype(np.float32), from_hz=360.0, to_hz=100.0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.shape == (2, 200)


@pytest.mark.parametrize(("start", "to"), [(360.0, 100.0), (360.0, 250.0), (100.0, 360.0), (1 / 60, 1 / 300)])
def test_a_slow_sine_stays_the_same_function_of_time(start: float, to: float) -> None:
    frequency = min(start, to) / 40
    times = np.arange(round(50 / frequency * start)) / start
    found = resampled(np.sin(2 * np.pi * frequency * times)[None].astype(np.float32), from_hz=start, to_hz=to)
    at = np.arange(found.shape[1]) / to
    inner = (at > 2 / frequency) & (at < times[-1] - 2 / frequency)
    np.testing.assert_allclose(found[0, inner], np.sin(2 * np.pi * frequency * at[inner]), atol=5e-3)


def test_what_is_too_fast_for_the_new_rate_is_filtered_and_not_folded() -> None:
    times = np.arange(3600) / 360
    found = resampled(np.sin(2 * np.pi * 80 * times)[None].astype(np.float32), from_hz=360.0, to_hz=100.0)
    assert np.abs(found[0, 50:-50]).max() < 0.01, "80 Hz would fold to 20 Hz"
    assert np.abs(np.sin(2 * np.pi * 80 * times)[::4]).max() > 0.9


def test_a_constant_level_survives_at_the_ends() -> None:
    found = resampled(np.full((1, 500), 37.0, np.float32), from_hz=360.0, to_hz=100.0)
    np.testing.assert_allclose(found, 37.0, rtol=1e-3)


def test_the_same_rate_changes_nothing() -> None:
    values = np.random.default_rng(1).normal(size=(3, 50)).astype(np.float32)
    assert np.array_equal(resampled(values, from_hz=100.0, to_hz=100.0), values)


def test_short_gaps_are_straight_lines_and_long_ones_split() -> None:
    values = np.tile(np.arange(100.0), (2, 1))
    values[0, 10:13] = np.nan  # 30 ms
    values[1, 50:60] = np.nan  # 100 ms
    parts = stretches(_regular(values), rate_hz=100.0, longest_gap_seconds=0.05)
    assert [(part.offset_seconds, part.num_samples) for part in parts] == [(0.0, 50), (0.6, 40)]
    np.testing.assert_allclose(parts[0].channels, np.tile(np.arange(50.0), (2, 1)))
    np.testing.assert_allclose(parts[1].channels, np.tile(np.arange(60.0, 100.0), (2, 1)))


@pytest.mark.parametrize(("missing", "parts"), [(5, 1), (6, 2)])
def test_the_limit_of_a_gap_is_inclusive(missing: int, parts: int) -> None:
    values = np.arange(100.0)[None].copy()
    values[0, 20 : 20 + missing] = np.nan
    assert len(stretches(_regular(values), rate_hz=100.0, longest_gap_seconds=0.05)) == parts


def test_missing_ends_are_cut_off_and_never_made_up() -> None:
    values = np.arange(100.0)[None].copy()
    values[0, :3] = values[0, 98:] = np.nan
    (part,) = stretches(_regular(values), rate_hz=100.0, longest_gap_seconds=1.0)
    assert (part.offset_seconds, part.num_samples) == (0.03, 95)


def test_a_recording_of_gaps_gives_nothing() -> None:
    assert stretches(_regular(np.full((1, 50), np.nan)), rate_hz=100.0, longest_gap_seconds=1.0) == ()
    seconds = np.array([0.0, 1.0, 2.5])
    assert stretches(_irregular(np.full((1, 3), np.nan), seconds), rate_hz=1.0, longest_gap_seconds=9.0) == ()


def test_an_uneven_line_becomes_the_same_line_on_a_grid() -> None:
    seconds = np.array([0.0, 0.7, 1.9, 3.2, 4.0, 9.0, 9.5, 10.6])
    parts = stretches(_irregular((2 * seconds + 1)[None], seconds), rate_hz=2.0, longest_gap_seconds=1.5)
    assert [(part.offset_seconds, part.num_samples) for part in parts] == [(0.0, 9), (9.0, 4)]
    for part in parts:
        at = part.offset_seconds + np.arange(part.num_samples) / 2
        np.testing.assert_allclose(part.channels[0], 2 * at + 1, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_those_of_a_loop(flags: list[bool]) -> None:
    expected, start = [], None
    for place, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = place
        if not flag and start is not None:
            expected.append((start, place))
            start = None
    assert runs(np.array(flags, dtype=bool)) == expected


@pytest.mark.parametrize("to", [np.pi * 100 / 3, 1e-7])
def test_rates_without_a_ratio_are_refused(to: float) -> None:
    with pytest.raises(ImplausibleValueError, match="fraction of whole numbers"):
        resampled(np.zeros((1, 10), np.float32), from_hz=100.0, to_hz=to)


@pytest.mark.parametrize(("rate", "gap"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, -1.0)])
def test_unusable_settings_are_refused(rate: float, gap: float) -> None:
    with pytest.raises(InvalidInputError):
        stretches(_regular(np.zeros((1, 10))), rate_hz=rate, longest_gap_seconds=gap)
