"""Principal components equal scikit-learn's on the pooled patients."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.analyse_plans import plan
from experiments.analyse_settings import AnalysisSettings
from federation.errors import InvalidInputError, PrivacyRefusedError
from tests.statistics_bench import CONTRACT, close, deal, draw, parts, solve

SIZE = 600
VALUES = draw(SIZE)
NAMES = ("age", "lactate", "visits", "weeks")


def found(values=VALUES, *, size: int = SIZE, **settings):
    chosen = AnalysisSettings(analysis="pca", variables=NAMES, **settings)
    return solve(plan(chosen, CONTRACT).solver(size), parts(values, deal(size, 7)))


@pytest.mark.parametrize("standardise", [True, False])
def test_variances_and_loadings_are_those_of_scikit_learn(standardise: bool) -> None:
    from sklearn.decomposition import PCA

    matrix = np.column_stack([VALUES[name] for name in NAMES])
    if standardise:
        matrix = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0, ddof=1)
    expected = PCA(n_components=3).fit(matrix)
    components, loadings = found(standardise=standardise, components=3).tables
    assert close(components.numbers("variance"), expected.explained_variance_, 1e-9)
    assert close(components.numbers("share"), expected.explained_variance_ratio_, 1e-9)
    for place, axis in enumerate(expected.components_):
        own = np.array(loadings.numbers(f"PC{place + 1}"))
        assert np.allclose(own * np.sign(own @ axis), axis, atol=1e-8)
        assert own[np.abs(own).argmax()] > 0


def test_a_constant_variable_and_too_few_patients_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"constant \['visits'\]"):
        found(VALUES | {"visits": np.full(SIZE, 3.0)})
    with pytest.raises(PrivacyRefusedError, match="three patients for each of 4"):
        found({name: column[:11] for name, column in VALUES.items()}, size=11)
    with pytest.raises(InvalidInputError, match="1 to 4 components"):
        found(components=5)
