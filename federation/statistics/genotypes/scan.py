"""A genome-wide association study: alignment, counts, quality, components and the test of every variant, as one solver.

Axis names: V variants of the list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from federation.statistics.disclosure import check_columns_are_safe, check_total
from federation.statistics.genotype_source import Packed
from federation.statistics.genotypes import variant_tests
from federation.statistics.genotypes.alignment import FATES
from federation.statistics.genotypes.block_steps import AlignmentStep, GenotypeCountStep
from federation.statistics.genotypes.clumping import ClumpingRules, clumped
from federation.statistics.genotypes.components import Components, solve_components, thinned
from federation.statistics.genotypes.quality import Quality, QualityRules, judge
from federation.statistics.genotypes.scan_model import ScanModel
from federation.statistics.genotypes.variants import VariantList
from federation.statistics.glm_steps import CrossProductStep, RegressionModel
from federation.statistics.result import Cell, Findings, Table, shown
from federation.statistics.solving import check_columns
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]
Method = Literal["allelic", "cmh", "linear", "logistic"]
NEEDS_CASES: Final = frozenset({"allelic", "cmh", "logistic"})
REGRESSIONS: Final = frozenset({"linear", "logistic"})
_PATIENTS_PER_COLUMN: Final = 3
_NUMBERS_OF_COUNTS: Final = 9
_DIGITS: Final = 12


@dataclass(frozen=True)
class Scan:
    """What is asked.

    Args:
        listed: The public list of variants.
        variants: Digest that the sites' genotypes are aligned under.
        sites: Of the study.
        method: Of the tests.
        model: Outcome and covariates.
        rules: On variants.
        components: Principal components beside the covariates.
        component_variants: Most variants from which they are computed.
        block: Most variants of one sum.
        confidence: Of intervals.
        fills: Whether missing genotypes count as the mean in regressions.
        clumping: How weights of a polygenic score are chosen; ``None``: no score.
    """

    listed: VariantList = field(repr=False)
    variants: str
    sites: tuple[str, ...]
    method: Method
    model: ScanModel
    rules: QualityRules
    components: int = 0
    component_variants: int = 2000
    block: int = 4096
    confidence: float = 0.95
    fills: bool = False
    clumping: ClumpingRules | None = None


def scan(asked: Scan, *, patients: int, threshold: int) -> Solver[Findings]:
    """Test every variant.

    Args:
        asked: What is asked.
        patients: In the sums.
        threshold: Smallest number of carriers that may be told about.

    Raises:
        PrivacyRefusedError: If there are too few patients in a group, or too many columns for them.
        InvalidInputError: If no variant passes the rules or the covariates are collinear.
    """
    if asked.method in REGRESSIONS:
        yield from _check_covariates(asked, patients=patients, threshold=threshold)
    fates = (yield AlignmentStep(variants=asked.variants, sites=asked.sites))["fates"]
    quality = yield from count(asked, threshold=threshold)
    components, model = None, asked.model
    if asked.components:
        places = thinned(asked.listed, quality, most=asked.component_variants)
        components = yield from solve_components(
            asked.variants, places, quality.frequency[places], components=asked.components, patients=patients
        )
        model = model.model_copy(update={"components": components.projection})
    estimates = yield from _tested(asked, model, quality)
    tables = [
        association_table(asked.listed, quality, estimates),
        quality.attrition(),
        alignment_table(asked.sites, fates),
    ]
    if components is not None:
        tables += _component_tables(asked.listed, components)
    if asked.clumping is not None:
        tables.append(
            (
                yield from clumped(
                    asked.clumping, asked.listed, variants=asked.variants, quality=quality, estimates=estimates
                )
            )
        )
    p = estimates["p"]
    return Findings(
        figures={
            "variants tested": float(len(p)),
            "variants without a finite estimate": float(np.count_nonzero(np.isnan(p))),
            "genomic inflation": inflation(p),
            "smallest p": shown(float(np.nanmin(p))) if np.isfinite(p).any() else None,
        },
        tables=tuple(tables),
    )


def count(asked: Scan, *, threshold: int) -> Solver[Quality]:
    """Count the genotypes of all variants and judge them."""
    outcome = asked.model.outcome if asked.method in NEEDS_CASES else None
    counts: list[FloatArray] = []
    outside: list[FloatArray] = []
    everything = np.arange(len(asked.listed))
    for part in variant_tests.block_slices(len(everything), numbers=_NUMBERS_OF_COUNTS, block=asked.block):
        sums = yield GenotypeCountStep(
            variants=asked.variants,
            places=Packed.of(everything[part]),
            outcome=outcome,
            least_p=asked.rules.hwe_within,
        )
        counts.append(sums["counts"])
        outside.append(sums["outside"])
    return judge(np.concatenate(counts), np.concatenate(outside), rules=asked.rules, threshold=threshold)


def _check_covariates(asked: Scan, *, patients: int, threshold: int) -> Solver[None]:
    """Refuse covariates that describe a few patients, before a variant is looked at."""
    model = asked.model
    sums = yield covariate_step(model)
    check_columns_are_safe(sums["gram"], model.design, patients=patients, threshold=threshold)
    check_columns(sums["gram"], model.design.names)
    if threshold > 1:
        check_total(patients, _PATIENTS_PER_COLUMN * (model.width + asked.components + 1))


def covariate_step(model: ScanModel) -> CrossProductStep:
    """What is asked about the covariates alone, before any variant."""
    return CrossProductStep(
        model=RegressionModel(
            family="linear",
            outcome=model.outcome,
            design=model.design,
            outcome_centre=model.outcome_centre,
            outcome_scale=model.outcome_scale,
        )
    )


def _tested(asked: Scan, model: ScanModel, quality: Quality) -> Solver[variant_tests.Estimates]:
    variants, block, confidence = asked.variants, asked.block, asked.confidence
    match asked.method:
        case "allelic":
            return variant_tests.allelic(quality)
        case "cmh":
            return (
                yield from variant_tests.stratified(
                    variants, quality, outcome=model.outcome, block=block, confidence=confidence
                )
            )
        case "linear":
            return (yield from variant_tests.linear(variants, quality, model=model, block=block, fills=asked.fills))
        case "logistic":
            return (
                yield from variant_tests.logistic(
                    variants, quality, model=model, block=block, confidence=confidence, fills=asked.fills
                )
            )


def inflation(p: FloatArray) -> float | None:
    """Genomic inflation: the median statistic over that of a chi-squared variable (Devlin & Roeder 1999)."""
    finite = p[np.isfinite(p)]
    if len(finite) == 0:
        return None
    from scipy import stats  # takes most of a second to import

    return float(np.median(stats.chi2.isf(finite, 1)) / float(stats.chi2.ppf(0.5, 1)))


def association_table(listed: VariantList, quality: Quality, estimates: variant_tests.Estimates) -> Table:
    """A row for each tested variant, in the order of the list."""
    tested = quality.tested
    columns: dict[str, list[Cell]] = {
        "chromosome": listed.chromosomes[tested].tolist(),
        "variant": listed.names[tested].tolist(),
        "position": listed.positions[tested].tolist(),
        "allele": listed.first[tested].tolist(),
        "other": listed.second[tested].tolist(),
        "patients": quality.known[tested].astype(np.int64).tolist(),
        "frequency": _cells(quality.frequency[tested]),
        "missing": _cells(quality.missing[tested]),
        "hwe p": _cells(quality.equilibrium[tested]),
        **{name: _cells(values) for name, values in estimates.items()},
    }
    return Table(
        name="association",
        title="Association",
        columns=tuple(columns),
        rows=tuple(zip(*columns.values(), strict=True)),
    )


def alignment_table(sites: tuple[str, ...], fates: FloatArray) -> Table:
    """A row for each site: how many variants met which fate."""
    rows = [(site, *row) for site, row in zip(sites, fates.astype(np.int64).tolist(), strict=True)]
    return Table(name="alignment", title="Alignment of the sites' variants", columns=("site", *FATES), rows=tuple(rows))


def _component_tables(listed: VariantList, components: Components) -> list[Table]:
    names = tuple(f"component {place + 1}" for place in range(len(components.eigenvalues)))
    rows = [
        (name, value, value / components.total)
        for name, value in zip(names, components.eigenvalues.tolist(), strict=True)
    ]
    of = components.projection
    places = of.places.places
    loadings = [
        (name, centre, scale, *row)
        for name, centre, scale, row in zip(
            listed.names[places].tolist(),
            of.centres.array.tolist(),
            of.scales.array.tolist(),
            of.loadings.array.tolist(),
            strict=True,
        )
    ]
    return [
        Table(
            name="components",
            title=f"Principal components of {len(places)} variants",
            columns=("component", "eigenvalue", "share of variance"),
            rows=tuple(rows),
        ),
        Table(name="loadings", title="Loadings", columns=("variant", "centre", "scale", *names), rows=tuple(loadings)),
    ]


def _cells(values: FloatArray) -> list[Cell]:
    return [shown(value) for value in values.tolist()]
