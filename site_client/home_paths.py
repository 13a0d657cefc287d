"""Where things lie in a site's home folder. What ``cohortium --help`` may import: it reads no document.

``gateway/`` is for the process that has the network; everything else is the agent's alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from federation.errors import InvalidInputError

if TYPE_CHECKING:
    from site_client.site_home import SiteHome

HOME_VARIABLE: Final = "COHORTIUM_SITE"
"""Environment variable that names the home folder, for ``envvar=`` of typer."""
DEFAULT_HOME: Final = Path("~/.cohortium/site")
_LARGEST_BYTES: Final = 64 * 1024
_HEXADECIMAL_LENGTH: Final = 64


@dataclass(frozen=True)
class SiteLayout:
    """The paths of a site's home folder.

    Args:
        folder: The home folder; ``~`` is expanded.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.expanduser().absolute())

    @property
    def site_file(self) -> Path:
        """:class:`SiteHome`."""
        return self.folder / "site.json"

    @property
    def identity_key(self) -> Path:
        """Ed25519, 32 secret bytes. Agent only."""
        return self.folder / "identity.key"

    @property
    def invitation(self) -> Path:
        """Kept between the request to enrol and the admission; holds the token until then. Agent only."""
        return self.folder / "invitation.json"

    @property
    def policy(self) -> Path:
        """The site's own limits, YAML."""
        return self.folder / "policy.yaml"

    @property
    def ledger(self) -> Path:
        """The privacy ledger of the site's patient population."""
        return self.folder / "ledger.sqlite"

    @property
    def audit(self) -> Path:
        """The hash-chained audit log."""
        return self.folder / "audit.jsonl"

    @property
    def mapping(self) -> Path:
        """The mapping file, or a pointer to it."""
        return self.folder / "mapping.yaml"

    @property
    def proposals(self) -> Path:
        """Folder of the imported signed proposals."""
        return self.folder / "proposals"

    @property
    def approvals(self) -> Path:
        """Folder of this site's decisions and of those of others."""
        return self.folder / "approvals"

    @property
    def accepted_code(self) -> Path:
        """The installed code that the site has accepted, signed."""
        return self.folder / "code.json"

    @property
    def gateways_code(self) -> Path:
        """The same paper, for the gateway."""
        return self.gateway / "code.json"

    @property
    def studies(self) -> Path:
        """Folder of the studies' state."""
        return self.folder / "studies"

    @property
    def answers(self) -> Path:
        """Folder of hashes of the patients that answers of exact statistics were about, over all studies."""
        return self.folder / "answers"

    @property
    def run(self) -> Path:
        """Folder of what lives as long as the processes."""
        return self.folder / "run"

    @property
    def agent_socket(self) -> Path:
        """Unix socket between gateway and agent."""
        return self.run / "agent.sock"

    @property
    def gateway(self) -> Path:
        """What the gateway's user may read."""
        return self.folder / "gateway"

    @property
    def tls_key(self) -> Path:
        """P-256, PEM."""
        return self.gateway / "tls.key"

    @property
    def next_tls_key(self) -> Path:
        """The key of a renewal that has not been answered yet."""
        return self.gateway / "tls.key.next"

    @property
    def tls_certificate(self) -> Path:
        """The gateway's client certificate, PEM."""
        return self.gateway / "tls.crt"

    @property
    def authority_certificate(self) -> Path:
        """The consortium's CA certificate, PEM."""
        return self.gateway / "authority.crt"

    @property
    def node_key(self) -> Path:
        """P-384, OpenSSH private key: ``flower-supernode --auth-supernode-private-key``."""
        return self.gateway / "node.key"

    @property
    def node_public_key(self) -> Path:
        """P-384, OpenSSH public key: ``flwr supernode register``."""
        return self.gateway / "node.pub"

    def proposal(self, digest: str) -> Path:
        """The file of a signed proposal.

        Args:
            digest: ``sha256:`` and 64 hexadecimal digits.
        """
        return self.proposals / f"{_hexadecimal(digest)}.json"

    def approval(self, digest: str) -> Path:
        """The file of this site's decision on a proposal."""
        return self.approvals / f"{_hexadecimal(digest)}.json"

    def study(self, digest: str) -> Path:
        """The folder of a study's state at this site, by the digest of its manifest."""
        return self.studies / _hexadecimal(digest)

    def read(self) -> SiteHome:
        """What the site's admission said.

        Raises:
            InvalidInputError: If the site is not enrolled, or the file is not what enrolment wrote.
        """
        try:
            content = self.site_file.read_bytes()
        except OSError as failure:
            raise InvalidInputError(
                f"expected an enrolled site in {self.folder}, got no readable {self.site_file.name}",
                remedy="enrol first (`cohortium site enrol`), or name the site's folder with --home",
            ) from failure
        if len(content) > _LARGEST_BYTES:
            raise InvalidInputError(f"expected {self.site_file} of at most {_LARGEST_BYTES} bytes, got {len(content)}")
        from site_client.site_home import SiteHome

        return SiteHome.from_json(content, error=InvalidInputError)

    def write(self, home: SiteHome) -> None:
        """Write :attr:`site_file`, readable for its owner only."""
        from federation.durable_files import write_durably

        write_durably(self.site_file, home.model_dump_json(indent=1).encode(), secret=True)


def _hexadecimal(digest: str) -> str:
    # A digest may come from another party, and becomes part of a path.
    name = digest.removeprefix("sha256:")
    if len(name) != _HEXADECIMAL_LENGTH or set(name) - set("0123456789abcdef"):
        raise InvalidInputError(f"expected a digest of {_HEXADECIMAL_LENGTH} hexadecimal digits, got {digest[:80]!r}")
    return name
