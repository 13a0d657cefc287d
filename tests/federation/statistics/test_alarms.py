"""Alarm counts are those of a nurse with a list: one patient, one threshold, one window at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from federation.errors import InvalidInputError, ManifestError
from federation.statistics.alarms import AlarmCurve, AlarmStep, alarm_curve
from federation.statistics.step import Columns

STEP = AlarmStep(kind="alarms", thresholds=20, horizon_hours=8.0, silence_hours=4.0, step_hours=2.0, lead_bins=16)


def _windows(seed: int, patients: int = 40, *, first: int = 0) -> Columns:
    """Patients of 1 to 30 windows in any order, with gaps; one in three has an onset."""
    generator = np.random.default_rng(seed)
    parts = []
    for patient in range(patients):
        count = int(generator.integers(1, 31))
        hours = 6 + 2.0 * np.sort(generator.choice(40, size=count, replace=False))
        onset = hours[-1] + generator.uniform(0, 12) if generator.random() < 0.35 else math.inf
        score = np.clip(generator.normal(0.3, 0.2, count) + 0.4 * (onset - hours < 8), 0, 1)
        parts.append((np.full(count, first + patient), hours, score, np.full(count, onset)))
    columns = [np.concatenate(part) for part in zip(*parts, strict=True)]
    mixed = generator.permutation(len(columns[0]))
    names = ("patient", "end_hour", "score", "onset_hour")
    return Columns({name: column[mixed].astype(float) for name, column in zip(names, columns, strict=True)}, len(mixed))


def _slow(columns: Columns, step: AlarmStep) -> dict[str, np.ndarray]:
    values = columns.values
    rows = [dict(zip(values, cells, strict=True)) for cells in zip(*values.values(), strict=True)]
    patients = sorted({row["patient"] for row in rows})
    cuts = [0.0] + [1 / (1 + math.exp(7 - 14 * place / (step.thresholds - 2))) for place in range(step.thresholds - 1)]
    found = {name: np.zeros(shape) for name, shape in step.shapes().items()}
    found["totals"][:2] = [len(rows), len(patients)]
    for patient in patients:
        own = sorted((row for row in rows if row["patient"] == patient), key=lambda row: row["end_hour"])
        leads = [row["onset_hour"] - row["end_hour"] for row in own]
        found["totals"][2] += any(0 <= lead <= step.horizon_hours for lead in leads)
        for place in range(step.thresholds):
            silent_until, first = -math.inf, None
            for row, lead in zip(own, leads, strict=True):
                if row["score"] < cuts[place] or row["end_hour"] < silent_until:
                    continue
                silent_until = row["end_hour"] + step.silence_hours
                found["alarms"][place] += 1
                if 0 <= lead <= step.horizon_hours:
                    first = lead if first is None else first
                else:
                    found["false_alarms"][place] += 1
            if first is not None:
                found["detected"][place] += 1
                width = step.horizon_hours / step.lead_bins
                found["lead"][place, min(int(first / width), step.lead_bins - 1)] += 1
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("silence", [0.0, 2.0, 5.0])
def test_counts_are_those_of_the_list(seed: int, silence: float) -> None:
    step = STEP.model_copy(update={"silence_hours": silence})
    columns = _windows(seed)
    fast, slow = step.summarise(columns), _slow(columns, step)
    for name, part in slow.items():
        np.testing.assert_array_equal(fast[name], part, err_msg=name)
    assert fast["detected"].max() > 3
    assert 0 < fast["false_alarms"][8] < fast["alarms"][8]


def test_answers_of_sites_add_up() -> None:
    one, other = _windows(1), _windows(2, first=1000)
    both = Columns({name: np.concatenate([one.values[name], other.values[name]]) for name in one.values}, 0)
    np.testing.assert_array_equal(STEP.answer(one) + STEP.answer(other), STEP.answer(both))


def test_the_order_of_windows_and_the_patients_numbers_change_nothing() -> None:
    columns = _windows(3)
    mixed = np.random.default_rng(0).permutation(columns.records)
    renamed = {name: column[mixed] for name, column in columns.values.items()}
    renamed["patient"] = 7000 - renamed["patient"]
    np.testing.assert_array_equal(STEP.answer(columns), STEP.answer(Columns(renamed, columns.records)))


def test_a_site_without_patients_adds_nothing() -> None:
    empty = Columns({name: np.zeros(0) for name in STEP.variables()}, 0)
    assert not STEP.answer(empty).any()


def _curve(columns: Columns) -> AlarmCurve:
    return alarm_curve(STEP, STEP.parts(STEP.answer(columns)), fewest_onsets=5)


def test_rates_and_sensitivities() -> None:
    columns = _windows(0)
    curve, slow = _curve(columns), _slow(columns, STEP)
    assert curve.patient_days == pytest.approx(columns.records * 2 / 24)
    np.testing.assert_allclose(curve.alarms_per_day, slow["alarms"] / curve.patient_days)
    np.testing.assert_allclose(curve.sensitivity, slow["detected"] / slow["totals"][2])
    assert curve.sensitivity[0] < 1.0, "an alarm before the horizon silences the right one"


def test_whoever_always_warns_misses_nobody() -> None:
    step = STEP.model_copy(update={"silence_hours": 0.0})
    curve = alarm_curve(step, step.parts(step.answer(_windows(0))), fewest_onsets=5)
    assert curve.sensitivity[0] == 1.0
    assert (np.diff(curve.sensitivity) <= 0).all()


def test_the_threshold_at_a_rate_is_the_lowest_that_keeps_it() -> None:
    curve = _curve(_windows(0))
    for rate in (0.5, 1.0, 2.0):
        place = curve.at_rate(rate)
        assert place is not None
        assert (curve.alarms_per_day[place:] <= rate).all()
        assert place == 0 or curve.alarms_per_day[place - 1 :].max() > rate
    assert curve.at_rate(1000.0) == 0
    assert curve.at_rate(-1.0) is None


def test_lead_times_lie_in_the_bins_of_the_patients() -> None:
    columns = Columns(
        {
            "patient": np.repeat(np.arange(8.0), 2),
            "end_hour": np.tile([10.0, 12.0], 8),
            "score": np.tile([0.9, 0.9], 8),
            "onset_hour": np.repeat([11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0], 2),
        },
        16,
    )
    curve = _curve(columns)
    assert curve.onsets == 8
    assert np.flatnonzero(curve.lead[10]).tolist() == [2, 4, 6, 8, 10, 12, 14, 15]
    assert curve.lead_quantile(10, 0.5) == pytest.approx(4.5, abs=0.5)
    assert math.isnan(curve.lead_quantile(19, 0.5))


def test_too_few_onsets_are_not_shown() -> None:
    columns = _windows(0, patients=5)
    with pytest.raises(InvalidInputError, match="at least 5 patients with an onset"):
        _curve(columns)


@pytest.mark.parametrize("score", [math.nan, -0.1, 1.1])
def test_scores_that_are_no_probabilities_are_refused(score: float) -> None:
    columns = _windows(0)
    columns.values["score"][3] = score
    with pytest.raises(InvalidInputError, match="scores from 0 to 1"):
        STEP.answer(columns)


@pytest.mark.parametrize("change", [{"thresholds": 1}, {"horizon_hours": 0}, {"lead_bins": 0}, {"step_hours": -1}])
def test_impossible_questions_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ManifestError):
        AlarmStep.from_data(STEP.as_data() | change, error=ManifestError)
