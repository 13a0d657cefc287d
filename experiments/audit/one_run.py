"""Audit of a whole training run: thousands of canaries, each in or out by its own coin, in one run.

The attacker is the aggregator: it sees the attacked site's update of every round, and sends the result back as the
next round's model. Sampling, gradients, clipping, noise, divisor, steps and rounds are the site's own code with the
manifest's mechanism; only the network has inputs for the canaries (:mod:`experiments.audit.canaries`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.audit.canaries import Canaries, with_canaries
from experiments.audit.one_run_bounds import one_run_bound
from experiments.audit.subject import AuditSubject
from federation.models.parameters import flatten, load
from federation.privacy.audit_result import AuditResult
from site_client.training import train_locally

_MOST_PATIENTS: Final = 500
"""Of the attacked site: the others would only be in the way of the canaries' memory, [patients, canaries]."""


def audit_one_run(subject: AuditSubject, *, num_canaries: int = 5000) -> AuditResult:
    """Train once with canaries and bound the epsilon of training from below.

    Args:
        subject: The study; its first site is attacked.
        num_canaries: m, at least 10. Fewer prove less.

    Raises:
        InvalidInputError: If there are too few canaries.
        NonFiniteModelError: If training diverged.
    """
    coins = subject.streams.stream("coins").integers(0, 2, size=num_canaries).astype(np.bool_)
    site = subject.sites[0]
    some = np.arange(min(site.training.num_patients, _MOST_PATIENTS))
    canaries = with_canaries(subject.manifest, site.training.patients(some), coins)
    scores = _train(subject, canaries, site=site.site)
    bound = one_run_bound(scores, coins, delta=subject.delta, confidence=subject.confidence)
    claimed = subject.spent_on_training
    return AuditResult(
        kind="one_run",
        manifest_digest=subject.manifest.digest,
        attacked=f"all {subject.manifest.schedule.rounds} rounds of training at {site.site}: which of the planted patients "
        "took part, as its updates tell the aggregator",
        method="the better of Steinke et al. 2023 (any mechanism) and Mahloujifar et al. 2024 (Gaussian trade-off curve), "
        "half of the error each",
        samples=num_canaries,
        confidence=subject.confidence,
        lower_bound_epsilon=bound.epsilon,
        delta=subject.delta,
        claimed_epsilon=claimed,
        num_guesses=bound.num_guesses,
        num_correct=bound.num_correct,
        seeded=subject.seeded,
        passed=bound.epsilon <= claimed,
    )


def _train(subject: AuditSubject, canaries: Canaries, *, site: str) -> NDArray[np.float64]:
    """``[m]`` every canary's score, over all rounds: each round's movement in units of its learning rate."""
    schedule, network = subject.manifest.schedule, canaries.network
    mechanism, streams = subject.manifest.mechanism(site), subject.streams.child("training")
    scores = np.zeros(canaries.included.size)
    for round_number in range(1, schedule.rounds + 1):
        if (round_number - 1) * 10 % schedule.rounds < 10:  # noqa: PLR2004 - about ten notes, however many rounds
            subject.report(f"canaries: round {round_number} of {schedule.rounds}")
        start = flatten(network)
        after = train_locally(
            network,
            canaries.dataset,
            task=subject.manifest.objective,
            schedule=schedule,
            round_number=round_number,
            mechanism=mechanism,
            streams=streams,
        ).parameters
        moved = after.astype(np.float64) - start.astype(np.float64)
        scores += canaries.scores(moved) / schedule.learning_rate_of(round_number)
        load(network, after)
    return scores
