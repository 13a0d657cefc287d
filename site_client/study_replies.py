"""Replies of an agent that need no memory: what a round of training must hold, exact metrics, the counts of preparation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from torch import nn

from federation.algorithms.fedavg import FederatedAveraging, LocalRound, State
from federation.data.preparation import PreparationSpec
from federation.data.prepared_features import PreparedFeatures
from federation.privacy.events import PrivacyEvent
from federation.protocol.messages import Envelope, EvaluateReply, PrepareReply
from federation.study.manifest import StudyManifest
from site_client.evaluation import evaluate
from site_client.paid_evaluation import release_counts
from site_client.paid_preparation import prepared_dataset, release_preparation
from site_client.patients import SiteData

SUM = "sum"
"""Array of a training reply of distributed privacy: whole grid steps. All others have an ``update``."""


def prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under ``prefix/name``, as float64."""
    return {f"{prefix}/{name}": np.asarray(array, dtype=np.float64) for name, array in arrays.items()}


def training_lengths(
    manifest: StudyManifest, algorithm: FederatedAveraging, *, size: int, received: State, site: State
) -> dict[str, int]:
    """Name to length of every array that a reply to training must have.

    Args:
        manifest: Of the study.
        algorithm: What it sends beside the update.
        size: D.
        received: What the algorithm broadcast.
        site: The site's state before its first round.
    """
    if manifest.noise_share() is not None:
        return {SUM: size}
    nothing = LocalRound(update=np.zeros(size), num_steps=1, learning_rate=1.0)
    sent, _ = algorithm.finish_site(nothing, received=received, site=site)
    return {"update": size} | {f"algorithm/{name}": size for name in sent}


def exact_metrics(
    model: nn.Module, data: SiteData, *, manifest: StudyManifest, round_number: int, prepared: PreparedFeatures | None
) -> Envelope:
    """Additive metrics of the test patients, without noise: not in a private study.

    Raises:
        InvalidInputError: If a score is not finite.
    """
    sums = evaluate(
        model,
        prepared_dataset(data.test, prepared),
        task=manifest.objective,
        score_bins=manifest.evaluation.score_bins,
    )
    return Envelope(
        EvaluateReply(study=manifest.digest, site=data.site, round_number=round_number),
        prefixed("metrics", sums.to_arrays()),
    )


def paid_counts_reply(
    model: nn.Module,
    data: SiteData,
    *,
    manifest: StudyManifest,
    round_number: int,
    prepared: PreparedFeatures | None,
    generator: Generator,
) -> Envelope:
    """The noisy counts of a paid evaluation of the test patients."""
    counts = release_counts(model, data.test, manifest=manifest, generator=generator, prepared=prepared)
    header = EvaluateReply(
        study=manifest.digest, site=data.site, round_number=round_number, event=manifest.evaluation_event()
    )
    return Envelope(header, prefixed("counts", counts))


def preparation_counts_reply(
    data: SiteData, *, manifest: StudyManifest, spec: PreparationSpec, event: PrivacyEvent, generator: Generator
) -> Envelope:
    """The noisy counts of preparation, charged as ``event``."""
    counts = release_preparation(data.training, spec=spec, contract=manifest.contract, generator=generator)
    return Envelope(PrepareReply(study=manifest.digest, site=data.site, event=event), counts)
