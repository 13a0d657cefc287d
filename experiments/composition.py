"""From the settings of a simulation and a named study to the manifest that its sites agree on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Final

from experiments.robust_choice import compose_aggregation
from experiments.settings import PatientLevelChoice, SimulationSettings, SiteLevelChoice
from experiments.studies.catalogue import StudyDefinition
from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.data.preparation import PreparationSpec, sensitivity_squared
from federation.errors import ConfigurationError
from federation.privacy.accounting import NOTHING, add, cost_of
from federation.privacy.calibration import calibrate_noise_multiplier, calibrate_variance, sampling_numerator_of
from federation.privacy.events import PROBABILITY_DENOMINATOR, DiscreteGaussian
from federation.privacy.promise import NoPrivacy, PatientLevelPrivacy, PrivacySpec, SiteLevelPrivacy
from federation.study.agreements import EvaluationNoise, EvaluationSpec, RosterSite
from federation.study.manifest import StudyManifest
from federation.study.schedule import Schedule

_PINNED: Final = ("cohortium", "torch", "numpy", "opacus", "flwr")
_EXACT_BINS: Final = 200
_PAID_BINS: Final = 20
"""Every bin has noise of its own, so finer bins lose more to noise than they gain in resolution."""


def compose_cohort(settings: SimulationSettings, definition: StudyDefinition, *, seed: int) -> CohortDefinition:
    """The study's cohort definition with the settings' changes.

    Raises:
        ManifestError: If a criterion does not fit the contract.
    """
    changes = {name: value for name, value in settings.cohort if value is not None}
    cohort = definition.cohort.model_copy(update=changes)
    if settings.resplit:
        cohort = cohort.model_copy(update={"split_key": f"{cohort.split_key}/{seed}"})
    cohort = CohortDefinition.from_data(cohort.as_data())
    cohort.check_against(definition.contract)
    return cohort


def compose_schedule(settings: SimulationSettings) -> Schedule:
    """The schedule with the evaluation's own interval: every paid evaluation costs, so by default there is only the last."""
    every = settings.evaluation.every
    if every is None and is_paid(settings):
        every = settings.schedule.rounds
    return settings.schedule if every is None else settings.schedule.model_copy(update={"evaluate_every": every})


def is_paid(settings: SimulationSettings) -> bool:
    """Whether evaluation is paid for. A private study releases no exact sums, on whatever records it is simulated."""
    return isinstance(settings.privacy, PatientLevelChoice) and settings.evaluation.release != "none"


def compose_evaluation(settings: SimulationSettings) -> EvaluationSpec:
    """What is released about performance, with the noise of a private study calibrated to its share of epsilon.

    Raises:
        PrivacyRefusedError: If no noise keeps evaluation within its share.
    """
    choice, privacy = settings.evaluation, settings.privacy
    # Under secure aggregation nobody sees a site's own figures: the sum is all there is.
    is_hidden = settings.aggregation.mode == "masked" and choice.release == "per_site"
    release = "sum" if is_hidden else choice.release
    if isinstance(privacy, SiteLevelChoice):
        return EvaluationSpec(release="none")  # a site's sums would tell whether it took part
    if not isinstance(privacy, PatientLevelChoice) or choice.release == "none":
        return EvaluationSpec(release=release, score_bins=choice.score_bins or _EXACT_BINS)
    noise = EvaluationNoise(
        variance=1, max_records_per_patient=choice.max_records_per_patient, subgroups=choice.subgroups
    )
    variance = calibrate_variance(
        epsilon=choice.share * privacy.epsilon,
        delta=privacy.delta,
        sensitivity_squared=noise.sensitivity_squared,
        releases=_evaluations(settings),
    )
    return EvaluationSpec(
        release=release,
        score_bins=choice.score_bins or _PAID_BINS,
        noise=noise.model_copy(update={"variance": variance}),
    )


def _evaluations(settings: SimulationSettings) -> int:
    """As ``StudyManifest.evaluation_rounds`` counts them: every so many rounds, and after the last."""
    schedule = compose_schedule(settings)
    return -(-schedule.rounds // schedule.evaluate_every)


def compose_preparation(settings: SimulationSettings, contract: DataContract) -> PreparationSpec | None:
    """What is counted before round 1, with noise calibrated to its share of epsilon; ``None`` if it is not switched on.

    Raises:
        ConfigurationError: If the study is not of patient-level privacy: nobody pays for it then.
        ManifestError: If a variable does not fit the contract.
        PrivacyRefusedError: If no noise keeps preparation within its share.
    """
    choice, privacy = settings.preparation, settings.privacy
    if not choice.enabled:
        return None
    if not isinstance(privacy, PatientLevelChoice):
        raise ConfigurationError(
            f"expected privacy=patient_level with preparation.enabled=true, got privacy={privacy.kind}: preparation is a "
            "release that the patients' ledger pays for",
            remedy="choose privacy=patient_level, or preparation.enabled=false",
        )
    fields = {name: value for name, value in choice if name not in {"enabled", "share"}}
    spec = PreparationSpec(variance=1, **fields)
    variance = calibrate_variance(
        epsilon=choice.share * privacy.epsilon,
        delta=privacy.delta,
        sensitivity_squared=sensitivity_squared(spec, contract),
        releases=1,
    )
    return spec.model_copy(update={"variance": variance})


def compose_privacy(
    settings: SimulationSettings,
    evaluation: EvaluationSpec,
    *,
    preparation: PreparationSpec | None = None,
    contract: DataContract | None = None,
) -> PrivacySpec:
    """The promise, with the noise multiplier calibrated to all rounds beside what evaluation and preparation cost.

    Args:
        settings: Of the simulation.
        evaluation: From :func:`compose_evaluation`.
        preparation: From :func:`compose_preparation`.
        contract: Of the study; needed with a preparation.

    Raises:
        PrivacyRefusedError: If no noise multiplier keeps the promise.
    """
    choice = settings.privacy
    if isinstance(choice, SiteLevelChoice):
        noise_multiplier = calibrate_noise_multiplier(
            epsilon=choice.epsilon,
            delta=choice.delta,
            sampling_numerator=PROBABILITY_DENOMINATOR,
            steps=1,
            rounds=settings.schedule.rounds,
        )
        return SiteLevelPrivacy(**dict(choice), noise_multiplier=noise_multiplier)
    if not isinstance(choice, PatientLevelChoice):
        return choice
    numerator = sampling_numerator_of(choice.sampling_probability)
    noise, beside = evaluation.noise, NOTHING
    if noise is not None:
        event = DiscreteGaussian(sensitivity_squared=noise.sensitivity_squared, variance=noise.variance)
        beside = add(NOTHING, cost_of(event), times=_evaluations(settings))
    if preparation is not None and contract is not None:
        beside = add(beside, cost_of(preparation.event(contract)))
    return PatientLevelPrivacy(
        kind="patient_level",
        epsilon=choice.epsilon,
        delta=choice.delta,
        clipping_norm=choice.clipping_norm,
        sampling_numerator=numerator,
        noise=choice.noise,
        noise_multiplier=calibrate_noise_multiplier(
            epsilon=choice.epsilon,
            delta=choice.delta,
            sampling_numerator=numerator,
            steps=settings.schedule.local_steps,
            rounds=settings.schedule.rounds,
            beside=beside,
        ),
    )


def compose_manifest(
    settings: SimulationSettings,
    definition: StudyDefinition,
    *,
    cohort: CohortDefinition,
    training_patients: Mapping[str, int],
    seed: int,
    public_keys: Mapping[str, str] | None = None,
) -> StudyManifest:
    """The manifest of one run.

    Args:
        settings: The simulation's settings.
        definition: The named study.
        cohort: From :func:`compose_cohort`.
        training_patients: Public number of training patients by site.
        public_keys: Identity of every site; secure aggregation needs them.
        seed: The run's seed; it becomes the public seed of the initial parameters unless the settings name one.

    Raises:
        ManifestError: If the parts do not fit together.
        ConfigurationError: If quorum or robust rule do not fit the number of sites.
        PrivacyRefusedError: If no noise keeps the promise.
    """
    aggregation = compose_aggregation(settings.aggregation, tuple(training_patients))
    compression = settings.compression.agreed()
    evaluation = compose_evaluation(settings)
    preparation = compose_preparation(settings, definition.contract)
    privacy = compose_privacy(settings, evaluation, preparation=preparation, contract=definition.contract)
    is_uniform = settings.aggregation.weights == "uniform" or isinstance(settings.privacy, SiteLevelChoice)
    roster = tuple(
        RosterSite(
            site=site,
            weight=1.0 if is_uniform else float(number),
            training_patients=number,
            public_key=(public_keys or {}).get(site),
        )
        for site, number in training_patients.items()
    )
    return StudyManifest.from_data(
        {
            "study": definition.name,
            "title": definition.title,
            "question": definition.question,
            "data_licence": definition.data_licence,
            "contract": definition.contract.as_data(),
            "cohort": cohort.as_data(),
            "preprocessing": settings.preprocessing,
            "task": definition.task,
            "task_terms": None if definition.task_terms is None else definition.task_terms.as_data(),
            "model": settings.model.as_data(),
            "schedule": compose_schedule(settings).as_data(),
            "algorithm": settings.algorithm.as_data(),
            "privacy": privacy.as_data(),
            "preparation": None if preparation is None else preparation.as_data(),
            "aggregation": aggregation.as_data(),
            "compression": None if compression is None else compression.as_data(),
            "evaluation": evaluation.as_data(),
            "roster": [entry.as_data() for entry in roster],
            "initial_seed": seed if settings.initial_seed is None else settings.initial_seed,
            "software": versions(),
        }
    )


def without_privacy(manifest: StudyManifest) -> StudyManifest:
    """The same federation without privacy; its evaluations are exact and cost nothing, and nothing is prepared."""
    evaluation = manifest.evaluation.model_copy(update={"noise": None})
    return manifest.model_copy(
        update={"privacy": NoPrivacy(kind="none"), "evaluation": evaluation, "preparation": None}
    )


def with_local_noise(manifest: StudyManifest) -> StudyManifest:
    """The same steps, with all of the noise at every site instead of a share; what was prepared stays prepared."""
    privacy = manifest.privacy.model_copy(update={"noise": "local"})
    evaluation = manifest.evaluation.model_copy(update={"release": "none", "noise": None})
    changed = manifest.model_copy(update={"privacy": privacy, "evaluation": evaluation, "preparation": None})
    return StudyManifest.from_data(changed.as_data())


def versions() -> dict[str, str]:
    """Versions of what can change the numbers."""
    found: dict[str, str] = {}
    for name in _PINNED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
