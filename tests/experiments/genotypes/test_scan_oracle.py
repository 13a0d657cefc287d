"""Associations over sites are those of the pooled genotypes: statsmodels and SciPy judge, on generated sites, with and without masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable

from experiments.genotypes.studies import GenotypeStudy
from federation.statistics.genotypes.regression_steps import ScanStep
from tests.genotype_bench import Pooled, columns, load, pooled, run

SMALL = ("study.options.num_variants=60", "study.options.patients_per_site=90")
LOOSE = ("missing=1", "maf=0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scan")


@pytest.fixture(scope="module")
def study(place: Path) -> GenotypeStudy:
    return load(place, *SMALL)


@pytest.fixture(scope="module")
def people(study: GenotypeStudy) -> Pooled:
    return pooled(study)


def places_of(study: GenotypeStudy, found: dict[str, np.ndarray]) -> list[int]:
    names = study.listed.names.tolist()
    return [names.index(name) for name in found["variant"]]


def design(people: Pooled, copies: np.ndarray, *beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a genotype; an intercept, the columns beside it, the copies."""
    known = ~np.isnan(copies)
    stacked = [np.ones(known.sum()), *(column[known] for column in beside), copies[known]]
    return np.column_stack(stacked), known


def test_linear_regression(study: GenotypeStudy, people: Pooled, place: Path) -> None:
    result = run(place, study, "method=linear", "phenotype=trait", "covariates=[age,male]", *LOOSE)
    found = columns(result)
    assert result.figures["variants tested"] == len(found["variant"]) > 50
    for row, column in enumerate(places_of(study, found)):
        matrix, known = design(people, people.copies[:, column], people.values["age"], people.values["male"])
        fitted = sm.OLS(people.values["trait"][known], matrix).fit()
        expected = [fitted.params[-1], fitted.bse[-1], fitted.tvalues[-1], fitted.pvalues[-1], known.sum()]
        ours = [found[name][row] for name in ("beta", "standard error", "statistic", "p", "patients")]
        assert np.allclose(ours, expected, rtol=1e-8)


def test_logistic_regression(study: GenotypeStudy, people: Pooled, place: Path) -> None:
    found = columns(run(place, study, "method=logistic", "covariates=[age,male]", *LOOSE))
    for row, column in enumerate(places_of(study, found)):
        matrix, known = design(people, people.copies[:, column], people.values["age"], people.values["male"])
        fitted = sm.Logit(people.values["affected"][known], matrix).fit(disp=0, method="newton", tol=1e-12)
        lower, upper = np.exp(fitted.conf_int()[-1])
        expected = [fitted.params[-1], fitted.bse[-1], fitted.pvalues[-1], np.exp(fitted.params[-1]), lower, upper]
        names = ("log odds ratio", "standard error", "p", "odds ratio", "lower", "upper")
        assert np.allclose([found[name][row] for name in names], expected, rtol=1e-8)


def alleles(copies: np.ndarray, affected: np.ndarray) -> np.ndarray:
    """Cases and controls by first and second allele."""
    known = ~np.isnan(copies)
    tables = [
        [copies[known & (affected == group)].sum(), (2 - copies[known & (affected == group)]).sum()] for group in (1, 0)
    ]
    return np.array(tables)


def test_allelic_test(study: GenotypeStudy, people: Pooled, place: Path) -> None:
    found = columns(run(place, study, "method=allelic", *LOOSE))
    for row, column in enumerate(places_of(study, found)):
        table = alleles(people.copies[:, column], people.values["affected"])
        statistic, p, _, _ = stats.chi2_contingency(table, correction=False)
        ratio = table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])
        ours = [found[name][row] for name in ("statistic", "p", "odds ratio", "frequency in cases")]
        assert np.allclose(ours, [statistic, p, ratio, table[0, 0] / table[0].sum()], rtol=1e-9)


def test_cochran_mantel_haenszel(study: GenotypeStudy, people: Pooled, place: Path) -> None:
    found = columns(run(place, study, "method=cmh", *LOOSE))
    for row, column in enumerate(places_of(study, found)):
        strata = [people.sites == site for site in np.unique(people.sites)]
        tables = [alleles(people.copies[chosen, column], people.values["affected"][chosen]) for chosen in strata]
        fitted = StratifiedTable([table for table in tables if table.sum() > 0])
        lower, upper = fitted.oddsratio_pooled_confint()
        test = fitted.test_null_odds(correction=False)
        expected = [fitted.oddsratio_pooled, fitted.logodds_pooled_se, lower, upper, test.statistic, test.pvalue]
        names = ("odds ratio", "standard error", "lower", "upper", "statistic", "p")
        assert np.allclose([found[name][row] for name in names], expected, rtol=1e-8)


@pytest.mark.parametrize("method", ["allelic", "cmh", "linear", "logistic"])
def test_masks_change_no_digit_and_blocks_none_that_counts(study: GenotypeStudy, place: Path, method: str) -> None:
    beside = ("components=2", "covariates=[age]") if method in {"linear", "logistic"} else ()
    open_sums = run(place, study, f"method={method}", *beside, "block=17")
    masked = run(place, study, f"method={method}", *beside, "aggregation=masked", "block=17")
    assert masked.tables == open_sums.tables
    assert masked.figures == open_sums.figures
    # A site's matrix products of a block: their last bits may follow from its shape, as a processor pleases.
    at_once = run(place, study, f"method={method}", *beside)
    assert masked.steps > at_once.steps
    assert masked.figures == pytest.approx(at_once.figures, rel=1e-9)
    for ours, theirs in zip(masked.tables, at_once.tables, strict=True):
        assert ours.columns == theirs.columns
        for one, other in zip(ours.rows, theirs.rows, strict=True):
            assert one == tuple(
                pytest.approx(cell, rel=1e-9, abs=1e-12) if isinstance(cell, float) else cell for cell in other
            )


def test_components_are_the_singular_vectors_of_all_genotypes(
    study: GenotypeStudy, people: Pooled, place: Path
) -> None:
    result = run(place, study, "method=linear", "phenotype=trait", "components=3")
    loadings = columns(result, "loadings")
    names = study.listed.names.tolist()
    chosen = people.copies[:, [names.index(name) for name in loadings["variant"]]]
    frequency = np.nanmean(chosen, axis=0) / 2
    assert np.allclose(loadings["centre"], 2 * frequency)
    standard = np.nan_to_num((chosen - 2 * frequency) / np.sqrt(2 * frequency * (1 - frequency)))
    left, singular, _ = np.linalg.svd(standard, full_matrices=False)
    ours = standard @ np.column_stack([loadings[f"component {k}"] for k in (1, 2, 3)])
    assert np.allclose(np.abs(left[:, :3].T @ ours) / np.sqrt(len(ours)), np.eye(3), atol=1e-7)
    eigenvalues = columns(result, "components")
    assert np.allclose(eigenvalues["eigenvalue"], singular[:3] ** 2 / len(ours), rtol=1e-8)
    assert np.allclose(eigenvalues["share of variance"], singular[:3] ** 2 / (singular**2).sum(), rtol=1e-8)


def test_an_outcome_of_two_values_can_be_regressed_linearly(study: GenotypeStudy, people: Pooled, place: Path) -> None:
    found = columns(run(place, study, "method=linear"))
    column = places_of(study, found)[0]
    matrix, known = design(people, people.copies[:, column])
    assert found["beta"][0] == pytest.approx(
        sm.OLS(people.values["affected"][known], matrix).fit().params[-1], rel=1e-9
    )


@pytest.mark.parametrize("method", ["linear", "logistic"])
def test_missing_genotypes_may_count_as_the_mean(
    study: GenotypeStudy, people: Pooled, place: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guarantee: then the sums tell nothing of who lacks a genotype: those without the genotype are the same for all variants."""
    sums: list[dict[str, np.ndarray]] = []
    summed = ScanStep.parts
    monkeypatch.setattr(ScanStep, "parts", lambda self, total: sums.append(dict(summed(self, total))) or sums[-1])
    phenotype = ("phenotype=trait",) if method == "linear" else ()
    found = columns(
        run(place, study, f"method={method}", *phenotype, "covariates=[age]", "missing_genotypes=mean", *LOOSE)
    )
    alike = [sums[0][name] for name in ("gram", "scores")] + ([sums[0]["outcomes"]] if method == "linear" else [])
    assert all(np.ptp(part, axis=0).max() < 1e-9 for part in alike)
    for row, column in enumerate(places_of(study, found)):
        copies = people.copies[:, column]
        matrix, _ = design(people, np.where(np.isnan(copies), np.nanmean(copies), copies), people.values["age"])
        if method == "linear":
            fitted = sm.OLS(people.values["trait"], matrix).fit()
        else:
            fitted = sm.Logit(people.values["affected"], matrix).fit(disp=0, method="newton", tol=1e-12)
        ours = [found[name][row] for name in ("standard error", "statistic", "p")]
        assert np.allclose(ours, [fitted.bse[-1], fitted.tvalues[-1], fitted.pvalues[-1]], rtol=1e-7)
