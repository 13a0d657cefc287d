"""One run of a rehearsal: a study on generated patients, with the inline engine, for one epsilon or without privacy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import nn

from aggregator.report.vocabulary import PRIMARY_METRIC, metric_of
from aggregator.tracking import NullTracker
from experiments.baselines import Parameters
from experiments.composition import without_privacy
from experiments.identities import with_own_identities
from experiments.point_metrics import point_metrics
from experiments.predictions import SitePredictions, joined, scored
from experiments.preparation import PreparedSites
from experiments.privacy_plan.planning import beside_training
from experiments.settings import InlineEngine, SimulationSettings, StudyChoice, TrackingChoice
from experiments.study_run import federate
from federation.data.encoding import decode_outcome
from federation.errors import NonFiniteModelError, QuorumError
from federation.models.parameters import load
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.privacy.promise import NoPrivacy, PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from federation.study.network import network_of
from federation.study.result import RoundResult
from site_client.evaluation import compared_outcomes, predict
from site_client.patients import SiteData
from site_client.site_folder import write_patients

OnRound = Callable[[RoundResult | None], None]


def rehearsed(manifest: StudyManifest, *, epsilon: float | None) -> StudyManifest:
    """The study as it is rehearsed: on synthetic patients, with noise for another epsilon, nothing released on the way.

    Args:
        manifest: A study of patient-level privacy.
        epsilon: ``None``: without privacy.

    Raises:
        PrivacyRefusedError: If no noise keeps this epsilon, since what is released beside training spends it.
    """
    cohort = manifest.cohort.model_copy(update={"provenance": "synthetic"})
    schedule = manifest.schedule.model_copy(update={"evaluate_every": manifest.schedule.rounds})
    # What evaluations and preparation cost is set aside in the calibration; the rehearsal itself looks at its own test
    # patients directly, and patients drawn from the contract fill its ranges.
    evaluation = manifest.evaluation.model_copy(update={"release": "none", "noise": None})
    changed = manifest.model_copy(
        update={
            "cohort": cohort,
            "schedule": schedule,
            "evaluation": evaluation,
            "preparation": None,
            "expires": None,
        }
    )
    privacy = manifest.privacy
    if epsilon is None or not isinstance(privacy, PatientLevelPrivacy):
        return without_privacy(changed)
    noise = calibrate_noise_multiplier(
        epsilon=epsilon,
        delta=privacy.delta,
        sampling_numerator=privacy.sampling_numerator,
        steps=schedule.local_steps,
        rounds=schedule.rounds,
        beside=beside_training(manifest),
    )
    promise = privacy.model_copy(update={"epsilon": epsilon, "noise_multiplier": noise})
    return StudyManifest.from_data(changed.model_copy(update={"privacy": promise}).as_data())


def held_out_metric(
    manifest: StudyManifest, sites: tuple[SiteData, ...], *, seed: int, on_round: OnRound
) -> float | str:
    """Run the study and measure its primary metric on all sites' held-out patients.

    Args:
        manifest: From :func:`rehearsed`.
        sites: Generated patients, by roster.
        seed: Of sampling and noise, in the seeded test mode: nobody has to be protected.
        on_round: Progress.

    Returns:
        The metric, or why there is none.

    Raises:
        StudyError: If the study cannot go on, unless training diverges or the sites refuse.
    """
    with tempfile.TemporaryDirectory(prefix="cohortium-rehearsal-") as name:
        folder = Path(name)
        files = {site.site: folder / "patients" / f"{site.site}.safetensors" for site in sites}
        for site in sites:
            write_patients(files[site.site], site)
        study, identities = with_own_identities(manifest, folder / "patients", seed=seed)
        prepared = PreparedSites(
            manifest=study,
            data=sites,
            pooled_data=sites,
            attrition={},
            readiness={},
            patient_files=files,
            identities=identities,
        )
        try:
            result = federate(
                rehearsal_settings(manifest, seeds=(seed,)),
                prepared,
                study,
                seed=seed,
                folder=folder / "run",
                tracker=NullTracker(),
                report=lambda _, done: on_round(done),
            )
        except (NonFiniteModelError, QuorumError) as failure:  # a site refuses to send what is not finite
            return f"stopped with seed {seed}: {failure.message}"
    return _held_out(manifest, sites, result.parameters)


def rehearsal_settings(manifest: StudyManifest, *, seeds: tuple[int, ...]) -> SimulationSettings:
    """How a rehearsal is run: inline, seeded, untracked."""
    return SimulationSettings(
        study=StudyChoice(name=manifest.study),
        model=manifest.model,
        privacy=NoPrivacy(kind="none"),  # the manifest decides, the settings only say how it is run
        algorithm=manifest.algorithm,
        schedule=manifest.schedule,
        engine=InlineEngine(kind="inline"),
        tracking=TrackingChoice(kind="none"),
        seeds=seeds,
        seeded=True,
    )


def _held_out(manifest: StudyManifest, sites: tuple[SiteData, ...], parameters: Parameters) -> float | str:
    """The primary metric over all sites' held-out patients."""
    model = network_of(manifest, num_features=len(sites[0].test.feature_names), private=False)
    load(model, parameters)
    scores = (scored(manifest.objective, _predictions(manifest, site, model)) for site in sites)
    name = PRIMARY_METRIC[manifest.task]
    return point_metrics(joined(tuple(scores))).get(
        name, f"{metric_of(name).title} is not defined on so few generated test patients"
    )


def _predictions(manifest: StudyManifest, site: SiteData, model: nn.Module) -> SitePredictions:
    """Predictions and outcomes, of a regression in the outcome's own unit."""
    predicted, outcomes = predict(model, site.test, task=manifest.objective), compared_outcomes(site.test)
    if manifest.task == "regression":
        predicted, outcomes = (decode_outcome(manifest.contract, values) for values in (predicted, outcomes))
    return SitePredictions(site=site.site, scores=predicted, outcomes=outcomes, patient_index=site.test.patient_index)
