"""What a study costs a patient in all: training and what is paid beside it, and analyses with privacy."""

from __future__ import annotations

from federation.privacy.accounting import NOTHING, Cost, add, epsilon_of_cost
from federation.privacy.promise import PatientLevelPrivacy
from federation.statistics.promise import StatisticsPrivacy
from federation.study.manifest import StudyManifest


def statistics_promises(manifest: StudyManifest) -> tuple[StatisticsPrivacy, ...]:
    """The promise of each analysis with privacy, in the order of the manifest."""
    spec = manifest.statistics
    analyses = () if spec is None else spec.analyses
    return tuple(analysis.privacy for analysis in analyses if analysis.privacy is not None)


def charges_patients(manifest: StudyManifest) -> bool:
    """Whether a site charges anything to its ledger in this study."""
    return isinstance(manifest.privacy, PatientLevelPrivacy) or bool(statistics_promises(manifest))


def whole_cost(manifest: StudyManifest) -> Cost:
    """Of everything that the study promises a patient."""
    cost = manifest.privacy_cost() if isinstance(manifest.privacy, PatientLevelPrivacy) else NOTHING
    for promise in statistics_promises(manifest):
        cost = add(cost, promise.cost())
    return cost


def smallest_delta(manifest: StudyManifest) -> float:
    """Of the study's promises.

    Args:
        manifest: Of a study that charges patients.
    """
    deltas = [promise.delta for promise in statistics_promises(manifest)]
    if isinstance(manifest.privacy, PatientLevelPrivacy):
        deltas.append(manifest.privacy.delta)
    return min(deltas)


def whole_epsilon(manifest: StudyManifest) -> float:
    """Epsilon of everything together at the smallest delta; 0 if nothing is charged."""
    if not charges_patients(manifest):
        return 0.0
    return epsilon_of_cost(whole_cost(manifest), delta=smallest_delta(manifest))
