"""Candidate windows of one recording, and what each is called.

Axis names: W candidate windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import MappingError
from site_client.signals.plan import AnnotatedWindows, SignalPlan, SlidingWindows
from site_client.signals.recording import Annotations, Recording, Seconds
from site_client.signals.windows import sliding_starts

OTHER_KIND: Final = "annotation of another kind"
AFTER_ONSET: Final = "after the onset"
NOT_WATCHED: Final = "horizon not watched to its end"


@dataclass(frozen=True)
class Candidates:
    """Windows that a recording offers.

    Args:
        starts: ``[W]`` seconds after the first sample.
        outcomes: W cells for the outcome's column; ``None``: the list has them.
        not_used: Reason to ``[W]``: candidates that the plan leaves out, each under its first reason.
    """

    starts: Seconds = field(repr=False)
    outcomes: tuple[str, ...] | None = field(repr=False)
    not_used: dict[str, NDArray[np.bool_]] = field(repr=False)

    @property
    def is_used(self) -> NDArray[np.bool_]:
        """``[W]``: no reason against it."""
        against = np.zeros(len(self.starts), dtype=np.bool_)
        for reason in self.not_used.values():
            against |= reason
        return ~against


def candidates(
    recording: Recording,
    *,
    plan: SignalPlan,
    length_seconds: float,
    annotations: Annotations | None,
    onset_seconds: float | None,
    site: str = "",
) -> Candidates:
    """Where windows may be cut, and their outcomes.

    Args:
        recording: Gives the time that was watched.
        plan: How windows are cut.
        length_seconds: Of a window.
        annotations: Needed for annotated windows.
        onset_seconds: Time of the event after the first sample; ``None``: there was none while the recording lasted.
        site: For messages.

    Raises:
        MappingError: If annotations are needed and there are none.
    """
    match plan.windows:
        case AnnotatedWindows() as chosen:
            if annotations is None:
                raise MappingError(
                    "expected annotations for every recording, got none",
                    site=site,
                    remedy="set `annotation_column` in the mapping, or use EDF files with annotations",
                )
            return _around(annotations, chosen)
        case SlidingWindows() as chosen:
            starts = sliding_starts(
                recording.duration_seconds, length_seconds=length_seconds, stride_seconds=chosen.stride_seconds
            )
            if chosen.horizon_seconds is None:
                return Candidates(starts=starts, outcomes=None, not_used={})
            return _before_onset(
                starts + length_seconds,
                starts,
                horizon=chosen.horizon_seconds,
                onset=onset_seconds,
                watched=recording.duration_seconds,
            )


def _around(annotations: Annotations, chosen: AnnotatedWindows) -> Candidates:
    levels = [chosen.levels.get(label) for label in annotations.labels]
    return Candidates(
        starts=annotations.seconds - chosen.before_seconds,
        outcomes=tuple(level or "" for level in levels),
        not_used={OTHER_KIND: np.array([level is None for level in levels], dtype=np.bool_)},
    )


def _before_onset(ends: Seconds, starts: Seconds, *, horizon: float, onset: float | None, watched: float) -> Candidates:
    """Whether the event comes within the horizon; whoever was not watched so long is not known to be free of it."""
    nothing = np.zeros(len(starts), dtype=np.bool_)
    if onset is None:
        reasons = {AFTER_ONSET: nothing, NOT_WATCHED: ends + horizon > watched}
        return Candidates(starts=starts, outcomes=("0",) * len(starts), not_used=reasons)
    outcomes = tuple("1" if onset - end <= horizon else "0" for end in ends.tolist())
    return Candidates(starts=starts, outcomes=outcomes, not_used={AFTER_ONSET: ends > onset, NOT_WATCHED: nothing})
