"""The study, round by round: :func:`run_study` is the same for every engine; only the transport differs."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.direct_rounds import DirectSites
from aggregator.evaluation import Evaluation
from aggregator.held_out_gate import HeldOutGate, HeldOutLoss
from aggregator.reaching import Reached, reach
from aggregator.rounds import WeightedFold
from aggregator.tracking import Tracker
from aggregator.transport import Transport
from aggregator.witnessing import HeadKeeper
from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import FederatedAveraging
from federation.data.prepared_features import PreparedFeatures
from federation.errors import CohortiumError, NonFiniteModelError, PrivacyRefusedError
from federation.models.parameters import initial_parameters
from federation.privacy.accounting import NOTHING, Cost, add, cost_of, epsilon_of_cost, round_event
from federation.privacy.promise import PatientLevelPrivacy, SiteLevelPrivacy
from federation.privacy.randomness import RandomStreams
from federation.privacy.site_level import site_round_event
from federation.study.manifest import StudyManifest
from federation.study.network import network_of
from federation.study.result import RoundResult, StudyResult

OnRound = Callable[[RoundResult], None]
Observe = Callable[[NDArray[np.float32], PreparedFeatures | None], Mapping[str, float]]


def run_study(  # noqa: PLR0913 - the parts of a study, all keyword-only but three
    study: StudyManifest,
    transport: Transport | DirectSites,
    tracker: Tracker,
    *,
    checkpoints: CheckpointStore,
    clock: Callable[[], float],
    on_round: OnRound,
    observe: Observe | None = None,
    streams: RandomStreams | None = None,
    held_out: HeldOutLoss | None = None,
) -> StudyResult:
    """Run a study from its last checkpoint to its end.

    Args:
        study: What was agreed.
        transport: How sites are reached; or the sites themselves, all in this process.
        tracker: Where results are recorded.
        checkpoints: Where rounds are committed; a restart continues after the last one.
        clock: Seconds, for the duration of a round only.
        on_round: Called after each round.
        observe: Simulations only: what the simulator sees of a round's parameters and the map of their features, kept beside
            the results and labelled so.
            A deployment has nobody who could look.
        streams: For the noise of site-level privacy; ``None``: the operating system's.
        held_out: Loss on the aggregator's own held-out records, where the manifest rolls bad rounds back.

    Raises:
        ConfigurationError: If the manifest asks for held-out records and there are none.
        QuorumError: If too few sites contribute.
        NonFiniteModelError: If training diverges.
        CheckpointError: If the checkpoints are damaged or of another study.
        PrivacyRefusedError: If somebody would observe a study of real patients.
    """
    _check_observer(study, observe)
    algorithm = build_algorithm(study.algorithm)
    state = checkpoints.latest() or start_state(study, algorithm)
    resumed_from = state.round_number
    keeper = HeadKeeper(state.heads)
    reached = reach(study, transport, checkpoints=checkpoints, keeper=keeper, streams=streams)
    prepared = reached.prepare()
    gate = HeldOutGate.of(study, held_out, prepared)
    recording = _Recording(tracker, checkpoints)
    recording.catch_up(state.history)  # what was committed but not yet recorded when the last run ended
    try:
        while state.round_number < study.schedule.rounds:
            started = clock()
            advanced, result = _take_round(
                study, state, algorithm=algorithm, reached=reached, gate=gate, prepared=prepared, observe=observe
            )
            result = replace(result, seconds=clock() - started)
            history = (*state.history, result)
            state = replace(advanced, history=history, heads=keeper.heads)
            checkpoints.save(state)
            recording.catch_up(state.history)
            on_round(state.history[-1])
    except BaseException:
        with suppress(CohortiumError, OSError):  # the first error is told; a restart makes good what fails here
            checkpoints.save_waiting()
            recording.catch_up(state.history)
        raise
    return StudyResult(
        manifest_digest=study.digest,
        rounds=state.history,
        parameters=state.parameters.astype(np.float32),
        prepared=prepared,
        analyses=reached.analyse(),
        resumed_from=resumed_from,
    )


class _Recording:
    """Records rounds that are committed, and no others: a round that is trained again may come out differently."""

    def __init__(self, tracker: Tracker, checkpoints: CheckpointStore) -> None:
        self._tracker, self._checkpoints, self._recorded = tracker, checkpoints, 0

    def catch_up(self, history: Sequence[RoundResult]) -> None:
        """Record what was committed since the last call; ``history`` is of all rounds, from the first."""
        committed = self._checkpoints.committed
        self._tracker.record_rounds(history[self._recorded : committed])
        self._recorded = committed


def _take_round(
    study: StudyManifest,
    state: CoordinatorState,
    *,
    algorithm: FederatedAveraging,
    reached: Reached,
    gate: HeldOutGate,
    prepared: PreparedFeatures | None,
    observe: Observe | None,
) -> tuple[CoordinatorState, RoundResult]:
    """Train, step and evaluate once: the state after the round, and what it gave but for its duration."""
    fold = reached.train(
        round_number=state.round_number + 1,
        parameters=state.parameters.astype(np.float32),
        broadcast=algorithm.broadcast(state.server),
        prepared=prepared,
    )
    if fold.unopened:
        advanced, rolled_back = stay(state, fold), ""
    else:
        advanced, rolled_back = gate.pass_on(state, advance(algorithm, state, fold))
    released = advanced.parameters.astype(np.float32)
    found = reached.evaluate(round_number=advanced.round_number, parameters=released, prepared=prepared)
    observed = {} if observe is None else dict(observe(released, prepared))
    traffic = reached.traffic()
    result = replace(
        summarise(study, before=state, after=advanced, fold=fold, found=found),
        observed=observed,
        rolled_back=rolled_back,
        unopened=fold.unopened,
        unevaluated=found.unopened,
        bytes_sent=traffic.sent,
        bytes_received=traffic.received,
    )
    return advanced, result


def _check_observer(study: StudyManifest, observe: Observe | None) -> None:
    if observe is not None and study.cohort.provenance == "patients":
        raise PrivacyRefusedError(
            "expected nobody to observe a study of real patients, got an observer",
            remedy="observe simulations on synthetic or public records only",
        )


def start_state(study: StudyManifest, algorithm: FederatedAveraging) -> CoordinatorState:
    """Before round 1: initial parameters from the manifest's public seed."""
    module = network_of(study)
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
    return replace(stay(state, fold), parameters=parameters, server=server)


def stay(state: CoordinatorState, fold: WeightedFold) -> CoordinatorState:
    """The next state with the model as it was: after a round whose sum was never opened."""
    sent = {*fold.contributors, *fold.exclusions}  # an update that is not used was released all the same, and paid for
    contributed = {site: rounds + (site in sent) for site, rounds in state.rounds_contributed.items()}
    return replace(state, round_number=state.round_number + 1, rounds_contributed=contributed)


def summarise(
    study: StudyManifest,
    *,
    before: CoordinatorState,
    after: CoordinatorState,
    fold: WeightedFold,
    found: Evaluation,
) -> RoundResult:
    """Describe a round and what its evaluation found."""
    released = after.parameters.astype(np.float32)
    return RoundResult(
        round_number=after.round_number,
        contributors=tuple(fold.contributors),
        dropouts=dict(fold.dropouts),
        exclusions=dict(fold.exclusions),
        metrics=found.metrics,
        site_metrics=found.site_metrics,
        epsilon_spent=_epsilon_spent(study, after),
        update_norm=float(np.linalg.norm(after.parameters - before.parameters)),
        model_digest=digest_of(released),
        seconds=0.0,
        metric_errors=found.metric_errors,
        site_metric_errors=found.site_metric_errors,
        paid_performance=found.paid_performance,
    )


def _epsilon_spent(study: StudyManifest, state: CoordinatorState) -> dict[str, float]:
    privacy = study.privacy
    if isinstance(privacy, SiteLevelPrivacy):
        cost = add(NOTHING, cost_of(site_round_event(privacy)), times=state.round_number)
        return dict.fromkeys(state.rounds_contributed, epsilon_of_cost(cost, delta=privacy.delta))
    if not isinstance(privacy, PatientLevelPrivacy):
        return {}
    beside = study.cost_beside_training(sum(at <= state.round_number for at in study.evaluation_rounds()))

    @functools.cache
    def spent(cost: Cost, rounds: int) -> float:  # sites of equal size have spent the same
        return epsilon_of_cost(add(beside, cost, times=rounds), delta=privacy.delta)

    return {
        site: spent(cost_of(round_event(study.mechanism(site))), rounds)
        for site, rounds in state.rounds_contributed.items()
    }


def digest_of(parameters: NDArray[np.float32]) -> str:
    """``sha256:`` of the parameters' little-endian bytes."""
    return "sha256:" + hashlib.sha256(parameters.astype("<f4").tobytes()).hexdigest()
