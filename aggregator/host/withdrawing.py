"""Leaving a site out of a study: what it touches, and what can be done about it.

The study goes on from its last checkpoint without the site, under the same manifest, for as long as quorum and threshold allow.
What the site contributed before cannot be taken out of models that exist; in a private study its weight there is what the
privacy promise bounds. A model without it is trained by a new version of the study: sites answer a round of a study once, so that
rounds cannot be repeated under the old manifest. The new version starts with a model of the old one to which the site had not yet
contributed, where one is kept, and from the public initial parameters otherwise. Either way the other sites' patients pay again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.host.home_paths import HostLayout
from aggregator.host.launching import record
from aggregator.host.participation import standing_decisions
from aggregator.host.retraining import RetrainingCost, retraining_costs
from aggregator.host.starting_point import kept_rounds, replaced_by, start_of
from aggregator.host.study_place import StudyPlace
from federation.durable_files import write_durably
from federation.errors import InvalidInputError, ManifestError
from federation.governance.proposals import Proposal
from federation.statistics.agreed_reports import without_site
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
        starts: Digests by round of the kept models without it, with which a new version can start.
        reason_to_begin_anew: Why there is none; empty if there is one.
        costs: By the round after which a new version starts (0: from the beginning), what it costs patients, by site.
    """

    site: str
    rounds: tuple[int, ...]
    models: Mapping[int, str]
    clean_round: int
    goes_on: bool
    obstacle: str = ""
    starts: Mapping[int, str] = field(default_factory=dict[int, str])
    reason_to_begin_anew: str = ""
    costs: Mapping[int, Mapping[str, RetrainingCost]] = field(default_factory=dict[int, Mapping[str, RetrainingCost]])


def withdraw(layout: HostLayout, place: StudyPlace, site: str, *, now: dt.datetime) -> Withdrawal:
    """Leave a site out from the next request on, and say what it has touched.

    Raises:
        InvalidInputError: If the site is not in the roster.
    """
    found = what_withdrawal_means(place, site, layout=layout)
    if not place.withdrawal(site).exists():
        record(layout, "withdrawn", study=f"sha256:{place.folder.name}", site=site, now=now)
        place.request(place.withdrawal(site), now=now, site=site)
    return found


def what_withdrawal_means(place: StudyPlace, site: str, *, layout: HostLayout | None = None) -> Withdrawal:
    """As :func:`withdraw`, without doing anything.

    Args:
        place: The study's.
        site: Of its roster.
        layout: The host's folder, where an earlier version may be from which this one started.
    """
    proposal = place.proposal().proposal
    study = proposal.manifest
    if site not in {entry.site for entry in study.roster}:
        raise InvalidInputError(f"expected a site of the roster of {study.study}, got {site!r}")
    store = CheckpointStore(place.checkpoints, study=study.digest)
    state = store.latest() if place.checkpoints.is_dir() else None
    history = () if state is None else state.history
    rounds = tuple(result.round_number for result in history if site in result.contributors)
    before = _from_before_round_1(store, proposal, site, layout)
    first = 1 if before else rounds[0] if rounds else len(history) + 1
    approved = {name for name, decision in standing_decisions(proposal, place).items() if decision == "approve"}
    remaining = approved - {site} - set(place.withdrawn())
    masked = study.aggregation.masked
    needed = max(study.aggregation.quorum, 0 if masked is None else masked.threshold_of(len(study.roster)))
    starts = {
        number: history[number - 1].model_digest
        for number in kept_rounds(place)
        if number < min(first, study.schedule.rounds) and study.preparation is None
    }
    obstacle, costs = _next_versions(study, site, state, starts)
    return Withdrawal(
        site=site,
        rounds=rounds,
        models={result.round_number: result.model_digest for result in history if result.round_number >= first},
        clean_round=first - 1,
        goes_on=len(remaining) >= needed,
        obstacle=obstacle,
        starts=starts,
        reason_to_begin_anew="" if starts else before or _why_no_model(study, first - 1),
        costs=costs,
    )


def _from_before_round_1(store: CheckpointStore, proposal: Proposal, site: str, layout: HostLayout | None) -> str:
    """How a site touched what round 1 started with; empty if it did not."""
    prepared = store.preparation()
    if prepared is not None and site in prepared[1]:
        return "its noisy counts are in the map of the features, which every model reads"
    start = start_of(proposal)
    if start is None:
        return ""
    old = None if layout is None else replaced_by(layout, proposal)
    if old is None:
        return "this version started with a model of an earlier one, which is not here to be looked at"
    earlier = CheckpointStore(old.checkpoints, study=old.proposal().proposal.manifest.digest).latest()
    taken = () if earlier is None else earlier.history[: start.round_number]
    if any(site in result.contributors for result in taken):
        return "it contributed to the model of the earlier version with which this one started"
    return _from_before_round_1(
        CheckpointStore(old.checkpoints, study=old.proposal().proposal.manifest.digest),
        old.proposal().proposal,
        site,
        layout,
    )


def _why_no_model(study: StudyManifest, clean_round: int) -> str:
    if study.preparation is not None:
        return "the map of the features was paid for by this version and belongs to it"
    if clean_round == 0:
        return "it contributed from the first round on"
    return f"no model of rounds 1 to {clean_round} is kept"


def _next_versions(
    study: StudyManifest, site: str, state: CoordinatorState | None, starts: Mapping[int, str]
) -> tuple[str, dict[int, Mapping[str, RetrainingCost]]]:
    """Why there is no next version, or what each way to start it costs."""
    try:
        versions = {number: next_version_without(study, site, after_round=number) for number in (0, *starts)}
    except ManifestError as failure:
        return failure.message, {}
    return "", {number: retraining_costs(study, version, state) for number, version in versions.items()}


def next_version_without(study: StudyManifest, site: str, *, after_round: int = 0) -> StudyManifest:
    """A draft of the next version: the same study without the site. It has to be signed and approved like any other.

    Args:
        study: The version that is replaced.
        site: Who is left out.
        after_round: The new version starts with the model after this round and runs the rounds that are left, with the learning
            rate that was due; its noise stays, so that it spends less than it promises. 0: the whole study, from the beginning.

    Raises:
        ManifestError: If what remains is not a valid study, such as one with fewer sites than its quorum.
    """
    schedule = study.schedule
    if not 0 <= after_round < schedule.rounds:
        raise ManifestError(f"expected a start before the last of {schedule.rounds} rounds, got round {after_round}")
    rate = schedule.learning_rate_of(after_round + 1)
    changes: dict[str, object] = {
        "roster": tuple(entry for entry in study.roster if entry.site != site),
        "version": study.version + 1,
        "schedule": schedule.model_copy(
            update={
                "rounds": schedule.rounds - after_round,
                "optimiser": schedule.optimiser.model_copy(update={"learning_rate": rate}),
            }
        ),
    }
    if study.statistics is not None:
        analyses = without_site(study.statistics.analyses, site)
        changes["statistics"] = study.statistics.model_copy(update={"analyses": analyses})
    return StudyManifest.from_data(study.model_copy(update=changes).as_data())


def chosen_start(found: Withdrawal, wanted: int | None) -> int:
    """The round after whose model a draft starts: the one that was asked for, or else the last that is without the site.

    Args:
        found: What the withdrawal means.
        wanted: 0: from the beginning; ``None``: the last one.

    Raises:
        InvalidInputError: If the model after that round is not kept, or the site contributed to it.
    """
    if wanted is None:
        return max(found.starts, default=0)
    if wanted and wanted not in found.starts:
        raise InvalidInputError(
            f"expected a round whose model is kept and without {found.site}, got {wanted}",
            remedy=f"one of {[0, *found.starts]}; 0 begins anew"
            + (f" ({found.reason_to_begin_anew})" if found.reason_to_begin_anew else ""),
        )
    return wanted


def write_draft(place: StudyPlace, site: str, path: Path, *, after_round: int = 0) -> None:
    """Write the next version's manifest as YAML, for `cohortium study amend`.

    Raises:
        InvalidInputError: If there is a file already.
        ManifestError: If what remains is not a valid study.
    """
    import yaml

    if path.exists():
        raise InvalidInputError(f"expected no file at {path}, got one", remedy="choose another name for the draft")
    manifest = next_version_without(place.proposal().proposal.manifest, site, after_round=after_round)
    text = yaml.safe_dump(manifest.as_data(), sort_keys=False, allow_unicode=True)
    write_durably(path, text.encode())
