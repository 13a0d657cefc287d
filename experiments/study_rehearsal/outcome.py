"""What a run of a rehearsal amounts to: its rounds, its messages, and what became of the site that was unplugged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.study_rehearsal.report import MessageCost, RehearsedRound, Unplugging
from experiments.study_rehearsal.wire import Exchange, Plug
from federation.errors import CohortiumError
from federation.statistics.result import StudyAnalysis
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult


@dataclass(frozen=True)
class Run:
    """A run, finished or not.

    Args:
        manifest: What was run.
        patients: Generated training patients by site.
        results: Of the rounds that were finished.
        exchanges: Every request.
        lost: Kinds of the requests that the unplugged site did not get.
        failure: What ended it early.
        analyses: Exact statistics.
    """

    manifest: StudyManifest
    patients: Mapping[str, int]
    results: Sequence[RoundResult]
    exchanges: Sequence[Exchange]
    lost: Sequence[str]
    failure: CohortiumError | None
    analyses: Sequence[StudyAnalysis] = ()


def rounds_of(done: Run) -> tuple[RehearsedRound, ...]:
    """Every round, and what came before the first where something did."""
    to_sites, from_sites = defaultdict[int, int](int), defaultdict[int, int](int)
    for entry in done.exchanges:
        to_sites[entry.round_number] += entry.request_bytes
        from_sites[entry.round_number] += entry.reply_bytes
    before = (
        [RehearsedRound(round_number=0, seconds=0.0, to_sites_bytes=to_sites[0], from_sites_bytes=from_sites[0])]
        if to_sites[0]
        else []
    )
    return (
        *before,
        *(
            RehearsedRound(
                round_number=result.round_number,
                seconds=result.seconds,
                contributors=result.contributors,
                dropouts=dict(result.dropouts),
                exclusions=dict(result.exclusions),
                to_sites_bytes=to_sites[result.round_number],
                from_sites_bytes=from_sites[result.round_number],
                released=dict(result.metrics),
                rolled_back=result.rolled_back,
                unopened=result.unopened,
            )
            for result in done.results
        ),
    )


def message_costs(exchanges: Sequence[Exchange]) -> tuple[MessageCost, ...]:
    """Numbers and sizes by kind of request, in the order in which kinds first came."""
    by_kind = defaultdict[str, list[Exchange]](list)
    for entry in exchanges:
        by_kind[entry.kind].append(entry)
    return tuple(
        MessageCost(
            kind=kind,
            number=len(entries),
            request_bytes=round(sum(entry.request_bytes for entry in entries) / len(entries)),
            reply_bytes=_mean([entry.reply_bytes for entry in entries if entry.reply_bytes]),
            largest_bytes=max(max(entry.request_bytes, entry.reply_bytes) for entry in entries),
        )
        for kind, entries in by_kind.items()
    )


def _mean(lengths: Sequence[int]) -> int:
    return round(sum(lengths) / len(lengths)) if lengths else 0


def unplugging(plug: Plug, done: Run, study: StudyManifest) -> Unplugging:
    """What became of the site that was unplugged."""
    survived = done.failure is None and len(done.results) == study.schedule.rounds
    later = [result for result in done.results if result.round_number > plug.round_number]
    came_back = any(plug.site in result.contributors for result in later)
    kinds = ", ".join(dict.fromkeys(kind.removesuffix("/1") for kind in done.lost)) or "nothing"
    when = "after it had sent its update" if plug.mid_round else "before its update"
    here = next((result for result in done.results if result.round_number == plug.round_number), None)
    if here is None:
        what = "the round was not finished"
    elif plug.site in here.contributors:
        what = "its update is in the sum all the same"
    else:
        what = f"the round went on with {len(here.contributors)} of {len(study.roster)} sites"
    text = f"{plug.site} was unplugged in round {plug.round_number}, {when}; it missed: {kinds}; {what}"
    return Unplugging(
        site=plug.site,
        round_number=plug.round_number,
        mid_round=plug.mid_round,
        survived=survived,
        came_back=came_back,
        text=text,
    )
