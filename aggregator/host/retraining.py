"""What training again without a site costs the patients of the others, who pay once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.checkpoints import CoordinatorState
from federation.privacy.accounting import NOTHING, Cost, add, cost_of, epsilon_of_cost
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest


@dataclass(frozen=True)
class RetrainingCost:
    """Epsilon of a patient of one site, at the study's delta.

    Args:
        spent: By the version that is replaced, so far.
        again: By the new version, if it runs to its end.
        together: Of both. Less than their sum, because divergences add up and epsilons do not.
    """

    spent: float
    again: float
    together: float


def retraining_costs(
    old: StudyManifest, new: StudyManifest, state: CoordinatorState | None
) -> Mapping[str, RetrainingCost]:
    """What each site of the new version pays; empty without patient-level privacy.

    Args:
        old: The version that is replaced.
        new: The next version.
        state: Of the old one; ``None`` before its first round.
    """
    privacy = new.privacy
    if not isinstance(privacy, PatientLevelPrivacy):
        return {}
    found: dict[str, RetrainingCost] = {}
    for entry in new.roster:
        spent, again = spent_so_far(old, state, entry.site), new.privacy_cost()
        found[entry.site] = RetrainingCost(
            *(epsilon_of_cost(cost, delta=privacy.delta) for cost in (spent, again, add(spent, again)))
        )
    return found


def spent_so_far(study: StudyManifest, state: CoordinatorState | None, site: str) -> Cost:
    """What the finished rounds cost a patient of a site: rounds to which it sent something, and every evaluation since.

    A site's own ledger may say more: it also charges what was computed and never arrived.
    """
    event = study.training_event()
    if state is None or event is None:
        return NOTHING
    counted = sum(site in {*result.contributors, *result.exclusions} for result in state.history)
    rounds = max(counted, state.rounds_contributed.get(site, 0))
    evaluations = sum(number <= state.round_number for number in study.evaluation_rounds())
    return add(study.cost_beside_training(evaluations), cost_of(event), times=rounds)
