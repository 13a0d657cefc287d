"""Identity keys of simulated sites, which secure aggregation needs before the manifest can name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from federation.durable_files import write_durably
from federation.errors import InternalError
from federation.identifiers import Provenance
from federation.privacy.randomness import seeded_streams
from federation.study.manifest import StudyManifest
from site_client.ledger.key_file import find_or_make_key, key_path, read_key


def make_identities(sites: Iterable[str], folder: Path, *, seed: int | None, provenance: Provenance) -> dict[str, Path]:
    """A key file for every site; keys that are there are kept.

    Args:
        sites: Their names.
        folder: Each site's key is in a folder of its own beneath.
        seed: Of the test mode, in which keys are reproducible; ``None``: from the operating system.
        provenance: Of the cohort: seeded keys protect nobody.

    Returns:
        Site to the path that :mod:`site_client.ledger.key_file` takes.
    """
    found = {site: folder / site / "identity" for site in sites}
    for site, path in found.items():
        if seed is None:
            find_or_make_key(path)
        elif not key_path(path).is_file():
            secret = seeded_streams(seed, provenance=provenance).child("identity", site).stream("key").bytes(32)
            write_durably(key_path(path), secret, secret=True)
    return found


def public_keys(identities: Mapping[str, Path]) -> dict[str, str]:
    """Site to its public key, as the roster names it."""
    found: dict[str, str] = {}
    for site, path in identities.items():
        key = read_key(path)
        if key is None:
            raise InternalError(f"expected the identity key of simulated site {site}, it vanished")
        found[site] = key.public_key
    return found


def with_own_identities(
    manifest: StudyManifest, folder: Path, *, seed: int | None
) -> tuple[StudyManifest, dict[str, Path]]:
    """The same study for a simulation that has no hospital's key: every site gets one of its own.

    Returns:
        The study and the keys' files; a study without secure aggregation as it was, and none.
    """
    if manifest.aggregation.masked is None:
        return manifest, {}
    sites = [entry.site for entry in manifest.roster]
    made = make_identities(sites, folder, seed=seed, provenance=manifest.cohort.provenance)
    keys = public_keys(made)
    roster = tuple(entry.model_copy(update={"public_key": keys[entry.site]}) for entry in manifest.roster)
    return StudyManifest.from_data(manifest.model_copy(update={"roster": roster}).as_data()), made
