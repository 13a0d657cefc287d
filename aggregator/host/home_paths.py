"""Where things lie in the home folder of an aggregator's host. What ``cohortium --help`` may import: it reads no document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from federation.errors import InvalidInputError

if TYPE_CHECKING:
    from aggregator.host.home import AggregatorHome

HOME_VARIABLE: Final = "COHORTIUM_AGGREGATOR"
"""Environment variable that names the home folder, for ``envvar=`` of typer."""
DEFAULT_HOME: Final = Path("~/.cohortium/aggregator")
_LARGEST_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class HostLayout:
    """The paths of a home folder.

    Args:
        folder: The home folder; ``~`` is expanded.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.expanduser().absolute())

    @property
    def settings(self) -> Path:
        """:class:`AggregatorHome`."""
        return self.folder / "aggregator.json"

    @property
    def authority(self) -> Path:
        """The consortium's authority, pinned: :class:`federation.governance.enrolment.Authority`."""
        return self.folder / "authority.json"

    @property
    def authority_certificate(self) -> Path:
        """The certificate that client certificates are checked with."""
        return self.folder / "authority.crt"

    @property
    def tls_key(self) -> Path:
        """The gate's private key."""
        return self.folder / "tls.key"

    @property
    def tls_certificate(self) -> Path:
        """The gate's certificate."""
        return self.folder / "tls.crt"

    @property
    def coordinator_key(self) -> Path:
        """32 secret bytes of Ed25519: signs requests, checkpoints and heads of the audit log."""
        return self.folder / "coordinator.key"

    @property
    def members(self) -> Path:
        """:class:`~federation.governance.enrolment.SignedMembers`."""
        return self.folder / "members.json"

    @property
    def revocations(self) -> Path:
        """:class:`~federation.governance.enrolment.SignedRevocations`."""
        return self.folder / "revocations.json"

    @property
    def studies(self) -> Path:
        """One folder per study, named by the manifest's digest."""
        return self.folder / "studies"

    @property
    def audit(self) -> Path:
        """The aggregator's hash-chained audit log."""
        return self.folder / "audit.jsonl"

    @property
    def logs(self) -> Path:
        """One log per process, and the gate's access log."""
        return self.folder / "logs"

    @property
    def state(self) -> Path:
        """Flower's and MLflow's databases, and secrets shared by processes of this host. Mode 0700."""
        return self.folder / "state"

    @property
    def superlink_database(self) -> Path:
        """Flower's state."""
        return self.state / "superlink.sqlite"

    @property
    def executor_secret(self) -> Path:
        """Shared by SuperLink and coordinators: who may take a run's task."""
        return self.state / "superexec.secret"

    @property
    def gate_token(self) -> Path:
        """Lets the gate, and only its routes, through to the SuperLink."""
        return self.state / "gate.token"

    @property
    def control_token(self) -> Path:
        """Lets coordinators and the registrar through to the SuperLink."""
        return self.state / "control.token"

    @property
    def tracking_password(self) -> Path:
        """Of MLflow's user ``admin``."""
        return self.state / "mlflow.password"

    @property
    def tracking_cookie_key(self) -> Path:
        """What MLflow signs its forms with."""
        return self.state / "mlflow.cookie.key"

    @property
    def lists_floor(self) -> Path:
        """The highest numbers of lists ever seen here: an older list is not believed, whoever installs it."""
        return self.state / "lists.json"

    @property
    def process_file(self) -> Path:
        """The supervising process's number, locked while it runs."""
        return self.state / "host.pid"

    def read(self) -> AggregatorHome:
        """The settings.

        Raises:
            InvalidInputError: If there are none, or they are not valid.
        """
        from aggregator.host.home import AggregatorHome

        content = read_small(self.settings, what="the settings of an aggregator's host")
        return AggregatorHome.from_json(content, error=InvalidInputError)

    def write(self, home: AggregatorHome) -> None:
        """Write :attr:`settings`."""
        from federation.durable_files import write_durably

        write_durably(self.settings, home.model_dump_json(indent=1).encode())


def read_small(path: Path, *, what: str, largest: int = _LARGEST_BYTES) -> bytes:
    """A file of bounded size.

    Args:
        path: The file.
        what: What it should hold, for the message.
        largest: Bytes, at most.

    Raises:
        InvalidInputError: If it cannot be read or is larger.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as failure:
        raise InvalidInputError(
            f"expected {what} in {path}, got: {failure.strerror or type(failure).__name__}",
            remedy="run `cohortium aggregator init`, or name the host's folder with --home",
        ) from failure
    if len(content) > largest:
        raise InvalidInputError(f"expected {what} of at most {largest} bytes in {path}, got more")
    return content
