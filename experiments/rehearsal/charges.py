"""What a study was charged at a site: every reservation of its ledger, held against another ledger's."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from federation.errors import LedgerDamagedError
from federation.privacy.accounting import Cost
from site_client.ledger.entries import Computed, Reserved, decode
from site_client.ledger.store import Store


def charges(ledger: Path, *, study: str) -> dict[str, Cost]:
    """Cost by release, such as ``train/7``.

    Args:
        ledger: The file; it is read only.
        study: Digest of the study.

    Raises:
        LedgerDamagedError: If a release was reserved twice, or computed twice.
    """
    found: dict[str, Cost] = {}
    computed: Counter[int] = Counter()
    with contextlib.closing(Store(ledger)) as store:
        for row in store.rows():
            entry = decode(row)
            if isinstance(entry, Computed):
                computed[entry.reservation] += 1
            if isinstance(entry, Reserved) and entry.study == study:
                if entry.release in found:
                    raise LedgerDamagedError(f"expected one reservation of {entry.release}, got two in {ledger}")
                found[entry.release] = entry.charge
    twice = [number for number, times in computed.items() if times > 1]
    if twice:
        raise LedgerDamagedError(f"expected one computation of every reservation, got more of {twice} in {ledger}")
    return found
