"""What would go wrong with a study, from its manifest and from its rehearsal."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence

from aggregator.host.home import GateLimits
from experiments.genotypes.rehearsing import MOST_DRAWN
from experiments.study_rehearsal.report import Finding, RehearsedRound, Unplugging
from experiments.study_rehearsal.wire import Exchange
from federation.errors import CohortiumError
from federation.privacy.promise import PatientLevelPrivacy
from federation.statistics.agreed_genotypes import AgreedVariants
from federation.statistics.result import StudyAnalysis
from federation.study.manifest import StudyManifest


def sites_needed(study: StudyManifest) -> int:
    """Sites that a round needs: the quorum, and with secure aggregation the threshold of shares."""
    masked = study.aggregation.masked
    return max(study.aggregation.quorum, 0 if masked is None else masked.threshold_of(len(study.roster)))


def spare_sites(study: StudyManifest) -> int:
    """Sites that may be away in a round."""
    return len(study.roster) - sites_needed(study)


def findings_of_manifest(study: StudyManifest, *, capped: Sequence[str], today: dt.date) -> Iterator[Finding]:
    """What the manifest alone says.

    Args:
        study: As it would be signed.
        capped: Sites that were rehearsed with fewer patients than they declared.
        today: UTC.
    """
    yield from _about_spare_sites(study)
    if study.expires is not None and study.expires < today:
        yield Finding(severity="stops", text=f"the study expired on {study.expires}", remedy="set `expires` later")
    without = [entry.site for entry in study.roster if entry.public_key is None]
    if without:
        text = f"no public key of {', '.join(without)} in the roster: the study cannot be signed as a proposal"
        yield Finding(severity="stops", text=text, remedy="`cohortium study new --members members.json` fills them in")
    privacy = study.privacy
    if isinstance(privacy, PatientLevelPrivacy):
        for entry in study.roster:
            drawn = privacy.sampling_probability * entry.training_patients
            if drawn < privacy.noise_multiplier:
                text = (
                    f"{entry.site}: a step draws {drawn:.1f} patients on average, and noise of {privacy.noise_multiplier:.2g} "
                    "patients' size is added"
                )
                yield Finding(
                    severity="warning", text=text, remedy="fewer and larger steps, or see `cohortium study privacy`"
                )
    if capped:
        text = (
            f"fewer patients than declared were generated for {', '.join(capped)}: the study's steps will take longer"
        )
        yield Finding(severity="note", text=text, remedy="--patients raises the cap")


def _about_spare_sites(study: StudyManifest) -> Iterator[Finding]:
    number, needed, masked = len(study.roster), sites_needed(study), study.aggregation.masked
    limit = "quorum" if masked is None or study.aggregation.quorum >= needed else "threshold of shares"
    if needed == number and number > 1:
        yield Finding(
            severity="warning",
            text=f"every round needs all {number} sites ({limit} {needed}): the study waits whenever one is away, and one that "
            "withdraws ends it",
            remedy="a smaller quorum or threshold, or more sites"
            if masked is None or number > 3  # noqa: PLR2004 - secure sums of fewer than three sites hide nobody
            else "secure aggregation needs three sites: a fourth site would leave one to spare",
        )
    else:
        text = f"up to {number - needed} of {number} sites may be away in a round ({limit} {needed})"
        yield Finding(severity="note", text=text)


def findings_of_run(
    rounds: Sequence[RehearsedRound],
    exchanges: Sequence[Exchange],
    *,
    unplugged: Unplugging | None,
    failure: CohortiumError | None,
) -> Iterator[Finding]:
    """What happened on the way.

    Args:
        rounds: Those that were finished.
        exchanges: Every request.
        unplugged: What became of the site that was unplugged.
        failure: What ended the study early.
    """
    if failure is not None:
        text = f"the study stopped after round {len(rounds)}: {failure.message}"
        yield Finding(severity="stops", text=text, remedy=failure.remedy)
    expected = None if unplugged is None else (unplugged.site, unplugged.round_number)
    for done in rounds:
        for site, reason in done.dropouts.items():
            if (site, done.round_number) != expected:
                yield Finding(severity="warning", text=f"round {done.round_number}: {site} dropped out, {reason}")
        for site, reason in done.exclusions.items():
            text = f"round {done.round_number}: the update of {site} was left out, {reason}"
            yield Finding(severity="note", text=text)
        if done.rolled_back:
            yield Finding(
                severity="warning",
                text=f"round {done.round_number} was rolled back: {done.rolled_back}",
                remedy="less noise or a smaller learning rate; see `cohortium study privacy --curve`",
            )
        if done.unopened:
            yield Finding(severity="warning", text=f"round {done.round_number} gave no update: {done.unopened}")
    largest = max((max(entry.request_bytes, entry.reply_bytes) for entry in exchanges), default=0)
    limit = GateLimits().largest_body
    if largest > limit:
        text = f"the largest message has {largest} bytes; Flower sends it in pieces through a gate that takes {limit} at once"
        yield Finding(severity="note", text=text)


def findings_of_statistics(analyses: Sequence[StudyAnalysis]) -> Iterator[Finding]:
    """Which exact statistics gave a result on generated patients, and at how many sums."""
    for analysis in analyses:
        if analysis.result is None:
            yield Finding(severity="warning", text=f"statistics {analysis.name}: no result, {analysis.reason}")
        else:
            text = f"statistics {analysis.name}: {analysis.result.steps} sums over {len(analysis.result.sites)} sites"
            yield Finding(severity="note", text=text)


def findings_of_variants(study: StudyManifest) -> Iterator[Finding]:
    """What a rehearsal on few drawn variants says about a study of many."""
    for each in study.statistics.analyses if study.statistics else ():
        if isinstance(each, AgreedVariants):
            passes = math.ceil(each.num_variants / each.block)
            text = (
                f"statistics {each.name}: {min(each.num_variants, MOST_DRAWN)} drawn variants in place of the study's "
                f"{each.num_variants}, with which every pass over the list takes at least {passes} sums"
            )
            yield Finding(severity="note", text=text)
