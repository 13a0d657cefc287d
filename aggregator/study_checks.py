"""What `cohortium study check` checks beyond the fields themselves, and what every command that signs or launches checks too."""

from __future__ import annotations

from federation.errors import PrivacyRefusedError
from federation.privacy.accounting import epsilon_of_cost
from federation.privacy.promise import NoPrivacy, PatientLevelPrivacy
from federation.study.manifest import StudyManifest


def check_study(manifest: StudyManifest) -> str:
    """Check cohort and privacy of a manifest.

    Args:
        manifest: Whose fields are valid.

    Returns:
        The privacy promise in words, after recomputing what the whole study would spend.

    Raises:
        ManifestError: If a criterion does not fit the contract.
        PrivacyRefusedError: If the noise does not keep the promise.
    """
    manifest.cohort.check_against(manifest.contract)
    privacy = manifest.privacy
    if isinstance(privacy, NoPrivacy):
        return "none: no guarantee"
    cost = manifest.privacy_cost() if isinstance(privacy, PatientLevelPrivacy) else manifest.site_cost()
    epsilon = epsilon_of_cost(cost, delta=privacy.delta)
    if epsilon > privacy.epsilon:
        raise PrivacyRefusedError(
            f"privacy.noise_multiplier: expected noise that keeps epsilon {privacy.epsilon:g} over "
            f"{manifest.schedule.rounds} rounds and {len(manifest.evaluation_rounds())} evaluations, got "
            f"{privacy.noise_multiplier:g}, which spends {epsilon:.4g}",
            remedy="raise the noise multiplier, shorten the schedule, or promise a larger epsilon",
        )
    return f"{privacy.target}; the whole study spends {epsilon:.4g}"
