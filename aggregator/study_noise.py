"""The noise that a manifest's promise needs, for a manifest that is being written."""

from __future__ import annotations

from typing import Final

from federation.errors import ManifestError
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest

_LOUD: Final = 5000.0
"""Keeps any promise that can be kept, so that the rest of the manifest can be validated."""


def smallest_noise(data: object) -> float:
    """The smallest noise multiplier that keeps the promise of a manifest.

    Args:
        data: Of the manifest; its own noise multiplier does not matter, the rest must be valid.

    Raises:
        ManifestError: If the rest is not valid, or the study promises no patient-level privacy.
        PrivacyRefusedError: If no noise keeps the promise.
    """
    privacy = data.get("privacy") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(privacy, dict) or privacy.get("kind") != "patient_level":
        raise ManifestError(
            "privacy.kind: expected 'patient_level', whose noise is calibrated, got another",
            remedy="there is nothing to calibrate",
        )
    manifest = StudyManifest.from_data({**data, "privacy": {**privacy, "noise_multiplier": _LOUD}})
    promise = manifest.privacy
    if not isinstance(promise, PatientLevelPrivacy):  # as checked above; for the type
        raise ManifestError("privacy.kind: expected 'patient_level', got another")
    return calibrate_noise_multiplier(
        epsilon=promise.epsilon,
        delta=promise.delta,
        sampling_numerator=promise.sampling_numerator,
        steps=manifest.schedule.local_steps,
        rounds=manifest.schedule.rounds,
        beside=manifest.cost_beside_training(len(manifest.evaluation_rounds())),
    )
