"""Where results are recorded: the `Tracker` behaviour, and the kinds of place. It sees results, never updates."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, Self
from urllib.parse import urlsplit

from federation.documents import Document
from federation.errors import ConfigurationError
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult

RunStatus = Literal["finished", "failed", "interrupted"]
TrackingKind = Literal["sqlite", "server", "none"]


class TrackingTarget(Document):
    """One place where runs are tracked. Made by :meth:`choose`, which checks it.

    Holds no credentials: MLflow reads them from ``MLFLOW_TRACKING_USERNAME``, ``MLFLOW_TRACKING_PASSWORD`` or
    ``MLFLOW_TRACKING_TOKEN``.
    """

    kind: TrackingKind
    uri: str = ""
    """``sqlite:////absolute/mlflow.db``, ``https://host``; empty for ``none``."""
    experiment: str = "cohortium"
    artefacts: str = ""
    """Folder of a database's artefacts. A server decides for itself."""

    @classmethod
    def choose(cls, kind: TrackingKind, *, uri: str | None = None, experiment: str = "cohortium", output: Path) -> Self:
        """The target that settings ask for.

        Args:
            kind: ``sqlite``: a database; ``server``: an MLflow server; ``none``: nowhere.
            uri: Address of the server, or of another database than ``<output>/mlflow.db``.
            experiment: MLflow experiment that the runs belong to.
            output: The run's output folder.

        Raises:
            ConfigurationError: If the address is missing, of an unsupported kind, relative, or holds a password.
        """
        if not experiment.strip():
            raise ConfigurationError("expected tracking.experiment to be a name, got an empty one")
        if kind == "none":
            return cls(kind="none", experiment=experiment)
        if uri is None and kind == "server":
            raise ConfigurationError(
                "expected tracking.uri with tracking kind 'server', got none",
                remedy="name the server: tracking.uri=http://127.0.0.1:5000",
            )
        if uri is not None and not uri.startswith("sqlite:"):
            return cls(kind="server", uri=_checked_server(uri), experiment=experiment)
        database = Path(output).resolve() / "mlflow.db" if uri is None else _database_of(uri)
        if set(str(database)) & set("?#"):
            raise ConfigurationError(
                f"expected a path without '?' and '#' for MLflow's database, got {database}",
                remedy="choose an output folder without these characters, or tracking=none",
            )
        return cls(
            kind="sqlite",
            uri=f"sqlite:///{database}",
            experiment=experiment,
            artefacts=str(database.parent / "mlartifacts"),
        )

    @property
    def identity(self) -> str:
        """What distinguishes two places: address and experiment."""
        return f"{self.uri} · {self.experiment}"

    @property
    def database(self) -> Path:
        """The file of a ``sqlite`` target."""
        return Path(self.uri.removeprefix("sqlite:///"))


def mlflow_ui_command(target: TrackingTarget) -> str:
    """What to type, or to open, to see the tracked runs; empty for ``none``."""
    match target.kind:
        case "none":
            return ""
        case "server":
            return f"open {target.uri}"
        case "sqlite":
            beside_python = Path(sys.executable).with_name("mlflow")
            on_path = shutil.which("mlflow") is not None or not beside_python.is_file()
            program = "mlflow" if on_path else shlex.quote(str(beside_python))
            return f"MLFLOW_DISABLE_TELEMETRY=true {program} ui --backend-store-uri {shlex.quote(target.uri)}"


def _database_of(uri: str) -> Path:
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not path.is_absolute():
        raise ConfigurationError(
            f"expected an absolute path in tracking.uri, got {uri!r}",
            remedy="write four slashes: sqlite:////absolute/path/mlflow.db",
        )
    return path


def _checked_server(uri: str) -> str:
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise ConfigurationError(
            "expected tracking.uri without credentials, got an address with a user name or password",
            remedy="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment instead",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"expected tracking.uri to begin with http://, https:// or sqlite:///, got scheme {parts.scheme!r}",
            remedy="put an MLflow server in front of other stores: `mlflow server --backend-store-uri ...`",
        )
    return uri.rstrip("/")


class Tracker(Protocol):
    """Records one study run. No method may block a round or raise because a server is down."""

    def start(self, manifest: StudyManifest, *, tags: Mapping[str, str]) -> None:
        """Begin, or continue after a restart, the run of this manifest."""
        ...

    def record_rounds(self, results: Sequence[RoundResult]) -> None:
        """Record rounds that are committed, in their order. Recording a round twice is recording it once."""
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

    def record_rounds(self, results: Sequence[RoundResult]) -> None:
        """Do nothing."""

    def record_baseline(self, name: str, metrics: Mapping[str, float], *, parameters: Mapping[str, str]) -> None:
        """Do nothing."""

    def record_metrics(self, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def record_artefact(self, path: Path, *, folder: str = "") -> None:
        """Do nothing."""

    def finish(self, status: RunStatus) -> None:
        """Do nothing."""
