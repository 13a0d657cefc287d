"""Robust aggregation in the report: what was agreed, and whose updates were left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aggregator.report.content import Exclusion, Fact, RoundPoint
from federation.study.manifest import StudyManifest
from federation.study.masked_spec import MaskedSpec
from federation.study.result import RoundResult
from federation.study.robust_spec import FLTrust

_RULES: Final = {
    "trimmed_mean": ("Trimmed mean", "For each parameter the {f} smallest and {f} largest values are left out."),
    "median": ("Median of the sites", "For each parameter the middle value is taken; every site counts the same."),
    "krum": ("Multi-Krum", "Only the updates nearest to their neighbours are averaged; honest ones may be left out."),
    "geometric_median": ("Geometric median", "The point with the smallest sum of distances to the updates."),
    "fltrust": ("FLTrust", "Updates count as far as they point where those of the trusted site {root} do."),
}


def aggregation_facts(manifest: StudyManifest) -> tuple[Fact, ...]:
    """How the updates were combined, if not by their weighted mean."""
    robust, masked = manifest.aggregation.robust, manifest.aggregation.masked
    if masked is not None:
        return _masked_facts(manifest, masked)
    if robust is None:
        return ()
    title, words = _RULES[robust.rule.kind]
    root = robust.rule.root if isinstance(robust.rule, FLTrust) else ""
    beyond = "left out" if robust.beyond_bound == "exclude" else "shortened"
    return (
        Fact(
            label="Combination of updates",
            value=f"{title}, to survive {robust.byzantine} faulty of {len(manifest.roster)} sites",
            explanation=words.format(f=robust.byzantine, root=root),
        ),
        Fact(
            label="Bound on updates",
            value=f"length {robust.norm_bound:g}",
            explanation=f"Longer updates are {beyond}. Those that are not finite or of another shape are left out.",
        ),
    )


def _masked_facts(manifest: StudyManifest, spec: MaskedSpec) -> tuple[Fact, ...]:
    number, threshold = len(manifest.roster), spec.threshold_of(len(manifest.roster))
    least = max(threshold, manifest.aggregation.quorum)
    gate = spec.held_out_bound
    return (
        Fact(
            label="Combination of updates",
            value=f"secure sum of at least {least} of {number} sites",
            explanation="Updates are masked before they leave a site; the aggregator can open their sum and nothing else. "
            f"{threshold} sites must show shares of their keys, and each does so for one set of sites only.",
        ),
        Fact(
            label="Bound on updates",
            value=f"length {spec.norm_bound:g}, each number within {spec.value_range:g}",
            explanation="Kept by each site's own software, since nobody else can see its update. "
            f"Each number of an update travels in {spec.update_bits} bits.",
        ),
        Fact(
            label="Held-out gate",
            value="none" if gate is None else f"loss at most {gate:g} above the best so far",
            explanation="A round whose model does worse on records held out at the aggregator is rolled back.",
        ),
    )


def rolled_back(rounds: Sequence[RoundPoint | RoundResult]) -> str:
    """Which rounds were rolled back, in a sentence; empty if none was."""
    found = [point for point in rounds if point.rolled_back]
    if not found:
        return ""
    numbers = ", ".join(str(point.round_number) for point in found)
    return f"Rolled back by the held-out gate: round {numbers} ({found[-1].rolled_back})."


def unopened(rounds: Sequence[RoundPoint | RoundResult]) -> str:
    """Which rounds gave no update or no performance because nobody could open their sum, in sentences; empty if none did."""
    without = {
        "Without an update": [(point.round_number, point.unopened) for point in rounds if point.unopened],
        "Without an evaluation": [(point.round_number, point.unevaluated) for point in rounds if point.unevaluated],
    }
    return " ".join(
        f"{what}: round {', '.join(str(number) for number, _ in found)} ({found[-1][1]})."
        for what, found in without.items()
        if found
    )


def exclusions(rounds: Sequence[RoundPoint | RoundResult]) -> tuple[Exclusion, ...]:
    """Sites whose updates came and were not used, each with its reason in the last such round, the most frequent first.

    Args:
        rounds: All of the study.
    """
    counts: dict[str, int] = {}
    last: dict[str, str] = {}
    for point in rounds:
        for site, reason in point.exclusions.items():
            counts[site] = counts.get(site, 0) + 1
            last[site] = reason
    found = (Exclusion(site=site, rounds=number, reason=last[site]) for site, number in counts.items())
    return tuple(sorted(found, key=lambda entry: (-entry.rounds, entry.site)))
