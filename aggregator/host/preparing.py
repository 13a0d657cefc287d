"""Makes a host's home folder: settings, folders that only their owner can enter, and the secrets of this machine."""

from __future__ import annotations

import secrets

from aggregator.host.home import AggregatorHome
from aggregator.host.home_paths import HostLayout
from federation.durable_files import write_durably
from federation.errors import InvalidInputError
from federation.protocol.signatures import SigningKey

_OWNER_ONLY = 0o700


def prepare_home(layout: HostLayout, home: AggregatorHome) -> None:
    """Make what is missing. Keys and secrets that are there are kept.

    Raises:
        InvalidInputError: If the folder holds other settings.
    """
    if layout.settings.exists() and layout.read() != home:
        raise InvalidInputError(
            f"expected a new folder or the same settings in {layout.folder}, it holds another host's",
            remedy="edit aggregator.json there, or choose another --home",
        )
    for folder in (layout.folder, layout.state, layout.logs, layout.studies):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(_OWNER_ONLY)
    for path, secret in (
        (layout.executor_secret, secrets.token_bytes(32)),
        (layout.gate_token, secrets.token_urlsafe(32).encode()),
        (layout.control_token, secrets.token_urlsafe(32).encode()),
        (layout.tracking_password, secrets.token_urlsafe(24).encode()),
        (layout.tracking_cookie_key, secrets.token_urlsafe(32).encode()),
        (layout.coordinator_key, SigningKey.generate().to_bytes()),
    ):
        if not path.exists():
            write_durably(path, secret, secret=True)
    layout.write(home)
