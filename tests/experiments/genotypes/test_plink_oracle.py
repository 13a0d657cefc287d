"""Every variant of HapMap3 as Debian's plink1.9 computes it on the pooled files, to the digits that it prints."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from experiments.genotypes.studies import GenotypeStudy
from federation.statistics.result import AnalysisResult
from tests.genotype_bench import columns, load, pooled, run

DATA = os.environ.get("COHORTIUM_DATA", "")
PREFIX = Path(DATA) / "genotypes" / "HM3_thinned_autosomal_overlap"
PLINK = shutil.which("plink1.9")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PREFIX.with_suffix(".bed").is_file(), reason="COHORTIUM_DATA has no genotypes"),
    pytest.mark.skipif(PLINK is None, reason="plink1.9 is not installed"),
]
EVERYTHING = ("maf=0", "missing=1", "hwe_within=0", "threshold=1", "palindromic=keep")
"""No variant is left out: the founders are public."""
PRINTED = 4
"""Significant digits."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oracle")


@pytest.fixture(scope="module")
def study(place: Path) -> GenotypeStudy:
    return load(place, "study=gwas_hapmap3", "study.options.is_disarranged=false", data=Path(DATA))


@pytest.fixture(scope="module")
def traits(study: GenotypeStudy, place: Path) -> Path:
    """Phenotypes, covariates and populations in PLINK's form."""
    people = pooled(study)
    families = {line.split()[1]: line.split()[0] for line in PREFIX.with_suffix(".fam").read_text().splitlines()}
    lines = ["FID IID trait affected age male site"]
    for row, person in enumerate(people.people.tolist()):
        values = [people.values["trait"][row], people.values["affected"][row] + 1]
        values += [people.values["age"][row], people.values["male"][row]]
        lines.append(f"{families[person]} {person} {' '.join(f'{v:.10g}' for v in values)} {people.sites[row]}")
    path = place / "traits.txt"
    path.write_text("\n".join(lines) + "\n")
    (place / "clusters.txt").write_text(
        "".join(f"{' '.join(line.split()[:2])} {line.split()[-1]}\n" for line in lines[1:])
    )
    return path


def plink(place: Path, name: str, *arguments: str) -> dict[str, list[str]]:
    """Columns of the first table of that suffix, as printed."""
    out = place / name.replace(".", "-")
    command = [
        str(PLINK),
        "--bfile",
        str(PREFIX),
        "--keep-allele-order",
        "--allow-no-sex",
        "--out",
        str(out),
        *arguments,
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=place)
    rows = [line.split() for line in Path(f"{out}.{name}").read_text().splitlines()]
    return dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))


def differing(printed: list[str], ours: np.ndarray, *, beyond: float = 0.0) -> np.ndarray:
    """Where numbers differ by more than the rounding of the print. What PLINK cannot compute, we do not show.

    Args:
        printed: PLINK's.
        ours: The same.
        beyond: Absolute difference that is allowed beside the rounding.
    """
    theirs = np.array([float(word) if word.lower() not in {"na", "inf", "nan"} else np.nan for word in printed])
    assert len(theirs) == len(ours)
    size = np.floor(np.log10(np.maximum(np.abs(theirs), 1e-300)))
    tolerance = 0.5 * 10.0 ** (size - PRINTED + 1) * (1 + 1e-6) + 1e-12 + beyond
    return ~(np.abs(theirs - ours) <= tolerance) & ~(np.isnan(theirs) & np.isnan(ours))


def disagreeing(printed: list[str], ours: np.ndarray) -> int:
    return int(np.count_nonzero(differing(printed, ours)))


def test_frequencies_missing_shares_and_equilibrium(study: GenotypeStudy, traits: Path, place: Path) -> None:
    ours = columns(run(place, study, "method=linear", "phenotype=trait", *EVERYTHING))
    assert len(ours["variant"]) == 14_079
    frequency = plink(place, "frq", "--freq")
    assert frequency["SNP"] == ours["variant"].tolist()
    assert frequency["A1"] == ours["allele"].tolist()
    assert disagreeing(frequency["MAF"], ours["frequency"]) == 0
    assert frequency["NCHROBS"] == [str(round(2 * people)) for people in ours["patients"]]
    assert disagreeing(plink(place, "lmiss", "--missing")["F_MISS"], ours["missing"]) == 0
    hardy = plink(place, "hwe", "--hardy")
    everybody = [p for p, test in zip(hardy["P"], hardy["TEST"], strict=True) if test == "ALL"]
    assert disagreeing(everybody, ours["hwe p"]) == 0


def test_allelic_association(study: GenotypeStudy, traits: Path, place: Path) -> None:
    ours = columns(run(place, study, "method=allelic", *EVERYTHING))
    theirs = plink(place, "assoc", "--assoc", "--pheno", str(traits), "--pheno-name", "affected")
    assert theirs["SNP"] == ours["variant"].tolist()
    names = {
        "F_A": "frequency in cases",
        "F_U": "frequency in controls",
        "CHISQ": "statistic",
        "P": "p",
        "OR": "odds ratio",
    }
    assert {name: disagreeing(theirs[name], ours[own]) for name, own in names.items()} == dict.fromkeys(names, 0)


def test_cochran_mantel_haenszel_by_population(study: GenotypeStudy, traits: Path, place: Path) -> None:
    ours = columns(run(place, study, "method=cmh", *EVERYTHING))
    theirs = plink(
        place,
        "cmh",
        "--mh",
        "--within",
        str(place / "clusters.txt"),
        "--pheno",
        str(traits),
        "--pheno-name",
        "affected",
        "--ci",
        "0.95",
    )
    assert theirs["SNP"] == ours["variant"].tolist()
    names = {"CHISQ": "statistic", "P": "p", "OR": "odds ratio", "SE": "standard error", "L95": "lower", "U95": "upper"}
    assert {name: disagreeing(theirs[name], ours[own]) for name, own in names.items()} == dict.fromkeys(names, 0)


def covariates_file(study: GenotypeStudy, result: AnalysisResult, traits: Path, place: Path) -> Path:
    """Age, sex and the scores of the components, which only a test can compute: from the loadings and all genotypes."""
    loadings = columns(result, "loadings")
    where = {name: column for column, name in enumerate(study.listed.names.tolist())}
    names = [name for name in loadings if name.startswith("component")]
    people = pooled(study, "keep")
    chosen = people.copies[:, [where[name] for name in loadings["variant"]]]
    standard = np.nan_to_num((chosen - loadings["centre"]) / loadings["scale"])
    scores = standard @ np.column_stack([loadings[name] for name in names])
    assert np.allclose(scores.std(axis=0), 1.0, atol=1e-6)
    lines = traits.read_text().splitlines()
    path = place / "covariates.txt"
    head = f"{' '.join(lines[0].split()[:2])} age male {' '.join(f'pc{place}' for place in range(len(names)))}"
    rows = [
        f"{' '.join(w.split()[:2] + w.split()[4:6])} {' '.join(f'{v:.15g}' for v in s)}"
        for w, s in zip(lines[1:], scores, strict=True)
    ]
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


BESIDE = ("covariates=[age,male]", "components=4")


def test_linear_regression_with_covariates_and_components(study: GenotypeStudy, traits: Path, place: Path) -> None:
    result = run(place, study, "method=linear", "phenotype=trait", *BESIDE, *EVERYTHING)
    ours = columns(result)
    covariates = covariates_file(study, result, traits, place)
    theirs = plink(
        place,
        "assoc.linear",
        "--linear",
        "hide-covar",
        "--covar",
        str(covariates),
        "--pheno",
        str(traits),
        "--pheno-name",
        "trait",
    )
    assert theirs["SNP"] == ours["variant"].tolist()
    names = {"BETA": "beta", "STAT": "statistic", "P": "p"}
    assert {name: disagreeing(theirs[name], ours[own]) for name, own in names.items()} == dict.fromkeys(names, 0)


def test_logistic_regression_with_covariates_and_components(study: GenotypeStudy, traits: Path, place: Path) -> None:
    result = run(place, study, "method=logistic", *BESIDE, *EVERYTHING)
    ours = columns(result)
    covariates = covariates_file(study, result, traits, place)
    theirs = plink(
        place,
        "assoc.logistic",
        "--logistic",
        "hide-covar",
        "beta",
        "--covar",
        str(covariates),
        "--pheno",
        str(traits),
        "--pheno-name",
        "affected",
    )
    assert theirs["SNP"] == ours["variant"].tolist()
    names = {"BETA": "log odds ratio", "STAT": "statistic", "P": "p"}
    # plink1.9 fits logistic models in single precision. Where its last digit is another, double precision decides.
    off = np.zeros(len(ours["variant"]), dtype=bool)
    for name, own in names.items():
        off |= differing(theirs[name], ours[own])
        assert not differing(theirs[name], ours[own], beyond=2e-5).any()
    assert np.count_nonzero(off) < 0.05 * len(off)
    people = pooled(study, "keep")
    beside = np.loadtxt(covariates, skiprows=1, usecols=range(2, 8))
    for place_of in np.flatnonzero(off):
        copies = people.copies[:, place_of]
        known = ~np.isnan(copies)
        design = np.column_stack([np.ones(known.sum()), beside[known], copies[known]])
        fitted = sm.GLM(people.values["affected"][known], design, family=sm.families.Binomial()).fit(tol=1e-14)
        found = [ours[own][place_of] for own in ("log odds ratio", "standard error", "p")]
        assert np.allclose(found, [fitted.params[-1], fitted.bse[-1], fitted.pvalues[-1]], rtol=1e-7, atol=1e-10)
