"""The two ways to a study's sites: messages over a transport, or one object that is all of them."""

from __future__ import annotations

from aggregator.checkpoints import CheckpointStore
from aggregator.direct_rounds import DirectSites, Parameters, evaluate_directly, prepare_directly, train_directly
from aggregator.evaluation import Evaluation, evaluate_round
from aggregator.left_sums import LeavableSums
from aggregator.preparation import prepare_features
from aggregator.rounds import WeightedFold, collect_updates
from aggregator.secure_sums import SecureSums
from aggregator.statistics.study_analyses import take_statistics
from aggregator.traffic import ByteCounter, CountedTransport, Traffic
from aggregator.transport import Transport
from aggregator.witnessing import HeadKeeper
from federation.algorithms.fedavg import State
from federation.data.prepared_features import PreparedFeatures
from federation.privacy.randomness import RandomStreams
from federation.statistics.result import StudyAnalysis
from federation.study.manifest import StudyManifest


class OverAWire:
    """Sites reached with messages."""

    def __init__(
        self,
        study: StudyManifest,
        transport: Transport,
        *,
        checkpoints: CheckpointStore,
        keeper: HeadKeeper,
        streams: RandomStreams | None,
    ) -> None:
        self._study, self._checkpoints = study, checkpoints
        self._counter = ByteCounter()
        self._transport = transport = CountedTransport(transport, self._counter)
        self._keeper, self._streams = keeper, streams
        masked = study.aggregation.masked is not None
        self._sums = SecureSums(study, transport, folder=checkpoints.secure_folder) if masked else None
        self._of_rounds = None if self._sums is None else LeavableSums(self._sums, checkpoints.secure_folder)

    def prepare(self) -> PreparedFeatures | None:
        """The public map of the features, where the study pays for one."""
        return prepare_features(
            self._study, self._transport, checkpoints=self._checkpoints, keeper=self._keeper, sums=self._sums
        )

    def train(
        self, *, round_number: int, parameters: Parameters, broadcast: State, prepared: PreparedFeatures | None
    ) -> WeightedFold:
        """Train at every site, and fold what comes."""
        return collect_updates(
            self._study,
            self._transport,
            round_number=round_number,
            parameters=parameters,
            broadcast=broadcast,
            keeper=self._keeper,
            streams=self._streams,
            prepared=prepared,
            sums=self._of_rounds,
        )

    def evaluate(self, *, round_number: int, parameters: Parameters, prepared: PreparedFeatures | None) -> Evaluation:
        """How the model does after a round."""
        return evaluate_round(
            self._study,
            self._transport,
            round_number=round_number,
            parameters=parameters,
            keeper=self._keeper,
            prepared=prepared,
            sums=self._of_rounds,
        )

    def analyse(self) -> tuple[StudyAnalysis, ...]:
        """The exact statistics that the study agreed on."""
        return take_statistics(self._study, self._sums, folder=self._checkpoints.statistics_folder)

    def traffic(self) -> Traffic:
        """Bytes since the last call."""
        return self._counter.taken()


class InThisProcess:
    """Sites that are one object here."""

    def __init__(
        self,
        study: StudyManifest,
        sites: DirectSites,
        *,
        checkpoints: CheckpointStore,
        keeper: HeadKeeper,
        streams: RandomStreams | None,
    ) -> None:
        self._study, self._sites, self._checkpoints = study, sites, checkpoints
        self._keeper, self._streams = keeper, streams

    def prepare(self) -> PreparedFeatures | None:
        """The public map of the features, where the study pays for one."""
        return prepare_directly(self._study, self._sites, checkpoints=self._checkpoints, keeper=self._keeper)

    def train(
        self, *, round_number: int, parameters: Parameters, broadcast: State, prepared: PreparedFeatures | None
    ) -> WeightedFold:
        """Train at every site, and fold what comes."""
        return train_directly(
            self._study,
            self._sites,
            round_number=round_number,
            parameters=parameters,
            broadcast=broadcast,
            streams=self._streams,
            prepared=prepared,
        )

    def evaluate(self, *, round_number: int, parameters: Parameters, prepared: PreparedFeatures | None) -> Evaluation:
        """How the model does after a round."""
        return evaluate_directly(
            self._study, self._sites, round_number=round_number, parameters=parameters, prepared=prepared
        )

    def analyse(self) -> tuple[StudyAnalysis, ...]:
        """None: statistics are masked, and sites that are one object here mask nothing."""
        return ()

    def traffic(self) -> Traffic:
        """None: there are no messages."""
        return Traffic()


Reached = OverAWire | InThisProcess


def reach(
    study: StudyManifest,
    sites: Transport | DirectSites,
    *,
    checkpoints: CheckpointStore,
    keeper: HeadKeeper,
    streams: RandomStreams | None,
) -> Reached:
    """The way to a study's sites."""
    if isinstance(sites, DirectSites):
        return InThisProcess(study, sites, checkpoints=checkpoints, keeper=keeper, streams=streams)
    return OverAWire(study, sites, checkpoints=checkpoints, keeper=keeper, streams=streams)
