"""What remains of each site's cap: read from the ledgers that the operator can see, judged by their own filter."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from federation.errors import ConfigurationError
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from site_client.ledger_room import LedgerRoom, room_of


def parse_ledgers(options: Sequence[str], manifest: StudyManifest) -> dict[str, Path]:
    """Site to its ledger, from ``SITE=PATH``.

    Raises:
        ConfigurationError: If the study charges no ledger of patients, or an option has no ``=``, names a site twice or one
            that is not in the roster, or there is no such file.
    """
    roster = [entry.site for entry in manifest.roster]
    if options and not isinstance(manifest.privacy, PatientLevelPrivacy):
        raise ConfigurationError(
            f"expected --ledger with patient-level privacy, got privacy {manifest.privacy.kind!r}",
            remedy="leave the option out: this study charges no ledger of patients",
        )
    found: dict[str, Path] = {}
    for option in options:
        site, equals, path = option.partition("=")
        if not equals or not path:
            raise ConfigurationError(
                f"expected --ledger SITE=PATH, got {option!r}", remedy=f"such as --ledger {roster[0]}=ledger.sqlite"
            )
        if site not in roster:
            raise ConfigurationError(
                f"expected --ledger of a site of the roster, got {site!r}", remedy=f"use one of {roster}"
            )
        if site in found:
            raise ConfigurationError(f"expected one --ledger for site {site}, got several", remedy="keep one of them")
        if not Path(path).is_file():
            raise ConfigurationError(
                f"expected the ledger of site {site} at {path}, got no such file",
                remedy="give the path of its SQLite file; leave the option out if you cannot see it",
            )
        found[site] = Path(path)
    return found


def read_rooms(ledgers: Mapping[str, Path], manifest: StudyManifest) -> dict[str, LedgerRoom]:
    """What each ledger says about the study's whole charge. Nothing is charged.

    Raises:
        LedgerDamagedError: If a ledger does not hold.
        ConfigurationError: If a ledger is another site's.
    """
    return {site: _room(site, path, manifest) for site, path in ledgers.items()}


def _room(site: str, path: Path, manifest: StudyManifest) -> LedgerRoom:
    from site_client.ledger.ledger import Ledger

    with Ledger.open(path, clock=lambda: dt.datetime.now(dt.UTC)) as ledger:
        if ledger.terms.site != site:
            raise ConfigurationError(
                f"expected the ledger of site {site} at {path}, got that of site {ledger.terms.site}",
                remedy="give each site's own ledger: what another site has spent says nothing about this one",
            )
        return room_of(ledger, manifest)
