"""Checkpoints of a simulation: rounds that take milliseconds are committed together.

A real study commits each round before it asks for the next, since sites answer a round once. In a simulation in one process
nothing is lost but the time of the rounds since the last commit, which are computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aggregator.checkpoints import CheckpointStore, CoordinatorState


class SpacedCheckpoints(CheckpointStore):
    """Commits at most so often, after the last round, and when the study ends early.

    Args:
        folder: See `CheckpointStore`.
        study: Digest of the manifest.
        last_round: Of the study.
        clock: Seconds.
        before_commit: Called with the round before each commit, such as to write what the sites remember after it.
        seconds: Between two commits.
    """

    def __init__(
        self,
        folder: Path,
        *,
        study: str,
        last_round: int,
        clock: Callable[[], float],
        before_commit: Callable[[int], None],
        seconds: float = 2.0,
    ) -> None:
        super().__init__(folder, study=study)
        self._last_round, self._clock, self._before_commit, self._seconds = last_round, clock, before_commit, seconds
        self._newest: CoordinatorState | None = None
        self._committed_at = clock()

    def save(self, state: CoordinatorState) -> None:
        """Commit this round and those that wait, if it is time."""
        self._newest = state
        if self._clock() - self._committed_at >= self._seconds or state.round_number >= self._last_round:
            self.save_waiting()

    def save_waiting(self) -> None:
        """Commit the rounds that wait. After an interruption of itself it does the same again."""
        state = self._newest
        if state is None or state.round_number <= self.committed:
            return
        self._before_commit(state.round_number)
        self.save_rounds(state, state.round_number - self.committed)
        self._committed_at = self._clock()
