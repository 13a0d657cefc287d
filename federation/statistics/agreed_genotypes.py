"""Association studies of genetic variants that a study agrees on: which list of variants, which test, which rules.

The list itself is too long for a manifest: the manifest holds its digest, sites and coordinator hold the file. What the centre
chooses on the way are the variants of a block, the coefficients of the next step, and the loadings of components.

Axis names: V variants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from federation.data.contract import Binary, Continuous, DataContract, Integer, Variable
from federation.errors import ConfigurationError, InternalError, InvalidInputError, ManifestError
from federation.statistics.agreed import Agreed
from federation.statistics.counts import CountStep
from federation.statistics.genotype_source import Packed, Projection
from federation.statistics.genotypes.alignment import PalindromicRule, aligned_digest
from federation.statistics.genotypes.block_steps import AlignmentStep, BlockStep, GenotypeCountStep, GenotypeStep
from federation.statistics.genotypes.clumping import ClumpingRules
from federation.statistics.genotypes.component_steps import MOST_LINKED, ComponentStep, LinkageStep
from federation.statistics.genotypes.components import EXTRA
from federation.statistics.genotypes.quality import QualityRules
from federation.statistics.genotypes.regression_steps import LinearScanStep, LogisticScanStep, ScanStep
from federation.statistics.genotypes.scan import NEEDS_CASES, REGRESSIONS, Method, Scan, covariate_step, scan
from federation.statistics.genotypes.scan_model import ScanModel
from federation.statistics.genotypes.stratum_steps import StratumStep
from federation.statistics.genotypes.variants import VariantList
from federation.statistics.glm_steps import CrossProductStep
from federation.statistics.result import Findings
from federation.statistics.step import Solver, Step

_NO_PLACES = Packed.of(np.zeros(0, dtype=np.int64))
_MOST_COPIES = 2.0


class AgreedVariants(Agreed):
    """The association of every variant of a list with a trait."""

    kind: Literal["gwas"] = "gwas"
    method: Method
    listed: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Digest of the list of variants."""
    num_variants: Annotated[int, Field(ge=1, le=10_000_000)]
    """In the list."""
    palindromic: PalindromicRule = "exclude"
    model: ScanModel
    """Outcome and covariates; which components it has beside follows from sums."""
    rules: QualityRules = QualityRules()
    components: Annotated[int, Field(ge=0, le=20)] = 0
    component_variants: Annotated[int, Field(ge=10, le=50_000)] = 2000
    """Most variants from which components are computed."""
    block: Annotated[int, Field(ge=1, le=2**17)] = 4096
    """Most variants of one sum."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    fills: bool = False
    """Whether missing genotypes count as the mean in regressions; otherwise such patients are left out for that variant."""
    clumping: ClumpingRules | None = None
    """How weights of a polygenic score are chosen; ``None``: no score."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model.components is not None:
            raise ValueError("model.components: expected none: they follow from sums, and are not agreed on in advance")
        if self.method not in REGRESSIONS and (self.components or self.model.design.variables()):
            raise ValueError(f"method {self.method}: expected no covariates and components, got some")
        return self

    @property
    def variants(self) -> str:
        """What a site's genotypes must be aligned under."""
        return aligned_digest(self.listed, self.palindromic)

    def variables(self) -> frozenset[str]:
        """Outcome and covariates."""
        return self.model.variables()

    def steps(self, contract: DataContract) -> tuple[Step, ...]:  # noqa: ARG002 - as agreed
        """That about the covariates, and one about no variant."""
        blocks = GenotypeCountStep(variants=self.variants, places=_NO_PLACES, outcome=self._groups)
        return (covariate_step(self.model), blocks)

    def allows(self, step: Step, contract: DataContract) -> bool:  # noqa: ARG002 - as agreed
        """Whether the analysis may ask for a step: about this list, this model, and so many variants at a time."""
        match step:
            case CountStep():
                return True
            case CrossProductStep():
                return self.method in REGRESSIONS and step == covariate_step(self.model)
            case GenotypeStep():
                return step.variants == self.variants and self._allows(step)
            case _:
                return False

    def _allows(self, step: GenotypeStep) -> bool:  # noqa: PLR0911 - one line for each kind
        if isinstance(step, BlockStep) and step.size > max(self.block, MOST_LINKED if self.clumping else 0):
            return False
        match step:
            case AlignmentStep():
                return True
            case GenotypeCountStep():
                return (step.outcome, step.least_p) == (self._groups, self.rules.hwe_within)
            case StratumStep():
                return self.method == "cmh" and step.outcome == self.model.outcome
            case LinearScanStep():
                return self.method == "linear" and self._allows_scan(step)
            case LogisticScanStep():
                return self.method == "logistic" and self._allows_scan(step)
            case ComponentStep():
                return self.components > 0 and self._allows_projection(step.projection, most=self.components + EXTRA)
            case LinkageStep():
                return self.clumping is not None and step.size <= MOST_LINKED
            case _:
                return False

    def _allows_scan(self, step: ScanStep) -> bool:
        components = step.model.components
        if step.model.model_copy(update={"components": None}) != self.model or (step.fill is not None) != self.fills:
            return False
        if step.fill is not None and not ((step.fill.array >= 0) & (step.fill.array <= _MOST_COPIES)).all():
            return False
        if components is None or not self.components:
            return components is None and not self.components
        return components.width == self.components and self._allows_projection(components, most=self.components)

    def _allows_projection(self, found: Projection, *, most: int) -> bool:
        size = found.places.shape[0]
        return found.variants == self.variants and found.width <= most and size <= self.component_variants

    @property
    def _groups(self) -> str | None:
        return self.model.outcome if self.method in NEEDS_CASES else None

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:
        """None without the list: see :meth:`association`.

        Raises:
            InternalError: Always.
        """
        del contract, patients, threshold
        raise InternalError("expected the list of variants of an association study, got none")

    def association(
        self, listed: VariantList, sites: tuple[str, ...], *, patients: int, threshold: int
    ) -> Solver[Findings]:
        """The solver. See :func:`~federation.statistics.genotypes.scan.scan`.

        Args:
            listed: The list that was agreed on.
            sites: Of the study.
            patients: Of the selection.
            threshold: Smallest number of carriers that may be told about.

        Raises:
            InvalidInputError: If it is another list.
        """
        check_list(listed, self)
        asked = Scan(
            listed=listed,
            variants=self.variants,
            sites=sites,
            method=self.method,
            model=self.model,
            rules=self.rules,
            components=self.components,
            component_variants=self.component_variants,
            block=self.block,
            confidence=self.confidence,
            fills=self.fills,
            clumping=self.clumping,
        )
        return scan(asked, patients=patients, threshold=threshold)

    def check_against(self, contract: DataContract) -> None:
        """As of every analysis, and that the trait fits the test.

        Raises:
            ManifestError: If not.
            ConfigurationError: If the trait does not fit.
        """
        super().check_against(contract)
        check_trait(contract.variable(self.model.outcome), self.method)


def check_trait(trait: Variable, method: Method) -> None:
    """Check that a trait fits a test.

    Raises:
        ConfigurationError: If not.
    """
    if not isinstance(trait, Binary if method in NEEDS_CASES else Binary | Continuous | Integer):
        raise ConfigurationError(
            f"expected a phenotype that fits method={method}, got {trait.name} of kind {trait.kind!r}",
            remedy="use method=linear for a number, method=logistic for a binary phenotype",
        )


def check_list(listed: VariantList, agreed: AgreedVariants) -> None:
    """Check that a list is the one that was agreed on.

    Raises:
        InvalidInputError: If not.
    """
    if (listed.digest, len(listed)) != (agreed.listed, agreed.num_variants):
        raise InvalidInputError(
            f"expected the list {agreed.listed[:19]}… of {agreed.num_variants} variants, got {listed.digest[:19]}… of "
            f"{len(listed)}",
            remedy="get the list that the study's lead wrote the manifest with",
        )


def one_list(analyses: Iterable[Agreed]) -> AgreedVariants | None:
    """The first association study of a manifest, whose list and rule of alignment all of them share; ``None``: there is none.

    Raises:
        ManifestError: If they name several.
    """
    found = [each for each in analyses if isinstance(each, AgreedVariants)]
    named = {(each.variants, each.num_variants) for each in found}
    if len(named) > 1:
        raise ManifestError(
            f"expected one list of variants and one rule on palindromic ones in a study, got {len(named)}",
            remedy="make a study of its own for the other list",
        )
    return found[0] if found else None
