"""One seed of a simulation: the federated study, the same without privacy, and the references."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.direct_rounds import DirectSites
from aggregator.tracking import NullTracker, Tracker
from aggregator.transport import Transport
from experiments.baselines import Parameters, ReferenceTraining
from experiments.composition import with_local_noise, without_privacy
from experiments.engines.batched.coverage import reason_against_batching
from experiments.engines.batched.run import run_batched
from experiments.engines.with_agents import run_with_agents
from experiments.observing import held_out_loss, observer
from experiments.phases import PhaseClock
from experiments.predictions import SitePredictions
from experiments.preparation import PreparedSites, with_prepared_features
from experiments.settings import BatchedEngine, InlineEngine, SimulationSettings
from experiments.summary import FEDERATED_AT_POOLED, POOLED_AT_SITES
from federation.models.parameters import load
from federation.privacy.audit_result import AuditResult
from federation.privacy.promise import NoPrivacy
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult, StudyResult
from site_client.evaluation import compared_outcomes, predict
from site_client.patients import SiteData
from site_client.site_folder import SiteFolder

_LOG: Final = logging.getLogger("cohortium.simulation")

Report = Callable[[str, RoundResult | None], None]
"""Called as work goes on: what is being trained, and the round just finished if it has rounds."""


@dataclass(frozen=True)
class RunOutcome:
    """What one seed produced.

    Args:
        seed: The seed.
        manifest: Of the federated study.
        result: Of the federated study.
        predictions: Setting to the predictions of every site's test patients.
    """

    seed: int
    manifest: StudyManifest
    result: StudyResult
    predictions: Mapping[str, tuple[SitePredictions, ...]] = field(repr=False)


@dataclass(frozen=True)
class SeedRun:
    """One seed's preparation, outcome and tracker."""

    prepared: PreparedSites
    outcome: RunOutcome
    tracker: Tracker
    audits: tuple[AuditResult, ...] = ()
    """Within the claim: a run whose audit refutes it ends before this."""


def run_seed(
    settings: SimulationSettings,
    sites: PreparedSites,
    *,
    seed: int,
    folder: Path,
    tracker: Tracker,
    streams: RandomStreams,
    report: Report,
    phases: PhaseClock,
) -> RunOutcome:
    """Run the federated study and its references for one seed.

    Args:
        settings: The simulation's settings.
        sites: The prepared sites.
        seed: The run's seed.
        folder: Where the run keeps its state; a run that was interrupted continues from it.
        tracker: Records the federated study.
        streams: Randomness of the references.
        report: Progress.
        phases: Measures how long what takes.

    Raises:
        StudyError: If the study cannot go on.
    """
    manifest = sites.manifest
    with phases.phase("training"):
        result = federate(
            settings, sites, manifest, seed=seed, folder=folder / "federated", tracker=tracker, report=report
        )
    sites = with_prepared_features(sites, result.prepared, folder=folder / "prepared")
    training = ReferenceTraining(manifest=manifest, sites=sites.data, streams=streams)
    with phases.phase("report"):
        predictions = _of_federated(training.model(), sites, result.parameters, manifest)
    with phases.phase("references"):
        predictions |= _references(settings, sites, training, seed=seed, folder=folder, streams=streams, report=report)
    return RunOutcome(seed=seed, manifest=manifest, result=result, predictions=predictions)


def _of_federated(
    model: nn.Module, sites: PreparedSites, parameters: Parameters, manifest: StudyManifest
) -> dict[str, tuple[SitePredictions, ...]]:
    predictions = {"federated": _predict_all(model, parameters, sites.data, manifest)}
    if sites.pooled_data is not sites.data:
        predictions[FEDERATED_AT_POOLED] = _predict_all(model, parameters, sites.pooled_data, manifest)
    return predictions


def _references(
    settings: SimulationSettings,
    sites: PreparedSites,
    training: ReferenceTraining,
    *,
    seed: int,
    folder: Path,
    streams: RandomStreams,
    report: Report,
) -> dict[str, tuple[SitePredictions, ...]]:
    """What the models that the study's is compared with say about every test patient, by training setting."""
    manifest = sites.manifest
    model = training.model()
    predictions: dict[str, tuple[SitePredictions, ...]] = {}
    wanted = settings.baselines
    if wanted.non_private and not isinstance(manifest.privacy, NoPrivacy):
        plain = federate(
            settings,
            sites,
            without_privacy(manifest),
            seed=seed,
            folder=folder / "federated_non_private",
            tracker=NullTracker(),
            report=lambda _, result: report("federated without privacy", result),
        )
        predictions["federated_non_private"] = _predict_all(model, plain.parameters, sites.data, manifest)
    if wanted.distributed and manifest.noise_share() is not None:
        local = federate(
            settings,
            sites,
            with_local_noise(manifest),
            seed=seed,
            folder=folder / "federated_local_noise",
            tracker=NullTracker(),
            report=lambda _, result: report("federated with noise at every site", result),
        )
        predictions["federated_local_noise"] = _predict_all(model, local.parameters, sites.data, manifest)
        report("pooled DP-SGD", None)
        predictions["pooled_private"] = _predict_all(model, training.pooled_private(), sites.data, manifest)
    if wanted.local_only:
        report("each site alone", None)
        predictions["local_only"] = tuple(
            _predict(model, training.local_only(site), site, manifest) for site in sites.data
        )
    if wanted.cyclic:
        report("cyclic", None)
        predictions["cyclic"] = _predict_all(model, training.cyclic(), sites.data, manifest)
    if wanted.pooled.enabled:
        report("pooled", None)
        pooled = ReferenceTraining(manifest=manifest, sites=sites.pooled_data, streams=streams)
        parameters = pooled.pooled(wanted.pooled)
        predictions["pooled"] = _predict_all(model, parameters, sites.pooled_data, manifest)
        if sites.pooled_data is not sites.data:
            predictions[POOLED_AT_SITES] = _predict_all(model, parameters, sites.data, manifest)
    return predictions


def federate(
    settings: SimulationSettings,
    sites: PreparedSites,
    manifest: StudyManifest,
    *,
    seed: int,
    folder: Path,
    tracker: Tracker,
    report: Report,
) -> StudyResult:
    """Run one federated study with the chosen engine."""
    checkpoints = CheckpointStore(folder / "coordinator", study=manifest.digest)

    def coordinate(transport: Transport | DirectSites, checkpoints: CheckpointStore = checkpoints) -> StudyResult:
        return run_study(
            manifest,
            transport,
            tracker,
            checkpoints=checkpoints,
            clock=time.monotonic,
            on_round=lambda result: report("federated", result),
            observe=observer(sites, manifest),
            held_out=held_out_loss(sites, manifest),
            streams=seeded_streams(seed, provenance=manifest.cohort.provenance) if settings.seeded else None,
        )

    engine = settings.engine
    if isinstance(engine, BatchedEngine):
        reason = reason_against_batching(manifest)
        if reason is None:
            key = seed if settings.seeded else None
            return run_batched(manifest, sites.data, coordinate, engine=engine, seed=key, folder=folder)
        _LOG.warning("engine inline instead of batched: %s", reason)
        engine = InlineEngine(kind="inline")
    return run_with_agents(
        engine, coordinate, _site_folders(settings, sites, manifest, seed=seed, folder=folder), folder
    )


def _site_folders(
    settings: SimulationSettings, sites: PreparedSites, manifest: StudyManifest, *, seed: int, folder: Path
) -> dict[str, SiteFolder]:
    return {
        site: SiteFolder.create(
            folder / "sites" / site,
            site=site,
            manifest=manifest,
            patients=path,
            seed=seed if settings.seeded else None,
            identity=sites.identities.get(site),
        )
        for site, path in sites.patient_files.items()
    }


def _predict_all(
    model: nn.Module, parameters: Parameters, sites: tuple[SiteData, ...], manifest: StudyManifest
) -> tuple[SitePredictions, ...]:
    return tuple(_predict(model, parameters, site, manifest) for site in sites)


def _predict(
    model: nn.Module, parameters: NDArray[np.float32], site: SiteData, manifest: StudyManifest
) -> SitePredictions:
    load(model, parameters)
    return SitePredictions(
        site=site.site,
        scores=predict(model, site.test, task=manifest.objective),
        outcomes=compared_outcomes(site.test),
        patient_index=site.test.patient_index,
    )
