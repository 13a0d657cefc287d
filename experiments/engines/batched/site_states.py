"""What algorithms such as SCAFFOLD let a site remember from round to round, for all sites of a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.numpy import load, save

from federation.algorithms.fedavg import State
from federation.durable_files import write_durably
from federation.errors import CheckpointError


class SiteStates:
    """The sites' states after the last finished round.

    Args:
        folder: Where they are committed; ``None``: nowhere.
        start: Site to its state before round 1.
        resumed_from: Rounds done before.

    Raises:
        CheckpointError: If the states after those rounds are not in the folder.
    """

    def __init__(self, folder: Path | None, start: Mapping[str, State], *, resumed_from: int = 0) -> None:
        self._folder = folder
        self._states = dict(start)
        self._next: dict[str, State] = {}
        self._round = resumed_from
        self._is_empty = not any(start.values())
        if resumed_from and not self._is_empty:
            self._read()

    def of(self, site: str) -> State:
        """A site's state at the start of the round under way."""
        return self._states[site]

    def keep(self, site: str, state: State) -> None:
        """A site's state at the end of the round under way."""
        self._next[site] = state

    def finish_round(self, round_number: int) -> None:
        """All sites have ended the round."""
        self._states |= self._next
        self._next = {}
        self._round = round_number

    def commit(self) -> None:
        """Write the states down, before the aggregator's checkpoint of the same round."""
        if self._folder is None or self._is_empty:
            return
        arrays = {f"{site}/{name}": array for site, state in self._states.items() for name, array in state.items()}
        write_durably(self._path(self._round), save(arrays))
        for old in self._folder.glob("round-*.safetensors"):
            if old < self._path(self._round - 1):
                old.unlink()

    def _path(self, round_number: int) -> Path:
        if self._folder is None:
            raise CheckpointError("expected a folder for the sites' states, got none")
        return self._folder / f"round-{round_number:06d}.safetensors"

    def _read(self) -> None:
        path = self._path(self._round)
        if not path.is_file():
            raise CheckpointError(
                f"expected the sites' states after round {self._round} in {path}, got none",
                remedy="start the simulation anew in another folder",
            )
        for name, array in load(path.read_bytes()).items():
            site, _, part = name.partition("/")
            self._states[site] = {**self._states[site], part: array}
