"""Outcomes of windows: by annotation, by a known onset, or from the list; what is not known is not guessed."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import MappingError
from site_client.signals.labelling import AFTER_ONSET, NOT_WATCHED, OTHER_KIND, candidates
from site_client.signals.plan import SignalPlan
from site_client.signals.reading import onset_seconds
from site_client.signals.recording import Annotations, Recording
from tests.site_client.signals.signal_files import START

HOUR = 3600.0
RECORDING = Recording(np.zeros((1, 24), np.float32), ("hr",), ("1/min",), 1 / HOUR)
"""Twenty-four hours."""


def _plan(windows: dict[str, object]) -> SignalPlan:
    channels = [{"name": "hr", "unit": "1/min", "minimum": 0, "maximum": 300}]
    return SignalPlan.from_data({"variable": "v", "outcome": "o", "channels": channels, "windows": windows})


SLIDING = _plan({"kind": "sliding", "stride_seconds": 2 * HOUR, "horizon_seconds": 6 * HOUR})


def _sliding(onset: float | None):
    return candidates(RECORDING, plan=SLIDING, length_seconds=4 * HOUR, annotations=None, onset_seconds=onset)


def test_windows_before_an_onset() -> None:
    found = _sliding(15 * HOUR)
    ends = found.starts / HOUR + 4
    assert ends.tolist() == list(range(4, 25, 2))
    for end, outcome, is_used in zip(ends, found.outcomes, found.is_used, strict=True):
        assert is_used == (end <= 15)
        if is_used:
            assert outcome == ("1" if 15 - end <= 6 else "0")
    assert found.not_used[AFTER_ONSET].sum() == 5
    assert not found.not_used[NOT_WATCHED].any()


def test_an_onset_at_the_end_of_a_window_or_at_the_end_of_the_horizon_counts() -> None:
    found = _sliding(14 * HOUR)
    of = dict(zip((found.starts / HOUR + 4).tolist(), found.outcomes, strict=True))
    assert (of[14.0], of[8.0], of[6.0]) == ("1", "1", "0")


def test_without_an_event_only_windows_that_were_watched_to_their_horizon_are_known() -> None:
    found = _sliding(None)
    ends = found.starts / HOUR + 4
    assert set(found.outcomes) == {"0"}
    assert (found.is_used == (ends + 6 <= 24)).all()
    assert found.not_used[NOT_WATCHED].sum() == 3


def test_an_onset_before_the_first_window_leaves_none() -> None:
    assert not _sliding(HOUR).is_used.any()


def test_without_a_horizon_the_list_has_the_outcome() -> None:
    plan = _plan({"kind": "sliding", "stride_seconds": HOUR})
    found = candidates(RECORDING, plan=plan, length_seconds=4 * HOUR, annotations=None, onset_seconds=None)
    assert (found.outcomes, len(found.starts), found.is_used.all()) == (None, 21, True)


def test_annotations_give_level_and_place() -> None:
    plan = _plan({"kind": "annotated", "before_seconds": 10.0, "levels": {"N": "0", "V": "1"}})
    marks = Annotations(np.array([50.0, 60.0, 70.0]), ("N", "+", "V"))
    found = candidates(RECORDING, plan=plan, length_seconds=20.0, annotations=marks, onset_seconds=None)
    assert found.starts.tolist() == [40.0, 50.0, 60.0]
    assert found.outcomes == ("0", "", "1")
    assert found.not_used[OTHER_KIND].tolist() == [False, True, False]
    with pytest.raises(MappingError, match="expected annotations"):
        candidates(RECORDING, plan=plan, length_seconds=20.0, annotations=None, onset_seconds=None)


def test_onsets_in_seconds_and_as_stamps() -> None:
    assert onset_seconds("", START, site="north") is None
    assert onset_seconds("90.5", None, site="north") == 90.5
    assert onset_seconds("2026-01-31T09:00:00", START, site="north") == HOUR
    for text, start in (("soon", START), ("2026-01-31T09:00:00", None), ("2026-01-31T09:00:00Z", START)):
        with pytest.raises(MappingError) as refusal:
            onset_seconds(text, start, site="north")
        assert "soon" not in str(refusal.value)


def test_infinite_onsets_are_no_onsets() -> None:
    for text in ("inf", "-inf", "nan"):
        with pytest.raises(MappingError):
            onset_seconds(text, START, site="north")
