# ruff: noqa: INP001 - copied into an image by itself
"""For HEALTHCHECK and probes: asks the host in this container how it is, over loopback.

Exit code 0 if all its processes are well; with ``--alive``, if it answers at all. A study that failed is not its concern:
`cohortium aggregator status` says that too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from aggregator.host.health import ask
from aggregator.host.home_paths import HOME_VARIABLE, HostLayout


def main() -> int:
    """Ask once."""
    home = HostLayout(Path(os.environ[HOME_VARIABLE])).read()
    status, text = ask(home.health_port)
    sys.stdout.write(text)
    well = status != 0 if "--alive" in sys.argv[1:] else status == 200  # noqa: PLR2004
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
