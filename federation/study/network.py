"""The network of a study: what its manifest describes, over its contract's features."""

from __future__ import annotations

from torch import nn

from federation.data.encoding import feature_names, num_outputs
from federation.models.build import build_model
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest


def network_of(study: StudyManifest, *, num_features: int | None = None, private: bool | None = None) -> nn.Module:
    """Build the network that a study agreed on.

    Args:
        study: With its architecture, task, contract and privacy.
        num_features: F, the width of the encoded records; ``None``: the contract's.
        private: Whether to refuse what mixes patients; ``None``: as the study is private or not.

    Returns:
        As :func:`federation.models.build.build_model`.

    Raises:
        ManifestError: If features or outputs do not fit the architecture.
        ModelRefusedError: If the network mixes patients and must not.
    """
    return build_model(
        study.model,
        task=study.objective,
        num_features=len(feature_names(study.contract)) if num_features is None else num_features,
        num_outputs=num_outputs(study.contract, study.objective),
        private=isinstance(study.privacy, PatientLevelPrivacy) if private is None else private,
    )
