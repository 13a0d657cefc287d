"""Rounds under secure aggregation: the same questions as in the open, and one sum for an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.folding import WeightedFold
from aggregator.left_sums import LeavableSums, LeftSum
from aggregator.sum_requests import OpenedSum, SumRequest
from aggregator.witnessing import HeadKeeper
from federation.errors import InternalError, TransportError
from federation.privacy.distributed import NoiseShare
from federation.privacy.events import PrivacyEvent
from federation.privacy.promise import PatientLevelPrivacy
from federation.protocol.messages import (
    Arrays,
    Envelope,
    EvaluateReply,
    EvaluateRequest,
    PrepareReply,
    PrepareRequest,
    Request,
    TrainReply,
    TrainRequest,
)
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.terms import KeyBatch
from federation.study.manifest import StudyManifest
from federation.study.masked_spec import statistics_encoding
from federation.study.secure_sums import purpose_of, split_statistics, statistic_lengths

FloatArray = NDArray[np.float64]


def sum_updates(
    study: StudyManifest,
    sums: LeavableSums,
    *,
    round_number: int,
    arrays: Arrays,
    num_parameters: int,
    keeper: HeadKeeper,
) -> WeightedFold:
    """Ask every site to train, and open the weighted sum of the updates.

    A sum that nobody can open any more is left: then there is no update, and the fold says why.

    Args:
        study: With secure aggregation.
        sums: Its secure sums.
        round_number: From 1.
        arrays: What every site receives.
        num_parameters: D.
        keeper: Witnesses the ledgers of a private study.

    Raises:
        QuorumError: If no attempt had enough survivors.
    """
    spec = study.aggregation.masked
    if spec is None:
        raise InternalError("expected a study with secure aggregation")
    share, digest = study.noise_share(), study.digest
    opened = sums.sum(
        SumRequest(
            purpose="train",
            round_number=round_number,
            layout=Layout(updates=num_parameters, update_bits=spec.update_bits)
            if share is None
            else Layout(updates=0, statistics=num_parameters),
            content=Envelope(TrainRequest(study=digest, site=study.roster[0].site, round_number=round_number), arrays),
            envelope_for=lambda site, batch: Envelope(
                TrainRequest(
                    study=digest,
                    site=site,
                    round_number=round_number,
                    witnessed=keeper.witnessed(site),
                    batch=batch,
                ),
                arrays,
            ),
            accept=lambda site, envelope: _accept_update(study, keeper, site, envelope, round_number=round_number),
            keeper=keeper,
        )
    )
    fold = WeightedFold(num_parameters)
    if isinstance(opened, LeftSum):
        fold.unopened, fold.dropouts = opened.reason, dict(opened.dropouts)
        fold.exclusions = dict.fromkeys(opened.survivors, "its sum was never opened")
        return fold
    if share is not None:
        total = opened.total.statistics.view(np.int64).astype(np.float64)
        update = private_step(study, share, total, survivors=opened.survivors, round_number=round_number)
        fold.sums = {"update": update}
        return _folded(fold, study, opened, total_weight=1.0)
    encoding = spec.updates(sum(int(entry.weight) for entry in study.roster), sites=len(study.roster))
    fold.sums = {"update": encoding.decode(opened.total.updates)}
    inside = set(opened.survivors)
    weight = sum(entry.weight for entry in study.roster if entry.site in inside)
    return _folded(fold, study, opened, total_weight=float(weight))


def private_step(
    study: StudyManifest,
    share: NoiseShare | None,
    total: FloatArray,
    *,
    survivors: Sequence[str],
    round_number: int,
) -> FloatArray:
    """One step of DP-SGD over the patients of the sites in a sum.

    Args:
        study: With distributed privacy.
        share: Its grid and noise.
        total: ``[D]`` whole grid steps: gradients and noise of all survivors.
        survivors: Sites in the sum.
        round_number: From 1; sets the learning rate.

    Returns:
        ``[D]`` float64: what is added to the parameters.
    """
    privacy = study.privacy
    if not isinstance(privacy, PatientLevelPrivacy) or share is None:
        raise InternalError("expected a private study with noise in shares")
    divisor = sum(study.mechanism(site).divisor for site in survivors)
    gradient = share.mean(total, clipping_norm=privacy.clipping_norm, divisor=divisor)
    return -study.schedule.learning_rate_of(round_number) * gradient


def _folded(fold: WeightedFold, study: StudyManifest, opened: OpenedSum, *, total_weight: float) -> WeightedFold:
    inside = set(opened.survivors)
    fold.contributors = [entry.site for entry in study.roster if entry.site in inside]
    fold.total_weight = total_weight
    fold.dropouts = {site: reason for site, reason in opened.dropouts.items() if site not in inside}
    return fold


def _accept_update(
    study: StudyManifest, keeper: HeadKeeper, site: str, envelope: Envelope, *, round_number: int
) -> None:
    header = envelope.header
    if not isinstance(header, TrainReply) or header.round_number != round_number:
        raise TransportError(f"expected the masked update of round {round_number}, got {header.kind}")
    if header.event != study.training_event():
        raise TransportError(f"expected site {site} to report the mechanism of the manifest, got another")
    if isinstance(study.privacy, PatientLevelPrivacy):
        keeper.accept(site, header.head)


def statistics_request(
    study: StudyManifest,
    *,
    round_number: int,
    arrays: Arrays,
    keeper: HeadKeeper,
    request_for: Callable[[str, KeyBatch | None], Request],
    event: PrivacyEvent | None,
) -> SumRequest:
    """What an exact sum of every site's statistics is of.

    Args:
        study: With secure aggregation.
        round_number: 0 for preparation.
        arrays: What every site receives.
        keeper: Witnesses the ledgers that are charged.
        request_for: (site, batch of keys) to the header of its request.
        event: What every reply must have been charged; ``None``: nothing.
    """
    example = request_for(study.roster[0].site, None)
    purpose = purpose_of(example)

    def accept(site: str, envelope: Envelope) -> None:
        header = envelope.header
        fits = isinstance(header, PrepareReply) or (
            isinstance(header, EvaluateReply) and header.round_number == round_number
        )
        if not fits or not isinstance(header, EvaluateReply | PrepareReply) or header.event != event:
            raise TransportError(f"expected masked statistics under the manifest's noise, got {header.kind} or another")
        if event is not None:
            keeper.accept(site, header.head)

    return SumRequest(
        purpose=purpose,
        round_number=round_number,
        layout=Layout(updates=0, statistics=sum(statistic_lengths(study, purpose).values())),
        content=Envelope(example, arrays),
        envelope_for=lambda site, batch: Envelope(request_for(site, batch), arrays),
        accept=accept,
        keeper=keeper,
    )


def opened_statistics(study: StudyManifest, purpose: str, opened: OpenedSum) -> Mapping[str, FloatArray]:
    """The sum under the names of its arrays.

    Args:
        study: With secure aggregation.
        purpose: As in the sum's request.
        opened: The sum.
    """
    return split_statistics(study, purpose, statistics_encoding(len(study.roster)).decode(opened.total.statistics))


def evaluate_request(study: StudyManifest, keeper: HeadKeeper, round_number: int) -> Callable[..., EvaluateRequest]:
    """Headers of a round's requests for evaluation."""
    digest = study.digest
    return lambda site, batch: EvaluateRequest(
        study=digest, site=site, round_number=round_number, witnessed=keeper.witnessed(site), batch=batch
    )


def prepare_request(study: StudyManifest, keeper: HeadKeeper) -> Callable[..., PrepareRequest]:
    """Headers of the requests for preparation."""
    digest = study.digest
    return lambda site, batch: PrepareRequest(study=digest, site=site, witnessed=keeper.witnessed(site), batch=batch)
