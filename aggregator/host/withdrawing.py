"""Leaving a site out of a study: what it touches, and what can be done about it.

The study goes on from its last checkpoint without the site, under the same manifest, for as long as quorum and threshold allow.
What the site contributed before cannot be taken out of models that exist; in a private study its weight there is what the
privacy promise bounds. A model without it is trained by a new version of the study, from the public initial parameters: sites
answer a round of a study once, so that rounds cannot be repeated under the old manifest, and checkpoints belong to one manifest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aggregator.checkpoints import CheckpointStore
from aggregator.host.home import HostLayout
from aggregator.host.launching import record
from aggregator.host.participation import standing_decisions
from aggregator.host.study_place import StudyPlace
from federation.durable_files import write_durably
from federation.errors import InvalidInputError, ManifestError
from federation.study.manifest import StudyManifest


@dataclass(frozen=True)
class Withdrawal:
    """What leaving a site out means.

    Args:
        site: Which.
        rounds: Rounds whose model holds a contribution of the site itself.
        models: Digests by round of the models that it influenced: all from its first contribution on.
        clean_round: The last round before it contributed; 0: the public initial parameters.
        goes_on: Whether enough approved sites remain for the study to go on.
        obstacle: Why a new version without the site is not a valid study as it stands; empty if it is.
    """

    site: str
    rounds: tuple[int, ...]
    models: Mapping[int, str]
    clean_round: int
    goes_on: bool
    obstacle: str = ""


def withdraw(layout: HostLayout, place: StudyPlace, site: str, *, now: dt.datetime) -> Withdrawal:
    """Leave a site out from the next request on, and say what it has touched.

    Raises:
        InvalidInputError: If the site is not in the roster.
    """
    found = what_withdrawal_means(place, site)
    if not place.withdrawal(site).exists():
        record(layout, "withdrawn", study=f"sha256:{place.folder.name}", site=site, now=now)
        place.request(place.withdrawal(site), now=now, site=site)
    return found


def what_withdrawal_means(place: StudyPlace, site: str) -> Withdrawal:
    """As :func:`withdraw`, without doing anything."""
    proposal = place.proposal().proposal
    study = proposal.manifest
    if site not in {entry.site for entry in study.roster}:
        raise InvalidInputError(f"expected a site of the roster of {study.study}, got {site!r}")
    state = CheckpointStore(place.checkpoints, study=study.digest).latest() if place.checkpoints.is_dir() else None
    history = () if state is None else state.history
    rounds = tuple(result.round_number for result in history if site in result.contributors)
    first = rounds[0] if rounds else len(history) + 1
    approved = {name for name, decision in standing_decisions(proposal, place).items() if decision == "approve"}
    remaining = approved - {site} - set(place.withdrawn())
    masked = study.aggregation.masked
    needed = max(study.aggregation.quorum, 0 if masked is None else masked.threshold_of(len(study.roster)))
    try:
        next_version_without(study, site)
        obstacle = ""
    except ManifestError as failure:
        obstacle = failure.message
    return Withdrawal(
        site=site,
        rounds=rounds,
        models={result.round_number: result.model_digest for result in history if result.round_number >= first},
        clean_round=first - 1,
        goes_on=len(remaining) >= needed,
        obstacle=obstacle,
    )


def next_version_without(study: StudyManifest, site: str) -> StudyManifest:
    """A draft of the next version: the same study without the site. It has to be signed and approved like any other.

    Raises:
        ManifestError: If what remains is not a valid study, such as one with fewer sites than its quorum.
    """
    data = study.as_data()
    roster = data["roster"]
    if not isinstance(roster, list):
        raise ManifestError("expected a roster in the manifest, got none")
    data["roster"] = [entry for entry in roster if not (isinstance(entry, dict) and entry.get("site") == site)]
    data["version"] = study.version + 1
    return StudyManifest.from_data(data)


def write_draft(place: StudyPlace, site: str, path: Path) -> None:
    """Write the next version's manifest as YAML, for `cohortium study sign`.

    Raises:
        InvalidInputError: If there is a file already.
        ManifestError: If what remains is not a valid study.
    """
    import yaml

    if path.exists():
        raise InvalidInputError(f"expected no file at {path}, got one", remedy="choose another name for the draft")
    manifest = next_version_without(place.proposal().proposal.manifest, site)
    text = yaml.safe_dump(manifest.as_data(), sort_keys=False, allow_unicode=True)
    write_durably(path, text.encode())
