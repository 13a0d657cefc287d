"""The loop around every analysis: count the patients, check that their number may be shown, then take the solver's sums.

A site that is lost on the way was in earlier sums and is not in later ones, so the analysis begins again without it and its
result is that of the pooled records of the others. What the lost site added to the earlier sums is their difference; the guard on
totals sees to it that this difference is of at least the threshold of patients, or the analysis stops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aggregator.statistics.earlier_counts import EarlierCounts
from aggregator.statistics.links import Sums
from aggregator.statistics.private_analysing import PrivateAnalyst
from federation.data.contract import DataContract
from federation.errors import QuorumError
from federation.statistics.agreed import Agreed
from federation.statistics.counts import CountStep
from federation.statistics.disclosure import check_total
from federation.statistics.private.plans import PrivatePlan, plan_of
from federation.statistics.requests import Selection, StatisticsTerms, StepRequest
from federation.statistics.result import AnalysisResult, Findings
from federation.statistics.step import Solver, Step
from federation.statistics.step import Sums as SumsOfParts

_LOG: Final = logging.getLogger("cohortium.statistics")


@dataclass(frozen=True)
class Analysis:
    """What is asked.

    Args:
        name: Of the analysis.
        selection: Of patients.
        solver: From the number of patients to the solver.
        private: Its releases, if it is one with privacy; the solver is not used then.
    """

    name: str
    selection: Selection
    solver: Callable[[int], Solver[Findings]] = field(repr=False)
    private: PrivatePlan | None = field(default=None, repr=False)


def analysis_of(agreed: Agreed, contract: DataContract, *, threshold: int) -> Analysis:
    """An agreed analysis as the centre runs it.

    Args:
        agreed: As data.
        contract: Of the study.
        threshold: Smallest number of patients that a count may show.
    """
    return Analysis(
        name=str(agreed.as_data()["kind"]),
        selection=agreed.selection,
        solver=lambda patients: agreed.solver(contract, patients=patients, threshold=threshold),
        private=None if agreed.privacy is None else plan_of(agreed, contract),
    )


@dataclass
class Analyst:
    """Runs analyses of one study.

    Args:
        terms: What the analyses fix in advance.
        sums: How sums are taken.
        earlier: The totals of earlier analyses.
        next_number: Of the next sum; numbers are never used twice under the same keys.
    """

    terms: StatisticsTerms
    sums: Sums
    earlier: EarlierCounts
    next_number: int = 1
    folder: Path | None = None
    """Where opened releases of analyses with privacy are kept; ``None``: nowhere."""
    _active: list[str] = field(default_factory=list[str], init=False)
    _left_out: dict[str, str] = field(default_factory=dict[str, str], init=False)
    _taken: int = field(default=0, init=False)

    def run(self, analysis: Analysis) -> AnalysisResult:
        """Run one analysis.

        Raises:
            PrivacyRefusedError: If it is of too few patients, or of nearly the same as an earlier one.
            QuorumError: If too few sites answer.
            CohortiumError: As the solver, and whatever a site refuses for.
        """
        if analysis.private is not None:
            return self._run_private(analysis, analysis.private)
        self._active, self._left_out, self._taken = list(self.terms.sites), {}, 0
        while True:
            attempt = self._attempt(analysis)
            if attempt is None:
                _LOG.warning("the analysis %s begins again without %s", analysis.name, sorted(self._left_out))
                continue
            patients, findings = attempt
            return AnalysisResult(
                analysis=analysis.name,
                patients=patients,
                sites=tuple(self._active),
                left_out=dict(self._left_out),
                figures=findings.figures,
                tables=findings.tables,
                notes=findings.notes,
                steps=self._taken,
            )

    def _run_private(self, analysis: Analysis, plan: PrivatePlan) -> AnalysisResult:
        analyst = PrivateAnalyst(terms=self.terms, sums=self.sums, next_number=self.next_number, folder=self.folder)
        try:
            return analyst.run(analysis.name, analysis.selection, plan)
        finally:
            self.next_number = analyst.next_number

    def _attempt(self, analysis: Analysis) -> tuple[int, Findings] | None:
        """Patients and findings; nothing if a sum lacks sites of the sums before."""
        counted = self._sum(analysis, CountStep())
        patients = round(float(counted["patients"]))
        check_total(patients, self.terms.threshold)
        self.earlier.admit(patients)
        solver = analysis.solver(patients)
        try:
            step = next(solver)
            while True:
                known = len(self._active)
                summed = self._sum(analysis, step)
                if len(self._active) < known:
                    return None
                step = solver.send(summed)
        except StopIteration as end:
            return patients, end.value

    def _sum(self, analysis: Analysis, step: Step) -> SumsOfParts:
        request = StepRequest.model_validate(
            {"terms": self.terms.digest, "number": self.next_number, "selection": analysis.selection, "step": step}
        )
        self.next_number += 1
        self._taken += 1
        found = self.sums.sum(request, self._active)
        if found.lost:
            self._left_out.update(found.lost)
            self._active = [site for site in self._active if site not in found.lost]
            if not self._active:
                raise QuorumError("expected sites, got none", remedy="wait for the sites and ask again")
        return step.parts(found.total)
