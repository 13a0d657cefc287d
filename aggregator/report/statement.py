"""The privacy statement: what a manifest promises its patients, in words, and what it does not cover.

It answers the points of NIST SP 800-226 (Guidelines for Evaluating Differential Privacy Guarantees): epsilon and delta,
unit of privacy, neighbouring data sets, mechanism, composition, trust model, data collection exposure, side channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from aggregator.report.content import Fact, PrivacyStatement, RoundPoint
from aggregator.report.facts import mechanism_facts
from aggregator.report.site_level_statement import site_level_statement
from federation.errors import InvalidInputError
from federation.privacy.audit_result import AuditResult
from federation.privacy.promise import PatientLevelPrivacy, SiteLevelPrivacy
from federation.study.manifest import StudyManifest

_TRUST_PRIVATE: Final = (
    "Privacy is added at the site. Each hospital's own machine sees its records and adds the full noise before anything "
    "leaves it: towards everyone outside the hospital this is the local model of trust, and inside it the hospital is the "
    "curator of its own patients, as it is today. The guarantee holds against everyone who sees the updates or the model: "
    "the aggregator, the other sites and the public, together and with any other knowledge. It relies on the software "
    "that each site installed, and on the site's own machine and staff."
)
_TRUST_DISTRIBUTED: Final = (
    "Privacy is added in shares. Each hospital's own machine sees its records, clips what each patient contributes and adds a "
    "share of the noise; its numbers leave it masked, and only the sum over at least {least} of the {number} sites can be "
    "opened. The shares of all sites but one make up the full noise, so the guarantee holds against everyone who sees what was "
    "opened: the aggregator, the public, and each single site, which knows its own share. Sites that pool their shares see that "
    "much less noise. It relies on the sites' software adding its share, and on fewer than {conspirators} sites conspiring "
    "with a lying aggregator to open a hospital's own numbers."
)
_MASKED: Final = (
    " Updates are also masked: the aggregator opens their sum over at least {least} of the {number} sites "
    "and sees none by itself."
)
_TRUST_PLAIN_MASKED: Final = (
    "Records stay at their site, and updates are masked: the aggregator opens their sum over at least {least} of the {number} "
    "sites and sees none by itself. The sum is without noise: the model can reveal facts about single patients, so everyone who "
    "sees it must be trusted."
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
    "every smoker, whether or not they took part."
)
_CONSTANTS_LIMIT: Final = (
    "The declared number of training patients per site and the sampling probability, which are public constants."
)
_EXPOSURE: Final = (
    Fact(
        label="Data collection exposure",
        value="records stay where they were collected",
        explanation="The study collects nothing in one place. Whoever can read a hospital's records today still can; the "
        "guarantee is about what leaves, not about the records themselves.",
    ),
    Fact(
        label="Arithmetic side channels",
        value="covered",
        explanation="Sums and noise are whole multiples of a public step, so the low bits of floating-point noise never "
        "reach a release. The noise is from a cryptographic generator: the guarantee is against attackers who cannot "
        "break it, and leaves out draws beyond 8.5 standard deviations (a chance below 1e-16 each).",
    ),
    Fact(
        label="Other side channels",
        value="not covered",
        explanation="Running times, power, memory, and whether a site answers at all. Numbers of steps and sizes of "
        "messages are fixed by the manifest and say nothing.",
    ),
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
    spent = rounds[-1].epsilon_spent if rounds else {}
    if isinstance(privacy, SiteLevelPrivacy):
        return site_level_statement(manifest, privacy, spent=spent, seeded=seeded)
    if not isinstance(privacy, PatientLevelPrivacy):
        return PrivacyStatement(
            private=False,
            summary="This study was trained without differential privacy. It gives patients no quantified guarantee.",
            trust_model=_plain_trust(manifest),
            not_covered=(
                _evaluation_limit(manifest),
                "Everything else: without a mechanism there is no bound to state.",
            ),
        )
    return PrivacyStatement(
        private=True,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        summary=_summary(privacy),
        parameters=_guarantee(manifest, privacy),
        hyperparameters=mechanism_facts(manifest, privacy),
        epsilon_spent=dict(spent),
        trust_model=_private_trust(manifest, privacy),
        composition=_composition(manifest),
        exposure=_EXPOSURE,
        not_covered=_limits(manifest, privacy, references),
        reproducible_noise=seeded,
    )


def with_audits(
    statement: PrivacyStatement, audits: Sequence[AuditResult], *, manifest_digest: str
) -> PrivacyStatement:
    """The statement with what audits of the study measured.

    Args:
        statement: Of a private study, unless there is no audit.
        audits: In the order in which they are shown.
        manifest_digest: Of the study.

    Raises:
        InvalidInputError: If an audit is of another study, or there is no promise to audit.
    """
    foreign = [audit.manifest_digest for audit in audits if audit.manifest_digest != manifest_digest]
    if foreign or (audits and not statement.private):
        raise InvalidInputError(
            f"expected audits of the private study {manifest_digest}, got "
            + (f"one of {foreign[0]}" if foreign else "audits of a study without privacy"),
            remedy="run `cohortium audit` with the settings of this study",
        )
    return statement.model_copy(update={"audits": tuple(audits)})


def _summary(privacy: PatientLevelPrivacy) -> str:
    factor = math.exp(privacy.epsilon)
    times = f"{factor:.2g}" if factor < 100 else f"{factor:.1e}"  # noqa: PLR2004 - beyond, an exponent reads better
    return (
        f"The study promises epsilon {privacy.epsilon:g} with delta {privacy.delta:g} for every patient at every site. In "
        "words: take someone who sees everything that training sent out and knows all other patients. What they see "
        "changes their odds that a certain patient was in the training data by at most a factor of "
        f"{times}, except with a probability of about {privacy.delta:g}."
    )


def _plain_trust(manifest: StudyManifest) -> str:
    if manifest.aggregation.masked is None:
        return _TRUST_PLAIN
    return _TRUST_PLAIN_MASKED.format(least=_least(manifest), number=len(manifest.roster))


def _private_trust(manifest: StudyManifest, privacy: PatientLevelPrivacy) -> str:
    if manifest.aggregation.masked is None:
        return _TRUST_PRIVATE
    facts = {"least": _least(manifest), "number": len(manifest.roster)}
    if privacy.noise == "local":
        return _TRUST_PRIVATE + _MASKED.format(**facts)
    conspirators = manifest.secure_sum_terms().tolerated_conspirators + 1
    return _TRUST_DISTRIBUTED.format(conspirators=conspirators, **facts)


def _least(manifest: StudyManifest) -> int:
    return manifest.secure_sum_terms().minimum_survivors


def _guarantee(manifest: StudyManifest, privacy: PatientLevelPrivacy) -> tuple[Fact, ...]:
    share = manifest.noise_share()
    return (
        Fact(
            label="Unit of privacy",
            value="one patient",
            explanation="All records of a patient at a site together, however many.",
        ),
        Fact(
            label="Neighbouring data sets",
            value="add or remove one patient",
            explanation="Two data sets are compared that differ by the presence of one patient at one site (the adjacency).",
        ),
        Fact(
            label="Promised epsilon, delta",
            value=f"{privacy.epsilon:g}, {privacy.delta:g}",
            explanation="(epsilon, delta)-differential privacy over the whole study, for each site's patients. Smaller is "
            "stronger.",
        ),
        Fact(
            label="Mechanism",
            value="Poisson-subsampled Gaussian (DP-SGD)",
            explanation="Each step draws patients by chance, bounds what each contributes and adds Gaussian noise. What "
            "follows, such as optimiser, averaging and choice of the last round, is post-processing."
            + (
                ""
                if share is None
                else " A round is one step over the patients of all sites; each site adds discrete Gaussian noise of "
                f"1/{share.shares} of the variance, and the secure sum adds the shares up."
            ),
        ),
        Fact(
            label="Accounting",
            value="Rényi differential privacy",
            explanation="An upper bound on epsilon, proven for every step and every attacker; the true value is at most this.",
        ),
    )


def _composition(manifest: StudyManifest) -> str:
    steps = manifest.schedule.rounds * manifest.schedule.local_steps
    return (
        f"All {steps:,} noisy steps of all rounds are counted together, and so is everything else that the study releases "
        "about the same patients. Across studies, each site keeps one ledger for its patient population: a release is "
        "charged before its noise is drawn, is never refunded, and is refused if the sum of all studies would pass the "
        "site's own cap. "
        + (
            "That cap is the site's and not part of this report."
            if manifest.cohort.provenance == "patients"
            else "In this simulation each site's ledger is new and its cap is this study's promise."
        )
    )


def _limits(manifest: StudyManifest, privacy: PatientLevelPrivacy, references: Sequence[str]) -> tuple[str, ...]:
    limits = [
        _evaluation_limit(manifest),
        _several_hospitals(privacy, len(manifest.roster)),
        _TUNING_LIMIT,
        _CONSTANTS_LIMIT,
        _GROUP_LIMIT,
        "Side channels outside the arithmetic: see above.",
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
    evaluation, real = manifest.evaluation, manifest.cohort.provenance == "patients"
    paid = (
        "Evaluation of the rounds is paid for: each site releases counts of scores with noise, charged like training. It "
        "is covered; the test patients have the same guarantee"
    )
    if evaluation.noise is not None and evaluation.release != "none":
        if real:
            return f"{paid}, and no exact performance figure is part of this report."
        return (
            f"{paid}. The tables and curves of this report are not: they come from the test patients' exact scores, which is "
            f"allowed here because the cohort is {manifest.cohort.provenance}."
        )
    if real:
        return "Evaluation: no performance figure computed on single patients is part of this report."
    if evaluation.release == "none":
        return (
            "Evaluation: the study itself releases nothing about performance. The figures of this report are what the "
            "simulator sees, from the test patients' exact scores, without noise; that is allowed here because the cohort "
            f"is {manifest.cohort.provenance}."
        )
    return (
        "Evaluation: the performance figures of this report come from the test patients' exact scores, without "
        f"noise. That is allowed here because the cohort is {manifest.cohort.provenance}."
    )
