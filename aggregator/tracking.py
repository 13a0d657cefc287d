"""Where results are recorded: the `Tracker` behaviour. It sees results, never updates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult

RunStatus = Literal["finished", "failed", "interrupted"]


class Tracker(Protocol):
    """Records one study run. No method may block a round or raise because a server is down."""

    def start(self, manifest: StudyManifest, *, tags: Mapping[str, str]) -> None:
        """Begin, or continue after a restart, the run of this manifest."""
        ...

    def record_round(self, result: RoundResult) -> None:
        """Record a finished round. Recording a round twice is recording it once."""
        ...

    def record_baseline(self, name: str, metrics: Mapping[str, float], *, parameters: Mapping[str, str]) -> None:
        """Record a reference (pooled, local-only, ...) as a child run."""
        ...

    def record_metrics(self, metrics: Mapping[str, float]) -> None:
        """Record final figures of the study."""
        ...

    def record_artefact(self, path: Path, *, folder: str = "") -> None:
        """Attach a file."""
        ...

    def finish(self, status: RunStatus) -> None:
        """End the run and deliver what can be delivered now."""
        ...


class NullTracker:
    """Records nothing: the same code path without tracking."""

    def start(self, manifest: StudyManifest, *, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def record_round(self, result: RoundResult) -> None:
        """Do nothing."""

    def record_baseline(self, name: str, metrics: Mapping[str, float], *, parameters: Mapping[str, str]) -> None:
        """Do nothing."""

    def record_metrics(self, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def record_artefact(self, path: Path, *, folder: str = "") -> None:
        """Do nothing."""

    def finish(self, status: RunStatus) -> None:
        """Do nothing."""
