"""From the settings of a simulation and a named study to the manifest that its sites agree on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Final

from experiments.settings import PatientLevelChoice, SimulationSettings
from experiments.studies.catalogue import StudyDefinition
from federation.data.cohort import CohortDefinition
from federation.errors import ConfigurationError
from federation.privacy.calibration import calibrate_noise_multiplier, sampling_numerator_of
from federation.privacy.promise import NoPrivacy, PatientLevelPrivacy, PrivacySpec
from federation.study.manifest import AggregationSpec, RosterSite, StudyManifest

_PINNED: Final = ("cohortium", "torch", "numpy", "opacus", "flwr")


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


def compose_privacy(settings: SimulationSettings) -> PrivacySpec:
    """The promise, with the noise multiplier calibrated to the whole study's steps."""
    choice = settings.privacy
    if not isinstance(choice, PatientLevelChoice):
        return choice
    numerator = sampling_numerator_of(choice.sampling_probability)
    return PatientLevelPrivacy(
        kind="patient_level",
        epsilon=choice.epsilon,
        delta=choice.delta,
        clipping_norm=choice.clipping_norm,
        sampling_numerator=numerator,
        noise_multiplier=calibrate_noise_multiplier(
            epsilon=choice.epsilon,
            delta=choice.delta,
            sampling_numerator=numerator,
            steps=settings.schedule.local_steps,
            rounds=settings.schedule.rounds,
        ),
    )


def compose_manifest(
    settings: SimulationSettings,
    definition: StudyDefinition,
    *,
    cohort: CohortDefinition,
    training_patients: Mapping[str, int],
    seed: int,
) -> StudyManifest:
    """The manifest of one run.

    Args:
        settings: The simulation's settings.
        definition: The named study.
        cohort: From :func:`compose_cohort`.
        training_patients: Public number of training patients by site.
        seed: The run's seed; it becomes the public seed of the initial parameters unless the settings name one.

    Raises:
        ManifestError: If the parts do not fit together.
        ConfigurationError: If the quorum exceeds the number of sites.
    """
    quorum = settings.aggregation.quorum or len(training_patients)
    if quorum > len(training_patients):
        raise ConfigurationError(
            f"expected aggregation.quorum of at most the study's {len(training_patients)} sites, got {quorum}",
            remedy="lower aggregation.quorum",
        )
    is_uniform = settings.aggregation.weights == "uniform"
    roster = tuple(
        RosterSite(site=site, weight=1.0 if is_uniform else float(number), training_patients=number)
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
            "model": settings.model.as_data(),
            "schedule": settings.schedule.as_data(),
            "algorithm": settings.algorithm.as_data(),
            "privacy": compose_privacy(settings).as_data(),
            "aggregation": AggregationSpec(mode=settings.aggregation.mode, quorum=quorum).as_data(),
            "evaluation": settings.evaluation.as_data(),
            "roster": [entry.as_data() for entry in roster],
            "initial_seed": seed if settings.initial_seed is None else settings.initial_seed,
            "software": versions(),
        }
    )


def without_privacy(manifest: StudyManifest) -> StudyManifest:
    """The same federation without privacy."""
    return manifest.model_copy(update={"privacy": NoPrivacy(kind="none")})


def versions() -> dict[str, str]:
    """Versions of what can change the numbers."""
    found: dict[str, str] = {}
    for name in _PINNED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
