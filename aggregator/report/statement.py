"""The privacy statement: what a manifest promises its patients, in words, and what it does not cover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from aggregator.report.content import Fact, PrivacyStatement, RoundPoint
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest

_TRUST_PRIVATE: Final = (
    "Every site adds the full noise to its own update before anything leaves it. The guarantee therefore holds "
    "against everyone who sees the updates or the model: the aggregator, the other sites and the public. It relies "
    "on the software that each site installed, and on the site's own machine being sound."
)
_TRUST_PLAIN: Final = (
    "Records stay at their site, but the updates are sent without noise and the aggregator sees each of them. "
    "Updates and models can reveal facts about single patients, so everyone who sees them must be trusted."
)
_TUNING_LIMIT: Final = (
    "Choosing among runs: if settings were tuned by training several times on the same patients, every run counts. "
    "This statement is about one run."
)
_GROUP_LIMIT: Final = (
    "Knowledge about groups: a model may show that a disease is linked with smoking, and that says something about "
    "every smoker."
)


def privacy_statement(
    manifest: StudyManifest, *, rounds: Sequence[RoundPoint], seeded: bool, references: Sequence[str] = ()
) -> PrivacyStatement:
    """State the guarantee of a study and its limits.

    Args:
        manifest: What the sites agreed on.
        rounds: The rounds that were run; the last one says what was spent.
        seeded: Whether the noise came from a known seed (test mode).
        references: Titles of reference settings shown in the same report, which carry no guarantee.
    """
    privacy = manifest.privacy
    if not isinstance(privacy, PatientLevelPrivacy):
        return PrivacyStatement(
            private=False,
            summary="This study was trained without differential privacy. It gives patients no quantified guarantee.",
            trust_model=_TRUST_PLAIN,
            not_covered=(
                _evaluation_limit(manifest),
                "Everything else: without a mechanism there is no bound to state.",
            ),
        )
    spent = rounds[-1].epsilon_spent if rounds else {}
    return PrivacyStatement(
        private=True,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        summary=_summary(privacy),
        parameters=_parameters(manifest, privacy),
        epsilon_spent=dict(spent),
        trust_model=_TRUST_PRIVATE,
        not_covered=_limits(manifest, privacy, references),
        reproducible_noise=seeded,
    )


def _summary(privacy: PatientLevelPrivacy) -> str:
    factor = math.exp(privacy.epsilon)
    times = f"{factor:.2g}" if factor < 100 else f"{factor:.1e}"  # noqa: PLR2004 - beyond, an exponent reads better
    return (
        f"The study promises epsilon {privacy.epsilon:g} with delta {privacy.delta:g} for every patient at every site. In "
        "words: take someone who sees everything that training sent out and knows all other patients. What they see "
        "changes their odds that a certain patient was in the training data by at most a factor of "
        f"{times}, except with a probability of about {privacy.delta:g}."
    )


def _parameters(manifest: StudyManifest, privacy: PatientLevelPrivacy) -> tuple[Fact, ...]:
    steps = manifest.schedule.rounds * manifest.schedule.local_steps
    return (
        Fact(
            label="Unit of protection",
            value="one patient",
            explanation="All records of a patient together, however many.",
        ),
        Fact(
            label="Adjacency",
            value="add or remove one",
            explanation="Two data sets are compared that differ by the presence of one patient at one site.",
        ),
        Fact(
            label="Promised epsilon, delta",
            value=f"{privacy.epsilon:g}, {privacy.delta:g}",
            explanation="Over the whole study, for each site's patients. Smaller is stronger.",
        ),
        Fact(
            label="Mechanism",
            value="Poisson-subsampled Gaussian (DP-SGD)",
            explanation="Each step draws patients by chance, bounds what each contributes and adds Gaussian noise. All "
            "steps of all rounds are counted, by Rényi differential privacy.",
        ),
        Fact(
            label="Noise multiplier",
            value=f"{privacy.noise_multiplier:.4f}",
            explanation="Standard deviation of the noise divided by the clipping norm.",
        ),
        Fact(
            label="Clipping norm",
            value=f"{privacy.clipping_norm:g}",
            explanation="Largest length of one patient's summed gradient in one step.",
        ),
        Fact(
            label="Sampling probability",
            value=f"{privacy.sampling_probability:.4g}",
            explanation="Chance that a patient enters a step: a public constant.",
        ),
        Fact(
            label="Noisy steps per site",
            value=f"{steps:,}",
            explanation=f"{manifest.schedule.rounds} rounds of {manifest.schedule.local_steps} local steps.",
        ),
    )


def _limits(manifest: StudyManifest, privacy: PatientLevelPrivacy, references: Sequence[str]) -> tuple[str, ...]:
    limits = [
        _evaluation_limit(manifest),
        _several_hospitals(privacy, len(manifest.roster)),
        _TUNING_LIMIT,
        "Side channels: running times, message sizes, power, memory and the last bits of floating-point noise.",
        "The declared number of training patients per site and the sampling probability, which are public constants.",
        _GROUP_LIMIT,
    ]
    if references:
        limits.insert(
            1,
            f"The reference models of this report ({', '.join(references)}): the guarantee is for the private "
            "federation.",
        )
    return tuple(limits)


def _several_hospitals(privacy: PatientLevelPrivacy, sites: int) -> str:
    text = (
        "A patient known to several hospitals: the guarantee is per site. Someone treated at two sites is protected by "
        f"the sum, epsilon {2 * privacy.epsilon:g} with delta {2 * privacy.delta:g}"
    )
    return f"{text}; at all {sites} sites, by {sites} times one site's." if sites > 2 else f"{text}."  # noqa: PLR2004


def _evaluation_limit(manifest: StudyManifest) -> str:
    if manifest.cohort.provenance == "patients":
        return "Evaluation: no performance figure computed on single patients is part of this report."
    return (
        "Evaluation: the performance figures of this report come from the test patients' exact scores, without "
        f"noise. That is allowed here because the cohort is {manifest.cohort.provenance}."
    )
