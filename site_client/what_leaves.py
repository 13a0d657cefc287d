"""What a study takes out of a hospital, how often, and who sees it; in words."""

from __future__ import annotations

from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from site_client.statistics_in_words import statistics_in_words


def what_leaves(manifest: StudyManifest) -> list[str]:
    """Everything that this hospital sends in the course of a study.

    Args:
        manifest: Of the study.
    """
    rounds = manifest.schedule.rounds
    found = [f"changes of the model's weights, {rounds} times: {_protection(manifest)}; {_who_sees(manifest)}"]
    if manifest.algorithm.kind == "scaffold":
        found.append(f"the mean gradient of the training steps, {rounds} times, protected in the same way")
    found += _preparation(manifest)
    found += _evaluation(manifest)
    found += statistics_in_words(manifest)
    if manifest.aggregation.masked is not None:
        every = manifest.aggregation.masked.rounds_per_agreement
        found.append(f"public keys and encrypted shares of keys, every {every} rounds; they say nothing about patients")
    found.append(
        "that this site is reachable, whether it answered, the name of an error class if something failed, and signed "
        "hashes of its ledger and audit log"
    )
    return found


def what_stays() -> list[str]:
    """What no study can take out."""
    return [
        "records, identifiers and dates of patients",
        "how many patients this hospital has, beyond the number that it declared for the roster",
        "texts of errors, logs, names of files and users",
    ]


def _protection(manifest: StudyManifest) -> str:
    match manifest.privacy:
        case PatientLevelPrivacy(noise="local"):
            return "each patient's part is bounded and noise is added here, before anything is sent"
        case PatientLevelPrivacy():
            return "each patient's part is bounded, and this hospital adds a share of the noise; only the sum has all of it"
        case _:
            return "NOT protected by noise at this hospital"


def _who_sees(manifest: StudyManifest) -> str:
    masked, sites = manifest.aggregation.masked, len(manifest.roster)
    if masked is None:
        return "the aggregator sees those of this hospital"
    least = max(masked.threshold_of(sites), manifest.aggregation.quorum)
    return f"the aggregator sees only the sum over at least {least} of {sites} hospitals"


def _preparation(manifest: StudyManifest) -> list[str]:
    if manifest.preparation is None:
        return []
    return ["noisy counts of ranges and levels of variables, once, before the first round"]


def _evaluation(manifest: StudyManifest) -> list[str]:
    evaluation, times = manifest.evaluation, len(manifest.evaluation_rounds())
    if evaluation.release == "none":
        return ["nothing about how well the model does at this hospital"]
    is_hidden = evaluation.release == "sum" and manifest.aggregation.masked is not None
    seen = "as a sum over hospitals only" if is_hidden else "for this hospital by itself"
    if evaluation.release == "sum" and not is_hidden:
        seen = "seen by the aggregator for this hospital, published as a sum over hospitals"
    exactness = "EXACT counts" if evaluation.noise is None else "noisy counts"
    return [f"how well the model does on the test patients, {times} times: {exactness} of scores by outcome, {seen}"]
