"""The exact statistics of a study in words for somebody who answers for patients."""

from __future__ import annotations

from typing import Final

from federation.statistics.agreed_genotypes import AgreedVariants, one_list
from federation.statistics.agreed_models import (
    AgreedAnalysis,
    AgreedCox,
    AgreedCurves,
    AgreedLogRank,
    AgreedMetaAnalysis,
    AgreedRegression,
)
from federation.statistics.agreed_operations import (
    AgreedBeds,
    AgreedCalibration,
    AgreedFollowUp,
    AgreedStays,
)
from federation.statistics.agreed_reports import AgreedReport
from federation.statistics.agreed_tables import AgreedCrossTable, AgreedDescription, AgreedOddsRatio
from federation.study.manifest import StudyManifest
from site_client.plain_words import criterion_in_words

_FAMILIES: Final = {"linear": "linear", "logistic": "logistic", "poisson": "Poisson", "gamma": "gamma"}

_TELLS_WHO: Final = (
    "results on many genetic variants tell, to somebody who knows a person's genotypes from elsewhere, whether that person is "
    "among the patients; no single genotype leaves this hospital"
)
_CHOOSES: Final = (
    "which variants are tested follows from counts that only the coordinator sees: one that departs from what was agreed could ask "
    "about a variant that few patients carry, and learn about these"
)


def statistics_in_words(manifest: StudyManifest) -> list[str]:
    """What leaves for each analysis; nothing if the study agrees on none."""
    spec, masked = manifest.statistics, manifest.aggregation.masked
    if spec is None or masked is None:
        return []
    sites = len(manifest.roster)
    least = max(masked.threshold_of(sites), manifest.aggregation.quorum)
    found = [
        f"sums for {_analysis(analysis)}{_selection(analysis)}: {_protection(analysis)}; the aggregator sees only the sum over "
        f"at least {least} of {sites} hospitals"
        for analysis in spec.analyses
    ]
    limits = f"of these statistics at most {spec.most_sums} sums"
    if spec.exact:
        limits += (
            f"; of exact ones, counts of fewer than {spec.threshold} patients hidden, and a selection that differs from an earlier "
            "one by fewer patients of this hospital is refused"
        )
    difference = (
        "all these sums are over the same hospitals: this one answers for no other set"
        if spec.drop_outs == "wait"
        else "if a hospital drops out, or the coordinator says so, the statistics begin again without it: the difference of such "
        "sums shows the coordinator that hospital's own part"
    )
    told = [_TELLS_WHO, _CHOOSES] if one_list(spec.analyses) is not None else []
    return [*found, *told, limits, difference]


def _analysis(analysis: AgreedAnalysis) -> str:  # noqa: PLR0911 - one line for each kind
    match analysis:
        case AgreedDescription():
            return f"a description of {_listed(analysis.described)}"
        case AgreedCrossTable():
            return f"a table of {analysis.rows} by {analysis.columns}"
        case AgreedRegression() | AgreedMetaAnalysis():
            model = analysis.model
            terms = sorted(model.variables() - {model.outcome})
            each = ", fitted by each hospital for itself" if isinstance(analysis, AgreedMetaAnalysis) else ""
            return f"a {_FAMILIES[model.family]} regression of {model.outcome} on {_listed(terms)}{each}"
        case AgreedCurves():
            group = "" if analysis.group is None else f" by {analysis.group}"
            return f"survival curves of {analysis.survival.time} until {analysis.survival.event}{group}"
        case AgreedLogRank():
            return f"a comparison of {analysis.survival.time} until {analysis.survival.event} by {analysis.group}"
        case AgreedCox():
            survival = analysis.model.survival
            return (
                f"a Cox regression of {survival.time} until {survival.event} on "
                f"{_listed(sorted(analysis.model.design.variables()))}"
            )
        case AgreedOddsRatio():
            return f"the odds ratio of {analysis.exposure} and {analysis.outcome}"
        case AgreedVariants():
            return _variants(analysis)
        case AgreedReport():
            return _report(analysis)
        case _:
            return f"principal components of {_listed(analysis.numbers)}"


def _protection(analysis: AgreedAnalysis) -> str:
    promise = analysis.privacy
    if promise is None:
        return "EXACT, without noise"
    times = "once" if promise.releases == 1 else f"{promise.releases} times"
    return (
        f"{times}, each patient's part is bounded and this hospital adds a share of the noise; only the sum has all of it. All of "
        f"them together: {promise.guarantee()}, charged to the ledger before the answer leaves, and no answer beyond them"
    )


def _report(analysis: AgreedCalibration | AgreedFollowUp | AgreedStays | AgreedBeds) -> str:
    match analysis:
        case AgreedCalibration():
            said = f"how well {_listed(analysis.predictions)} predicted {analysis.outcome}"
        case AgreedFollowUp():
            said = (
                f"how many with {analysis.outcome} a follow-up of the {analysis.capacity:.0%} with the highest "
                f"{analysis.prediction} reaches"
            )
        case AgreedStays():
            said = f"how well {_listed(analysis.predictions)} predicted the days of {analysis.stay}"
        case AgreedBeds():
            said = (
                f"occupied beds on {len(analysis.origins)} days, and as {_listed(analysis.predictions)} forecast them up to "
                f"{analysis.horizon} days ahead"
            )
    groups = [f"{label} ({_listed(sites)})" for label, sites in analysis.site_groups.items()]
    by = (
        f" by {analysis.group}"
        if analysis.group
        else f", for groups of hospitals: {'; '.join(groups)}"
        if groups
        else ""
    )
    return said + by


def _variants(analysis: AgreedVariants) -> str:
    beside = sorted(analysis.model.design.variables())
    components = [f"{analysis.components} components of ancestry"] if analysis.components else []
    adjusted = f", beside {_listed([*beside, *components])}" if beside or components else ""
    score = "; the correlations of the strongest with each other" if analysis.clumping is not None else ""
    return (
        f"the association of {analysis.num_variants} genetic variants with {analysis.model.outcome}{adjusted}: for each variant "
        f"counts of genotypes and a test ({analysis.method}){score}"
    )


def _selection(analysis: AgreedAnalysis) -> str:
    where = analysis.selection.where
    return "" if not where else f", of patients where {' and '.join(map(criterion_in_words, where))}"


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names)
