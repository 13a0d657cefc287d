"""Polygenic scores: chosen by p-value and linkage, written, read by another study, and evaluated from sums."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.metrics import roc_auc_score

from experiments.genotypes.studies import GenotypeStudy
from experiments.genotypes.weights import read_weights
from federation.errors import InvalidInputError
from federation.statistics.genotypes.clumping import ClumpingRules, clumped
from federation.statistics.genotypes.quality import QualityRules, judge
from federation.statistics.genotypes.scoring import area
from federation.statistics.genotypes.variants import VariantList
from tests.genotype_bench import columns, load, pooled, run

SIZE = ("study.options.num_variants=80", "study.options.patients_per_site=150")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> GenotypeStudy:
    return load(tmp_path_factory.mktemp("scores"), *SIZE)


@pytest.fixture(scope="module")
def weights(study: GenotypeStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    asked = ("method=linear", "phenotype=trait", "components=2", "where=discovery = 1", "score_below=1e-3")
    path = folder / "weights.tsv"
    path.write_bytes(run(folder, study, *asked).table("weights").as_tsv())
    return path


def test_a_score_explains_people_who_were_not_in_its_discovery(
    study: GenotypeStudy, weights: Path, tmp_path: Path
) -> None:
    asked = ("method=score", f"weights={weights}", "phenotype=trait", "covariates=[age,male]", "where=discovery = 0")
    result = run(tmp_path, study, *asked, "aggregation=masked")
    people = pooled(study)
    chosen = people.values["discovery"] == 0
    score = read_weights(weights, study.listed, variants="any")
    copies = people.copies[np.ix_(chosen, score.places.places)]
    scores = np.nan_to_num(copies - score.centres.array) @ score.loadings.array[:, 0]
    trait, age, male = (people.values[name][chosen] for name in ("trait", "age", "male"))
    for beside, name in (
        ([scores], "of the score"),
        ([age, male], "of the covariates"),
        ([age, male, scores], "of both"),
    ):
        fitted = sm.OLS(trait, sm.add_constant(np.column_stack(beside))).fit()
        assert result.figures[f"R-squared {name}"] == pytest.approx(fitted.rsquared, rel=1e-8)
    assert result.figures["R-squared that the score adds"] > 0.2
    assert result.patients == chosen.sum()


def test_the_area_under_the_curve_of_a_binary_phenotype(study: GenotypeStudy, weights: Path, tmp_path: Path) -> None:
    result = run(tmp_path, study, "method=score", f"weights={weights}", "where=discovery = 0")
    people = pooled(study)
    chosen = people.values["discovery"] == 0
    score = read_weights(weights, study.listed, variants="any")
    scores = np.nan_to_num(people.copies[:, score.places.places] - score.centres.array) @ score.loadings.array[:, 0]
    expected = roc_auc_score(people.values["affected"][chosen], scores[chosen])
    assert result.figures["AUROC of the score"] == pytest.approx(expected, abs=2e-3)


def test_area_counts_ties_as_a_half() -> None:
    assert area(np.array([[1.0, 1, 0], [0, 1, 2]])) == pytest.approx(roc_auc_score([0, 0, 1, 1, 1], [0, 1, 1, 2, 2]))


def test_only_the_strongest_of_linked_neighbours_is_chosen() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 400)
    copies = np.column_stack([first, np.where(rng.random(400) < 0.95, first, 0), rng.integers(0, 3, 400), first, first])
    positions = np.array([1_000, 2_000, 3_000, 900_000, 5_000])
    listed = VariantList(
        chromosomes=np.array(["1", "1", "1", "1", "2"]),
        names=np.array(list("abcde")),
        positions=positions,
        first=np.array(["A"] * 5),
        second=np.array(["C"] * 5),
    )
    states = np.array([[[np.sum(column == k) for k in (0, 1, 2)] + [0]] for column in copies.T], dtype=float)
    quality = judge(states, np.zeros(5), rules=QualityRules(hwe_within=0), threshold=1)
    estimates = {"p": np.array([1e-9, 1e-20, 1e-5, 1e-6, 1e-7]), "beta": np.arange(5.0)}
    rules = ClumpingRules(below=1e-4, window=250, linkage=0.2)
    solver = clumped(rules, listed, variants="any", quality=quality, estimates=estimates)
    step = next(solver)
    order = step.places.places
    assert order.tolist() == [1, 0, 4, 3, 2]
    known, ours = np.ones((400, 5)), copies[:, order].astype(float)
    sums = {"both": known.T @ known, "sum": ours.T @ known, "square": (ours**2).T @ known, "product": ours.T @ ours}
    with pytest.raises(StopIteration) as end:
        solver.send(sums)
    assert end.value.value.column("variant") == ["b", "e", "d", "c"]
    assert end.value.value.column("weight") == [1.0, 4.0, 3.0, 2.0]


def test_weights_of_the_other_allele_change_their_sign(study: GenotypeStudy, weights: Path, tmp_path: Path) -> None:
    other = replace(study.listed, first=study.listed.second, second=study.listed.first)
    plain, turned = (read_weights(weights, listed, variants="any") for listed in (study.listed, other))
    assert np.array_equal(plain.loadings.array, -turned.loadings.array)
    assert np.allclose(plain.centres.array, 2 - turned.centres.array)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("weight\t", "effect\t"), "tab-separated columns"),
        (lambda text: text.replace("\t", ","), "tab-separated columns"),
        (lambda text: text.splitlines()[0] + "\n", "expected weights"),
        (lambda text: text + text.splitlines()[1] + "\n", "each once"),
        (lambda text: text.replace("var", "rs").replace("rsiant", "variant"), "of the study's list"),
        (lambda text: text.splitlines()[0] + "\n1\tvar1\n", "tab-separated columns"),
    ],
)
def test_a_file_that_is_none(study: GenotypeStudy, weights: Path, tmp_path: Path, change, says: str) -> None:
    path = tmp_path / "changed.tsv"
    path.write_text(change(weights.read_text()))
    with pytest.raises(InvalidInputError, match=says):
        read_weights(path, study.listed, variants="any")


@pytest.mark.parametrize("cell", ["nan", "inf", "high", ""])
def test_a_weight_that_is_no_number(study: GenotypeStudy, weights: Path, tmp_path: Path, cell: str) -> None:
    rows = [line.split("\t") for line in weights.read_text().splitlines()]
    rows[1][rows[0].index("weight")] = cell
    path = tmp_path / "changed.tsv"
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    with pytest.raises(InvalidInputError, match="in line 2"):
        read_weights(path, study.listed, variants="any")


def test_a_limit_that_no_variant_passes(study: GenotypeStudy, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="with a p-value of at most"):
        run(tmp_path, study, "method=linear", "phenotype=trait", "score_below=1e-200")


def test_weights_of_a_binary_phenotype_are_log_odds_ratios(study: GenotypeStudy, tmp_path: Path) -> None:
    for method in ("allelic", "logistic"):
        result = run(tmp_path, study, f"method={method}", "score_below=0.01", "score_linkage=1")
        found, tested = columns(result, "weights"), columns(result)
        ratio = dict(zip(tested["variant"], tested["odds ratio"], strict=True))
        assert np.allclose(found["weight"], np.log([ratio[name] for name in found["variant"]]))
