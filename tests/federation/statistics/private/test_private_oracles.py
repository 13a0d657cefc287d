"""Analyses with privacy against those of the pooled patients: the same as epsilon grows, and as far off as their errors say.

An epsilon of a million is no protection: it is there to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from experiments.analyse_plans import agree
from experiments.analyse_settings import read_settings
from federation.errors import StudyError
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.statistics.private.plans import plan_of
from federation.statistics.private.sharing import NOISE
from federation.statistics.result import Findings
from federation.statistics.step import Columns
from tests.federation.statistics.private.test_private_steps import ANALYSES
from tests.statistics_bench import CONTRACT, draw, parts, solve

SIZE, SITES = 1500, 3
VALUES = draw(SIZE, seed=4)
HOSPITALS = parts(VALUES, np.arange(SIZE) % SITES)


def agreed(name: str, *words: str):
    settings, _ = read_settings([*ANALYSES[name], *words])
    return agree(settings, CONTRACT, name=name, shares=SITES)


def privately(
    name: str, *words: str, epsilon: float, streams: RandomStreams, hospitals: list[Columns] = HOSPITALS
) -> Findings:
    """The solver over sums with every site's share of the noise."""
    plan = plan_of(agreed(name, f"privacy.epsilon={epsilon}", *words), CONTRACT)
    steps = plan.steps()
    try:
        step = next(steps)
        while True:
            words_of = [
                step.noisy_words(
                    columns,
                    rounding=streams.stream("rounding", step.release, site),
                    noise=streams.stream("noise", step.release, site),
                )
                for site, columns in enumerate(hospitals)
            ]
            sums = step.parts(step.opened(np.sum(words_of, axis=0)))
            step = steps.send({**sums, NOISE: np.array(step.noise_deviation(len(hospitals)))})
    except StopIteration as end:
        return end.value


def exactly(name: str, *words: str) -> Findings:
    return solve(agreed(name, *words).solver(CONTRACT, patients=SIZE, threshold=1), HOSPITALS)


def seeded(seed: int) -> RandomStreams:
    return seeded_streams(seed, provenance="synthetic")


def column(findings: Findings, table: str, name: str) -> np.ndarray:
    found: Mapping[str, object] = {each.name: each for each in findings.tables}
    return np.array(found[table].numbers(name))


CLIPPING = {"logistic": 1, "linear": 1, "poisson": 8, "gamma": 8, "cox": 4}
"""Factors of the bounds beyond which nobody is; those of a linear and a logistic model need none."""


@pytest.mark.parametrize("name", list(CLIPPING))
def test_regressions_approach_the_pooled_ones(name: str) -> None:
    words = (f"privacy.clipping={CLIPPING[name]}", "privacy.iterations=14")
    found, pooled = privately(name, *words, epsilon=1e6, streams=seeded(1)), exactly(name)
    errors = column(pooled, "coefficients", "standard error")
    off = column(found, "coefficients", "estimate") - column(pooled, "coefficients", "estimate")
    # The noise multiplier on the grid of 1e-4 that epsilon a million needs is about 0.002.
    assert np.all(np.abs(off) < 0.02 * errors)
    assert column(found, "coefficients", "standard error") == pytest.approx(errors, rel=0.02)
    assert np.all(column(found, "standard_errors", "noise") < 0.02 * errors)


def test_a_penalty_is_that_of_the_pooled_fit() -> None:
    found, pooled = (
        privately("penalised", "privacy.iterations=14", epsilon=1e6, streams=seeded(2)),
        exactly("penalised"),
    )
    assert column(found, "coefficients", "estimate") == pytest.approx(
        column(pooled, "coefficients", "estimate"), abs=2e-3
    )
    assert np.isnan(column(found, "coefficients", "standard error")).all()


def test_tables_approach_the_pooled_ones() -> None:
    found, pooled = (make("crosstab") for make in (lambda n: privately(n, epsilon=1e6, streams=seeded(3)), exactly))
    assert found.tables[0].rows == pooled.tables[0].rows
    assert found.figures["p"] == pytest.approx(pooled.figures["p"], rel=0.05)
    assert found.figures["chi-squared"] == pytest.approx(pooled.figures["chi-squared"], rel=1e-2)


def test_descriptions_approach_the_pooled_ones() -> None:
    found = privately("describe", "privacy.clipping=4", epsilon=1e6, streams=seeded(4))
    pooled = exactly("describe")
    for name in ("mean", "standard deviation"):
        assert column(found, "numbers", name) == pytest.approx(column(pooled, "numbers", name), rel=5e-3)
    for name, width in zip(("q25", "q50", "q75"), (82 / 64,) * 3, strict=True):
        assert np.all(np.abs(column(found, "numbers", name) - column(pooled, "numbers", name)) <= width)
    assert np.array_equal(column(found, "levels", "patients"), column(pooled, "levels", "patients")[:-1])


@pytest.mark.parametrize("entry", [True, False])
def test_curves_approach_the_pooled_ones(entry: bool) -> None:
    words = () if entry else ("entry=null",)
    found, pooled = privately("curves", *words, epsilon=1e6, streams=seeded(5)), exactly("curves", *words)
    mine = {(row[0], row[1]): row for row in found.tables[1].rows}
    compared = 0
    for row in pooled.tables[1].rows:
        if (row[0], row[1]) in mine:
            compared += 1
            assert mine[row[0], row[1]][4] == pytest.approx(row[4], abs=2e-3)
            assert mine[row[0], row[1]][5] == pytest.approx(row[5], abs=2e-3)
            assert mine[row[0], row[1]][8] == pytest.approx(row[8], abs=5e-3)
    assert compared >= 10


def test_the_log_rank_test_and_the_odds_ratio_approach_the_pooled_ones() -> None:
    found, pooled = privately("ranks", epsilon=1e6, streams=seeded(6)), exactly("ranks")
    assert found.figures["chi-squared"] == pytest.approx(pooled.figures["chi-squared"], rel=2e-2)
    assert column(found, "groups", "expected") == pytest.approx(column(pooled, "groups", "expected"), rel=1e-3)
    found, pooled = privately("odds", epsilon=1e6, streams=seeded(7)), exactly("odds")
    for name in ("log odds ratio", "standard error"):
        assert column(found, "odds_ratio", name) == pytest.approx(column(pooled, "odds_ratio", name), rel=1e-2)


def test_principal_components_approach_the_pooled_ones() -> None:
    found = privately("pca", "privacy.clipping=4", epsilon=1e6, streams=seeded(8))
    pooled = exactly("pca")
    assert column(found, "components", "variance") == pytest.approx(column(pooled, "components", "variance"), abs=1e-2)
    assert column(found, "loadings", "PC1") == pytest.approx(column(pooled, "loadings", "PC1"), abs=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "linear", "cox", "odds"])
def test_standard_errors_tell_how_far_the_noise_moves_an_estimate(name: str) -> None:
    """Over many draws of the noise, estimates scatter about the pooled one as the error of the noise says."""
    table, estimate = ("odds_ratio", "log odds ratio") if name == "odds" else ("coefficients", "estimate")
    pooled = column(exactly(name), table, estimate)
    off: list[np.ndarray] = []
    for seed in range(40):
        found = privately(
            name, f"privacy.clipping={CLIPPING.get(name, 1) ** 0.5}", epsilon=20, streams=seeded(100 + seed)
        )
        noise = column(found, "odds_ratio" if name == "odds" else "standard_errors", "noise")
        off.append((column(found, table, estimate) - pooled) / noise)
    scores = np.array(off)
    assert np.all(np.abs(scores.mean(axis=0)) < 1.0), scores.mean(axis=0)
    assert np.all((scores.std(axis=0) > 0.6) & (scores.std(axis=0) < 1.6)), scores.std(axis=0)


@pytest.mark.parametrize("name", list(ANALYSES))
def test_no_solver_diverges_however_large_the_noise_and_however_few_the_patients(name: str) -> None:
    few = [Columns(values={key: value[:2] for key, value in VALUES.items()}, records=2)] * SITES
    for seed in range(3):
        try:
            found = privately(name, epsilon=0.3, streams=seeded(seed), hospitals=few)
        except StudyError as failure:
            assert "the noise does not hide" in str(failure)  # noqa: PT017 - of a Cox model, and of nothing else
            continue
        for each in found.tables:
            for row in each.rows:
                assert all(abs(cell) < 1e6 for cell in row if isinstance(cell, float)), row
