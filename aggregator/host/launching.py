"""What the lead asks of a host: launch a study, pause it, end it, leave a site out. Everything is a file; nothing is a signal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from aggregator.checkpoints import CheckpointStore
from aggregator.held_out_records import keep_held_out
from aggregator.host.home_paths import HostLayout, read_small
from aggregator.host.study_outcome import read_outcome
from aggregator.host.study_place import StudyPlace, known_proposals, reasons_against
from conf.received_files import read_received
from federation.errors import InvalidInputError, NotApprovedError, StudyError
from federation.governance.approvals import reason_against
from federation.governance.audit import AuditEvent, EventName
from federation.governance.audit_log import AuditLog
from federation.governance.proposals import SignedApproval, SignedProposal
from federation.protocol.audit_head import COORDINATOR
from federation.protocol.signatures import SigningKey
from federation.statistics.agreed_genotypes import one_list
from federation.study.manifest import StudyManifest

_SHORTEST_DIGEST = 6


def launch(
    layout: HostLayout,
    proposal: Path,
    approvals: Sequence[Path],
    *,
    now: dt.datetime,
    held_out: Path | None = None,
    variants: Path | None = None,
) -> StudyPlace:
    """Take a proposal and the sites' decisions; the host starts a coordinator if nothing forbids the study.

    A study that failed or was stopped goes on after its last round when it is launched again.

    Args:
        layout: Of the host.
        proposal: File of the lead.
        approvals: Files of the sites.
        now: The time.
        held_out: Reference records on which every round's model is measured, where the manifest says so; once given, they are
            kept.
        variants: The list of variants of an association study; once given, it is kept.

    Raises:
        NotApprovedError: With every reason; then nothing was changed.
        StudyError: If the study has finished.
        InvalidInputError: If a file cannot be read, held-out records are missing, unfit or needless, or an association study has no
            list of variants or another.
    """
    signed = read_received(proposal, SignedProposal, error=NotApprovedError)
    signed.check()
    decisions = [read_received(path, SignedApproval, error=NotApprovedError) for path in approvals]
    for path, decision in zip(approvals, decisions, strict=True):
        refused = reason_against(decision, signed.proposal)
        if refused is not None:
            raise NotApprovedError(f"{path}: {refused}", remedy="leave the file out, or ask the site for the right one")
    place = StudyPlace.of(layout, signed.proposal.manifest.digest)
    kept = place.decisions()
    reasons = reasons_against(
        place,
        signed,
        (*kept, *decisions),
        coordinator=coordinator_key(layout).public_key,
        known=known_proposals(layout, but=place),
        now=now,
    )
    if reasons:
        raise NotApprovedError(
            "; ".join(reasons),
            remedy="collect what is missing (`cohortium study approvals`); a changed study is a new version",
            reasons=reasons,
        )
    keep_held_out(place.held_out, signed.proposal.manifest, held_out)
    _keep_variants(place, signed.proposal.manifest, variants)
    _reopen(place, now=now)
    place.keep(signed, decisions)
    record(layout, "study_launched", study=signed.proposal.manifest.digest, now=now)
    place.request(place.launched, now=now)
    return place


def _keep_variants(place: StudyPlace, manifest: StudyManifest, variants: Path | None) -> None:
    agreed = None if manifest.statistics is None else one_list(manifest.statistics.analyses)
    if agreed is None:
        if variants is not None:
            raise InvalidInputError("expected an association study for a list of variants, got a study without one")
        return
    from aggregator.statistics.variant_lists import has_variants, keep_variants, read_variants

    folder = CheckpointStore(place.checkpoints, study=manifest.digest).statistics_folder
    if variants is not None:
        keep_variants(folder, agreed, read_variants(variants))
    elif not has_variants(folder, agreed):
        raise InvalidInputError(
            f"expected the list of {agreed.num_variants} variants of an association study, got none",
            remedy="give the file that the manifest was written with: --variants LIST.bim",
        )


def find_study(layout: HostLayout, word: str) -> StudyPlace:
    """A study by its name (then the latest version) or the beginning of its digest.

    Raises:
        InvalidInputError: If there is none, or several.
    """
    by_name: dict[int, StudyPlace] = {}
    by_digest: list[StudyPlace] = []
    for path in sorted(layout.studies.glob("*/proposal.json")):
        place = StudyPlace(path.parent)
        manifest = place.proposal().proposal.manifest
        if manifest.study == word:
            by_name[manifest.version] = place
        beginning = word.removeprefix("sha256:")
        if len(beginning) >= _SHORTEST_DIGEST and path.parent.name.startswith(beginning):
            by_digest.append(place)
    if by_name:
        return by_name[max(by_name)]
    if len(by_digest) == 1:
        return by_digest[0]
    raise InvalidInputError(
        f"expected the name of a study here or the beginning of one digest, got {word[:80]!r}",
        remedy="`cohortium aggregator status` lists the studies",
    )


def pause(place: StudyPlace, *, now: dt.datetime) -> None:
    """Pause after the round that is under way."""
    _expect_open(place)
    place.request(place.pause_request, now=now)


def resume(place: StudyPlace, *, now: dt.datetime) -> None:
    """Go on: after a pause, or after a failure that was mended.

    Raises:
        StudyError: If the study has finished or was stopped.
    """
    outcome = read_outcome(place)
    if outcome is not None and outcome.ending == "failed":
        _reopen(place, now=now)
    else:
        _expect_open(place)
    place.drop(place.pause_request)


def stop(place: StudyPlace, *, now: dt.datetime) -> None:
    """End the study now, in the middle of a round if need be. Finished rounds are kept."""
    _expect_open(place)
    place.request(place.stop_request, now=now)


def close(layout: HostLayout, place: StudyPlace, *, now: dt.datetime) -> None:
    """Put a study that is over away: its files stay, no coordinator is started for it any more.

    Raises:
        StudyError: If it is not over.
    """
    if read_outcome(place) is None:
        raise StudyError("expected a study that is over, it is not", remedy="stop it first (`cohortium study stop`)")
    if place.launched.exists():
        record(layout, "study_closed", study=f"sha256:{place.folder.name}", now=now)
        place.drop(place.launched)


def coordinator_key(layout: HostLayout) -> SigningKey:
    """The host's signing key."""
    return SigningKey.from_bytes(read_small(layout.coordinator_key, what="the coordinator's key"))


def record(layout: HostLayout, event: EventName, *, study: str, now: dt.datetime, site: str | None = None) -> None:
    """Add an entry to the host's audit log."""
    with AuditLog(layout.audit, log=COORDINATOR, key=coordinator_key(layout), clock=lambda: now) as log:
        log.record(AuditEvent(event=event, actor="lead", study=study, site=site))


def _expect_open(place: StudyPlace) -> None:
    outcome = read_outcome(place)
    if outcome is not None:
        raise StudyError(
            f"expected a study that is not over, it is {outcome.ending} since {outcome.ended:%Y-%m-%d %H:%M}",
            remedy="a study that was stopped can be launched again (`cohortium study launch`)",
        )
    if not place.launched.exists():
        raise StudyError("expected a launched study, it is not", remedy="launch it with `cohortium study launch`")


def _reopen(place: StudyPlace, *, now: dt.datetime) -> None:
    """Take an ending back, unless the study has finished. The old outcome is kept under another name."""
    outcome = read_outcome(place)
    if outcome is not None:
        if outcome.ending == "finished":
            raise StudyError("expected a study that has not finished, it has", remedy="propose a new version")
        place.outcome.rename(place.outcome.with_name(f"outcome-until-{now:%Y%m%dT%H%M%S%f}.json"))
    place.drop(place.stop_request)
