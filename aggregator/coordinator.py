"""The study, round by round: :func:`run_study` is the same for every engine; only the transport differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.rounds import WeightedFold, collect_metrics, collect_updates
from aggregator.tracking import Tracker
from aggregator.transport import Transport
from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import FederatedAveraging
from federation.data.encoding import feature_names, num_outputs
from federation.errors import NonFiniteModelError
from federation.models.build import build_model
from federation.models.parameters import initial_parameters
from federation.privacy.accounting import spent
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult, StudyResult

OnRound = Callable[[RoundResult], None]


def run_study(
    study: StudyManifest,
    transport: Transport,
    tracker: Tracker,
    *,
    checkpoints: CheckpointStore,
    clock: Callable[[], float],
    on_round: OnRound,
) -> StudyResult:
    """Run a study from its last checkpoint to its end.

    Args:
        study: What was agreed.
        transport: How sites are reached.
        tracker: Where results are recorded.
        checkpoints: Where rounds are committed; a restart continues after the last one.
        clock: Seconds, for the duration of a round only.
        on_round: Called after each committed round.

    Raises:
        QuorumError: If too few sites contribute.
        NonFiniteModelError: If training diverges.
        CheckpointError: If the checkpoints are damaged or of another study.
    """
    algorithm = build_algorithm(study.algorithm)
    state = checkpoints.latest() or start_state(study, algorithm)
    resumed_from = state.round_number
    for result in state.history:
        tracker.record_round(result)  # what was committed but not yet recorded when the last run ended
    for round_number in range(resumed_from + 1, study.schedule.rounds + 1):
        started = clock()
        fold = collect_updates(
            study,
            transport,
            round_number=round_number,
            parameters=state.parameters.astype(np.float32),
            broadcast=algorithm.broadcast(state.server),
        )
        advanced = advance(algorithm, state, fold)
        result = summarise(study, transport, before=state, after=advanced, fold=fold)
        state = replace(advanced, history=(*state.history, replace(result, seconds=clock() - started)))
        checkpoints.save(state)
        tracker.record_round(state.history[-1])
        on_round(state.history[-1])
    return StudyResult(
        manifest_digest=study.digest,
        rounds=state.history,
        parameters=state.parameters.astype(np.float32),
        resumed_from=resumed_from,
    )


def start_state(study: StudyManifest, algorithm: FederatedAveraging) -> CoordinatorState:
    """Before round 1: initial parameters from the manifest's public seed."""
    module = build_model(
        study.model,
        task=study.task,
        num_features=len(feature_names(study.contract)),
        num_outputs=num_outputs(study.contract, study.task),
        private=isinstance(study.privacy, PatientLevelPrivacy),
    )
    parameters = initial_parameters(module, seed=study.initial_seed).astype(np.float64)
    return CoordinatorState(
        round_number=0,
        parameters=parameters,
        server=algorithm.start_server(len(parameters)),
        rounds_contributed={entry.site: 0 for entry in study.roster},
    )


def advance(algorithm: FederatedAveraging, state: CoordinatorState, fold: WeightedFold) -> CoordinatorState:
    """The next state, from the means of the round.

    Raises:
        NonFiniteModelError: If the new parameters are not finite.
    """
    means = fold.means()
    parameters, server = algorithm.server_step(
        state.parameters,
        mean_update=means.pop("update"),
        means={name.removeprefix("algorithm/"): vector for name, vector in means.items()},
        server=state.server,
        round_number=state.round_number + 1,
    )
    if not (np.abs(parameters) <= np.finfo(np.float32).max).all():  # what is sent is float32; NaN compares false
        raise NonFiniteModelError(
            f"expected finite parameters after round {state.round_number + 1}, got NaN or infinity",
            remedy="lower schedule.optimiser.learning_rate or algorithm.server_learning_rate",
        )
    contributed = {site: rounds + (site in fold.contributors) for site, rounds in state.rounds_contributed.items()}
    return replace(
        state,
        round_number=state.round_number + 1,
        parameters=parameters,
        server=server,
        rounds_contributed=contributed,
    )


def summarise(
    study: StudyManifest,
    transport: Transport,
    *,
    before: CoordinatorState,
    after: CoordinatorState,
    fold: WeightedFold,
) -> RoundResult:
    """Evaluate where the schedule says so, and describe the round."""
    released = after.parameters.astype(np.float32)
    is_due = after.round_number % study.schedule.evaluate_every == 0 or after.round_number == study.schedule.rounds
    sums = collect_metrics(study, transport, round_number=after.round_number, parameters=released) if is_due else {}
    per_site = study.evaluation.release == "per_site"
    return RoundResult(
        round_number=after.round_number,
        contributors=tuple(fold.contributors),
        dropouts=dict(fold.dropouts),
        metrics=reduce(lambda left, right: left + right, sums.values()).derive() if sums else {},
        site_metrics={site: values.derive() for site, values in sums.items()} if per_site else {},
        epsilon_spent=_epsilon_spent(study, after),
        update_norm=float(np.linalg.norm(after.parameters - before.parameters)),
        model_digest=digest_of(released),
        seconds=0.0,
    )


def _epsilon_spent(study: StudyManifest, state: CoordinatorState) -> dict[str, float]:
    privacy = study.privacy
    if not isinstance(privacy, PatientLevelPrivacy):
        return {}
    return {
        site: spent(study.mechanism(site), rounds_done=rounds, delta=privacy.delta).epsilon
        for site, rounds in state.rounds_contributed.items()
    }


def digest_of(parameters: NDArray[np.float32]) -> str:
    """``sha256:`` of the parameters' little-endian bytes."""
    return "sha256:" + hashlib.sha256(parameters.astype("<f4").tobytes()).hexdigest()
