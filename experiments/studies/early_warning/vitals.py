"""Vital signs of generated patients: baselines, days and nights, noise, harmless episodes, and for some an onset of deterioration.

Deterioration begins hours before the onset and grows along a logistic curve, faster in some patients than in others: heart and
breathing quicken, saturation and pressure fall, half of the patients get a fever. None of this is fitted to real patients.

Axis names: V vital signs, N samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import expit

FloatArray = NDArray[np.float64]

VITALS: Final = (
    "heart_rate",
    "respiratory_rate",
    "oxygen_saturation",
    "systolic_pressure",
    "diastolic_pressure",
    "temperature",
)
_MEAN: Final = np.array([78.0, 15.0, 96.5, 126.0, 74.0, 36.8])
_BETWEEN: Final = np.array([9.0, 1.8, 0.9, 12.0, 7.0, 0.2])
"""Standard deviation of patients' baselines."""
_WITHIN: Final = np.array([4.0, 1.4, 0.8, 6.0, 4.0, 0.12])
"""Standard deviation of a patient's own noise."""
_NIGHT: Final = np.array([-7.0, -1.5, -0.3, -8.0, -5.0, -0.25])
_EPISODE: Final = np.array([16.0, 4.0, -0.6, 9.0, 3.0, 0.1])
_DETERIORATION: Final = np.array([24.0, 8.0, -5.0, -18.0, -9.0, 1.0])
_LOWEST: Final = np.array([35.0, 6.0, 70.0, 60.0, 30.0, 34.0])
_HIGHEST: Final = np.array([190.0, 45.0, 100.0, 220.0, 130.0, 41.5])
_NOISE_SECONDS: Final = 1200.0
"""Over which a patient's noise forgets itself."""


@dataclass(frozen=True)
class GeneratedPatient:
    """One patient's course.

    Args:
        seconds: ``[N]`` after the first sample.
        vitals: ``[V, N]`` in the units of the plan; NaN where the device was off.
        onset_seconds: Known onset of deterioration, at which the recording ends; ``None``: there was none.
    """

    seconds: FloatArray = field(repr=False)
    vitals: FloatArray = field(repr=False)
    onset_seconds: float | None


def draw_patient(
    generator: np.random.Generator, *, step_seconds: float, jitter: float, onset_probability: float, shift: FloatArray
) -> GeneratedPatient:
    """Draw one patient.

    Args:
        generator: Of this patient alone.
        step_seconds: Mean time between samples.
        jitter: 0: an even grid; otherwise the spread of the steps, as a part of one.
        onset_probability: Of a deterioration.
        shift: ``[V]``: how the hospital's patients and devices differ.
    """
    hours = generator.uniform(36, 84)
    onset = generator.uniform(20, hours) * 3600 if generator.random() < onset_probability else None
    seconds = _times(generator, hours * 3600 if onset is None else onset, step_seconds, jitter)
    hour = seconds / 3600 + generator.uniform(0, 24)
    vitals = (_MEAN + shift + _BETWEEN * generator.normal(size=len(VITALS)))[:, None] + np.outer(
        _NIGHT, np.clip(np.cos(2 * np.pi * (hour - 3) / 24), 0, 1)
    )
    vitals += _WITHIN[:, None] * _noise(generator, len(seconds), step_seconds)
    vitals += np.outer(_EPISODE, _episodes(generator, seconds))
    if onset is not None:
        vitals += _course(generator, seconds, onset)
    vitals = np.clip(vitals, _LOWEST[:, None], _HIGHEST[:, None])
    _spoil(generator, seconds, vitals)
    return GeneratedPatient(seconds=seconds, vitals=vitals, onset_seconds=onset)


def _times(generator: np.random.Generator, last: float, step: float, jitter: float) -> FloatArray:
    count = int(last // step)
    if not jitter:
        return np.arange(count, dtype=np.float64) * step
    steps = step * np.clip(1 + jitter * generator.normal(size=count - 1), 0.2, 3)
    return np.rint(np.concatenate([[0.0], np.cumsum(steps)])).astype(np.float64)


def _noise(generator: np.random.Generator, count: int, step: float) -> FloatArray:
    """``[V, N]`` of unit variance, each value remembering the one before."""
    memory = float(np.exp(-step / _NOISE_SECONDS))
    fresh = generator.normal(size=(len(VITALS), count)) * np.sqrt(1 - memory**2)
    fresh[:, 0] = generator.normal(size=len(VITALS))
    return np.asarray(lfilter([1.0], [1.0, -memory], fresh, axis=1))


def _episodes(generator: np.random.Generator, seconds: FloatArray) -> FloatArray:
    """``[N]``: harmless hours of exercise, pain or visitors, about one a day."""
    total = np.zeros(len(seconds))
    for _ in range(generator.poisson(seconds[-1] / 86_400)):
        middle, width = generator.uniform(0, seconds[-1]), generator.uniform(900, 3600)
        total += generator.uniform(0.5, 1.3) * np.exp(-0.5 * np.square((seconds - middle) / width))
    return total


def _course(generator: np.random.Generator, seconds: FloatArray, onset: float) -> FloatArray:
    """``[V, N]``: what deterioration does to each vital sign."""
    before, pace = generator.uniform(2.5, 7.0) * 3600, generator.uniform(0.7, 1.8) * 3600
    severity = expit((seconds - (onset - before)) / pace)
    strength = _DETERIORATION * np.exp(0.35 * generator.normal(size=len(VITALS)))
    strength[-1] *= generator.integers(0, 2)
    return np.outer(strength, severity)


def _spoil(generator: np.random.Generator, seconds: FloatArray, vitals: FloatArray) -> None:
    """Devices that are off, sensors that hang, and single impossible values, in place."""
    for _ in range(generator.poisson(seconds[-1] / 86_400)):
        start = generator.uniform(0, seconds[-1])
        vitals[:, (seconds >= start) & (seconds < start + generator.uniform(1200, 9000))] = np.nan
    if generator.random() < 0.25:  # noqa: PLR2004 - one patient in four
        start = generator.uniform(0, seconds[-1])
        inside = (seconds >= start) & (seconds < start + 10_800)
        vitals[0, inside] = np.round(np.nanmean(vitals[0]))
    wrong = generator.random(vitals.shape[1]) < 0.002  # noqa: PLR2004 - two in a thousand
    vitals[2, wrong] = 0.0
