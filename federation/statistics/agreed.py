"""Analyses that a study agrees on in advance, as data: which sums a site will give, and what the centre makes of them.

An agreed analysis names everything but what follows from earlier sums, such as the coefficients of the next Newton step. A site
answers a step only if an analysis of its study allows it; the centre runs the solver that the analysis names. No formula, and no
code, is sent.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from federation.data.contract import DataContract
from federation.documents import Document
from federation.errors import ManifestError
from federation.statistics.counts import CountStep
from federation.statistics.promise import StatisticsPrivacy
from federation.statistics.requests import Selection
from federation.statistics.result import Findings
from federation.statistics.step import Solver, Step

Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Agreed(Document):
    """What all agreed analyses have in common."""

    name: Label
    """Of the analysis in its study, and of the files of its result."""
    selection: Selection = Selection()
    """Of whose records. What must be known is fixed here, so that all sums of the analysis are of the same patients."""
    privacy: Annotated[StatisticsPrivacy | None, Field(exclude_if=lambda promise: promise is None)] = None
    """The promise to patients; ``None``: exact sums, and the field is not in the canonical bytes."""

    @abstractmethod
    def variables(self) -> frozenset[str]:
        """Variables that must be known of every patient of the analysis."""

    @abstractmethod
    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """One example of each step that the solver may ask for."""

    @abstractmethod
    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:
        """The solver.

        Args:
            contract: Of the study.
            patients: Of the selection.
            threshold: Smallest number of patients that a count may show.
        """

    def allows(self, step: Step, contract: DataContract) -> bool:
        """Whether the analysis may ask for a step without noise. Patients are counted before every such analysis."""
        if self.privacy is not None:
            return False
        if isinstance(step, CountStep):
            return True
        asked = step.fixed()
        return any(type(example) is type(step) and example.fixed() == asked for example in self.steps(contract))

    def check_against(self, contract: DataContract) -> None:
        """Check that the analysis is of the contract's variables and that what it needs must be known.

        Raises:
            ManifestError: If not.
        """
        needed = self.variables()
        read = needed | {name for step in self.steps(contract) for name in step.variables()}
        read |= {criterion.variable for criterion in self.selection.where}
        for name in sorted(read | set(self.selection.complete)):
            contract.variable(name)
        absent = sorted(needed - set(self.selection.complete))
        if absent:
            known = list(self.selection.complete)
            raise ManifestError(
                f"expected {absent} among what analysis {self.name} needs to be known, got {known}",
                remedy="write them in selection.complete",
            )
