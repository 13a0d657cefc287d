"""The privacy statement of a study under site-level privacy: what it hides, and that it hides no patient by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from aggregator.report.content import Fact, PrivacyStatement
from federation.privacy.promise import SiteLevelPrivacy
from federation.study.manifest import StudyManifest

_TRUST: Final = (
    "Central: the aggregator receives every site's update without noise and is trusted to clip it, to add the noise and to "
    "forget it. The guarantee holds against everyone who sees the model or the released rounds, not against the aggregator."
)


def site_level_statement(
    manifest: StudyManifest, privacy: SiteLevelPrivacy, *, spent: Mapping[str, float], seeded: bool
) -> PrivacyStatement:
    """State the guarantee and its limits.

    Args:
        manifest: What the sites agreed on.
        privacy: Its promise.
        spent: Epsilon by site.
        seeded: Whether the noise came from a known seed (test mode).
    """
    factor = math.exp(privacy.epsilon)
    return PrivacyStatement(
        private=True,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        summary=(
            f"The study promises epsilon {privacy.epsilon:g} with delta {privacy.delta:g} for every site as a whole. In "
            "words: what somebody who sees the model learns changes their odds that a certain hospital took part by at "
            f"most a factor of {factor:.2g}, except with a probability of about {privacy.delta:g}."
        ),
        parameters=(
            Fact(label="Unit of privacy", value="one site", explanation="All patients of a hospital together."),
            Fact(
                label="Adjacency",
                value="add or remove one",
                explanation="Two federations are compared that differ by the presence of one site.",
            ),
            Fact(label="Promised epsilon, delta", value=f"{privacy.epsilon:g}, {privacy.delta:g}"),
            Fact(
                label="Mechanism",
                value="Gaussian on the sum of clipped updates (DP-FedAvg)",
                explanation=(
                    f"Noise multiplier {privacy.noise_multiplier:.4f}, clipping norm {privacy.clipping_norm:g}, divided by "
                    f"the public number of {len(manifest.roster)} sites, in each of {manifest.schedule.rounds} rounds."
                ),
            ),
        ),
        epsilon_spent=dict(spent),
        trust_model=_TRUST,
        not_covered=(
            "A single patient, beyond what the site's own epsilon gives: there is no patient-level mechanism in this study.",
            "The aggregator, which sees every update before the noise.",
            "That a site is in the roster: the roster is public.",
        ),
        reproducible_noise=seeded,
    )
