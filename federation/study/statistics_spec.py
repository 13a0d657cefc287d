"""The statistics that a study takes beside its model: which, with noise or exact, of whom at least, and how many sums in all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.documents import Document
from federation.errors import CohortiumError
from federation.privacy.promise import NoPrivacy, SiteLevelPrivacy
from federation.statistics.agreed_genotypes import one_list
from federation.statistics.agreed_models import AgreedAnalysis
from federation.statistics.disclosure import DEFAULT_THRESHOLD
from federation.statistics.private.plans import plan_of
from federation.statistics.requests import StatisticsTerms, StepRequest
from federation.statistics.step import Step
from federation.study.agreements import AggregationSpec

_FEWEST_PATIENTS = 3


class StatisticsSpec(Document):
    """Statistics over the patients of all sites, by secure sums: exact, or with noise where an analysis has a promise."""

    analyses: Annotated[tuple[AgreedAnalysis, ...], Field(min_length=1, max_length=64)]
    threshold: Annotated[int, Field(ge=1)] = DEFAULT_THRESHOLD
    """Smallest number of patients that a count, or a difference of counts, may show."""
    drop_outs: Literal["wait", "leave_out"] = "wait"
    """``wait``: all sums are over the same sites, and a site that drops out is waited for: sites answer for no other set, since the
    difference of two sums would be one site's own. ``leave_out``: the analysis begins again without it; the difference is told."""
    most_sums: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Sums that a site takes part in over the whole study; every step of an analysis is one."""

    def allows(self, request: StepRequest, contract: DataContract) -> bool:
        """Whether an analysis of the study may ask for a step about these patients."""
        return any(
            analysis.selection == request.selection and _allows(analysis, request.step, contract)
            for analysis in self.analyses
        )

    @property
    def exact(self) -> tuple[AgreedAnalysis, ...]:
        """Analyses whose sums carry no noise."""
        return tuple(analysis for analysis in self.analyses if analysis.privacy is None)

    def terms(self, contract: DataContract, cohort: CohortDefinition, sites: tuple[str, ...]) -> StatisticsTerms:
        """What sites and centre know of all sums."""
        return StatisticsTerms(contract=contract, cohort=cohort, sites=sites, threshold=self.threshold)


def _allows(analysis: AgreedAnalysis, step: Step, contract: DataContract) -> bool:
    if analysis.privacy is not None:
        return plan_of(analysis, contract).allows(step)
    return analysis.allows(step, contract)


def reason_against(  # noqa: PLR0911 - one reason for each return
    spec: StatisticsSpec,
    *,
    contract: DataContract,
    cohort: CohortDefinition,
    aggregation: AggregationSpec,
    privacy: object,
    sites: int,
) -> str | None:
    """Why a study cannot take these statistics; ``None`` if it can.

    Args:
        spec: What is to be computed.
        contract: Its variables.
        cohort: Its patients.
        aggregation: How sums are taken.
        privacy: What the study promises a patient.
        sites: Of the roster.
    """
    names = [analysis.name for analysis in spec.analyses]
    if len(set(names)) != len(names):
        return f"expected every analysis under a name of its own, got {names}"
    if aggregation.masked is None:
        return "expected secure aggregation (aggregation.mode 'masked'): a site's own sums are not to be seen"
    if spec.exact and not isinstance(privacy, NoPrivacy):
        return (
            "expected privacy 'none': exact sums are released without noise and would break a promise to patients; "
            "make a study of its own for them, or give each analysis privacy.epsilon"
        )
    if isinstance(privacy, SiteLevelPrivacy):
        return "expected no statistics beside site-level privacy, whose noise they would go round"
    if len(spec.exact) < len(spec.analyses) and spec.drop_outs != "wait":
        return "expected drop_outs 'wait' with analyses that have privacy: the difference of two sums has one site's noise only"
    if cohort.provenance == "patients" and spec.threshold < _FEWEST_PATIENTS:
        return f"expected a threshold of at least {_FEWEST_PATIENTS} for records of patients, got {spec.threshold}"
    least = max(aggregation.masked.threshold_of(sites), aggregation.quorum)
    try:
        one_list(spec.analyses)
        found = (_reason_against_one(analysis, contract, most_shares=max(least - 1, 1)) for analysis in spec.analyses)
        return next((reason for reason in found if reason is not None), None)
    except CohortiumError as misfit:
        return misfit.message


def _reason_against_one(analysis: AgreedAnalysis, contract: DataContract, *, most_shares: int) -> str | None:
    analysis.check_against(contract)
    if analysis.privacy is None:
        return None
    analysis.privacy.check()
    plan_of(analysis, contract)
    if analysis.privacy.shares > most_shares:
        return (
            f"expected noise of {analysis.name} shared by at most {most_shares} sites, one less than a sum is opened of, got "
            f"{analysis.privacy.shares}"
        )
    return None
