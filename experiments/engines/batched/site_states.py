"""What algorithms such as SCAFFOLD let a site remember from round to round, for all sites of a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.numpy import load, save

from federation.algorithms.fedavg import State
from federation.durable_files import write_durably
from federation.errors import CheckpointError, InternalError


class SiteStates:
    """The sites' states after the last finished round, and after the one before it until the next begins.

    So a round can be committed until the second one after it begins, whenever a study ends.

    Args:
        folder: Where they are committed; ``None``: nowhere.
        start: Site to its state before round 1.
        resumed_from: Rounds done before.

    Raises:
        CheckpointError: If the states after those rounds are not in the folder.
    """

    def __init__(self, folder: Path | None, start: Mapping[str, State], *, resumed_from: int = 0) -> None:
        self._folder = folder
        self._done: tuple[int, dict[str, State]] = (resumed_from, dict(start))
        """A round and the states after it: one assignment, which no interruption divides."""
        self._next: dict[str, State] = {}
        self._finished = self._committed = self._before = resumed_from
        self._is_empty = not any(start.values())
        if resumed_from and not self._is_empty:
            self._read()

    def begin_round(self) -> None:
        """The next round begins, from the states after the last finished one."""
        self._take_over()
        self._next = {}

    def of(self, site: str) -> State:
        """A site's state at the start of the round under way."""
        return self._done[1][site]

    def keep(self, site: str, state: State) -> None:
        """A site's state at the end of the round under way."""
        self._next[site] = state

    def finish_round(self, round_number: int) -> None:
        """All sites have ended the round."""
        self._finished = round_number

    def commit(self, round_number: int) -> None:
        """Write down the states after a round, before the aggregator's checkpoint of it.

        Raises:
            InternalError: If it is neither the last finished round nor, before another began, the one before it.
        """
        if self._folder is None or self._is_empty:
            return
        if round_number == self._finished:
            self._take_over()
        done, states = self._done
        if round_number != done:
            raise InternalError(f"expected to commit the sites' states after round {done}, got round {round_number}")
        arrays = {f"{site}/{name}": array for site, state in states.items() for name, array in state.items()}
        write_durably(self._path(done), save(arrays))
        if done != self._committed:
            self._before, self._committed = self._committed, done
        needed = {self._path(self._before), self._path(done)}  # if the checkpoint fails, the one before it counts
        for path in set(self._folder.glob("round-*.safetensors")) - needed:
            path.unlink()

    def _take_over(self) -> None:
        done, states = self._done
        if self._finished > done:
            self._done = (self._finished, states | self._next)

    def _path(self, round_number: int) -> Path:
        if self._folder is None:
            raise CheckpointError("expected a folder for the sites' states, got none")
        return self._folder / f"round-{round_number:06d}.safetensors"

    def _read(self) -> None:
        done, states = self._done
        path = self._path(done)
        if not path.is_file():
            raise CheckpointError(
                f"expected the sites' states after round {done} in {path}, got none",
                remedy="start the simulation anew in another folder",
            )
        for name, array in load(path.read_bytes()).items():
            site, _, part = name.partition("/")
            states[site] = {**states[site], part: array}
