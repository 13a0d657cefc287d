"""A question about the test patients of a finished study, answered by sums over its sites: secure ones where the study was masked.

The terms are those of exact statistics (:mod:`federation.statistics`): each site answers a step with one vector, and only what the
manifest lets be shown is told apart by site.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from aggregator.statistics.analysing import Analysis
from experiments.analyse_records import AnalysedStudy
from experiments.analyse_sites import open_analyst
from experiments.operations.finished_run import FinishedRun, SitePatients, as_records
from experiments.operations.settings import By
from federation.data.cohort import CohortDefinition
from federation.data.contract import Categorical, DataContract, Variable
from federation.errors import PrivacyRefusedError
from federation.privacy.promise import NoPrivacy
from federation.protocol.secure_sum.terms import FEWEST_SITES
from federation.statistics.requests import Selection
from federation.statistics.result import AnalysisResult, Findings
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]
GROUP: Final = "reported_under"
"""Variable with a patient's group: the site, or the region it lies in."""
NOT_PRIVATE: Final = (
    "These are exact sums over test patients. They are not differentially private, and the study's ledger does not "
    "cover them."
)


@dataclass(frozen=True)
class Terms:
    """How a report is made.

    Args:
        by: One line for each site, for each group of sites, or one for everybody.
        is_masked: Whether sums are secure.
        threshold: Smallest count that is shown.
        records: Of a patient with several records one counts, or all that the study uses.
        memory: What sites and centre remember of earlier answers.
        work: Keys of secure sums; new for every report.
    """

    by: By
    is_masked: bool
    threshold: int
    records: Literal["one", "all"]
    memory: Path
    work: Path

    def records_per_patient(self, run: FinishedRun) -> int:
        """Of a patient's records at most so many count."""
        return run.manifest.cohort.max_records_per_patient if self.records == "all" else 1

    def smallest_count(self, run: FinishedRun) -> int:
        """Smallest count of records that is shown: whoever they are of, they are of at least the threshold of patients."""
        return self.threshold * self.records_per_patient(run)


@dataclass(frozen=True)
class Asked:
    """Columns about the test patients of every site.

    Args:
        name: Of the report.
        variables: Of the columns, the grouping not among them.
        outcome: What happened.
        columns: What a site knows about each of its test patients: variable to ``[R]``.
    """

    name: str
    variables: tuple[Variable, ...]
    outcome: Variable
    columns: Callable[[SitePatients], Mapping[str, FloatArray]] = field(repr=False)


def labels_of(run: FinishedRun, patients: Sequence[SitePatients], terms: Terms) -> tuple[str, ...]:
    """Names of the lines of a report, sorted; none for one line over everybody.

    Raises:
        PrivacyRefusedError: If a line would tell what a site's sums are and the study's manifest does not release them.
    """
    if terms.by == "none":
        return ()
    names = [label_of(site, terms.by) for site in patients]
    labels = tuple(sorted(set(names)))
    alone = [label for label in labels if names.count(label) < FEWEST_SITES]
    if alone and (run.manifest.evaluation.release != "per_site" or terms.is_masked):
        raise PrivacyRefusedError(
            f"expected lines over at least {FEWEST_SITES} sites each, since this study opens no site's own sums, got "
            f"{len(alone)} lines over fewer",
            remedy="use by=none, or sites that are hospitals and by=group; aggregation=plain releases them per site",
            reason="single_site",
        )
    return labels if len(labels) > 1 else ()


def ask(
    run: FinishedRun,
    patients: Sequence[SitePatients],
    asked: Asked,
    *,
    terms: Terms,
    solver: Callable[[tuple[str, ...]], Solver[Findings]],
) -> AnalysisResult:
    """Take the sums.

    Args:
        run: The finished study.
        patients: Of every site.
        asked: Their columns.
        terms: Of the report.
        solver: From the labels of the groups to the steps.

    Raises:
        PrivacyRefusedError: If the report is of too few patients, or tells sites apart that the manifest does not, also because
            sites vanished on the way.
        ConfigurationError: If there are too few sites for secure sums.
    """
    labels = labels_of(run, patients, terms)
    grouping = (Categorical(name=GROUP, kind="categorical", levels=labels),) if labels else ()
    contract = DataContract(
        name=f"{run.manifest.study}: {asked.name}",
        patient_key=run.manifest.contract.patient_key,
        variables=(*asked.variables, *grouping),
        outcome=asked.outcome,
    )
    study = AnalysedStudy(
        name=run.manifest.study,
        contract=contract,
        cohort=CohortDefinition(provenance=run.manifest.cohort.provenance, split_key=run.manifest.cohort.split_key),
        records=tuple(
            as_records(site, {**asked.columns(site), **_grouped(site, labels, terms.by)}) for site in patients
        ),
        records_per_patient=terms.records_per_patient(run),
    )
    # Numbers of sums begin at 1 with every analyst, and no site answers one twice under the same keys.
    terms.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=terms.work) as work:
        analyst, _ = open_analyst(
            study, threshold=terms.threshold, is_masked=terms.is_masked, memory=terms.memory, work=Path(work)
        )
        result = analyst.run(Analysis(name=asked.name, selection=Selection(), solver=lambda _: solver(labels)))
    if result.left_out:
        # A line that lost sites on the way must still be one that the report would have been allowed to have.
        labels_of(run, [site for site in patients if site.site in result.sites], terms)
    if isinstance(run.manifest.privacy, NoPrivacy):
        return result
    return result.model_copy(update={"notes": (*result.notes, NOT_PRIVATE)})


def label_of(site: SitePatients, by: By) -> str:
    """The line of a report that a site belongs to."""
    return site.group if by == "group" else site.site


def _grouped(site: SitePatients, labels: tuple[str, ...], by: By) -> dict[str, FloatArray]:
    return {GROUP: np.full(len(site.test), float(labels.index(label_of(site, by))))} if labels else {}
