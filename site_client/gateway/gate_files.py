"""What a gateway needs to reach the consortium's gate: TLS 1.3, the site's certificate, the consortium's authority and no other.

Nothing of the environment counts: no system certificates, no ``.netrc``, no proxy but the one that is named.
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from federation.errors import ConfigurationError

_TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True)
class GateFiles:
    """The files, and the way.

    Args:
        authority: Certificate of the consortium's authority, PEM.
        certificate: Of this site, PEM.
        key: Its key, PEM.
        node_key: Of this site's Flower node, OpenSSH.
        node: Where the number of this site's Flower node is remembered.
        secret: Where a secret of the gateway's own process is.
        proxy: Address of an HTTP proxy that tunnels to the gate, or ``None``.
    """

    authority: Path
    certificate: Path
    key: Path
    node_key: Path
    node: Path
    secret: Path
    proxy: str | None = None

    @classmethod
    def of(cls, folder: Path, *, proxy: str | None) -> GateFiles:
        """The files of a site's folder ``gateway``. The gateway writes in its subfolder ``state`` only."""
        return cls(
            authority=folder / "authority.crt",
            certificate=folder / "tls.crt",
            key=folder / "tls.key",
            node_key=folder / "node.key",
            node=folder / "state" / "node",
            secret=folder / "state" / "secret",
            proxy=proxy or None,
        )

    def context(self) -> ssl.SSLContext:
        """TLS 1.3 towards the gate.

        Raises:
            ConfigurationError: If a file is absent, or is not what it should be.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cafile=str(self.authority))
            context.load_cert_chain(str(self.certificate), str(self.key))
        except OSError as failure:  # ssl.SSLError is one
            raise ConfigurationError(
                f"expected certificate, key and authority beside {self.certificate}, got {type(failure).__name__}",
                remedy="enrol the site (`cohortium site enrol`), and let the gateway's user read its folder",
            ) from failure
        return context

    def http(self, address: str, *, timeout: float = _TIMEOUT_SECONDS) -> httpx.Client:
        """An HTTP client for the gate.

        Args:
            address: ``https://host:port``; a proxy is not used for this machine itself.
            timeout: Seconds for each step.

        Raises:
            ConfigurationError: As :meth:`context`, or if the proxy's address is none.
        """
        try:
            return httpx.Client(
                verify=self.context(),
                timeout=timeout,
                follow_redirects=False,
                trust_env=False,
                proxy=proxy_for(address, self.proxy),
            )
        except (ValueError, httpx.InvalidURL) as failure:
            raise ConfigurationError(
                "expected the address of the proxy as http://host:port, got another form",
                remedy="correct HTTPS_PROXY",
            ) from failure


def proxy_for(address: str, proxy: str | None) -> str | None:
    """The proxy to use for an address: none for this machine itself.

    Args:
        address: ``https://host:port``.
        proxy: Address of the proxy, if there is one.
    """
    host = urlsplit(address).hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost" or host.endswith(".localhost")
    return None if is_here else proxy or None
