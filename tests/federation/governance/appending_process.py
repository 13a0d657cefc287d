"""A process that adds to an audit log and says after each entry that it is acknowledged, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.federation.governance.audit_cases import approved, site_log


def main() -> None:
    with site_log(Path(sys.argv[1])) as log:
        number = int(sys.argv[2])
        while True:
            entries = log.record(*(approved(number + extra) for extra in range(3)))
            sys.stdout.write(f"{entries[-1].sequence} {entries[-1].body_digest()}\n")
            sys.stdout.flush()
            number += 3


if __name__ == "__main__":
    main()
