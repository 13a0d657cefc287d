"""What a Flower run ships: a text that names the installed package, and no code.

Aggregator and gateway hold the same bytes, so that a gateway can tell any other bundle by its hash, before it fetches it.
"""

from __future__ import annotations

from typing import Final

BUNDLE: Final = b"""\
[project]
name = "cohortium"
version = "1.0.0"
description = "Names the installed package; ships no code."
license = { text = "Apache-2.0" }

[tool.flwr.app]
publisher = "cohortium"

[tool.flwr.app.components]
serverapp = "aggregator.superlink:installed"
clientapp = "site_client.gateway.app:installed"

[tool.flwr.app.config]
"""
"""The only file of the bundle, ``pyproject.toml``."""
