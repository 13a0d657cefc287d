"""Record a run on D, replay it on the neighbour D' with the released values frozen (Re:cord-play, Cebere et al. 2026).

What leaves a site may depend on patients through release points only. So with the releases of D frozen, a run on D'
must pass the same release points in the same order with the same public parameters, its inputs must lie within the
declared sensitivity of those of D, and everything else it gives must be equal, byte for byte. The draws of the Poisson
sampler are coupled: a patient of both data sets is drawn in both runs or in neither.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pytest

from federation.documents import Document
from federation.privacy.clipping import GRID_BITS
from federation.privacy.distributed import NoiseShare
from federation.privacy.events import DiscreteGaussian, DiscreteLaplace
from federation.privacy.promise import MechanismSpec

RELEASE_POINTS: Final = ("noisy_mean", "noisy_counts", "noisy_share")
SAMPLER: Final = "poisson_sample"
ROUNDING: Final = 2.0**-16
"""Share of the sensitivity granted to float32: a record's gradient moves in its last bits with the *number* of records that
go through the model together. Measured: at most 7e-6 for 3,000 patients."""
_PACKAGES: Final = ("federation.", "site_client.")


class DivergenceError(AssertionError):
    """The run on the neighbour shows something that the releases do not tell."""


@dataclass(frozen=True)
class Release:
    """One pass through a release point."""

    point: str
    value: np.ndarray
    mechanism: Document
    released: np.ndarray


@dataclass(frozen=True)
class Draw:
    """One Poisson draw."""

    num_patients: int
    numerator: int
    drawn: np.ndarray


@dataclass
class Tape:
    """What a run did, in order."""

    entries: list[Release | Draw] = field(default_factory=list)

    @property
    def releases(self) -> list[Release]:
        return [entry for entry in self.entries if isinstance(entry, Release)]

    @property
    def draws(self) -> list[Draw]:
        return [entry for entry in self.entries if isinstance(entry, Draw)]


def distance(value: np.ndarray, other: np.ndarray, mechanism: Document) -> tuple[float, float]:
    """How far apart two inputs of a release are, and how far the mechanism allows."""
    moved = value.astype(np.float64) - other.astype(np.float64)
    if isinstance(mechanism, DiscreteLaplace):
        return float(np.abs(moved).sum()), float(mechanism.sensitivity)
    if isinstance(mechanism, DiscreteGaussian):
        return math.sqrt(float(moved @ moved)), math.sqrt(mechanism.sensitivity_squared)
    if isinstance(mechanism, NoiseShare):
        return float(np.linalg.norm(moved)), 2.0**mechanism.grid_bits * (1 + ROUNDING)
    assert isinstance(mechanism, MechanismSpec)
    return float(np.linalg.norm(moved)), 2.0**GRID_BITS * (1 + ROUNDING)


class Recorder:
    """Writes a tape while patched in; whatever stands at the release points, faults too, keeps working."""

    def __init__(self) -> None:
        self.tape = Tape()

    def release(self, point: str, original: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def wrapped(value: np.ndarray, *, mechanism: Document, generator: object) -> np.ndarray:
            released = original(value.copy(), mechanism=mechanism, generator=generator)
            self.tape.entries.append(Release(point, value.copy(), mechanism, released.copy()))
            return released

        return wrapped

    def draw(self, original: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def wrapped(num_patients: int, *, numerator: int, generator: object) -> np.ndarray:
            drawn = original(num_patients, numerator=numerator, generator=generator)
            self.tape.entries.append(Draw(num_patients, numerator, drawn.copy()))
            return drawn

        return wrapped


class Replayer:
    """Holds a run on D' against the tape of D.

    Args:
        tape: Of the run on D.
        place: ``[patients of D]`` index of each patient in D', or -1.
        added: The patient of D' that D has not, or ``None``.
        coin: Whether the added patient is drawn, step by step.
    """

    def __init__(self, tape: Tape, *, place: np.ndarray, added: int | None, coin: Callable[[], bool]) -> None:
        self._entries = list(tape.entries)
        self._position = 0
        self._place, self._added, self._coin = place, added, coin
        self._failure: DivergenceError | None = None
        self.largest = 0.0
        """Largest share of a declared sensitivity that was used."""

    def _diverged(self, message: str) -> DivergenceError:
        # Kept as well, because an agent turns whatever is raised inside it into a refusal.
        self._failure = self._failure or DivergenceError(message)
        return self._failure

    def _next(self, kind: type[Release | Draw]) -> Release | Draw:
        if self._position == len(self._entries):
            raise self._diverged(f"control flow: expected the end, got another {kind.__name__.lower()}")
        entry = self._entries[self._position]
        self._position += 1
        if not isinstance(entry, kind):
            raise self._diverged(
                f"control flow: expected a {type(entry).__name__.lower()}, got a {kind.__name__.lower()}"
            )
        return entry

    def release(self, point: str, original: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def wrapped(value: np.ndarray, *, mechanism: Document, generator: object) -> np.ndarray:
            entry = self._next(Release)
            assert isinstance(entry, Release)
            original(value.copy(), mechanism=mechanism, generator=generator)  # a fault may sit in here
            if entry.point != point or entry.mechanism != mechanism:
                raise self._diverged(f"parameters: expected {entry.point} {entry.mechanism}, got {point} {mechanism}")
            if entry.value.shape != value.shape or entry.value.dtype != value.dtype:
                raise self._diverged(
                    f"shape: expected {entry.value.dtype}{entry.value.shape}, got {value.dtype}{value.shape}"
                )
            moved, allowed = distance(value, entry.value, mechanism)
            if not moved <= allowed:
                raise self._diverged(f"distance: expected at most {allowed}, got {moved}")
            self.largest = max(self.largest, moved / allowed)
            return entry.released.copy()

        return wrapped

    def draw(self, original: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def wrapped(num_patients: int, *, numerator: int, generator: object) -> np.ndarray:
            entry = self._next(Draw)
            assert isinstance(entry, Draw)
            expected = int((self._place >= 0).sum()) + (self._added is not None)
            if entry.numerator != numerator or entry.num_patients != len(self._place) or num_patients != expected:
                raise self._diverged(
                    f"sampling: expected numerator {entry.numerator}, got {numerator} over {num_patients}"
                )
            original(num_patients, numerator=numerator, generator=generator)
            kept = self._place[entry.drawn]
            kept = kept[kept >= 0]
            if self._added is not None and self._coin():
                kept = np.append(kept, self._added)
            return np.sort(kept).astype(np.int64)

        return wrapped

    def finish(self) -> None:
        """The run on D' must have followed to the end.

        Raises:
            DivergenceError: The first one, if it did not.
        """
        if self._failure is not None:
            raise self._failure
        if self._position != len(self._entries):
            raise self._diverged(f"control flow: expected {len(self._entries)} entries, got {self._position}")


def patch_in(watcher: Recorder | Replayer, patch: pytest.MonkeyPatch) -> None:
    """Put the watcher around every name of a release point and of the sampler in the packages of a site."""
    for name, module in list(sys.modules.items()):
        if not name.startswith(_PACKAGES):
            continue
        for point in RELEASE_POINTS:
            if callable(original := vars(module).get(point)):
                patch.setattr(module, point, watcher.release(point, original))
        if callable(original := vars(module).get(SAMPLER)):
            patch.setattr(module, SAMPLER, watcher.draw(original))


def recorded(run: Callable[[], object]) -> tuple[object, Tape]:
    """What a run gives, and its tape."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch_in(recorder, patch)
        return run(), recorder.tape


def replayed(run: Callable[[], object], replayer: Replayer) -> object:
    """What a run gives while a replayer holds it against a tape.

    Raises:
        DivergenceError: If it does not follow.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch_in(replayer, patch)
        result = run()
    replayer.finish()
    return result
