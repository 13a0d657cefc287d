"""The loop around an analysis with privacy: its agreed releases, one after another, each opened once.

Nothing is counted beforehand and nothing is compared with earlier analyses: that would be answers without noise. A site that is
lost stays out of the later releases; the analysis does not begin again, because its releases are spent. Opened sums are kept, so
that a restart goes on with the next release.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aggregator.statistics.links import Summed, Sums
from federation.documents import Document
from federation.durable_files import read_whole, write_durably
from federation.errors import CheckpointError, InternalError, QuorumError
from federation.statistics.private.plans import PrivatePlan
from federation.statistics.private.sharing import NOISE
from federation.statistics.private_step import PrivateStep
from federation.statistics.requests import Selection, StatisticsTerms, StepRequest
from federation.statistics.result import AnalysisResult, Findings, Promise

_LARGEST = 2**28


class OpenedRelease(Document):
    """A release as it was opened."""

    step: str
    """Digest of the step."""
    total: tuple[float, ...]
    sites: tuple[str, ...]


@dataclass
class PrivateAnalyst:
    """Runs one analysis with privacy.

    Args:
        terms: What the study's analyses fix in advance.
        sums: How sums are taken.
        next_number: Of the next sum.
        folder: Where opened releases are kept; ``None``: nowhere.
    """

    terms: StatisticsTerms
    sums: Sums
    next_number: int = 1
    folder: Path | None = None
    _left_out: dict[str, str] = field(default_factory=dict[str, str], init=False)

    def run(self, kind: str, selection: Selection, plan: PrivatePlan) -> AnalysisResult:
        """Run it.

        Args:
            kind: Of the analysis.
            selection: Of patients.
            plan: Its releases.

        Raises:
            QuorumError: If too few sites answer.
            CohortiumError: Whatever a site refuses for.
        """
        self._left_out = {}
        active = list(self.terms.sites)
        steps = plan.steps()
        taken = 0
        try:
            step = next(steps)
            while True:
                if not isinstance(step, PrivateStep):
                    raise InternalError("expected releases of a plan, got another step")
                opened = self._opened(selection, step, active)
                active = [site for site in active if site in opened.sites]
                taken += 1
                noise = np.array(step.noise_deviation(len(opened.sites)))
                step = steps.send({**step.parts(opened.total), NOISE: noise})
        except StopIteration as end:
            return self._result(kind, end.value, plan, sites=active, taken=taken)

    def _opened(self, selection: Selection, step: PrivateStep, active: list[str]) -> Summed:
        path = None if self.folder is None else self.folder / f"{step.analysis}.{step.release}.release"
        if path is not None and path.is_file():
            kept = OpenedRelease.from_json(read_whole(path, largest=_LARGEST), error=CheckpointError)
            if kept.step != step.digest:
                raise CheckpointError(
                    f"expected release {step.release} of {step.analysis} as it was asked for, got another",
                    remedy="restore the study's folder as it was",
                )
            lost = {site: "lost_before" for site in active if site not in kept.sites}
            self._left_out.update(lost)
            return Summed(total=np.array(kept.total), sites=kept.sites, lost=lost)
        request = StepRequest.model_validate(
            {"terms": self.terms.digest, "number": self.next_number, "selection": selection, "step": step}
        )
        self.next_number += 1
        summed = self.sums.sum(request, active)
        self._left_out.update(summed.lost)
        if not summed.sites:
            raise QuorumError("expected sites, got none", remedy="wait for the sites and ask again")
        if path is not None:
            kept = OpenedRelease(step=step.digest, total=tuple(summed.total.tolist()), sites=tuple(summed.sites))
            write_durably(path, kept.model_dump_json().encode())
        return summed

    def _result(
        self, kind: str, findings: Findings, plan: PrivatePlan, *, sites: list[str], taken: int
    ) -> AnalysisResult:
        privacy = plan.privacy
        patients = findings.figures.get("patients") or 0.0
        return AnalysisResult(
            analysis=kind,
            patients=max(round(patients), 0),
            sites=tuple(sites),
            left_out=dict(self._left_out),
            figures=findings.figures,
            tables=findings.tables,
            notes=findings.notes,
            steps=taken,
            privacy=Promise(
                epsilon=privacy.epsilon,
                delta=privacy.delta,
                noise_multiplier=privacy.share.noise_multiplier,
                releases=privacy.releases,
                clipping=privacy.clipping,
            ),
        )
