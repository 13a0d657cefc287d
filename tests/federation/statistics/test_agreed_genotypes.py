"""Which steps an agreed association study allows: those its solver asks for, and none about other variants, models or rules."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from federation.errors import ConfigurationError, InternalError, InvalidInputError, ManifestError
from federation.statistics.agreed_genotypes import AgreedVariants, check_list, one_list
from federation.statistics.counts import CountStep
from federation.statistics.descriptive_steps import MomentStep, Scaled
from federation.statistics.genotype_source import Packed, Projection
from federation.statistics.genotypes.block_steps import AlignmentStep, GenotypeCountStep
from federation.statistics.genotypes.component_steps import ComponentStep, LinkageStep, ScoreStep
from federation.statistics.genotypes.regression_steps import LinearScanStep, LogisticScanStep
from federation.statistics.genotypes.scan import covariate_step
from federation.statistics.genotypes.stratum_steps import StratumStep
from tests.agreed_variants import CONTRACT, agreed_variants, listed_variants
from tests.agreed_variants import LINEAR as WORDS


def agreed(*words: str) -> AgreedVariants:
    return agreed_variants(*words)[0]


def places(count: int = 5) -> Packed:
    return Packed.of(np.arange(count))


def projection(variants: str, *, width: int = 2, size: int = 12) -> Projection:
    ones = Packed.of(np.ones(size))
    return Projection(
        variants=variants, places=places(size), centres=ones, scales=ones, loadings=Packed.of(np.ones((size, width)))
    )


LINEAR = agreed(*WORDS)
LOGISTIC = agreed("method=logistic", "covariates=[age]", "block=10", "missing_genotypes=mean")
ALLELIC = agreed("method=allelic", "block=10")


def linear_step(**changes: object) -> LinearScanStep:
    model = LINEAR.model.model_copy(update={"components": projection(LINEAR.variants)})
    return LinearScanStep(variants=LINEAR.variants, places=places(), model=model).model_copy(update=changes)


def logistic_step(**changes: object) -> LogisticScanStep:
    found = LogisticScanStep(
        variants=LOGISTIC.variants,
        places=places(),
        model=LOGISTIC.model,
        fill=Packed.of(np.full(5, 0.5)),
        coefficients=Packed.of(np.zeros((5, 3))),
    )
    return found.model_copy(update=changes)


def test_the_steps_of_the_solver_are_allowed() -> None:
    for step in (
        CountStep(),
        covariate_step(LINEAR.model),
        AlignmentStep(variants=LINEAR.variants, sites=("north", "south")),
        GenotypeCountStep(variants=LINEAR.variants, places=places(), least_p=1e-6),
        ComponentStep(variants=LINEAR.variants, projection=projection(LINEAR.variants, width=8)),
        linear_step(),
    ):
        assert LINEAR.allows(step, CONTRACT), step.as_data()["kind"]
    assert LOGISTIC.allows(logistic_step(), CONTRACT)
    assert LOGISTIC.allows(logistic_step(coefficients=Packed.of(np.ones((5, 3)))), CONTRACT)


OTHER = agreed("method=linear", "phenotype=trait", "covariates=[male]", "components=2").model
REFUSED = {
    "another list": (LINEAR, linear_step(variants="sha256:" + "0" * 64 + ":exclude")),
    "another rule of alignment": (LINEAR, linear_step(variants=LINEAR.listed + ":keep")),
    "another covariate": (LINEAR, linear_step(model=OTHER)),
    "no components": (LINEAR, linear_step(model=LINEAR.model)),
    "more components": (
        LINEAR,
        linear_step(model=LINEAR.model.model_copy(update={"components": projection(LINEAR.variants, width=3)})),
    ),
    "components of another list": (
        LINEAR,
        linear_step(model=LINEAR.model.model_copy(update={"components": projection("sha256:other")})),
    ),
    "more variants than a block": (LINEAR, linear_step(places=places(11))),
    "filled where patients are left out": (LINEAR, linear_step(fill=Packed.of(np.ones(5)))),
    "left out where filled": (LOGISTIC, logistic_step(fill=None)),
    "copies beyond two": (LOGISTIC, logistic_step(fill=Packed.of(np.full(5, 2.5)))),
    "another test": (LOGISTIC, linear_step(variants=LOGISTIC.variants)),
    "counts by outcome of a number": (
        LINEAR,
        GenotypeCountStep(variants=LINEAR.variants, places=places(), outcome="affected", least_p=1e-6),
    ),
    "another limit of equilibrium": (LINEAR, GenotypeCountStep(variants=LINEAR.variants, places=places(), least_p=0.5)),
    "a wide projection": (
        LINEAR,
        ComponentStep(variants=LINEAR.variants, projection=projection(LINEAR.variants, width=9)),
    ),
    "a projection of many variants": (
        LINEAR,
        ComponentStep(variants=LINEAR.variants, projection=projection(LINEAR.variants, size=21)),
    ),
    "components where none are": (
        ALLELIC,
        ComponentStep(variants=ALLELIC.variants, projection=projection(ALLELIC.variants)),
    ),
    "strata where none are": (ALLELIC, StratumStep(variants=ALLELIC.variants, places=places(), outcome="affected")),
    "linkage without a score": (LINEAR, LinkageStep(variants=LINEAR.variants, places=places())),
    "a score": (
        LINEAR,
        ScoreStep(variants=LINEAR.variants, model=LINEAR.model, score=projection(LINEAR.variants, width=1)),
    ),
    "covariates where none are": (ALLELIC, covariate_step(LINEAR.model)),
    "other statistics": (LINEAR, MomentStep(numbers=(Scaled(variable="age", centre=50.0, scale=50.0),))),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_step_is_not_allowed(case: str) -> None:
    analysis, step = REFUSED[case]
    assert not analysis.allows(step, CONTRACT)


def test_a_score_asks_for_the_linkage_of_its_candidates() -> None:
    analysis = agreed("method=linear", "phenotype=trait", "score_below=1e-3", "block=10")
    assert analysis.allows(LinkageStep(variants=analysis.variants, places=places(900)), CONTRACT)
    assert not analysis.allows(LinkageStep(variants=analysis.variants, places=places(1001)), CONTRACT)


def test_an_analysis_is_the_same_after_it_was_written_and_read() -> None:
    assert AgreedVariants.from_data(LINEAR.as_data()) == LINEAR


def test_a_trait_that_does_not_fit_the_test_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="phenotype that fits method=logistic"):
        agreed("method=logistic", "phenotype=trait")
    with pytest.raises(ManifestError, match="blood"):
        agreed("method=linear", "phenotype=blood")
    with pytest.raises(ConfigurationError, match="method=score"):
        agreed("method=score", "weights=weights.tsv")


def test_components_and_covariates_are_for_regressions_only() -> None:
    with pytest.raises(ValidationError, match="no covariates and components"):
        AgreedVariants.model_validate(ALLELIC.model_dump() | {"components": 2})
    with pytest.raises(ValidationError, match="follow from sums"):
        AgreedVariants.model_validate(LINEAR.model_dump() | {"model": linear_step().model.model_dump()})


def test_a_manifest_has_one_list() -> None:
    assert one_list([LINEAR, ALLELIC]) is LINEAR
    assert one_list([]) is None
    with pytest.raises(ManifestError, match="one list"):
        one_list([LINEAR, agreed("method=allelic", "palindromic=keep")])


def test_the_list_is_the_one_that_was_agreed_on() -> None:
    check_list(listed_variants(), LINEAR)
    with pytest.raises(InvalidInputError, match="of 40 variants"):
        check_list(listed_variants(39), LINEAR)
    with pytest.raises(InternalError, match="list of variants"):
        LINEAR.solver(CONTRACT, patients=100, threshold=5)
